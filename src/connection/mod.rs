//! The connection actor: owns the transport and the table of channels, supervises the channel actors, keeps the
//! clocks. It never awaits anything but its own mailbox.

mod actor;
mod channels;
mod clocks;
mod clockwork;
mod ending;
mod listening;
mod sink;
mod table;
mod view;

pub(crate) use actor::{ConnectionArgs, start};
pub(crate) use sink::Sink;
