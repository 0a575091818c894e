//! What becomes of the channels that a peer opens, and of the requests on them: asked at the door, answered through russh.

use std::sync::Arc;

use russh::server::{ChannelOpenHandle, Handle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};

use super::link::ServerLink;
use super::replies::{BRIEF, GRACE};
use super::session::{ServerHandler, Shared};
use crate::error::ConnectionError;
use crate::port::event::ChannelMsg;
use crate::transport::door::{Admission, Decision, Guest, NewChannel};
use crate::transport::russh_common::{Outlet, open_failure};
use crate::wire::codes::OpenFailureReason;
use crate::wire::open::OpenRequest;

impl ServerHandler {
    /// Takes a channel in, or says why not: at once, or when that is decided.
    pub(super) async fn opened(
        &mut self,
        channel: Channel<Msg>,
        request: OpenRequest,
        reply: ChannelOpenHandle,
        handle: Handle,
    ) {
        let admission = match &mut self.door {
            Some(door) => door.open(request),
            None => Admission::Refused(OpenFailureReason::AdministrativelyProhibited),
        };
        let arrival = Arrival { channel, handle, shared: Arc::clone(&self.shared) };
        match admission {
            Admission::Now(new) => arrival.settle(new, reply).await,
            Admission::Refused(reason) => reply.reject(open_failure(reason)).await,
            Admission::Later(decision) => {
                tokio::spawn(async move {
                    let decided = tokio::select! {
                        biased;
                        () = arrival.shared.taps.until_down() => return,
                        decided = decision => decided,
                    };
                    match decided {
                        Ok(new) => arrival.settle(new, reply).await,
                        Err(reason) => reply.reject(open_failure(reason)).await,
                    }
                });
            }
        }
    }

    /// A channel type that servers do not take.
    pub(super) async fn turned_away(&mut self, reply: ChannelOpenHandle) {
        if let Some(door) = &mut self.door {
            door.turn_away();
        }
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }

    /// What the channel's guest says.
    pub(super) fn ask<T>(&self, id: ChannelId, question: impl FnOnce(&mut dyn Guest) -> T) -> Option<T> {
        let taps = &self.shared.taps;
        let mut guest = taps.with(id, Option::take).flatten()?;
        let answer = question(&mut *guest);
        taps.with(id, |place| *place = Some(guest));
        Some(answer)
    }

    pub(super) fn may_ask(&mut self) -> bool {
        self.door.as_mut().is_some_and(|door| door.may_ask())
    }

    /// What the channel's guest says to a request, when it does not say it later.
    async fn decide(&mut self, id: ChannelId, request: ChannelMsg) -> Option<Decision> {
        if !self.may_ask() {
            return None;
        }
        match self.ask(id, |guest| guest.request(request)) {
            Some(Decision::Wait(decision)) => {
                let yes = tokio::select! {
                    biased;
                    () = self.shared.taps.until_down() => false,
                    yes = decision => yes,
                };
                Some(Decision::Answer(yes))
            }
            decision => decision,
        }
    }

    /// A request that may want an answer.
    pub(super) async fn request(
        &mut self,
        id: ChannelId,
        request: ChannelMsg,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let decision = self.decide(id, request).await;
        let Shared { taps, replies, .. } = &*self.shared;
        match decision.unwrap_or(Decision::Answer(false)) {
            Decision::Answer(yes) => {
                taps.drain(id);
                match (replies.is_owed(id), yes) {
                    // russh can send one answer: it belongs to the request that has waited for longer.
                    (true, _) => Ok(()),
                    (false, true) => session.channel_success(id),
                    (false, false) => session.channel_failure(id),
                }
            }
            // Waited for already.
            Decision::Wait(_) => session.channel_failure(id),
            Decision::Later(decision) => {
                taps.drain(id);
                replies.asked(id, BRIEF);
                tokio::spawn(decision);
                Ok(())
            }
            Decision::Deliver { before, request } => {
                for event in before {
                    taps.event(id, event);
                }
                replies.asked(id, GRACE);
                if taps.event(id, request) && taps.has(id) {
                    return Ok(());
                }
                replies.forget(id);
                session.channel_failure(id)
            }
        }
    }

    /// The request for an agent (`auth-agent-req@openssh.com`). russh answers with what is returned, at once: who gets the
    /// request as an event has said yes by taking it.
    pub(super) async fn agent(&mut self, channel: ChannelId) -> bool {
        let request = ChannelMsg::AuthAgent { want_reply: false };
        let decision = self.decide(channel, request).await;
        let taps = &self.shared.taps;
        match decision {
            Some(Decision::Deliver { before, request }) => {
                for event in before {
                    taps.event(channel, event);
                }
                taps.event(channel, request)
            }
            Some(Decision::Answer(yes)) => {
                taps.drain(channel);
                yes
            }
            // A decision that takes its time comes too late.
            Some(Decision::Later(_) | Decision::Wait(_)) | None => {
                taps.drain(channel);
                false
            }
        }
    }

    /// A request that is never answered.
    pub(super) fn event(&mut self, id: ChannelId, event: ChannelMsg) {
        if self.may_ask() && self.ask(id, |guest| guest.event(&event)) == Some(true) {
            self.shared.taps.event(id, event);
        } else {
            self.shared.taps.drain(id);
        }
    }
}

/// A channel on its way in.
struct Arrival {
    channel: Channel<Msg>,
    handle: Handle,
    shared: Arc<Shared>,
}

impl Arrival {
    /// Confirms the channel. What the behaviour sends waits until russh has the confirmation, which takes another queue.
    async fn settle(self, NewChannel { port, guest }: NewChannel, reply: ChannelOpenHandle) {
        let Self { channel, handle, shared } = self;
        let id = channel.id();
        let (read, half) = channel.split();
        let Some(window) = shared.taps.adopt(id, &port, read, guest) else {
            port.lost(ConnectionError::Lost("the session ended".into()));
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        };
        reply.accept().await;
        port.connect(Box::new(ServerLink {
            outlet: Outlet { half, window, credit: Arc::clone(&shared.credit) },
            handle,
            taps: Arc::clone(&shared.taps),
            replies: Arc::clone(&shared.replies),
        }));
    }
}
