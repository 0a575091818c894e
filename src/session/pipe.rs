//! Reading a command's output streams.
//!
//! Owns what the reader has taken from the stream and not consumed; the stream itself is in [`Shared`].

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::lane::Chunk;
use super::process::Process;
use super::shared::{Shared, Which};
use crate::ChannelRef;

/// The reading side of one stream. Dropping it has the rest of the stream dropped on arrival.
#[derive(Debug)]
pub(super) struct Inlet<A = ChannelRef<Process>> {
    shared: Arc<Shared<A>>,
    which: Which,
    chunks: VecDeque<Chunk>,
}

impl<A> Inlet<A> {
    pub(super) const fn new(shared: Arc<Shared<A>>, which: Which) -> Self {
        Self { shared, which, chunks: VecDeque::new() }
    }

    /// Waits for bytes to be there; false at the end.
    pub(super) fn poll_ahead(&mut self, cx: &Context<'_>) -> Poll<io::Result<bool>> {
        while self.chunks.front().is_some_and(|chunk| chunk.data.is_empty()) {
            self.chunks.pop_front();
        }
        if !self.chunks.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.shared.poll_read(self.which, &mut self.chunks, cx)
    }

    pub(super) fn poll_chunk(&mut self, cx: &Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        ready!(self.poll_ahead(cx))?;
        let data = self.chunks.pop_front().map(|chunk| chunk.data);
        self.shared.note_consumed(data.as_ref().map_or(0, Bytes::len));
        Poll::Ready(Ok(data))
    }

    pub(super) fn poll_fill(&mut self, cx: &Context<'_>) -> Poll<io::Result<&[u8]>> {
        ready!(self.poll_ahead(cx))?;
        Poll::Ready(Ok(self.chunks.front().map_or(&[], |chunk| &chunk.data)))
    }

    pub(super) fn poll_read(&mut self, cx: &Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_ahead(cx))?;
        while into.remaining() > 0
            && let Some(chunk) = self.chunks.front()
        {
            let len = chunk.data.len().min(into.remaining());
            into.put_slice(chunk.data.get(..len).unwrap_or_default());
            self.consume(len);
        }
        Poll::Ready(Ok(()))
    }

    /// The credit of these bytes goes back in pieces, what is left of it and that of the packet itself with the last of them.
    pub(super) fn consume(&mut self, bytes: usize) {
        let Some(chunk) = self.chunks.front_mut() else { return };
        let bytes = bytes.min(chunk.data.len());
        chunk.consume(bytes);
        self.shared.note_consumed(bytes);
        if chunk.data.is_empty() {
            self.chunks.pop_front();
        }
    }

    /// What is there, as far as it fits, for one write of all of it.
    pub(super) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| !chunk.data.is_empty());
        into.iter_mut().zip(chunks).map(|(slice, chunk)| *slice = IoSlice::new(&chunk.data)).count()
    }

    /// As [`consume`](Self::consume), over as many chunks as it takes.
    pub(super) fn consume_across(&mut self, mut bytes: usize) {
        while bytes > 0
            && let Some(chunk) = self.chunks.front()
        {
            let here = chunk.data.len().min(bytes);
            if here == 0 {
                self.chunks.pop_front();
                continue;
            }
            bytes -= here;
            self.consume(here);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.shared.lost(self.which)
    }

    pub(super) const fn shared(&self) -> &Arc<Shared<A>> {
        &self.shared
    }

    pub(super) const fn which(&self) -> Which {
        self.which
    }

    /// Gives up reading: the rest goes into memory, for the end.
    pub(super) fn capture(mut self, cap: usize) {
        let unread = std::mem::take(&mut self.chunks);
        self.shared.capture(self.which, unread, cap);
    }
}

impl<A> Drop for Inlet<A> {
    fn drop(&mut self) {
        self.shared.discard_pipe(self.which);
    }
}

macro_rules! async_read {
    ($type:ty, $self:ident => $inlet:expr) => {
        impl tokio::io::AsyncRead for $type {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                into: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let $self = &mut *self;
                $inlet.poll_read(cx, into)
            }
        }

        impl tokio::io::AsyncBufRead for $type {
            fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
                let $self = self.get_mut();
                $inlet.poll_fill(cx)
            }

            fn consume(mut self: Pin<&mut Self>, bytes: usize) {
                let $self = &mut *self;
                $inlet.consume(bytes);
            }
        }
    };
}

pub(super) use async_read;

macro_rules! child_output {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// # When it is read late, or not at all
        /// - What arrives is kept until it is read. Unread bytes count against the channel's receive budget and hold
        ///   the peer up as the channel's [slow-consumer policy](crate::config::SlowConsumer) says.
        /// - Except that **a stream nobody has ever read does not hold up the other one**: as soon as the other has a
        ///   reader, this one keeps its first [`unread_cap`](super::Command::unread_cap) bytes (1 MiB by default); those
        ///   beyond are counted and dropped, [`lost`](Self::lost) tells how many.
        /// - Dropping this value has everything that still comes dropped on arrival.
        ///
        /// # The end
        /// `Ok(0)` when the peer has sent eof or has closed the channel. If the channel ended otherwise (a lost
        /// connection, a hang-up) without eof, reading fails after the last byte: a torn stream is not taken for a
        /// whole one.
        ///
        /// # Cancel safety
        /// Bytes are consumed only when a read returns them.
        #[derive(Debug)]
        pub struct $name(pub(super) Inlet);

        impl $name {
            /// The next bytes as they came from the peer, without copying; `None` at the end.
            ///
            /// # Cancel safety
            /// Nothing is lost if the future is dropped.
            ///
            /// # Errors
            /// The channel ended without eof.
            pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
                std::future::poll_fn(|cx| self.0.poll_chunk(cx)).await
            }

            /// Bytes that were dropped because nobody read the stream.
            #[must_use]
            pub fn lost(&self) -> u64 {
                self.0.lost()
            }
        }

        async_read!($name, this => this.0);
    };
}

child_output! {
    /// The standard output of a command.
    ChildStdout
}

child_output! {
    /// The standard error of a command.
    ChildStderr
}
