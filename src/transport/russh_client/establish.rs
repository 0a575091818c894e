//! From a byte stream to an authenticated transport, phase by phase, each with its own deadline.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::config::russh_config;
use super::convert;
use super::handler::{BannerHook, ClientHandler, Fault, Found, Shared};
use super::link::{Barrier, Handle};
use super::openings::Openings;
use super::transport::RusshTransport;
use crate::auth::{Credentials, SessionBinding};
use crate::config::{Limits, Timeouts};
use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, Phase};
use crate::host_key::Prepared;
use crate::observe::{Facts, PhaseEvent};
use crate::port::budget::{ChannelBudget, ConnectionBudget, OutboundCredit};
use crate::transport::door::Entrance;
use crate::transport::login::{login, session_binding};
use crate::transport::pump::{Pump, PumpConfig};
use crate::transport::russh_common::{AlgorithmLists, CloseOnDrop, Ending, Taps};
use crate::transport::version::VersionWatch;
use crate::transport::{EventSink, Transport};

/// What it takes to make an authenticated connection of a byte stream.
pub(crate) struct Establish<'a, IO> {
    pub(crate) io: IO,
    pub(crate) user: &'a str,
    pub(crate) auth: &'a Credentials,
    pub(crate) host_key: Prepared,
    pub(crate) algorithms: &'a AlgorithmLists,
    pub(crate) client_id: &'a str,
    pub(crate) limits: &'a Limits,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) banner: Option<BannerHook>,
    pub(crate) addresses: (Option<SocketAddr>, Option<SocketAddr>),
    pub(crate) phases: &'a watch::Sender<PhaseEvent>,
    pub(crate) events: EventSink,
    /// Where the channels come in that the server opens.
    pub(crate) entrance: Entrance,
}

/// An authenticated connection.
pub(crate) struct Established {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) budget: Arc<ConnectionBudget>,
    pub(crate) facts: Facts,
    /// What agents are bound to.
    pub(crate) binding: Option<SessionBinding>,
}

/// Exchanges versions and keys, checks the host key, logs in.
///
/// # Cancel safety
/// Dropping the future closes the byte stream.
pub(crate) async fn establish<IO>(args: Establish<'_, IO>) -> Result<Established, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let enter = |phase| {
        tracing::debug!(%phase, "phase");
        args.phases.send_replace(PhaseEvent::new(phase));
    };
    let config = russh_config(args.limits, args.algorithms, args.host_key.algorithms(), args.client_id)?;
    let budget = ConnectionBudget::new(args.limits.inbound_budget);
    let credit = OutboundCredit::new(args.limits.outbound_budget);
    let (io, version_seen) = VersionWatch::new(args.io);
    let pump_config = PumpConfig::new(args.timeouts, args.limits);
    let pump = Pump::new(io, &pump_config, Arc::clone(&budget), Arc::clone(&credit));
    let (control, stats) = (pump.control(), pump.stats());
    let guard = CloseOnDrop::new(&control);

    let early = ChannelBudget::new(Arc::clone(&budget), args.limits.inbound_budget);
    let shared = Arc::new(Shared {
        taps: Taps::new(early, args.limits.window),
        found: Mutex::new(Found::default()),
        exchanges: watch::Sender::new(0),
        drain: Arc::default(),
        deciding: watch::Sender::new(false),
        given_up: CancellationToken::new(),
        ending: Ending::new(args.events),
        openings: Openings::default(),
        entrance: args.entrance,
        credit: Arc::clone(&credit),
        barrier: OnceLock::new(),
    });
    let handler = ClientHandler { shared: Arc::clone(&shared), host_key: args.host_key, banner: args.banner };

    let giving_up = shared.given_up.clone().drop_guard();

    enter(Phase::Version);
    let mut handshake = Box::pin(russh::client::connect_stream(config, pump, handler));
    let exchange = version(&mut handshake, version_seen, args.timeouts.version);
    let mut handle = match exchange.instrument(tracing::info_span!("ssh_version")).await? {
        Some(handle) => handle,
        None => {
            enter(Phase::Kex);
            let exchange = kex(handshake, shared.deciding.subscribe(), args.timeouts.kex);
            exchange.instrument(tracing::info_span!("ssh_kex")).await?
        }
    };

    enter(Phase::Auth);
    let limit = args.timeouts.auth;
    let logging_in = async {
        // Not before the host is known to be the right one, so that nobody is asked in vain.
        let auth = args.auth.get().await?;
        login(&mut handle, args.user, &auth).await
    };
    let summary = tokio::time::timeout(limit, logging_in)
        .instrument(tracing::info_span!("ssh_auth"))
        .await
        .map_err(|_| ConnectError::Timeout { phase: Phase::Auth, after: limit })?
        .map_err(|error| match shared.taps.down_reason() {
            Some(ConnectionError::Disconnected { code, description }) => {
                error.with_disconnect(code, description)
            }
            _ => error,
        })?;

    guard.keep_open();
    giving_up.disarm();
    let found = std::mem::take(&mut *shared.found.lock().unwrap_or_else(PoisonError::into_inner));
    let (peer_addr, local_addr) = args.addresses;
    let facts = Facts {
        peer_version: found.peer_version,
        algorithms: found.algorithms,
        host_key_fingerprint: found.accepted.map(|accepted| accepted.fingerprint).unwrap_or_default(),
        user: args.user.to_owned(),
        auth_methods: summary.methods.iter().map(|method| method.name().to_owned()).collect(),
        peer_addr,
        local_addr,
    };
    let binding = session_binding(&handle);
    let handle = Arc::new(handle);
    let barrier = Barrier::new(Arc::clone(&handle));
    let _ = shared.barrier.set(Arc::downgrade(&barrier));
    let transport = Arc::new(RusshTransport {
        barrier,
        handle,
        shared,
        budget: Arc::clone(&budget),
        credit,
        control,
        stats,
        window: u64::from(args.limits.window),
    });
    Ok(Established { transport, budget, facts, binding })
}

/// Waits for the peer's identification string. `Some` when the whole handshake was done before that was noticed.
async fn version<F>(
    handshake: &mut std::pin::Pin<Box<F>>,
    mut seen: oneshot::Receiver<String>,
    limit: Duration,
) -> Result<Option<Handle>, ConnectError>
where
    F: Future<Output = Result<Handle, Fault>>,
{
    tokio::select! {
        done = handshake => done.map(Some).map_err(|fault| {
            // Both may have come in one piece.
            let phase = if seen.try_recv().is_ok() { Phase::Kex } else { Phase::Version };
            failed(phase, fault)
        }),
        Ok(_) = &mut seen => Ok(None),
        () = tokio::time::sleep(limit) => Err(ConnectError::Timeout { phase: Phase::Version, after: limit }),
    }
}

/// Waits for the end of the key exchange. While a host key decision is under way, the clock stands still.
async fn kex<F>(
    mut handshake: std::pin::Pin<Box<F>>,
    mut deciding: watch::Receiver<bool>,
    limit: Duration,
) -> Result<Handle, ConnectError>
where
    F: Future<Output = Result<Handle, Fault>>,
{
    let mut left = limit;
    loop {
        let started = tokio::time::Instant::now();
        let stopped = *deciding.borrow_and_update();
        tokio::select! {
            done = &mut handshake => return done.map_err(|fault| failed(Phase::Kex, fault)),
            () = tokio::time::sleep(left), if !stopped => {
                return Err(ConnectError::Timeout { phase: Phase::Kex, after: limit });
            }
            changed = deciding.changed() => {
                if changed.is_err() {
                    return handshake.await.map_err(|fault| failed(Phase::Kex, fault));
                }
            }
        }
        if !stopped {
            left = left.saturating_sub(started.elapsed());
        }
    }
}

fn failed(phase: Phase, fault: Fault) -> ConnectError {
    match fault {
        Fault::HostKey(error) => ConnectError::HostKey(error),
        Fault::Russh(error) => convert::connect_error(phase, error),
    }
}
