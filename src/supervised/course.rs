//! The course of one supervised channel: from state to state, and what is to be done next.
//!
//! Reads no clock, draws no random number, starts nothing; knows nothing of actors and messages.

use std::time::Duration;

use tokio::time::Instant;

use super::spec::Incarnation;
use super::state::{IncarnationEnd, SupervisedState};
use crate::error::{ConfigError, ConnectionError};
use crate::supervision::{Decision, RestartBook, RestartPolicy};

/// What is to be done after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "nothing goes on by itself"]
pub(super) enum Then {
    /// Begin again after this pause.
    Pause(Duration),
    /// Nothing: the state is final.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Course {
    book: RestartBook,
    /// The channel has a connection of its own, whose end is a failure like any other.
    isolated: bool,
    incarnation: u64,
    last: Option<IncarnationEnd>,
    state: SupervisedState,
}

impl Course {
    /// The course of a channel that was not started yet.
    pub(super) fn new(policy: RestartPolicy, isolated: bool) -> Result<Self, ConfigError> {
        Ok(Self {
            book: RestartBook::new(policy)?,
            isolated,
            incarnation: 0,
            last: None,
            state: SupervisedState::Starting { incarnation: 1 },
        })
    }

    /// The next incarnation starts. `None` when nothing may start any more.
    pub(super) fn begin(&mut self) -> Option<Incarnation> {
        if self.state.is_final() {
            return None;
        }
        self.incarnation += 1;
        self.state = SupervisedState::Starting { incarnation: self.incarnation };
        Some(Incarnation::new(self.incarnation, self.last.clone()))
    }

    /// The incarnation is up.
    pub(super) fn up(&mut self, now: Instant) {
        if !self.state.is_final() {
            self.book.on_up(now.into_std());
            self.state = SupervisedState::Up { incarnation: self.incarnation };
        }
    }

    /// The incarnation has ended, or did not come up. `fraction` is a random number from 0 to 1.
    pub(super) fn ended(&mut self, end: IncarnationEnd, now: Instant, fraction: f64) -> Then {
        if self.state.is_final() {
            return Then::Nothing;
        }
        self.last = Some(end.clone());
        let lost = if self.isolated { None } else { end.connection_error() };
        self.state = match lost {
            Some(error) => SupervisedState::Down(error),
            None if end.is_hopeless() => SupervisedState::Ended(end),
            None => match self.book.on_exit(now.into_std(), end.is_normal(), fraction) {
                Decision::Restart { after, attempt } => {
                    SupervisedState::Backoff { attempt, after, at: now + after }
                }
                Decision::Stop => SupervisedState::Ended(end),
                Decision::GiveUp { restarts, within } => {
                    SupervisedState::GaveUp { restarts, within, last: end }
                }
            },
        };
        match self.state {
            SupervisedState::Backoff { after, .. } => Then::Pause(after),
            _ => Then::Nothing,
        }
    }

    /// The connection is gone.
    pub(super) fn connection_down(&mut self, error: ConnectionError) {
        if !self.state.is_final() {
            self.state = SupervisedState::Down(error);
        }
    }

    /// Somebody stops it.
    pub(super) fn stop(&mut self) {
        if !self.state.is_final() {
            self.state = SupervisedState::Stopped;
        }
    }

    pub(super) const fn state(&self) -> &SupervisedState {
        &self.state
    }

    pub(super) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) const fn restarts(&self) -> u64 {
        self.book.total_restarts()
    }

    pub(super) const fn last(&self) -> Option<&IncarnationEnd> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests;
