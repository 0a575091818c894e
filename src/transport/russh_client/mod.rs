//! An SSH client's transport: russh over any byte stream.

mod config;
mod convert;
mod establish;
mod handler;
mod link;
mod rekey;
mod taps;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use config::AlgorithmLists;
pub(crate) use establish::{Establish, establish};
pub(crate) use handler::BannerHook;
