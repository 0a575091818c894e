//! The agent: lent, used, and not at anybody's disposal beyond that.

use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::AgentForward;
use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::error::RequestError;
use ractor_ssh::session::CommandError;
use ractor_ssh::{ConnectionRef, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::kit::{Peer, Sshd, peer_test};
use crate::support::{Agent, Served, connect_to, eventually, processes, run, soon, sshd, text};

pub(crate) fn trials() -> Vec<Trial> {
    let (server, client, agent) = (Peer::OpenSshServer, Peer::OpenSshClient, Peer::OpenSshAgent);
    vec![
        peer_test("our_client_lends_its_agent_to_sshd", [server, agent], to_sshd),
        peer_test(
            "a_second_command_is_lent_the_agent_although_sshd_agrees_only_once",
            [server, agent],
            twice,
        ),
        peer_test("without_a_command_that_lends_it_the_agent_is_refused_to_sshd", [server, agent], unasked),
        peer_test(
            "an_sshd_that_refuses_the_agent_is_an_error_or_a_word_in_the_log",
            [server, agent],
            refused,
        ),
        peer_test("ssh_lends_its_agent_to_our_daemon", [client, agent], from_ssh),
        peer_test("our_client_lends_its_agent_to_our_daemon", [agent], ours),
        peer_test("two_commands_at_once_are_lent_one_agent_and_no_two_different_ones", [agent], at_once),
        peer_test("an_agent_of_this_process_is_lent", [agent], in_process),
        peer_test("connections_to_a_lent_agent_are_limited", [agent], limited),
        peer_test("the_socket_is_private_and_gone_with_the_session", [agent], socket),
        peer_test(
            "a_connection_to_the_agent_is_cut_off_with_the_last_command_it_is_lent_to",
            [agent],
            cut_off,
        ),
        peer_test("a_big_signature_request_is_refused_and_a_proper_one_passes", [agent], sizes),
        peer_test("a_lent_agent_that_is_not_there_is_no_hang", [agent], no_agent),
    ]
}

const LIST: &str = "ssh-add -l 2>&1";

/// What the command prints with the agent lent.
async fn list(conn: &ConnectionRef, forward: AgentForward) -> String {
    soon(conn.exec(LIST).forward_agent(forward).output()).await.unwrap().stdout_text().into_owned()
}

async fn to_sshd() {
    let (sshd, agent) = (sshd(), Agent::start().await);
    let conn = connect_to(&sshd).await;
    let listed = list(&conn, agent.forward()).await;
    assert!(listed.contains(&agent.listed()), "{listed}");
}

async fn twice() {
    let (sshd, agent) = (sshd(), Agent::start().await);
    let conn = connect_to(&sshd).await;
    for _ in 0..3 {
        let listed = list(&conn, agent.forward()).await;
        assert!(listed.contains(&agent.listed()), "{listed}");
    }
}

/// OpenSSH's server keeps its socket as long as the connection: a command that was not lent the agent finds it, and our
/// client refuses what the server opens.
async fn unasked() {
    let (sshd, agent) = (sshd(), Agent::start().await);
    let conn = connect_to(&sshd).await;
    list(&conn, agent.forward()).await;
    let before = conn.info().await.unwrap().counters.opens_refused;
    let output = soon(conn.exec(LIST).output()).await.unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(!output.stdout_text().contains("SHA256"), "{output:?}");
    assert!(conn.info().await.unwrap().counters.opens_refused > before, "the server has tried");
}

async fn refused() {
    let agent = Agent::start().await;
    let sshd = Sshd::builder().config("AllowAgentForwarding no").start().unwrap();
    let conn = connect_to(&sshd).await;
    let error = soon(conn.exec("true").forward_agent(agent.forward()).output()).await.unwrap_err();
    let CommandError::Request(RequestError::Refused { request }) = &error else { panic!("{error:?}") };
    assert_eq!(request, "auth-agent-req@openssh.com");
    let best = agent.forward().best_effort();
    let output = soon(conn.exec("echo \"<$SSH_AUTH_SOCK>\"").forward_agent(best).output()).await.unwrap();
    assert_eq!(output.stdout_text(), "<>\n");
}

async fn from_ssh() {
    let (served, agent) = (Served::lent_to().await, Agent::start().await);
    let socket = agent.socket();
    let mut ssh = served.ssh(&["-A"]);
    let output = run(ssh.arg(LIST).env("SSH_AUTH_SOCK", &socket)).await;
    let listed = text(&output.stdout);
    assert!(listed.contains(&agent.listed()), "{listed} {}", text(&output.stderr));
    let mut without = served.ssh(&["-a"]);
    let output = run(without.arg("echo \"<$SSH_AUTH_SOCK>\"").env("SSH_AUTH_SOCK", &socket)).await;
    assert_eq!(text(&output.stdout), "<>\n");
}

async fn ours() {
    let (served, agent) = (Served::lent_to().await, Agent::start().await);
    let conn = served.connect().await;
    for _ in 0..3 {
        let listed = list(&conn, agent.forward()).await;
        assert!(listed.contains(&agent.listed()), "{listed}");
    }
    // It signs, too: the key is not on the other side.
    let sign = "f=$(mktemp) && ssh-add -L >$f.pub && ssh-keygen -q -Y sign -n test -f $f.pub </dev/null; rm -f $f $f.pub";
    let output = soon(conn.exec(sign).forward_agent(agent.forward()).output()).await.unwrap();
    assert!(output.stdout_text().contains("BEGIN SSH SIGNATURE"), "{output:?}");
}

async fn at_once() {
    let (served, agent, other) = (Served::lent_to().await, Agent::start().await, Agent::start().await);
    let conn = served.connect().await;
    let listing = |_| conn.exec(LIST).forward_agent(agent.forward()).output();
    for output in soon(futures::future::join_all((0..4).map(listing))).await {
        let output = output.unwrap();
        assert!(output.stdout_text().contains(&agent.listed()), "{output:?}");
    }
    let held = soon(conn.exec("cat").forward_agent(agent.forward()).spawn()).await.unwrap();
    let error = soon(conn.exec(LIST).forward_agent(other.forward()).output()).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("another agent is forwarded") && error.contains("SlowConsumer::Isolate"),
        "{error}"
    );
    // The way out that it names.
    let alone = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let output = soon(conn.exec(LIST).options(alone).forward_agent(other.forward()).output()).await.unwrap();
    assert!(output.stdout_text().contains(&other.listed()), "{output:?}");
    drop(held);
    // When nobody has the first one any more, the other one can be lent.
    let listed = soon(async {
        loop {
            match conn.exec(LIST).forward_agent(other.forward()).output().await {
                Ok(output) => return output.stdout_text().into_owned(),
                Err(CommandError::Config(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert!(listed.contains(&other.listed()), "{listed}");
}

/// An agent that says no to the binding, and has no keys.
async fn in_process() {
    let served = Served::lent_to().await;
    let conn = served.connect().await;
    let forward = AgentForward::connect_with(|| async {
        let (ours, mut agents) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            while let Ok(length) = agents.read_u32().await {
                let mut request = vec![0; usize::try_from(length).unwrap()];
                agents.read_exact(&mut request).await.unwrap();
                let answer: &[u8] =
                    if request == [11] { b"\0\0\0\x05\x0c\0\0\0\0" } else { b"\0\0\0\x01\x05" };
                agents.write_all(answer).await.unwrap();
            }
        });
        Ok(ours)
    });
    let listed = list(&conn, forward).await;
    assert!(listed.contains("The agent has no identities"), "{listed}");
}

/// A route that tells where the agent is, and stays until its input ends.
fn telling() -> Router {
    Router::new().agent_forwarding(|_| true).exec_stream_fn(|request, mut stream| async move {
        let socket = request.agent_socket.unwrap_or_default();
        let told = stream.write_all(format!("{}\n", socket.display()).as_bytes()).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        u32::from(told.is_err())
    })
}

/// A session of [`telling`], and where the agent is.
async fn told(conn: &ConnectionRef, forward: AgentForward) -> (ractor_ssh::session::Child, PathBuf) {
    let mut child = soon(conn.exec("where").forward_agent(forward).spawn()).await.unwrap();
    let mut line = Vec::new();
    let stdout = child.stdout.as_mut().unwrap();
    while !line.ends_with(b"\n") {
        line.push(soon(stdout.read_u8()).await.unwrap());
    }
    (child, text(&line).trim().into())
}

/// Asks for the identities; false if the connection ends instead.
async fn answers(connection: &mut UnixStream) -> bool {
    if connection.write_all(&[0, 0, 0, 1, 11]).await.is_err() {
        return false;
    }
    soon(connection.read_u32()).await.is_ok()
}

async fn limited() {
    let (served, agent) = (Served::start(telling()).await, Agent::start().await);
    let conn = served.connect().await;
    let (_child, socket) = told(&conn, agent.forward().max_connections(2)).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = UnixStream::connect(&socket).await.unwrap();
        assert!(answers(&mut connection).await);
        held.push(connection);
    }
    let mut third = UnixStream::connect(&socket).await.unwrap();
    assert!(!answers(&mut third).await, "there are two already");
    held.clear();
    soon(async {
        let mut again = UnixStream::connect(&socket).await.unwrap();
        while !answers(&mut again).await {
            again = UnixStream::connect(&socket).await.unwrap();
        }
    })
    .await;
    // On the daemon's side, more than it serves at a time wait; they are not refused.
    let conn = served.connect().await;
    let (_child, socket) = told(&conn, agent.forward().max_connections(100)).await;
    let asking = (0..40).map(|_| async {
        let mut connection = UnixStream::connect(&socket).await.unwrap();
        answers(&mut connection).await
    });
    let answered = futures::future::join_all(asking).await;
    assert!(answered.iter().all(|yes| *yes), "{answered:?}");
}

async fn socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let (served, agent) = (Served::start(telling()).await, Agent::start().await);
    let conn = served.connect().await;
    let (child, socket) = told(&conn, agent.forward()).await;
    let (other, others) = told(&conn, agent.forward()).await;
    assert_ne!(socket, others);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    drop(child);
    eventually(|| !socket.parent().unwrap().exists()).await;
    assert!(others.exists());
    conn.close().await;
    eventually(|| !others.parent().unwrap().exists()).await;
    drop(other);
}

/// Otherwise a server could keep a connection, and have the agent sign long after the command.
async fn cut_off() {
    let (served, agent) = (Served::start(telling()).await, Agent::start().await);
    let conn = served.connect().await;
    let (child, socket) = told(&conn, agent.forward()).await;
    let (other, _) = told(&conn, agent.forward()).await;
    let mut connection = UnixStream::connect(&socket).await.unwrap();
    assert!(answers(&mut connection).await);
    let mut rest = [0; 4096];
    assert!(soon(connection.read(&mut rest)).await.unwrap() > 0, "the rest of the answer");
    drop(child);
    eventually(|| !socket.exists()).await;
    assert!(answers(&mut connection).await, "it is lent to another command still");
    assert!(soon(connection.read(&mut rest)).await.unwrap() > 0);
    drop(other);
    assert_eq!(soon(connection.read(&mut rest)).await.unwrap_or(0), 0);
    conn.close().await;
}

async fn sizes() {
    let (served, agent) = (Served::start(telling()).await, Agent::start().await);
    let conn = served.connect().await;
    let (_child, socket) = told(&conn, agent.forward()).await;
    for length in [u32::MAX, (256 << 10) + 1, 0] {
        let mut connection = UnixStream::connect(&socket).await.unwrap();
        connection.write_all(&length.to_be_bytes()).await.unwrap();
        assert_eq!(soon(connection.read(&mut [0])).await.unwrap_or(0), 0, "{length}");
    }
    let mut connection = UnixStream::connect(&socket).await.unwrap();
    for byte in [0, 0, 0, 1, 11] {
        connection.write_all(&[byte]).await.unwrap();
    }
    assert!(soon(connection.read_u32()).await.unwrap() > 5, "an answer with a key");
}

async fn no_agent() {
    let served = Served::start(processes().agent_forwarding(|_| true)).await;
    let conn = served.connect().await;
    let nowhere = AgentForward::at("/nonexistent/agent");
    let listed = list(&conn, nowhere).await;
    assert!(!listed.contains("SHA256"), "{listed}");
    // And a peer that asks although nothing is allowed gets a no.
    let strict = Served::start(processes()).await;
    let conn = strict.connect().await;
    let agent = Agent::start().await;
    let error = soon(conn.exec("true").forward_agent(agent.forward()).output()).await.unwrap_err();
    assert!(matches!(error, CommandError::Request(RequestError::Refused { .. })), "{error:?}");
    let mut ssh = strict.ssh(&["-A"]);
    let output = run(ssh.arg("echo \"<$SSH_AUTH_SOCK>\"").env("SSH_AUTH_SOCK", agent.socket())).await;
    assert_eq!(text(&output.stdout), "<>\n");
}
