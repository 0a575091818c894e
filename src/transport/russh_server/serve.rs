//! From a byte stream to an authenticated peer, under deadlines that no traffic of the peer moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::Disconnect;
use russh::server::Handle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::config::ServerSetup;
use super::meter::Meter;
use super::replies::Replies;
use super::session::{Login, ServerHandler, Shared};
use super::transport::ServerTransport;
use crate::config::{Limits, Timeouts};
use crate::error::{ConnectionError, Phase};
use crate::observe::{Facts, PhaseEvent};
use crate::port::budget::{ChannelBudget, ConnectionBudget, OutboundCredit};
use crate::transport::door::Door;
use crate::transport::gate::Gatekeeper;
use crate::transport::pump::{Pump, PumpConfig};
use crate::transport::russh_common::{CloseOnDrop, Ending, Taps, convert};
use crate::transport::version::VersionWatch;
use crate::transport::{EventSink, Transport};

/// How long a peer that is told of its end is waited for.
const FAREWELL: Duration = Duration::from_millis(250);

/// What it takes to serve one byte stream.
pub(crate) struct Serve<'a, IO> {
    pub(crate) io: IO,
    pub(crate) setup: &'a ServerSetup,
    pub(crate) gatekeeper: Box<dyn Gatekeeper>,
    pub(crate) limits: &'a Limits,
    pub(crate) timeouts: &'a Timeouts,
    /// When the peer must be logged in, whatever it does.
    pub(crate) deadline: Instant,
    pub(crate) addresses: (Option<SocketAddr>, Option<SocketAddr>),
    /// Where the phases of the handshake are published.
    pub(crate) phases: &'a watch::Sender<PhaseEvent>,
    pub(crate) meter: &'a Meter,
    pub(crate) events: EventSink,
}

/// A peer that is let in. It is served from [`admit`](Self::admit) on.
pub(crate) struct Admitted {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) budget: Arc<ConnectionBudget>,
    pub(crate) facts: Facts,
    door: oneshot::Sender<Box<dyn Door>>,
}

impl Admitted {
    /// Until here russh reads nothing more: no message of the peer can come before its door is there.
    pub(crate) fn admit(self, door: Box<dyn Door>) {
        let _ = self.door.send(door);
    }
}

/// Why a peer was not let in.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// It took too long.
    #[error("{phase} took longer than {after:?}")]
    Timeout { phase: Phase, after: Duration },
    /// It went away, broke the protocol, or was refused too often.
    #[error("{phase} failed: {error}")]
    Ended { phase: Phase, error: ConnectionError },
}

/// Exchanges versions and keys, and lets the peer log in.
///
/// # Cancel safety
/// Dropping the future closes the byte stream.
pub(crate) async fn serve<IO>(args: Serve<'_, IO>) -> Result<Admitted, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let budget = ConnectionBudget::new(args.limits.inbound_budget);
    let credit = OutboundCredit::new(args.limits.outbound_budget);
    let pump_config = PumpConfig::new(args.timeouts, args.limits);
    let (io, version) = VersionWatch::new(args.io);
    let pump = Pump::new(io, &pump_config, Arc::clone(&budget), Arc::clone(&credit));
    let (control, stats) = (pump.control(), pump.stats());
    let guard = CloseOnDrop::new(&control);
    args.meter.set(Arc::clone(&stats));
    let early = ChannelBudget::new(Arc::clone(&budget), args.limits.inbound_budget);
    let shared = Arc::new(Shared {
        taps: Taps::new(early, args.limits.window),
        replies: Replies::new(Arc::clone(&control)),
        ending: Ending::new(args.events),
        credit,
    });
    let (handler, mut steps) =
        ServerHandler::new(args.gatekeeper, version, args.limits, args.deadline, Arc::clone(&shared));

    let deadline = Deadline(args.deadline);
    let config = Arc::clone(&args.setup.config);
    let exchange = russh::server::run_stream(config, pump, handler);
    let running =
        deadline.limit(Phase::Version, args.timeouts.version, exchange).await?.map_err(|error| {
            HandshakeError::Ended { phase: Phase::Version, error: convert::connection_error(&error) }
        })?;
    let handle = running.handle();
    let told = Arc::clone(&shared);
    tokio::spawn(async move {
        told.down(match running.await {
            Ok(()) => ConnectionError::Lost("the peer disconnected".into()),
            Err(error) => convert::connection_error(&error),
        });
    });

    args.phases.send_replace(PhaseEvent::new(Phase::Kex));
    let login = async {
        let keys = deadline.limit(Phase::Kex, args.timeouts.kex, &mut steps.keys).await?;
        if keys.is_err() {
            return Err(ended(Phase::Kex, &shared).await);
        }
        args.phases.send_replace(PhaseEvent::new(Phase::Auth));
        match deadline.limit(Phase::Auth, args.timeouts.auth, &mut steps.login).await? {
            Ok(login) => Ok(login),
            Err(_) => Err(ended(Phase::Auth, &shared).await),
        }
    };
    let login = login.await;
    if matches!(login, Err(HandshakeError::Timeout { .. })) {
        say_goodbye(&handle, &shared).await;
    }
    let Login { user, methods, peer_version, door } = login?;

    guard.keep_open();
    let facts = Facts {
        peer_version,
        user,
        auth_methods: methods.iter().map(|method| method.name().to_owned()).collect(),
        peer_addr: args.addresses.0,
        local_addr: args.addresses.1,
        ..Facts::default()
    };
    let transport = Arc::new(ServerTransport { handle, shared, control, stats });
    Ok(Admitted { transport, budget, facts, door })
}

/// How long a session that has let go of its handler may take to say why.
const REASON: Duration = Duration::from_secs(5);

/// The session has ended. Its handler is dropped just before the reason is known.
async fn ended(phase: Phase, shared: &Shared) -> HandshakeError {
    let _ = tokio::time::timeout(REASON, shared.taps.until_down()).await;
    let error = shared.taps.down_reason();
    let error = error.unwrap_or_else(|| ConnectionError::Lost("the session ended".into()));
    HandshakeError::Ended { phase, error }
}

/// Tells a peer that has taken too long to log in. russh does so between two messages and not in a key exchange; who is
/// not told by then is cut off.
async fn say_goodbye(handle: &Handle, shared: &Shared) {
    let farewell = async {
        let text = "the time to log in is over".to_owned();
        if handle.disconnect(Disconnect::ByApplication, text, String::new()).await.is_ok() {
            shared.taps.until_down().await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

/// The end of the login grace.
struct Deadline(Instant);

impl Deadline {
    /// One phase: within its own limit and before the end.
    async fn limit<F: Future>(
        &self,
        phase: Phase,
        after: Duration,
        work: F,
    ) -> Result<F::Output, HandshakeError> {
        let start = Instant::now();
        let after = after.min(self.0.saturating_duration_since(start));
        tokio::time::timeout(after, work).await.map_err(|_| HandshakeError::Timeout { phase, after })
    }
}
