//! How a connection that is not served learns of it: one line, then the end. Nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

/// How many may be told politely at a time; a flood gets less.
pub(super) const AT_A_TIME: usize = 32;
/// How long a peer has to hear it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the line, and closes.
///
/// A stream that is closed while something unread is in it is reset, and the line is lost with what was unread. So
/// there is a task that waits for the peer's end, for a short time and for few peers at once; others get the line only
/// if their streams take it at once.
pub(super) fn turn_away<IO>(places: &Arc<Semaphore>, mut io: IO, line: &'static str)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        let _ = io.write_all(line.as_bytes()).now_or_never();
        return;
    };
    tokio::spawn(async move {
        let _ = tokio::time::timeout(PATIENCE, async {
            if io.write_all(line.as_bytes()).await.is_ok() {
                until_the_end(io).await;
            }
        })
        .await;
        drop(place);
    });
}

async fn until_the_end<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let mut unread = [0; 1024];
    if io.shutdown().await.is_ok() {
        while io.read(&mut unread).await.is_ok_and(|count| count > 0) {}
    }
}
