//! Files that lead to a real server: what they say is what happens.

use std::path::PathBuf;

use libtest_mimic::Trial;
use ractor_ssh::error::Phase;
use ractor_ssh::host_key::HostKeyError;
use ractor_ssh::ssh_config::{Asked, Asking, SshConfig};
use ractor_ssh::{Client, ConnectError};

use crate::kit::{KeyKind, KeyPair, Peer, SshAgent, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    const AGENT: [Peer; 2] = [Peer::OpenSshServer, Peer::OpenSshAgent];
    vec![
        peer_test("applied::a_file_is_enough_to_connect", SERVER, connects),
        peer_test("applied::strict_host_key_checking_is_kept", SERVER, strict),
        peer_test("applied::a_host_key_alias_is_looked_up", SERVER, alias),
        peer_test("applied::accept_new_writes_a_hashed_name", SERVER, accept_new),
        peer_test("applied::algorithms_are_those_of_the_file", SERVER, algorithms),
        peer_test("applied::a_certificate_file_logs_in", SERVER, certificate),
        peer_test("applied::identities_only_takes_the_agents_keys_that_files_name", AGENT, identities_only),
        peer_test("applied::proxy_jump_leads_over_hosts_with_options_of_their_own", SERVER, jumps),
        peer_test("applied::a_proxy_command_leads_there", SERVER, command),
    ]
}

/// A file for the server, with these lines first.
fn write(sshd: &Sshd, first: &str) -> PathBuf {
    let file = sshd.directory().join("client_config");
    let text = format!(
        "{first}\nHost box\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile \"{}\"\n  IdentitiesOnly yes\n  \
         GlobalKnownHostsFile none\n  UserKnownHostsFile \"{}\"\n  StrictHostKeyChecking yes\n  ServerAliveInterval 5\n",
        sshd.port(),
        sshd.user(),
        sshd.identity().display(),
        sshd.known_hosts().display(),
    );
    std::fs::write(&file, text).unwrap();
    file
}

async fn client(sshd: &Sshd, first: &str) -> Client {
    let config = SshConfig::load_file(write(sshd, first)).await.unwrap_or_else(|error| panic!("{error}"));
    let options = config.resolve(&Asked::host("box")).unwrap();
    Client::new(options.client_config(&Asking::nobody()).unwrap().config)
}

async fn echo(client: Client) -> Vec<u8> {
    let connection = client.connect().await.unwrap_or_else(|error| panic!("{error}"));
    let output = connection.command("echo").arg("in").output().await.unwrap();
    connection.close().await;
    output.stdout.to_vec()
}

async fn connects() {
    let sshd = Sshd::builder().start().unwrap();
    assert_eq!(echo(client(&sshd, "").await).await, b"in\n");
}

async fn strict() {
    let sshd = Sshd::builder().start().unwrap();
    let empty = sshd.directory().join("empty");
    for policy in ["yes", "ask"] {
        let first = format!("StrictHostKeyChecking {policy}\nUserKnownHostsFile {}", empty.display());
        let error = client(&sshd, &first).await.connect().await.expect_err("an unknown key");
        assert!(matches!(error, ConnectError::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    }
    assert!(!empty.exists());
}

async fn alias() {
    let sshd = Sshd::builder().start().unwrap();
    let known = sshd.directory().join("aliased");
    std::fs::write(&known, format!("gate {}\n", sshd.host_keys()[0].public_fields().unwrap())).unwrap();
    let file = format!("UserKnownHostsFile {}", known.display());
    assert_eq!(echo(client(&sshd, &format!("{file}\nHostKeyAlias Gate")).await).await, b"in\n");
    for other in [file.clone(), format!("{file}\nHostKeyAlias other")] {
        let error = client(&sshd, &other).await.connect().await.expect_err("another name");
        assert!(matches!(error, ConnectError::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    }
}

async fn accept_new() {
    let sshd = Sshd::builder().start().unwrap();
    let fresh = sshd.directory().join("fresh");
    let file = format!("UserKnownHostsFile {}", fresh.display());
    let first = format!("StrictHostKeyChecking accept-new\nHashKnownHosts yes\n{file}");
    assert_eq!(echo(client(&sshd, &first).await).await, b"in\n");
    assert!(std::fs::read_to_string(&fresh).unwrap().starts_with("|1|"));
    assert_eq!(echo(client(&sshd, &file).await).await, b"in\n", "known from now on");
    // No file at all: taken, and written nowhere.
    for file in ["none", "/dev/null"] {
        let nowhere = format!("StrictHostKeyChecking accept-new\nUserKnownHostsFile {file}");
        assert_eq!(echo(client(&sshd, &nowhere).await).await, b"in\n");
    }
}

async fn algorithms() {
    let sshd = Sshd::builder().config("Ciphers aes128-ctr").config("MACs hmac-sha2-512").start().unwrap();
    let good =
        "Ciphers aes128-ctr\nMACs ^hmac-sha2-512\nKexAlgorithms -*nist*\nHostKeyAlgorithms ssh-ed25519";
    assert_eq!(echo(client(&sshd, good).await).await, b"in\n");
    for bad in ["Ciphers -aes128-ctr", "MACs hmac-sha2-256", "HostKeyAlgorithms rsa-sha2-512"] {
        let error = client(&sshd, bad).await.connect().await.expect_err(bad);
        assert_eq!(error.phase(), Phase::Kex, "{error:?}");
    }
}

async fn certificate() {
    let sshd = Sshd::builder().trust_user_ca().config("AuthorizedKeysFile none").start().unwrap();
    let authority = sshd.user_ca().unwrap();
    authority.certify_user(sshd.user_key(), &[sshd.user()], "-5m:+1h", &[]).unwrap();
    let beside = PathBuf::from(format!("{}-cert.pub", sshd.identity().display()));
    let elsewhere = sshd.directory().join("elsewhere.pub");
    std::fs::rename(beside, &elsewhere).unwrap();
    assert!(client(&sshd, "").await.connect().await.is_err(), "the bare key is not let in");
    let first = format!("CertificateFile {}", elsewhere.display());
    assert_eq!(echo(client(&sshd, &first).await).await, b"in\n");
}

async fn identities_only() {
    let sshd = Sshd::builder().start().unwrap();
    let other = KeyPair::generate(sshd.directory().join("other"), KeyKind::Ed25519).unwrap();
    let agent = SshAgent::start(sshd.directory()).await;
    agent.add(other.path()).await;
    agent.add(sshd.identity()).await;
    let file = write(&sshd, "");
    let own = format!("\"{}\"", sshd.identity().display());
    let named = sshd.directory().join("named.pub");
    // Of the keys, only the public half of one is named: the agent has to sign.
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(&own, &format!("\"{}\"", named.display()));
    std::fs::write(&file, format!("IdentityAgent {}\n{text}", agent.socket().display())).unwrap();
    let client = async |public: &str| {
        std::fs::copy(public, &named).unwrap();
        let config = SshConfig::load_file(&file).await.unwrap();
        let applied = config.client(&Asked::host("box"), &Asking::nobody()).await.unwrap();
        assert_eq!(applied.notes(), Vec::<String>::new());
        Client::new(applied.config)
    };
    assert_eq!(echo(client(&format!("{}.pub", sshd.identity().display())).await).await, b"in\n");
    assert_eq!(sshd.log().matches("Accepted key").count(), 2, "no other key was offered");
    let error = client(&format!("{}.pub", other.path().display())).await.connect().await;
    let error = error.expect_err("the key that would do is not named").to_string();
    assert!(error.contains(&other.fingerprint().unwrap()), "the one that is named was offered: {error}");
}

/// Lines for a host of that name, reached at this server, with these lines first.
fn block(name: &str, sshd: &Sshd, first: &str) -> String {
    format!(
        "Host {name}\n  {first}\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile \"{}\"\n  \
         UserKnownHostsFile \"{}\"\n",
        sshd.port(),
        sshd.user(),
        sshd.identity().display(),
        sshd.known_hosts().display(),
    )
}

const ALL: &str = "Host *\n  IdentitiesOnly yes\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n";

async fn jumps() {
    let [outer, inner, target] = [(); 3].map(|()| Sshd::builder().start().unwrap());
    let text = [
        block("box", &target, "ProxyJump inner"),
        block("inner", &inner, "ProxyJump outer"),
        block("outer", &outer, "ServerAliveInterval 7"),
        ALL.to_owned(),
    ]
    .concat();
    let config = SshConfig::parse(&text).unwrap();
    let applied = config.client(&Asked::host("box"), &Asking::nobody()).await.unwrap();
    let names: Vec<_> = applied.hops.iter().map(|hop| hop.options.asked().to_owned()).collect();
    assert_eq!(names, ["outer", "inner"]);
    assert_eq!(echo(Client::new(applied.config)).await, b"in\n");
    for sshd in [&outer, &inner, &target] {
        assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
    }
    // The same by a list on the command line: then what `inner` says of its way does not hold.
    let asked = Asked::host("box").option("ProxyJump=outer,inner");
    let applied = config.client(&asked, &Asking::nobody()).await.unwrap();
    assert_eq!(applied.hops.len(), 2);
    assert_eq!(echo(Client::new(applied.config)).await, b"in\n");
    assert_eq!(outer.log().matches("Accepted publickey").count(), 2);
}

async fn command() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = "ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3' %%";
    let text = [block("box", &sshd, proxy), ALL.to_owned()].concat();
    let config = SshConfig::parse(&text).unwrap();
    let applied = config.client(&Asked::host("box"), &Asking::nobody()).await.unwrap();
    assert_eq!(echo(Client::new(applied.config)).await, b"in\n");
}
