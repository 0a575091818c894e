//! The only door to russh.
mod login;
