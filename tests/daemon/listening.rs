//! What the daemon listens on for its peers, by OpenSSH's client and by ours; and Unix sockets that they want to reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::error::{ForwardError, OpenError};
use ractor_ssh::session::{ChannelStream, stream_fn};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{
    ClientChannel, DaemonConfig, ForwardedTcpip, GatewayPorts, Permissions, Router, SessionLimits,
};
use secrecy::SecretString;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::{piece, router};
use crate::support::{Served, Ssh, eventually, soon};

const NONE: [Peer; 0] = [];
const SIZE: usize = 4 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let ssh = Peer::OpenSshClient;
    vec![
        peer_test("ssh_r_forwards_a_port_of_the_daemons_choice_byte_for_byte", [ssh], ssh_remote),
        peer_test("ssh_r_forwards_a_unix_socket", [ssh], ssh_remote_unix),
        peer_test("ssh_r_cancels_by_its_control_socket", [ssh], ssh_cancel),
        peer_test("ssh_l_reaches_a_port_and_a_unix_socket", [ssh], ssh_local),
        peer_test("ssh_r_is_refused_without_a_policy", [ssh], ssh_refused),
        peer_test("our_client_gets_connections_with_their_originator", NONE, ours),
        peer_test("each_direction_of_a_connection_to_a_listener_ends_by_itself", NONE, half_close),
        peer_test("a_cancelled_listener_is_gone_and_what_was_connected_goes_on", NONE, cancel),
        peer_test("listeners_and_their_sockets_end_with_the_connection", NONE, lost),
        peer_test("a_draining_connection_listens_no_more", NONE, draining),
        peer_test("a_policy_and_the_permissions_decide_what_is_listened_on", NONE, policies),
        peer_test("a_policy_that_panics_or_takes_too_long_refuses", NONE, bad_policies),
        peer_test("other_hosts_reach_a_port_only_if_the_daemon_says_so", NONE, gateway),
        peer_test("a_socket_is_its_owners_and_a_file_in_the_way_stays", NONE, unix),
        peer_test("listeners_and_their_connections_are_bounded", NONE, bounded),
        peer_test("a_client_that_refuses_or_ignores_channels_costs_nothing_that_lasts", NONE, refusing),
        peer_test("a_connection_that_only_listens_is_not_idle", NONE, not_idle),
        peer_test("a_slow_reader_holds_a_forwarded_sender_up", NONE, slow),
        peer_test("a_unix_socket_is_reached_by_policy_and_not_by_a_crooked_path", NONE, direct_socket),
    ]
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Everything may be listened on.
fn open_house() -> Router {
    router().listen_tcpip(|_| true).listen_streamlocal(|_| true)
}

/// Sends back all it gets when that has ended.
async fn after_eof<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut all = Vec::new();
    if stream.read_to_end(&mut all).await.is_ok() && stream.write_all(&all).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

fn answer(_: ForwardedTcpip) -> Option<impl ClientChannel> {
    Some(stream_fn(after_eof::<ChannelStream>))
}

async fn exchange(stream: impl AsyncRead + AsyncWrite, what: &[u8]) {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut all = Vec::new();
    let (sent, got) = tokio::join!(
        async {
            write.write_all(what).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut all)
    );
    sent.unwrap();
    got.unwrap();
    assert!(all == what, "{} bytes of {}", all.len(), what.len());
}

/// What `ssh` forwards to: a port that answers after eof.
async fn target() -> SocketAddr {
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(after_eof(stream));
        }
    });
    addr
}

fn target_socket(path: PathBuf) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(after_eof(stream));
        }
    });
}

/// `ssh -N` with these arguments, and what it says.
fn forwarding(mut command: Command, args: &[&str]) -> (Child, impl AsyncRead + Unpin + use<>) {
    let mut child = command
        .args(["-N", "-o", "ExitOnForwardFailure=yes"])
        .args(args)
        .arg("127.0.0.1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = child.stderr.take().unwrap();
    (child, said)
}

async fn connect_soon(port: u16) -> TcpStream {
    soon(async {
        loop {
            match TcpStream::connect(local(port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

async fn connect_socket_soon(path: &std::path::Path) -> UnixStream {
    soon(async {
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

/// The port that `ssh` says it was given.
async fn allocated(said: impl AsyncRead + Unpin) -> u16 {
    let mut lines = BufReader::new(said).lines();
    soon(async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(rest) = line.strip_prefix("Allocated port ") {
                return rest.split(' ').next().unwrap().parse().unwrap();
            }
        }
        panic!("ssh has ended without a port");
    })
    .await
}

async fn ssh_remote() {
    let to = target().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(open_house())).await;
    let (mut child, said) = forwarding(ssh.command(&served), &["-R", &format!("0:{to}")]);
    let port = allocated(said).await;
    soon(exchange(TcpStream::connect(local(port)).await.unwrap(), &piece(0, SIZE))).await;
    let many = (0..20).map(|at| async move {
        exchange(TcpStream::connect(local(port)).await.unwrap(), format!("number {at}").as_bytes()).await;
    });
    soon(futures::future::join_all(many)).await;
    child.kill().await.unwrap();
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
}

async fn ssh_remote_unix() {
    let to = target().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(open_house())).await;
    let path = ssh.directory().join("remote.sock");
    let (mut child, _said) = forwarding(ssh.command(&served), &["-R", &format!("{}:{to}", path.display())]);
    let stream = connect_socket_soon(&path).await;
    soon(exchange(stream, &piece(0, SIZE))).await;
    child.kill().await.unwrap();
    eventually(|| !path.exists()).await;
}

async fn ssh_cancel() {
    let to = target().await;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(open_house())).await;
    let control = ssh.directory().join("control");
    let spare = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap().port();
    let forward = format!("{spare}:{to}");
    let master = ["-M", "-S", control.to_str().unwrap(), "-R", &forward];
    let (mut child, _said) = forwarding(ssh.command(&served), &master);
    soon(exchange(connect_soon(spare).await, b"before")).await;
    let mut command = ssh.command(&served);
    command.args(["-S", control.to_str().unwrap(), "-O", "cancel", "-R", &forward, "127.0.0.1"]);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually(|| std::net::TcpStream::connect(local(spare)).is_err()).await;
    child.kill().await.unwrap();
}

async fn ssh_local() {
    let to = target().await;
    let ssh = Ssh::new();
    let path = ssh.directory().join("target.sock");
    target_socket(path.clone());
    let allowed = path.to_str().unwrap().to_owned();
    let routes = router()
        .forward_tcpip(move |open| open.port == to.port())
        .forward_streamlocal(move |open| open.path == allowed);
    let served = ssh.serve(|config| config.router(routes)).await;
    let near = ssh.directory().join("near.sock");
    let spare = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap().port();
    let port = format!("{spare}:{to}");
    let socket = format!("{}:{}", near.display(), path.display());
    let (mut child, _said) = forwarding(ssh.command(&served), &["-L", &port, "-L", &socket]);
    soon(exchange(connect_soon(spare).await, &piece(0, SIZE))).await;
    soon(exchange(connect_socket_soon(&near).await, &piece(0, SIZE))).await;
    child.kill().await.unwrap();
}

async fn ssh_refused() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    for forward in ["0:127.0.0.1:1", "/tmp/never.sock:127.0.0.1:1"] {
        let (mut child, mut said) = forwarding(ssh.command(&served), &["-R", forward]);
        let mut text = String::new();
        soon(said.read_to_string(&mut text)).await.unwrap();
        assert!(text.contains("remote port forwarding failed"), "{text}");
        assert!(!soon(child.wait()).await.unwrap().success());
    }
}

async fn ours() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let (told, mut from) = mpsc::unbounded_channel();
    let listener = soon(conn.tcpip_forward("", 0, move |open| {
        told.send(open.clone()).unwrap();
        answer(open)
    }))
    .await
    .unwrap();
    let stream = TcpStream::connect(local(listener.port())).await.unwrap();
    let own = stream.local_addr().unwrap();
    soon(exchange(stream, &piece(0, SIZE))).await;
    let open = from.recv().await.unwrap();
    assert_eq!((open.address.as_str(), open.port), ("", listener.port()));
    assert_eq!((open.originator_address.as_str(), open.originator_port), ("127.0.0.1", own.port()));
    // IPv6 loopback, on the same port.
    if let Ok(stream) = TcpStream::connect(("::1", listener.port())).await {
        soon(exchange(stream, b"six")).await;
        assert_eq!(from.recv().await.unwrap().originator_address, "::1");
    }
    let twice = conn.tcpip_forward("127.0.0.1", listener.port(), answer).await;
    assert!(matches!(twice, Err(ForwardError::Refused { .. })), "{twice:?}");
    soon(conn.close()).await;
}

async fn half_close() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let listener = conn
        .tcpip_forward("localhost", 0, move |_| {
            let told = told.clone();
            Some(stream_fn(move |mut stream: ChannelStream| async move {
                stream.write_all(b"all that is to say").await.unwrap();
                stream.shutdown().await.unwrap();
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                told.send(rest).unwrap();
            }))
        })
        .await
        .unwrap();
    let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
    let mut all = String::new();
    soon(stream.read_to_string(&mut all)).await.unwrap();
    assert_eq!(all, "all that is to say");
    stream.write_all(b"and yet something").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(soon(heard.recv()).await.unwrap(), "and yet something");
    eventually(|| served.daemon.sessions()[0].channels_open == 0).await;
    soon(conn.close()).await;
}

async fn cancel() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let port = listener.port();
    let stream = TcpStream::connect(local(port)).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 1).await;
    soon(listener.cancel()).await.unwrap();
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
    soon(exchange(stream, b"goes on")).await;
    let again = soon(conn.tcpip_forward("localhost", port, answer)).await.unwrap();
    drop(again);
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
    soon(conn.close()).await;
}

async fn lost() {
    let served = Served::start(open_house()).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let conn = served.connect().await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let name = path.to_str().unwrap();
    let socket = conn.streamlocal_forward(name, |_| Some(stream_fn(after_eof))).await.unwrap();
    assert!(path.exists());
    let port = listener.port();
    assert!(served.daemon.kick(served.daemon.sessions()[0].id));
    soon(listener.closed()).await;
    soon(socket.closed()).await;
    eventually(|| std::net::TcpStream::connect(local(port)).is_err() && !path.exists()).await;
}

async fn draining() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let listener = conn.tcpip_forward("localhost", 0, answer).await.unwrap();
    let port = listener.port();
    let stream = TcpStream::connect(local(port)).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 1).await;
    let daemon = served.daemon.clone();
    let stopping = tokio::spawn(async move { daemon.shutdown(Duration::from_secs(20)).await });
    eventually(|| std::net::TcpStream::connect(local(port)).is_err()).await;
    soon(exchange(stream, b"to its end")).await;
    soon(stopping).await.unwrap();
}

fn with_permissions(
    change: impl Fn(&mut Permissions) + Send + Sync + 'static,
) -> impl FnOnce(DaemonConfig) -> DaemonConfig {
    move |config| {
        config.router(open_house()).password(move |_, _| {
            let mut permissions = Permissions::all();
            change(&mut permissions);
            async move { permissions }
        })
    }
}

async fn policies() {
    let served = Served::start(
        router()
            .listen_tcpip_async(|asked| async move { asked.user == "alice" && asked.address == "localhost" })
            .listen_streamlocal(|asked| asked.path.ends_with(".sock")),
    )
    .await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    assert!(soon(conn.tcpip_forward("localhost", 0, answer)).await.is_ok());
    let refused = soon(conn.tcpip_forward("", 0, answer)).await;
    assert!(matches!(refused, Err(ForwardError::Refused { .. })), "{refused:?}");
    let quiet = |_| Some(stream_fn(after_eof));
    assert!(soon(conn.streamlocal_forward(path("a.sock"), quiet)).await.is_ok());
    for wrong in [path("a.other"), "relative.sock".into(), path("../x/../a.sock")] {
        let refused = soon(conn.streamlocal_forward(wrong, quiet)).await;
        assert!(matches!(refused, Err(ForwardError::Refused { .. })), "{refused:?}");
    }
    soon(conn.close()).await;

    let spare = TcpListener::bind(local(0)).await.unwrap().local_addr().unwrap().port();
    let allowed = format!("localhost:{spare}");
    let listed = with_permissions(move |permissions| permissions.permit_listen = Some(vec![allowed.clone()]));
    let forbidden = with_permissions(|permissions| permissions.port_forwarding = false);
    for (served, listed) in [(Served::with(listed).await, true), (Served::with(forbidden).await, false)] {
        let auth = ractor_ssh::auth::Auth::new().password(SecretString::from("secret"));
        let conn = ractor_ssh::Client::new(served.client_config().auth(auth)).connect().await.unwrap();
        assert_eq!(soon(conn.tcpip_forward("localhost", spare, answer)).await.is_ok(), listed);
        assert!(soon(conn.tcpip_forward("localhost", 0, answer)).await.is_err());
        assert!(soon(conn.tcpip_forward("127.0.0.1", spare, answer)).await.is_err());
        assert!(soon(conn.streamlocal_forward(path("b.sock"), quiet)).await.is_err());
        soon(conn.close()).await;
    }
}

async fn bad_policies() {
    let served = Served::with(|mut_config| {
        let routes = router()
            .listen_tcpip_async(|asked| async move {
                if asked.port == 1 {
                    panic!("on purpose");
                }
                std::future::pending::<bool>().await
            })
            .listen_streamlocal(|_| panic!("on purpose"));
        let timeouts = {
            let mut timeouts = ractor_ssh::config::Timeouts::default();
            timeouts.request = Duration::from_millis(300);
            timeouts
        };
        mut_config.router(routes).timeouts(timeouts)
    })
    .await;
    let conn = served.connect().await;
    for port in [1, 2] {
        let refused = soon(conn.tcpip_forward("localhost", port, answer)).await;
        assert!(matches!(refused, Err(ForwardError::Refused { .. })), "{port}: {refused:?}");
    }
    let refused = soon(conn.streamlocal_forward("/tmp/x", |_| Some(stream_fn(after_eof)))).await;
    assert!(matches!(refused, Err(ForwardError::Refused { .. })), "{refused:?}");
    assert_eq!(served.daemon.info().counters.requests_refused, 3);
    soon(conn.close()).await;
}

/// The addresses on which somebody listens on this port, by the kernel's table of IPv4.
fn listens_on(port: u16) -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let address = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (at, state) = (words.next()?, words.nth(1)?);
        let (ip, at) = at.split_once(':')?;
        let ip = u32::from_str_radix(ip, 16).ok()?;
        let here = state == "0A" && u16::from_str_radix(at, 16) == Ok(port);
        here.then_some(IpAddr::V4(Ipv4Addr::from(ip.swap_bytes())))
    };
    table.lines().filter_map(address).collect()
}

async fn gateway() {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for (gateway, asked, bound) in [
        (GatewayPorts::No, "", loopback),
        (GatewayPorts::No, "0.0.0.0", loopback),
        (GatewayPorts::Yes, "localhost", everywhere),
        (GatewayPorts::ClientSpecified, "", everywhere),
        (GatewayPorts::ClientSpecified, "localhost", loopback),
        (GatewayPorts::ClientSpecified, "127.0.0.1", loopback),
    ] {
        let served = Served::start(open_house().gateway_ports(gateway)).await;
        let conn = served.connect().await;
        let listener = soon(conn.tcpip_forward(asked, 0, answer)).await.unwrap();
        assert_eq!(listens_on(listener.port()), [bound], "{gateway:?} {asked}");
        soon(exchange(TcpStream::connect(local(listener.port())).await.unwrap(), b"x")).await;
        soon(conn.close()).await;
    }
}

async fn unix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let name = path.to_str().unwrap();
    let quiet = |_| Some(stream_fn(after_eof));
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let listener = soon(conn.streamlocal_forward(name, quiet)).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    soon(exchange(UnixStream::connect(&path).await.unwrap(), b"x")).await;
    soon(listener.cancel()).await.unwrap();
    eventually(|| !path.exists()).await;
    // A socket that nobody listens on is in the way, unless it is to be removed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let refused = soon(conn.streamlocal_forward(name, quiet)).await;
    assert!(matches!(refused, Err(ForwardError::Refused { .. })), "{refused:?}");
    soon(conn.close()).await;
    let served = Served::start(open_house().streamlocal_bind_unlink(true)).await;
    let conn = served.connect().await;
    let listener = soon(conn.streamlocal_forward(name, quiet)).await.unwrap();
    soon(exchange(UnixStream::connect(&path).await.unwrap(), b"x")).await;
    // One that somebody listens on, and a file, stay in any case.
    let other = served.connect().await;
    assert!(soon(other.streamlocal_forward(name, quiet)).await.is_err());
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(soon(other.streamlocal_forward(file.to_str().unwrap(), quiet)).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    soon(exchange(UnixStream::connect(&path).await.unwrap(), b"y")).await;
    soon(listener.cancel()).await.unwrap();
    soon(conn.close()).await;
    soon(other.close()).await;
}

async fn bounded() {
    let mut limits = SessionLimits::default();
    (limits.max_listeners, limits.max_forwarded) = (3, 2);
    let served = Served::with(|config| config.router(open_house()).session_limits(limits)).await;
    let conn = served.connect().await;
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(soon(conn.tcpip_forward("localhost", 0, answer)).await.unwrap());
    }
    assert!(matches!(conn.tcpip_forward("localhost", 0, answer).await, Err(ForwardError::Refused { .. })));
    let port = listeners[0].port();
    let first = TcpStream::connect(local(port)).await.unwrap();
    let _second = TcpStream::connect(local(listeners[1].port())).await.unwrap();
    eventually(|| served.daemon.sessions()[0].channels_open == 2).await;
    // The third one waits, and is served when one of the others has ended.
    let third = tokio::spawn(async move {
        exchange(TcpStream::connect(local(port)).await.unwrap(), b"third").await;
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(served.daemon.sessions()[0].channels_open, 2);
    assert!(!third.is_finished());
    soon(exchange(first, b"first")).await;
    soon(third).await.unwrap();
    // A place is free again as soon as a listener is gone.
    soon(listeners.remove(2).cancel()).await.unwrap();
    listeners.push(soon(conn.tcpip_forward("localhost", 0, answer)).await.unwrap());
    soon(conn.close()).await;
}

async fn refusing() {
    let served = Served::with(|config| {
        let mut timeouts = ractor_ssh::config::Timeouts::default();
        timeouts.open = Duration::from_millis(200);
        config.router(open_house()).timeouts(timeouts)
    })
    .await;
    // Ours refuses what was cancelled here, but russh's own client takes no channels at all unless it is told how.
    let conn = served.connect().await;
    let listener = soon(conn.tcpip_forward("localhost", 0, |_| None::<Quiet>)).await.unwrap();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
        let mut nothing = Vec::new();
        let _ = soon(stream.read_to_end(&mut nothing)).await;
        assert!(nothing.is_empty());
    }
    eventually(|| served.daemon.sessions()[0].channels_open == 0).await;
    let info = conn.info().await.unwrap();
    assert_eq!(info.counters.opens_refused, 100);
    let output = soon(conn.exec("fail").output()).await.unwrap();
    assert_eq!(output.status.code(), Some(7));
    soon(conn.close()).await;
}

async fn slow() {
    let served = Served::start(open_house()).await;
    let conn = served.connect().await;
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let (told, mut heard) = mpsc::unbounded_channel();
    let listener = conn
        .tcpip_forward("localhost", 0, move |_| {
            let (gate, told) = (gate.lock().unwrap().take().unwrap(), told.clone());
            Some(stream_fn(move |mut stream: ChannelStream| async move {
                gate.await.unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                told.send(all).unwrap();
            }))
        })
        .await
        .unwrap();
    let mut stream = TcpStream::connect(local(listener.port())).await.unwrap();
    // More than every buffer on the way holds, the connection's budget included.
    let mut sent = 0;
    let stopped = loop {
        match tokio::time::timeout(Duration::from_millis(1500), stream.write_all(&piece(sent, 1 << 20))).await
        {
            Ok(written) => written.unwrap(),
            Err(_) => break true,
        }
        sent += 1 << 20;
        if sent > 160 << 20 {
            break false;
        }
    };
    assert!(stopped, "nobody has held the sender up");
    drop(stream);
    go.send(()).unwrap();
    let all = soon(heard.recv()).await.unwrap();
    assert!(all.len() >= sent && all[..sent] == piece(0, sent)[..], "{} of at least {sent}", all.len());
    soon(conn.close()).await;
}

async fn direct_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("target.sock");
    target_socket(path.clone());
    let allowed = directory.path().to_str().unwrap().to_owned();
    let served =
        Served::start(router().forward_streamlocal(move |open| open.path.starts_with(&allowed))).await;
    let conn = served.connect().await;
    let to = |path: PathBuf| OpenRequest::DirectStreamlocal { path: path.to_str().unwrap().to_owned() };
    let stream = soon(conn.open_stream(to(path.clone()), ChannelOptions::new())).await.unwrap();
    soon(exchange(stream, &piece(0, SIZE))).await;
    let crooked = directory.path().join("..").join(directory.path().file_name().unwrap()).join("target.sock");
    for (wrong, why) in [
        (directory.path().join("nobody.sock"), OpenFailureReason::ConnectFailed),
        (PathBuf::from("/run/other.sock"), OpenFailureReason::AdministrativelyProhibited),
        (crooked, OpenFailureReason::AdministrativelyProhibited),
        (PathBuf::from("target.sock"), OpenFailureReason::AdministrativelyProhibited),
    ] {
        let refused = soon(conn.open_channel(to(wrong.clone()), ChannelOptions::new(), Quiet)).await;
        let Err(OpenError::Refused { reason, .. }) = refused else { panic!("{wrong:?}: {refused:?}") };
        assert_eq!(reason, why, "{wrong:?}");
    }
    soon(conn.close()).await;
}

async fn not_idle() {
    let limit = Duration::from_millis(300);
    let served =
        Served::with(|config| config.router(open_house()).initial_idle_timeout(limit).idle_timeout(limit))
            .await;
    let conn = served.connect().await;
    let listener = soon(conn.tcpip_forward("localhost", 0, answer)).await.unwrap();
    tokio::time::sleep(3 * limit).await;
    soon(exchange(TcpStream::connect(local(listener.port())).await.unwrap(), b"still there")).await;
    tokio::time::sleep(3 * limit).await;
    soon(exchange(TcpStream::connect(local(listener.port())).await.unwrap(), b"and again")).await;
    soon(listener.cancel()).await.unwrap();
    soon(conn.closed()).await;
    eventually(|| served.daemon.info().counters.idle_timeouts == 1).await;
}
