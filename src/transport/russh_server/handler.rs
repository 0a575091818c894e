//! russh's callbacks on a server. They translate and pass on; what waits are the decisions about a login and about listeners,
//! and the making of what a client lends.

use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, Pty, Sig};
use secrecy::SecretString;
use tokio::sync::oneshot;

use super::session::{Login, ServerHandler};
use crate::port::event::ChannelMsg;
use crate::transport::gate::Proof;
use crate::transport::russh_common::convert;
use crate::wire::codes::DataType;
use crate::wire::keys::Certificate;
use crate::wire::open::{ListenRequest, OpenRequest};
use crate::wire::pty::{PtyRequest, TerminalMode, TerminalModes, WindowSize};
use crate::wire::request::X11Request;

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
        self.request(channel, ChannelMsg::Pty { want_reply: true, request: pty }, session).await
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.request(channel, ChannelMsg::Env { want_reply: true, name, value }, session).await
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.request(channel, ChannelMsg::Shell { want_reply: true }, session).await
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = bytes::Bytes::copy_from_slice(command);
        self.request(channel, ChannelMsg::Exec { want_reply: true, command }, session).await
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.request(channel, ChannelMsg::Subsystem { want_reply: true, name: name.to_owned() }, session)
            .await
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.agent(channel).await)
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
        self.request(channel, ChannelMsg::X11 { want_reply: true, request }, session).await
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
