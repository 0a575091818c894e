//! The end: what leads to it, the grace that channels get, and how it is published.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::time::Instant;

use super::actor::State;
use super::clocks::after;
use crate::error::{ConnectionError, Phase};
use crate::handle::msg::ConnectionMsg;
use crate::observe::PhaseEvent;
use crate::transport::TransportEvent;
use crate::wire::codes::DisconnectCode;

impl State {
    pub(super) fn transport_event(&mut self, myself: &ActorRef<ConnectionMsg>, event: TransportEvent) {
        match event {
            TransportEvent::Rekeyed => {
                self.counters.rekeys += 1;
                self.rekey.done(Instant::now(), self.args.transport.traffic());
            }
            TransportEvent::Down(error) => {
                for port in self.table.ports() {
                    port.lost(error.clone());
                }
                // After our own close the end is published when the channel actors have ended; a loss at once.
                if self.closing.is_none() {
                    tracing::info!(%error, "connection lost");
                    self.closing = Some(error.clone());
                    self.down(error);
                }
            }
        }
        self.end_if_idle(myself);
    }

    pub(super) fn shutdown(&mut self, myself: &ActorRef<ConnectionMsg>, grace: Duration) {
        if self.phase == Phase::Up {
            self.phase = Phase::Draining;
            self.args.phases.send_replace(PhaseEvent::new(Phase::Draining));
        }
        if self.closing.is_none() {
            let until = after(Instant::now(), grace);
            self.deadline = Some(self.deadline.map_or(until, |deadline| deadline.min(until)));
        }
        self.end_if_idle(myself);
        self.tick(myself);
    }

    /// The grace is over. Channels that are left get eof and CLOSE behind what they have queued, and half of the close
    /// timeout for it; the other half is for the end of the connection.
    pub(super) fn part(&mut self, myself: &ActorRef<ConnectionMsg>) {
        if self.parting.is_some() {
            return self.close(myself, ConnectionError::Closed);
        }
        let (now, patience) = (Instant::now(), self.args.timeouts.close);
        self.parting = Some(after(now, patience));
        self.deadline = Some(after(now, patience / 2));
        for port in self.table.ports() {
            port.part(ConnectionError::Closed);
        }
        self.end_if_idle(myself);
    }

    /// Ends the connection on our side: channels first, then SSH_MSG_DISCONNECT, then the byte stream.
    pub(super) fn close(&mut self, myself: &ActorRef<ConnectionMsg>, reason: ConnectionError) {
        if self.closing.is_some() {
            // Lost before, and channel actors are still at what arrived: now they have a deadline.
            self.table.ports().iter().for_each(|port| port.cut_off());
            if self.deadline.is_none() {
                self.deadline = Some(after(Instant::now(), self.args.timeouts.close));
                self.tick(myself);
            }
            return;
        }
        self.closing = Some(reason.clone());
        if self.phase == Phase::Up {
            self.phase = Phase::Draining;
            self.args.phases.send_replace(PhaseEvent::new(Phase::Draining));
        }
        let now = Instant::now();
        let until = self.parting.unwrap_or_else(|| after(now, self.args.timeouts.close));
        let patience = until.saturating_duration_since(now);
        self.deadline = Some(until);
        for port in self.table.ports() {
            port.lost(reason.clone());
            port.cut_off();
        }
        let transport = Arc::clone(&self.args.transport);
        tokio::spawn(async move {
            let farewell = transport.disconnect(DisconnectCode::BY_APPLICATION, farewell_text(&reason));
            let _ = tokio::time::timeout(patience, farewell).await;
            transport.abort(reason);
        });
        self.end_if_idle(myself);
        self.tick(myself);
    }

    /// With the last channel go a draining, an orphaned and a lost connection.
    pub(super) fn end_if_idle(&mut self, myself: &ActorRef<ConnectionMsg>) {
        if !self.table.is_idle() {
            return;
        }
        let lost = self.args.down.get().cloned();
        match (lost, &self.closing) {
            (Some(error), closing) => {
                let error = closing.clone().unwrap_or(error);
                self.down(error);
                myself.stop(None);
            }
            (None, Some(_)) => {}
            (None, None) => {
                if self.orphaned || self.phase == Phase::Draining {
                    self.close(myself, ConnectionError::Closed);
                }
            }
        }
    }

    /// Publishes the end, once, and lets go of the byte stream.
    pub(super) fn down(&mut self, reason: ConnectionError) {
        let _ = self.args.down.set(reason.clone());
        self.args.transport.abort(reason.clone());
        for rekey in self.rekeying.take().into_iter().flat_map(|rekeying| rekeying.waiting) {
            let _ = rekey.send(Err(reason.clone()));
        }
        if self.phase == Phase::Down {
            return;
        }
        self.phase = Phase::Down;
        for port in self.table.ports() {
            port.lost(reason.clone());
        }
        self.tell_metrics();
        self.meter.ended(&reason);
        self.args.phases.send_replace(PhaseEvent::down(Some(reason)));
    }
}

/// What a peer is told.
const fn farewell_text(reason: &ConnectionError) -> &'static str {
    match reason {
        ConnectionError::Idle { .. } => "no channel for too long",
        ConnectionError::Expired { .. } => "the connection has reached its greatest age",
        ConnectionError::Expelled(why) => why,
        _ => "closed by the application",
    }
}
