//! Ready-made channels against a real server: results, streams, cancellation.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::config::{ChannelOptions, Limits};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::session::{CommandError, EnvPolicy, OnCancel, Stdin, Stdio};
use ractor_ssh::wire::request::ExitStatus;
use ractor_ssh::wire::signal::Signal;
use ractor_ssh::{Client, ClientConfig, ConnectionRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::error::Elapsed;

use crate::kit::{Peer, Sshd, is_running, peer_test};

mod leaks;
mod streams;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const MIB: usize = 1 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(peer_test(concat!("session::", stringify!($name)), Peer::OpenSshServer, $name)),*]
        };
    }
    let here = trials![
        output_has_both_streams_and_the_status,
        arguments_arrive_byte_for_byte,
        a_cap_truncates_and_counts_and_the_command_goes_on,
        stdin_bytes_beyond_the_high_water_mark_arrive_whole,
        stdin_from_a_reader_arrives_whole,
        a_reader_that_fails_is_the_commands_error_and_sends_no_eof,
        echo_beyond_every_budget_does_not_lock_up,
        one_stream_can_be_read_while_nobody_reads_the_other,
        waiting_does_not_wait_for_streams_nobody_can_read,
        a_late_reader_gets_everything,
        a_child_can_be_talked_to,
        wait_with_output_has_what_was_not_yet_read,
        dropping_stdin_is_eof_and_loses_nothing,
        a_signal_that_ended_the_command_is_told,
        a_signal_of_ours_reaches_the_command,
        a_command_that_does_not_exist_is_told_by_the_shell,
        a_required_variable_that_is_refused_is_an_error_with_its_name,
        a_variable_on_best_effort_may_be_refused,
        wrong_arguments_are_told_before_anything_is_sent,
        a_deadline_hangs_up,
        a_deadline_gives_back_what_was_captured,
        a_deadline_of_a_child_counts_while_nobody_waits,
        on_cancel_eof_ends_the_input_and_lets_it_finish,
        on_cancel_signal_is_term_first,
        on_cancel_signal_is_kill_in_the_end,
        on_cancel_detach_lets_it_run,
        dropping_a_child_closes_its_channel,
        dropping_a_start_closes_its_channel,
        a_connection_lost_midway_is_no_end_of_output,
    ];
    here.into_iter().chain(streams::trials()).chain(leaks::trials()).collect()
}

async fn connect(sshd: &Sshd) -> ConnectionRef {
    connect_with(sshd, Limits::default()).await
}

async fn connect_with(sshd: &Sshd, limits: Limits) -> ConnectionRef {
    let config = ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .limits(limits)
        .auth(Auth::new().identity(Identity::load(sshd.identity(), None).await.unwrap()))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
    Client::new(config).connect().await.unwrap()
}

async fn server() -> (Sshd, ConnectionRef) {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    (sshd, conn)
}

/// Waits for something outside of this process.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl FnMut() -> F) {
    assert!(until_or_not(is_so).await.is_ok(), "not so after 20 s: {what}");
}

async fn until_or_not<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) -> Result<(), Elapsed> {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await
}

async fn until_no_channels(conn: &ConnectionRef) {
    let left = std::sync::Mutex::new(Vec::new());
    let look = || async {
        *left.lock().unwrap() = conn.info().await.unwrap().channels;
        left.lock().unwrap().is_empty()
    };
    if until_or_not(look).await.is_err() {
        panic!("channels are left: {:#?}", left.into_inner().unwrap());
    }
    assert_eq!(conn.info().await.unwrap().counters.unread, 0, "credit was lost");
}

async fn until_exists(path: &Path) {
    until(&path.display().to_string(), || async { path.exists() }).await;
}

/// The process number a command wrote into this file.
async fn pid_in(path: &Path) -> i32 {
    let read = || std::fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok();
    until("a process number", || async { read().is_some() }).await;
    read().unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

async fn output_has_both_streams_and_the_status() -> Outcome {
    let (_sshd, conn) = server().await;
    let output = conn.exec("echo out; echo err >&2; exit 3").output().await?;
    assert_eq!(output.status, ExitStatus::Code(3));
    assert_eq!((output.stdout_text(), output.stderr_text()), ("out\n".into(), "err\n".into()));
    assert!(!output.success() && !output.truncated());
    assert!(conn.exec("true").status().await?.success());
    until_no_channels(&conn).await;
    Ok(())
}

async fn arguments_arrive_byte_for_byte() -> Outcome {
    let (_sshd, conn) = server().await;
    let words: [&[u8]; 5] = [b"", b"two words", b"it's \"$HOME\" `x` \\ *", b"-n", b"new\nline\xff"];
    let output = conn.command("printf").arg("%s\\0").args(words).output().await?;
    let got: Vec<&[u8]> = output.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).collect();
    assert_eq!(got, words);
    let output = conn.command("echo").arg("$A").raw_arg("| tr A B").output().await?;
    assert_eq!(output.stdout_text(), "$B\n");
    Ok(())
}

async fn a_cap_truncates_and_counts_and_the_command_goes_on() -> Outcome {
    let (_sshd, conn) = server().await;
    let output =
        conn.exec("yes 1234567 | head -c 3000000; echo end >&2").stdout(Stdio::captured(16)).output();
    let output = output.await?;
    assert_eq!(output.stdout_text(), "1234567\n1234567\n");
    assert_eq!((output.stdout_lost, output.stderr_lost), (3_000_000 - 16, 0));
    assert!(output.truncated() && output.success());
    assert_eq!(output.stderr_text(), "end\n");
    Ok(())
}

async fn stdin_bytes_beyond_the_high_water_mark_arrive_whole() -> Outcome {
    let (_sshd, conn) = server().await;
    let sent = noise(10 * MIB);
    let output = conn.exec("cat").stdin(Stdin::bytes(sent.clone())).output().await?;
    assert!(output.success() && output.stdout == sent);
    until_no_channels(&conn).await;
    Ok(())
}

async fn stdin_from_a_reader_arrives_whole() -> Outcome {
    let (_sshd, conn) = server().await;
    let sent = noise(10 * MIB);
    let output = conn.exec("cat").stdin(Stdin::reader(std::io::Cursor::new(sent.clone()))).output().await?;
    assert!(output.success() && output.stdout == sent);
    // A reader that never ends does not outlive a command that does.
    let (_write, read) = tokio::io::duplex(16);
    let output = conn.exec("echo done").stdin(Stdin::reader(read)).output().await?;
    assert_eq!(output.stdout_text(), "done\n");
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_reader_that_fails_is_the_commands_error_and_sends_no_eof() -> Outcome {
    let (sshd, conn) = server().await;
    let marker = sshd.directory().join("whole");
    let reader = tokio_util::io::StreamReader::new(futures::stream::iter([
        Ok(bytes::Bytes::from_static(b"half\n")),
        Err(std::io::Error::other("torn")),
    ]));
    let line = format!("head -n 2 | grep -c . > {}", marker.display());
    let error = conn.exec(line).stdin(Stdin::reader(reader)).output().await.unwrap_err();
    assert!(matches!(&error, CommandError::Stdin(source) if source.to_string() == "torn"), "{error}");
    until_no_channels(&conn).await;
    Ok(())
}

async fn echo_beyond_every_budget_does_not_lock_up() -> Outcome {
    let sshd = Sshd::builder().start()?;
    let mut limits = Limits::default();
    limits.inbound_budget = MIB;
    let conn = connect_with(&sshd, limits).await;
    let options = ChannelOptions::new().high_water(64 << 10).receive_budget(256 << 10);
    let sent = noise(8 * MIB);
    let command = || conn.exec("cat").options(options.clone());
    let output = command().stdin(Stdin::bytes(sent.clone())).output().await?;
    assert!(output.stdout == sent, "bytes");

    let mut child = command().spawn().await?;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let write = async {
        stdin.write_all(&sent).await?;
        stdin.shutdown().await
    };
    let mut got = Vec::new();
    let (written, read) = tokio::join!(write, stdout.read_to_end(&mut got));
    written?;
    read?;
    assert!(got == sent, "piped");
    until_no_channels(&conn).await;
    Ok(())
}

const BOTH_TEN_MIB: &str =
    "yes out | head -c 10485760; yes err | head -c 10485760 >&2; yes out | head -c 10485760";

async fn one_stream_can_be_read_while_nobody_reads_the_other() -> Outcome {
    let sshd = Sshd::builder().start()?;
    let mut limits = Limits::default();
    limits.inbound_budget = 4 * MIB;
    let conn = connect_with(&sshd, limits).await;
    let mut child = conn.exec(BOTH_TEN_MIB).spawn().await?;
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let mut got = Vec::new();
    stdout.read_to_end(&mut got).await?;
    assert_eq!(got.len(), 20 * MIB);
    assert!(child.wait().await?.success());
    let mut errors = Vec::new();
    stderr.read_to_end(&mut errors).await?;
    assert_eq!((errors.len(), stderr.lost()), (MIB, 9 * MIB as u64));
    assert!(errors.starts_with(b"err\nerr\n"));
    until_no_channels(&conn).await;
    Ok(())
}

async fn waiting_does_not_wait_for_streams_nobody_can_read() -> Outcome {
    let sshd = Sshd::builder().start()?;
    let mut limits = Limits::default();
    limits.inbound_budget = 2 * MIB;
    let conn = connect_with(&sshd, limits).await;
    let mut child = conn.exec(BOTH_TEN_MIB).unread_cap(1000).spawn().await?;
    assert!(child.wait().await?.success());
    assert_eq!(child.try_wait()?, Some(ExitStatus::Code(0)));
    let mut stderr = child.stderr.take().unwrap();
    let mut errors = Vec::new();
    stderr.read_to_end(&mut errors).await?;
    assert!(errors.len() >= 1000 && errors.len() as u64 + stderr.lost() == 10 * MIB as u64);
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_late_reader_gets_everything() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut child = conn.exec("head -c 5000000 /dev/zero; echo late >&2").spawn().await?;
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    assert_eq!(child.wait().await?, ExitStatus::Code(0));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    stdout.read_to_end(&mut out).await?;
    stderr.read_to_end(&mut err).await?;
    assert_eq!((out.len(), err.as_slice(), stdout.lost()), (5_000_000, &b"late\n"[..], 0));
    assert_eq!(child.wait().await?, ExitStatus::Code(0), "can be asked again");
    Ok(())
}

async fn a_child_can_be_talked_to() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut child = conn.exec("while read x; do echo \"<$x>\"; done; exit 7").spawn().await?;
    assert_eq!(child.try_wait()?, None);
    for word in ["one", "two", "three"] {
        child.stdin.as_mut().unwrap().write_all(format!("{word}\n").as_bytes()).await?;
        let answer = child.stdout.as_mut().unwrap().chunk().await?.unwrap();
        assert_eq!(answer, format!("<{word}>\n"));
    }
    assert_eq!(child.wait().await?, ExitStatus::Code(7));
    Ok(())
}

async fn wait_with_output_has_what_was_not_yet_read() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut child = conn.exec("echo abc; cat; echo err >&2; exit 1").spawn().await?;
    assert_eq!(child.stdout.as_mut().unwrap().read_u8().await?, b'a');
    child.stdin.as_mut().unwrap().send("def").await?;
    let output = child.wait_with_output().await?;
    assert_eq!((output.stdout_text(), output.stderr_text()), ("bc\ndef".into(), "err\n".into()));
    assert_eq!(output.status, ExitStatus::Code(1));
    Ok(())
}

async fn dropping_stdin_is_eof_and_loses_nothing() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut child = conn.exec("wc -c").spawn().await?;
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&vec![0; 6 * MIB]).await?;
    drop(stdin);
    assert_eq!(child.wait_with_output().await?.stdout_text().trim(), (6 * MIB).to_string());
    Ok(())
}

async fn a_signal_that_ended_the_command_is_told() -> Outcome {
    let (_sshd, conn) = server().await;
    let output = conn.exec("echo before; kill -TERM $$").output().await?;
    assert_eq!(output.status.signal().map(|exit| &exit.signal), Some(&Signal::Term));
    assert_eq!((output.status.exit_code(), output.stdout_text()), (143, "before\n".into()));
    Ok(())
}

/// OpenSSH signals nobody for root: it wants an unprivileged process for that, which such sessions have not. What can
/// be seen then is that it was asked.
async fn refused_signals(sshd: &Sshd, how_many: usize) -> bool {
    let refusals = || sshd.log().matches("session_signal_req: session signalling requires").count();
    if sshd.user() == "root" {
        until("the signals were asked for", || async { refusals() == how_many }).await;
        return true;
    }
    false
}

async fn a_signal_of_ours_reaches_the_command() -> Outcome {
    let (sshd, conn) = server().await;
    let line = "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    let mut child = conn.exec(line).stdin(Stdin::null()).spawn().await?;
    assert_eq!(child.stdout.as_mut().unwrap().chunk().await?.unwrap(), "ready\n");
    child.signal(Signal::Usr1)?;
    if refused_signals(&sshd, 1).await {
        return Ok(());
    }
    let output = child.wait_with_output().await?;
    assert_eq!((output.status, output.stdout), (ExitStatus::Code(9), b"caught\n".to_vec()));
    let mut child = conn.exec("echo $$; exec sleep 1000").spawn().await?;
    child.stdout.as_mut().unwrap().chunk().await?;
    child.kill()?;
    assert_eq!(child.wait().await?.signal().map(|exit| &exit.signal), Some(&Signal::Kill));
    Ok(())
}

async fn a_command_that_does_not_exist_is_told_by_the_shell() -> Outcome {
    let (_sshd, conn) = server().await;
    let output = conn.command("/no/such/program").output().await?;
    assert_eq!(output.status, ExitStatus::Code(127));
    assert!(output.stderr_text().contains("/no/such/program"), "{output:?}");
    Ok(())
}

async fn a_required_variable_that_is_refused_is_an_error_with_its_name() -> Outcome {
    let sshd = Sshd::builder().config("AcceptEnv GOOD").start()?;
    let conn = connect(&sshd).await;
    let marker = sshd.directory().join("ran");
    let line = format!("touch {}", marker.display());
    let error = conn.exec(&line).env("GOOD", "1").env("BAD", "2").status().await.unwrap_err();
    assert!(matches!(&error, CommandError::Env { name, .. } if name == "BAD"), "{error}");
    assert!(error.to_string().contains("AcceptEnv"), "{error}");
    until_no_channels(&conn).await;
    assert!(!marker.exists(), "the command was not started");
    let output = conn.exec("echo $GOOD").env("GOOD", "it's 1").output().await?;
    assert_eq!(output.stdout_text(), "it's 1\n");
    Ok(())
}

async fn a_variable_on_best_effort_may_be_refused() -> Outcome {
    let sshd = Sshd::builder().config("AcceptEnv GOOD").start()?;
    let conn = connect(&sshd).await;
    for policy in [EnvPolicy::Require, EnvPolicy::BestEffort] {
        let command = conn.exec("echo \"$GOOD:$BAD\"").env_with("GOOD", "1", policy);
        let output = command.env_with("BAD", "2", EnvPolicy::BestEffort).output().await?;
        assert_eq!(output.stdout_text(), "1:\n", "{policy:?}");
    }
    Ok(())
}

async fn wrong_arguments_are_told_before_anything_is_sent() -> Outcome {
    let (_sshd, conn) = server().await;
    let config = |error: CommandError| match error {
        CommandError::Config(error) => error.field,
        CommandError::Request(ractor_ssh::error::RequestError::Config(error)) => error.field,
        CommandError::Env { error: ractor_ssh::error::RequestError::Config(error), .. } => error.field,
        other => panic!("{other}"),
    };
    assert_eq!(config(conn.command("").status().await.unwrap_err()), "program");
    assert_eq!(config(conn.command("a").arg("b\0").status().await.unwrap_err()), "argument 1");
    assert_eq!(config(conn.exec("").status().await.unwrap_err()), "command");
    assert_eq!(config(conn.exec("x").env("A=B", "").status().await.unwrap_err()), "env name");
    let null = conn.exec("x").stdin(Stdin::null()).stream().await.unwrap_err();
    assert_eq!(config(null), "stdin");
    until_no_channels(&conn).await;
    Ok(())
}

fn is_deadline(error: &CommandError, limit: Duration) -> bool {
    matches!(error, CommandError::Deadline { after, .. } if *after == limit)
}

const SOON: Duration = Duration::from_millis(400);

/// A command that says its number, and what follows.
fn told(pid: &Path, rest: &str) -> String {
    format!("echo $$ > {}; {rest}", pid.display())
}

async fn a_deadline_hangs_up() -> Outcome {
    let (sshd, conn) = server().await;
    let (pid, marker) = (sshd.directory().join("pid"), sshd.directory().join("ended"));
    let line = told(&pid, &format!("cat > /dev/null; echo > {}", marker.display()));
    let mut child = conn.exec(line).deadline(SOON).spawn().await?;
    let error = child.wait_after_keeping_stdin().await;
    assert!(is_deadline(&error, SOON), "{error}");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
    until_exists(&marker).await;
    let pid = pid_in(&pid).await;
    until("the command is gone", || async { !is_running(pid) }).await;
    until_no_channels(&conn).await;
    Ok(())
}

/// Waiting drops stdin, which would end the commands of these tests too early.
trait KeepStdin {
    async fn wait_after_keeping_stdin(&mut self) -> CommandError;
}

impl KeepStdin for ractor_ssh::session::Child {
    async fn wait_after_keeping_stdin(&mut self) -> CommandError {
        let _stdin = self.stdin.take();
        self.wait().await.unwrap_err()
    }
}

async fn a_deadline_gives_back_what_was_captured() -> Outcome {
    let (_sshd, conn) = server().await;
    let (_write, never) = tokio::io::duplex(1);
    let command = conn.exec("echo some; echo more >&2; exec cat").stdin(Stdin::reader(never));
    let error = command.deadline(Duration::from_secs(2)).output().await.unwrap_err();
    let partial = error.partial().unwrap();
    assert_eq!((partial.stdout_text(), partial.stderr_text()), ("some\n".into(), "more\n".into()));
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_deadline_of_a_child_counts_while_nobody_waits() -> Outcome {
    let (sshd, conn) = server().await;
    let marker = sshd.directory().join("ended");
    let line = format!("cat > /dev/null; echo > {}", marker.display());
    let mut child = conn.exec(line).deadline(SOON).spawn().await?;
    until_exists(&marker).await;
    until_no_channels(&conn).await;
    assert!(is_deadline(&child.try_wait().unwrap_err(), SOON));
    assert!(is_deadline(&child.wait().await.unwrap_err(), SOON));
    Ok(())
}

async fn on_cancel_eof_ends_the_input_and_lets_it_finish() -> Outcome {
    let (sshd, conn) = server().await;
    let (go, marker) = (sshd.directory().join("go"), sshd.directory().join("ended"));
    let wait = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let line = format!("cat; {wait}; echo bye; echo > {}", marker.display());
    let mut child = conn.exec(line).on_cancel(OnCancel::Eof).spawn().await?;
    child.stdin.as_mut().unwrap().write_all(b"x").await?;
    child.stdout.as_mut().unwrap().read_u8().await?;
    drop(child);
    assert_eq!(conn.info().await?.channels.len(), 1, "the channel stays until the command has ended");
    std::fs::write(go, "")?;
    until_exists(&marker).await;
    until_no_channels(&conn).await;
    Ok(())
}

async fn on_cancel_signal_is_term_first() -> Outcome {
    let (sshd, conn) = server().await;
    let (pid, marker) = (sshd.directory().join("pid"), sshd.directory().join("term"));
    let trap = format!("trap 'echo > {}; exit' TERM", marker.display());
    let line = format!("{trap}; {}", told(&pid, "while :; do sleep 0.02; done"));
    let policy = OnCancel::term_then_kill(Duration::from_secs(600));
    let child = conn.exec(line).stdin(Stdin::null()).on_cancel(policy).spawn().await?;
    let pid = pid_in(&pid).await;
    drop(child);
    if refused_signals(&sshd, 1).await {
        assert_eq!(conn.info().await?.channels.len(), 1, "the command has its grace");
        return Ok(());
    }
    until_exists(&marker).await;
    until("the command is gone", || async { !is_running(pid) }).await;
    until_no_channels(&conn).await;
    Ok(())
}

async fn on_cancel_signal_is_kill_in_the_end() -> Outcome {
    let (sshd, conn) = server().await;
    let pid = sshd.directory().join("pid");
    let line = format!("trap '' TERM; {}", told(&pid, "while :; do sleep 0.02; done"));
    let policy = OnCancel::term_then_kill(Duration::from_millis(200));
    let limit = Duration::from_secs(2);
    let error = conn.exec(line).deadline(limit).on_cancel(policy).status().await.unwrap_err();
    assert!(is_deadline(&error, limit), "{error}");
    let pid = pid_in(&pid).await;
    if !refused_signals(&sshd, 2).await {
        until("the command is gone", || async { !is_running(pid) }).await;
    }
    until_no_channels(&conn).await;
    Ok(())
}

async fn on_cancel_detach_lets_it_run() -> Outcome {
    let (sshd, conn) = server().await;
    let (go, marker) = (sshd.directory().join("go"), sshd.directory().join("ended"));
    let wait = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    let line = format!("{wait}; seq 1000000; echo > {}", marker.display());
    drop(conn.exec(&line).on_cancel(OnCancel::Detach).spawn().await?);
    conn.exec(&line).spawn().await?.detach();
    std::fs::write(go, "")?;
    until_exists(&marker).await;
    until_no_channels(&conn).await;
    Ok(())
}

async fn dropping_a_child_closes_its_channel() -> Outcome {
    let sshd = Sshd::builder().max_sessions(1).start()?;
    let conn = connect(&sshd).await;
    let child = conn.exec("cat").spawn().await?;
    let refused = conn.exec("true").status().await.unwrap_err();
    assert!(matches!(&refused, CommandError::Open(_)) && refused.is_retryable(), "{refused}");
    drop(child);
    until_no_channels(&conn).await;
    until("the server has a session free", || async { conn.exec("true").status().await.is_ok() }).await;
    Ok(())
}

async fn dropping_a_start_closes_its_channel() -> Outcome {
    let (sshd, conn) = server().await;
    let stopped = sshd.stop_cont();
    let start = tokio::time::timeout(Duration::from_millis(50), conn.exec("cat").spawn()).await;
    assert!(start.is_err(), "a server that is stopped confirms nothing");
    drop(stopped);
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_connection_lost_midway_is_no_end_of_output() -> Outcome {
    let (sshd, conn) = server().await;
    let mut child = conn.exec("echo some; exec cat").spawn().await?;
    let (_write, never) = tokio::io::duplex(1);
    let running = tokio::spawn(conn.exec("echo some; exec cat").stdin(Stdin::reader(never)).output());
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(stdout.chunk().await?.unwrap(), "some\n");
    until("both run", || async { conn.info().await.is_ok_and(|info| info.channels.len() == 2) }).await;
    sshd.kill_sessions();
    let error = stdout.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let error = child.wait().await.unwrap_err();
    assert!(matches!(&error, CommandError::Interrupted { .. }), "{error}");
    let error = running.await?.unwrap_err();
    assert!(matches!(&error, CommandError::Interrupted { .. } | CommandError::Request(_)), "{error}");
    Ok(())
}
