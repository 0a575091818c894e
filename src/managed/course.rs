//! The course of a managed connection: from state to state, what is counted, and what is to be done next.
//!
//! Reads no clock, draws no random number, starts nothing; knows nothing of actors and messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::spec::ManagedSpec;
use super::state::{Failures, ManagedEnd, ManagedState};
use crate::auth::AuthError;
use crate::connect_error::ConnectError;
use crate::error::{ConfigError, ConnectionError};
use crate::supervision::{Decision, RestartBook};

/// What is to be done after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "nothing goes on by itself"]
pub(super) enum Then {
    /// Connect again after this pause.
    Pause(Duration),
    /// Nothing: the state is final.
    Nothing,
}

/// What was counted so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) attempts: u64,
    pub(super) connects: u64,
    pub(super) failures: Failures,
    pub(super) losses: u64,
    pub(super) escalations: u64,
    /// For how long former connections were up.
    pub(super) uptime: Duration,
    pub(super) up_since: Option<Instant>,
    pub(super) last: Option<ManagedEnd>,
}

#[derive(Debug)]
pub(super) struct Course {
    book: RestartBook,
    retry_untrusted_host: bool,
    retry_refused_login: bool,
    /// Attempts since it was last up.
    in_a_row: u32,
    tally: Tally,
    state: ManagedState,
}

impl Course {
    /// The course of a connection that was not tried yet.
    pub(super) fn new(spec: &ManagedSpec) -> Result<Self, ConfigError> {
        Ok(Self {
            book: RestartBook::new(spec.policy.clone())?,
            retry_untrusted_host: spec.retry_untrusted_host,
            retry_refused_login: spec.retry_refused_login,
            in_a_row: 0,
            tally: Tally::default(),
            state: ManagedState::Connecting { attempt: 1 },
        })
    }

    /// An attempt begins. False when none may any more.
    pub(super) fn begin(&mut self) -> bool {
        if self.is_ending() {
            return false;
        }
        self.tally.attempts += 1;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.state = ManagedState::Connecting { attempt: self.in_a_row };
        true
    }

    /// The connection is up.
    pub(super) fn up(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.in_a_row = 0;
        self.tally.connects += 1;
        self.tally.up_since = Some(now);
        self.book.on_up(now.into_std());
        self.state = ManagedState::Up { incarnation: self.tally.connects };
    }

    /// The attempt failed. `fraction` is a random number from 0 to 1.
    pub(super) fn failed(&mut self, error: ConnectError, now: Instant, fraction: f64) -> Then {
        self.tally.failures.add(error.phase());
        let hopeless = !self.may_retry(&error);
        self.after(ManagedEnd::NotConnected(Arc::new(error)), hopeless, now, fraction)
    }

    /// The connection that was up has ended.
    pub(super) fn lost(&mut self, error: ConnectionError, now: Instant, fraction: f64) -> Then {
        self.not_up(now);
        self.after(ManagedEnd::Lost(error), false, now, fraction)
    }

    /// A channel has ended the connection that was up.
    pub(super) fn escalated(&mut self, why: Arc<str>, now: Instant, fraction: f64) -> Then {
        self.tally.escalations += 1;
        self.not_up(now);
        self.after(ManagedEnd::Escalated(why), false, now, fraction)
    }

    fn may_retry(&self, error: &ConnectError) -> bool {
        match error {
            ConnectError::HostKey(_) => self.retry_untrusted_host,
            ConnectError::Auth(AuthError::Refused { .. } | AuthError::Disconnected { .. }) => {
                error.is_retryable() || self.retry_refused_login
            }
            _ => error.is_retryable(),
        }
    }

    fn not_up(&mut self, now: Instant) {
        if let Some(since) = self.tally.up_since.take() {
            self.tally.losses += 1;
            self.tally.uptime += now.saturating_duration_since(since);
        }
    }

    fn after(&mut self, end: ManagedEnd, hopeless: bool, now: Instant, fraction: f64) -> Then {
        self.tally.last = Some(end.clone());
        if self.is_ending() {
            return Then::Nothing;
        }
        if hopeless {
            self.state = ManagedState::Failed(end);
            return Then::Nothing;
        }
        self.state = match self.book.on_exit(now.into_std(), end.is_normal(), fraction) {
            Decision::Restart { after, attempt } => {
                self.state = ManagedState::Backoff { attempt, after, at: now + after, why: end };
                return Then::Pause(after);
            }
            Decision::Stop => ManagedState::Ended(end),
            Decision::GiveUp { restarts, within } => ManagedState::GaveUp { restarts, within, last: end },
        };
        Then::Nothing
    }

    /// Somebody stops it. False when nothing is left to stop.
    pub(super) fn stop(&mut self) -> bool {
        if self.state.is_final() {
            return false;
        }
        self.state = ManagedState::Stopping;
        true
    }

    /// Nothing is left of it.
    pub(super) fn stopped(&mut self, now: Instant) {
        self.not_up(now);
        if !self.state.is_final() {
            self.state = ManagedState::Stopped;
        }
    }

    const fn is_ending(&self) -> bool {
        matches!(self.state, ManagedState::Stopping) || self.state.is_final()
    }

    pub(super) const fn state(&self) -> &ManagedState {
        &self.state
    }

    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }
}

#[cfg(test)]
mod tests;
