//! What the connection actor does when its clocks tell: one timer, and what is looked at when it rings.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::{Rekeying, State};
use super::clocks::{KeepaliveStep, LifeStep, after};
use crate::error::{CloseReason, ConnectionError, Phase};
use crate::handle::msg::ConnectionMsg;

/// How often the stall clock ticks at most, as a share of the stall timeout.
const STALL_TICKS: u32 = 8;
/// How often is looked whether a key re-exchange has been asked for yet.
const LOOK_ASKED: Duration = Duration::from_secs(1);

/// Clocks.
impl State {
    pub(super) fn tick(&mut self, myself: &ActorRef<ConnectionMsg>) {
        let now = Instant::now();
        if self.phase == Phase::Down {
            if let Some(at) = self.check_end(myself, now) {
                self.wake_at(myself, at);
            }
            return;
        }
        let wakes = [
            self.check_end(myself, now),
            self.check_keepalive(myself, now),
            self.check_rekey(myself, now),
            self.check_stall(now),
            self.check_life(myself, now),
        ];
        if let Some(at) = wakes.into_iter().flatten().min() {
            self.wake_at(myself, at.max(now + Duration::from_millis(1)));
        }
    }

    /// One timer at a time: the earliest.
    fn wake_at(&mut self, myself: &ActorRef<ConnectionMsg>, at: Instant) {
        if let Some((due, timer)) = &self.timer
            && !timer.is_finished()
            && *due <= at
            && *due > Instant::now()
        {
            return;
        }
        let myself = myself.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let _ = myself.cast(ConnectionMsg::Tick);
        });
        if let Some((_, old)) = self.timer.replace((at, timer)) {
            old.abort();
        }
    }

    fn check_end(&mut self, myself: &ActorRef<ConnectionMsg>, now: Instant) -> Option<Instant> {
        let deadline = self.deadline?;
        if now < deadline {
            return Some(deadline);
        }
        match self.closing.clone() {
            None => {
                self.part(myself);
                self.deadline
            }
            Some(reason) => {
                // Channel actors that are stuck in a callback go now.
                myself.get_cell().get_children().iter().for_each(ActorCell::kill);
                self.down(reason);
                myself.stop(None);
                None
            }
        }
    }

    /// Keeps account of whether there are channels or listeners, and looks at the clocks when that has changed.
    pub(super) fn note_use(&mut self, myself: &ActorRef<ConnectionMsg>) {
        self.args.gauges.set_channels(self.table.len(), self.counters.channels_opened);
        self.tell_metrics();
        let in_use = !self.table.is_idle() || self.args.gauges.is_listening();
        if self.life.note(Instant::now(), in_use) {
            self.args.gauges.used();
            self.tick(myself);
        }
    }

    fn check_life(&mut self, myself: &ActorRef<ConnectionMsg>, now: Instant) -> Option<Instant> {
        if self.closing.is_some() {
            return None;
        }
        match self.life.step(now) {
            LifeStep::Wait(at) => Some(at),
            LifeStep::Over(reason) => {
                tracing::info!(%reason, "ending the connection");
                self.close(myself, reason);
                self.deadline
            }
        }
    }

    fn check_keepalive(&mut self, myself: &ActorRef<ConnectionMsg>, now: Instant) -> Option<Instant> {
        let deaf = self.args.budget.shut_since().is_some();
        let bytes_in = self.args.transport.traffic().bytes_in;
        match self.keepalive.step(now, bytes_in, deaf) {
            KeepaliveStep::Off => None,
            KeepaliveStep::Wait(at) => Some(at),
            KeepaliveStep::Ask(at) => {
                self.counters.keepalives_sent += 1;
                let answer = self.args.transport.ping();
                let myself = myself.clone();
                tokio::spawn(async move {
                    if answer.await.is_ok() {
                        let _ = myself.cast(ConnectionMsg::KeepaliveAnswered);
                    }
                });
                Some(at)
            }
            KeepaliveStep::Dead { missed, after } => {
                self.abort(ConnectionError::PeerDead { missed, after });
                None
            }
        }
    }

    /// Ends a connection that cannot be ended politely any more.
    fn abort(&mut self, error: ConnectionError) {
        self.args.transport.abort(error);
    }

    fn check_rekey(&mut self, myself: &ActorRef<ConnectionMsg>, now: Instant) -> Option<Instant> {
        if let Some(rekeying) = &self.rekeying {
            let shut = self.args.budget.shut_total().saturating_sub(rekeying.shut_before);
            let limit = self.args.timeouts.rekey;
            let Some(asked) = rekeying.asked.get() else { return Some(after(now, LOOK_ASKED)) };
            let due = after(after(*asked, limit), shut);
            if now >= due {
                self.abort(ConnectionError::RekeyTimeout { after: limit });
                return None;
            }
            return Some(due);
        }
        let traffic = self.args.transport.traffic();
        if self.closing.is_none() && self.rekey.is_due(now, traffic) {
            self.start_rekey(myself, None);
            return Some(after(now, LOOK_ASKED));
        }
        Some(self.rekey.next_look(now, traffic))
    }

    pub(super) fn start_rekey(
        &mut self,
        myself: &ActorRef<ConnectionMsg>,
        done: Option<oneshot::Sender<Result<(), ConnectionError>>>,
    ) {
        if let Some(error) = self.args.down.get().or(self.closing.as_ref()) {
            if let Some(done) = done {
                let _ = done.send(Err(error.clone()));
            }
            return;
        }
        if let Some(rekeying) = &mut self.rekeying {
            rekeying.waiting.extend(done);
            return;
        }
        let asked = Arc::default();
        let Some(exchange) = self.args.transport.rekey(Arc::clone(&asked)) else {
            if let Some(done) = done {
                let what = "asking for a key re-exchange on this side".into();
                let _ = done.send(Err(ConnectionError::Unsupported(what)));
            }
            return;
        };
        self.rekeying = Some(Rekeying {
            since: Instant::now(),
            asked,
            shut_before: self.args.budget.shut_total(),
            waiting: done.into_iter().collect(),
        });
        let myself = myself.clone();
        tokio::spawn(async move {
            if exchange.await.is_ok() {
                let _ = myself.cast(ConnectionMsg::RekeyDone);
            }
        });
    }

    pub(super) fn rekey_done(&mut self) {
        self.rekey.done(Instant::now(), self.args.transport.traffic());
        for rekey in self.rekeying.take().into_iter().flat_map(|rekeying| rekeying.waiting) {
            let _ = rekey.send(Ok(()));
        }
    }

    /// Notes for those who look who keeps reading stopped, and how many more pauses that made.
    pub(super) fn blame(&self, pauses: u64) {
        let culprit = self.table.greediest();
        if let Some(culprit) = culprit {
            culprit.notes().causes_pauses(pauses);
        }
        self.args.budget.blame(culprit.map(|culprit| culprit.key()));
    }

    /// Ends a channel that has held up the connection for the stall timeout in total, and took less than its receive
    /// budget meanwhile.
    ///
    /// Its share is its receive budget, or its part of what keeps reading stopped if that is less: so there is a
    /// culprit whenever reading has stopped. A channel that is alone holds nobody up but itself: for it, only the
    /// time counts in which it consumed nothing that would have let reading go on.
    fn check_stall(&mut self, now: Instant) -> Option<Instant> {
        let timeout = self.args.limits.stall_timeout;
        let shut = self.args.budget.shut_total();
        let passed = shut.saturating_sub(std::mem::replace(&mut self.shut_seen, shut));
        if passed.is_zero() && self.args.budget.shut_since().is_none() {
            return None;
        }
        let pauses = self.args.budget.pauses();
        let before = std::mem::replace(&mut self.pauses_seen, pauses);
        let went_on = pauses != before;
        self.blame(pauses.saturating_sub(before));
        let yields_at = self.have_yield(now);
        let moves = went_on && self.table.len() == 1;
        let part = (self.args.budget.low_mark() / self.table.len().max(1)).max(1);
        for entry in self.table.iter_mut() {
            let budget = entry.port.inbox.budget();
            let held = budget.held();
            if held < budget.budget().min(part) || moves || entry.progresses() {
                entry.forgive();
                continue;
            }
            let held_up = entry.port.notes().held_up() + passed;
            entry.port.notes().set_held_up(held_up);
            if held_up >= timeout {
                tracing::warn!(channel = %entry.port.key(), held, "ending a channel that holds up its connection");
                self.counters.stalled += 1;
                self.args.gauges.stall();
                entry.port.notes().set_held_up(Duration::ZERO);
                entry.port.abort(CloseReason::Stalled { held, after: timeout });
            }
        }
        let next = after(now, timeout / STALL_TICKS);
        Some(yields_at.map_or(next, |at| at.min(next)))
    }

    /// Ends channels that are to make way for their siblings, and whose consumers take nothing: while reading is
    /// stopped, those that hold most first. Says when to look again, if one of them may be next.
    fn have_yield(&mut self, now: Instant) -> Option<Instant> {
        let budget = Arc::clone(&self.args.budget);
        let part = (budget.low_mark() / self.table.len().max(1)).max(1);
        let mut candidates = Vec::new();
        if self.table.len() > 1 && budget.shut_since().is_some() {
            for entry in self.table.iter_mut() {
                let account = entry.port.inbox.budget();
                if let Some(at) = account.patience_ends()
                    && account.held() >= account.budget().min(part)
                {
                    candidates.push((account.held(), at, Arc::clone(&entry.port)));
                }
            }
        }
        candidates.sort_by_key(|(held, ..)| std::cmp::Reverse(*held));
        let mut next: Option<Instant> = None;
        for (held, at, port) in candidates {
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else if budget.is_shut() {
                tracing::warn!(channel = %port.key(), held, "ending a channel that takes nothing, for its siblings");
                self.counters.stalled += 1;
                self.args.gauges.stall();
                let after = port.inbox.budget().patience().unwrap_or_default();
                port.abort(CloseReason::Stalled { held, after });
            }
        }
        next.filter(|_| budget.is_shut())
    }
}
