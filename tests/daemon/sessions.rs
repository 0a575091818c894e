//! What a daemon shows and tells of its connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::error::{ConnectionError, Phase};
use ractor_ssh::{DaemonConfig, SessionEnd, SessionInfo};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, Ssh, USER, eventually, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("sessions_show_who_is_there_and_what_they_do", NONE, sessions),
        peer_test("a_session_is_shown_and_kicked_while_its_behaviour_is_stuck", NONE, stuck_behaviour),
        peer_test("a_lost_connection_keeps_its_place_until_its_actors_have_ended", NONE, abandoned),
        peer_test("a_kicked_session_ends_and_its_neighbour_does_not", NONE, kick),
        peer_test("a_peer_without_a_login_is_shown_and_can_be_kicked", NONE, kick_before_login),
        peer_test("ssh_that_is_kicked_says_so", [Peer::OpenSshClient], ssh_is_kicked),
        peer_test("hooks_are_told_once_each_and_in_order", NONE, hooks),
        peer_test("a_hook_that_panics_changes_nothing", NONE, panicking_hooks),
    ]
}

async fn sessions() {
    let served = Served::start(router()).await;
    assert!(served.daemon.sessions().is_empty());
    let conn = served.connect().await;
    let silent = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    eventually(|| served.daemon.sessions().len() == 2).await;
    let kept = conn.session_channel(Quiet).await.unwrap();
    kept.exec("count").await.unwrap();
    let closed = conn.session_channel(Quiet).await.unwrap();
    closed.close();
    soon(closed.wait()).await;
    kept.send(vec![7; 100_000]).await.unwrap();
    eventually(|| {
        let session = &served.daemon.sessions()[0];
        (session.channels_open, session.channels_opened) == (1, 2) && session.bytes_in > 100_000
    })
    .await;
    let sessions = served.daemon.sessions();
    let [first, second] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!(first.user.as_deref(), Some(USER));
    assert_eq!((first.phase, first.local), (Phase::Up, Some(served.daemon.local_addr())));
    assert_eq!(first.peer, Some(served_peer(&conn).await));
    assert!(first.bytes_out > 0 && first.idle <= first.age && first.id < second.id, "{first:?}");
    assert_eq!(second.user, None);
    assert_eq!((second.phase, second.peer), (Phase::Version, Some(silent.local_addr().unwrap())));
    assert_eq!((second.bytes_in, second.channels_opened), (0, 0));
    assert!(second.bytes_out > 0, "our version has been sent: {second:?}");
    let info = served.daemon.info();
    assert_eq!((info.connections, info.unauthenticated, info.listeners), (2, 1, 1));
    assert_eq!((info.counters.connections_accepted, info.counters.logins), (2, 1));
    drop(silent);
    soon(conn.close()).await;
    eventually(|| served.daemon.sessions().is_empty()).await;
    assert_eq!(served.daemon.info().counters.logins_failed, 1);
}

/// Our address, as the daemon must see it.
async fn served_peer(conn: &ractor_ssh::ConnectionRef) -> std::net::SocketAddr {
    conn.info().await.unwrap().local_addr.unwrap()
}

/// A behaviour that never returns.
struct Stuck;

impl ractor_ssh::ServerChannel for Stuck {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ractor_ssh::ChannelMsg,
        _ctx: &mut ractor_ssh::ChannelContext<Self, ractor_ssh::ServerSide>,
    ) -> Result<ractor_ssh::Next, ractor_ssh::BoxError> {
        std::future::pending().await
    }
}

async fn stuck_behaviour() {
    let served = Served::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.close = Duration::from_millis(300);
        config.session_channel(|_| Stuck).timeouts(timeouts)
    })
    .await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.send("x").await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 1).await;
    assert!(served.daemon.kick(served.daemon.sessions()[0].id));
    soon(conn.closed()).await;
    eventually(|| served.daemon.sessions().is_empty()).await;
}

/// What hangs is counted as long as it does, and can be ended; nobody gets more of it by leaving and coming back.
async fn abandoned() {
    let served = Served::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.close = Duration::from_millis(300);
        config.session_channel(|_| Stuck).timeouts(timeouts).max_connections(1)
    })
    .await;
    let handle = served.connect_plain().await;
    let channel = handle.channel_open_session().await.unwrap();
    channel.data(&b"x"[..]).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 1).await;
    drop((channel, handle));
    eventually(|| served.daemon.sessions()[0].phase == Phase::Down).await;
    let mut next = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    let mut told = String::new();
    soon(next.read_to_string(&mut told)).await.unwrap();
    assert_eq!(told, "Too many connections\r\n");
    assert!(served.daemon.kick(served.daemon.sessions()[0].id));
    eventually(|| served.daemon.sessions().is_empty()).await;
    assert_eq!(served.daemon.info().counters.kicked, 1);
    soon(served.connect().await.close()).await;
}

async fn kick() {
    let served = Served::start(router()).await;
    let (first, second) = (served.connect().await, served.connect().await);
    let channel = first.session_channel(Quiet).await.unwrap();
    channel.exec("cat").await.unwrap();
    let id = served.daemon.sessions()[0].id;
    assert!(served.daemon.kick(id));
    assert!(matches!(soon(first.closed()).await, ConnectionError::Disconnected { .. }));
    eventually(|| served.daemon.sessions().len() == 1).await;
    assert!(!served.daemon.kick(id), "it is gone");
    assert_eq!(served.daemon.info().counters.kicked, 1);
    second.session_channel(Quiet).await.unwrap().exec("cat").await.unwrap();
    soon(second.close()).await;
}

async fn kick_before_login() {
    let served = Served::start(router()).await;
    let mut silent = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    eventually(|| served.daemon.sessions().len() == 1).await;
    assert!(served.daemon.kick(served.daemon.sessions()[0].id));
    let mut rest = Vec::new();
    soon(silent.read_to_end(&mut rest)).await.unwrap();
    eventually(|| served.daemon.info().unauthenticated == 0).await;
    let counters = served.daemon.info().counters;
    assert_eq!((counters.kicked, counters.logins_failed), (1, 0));
}

async fn ssh_is_kicked() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    let mut command = ssh.command(&served);
    let child = command.args(["127.0.0.1", "cat"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    eventually(|| served.daemon.sessions().iter().any(|session| session.channels_open == 1)).await;
    assert!(served.daemon.kick(served.daemon.sessions()[0].id));
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("closed by the application"), "{stderr}");
}

/// What the hooks were told.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn say(&self, what: &str, session: &SessionInfo, end: &str) {
        let user = session.user.as_deref().unwrap_or("nobody");
        let line = format!("{what} {} {user}{end}", session.id);
        self.0.lock().unwrap().push(line);
    }

    fn hooks(&self, config: DaemonConfig) -> DaemonConfig {
        let (connect, login, disconnect) = (self.clone(), self.clone(), self.clone());
        config
            .on_connect(move |session| connect.say("connect", session, ""))
            .on_login(move |session| {
                assert_eq!(session.phase, Phase::Up);
                login.say("login", session, "");
            })
            .on_disconnect(move |session, end| {
                let end = match end {
                    SessionEnd::LoginTimeout { .. } => " too slow".to_owned(),
                    SessionEnd::NoLogin { phase, .. } => format!(" in {phase}"),
                    SessionEnd::Ended(_) => format!(" after {} channels", session.channels_opened),
                    other => format!(" {other:?}"),
                };
                disconnect.say("disconnect", session, &end);
            })
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// OTP: connectfun_disconnectfun_server, disconnectfun_option_server.
async fn hooks() {
    let log = Log::default();
    let served = Served::with(|config| log.hooks(config.router(router()))).await;
    let conn = served.connect().await;
    conn.session_channel(Quiet).await.unwrap();
    soon(conn.close()).await;
    eventually(|| log.lines().len() == 3).await;
    drop(TcpStream::connect(served.daemon.local_addr()).await.unwrap());
    eventually(|| log.lines().len() == 5).await;
    soon(served.daemon.stop()).await;
    let expected = [
        "connect 1 nobody",
        "login 1 alice",
        "disconnect 1 alice after 1 channels",
        "connect 2 nobody",
        "disconnect 2 nobody in version exchange",
    ];
    assert_eq!(log.lines(), expected);
}

async fn panicking_hooks() {
    let served = Served::with(|config| {
        config
            .router(router())
            .on_connect(|_| panic!("planted"))
            .on_login(|_| panic!("planted"))
            .on_disconnect(|_, _| panic!("planted"))
    })
    .await;
    let conn = served.connect().await;
    conn.session_channel(Quiet).await.unwrap().exec("cat").await.unwrap();
    soon(conn.close()).await;
    eventually(|| served.daemon.info().connections == 0).await;
    assert_eq!(served.daemon.info().unauthenticated, 0);
}
