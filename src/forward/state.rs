//! What is known of a forward: where it listens, where in its life it is, what it has counted.
//!
//! Written by the forward's task, read by its handles. One short lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::endpoint::Endpoint;
use super::error::ForwardEnd;
use crate::session::Passed;

/// Where in its life a forward is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ForwardState {
    /// It takes connections.
    Listening,
    /// A remote forward waits for the managed connection to come back; what kept it from listening the last time, if
    /// that was something else.
    Waiting {
        /// Why nobody listens.
        why: std::sync::Arc<str>,
    },
    /// It takes no connections any more; those there are come to their end.
    Draining,
    /// It is over, and nothing is left of it. Final.
    Ended(ForwardEnd),
}

impl fmt::Display for ForwardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening => f.write_str("listening"),
            Self::Waiting { why } => write!(f, "not listening: {why}"),
            Self::Draining => f.write_str("draining"),
            Self::Ended(end) => write!(f, "ended: {end}"),
        }
    }
}

/// What a forward has counted. All but `open` only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardCounters {
    /// Connections there are now, those that wait for their channel included.
    pub open: usize,
    /// Connections that were accepted in all.
    pub total: u64,
    /// Of them those for which there was no other side: the peer refused the channel, the destination could not be
    /// reached, there was no SSH connection, a SOCKS client asked for something else.
    pub refused: u64,
    /// Of them those that were joined and cut off before both directions had ended.
    pub failed: u64,
    /// Bytes that were passed from here to the server.
    pub sent: u64,
    /// Bytes from the server that the socket here has taken.
    pub received: u64,
}

/// A forward, at the moment it was asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ForwardInfo {
    /// Where connections are taken.
    pub listen: Endpoint,
    /// Whether that is on the server.
    pub remote: bool,
    /// Where they lead, in words.
    pub to: String,
    /// Where in its life it is.
    pub state: ForwardState,
    /// What it has counted.
    pub counters: ForwardCounters,
    /// How many connections there may be at a time.
    pub max_connections: usize,
}

/// When a forward is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// At this moment, connections and all.
    Now,
    /// Connections may go on until then.
    By(tokio::time::Instant),
    /// They may go on.
    Drain,
    Not,
}

pub(super) struct Shared {
    pub(super) to: String,
    pub(super) remote: bool,
    pub(super) max_connections: usize,
    listen: Mutex<Endpoint>,
    state: watch::Sender<ForwardState>,
    stop: watch::Sender<Stop>,
    open: AtomicUsize,
    total: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    pub(super) passed: Passed,
}

impl Shared {
    pub(super) fn new(listen: Endpoint, to: String, remote: bool, max_connections: usize) -> Self {
        let waits = ForwardState::Waiting { why: "there was no connection yet".into() };
        let state = if remote { waits } else { ForwardState::Listening };
        Self {
            to,
            remote,
            max_connections,
            listen: Mutex::new(listen),
            state: watch::Sender::new(state),
            stop: watch::Sender::new(Stop::Not),
            open: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            passed: Passed::default(),
        }
    }

    pub(super) fn listen(&self) -> Endpoint {
        self.lock().clone()
    }

    pub(super) fn listens(&self, at: Endpoint) {
        *self.lock() = at;
    }

    pub(super) fn states(&self) -> watch::Receiver<ForwardState> {
        self.state.subscribe()
    }

    pub(super) fn state(&self) -> ForwardState {
        self.state.borrow().clone()
    }

    /// What is final stays.
    pub(super) fn enter(&self, state: ForwardState) {
        self.state.send_if_modified(|now| {
            let goes_on = !matches!(now, ForwardState::Ended(_));
            if goes_on {
                *now = state;
            }
            goes_on
        });
    }

    /// A stop can only become more urgent.
    pub(super) fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|now| {
            let sooner = stop < *now;
            if sooner {
                *now = stop;
            }
            sooner
        });
    }

    pub(super) fn stops(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    pub(super) fn counters(&self) -> ForwardCounters {
        let [total, refused, failed, sent, received] =
            [&self.total, &self.refused, &self.failed, &self.passed.to_channel, &self.passed.to_socket]
                .map(|counter| counter.load(Ordering::Relaxed));
        ForwardCounters { open: self.open.load(Ordering::Relaxed), total, refused, failed, sent, received }
    }

    pub(super) fn info(&self) -> ForwardInfo {
        ForwardInfo {
            listen: self.listen(),
            remote: self.remote,
            to: self.to.clone(),
            state: self.state(),
            counters: self.counters(),
            max_connections: self.max_connections,
        }
    }

    /// One that was never taken.
    pub(super) fn turned_away(&self) {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.refused();
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Endpoint> {
        self.listen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, while there is one.
pub(super) struct Present<'a> {
    shared: &'a Shared,
    /// It is joined to a channel, and has not come to its end.
    pub(super) joined: bool,
}

impl Shared {
    pub(super) fn one_more(&self) -> Present<'_> {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Present { shared: self, joined: false }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if self.joined {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
