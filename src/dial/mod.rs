//! Ways to a byte stream. Knows nothing of SSH.

mod dialer;
mod tcp;

pub(crate) use dialer::{ByteStream, Dialer};
pub(crate) use tcp::tcp;
