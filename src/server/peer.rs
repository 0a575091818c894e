//! One connection, from its byte stream to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::caps::Pass;
use super::config::DaemonConfig;
use super::door::{ConnectionDoor, Login, Reception};
use super::house::{House, Life};
use super::login::{Contact, Counters, Gate, GateSetup, Penalties};
use super::session::{Entry, SessionEnd};
use super::tally::count;
use crate::config::RekeyLimit;
use crate::connection::{self, ConnectionArgs, Sink};
use crate::error::{ConfigError, ConnectionError};
use crate::handle::ConnectionRef;
use crate::handle::intake::Intake;
use crate::handle::msg::ConnectionMsg;
use crate::metrics::Side;
use crate::observe::PhaseEvent;
use crate::port::Keys;
use crate::transport::door::Slots;
use crate::transport::russh_server::{Serve, ServerSetup, serve};

/// As good as never.
pub(super) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What connections are served by, from when they come to their end.
pub(super) struct Plan {
    pub(super) config: DaemonConfig,
    setup: ServerSetup,
    gates: GateSetup,
}

impl Plan {
    /// What source addresses owe and how many logins there were outlives a plan.
    pub(super) fn new(
        config: DaemonConfig,
        penalties: &Arc<Penalties>,
        logins: &Arc<Counters>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let (penalties, logins) = (Arc::clone(penalties), Arc::clone(logins));
        let gates = GateSetup::new(config.logins.clone(), config.max_auth_attempts, penalties, logins)?;
        let setup = ServerSetup::new(
            &config.host_keys,
            &config.host_certificates,
            &config.server_id,
            &gates.methods(),
            gates.refusals(),
            &config.limits,
            config.rekey,
        )?;
        Ok(Self { config, setup, gates })
    }
}

/// Serves one connection until it ends or the daemon stops.
pub(super) async fn attend<IO>(
    house: Arc<House>,
    plan: Arc<Plan>,
    io: IO,
    session: Entry,
    phases: watch::Sender<PhaseEvent>,
    pass: Pass,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let hooks = &plan.config.hooks;
    hooks.connected(&session.info());
    let peer = Peer { house: &house, plan: &plan, session: &session };
    let mut pass = pass;
    let (end, conn) = peer.live(io, phases, &mut pass).await;
    match &end {
        SessionEnd::Ended(reason) => tracing::debug!(%reason, "connection ended"),
        _ => tracing::info!("{end}"),
    }
    house.tally.ended(&end);
    hooks.disconnected(&session.info(), &end);
    if let Some(conn) = conn {
        peer.bury(&conn).await;
    }
    drop(pass);
    drop(session);
}

/// One connection at work.
struct Peer<'a> {
    house: &'a House,
    plan: &'a Plan,
    session: &'a Entry,
}

impl Peer<'_> {
    async fn live<IO>(
        &self,
        io: IO,
        phases: watch::Sender<PhaseEvent>,
        pass: &mut Pass,
    ) -> (SessionEnd, Option<ConnectionRef>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut life = self.house.life.subscribe();
        let closed =
            || (SessionEnd::NoLogin { phase: self.session.phase(), error: ConnectionError::Closed }, None);
        let up = tokio::select! {
            biased;
            _ = life.wait_for(|life| *life != Life::Serving) => return closed(),
            () = self.session.kicked() => {
                count(&self.house.tally.kicked);
                return closed();
            }
            up = self.let_in(io, phases, pass) => up,
        };
        let conn = match up {
            Ok(conn) => conn,
            Err(end) => return (end, None),
        };
        // What has happened meanwhile is looked at first.
        life.mark_changed();
        loop {
            tokio::select! {
                biased;
                reason = conn.closed() => return (SessionEnd::Ended(reason), Some(conn)),
                () = self.session.kicked() => {
                    count(&self.house.tally.kicked);
                    conn.close().await;
                }
                changed = life.changed() => {
                    let now = changed.map_or(Life::Stopped, |()| *life.borrow_and_update());
                    match now {
                        Life::Serving => {}
                        Life::Draining(until) => {
                            let grace = until.saturating_duration_since(Instant::now());
                            let _ = conn.tell(ConnectionMsg::Shutdown { grace });
                        }
                        Life::Stopped => conn.close().await,
                    }
                }
            }
        }
    }

    /// Waits for the channel actors of a connection that is gone: they may be at what arrived before, and have its place
    /// until they have ended. A kick, and the end of the daemon, do not wait for them.
    async fn bury(&self, conn: &ConnectionRef) {
        let mut life = self.house.life.subscribe();
        let no_more = async {
            let over = life.wait_for(|life| *life != Life::Serving).await.map(|life| *life);
            if let Ok(Life::Draining(until)) = over {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    _ = life.wait_for(|life| *life == Life::Stopped) => {}
                }
            }
        };
        let actor = conn.actor();
        tokio::select! {
            biased;
            _ = actor.wait(None) => return,
            () = self.session.kicked() => count(&self.house.tally.kicked),
            () = no_more => {}
        }
        conn.close().await;
        let _ = actor.wait(None).await;
    }

    /// Lets a peer log in and starts its connection actor.
    async fn let_in<IO>(
        &self,
        io: IO,
        phases: watch::Sender<PhaseEvent>,
        pass: &mut Pass,
    ) -> Result<ConnectionRef, SessionEnd>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = &self.plan.config;
        let info = self.session.info();
        let sink = Sink::default();
        let contact = Contact::new((info.peer, info.local));
        let (gate, granted) = Gate::new(self.plan.gates.clone(), contact);
        let admitted = serve(Serve {
            io,
            setup: &self.plan.setup,
            gatekeeper: Box::new(gate),
            limits: &config.limits,
            timeouts: &config.timeouts,
            deadline: Instant::now() + config.login_grace.min(FAR),
            addresses: (info.peer, info.local),
            phases: &phases,
            meter: &self.session.meter,
            events: sink.events(),
        })
        .await?;
        let facts = Arc::new(admitted.facts.clone());
        let keys = Arc::new(Keys::default());
        let phase = phases.subscribe();
        let slots = Slots::new(config.limits.max_channels);
        let actor = connection::start(ConnectionArgs {
            transport: Arc::clone(&admitted.transport),
            budget: Arc::clone(&admitted.budget),
            facts: Arc::clone(&facts),
            timeouts: config.timeouts.clone(),
            limits: config.limits.clone(),
            keepalive: config.keepalive,
            // russh does it on a server, by its own limits.
            rekey: RekeyLimit::never(),
            life: config.life,
            keys: Arc::clone(&keys),
            slots: slots.clone(),
            gauges: Arc::clone(&self.session.gauges),
            side: Side::Server,
            phases,
            span: tracing::info_span!("ssh_up", user = ?facts.user),
            down: sink.reason(),
        })
        .await
        .map_err(|error| {
            admitted.transport.abort(ConnectionError::Closed);
            SessionEnd::Ended(ConnectionError::ActorGone(error.to_string().into()))
        })?;
        sink.attach(actor.clone());
        pass.log_in();
        self.session.log_in(&facts.user);
        count(&self.house.tally.logins);
        tracing::info!(user = ?facts.user, version = ?facts.peer_version, "logged in");
        config.hooks.logged_in(&self.session.info());
        let reception = Reception {
            intake: Intake {
                actor: actor.clone(),
                budget: Arc::clone(&admitted.budget),
                keys,
                options: config.channel_options.clone(),
                close_timeout: config.timeouts.close,
                gauges: Arc::clone(&self.session.gauges),
                phase: phase.clone(),
            },
            router: Arc::clone(&config.router),
            limits: config.session_limits.clone(),
            lend_limits: config.lend_limits,
            lending: Arc::clone(&self.house.lending),
            open_timeout: config.timeouts.open,
            request_timeout: config.timeouts.request,
            login: Login {
                user: facts.user.clone(),
                peer: info.peer,
                local: info.local,
                permissions: Arc::new(granted.take()),
            },
        };
        let door = ConnectionDoor::new(reception, slots);
        admitted.admit(Box::new(door));
        let connection = ConnectionRef::new(actor, facts, phase, None, Arc::default());
        self.session.is_up_as(&connection);
        Ok(connection)
    }
}
