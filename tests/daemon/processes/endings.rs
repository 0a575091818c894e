//! What becomes of a process when its channel ends first, and of what a process leaves behind.

use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::wire::PtyRequest;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;

use super::{WAITING, processes, run, served, served_to_us, text, until, until_gone, until_written};
use crate::kit::{Peer, is_running, peer_test};
use crate::support::soon;

const NONE: [Peer; 0] = [];
const SHORT: Duration = Duration::from_millis(300);

pub(super) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient];
    vec![
        peer_test("process::a_closed_channel_hangs_the_process_up", NONE, hang_up),
        peer_test("process::a_lost_connection_hangs_a_terminal_up", NONE, lost),
        peer_test("process::who_ignores_sighup_gets_sigkill_after_the_grace", NONE, stubborn),
        peer_test("process::the_whole_group_ends_with_the_channel", NONE, whole_group),
        peer_test("process::the_job_in_the_foreground_ends_with_its_terminal", NONE, foreground),
        peer_test("process::a_stopped_process_ends_with_its_channel", NONE, stopped),
        peer_test("process::a_stopped_daemon_ends_its_processes", NONE, daemon_stops),
        peer_test("process::a_client_killed_amid_a_transfer_leaves_nothing", needs, killed_client),
        peer_test("process::a_background_process_does_not_hold_the_channel", needs, background),
        peer_test("process::late_output_of_a_background_process_is_waited_for", NONE, late_output),
        peer_test("process::the_background_ends_with_the_command_if_so_configured", NONE, end_background),
        peer_test("process::a_terminal_ends_with_its_shell", needs, terminal_background),
    ]
}

fn file(directory: &tempfile::TempDir) -> (std::path::PathBuf, String) {
    let path = directory.path().join("told");
    let shell = format!("'{}'", path.display());
    (path, shell)
}

async fn told_pid(path: &Path) -> i32 {
    until_written(path).await.trim().parse().unwrap()
}

async fn hang_up() {
    let processes = processes();
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    let line = format!("trap 'echo hup > {shell}; exit' HUP; {WAITING}");
    let mut child = conn.exec(line).spawn().await.unwrap();
    soon(child.stdout.as_mut().unwrap().read_exact(&mut [0; 6])).await.unwrap();
    child.hang_up();
    assert_eq!(until_written(&told).await, "hup\n");
    soon(processes.ended()).await;
    // The connection is as it was.
    assert!(soon(conn.exec("true").status()).await.unwrap().success());
    soon(conn.close()).await;
}

async fn lost() {
    let processes = processes();
    let served = served_to_us(&processes).await;
    let conn = served.connect_plain().await;
    let channel = conn.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    channel.exec(true, format!("echo $$ > {shell}; exec sleep 1000")).await.unwrap();
    let pid = told_pid(&told).await;
    drop((channel, conn));
    until_gone(pid).await;
    soon(processes.ended()).await;
}

async fn stubborn() {
    let processes = processes().kill_grace(SHORT);
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    let line = format!("trap '' HUP TERM; echo $$ > {shell}; while :; do sleep 1000; done");
    let child = conn.exec(line).spawn().await.unwrap();
    let pid = told_pid(&told).await;
    let began = Instant::now();
    child.hang_up();
    soon(conn.close()).await;
    until_gone(pid).await;
    assert!(began.elapsed() >= SHORT, "it had {:?}", began.elapsed());
    soon(processes.ended()).await;
}

/// The leader goes with SIGHUP at once; the other one must not be forgotten.
async fn whole_group() {
    let processes = processes().kill_grace(SHORT);
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    let line = format!("(trap '' HUP; exec sleep 1000) & echo $! > {shell}; exec sleep 1000");
    let child = conn.exec(line).spawn().await.unwrap();
    let pid = told_pid(&told).await;
    child.hang_up();
    until_gone(pid).await;
    soon(processes.ended()).await;
    soon(conn.close()).await;
}

async fn foreground() {
    let processes = processes().kill_grace(SHORT);
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    // With job control, as in an interactive shell, the job has a group of its own.
    let line = format!("set -m; sh -c \"trap '' HUP; echo \\$\\$ > {shell}; exec sleep 1000\"");
    let child = conn.exec(line).pty(PtyRequest::new("xterm")).spawn().await.unwrap();
    let pid = told_pid(&told).await;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group: i32 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert_eq!(group, pid, "{stat}");
    child.hang_up();
    until_gone(pid).await;
    soon(processes.ended()).await;
    soon(conn.close()).await;
}

async fn stopped() {
    let processes = processes().kill_grace(Duration::from_secs(20));
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    let child = conn.exec(format!("echo $$ > {shell}; kill -STOP $$; sleep 1000")).spawn().await.unwrap();
    let pid = told_pid(&told).await;
    let began = Instant::now();
    child.hang_up();
    until_gone(pid).await;
    soon(processes.ended()).await;
    assert!(began.elapsed() < Duration::from_secs(15));
    soon(conn.close()).await;
}

async fn daemon_stops() {
    let processes = processes();
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let (told, shell) = file(&directory);
    let _child = conn.exec(format!("echo $$ > {shell}; exec sleep 1000")).spawn().await.unwrap();
    let pid = told_pid(&told).await;
    assert_eq!(processes.running(), 1);
    soon(served.daemon.stop()).await;
    soon(processes.ended()).await;
    assert!(!is_running(pid));
}

async fn killed_client() {
    let processes = processes();
    let (ssh, served) = served(&processes).await;
    for terminal in ["-T", "-tt"] {
        let mut command = ssh.command(&served);
        let mut child = command.args([terminal, "127.0.0.1", "cat /dev/zero"]).spawn().unwrap();
        let mut some = vec![0; 1 << 20];
        soon(child.stdout.as_mut().unwrap().read_exact(&mut some)).await.unwrap();
        assert_eq!(processes.running(), 1);
        soon(child.kill()).await.unwrap();
        soon(processes.ended()).await;
    }
}

async fn background() {
    let processes = processes().linger(SHORT);
    let (ssh, served) = served(&processes).await;
    let output = run(&ssh, &served, &["127.0.0.1", "sleep 1000 & echo $!; exit 3"], b"").await;
    assert_eq!(output.status.code(), Some(3));
    let pid: i32 = text(&output.stdout).trim().parse().unwrap();
    // It lives on, as with OpenSSH.
    soon(processes.ended()).await;
    assert!(is_running(pid));
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

async fn late_output() {
    let served = served_to_us(&processes().linger(Duration::from_secs(20))).await;
    let conn = served.connect().await;
    let output = soon(conn.exec("(sleep 0.3; echo late) & echo early").output()).await.unwrap();
    assert_eq!((&*output.stdout_text(), output.status.code()), ("early\nlate\n", Some(0)));
    soon(conn.close()).await;
}

async fn end_background() {
    let processes = processes().linger(SHORT).kill_grace(SHORT).end_background(true);
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let line = "(trap '' HUP; exec sleep 1000) & echo $!";
    let output = soon(conn.exec(line).output()).await.unwrap();
    until_gone(output.stdout_text().trim().parse().unwrap()).await;
    soon(processes.ended()).await;
    soon(conn.close()).await;
}

/// A process of the background that has the terminal open does not keep it.
async fn terminal_background() {
    let processes = processes().linger(Duration::from_secs(600));
    let (ssh, served) = served(&processes).await;
    let line = "set -m; sh -c \"trap '' HUP; exec sleep 1000\" & sleep 0.1; echo $!; seq 1 5000; exit 4";
    let output = run(&ssh, &served, &["-tt", "127.0.0.1", line], b"").await;
    assert_eq!(output.status.code(), Some(4));
    let stdout = text(&output.stdout);
    let pid = stdout.lines().find_map(|line| line.trim().parse().ok()).unwrap();
    assert!(stdout.trim_end().ends_with("5000"), "{stdout}");
    until("its life goes on", || async move { is_running(pid).then_some(()) }).await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}
