//! Agent and X11 channels: what runs on them, for as long as somebody wants it.

use std::sync::Arc;

use crate::behaviour::{ClientChannel, ClientSide};
use crate::channel::start::Starter;
use crate::config::WindowAdjust;
use crate::handle::ConnectionRef;
use crate::handle::acceptance::{Maker, Taken, Ticket};
use crate::handle::msg::StartChannel;
use crate::wire::open::OpenRequest;

/// Channels are taken in until this is dropped. Those that are open go on.
#[derive(Debug)]
pub(crate) struct Accepting(#[expect(dead_code, reason = "its drop is what counts")] Ticket);

/// A function of the user's as the table has it.
pub(super) fn maker<C: ClientChannel>(
    make: impl Fn(OpenRequest) -> Option<C> + Send + Sync + 'static,
) -> Maker {
    Arc::new(move |request| {
        let behaviour = make(request)?;
        let start = Starter::<C, ClientSide>::new(behaviour, WindowAdjust::default(), None);
        Some(Box::new(start) as Box<dyn StartChannel>)
    })
}

impl ConnectionRef {
    /// Runs a behaviour on every `auth-agent@openssh.com` channel, until the guard is dropped. One at a time.
    pub(crate) fn accept_agent<C: ClientChannel>(
        &self,
        make: impl Fn() -> Option<C> + Send + Sync + 'static,
    ) -> Result<Accepting, Taken> {
        self.acceptance().agent(maker(move |_| make())).map(Accepting)
    }

    /// Runs a behaviour on every `x11` channel (RFC 4254 section 6.3.2), until the guard is dropped. The function gets the
    /// originator's address and port. With several guards the newest is asked first; one that makes nothing leaves the
    /// channel to those before it.
    pub(crate) fn accept_x11<C: ClientChannel>(
        &self,
        make: impl Fn(&str, u16) -> Option<C> + Send + Sync + 'static,
    ) -> Accepting {
        let make = move |request: OpenRequest| match request {
            OpenRequest::X11 { originator_address, originator_port } => {
                make(&originator_address, originator_port)
            }
            _ => None,
        };
        Accepting(self.acceptance().display(maker(make)))
    }
}
