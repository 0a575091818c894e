//! What a client and a server over russh have in common: where arriving messages lead, how payload leaves, which
//! algorithms are offered, and the words for russh's types.

pub(in crate::transport) mod algorithms;
pub(in crate::transport) mod convert;
mod ending;
mod guard;
mod outlet;
mod taps;

pub(crate) use algorithms::AlgorithmLists;
#[cfg(feature = "ssh-config")]
pub(crate) use algorithms::{AlgorithmKind, known_algorithms};
pub(in crate::transport) use convert::open_failure;
pub(in crate::transport) use ending::Ending;
pub(in crate::transport) use guard::CloseOnDrop;
pub(in crate::transport) use outlet::Outlet;
pub(in crate::transport) use taps::{Credit, Taps};
