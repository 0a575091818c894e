//! The dialogue: its two streams, what has come and matched nothing, and what is said to the other end.
//!
//! Owns the bytes between the channel and the patterns. Waiting is in `wait`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::AsyncBufRead;

use super::ansi::Stripper;
use super::error::ExpectError;
use super::found::Tail;
use super::options::{DialogOptions, LineEnd};
use super::transcript::{Direction, Entry, Transcript};
use crate::ChannelHandle;
use crate::error::ConfigError;
use crate::session::{Child, ChildStderr, ChildStdin, ChildStdout, Command, CommandError};
use crate::wire::pty::WindowSize;

/// # A dialogue
impl Command {
    /// Starts it, and leads a dialogue with it. What it writes to standard error is part of the dialogue, unless
    /// something else was asked for; with a terminal it comes in one stream anyway.
    ///
    /// Works with whatever gives commands: connections, managed connections, shells with and without a terminal.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is hung up.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn). An option makes no sense, or stdin or stdout are not piped: nothing was sent then.
    pub async fn dialog(self, options: DialogOptions) -> Result<Dialog, CommandError> {
        options.check()?;
        self.check_dialog()?;
        Ok(Dialog::new(self.spawn().await?, options))
    }
}

/// A dialogue with a program on a channel. From [`Command::dialog`].
///
/// Bytes are taken from the channel while something is waited for, and only as many as the
/// [buffer](DialogOptions::buffer) holds. What no match has consumed stays: a step that failed, ran out of time or whose
/// future was dropped has consumed nothing. Meanwhile what comes holds its receive credit, so that the other end is held up
/// as by any reader that does not read.
///
/// Dropping it treats the program as [`on_cancel`](Command::on_cancel) says, by default a hang-up.
pub struct Dialog {
    pub(super) child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What came and no match has consumed.
    pub(super) buffer: BytesMut,
    pub(super) limit: usize,
    pub(super) deadline: Duration,
    line_end: LineEnd,
    stripper: Option<Stripper>,
    transcript: Transcript,
}

impl fmt::Debug for Dialog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialog")
            .field("channel", &self.child.id())
            .field("unmatched", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// What filling the buffer came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// More is there.
    More,
    /// There is no room.
    Full,
    /// Nothing more will come.
    Ended,
}

/// # What is sent
impl Dialog {
    /// Sends these bytes as they are. Returns when the outbound queue took them.
    ///
    /// # Cancel safety
    /// Nothing was sent if the future is dropped before it returned.
    ///
    /// # Errors
    /// The channel is closed. There was no room within the deadline, because the other end reads nothing.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]> + Send) -> Result<(), ExpectError> {
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        self.put(bytes.clone()).await?;
        self.transcript.note(Direction::Sent, &bytes);
        Ok(())
    }

    /// Sends these bytes and the [line end](DialogOptions::line_end).
    ///
    /// A terminal in line mode cuts lines longer than 4095 bytes, and says nothing of it.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_line(&mut self, line: impl AsRef<[u8]> + Send) -> Result<(), ExpectError> {
        self.send([line.as_ref(), self.line_end.bytes()].concat()).await
    }

    /// Sends a secret and the line end. In the transcript there is only that it was sent, in logs nothing.
    ///
    /// Wait for the prompt first: who asks for a password turns the echo off before. What the other end echoes all the
    /// same is received like anything else. The copy that waits to be sent is not wiped.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send); the error does not have the secret.
    pub async fn send_secret(&mut self, secret: &SecretString) -> Result<(), ExpectError> {
        let line = Zeroizing::new([secret.expose_secret().as_bytes(), self.line_end.bytes()].concat());
        self.put(Bytes::copy_from_slice(&line)).await?;
        self.transcript.note(Direction::SentSecret, b"");
        Ok(())
    }

    /// Sends a control character: `c` for what ctrl-c types, `[` for ESC.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send). There is no such control character.
    pub async fn send_control(&mut self, key: char) -> Result<(), ExpectError> {
        let byte = match u8::try_from(key.to_ascii_uppercase()) {
            Ok(b'?') => 0x7f,
            Ok(key @ b'@'..=b'_') => key & 0x1f,
            _ => {
                let problem = format!("`{key}` with ctrl is no control character");
                return Err(
                    ConfigError::new("key", problem, "give a letter, or one of @ [ \\ ] ^ _ ?").into()
                );
            }
        };
        self.send([byte]).await
    }

    /// Sends eof (SSH_MSG_CHANNEL_EOF, RFC 4254 section 5.3) behind what was sent. A program on a terminal does not
    /// see it: there it is `send_control('d')`.
    pub fn send_eof(&mut self) {
        self.stdin = None;
    }

    /// Tells the new size of the terminal (`window-change`, RFC 4254 section 6.7).
    ///
    /// # Errors
    /// The channel is closed.
    pub fn window_change(&self, size: WindowSize) -> Result<(), ExpectError> {
        Ok(self.child.window_change(size)?)
    }

    async fn put(&mut self, bytes: Bytes) -> Result<(), ExpectError> {
        let Some(stdin) = &mut self.stdin else {
            let fix = "send before `send_eof`";
            return Err(ConfigError::new("send", "comes after the end of the input", fix).into());
        };
        match tokio::time::timeout(self.deadline, stdin.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(mut error)) => {
                // It may be a secret.
                error.data = Bytes::new();
                Err(ExpectError::Send(error))
            }
            Err(_) => Err(ExpectError::Timeout {
                waited_for: "room to send".into(),
                after: self.deadline,
                seen: Tail::of(&self.buffer),
            }),
        }
    }
}

/// # What is there
impl Dialog {
    pub(super) fn new(mut child: Child, options: DialogOptions) -> Self {
        Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            child,
            buffer: BytesMut::new(),
            limit: options.buffer,
            deadline: options.deadline,
            line_end: options.line_end,
            stripper: options.strip_escapes.then(Stripper::default),
            transcript: options.transcript,
        }
    }

    /// What has been taken from the channel and no match has consumed.
    #[must_use]
    pub fn unmatched(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes that out, as if it had matched.
    pub fn take(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    /// Sets how long a step may take that is given no deadline of its own.
    pub const fn set_deadline(&mut self, limit: Duration) {
        self.deadline = limit;
    }

    /// What was said, the oldest first; empty unless [asked for](DialogOptions::transcript).
    pub fn transcript(&self) -> impl Iterator<Item = &Entry> {
        self.transcript.entries()
    }

    /// How many entries the transcript has dropped to keep its limit.
    #[must_use]
    pub const fn transcript_dropped(&self) -> u64 {
        self.transcript.dropped()
    }

    /// The channel: signals, counters, close.
    #[must_use]
    pub const fn channel(&self) -> &ChannelHandle {
        self.child.channel()
    }

    /// The program without the dialogue, and what no match has consumed: to go on by hand.
    #[must_use]
    pub fn into_child(mut self) -> (Child, Bytes) {
        self.child.stdin = self.stdin;
        self.child.stdout = self.stdout;
        self.child.stderr = self.stderr;
        (self.child, self.buffer.freeze())
    }

    /// Waits for more and puts it into the buffer. Bytes are in the channel or in the buffer, never between.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        let mut more = false;
        let mut sink = Sink {
            room: self.limit.saturating_sub(self.buffer.len()),
            buffer: &mut self.buffer,
            stripper: &mut self.stripper,
            transcript: &mut self.transcript,
        };
        if sink.room == 0 {
            return Poll::Ready(Filled::Full);
        }
        more |= sink.drain(&mut self.stdout, cx);
        more |= sink.drain(&mut self.stderr, cx);
        if more {
            Poll::Ready(Filled::More)
        } else if self.stdout.is_none() && self.stderr.is_none() {
            Poll::Ready(Filled::Ended)
        } else {
            Poll::Pending
        }
    }
}

/// Where received bytes go.
struct Sink<'a> {
    room: usize,
    buffer: &'a mut BytesMut,
    stripper: &'a mut Option<Stripper>,
    transcript: &'a mut Transcript,
}

impl Sink<'_> {
    /// Takes what is there, up to the room; a stream that has ended goes away. Whether something was taken.
    fn drain<S: AsyncBufRead + Unpin>(&mut self, stream: &mut Option<S>, cx: &mut Context<'_>) -> bool {
        let mut taken = false;
        while self.room > 0
            && let Some(half) = stream
        {
            match Pin::new(&mut *half).poll_fill_buf(cx) {
                Poll::Pending => return taken,
                // Why it ended is told by the channel's end.
                Poll::Ready(Ok([]) | Err(io::Error { .. })) => *stream = None,
                Poll::Ready(Ok(data)) => {
                    let data = data.get(..self.room).unwrap_or(data);
                    let len = data.len();
                    self.take(data);
                    Pin::new(half).consume(len);
                    taken = true;
                }
            }
        }
        taken
    }

    fn take(&mut self, data: &[u8]) {
        self.transcript.note(Direction::Received, data);
        match self.stripper {
            Some(stripper) => stripper.strip(data, self.buffer),
            None => self.buffer.extend_from_slice(data),
        }
        self.room -= data.len().min(self.room);
    }
}
