//! Connecting, phase by phase.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::Instrument;

use super::ClientConfig;
use super::jump::Hop;
use super::trail::Trail;
use crate::config::ChannelOptions;
use crate::connect_error::ConnectError;
use crate::connection::{self, ConnectionArgs, Sink};
use crate::dial::{ByteStream, Paced, Proxy, Streams};
use crate::error::Phase;
use crate::handle::ConnectionRef;
use crate::handle::acceptance::Acceptance;
use crate::handle::connection_ref::Redial;
use crate::handle::intake::Intake;
use crate::incoming::ClientDoor;
use crate::metrics::{self, Side};
use crate::observe::{Gauges, PhaseEvent};
use crate::port::Keys;
use crate::transport::door::{Entrance, Slots};
use crate::transport::russh_client::{Establish, establish};

/// Makes connections.
///
/// ```no_run
/// use ractor_ssh::{Client, ClientConfig};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let conn = Client::new(ClientConfig::new("build.example.org", "ci")).connect().await?;
/// println!("{}", conn.info().await?.peer_version);
/// conn.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    /// A client for one target. Nothing happens yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    pub(crate) const fn shared_config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The same, with an account of its own of what it has open.
    pub(crate) fn apart(&self) -> (Self, Streams) {
        let config = ClientConfig { streams: Streams::default(), ..ClientConfig::clone(&self.config) };
        let streams = config.streams.clone();
        (Self::new(config), streams)
    }

    /// Connects in the way of [`ClientConfig::via`] and [`ClientConfig::jump`], and logs in.
    ///
    /// Resolves when channels can be opened. Every phase has its deadline in [`Timeouts`](crate::config::Timeouts).
    ///
    /// # Cancel safety
    /// Dropping it closes the socket; nothing is left behind.
    pub fn connect(&self) -> Connecting {
        self.connect_on(Trail::default())
    }

    /// As [`connect`](Self::connect), as a part of a way that others have begun.
    pub(super) fn connect_on(&self, trail: Trail) -> Connecting {
        let config = Arc::clone(&self.config);
        Connecting::new(Arc::clone(&self.config), trail.clone(), |phases| {
            async move { dial_and_log_in(config, phases, &trail).await }.boxed()
        })
    }

    /// As [`connect`](Self::connect), over a byte stream that is connected already: a Unix socket, a tunnel, a pipe.
    ///
    /// [`ClientConfig::via`] and [`ClientConfig::jump`] have no part in it. Channels of such a connection cannot be
    /// isolated, as there is no way to make a second stream.
    pub fn connect_stream<IO>(&self, io: IO) -> Connecting
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = Arc::clone(&self.config);
        Connecting::new(Arc::clone(&self.config), Trail::default(), |phases| {
            async move { log_in(&config, io, (None, None), phases, None).await }.boxed()
        })
    }
}

/// The peer's address and ours, if known.
type Addresses = (Option<SocketAddr>, Option<SocketAddr>);

/// A connection being made. Await it; drop it to give up.
#[must_use = "nothing happens unless it is awaited"]
pub struct Connecting {
    phases: watch::Receiver<PhaseEvent>,
    work: BoxFuture<'static, Result<ConnectionRef, ConnectError>>,
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").field("phase", &self.phases.borrow().phase).finish_non_exhaustive()
    }
}

impl Connecting {
    fn new(
        config: Arc<ClientConfig>,
        trail: Trail,
        work: impl FnOnce(watch::Sender<PhaseEvent>) -> BoxFuture<'static, Result<ConnectionRef, ConnectError>>,
    ) -> Self {
        let (sender, phases) = watch::channel(PhaseEvent::new(Phase::Config));
        let span = tracing::info_span!("ssh_connection", host = %config.host, port = config.port, user = %config.user);
        let ended = sender.clone();
        let work = work(sender);
        let limit = config.deadline;
        let work = async move {
            let since = Instant::now();
            let before = trail.hops();
            let made = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                // An unusable configuration is told before it can take time.
                let phase = ended.borrow().phase;
                Err(trail.too_late(before, phase, limit))
            });
            match &made {
                Ok(_) => metrics::connected(since),
                Err(error) => {
                    metrics::not_connected(error.phase());
                    ended.send_replace(PhaseEvent::down(None));
                }
            }
            // From here on the connection actor alone tells; with it the phases end.
            drop(ended);
            made
        };
        Self { phases, work: work.instrument(span).boxed() }
    }

    /// The phases the connection goes through, now and after it is up.
    #[must_use]
    pub fn phases(&self) -> watch::Receiver<PhaseEvent> {
        self.phases.clone()
    }
}

impl Future for Connecting {
    type Output = Result<ConnectionRef, ConnectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.work.as_mut().poll(cx)
    }
}

async fn dial_and_log_in(
    config: Arc<ClientConfig>,
    phases: watch::Sender<PhaseEvent>,
    trail: &Trail,
) -> Result<ConnectionRef, ConnectError> {
    config.check()?;
    let _passed = match &config.gate {
        Some(gate) => Some(gate.pass().await),
        None => None,
    };
    phases.send_replace(PhaseEvent::new(Phase::Dial));
    let (stream, addresses) = dial(&config, trail).instrument(tracing::info_span!("ssh_dial")).await?;
    let stream = config.streams.count(stream);
    let redial = redial(Arc::clone(&config));
    log_in(&config, stream, addresses, phases, Some(redial)).await
}

/// The byte stream, over the jump hosts. [`Timeouts::dial`](crate::config::Timeouts::dial) is for what comes behind them.
async fn dial(
    config: &ClientConfig,
    trail: &Trail,
) -> Result<(Box<dyn ByteStream>, Addresses), ConnectError> {
    let hop = match &config.jump {
        Some(jump) => Some(Hop::connect(jump, &config.streams, trail).await?),
        None => None,
    };
    let (target, name) = (config.stop(), config.target());
    let at = |proxy: &Proxy| trail.at_proxy(&name, proxy);
    let dialing = async {
        let Some(hop) = hop else {
            let dialed = config.via.dial(target, &at).await?;
            return Ok((dialed.stream, dialed.addresses));
        };
        let stream = Box::new(hop.open(config.via.first_stop(target), &name, trail).await?);
        Ok((config.via.through_proxies(stream, target, &at).await?, (None, None)))
    };
    let limit = config.timeouts.dial;
    let made = match tokio::time::timeout(limit, dialing).await {
        Ok(made) => made.map_err(|source| ConnectError::Dial { target: name.clone(), source }),
        Err(_) => Err(trail.too_late(trail.hops(), Phase::Dial, limit)),
    };
    trail.arrived();
    made
}

/// One more connection to the same target, for a channel of its own.
fn redial(config: Arc<ClientConfig>) -> Redial {
    Arc::new(move || {
        let client = Client { config: Arc::clone(&config) };
        async move { client.connect().await }.boxed()
    })
}

async fn log_in<IO>(
    config: &ClientConfig,
    io: IO,
    addresses: Addresses,
    phases: watch::Sender<PhaseEvent>,
    redial: Option<Redial>,
) -> Result<ConnectionRef, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    config.check()?;
    match config.outbound_rate {
        u64::MAX => start(config, io, addresses, phases, redial).await,
        rate => {
            let paced: Box<dyn ByteStream> = Box::new(Paced::new(io, rate));
            start(config, paced, addresses, phases, redial).await
        }
    }
}

async fn start<IO>(
    config: &ClientConfig,
    io: IO,
    addresses: Addresses,
    phases: watch::Sender<PhaseEvent>,
    redial: Option<Redial>,
) -> Result<ConnectionRef, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // As OpenSSH, an alias is looked up without the port.
    let (name, port) = match &config.host_key_alias {
        Some(alias) => (alias.as_str(), 22),
        None => (config.host.as_str(), config.port),
    };
    let host_key = config.host_key.prepare(name, port).await?;
    let sink = Sink::default();
    let entrance = Entrance::default();
    let established = establish(Establish {
        io,
        user: &config.user,
        auth: &config.auth,
        host_key,
        algorithms: &config.algorithms,
        client_id: &config.client_id,
        limits: &config.limits,
        timeouts: &config.timeouts,
        banner: config.banner.clone(),
        addresses,
        phases: &phases,
        events: sink.events(),
        entrance: entrance.clone(),
    })
    .await?;
    let (facts, binding) = (Arc::new(established.facts), established.binding);
    let receiver = phases.subscribe();
    let transport = Arc::clone(&established.transport);
    let (keys, gauges) = (Arc::<Keys>::default(), Arc::new(Gauges::new()));
    let slots = Slots::new(config.limits.max_channels);
    let actor = connection::start(ConnectionArgs {
        transport: established.transport,
        budget: Arc::clone(&established.budget),
        facts: Arc::clone(&facts),
        timeouts: config.timeouts.clone(),
        limits: config.limits.clone(),
        keepalive: config.keepalive,
        rekey: config.rekey,
        life: config.life,
        keys: Arc::clone(&keys),
        slots: slots.clone(),
        gauges: Arc::clone(&gauges),
        side: Side::Client,
        phases,
        span: tracing::info_span!("ssh_up", peer = facts.peer_addr.map(tracing::field::display)),
        down: sink.reason(),
    })
    .await
    .map_err(|error| {
        transport.abort(crate::error::ConnectionError::Closed);
        ConnectError::Actor(error.to_string().into())
    })?;
    sink.attach(actor.clone());
    let intake = Intake {
        actor: actor.clone(),
        budget: established.budget,
        keys,
        options: ChannelOptions::default(),
        close_timeout: config.timeouts.close,
        gauges,
        phase: receiver.clone(),
    };
    let acceptance = Arc::<Acceptance>::default();
    let door = ClientDoor::new(intake, slots, Arc::clone(&acceptance), config.timeouts.open);
    entrance.install(Box::new(door));
    tracing::info!(version = %facts.peer_version, "connected");
    let connection = ConnectionRef::new(actor, facts, receiver, redial, acceptance);
    connection.bind(binding);
    Ok(connection)
}
