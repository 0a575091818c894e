//! Connecting: whom it trusts, how it logs in, how it fails, and what is left when it is given up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{AgentMode, Auth, AuthError, Identity, IdentityFile};
use ractor_ssh::config::Timeouts;
use ractor_ssh::error::{ConfigError, Phase};
use ractor_ssh::host_key::{HostKeyError, HostKeyPin, HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{Client, ClientConfig, ConnectError, ConnectionRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::common::{alone, becomes_true, config, connect, info, open_files, run, soon};
use crate::kit::{KeyKind, KeyPair, Peer, SshAgent, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    const AGENT: [Peer; 2] = [Peer::OpenSshServer, Peer::OpenSshAgent];
    vec![
        peer_test("connect::an_unknown_host_key_is_refused", SERVER, unknown_host_key),
        peer_test("connect::a_changed_host_key_is_refused", SERVER, changed_host_key),
        peer_test("connect::accept_new_writes_what_ssh_keygen_finds", SERVER, accept_new),
        peer_test("connect::a_pinned_fingerprint_is_enough_and_another_is_refused", SERVER, pinned),
        peer_test("connect::a_host_certificate_of_a_known_authority_is_trusted", SERVER, host_certificate),
        peer_test("connect::every_kind_of_host_and_user_key_works", SERVER, kinds_of_keys),
        peer_test("connect::a_user_certificate_logs_in", SERVER, user_certificate),
        peer_test("connect::the_agent_logs_in", AGENT, agent),
        peer_test("connect::a_wrong_key_is_refused", SERVER, wrong_key),
        peer_test("connect::a_wrong_user_is_refused", SERVER, wrong_user),
        peer_test("connect::no_common_algorithm_names_what_both_offer", SERVER, no_common_algorithm),
        peer_test("connect::the_banner_is_delivered", SERVER, banner),
        peer_test("connect::the_phases_end_in_up_and_down", SERVER, phases),
        peer_test("connect::a_refused_port_is_a_dial_error", SERVER, refused_port),
        peer_test("connect::a_wrong_argument_is_named", SERVER, wrong_argument),
        peer_test("connect::over_a_given_stream_works", SERVER, given_stream),
        peer_test("connect::each_phase_has_its_deadline", SERVER, deadlines),
        peer_test("connect::a_dial_has_its_deadline", SERVER, dial_deadline),
        peer_test("connect::a_server_that_goes_away_midway_is_an_error", SERVER, goes_away),
        alone("connect::given_up_at_any_moment_it_leaves_no_socket", given_up_anywhere),
        peer_test("connect::given_up_at_a_prompt_it_leaves_no_socket", SERVER, given_up_at_a_prompt),
    ]
}

async fn fails(config: ClientConfig) -> ConnectError {
    match soon("the answer", Client::new(config).connect()).await {
        Err(error) => error,
        Ok(conn) => panic!("{conn:?} should not be"),
    }
}

fn strict(file: impl Into<PathBuf>) -> HostKeyPolicy {
    HostKeyPolicy::strict(KnownHostsFiles::new([file]))
}

async fn unknown_host_key() {
    let sshd = Sshd::builder().start().unwrap();
    let empty = sshd.directory().join("empty");
    std::fs::write(&empty, "").unwrap();
    let error = fails(config(&sshd).host_key(strict(empty))).await;
    assert!(matches!(&error, ConnectError::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    assert_eq!(error.phase(), Phase::Kex);
    assert!(!error.is_retryable());
    assert!(error.to_string().contains(&sshd.host_keys()[0].fingerprint().unwrap()), "{error}");
    assert!(!sshd.log().contains("Accepted"), "no login was tried");
}

async fn changed_host_key() {
    let sshd = Sshd::builder().start().unwrap();
    let other = KeyPair::generate(sshd.directory().join("other"), KeyKind::Ed25519).unwrap();
    let file = sshd.directory().join("changed");
    std::fs::write(&file, format!("[127.0.0.1]:{} {}\n", sshd.port(), other.public_fields().unwrap()))
        .unwrap();
    let error = fails(config(&sshd).host_key(strict(file))).await;
    assert!(matches!(&error, ConnectError::HostKey(HostKeyError::Changed { .. })), "{error:?}");
    assert!(!error.is_retryable());
}

async fn accept_new() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("fresh");
    let accept = HostKeyPolicy::accept_new(KnownHostsFiles::new([&file]));
    Client::new(config(&sshd).host_key(accept)).connect().await.unwrap().close().await;
    let name = format!("[127.0.0.1]:{}", sshd.port());
    let found =
        tokio::process::Command::new("ssh-keygen").args(["-F", &name, "-f"]).arg(&file).output().await;
    let found = found.unwrap();
    assert!(found.status.success(), "{found:?}");
    let key = sshd.host_keys()[0].public_fields().unwrap();
    assert!(String::from_utf8_lossy(&found.stdout).contains(&key));
    Client::new(config(&sshd).host_key(strict(file))).connect().await.expect("known from now on");
}

async fn pinned() {
    let sshd = Sshd::builder().start().unwrap();
    let good: HostKeyPin = sshd.host_keys()[0].fingerprint().unwrap().parse().unwrap();
    let bad: HostKeyPin = sshd.user_key().fingerprint().unwrap().parse().unwrap();
    Client::new(config(&sshd).host_key(HostKeyPolicy::pinned([good]))).connect().await.unwrap();
    let error = fails(config(&sshd).host_key(HostKeyPolicy::pinned([bad]))).await;
    assert!(matches!(error, ConnectError::HostKey(_)), "{error:?}");
}

async fn host_certificate() {
    let sshd = Sshd::builder().host_certificates().start().unwrap();
    let known = std::fs::read_to_string(sshd.known_hosts()).unwrap();
    assert!(known.starts_with("@cert-authority"), "{known}");
    assert_eq!(run(&connect(&sshd).await, "echo in").await.stdout, b"in\n");
}

async fn kinds_of_keys() {
    let kinds = [KeyKind::Rsa2048, KeyKind::EcdsaP256, KeyKind::EcdsaP521, KeyKind::Ed25519];
    for kind in kinds {
        let sshd = Sshd::builder().host_keys(&[kind]).user_key(kind).start().unwrap();
        assert_eq!(run(&connect(&sshd).await, "echo in").await.stdout, b"in\n", "{kind:?}");
    }
}

async fn user_certificate() {
    let sshd = Sshd::builder().trust_user_ca().config("AuthorizedKeysFile none").start().unwrap();
    let bare = Auth::new().identity_file(IdentityFile::new(sshd.identity()));
    let error = fails(config(&sshd).auth(bare)).await;
    assert!(matches!(error, ConnectError::Auth(_)), "the bare key is not let in: {error:?}");
    let authority = sshd.user_ca().unwrap();
    authority.certify_user(sshd.user_key(), &[sshd.user()], "-5m:+1h", &[]).unwrap();
    let identity = Identity::load(sshd.identity(), None).await.unwrap();
    let identity = identity.with_certificate(sshd.user_key().certificate_path()).await.unwrap();
    let conn = Client::new(config(&sshd).auth(Auth::new().identity(identity))).connect().await.unwrap();
    assert_eq!(run(&conn, "echo in").await.stdout, b"in\n");
}

async fn agent() {
    let sshd = Sshd::builder().start().unwrap();
    let agent = SshAgent::start(sshd.directory()).await;
    let empty = fails(config(&sshd).auth(Auth::new().agent_at(AgentMode::Required, agent.socket()))).await;
    assert!(matches!(empty, ConnectError::Auth(_)), "{empty:?}");
    agent.add(sshd.identity()).await;
    let auth = Auth::new().agent_at(AgentMode::Required, agent.socket());
    let conn = Client::new(config(&sshd).auth(auth)).connect().await.unwrap();
    assert_eq!(run(&conn, "echo in").await.stdout, b"in\n");
}

async fn wrong_key() {
    let sshd = Sshd::builder().start().unwrap();
    let other = KeyPair::generate(sshd.directory().join("other"), KeyKind::Ed25519).unwrap();
    let error = fails(config(&sshd).auth(Auth::new().identity_file(IdentityFile::new(other.path())))).await;
    assert!(matches!(&error, ConnectError::Auth(AuthError::Refused { .. })), "{error:?}");
    assert_eq!(error.phase(), Phase::Auth);
    assert!(!error.is_retryable());
    assert!(error.to_string().contains(&other.fingerprint().unwrap()), "it says what was tried: {error}");
    sshd.wait_for_log("Connection closed by", Duration::from_secs(10)).await.unwrap();
}

async fn wrong_user() {
    let sshd = Sshd::builder().start().unwrap();
    let config = ClientConfig::new("127.0.0.1", "nobody-of-this-name")
        .port(sshd.port())
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(strict(sshd.known_hosts()));
    let error = fails(config).await;
    assert!(matches!(&error, ConnectError::Auth(AuthError::Refused { .. })), "{error:?}");
    assert!(error.to_string().contains("nobody-of-this-name"), "{error}");
}

async fn no_common_algorithm() {
    let sshd = Sshd::builder().config("Ciphers aes256-gcm@openssh.com").start().unwrap();
    let error = fails(config(&sshd).ciphers(["aes128-ctr"])).await;
    let ConnectError::NoCommonAlgorithm { ours, theirs, .. } = &error else { panic!("{error:?}") };
    assert_eq!(ours, &["aes128-ctr"]);
    assert_eq!(theirs, &["aes256-gcm@openssh.com"]);
    assert_eq!(error.phase(), Phase::Kex);
    let conn = Client::new(config(&sshd).ciphers(["aes128-ctr", "aes256-gcm@openssh.com"])).connect().await;
    assert_eq!(info(&conn.unwrap()).await.algorithms.cipher, "aes256-gcm@openssh.com");
}

async fn banner() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("banner");
    std::fs::write(&file, "Welcome to nowhere\n").unwrap();
    let sshd = Sshd::builder().config(format!("Banner {}", file.display())).start().unwrap();
    let seen = Arc::new(Mutex::new(String::new()));
    let hook = Arc::clone(&seen);
    let config = config(&sshd).on_banner(move |text| hook.lock().unwrap().push_str(text));
    Client::new(config).connect().await.unwrap();
    assert_eq!(seen.lock().unwrap().trim_end(), "Welcome to nowhere");
}

async fn phases() {
    let sshd = Sshd::builder().start().unwrap();
    let connecting = Client::new(config(&sshd)).connect();
    let mut phases = connecting.phases();
    assert_eq!(phases.borrow().phase, Phase::Config, "nothing happens before it is polled");
    let watching = tokio::spawn(async move {
        let mut seen = vec![phases.borrow_and_update().phase];
        while phases.changed().await.is_ok() {
            seen.push(phases.borrow_and_update().phase);
        }
        seen
    });
    let conn = connecting.await.unwrap();
    assert_eq!(conn.phase(), Phase::Up);
    conn.close().await;
    assert_eq!(conn.phase(), Phase::Down);
    drop(conn);
    let seen = soon("the last phase", watching).await.unwrap();
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&Phase::Down));
}

async fn refused_port() {
    let sshd = Sshd::builder().start().unwrap();
    let refused = config(&sshd);
    sshd.kill();
    let error = fails(refused).await;
    assert!(matches!(&error, ConnectError::Dial { .. }), "{error:?}");
    assert_eq!(error.phase(), Phase::Dial);
    assert!(error.is_retryable());
}

async fn wrong_argument() {
    let sshd = Sshd::builder().start().unwrap();
    let user_empty = ClientConfig::new("127.0.0.1", "").port(sshd.port());
    let host_empty = ClientConfig::new(" ", "user").port(sshd.port());
    let mut limits = ractor_ssh::config::Limits::default();
    limits.window = 0;
    let wrong = [
        ("user", user_empty),
        ("host", host_empty),
        ("port", config(&sshd).port(0)),
        ("window", config(&sshd).limits(limits)),
        ("cipher", config(&sshd).ciphers(["rot13"])),
        ("client_id", config(&sshd).client_id("two\nlines")),
    ];
    for (field, config) in wrong {
        let error = fails(config).await;
        let ConnectError::Config(config): &ConnectError = &error else { panic!("{field}: {error:?}") };
        let text = ConfigError::to_string(config);
        assert!(text.contains(field), "{field}: {text}");
        assert_eq!(error.phase(), Phase::Config);
    }
}

async fn given_stream() {
    let sshd = Sshd::builder().start().unwrap();
    let stream = TcpStream::connect(sshd.addr()).await.unwrap();
    let conn = Client::new(config(&sshd)).connect_stream(stream).await.unwrap();
    assert_eq!(run(&conn, "echo in").await.stdout, b"in\n");
}

// ---- servers that stop midway ---------------------------------------------------------------------------

/// Between a client and a server: passes on so many bytes of the server, then no more.
struct Stalling {
    addr: SocketAddr,
    /// The limit was reached.
    stalled: oneshot::Receiver<()>,
    /// Ends when the client has closed its side.
    client_gone: JoinHandle<()>,
}

impl Stalling {
    async fn after(bytes: u64, sshd: &Sshd) -> Self {
        let server = sshd.addr();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, stalled) = oneshot::channel();
        let client_gone = tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            drop(listener);
            let server = TcpStream::connect(server).await.unwrap();
            let ((mut from_client, mut to_client), (from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            let passing = tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server.take(bytes), &mut to_client).await;
                let _ = tell.send(());
                // Kept open: the client sees silence, not an end.
                to_client
            });
            let mut buffer = [0; 4096];
            while let Ok(len) = from_client.read(&mut buffer).await {
                if len == 0 {
                    break;
                }
                let _ = to_server.write_all(&buffer[..len]).await;
            }
            passing.abort();
        });
        Self { addr, stalled, client_gone }
    }

    fn config(&self, sshd: &Sshd) -> ClientConfig {
        config(sshd).port(self.addr.port()).host_key(HostKeyPolicy::danger_accept_anything())
    }
}

fn short(phase: Phase) -> (Timeouts, Duration) {
    let limit = Duration::from_millis(200);
    let mut timeouts = Timeouts::default();
    match phase {
        Phase::Version => timeouts.version = limit,
        Phase::Kex => timeouts.kex = limit,
        _ => timeouts.auth = limit,
    }
    (timeouts, limit)
}

async fn deadlines() {
    let sshd = Sshd::builder().start().unwrap();
    // Nothing; the version line and a part of KEXINIT; all of the key exchange is longer than that.
    for (bytes, phase) in [(0, Phase::Version), (10, Phase::Version), (60, Phase::Kex), (500, Phase::Kex)] {
        let peer = Stalling::after(bytes, &sshd).await;
        let (timeouts, limit) = short(phase);
        let error = fails(peer.config(&sshd).timeouts(timeouts)).await;
        match &error {
            ConnectError::Timeout { phase: named, after } => assert_eq!((*named, *after), (phase, limit)),
            other => panic!("{bytes}: {other:?}"),
        }
        assert!(error.is_retryable());
        soon("the socket is closed", peer.client_gone).await.unwrap();
    }
    let (timeouts, limit) = short(Phase::Auth);
    let asked = Auth::new().password_with(|_| std::future::pending());
    let error = fails(config(&sshd).auth(asked).timeouts(timeouts)).await;
    match &error {
        ConnectError::Timeout { phase, after } => assert_eq!((*phase, *after), (Phase::Auth, limit)),
        other => panic!("{other:?}"),
    }
    sshd.wait_for_log("Connection closed by", Duration::from_secs(10)).await.unwrap();
}

async fn dial_deadline() {
    let sshd = Sshd::builder().start().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    // Nobody accepts: once the backlog is full, the kernel answers no more.
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        waiting.push(stream);
        assert!(waiting.len() < 64);
    }
    let mut timeouts = Timeouts::default();
    timeouts.dial = Duration::from_millis(200);
    let error = fails(config(&sshd).port(addr.port()).timeouts(timeouts)).await;
    assert!(matches!(&error, ConnectError::Timeout { phase: Phase::Dial, .. }), "{error:?}");
}

async fn goes_away() {
    let sshd = Sshd::builder().start().unwrap();
    for said in ["", "SSH-2.0-Gone\r\n", "220 mail.example.org ESMTP\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let _ = client.read_to_end(&mut Vec::new()).await;
        });
        let error = fails(config(&sshd).port(port)).await;
        assert!(matches!(&error, ConnectError::Handshake { .. }), "{said:?}: {error:?}");
        assert!(error.is_retryable());
        soon("the socket is closed", serving).await.unwrap();
    }
}

/// The whole login is a few thousand bytes of the server's: every stop in it is tried, and what comes after.
async fn given_up_anywhere() {
    let sshd = Sshd::builder().start().unwrap();
    drop(soon("warming up", connect(&sshd)).await);
    let sockets = || open_files().iter().filter(|path| path.to_string_lossy().starts_with("socket:")).count();
    let before = sockets();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let alive = tasks();
    let mut bytes = 0;
    loop {
        let peer = Stalling::after(bytes, &sshd).await;
        let mut connecting = Client::new(peer.config(&sshd)).connect();
        let conn: Option<ConnectionRef> = tokio::select! {
            done = &mut connecting => done.ok(),
            _ = peer.stalled => {
                // Far enough to have read what came: its answer is on the way or it waits for more.
                let _ = tokio::time::timeout(Duration::from_millis(5), &mut connecting).await;
                None
            }
        };
        drop(connecting);
        let done = conn.is_some();
        drop(conn);
        soon("the socket is closed", peer.client_gone).await.unwrap();
        if done {
            break;
        }
        assert!(bytes < 20_000, "the login is never done");
        bytes += 97;
    }
    assert!(bytes > 1000, "{bytes}");
    becomes_true("no socket is left", || async { sockets() <= before }).await;
    becomes_true("no task is left", || async { tasks() <= alive }).await;
}

async fn given_up_at_a_prompt() {
    let sshd = Sshd::builder().start().unwrap();
    let (reached, prompt) = oneshot::channel();
    let reached = Mutex::new(Some(reached));
    let auth = Auth::new().password_with(move |_| {
        let _ = reached.lock().unwrap().take().map(|reached| reached.send(()));
        std::future::pending()
    });
    let connecting = tokio::spawn(Client::new(config(&sshd).auth(auth)).connect());
    soon("the prompt", prompt).await.unwrap();
    connecting.abort();
    sshd.wait_for_log("Connection closed by", Duration::from_secs(10)).await.unwrap();
}
