//! An SSH server's transport: russh over any byte stream.

mod channels;
mod config;
mod handler;
mod link;
mod meter;
mod replies;
mod serve;
mod session;
mod transport;

pub(crate) use config::{Refusals, ServerSetup};
pub(crate) use meter::Meter;
pub(crate) use serve::{HandshakeError, Serve, serve};
