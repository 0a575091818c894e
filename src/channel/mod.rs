//! The channel actor.
