//! What a managed connection and its supervised channels share: the connection that is up, and who has declared a
//! channel on it, in which order.
//!
//! One lock, held for a look or a change and never while anything is waited for or code of users runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};

use super::course::{Course, Tally};
use super::state::{ManagedInfo, ManagedState};
use crate::error::{ConnectionError, Phase};
use crate::handle::ConnectionRef;
use crate::handle::route::Way;
use crate::observe::{PhaseEvent, WatchList};
use crate::supervised::{Admission, Admitted};

pub(super) struct Grounds {
    pub(super) target: String,
    pub(super) user: String,
    inner: Mutex<Inner>,
    states: watch::Sender<ManagedState>,
    /// Somebody has begun to wait for a turn, or has left.
    pub(super) changed: Notify,
    /// The supervised channels, for those who look: as long as they have an address, also when they are over.
    pub(super) watched: WatchList,
}

struct Inner {
    live: Option<Live>,
    declared: BTreeMap<u64, Declared>,
    next: u64,
    tally: Tally,
    phases: Option<watch::Receiver<PhaseEvent>>,
}

/// The connection that is up.
struct Live {
    connection: ConnectionRef,
    /// The highest number whose turn has come; later ones wait.
    reached: u64,
    /// All that were declared when it came up had their turns: who is declared now waits for nobody.
    settled: bool,
}

/// What a supervised channel is at.
enum Declared {
    /// It will ask for a connection soon.
    New,
    /// It waits for its turn.
    Asks(oneshot::Sender<Admitted>),
    /// It was given a connection, and may not be done with it.
    Busy,
    /// It is in a pause of its own: nobody waits for it.
    Pauses,
}

impl Declared {
    const fn asks(&self) -> bool {
        matches!(self, Self::Asks(_))
    }
}

/// Whose turn is next.
pub(super) enum Next {
    /// This one's, and it waits.
    Give(oneshot::Sender<Admitted>, ConnectionRef),
    /// The one's with this number, which is not done with an earlier connection yet.
    Held(u64),
    /// Nobody's at the moment.
    Nobody,
    /// The connection is not up any more.
    Over,
}

impl Grounds {
    pub(super) fn new(target: String, user: String, state: ManagedState) -> Self {
        let inner =
            Inner { live: None, declared: BTreeMap::new(), next: 1, tally: Tally::default(), phases: None };
        Self {
            target,
            user,
            inner: Mutex::new(inner),
            states: watch::Sender::new(state),
            changed: Notify::new(),
            watched: WatchList::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- for the addresses ----------------------------------------------------------------------

    /// The connection, if channels can be opened on it.
    pub(super) fn current(&self) -> Option<ConnectionRef> {
        let inner = self.lock();
        let live = inner.live.as_ref()?;
        (live.connection.phase() == Phase::Up).then(|| live.connection.clone())
    }

    pub(super) fn state(&self) -> ManagedState {
        self.states.borrow().clone()
    }

    pub(super) fn states(&self) -> watch::Receiver<ManagedState> {
        self.states.subscribe()
    }

    pub(super) fn info(&self) -> ManagedInfo {
        let state = self.state();
        let inner = self.lock();
        let tally = inner.tally.clone();
        let up_for = tally.up_since.map(|since| since.elapsed());
        // An attempt that was given up left its phase behind.
        let phases = inner.phases.as_ref().filter(|_| !state.is_final());
        ManagedInfo {
            target: self.target.clone(),
            user: self.user.clone(),
            phase: phases.map_or(Phase::Down, |phases| phases.borrow().phase),
            state,
            attempts: tally.attempts,
            connects: tally.connects,
            failures: tally.failures,
            losses: tally.losses,
            escalations: tally.escalations,
            up_for,
            uptime: tally.uptime + up_for.unwrap_or_default(),
            last: tally.last,
            channels: inner.declared.len(),
            waiting: inner.declared.values().filter(|declared| declared.asks()).count(),
        }
    }

    // ---- for the supervised channels ------------------------------------------------------------

    /// One more channel, behind all others.
    pub(super) fn declare(&self) -> u64 {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.declared.insert(number, Declared::New);
        number
    }

    /// What a channel waits for that has asked for a connection.
    pub(super) fn waits_for(&self) -> String {
        let state = self.state();
        match &state {
            ManagedState::Up { .. } => "its turn: those that were declared before are starting".to_owned(),
            _ => format!("the connection: {}", state.now()),
        }
    }

    /// The channel is over.
    pub(super) fn leave(&self, number: u64) {
        self.lock().declared.remove(&number);
        self.changed.notify_one();
    }

    /// The channel makes a pause, after which it asks again.
    pub(super) fn pauses(&self, number: u64) {
        self.lock().declared.insert(number, Declared::Pauses);
        self.changed.notify_one();
    }

    pub(super) fn admit(&self, number: u64) -> Admission {
        let mut inner = self.lock();
        let Inner { live, declared, .. } = &mut *inner;
        // Read under the lock: who ends the connection publishes first and then takes the lock to let go of those
        // that wait.
        if let Some(error) = self.states.borrow().over() {
            return Admission::Never(error);
        }
        if let Some(live) = live
            && (live.settled || live.reached >= number)
            && live.connection.phase() == Phase::Up
        {
            live.reached = live.reached.max(number);
            declared.insert(number, Declared::Busy);
            return Admission::Now(Admitted { way: Way::shared(live.connection.clone()), turn: None });
        }
        let (give, given) = oneshot::channel();
        declared.insert(number, Declared::Asks(give));
        drop(inner);
        self.changed.notify_one();
        Admission::Later(Box::pin(async move { given.await.ok() }))
    }

    /// Gives no connection any more but a new one, if this is the one that is up.
    pub(super) fn give_up(&self, connection: &ConnectionRef) {
        let mut inner = self.lock();
        let live = inner.live.take_if(|live| live.connection.is_same(connection));
        drop(inner);
        drop(live);
    }

    // ---- for the actor --------------------------------------------------------------------------

    /// The attempt under way, or the connection that is up, can be watched here.
    pub(super) fn follow(&self, phases: watch::Receiver<PhaseEvent>) {
        self.lock().phases = Some(phases);
    }

    pub(super) fn open(&self, connection: ConnectionRef) {
        self.lock().live = Some(Live { connection, reached: 0, settled: false });
    }

    /// The connection is up no more.
    pub(super) fn shut(&self) {
        let live = self.lock().live.take();
        drop(live);
    }

    /// Moves on to the next channel in the order of declaration.
    pub(super) fn next(&self, connection: &ConnectionRef) -> Next {
        let mut inner = self.lock();
        let Inner { live, declared, .. } = &mut *inner;
        let Some(live) = live.as_mut().filter(|live| live.connection.is_same(connection)) else {
            return Next::Over;
        };
        for (number, declared) in declared.range_mut(live.reached + 1..) {
            match declared {
                Declared::New => return Next::Nobody,
                Declared::Busy => return Next::Held(*number),
                Declared::Pauses => live.reached = *number,
                Declared::Asks(_) => {
                    live.reached = *number;
                    if let Declared::Asks(give) = std::mem::replace(declared, Declared::Busy) {
                        return Next::Give(give, live.connection.clone());
                    }
                }
            }
        }
        live.settled = true;
        Next::Nobody
    }

    /// Waits no longer for the channel with this number.
    pub(super) fn pass_over(&self, connection: &ConnectionRef, number: u64) {
        let mut inner = self.lock();
        if let Some(live) = inner.live.as_mut().filter(|live| live.connection.is_same(connection)) {
            live.reached = live.reached.max(number);
        }
    }

    /// Tells everybody where the connection is now.
    pub(super) fn publish(&self, course: &Course) {
        let state = course.state().clone();
        let over = state.over().is_some();
        self.lock().tally = course.tally().clone();
        self.states.send_replace(state);
        if over {
            let mut inner = self.lock();
            let asking = inner.declared.values_mut().filter(|declared| declared.asks());
            let waiting: Vec<_> =
                asking.map(|declared| std::mem::replace(declared, Declared::Pauses)).collect();
            drop(inner);
            drop(waiting);
        }
    }
}

/// Waits until no connection will follow.
pub(super) async fn gone(grounds: Arc<Grounds>) -> ConnectionError {
    let mut states = grounds.states();
    match states.wait_for(|state| state.over().is_some()).await {
        Ok(state) => state.over().unwrap_or(ConnectionError::Closed),
        Err(_) => ConnectionError::Closed,
    }
}

/// Waits until another connection than this one is up.
pub(super) async fn next_up(grounds: Arc<Grounds>, lost: ConnectionRef) {
    let mut states = grounds.states();
    loop {
        states.borrow_and_update();
        if grounds.current().is_some_and(|current| !current.is_same(&lost)) {
            return;
        }
        if states.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
