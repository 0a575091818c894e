//! Several host keys, and host certificates.

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::wire::keys::{Certificate, PrivateKey, generate_ed25519};
use ractor_ssh::{Client, ClientConfig, Daemon, DaemonConfig};
use tokio::process::Command;

use crate::kit::{KeyKind, KeyPair, Peer, peer_test, require_program};
use crate::programs::router;
use crate::support::{USER, soon};

const SSH: [Peer; 1] = [Peer::OpenSshClient];
const KINDS: [(KeyKind, &str); 3] = [
    (KeyKind::Ed25519, "ssh-ed25519"),
    (KeyKind::EcdsaP256, "ecdsa-sha2-nistp256"),
    (KeyKind::Rsa2048, "rsa-sha2-512"),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("of_several_host_keys_the_client_chooses_by_algorithm", SSH, several),
        peer_test("a_client_that_knows_the_authority_takes_the_host_certificate", SSH, certificates),
        peer_test("a_certificate_without_its_host_key_does_not_start", SSH, wrong_certificate),
    ]
}

struct Hosts {
    directory: tempfile::TempDir,
    keys: Vec<KeyPair>,
    authority: KeyPair,
}

impl Hosts {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = KeyPair::generate(path("ca"), KeyKind::Ed25519).unwrap();
        let keys = KINDS.map(|(kind, name)| KeyPair::generate(path(name), kind).unwrap()).into();
        Self { directory, keys, authority }
    }

    fn certificate(&self, key: &KeyPair, host: &str) -> Certificate {
        let path = self.authority.certify_host(key, &[host], "+1h").unwrap();
        Certificate::read_file(&path).unwrap()
    }

    fn config(&self) -> DaemonConfig {
        let config = DaemonConfig::new(([127, 0, 0, 1], 0)).router(router()).danger_let_anyone_in();
        self.keys
            .iter()
            .fold(config, |config, key| config.host_key(PrivateKey::read_openssh_file(key.path()).unwrap()))
    }

    /// Whether OpenSSH's client, with this line in known_hosts and this algorithm, trusts the daemon.
    async fn trusted(&self, line: &str, algorithm: &str, port: u16) -> bool {
        let known_hosts = self.directory.path().join("known_hosts");
        std::fs::write(&known_hosts, format!("{line}\n")).unwrap();
        let mut command = Command::new(require_program("ssh").unwrap());
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        command.args(["-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentityFile=none"]);
        command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", known_hosts.display()));
        command.arg("-o").arg(format!("HostKeyAlgorithms={algorithm}"));
        command.args(["-p", &port.to_string(), "-l", USER, "127.0.0.1", "fail"]).env_remove("SSH_AUTH_SOCK");
        let output = soon(command.stdin(std::process::Stdio::null()).output()).await.unwrap();
        match output.status.code() {
            Some(7) => true,
            Some(255) => false,
            _ => panic!("{output:?}"),
        }
    }
}

async fn several() {
    let hosts = Hosts::new();
    let daemon = Daemon::start(hosts.config()).await.unwrap();
    let port = daemon.local_addr().port();
    for (at, (_, algorithm)) in KINDS.iter().enumerate() {
        for (other, key) in hosts.keys.iter().enumerate() {
            let line = format!("[127.0.0.1]:{port} {}", key.public_fields().unwrap());
            assert_eq!(hosts.trusted(&line, algorithm, port).await, at == other, "{algorithm} with {line}");
        }
    }
}

async fn certificates() {
    let hosts = Hosts::new();
    let certified = hosts
        .keys
        .iter()
        .fold(hosts.config(), |config, key| config.host_certificate(hosts.certificate(key, "127.0.0.1")));
    let daemon = Daemon::start(certified).await.unwrap();
    let port = daemon.local_addr().port();
    let authority = hosts.authority.public_fields().unwrap();
    let line = format!("@cert-authority [127.0.0.1]:{port} {authority}");
    for (key, (_, algorithm)) in hosts.keys.iter().zip(KINDS) {
        let certificate = format!("{algorithm}-cert-v01@openssh.com");
        assert!(hosts.trusted(&line, &certificate, port).await, "{certificate}");
        let plain = format!("[127.0.0.1]:{port} {}", key.public_fields().unwrap());
        assert!(hosts.trusted(&plain, algorithm, port).await, "{algorithm}, for those who know the key");
    }
    let file = hosts.directory.path().join("ours");
    std::fs::write(&file, format!("{line}\n")).unwrap();
    let config = ClientConfig::new("127.0.0.1", USER)
        .port(port)
        .auth(Auth::new().none().identity(Identity::from_private_key(generate_ed25519())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([file])));
    let conn = soon(Client::new(config).connect()).await.unwrap();
    soon(conn.close()).await;

    let elsewhere = hosts
        .keys
        .iter()
        .fold(hosts.config(), |config, key| config.host_certificate(hosts.certificate(key, "example.com")));
    let daemon = Daemon::start(elsewhere).await.unwrap();
    let port = daemon.local_addr().port();
    let line = format!("@cert-authority [127.0.0.1]:{port} {authority}");
    assert!(!hosts.trusted(&line, "ssh-ed25519-cert-v01@openssh.com", port).await, "for another host");
}

async fn wrong_certificate() {
    let hosts = Hosts::new();
    let field = |certificate: Certificate, key: PrivateKey| {
        let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(key).host_certificate(certificate);
        config.check().unwrap_err().field
    };
    let key = PrivateKey::read_openssh_file(hosts.keys[0].path()).unwrap();
    let certificate = hosts.certificate(&hosts.keys[0], "127.0.0.1");
    assert_eq!(field(certificate, generate_ed25519()), "host_certificate");
    let path = hosts.authority.certify_user(&hosts.keys[0], &["alice"], "+1h", &[]).unwrap();
    assert_eq!(field(Certificate::read_file(&path).unwrap(), key), "host_certificate");
}
