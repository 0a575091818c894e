//! Ways to a byte stream. Knows nothing of SSH.

mod dialer;
mod streams;
mod tcp;

pub(crate) use dialer::{ByteStream, Dialer};
pub(crate) use streams::Streams;
pub(crate) use tcp::tcp;
