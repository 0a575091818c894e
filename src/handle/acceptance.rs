//! What a client has asked its server to open channels for, and what runs on them.
//!
//! Filled by those who ask, read by the client's door in the session's own task. What is not in here is refused.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::msg::StartChannel;
use crate::wire::open::{ListenRequest, OpenRequest};

/// Makes what runs on a channel, or refuses it. Must not block.
pub(crate) type Maker = Arc<dyn Fn(OpenRequest) -> Option<Box<dyn StartChannel>> + Send + Sync>;

/// What channels are taken in for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    /// The server listens, or is about to: until it has answered, and said which port it has chosen, opens wait.
    Listener {
        asked: ListenRequest,
        settled: bool,
    },
    Agent,
    Display,
}

struct Entry {
    id: u64,
    reason: Reason,
    make: Maker,
}

#[derive(Default)]
struct State {
    last_id: u64,
    /// In the order in which they came.
    entries: Vec<Entry>,
}

/// Everything a client has asked for on one connection.
#[derive(Default)]
pub(crate) struct Acceptance {
    state: Mutex<State>,
    /// Told when a listener is answered, or gone.
    settled: watch::Sender<()>,
}

impl fmt::Debug for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().entries.iter().map(|entry| &entry.reason)).finish()
    }
}

/// What is known of an open.
pub(crate) enum Found {
    /// It was asked for.
    Asked(Maker),
    /// It may have been: look again when this changes.
    Wait(watch::Receiver<()>),
    /// It was not.
    Nothing,
}

/// The same was asked for already.
#[derive(Debug)]
pub(crate) struct Taken;

impl Acceptance {
    /// Takes channels in for a listener, as soon as the server has answered.
    pub(crate) fn listener(self: &Arc<Self>, asked: ListenRequest, make: Maker) -> Result<Ticket, Taken> {
        let chosen_later = matches!(asked, ListenRequest::Tcpip { port: 0, .. });
        let same =
            |entry: &Entry| matches!(&entry.reason, Reason::Listener { asked: other, .. } if *other == asked);
        let mut state = self.lock();
        if !chosen_later && state.entries.iter().any(same) {
            return Err(Taken);
        }
        let id = state.add(Reason::Listener { asked, settled: false }, make);
        Ok(Ticket { acceptance: Arc::clone(self), id })
    }

    /// Takes agent channels in. One at a time: nothing tells them apart.
    pub(crate) fn agent(self: &Arc<Self>, make: Maker) -> Result<Ticket, Taken> {
        let mut state = self.lock();
        if state.entries.iter().any(|entry| entry.reason == Reason::Agent) {
            return Err(Taken);
        }
        let id = state.add(Reason::Agent, make);
        Ok(Ticket { acceptance: Arc::clone(self), id })
    }

    /// Takes X11 channels in. Of several the newest is asked first, until one makes something.
    pub(crate) fn display(self: &Arc<Self>, make: Maker) -> Ticket {
        let id = self.lock().add(Reason::Display, make);
        Ticket { acceptance: Arc::clone(self), id }
    }

    /// Whether this open was asked for.
    pub(crate) fn find(&self, request: &OpenRequest) -> Found {
        let settled = self.settled.subscribe();
        let state = self.lock();
        match request {
            OpenRequest::ForwardedTcpip { address, port, .. } => state.find_port(address, *port, settled),
            OpenRequest::ForwardedStreamlocal { path } => state.find_path(path, settled),
            OpenRequest::AuthAgent => state.newest(&Reason::Agent),
            OpenRequest::X11 { .. } => state.newest(&Reason::Display),
            _ => Found::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, reason: Reason, make: Maker) -> u64 {
        self.last_id += 1;
        self.entries.push(Entry { id: self.last_id, reason, make });
        self.last_id
    }

    /// OpenSSH repeats the address that was asked for, other servers tell what they bound. So the same words come first,
    /// then the only listener on that port, then the only one whose address means the same.
    fn find_port(&self, address: &str, port: u16, settled: watch::Receiver<()>) -> Found {
        let mut here = Vec::new();
        let mut unsettled = false;
        for entry in &self.entries {
            let Reason::Listener { asked: ListenRequest::Tcpip { address, port: at }, settled } =
                &entry.reason
            else {
                continue;
            };
            match settled {
                true if *at == port => here.push((address, entry)),
                true => {}
                false => unsettled |= *at == port || *at == 0,
            }
        }
        let asked = |entry: &Entry| Found::Asked(Arc::clone(&entry.make));
        if let Some((_, entry)) = here.iter().find(|(at, _)| *at == address) {
            return asked(entry);
        }
        if unsettled {
            return Found::Wait(settled);
        }
        if let [(_, entry)] = here.as_slice() {
            return asked(entry);
        }
        let meant = Meant::by(address);
        here.retain(|(at, _)| Meant::by(at) == meant);
        match here.as_slice() {
            [(_, entry)] => asked(entry),
            _ => Found::Nothing,
        }
    }

    fn find_path(&self, wanted: &str, settled: watch::Receiver<()>) -> Found {
        let mut unsettled = false;
        for entry in &self.entries {
            match &entry.reason {
                Reason::Listener { asked: ListenRequest::Streamlocal { path }, settled }
                    if path == wanted =>
                {
                    if *settled {
                        return Found::Asked(Arc::clone(&entry.make));
                    }
                    unsettled = true;
                }
                _ => {}
            }
        }
        if unsettled { Found::Wait(settled) } else { Found::Nothing }
    }

    fn newest(&self, reason: &Reason) -> Found {
        let asked = self.entries.iter().rev().filter(|entry| entry.reason == *reason);
        let makers: Vec<Maker> = asked.map(|entry| Arc::clone(&entry.make)).collect();
        if makers.is_empty() {
            return Found::Nothing;
        }
        Found::Asked(Arc::new(move |request| makers.iter().find_map(|make| make(request.clone()))))
    }
}

/// What an address to listen on means (RFC 4254 section 7.1).
#[derive(Debug, PartialEq, Eq)]
enum Meant<'a> {
    Everywhere,
    Loopback,
    Just(&'a str),
}

impl<'a> Meant<'a> {
    fn by(address: &'a str) -> Self {
        match address {
            "" | "*" | "0.0.0.0" | "::" => Self::Everywhere,
            "localhost" | "127.0.0.1" | "::1" => Self::Loopback,
            other => Self::Just(other),
        }
    }
}

/// One thing that was asked for. It is forgotten when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    acceptance: Arc<Acceptance>,
    id: u64,
}

impl Ticket {
    /// The server listens there.
    pub(crate) fn settle(&self, at: ListenRequest) {
        let mut state = self.acceptance.lock();
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == self.id) {
            entry.reason = Reason::Listener { asked: at, settled: true };
        }
        drop(state);
        self.acceptance.settled.send_replace(());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.acceptance.lock();
        let at = state.entries.iter().position(|entry| entry.id == self.id);
        let gone = at.map(|at| state.entries.remove(at));
        drop(state);
        self.acceptance.settled.send_replace(());
        // What it holds is the user's, and dropped under no lock.
        drop(gone);
    }
}

#[cfg(test)]
mod tests;
