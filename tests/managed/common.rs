//! What the tests share: how to connect, how to wait, and how to count what is left.
//!
//! Knows the crate's public API only.

use std::time::Duration;

use ractor_ssh::auth::{Auth, IdentityFile};
use ractor_ssh::config::Timeouts;
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::managed::{ManagedEnd, ManagedState};
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Client, ClientChannel, ClientConfig, ManagedRef, ManagedSpec, Next,
    SupervisedRef,
};

use crate::kit::Sshd;
pub(crate) use crate::kit::{SOON, becomes_true, soon};

/// The smallest pause between attempts that is of any use.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// How long closing may take in these tests.
pub(crate) const CLOSE: Duration = Duration::from_secs(2);

/// How to reach a server of the kit: its user, its key, its known host.
pub(crate) fn config(sshd: &Sshd) -> ClientConfig {
    let mut timeouts = Timeouts::default();
    timeouts.close = CLOSE;
    ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(auth(sshd))
        .timeouts(timeouts)
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

pub(crate) fn auth(sshd: &Sshd) -> Auth {
    Auth::new().identity_file(IdentityFile::new(sshd.identity()))
}

/// As [`config`], by way of another port.
pub(crate) fn config_by(sshd: &Sshd, port: u16) -> ClientConfig {
    let known = sshd.directory().join(format!("known_hosts_{port}"));
    let key = sshd.host_keys()[0].public_fields().unwrap();
    std::fs::write(&known, format!("[127.0.0.1]:{port} {key}\n")).unwrap();
    config(sshd).port(port).host_key(HostKeyPolicy::strict(KnownHostsFiles::new([known])))
}

/// Comes back almost at once, for ever.
pub(crate) fn eager() -> RestartPolicy {
    RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(PAUSE))
}

/// A connection that comes back almost at once, for ever.
pub(crate) fn spec() -> ManagedSpec {
    ManagedSpec::new().restart(eager())
}

pub(crate) async fn manage(config: ClientConfig, spec: ManagedSpec) -> ManagedRef {
    Client::new(config).manage(spec).await.unwrap()
}

/// Waits until the managed connection is in such a state.
pub(crate) async fn reaches(
    managed: &ManagedRef,
    what: &str,
    which: impl FnMut(&ManagedState) -> bool,
) -> ManagedState {
    let mut states = managed.states();
    match tokio::time::timeout(SOON, states.wait_for(which)).await {
        Ok(Ok(state)) => state.clone(),
        _ => panic!("never {what}: {}; {:?}", managed.state(), managed.info()),
    }
}

pub(crate) async fn is_up(managed: &ManagedRef, number: u64) {
    let up =
        |state: &ManagedState| matches!(state, ManagedState::Up { incarnation } if *incarnation >= number);
    reaches(managed, "up", up).await;
}

pub(crate) fn is_backoff(state: &ManagedState) -> bool {
    matches!(state, ManagedState::Backoff { .. })
}

/// The final state, if it is a failure that nobody tries to mend.
pub(crate) async fn fails(managed: &ManagedRef) -> ManagedEnd {
    match soon("a final state", managed.wait()).await {
        ManagedState::Failed(end) => end,
        other => panic!("{other}"),
    }
}

/// Waits until that incarnation of a channel, or a later one, is up.
pub(crate) async fn channel_up<C: ClientChannel>(channel: &SupervisedRef<C>, number: u64) {
    let up = |s: &SupervisedState| matches!(s, SupervisedState::Up { incarnation } if *incarnation >= number);
    let mut states = channel.states();
    match tokio::time::timeout(SOON, states.wait_for(up)).await {
        Ok(Ok(_)) => {}
        _ => panic!("incarnation {number} is never up: {:?}", channel.info()),
    }
}

// ---- counting what is left ------------------------------------------------------------------------------

/// Tasks of this trial's runtime; every actor is one.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Sockets that this process has open to a port of this machine. The kernel's table alone does not tell: a child that
/// another trial has just forked holds copies until it becomes another program.
pub(crate) fn sockets_to(port: u16) -> usize {
    let wanted = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Field 2 is the remote address, field 9 the inode.
    let inodes: Vec<String> = rows
        .filter(|row| row.get(2) == Some(&wanted.as_str()))
        .filter_map(|row| row.get(9).map(|inode| format!("socket:[{inode}]")))
        .collect();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
        .count()
}

/// What there was before: to look again afterwards.
#[derive(Debug)]
pub(crate) struct Before {
    tasks: usize,
    port: u16,
}

impl Before {
    /// Nothing is connected to this port yet.
    pub(crate) fn look(port: u16) -> Self {
        assert_eq!(sockets_to(port), 0);
        Self { tasks: tasks(), port }
    }

    /// No actor, task or socket is left.
    pub(crate) async fn is_restored(&self) {
        becomes_true("the tasks are as many as before, and no socket is open", || {
            tasks() <= self.tasks && sockets_to(self.port) == 0
        })
        .await;
    }

    /// As [`is_restored`](Self::is_restored), now, and not a while later.
    pub(crate) fn is_restored_now(&self) {
        assert_eq!(sockets_to(self.port), 0, "no socket is open when nothing is left");
    }
}

/// A behaviour that does nothing.
pub(crate) struct Idle;

impl ClientChannel for Idle {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}
