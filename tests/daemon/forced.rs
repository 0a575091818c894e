//! What a key's line and a certificate force on a session.

use libtest_mimic::Trial;
use ractor_ssh::login::AuthorizedKeys;
use ractor_ssh::wire::keys::PublicKey;
use ractor_ssh::{DaemonConfig, ExecOutput, Router};

use crate::kit::{KeyKind, KeyPair, Peer, peer_test};
use crate::support::{Served, Ssh, soon};

const SSH: [Peer; 1] = [Peer::OpenSshClient];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("command_and_environment_of_a_line_are_forced", SSH, line),
        peer_test("the_force_command_of_a_certificate_is_forced_also_on_a_shell", SSH, certificate),
    ]
}

/// Answers every command with its text and its variables.
fn telling(config: DaemonConfig) -> DaemonConfig {
    config.router(Router::new().exec_fn(|request| async move {
        ExecOutput::ok(format!("{} {:?}", request.command(), request.environment))
    }))
}

async fn told(ssh: &Ssh, served: &Served, command: &[&str]) -> String {
    let output = soon(ssh.command(served).arg("127.0.0.1").args(command).output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn line() {
    let ssh = Ssh::new();
    let key = ssh.key().public_line().unwrap();
    let keys = AuthorizedKeys::parse(&format!("command=\"backup\",environment=\"ROLE=b\" {key}"));
    let served = Served::bare(|config| telling(config).authorized_keys(keys)).await;
    let text = told(&ssh, &served, &["rm", "-rf"]).await;
    assert!(text.starts_with("backup "), "{text}");
    assert!(text.contains("(\"ROLE\", \"b\")"), "{text}");
    assert!(text.contains("(\"SSH_ORIGINAL_COMMAND\", \"rm -rf\")"), "{text}");
}

async fn certificate() {
    let ssh = Ssh::new();
    let authority = KeyPair::generate(ssh.directory().join("ca"), KeyKind::Ed25519).unwrap();
    authority.certify_user(ssh.key(), &["alice"], "+1h", &["-O", "force-command=backup"]).unwrap();
    let ca = PublicKey::from_openssh(&authority.public_line().unwrap()).unwrap();
    let served = Served::bare(|config| telling(config).trusted_user_ca(&ca)).await;
    assert!(told(&ssh, &served, &["rm"]).await.starts_with("backup "));
    assert!(told(&ssh, &served, &[]).await.starts_with("backup "), "a shell was asked for");
}
