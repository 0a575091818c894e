//! How everybody learns that a session is over, once, and with the best reason there is.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::Taps;
use crate::error::ConnectionError;
use crate::transport::{EventSink, TransportEvent};

/// The end of one session.
pub(in crate::transport) struct Ending {
    /// Our own reason to end the connection, which explains what russh then reports.
    verdict: Mutex<Option<ConnectionError>>,
    events: OnceLock<EventSink>,
}

impl Ending {
    pub(in crate::transport) fn new(events: EventSink) -> Self {
        Self { verdict: Mutex::new(None), events: OnceLock::from(events) }
    }

    /// Our own reason for what russh will report. Only the first counts.
    pub(in crate::transport) fn explain(&self, error: ConnectionError) {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// Tells the connection actor.
    pub(in crate::transport) fn tell(&self, event: TransportEvent) {
        if let Some(events) = self.events.get() {
            events(event);
        }
    }

    /// Every port and the connection actor learn that it is over. Only the first reason counts; true for it.
    pub(in crate::transport) fn down<X>(&self, taps: &Taps<X>, error: ConnectionError) -> bool {
        let verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = verdict.unwrap_or(error);
        let first = taps.down(&error);
        if first {
            self.tell(TransportEvent::Down(error));
        }
        first
    }
}
