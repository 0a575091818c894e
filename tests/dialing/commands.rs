//! A command's standard streams as the way, as OpenSSH's `ProxyCommand`.

use libtest_mimic::Trial;
use ractor_ssh::ConnectError;
use ractor_ssh::dial::{DialError, ProxyCommand, Via};
use ractor_ssh::error::Phase;

use crate::common::{becomes_true, config, connect, fails, soon, works};
use crate::kit::{Peer, Sshd, is_running, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let both = [Peer::OpenSshServer, Peer::OpenSshClient];
    vec![
        peer_test("commands::ssh_w_is_a_way_and_ends_with_the_connection", both, way),
        peer_test(
            "commands::a_failing_command_is_in_the_error_with_its_words",
            Peer::OpenSshServer,
            fails_with_words,
        ),
        peer_test("commands::a_command_that_dies_ends_the_connection_and_says_why", both, dies),
        peer_test("commands::a_command_that_never_stops_complaining_harms_nobody", both, complains),
        peer_test("commands::a_host_that_a_shell_would_run_runs_nothing", Peer::OpenSshServer, injection),
    ]
}

/// `ssh -W` by way of `jump`, which writes its process number into `file`.
fn ssh_w(jump: &Sshd, file: &std::path::Path) -> ProxyCommand {
    ProxyCommand::shell(ssh_w_line(jump, file))
}

fn ssh_w_line(jump: &Sshd, file: &std::path::Path) -> String {
    let mut line = format!("sh -c 'echo $$ >\"{}\"; exec \"$0\" \"$@\"'", file.display());
    let ssh = jump.ssh_command().unwrap();
    for word in std::iter::once(ssh.get_program()).chain(ssh.get_args()) {
        line.push_str(&format!(" '{}'", word.to_str().unwrap()));
    }
    line.replace('%', "%%") + " -W %h:%p"
}

fn pid(file: &std::path::Path) -> i32 {
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

async fn way() {
    let (jump, sshd) = (Sshd::builder().start().unwrap(), Sshd::builder().start().unwrap());
    let file = jump.directory().join("pid");
    let connection = connect(config(&sshd).via(Via::command(ssh_w(&jump, &file)))).await;
    works(&connection).await;
    let pid = pid(&file);
    assert!(is_running(pid));
    connection.close().await;
    becomes_true("the command is gone", || !is_running(pid)).await;
    assert!(
        jump.log().contains("direct-tcpip") || jump.log().contains("Accepted publickey"),
        "{}",
        jump.log()
    );
}

async fn fails_with_words() {
    let sshd = Sshd::builder().start().unwrap();
    let command = ProxyCommand::shell("sh -c 'echo no way to %h port %p for %r >&2; exit 3'");
    let error = fails(config(&sshd).via(Via::command(command))).await;
    assert!(matches!(&error, ConnectError::Handshake { .. }), "{error:?}");
    assert_eq!(error.phase(), Phase::Version);
    let text = error.to_string();
    let words = format!("no way to 127.0.0.1 port {} for {}", sshd.port(), sshd.user());
    assert!(text.contains(&words) && text.contains("exit status: 3"), "{text}");
    let error = fails(config(&sshd).via(Via::command(ProxyCommand::new(["/nonexistent/nc", "%h"])))).await;
    assert!(matches!(&error, ConnectError::Dial { source: DialError::Command { .. }, .. }), "{error:?}");
    assert!(!error.is_retryable() && error.to_string().contains("/nonexistent/nc 127.0.0.1"), "{error}");
    let error = fails(config(&sshd).via(Via::command(ProxyCommand::shell("nc %x")))).await;
    assert!(matches!(&error, ConnectError::Config(error) if error.field == "proxy_command"), "{error:?}");
}

async fn dies() {
    let (jump, sshd) = (Sshd::builder().start().unwrap(), Sshd::builder().start().unwrap());
    let file = jump.directory().join("pid");
    let connection = connect(config(&sshd).via(Via::command(ssh_w(&jump, &file)))).await;
    works(&connection).await;
    jump.kill();
    let end = soon("its end", connection.closed()).await;
    assert!(end.is_retryable(), "{end:?}");
    let text = end.to_string();
    assert!(text.contains("proxy command") && text.contains("exit status: 255"), "{text}");
}

async fn injection() {
    let sshd = Sshd::builder().start().unwrap();
    let mark = sshd.directory().join("mark");
    let host = format!("a$(touch${{IFS}}{})", mark.display());
    let config = ractor_ssh::ClientConfig::new(host, "x").via(Via::command(ProxyCommand::shell("nc %h %p")));
    let error = fails(config).await;
    assert!(error.to_string().contains("host"), "{error}");
    assert!(!mark.exists());
}

async fn complains() {
    let (jump, sshd) = (Sshd::builder().start().unwrap(), Sshd::builder().start().unwrap());
    let file = jump.directory().join("pid");
    let line = ssh_w_line(&jump, &file).replace('\'', "'\\''");
    // Beside it, somebody writes to the same standard error for ever.
    let command = ProxyCommand::shell(format!("sh -c 'yes complaint >&2 & exec sh -c \"$1\"' x '{line}'"));
    let connection = connect(config(&sshd).via(Via::command(command))).await;
    works(&connection).await;
    let output = soon("data", connection.exec("head -c 3000000 /dev/zero").output()).await.unwrap();
    assert_eq!(output.stdout.len(), 3_000_000);
    let pid = pid(&file);
    connection.close().await;
    becomes_true("the command is gone", || !is_running(pid)).await;
}
