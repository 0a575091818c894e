//! One child's history, and what to do when it ends.
//!
//! Owns the restarts of the current window and the count of attempts. Reads no clock, draws no random
//! number, starts nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::policy::{Intensity, Restart, RestartPolicy};
use crate::error::ConfigError;

/// What to do with a child that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the child stays down unless the decision is carried out"]
pub enum Decision {
    /// Start it again.
    Restart {
        /// After that pause.
        after: Duration,
        /// Which restart in a row this is, counted from 1; a quiet period makes it 1 again.
        attempt: u32,
    },
    /// Leave it: its restart type wants no restart.
    Stop,
    /// Leave it and escalate: one more restart would exceed the intensity.
    GiveUp {
        /// How many restarts there were in the window that ends now.
        restarts: u32,
        /// The length of the window.
        within: Duration,
    },
}

/// Applies a [`RestartPolicy`] to one child.
///
/// Told of each time the child came up ([`RestartBook::on_up`]) and ended, or could not be started
/// ([`RestartBook::on_exit`]). A restart counts from the end that caused it; as in OTP, restarts exactly
/// one window old still count.
#[derive(Debug, Clone)]
pub struct RestartBook {
    policy: RestartPolicy,
    /// Times of the restarts in the window, oldest first; never more than the intensity allows.
    recent: VecDeque<Instant>,
    attempt: u32,
    up_since: Option<Instant>,
    total: u64,
}

impl RestartBook {
    /// A book for a child that was not started yet.
    ///
    /// # Errors
    ///
    /// Those of [`RestartPolicy::check`].
    pub fn new(policy: RestartPolicy) -> Result<Self, ConfigError> {
        policy.check()?;
        Ok(Self { policy, recent: VecDeque::new(), attempt: 0, up_since: None, total: 0 })
    }

    /// The child is up. From here its quiet period counts.
    pub const fn on_up(&mut self, now: Instant) {
        self.up_since = Some(now);
    }

    /// The child ended, or its start failed (which is no `normal` end).
    ///
    /// `fraction` is a random number from 0 to 1 for the jitter of [`super::Backoff::delay`]. Times
    /// should not run backwards; one that does counts as no time passed.
    pub fn on_exit(&mut self, now: Instant, normal: bool, fraction: f64) -> Decision {
        self.note_uptime(now);
        if !self.wants_restart(normal) {
            return Decision::Stop;
        }
        match self.policy.max_intensity() {
            Some(intensity) => self.restart_within(intensity, now, fraction),
            None => self.restart(fraction),
        }
    }

    /// What the child runs on went away, and the child with it. That is no end of its own: nothing is counted, but the
    /// time it was up is, as its quiet period.
    pub fn on_interruption(&mut self, now: Instant) {
        self.note_uptime(now);
    }

    /// Forgets everything but the policy: what the child runs on is made anew, as the children of an OTP supervisor
    /// are when it is restarted.
    pub fn begin_anew(&mut self) {
        self.recent.clear();
        self.attempt = 0;
        self.up_since = None;
        self.total = 0;
    }

    /// The policy.
    pub const fn policy(&self) -> &RestartPolicy {
        &self.policy
    }

    /// How many restarts there were in all.
    #[must_use]
    pub const fn total_restarts(&self) -> u64 {
        self.total
    }

    /// How many restarts in a row there were without a quiet period.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Since when the child is up, if it is.
    #[must_use]
    pub const fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    fn note_uptime(&mut self, now: Instant) {
        let uptime = self.up_since.take().map(|since| now.saturating_duration_since(since));
        if uptime.is_some_and(|uptime| uptime >= self.policy.quiet_period()) {
            self.attempt = 0;
        }
    }

    const fn wants_restart(&self, normal: bool) -> bool {
        match self.policy.restart_type() {
            Restart::Permanent => true,
            Restart::Transient => !normal,
            Restart::Temporary => false,
        }
    }

    fn restart_within(&mut self, intensity: Intensity, now: Instant, fraction: f64) -> Decision {
        let Intensity { max_restarts, within } = intensity;
        while self.recent.front().is_some_and(|then| now.saturating_duration_since(*then) > within) {
            self.recent.pop_front();
        }
        let restarts = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if restarts >= max_restarts {
            return Decision::GiveUp { restarts, within };
        }
        self.recent.push_back(now);
        self.restart(fraction)
    }

    fn restart(&mut self, fraction: f64) -> Decision {
        let after = self.policy.pauses().delay(self.attempt, fraction);
        self.attempt = self.attempt.saturating_add(1);
        self.total = self.total.saturating_add(1);
        Decision::Restart { after, attempt: self.attempt }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::supervision::Backoff;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn book(policy: RestartPolicy) -> RestartBook {
        RestartBook::new(policy).unwrap()
    }

    /// No pauses, and so many restarts within so many milliseconds.
    fn at_once(max_restarts: u32, within: u64) -> RestartBook {
        book(RestartPolicy::permanent().backoff(Backoff::none()).intensity(max_restarts, MS(within)))
    }

    const fn is_restart(decision: Decision) -> bool {
        matches!(decision, Decision::Restart { .. })
    }

    #[test]
    fn the_restart_type_says_which_ends_call_for_a_restart() {
        for (policy, after_normal, after_failure) in [
            (RestartPolicy::permanent(), true, true),
            (RestartPolicy::transient(), false, true),
            (RestartPolicy::temporary(), false, false),
        ] {
            for (normal, restarts) in [(true, after_normal), (false, after_failure)] {
                let mut book = book(policy.clone());
                let decision = book.on_exit(Instant::now(), normal, 0.5);
                assert_eq!(is_restart(decision), restarts, "{policy:?}, normal: {normal}");
                assert!(restarts || decision == Decision::Stop);
                assert_eq!(book.total_restarts(), u64::from(restarts));
            }
        }
    }

    #[test]
    fn one_restart_more_than_the_intensity_gives_up() {
        let (start, mut book) = (Instant::now(), at_once(2, 100));
        assert!(is_restart(book.on_exit(start, false, 0.0)));
        assert!(is_restart(book.on_exit(start + MS(50), false, 0.0)));
        let given_up = Decision::GiveUp { restarts: 2, within: MS(100) };
        assert_eq!(book.on_exit(start + MS(100), false, 0.0), given_up);
        assert_eq!(book.total_restarts(), 2);
    }

    #[test]
    fn restarts_older_than_the_window_are_forgotten() {
        let (start, mut book) = (Instant::now(), at_once(2, 100));
        for exit in [0, 50, 101, 151, 202] {
            assert!(is_restart(book.on_exit(start + MS(exit), false, 0.0)), "{exit}");
        }
        assert!(!is_restart(book.on_exit(start + MS(251), false, 0.0)));
    }

    #[test]
    fn an_intensity_of_zero_gives_up_at_the_first_failure() {
        let given_up = Decision::GiveUp { restarts: 0, within: MS(5) };
        assert_eq!(at_once(0, 5).on_exit(Instant::now(), false, 0.0), given_up);
    }

    #[test]
    fn normal_ends_of_a_transient_child_do_not_count() {
        let policy = RestartPolicy::transient().backoff(Backoff::none()).intensity(1, MS(100));
        let (start, mut book) = (Instant::now(), book(policy));
        for _ in 0..5 {
            assert_eq!(book.on_exit(start, true, 0.0), Decision::Stop);
        }
        assert!(is_restart(book.on_exit(start, false, 0.0)));
    }

    #[test]
    fn pauses_grow_until_the_child_was_up_for_the_quiet_period() {
        let backoff = Backoff::new(MS(100), MS(1_000));
        let policy = RestartPolicy::permanent().backoff(backoff).reset_after(MS(500)).never_give_up();
        let (start, mut book) = (Instant::now(), book(policy));
        let mut now = start;
        for (uptime, after, attempt) in [
            (Some(0), 100, 1),
            (Some(499), 200, 2),
            (None, 400, 3),
            (Some(500), 100, 1),
            (None, 200, 2),
            (Some(10_000), 100, 1),
        ] {
            if let Some(uptime) = uptime {
                book.on_up(now);
                assert_eq!(book.up_since(), Some(now));
                now += MS(uptime);
            }
            assert_eq!(book.on_exit(now, false, 0.0), Decision::Restart { after: MS(after), attempt });
            assert_eq!((book.attempts(), book.up_since()), (attempt, None));
            now += MS(after);
        }
    }

    #[test]
    fn an_interruption_counts_for_nothing_but_the_quiet_period() {
        let backoff = Backoff::new(MS(100), MS(1_000)).jitter(0.0);
        let policy =
            RestartPolicy::permanent().backoff(backoff).reset_after(MS(500)).intensity(2, MS(60_000));
        let (start, mut book) = (Instant::now(), book(policy));
        assert!(is_restart(book.on_exit(start, false, 0.0)));
        for uptime in [499, 500] {
            book.on_up(start);
            book.on_interruption(start + MS(uptime));
            assert_eq!((book.attempts(), book.total_restarts()), (u32::from(uptime == 499), 1));
        }
        let again = book.on_exit(start + MS(501), false, 0.0);
        assert_eq!(again, Decision::Restart { after: MS(100), attempt: 1 });
        assert!(!is_restart(book.on_exit(start + MS(502), false, 0.0)), "earlier restarts still count");
    }

    #[test]
    fn a_book_that_begins_anew_has_forgotten_everything() {
        let (start, mut book) = (Instant::now(), at_once(1, 100));
        assert!(is_restart(book.on_exit(start, false, 0.0)));
        assert!(!is_restart(book.on_exit(start, false, 0.0)));
        book.begin_anew();
        assert_eq!((book.attempts(), book.total_restarts(), book.up_since()), (0, 0, None));
        assert!(is_restart(book.on_exit(start, false, 0.0)));
    }

    #[test]
    fn time_in_which_a_start_keeps_failing_is_not_quiet() {
        let policy = RestartPolicy::permanent().reset_after(MS(10)).never_give_up();
        let (start, mut book) = (Instant::now(), book(policy));
        for attempt in 1..=5 {
            let decision = book.on_exit(start + MS(1_000) * attempt, false, 0.0);
            assert!(matches!(decision, Decision::Restart { attempt: n, .. } if n == attempt));
        }
    }

    #[test]
    fn a_quiet_period_does_not_clear_the_window() {
        let policy = RestartPolicy::permanent().backoff(Backoff::none()).reset_after(MS(1));
        let (start, mut book) = (Instant::now(), book(policy.intensity(1, MS(100))));
        assert!(is_restart(book.on_exit(start, false, 0.0)));
        book.on_up(start);
        assert!(!is_restart(book.on_exit(start + MS(50), false, 0.0)));
    }

    #[test]
    fn never_giving_up_is_meant() {
        let policy = RestartPolicy::permanent().backoff(Backoff::none()).never_give_up();
        let (now, mut book) = (Instant::now(), book(policy));
        assert!((0..100_000).all(|_| is_restart(book.on_exit(now, false, 0.0))));
        assert!(book.recent.is_empty());
    }

    #[test]
    fn a_book_is_not_opened_on_a_wrong_policy() {
        let error = RestartBook::new(RestartPolicy::permanent().reset_after(Duration::ZERO)).unwrap_err();
        assert_eq!(error.field, "reset_after");
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_allowed_nor_is_given_up_on_early(
            max_restarts in 0_u32..6,
            within in 1_u64..200,
            steps in prop::collection::vec((0_u64..60, any::<bool>(), any::<bool>()), 0..200),
        ) {
            let policy = RestartPolicy::transient().backoff(Backoff::none()).reset_after(MS(20));
            let mut book = book(policy.intensity(max_restarts, MS(within)));
            let mut now = Instant::now();
            let mut restarts: Vec<Instant> = Vec::new();
            for (pass, up, normal) in steps {
                if up {
                    book.on_up(now);
                }
                now += MS(pass);
                let recent = restarts.iter().filter(|then| now - **then <= MS(within)).count();
                match book.on_exit(now, normal, 0.5) {
                    Decision::Restart { .. } => {
                        prop_assert!(!normal && recent < max_restarts as usize);
                        restarts.push(now);
                    }
                    Decision::Stop => prop_assert!(normal),
                    Decision::GiveUp { restarts, within: window } => {
                        prop_assert_eq!((restarts, window), (max_restarts, MS(within)));
                        prop_assert!(!normal && recent == max_restarts as usize);
                    }
                }
                prop_assert!(book.recent.len() <= max_restarts as usize);
            }
            prop_assert_eq!(book.total_restarts(), restarts.len() as u64);
        }

        #[test]
        fn times_in_any_order_are_survived(
            times in prop::collection::vec((any::<u32>(), any::<bool>()), 0..100)
        ) {
            let (start, mut book) = (Instant::now(), at_once(3, 1_000));
            for (ms, up) in times {
                let now = start + MS(u64::from(ms));
                if up { book.on_up(now) } else { let _ = book.on_exit(now, false, f64::NAN); }
            }
            prop_assert!(book.recent.len() <= 3);
        }
    }
}
