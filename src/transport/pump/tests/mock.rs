//! A byte stream that does what it is told: one waker for each direction, as a socket has.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
pub(super) struct State {
    inbound: VecDeque<u8>,
    /// What a read gives when `inbound` is empty; end of file is `Some(None)`.
    inbound_end: Option<Option<i32>>,
    /// No read gives more than this.
    pub(super) read_chunk: usize,
    pub(super) reads: usize,
    /// How many bytes the stream still takes.
    room: usize,
    write_fails: Option<i32>,
    /// No write takes more than this.
    pub(super) write_chunk: usize,
    pub(super) written: Vec<u8>,
    /// While true, a flush is pending.
    flush_blocked: bool,
    pub(super) flushes: usize,
    pub(super) shut_down: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

impl State {
    fn wait_to_write<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.write_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The pump's end.
pub(super) struct MockIo(Arc<Mutex<State>>);

/// The test's end.
pub(super) struct Mock(Arc<Mutex<State>>);

/// Nothing to read, no room to write.
pub(super) fn pair() -> (MockIo, Mock) {
    let state = State { read_chunk: usize::MAX, write_chunk: usize::MAX, ..State::default() };
    let state = Arc::new(Mutex::new(state));
    (MockIo(Arc::clone(&state)), Mock(state))
}

impl Mock {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn feed(&self, bytes: &[u8]) {
        self.reading(|state| state.inbound.extend(bytes));
    }

    pub(super) fn finish(&self) {
        self.reading(|state| state.inbound_end = Some(None));
    }

    pub(super) fn fail_reads(&self, os_error: i32) {
        self.reading(|state| state.inbound_end = Some(Some(os_error)));
    }

    pub(super) fn make_room(&self, bytes: usize) {
        self.writing(|state| state.room = state.room.saturating_add(bytes));
    }

    pub(super) fn fail_writes(&self, os_error: i32) {
        self.writing(|state| state.write_fails = Some(os_error));
    }

    pub(super) fn block_flush(&self, blocked: bool) {
        self.writing(|state| state.flush_blocked = blocked);
    }

    pub(super) fn written(&self) -> Vec<u8> {
        self.state().written.clone()
    }

    fn reading(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.state();
            change(&mut state);
            state.read_waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    fn writing(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.state();
            change(&mut state);
            state.write_waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for MockIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.lock().unwrap();
        state.reads += 1;
        if state.inbound.is_empty() {
            return match state.inbound_end {
                Some(None) => Poll::Ready(Ok(())),
                Some(Some(code)) => Poll::Ready(Err(io::Error::from_raw_os_error(code))),
                None => {
                    state.read_waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let len = buf.remaining().min(state.read_chunk).min(state.inbound.len());
        buf.put_slice(&state.inbound.drain(..len).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MockIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.lock().unwrap();
        if let Some(code) = state.write_fails {
            return Poll::Ready(Err(io::Error::from_raw_os_error(code)));
        }
        let len = data.len().min(state.room).min(state.write_chunk);
        if len == 0 {
            return state.wait_to_write(cx);
        }
        state.room -= len;
        state.written.extend_from_slice(&data[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.lock().unwrap();
        if state.flush_blocked {
            return state.wait_to_write(cx);
        }
        state.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().shut_down = true;
        Poll::Ready(Ok(()))
    }
}
