//! The connection actor.
