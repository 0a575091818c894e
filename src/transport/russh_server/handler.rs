//! russh's callbacks on a server. They translate and pass on; only the decision about a login waits.

use std::sync::Arc;

use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::config::method_set;
use super::link::ServerLink;
use super::replies::Replies;
use crate::auth::AuthMethod;
use crate::config::Limits;
use crate::error::ConnectionError;
use crate::port::budget::OutboundCredit;
use crate::port::event::ChannelMsg;
use crate::transport::door::{Decision, Door, Gatekeeper, Guest, NewChannel, Proof, Verdict};
use crate::transport::russh_common::{Ending, Outlet, Taps, convert};
use crate::wire::codes::{DataType, OpenFailureReason};
use crate::wire::keys::Certificate;
use crate::wire::pty::{PtyRequest, TerminalMode, TerminalModes, WindowSize};

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
    shared: Arc<Shared>,
    gatekeeper: Box<dyn Gatekeeper>,
    /// The peer's identification string, until the login begins.
    version: oneshot::Receiver<String>,
    deadline: Instant,
    window: u32,
    max_packet: u32,
    keys: Option<oneshot::Sender<()>>,
    login: Option<oneshot::Sender<Login>>,
    /// Who was let in.
    accepted: Option<String>,
    /// There is none before the login: nothing of the connection protocol leads anywhere.
    door: Option<Box<dyn Door>>,
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
    async fn judge(&mut self, user: &str, proof: Proof) -> Result<Auth, russh::Error> {
        let verdict = tokio::time::timeout_at(self.deadline, self.gatekeeper.judge(user, proof)).await;
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

/// Channels.
impl ServerHandler {
    /// Takes a channel in, or says why not.
    fn take_in(&mut self, channel: Channel<Msg>, session: &Session) -> Result<(), OpenFailureReason> {
        let door = self.door.as_mut().ok_or(OpenFailureReason::AdministrativelyProhibited)?;
        let NewChannel { port, guest } = door.open_session()?;
        let id = channel.id();
        let (read, half) = channel.split();
        let Some(window) = self.shared.taps.adopt(id, &port, read, Some(guest)) else {
            port.lost(ConnectionError::Lost("the session ended".into()));
            return Err(OpenFailureReason::ConnectFailed);
        };
        port.connect(Box::new(ServerLink {
            outlet: Outlet { half, window, credit: Arc::clone(&self.shared.credit) },
            handle: session.handle(),
            taps: Arc::clone(&self.shared.taps),
            replies: Arc::clone(&self.shared.replies),
        }));
        Ok(())
    }

    /// A request that may want an answer.
    fn request(&self, id: ChannelId, request: ChannelMsg, session: &mut Session) -> Result<(), russh::Error> {
        let taps = &self.shared.taps;
        let decision = match taps.with(id, Option::take).flatten() {
            Some(mut guest) => {
                let decision = guest.request(request);
                taps.with(id, |place| *place = Some(guest));
                decision
            }
            None => Decision::Answer(false),
        };
        match decision {
            Decision::Answer(yes) => {
                taps.drain(id);
                if yes { session.channel_success(id) } else { session.channel_failure(id) }
            }
            Decision::Deliver(request) => {
                self.shared.replies.asked(id);
                if taps.event(id, request) && taps.has(id) {
                    return Ok(());
                }
                self.shared.replies.forget(id);
                session.channel_failure(id)
            }
        }
    }
}

impl Handler for ServerHandler {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        if let Some(keys) = self.keys.take() {
            let _ = keys.send(());
        }
        let version = self.version.try_recv().unwrap_or_default();
        Ok(self.gatekeeper.greet(version))
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        self.judge(user, Proof::None).await
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        self.judge(user, Proof::Password(SecretString::from(password))).await
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let proof = Proof::OfferedKey { key: offer.public_key.clone(), algorithm: offer.algorithm.clone() };
        self.judge(user, proof).await
    }

    /// russh has verified the signature.
    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let proof = Proof::Key { key: key.public_key.clone(), algorithm: key.algorithm.clone() };
        self.judge(user, proof).await
    }

    /// russh has verified the signature; it has offered the key in the certificate before.
    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        self.judge(user, Proof::Certificate(Box::new(certificate.clone()))).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let proof = response.map_or(Proof::Interview, |answers| {
            let text = |answer: bytes::Bytes| Some(SecretString::from(std::str::from_utf8(&answer).ok()?));
            Proof::Answers(answers.map(text).collect())
        });
        self.judge(user, proof).await
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let (Some(user), Some(login)) = (self.accepted.take(), self.login.take()) else {
            return Err(russh::Error::Inconsistent);
        };
        let methods = self.gatekeeper.passed();
        let peer_version = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        let (door, opened) = oneshot::channel();
        let _ = login.send(Login { user, methods, peer_version, door });
        self.door = Some(opened.await.map_err(|_| russh::Error::Disconnect)?);
        Ok(())
    }

    // Other channel types are refused by russh's own defaults, which drop the handle to answer with.

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.take_in(channel, session) {
            Ok(()) => reply.accept().await,
            Err(reason) => reply.reject(open_failure(reason)).await,
        }
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.shared.taps.closed(channel);
        self.shared.replies.forget(channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.shared.taps.event(channel, ChannelMsg::Eof);
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.taps.data(channel, DataType::Normal, data);
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        code: u32,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.taps.data(channel, DataType::from_extended_code(code), data);
        Ok(())
    }

    async fn window_adjusted(
        &mut self,
        channel: ChannelId,
        _new_size: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.taps.window_adjusted(channel);
        Ok(())
    }

    /// russh asks after each grant how far up the next ones go, on all channels alike. It ends a connection when more
    /// than twice its window arrives between its KEXINIT and the peer's; so what the channels in use may send together
    /// stays below that.
    fn adjust_window(&mut self, channel: ChannelId, _current: u32) -> u32 {
        let using = u32::try_from(self.shared.taps.granted(channel)).unwrap_or(u32::MAX).max(1);
        let share = (self.window / 2).saturating_mul(3) / using;
        share.max(self.max_packet.saturating_mul(2)).min(self.window)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let pty =
            PtyRequest::new(term).size(columns, rows).pixels(width, height).modes(terminal_modes(modes));
        self.request(channel, ChannelMsg::Pty { want_reply: true, request: pty }, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.request(channel, ChannelMsg::Env { want_reply: true, name, value }, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.request(channel, ChannelMsg::Shell { want_reply: true }, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = bytes::Bytes::copy_from_slice(command);
        self.request(channel, ChannelMsg::Exec { want_reply: true, command }, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.request(channel, ChannelMsg::Subsystem { want_reply: true, name: name.to_owned() }, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.taps.drain(channel);
        session.channel_failure(channel)
    }

    /// russh answers with what is returned.
    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.shared.taps.drain(channel);
        Ok(false)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let size = WindowSize::new(columns, rows).pixels(width, height);
        self.shared.taps.event(channel, ChannelMsg::WindowChange { size });
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.taps.event(channel, ChannelMsg::Signal { signal: convert::signal(&signal) });
        Ok(())
    }
}

/// russh passes on the modes it knows; an unknown one is its own end mark.
fn terminal_modes(modes: &[(Pty, u32)]) -> TerminalModes {
    let mut found = TerminalModes::new();
    for (mode, value) in modes {
        if let Some(mode) = TerminalMode::raw(*mode as u8) {
            found.set(mode, *value);
        }
    }
    found
}

fn open_failure(reason: OpenFailureReason) -> ChannelOpenFailure {
    match reason {
        OpenFailureReason::ConnectFailed => ChannelOpenFailure::ConnectFailed,
        OpenFailureReason::UnknownChannelType => ChannelOpenFailure::UnknownChannelType,
        OpenFailureReason::ResourceShortage => ChannelOpenFailure::ResourceShortage,
        _ => ChannelOpenFailure::AdministrativelyProhibited,
    }
}
