//! Logins to OpenSSH's `sshd`, with keys of `ssh-keygen` and its `ssh-agent`.
//!
//! Each connection is an `sshd -i` of its own that talks over pipes: no ports, nothing left running.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use russh::client::Handle;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::login;
use super::test_support::{Client, connect};
use crate::auth::{
    AgentMode, AttemptOutcome, Auth, AuthError, AuthMethod, Identity, IdentityFile, KeyboardInteractive,
    LoginSummary, Passphrase, Signer,
};
use crate::error::{BoxError, Origin};
use crate::wire::keys::{HashAlg, PrivateKey, PublicKey, SignBytes, Signature};

/// A private directory with a host key and what `sshd` needs; `None` where OpenSSH is not installed.
struct Sshd {
    dir: TempDir,
    user: String,
}

struct Connection {
    handle: Handle<Client>,
    /// Killed when dropped.
    _sshd: Child,
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    dirs.map(|dir| dir.join(tool)).find(|path| path.is_file())
}

impl Sshd {
    async fn new() -> Option<Self> {
        let missing = ["sshd", "ssh-keygen", "ssh-agent", "ssh-add"].into_iter().find(|t| find(t).is_none());
        if let Some(tool) = missing {
            assert!(std::env::var_os("REQUIRE_PEERS").is_none_or(|v| v != "1"), "{tool} is not installed");
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        let user = output(Command::new("id").arg("-un")).await.trim().to_owned();
        if user == "root" {
            // sshd's privilege separation wants it, and only the service would make it.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let sshd = Self { dir: TempDir::new().unwrap(), user };
        sshd.keygen("host", &["-t", "ed25519"], "").await;
        Some(sshd)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn keygen(&self, name: &str, kind: &[&str], passphrase: &str) -> PathBuf {
        let path = self.path(name);
        output(Command::new("ssh-keygen").args(kind).args(["-q", "-N", passphrase, "-f"]).arg(&path)).await;
        path
    }

    /// Lets these keys in; each test writes the file once.
    fn authorize(&self, keys: &[&Path]) {
        let lines = keys.iter().map(|key| std::fs::read_to_string(public(key)).unwrap());
        std::fs::write(self.path("authorized_keys"), lines.collect::<String>()).unwrap();
    }

    /// Signs a user's key with `ca`, for `user`; writes `KEY-cert.pub`.
    async fn certify(&self, ca: &Path, key: &Path) {
        let mut command = Command::new("ssh-keygen");
        command.arg("-q").arg("-s").arg(ca).args(["-I", "a certificate", "-n", &self.user]);
        output(command.arg(public(key))).await;
    }

    async fn connect(&self, options: &[&str]) -> Connection {
        let mut command = Command::new(find("sshd").unwrap());
        command.args(["-i", "-f", "/dev/null", "-E"]).arg(self.path("log"));
        let keys = format!("AuthorizedKeysFile={}", self.path("authorized_keys").display());
        let host = format!("HostKey={}", self.path("host").display());
        let fixed = ["UsePAM=no", "StrictModes=no", "PermitRootLogin=yes", "PasswordAuthentication=no"];
        for option in fixed.into_iter().chain([keys.as_str(), host.as_str()]).chain(options.iter().copied()) {
            command.args(["-o", option]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut sshd = command.spawn().unwrap();
        let stream = tokio::io::join(sshd.stdout.take().unwrap(), sshd.stdin.take().unwrap());
        Connection { handle: connect(stream).await, _sshd: sshd }
    }

    async fn login(&self, auth: &Auth, options: &[&str]) -> Result<LoginSummary, AuthError> {
        login(&mut self.connect(options).await.handle, &self.user, auth).await
    }

    /// Starts an agent; killed when the child is dropped.
    async fn agent(&self) -> (Child, PathBuf) {
        let socket = self.path("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).kill_on_drop(true);
        let mut agent = command.spawn().unwrap();
        let mut first_line = String::new();
        let mut stdout = BufReader::new(agent.stdout.take().unwrap());
        stdout.read_line(&mut first_line).await.unwrap();
        assert!(first_line.contains("SSH_AUTH_SOCK"), "{first_line}");
        (agent, socket)
    }
}

fn public(key: &Path) -> PathBuf {
    PathBuf::from(format!("{}.pub", key.display()))
}

async fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn ssh_add(socket: &Path, arguments: &[&Path]) {
    output(Command::new("ssh-add").env("SSH_AUTH_SOCK", socket).args(arguments)).await;
}

async fn load(path: &Path) -> Identity {
    Identity::load(path, Passphrase::none()).await.unwrap()
}

const ED25519: &[&str] = &["-t", "ed25519"];
const RSA: &[&str] = &["-t", "rsa", "-b", "2048"];
const KINDS: [&[&str]; 5] = [
    ED25519,
    RSA,
    &["-t", "ecdsa", "-b", "256"],
    &["-t", "ecdsa", "-b", "384"],
    &["-t", "ecdsa", "-b", "521"],
];

#[tokio::test]
async fn keys_of_every_kind_log_in_bare_and_with_a_certificate() {
    let Some(sshd) = Sshd::new().await else { return };
    let ca = sshd.keygen("ca", RSA, "").await;
    let trust = format!("TrustedUserCAKeys={}", public(&ca).display());
    for (number, kind) in KINDS.into_iter().enumerate() {
        let key = sshd.keygen(&format!("bare{number}"), kind, "").await;
        sshd.authorize(&[&key]);
        let summary = sshd.login(&Auth::new().identity(load(&key).await), &[]).await.unwrap();
        assert_eq!((summary.methods, summary.attempts), (vec![AuthMethod::PublicKey], 1), "{kind:?}");

        let key = sshd.keygen(&format!("certified{number}"), kind, "").await;
        sshd.certify(&ca, &key).await;
        let summary = sshd.login(&Auth::new().identity(load(&key).await), &[&trust]).await.unwrap();
        assert_eq!(summary.attempts, 1, "{kind:?}");
        assert!(summary.tried[0].with.contains("a certificate"), "{:?}", summary.tried);
    }
}

#[tokio::test]
async fn an_encrypted_file_is_opened_only_once_the_server_would_take_its_key() {
    let Some(sshd) = Sshd::new().await else { return };
    let stranger = sshd.keygen("stranger", ED25519, "a pass").await;
    let wanted = sshd.keygen("wanted", ED25519, "a pass").await;
    // PKCS#8 hides the public key, but ssh-keygen leaves it beside.
    let hidden = sshd.keygen("hidden", &["-t", "ecdsa", "-m", "PKCS8"], "a pass").await;
    sshd.authorize(&[&wanted, &hidden]);
    let asked = Arc::new(AtomicU32::new(0));
    let file = |path: &Path| {
        let asked = Arc::clone(&asked);
        IdentityFile::new(path).passphrase(Passphrase::ask(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            async { Some("a pass".into()) }
        }))
    };
    let auth = Auth::new().identity_file(file(&stranger)).identity_file(file(&wanted));
    for _ in 0..2 {
        let summary = sshd.login(&auth, &[]).await.unwrap();
        assert_eq!(summary.attempts, 2);
        assert_eq!(asked.load(Ordering::Relaxed), 1, "once for the wanted key, and never again");
    }
    sshd.login(&Auth::new().identity_file(file(&hidden)), &[]).await.unwrap();

    let wrong = IdentityFile::new(&wanted).passphrase(secrecy::SecretString::from("not it"));
    let missing = IdentityFile::new(sshd.path("missing"));
    let auth = Auth::new().identity_file(missing).identity_file(wrong);
    let error = sshd.login(&auth, &[]).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("wrong passphrase") && text.contains("cannot be read"), "{text}");
    assert_eq!((error.origin(), error.is_retryable()), (Origin::Local, false));
    assert!(!text.contains("not it"), "{text}");
}

#[tokio::test]
async fn an_agent_serves_keys_and_certificates_and_what_it_lost_is_passed_over() {
    let Some(sshd) = Sshd::new().await else { return };
    let ca = sshd.keygen("ca", ED25519, "").await;
    let trust = format!("TrustedUserCAKeys={}", public(&ca).display());
    let (_agent, socket) = sshd.agent().await;
    let auth = Auth::new().agent_at(AgentMode::Required, &socket);

    let error = sshd.login(&auth, &[]).await.unwrap_err();
    assert!(matches!(error, AuthError::Refused { .. }), "an empty agent is no help: {error}");

    let rsa = sshd.keygen("rsa", RSA, "").await;
    let stranger = sshd.keygen("stranger", ED25519, "").await;
    sshd.authorize(&[&rsa]);
    ssh_add(&socket, &[&stranger, &rsa]).await;
    let summary = sshd.login(&auth, &[]).await.unwrap();
    assert_eq!(summary.attempts, 2, "{:?}", summary.tried);
    assert!(summary.tried[1].with.contains("rsa-sha2-512"), "{:?}", summary.tried);

    let certified = sshd.keygen("certified", RSA, "").await;
    sshd.certify(&ca, &certified).await;
    ssh_add(&socket, &[Path::new("-D")]).await;
    ssh_add(&socket, &[&certified]).await;
    let summary = sshd.login(&auth, &[&trust]).await.unwrap();
    assert!(
        summary.tried.iter().any(|a| a.outcome == AttemptOutcome::Accepted && a.with.contains("certificate"))
    );
}

/// An agent that lists a key and then does not sign with it, as one does that asks its user.
async fn declining_agent(socket: PathBuf, key: PublicKey) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let blob = key.to_bytes().unwrap();
        let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        while let Ok(len) = stream.read_u32().await {
            let mut request = vec![0; usize::try_from(len).unwrap()];
            stream.read_exact(&mut request).await.unwrap();
            let answer = match request[0] {
                11 => [&[12, 0, 0, 0, 1][..], &string(&blob), &string(b"held back")].concat(),
                _ => vec![5],
            };
            stream.write_all(&string(&answer)).await.unwrap();
        }
    });
}

#[tokio::test]
async fn an_agent_that_declines_to_sign_moves_on_and_costs_no_attempt() {
    let Some(sshd) = Sshd::new().await else { return };
    let (held_back, key) = (sshd.keygen("held", ED25519, "").await, sshd.keygen("key", ED25519, "").await);
    sshd.authorize(&[&held_back, &key]);
    let socket = sshd.path("declining");
    declining_agent(socket.clone(), load(&held_back).await.public_key().clone()).await;
    let auth = Auth::new().agent_at(AgentMode::Required, socket).identity(load(&key).await);
    let summary = sshd.login(&auth, &["MaxAuthTries=1"]).await.unwrap();
    assert_eq!(summary.attempts, 1);
    assert!(summary.tried[0].to_string().contains("declined"), "{:?}", summary.tried);
}

#[tokio::test]
async fn a_missing_agent_is_passed_over_if_available_and_an_error_if_required() {
    let Some(sshd) = Sshd::new().await else { return };
    let key = sshd.keygen("key", ED25519, "").await;
    sshd.authorize(&[&key]);
    let nowhere = sshd.path("nowhere");
    let auth = Auth::new().agent_at(AgentMode::IfAvailable, &nowhere).identity(load(&key).await);
    let summary = sshd.login(&auth, &[]).await.unwrap();
    assert!(matches!(summary.tried[0].outcome, AttemptOutcome::Unusable(_)));
    let auth = Auth::new().agent_at(AgentMode::Required, &nowhere).identity(load(&key).await);
    let error = sshd.login(&auth, &[]).await.unwrap_err();
    assert!(matches!(error, AuthError::Agent { .. }) && error.to_string().contains("nowhere"), "{error}");
    assert_eq!((error.origin(), error.is_retryable()), (Origin::Local, false));
}

#[tokio::test]
async fn ten_keys_in_the_agent_leave_an_attempt_for_the_identity_after_them() {
    let Some(sshd) = Sshd::new().await else { return };
    let (_agent, socket) = sshd.agent().await;
    for number in 0..10 {
        let stranger = sshd.keygen(&format!("stranger{number}"), ED25519, "").await;
        ssh_add(&socket, &[&stranger]).await;
    }
    let key = sshd.keygen("key", ED25519, "").await;
    sshd.authorize(&[&key]);
    let auth = Auth::new().agent_at(AgentMode::Required, &socket).identity(load(&key).await);
    let summary = sshd.login(&auth, &["MaxAuthTries=6"]).await.unwrap();
    assert_eq!(summary.attempts, 6);

    let auth = Auth::new().agent_at(AgentMode::Required, &socket);
    let error = sshd.login(&auth.clone().max_attempts(5), &["MaxAuthTries=6"]).await.unwrap_err();
    assert!(matches!(error, AuthError::Refused { .. }) && error.to_string().contains("5 more"), "{error}");
    let error = sshd.login(&auth, &["MaxAuthTries=3"]).await.unwrap_err();
    assert!(matches!(error, AuthError::ConnectionLost { .. }), "sshd hangs up beyond its limit: {error}");
}

#[tokio::test]
async fn multi_step_logins_use_a_key_per_step() {
    let Some(sshd) = Sshd::new().await else { return };
    let (first, second) = (sshd.keygen("first", ED25519, "").await, sshd.keygen("second", RSA, "").await);
    sshd.authorize(&[&first, &second]);
    let two = "AuthenticationMethods=publickey,publickey";
    let one_key = Auth::new().identity(load(&first).await);
    let error = sshd.login(&one_key, &[two]).await.unwrap_err();
    assert!(error.to_string().contains("more is wanted"), "{error}");
    let both = one_key.identity(load(&second).await);
    let summary = sshd.login(&both, &[two]).await.unwrap();
    assert_eq!(summary.methods, [AuthMethod::PublicKey; 2]);

    let and_more = "AuthenticationMethods=publickey,keyboard-interactive";
    let auth = both.keyboard_interactive(KeyboardInteractive::new().prompter(|_| async { None }));
    let options = [and_more, "KbdInteractiveAuthentication=yes"];
    let error = sshd.login(&auth, &options).await.unwrap_err();
    let AuthError::Refused { tried, wanted, .. } = &error else { panic!("{error}") };
    assert_eq!(tried[0].outcome, AttemptOutcome::Partial);
    assert_eq!(wanted, &[AuthMethod::KeyboardInteractive]);
}

struct Token(PrivateKey);

impl Signer for Token {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign<'a>(&'a self, data: &'a [u8], _: Option<HashAlg>) -> BoxFuture<'a, Result<Signature, BoxError>> {
        Box::pin(async move { Ok(self.0.try_sign(data)?) })
    }
}

#[tokio::test]
async fn an_external_signer_logs_in() {
    let Some(sshd) = Sshd::new().await else { return };
    for (name, kind) in [("ed25519", ED25519), ("rsa", RSA)] {
        let key = sshd.keygen(name, kind, "").await;
        sshd.authorize(&[&key]);
        let token = Token(PrivateKey::from_openssh(std::fs::read(&key).unwrap()).unwrap());
        let summary = sshd.login(&Auth::new().signer(token), &[]).await.unwrap();
        assert_eq!(summary.attempts, 1, "{name}");
    }
}
