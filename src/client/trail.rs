//! Where on its way a connection that is being made is: what the error of a limit names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::connect_error::ConnectError;
use crate::dial::{DialError, Proxy, ProxyError};
use crate::error::{OpenError, Phase};
use crate::observe::PhaseEvent;

/// Shared by all that make one connection: the target, and the jump hosts before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    /// The jump hosts that are being connected to, each over the one behind it, and how far each is.
    hops: Vec<(String, watch::Receiver<PhaseEvent>)>,
    /// Who was asked last to lead to the next stop, unless the byte stream is made.
    leg: Option<Leg>,
}

#[derive(Debug)]
struct Leg {
    /// Where the byte stream leads to.
    target: String,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Proxy(String),
    Jump { hop: String, to: String },
}

impl Trail {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A jump host is being connected to.
    pub(super) fn enter(&self, hop: &str, phases: watch::Receiver<PhaseEvent>) {
        self.lock().hops.push((hop.to_owned(), phases));
    }

    /// The jump host that was entered last is up.
    pub(super) fn leave(&self) {
        self.lock().hops.pop();
    }

    /// How many jump hosts are being connected to.
    pub(super) fn hops(&self) -> usize {
        self.lock().hops.len()
    }

    /// A proxy is gone to.
    pub(super) fn at_proxy(&self, target: &str, proxy: &Proxy) {
        self.ask(target, Asked::Proxy(proxy.to_string()));
    }

    /// A jump host is asked to connect to the next stop.
    pub(super) fn at_jump(&self, target: &str, hop: &str, to: &str) {
        self.ask(target, Asked::Jump { hop: hop.to_owned(), to: to.to_owned() });
    }

    fn ask(&self, target: &str, asked: Asked) {
        self.lock().leg = Some(Leg { target: target.to_owned(), asked });
    }

    /// The byte stream is made, or it is known why not.
    pub(super) fn arrived(&self) {
        self.lock().leg = None;
    }

    /// The error when a limit is over, of whoever is on its way since there were `before` hops. It names the hop or the
    /// proxy; if there is none, it has the phase.
    pub(super) fn too_late(&self, before: usize, phase: Phase, after: Duration) -> ConnectError {
        let places = self.lock();
        let hops = places.hops.get(before..).unwrap_or_default();
        let phase = hops.last().map_or(phase, |(_, phases)| phases.borrow().phase);
        let innermost = match &places.leg {
            Some(Leg { target, asked }) => {
                let source = match asked {
                    Asked::Proxy(proxy) => {
                        DialError::Proxy { proxy: proxy.clone(), source: ProxyError::TimedOut { after } }
                    }
                    Asked::Jump { hop, to } => {
                        let source = Box::new(OpenError::Timeout { after });
                        DialError::Jump { hop: hop.clone(), to: to.clone(), source }
                    }
                };
                ConnectError::Dial { target: target.clone(), source }
            }
            None => ConnectError::Timeout { phase, after },
        };
        hops.iter().rev().fold(innermost, |source, (hop, _)| ConnectError::Jump {
            hop: hop.clone(),
            source: Box::new(source),
        })
    }
}
