//! The only door to russh.
