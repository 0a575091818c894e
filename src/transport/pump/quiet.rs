//! A timer that fires when a counter has stood still for a while. Keeping the counter moving costs
//! no timer work, so it can sit on a hot path.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Fires once the polled counter has not changed for `limit`. Without a runtime timer until polled.
pub(super) struct QuietTimer {
    limit: Duration,
    seen: Option<(u64, Instant)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl QuietTimer {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, seen: None, sleep: None }
    }

    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }

    /// Forgets the time gone by and frees the runtime timer.
    pub(super) fn stop(&mut self) {
        self.seen = None;
        self.sleep = None;
    }

    /// Ready, once, when `counter` has been the same in all polls for `limit`.
    pub(super) fn poll_elapsed(&mut self, counter: u64, cx: &mut Context<'_>) -> Poll<()> {
        let since = match self.seen {
            Some((seen, since)) if seen == counter => since,
            _ => {
                let now = Instant::now();
                self.seen = Some((counter, now));
                now
            }
        };
        let sleep_on = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        while sleep_on.as_mut().poll(cx).is_ready() {
            // The runtime timer may be older than the last change: then it runs for the rest.
            let rest = self.limit.saturating_sub(since.elapsed());
            if rest.is_zero() {
                self.stop();
                return Poll::Ready(());
            }
            sleep_on.set(sleep(rest));
        }
        Poll::Pending
    }
}
