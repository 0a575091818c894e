//! The behaviour traits.
