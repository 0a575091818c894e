//! The course of one supervised channel: from state to state, and what is to be done next.
//!
//! Reads no clock, draws no random number, starts nothing; knows nothing of actors and messages.

use std::time::Duration;

use tokio::time::Instant;

use super::spec::{Escalation, Incarnation};
use super::state::{IncarnationEnd, SupervisedState};
use crate::error::{ConfigError, ConnectionError};
use crate::supervision::{Decision, Restart, RestartBook, RestartPolicy};

/// What is to be done after an end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing goes on by itself"]
pub(super) enum Then {
    /// Begin again after this pause.
    Pause(Duration),
    /// Ask for a connection.
    Enter,
    /// End the connection. The state says whether another one is to be asked for.
    Escalate,
    /// Nothing: the state is final.
    Nothing,
}

/// What a course is told of its channel once and for all.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) policy: RestartPolicy,
    pub(super) on_give_up: Escalation,
    /// A channel that stalled gets a connection of its own.
    pub(super) isolate_stalled: bool,
    /// The channel has a connection of its own from the start.
    pub(super) isolated: bool,
    /// After a connection that was lost comes another.
    pub(super) comes_back: bool,
}

#[derive(Debug)]
pub(super) struct Course {
    terms: Terms,
    book: RestartBook,
    /// Restarts that former books have counted.
    restarts: u64,
    escalations: u64,
    /// The channel has a connection of its own, whose end is a failure like any other.
    isolated: bool,
    incarnation: u64,
    last: Option<IncarnationEnd>,
    state: SupervisedState,
}

impl Course {
    /// The course of a channel that was not started yet.
    pub(super) fn new(terms: Terms) -> Result<Self, ConfigError> {
        let state = if terms.comes_back {
            SupervisedState::Waiting
        } else {
            SupervisedState::Starting { incarnation: 1 }
        };
        Ok(Self {
            book: RestartBook::new(terms.policy.clone())?,
            restarts: 0,
            escalations: 0,
            isolated: terms.isolated,
            terms,
            incarnation: 0,
            last: None,
            state,
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

    /// There is no connection now.
    pub(super) fn wait(&mut self) {
        if !self.state.is_final() {
            self.state = SupervisedState::Waiting;
        }
    }

    /// The incarnation is up. False when its connection was gone by then, or nobody wants it any more.
    pub(super) fn up(&mut self, now: Instant) -> bool {
        let starting = matches!(self.state, SupervisedState::Starting { .. });
        if starting {
            self.book.on_up(now.into_std());
            self.state = SupervisedState::Up { incarnation: self.incarnation };
        }
        starting
    }

    /// The incarnation has stalled: its next ones get a connection of their own, if there can be one.
    pub(super) const fn stalled(&mut self, can_isolate: bool) {
        if self.terms.isolate_stalled && can_isolate {
            self.isolated = true;
        }
    }

    /// The incarnation has ended, or did not come up. `fraction` is a random number from 0 to 1.
    pub(super) fn ended(&mut self, end: IncarnationEnd, now: Instant, fraction: f64) -> Then {
        if self.state.is_final() {
            return Then::Nothing;
        }
        self.last = Some(end.clone());
        let lost = if self.isolated { None } else { end.connection_error() };
        match lost {
            Some(error) => self.connection_lost(error, now),
            // The connection went first, and took the channel along: unless what had arrived was all that it wanted.
            None if matches!(self.state, SupervisedState::Waiting) => {
                if end.is_own_wish() && self.terms.policy.restart_type() != Restart::Permanent {
                    self.state = SupervisedState::Ended(end);
                    return Then::Nothing;
                }
                self.interrupted(now)
            }
            None if end.is_hopeless() => {
                self.state = SupervisedState::Ended(end);
                Then::Nothing
            }
            None => self.decide(end, now, fraction),
        }
    }

    fn connection_lost(&mut self, error: ConnectionError, now: Instant) -> Then {
        if self.terms.comes_back {
            return self.interrupted(now);
        }
        self.state = SupervisedState::Down(error);
        Then::Nothing
    }

    /// No failure of the channel's own.
    fn interrupted(&mut self, now: Instant) -> Then {
        self.book.on_interruption(now.into_std());
        self.state = SupervisedState::Waiting;
        Then::Enter
    }

    fn decide(&mut self, end: IncarnationEnd, now: Instant, fraction: f64) -> Then {
        match self.book.on_exit(now.into_std(), end.is_normal(), fraction) {
            Decision::Restart { after, attempt } => {
                self.state = SupervisedState::Backoff { attempt, after, at: now + after };
                Then::Pause(after)
            }
            Decision::Stop => {
                self.state = SupervisedState::Ended(end);
                Then::Nothing
            }
            Decision::GiveUp { restarts, within } => match self.terms.on_give_up {
                Escalation::Connection if self.terms.comes_back => {
                    self.escalations += 1;
                    self.restarts += self.book.total_restarts();
                    self.book.begin_anew();
                    self.state = SupervisedState::Waiting;
                    Then::Escalate
                }
                on_give_up => {
                    self.state = SupervisedState::GaveUp { restarts, within, last: end };
                    if on_give_up == Escalation::Channel {
                        return Then::Nothing;
                    }
                    self.escalations += 1;
                    Then::Escalate
                }
            },
        }
    }

    /// There will be no connection any more.
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

    pub(super) const fn terms(&self) -> &Terms {
        &self.terms
    }

    pub(super) const fn state(&self) -> &SupervisedState {
        &self.state
    }

    pub(super) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) const fn restarts(&self) -> u64 {
        self.restarts + self.book.total_restarts()
    }

    pub(super) const fn escalations(&self) -> u64 {
        self.escalations
    }

    pub(super) const fn is_isolated(&self) -> bool {
        self.isolated
    }

    pub(super) const fn last(&self) -> Option<&IncarnationEnd> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests;
