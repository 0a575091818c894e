//! What a client lends to the server of one connection: displays, and its agent.
//!
//! Owns who has lent what; the channels on which it is used are taken in elsewhere.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::{AgentForward, SessionBinding};
use crate::x11;

/// Everything that is lent on one connection.
#[derive(Debug, Default)]
pub(crate) struct Loans {
    displays: Arc<x11::Table>,
    agent: Mutex<Option<AgentLoan>>,
    /// The server has agreed to the agent once. OpenSSH's does so only once a connection, and means all of it.
    agent_granted: AtomicBool,
    /// What the key exchange left to bind the agent to.
    binding: Option<Arc<SessionBinding>>,
}

/// An agent that is lent.
struct AgentLoan {
    forward: AgentForward,
    borrowers: usize,
    /// Takes the channels in, as long as it exists.
    _accepting: Box<dyn Any + Send>,
}

impl fmt::Debug for AgentLoan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.forward.fmt(f)
    }
}

/// Why the agent cannot be lent.
#[derive(Debug)]
pub(crate) enum NoLoan {
    /// Another one is, and nothing tells them apart.
    Another,
    /// Somebody else takes its channels in.
    Taken,
}

impl Loans {
    pub(crate) fn new(binding: Option<SessionBinding>) -> Self {
        Self { binding: binding.map(Arc::new), ..Self::default() }
    }

    pub(crate) const fn displays(&self) -> &Arc<x11::Table> {
        &self.displays
    }

    pub(crate) const fn binding(&self) -> Option<&Arc<SessionBinding>> {
        self.binding.as_ref()
    }

    /// Lends the agent; `accept` has its channels taken in, if nobody has lent it before.
    pub(crate) fn lend_agent(
        self: &Arc<Self>,
        forward: &AgentForward,
        accept: impl FnOnce() -> Option<Box<dyn Any + Send>>,
    ) -> Result<AgentLease, NoLoan> {
        let mut agent = self.lock();
        match &mut *agent {
            Some(loan) if !loan.forward.is_same(forward) => return Err(NoLoan::Another),
            Some(loan) => loan.borrowers += 1,
            None => {
                let accepting = accept().ok_or(NoLoan::Taken)?;
                *agent = Some(AgentLoan { forward: forward.clone(), borrowers: 1, _accepting: accepting });
            }
        }
        Ok(AgentLease(Arc::clone(self)))
    }

    /// The server has agreed to the agent.
    pub(crate) fn agent_granted(&self) {
        self.agent_granted.store(true, Ordering::Relaxed);
    }

    /// Whether it ever did.
    pub(crate) fn was_agent_granted(&self) -> bool {
        self.agent_granted.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<AgentLoan>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent is lent as long as one of these exists.
#[derive(Debug)]
pub(crate) struct AgentLease(Arc<Loans>);

impl Drop for AgentLease {
    fn drop(&mut self) {
        let mut agent = self.0.lock();
        let Some(loan) = &mut *agent else { return };
        loan.borrowers = loan.borrowers.saturating_sub(1);
        if loan.borrowers == 0 {
            // Under the lock: who lends it next must find its channels free.
            *agent = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Accepting(Arc<AtomicBool>);

    impl Drop for Accepting {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_agent_is_lent_until_its_last_borrower_is_gone_and_no_other_one_meanwhile() {
        let (loans, accepts) = (Arc::new(Loans::new(None)), Arc::new(AtomicBool::new(false)));
        let accept = || {
            assert!(!accepts.swap(true, Ordering::Relaxed), "accepted twice");
            Some(Box::new(Accepting(Arc::clone(&accepts))) as Box<dyn Any + Send>)
        };
        let (one, other) = (AgentForward::at("/one"), AgentForward::at("/other"));
        let first = loans.lend_agent(&one, accept).unwrap();
        let second = loans.lend_agent(&one.clone().max_connections(1), accept).unwrap();
        assert!(matches!(loans.lend_agent(&other, accept), Err(NoLoan::Another)));
        drop(first);
        assert!(accepts.load(Ordering::Relaxed));
        drop(second);
        assert!(!accepts.load(Ordering::Relaxed));
        let _other = loans.lend_agent(&other, accept).unwrap();
    }
}
