//! The meeting point of the two sides of one channel.
