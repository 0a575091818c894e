//! Keys of all kinds, and authorized_keys files: what OpenSSH's server makes of a line, we do.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::auth::AuthMethod;
use ractor_ssh::login::{AuthorizedKeys, LoginRefusal, SourcePenalties};
use ractor_ssh::wire::keys::{Certificate, PrivateKey, generate_ed25519};
use russh::keys::signature::Signer as _;
use russh::keys::ssh_key::Signature;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::kit::{KeyKind, KeyPair, Peer, Sshd, peer_test};
use crate::programs::router;
use crate::support::{Served, Ssh, USER, eventually, soon};

const NONE: [Peer; 0] = [];
const SSH: [Peer; 1] = [Peer::OpenSshClient];

pub(crate) fn trials() -> Vec<Trial> {
    let both = [Peer::OpenSshServer, Peer::OpenSshClient];
    vec![
        peer_test("ssh_gets_in_with_a_key_of_every_kind_from_a_file", SSH, kinds),
        peer_test("an_rsa_key_with_sha1_is_refused", SSH, sha1),
        peer_test("a_key_that_is_revoked_is_refused_whoever_knows_it", SSH, revoked),
        peer_test("lines_of_authorized_keys_let_in_whom_opensshs_server_lets_in", both, as_sshd),
        peer_test(
            "a_wrong_signature_with_a_good_key_never_gets_in_and_is_counted_told_and_charged",
            NONE,
            forged,
        ),
        peer_test("what_russh_refuses_itself_takes_time_and_ends_the_connection", NONE, by_russh),
        peer_test("a_file_that_others_may_write_lets_nobody_in", SSH, writable),
    ]
}

fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn served(keys: AuthorizedKeys) -> Served {
    Served::bare(|config| {
        let penalties = SourcePenalties::off();
        let config = config.login_delay(Duration::from_millis(20)).source_penalties(penalties);
        config.router(router()).authorized_keys(keys)
    })
    .await
}

async fn lets_in(mut command: Command) -> bool {
    let output = soon(command.args(["127.0.0.1", "fail"]).output()).await.unwrap();
    match output.status.code() {
        Some(7) => true,
        Some(255) => false,
        _ => panic!("{output:?}"),
    }
}

async fn kinds() {
    for kind in
        [KeyKind::Ed25519, KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521, KeyKind::Rsa2048]
    {
        let ssh = Ssh::with_key(kind);
        let file = ssh.directory().join("alice");
        write(&file, &ssh.key().public_line().unwrap());
        let served = served(AuthorizedKeys::file(ssh.directory().join("%u"))).await;
        assert!(lets_in(ssh.command(&served)).await, "{kind:?}");
        write(&file, "");
        assert!(!lets_in(ssh.command(&served)).await, "{kind:?}");
    }
}

async fn sha1() {
    let ssh = Ssh::with_key(KeyKind::Rsa2048);
    let served = served(AuthorizedKeys::parse(&ssh.key().public_line().unwrap())).await;
    for (algorithms, good) in [("rsa-sha2-256", true), ("rsa-sha2-512", true), ("ssh-rsa", false)] {
        let mut command = ssh.command(&served);
        command.arg("-o").arg(format!("PubkeyAcceptedAlgorithms={algorithms}"));
        assert_eq!(lets_in(command).await, good, "{algorithms}");
    }
}

async fn revoked() {
    let ssh = Ssh::new();
    let served = Served::bare(|config| {
        config
            .router(router())
            .public_key(|_, _| async { true })
            .authorized_keys(AuthorizedKeys::parse(&ssh.key().public_line().unwrap()))
            .revoked_keys([ssh.public_key()])
    })
    .await;
    assert!(!lets_in(ssh.command(&served)).await);
}

/// Signs with another key than it says.
struct Forger(PrivateKey);

impl russh::Signer for Forger {
    type Error = russh::AgentAuthError;

    async fn auth_sign(
        &mut self,
        _key: &russh::keys::agent::AgentIdentity,
        _hash: Option<russh::keys::HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        let signature: Signature = self.0.try_sign(&to_sign).unwrap();
        let signature = Vec::<u8>::try_from(signature).unwrap();
        to_sign.extend_from_slice(&u32::try_from(signature.len()).unwrap().to_be_bytes());
        to_sign.extend_from_slice(&signature);
        Ok(to_sign)
    }
}

async fn forged() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let mut penalties = SourcePenalties::default();
    (penalties.bar_at, penalties.per_failure) = (Duration::from_secs(60), Duration::from_secs(31));
    let served = Served::with(|config| {
        let config = config.router(router()).source_penalties(penalties);
        config.login_delay(Duration::from_secs(2)).on_login_failed(move |attempt, method, why| {
            note.lock().unwrap().push((attempt.user.clone(), method, why.clone()));
        })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    let good = served.identity.public_key();
    let mut forger = Forger(generate_ed25519());
    for refused in 0..3 {
        let start = Instant::now();
        let result = handle.authenticate_publickey_with(USER, good.clone(), None, &mut forger);
        assert!(!soon(result).await.unwrap().success());
        assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
        assert_eq!(served.daemon.login_stats().refused, refused, "it is noticed with the next");
    }
    drop(handle);
    eventually(|| served.daemon.login_stats().refused == 3).await;
    let not_proved = (USER.to_owned(), AuthMethod::PublicKey, LoginRefusal::NotProved);
    assert_eq!(*told.lock().unwrap(), vec![not_proved; 3]);
    let mut turned_away = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    let mut text = String::new();
    let _ = soon(turned_away.read_to_string(&mut text)).await;
    assert_eq!(text, "Too many refused logins\r\n");
}

async fn by_russh() {
    let ssh = Ssh::new();
    let authority = KeyPair::generate(ssh.directory().join("ca"), KeyKind::Ed25519).unwrap();
    authority.certify_user(ssh.key(), &[USER], "-2h:-1h", &[]).unwrap();
    let key = Arc::new(PrivateKey::read_openssh_file(ssh.key().path()).unwrap());
    let expired = Certificate::read_file(&ssh.key().certificate_path()).unwrap();
    let served = Served::with(|config| {
        let config = config.router(router()).login_delay(Duration::from_secs(2));
        config.source_penalties(SourcePenalties::off()).max_auth_attempts(3)
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    for _ in 0..4 {
        let start = Instant::now();
        let answer = handle.authenticate_openssh_cert(USER, Arc::clone(&key), expired.clone());
        assert!(!soon(answer).await.unwrap().success());
        assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    }
    let _ = soon(handle.authenticate_openssh_cert(USER, key, expired)).await;
    soon(async {
        while !handle.is_closed() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(served.daemon.login_stats().refused, 0, "nobody here was asked");
}

async fn writable() {
    use std::os::unix::fs::PermissionsExt;

    let ssh = Ssh::new();
    let file = ssh.directory().join("keys");
    write(&file, &ssh.key().public_line().unwrap());
    let served = served(AuthorizedKeys::file(&file)).await;
    assert!(lets_in(ssh.command(&served)).await);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(!lets_in(ssh.command(&served)).await);
}

/// Each line in front of the key, with one login at OpenSSH's server and one at ours.
async fn as_sshd() {
    let ssh = Ssh::new();
    let file = ssh.directory().join("keys");
    write(&file, "");
    let sshd = Sshd::builder().config(format!("AuthorizedKeysFile \"{}\"", file.display())).start().unwrap();
    let ours = served(AuthorizedKeys::file(&file)).await;
    let key = ssh.key().public_fields().unwrap();
    let other = KeyPair::generate(ssh.directory().join("other"), KeyKind::Ed25519).unwrap();
    let other = other.public_fields().unwrap();
    let mut rows: Vec<(String, bool)> = LINES
        .iter()
        .map(|(options, good)| (format!("{options} {key}"), *good))
        .chain([
            (format!("{other}\n{key}\n"), true),
            (format!("from=\"10.0.0.1\" {key}\n{key}"), true),
            (format!("no-such {other}\n{key}"), true),
            (format!("# {key}"), false),
            (format!("\t  {key}\ta comment"), true),
            (format!("{key}\r"), true),
            (other, false),
        ])
        .collect();
    rows.push((key.replacen("ssh-ed25519", "ssh-rsa", 1), false));
    let mut wrong = Vec::new();
    for (text, good) in rows {
        write(&file, &format!("{text}\n"));
        let command = sshd.ssh_command().unwrap();
        let mut theirs = Command::new(command.get_program());
        let arguments = command.get_args();
        theirs.args(arguments.map(|argument| {
            if argument == sshd.identity() { ssh.key().path().as_os_str() } else { argument }
        }));
        theirs
            .arg("exit 7")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = soon(theirs.output()).await.unwrap();
        let theirs = output.status.code() != Some(255);
        let ours = lets_in(ssh.command(&ours)).await;
        if (theirs, ours) != (good, good) {
            wrong.push(format!("{text}: expected {good}, sshd {theirs}, ours {ours}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Options, and whether a peer at 127.0.0.1 gets in today.
const LINES: [(&str, bool); 40] = [
    ("", true),
    ("restrict", true),
    ("no-pty,no-port-forwarding,no-X11-forwarding,no-agent-forwarding,no-user-rc", true),
    ("NO-PTY", true),
    ("no-pty,", true),
    ("no-pty,,no-port-forwarding", true),
    ("no-such-option", false),
    ("no-restrict", false),
    ("from=\"127.0.0.1\"", true),
    ("from=\"127.0.0.0/8\"", true),
    ("from=\"127.0.0.*\"", true),
    ("from=\"127.?.?.1\"", true),
    ("from=\"10.0.0.0/8,127.0.0.1\"", true),
    ("from=\"10.0.0.0/8\"", false),
    ("from=\"*,!127.0.0.1\"", false),
    ("from=\"!127.0.0.1,*\"", false),
    ("from=\"*,!10.0.0.1\"", true),
    ("from=\"!10.0.0.1\"", false),
    ("from=\"127.0.0.1/8\"", false),
    ("from=\"127.0.0.1/33\"", false),
    ("from=\"\"", false),
    ("from=\"::1\"", false),
    ("from=\"a.example.com,127.0.0.1\"", true),
    ("from=127.0.0.1", false),
    ("from=\"127.0.0.1\",from=\"127.0.0.1\"", false),
    ("expiry-time=\"20200101\"", false),
    ("expiry-time=\"20990101\"", true),
    ("expiry-time=\"209901012359\"", true),
    ("expiry-time=\"20990101235959\"", true),
    ("expiry-time=\"20990101Z\"", true),
    ("expiry-time=\"20200101Z\"", false),
    ("expiry-time=\"20990101\",expiry-time=\"20200101\"", false),
    ("expiry-time=\"soon\"", false),
    ("environment=\"A=1\",environment=\"B_2=x y\"", true),
    ("environment=\"A\"", false),
    ("permitopen=\"localhost:80\",permitopen=\"[::1]:*\",permitlisten=\"8080\"", true),
    ("permitopen=\"80\"", false),
    ("permitopen=\"localhost:http-x\"", false),
    ("cert-authority", false),
    ("tunnel=\"3\"", true),
];
