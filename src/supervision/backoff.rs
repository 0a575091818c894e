//! The pause before a restart.
//!
//! Owns the arithmetic of growing pauses. Knows nothing of children, and neither reads a clock nor draws
//! random numbers.

use std::time::Duration;

use crate::error::ConfigError;

/// Pauses that grow from one restart to the next up to a limit, each shortened by a random part.
///
/// With the defaults, and no jitter: 100 ms, 200 ms, 400 ms and so on up to 30 s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
}

impl Backoff {
    /// Starts at `initial` and doubles up to `max`, with a jitter of 0.5.
    #[must_use]
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, factor: 2.0, jitter: 0.5 }
    }

    /// Always the same pause, without jitter.
    #[must_use]
    pub const fn fixed(pause: Duration) -> Self {
        Self { initial: pause, max: pause, factor: 1.0, jitter: 0.0 }
    }

    /// No pause, as in OTP: a child is started again at once.
    #[must_use]
    pub const fn none() -> Self {
        Self::fixed(Duration::ZERO)
    }

    /// Sets by what the pause is multiplied each time; at least 1 (default: 2).
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets which part of a pause is left to chance, from 0 (none) to 1 (all of it): pauses lie between
    /// `(1 - jitter)` times the full one and the full one (default: 0.5). Children that failed together
    /// then do not come back together.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// The pause before restart number `attempt`, counted from 0.
    ///
    /// `fraction` is a random number from 0 (the full pause) to 1 (the shortest one); what lies outside is
    /// taken for the nearer end, and NaN for 0. Same arguments, same answer.
    #[must_use]
    pub fn delay(&self, attempt: u32, fraction: f64) -> Duration {
        let full = self.full(attempt);
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        let left = 1.0 - self.jitter * fraction;
        Duration::try_from_secs_f64(full.as_secs_f64() * left).map_or(full, |pause| pause.min(full))
    }

    /// The pause before any jitter.
    fn full(&self, attempt: u32) -> Duration {
        let seconds = self.initial.as_secs_f64() * self.factor.powf(f64::from(attempt));
        Duration::try_from_secs_f64(seconds).map_or(self.max, |pause| pause.min(self.max))
    }

    /// Refuses values that contradict each other.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |problem: String, fix| Err(ConfigError::new("backoff", problem, fix));
        if self.max < self.initial {
            let problem = format!("max {:?} is below initial {:?}", self.max, self.initial);
            return wrong(problem, "give a max that is at least initial");
        }
        if self.initial.is_zero() && !self.max.is_zero() {
            let problem = format!("an initial pause of 0 never grows to max {:?}", self.max);
            return wrong(problem, "give an initial pause over 0, or use `Backoff::none()`");
        }
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return wrong(format!("factor {} is not a number from 1 up", self.factor), "use 2");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return wrong(format!("jitter {} is not between 0 and 1", self.jitter), "use 0.5");
        }
        Ok(())
    }
}

impl Default for Backoff {
    /// From 100 ms to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let pauses: Vec<_> = (0..11).map(|attempt| Backoff::default().delay(attempt, 0.0)).collect();
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000].map(MS);
        assert_eq!(pauses, expected);
        assert_eq!(Backoff::default().delay(u32::MAX, 0.0), MS(30_000));
    }

    #[test]
    fn jitter_only_shortens() {
        let half = Backoff::new(MS(1_000), MS(1_000)).jitter(0.5);
        for (fraction, pause) in [
            (0.0, 1_000),
            (0.5, 750),
            (1.0, 500),
            (-3.0, 1_000),
            (7.0, 500),
            (f64::NAN, 1_000),
            (f64::INFINITY, 500),
        ] {
            assert_eq!(half.delay(0, fraction), MS(pause), "{fraction}");
        }
        assert_eq!(half.jitter(1.0).delay(0, 1.0), Duration::ZERO);
    }

    #[test]
    fn fixed_and_absent_pauses_stay_what_they_are() {
        for attempt in [0, 1, 100, u32::MAX] {
            assert_eq!(Backoff::fixed(MS(7)).delay(attempt, 0.9), MS(7));
            assert_eq!(Backoff::none().delay(attempt, 0.9), Duration::ZERO);
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let good = Backoff::default();
        for (backoff, problem) in [
            (Backoff::new(MS(2), MS(1)), "below initial"),
            (Backoff::new(MS(0), MS(1)), "never grows"),
            (good.factor(0.99), "factor 0.99"),
            (good.factor(f64::NAN), "factor NaN"),
            (good.factor(f64::INFINITY), "factor inf"),
            (good.jitter(-0.1), "jitter -0.1"),
            (good.jitter(1.1), "jitter 1.1"),
            (good.jitter(f64::NAN), "jitter NaN"),
        ] {
            let error = backoff.check().unwrap_err();
            assert_eq!(error.field, "backoff");
            assert!(error.problem.contains(problem), "{error}");
        }
        for backoff in [good, Backoff::none(), Backoff::fixed(MS(5)), good.factor(1.0).jitter(1.0)] {
            assert_eq!(backoff.check(), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn pauses_never_shrink_nor_pass_the_limit_and_jitter_keeps_its_bounds(
            initial in 1_u64..10_000, more in 0_u64..1_000_000, factor in 1.0..8.0_f64,
            jitter in 0.0..=1.0_f64, attempt in 0_u32..5_000, fraction in 0.0..=1.0_f64,
        ) {
            let max = MS(initial + more);
            let backoff = Backoff::new(MS(initial), max).factor(factor).jitter(jitter);
            prop_assert_eq!(backoff.check(), Ok(()));
            let full = backoff.delay(attempt, 0.0);
            prop_assert!(MS(initial) <= full && full <= max);
            prop_assert!(full <= backoff.delay(attempt + 1, 0.0));
            let pause = backoff.delay(attempt, fraction);
            let shortest = full.mul_f64(1.0 - jitter).saturating_sub(Duration::from_nanos(1));
            prop_assert!(shortest <= pause && pause <= full);
        }

        #[test]
        fn no_value_whatever_makes_it_panic(
            initial in any::<Duration>(), max in any::<Duration>(), factor in any::<f64>(),
            jitter in any::<f64>(), attempt in any::<u32>(), fraction in any::<f64>(),
        ) {
            let backoff = Backoff::new(initial, max).factor(factor).jitter(jitter);
            prop_assert!(backoff.delay(attempt, fraction) <= max);
            let _ = backoff.check();
        }
    }
}
