//! The embedded daemon.
