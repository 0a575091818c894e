//! Which requests wait for an answer, and what becomes of an answer nobody waits for any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::SftpErrorKind;
use super::reply::Reply;

pub(super) type Answer = Result<Reply, SftpErrorKind>;

/// One request on the wire. It keeps its id, and its place among those that may be, until it is answered.
#[derive(Debug)]
struct Slot {
    to: oneshot::Sender<Answer>,
    opens: bool,
    /// Its number in the order that they were made in.
    made: u64,
    _place: Option<OwnedSemaphorePermit>,
}

/// A request that was entered.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) id: u32,
    pub(super) turn: Turn,
    pub(super) answer: oneshot::Receiver<Answer>,
}

/// Where a request stands among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    made: u64,
    /// How many were unanswered when it was made.
    pub(super) before: usize,
}

#[derive(Debug)]
struct State {
    slots: HashMap<u32, Slot>,
    next: u32,
    made: u64,
    ended: Option<SftpErrorKind>,
    answered: Instant,
}

/// The requests of one session.
#[derive(Debug)]
pub(super) struct Table {
    state: Mutex<State>,
    over: CancellationToken,
}

impl Table {
    pub(super) fn new() -> Self {
        let state = State { slots: HashMap::new(), next: 0, made: 0, ended: None, answered: Instant::now() };
        Self { state: Mutex::new(state), over: CancellationToken::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request: its id, and where its answer will be.
    pub(super) fn enter(
        &self,
        opens: bool,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Entered, SftpErrorKind> {
        let mut state = self.lock();
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        // Ids go round after four thousand million requests; an old one may still be unanswered.
        while state.slots.contains_key(&state.next) {
            state.next = state.next.wrapping_add(1);
        }
        let id = state.next;
        state.next = id.wrapping_add(1);
        let turn = Turn { made: state.made, before: state.slots.len() };
        state.made = turn.made.wrapping_add(1);
        let (to, answer) = oneshot::channel();
        state.slots.insert(id, Slot { to, opens, made: turn.made, _place: place });
        Ok(Entered { id, turn, answer })
    }

    /// How many of those that were made before it are unanswered.
    pub(super) fn before(&self, turn: Turn) -> usize {
        self.lock().slots.values().filter(|slot| slot.made < turn.made).count()
    }

    /// Takes back a request that was not sent.
    pub(super) fn leave(&self, id: u32) {
        self.lock().slots.remove(&id);
    }

    /// Takes an answer to who waits for it. A handle that nobody waits for comes back: it must be closed.
    pub(super) fn answer(&self, id: u32, reply: Reply) -> Result<Option<Bytes>, SftpErrorKind> {
        let slot = {
            let mut state = self.lock();
            state.answered = Instant::now();
            state.slots.remove(&id)
        };
        let slot = slot.ok_or_else(|| {
            SftpErrorKind::protocol(format!("an answer to request {id}, which was not made"))
        })?;
        Ok(match (slot.opens, slot.to.send(Ok(reply))) {
            (true, Err(Ok(Reply::Handle(handle)))) => Some(handle),
            _ => None,
        })
    }

    /// When the last answer came, to whatever.
    pub(super) fn answered(&self) -> Instant {
        self.lock().answered
    }

    /// Ends the session: everybody is told, and nothing new is taken. The first reason stays.
    pub(super) fn end(&self, reason: &SftpErrorKind) {
        let slots = {
            let mut state = self.lock();
            state.ended.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut state.slots)
        };
        for slot in slots.into_values() {
            let _ = slot.to.send(Err(reason.clone()));
        }
        self.over.cancel();
    }

    /// Waits for the end of the session.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }

    pub(super) fn ended(&self) -> Option<SftpErrorKind> {
        self.lock().ended.clone()
    }

    /// How many requests are unanswered.
    pub(super) fn open(&self) -> usize {
        self.lock().slots.len()
    }
}
