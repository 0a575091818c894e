//! Ways to a byte stream.
