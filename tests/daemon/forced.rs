//! What a key's line and a certificate force on a session.

use std::sync::Arc;

use libtest_mimic::Trial;
use ractor_ssh::login::AuthorizedKeys;
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::keys::{PublicKey, generate_ed25519};
use ractor_ssh::{DaemonConfig, ExecOutput, Router};
use tokio::net::TcpListener;

use crate::kit::{KeyKind, KeyPair, Peer, peer_test};
use crate::programs::router;
use crate::support::{Served, Ssh, USER, soon};

const NONE: [Peer; 0] = [];
const SSH: [Peer; 1] = [Peer::OpenSshClient];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("command_and_environment_of_a_line_are_forced", SSH, line),
        peer_test("command_is_forced_also_on_a_subsystem", SSH, subsystem),
        peer_test("one_option_of_a_line_takes_away_what_it_names_and_nothing_else", NONE, one_option),
        peer_test("permitopen_lets_ssh_w_reach_what_it_names_only", SSH, permit_open),
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

async fn subsystem() {
    let ssh = Ssh::new();
    let key = ssh.key().public_line().unwrap();
    let keys = AuthorizedKeys::parse(&format!("command=\"backup\" {key}"));
    let served = Served::bare(|config| telling(config).authorized_keys(keys)).await;
    for name in ["sftp", "no-such"] {
        let mut command = ssh.command(&served);
        let output = soon(command.args(["-s", "127.0.0.1", name]).output()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("backup "), "{text}");
    }
}

/// Forwards to any port; a socket that may be reached is told apart by its refusal.
fn forwarding(config: DaemonConfig) -> DaemonConfig {
    let router = router().forward_tcpip(|_| true);
    config.router(router.direct_streamlocal_async(|_| async {
        Err::<crate::programs::Program, _>(OpenFailureReason::ConnectFailed)
    }))
}

async fn one_option() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let here = format!("permitopen=\"{addr}\"");
    // Whether there is a terminal, whether the port and whether sockets can be reached.
    let table = [
        ("no-user-rc", true, true, true),
        ("no-pty", false, true, true),
        ("no-port-forwarding", true, false, false),
        (&here, true, true, false),
        ("permitopen=\"127.0.0.1:1\"", true, false, false),
        ("restrict", false, false, false),
    ];
    for (options, pty, port, socket) in table {
        let key = generate_ed25519();
        let line = format!("{options} {}", key.public_key().to_openssh().unwrap());
        let served =
            Served::bare(|config| forwarding(config).authorized_keys(AuthorizedKeys::parse(&line))).await;
        let mut handle = served.plain_unauthenticated().await;
        let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(key), None);
        assert!(soon(handle.authenticate_publickey(USER, key)).await.unwrap().success());

        let host = addr.ip().to_string();
        let opened = handle.channel_open_direct_tcpip(host, addr.port().into(), "127.0.0.1", 1);
        assert_eq!(soon(opened).await.is_ok(), port, "{options}");
        let refused = soon(handle.channel_open_direct_streamlocal("/run/any")).await.map(drop).unwrap_err();
        let russh::Error::ChannelOpenFailure(reason) = refused else { panic!("{refused:?}") };
        let reached = russh::ChannelOpenFailure::ConnectFailed;
        assert_eq!(reason == reached, socket, "{options}: {reason:?}");

        let mut session = soon(handle.channel_open_session()).await.unwrap();
        session.request_pty(true, "vt100", 80, 24, 0, 0, &[]).await.unwrap();
        let given = soon(async {
            loop {
                match session.wait().await.unwrap() {
                    russh::ChannelMsg::Success => return true,
                    russh::ChannelMsg::Failure => return false,
                    _ => {}
                }
            }
        });
        assert_eq!(given.await, pty, "{options}");
    }
}

async fn permit_open() {
    let ssh = Ssh::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let other = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (there, elsewhere) = (listener.local_addr().unwrap(), other.local_addr().unwrap());
    // Hangs up on everybody.
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let key = ssh.key().public_line().unwrap();
    let keys = AuthorizedKeys::parse(&format!("permitopen=\"{there}\" {key}"));
    let served = Served::bare(|config| forwarding(config).authorized_keys(keys)).await;
    for (addr, good) in [(there, true), (elsewhere, false)] {
        let mut command = ssh.command(&served);
        let output = soon(command.args(["-W", &addr.to_string(), "127.0.0.1"]).output()).await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(!stderr.contains("administratively prohibited"), good, "{stderr}");
        assert_eq!(output.status.success(), good, "{stderr}");
    }
}
