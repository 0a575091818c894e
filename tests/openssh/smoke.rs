//! The kit itself: a server that starts, lets the OpenSSH client in, and leaves nothing behind.

use std::io;
use std::net::TcpStream;
use std::process::{Output, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::kit::{KeyKind, Peer, Sshd, Verdict, execute, is_running, peer_test, verdict};

const BOTH: [Peer; 2] = [Peer::OpenSshServer, Peer::OpenSshClient];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("smoke::the_openssh_client_runs_a_command", BOTH, runs_a_command),
        peer_test("smoke::every_kind_of_host_and_user_key_works", BOTH, every_kind_of_key_works),
        peer_test("smoke::a_host_certificate_is_enough_for_the_client", BOTH, host_certificate_is_enough),
        peer_test("smoke::a_user_certificate_is_enough_for_the_server", BOTH, user_certificate_is_enough),
        peer_test("smoke::config_lines_replace_the_kits_own", BOTH, config_lines_replace),
        peer_test("smoke::a_wrong_config_line_is_an_error_with_the_log", BOTH, wrong_line_is_an_error),
        peer_test("smoke::a_stopped_server_answers_only_after_cont", BOTH, stopped_server_is_silent),
        peer_test("smoke::killed_sessions_leave_the_listener", BOTH, killed_sessions_leave_the_listener),
        peer_test("smoke::a_killed_server_restarts_on_its_port", BOTH, killed_server_restarts),
        peer_test("smoke::dropping_the_server_ends_orphaned_commands", BOTH, drop_ends_orphans),
        peer_test("smoke::a_failure_carries_the_server_log", BOTH, failure_carries_the_log),
        Trial::test("smoke::a_trial_that_never_yields_is_ended", trial_that_blocks_is_ended),
        Trial::test("smoke::a_missing_peer_is_ignored_or_an_error", missing_peer),
    ]
}

/// The client's output; its errors come with the test's.
async fn ssh(server: &Sshd, arguments: &[&str]) -> io::Result<Output> {
    let mut command = tokio::process::Command::from(server.ssh_command()?);
    command.args(arguments).stderr(Stdio::inherit()).kill_on_drop(true).output().await
}

async fn expect_hi(server: &Sshd) -> io::Result<()> {
    let output = ssh(server, &["echo hi"]).await?;
    if output.status.success() && output.stdout == b"hi\n" {
        return Ok(());
    }
    Err(io::Error::other(format!("not `hi`: {output:?}")))
}

async fn runs_a_command() -> io::Result<()> {
    let server = Sshd::builder().start()?;
    expect_hi(&server).await?;
    assert!(server.log().contains("Accepted publickey"), "the log says who came in");
    let fingerprint = server.user_key().fingerprint()?;
    assert!(server.log().contains(&fingerprint), "the log names the key");
    Ok(())
}

async fn every_kind_of_key_works() -> io::Result<()> {
    let kinds = [KeyKind::Rsa2048, KeyKind::EcdsaP256, KeyKind::Ed25519];
    for user_key in kinds {
        let server = Sshd::builder().host_keys(&kinds).user_key(user_key).start()?;
        assert_eq!(server.host_keys().len(), kinds.len());
        expect_hi(&server).await?;
    }
    Ok(())
}

async fn host_certificate_is_enough() -> io::Result<()> {
    let server = Sshd::builder().host_certificates().start()?;
    let known = std::fs::read_to_string(server.known_hosts())?;
    assert!(known.starts_with("@cert-authority [127.0.0.1]:"), "{known}");
    expect_hi(&server).await
}

async fn user_certificate_is_enough() -> io::Result<()> {
    let server = Sshd::builder().trust_user_ca().config("AuthorizedKeysFile none").start()?;
    assert!(expect_hi(&server).await.is_err(), "the bare key is not let in");
    let authority = server.user_ca().expect("asked for above");
    authority.certify_user(server.user_key(), &[server.user()], "-5m:+1h", &[])?;
    expect_hi(&server).await
}

async fn config_lines_replace() -> io::Result<()> {
    let server = Sshd::builder()
        .config("AcceptEnv KIT_ONLY")
        .config("SetEnv KIT_SET=1")
        .max_sessions(3)
        .rekey_limit("64K")
        .config("Match User nobody-of-this-name")
        .config("ForceCommand false")
        .start()?;
    let output = ssh(&server, &["echo $KIT_SET"]).await?;
    assert_eq!(output.stdout, b"1\n");
    Ok(())
}

async fn wrong_line_is_an_error() {
    let error = Sshd::builder().config("NoSuchKeyword yes").start().expect_err("sshd refuses to start");
    assert!(error.to_string().contains("NoSuchKeyword"), "{error}");
}

async fn stopped_server_is_silent() -> io::Result<()> {
    let server = Sshd::builder().start()?;
    let stopped = server.stop_cont();
    let mut command = tokio::process::Command::from(server.ssh_command()?);
    let mut client = command.arg("echo hi").stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let early = tokio::time::timeout(Duration::from_millis(300), client.wait()).await;
    assert!(early.is_err(), "a stopped server lets nobody in: {early:?}");
    drop(stopped);
    assert!(client.wait().await?.success(), "it does once it goes on");
    Ok(())
}

/// A session whose command waits for ever; ready once the command has spoken.
async fn long_session(server: &Sshd) -> io::Result<(tokio::process::Child, i32)> {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut command = tokio::process::Command::from(server.ssh_command()?);
    command.arg("echo $$; exec sleep 1000").stdout(Stdio::piped()).kill_on_drop(true);
    let mut client = command.spawn()?;
    let mut line = String::new();
    let stdout = client.stdout.take().expect("piped above");
    BufReader::new(stdout).read_line(&mut line).await?;
    let pid = line.trim().parse().map_err(|error| io::Error::other(format!("pid {line:?}: {error}")))?;
    Ok((client, pid))
}

/// Waits for a change the kernel makes; the trial's time limit ends it.
async fn becomes_true(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn killed_sessions_leave_the_listener() -> io::Result<()> {
    let server = Sshd::builder().start()?;
    let (mut client, command) = long_session(&server).await?;
    assert!(server.pids().contains(&command), "the command belongs to the server");
    server.kill_sessions();
    assert!(!client.wait().await?.success(), "the client lost its connection");
    expect_hi(&server).await
}

async fn killed_server_restarts() -> io::Result<()> {
    let server = Sshd::builder().start()?;
    let (mut client, _) = long_session(&server).await?;
    server.kill();
    assert!(!client.wait().await?.success(), "the client lost its connection");
    assert!(TcpStream::connect(server.addr()).is_err(), "nobody listens");
    server.restart()?;
    expect_hi(&server).await
}

async fn drop_ends_orphans() -> io::Result<()> {
    let server = Sshd::builder().start()?;
    let (mut client, command) = long_session(&server).await?;
    let listener = server.pids()[0];
    client.kill().await?;
    becomes_true(|| server.pids() == [listener, command]).await;
    assert!(is_running(command), "sshd leaves a command without a terminal alone");
    drop(server);
    assert!(!is_running(listener));
    becomes_true(|| !is_running(command)).await;
    Ok(())
}

async fn failure_carries_the_log() {
    let outcome = tokio::task::spawn_blocking(|| {
        execute(Duration::from_secs(30), "inner", || async {
            let server = Sshd::builder().start()?;
            expect_hi(&server).await?;
            Err(io::Error::other("on purpose"))
        })
    });
    let message = outcome.await.expect("no panic").expect_err("the body fails");
    assert!(message.contains("on purpose") && message.contains("Accepted publickey"), "{message}");
}

fn trial_that_blocks_is_ended() -> Result<(), Failed> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let outcome = execute(Duration::from_millis(50), "inner", move || async move {
        let _ = held.recv();
    });
    drop(release);
    let message = outcome.err().ok_or("it was not ended")?;
    if message.contains("not done after 50ms") { Ok(()) } else { Err(message.into()) }
}

fn missing_peer() -> Result<(), Failed> {
    let missing = ["no plink, install putty-tools".to_owned()];
    let ignored = verdict(&missing, false) == Verdict::Ignore(missing[0].clone());
    let failed =
        matches!(verdict(&missing, true), Verdict::Fail(text) if text.contains("install putty-tools"));
    let runs = verdict(&[], true) == Verdict::Run;
    if ignored && failed && runs { Ok(()) } else { Err("a wrong verdict".into()) }
}
