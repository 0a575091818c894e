//! What all connections of a daemon share, and the way in: whoever has a byte stream hands it over here.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::Instrument;

use super::caps::Caps;
use super::config::DaemonConfig;
use super::error::ServeError;
use super::lend::Lending;
use super::login::{Counters, Penalties};
use super::peer::{Plan, attend};
use super::session::{Addresses, Registry, SessionId};
use super::source::Source;
use super::tally::{DaemonInfo, Tally, count};
use super::turn_away::{AT_A_TIME, turn_away};
use crate::error::ConfigError;

/// Where in its life a daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Serving,
    /// Connections may end by themselves until then; none is taken in.
    Draining(Instant),
    /// Every connection ends.
    Stopped,
}

/// What all connections of a daemon share.
pub(super) struct House {
    plan: RwLock<Arc<Plan>>,
    caps: Arc<Caps>,
    pub(super) sessions: Arc<Registry>,
    pub(super) life: watch::Sender<Life>,
    pub(super) tally: Tally,
    /// What source addresses owe for refused logins.
    penalties: Arc<Penalties>,
    pub(super) logins: Arc<Counters>,
    /// What is lent to sessions.
    pub(super) lending: Arc<Lending>,
    turning_away: Arc<Semaphore>,
    since: Instant,
}

impl House {
    pub(super) fn new(config: DaemonConfig) -> Result<Self, ConfigError> {
        let penalties = Arc::new(Penalties::new(config.logins.penalties.clone()));
        let logins = Arc::default();
        let plan = Plan::new(config, &penalties, &logins)?;
        Ok(Self {
            plan: RwLock::new(Arc::new(plan)),
            caps: Arc::default(),
            sessions: Arc::default(),
            life: watch::Sender::new(Life::Serving),
            tally: Tally::default(),
            lending: Arc::default(),
            turning_away: Arc::new(Semaphore::new(AT_A_TIME)),
            since: Instant::now(),
            penalties,
            logins,
        })
    }

    /// Takes a connection in, or turns it away. Never waits; must be called within a tokio runtime.
    pub(super) fn take_in<IO>(self: &Arc<Self>, io: IO, addresses: Addresses) -> Result<SessionId, ServeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let plan = self.plan();
        let source = addresses.peer.map(|peer| Source::of(peer.ip()));
        let serving = *self.life.borrow() == Life::Serving;
        let pass = if !serving {
            Err(ServeError::Stopping)
        } else if addresses.peer.is_some_and(|peer| self.penalties.is_barred(peer.ip())) {
            Err(ServeError::Barred)
        } else {
            self.caps.enter(&plan.config.caps, source, rand::random_range(0..100))
        };
        // Listed first, and then looked again: who stops the daemon waits for all that are listed.
        let entered = pass.and_then(|pass| {
            let listed = self.sessions.enter(addresses);
            let serving = *self.life.borrow() == Life::Serving;
            serving.then_some((pass, listed)).ok_or(ServeError::Stopping)
        });
        match entered {
            Ok((pass, (session, phases))) => {
                count(&self.tally.connections_accepted);
                let id = session.id();
                let span = tracing::info_span!("ssh_peer", session = %id, peer = shown(addresses.peer));
                tokio::spawn(attend(Arc::clone(self), plan, io, session, phases, pass).instrument(span));
                Ok(id)
            }
            Err(refused) => {
                self.tally.refused(refused);
                tracing::info!(peer = shown(addresses.peer), %refused, "a connection was turned away");
                turn_away(&self.turning_away, io, refused.line());
                Err(refused)
            }
        }
    }

    /// What connections that come now are served by.
    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves connections from now on by another configuration.
    pub(super) fn reconfigure(&self, config: DaemonConfig) -> Result<(), ConfigError> {
        let policy = config.logins.penalties.clone();
        let plan = Plan::new(config, &self.penalties, &self.logins)?;
        self.penalties.set_policy(policy);
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
        Ok(())
    }

    /// Takes no more connections in; those that are there have until then.
    pub(super) fn drain(&self, until: Instant) {
        self.life.send_modify(|life| match life {
            Life::Serving => *life = Life::Draining(until),
            Life::Draining(earlier) => *earlier = until.min(*earlier),
            Life::Stopped => {}
        });
    }

    /// Ends every connection.
    pub(super) fn stop(&self) {
        self.life.send_replace(Life::Stopped);
    }

    pub(super) fn info(&self, listeners: usize) -> DaemonInfo {
        DaemonInfo {
            uptime: self.since.elapsed(),
            listeners,
            connections: self.sessions.len(),
            unauthenticated: self.caps.unauthenticated(),
            counters: self.tally.counters(self.sessions.totals()),
        }
    }
}

fn shown(peer: Option<SocketAddr>) -> Option<tracing::field::DisplayValue<SocketAddr>> {
    peer.map(tracing::field::display)
}
