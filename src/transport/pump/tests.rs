//! The pump over a scripted byte stream, step by step, and over real ones.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Pump, PumpConfig};
use crate::port::budget::{ChannelBudget, ConnectionBudget, OutboundCredit};
use mock::{Mock, MockIo};

mod chunking;
mod ending;
mod gate;
mod mock;
mod russh_pair;
mod stall;
mod writing;

/// Counts how often its task was woken.
#[derive(Default)]
struct Wakes(AtomicU64);

impl Wakes {
    /// Wake-ups since the last call.
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A pump over a [`Mock`], polled by hand: a reading and a writing task that never run.
struct Bench {
    pump: Pump<MockIo>,
    mock: Mock,
    gate: Arc<ConnectionBudget>,
    channel: Arc<ChannelBudget>,
    credit: Arc<OutboundCredit>,
    reader: Arc<Wakes>,
    writer: Arc<Wakes>,
}

impl Bench {
    fn new(config: &PumpConfig) -> Self {
        let (io, mock) = mock::pair();
        let gate = ConnectionBudget::new(1000);
        let credit = OutboundCredit::new(100);
        Self {
            pump: Pump::new(io, config, Arc::clone(&gate), Arc::clone(&credit)),
            mock,
            channel: ChannelBudget::new(Arc::clone(&gate), 1000),
            gate,
            credit,
            reader: Arc::default(),
            writer: Arc::default(),
        }
    }

    /// A read of up to `max` bytes.
    fn read(&mut self, max: usize) -> Poll<io::Result<Vec<u8>>> {
        let waker = Waker::from(Arc::clone(&self.reader));
        let mut bytes = vec![0; max];
        let mut buf = ReadBuf::new(&mut bytes);
        Pin::new(&mut self.pump)
            .poll_read(&mut Context::from_waker(&waker), &mut buf)
            .map_ok(|()| buf.filled().to_vec())
    }

    fn write(&mut self, data: &[u8]) -> Poll<io::Result<usize>> {
        let waker = Waker::from(Arc::clone(&self.writer));
        Pin::new(&mut self.pump).poll_write(&mut Context::from_waker(&waker), data)
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        let waker = Waker::from(Arc::clone(&self.writer));
        Pin::new(&mut self.pump).poll_flush(&mut Context::from_waker(&waker))
    }

    fn shutdown(&mut self) -> Poll<io::Result<()>> {
        let waker = Waker::from(Arc::clone(&self.writer));
        Pin::new(&mut self.pump).poll_shutdown(&mut Context::from_waker(&waker))
    }

    /// Resolves when the next read is ready, woken by timers and by the mock.
    async fn until_readable(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 64];
        poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut bytes);
            Pin::new(&mut self.pump).poll_read(cx, &mut buf).map_ok(|()| buf.filled().to_vec())
        })
        .await
    }
}

/// The first `len` bytes of a stream without a short period.
fn bytes(len: usize) -> Vec<u8> {
    bytes_at(0, len)
}

/// `len` bytes of the same stream, from position `from`.
fn bytes_at(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|n| u8::try_from((n * 7 + n / 251) % 251).unwrap()).collect()
}

fn kind<T: std::fmt::Debug>(poll: Poll<io::Result<T>>) -> io::ErrorKind {
    match poll {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("an error was expected, not {other:?}"),
    }
}

fn ready<T>(poll: Poll<io::Result<T>>) -> T {
    match poll {
        Poll::Ready(Ok(value)) => value,
        Poll::Ready(Err(error)) => panic!("failed: {error}"),
        Poll::Pending => panic!("pending"),
    }
}
