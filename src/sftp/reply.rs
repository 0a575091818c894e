//! What a server answers.

use bytes::Bytes;

use super::attributes::Attributes;
use super::error::{SftpErrorKind, SftpStatus, words};
use super::piece::Piece;
use super::wire::{Fields, code, short};

/// An answer, without the id that says whose it is.
#[derive(Debug)]
pub(super) enum Reply {
    Status(Option<SftpStatus>, String),
    Handle(Bytes),
    Data(Piece),
    /// What has not been read of it: a count, and names.
    Names(Fields),
    Attributes(Attributes),
    Extended(Fields),
}

impl Reply {
    /// Reads a packet: whose answer it is, and what it says.
    pub(super) fn read(packet: Bytes) -> Result<(u32, Self), SftpErrorKind> {
        let mut fields = Fields(packet);
        let kind = fields.u8()?;
        let id = fields.u32()?;
        let reply = match kind {
            code::STATUS => {
                let status = SftpStatus::from_code(fields.u32()?);
                // Old servers leave the text out.
                let text = if fields.is_empty() { Bytes::new() } else { fields.string()? };
                Self::Status(status, status.map(|status| words(&text, status)).unwrap_or_default())
            }
            code::HANDLE => {
                let handle = fields.string()?;
                if handle.len() > 256 {
                    return Err(SftpErrorKind::protocol(format!("a handle of {} bytes", handle.len())));
                }
                // A copy: it lives long, and must not keep the packet.
                Self::Handle(Bytes::copy_from_slice(&handle))
            }
            // Data is taken as it comes; what is left for here is too short to have any.
            code::DATA => return Err(short()),
            code::NAME => Self::Names(fields),
            code::ATTRS => Self::Attributes(Attributes::take(&mut fields)?),
            code::EXTENDED_REPLY => Self::Extended(fields),
            other => return Err(SftpErrorKind::protocol(format!("a packet of type {other} is no answer"))),
        };
        Ok((id, reply))
    }

    fn other<T>(self, wanted: &str) -> Result<T, SftpErrorKind> {
        match self {
            Self::Status(Some(status), message) => Err(SftpErrorKind::Status { status, message }),
            Self::Status(None, _) => Err(SftpErrorKind::protocol(format!("`ok` where {wanted} is wanted"))),
            _ => Err(SftpErrorKind::protocol(format!("an answer of another kind than {wanted}"))),
        }
    }

    pub(super) fn done(self) -> Result<(), SftpErrorKind> {
        match self {
            Self::Status(None, _) => Ok(()),
            other => other.other("a status"),
        }
    }

    pub(super) fn handle(self) -> Result<Bytes, SftpErrorKind> {
        match self {
            Self::Handle(handle) => Ok(handle),
            other => other.other("a handle"),
        }
    }

    /// Data, or `None` at the end of the file.
    pub(super) fn data(self) -> Result<Option<Piece>, SftpErrorKind> {
        match self {
            Self::Data(data) => Ok((data.len() > 0).then_some(data)),
            Self::Status(Some(SftpStatus::Eof), _) => Ok(None),
            other => other.other("data"),
        }
    }

    pub(super) fn attributes(self) -> Result<Attributes, SftpErrorKind> {
        match self {
            Self::Attributes(attributes) => Ok(attributes),
            other => other.other("attributes"),
        }
    }

    pub(super) fn extended(self) -> Result<Fields, SftpErrorKind> {
        match self {
            Self::Extended(fields) => Ok(fields),
            other => other.other("the answer of an extension"),
        }
    }

    /// Names, or `None` at the end of a listing.
    pub(super) fn names(self) -> Result<Option<Vec<(Bytes, Attributes)>>, SftpErrorKind> {
        let mut fields = match self {
            Self::Names(fields) => fields,
            Self::Status(Some(SftpStatus::Eof), _) => return Ok(None),
            other => return other.other("names"),
        };
        let mut names = Vec::new();
        // Each takes bytes of the packet: what the count claims does not matter.
        for _ in 0..fields.u32()? {
            let name = Bytes::copy_from_slice(&fields.string()?);
            let _long_name = fields.string()?;
            names.push((name, Attributes::take(&mut fields)?));
        }
        Ok(Some(names))
    }

    /// The one name that is the answer.
    pub(super) fn name(self) -> Result<Bytes, SftpErrorKind> {
        let names = match self.names()? {
            Some(names) => <[_; 1]>::try_from(names).ok(),
            None => None,
        };
        names.map(|[(name, _)]| name).ok_or_else(|| SftpErrorKind::protocol("not exactly one name"))
    }
}
