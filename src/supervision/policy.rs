//! What a supervisor is told about a child.
//!
//! Owns the options, their defaults and their validation. Applying them is [`super::RestartBook`]'s work.

use std::time::Duration;

use super::backoff::Backoff;
use crate::error::ConfigError;

/// After which ends a child is started again: OTP's restart types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "OTP's three are all there are")]
pub enum Restart {
    /// After every end.
    Permanent,
    /// After a failure, not after a normal end.
    Transient,
    /// Never.
    Temporary,
}

/// How many restarts within what time are still bearable: one more, and the supervisor gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Intensity {
    /// The most restarts within the window. 0 gives up at the first failure.
    pub max_restarts: u32,
    /// The length of the window, which slides. Not 0.
    pub within: Duration,
}

impl Intensity {
    /// At most `max_restarts` in any window of that length.
    #[must_use]
    pub const fn new(max_restarts: u32, within: Duration) -> Self {
        Self { max_restarts, within }
    }
}

impl Default for Intensity {
    /// 10 restarts within 10 minutes.
    fn default() -> Self {
        Self::new(10, Duration::from_secs(600))
    }
}

/// When a child is restarted, after what pause, and when to give up.
///
/// | option | default |
/// |---|---|
/// | `intensity` | 10 restarts within 10 minutes |
/// | `backoff` | 100 ms, doubling up to 30 s, jitter 0.5 |
/// | `reset_after` | 60 s |
///
/// Validated when a [`super::RestartBook`] is made of it, or by [`RestartPolicy::check`].
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a policy does nothing by itself"]
pub struct RestartPolicy {
    restart: Restart,
    intensity: Option<Intensity>,
    backoff: Backoff,
    reset_after: Duration,
}

impl RestartPolicy {
    /// A policy of that restart type with all defaults.
    pub fn new(restart: Restart) -> Self {
        Self {
            restart,
            intensity: Some(Intensity::default()),
            backoff: Backoff::default(),
            reset_after: Duration::from_secs(60),
        }
    }

    /// Restarts after every end.
    pub fn permanent() -> Self {
        Self::new(Restart::Permanent)
    }

    /// Restarts after failures.
    pub fn transient() -> Self {
        Self::new(Restart::Transient)
    }

    /// Never restarts.
    pub fn temporary() -> Self {
        Self::new(Restart::Temporary)
    }

    /// Gives up when more than `max_restarts` would fall within one window of that length.
    pub const fn intensity(mut self, max_restarts: u32, within: Duration) -> Self {
        self.intensity = Some(Intensity::new(max_restarts, within));
        self
    }

    /// Goes on for ever, however often the child fails.
    pub const fn never_give_up(mut self) -> Self {
        self.intensity = None;
        self
    }

    /// Sets the pauses before restarts.
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long a child has to stay up for its next restart to begin with the first pause again. The
    /// restarts counted for the intensity are not forgotten by it: they leave with their window.
    pub const fn reset_after(mut self, quiet: Duration) -> Self {
        self.reset_after = quiet;
        self
    }

    /// The restart type.
    #[must_use]
    pub const fn restart_type(&self) -> Restart {
        self.restart
    }

    /// When to give up, if ever.
    #[must_use]
    pub const fn max_intensity(&self) -> Option<Intensity> {
        self.intensity
    }

    /// The pauses before restarts.
    #[must_use]
    pub const fn pauses(&self) -> Backoff {
        self.backoff
    }

    /// How long a child has to stay up for the pauses to begin anew.
    #[must_use]
    pub const fn quiet_period(&self) -> Duration {
        self.reset_after
    }

    /// Refuses values that are out of range or contradict each other.
    ///
    /// # Errors
    ///
    /// - `intensity`: a window of 0; or pauses so long that a child which fails at once, each time, stays
    ///   below the intensity for ever. That would be [`RestartPolicy::never_give_up`] in disguise.
    /// - `reset_after`: 0, with which pauses never grow.
    /// - `backoff`: a `max` below `initial`, an `initial` of 0 below another `max`, a `factor` below 1, a
    ///   `jitter` outside 0 to 1.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.backoff.check()?;
        if self.reset_after.is_zero() {
            let fix = "give the time after which a child counts as recovered, such as 60 s";
            return Err(ConfigError::new("reset_after", "is 0, so that pauses never grow", fix));
        }
        match self.intensity {
            Some(intensity) if self.restart != Restart::Temporary => self.check_intensity(intensity),
            _ => Ok(()),
        }
    }

    fn check_intensity(&self, Intensity { max_restarts, within }: Intensity) -> Result<(), ConfigError> {
        if within.is_zero() {
            let fix = "give the time in which restarts are counted, such as 10 minutes";
            return Err(ConfigError::new("intensity", "the window is 0", fix));
        }
        if self.can_exceed(max_restarts, within) {
            return Ok(());
        }
        let problem = format!("with this backoff, {max_restarts} restarts never fall within {within:?}");
        let fix = "take a longer window, fewer restarts or shorter pauses, or say `never_give_up()`";
        Err(ConfigError::new("intensity", problem, fix))
    }

    /// Whether that many shortest possible pauses in a row, and no time in between, fit the window.
    fn can_exceed(&self, max_restarts: u32, within: Duration) -> bool {
        /// Beyond so many pauses nobody counts; the answer is then the lenient one.
        const LOOK: u32 = 10_000;
        let by_reset = self.reset_after.saturating_add(self.backoff.delay(0, 1.0));
        let mut total = Duration::ZERO;
        for attempt in 0..max_restarts.min(LOOK) {
            total = total.saturating_add(self.backoff.delay(attempt, 1.0).min(by_reset));
            if total > within {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn defaults_and_usual_variations_are_valid() {
        let policy = RestartPolicy::permanent();
        for policy in [
            policy.clone(),
            RestartPolicy::transient(),
            RestartPolicy::temporary(),
            policy.clone().backoff(Backoff::new(secs(1), secs(60))),
            policy.clone().backoff(Backoff::none()).intensity(1, secs(5)),
            policy.clone().backoff(Backoff::none()).intensity(u32::MAX, secs(5)),
            policy.clone().intensity(0, secs(5)),
            policy.clone().backoff(Backoff::fixed(secs(600))).never_give_up(),
            RestartPolicy::temporary().intensity(10, Duration::ZERO),
        ] {
            assert_eq!(policy.check(), Ok(()), "{policy:?}");
        }
        assert_eq!(policy.restart_type(), Restart::Permanent);
        assert_eq!(policy.max_intensity(), Some(Intensity::new(10, secs(600))));
        assert_eq!(policy.pauses(), Backoff::default());
        assert_eq!(policy.quiet_period(), secs(60));
    }

    #[test]
    fn zeros_and_contradictions_are_refused_by_field() {
        let policy = RestartPolicy::transient();
        for (policy, field, problem) in [
            (policy.clone().intensity(3, Duration::ZERO), "intensity", "window is 0"),
            (policy.clone().reset_after(Duration::ZERO), "reset_after", "is 0"),
            (policy.clone().backoff(Backoff::new(secs(2), secs(1))), "backoff", "below initial"),
            (policy.clone().backoff(Backoff::fixed(secs(10))).intensity(4, secs(39)), "intensity", "never"),
            (policy.clone().intensity(20, secs(60)), "intensity", "20 restarts never fall within 60s"),
        ] {
            let error = policy.check().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.problem.contains(problem), "{error}");
        }
    }

    #[test]
    fn an_intensity_that_is_just_in_reach_is_valid() {
        let fixed = RestartPolicy::transient().backoff(Backoff::fixed(secs(10)));
        assert_eq!(fixed.clone().intensity(4, secs(40)).check(), Ok(()));
        let reset_often = fixed.backoff(Backoff::new(secs(1), secs(1_000)).jitter(0.0)).reset_after(secs(1));
        assert_eq!(reset_often.intensity(50, secs(100)).check(), Ok(()));
    }
}
