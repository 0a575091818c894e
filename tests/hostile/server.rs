//! A server that our client meets: honest up to the point where a test takes over.

use std::time::Duration;

use base64::Engine;
use ed25519_dalek::SigningKey;
use ractor_ssh::ClientConfig;
use ractor_ssh::auth::Auth;
use ractor_ssh::config::{Limits, Timeouts};
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::keys::PublicKey;
use tokio::net::TcpListener;

use crate::channel::Chan;
use crate::kex::{Exchange, host_key_blob};
use crate::peer::{Gone, Peer};
use crate::target::{PASSWORD, USER};
use crate::wire::{Payload, Reader, data, number, to_channel};

/// Payloads, and how often each is sent.
pub(crate) type Attack = Vec<(usize, Payload)>;

/// Serves one connection by this script, and keeps its socket open until the client has gone. Returns the
/// configuration of a client that trusts it, with little patience.
pub(crate) async fn serve<F>(script: impl FnOnce(Peer) -> F + Send + 'static) -> ClientConfig
where
    F: Future<Output = Result<Peer, Gone>> + Send + 'static,
{
    let key = SigningKey::from_bytes(&rand::random());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let blob = base64::engine::general_purpose::STANDARD.encode(host_key_blob(&key.verifying_key()));
    let public = PublicKey::from_openssh(&format!("ssh-ed25519 {blob}")).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut peer) = script(Peer::serve(stream, &key)).await {
            let _ = peer.ends_within(Duration::from_secs(60)).await;
        }
    });
    let mut timeouts = Timeouts::default();
    timeouts.version = Duration::from_secs(1);
    timeouts.kex = Duration::from_secs(2);
    timeouts.auth = Duration::from_secs(2);
    timeouts.open = Duration::from_secs(5);
    timeouts.request = Duration::from_secs(5);
    timeouts.close = Duration::from_secs(1);
    let mut limits = Limits::default();
    limits.window = 128 << 10;
    limits.inbound_budget = 4 << 20;
    limits.stall_timeout = Duration::from_secs(1);
    ClientConfig::new("127.0.0.1", USER)
        .port(port)
        .auth(Auth::new().password(PASSWORD.to_owned().into()))
        .host_key(HostKeyPolicy::pinned([public]))
        .timeouts(timeouts)
        .limits(limits)
}

impl Peer {
    /// Versions and keys, as a server.
    pub(crate) async fn receive(&mut self) -> Result<(), Gone> {
        self.greet().await?;
        Exchange::run(self).await
    }

    /// Up to the first login, which is not answered.
    pub(crate) async fn hear_login(&mut self) -> Result<Vec<u8>, Gone> {
        self.receive().await?;
        self.wait_for(number::SERVICE_REQUEST).await?;
        self.send(Payload::new(number::SERVICE_ACCEPT).string("ssh-userauth")).await?;
        self.wait_for(number::USERAUTH_REQUEST).await
    }

    /// Lets the client in.
    pub(crate) async fn admit(&mut self) -> Result<(), Gone> {
        self.hear_login().await?;
        self.send(Payload::new(number::USERAUTH_SUCCESS)).await
    }

    async fn attack(&mut self, attack: Attack) -> Result<(), Gone> {
        for (times, payload) in attack {
            self.send_all((0..times).map(|_| &payload)).await?;
        }
        Ok(())
    }

    /// Goes on as an honest server: every channel is an echo. Before a command that is not `echo` is granted, what
    /// `attack` makes for its channel is sent; and once more, with the message, before its CLOSE is answered.
    pub(crate) async fn go_on(mut self, attack: impl Fn(Chan, bool) -> Attack) -> Result<Self, Gone> {
        let mut channels: Vec<(Chan, bool)> = Vec::new();
        loop {
            let message = self.recv().await?;
            let mut reader = Reader::after_number(&message);
            let mut own = || {
                let number = reader.u32();
                let found = channels.iter().rev().find(|(chan, _)| chan.ours == number).copied();
                (found.unwrap_or_else(|| panic!("nobody opened {number}")), reader.0)
            };
            match message[0] {
                number::CHANNEL_OPEN => {
                    reader.string();
                    let chan = Chan { ours: self.next_channel, theirs: reader.u32() };
                    self.next_channel += 1;
                    channels.push((chan, false));
                    let answer = to_channel(number::OPEN_CONFIRMATION, chan.theirs).u32(chan.ours);
                    self.send(answer.u32(1 << 30).u32(32 << 10)).await?;
                }
                number::CHANNEL_REQUEST => {
                    let ((chan, _), rest) = own();
                    let mut reader = Reader(rest);
                    let (kind, wanted) = (reader.text(), reader.byte() != 0);
                    if kind == "exec" && reader.string() != b"echo" {
                        for (known, attacking) in &mut channels {
                            *attacking |= *known == chan;
                        }
                        self.attack(attack(chan, false)).await?;
                    }
                    if wanted {
                        self.send(to_channel(number::CHANNEL_SUCCESS, chan.theirs)).await?;
                    }
                }
                number::CHANNEL_DATA => {
                    let ((chan, _), rest) = own();
                    let bytes = Reader(rest).string().to_vec();
                    self.send(data(chan.theirs, bytes)).await?;
                }
                number::CHANNEL_CLOSE => {
                    let ((chan, attacking), _) = own();
                    if attacking {
                        self.attack(attack(chan, true)).await?;
                    }
                    self.send(to_channel(number::CHANNEL_CLOSE, chan.theirs)).await?;
                }
                number::GLOBAL_REQUEST => {
                    reader.string();
                    if reader.byte() != 0 {
                        self.send(Payload::new(number::REQUEST_FAILURE)).await?;
                    }
                }
                _ => {}
            }
        }
    }
}
