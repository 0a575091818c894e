//! One connection, from its byte stream to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::config::DaemonConfig;
use super::door::{ConnectionDoor, Slots};
use super::login::Gate;
use crate::config::RekeyLimit;
use crate::connection::{self, ConnectionArgs, Sink};
use crate::error::{ConfigError, ConnectionError, Phase};
use crate::handle::ConnectionRef;
use crate::observe::PhaseEvent;
use crate::port::Keys;
use crate::transport::russh_server::{HandshakeError, Serve, ServerSetup, serve};

/// What all connections of a daemon are served by.
pub(super) struct Plan {
    pub(super) config: DaemonConfig,
    setup: ServerSetup,
}

impl Plan {
    pub(super) fn new(config: DaemonConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let setup = ServerSetup::new(
            &config.host_keys,
            &config.server_id,
            config.logins.methods(),
            config.max_auth_attempts,
            &config.limits,
            config.rekey,
        )?;
        Ok(Self { config, setup })
    }
}

/// What a connection holds of its daemon's caps.
pub(super) struct Permits {
    pub(super) connection: OwnedSemaphorePermit,
    /// Given back at the login.
    pub(super) unauthenticated: OwnedSemaphorePermit,
}

/// Serves one connection until it ends or the daemon stops.
pub(super) async fn attend<IO>(
    plan: Arc<Plan>,
    io: IO,
    addresses: (Option<SocketAddr>, Option<SocketAddr>),
    permits: Permits,
    mut stop: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Permits { connection, unauthenticated } = permits;
    let up = tokio::select! {
        biased;
        () = stopped(&mut stop) => return,
        up = let_in(&plan, io, addresses) => up,
    };
    drop(unauthenticated);
    match up {
        Ok(conn) => {
            tokio::select! {
                biased;
                reason = conn.closed() => tracing::debug!(%reason, "connection ended"),
                () = stopped(&mut stop) => conn.close().await,
            }
        }
        Err(error) => tracing::info!(%error, "no login"),
    }
    drop(connection);
}

/// Resolves when the daemon stops.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[derive(Debug, thiserror::Error)]
enum LetInError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("the connection actor did not start: {0}")]
    Actor(#[from] ractor::SpawnErr),
}

/// Lets a peer log in and starts its connection actor.
async fn let_in<IO>(
    plan: &Plan,
    io: IO,
    addresses: (Option<SocketAddr>, Option<SocketAddr>),
) -> Result<ConnectionRef, LetInError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = &plan.config;
    let sink = Sink::default();
    let admitted = serve(Serve {
        io,
        setup: &plan.setup,
        gatekeeper: Arc::new(Gate { logins: config.logins.clone(), peer: addresses.0 }),
        limits: &config.limits,
        timeouts: &config.timeouts,
        deadline: Instant::now() + config.login_grace,
        addresses,
        events: sink.events(),
    })
    .await?;
    let facts = Arc::new(admitted.facts.clone());
    let keys = Arc::new(Keys::default());
    let (phases, receiver) = watch::channel(PhaseEvent::new(Phase::Up));
    let actor = connection::start(ConnectionArgs {
        transport: Arc::clone(&admitted.transport),
        budget: Arc::clone(&admitted.budget),
        facts: Arc::clone(&facts),
        timeouts: config.timeouts.clone(),
        limits: config.limits.clone(),
        keepalive: config.keepalive,
        // russh does it on a server, by its own limits.
        rekey: RekeyLimit::never(),
        keys: Arc::clone(&keys),
        phases,
        span: tracing::info_span!("ssh_up", user = %facts.user),
        down: sink.reason(),
    })
    .await
    .inspect_err(|_| admitted.transport.abort(ConnectionError::Closed))?;
    sink.attach(actor.clone());
    let door = ConnectionDoor {
        actor: actor.clone(),
        budget: Arc::clone(&admitted.budget),
        keys,
        slots: Slots::new(config.limits.max_channels),
        sessions: config.sessions.clone(),
        options: config.channel_options.clone(),
        close_timeout: config.timeouts.close,
        user: facts.user.clone(),
        peer: addresses.0,
        local: addresses.1,
        permissions: Arc::default(),
    };
    admitted.admit(Box::new(door));
    tracing::info!(user = %facts.user, version = %facts.peer_version, "logged in");
    Ok(ConnectionRef::new(actor, facts, receiver, None))
}
