//! russh's callbacks on a server. They translate and pass on; only the decision about a login waits.

use std::sync::Arc;

use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use secrecy::SecretString;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use super::config::method_set;
use super::link::ServerLink;
use super::replies::{BRIEF, GRACE, Replies};
use crate::auth::AuthMethod;
use crate::config::Limits;
use crate::error::ConnectionError;
use crate::port::budget::OutboundCredit;
use crate::port::event::ChannelMsg;
use crate::transport::door::{Admission, Decision, Door, Guest, NewChannel};
use crate::transport::gate::{Gatekeeper, Proof, Verdict};
use crate::transport::russh_common::{Ending, Outlet, Taps, convert, open_failure};
use crate::wire::codes::{DataType, OpenFailureReason};
use crate::wire::keys::Certificate;
use crate::wire::open::{ListenRequest, OpenRequest};
use crate::wire::pty::{PtyRequest, TerminalMode, TerminalModes, WindowSize};
use crate::wire::request::X11Request;

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
    /// The connection's, which russh's task does not run in.
    span: tracing::Span,
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
    async fn judge(&mut self, user: &str, proof: Proof) -> Result<Auth, russh::Error> {
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

/// Channels.
impl ServerHandler {
    /// Takes a channel in, or says why not: at once, or when that is decided.
    async fn opened(
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
    async fn turned_away(&mut self, reply: ChannelOpenHandle) {
        if let Some(door) = &mut self.door {
            door.turn_away();
        }
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }

    /// What the channel's guest says.
    fn ask<T>(&self, id: ChannelId, question: impl FnOnce(&mut dyn Guest) -> T) -> Option<T> {
        let taps = &self.shared.taps;
        let mut guest = taps.with(id, Option::take).flatten()?;
        let answer = question(&mut *guest);
        taps.with(id, |place| *place = Some(guest));
        Some(answer)
    }

    fn may_ask(&mut self) -> bool {
        self.door.as_mut().is_some_and(|door| door.may_ask())
    }

    /// A request that may want an answer.
    fn request(
        &mut self,
        id: ChannelId,
        request: ChannelMsg,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let may = self.may_ask();
        let decision = if may { self.ask(id, |guest| guest.request(request)) } else { None };
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

    /// A request that is never answered.
    fn event(&mut self, id: ChannelId, event: ChannelMsg) {
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

    // Types unknown to russh, and those only a client takes, are refused by russh itself.

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.opened(channel, OpenRequest::Session, reply, session.handle()).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator_host: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(port) = u16::try_from(port) else {
            self.turned_away(reply).await;
            return Ok(());
        };
        let (host, originator_host) = (host.to_owned(), originator_host.to_owned());
        // Only told: a port that is none is no reason to refuse.
        let originator_port = u16::try_from(originator_port).unwrap_or(0);
        let request = OpenRequest::DirectTcpip { host, port, originator_host, originator_port };
        self.opened(channel, request, reply, session.handle()).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let request = OpenRequest::DirectStreamlocal { path: path.to_owned() };
        self.opened(channel, request, reply, session.handle()).await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_host: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.turned_away(reply).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator_host: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.turned_away(reply).await;
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.shared.taps.confirmed_if_expected(channel);
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

    /// russh answers with what is returned, at once: who gets the request as an event has said yes by taking it.
    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let request = ChannelMsg::AuthAgent { want_reply: false };
        let may = self.may_ask();
        let decision = if may { self.ask(channel, |guest| guest.request(request)) } else { None };
        let taps = &self.shared.taps;
        Ok(match decision {
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
            Some(Decision::Later(_)) | None => {
                taps.drain(channel);
                false
            }
        })
    }

    /// The session handles nothing else until this is decided: russh keeps one answer to global requests.
    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (Some(door), Ok(asked)) = (&mut self.door, u16::try_from(*port)) else { return Ok(false) };
        let request = ListenRequest::Tcpip { address: address.to_owned(), port: asked };
        let bound = door.listen(request).await;
        *port = bound.map_or(*port, u32::from);
        Ok(bound.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let (Some(door), Ok(port)) = (&mut self.door, u16::try_from(port)) else { return Ok(false) };
        Ok(door.unlisten(ListenRequest::Tcpip { address: address.to_owned(), port }))
    }

    async fn streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, Self::Error> {
        let Some(door) = &mut self.door else { return Ok(false) };
        Ok(door.listen(ListenRequest::Streamlocal { path: path.to_owned() }).await.is_some())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        let Some(door) = &mut self.door else { return Ok(false) };
        Ok(door.unlisten(ListenRequest::Streamlocal { path: path.to_owned() }))
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single_connection: bool,
        auth_protocol: &str,
        auth_cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let mut request = X11Request::new(auth_protocol, auth_cookie);
        (request.single_connection, request.screen) = (single_connection, screen);
        self.request(channel, ChannelMsg::X11 { want_reply: true, request }, session)
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
        self.event(channel, ChannelMsg::WindowChange { size });
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.event(channel, ChannelMsg::Signal { signal: convert::signal(&signal) });
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
