//! Where messages for a supervised channel go: to the incarnation that is up, into the queue, or back.
//!
//! Shared by all addresses and the supervisor. One lock, held for a push and never while code of users runs,
//! keeps messages in order across a restart.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ractor::ActorCell;
use tokio::sync::watch;
use tokio::time::Instant;

use super::course::Course;
use super::error::{CastError, NotUp};
use super::place::Place;
use super::spec::Escalation;
use super::state::{IncarnationEnd, SupervisedInfo, SupervisedState};
use crate::behaviour::{ChannelRef, ClientChannel};

pub(super) struct Door<C: ClientChannel> {
    inner: Mutex<Inner<C>>,
    states: watch::Sender<SupervisedState>,
    bound: usize,
    place: Weak<dyn Place>,
}

struct Inner<C: ClientChannel> {
    channel: Option<ChannelRef<C>>,
    /// The connection of the last incarnation is gone, and it is still at what arrived before.
    lingering: Option<Lingering<C>>,
    /// What the last incarnation ran.
    command: Option<Arc<str>>,
    waiting: VecDeque<C::Msg>,
    over: bool,
    facts: Facts,
}

/// Its address, unless it was not up yet.
struct Lingering<C: ClientChannel>(Option<ChannelRef<C>>);

#[derive(Default)]
struct Facts {
    incarnation: u64,
    restarts: u64,
    up_since: Option<Instant>,
    last: Option<IncarnationEnd>,
    isolated: bool,
    isolate_stalled: bool,
    on_give_up: Escalation,
    escalations: u64,
}

/// Who has taken a message.
pub(super) enum TakenBy {
    Incarnation(ActorCell),
    Queue,
}

impl<C: ClientChannel> Door<C> {
    pub(super) fn new(bound: usize, state: SupervisedState, place: Weak<dyn Place>) -> Self {
        let inner = Inner {
            channel: None,
            lingering: None,
            command: None,
            waiting: VecDeque::new(),
            over: false,
            facts: Facts::default(),
        };
        Self { inner: Mutex::new(inner), states: watch::Sender::new(state), bound, place }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- for the addresses ----------------------------------------------------------------------

    pub(super) fn cast(&self, msg: C::Msg) -> Result<TakenBy, CastError<C::Msg>> {
        let mut inner = self.lock();
        let msg = match &inner.channel {
            Some(channel) => match channel.offer(msg) {
                Ok(()) => return Ok(TakenBy::Incarnation(channel.actor())),
                // It has ended, and the supervisor has not heard of it yet.
                Err(msg) => msg,
            },
            None => msg,
        };
        if !inner.over && inner.waiting.len() < self.bound {
            inner.waiting.push_back(msg);
            return Ok(TakenBy::Queue);
        }
        let over = inner.over;
        drop(inner);
        Err(CastError { msg, reason: self.not_up(over) })
    }

    /// The incarnation that is up.
    pub(super) fn channel(&self) -> Result<ChannelRef<C>, NotUp> {
        let inner = self.lock();
        if let Some(channel) = &inner.channel {
            return Ok(channel.clone());
        }
        let over = inner.over;
        drop(inner);
        Err(match self.not_up(over) {
            NotUp::QueueFull { .. } => NotUp::Refused { state: self.state() },
            other => other,
        })
    }

    fn not_up(&self, over: bool) -> NotUp {
        match (over, self.bound) {
            (true, _) => NotUp::Over { state: self.state() },
            (false, 0) => NotUp::Refused { state: self.state() },
            (false, bound) => NotUp::QueueFull { bound },
        }
    }

    pub(super) fn state(&self) -> SupervisedState {
        self.states.borrow().clone()
    }

    pub(super) fn states(&self) -> watch::Receiver<SupervisedState> {
        self.states.subscribe()
    }

    pub(super) fn info(&self, supervisor: ActorCell) -> SupervisedInfo {
        let state = self.state();
        let waits = matches!(state, SupervisedState::Waiting);
        let waits_for_place = self.place.upgrade().filter(|_| waits).and_then(|place| place.waits_for());
        let inner = self.lock();
        let lingers = waits && inner.lingering.is_some();
        let waits_for = if lingers {
            let number = inner.facts.incarnation;
            Some(format!(
                "the end of incarnation {number}, which is at what came before its connection was lost"
            ))
        } else {
            waits_for_place
        };
        SupervisedInfo {
            behaviour: std::any::type_name::<C>(),
            supervisor,
            command: inner
                .channel
                .as_ref()
                .and_then(|channel| channel.command())
                .or_else(|| inner.command.clone()),
            waits_for,
            state,
            incarnation: inner.facts.incarnation,
            restarts: inner.facts.restarts,
            channel: inner.channel.as_ref().map(|channel| channel.id()),
            up_for: inner.facts.up_since.map(|since| since.elapsed()),
            last: inner.facts.last.clone(),
            queued: inner.waiting.len(),
            queue: self.bound,
            isolated: inner.facts.isolated,
            isolate_stalled: inner.facts.isolate_stalled,
            on_give_up: inner.facts.on_give_up,
            escalations: inner.facts.escalations,
        }
    }

    // ---- for the supervisor ---------------------------------------------------------------------

    /// An incarnation is up: it gets what waits, in order, before anything newer.
    pub(super) fn open(&self, channel: ChannelRef<C>) {
        let mut inner = self.lock();
        if inner.over {
            return;
        }
        while let Some(msg) = inner.waiting.pop_front() {
            if let Err(msg) = channel.offer(msg) {
                inner.waiting.push_front(msg);
                break;
            }
        }
        inner.command = channel.command().or(inner.command.take());
        inner.channel = Some(channel);
    }

    /// The incarnation is down.
    pub(super) fn shut(&self) {
        let mut inner = self.lock();
        let (channel, lingering) = (inner.channel.take(), inner.lingering.take());
        let command = channel.as_ref().and_then(|channel| channel.command());
        inner.command = command.or(inner.command.take());
        drop(inner);
        drop((channel, lingering));
    }

    /// The incarnation takes no messages any more, and has not ended.
    pub(super) fn lingers(&self, channel: Option<ChannelRef<C>>) {
        self.lock().lingering = Some(Lingering(channel));
    }

    /// The incarnation that has not ended, for those who look.
    pub(super) fn present(&self) -> Option<ChannelRef<C>> {
        let inner = self.lock();
        let lingering = || inner.lingering.as_ref().and_then(|lingering| lingering.0.as_ref());
        inner.channel.as_ref().or_else(lingering).cloned()
    }

    /// Nothing is taken any more; what waits is dropped.
    pub(super) fn brick_up(&self) {
        let mut inner = self.lock();
        inner.over = true;
        let rest = (inner.channel.take(), inner.lingering.take(), std::mem::take(&mut inner.waiting));
        drop(inner);
        drop(rest);
    }

    /// Tells everybody where the channel is now.
    pub(super) fn publish(&self, course: &Course) {
        let state = course.state().clone();
        let mut inner = self.lock();
        let up_since = state.is_up().then(|| inner.facts.up_since.unwrap_or_else(Instant::now));
        inner.facts = Facts {
            incarnation: course.incarnation(),
            restarts: course.restarts(),
            up_since,
            last: course.last().cloned(),
            isolated: course.is_isolated(),
            isolate_stalled: course.terms().isolate_stalled,
            on_give_up: course.terms().on_give_up,
            escalations: course.escalations(),
        };
        drop(inner);
        self.states.send_replace(state);
    }
}
