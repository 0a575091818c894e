//! russh's callbacks. They only translate and pass on. What one waits for holds the whole session up: the decision about the
//! host key, and the answer to a channel that the server opens, which is handed to russh's own queue.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::PublicKey;
use russh::{Channel, ChannelId, ChannelOpenFailure, Sig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::convert;
use super::link::{Barrier, RusshLink};
use super::openings::Openings;
use super::rekey::Drain;
use crate::error::ConnectionError;
use crate::host_key::{Accepted, HostKeyError, Prepared, PresentedKey};
use crate::observe::Algorithms;
use crate::port::budget::OutboundCredit;
use crate::port::event::ChannelMsg;
use crate::transport::TransportEvent;
use crate::transport::door::{Admission, Entrance, NewChannel};
use crate::transport::russh_common::{Ending, Outlet, Taps, convert as common, open_failure};
use crate::wire::codes::{DataType, DisconnectCode};
use crate::wire::open::OpenRequest;
use crate::wire::request::ExitSignal;

/// What ends a russh session, with our own reasons kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Russh(#[from] russh::Error),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

/// What the handshake found out.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) peer_version: String,
    pub(super) algorithms: Algorithms,
    pub(super) accepted: Option<Accepted>,
}

/// Called with each banner of the server (RFC 4252 section 5.4).
pub(crate) type BannerHook = Arc<dyn Fn(&str) + Send + Sync>;

/// What the handler shares with the transport.
pub(super) struct Shared {
    pub(super) taps: Arc<Taps>,
    pub(super) found: Mutex<Found>,
    /// How many key exchanges are done.
    pub(super) exchanges: watch::Sender<u64>,
    pub(super) drain: Arc<Drain>,
    /// Whether a host key decision is under way: its time is not the key exchange's.
    pub(super) deciding: watch::Sender<bool>,
    /// Nobody waits for the connection any more: a host key decision need not be waited for either. It runs within
    /// russh's session, which would keep the byte stream open for it.
    pub(super) given_up: CancellationToken,
    pub(super) ending: Ending,
    pub(super) openings: Openings,
    /// Where the channels come in that the server opens.
    pub(super) entrance: Entrance,
    pub(super) credit: Arc<OutboundCredit>,
    /// What every link needs; it is there once the session runs, and gone with the transport.
    pub(super) barrier: OnceLock<Weak<Barrier>>,
}

impl Shared {
    /// Everybody learns that the connection is over. Only the first reason counts.
    pub(super) fn down(&self, error: ConnectionError) {
        if self.ending.down(&self.taps, error) {
            self.openings.end();
        }
    }
}

/// The handler of one session.
pub(crate) struct ClientHandler {
    pub(super) shared: Arc<Shared>,
    pub(super) host_key: Prepared,
    pub(super) banner: Option<BannerHook>,
}

impl Drop for ClientHandler {
    /// russh does not always say that a session has ended.
    fn drop(&mut self) {
        self.shared.down(ConnectionError::Lost("the session ended".into()));
    }
}

/// Channels that the server opens.
impl ClientHandler {
    /// Takes a channel in, or says why not: at once, or when that is decided.
    async fn opened(&self, channel: Channel<Msg>, request: OpenRequest, reply: ChannelOpenHandle) {
        let arrival = Arrival { channel, shared: Arc::clone(&self.shared) };
        match self.shared.entrance.open(request) {
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

    /// A channel type that clients do not take.
    async fn turned_away(&self, reply: ChannelOpenHandle) {
        self.shared.entrance.turn_away();
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
    }
}

/// A channel on its way in.
struct Arrival {
    channel: Channel<Msg>,
    shared: Arc<Shared>,
}

impl Arrival {
    /// Confirms the channel. russh sends the confirmation before anything that is sent on the channel.
    async fn settle(self, NewChannel { port, .. }: NewChannel, reply: ChannelOpenHandle) {
        let Self { channel, shared } = self;
        let id = channel.id();
        let (read, half) = channel.split();
        let barrier = shared.barrier.get().and_then(Weak::upgrade);
        let adopted = barrier.and_then(|barrier| Some((barrier, shared.taps.adopt(id, &port, read, ())?)));
        let Some((barrier, window)) = adopted else {
            port.lost(ConnectionError::Lost("the session ended".into()));
            return reply.reject(ChannelOpenFailure::ConnectFailed).await;
        };
        reply.accept().await;
        let (credit, taps) = (Arc::clone(&shared.credit), Arc::clone(&shared.taps));
        port.connect(Box::new(RusshLink { outlet: Outlet { half, window, credit }, taps, barrier }));
    }
}

impl Handler for ClientHandler {
    type Error = Fault;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Fault> {
        let presented = match key.certificate() {
            Some(certificate) => PresentedKey::from(certificate.clone()),
            None => PresentedKey::from(key.public_key()),
        };
        self.shared.deciding.send_replace(true);
        let decision = tokio::select! {
            biased;
            decision = self.host_key.decide(presented) => decision,
            () = self.shared.given_up.cancelled() => return Err(Fault::Russh(russh::Error::Disconnect)),
        };
        self.shared.deciding.send_replace(false);
        let accepted = decision?;
        self.shared.found.lock().unwrap_or_else(PoisonError::into_inner).accepted = Some(accepted);
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _secret: Option<&[u8]>,
        names: &russh::Names,
        session: &mut Session,
    ) -> Result<(), Fault> {
        let first = *self.shared.exchanges.borrow() == 0;
        {
            let mut found = self.shared.found.lock().unwrap_or_else(PoisonError::into_inner);
            if first {
                found.peer_version = String::from_utf8_lossy(session.remote_sshid()).into_owned();
            }
            let strict = found.algorithms.strict_kex;
            found.algorithms = convert::algorithms(names);
            found.algorithms.strict_kex |= strict;
        }
        // Counted before whoever asked for it is told.
        if !first {
            self.shared.ending.tell(TransportEvent::Rekeyed);
        }
        self.shared.exchanges.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _session: &mut Session) -> Result<(), Fault> {
        if let Some(hook) = &self.banner {
            hook(banner);
        }
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.shared.taps.confirmed(id);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        channel: ChannelId,
        _reason: ChannelOpenFailure,
        description: &str,
        _language: &str,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        if self.shared.taps.has(channel) {
            // Of a channel that was open: russh has forgotten it, so it is over.
            self.shared.taps.closed(channel);
        } else {
            self.shared.openings.refused(description);
        }
        Ok(())
    }

    async fn channel_success(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Fault> {
        self.shared.taps.reply(channel, true);
        Ok(())
    }

    async fn channel_failure(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Fault> {
        self.shared.taps.reply(channel, false);
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Fault> {
        self.shared.taps.data(channel, DataType::Normal, data);
        Ok(self.shared.drain.look(&self.shared.taps, session)?)
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        code: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Fault> {
        self.shared.taps.data(channel, DataType::from_extended_code(code), data);
        Ok(self.shared.drain.look(&self.shared.taps, session)?)
    }

    async fn channel_eof(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Fault> {
        self.shared.taps.event(channel, ChannelMsg::Eof);
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Fault> {
        self.shared.taps.closed(channel);
        Ok(())
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        status: u32,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.shared.taps.event(channel, ChannelMsg::ExitStatus { status });
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        core_dumped: bool,
        message: &str,
        lang: &str,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        let exit = ExitSignal::new(common::signal(&signal)).core_dumped(core_dumped).message(message, lang);
        self.shared.taps.event(channel, ChannelMsg::ExitSignal(exit));
        Ok(())
    }

    async fn xon_xoff(
        &mut self,
        channel: ChannelId,
        client_can_do: bool,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.shared.taps.event(channel, ChannelMsg::XonXoff { client_can_do });
        Ok(())
    }

    async fn window_adjusted(
        &mut self,
        channel: ChannelId,
        _new_size: u32,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.shared.taps.window_adjusted(channel);
        Ok(())
    }

    async fn openssh_ext_host_keys_announced(
        &mut self,
        _keys: Vec<PublicKey>,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Fault>) -> Result<(), Fault> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                self.shared.down(ConnectionError::Disconnected {
                    code: DisconnectCode::new(info.reason_code as u32),
                    description: info.message,
                });
                Ok(())
            }
            // Given back: the login tells a lost connection from a refusal by it.
            DisconnectReason::Error(fault) => {
                self.shared.down(convert::connection_error(&fault));
                Err(fault)
            }
        }
    }

    // russh's own default is to accept every channel. A client takes in what it has asked for.

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.turned_away(reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.turned_away(reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.turned_away(reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        let Ok(port) = u16::try_from(port) else {
            self.turned_away(reply).await;
            return Ok(());
        };
        let request = OpenRequest::ForwardedTcpip {
            address: address.to_owned(),
            port,
            originator_address: originator.to_owned(),
            // Only told: a port that is none is no reason to refuse.
            originator_port: u16::try_from(originator_port).unwrap_or(0),
        };
        self.opened(channel, request, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        let request = OpenRequest::ForwardedStreamlocal { path: path.to_owned() };
        self.opened(channel, request, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        self.opened(channel, OpenRequest::AuthAgent, reply).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        channel: Channel<Msg>,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Fault> {
        let request = OpenRequest::X11 {
            originator_address: originator.to_owned(),
            originator_port: u16::try_from(originator_port).unwrap_or(0),
        };
        self.opened(channel, request, reply).await;
        Ok(())
    }
}
