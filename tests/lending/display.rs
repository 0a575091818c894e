//! The display: a real X server, real X programs, and who is let in.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::error::RequestError;
use ractor_ssh::session::{Command, CommandError};
use ractor_ssh::x11::{Display, X11Error, X11Forward};
use ractor_ssh::{ConnectionRef, ManagedSpec, Pool, PoolConfig, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Peer, Sshd, peer_test};
use crate::support::{
    Agent, Served, XServer, add_cookie, connect_to, eventually, processes, run, soon, sshd_with_authority,
    text,
};

pub(crate) fn trials() -> Vec<Trial> {
    let (server, client, x) = (Peer::OpenSshServer, Peer::OpenSshClient, Peer::Xvfb);
    vec![
        peer_test("programs_at_sshd_draw_on_our_display_trusted_and_not", [server, x], to_sshd),
        peer_test("an_sshd_that_refuses_x11_is_an_error_or_a_word_in_the_log", [server, x], refused),
        peer_test("programs_at_our_daemon_draw_on_the_display_of_ssh_trusted_and_not", [client, x], from_ssh),
        peer_test("programs_at_our_daemon_draw_on_our_display", [x], ours),
        peer_test("two_displays_are_told_apart_by_their_cookies", [x], two_displays),
        peer_test("a_program_with_a_wrong_cookie_or_none_is_turned_away_and_told", [x], wrong_cookie),
        peer_test("a_single_connection_is_the_only_one", [x], single),
        peer_test("an_untrusted_client_cannot_do_what_a_trusted_one_can", [x], untrusted),
        peer_test("without_a_cookie_for_untrusted_clients_nothing_is_started", [x], no_xauth),
        peer_test("a_display_is_gone_with_its_session", [x], gone),
        peer_test("a_display_that_was_lent_can_be_lent_on", [x], lent_on),
        peer_test("a_display_without_a_socket_in_the_file_system_is_found", [x], without_file),
        peer_test(
            "whatever_connection_a_command_gets_is_lent_the_agent_and_the_display",
            [x, Peer::OpenSshAgent],
            elsewhere,
        ),
        peer_test("connections_to_a_lent_display_are_limited", [x], limited),
    ]
}

const INFO: &str = "xdpyinfo 2>&1";

/// What the command prints with the display lent.
async fn shown(conn: &ConnectionRef, command: &str, forward: X11Forward) -> String {
    soon(conn.exec(command).forward_x11(forward).output()).await.unwrap().stdout_text().into_owned()
}

/// Xvfb's display, seen from the other side.
fn is_xvfb(seen: &str) -> bool {
    seen.contains("name of display:    localhost:") && seen.contains("dimensions:    640x480 pixels")
}

async fn to_sshd() {
    let (sshd, x) = (sshd_with_authority(), XServer::start().await);
    let conn = connect_to(&sshd).await;
    for forward in [x.trusted(), x.untrusted(), x.untrusted().timeout(None)] {
        let seen = shown(&conn, INFO, forward).await;
        assert!(is_xvfb(&seen), "{seen}");
    }
    let log = sshd.log();
    assert!(!log.contains("0123456789abcdef"), "the display's own cookie stays here");
}

async fn refused() {
    let x = XServer::start().await;
    let sshd = Sshd::builder().config("X11Forwarding no").start().unwrap();
    let conn = connect_to(&sshd).await;
    let error = soon(conn.exec("true").forward_x11(x.trusted()).output()).await.unwrap_err();
    let CommandError::Request(RequestError::Refused { request }) = &error else { panic!("{error:?}") };
    assert_eq!(request, "x11-req");
    assert_eq!(shown(&conn, "echo \"<$DISPLAY>\"", x.trusted().best_effort()).await, "<>\n");
}

async fn from_ssh() {
    let (served, x) = (Served::lent_to().await, XServer::start().await);
    for option in ["-Y", "-X"] {
        let mut ssh = served.ssh(&[option]);
        let output = run(x.lend_to(ssh.arg(INFO))).await;
        let seen = text(&output.stdout);
        assert!(is_xvfb(&seen), "{option}: {seen} {}", text(&output.stderr));
    }
    let mut ssh = served.ssh(&["-x"]);
    let output = run(x.lend_to(ssh.arg("echo \"<$DISPLAY>\""))).await;
    assert_eq!(text(&output.stdout), "<>\n");
    let strict = Served::start(processes()).await;
    let mut ssh = strict.ssh(&["-Y"]);
    let output = run(x.lend_to(ssh.arg("echo \"<$DISPLAY>\""))).await;
    assert_eq!(text(&output.stdout), "<>\n", "nothing is on by default");
    assert!(text(&output.stderr).contains("X11 forwarding request failed"), "{}", text(&output.stderr));
}

async fn ours() {
    let (served, x) = (Served::lent_to().await, XServer::start().await);
    let conn = served.connect().await;
    for forward in [x.trusted(), x.untrusted()] {
        let seen = shown(&conn, INFO, forward).await;
        assert!(is_xvfb(&seen), "{seen}");
    }
    // Several at a time, over one session.
    let many = "for i in 1 2 3 4 5 6; do xdpyinfo >/dev/null & done; wait; xdpyinfo 2>&1";
    assert!(is_xvfb(&shown(&conn, many, x.trusted()).await));
    let screen: Display = format!(":{}.3", x.display().number()).parse().unwrap();
    let named = shown(&conn, "echo \"$DISPLAY\"", x.trusted_at(screen)).await;
    assert!(named.starts_with("localhost:") && named.ends_with(".3\n"), "{named}");
}

async fn two_displays() {
    let (served, one, other) = (Served::lent_to().await, XServer::start().await, XServer::start().await);
    one.mark("first").await;
    other.mark("second").await;
    let conn = served.connect().await;
    let command = "sleep 0.2; xprop -root MARK 2>&1";
    let (first, second) = (shown(&conn, command, one.trusted()), shown(&conn, command, other.trusted()));
    let (first, second) = futures::future::join(first, second).await;
    assert!(first.contains("\"first\""), "{first}");
    assert!(second.contains("\"second\""), "{second}");
}

async fn wrong_cookie() {
    let (served, x) = (Served::lent_to().await, XServer::start().await);
    let conn = served.connect().await;
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong");
    let cookie = "ffffffffffffffffffffffffffffffff";
    for number in 10..20 {
        add_cookie(&wrong, &format!(":{number}"), cookie).await;
    }
    let command = format!("XAUTHORITY={} xdpyinfo 2>&1", wrong.display());
    let seen = shown(&conn, &command, x.trusted()).await;
    assert!(seen.contains("SSH X11 forwarding: it shows a wrong cookie"), "{seen}");
    let seen = shown(&conn, "XAUTHORITY=/dev/null xdpyinfo 2>&1", x.trusted()).await;
    assert!(seen.contains("SSH X11 forwarding: it shows no MIT-MAGIC-COOKIE-1"), "{seen}");
}

async fn single() {
    let (served, x) = (Served::lent_to().await, XServer::start().await);
    let conn = served.connect().await;
    let twice = "xdpyinfo 2>&1 | head -n 1; timeout 5 xdpyinfo >/dev/null 2>&1 && echo again; true";
    let seen = shown(&conn, twice, x.trusted().single_connection()).await;
    assert!(seen.contains("name of display:    localhost:") && !seen.contains("again"), "{seen}");
    let seen = shown(&conn, twice, x.trusted()).await;
    assert!(seen.contains("again"), "as a check of the check: {seen}");
}

/// The X server does not even tell it of the extensions that could harm others, such as typing for them.
async fn untrusted() {
    let (served, x) = (Served::lent_to().await, XServer::start().await);
    let conn = served.connect().await;
    let seen = shown(&conn, INFO, x.trusted()).await;
    assert!(is_xvfb(&seen) && seen.contains("XTEST"), "{seen}");
    let seen = shown(&conn, INFO, x.untrusted()).await;
    assert!(is_xvfb(&seen) && !seen.contains("XTEST"), "{seen}");
}

async fn no_xauth() {
    let (served, x) = (Served::lent_to().await, XServer::start().await);
    let conn = served.connect().await;
    let without = x.untrusted().xauth("/nonexistent/xauth");
    let error = soon(conn.exec("true").forward_x11(without.clone()).output()).await.unwrap_err();
    assert!(matches!(error, CommandError::X11(X11Error::Untrusted { .. })), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("/nonexistent/xauth") && said.contains("install `xauth`"), "{said}");
    assert_eq!(conn.info().await.unwrap().counters.channels_opened, 0, "nothing was sent");
    assert_eq!(shown(&conn, "echo \"<$DISPLAY>\"", without.best_effort()).await, "<>\n");
}

/// A route that tells which display it has, and stays until its input ends.
fn telling() -> Router {
    Router::new().x11_forwarding(|_| true).exec_stream_fn(|request, mut stream| async move {
        let x11 = request.x11.expect("a display");
        let told =
            stream.write_all(format!("{} {}\n", x11.display, x11.authority.display()).as_bytes()).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        u32::from(told.is_err())
    })
}

async fn told(conn: &ConnectionRef, forward: X11Forward) -> (ractor_ssh::session::Child, u16, String) {
    let mut child = soon(conn.exec("where").forward_x11(forward).spawn()).await.unwrap();
    let mut line = Vec::new();
    let stdout = child.stdout.as_mut().unwrap();
    while !line.ends_with(b"\n") {
        line.push(soon(stdout.read_u8()).await.unwrap());
    }
    let line = text(&line);
    let (display, authority) = line.trim().split_once(' ').unwrap();
    (child, 6000 + display.parse::<Display>().unwrap().number(), authority.to_owned())
}

async fn gone() {
    let (served, x) = (Served::start(telling()).await, XServer::start().await);
    let conn = served.connect().await;
    let (child, port, authority) = told(&conn, x.trusted()).await;
    let (other, next, _) = told(&conn, x.trusted()).await;
    assert_ne!(port, next);
    drop(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
    };
    let authority_file = Path::new(&authority);
    assert_eq!((mode(authority_file), mode(authority_file.parent().unwrap())), (0o600, 0o700));
    drop(child);
    eventually(|| !Path::new(&authority).parent().unwrap().exists()).await;
    eventually(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await;
    drop(TcpStream::connect(("127.0.0.1", next)).await.unwrap());
    conn.close().await;
    eventually(|| std::net::TcpStream::connect(("127.0.0.1", next)).is_err()).await;
    drop(other);
}

/// The second session reaches the display of the first over TCP, with the cookie of its file.
async fn lent_on() {
    let (first, second) = (Served::start(telling()).await, Served::lent_to().await);
    let x = XServer::start().await;
    let (near, far) = (first.connect().await, second.connect().await);
    let (_child, port, authority) = told(&near, x.trusted()).await;
    for host in ["localhost", "127.0.0.1"] {
        let display: Display = format!("{host}:{}", port - 6000).parse().unwrap();
        let seen = shown(&far, INFO, X11Forward::trusted(display).authority(&authority)).await;
        assert!(is_xvfb(&seen), "{host}: {seen}");
    }
}

async fn without_file() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let (served, x) = (Served::lent_to().await, XServer::start_with(&["-nolisten", "unix"]).await);
    let file = format!("/tmp/.X11-unix/X{}", x.display().number());
    assert!(std::os::unix::net::UnixStream::connect(file).is_err());
    let conn = served.connect().await;
    let seen = shown(&conn, INFO, x.trusted()).await;
    assert!(is_xvfb(&seen), "{seen}");
}

/// Whatever connection it is that the command gets.
async fn elsewhere() {
    let (served, x, agent) = (Served::lent_to().await, XServer::start().await, Agent::start().await);
    let conn = served.connect().await;
    let managed = soon(served.client().manage(ManagedSpec::new())).await.unwrap();
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let host = pool.get(served.client());
    let alone = || ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let line = format!("ssh-add -l && {INFO}");
    let commands = [
        ("isolated", conn.exec(&line).options(alone())),
        ("managed", managed.exec(&line)),
        ("managed and isolated", managed.exec(&line).options(alone())),
        ("pooled", host.exec(&line)),
        ("pooled and isolated", host.exec(&line).options(alone())),
        ("a client's own", Command::exec(served.client(), &line)),
    ];
    for (what, command) in commands {
        let command = command.forward_x11(x.trusted()).forward_agent(agent.forward());
        let output = soon(command.output()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let seen = output.stdout_text();
        assert!(seen.contains(&agent.listed()) && is_xvfb(&seen), "{what}: {seen} {}", output.stderr_text());
    }
    // Nothing of it is left: the same connections have neither now.
    for (what, command) in [("managed", managed.exec("ssh-add -l")), ("pooled", host.exec("ssh-add -l"))] {
        assert!(!soon(command.output()).await.unwrap().status.success(), "{what}");
    }
    soon(managed.shutdown(Duration::ZERO)).await;
    soon(pool.shutdown(Duration::ZERO)).await;
}

/// Beyond what the client allows, X clients are told.
async fn limited() {
    let (served, x) = (Served::start(telling()).await, XServer::start().await);
    let conn = served.connect().await;
    let (_child, port, authority) = told(&conn, x.trusted().max_connections(1)).await;
    let info = |display: u16| {
        let mut command = crate::support::program("xdpyinfo");
        command.env("DISPLAY", format!("localhost:{display}")).env("XAUTHORITY", &authority);
        command
    };
    // `xprop -spy` holds its connection.
    let mut held = crate::support::program("xprop");
    held.args(["-root", "-spy", "MARK"]).env("DISPLAY", format!("localhost:{}", port - 6000));
    let mut held = held.env("XAUTHORITY", &authority).spawn().unwrap();
    let mut first = [0];
    soon(held.stdout.as_mut().unwrap().read_exact(&mut first)).await.unwrap();
    let output = run(&mut info(port - 6000)).await;
    assert!(text(&output.stderr).contains("there are too many connections"), "{output:?}");
    held.kill().await.unwrap();
    soon(async {
        while !run(&mut info(port - 6000)).await.status.success() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
