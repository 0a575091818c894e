//! The subsystem `sftp`: files below one directory (draft-ietf-secsh-filexfer-02, version 3 of the protocol).
//!
//! | file | owns |
//! |---|---|
//! | `settings` | what a user can choose: [`Sftp`] |
//! | `channel` | the behaviour: credit, back-pressure, the end. Never touches a file |
//! | `frames` | cutting the byte stream into packets, with the cap |
//! | `session` | the state of one client, and which request does what; runs where blocking is allowed |
//! | `place` | names as clients write them |
//! | `open_files`, `attributes`, `directories`, `links`, `extensions` | the requests, by theme |
//! | `held` | what is changed and must not be opened for it |
//! | `listing` | where a listing of a directory has got to |
//! | `failure` | what a client is told, and what ends its channel |
//! | `tally` | what the limits refused |
//!
//! russh-sftp supplies the packets, and cap-std the walls around the directory. russh-sftp's own server loop is not
//! used: it runs in a task of its own that nobody can end, goes on for ever after an error of its stream, and is out of
//! step after a packet above the cap.

mod attributes;
mod channel;
mod directories;
mod extensions;
mod failure;
mod frames;
mod held;
mod links;
mod listing;
mod open_files;
mod place;
mod session;
mod settings;
mod tally;

pub use settings::Sftp;
pub use tally::SftpCounters;
