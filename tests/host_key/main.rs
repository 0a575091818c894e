//! Host keys: the decision, the files, and the same questions put to OpenSSH.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod certificates;
mod decisions;
mod keygen;
mod lines;
mod policies;
mod support;
