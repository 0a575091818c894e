//! Ways to a byte stream. Knows nothing of SSH.

mod tcp;

pub(crate) use tcp::tcp;
