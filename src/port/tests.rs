//! Sequences of operations on a port, against a link that is a value.

mod fake;
mod races;
mod rules;
mod sequences;
