//! Ready-made channels, built on the public API only.

mod quote;
