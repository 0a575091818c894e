//! A handle of the server's, which is closed in every case.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::attributes::Attributes;
use super::error::SftpErrorKind;
use super::line::Line;
use super::piece::Piece;
use super::wire::{Request, WriteSpace, code};

/// An open file or directory of the server. Dropping it closes it, behind what was sent before.
#[derive(Debug)]
pub(super) struct Handle {
    line: Arc<Line>,
    handle: Bytes,
    closed: AtomicBool,
}

impl Handle {
    pub(super) const fn new(line: Arc<Line>, handle: Bytes) -> Self {
        Self { line, handle, closed: AtomicBool::new(false) }
    }

    fn request(&self, kind: u8) -> Request {
        Request::new(kind).string(&self.handle)
    }

    /// Reads up to `len` bytes; fewer only at the end of the file. A server that gives fewer is asked again.
    pub(super) async fn read(&self, offset: u64, len: usize) -> Result<Piece, SftpErrorKind> {
        let mut piece = Piece::default();
        while piece.len() < len {
            let from = offset.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            let wanted = len - piece.len();
            let count = u32::try_from(wanted).unwrap_or(u32::MAX);
            let Some(data) = self.line.call(self.request(code::READ).u64(from).u32(count)).await?.data()?
            else {
                break;
            };
            if data.len() > wanted {
                let problem = format!("{} bytes where {wanted} were asked for", data.len());
                return Err(SftpErrorKind::protocol(problem));
            }
            piece.append(data);
        }
        Ok(piece)
    }

    pub(super) fn space(&self, room: usize) -> WriteSpace {
        WriteSpace::new(&self.handle, room)
    }

    pub(super) async fn write(&self, request: Request) -> Result<(), SftpErrorKind> {
        self.line.call(request).await?.done()
    }

    pub(super) fn write_of(&self, offset: u64, data: &[u8]) -> Request {
        Request::write(&self.handle, offset, data)
    }

    pub(super) async fn stat(&self) -> Result<Attributes, SftpErrorKind> {
        self.line.call(self.request(code::FSTAT)).await?.attributes()
    }

    pub(super) async fn set(&self, attributes: &Attributes) -> Result<(), SftpErrorKind> {
        self.line.call(self.request(code::FSETSTAT).attributes(attributes)).await?.done()
    }

    pub(super) async fn extended(&self, name: &str) -> super::table::Answer {
        self.line.call(Request::extended(name).string(&self.handle)).await
    }

    pub(super) async fn names(&self) -> Result<Option<Vec<(Bytes, Attributes)>>, SftpErrorKind> {
        self.line.call(self.request(code::READDIR)).await?.names()
    }

    /// Closes it and waits for what the server says: some tell only now that a disk is full. The request is made
    /// at once and once: dropping the future changes nothing, and a number that the server gives to the next file is
    /// never closed in its place.
    pub(super) async fn close(&self) -> Result<(), SftpErrorKind> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.line.close_and_wait(&self.handle).await?.done()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::Relaxed) {
            self.line.close_handle(&self.handle);
        }
    }
}
