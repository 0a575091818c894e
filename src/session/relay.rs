//! A channel and a socket, joined: bytes both ways until both have ended.
//!
//! Owns how what happens on one side is told to the other:
//!
//! | one side | the other |
//! |---|---|
//! | the socket's end of data (FIN) | SSH_MSG_CHANNEL_EOF; the other direction goes on |
//! | SSH_MSG_CHANNEL_EOF | the socket's writing half is shut; the other direction goes on |
//! | the socket fails (RST) | SSH_MSG_CHANNEL_CLOSE without EOF |
//! | CLOSE without EOF of a peer that sends EOF otherwise, or the channel is lost | what came before is written, then the socket is reset |
//! | CLOSE without EOF of any other peer | as EOF: for many it is the usual end |
//! | the socket takes nothing any more | what still comes is dropped; it may have said why, so its bytes go on |
//!
//! Nothing is copied on the way down: chunks go from the packets they came in to the socket, many in one write. They
//! hold their receive credit until the socket has taken them, piece by piece: a slow reader is not taken for a stalled one.
//! On the way up bytes are read into the buffer that is sent. Nothing is read while the channel's outbound queue is above
//! its mark.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::task::coop::consume_budget;

use super::outlet::{Outlet, send_patiently};
use super::pipe::Inlet;
use super::shared::Shared;
use crate::wire::codes::DataType;
use crate::{ChannelHandle, Role};

/// What is read from a socket at a time: between these, more when much comes.
const SMALL_READ: usize = 8 << 10;
const LARGE_READ: usize = 256 << 10;
/// How long a socket may take nothing of a stream that is torn already, or when too much is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many bytes of channels that are over may wait here for sockets that take nothing, of one connection. Its budget counts
/// them no more: without a bound, a peer could fill the memory with streams for a service that hangs.
const MOST_LEFT: u64 = 64 << 20;
/// How long a forwarded connection may take next to nothing when its siblings wait for it, if nothing else is said.
pub(crate) const SIBLINGS_WAIT: Duration = Duration::from_secs(5);
/// Chunks in one write: of 32 KiB each they are more than a socket takes at a time.
const SLICES: usize = 32;

/// How much the system keeps unsent at most. Without it, a socket with megabytes in its buffers says only after many seconds
/// that its slow reader has taken something, and a channel whose consumer takes nothing may have to make way.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 256 << 10;

/// Bytes that were passed on.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// From the socket into the channel.
    pub(crate) to_channel: AtomicU64,
    /// From the channel to the socket, which has taken them.
    pub(crate) to_socket: AtomicU64,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Parted {
    /// Both directions came to their ends.
    Ended,
    /// The channel was closed without eof, or lost.
    ChannelCut(io::Error),
    /// The socket failed.
    SocketFailed(io::Error),
}

/// A connected socket, as far as a relay needs it.
pub(crate) trait Socket: Send + Sync {
    /// Waits until it can be read, or is found to be at its end.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until something can be written.
    fn writable(&self) -> impl Future<Output = io::Result<()>> + Send;

    fn try_read(&self, into: &mut BytesMut) -> io::Result<usize>;

    fn try_write(&self, from: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Nothing more is written.
    fn shut(&self) -> io::Result<()>;

    /// Has the peer see a failure, and no end of data, when this is dropped.
    fn reset_on_drop(&self);

    /// Has it say that it can be written as soon as a little can.
    fn small_steps(&self) {}
}

macro_rules! socket {
    ($type:ty, |$socket:ident| $reset:expr, $steps:expr) => {
        impl Socket for $type {
            async fn readable(&self) -> io::Result<()> {
                self.ready(Interest::READABLE).await.map(drop)
            }

            async fn writable(&self) -> io::Result<()> {
                self.ready(Interest::WRITABLE).await.map(drop)
            }

            fn try_read(&self, into: &mut BytesMut) -> io::Result<usize> {
                self.try_read_buf(into)
            }

            fn try_write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
                self.try_write_vectored(from)
            }

            fn shut(&self) -> io::Result<()> {
                SockRef::from(self).shutdown(Shutdown::Write)
            }

            fn reset_on_drop(&self) {
                let $socket = self;
                $reset
            }

            fn small_steps(&self) {
                let $socket = self;
                $steps
            }
        }
    };
}

socket!(
    TcpStream,
    |socket| if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection cannot be reset; its peer sees an end");
    },
    {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = SockRef::from(socket).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "no TCP_NOTSENT_LOWAT");
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = socket;
    }
);
// There is no such thing: its peer sees an end, or ECONNRESET if we have left something unread.
#[cfg(unix)]
socket!(UnixStream, |_socket| {}, {});

/// What a relay needs of a channel.
pub(super) struct Ends<A, R: Role> {
    pub(super) inlet: Inlet<A>,
    pub(super) outlet: Outlet<R>,
}

impl<A: Send + Sync, R: Role> Ends<A, R> {
    /// Passes bytes on until both directions have ended. `early` was read from the socket before.
    pub(super) async fn join(self, socket: &impl Socket, early: Bytes, passed: &Passed) -> Parted {
        let Self { inlet, outlet } = self;
        socket.small_steps();
        let shared = Arc::clone(inlet.shared());
        let rest = Arc::clone(&shared);
        let channel = outlet.handle().clone();
        let port = Arc::clone(channel.port());
        let says_eof = port.gauges().peer_ends_with_eof();
        // Before the outlet, which would say eof.
        let mut tear = Tear { channel: channel.clone(), socket, armed: true };
        let mut down = pin!(pass_down(inlet, socket, passed, says_eof));
        let mut up = pin!(async {
            tokio::select! {
                biased;
                // Nothing can be told any more. What the peer has said before goes on.
                () = over(shared) => Ok(()),
                passed = pass_up(socket, &channel, early, passed) => passed,
            }
        });
        let (cut, failed) = tokio::select! {
            ended = &mut down => match ended {
                Err(cut) => (Some(cut), None),
                Ok(()) => (None, up.await.err()),
            },
            ended = &mut up => match ended {
                Err(failed) => (None, Some(failed)),
                Ok(()) => {
                    let down = async {
                        tokio::select! {
                            biased;
                            ended = &mut down => ended,
                            () = over(Arc::clone(&rest)) => last_bytes(&rest, down, says_eof, port.gauges().left_behind()).await,
                        }
                    };
                    (down.await.err(), None)
                }
            },
        };
        if let Some(cut) = cut {
            return Parted::ChannelCut(cut);
        }
        tear.armed = false;
        if let Some(failed) = failed {
            // What came goes out, and no eof: it is not all there was.
            channel.close();
            return Parted::SocketFailed(failed);
        }
        Parted::Ended
    }
}

/// Cuts both sides off when it is dropped, so that neither sees an end of data.
struct Tear<'a, S: Socket, R: Role> {
    channel: ChannelHandle<R>,
    socket: &'a S,
    armed: bool,
}

impl<S: Socket, R: Role> Drop for Tear<'_, S, R> {
    fn drop(&mut self) {
        if self.armed {
            self.channel.abort();
            self.socket.reset_on_drop();
        }
    }
}

/// The channel is over: what is left of the way down. If it is whole, all of it goes, however long that takes, as long as
/// not too much is left of this connection's relays together. Otherwise the stream is torn already: if the channel was ended
/// on this side, what the socket takes at once is all that goes; if the peer or the connection ended it, the socket must go
/// on taking something.
async fn last_bytes<A>(
    shared: &Shared<A>,
    mut down: Pin<&mut impl Future<Output = io::Result<()>>>,
    says_eof: bool,
    left_behind: &AtomicU64,
) -> io::Result<()> {
    let whole = shared.is_whole(says_eof);
    if !whole && shared.was_ended_here() {
        return down.now_or_never().unwrap_or_else(|| Err(torn("the channel was ended")));
    }
    let mut left = Left { of: left_behind, bytes: 0 };
    loop {
        left.is(shared.unread());
        let before = shared.consumed();
        if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut down).await {
            return ended;
        }
        let may_wait = whole && left_behind.load(Ordering::Relaxed) <= MOST_LEFT;
        if shared.consumed() == before && !may_wait {
            return Err(torn("the socket does not take what came before the end of the channel"));
        }
    }
}

/// What one relay has left of a channel that is over: its part of all that is left behind.
struct Left<'a> {
    of: &'a AtomicU64,
    bytes: u64,
}

impl Left<'_> {
    fn is(&mut self, bytes: u64) {
        self.of.fetch_add(bytes, Ordering::Relaxed);
        self.of.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.is(0);
    }
}

fn torn(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, why)
}

async fn over<A>(shared: Arc<Shared<A>>) {
    poll_fn(|cx| shared.poll_over(cx)).await;
}

/// From the channel to the socket, eof included. Fails if the channel was cut off.
async fn pass_down<A>(
    mut inlet: Inlet<A>,
    socket: &impl Socket,
    passed: &Passed,
    says_eof: bool,
) -> io::Result<()> {
    while poll_fn(|cx| inlet.poll_ahead(cx)).await? {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = inlet.slices(&mut slices);
        match socket.try_write(slices.get(..count).unwrap_or_default()) {
            Ok(written) => {
                passed.to_socket.fetch_add(written as u64, Ordering::Relaxed);
                inlet.consume_across(written);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if socket.writable().await.is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::debug!(%error, "a forwarded connection takes nothing any more");
                return Ok(());
            }
        }
        consume_budget().await;
    }
    if !inlet.shared().is_whole(says_eof) {
        return Err(torn("the peer closed the channel without eof"));
    }
    if let Err(error) = socket.shut() {
        tracing::debug!(%error, "a forwarded connection was not told of the end");
    }
    Ok(())
}

/// From the socket to the channel, eof included. Fails if the socket does; a channel that takes nothing any more is
/// seen by the other direction.
async fn pass_up<R: Role>(
    socket: &impl Socket,
    channel: &ChannelHandle<R>,
    early: Bytes,
    passed: &Passed,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut want = SMALL_READ;
    let mut data = early;
    loop {
        if !data.is_empty() {
            passed.to_channel.fetch_add(data.len() as u64, Ordering::Relaxed);
            if send_patiently(channel, DataType::Normal, data).await.is_err() {
                return Ok(());
            }
        }
        let read = loop {
            socket.readable().await?;
            buffer.reserve(want);
            match socket.try_read(&mut buffer) {
                Ok(read) => break read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        };
        if read == 0 {
            let _ = channel.send_eof();
            return Ok(());
        }
        data = buffer.split().freeze();
        // Nothing is kept for a connection that is silent; what is left of a buffer that was not filled is used.
        if read >= want {
            want = (want * 2).min(LARGE_READ);
        } else if read < want / 4 {
            want = (want / 2).max(SMALL_READ);
        }
        consume_budget().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, sleep_until};

    use super::*;
    use crate::behaviour::Credit;
    use crate::port::budget::{ChannelBudget, ConnectionBudget};
    use crate::session::lane::{Chunk, Fate, Lane};
    use crate::session::shared::Which;

    /// Takes so many bytes at a time, and then nothing for so long.
    struct Slow {
        next: std::sync::Mutex<Instant>,
        bytes: usize,
        rest: Duration,
    }

    impl Slow {
        fn taking(bytes: usize, rest: Duration) -> Self {
            Self { next: std::sync::Mutex::new(Instant::now()), bytes, rest }
        }
    }

    const STEP: Duration = Duration::from_secs(1);

    impl Socket for Slow {
        async fn readable(&self) -> io::Result<()> {
            std::future::pending().await
        }

        async fn writable(&self) -> io::Result<()> {
            let at = *self.next.lock().unwrap();
            sleep_until(at).await;
            Ok(())
        }

        fn try_read(&self, _: &mut BytesMut) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn try_write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut next = self.next.lock().unwrap();
            if Instant::now() < *next {
                return Err(ErrorKind::WouldBlock.into());
            }
            *next = Instant::now() + self.rest;
            Ok(from.iter().map(|slice| slice.len()).sum::<usize>().min(self.bytes))
        }

        fn shut(&self) -> io::Result<()> {
            Ok(())
        }

        fn reset_on_drop(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_seen_to_take_something_with_every_write() {
        const CHUNK: usize = 32 << 10;
        let connection = ConnectionBudget::new(1 << 20);
        let budget = ChannelBudget::new(Arc::clone(&connection), 1 << 20);
        budget.yields_after(SIBLINGS_WAIT);
        let lane = || Lane::new(Fate::Pipe, 0);
        let shared = Shared::<()>::new(lane(), lane());
        for _ in 0..2 {
            let credit = Credit::new(budget.charge(CHUNK));
            shared.push(Which::Stdout, Chunk::new(Bytes::from(vec![7; CHUNK]), Some(credit)));
        }
        shared.eof();
        let (held, begun) = (budget.held(), Instant::now());
        let passing = tokio::spawn(async move {
            let passed = Passed::default();
            let inlet = Inlet::new(shared, Which::Stdout);
            pass_down(inlet, &Slow::taking(1 << 10, STEP), &passed, true).await.unwrap();
            passed.to_socket.into_inner()
        });
        // Both chunks are under way for longer than the patience.
        for second in 1..2 * 32 - 1 {
            sleep_until(begun + STEP * second - STEP / 2).await;
            assert!(budget.patience_ends().unwrap() > Instant::now(), "looks stalled in second {second}");
            assert!(budget.held() <= held - 1024 * second as usize, "{second}: {} are held", budget.held());
        }
        sleep(STEP * 3).await;
        assert_eq!(passing.await.unwrap(), 2 * CHUNK as u64);
        assert_eq!((budget.held(), connection.used()), (0, 0), "all of it is back, and once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_nothing_that_siblings_wait_for() {
        const CHUNK: usize = 32 << 10;
        let budget = ChannelBudget::new(ConnectionBudget::new(1 << 20), 1 << 20);
        budget.yields_after(SIBLINGS_WAIT);
        let lane = || Lane::new(Fate::Pipe, 0);
        let shared = Shared::<()>::new(lane(), lane());
        let credit = Credit::new(budget.charge(CHUNK));
        shared.push(Which::Stdout, Chunk::new(Bytes::from(vec![7; CHUNK]), Some(credit)));
        let (seen, begun) = (Arc::clone(&shared), Instant::now());
        let passing = tokio::spawn(async move {
            let reader = Slow::taking(1, SIBLINGS_WAIT - Duration::from_millis(100));
            let inlet = Inlet::new(shared, Which::Stdout);
            pass_down(inlet, &reader, &Passed::default(), true).await
        });
        sleep(SIBLINGS_WAIT * 2).await;
        assert_eq!(seen.consumed(), 3, "it takes something all the time");
        assert_eq!(budget.patience_ends(), Some(begun + SIBLINGS_WAIT));
        passing.abort();
    }
}
