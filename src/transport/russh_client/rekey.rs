//! Asking for a key re-exchange (RFC 4253 section 9) without losing the connection.
//!
//! russh ends a connection when more than twice its window arrives between our KEXINIT and the peer's. What arrives in
//! that time is what arrives while the peer answers any other question; so where little does, KEXINIT is just sent.
//! Where much flows, our output is held back first: the grants in it do not reach the peer, and its credit runs out.
//! When little is left of it on the channels that were just in use, [`Drain`] makes russh write KEXINIT at once, in the callback that has seen it, and all that was
//! held leaves together with it. Channels are not opened meanwhile: each would come with a full window. What is left to
//! channels that send little all the time does not count once little arrives in all. Credit that does not run out in time
//! is left alone, and tried again later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use russh::client::Session;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::link::Handle;
use crate::port::LinkClosed;
use crate::port::budget::ConnectionBudget;
use crate::transport::pump::{PumpControl, PumpStats};
use crate::transport::russh_common::{Credit, Taps};

/// How often is looked at what arrives.
const LOOK: Duration = Duration::from_millis(2);
/// For so long is watched how much arrives, and on which channels, before anything is done.
const MOMENT: Duration = Duration::from_millis(200);
/// Little received for so long while output is held back: the peer has no more to send.
const QUIET: Duration = Duration::from_millis(500);
/// And has been looked at so often meanwhile: in a process that gets no time, nothing is received either.
const QUIET_LOOKS: u32 = 100;
/// For how long output is held back at first; each further try may take twice as long as the one before.
const FIRST_HOLD: Duration = Duration::from_secs(5);
/// For how long at most: less than others wait for answers.
const LAST_HOLD: Duration = Duration::from_secs(20);
/// For so long is waited whether the peer has asked for an exchange, whose answer was held back.
const PEERS: Duration = Duration::from_secs(1);
/// How many questions the peer answers before the connection counts as calm.
const QUESTIONS: u32 = 3;
/// What russh's KEXINIT is larger than, in bytes.
const KEXINIT: usize = 500;
/// In that time russh has written a KEXINIT that it was asked for.
const WRITTEN: Duration = Duration::from_secs(1);

/// What one key exchange needs.
pub(super) struct Rekey {
    pub(super) handle: Arc<Handle>,
    pub(super) taps: Arc<Taps>,
    pub(super) drain: Arc<Drain>,
    pub(super) exchanges: watch::Receiver<u64>,
    /// When KEXINIT was written.
    pub(super) asked: Arc<OnceLock<Instant>>,
    pub(super) budget: Arc<ConnectionBudget>,
    pub(super) control: Arc<PumpControl>,
    pub(super) stats: Arc<PumpStats>,
    /// russh's window: what may arrive unharmed is twice that.
    pub(super) window: u64,
}

/// Waits until the peer's credit is nearly used up, within russh's session: only there nothing can come between.
#[derive(Default)]
pub(super) struct Drain {
    armed: AtomicBool,
    plan: Mutex<Option<Plan>>,
    /// Whether output is held back.
    holds: watch::Sender<bool>,
}

struct Plan {
    /// What had been granted when the hold began. What was granted since, the peer does not know of.
    granted_before: u64,
    /// russh's window: see [`Rekey`].
    window: u64,
    control: Arc<PumpControl>,
    /// Told when KEXINIT is written.
    asked: oneshot::Sender<()>,
}

impl Drain {
    /// Something has arrived.
    pub(super) fn look(&self, taps: &Taps, session: &mut Session) -> Result<(), russh::Error> {
        if !self.armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(plan) = self.come_true(taps) else { return Ok(()) };
        // If this fails the session ends, and the hold with it.
        session.initiate_rekey()?;
        plan.control.let_go_at_flush();
        let _ = plan.asked.send(());
        Ok(())
    }

    fn come_true(&self, taps: &Taps) -> Option<Plan> {
        let mut plan = self.lock();
        let Credit { active, granted, expected, .. } = taps.credit();
        plan.take_if(|plan| {
            // What is granted on a channel is granted because something arrived: it is all among the active ones.
            let left = active.saturating_sub(granted.saturating_sub(plan.granted_before));
            // An open that is under way may bring one more window.
            left <= if expected > 0 { plan.window / 2 } else { plan.window }
        })
    }

    /// Waits while nothing that is opened would leave.
    pub(super) async fn over(&self) {
        // The sender lives as long as this.
        let _ = self.holds.subscribe().wait_for(|holds| !holds).await;
    }

    fn begin(&self, plan: Plan) {
        *self.lock() = Some(plan);
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Whether there was still a plan.
    fn cancel(&self) -> bool {
        self.armed.store(false, Ordering::Relaxed);
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds output back, and lets it go, whatever happens.
struct Hold<'a> {
    of: &'a Rekey,
    asked: oneshot::Receiver<()>,
    cancelled: bool,
}

impl<'a> Hold<'a> {
    fn new(of: &'a Rekey) -> Self {
        let (tell, asked) = oneshot::channel();
        of.drain.holds.send_replace(true);
        of.control.set_hold(true);
        // What is granted just now counts as known to the peer: an error to the safe side.
        let granted_before = of.taps.credit().granted;
        let control = Arc::clone(&of.control);
        of.drain.begin(Plan { granted_before, window: of.window, control, asked: tell });
        Self { of, asked, cancelled: false }
    }

    /// False when KEXINIT is written, or just being written; what is held leaves with it.
    fn cancel(&mut self) -> bool {
        self.cancelled |= self.of.drain.cancel();
        self.cancelled
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if self.cancel() {
            self.of.control.set_hold(false);
        }
        self.of.drain.holds.send_replace(false);
    }
}

/// How a hold ended.
enum Held {
    /// russh has written KEXINIT.
    Asked,
    /// Little comes, whatever credit is left.
    Quiet,
    /// It took too long, or there was no more room for what is held.
    TooLong,
}

/// Returns when an exchange is done, ours or the peer's.
pub(super) async fn rekey(mut this: Rekey) -> Result<(), LinkClosed> {
    let mut exchanges = this.exchanges.clone();
    let before = *this.exchanges.borrow_and_update();
    let done = async { exchanges.wait_for(|count| *count != before).await.map(drop).map_err(|_| LinkClosed) };
    let asked = async {
        this.ask().await?;
        let _ = this.asked.set(Instant::now());
        std::future::pending().await
    };
    tokio::select! {
        biased;
        done = done => done,
        failed = asked => failed,
    }
}

impl Rekey {
    /// Returns when KEXINIT is written, or will be at once.
    async fn ask(&self) -> Result<(), LinkClosed> {
        let mut patience = FIRST_HOLD;
        let mut was_quiet = false;
        loop {
            self.gate_open().await;
            let credit = self.taps.credit();
            if credit.all + credit.expected <= self.window || self.is_calm().await? {
                return Ok(self.handle.rekey_soon().await?);
            }
            let mut hold = Hold::new(self);
            match self.run_dry(&mut hold, patience).await {
                Held::Asked => return Ok(()),
                Held::Quiet if was_quiet => {
                    let before = self.stats.buffered();
                    self.handle.rekey_soon().await?;
                    self.kexinit_written(before).await;
                    return Ok(());
                }
                Held::Quiet => {
                    // Quiet is a peer, too, that has asked for an exchange itself and waits for our answer.
                    was_quiet = true;
                    drop(hold);
                    tokio::time::sleep(PEERS).await;
                }
                Held::TooLong => {
                    drop(hold);
                    tracing::debug!(
                        ?patience,
                        "the peer's credit did not run out; the key exchange is put off"
                    );
                    tokio::time::sleep(patience).await;
                    patience = LAST_HOLD.min(patience * 2);
                }
            }
            if self.taps.is_down() {
                return Err(LinkClosed);
            }
        }
    }

    /// While reading has stopped the kernel's buffers are full of what would count.
    async fn gate_open(&self) {
        while self.budget.shut_since().is_some() && !self.taps.is_down() {
            tokio::time::sleep(MOMENT).await;
        }
    }

    /// Whether little arrives while the peer answers questions, for a moment at least. Notes which channels are active.
    async fn is_calm(&self) -> Result<bool, LinkClosed> {
        self.taps.mark();
        let before = self.stats.bytes_in();
        let answers = async {
            for _ in 0..QUESTIONS {
                self.handle.send_ping().await?;
            }
            Ok::<_, LinkClosed>(())
        };
        let much = async {
            while self.stats.bytes_in() - before <= self.window / 4 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let ((), calm) = tokio::join!(tokio::time::sleep(MOMENT), async {
            tokio::select! {
                biased;
                () = much => Ok(false),
                answered = answers => answered.map(|()| true),
            }
        });
        Ok(calm? && self.stats.bytes_in() - before <= self.window / 4)
    }

    /// Waits until the peer can send only a little more.
    async fn run_dry(&self, hold: &mut Hold<'_>, patience: Duration) -> Held {
        let start = Instant::now();
        // Since when little has arrived, how much was received then, and how often was looked since.
        let (mut since, mut then, mut looks) = (start, self.stats.bytes_in(), 0_u32);
        loop {
            tokio::select! {
                biased;
                asked = &mut hold.asked => return if asked.is_ok() { Held::Asked } else { Held::TooLong },
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = self.stats.bytes_in();
            // Where nothing is read, nothing is received.
            let little = now - then <= self.window / 8 && self.budget.shut_since().is_none();
            if little {
                looks = looks.saturating_add(1);
            } else {
                (since, then, looks) = (Instant::now(), now, 0);
            }
            let end = match () {
                () if looks >= QUIET_LOOKS && since.elapsed() >= QUIET => Held::Quiet,
                () if start.elapsed() >= patience || !self.control.is_held() => Held::TooLong,
                () => continue,
            };
            return if hold.cancel() { end } else { Held::Asked };
        }
    }

    /// Waits until russh has written its KEXINIT into the held output, or clearly will not.
    async fn kexinit_written(&self, before: usize) {
        let start = Instant::now();
        while self.stats.buffered() < before + KEXINIT && start.elapsed() < WRITTEN {
            tokio::time::sleep(LOOK).await;
        }
    }
}
