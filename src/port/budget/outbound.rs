//! The outbound account of one connection: what was handed to the SSH library and is not yet on
//! the wire. Must not know who writes or what is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::observe::Used;

/// A byte semaphore over all channels of a connection, first come first served.
///
/// Whoever hands data to the SSH library takes credit first; the socket pump gives it back as
/// ciphertext leaves. Ciphertext is longer than its payload, so all credit comes home (never
/// negotiate compression with it), and what does not, because a packet died inside the library, is
/// forgiven by [`settle`](Self::settle) once the wire is quiet.
///
/// Invariant: free + outstanding = capacity.
#[derive(Debug)]
pub(crate) struct OutboundCredit {
    capacity: u32,
    free: Semaphore,
    outstanding: AtomicUsize,
}

/// The connection takes no more data: the pump has failed, was aborted or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more data")]
pub(crate) struct OutboundClosed;

impl OutboundCredit {
    /// 1 MiB: keeps the pump's write buffer near that size and a fast link busy.
    #[cfg(test)]
    pub(crate) const DEFAULT_CAPACITY: usize = 1024 * 1024;

    /// Credit for `capacity` bytes, between 1 byte and 4 GiB - 1.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let capacity = u32::try_from(capacity.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Arc::new(Self {
            capacity,
            free: Semaphore::new(bytes_of(capacity)),
            outstanding: AtomicUsize::new(0),
        })
    }

    /// Waits for credit for `bytes`, or for the whole capacity if that is less.
    ///
    /// # Errors
    /// [`OutboundClosed`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing; the place in the queue is lost.
    pub(crate) async fn acquire(&self, bytes: usize) -> Result<OutboundPermit<'_>, OutboundClosed> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.capacity);
        self.free.acquire_many(bytes).await.map_err(|_| OutboundClosed)?.forget();
        // Outstanding from now on, not from the hand-over: the packet may be on the wire before its
        // sender gets to say that it was handed over.
        self.outstanding.fetch_add(bytes_of(bytes), Ordering::AcqRel);
        Ok(OutboundPermit { credit: self, bytes: bytes_of(bytes) })
    }

    /// `bytes` of ciphertext went to the socket: as much credit, at most, comes back.
    pub(crate) fn released(&self, bytes: usize) {
        let before = self.outstanding.fetch_update(Ordering::AcqRel, Ordering::Acquire, |outstanding| {
            (outstanding > 0).then(|| outstanding.saturating_sub(bytes))
        });
        if let Ok(outstanding) = before {
            self.free.add_permits(outstanding.min(bytes));
        }
    }

    /// Forgives everything outstanding: called when nothing waits to be written and nothing has
    /// been written for a while, so that what is outstanding cannot be on its way any more.
    pub(crate) fn settle(&self) {
        self.free.add_permits(self.outstanding.swap(0, Ordering::AcqRel));
    }

    /// Bytes acquired and not yet given back.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// What is out at this moment, and what may be.
    pub(crate) fn look(&self) -> Used {
        Used::new(self.outstanding(), bytes_of(self.capacity))
    }

    /// Makes every waiting and later [`acquire`](Self::acquire) fail. Idempotent.
    pub(crate) fn close(&self) {
        self.free.close();
    }

    /// Whether [`close`](Self::close) was called.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.free.is_closed()
    }
}

#[cfg(test)]
impl OutboundCredit {
    /// What can be acquired at once.
    pub(crate) fn free_now(&self) -> usize {
        self.free.available_permits()
    }
}

/// Credit in hand. Dropped unspent, it goes back.
#[must_use = "dropping a permit gives its credit back at once"]
#[derive(Debug)]
pub(crate) struct OutboundPermit<'a> {
    credit: &'a OutboundCredit,
    bytes: usize,
}

impl OutboundPermit<'_> {
    /// The data was handed over: its credit stays out until the socket has taken it.
    pub(crate) fn spend(mut self) {
        self.bytes = 0;
    }

    /// How much this permit covers, in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for OutboundPermit<'_> {
    fn drop(&mut self) {
        self.credit.released(self.bytes);
    }
}

/// Semaphores count in `u32` and `usize`; a capacity fits both.
fn bytes_of(permits: u32) -> usize {
    usize::try_from(permits).unwrap_or(usize::MAX)
}
