//! OpenSSH's client as the peer.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{Keepalive, RekeyLimit};
use ractor_ssh::{ExecOutput, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Peer, peer_test};
use crate::ours::{Report, Reports};
use crate::programs::{Check, byte_at, piece, router};
use crate::support::{Ssh, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let needs = Peer::OpenSshClient;
    vec![
        peer_test("ssh_gets_stdout_stderr_and_exit_status", [needs], streams_and_status),
        peer_test("ssh_gets_the_answer_of_a_function", [needs], function),
        peer_test("ssh_gets_back_16_mib_through_cat_byte_for_byte", [needs], big_cat),
        peer_test("ssh_streams_8_mib_both_ways_at_once", [needs], both_ways),
        peer_test("ssh_exchanges_keys_under_load_when_it_asks_and_when_the_daemon_does", [needs], rekeying),
        peer_test("ssh_is_refused_a_command_without_a_route", [needs], no_route),
        peer_test("ssh_is_refused_with_a_key_that_is_not_let_in", [needs], wrong_key),
        peer_test("ssh_shows_the_banner", [needs], banner),
        peer_test("ssh_passes_environment_and_terminal_to_the_route", [needs], env_and_pty),
        peer_test("ssh_ends_when_the_daemon_stops", [needs], stop),
        peer_test("an_idle_ssh_answers_keepalives_and_a_frozen_one_is_found_dead", [needs], keepalive),
    ]
}

async fn streams_and_status() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(7));
}

async fn function() {
    let ssh = Ssh::new();
    let answers = Router::new().exec_fn(|request| async move {
        ExecOutput::ok(format!("{} asked for {}\n", request.user, request.command()))
    });
    let served = ssh.serve(|config| config.router(answers)).await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "the", "time"]).output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alice asked for the time\n");
    assert!(output.status.success(), "{output:?}");
}

async fn big_cat() {
    const SIZE: usize = 16 << 20;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    let file = ssh.directory().join("input");
    std::fs::write(&file, piece(0, SIZE)).unwrap();
    let mut command = ssh.command(&served);
    command.args(["127.0.0.1", "cat"]).stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.len(), SIZE);
    let wrong = output.stdout.iter().enumerate().find(|(at, byte)| **byte != byte_at(*at));
    assert_eq!(wrong, None);
}

async fn both_ways() {
    const SIZE: usize = 8 << 20;
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    let mut command = ssh.command(&served);
    let mut child =
        command.args(["127.0.0.1", &format!("both {SIZE}")]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sending = tokio::spawn(async move {
        for from in (0..SIZE).step_by(64 << 10) {
            stdin.write_all(&piece(from, 64 << 10)).await.unwrap();
        }
    });
    let mut stdout = child.stdout.take().unwrap();
    let mut check = Check::default();
    let mut buffer = vec![0; 64 << 10];
    soon(async {
        loop {
            match stdout.read(&mut buffer).await.unwrap() {
                0 => break,
                len => check.take(&buffer[..len]),
            }
        }
    })
    .await;
    sending.await.unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!((check.seen, check.wrong), (SIZE, None));
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{SIZE} None"));
    assert!(output.status.success(), "{output:?}");
}

/// The client asks for new keys again and again, or the daemon does, while much goes both ways.
async fn rekeying() {
    const SIZE: usize = 24 << 20;
    let ssh = Ssh::new();
    let file = ssh.directory().join("input");
    std::fs::write(&file, piece(0, SIZE)).unwrap();
    for (ours, theirs) in [(None, "1M"), (Some(4 << 20), "1G")] {
        let served = ssh
            .serve(|config| match ours {
                Some(bytes) => {
                    config.router(router()).rekey(RekeyLimit::new(bytes, Duration::from_secs(3600)))
                }
                None => config.router(router()),
            })
            .await;
        let mut command = ssh.command(&served);
        command.args(["-v", "-o", &format!("RekeyLimit={theirs}"), "127.0.0.1", "cat"]);
        command.stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
        let output = soon(command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(output.stdout.len(), SIZE);
        assert_eq!(output.stdout.iter().enumerate().find(|(at, byte)| **byte != byte_at(*at)), None);
        let exchanges = said.matches("SSH2_MSG_NEWKEYS received").count();
        assert!(exchanges >= 4, "{exchanges} key exchanges: {said}");
    }
}

async fn no_route() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config).await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "anything"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("exec request failed"), "{stderr}");
}

async fn wrong_key() {
    let (ssh, other) = (Ssh::new(), Ssh::new());
    let served = other.serve(|config| config.router(router())).await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Permission denied (publickey)"), "{stderr}");
}

async fn banner() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router()).banner("Mind the step.\n")).await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "fail"]).output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Mind the step."), "{stderr}");
}

async fn env_and_pty() {
    let ssh = Ssh::new();
    let tells = Router::new().exec_fn(|request| async move {
        let pty = request.pty.map(|pty| pty.term);
        ExecOutput::ok(format!("{:?} {pty:?}", request.env))
    });
    let served = ssh.serve(|config| config.router(tells)).await;
    let mut command = ssh.command(&served);
    command.args(["-tt", "-o", "SetEnv=COLOR=blue", "127.0.0.1", "tell"]).env("TERM", "vt100");
    let output = soon(command.output()).await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "[(\"COLOR\", \"blue\")] Some(\"vt100\")");
}

async fn stop() {
    let ssh = Ssh::new();
    let served = ssh.serve(|config| config.router(router())).await;
    let mut child = ssh.command(&served).args(["127.0.0.1", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"x").await.unwrap();
    let mut one = [0];
    soon(child.stdout.as_mut().unwrap().read_exact(&mut one)).await.unwrap();
    soon(served.daemon.stop()).await;
    let output = soon(child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(tokio::net::TcpStream::connect(served.daemon.local_addr()).await.is_err());
}

/// Three times 300 ms of silence are an end: an idle client stays for longer because it answers.
async fn keepalive() {
    let every = Duration::from_millis(300);
    let ssh = Ssh::new();
    let reports = Reports::default();
    let sender = reports.sender();
    let served = ssh
        .serve(|config| {
            config
                .router(Router::new().exec(move |_| Report::new(&sender)))
                .keepalive(Keepalive::new(every, 3))
        })
        .await;
    let mut child = ssh.command(&served).args(["127.0.0.1", "x"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one").await.unwrap();
    assert_eq!(reports.next().await, "data one");
    tokio::time::sleep(every * 8).await;
    stdin.write_all(b"two").await.unwrap();
    assert_eq!(reports.next().await, "data two");

    let pid = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let frozen = std::time::Instant::now();
    assert_eq!(reports.next().await, "closed");
    assert!(frozen.elapsed() >= every * 2, "{:?}", frozen.elapsed());
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    child.wait().await.unwrap();
}
