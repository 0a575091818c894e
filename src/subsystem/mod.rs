//! Subsystems a daemon can serve, built on the public API only: behaviours like any user's.

mod sftp;

pub use sftp::{Sftp, SftpCounters};
