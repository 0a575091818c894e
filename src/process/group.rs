//! A process group: the signals it gets, and that it does not outlive what started it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::time::Instant;

/// How often it is looked whether a group is gone.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// The group of a process we started, which leads it.
///
/// Its number stays taken as long as the leader is not reaped, or another member lives. After that a signal goes to
/// nobody: numbers are given out in turn, and come back much later than it is found out here.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    /// The leader has ended, and is reaped.
    led: AtomicBool,
}

impl Group {
    pub(super) fn of(leader: Pid) -> Self {
        Self { leader, led: AtomicBool::new(true) }
    }

    /// For a group that somebody else leads.
    pub(super) const fn id(&self) -> Pid {
        self.leader
    }

    /// Notes that the leader has ended.
    pub(super) fn leader_ended(&self) {
        self.led.store(false, Ordering::Release);
    }

    /// Whether the process that was started still runs.
    pub(super) fn is_led(&self) -> bool {
        self.led.load(Ordering::Acquire)
    }

    /// Sends a signal to all members. That there are none, or that they are not ours to signal, changes nothing.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.leader, signal) {
            tracing::debug!(group = ?self.leader, ?signal, %error, "no signal sent");
        }
    }

    /// Asks all members to end: their terminal, or what stands for it, is gone. One that is stopped must run to hear it.
    pub(super) fn hang_up(&self) {
        self.signal(Signal::HUP);
        self.signal(Signal::CONT);
    }

    fn exists(&self) -> bool {
        test_kill_process_group(self.leader).is_ok()
    }

    /// Waits for the end of the last member; at the deadline they get no choice.
    pub(super) async fn gone_by(&self, deadline: Instant) {
        let mut pause = FIRST_LOOK;
        while self.exists() {
            if Instant::now() >= deadline {
                return self.signal(Signal::KILL);
            }
            tokio::time::sleep_until((Instant::now() + pause).min(deadline)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Kills a group when it is dropped: with whoever held it, the time to end in peace is over.
#[derive(Debug)]
pub(super) struct Leash(Option<Arc<Group>>);

impl Leash {
    pub(super) const fn new(group: Arc<Group>) -> Self {
        Self(Some(group))
    }

    /// Lets the members live.
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            group.signal(Signal::KILL);
        }
    }
}
