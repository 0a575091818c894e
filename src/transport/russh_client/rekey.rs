//! Asking for a key re-exchange (RFC 4253 section 9) without losing the connection.
//!
//! russh ends a connection when more than twice its window arrives between our KEXINIT and the peer's. What arrives in
//! that time is what arrives while the peer answers any other question; so where little does, KEXINIT is just sent.
//! Where much flows, our output is held back first: the grants in it do not reach the peer, and its credit runs out.
//! When little is left of it on the channels that were just in use, [`Drain`] makes russh write KEXINIT at once, in the callback that has seen it, and all that was
//! held leaves together with it. Channels are not opened meanwhile: each would come with a full window. A credit that does
//! not run out in time is left alone, and tried again later.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// Nothing received for so long while output is held back: the peer has nothing to send.
const QUIET: Duration = Duration::from_secs(1);
/// And has been looked at so often meanwhile, with nothing received in between: in a process that gets no time, nothing
/// is received either.
const QUIET_LOOKS: u32 = 100;
/// For how long output is held back at first; each further try may take twice as long as the one before.
const FIRST_HOLD: Duration = Duration::from_secs(10);
/// For how long at most.
const LAST_HOLD: Duration = Duration::from_secs(60);
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
    /// With so much credit left, KEXINIT is safe.
    enough: u64,
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
        session.initiate_rekey()?;
        plan.control.let_go_at_flush();
        let _ = plan.asked.send(());
        Ok(())
    }

    fn come_true(&self, taps: &Taps) -> Option<Plan> {
        let mut plan = self.lock();
        let Credit { active, granted, .. } = taps.credit();
        // What is granted on a channel is granted because something arrived: it is all among the active ones.
        plan.take_if(|plan| active.saturating_sub(granted - plan.granted_before) <= plan.enough)
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
        let granted_before = of.taps.credit().granted;
        let control = Arc::clone(&of.control);
        of.drain.begin(Plan { granted_before, enough: of.window / 2, control, asked: tell });
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
    /// Nothing more comes, whatever credit is left.
    Quiet,
    /// Reading has stopped meanwhile.
    Shut,
    /// It took too long.
    TooLong,
}

/// Returns when the exchange is done.
pub(super) async fn rekey(mut this: Rekey) -> Result<(), LinkClosed> {
    let before = *this.exchanges.borrow_and_update();
    this.ask().await?;
    this.exchanges.wait_for(|count| *count != before).await.map_err(|_| LinkClosed)?;
    Ok(())
}

impl Rekey {
    /// Returns when KEXINIT is written.
    async fn ask(&self) -> Result<(), LinkClosed> {
        let mut patience = FIRST_HOLD;
        loop {
            self.gate_open().await;
            if self.taps.credit().all <= self.window || self.is_calm().await? {
                self.handle.rekey_soon().await?;
                return Ok(());
            }
            let mut hold = Hold::new(self);
            match self.run_dry(&mut hold, patience).await {
                Held::Asked => return Ok(()),
                Held::Quiet => {
                    self.handle.rekey_soon().await?;
                    self.kexinit_written().await;
                    return Ok(());
                }
                Held::Shut => drop(hold),
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
        let (mut seen, mut looks) = (self.stats.bytes_in(), 0_u32);
        loop {
            tokio::select! {
                biased;
                _ = &mut hold.asked => return Held::Asked,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = self.stats.bytes_in();
            looks = if now == seen { looks.saturating_add(1) } else { 0 };
            seen = now;
            let quiet = looks >= QUIET_LOOKS && self.stats.last_inbound().max(start).elapsed() >= QUIET;
            let end = match () {
                () if self.budget.shut_since().is_some() => Held::Shut,
                () if quiet => Held::Quiet,
                () if start.elapsed() >= patience => Held::TooLong,
                () => continue,
            };
            return if hold.cancel() { end } else { Held::Asked };
        }
    }

    /// Waits until russh has written its KEXINIT into the held output, or clearly will not.
    async fn kexinit_written(&self) {
        let before = self.stats.buffered();
        let start = Instant::now();
        while self.stats.buffered() < before + KEXINIT && start.elapsed() < WRITTEN {
            tokio::time::sleep(LOOK).await;
        }
    }
}
