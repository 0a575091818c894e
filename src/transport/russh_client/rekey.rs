//! Asking for a key re-exchange (RFC 4253 section 9) when the peer is quiet.
//!
//! russh ends a connection when more than twice its window arrives between our KEXINIT and the peer's. What may arrive
//! then is what the peer still has credit for. So while much flows, our output is held back first: the grants in it do
//! not reach the peer, its credit runs out, and when little is left (or nothing has come for a moment) KEXINIT is
//! queued behind the grants and all of it leaves together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::link::Handle;
use crate::port::LinkClosed;
use crate::port::budget::ConnectionBudget;
use crate::transport::pump::{PumpControl, PumpStats};
use crate::transport::russh_common::Taps;

/// How often the peer's remaining credit is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Nothing received for so long while output is held back: the peer has nothing to send.
const QUIET: Duration = Duration::from_millis(50);
/// And has been looked at so often meanwhile, with nothing received in between: in a process that gets no time, nothing
/// is received either.
const QUIET_LOOKS: u32 = 20;
/// Output is not held back for longer than this.
const MAX_HOLD: Duration = Duration::from_secs(10);
/// No KEXINIT is smaller.
const KEXINIT: usize = 500;
/// Over this time the inbound rate is measured.
const RATE: Duration = Duration::from_millis(100);

pub(super) struct Rekey {
    pub(super) handle: Arc<Handle>,
    pub(super) taps: Arc<Taps>,
    pub(super) exchanges: watch::Receiver<u64>,
    pub(super) budget: Arc<ConnectionBudget>,
    pub(super) control: Arc<PumpControl>,
    pub(super) stats: Arc<PumpStats>,
    /// russh's window: what may arrive unharmed is twice that.
    pub(super) window: u64,
}

/// Lets the output go, whatever happens.
struct Hold(Arc<PumpControl>);

impl Hold {
    fn new(control: &Arc<PumpControl>) -> Self {
        control.set_hold(true);
        Self(Arc::clone(control))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.set_hold(false);
    }
}

pub(super) async fn rekey(mut this: Rekey) -> Result<(), LinkClosed> {
    let before = *this.exchanges.borrow_and_update();
    let hold = loop {
        this.gate_open().await;
        if this.taps.credit().0 <= this.window || this.is_slow().await {
            break None;
        }
        let hold = Hold::new(&this.control);
        if this.run_dry().await {
            break Some(hold);
        }
    };
    this.handle.rekey_soon().await?;
    if hold.is_some() {
        this.kexinit_queued().await;
    }
    drop(hold);
    this.exchanges.wait_for(|count| *count != before).await.map_err(|_| LinkClosed)?;
    Ok(())
}

impl Rekey {
    /// While reading has stopped the kernel's buffers are full of what would count.
    async fn gate_open(&self) {
        while self.budget.shut_since().is_some() && !self.taps.is_down() {
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Whether so little arrives that what is under way cannot be too much.
    async fn is_slow(&self) -> bool {
        let before = self.stats.bytes_in();
        let start = Instant::now();
        let mut looks = 0;
        while start.elapsed() < RATE || looks < QUIET_LOOKS {
            tokio::time::sleep(LOOK).await;
            looks += 1;
        }
        let per_second = (self.stats.bytes_in() - before) * 10;
        per_second < self.window / 2
    }

    /// Waits until the peer can send only a little more. False when reading stopped meanwhile.
    async fn run_dry(&self) -> bool {
        let (_, granted_before) = self.taps.credit();
        let start = Instant::now();
        let (mut seen, mut looks) = (self.stats.bytes_in(), 0_u32);
        loop {
            if self.budget.shut_since().is_some() {
                return false;
            }
            let now = self.stats.bytes_in();
            looks = if now == seen { looks.saturating_add(1) } else { 0 };
            seen = now;
            let (credit, granted) = self.taps.credit();
            let left = credit.saturating_sub(granted - granted_before);
            let quiet = looks >= QUIET_LOOKS && self.stats.last_inbound().max(start).elapsed() >= QUIET;
            if left <= self.window || quiet || start.elapsed() >= MAX_HOLD {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until russh has written its KEXINIT into the held output, or clearly will not.
    async fn kexinit_queued(&self) {
        let before = self.stats.buffered();
        let start = Instant::now();
        while self.stats.buffered() < before + KEXINIT && start.elapsed() < QUIET {
            tokio::time::sleep(LOOK).await;
        }
    }
}
