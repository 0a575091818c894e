//! Packets out of a channel's stream. The data of an answer is handed on as it came; everything else is put into one
//! piece of memory.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};

use super::error::SftpErrorKind;
use super::line::ended;
use super::piece::Piece;
use super::reply::Reply;
use super::wire::{MOST_PACKET, code};
use crate::session::StreamReader;

/// Type, id, and the length of the data.
const DATA_HEAD: usize = 9;

/// The reading half of a session's channel.
#[derive(Debug)]
pub(super) struct Packets {
    from: StreamReader,
    /// What has come and was not taken yet.
    rest: Bytes,
}

impl Packets {
    pub(super) const fn new(from: StreamReader) -> Self {
        Self { from, rest: Bytes::new() }
    }

    /// The next packet without its length; `None` at the end.
    pub(super) async fn packet(&mut self) -> Result<Option<Bytes>, SftpErrorKind> {
        let Some(len) = self.length().await? else { return Ok(None) };
        self.whole(BytesMut::new(), len).await.map(Some)
    }

    /// The next answer, and whose it is; `None` at the end.
    pub(super) async fn reply(&mut self) -> Result<Option<(u32, Reply)>, SftpErrorKind> {
        let Some(len) = self.length().await? else { return Ok(None) };
        let Some(left) = len.checked_sub(DATA_HEAD) else {
            return Reply::read(self.whole(BytesMut::new(), len).await?).map(Some);
        };
        let mut head = [0; DATA_HEAD];
        self.fill(&mut head).await?;
        let [code::DATA, a, b, c, d, e, f, g, h] = head else {
            return Reply::read(self.whole(BytesMut::from(&head[..]), left).await?).map(Some);
        };
        let data = usize::try_from(u32::from_be_bytes([e, f, g, h])).unwrap_or(usize::MAX);
        let behind = left.checked_sub(data).ok_or_else(super::wire::short)?;
        let mut piece = Piece::default();
        while piece.len() < data {
            let chunk = self.take(data - piece.len()).await?;
            piece.push(chunk);
        }
        let mut skipped = 0;
        while skipped < behind {
            skipped += self.take(behind - skipped).await?.len();
        }
        Ok(Some((u32::from_be_bytes([a, b, c, d]), Reply::Data(piece))))
    }

    /// The length of the next packet.
    async fn length(&mut self) -> Result<Option<usize>, SftpErrorKind> {
        if !self.wait().await? {
            return Ok(None);
        }
        let mut word = [0; 4];
        self.fill(&mut word).await?;
        let len = usize::try_from(u32::from_be_bytes(word)).unwrap_or(usize::MAX);
        if len == 0 || len > MOST_PACKET {
            let problem = format!("a packet of {len} bytes; 1 to {MOST_PACKET} are taken");
            return Err(SftpErrorKind::protocol(problem));
        }
        Ok(Some(len))
    }

    /// So many bytes more, behind these.
    async fn whole(&mut self, mut bytes: BytesMut, more: usize) -> Result<Bytes, SftpErrorKind> {
        let len = bytes.len() + more;
        bytes.reserve(more);
        while bytes.len() < len {
            let chunk = self.take(len - bytes.len()).await?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    async fn fill(&mut self, mut into: &mut [u8]) -> Result<(), SftpErrorKind> {
        while !into.is_empty() {
            let chunk = self.take(into.len()).await?;
            let (now, later) = into.split_at_mut_checked(chunk.len()).unwrap_or_default();
            now.copy_from_slice(&chunk);
            into = later;
        }
        Ok(())
    }

    /// What there is, up to `most` bytes and at least one, uncopied.
    async fn take(&mut self, most: usize) -> Result<Bytes, SftpErrorKind> {
        if !self.wait().await? {
            return Err(ended("the server ended it within a packet"));
        }
        Ok(self.rest.split_to(most.min(self.rest.len())))
    }

    /// Waits until there is something; false at the end.
    async fn wait(&mut self) -> Result<bool, SftpErrorKind> {
        while !self.rest.has_remaining() {
            match self.from.chunk().await {
                Ok(Some(chunk)) => self.rest = chunk,
                Ok(None) => return Ok(false),
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(true)
    }
}

fn broken(error: &io::Error) -> SftpErrorKind {
    ended(&error.to_string())
}
