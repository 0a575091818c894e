//! Waiting, with an end to it.

use std::future::Future;
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer, unless it is broken. Shorter than the library's own deadlines (30 s), so that what
/// hangs until one of them is not taken for what ends by itself.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The future's output.
///
/// # Panics
/// After [`SOON`].
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(SOON, future).await {
        Ok(output) => output,
        Err(_) => panic!("not done after {SOON:?}: {what}"),
    }
}

/// Waits for a change that nobody tells of.
///
/// # Panics
/// After [`SOON`].
pub(crate) async fn becomes_true(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
