//! The packets of version 3 of the protocol (draft-ietf-secsh-filexfer-02), as bytes.
//!
//! Names and handles are bytes here, as in the draft. russh-sftp's packet types make text of them and lose what is no
//! UTF-8, which OpenSSH's handles are from the 129th on.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::attributes::Attributes;
use super::error::SftpErrorKind;

/// The longest packet taken or sent, as in OpenSSH, without its length field.
pub(super) const MOST_PACKET: usize = 256 << 10;

/// The version of the protocol.
pub(super) const VERSION: u32 = 3;

/// Packet types.
pub(super) mod code {
    pub(in crate::sftp) const INIT: u8 = 1;
    pub(in crate::sftp) const VERSION: u8 = 2;
    pub(in crate::sftp) const OPEN: u8 = 3;
    pub(in crate::sftp) const CLOSE: u8 = 4;
    pub(in crate::sftp) const READ: u8 = 5;
    pub(in crate::sftp) const WRITE: u8 = 6;
    pub(in crate::sftp) const LSTAT: u8 = 7;
    pub(in crate::sftp) const FSTAT: u8 = 8;
    pub(in crate::sftp) const SETSTAT: u8 = 9;
    pub(in crate::sftp) const FSETSTAT: u8 = 10;
    pub(in crate::sftp) const OPENDIR: u8 = 11;
    pub(in crate::sftp) const READDIR: u8 = 12;
    pub(in crate::sftp) const REMOVE: u8 = 13;
    pub(in crate::sftp) const MKDIR: u8 = 14;
    pub(in crate::sftp) const RMDIR: u8 = 15;
    pub(in crate::sftp) const REALPATH: u8 = 16;
    pub(in crate::sftp) const STAT: u8 = 17;
    pub(in crate::sftp) const RENAME: u8 = 18;
    pub(in crate::sftp) const READLINK: u8 = 19;
    pub(in crate::sftp) const SYMLINK: u8 = 20;
    pub(in crate::sftp) const STATUS: u8 = 101;
    pub(in crate::sftp) const HANDLE: u8 = 102;
    pub(in crate::sftp) const DATA: u8 = 103;
    pub(in crate::sftp) const NAME: u8 = 104;
    pub(in crate::sftp) const ATTRS: u8 = 105;
    pub(in crate::sftp) const EXTENDED: u8 = 200;
    pub(in crate::sftp) const EXTENDED_REPLY: u8 = 201;
}

/// A request that is being written. Its id is filled in when it is sent.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
    /// Its answer is a handle, which must not be forgotten.
    pub(super) opens: bool,
}

impl Request {
    pub(super) fn new(kind: u8) -> Self {
        Self::with_room(kind, 64)
    }

    fn with_room(kind: u8, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room);
        bytes.put_u32(0);
        bytes.put_u8(kind);
        bytes.put_u32(0);
        Self { bytes, opens: matches!(kind, code::OPEN | code::OPENDIR) }
    }

    pub(super) fn extended(name: &str) -> Self {
        Self::new(code::EXTENDED).string(name.as_bytes())
    }

    /// A write of `data`, which is copied once.
    pub(super) fn write(handle: &[u8], offset: u64, data: &[u8]) -> Self {
        let mut space = WriteSpace::new(handle, data.len());
        space.data().extend_from_slice(data);
        space.finish(offset)
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.bytes.put_u32(value);
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.bytes.put_u64(value);
        self
    }

    pub(super) fn string(mut self, value: &[u8]) -> Self {
        // What is longer than a packet may be is refused as a whole, when it is sent.
        self.bytes.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.bytes.put_slice(value);
        self
    }

    pub(super) fn attributes(mut self, attributes: &Attributes) -> Self {
        attributes.put(&mut self.bytes);
        self
    }

    /// The packet, unless it is too long.
    pub(super) fn packet(mut self, id: u32) -> Option<Bytes> {
        let len = self.bytes.len().saturating_sub(4);
        let word = u32::try_from(len).ok().filter(|_| len <= MOST_PACKET)?;
        self.bytes.get_mut(..4)?.copy_from_slice(&word.to_be_bytes());
        self.bytes.get_mut(5..9)?.copy_from_slice(&id.to_be_bytes());
        Some(self.bytes.into())
    }
}

/// The first packet, which has no id.
pub(super) fn init() -> Bytes {
    let mut bytes = BytesMut::with_capacity(9);
    bytes.put_u32(5);
    bytes.put_u8(code::INIT);
    bytes.put_u32(VERSION);
    bytes.freeze()
}

/// A write request with room for its data, so that a file is read right to where it is sent from.
#[derive(Debug)]
pub(super) struct WriteSpace {
    bytes: Vec<u8>,
    /// Where the offset stands; the length of the data and the data follow.
    at: usize,
}

/// The bytes of a write request beside its handle and its data, the length of the packet included.
pub(super) const WRITE_OVERHEAD: usize = 25;

impl WriteSpace {
    pub(super) fn new(handle: &[u8], room: usize) -> Self {
        let whole = WRITE_OVERHEAD + handle.len() + room;
        let mut request = Request::with_room(code::WRITE, whole).string(handle);
        let at = request.bytes.len();
        request.bytes.put_bytes(0, 12);
        Self { bytes: request.bytes, at }
    }

    /// Where the data is put, behind what is there. What was asked for as room is there without another allocation.
    pub(super) const fn data(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The request, with what was put behind it: at most as much as there was room for.
    pub(super) fn finish(mut self, offset: u64) -> Request {
        let len = u32::try_from(self.bytes.len().saturating_sub(self.at + 12)).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(self.at..self.at + 8) {
            place.copy_from_slice(&offset.to_be_bytes());
        }
        if let Some(place) = self.bytes.get_mut(self.at + 8..self.at + 12) {
            place.copy_from_slice(&len.to_be_bytes());
        }
        Request { bytes: self.bytes, opens: false }
    }
}

/// What is left of a packet that is being read.
#[derive(Debug, Clone)]
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    pub(super) fn u8(&mut self) -> Result<u8, SftpErrorKind> {
        self.0.try_get_u8().map_err(|_| short())
    }

    pub(super) fn u32(&mut self) -> Result<u32, SftpErrorKind> {
        self.0.try_get_u32().map_err(|_| short())
    }

    pub(super) fn u64(&mut self) -> Result<u64, SftpErrorKind> {
        self.0.try_get_u64().map_err(|_| short())
    }

    pub(super) fn string(&mut self) -> Result<Bytes, SftpErrorKind> {
        let len = usize::try_from(self.u32()?).map_err(|_| short())?;
        if len > self.0.len() {
            return Err(short());
        }
        Ok(self.0.split_to(len))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn short() -> SftpErrorKind {
    SftpErrorKind::protocol("a packet ends before its fields do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_says_where_its_data_goes_and_how_long_it_is() {
        let handle = [0, 0, 0, 200];
        let packet = Request::write(&handle, 7, b"data").packet(9).unwrap();
        let mut fields = Fields(packet);
        assert_eq!(fields.u32().unwrap(), 1 + 4 + 8 + 8 + 8);
        assert_eq!((fields.u8().unwrap(), fields.u32().unwrap()), (code::WRITE, 9));
        assert_eq!(fields.string().unwrap(), &handle[..]);
        assert_eq!((fields.u64().unwrap(), fields.string().unwrap()), (7, Bytes::from_static(b"data")));
        assert!(fields.is_empty());
    }

    #[test]
    fn a_string_longer_than_its_packet_is_an_error() {
        let mut fields = Fields(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 1]));
        assert!(matches!(fields.string(), Err(SftpErrorKind::Protocol { .. })));
    }

    #[test]
    fn a_packet_above_the_cap_is_not_made() {
        assert!(Request::new(code::STAT).string(&vec![b'x'; MOST_PACKET]).packet(1).is_none());
    }
}
