//! The server's side of SOCKS4, SOCKS4a and SOCKS5 (RFC 1928), as far as a forward needs it.
//!
//! Owns the reading of requests and the bytes of the replies; knows no sockets. No login is asked for: whoever may
//! connect to the listener may use it. Names are passed on as they came.
//!
//! `fast-socks5` was looked at: its server knows SOCKS5 alone, has its sockets read for it, and brings two procedural
//! macros and a second `socket2`. What is needed of it is what follows.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::error::OpenError;
use crate::wire::codes::OpenFailureReason;

/// The longest that is read of a request: a SOCKS4a request with the longest user and name.
pub(super) const LONGEST: usize = 1024;

const CONNECT: u8 = 1;
const NO_LOGIN: u8 = 0;
const NO_METHOD: &[u8] = &[5, 0xff];
const LOGGED_IN: &[u8] = &[5, NO_LOGIN];

/// Where the request stands.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    New,
    /// SOCKS5, and the way to log in was agreed on.
    Greeted,
}

/// The protocol, which says what replies look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V5,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More must be read.
    Read,
    /// Say this, and go on.
    Say(&'static [u8]),
    /// It wants to go there. What follows in the buffer is for whoever is there.
    Connect(Version, String, u16),
    /// Say this, and close.
    Refuse(Bytes, &'static str),
}

/// One request being read.
#[derive(Debug, Default)]
pub(super) struct Request {
    stage: Stage,
}

/// Not all is there yet.
struct Short;

/// What has arrived, read from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Short> {
        self.take(1).map(|taken| taken.first().copied().unwrap_or_default())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        self.take(N)?.try_into().map_err(|_| Short)
    }

    /// Up to a zero, which is dropped.
    fn text(&mut self) -> Result<&'a [u8], Short> {
        let len = self.0.iter().position(|byte| *byte == 0).ok_or(Short)?;
        let text = self.take(len)?;
        self.byte()?;
        Ok(text)
    }
}

impl Request {
    /// Looks at what has been read so far, and takes from it what is understood.
    pub(super) fn step(&mut self, read: &mut BytesMut) -> Step {
        let mut cursor = Cursor(read);
        let step = match self.read(&mut cursor) {
            Ok(step) => {
                let left = cursor.0.len();
                read.advance(read.len() - left);
                step
            }
            Err(Short) => Step::Read,
        };
        match step {
            Step::Read if read.len() >= LONGEST => Step::Refuse(Bytes::new(), "the request is too long"),
            step => step,
        }
    }

    fn read(&mut self, from: &mut Cursor<'_>) -> Result<Step, Short> {
        match (from.byte()?, &self.stage) {
            (4, Stage::New) => version_4(from),
            (5, Stage::New) => {
                let count = from.byte()?;
                if !from.take(usize::from(count))?.contains(&NO_LOGIN) {
                    return Ok(Step::Refuse(
                        Bytes::from_static(NO_METHOD),
                        "it wants to log in, here is no login",
                    ));
                }
                self.stage = Stage::Greeted;
                Ok(Step::Say(LOGGED_IN))
            }
            (5, Stage::Greeted) => version_5(from),
            _ => Ok(Step::Refuse(Bytes::new(), "that is not SOCKS4 or SOCKS5")),
        }
    }
}

fn version_4(from: &mut Cursor<'_>) -> Result<Step, Short> {
    let command = from.byte()?;
    let port = u16::from_be_bytes(from.array()?);
    let address: [u8; 4] = from.array()?;
    from.text()?;
    let refuse = |why| Ok(Step::Refuse(Version::V4.reply(Answer::Failed), why));
    // 0.0.0.x: the name follows (SOCKS4a).
    let host = match address {
        [0, 0, 0, last] if last != 0 => match name(from.text()?) {
            Some(name) => name,
            None => return refuse("the name is empty, or not text"),
        },
        address => std::net::Ipv4Addr::from(address).to_string(),
    };
    if command != CONNECT {
        return refuse("only CONNECT is known");
    }
    Ok(Step::Connect(Version::V4, host, port))
}

fn version_5(from: &mut Cursor<'_>) -> Result<Step, Short> {
    let command = from.byte()?;
    from.byte()?;
    let refuse = |answer, why| Ok(Step::Refuse(Version::V5.reply(answer), why));
    let host = match from.byte()? {
        1 => Some(std::net::Ipv4Addr::from(from.array::<4>()?).to_string()),
        3 => {
            let len = from.byte()?;
            name(from.take(usize::from(len))?)
        }
        4 => Some(std::net::Ipv6Addr::from(from.array::<16>()?).to_string()),
        _ => return refuse(Answer::WrongAddressType, "the address type is unknown"),
    };
    let port = u16::from_be_bytes(from.array()?);
    let Some(host) = host else { return refuse(Answer::Failed, "the name is empty, or not text") };
    if command != CONNECT {
        return refuse(Answer::WrongCommand, "only CONNECT is known");
    }
    Ok(Step::Connect(Version::V5, host, port))
}

fn name(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty() && name.len() <= 255).map(str::to_owned)
}

/// Reply codes of SOCKS5 (RFC 1928 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Answer {
    Granted = 0,
    Failed = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    TimedOut = 6,
    WrongCommand = 7,
    WrongAddressType = 8,
}

impl Version {
    /// A reply. The address in it would be the one the server connects from, which nobody tells.
    pub(super) fn reply(self, answer: Answer) -> Bytes {
        match (self, answer) {
            (Self::V4, Answer::Granted) => Bytes::from_static(&[0, 90, 0, 0, 0, 0, 0, 0]),
            (Self::V4, _) => Bytes::from_static(&[0, 91, 0, 0, 0, 0, 0, 0]),
            (Self::V5, answer) => Bytes::copy_from_slice(&[5, answer as u8, 0, 1, 0, 0, 0, 0, 0, 0]),
        }
    }
}

/// What a client is told when there is no channel. SSH has one code for whatever happens on the way (RFC 4254 section
/// 5.1); OpenSSH's text says more, and where it is known it is followed.
pub(super) fn answer_to(error: &OpenError) -> Answer {
    match error {
        OpenError::Refused { reason, description } => match reason {
            OpenFailureReason::AdministrativelyProhibited => Answer::NotAllowed,
            OpenFailureReason::ConnectFailed => {
                let says = |text: &str| description.to_ascii_lowercase().contains(text);
                if says("network is unreachable") {
                    Answer::NetworkUnreachable
                } else if says("no route to host")
                    || says("unknown host")
                    || says("not known")
                    || says("resol")
                {
                    Answer::HostUnreachable
                } else if says("timed out") {
                    Answer::TimedOut
                } else {
                    Answer::Refused
                }
            }
            OpenFailureReason::UnknownChannelType => Answer::WrongCommand,
            _ => Answer::Failed,
        },
        OpenError::Timeout { .. } => Answer::TimedOut,
        OpenError::Connection(_) | OpenError::NoConnection(_) | OpenError::Draining => {
            Answer::NetworkUnreachable
        }
        _ => Answer::Failed,
    }
}

#[cfg(test)]
#[path = "socks/tests.rs"]
mod tests;
