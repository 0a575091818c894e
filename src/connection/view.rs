//! What there is to see of a connection: its counters and its info.

use ractor::ActorCell;
use tokio::time::Instant;

use super::actor::State;
use crate::metrics;
use crate::observe::{ConnectionInfo, Counters};

impl State {
    fn counted(&self) -> Counters {
        let traffic = self.args.transport.traffic();
        let budget = &self.args.budget;
        Counters {
            bytes_in: traffic.bytes_in,
            bytes_out: traffic.bytes_out,
            unread: budget.used(),
            pauses: budget.pauses(),
            paused_for: budget.shut_total(),
            opens_refused: self.args.gauges.opens_refused(),
            requests_refused: self.args.gauges.requests_refused(),
            ..self.counters
        }
    }

    pub(super) fn tell_metrics(&mut self) {
        if metrics::is_on() {
            let counted = self.counted();
            self.meter.tell(counted, self.table.len());
        }
    }

    pub(super) fn info(&self, actor: ActorCell) -> ConnectionInfo {
        if self.args.budget.is_shut() {
            self.blame(0);
        }
        let facts = &self.args.facts;
        let budget = &self.args.budget;
        ConnectionInfo {
            actor,
            phase: self.phase,
            peer_version: facts.peer_version.clone(),
            algorithms: facts.algorithms.clone(),
            host_key_fingerprint: facts.host_key_fingerprint.clone(),
            user: facts.user.clone(),
            auth_methods: facts.auth_methods.clone(),
            peer_addr: facts.peer_addr,
            local_addr: facts.local_addr,
            uptime: self.epoch.elapsed(),
            idle: self.args.gauges.idle(),
            counters: self.counted(),
            inbound_budget: budget.limit(),
            outbound: self.args.transport.outbound(),
            pause: budget.pause(),
            rekeying: self.rekeying.as_ref().map(|rekeying| rekeying.since.elapsed()),
            silence: self.keepalive.silence(),
            time_left: self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
            channels: self.table.info(),
        }
    }
}
