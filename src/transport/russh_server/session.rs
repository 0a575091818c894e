//! What the callbacks of one session share: its parts, the steps of its handshake, and the login.

use std::sync::Arc;

use russh::server::Auth;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use super::config::method_set;
use super::replies::Replies;
use crate::auth::AuthMethod;
use crate::config::Limits;
use crate::error::ConnectionError;
use crate::port::budget::OutboundCredit;
use crate::transport::door::{Door, Guest};
use crate::transport::gate::{Gatekeeper, Proof, Verdict};
use crate::transport::russh_common::{Ending, Taps, convert};

pub(super) type ServerTaps = Taps<Option<Box<dyn Guest>>>;

/// What the handler shares with the transport.
pub(super) struct Shared {
    pub(super) taps: Arc<ServerTaps>,
    pub(super) replies: Arc<Replies>,
    pub(super) ending: Ending,
    pub(super) credit: Arc<OutboundCredit>,
}

impl Shared {
    /// Everybody learns that the connection is over. Only the first reason counts.
    pub(super) fn down(&self, error: ConnectionError) {
        self.ending.down(&self.taps, error);
    }
}

/// A peer has logged in.
pub(super) struct Login {
    pub(super) user: String,
    /// What was passed, in order.
    pub(super) methods: Vec<AuthMethod>,
    pub(super) peer_version: String,
    /// russh goes on when the door is there.
    pub(super) door: oneshot::Sender<Box<dyn Door>>,
}

/// The steps of a handshake, as they are taken.
pub(super) struct Steps {
    /// Keys are exchanged, the peer asks to log in.
    pub(super) keys: oneshot::Receiver<()>,
    pub(super) login: oneshot::Receiver<Login>,
}

/// The handler of one session.
pub(super) struct ServerHandler {
    pub(super) shared: Arc<Shared>,
    pub(super) gatekeeper: Box<dyn Gatekeeper>,
    /// The peer's identification string, until the login begins.
    pub(super) version: oneshot::Receiver<String>,
    deadline: Instant,
    pub(super) window: u32,
    pub(super) max_packet: u32,
    /// The connection's, which russh's task does not run in.
    span: tracing::Span,
    pub(super) keys: Option<oneshot::Sender<()>>,
    pub(super) login: Option<oneshot::Sender<Login>>,
    /// Who was let in.
    pub(super) accepted: Option<String>,
    /// There is none before the login: nothing of the connection protocol leads anywhere.
    pub(super) door: Option<Box<dyn Door>>,
}

impl ServerHandler {
    pub(super) fn new(
        gatekeeper: Box<dyn Gatekeeper>,
        version: oneshot::Receiver<String>,
        limits: &Limits,
        deadline: Instant,
        shared: Arc<Shared>,
    ) -> (Self, Steps) {
        let (keys_sender, keys) = oneshot::channel();
        let (login_sender, login) = oneshot::channel();
        let handler = Self {
            shared,
            gatekeeper,
            version,
            deadline,
            window: limits.window,
            max_packet: limits.max_packet,
            span: tracing::Span::current(),
            keys: Some(keys_sender),
            login: Some(login_sender),
            accepted: None,
            door: None,
        };
        (handler, Steps { keys, login })
    }
}

/// The login.
impl ServerHandler {
    /// The verdict on a proof, before the end of the login grace.
    pub(super) async fn judge(&mut self, user: &str, proof: Proof) -> Result<Auth, russh::Error> {
        let span = tracing::info_span!(parent: &self.span, "ssh_auth", user = ?convert::brief(user));
        let judging = self.gatekeeper.judge(user, proof).instrument(span);
        let verdict = tokio::time::timeout_at(self.deadline, judging).await;
        match verdict.map_err(|_| russh::Error::ConnectionTimeout)? {
            Verdict::Welcome => {
                self.accepted = Some(user.to_owned());
                Ok(Auth::Accept)
            }
            Verdict::Sign => Ok(Auth::Accept),
            Verdict::Ask(questions) => Ok(Auth::Partial {
                name: questions.name.into(),
                instructions: questions.instructions.into(),
                prompts: questions.prompts.into_iter().map(|(text, echo)| (text.into(), echo)).collect(),
            }),
            Verdict::NotYet { next, passed } => {
                Ok(Auth::Reject { proceed_with_methods: Some(method_set(&next)), partial_success: passed })
            }
            Verdict::End => Err(russh::Error::Disconnect),
        }
    }
}
