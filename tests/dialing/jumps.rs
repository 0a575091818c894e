//! Chains of jump hosts, each a real server of its own.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, IdentityFile};
use ractor_ssh::config::{Limits, Timeouts};
use ractor_ssh::dial::{DialError, Proxy, ProxyCommand, TcpOptions, Via};
use ractor_ssh::error::Phase;
use ractor_ssh::host_key::{HostKeyError, HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::managed::ManagedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{Client, ClientConfig, ConnectError, ManagedSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener};

use crate::common::{
    BlackHole, NobodyListens, becomes_true, config, config_at, connect, fails, once, soon, works,
};
use crate::kit::{Peer, RealProxy, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let proxied = [Peer::OpenSshServer, Peer::Tinyproxy];
    vec![
        peer_test("jumps::a_chain_of_a_proxy_and_two_hosts_leads_to_the_target", proxied, chain),
        peer_test(
            "jumps::a_proxy_is_reached_from_the_jump_host_before_it",
            [Peer::OpenSshServer, Peer::OpenSshClient, Peer::Tinyproxy],
            proxy_behind,
        ),
        peer_test(
            "jumps::a_unix_socket_of_the_jump_host_leads_to_the_target",
            Peer::OpenSshServer,
            unix_behind,
        ),
        peer_test("jumps::jump_hosts_are_left_with_the_connection", Peer::OpenSshServer, left),
        peer_test(
            "jumps::each_hop_has_a_host_key_and_an_identity_of_its_own",
            Peer::OpenSshServer,
            own_trust,
        ),
        peer_test("jumps::the_hop_that_fails_is_named", Peer::OpenSshServer, named),
        peer_test("jumps::each_hop_has_deadlines_of_its_own", Peer::OpenSshServer, deadlines),
        peer_test("jumps::a_jump_host_that_dies_ends_the_connection_and_is_named", Peer::OpenSshServer, dies),
        peer_test("jumps::a_managed_connection_goes_the_whole_way_again", Peer::OpenSshServer, managed),
        peer_test("jumps::much_data_comes_through_two_hosts_whole", Peer::OpenSshServer, data),
        peer_test("jumps::a_slow_reader_is_judged_by_the_target_alone", Peer::OpenSshServer, slow),
        peer_test("jumps::a_start_behind_a_jump_host_is_refused", Peer::OpenSshServer, start_behind),
        peer_test("jumps::giving_up_leaves_no_hop_behind", Peer::OpenSshServer, given_up),
    ]
}

fn server() -> Sshd {
    Sshd::builder().start().unwrap()
}

/// How many logins a server has let in.
fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

/// The server has nobody left: its listener is alone.
async fn is_left(sshd: &Sshd) {
    becomes_true("the jump host is left", || sshd.pids().len() == 1).await;
}

async fn chain() {
    let (first, second, target) = (server(), server(), server());
    let tinyproxy = RealProxy::tinyproxy(None).unwrap();
    let way_out = Via::default().proxy(Proxy::http("127.0.0.1", tinyproxy.port()));
    let whole = config(&target).jump(config(&first).via(way_out.clone())).jump(config(&second));
    let connection = connect(whole).await;
    works(&connection).await;
    assert!(tinyproxy.log().contains(&format!("CONNECT 127.0.0.1:{}", first.port())), "{}", tinyproxy.log());
    assert_eq!([logins(&first), logins(&second), logins(&target)], [1, 1, 1]);
    // Nested by hand, it is the same chain.
    let nested = config(&target).jump(config(&second).jump(config(&first).via(way_out)));
    works(&connect(nested).await).await;
    assert_eq!([logins(&first), logins(&second), logins(&target)], [2, 2, 2]);
}

async fn proxy_behind() {
    let (jump, target) = (server(), server());
    let tinyproxy = RealProxy::tinyproxy(None).unwrap();
    let behind = Via::default().proxy(Proxy::http("127.0.0.1", tinyproxy.port()));
    works(&connect(config(&target).via(behind).jump(config(&jump))).await).await;
    assert!(tinyproxy.log().contains(&format!("CONNECT 127.0.0.1:{}", target.port())), "{}", tinyproxy.log());
    assert_eq!(logins(&jump), 1);
    let socks = RealProxy::ssh_d(&target).unwrap();
    let kinds = [Proxy::socks4a("127.0.0.1", socks.port()), Proxy::socks5("127.0.0.1", socks.port())];
    for proxy in kinds {
        let behind = Via::default().proxy(proxy);
        works(&connect(config_at("localhost", &target).via(behind).jump(config(&jump))).await).await;
    }
    assert_eq!(logins(&jump), 3);
}

async fn unix_behind() {
    let (jump, target) = (server(), server());
    let path = jump.directory().join("in");
    let listener = UnixListener::bind(&path).unwrap();
    let addr = target.addr();
    let passing = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(addr).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let connection = connect(config(&target).via(Via::unix(&path)).jump(config(&jump))).await;
    works(&connection).await;
    connection.close().await;
    soon("the socket is closed", passing).await.unwrap();
    let error = fails(config(&target).via(Via::unix("/nowhere")).jump(config(&jump))).await;
    let ConnectError::Dial { source: DialError::Jump { to, .. }, .. } = &error else { panic!("{error:?}") };
    assert_eq!(to, "/nowhere");
    is_left(&jump).await;
}

async fn left() {
    let (first, second, target) = (server(), server(), server());
    let way = || config(&target).jump(config(&first)).jump(config(&second));
    let closed = connect(way()).await;
    let dropped = connect(way()).await;
    works(&dropped).await;
    assert!(first.pids().len() > 1 && second.pids().len() > 1);
    closed.close().await;
    drop(dropped);
    is_left(&first).await;
    is_left(&second).await;
    is_left(&target).await;
}

async fn own_trust() {
    let (jump, target) = (server(), server());
    // What the target is known by does not make the jump host known, and the other way round.
    let of_target = || HostKeyPolicy::strict(KnownHostsFiles::new([target.known_hosts()]));
    let error = fails(config(&target).jump(config(&jump).host_key(of_target()))).await;
    let ConnectError::Jump { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, ConnectError::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(logins(&jump), 0);
    let of_jump = HostKeyPolicy::strict(KnownHostsFiles::new([jump.known_hosts()]));
    let error = fails(config(&target).host_key(of_jump).jump(config(&jump))).await;
    assert!(matches!(&error, ConnectError::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    // The key of one is not offered to the other.
    let of_target = Auth::new().identity_file(IdentityFile::new(target.identity()));
    let error = fails(config(&target).jump(config(&jump).auth(of_target))).await;
    let ConnectError::Jump { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, ConnectError::Auth(_)), "{error:?}");
    assert!(!error.is_retryable());
    // A jump host with another key than it is known by is not entered, and not tried again by a managed connection.
    let line = std::fs::read_to_string(target.known_hosts()).unwrap();
    let other = jump.directory().join("other_known_hosts");
    std::fs::write(&other, line.replace(&target.port().to_string(), &jump.port().to_string())).unwrap();
    let before = (logins(&jump), logins(&target));
    let wrong = || config(&jump).host_key(HostKeyPolicy::strict(KnownHostsFiles::new([&other])));
    let error = fails(config(&target).jump(wrong())).await;
    let ConnectError::Jump { hop, source } = &error else { panic!("{error:?}") };
    assert!(hop.ends_with(&jump.port().to_string()), "{hop}");
    assert!(matches!(**source, ConnectError::HostKey(HostKeyError::Changed { .. })), "{error:?}");
    assert!(!error.is_retryable());
    let policy = RestartPolicy::permanent().never_give_up();
    let managed =
        Client::new(config(&target).jump(wrong())).manage(ManagedSpec::new().restart(policy)).await.unwrap();
    let mut states = managed.states();
    soon("given up", states.wait_for(|state| matches!(state, ManagedState::Failed(_)))).await.unwrap();
    assert_eq!((logins(&jump), logins(&target)), before);
}

async fn named() {
    let (first, second, target) = (server(), server(), server());
    let nobody = NobodyListens::new();
    let hop = |sshd: &Sshd| format!("{}@127.0.0.1:{}", sshd.user(), sshd.port());
    // The first cannot be reached.
    let error = fails(config(&target).jump(config(&first).port(nobody.port())).jump(config(&second))).await;
    let text = error.to_string();
    let ConnectError::Jump { hop: outer, source } = &error else { panic!("{error:?}") };
    assert_eq!(*outer, hop(&second));
    assert!(
        matches!(&**source, ConnectError::Jump { source, .. } if matches!(**source, ConnectError::Dial { .. }))
    );
    assert!(text.contains(&nobody.port().to_string()) && text.contains("refused"), "{text}");
    assert!(error.is_retryable());
    // The second cannot be reached from the first.
    let error = fails(config(&target).jump(config(&first)).jump(config(&second).port(nobody.port()))).await;
    let ConnectError::Jump { source, .. } = &error else { panic!("{error:?}") };
    let ConnectError::Dial { source: DialError::Jump { hop: by, .. }, .. } = &**source else {
        panic!("{error:?}")
    };
    assert_eq!(*by, hop(&first));
    // The target cannot be reached from the second.
    let error = fails(config(&target).port(nobody.port()).jump(config(&first)).jump(config(&second))).await;
    let ConnectError::Dial { source: DialError::Jump { hop: by, to, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((by.clone(), to.clone()), (hop(&second), format!("127.0.0.1:{}", nobody.port())));
    // One that allows no forwarding says so.
    let strict = Sshd::builder().config("AllowTcpForwarding no").start().unwrap();
    let error = fails(config(&target).jump(config(&strict))).await;
    assert!(error.to_string().contains("prohibited") && !error.is_retryable(), "{error}");
    for sshd in [&first, &second, &strict] {
        is_left(sshd).await;
    }
}

async fn deadlines() {
    let (jump, target) = (server(), server());
    let silent = || once(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await });
    let mut short = Timeouts::default();
    short.version = Duration::from_millis(200);
    // The jump host's own limit, not the target's.
    let host = silent().await;
    let error =
        fails(config(&target).jump(config(&jump).port(host.addr.port()).timeouts(short.clone()))).await;
    let ConnectError::Jump { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(**source, ConnectError::Timeout { phase: Phase::Version, .. }), "{error:?}");
    soon("the socket is closed", host.served).await.unwrap().unwrap();
    // A target's limit on dialling is not for the login at its jump host.
    let slow = Auth::new().password_with(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        None
    });
    let slow = slow.identity_file(IdentityFile::new(jump.identity()));
    let mut dial = Timeouts::default();
    dial.dial = Duration::from_millis(300);
    works(&connect(config(&target).timeouts(dial).jump(config(&jump).auth(slow))).await).await;
    // The deadline of the whole is.
    let host = silent().await;
    let limit = Duration::from_millis(300);
    let whole = config(&target).deadline(limit).jump(config(&jump).port(host.addr.port()));
    let error = fails(whole).await;
    let ConnectError::Jump { hop, source } = &error else { panic!("{error:?}") };
    assert!(hop.ends_with(&format!(":{}", host.addr.port())), "{hop}");
    assert!(
        matches!(&**source, ConnectError::Timeout { phase: Phase::Version, after } if *after == limit),
        "{error:?}"
    );
    soon("the socket is closed", host.served).await.unwrap().unwrap();
    // The deadline of a jump host is for what is before it, and its own.
    let host = silent().await;
    let inner = config(&jump).deadline(limit).jump(config(&jump).port(host.addr.port()));
    let error = fails(config(&target).jump(inner)).await;
    let ConnectError::Jump { hop, source } = &error else { panic!("{error:?}") };
    assert!(hop.ends_with(&format!(":{}", jump.port())), "{hop}");
    let ConnectError::Jump { hop, source } = &**source else { panic!("{error:?}") };
    assert!(hop.ends_with(&format!(":{}", host.addr.port())), "{hop}");
    assert!(matches!(&**source, ConnectError::Timeout { phase: Phase::Version, .. }), "{error:?}");
    soon("the socket is closed", host.served).await.unwrap().unwrap();
    // A jump host that does not come through in time is named too.
    let hole = BlackHole::new("127.0.0.1").await;
    let mut dial = Timeouts::default();
    dial.dial = limit;
    let error = fails(config(&target).port(hole.addr.port()).timeouts(dial).jump(config(&jump))).await;
    let ConnectError::Dial { source: DialError::Jump { hop, to, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(hop.ends_with(&format!(":{}", jump.port())) && *to == hole.addr.to_string(), "{error}");
    assert!(error.is_retryable());
    is_left(&jump).await;
}

async fn dies() {
    let (jump, target) = (server(), server());
    let connection = connect(config(&target).jump(config(&jump))).await;
    works(&connection).await;
    let child = connection.exec("cat").spawn().await.unwrap();
    jump.kill();
    let end = soon("its end", connection.closed()).await;
    assert!(end.is_retryable(), "{end:?}");
    let text = end.to_string();
    assert!(text.contains(&format!("jump host {}@127.0.0.1:{}", jump.user(), jump.port())), "{text}");
    assert!(soon("the command", child.wait_with_output()).await.is_err());
}

async fn managed() {
    let (jump, target) = (server(), server());
    let policy =
        RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(Duration::from_millis(20)));
    let client = Client::new(config(&target).jump(config(&jump)));
    let managed = client.manage(ManagedSpec::new().restart(policy)).await.unwrap();
    let mut states = managed.states();
    soon("up", states.wait_for(|state| matches!(state, ManagedState::Up { .. }))).await.unwrap();
    let output = soon("a command", managed.exec("echo one").output()).await.unwrap();
    assert_eq!(output.stdout_text(), "one\n");
    jump.kill_sessions();
    becomes_true("it has logged in again", || logins(&jump) == 2 && logins(&target) == 2).await;
    let output = soon("a command", managed.exec("echo two").output()).await.unwrap();
    assert_eq!(output.stdout_text(), "two\n");
    soon("stopping", managed.shutdown(Duration::from_secs(1))).await;
    is_left(&jump).await;
    is_left(&target).await;
}

async fn data() {
    let (first, second, target) = (server(), server(), server());
    let connection = connect(config(&target).jump(config(&first)).jump(config(&second))).await;
    let stream = connection.exec("cat").stream().await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|at| (at ^ (at >> 8) ^ (at >> 16)).to_le_bytes()[0]).collect();
    let writing = {
        let sent = sent.clone();
        tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        })
    };
    let mut got = Vec::new();
    soon("reading", reader.read_to_end(&mut got)).await.unwrap();
    soon("writing", writing).await.unwrap();
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
}

async fn slow() {
    let (jump, target) = (server(), server());
    let mut short = Limits::default();
    short.inbound_budget = 1 << 20;
    short.stall_timeout = Duration::from_millis(100);
    let mut long = short.clone();
    long.stall_timeout = Duration::from_secs(60);
    let connection = connect(config(&target).limits(long).jump(config(&jump).limits(short))).await;
    let mut stream = connection.exec("head -c 20000000 /dev/zero").stream().await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    // Until nothing more comes in, and then ten times as long as the jump host's own limit.
    let mut before = None;
    loop {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let now = connection.info().await.unwrap().counters.bytes_in;
        if before.replace(now) == Some(now) {
            break;
        }
    }
    let mut rest = Vec::new();
    soon("the rest", stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest.len(), 20_000_000 - 1000);
}

async fn start_behind() {
    let (jump, target) = (server(), server());
    let wrong: [fn(ClientConfig) -> ClientConfig; 3] = [
        |config| config.via(Via::tcp(TcpOptions::new().nodelay(false))),
        |config| config.via(Via::command(ProxyCommand::new(["cat"]))),
        |config| config.dial_with(|| TcpStream::connect("127.0.0.1:9")),
    ];
    for make in wrong {
        let error = fails(make(config(&target)).jump(config(&jump))).await;
        assert!(matches!(&error, ConnectError::Config(error) if error.field == "via"), "{error:?}");
    }
    let error = fails(config(&target).jump(config(&jump).port(0))).await;
    assert!(matches!(&error, ConnectError::Config(error) if error.field.contains("jump host")), "{error:?}");
}

async fn given_up() {
    let (jump, target) = (server(), server());
    let (reached, prompt) = tokio::sync::oneshot::channel();
    let reached = std::sync::Mutex::new(Some(reached));
    let asks = Auth::new().password_with(move |_| {
        let _ = reached.lock().unwrap().take().map(|reached| reached.send(()));
        std::future::pending()
    });
    let mut connecting = Client::new(config(&target).auth(asks).jump(config(&jump))).connect();
    soon("the target's prompt", async {
        tokio::select! {
            made = &mut connecting => panic!("{made:?}"),
            prompt = prompt => prompt.unwrap(),
        }
    })
    .await;
    assert_eq!(logins(&jump), 1);
    drop(connecting);
    is_left(&jump).await;
    is_left(&target).await;
}
