//! How a pump ends: its own two reasons, and how an error is told to both halves.

use std::io;
use std::time::Duration;

/// The peer's side of the socket took no byte for too long while output waited. It is the inner
/// error of an [`io::Error`] of kind `TimedOut`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer has read nothing for {after:?} while output was waiting")]
pub(in crate::transport) struct WriteStalled {
    /// The limit that was reached.
    pub(in crate::transport) after: Duration,
}

impl WriteStalled {
    /// The stall behind `error`, if that is what it is.
    pub(in crate::transport) fn in_error(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl From<WriteStalled> for io::Error {
    fn from(stalled: WriteStalled) -> Self {
        Self::new(io::ErrorKind::TimedOut, stalled)
    }
}

/// The owner closed the pump. It is the inner error of an [`io::Error`] of kind
/// `ConnectionAborted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was closed on our side")]
pub(in crate::transport) struct PumpAborted;

impl From<PumpAborted> for io::Error {
    fn from(aborted: PumpAborted) -> Self {
        Self::new(io::ErrorKind::ConnectionAborted, aborted)
    }
}

/// The same error once more, for the other half and for later calls.
pub(super) fn copy(error: &io::Error) -> io::Error {
    if let Some(code) = error.raw_os_error() {
        return io::Error::from_raw_os_error(code);
    }
    if let Some(stalled) = WriteStalled::in_error(error) {
        return stalled.into();
    }
    match error.get_ref() {
        Some(inner) if inner.is::<PumpAborted>() => PumpAborted.into(),
        Some(inner) => io::Error::new(error.kind(), inner.to_string()),
        None => error.kind().into(),
    }
}
