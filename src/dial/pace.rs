//! A stream that takes only so many bytes a second.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep_until};

/// The longest time what is written at once stands for.
const BURST: Duration = Duration::from_millis(50);

/// Paces what is written. Reading is not touched.
pub(crate) struct Paced<IO> {
    io: IO,
    rate: u64,
    /// When what was written so far would be through at this rate.
    through: Instant,
    pause: Pin<Box<Sleep>>,
}

impl<IO> Paced<IO> {
    /// `rate` in bytes per second, not 0.
    pub(crate) fn new(io: IO, rate: u64) -> Self {
        let now = Instant::now();
        Self { io, rate: rate.max(1), through: now, pause: Box::pin(sleep_until(now)) }
    }

    /// How many bytes one write may have.
    fn most(&self) -> usize {
        usize::try_from(self.rate / 20).unwrap_or(usize::MAX).max(1)
    }

    fn time_for(&self, bytes: usize) -> Duration {
        let nanos =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Paced<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Paced<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let now = Instant::now();
        if this.through > now + BURST {
            let until = this.through.checked_sub(BURST).unwrap_or(now);
            this.pause.as_mut().reset(until);
            ready!(this.pause.as_mut().poll(cx));
        }
        let some = data.get(..data.len().min(this.most())).unwrap_or(data);
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, some))?;
        this.through = this.through.max(now) + this.time_for(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_megabyte_at_a_hundred_kilobytes_a_second_takes_ten_seconds() {
        let mut paced = Paced::new(tokio::io::join(tokio::io::empty(), Vec::new()), 100_000);
        let begin = Instant::now();
        paced.write_all(&vec![7; 1_000_000]).await.unwrap();
        let took = begin.elapsed();
        assert!((9_800..=10_100).contains(&took.as_millis()), "{took:?}");
        assert_eq!(paced.io.writer().len(), 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_saved_up() {
        let mut paced = Paced::new(tokio::io::join(tokio::io::empty(), Vec::new()), 1000);
        tokio::time::sleep(Duration::from_secs(100)).await;
        let begin = Instant::now();
        paced.write_all(&[7; 1000]).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(850), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_lowest_rate_still_moves() {
        let mut paced = Paced::new(tokio::io::join(tokio::io::empty(), Vec::new()), 1);
        let begin = Instant::now();
        paced.write_all(&[7; 3]).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(1_900), "{:?}", begin.elapsed());
    }
}
