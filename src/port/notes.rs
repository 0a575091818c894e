//! What is noted of a channel for those who look at it: who runs it, what was asked for, and since when something is
//! under way.
//!
//! Written where the thing happens, by a store or two; read when somebody asks. Nothing here decides anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{ActorCell, ActorId};
use tokio::time::Instant;

use super::event::ChannelMsg;
use crate::observe::{COMMAND_LENGTH, Callback, Gauges, Lineage};
use crate::wire::open::OpenRequest;
use crate::wire::request::ChannelRequest;

/// What is fixed when a channel begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// The channel type on the wire.
    pub(crate) kind: &'static str,
    /// The name of the behaviour's type.
    pub(crate) behaviour: &'static str,
    /// Which incarnation of a supervised channel it is.
    pub(crate) lineage: Option<Lineage>,
}

/// Notes of one channel. Times are milliseconds after the epoch of its connection's gauges, plus one: 0 is never.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    began: AtomicU64,
    identity: OnceLock<Identity>,
    command: OnceLock<Arc<str>>,
    actor: OnceLock<(ActorCell, &'static str)>,
    owner: OnceLock<ActorId>,
    /// When the running callback began, and which it is; 0 while none runs.
    callback: AtomicU64,
    /// When something queued last left, or began to wait.
    moved: AtomicU64,
    /// When our CLOSE was sent.
    closed: AtomicU64,
    /// Data is held back from the behaviour, because its own output waits.
    withheld: AtomicBool,
    /// Microseconds.
    held_up: AtomicU64,
    pauses: AtomicU64,
}

/// How many bits of a callback's note say which one it is.
const WHICH: u32 = 3;

impl Notes {
    /// Of a channel that begins at so many milliseconds.
    pub(crate) fn new(began: u64) -> Self {
        Self { began: (began + 1).into(), ..Self::default() }
    }

    /// Whose channel it is. Only the first word counts, here and below.
    pub(crate) fn is(&self, identity: Identity) {
        let _ = self.identity.set(identity);
    }

    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// The actor that runs the channel, and the name of its behaviour's type.
    pub(crate) fn run_by(&self, actor: ActorCell, behaviour: &'static str) {
        let _ = self.actor.set((actor, behaviour));
    }

    pub(crate) fn actor(&self) -> Option<&ActorCell> {
        self.actor.get().map(|(actor, _)| actor)
    }

    /// The name of the behaviour's type: of the one that runs, or else of the one that is to run.
    pub(crate) fn behaviour(&self) -> &'static str {
        let planned = || self.identity.get().map_or("", |identity| identity.behaviour);
        self.actor.get().map_or_else(planned, |(_, behaviour)| *behaviour)
    }

    /// The actor the channel ends with.
    pub(crate) fn owned_by(&self, owner: ActorId) {
        let _ = self.owner.set(owner);
    }

    pub(crate) fn owner(&self) -> Option<ActorId> {
        self.owner.get().copied()
    }

    /// What the channel was opened for.
    pub(crate) fn opened_for(&self, request: &OpenRequest) {
        let target = match request {
            OpenRequest::Session => return,
            OpenRequest::DirectTcpip { host, port, .. } => {
                cut(format!("to {}:{port}", cut_text(host)).as_bytes())
            }
            OpenRequest::DirectStreamlocal { path } => cut(format!("to {}", cut_text(path)).as_bytes()),
            OpenRequest::ForwardedTcpip { address, port, .. } => {
                cut(format!("at {}:{port}", cut_text(address)).as_bytes())
            }
            OpenRequest::ForwardedStreamlocal { path } => cut(format!("at {}", cut_text(path)).as_bytes()),
            OpenRequest::AuthAgent => "agent".into(),
            OpenRequest::X11 { .. } => "display".into(),
        };
        let _ = self.command.set(target);
    }

    /// We have asked for something.
    pub(crate) fn asks(&self, request: &ChannelRequest) {
        match request {
            ChannelRequest::Shell => self.runs_shell(),
            ChannelRequest::Exec { command } => self.runs_command(command),
            ChannelRequest::Subsystem { name } => self.runs_subsystem(name),
            _ => {}
        }
    }

    /// The peer has asked for something.
    pub(crate) fn is_asked(&self, msg: &ChannelMsg) {
        match msg {
            ChannelMsg::Shell { .. } => self.runs_shell(),
            ChannelMsg::Exec { command, .. } => self.runs_command(command),
            ChannelMsg::Subsystem { name, .. } => self.runs_subsystem(name),
            _ => {}
        }
    }

    pub(crate) fn runs_shell(&self) {
        self.command.get_or_init(|| "shell".into());
    }

    pub(crate) fn runs_command(&self, command: &[u8]) {
        self.command.get_or_init(|| cut(command));
    }

    pub(crate) fn runs_subsystem(&self, name: &str) {
        self.command.get_or_init(|| cut(format!("subsystem {}", cut_text(name)).as_bytes()));
    }

    pub(crate) fn command(&self) -> Option<Arc<str>> {
        self.command.get().cloned()
    }

    /// A callback begins. It runs until [`Self::leave`].
    pub(crate) fn enter(&self, callback: Callback, gauges: &Gauges, now: Instant) {
        let note = ((gauges.at(now) + 1) << WHICH) | callback.number();
        self.callback.store(note, Ordering::Relaxed);
    }

    /// The callback has returned.
    pub(crate) fn leave(&self) {
        self.callback.store(0, Ordering::Relaxed);
    }

    /// The callback that runs, and for how long it has.
    pub(crate) fn callback(&self, gauges: &Gauges) -> Option<(Callback, Duration)> {
        let note = self.callback.load(Ordering::Relaxed);
        let which = Callback::by_number(note & ((1 << WHICH) - 1))?;
        Some((which, since(note >> WHICH, gauges)?))
    }

    /// Something queued has left, or begins to wait, at so many milliseconds.
    pub(crate) fn moves(&self, millis: u64) {
        self.moved.store(millis + 1, Ordering::Relaxed);
    }

    /// For how long nothing queued has left.
    pub(crate) fn stands_still(&self, gauges: &Gauges) -> Duration {
        since(self.moved.load(Ordering::Relaxed), gauges).unwrap_or_default()
    }

    /// Our CLOSE goes out.
    pub(crate) fn closes(&self, gauges: &Gauges) {
        self.closed.store(gauges.now() + 1, Ordering::Relaxed);
    }

    /// How long ago our CLOSE went out.
    pub(crate) fn closing(&self, gauges: &Gauges) -> Option<Duration> {
        since(self.closed.load(Ordering::Relaxed), gauges)
    }

    pub(crate) fn age(&self, gauges: &Gauges) -> Duration {
        since(self.began.load(Ordering::Relaxed), gauges).unwrap_or_default()
    }

    pub(crate) fn withholds(&self, withheld: bool) {
        self.withheld.store(withheld, Ordering::Relaxed);
    }

    pub(crate) fn withheld(&self) -> bool {
        self.withheld.load(Ordering::Relaxed)
    }

    /// For how long the channel has held up its connection in total.
    pub(crate) fn held_up(&self) -> Duration {
        Duration::from_micros(self.held_up.load(Ordering::Relaxed))
    }

    pub(crate) fn set_held_up(&self, total: Duration) {
        let micros = u64::try_from(total.as_micros()).unwrap_or(u64::MAX);
        self.held_up.store(micros, Ordering::Relaxed);
    }

    /// Reading of the whole connection has stopped so many times more because of this channel.
    pub(crate) fn causes_pauses(&self, more: u64) {
        self.pauses.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }
}

fn since(note: u64, gauges: &Gauges) -> Option<Duration> {
    note.checked_sub(1).map(|millis| gauges.since(millis))
}

/// As text, with a mark where it was cut.
fn cut(bytes: &[u8]) -> Arc<str> {
    let Some(head) = bytes.get(..COMMAND_LENGTH).filter(|head| head.len() < bytes.len()) else {
        return String::from_utf8_lossy(bytes).into();
    };
    format!("{}…", String::from_utf8_lossy(head).trim_end_matches('\u{fffd}')).into()
}

fn cut_text(text: &str) -> &str {
    let end = (0..=COMMAND_LENGTH.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_command_is_cut_at_the_stated_length_and_marked() {
        let notes = Notes::new(0);
        notes.runs_command(&vec![b'x'; 100_000]);
        notes.runs_shell();
        let shown = notes.command().unwrap();
        assert_eq!(shown.chars().count(), COMMAND_LENGTH + 1);
        assert!(shown.ends_with('…'));
    }

    #[tokio::test(start_paused = true)]
    async fn a_callback_is_seen_with_its_name_and_time_until_it_returns() {
        let gauges = Gauges::new();
        let notes = Notes::new(gauges.now());
        assert!(notes.callback(&gauges).is_none());
        notes.enter(Callback::HandleMsg, &gauges, Instant::now());
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(notes.callback(&gauges), Some((Callback::HandleMsg, Duration::from_secs(7))));
        notes.leave();
        assert!(notes.callback(&gauges).is_none());
    }
}
