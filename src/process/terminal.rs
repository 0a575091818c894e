//! A pseudo-terminal, from the side of who plays the keyboard and the screen.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pty_process::{OwnedReadPty, OwnedWritePty, Pts};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::modes;
use crate::wire::{PtyRequest, WindowSize};

/// How often it is looked whether the process has read what was typed.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What can be asked of a terminal, and told to it.
#[derive(Debug)]
pub(super) struct Terminal {
    master: OwnedFd,
    /// The path of the process's side.
    pub(super) name: OsString,
}

/// A terminal from both sides. It is hung up when all of ours is dropped.
pub(super) struct Opened {
    pub(super) terminal: Arc<Terminal>,
    pub(super) keyboard: Keyboard,
    pub(super) screen: Screen,
    /// The process's side.
    pub(super) process: Pts,
}

/// Opens a terminal as the peer wants it.
pub(super) fn open(request: &PtyRequest) -> io::Result<Opened> {
    let (pty, process) = pty_process::open().map_err(io::Error::other)?;
    let name = OsString::from_vec(rustix::pty::ptsname(&pty, Vec::new())?.into_bytes());
    let terminal = Arc::new(Terminal { master: pty.as_fd().try_clone_to_owned()?, name });
    let mut termios = tcgetattr(&process)?;
    modes::apply(&request.modes, &mut termios);
    tcsetattr(&process, OptionalActions::Now, &termios)?;
    terminal.resize(window(request).or(WindowSize::FALLBACK))?;
    let (screen, keyboard) = pty.into_split();
    Ok(Opened {
        keyboard: Keyboard { half: keyboard, terminal: Arc::clone(&terminal) },
        screen: Screen { half: screen, terminal: Arc::clone(&terminal) },
        terminal,
        process,
    })
}

impl Terminal {
    /// Sets a new size; the kernel sends SIGWINCH. What the size leaves open stays.
    pub(super) fn resize(&self, size: WindowSize) -> io::Result<()> {
        let now = tcgetwinsize(&self.master)?;
        let current = WindowSize::new(now.ws_col.into(), now.ws_row.into())
            .pixels(now.ws_xpixel.into(), now.ws_ypixel.into());
        let size = size.or(current);
        let short = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
        Ok(tcsetwinsize(
            &self.master,
            Winsize {
                ws_row: short(size.rows),
                ws_col: short(size.columns),
                ws_xpixel: short(size.width_px),
                ws_ypixel: short(size.height_px),
            },
        )?)
    }

    /// The process group that reads what is typed: a job of the shell, or the shell itself.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.master).ok()
    }

    /// Nobody is told when the process has read: so it is looked, now and then.
    async fn until_read(&self) -> io::Result<()> {
        let mut pause = FIRST_LOOK;
        while self.holds_input()? {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Whether a process that reads now would get something at once.
    fn holds_input(&self) -> io::Result<bool> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other_side = rustix::fs::open(&*self.name, flags, Mode::empty())?;
        let mut look = [PollFd::new(&other_side, PollFlags::IN)];
        Ok(poll(&mut look, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0)
    }
}

const fn window(request: &PtyRequest) -> WindowSize {
    WindowSize::new(request.columns, request.rows).pixels(request.width_px, request.height_px)
}

/// What the process reads.
pub(super) struct Keyboard {
    half: OwnedWritePty,
    terminal: Arc<Terminal>,
}

impl Keyboard {
    /// Types all of it. Waits while the process does not read.
    pub(super) async fn type_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.half.write_all(bytes).await
    }

    /// Types the end-of-file character, as its modes have it then, when all that was typed before has been read: a
    /// program that changes the modes first, as shells do, would not understand an earlier one.
    ///
    /// In the middle of a line (`in_line`), where lines are collected, it only ends the line: there it takes a second one.
    pub(super) async fn end_of_input(&mut self, in_line: bool) -> io::Result<()> {
        self.terminal.until_read().await?;
        let termios = tcgetattr(&self.terminal.master)?;
        let end = termios.special_codes[SpecialCodeIndex::VEOF];
        if end == modes::DISABLED {
            return Ok(());
        }
        self.type_in(&[end]).await?;
        if in_line && termios.local_modes.contains(LocalModes::ICANON) {
            self.terminal.until_read().await?;
            self.type_in(&[end]).await?;
        }
        Ok(())
    }
}

/// What the process writes.
pub(super) struct Screen {
    half: OwnedReadPty,
    terminal: Arc<Terminal>,
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.master.as_fd()
    }
}

impl AsyncRead for Screen {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.half).poll_read(cx, buffer));
        Poll::Ready(end_if_hung_up(read.map(|()| 0)).map(|_| ()))
    }
}

/// When nobody has the other side open any more, Linux says so with an error.
pub(super) fn end_if_hung_up(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
        other => other,
    }
}
