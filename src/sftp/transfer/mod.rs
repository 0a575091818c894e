//! Whole files and trees, both ways.
//!
//! Everything happens in the caller's future: several requests of a file are on the way at a time, several files are at
//! work, and one budget bounds the bytes that all of them hold. Dropping the future ends it; what was open is closed.

mod download;
mod local;
mod mover;
mod options;
mod report;
mod upload;
mod walk;

pub use options::{Symlinks, Transfer};
pub use report::{Progress, TransferReport};

/// How deep a tree may be, as in OpenSSH.
const MOST_DEPTH: usize = 64;

/// How much of what is there already is compared before a transfer goes on behind it.
const TAIL: usize = 64 << 10;

/// The permission bits that are carried over: neither set-user-id nor set-group-id nor sticky.
const MODES: u32 = 0o777;

/// A name below a remote directory.
fn join(directory: &[u8], name: &[u8]) -> bytes::Bytes {
    let slash: &[u8] = if directory.is_empty() || directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat().into()
}
