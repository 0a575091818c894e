//! An SSH client's transport: russh over any byte stream.

mod config;
mod convert;
mod establish;
mod handler;
mod link;
mod openings;
mod rekey;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use crate::transport::russh_common::AlgorithmLists;
#[cfg(feature = "ssh-config")]
pub(crate) use crate::transport::russh_common::{AlgorithmKind, known_algorithms};
pub(crate) use establish::{Establish, establish};
pub(crate) use handler::BannerHook;
