//! The life of a daemon: where it listens, how it is changed, how it ends.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::error::{ConnectionError, OpenError, StopReason};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{Client, ConnectionRef, Daemon, DaemonConfig, DaemonError, ServeError};
use tokio::net::{TcpStream, UnixStream};

use crate::child::starving;
use crate::kit::{Peer, peer_test};
use crate::ours::{Quiet, Report, Reports};
use crate::programs::router;
use crate::support::{Served, Ssh, config, eventually, let_in, read_all, set_up, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_daemon_without_a_host_key_does_not_start", NONE, no_host_key),
        peer_test("a_second_daemon_on_the_same_address_does_not_start", NONE, already_started),
        peer_test("a_daemon_listens_on_every_address_given", NONE, several_addresses),
        peer_test("a_stopped_listener_leaves_connections_alone_and_its_port_free", NONE, stop_listener),
        peer_test("a_killed_acceptor_is_started_again_and_nobody_notices", NONE, killed_acceptor),
        peer_test("a_daemon_without_a_free_file_descriptor_accepts_again_when_there_is_one", NONE, starving),
        peer_test("a_daemon_whose_actor_is_killed_stops", NONE, killed_daemon),
        peer_test("stopping_tells_every_channel_and_leaves_nothing", NONE, stop),
        peer_test("a_drain_lets_channels_finish_and_takes_nothing_new", NONE, drain),
        peer_test("a_drain_ends_at_its_deadline", NONE, drain_deadline),
        peer_test("new_options_are_for_new_connections_only", NONE, reconfigure),
        peer_test("ssh_gets_the_banner_of_the_day", [Peer::OpenSshClient], new_banner),
        peer_test("a_connected_stream_is_served_without_any_listener", NONE, served_stream),
        peer_test("five_connected_streams_are_served_at_once", NONE, served_streams),
        peer_test("a_unix_socket_is_listened_on_and_gone_afterwards", NONE, unix_socket),
        peer_test("a_stale_unix_socket_is_replaced_and_anything_else_is_not", NONE, unix_in_the_way),
    ]
}

fn is_in_use(error: &DaemonError) -> bool {
    matches!(error, DaemonError::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse)
}

/// Whether a daemon answers at an address.
async fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = soon(TcpStream::connect(address)).await else { return false };
    let mut greeting = [0; 4];
    let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut greeting);
    soon(read).await.is_ok() && &greeting == b"SSH-"
}

async fn assert_works(conn: &ConnectionRef) {
    let channel = soon(conn.session_channel(Quiet)).await.unwrap();
    soon(channel.exec("cat")).await.unwrap();
    channel.close();
    soon(channel.wait()).await;
}

/// OTP: internal_error.
async fn no_host_key() {
    let started = Daemon::start(DaemonConfig::new(([127, 0, 0, 1], 0))).await;
    let Err(DaemonError::Config(error)) = started else { panic!("{started:?}") };
    assert_eq!(error.field, "host_key");
}

/// OTP: daemon_already_started.
async fn already_started() {
    let served = Served::start(router()).await;
    let here = served.daemon.local_addr();
    let (more, ..) = config();
    let error = Daemon::start(more.listen(here)).await.unwrap_err();
    assert!(is_in_use(&error), "{error}");
    assert!(error.to_string().contains(&here.to_string()), "{error}");
    soon(served.connect().await.close()).await;
}

async fn several_addresses() {
    let served = Served::with(|config| config.listen(([127, 0, 0, 1], 0)).router(router())).await;
    let addresses = served.daemon.local_addrs().to_vec();
    assert_eq!(addresses.len(), 2);
    assert_eq!(addresses[0], served.daemon.local_addr());
    assert_ne!(addresses[0].port(), addresses[1].port());
    assert_eq!(served.daemon.info().listeners, 2);
    for address in &addresses {
        assert!(answers(*address).await, "{address}");
    }
    soon(served.daemon.stop()).await;
    for address in addresses {
        assert!(!answers(address).await, "{address}");
    }
}

/// OTP: stop_listener.
async fn stop_listener() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let address = served.daemon.local_addr();
    let mut unfinished = TcpStream::connect(address).await.unwrap();
    eventually(|| served.daemon.info().unauthenticated == 1).await;
    soon(served.daemon.stop_listener()).await;
    soon(served.daemon.stop_listener()).await;
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(served.daemon.info().listeners, 0);
    assert_works(&conn).await;
    let mut greeting = [0; 4];
    soon(tokio::io::AsyncReadExt::read_exact(&mut unfinished, &mut greeting)).await.unwrap();

    let (config, host_key, identity) = set_up(DaemonConfig::new(address).router(router()));
    let next = Served { daemon: Daemon::start(config).await.unwrap(), host_key, identity };
    assert_eq!(next.daemon.local_addr(), address);
    soon(next.connect().await.close()).await;
    assert_works(&conn).await;
    soon(next.daemon.stop()).await;
    assert_works(&conn).await;
    soon(served.daemon.stop()).await;
    assert!(matches!(soon(conn.closed()).await, ConnectionError::Disconnected { .. }));
}

/// OTP: killed_acceptor_restarts.
async fn killed_acceptor() {
    let served = Served::start(router()).await;
    let beside = Served::start(router()).await;
    let old = served.connect().await;
    let neighbour = beside.connect().await;
    for round in 1..=3 {
        let acceptors = served.daemon.actor().get_children();
        assert_eq!(acceptors.len(), 1);
        acceptors[0].kill();
        // It waits in the socket, which has not been closed.
        let waiting = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
        assert_works(&old).await;
        soon(served.connect().await.close()).await;
        assert_eq!(served.daemon.info().counters.acceptor_restarts, round);
        drop(waiting);
    }
    eventually(|| served.daemon.info().listeners == 1).await;
    assert_works(&neighbour).await;
    assert_eq!(beside.daemon.info().counters.acceptor_restarts, 0);
    soon(served.daemon.stop()).await;
    soon(old.closed()).await;
    assert!(!answers(served.daemon.local_addr()).await);
    soon(beside.connect().await.close()).await;
}

async fn killed_daemon() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    served.daemon.actor().kill();
    soon(conn.closed()).await;
    soon(served.daemon.stop()).await;
    assert!(!answers(served.daemon.local_addr()).await);
    assert_eq!(served.daemon.serve(tokio::io::duplex(64).0), Err(ServeError::Stopping));
}

async fn stop() {
    let reports = Reports::default();
    let sender = reports.sender();
    let served = Served::with(|config| config.session_channel(move |_| Report::new(&sender))).await;
    let (one, two) = (served.connect().await, served.connect().await);
    one.session_channel(Quiet).await.unwrap();
    two.session_channel(Quiet).await.unwrap();
    let silent = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    eventually(|| served.daemon.info().connections == 3).await;
    soon(served.daemon.stop()).await;
    assert_eq!((reports.next().await, reports.next().await), ("closed".to_owned(), "closed".to_owned()));
    assert_eq!(served.daemon.info().connections, 0);
    assert_eq!(served.daemon.info().unauthenticated, 0);
    soon(one.closed()).await;
    soon(two.closed()).await;
    soon(served.daemon.stop()).await;
    drop(silent);
}

async fn drain() {
    let served = Served::start(router()).await;
    let (busy, idle) = (served.connect().await, served.connect().await);
    let channel = busy.session_channel(Quiet).await.unwrap();
    channel.exec("cat").await.unwrap();
    let silent = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    eventually(|| served.daemon.info().connections == 3).await;
    let daemon = served.daemon.clone();
    let draining = tokio::spawn(async move { daemon.shutdown(Duration::from_secs(600)).await });
    // Without a channel, and without a login, there is nothing to wait for.
    soon(idle.closed()).await;
    eventually(|| served.daemon.info().connections == 1).await;
    assert!(!answers(served.daemon.local_addr()).await);
    let refused = soon(busy.session_channel(Quiet)).await;
    assert!(matches!(refused, Err(OpenError::Refused { .. })), "{refused:?}");
    let mut stream = tokio::io::duplex(64);
    assert_eq!(served.daemon.serve(stream.1), Err(ServeError::Stopping));
    let mut line = String::new();
    soon(tokio::io::AsyncReadExt::read_to_string(&mut stream.0, &mut line)).await.unwrap();
    assert_eq!(line, "The server is shutting down\r\n");
    assert!(!draining.is_finished());
    channel.send("still").await.unwrap();
    channel.close();
    assert_eq!(soon(draining).await.unwrap(), 0);
    assert!(matches!(soon(busy.closed()).await, ConnectionError::Disconnected { .. }));
    drop(silent);
}

async fn drain_deadline() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.exec("cat").await.unwrap();
    assert_eq!(soon(served.daemon.shutdown(Duration::from_millis(200))).await, 1);
    assert_eq!(served.daemon.info().connections, 0, "it returns when nothing is left");
    assert!(matches!(soon(conn.closed()).await, ConnectionError::Disconnected { .. }));
    assert!(matches!(soon(channel.wait()).await, StopReason::Closed(_)));
    soon(served.daemon.stop()).await;
}

/// OTP: daemon_replace_options_simple.
async fn reconfigure() {
    let served = Served::with(|config| config.router(router()).max_channels(1)).await;
    let old = served.connect().await;
    let wrong = config().0.max_connections(0);
    assert_eq!(served.daemon.reconfigure(wrong).unwrap_err().field, "max_connections");
    soon(served.connect().await.close()).await;

    let (other, host_key, identity) = config();
    served.daemon.reconfigure(other.router(router()).max_channels(2)).unwrap();
    let first = old.session_channel(Quiet).await.unwrap();
    let second = old.session_channel(Quiet).await;
    assert!(matches!(second, Err(OpenError::Refused { .. })), "an old connection keeps what it had");
    drop(first);
    let by_old_rules = soon(Client::new(served.client_config()).connect()).await;
    assert!(by_old_rules.is_err(), "another host key, another login");
    let by_new_rules = Served { daemon: served.daemon.clone(), host_key, identity };
    let new = by_new_rules.connect().await;
    let _channels = (new.session_channel(Quiet).await.unwrap(), new.session_channel(Quiet).await.unwrap());
    assert_eq!(served.daemon.info().listeners, 1);
    soon(new.close()).await;
    soon(old.close()).await;
}

async fn new_banner() {
    let ssh = Ssh::new();
    let (host_key, mut served) = (generate_ed25519(), Served::start(router()).await);
    let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key.clone()).router(router());
    let config = let_in(config.banner("yesterday\n"), &ssh.public_key());
    served.daemon = Daemon::start(config).await.unwrap();
    served.host_key = host_key.public_key().clone();
    let stderr = async || {
        let output = soon(ssh.command(&served).args(["127.0.0.1", "fail"]).output()).await.unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(stderr().await.contains("yesterday"));
    let config = DaemonConfig::unbound().host_key(host_key).router(router()).banner("today\n");
    served.daemon.reconfigure(let_in(config, &ssh.public_key())).unwrap();
    let stderr = stderr().await;
    assert!(stderr.contains("today") && stderr.contains("err"), "{stderr}");
}

async fn served_stream() {
    let (config, host_key, identity) = set_up(DaemonConfig::unbound().router(router()));
    let served = Served { daemon: Daemon::start(config).await.unwrap(), host_key, identity };
    assert_eq!(served.daemon.local_addr(), ([0, 0, 0, 0], 0).into());
    assert!(served.daemon.local_addrs().is_empty());
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let id = served.daemon.serve(theirs).unwrap();
    let config = served.client_config().port(22);
    let conn = soon(Client::new(config).connect_stream(ours)).await.unwrap();
    assert_works(&conn).await;
    let sessions = served.daemon.sessions();
    assert_eq!((sessions.len(), sessions[0].id, sessions[0].peer), (1, id, None));
    soon(conn.close()).await;
    soon(served.daemon.stop()).await;
}

/// OTP: start_shell_sock_daemon_exec_multi.
async fn served_streams() {
    let (config, host_key, identity) = set_up(DaemonConfig::unbound().router(router()));
    let served = Served { daemon: Daemon::start(config).await.unwrap(), host_key, identity };
    let serving = (0..5).map(|_| async {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        served.daemon.serve(theirs).unwrap();
        let config = served.client_config().port(22);
        soon(Client::new(config).connect_stream(ours)).await.unwrap()
    });
    let connections = futures::future::join_all(serving).await;
    futures::future::join_all(connections.iter().map(assert_works)).await;
    assert_eq!(served.daemon.sessions().len(), 5);
    soon(served.daemon.stop()).await;
}

async fn unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ssh.sock");
    let served = Served::with(|config| config.listen_unix(&path).router(router())).await;
    let file = std::fs::symlink_metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!((served.daemon.local_addrs().len(), served.daemon.info().listeners), (1, 2));
    let stream = UnixStream::connect(&path).await.unwrap();
    let conn = soon(Client::new(served.client_config()).connect_stream(stream)).await.unwrap();
    assert_works(&conn).await;
    assert_eq!(served.daemon.sessions()[0].peer, None);
    soon(served.daemon.stop_listener()).await;
    assert!(!path.exists());
    assert_works(&conn).await;
    soon(conn.close()).await;
}

async fn unix_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ssh.sock");
    let start = async |path: &Path| Daemon::start(config().0.listen_unix(path)).await;
    let kind = |error: DaemonError| match error {
        DaemonError::ListenUnix { source, .. } => source.kind(),
        other => panic!("{other}"),
    };
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "nobody has removed it");
    let first = start(&path).await.unwrap();
    assert_eq!(kind(start(&path).await.unwrap_err()), ErrorKind::AddrInUse);
    assert!(soon(read_all_of(&path)).await.starts_with("SSH-"), "the first one has not noticed");
    // Somebody else's file at the same path is not removed.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    soon(first.stop()).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(kind(start(&path).await.unwrap_err()), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// What a daemon says to a peer that hangs up.
async fn read_all_of(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    read_all(stream).await
}
