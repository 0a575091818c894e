//! Files on a server: the client of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02, and
//! OpenSSH's extensions).
//!
//! | wanted | call |
//! |---|---|
//! | a session | [`SftpClient::open_session`], on any [target](crate::target) |
//! | a file as a stream | [`open`](SftpClient::open), [`create`](SftpClient::create): a [`RemoteFile`] |
//! | whole files and trees | [`download`](SftpClient::download), [`upload`](SftpClient::upload): [`Transfer`] |
//! | names | [`list`](SftpClient::list), [`stat`](SftpClient::stat), [`rename`](SftpClient::rename), ... |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ractor_ssh::ClientConfig;
//! use ractor_ssh::sftp::{SftpClient, Transfer};
//!
//! let sftp = SftpClient::open_session(ClientConfig::new("files.example.org", "ci")).await?;
//! let report = sftp.download("releases", "releases", Transfer::new().recursive(true).preserve(true)).await?;
//! println!("{} files, {} bytes", report.files, report.bytes);
//! sftp.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # When the connection goes
//! A session is one channel, and that is an actor below its connection's, like all channels: it ends with the connection,
//! and everything that waits is told [so](SftpErrorKind::Ended), a [managed connection](crate::ManagedRef)'s, too. Open a
//! session again on the managed connection, which waits for the next one, and repeat the transfer with
//! [`resume`](Transfer::resume). Nothing is repeated by itself: files that were open, and whether the last rename was
//! done, are not known to the next session.
//!
//! # What a server cannot do
//! What a server sends is a value or an error, never a panic: answers to requests that were not made, packets and
//! handles that are too long, data that was not asked for, listings without end, names with `/` in them. A download
//! never writes outside of its directory, whatever names, kinds and links the server tells, and gives no file the
//! set-user-id bit.
//!
//! # How it is built
//! | file | owns |
//! |---|---|
//! | `client` | the session and its operations on names |
//! | `file`, `listing` | what is open |
//! | `transfer` | whole files and trees, both ways |
//! | `line`, `table` | requests and answers on the wire, and what is forgotten |
//! | `handle` | that what was opened is closed |
//! | `packets`, `piece` | what comes in |
//! | `wire`, `reply`, `attributes` | the packets |
//!
//! russh-sftp has a client, too, and it is not used: it makes text of handles and loses what is no UTF-8, which OpenSSH's
//! are from the 129th open file on; its queue of requests has no bound; an answer with a status it does not know ends the
//! session, and who waits is not told why; and it never closes a file whose opening was given up. (So it is as of 3.0.1.)

mod attributes;
mod client;
mod error;
mod file;
mod handle;
mod line;
mod listing;
mod open;
mod options;
mod packets;
mod piece;
mod reply;
mod table;
mod transfer;
mod wire;

pub use attributes::{Attributes, FileKind};
pub use client::{FileSystem, SftpClient};
pub use error::{SftpError, SftpErrorKind, SftpStatus};
pub use file::RemoteFile;
pub use listing::{DirEntry, ReadDir};
pub use open::OpenFlags;
pub use options::SftpOptions;
pub use transfer::{Progress, Symlinks, Transfer, TransferReport};
