//! The same client against a server that is not OpenSSH: Dropbear.

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};

use ractor_ssh::wire::pty::PtyRequest;
use ractor_ssh::wire::{ExitStatus, Signal};
use ractor_ssh::{Client, ClientConfig, ConnectionRef};

use crate::common::{Echo, Take, counters, end_of, exec, no_channels_left, open, run, soon};
use crate::kit::{Dropbear, Peer, peer_test};

const PASSWORD: &str = "wonder land";

pub(crate) fn trials() -> Vec<Trial> {
    const PEERS: [Peer; 2] = [Peer::DropbearServer, Peer::Account];
    vec![
        peer_test("dropbear::a_key_or_a_password_logs_in", PEERS, logs_in),
        peer_test("dropbear::commands_give_output_status_and_signal", PEERS, commands),
        peer_test("dropbear::transfers_are_byte_exact_both_ways", PEERS, transfers),
        peer_test("dropbear::a_terminal_has_its_size_and_takes_a_new_one", PEERS, terminal),
        peer_test("dropbear::keys_are_exchanged_while_data_flows", PEERS, rekey),
    ]
}

fn config(server: &Dropbear) -> ClientConfig {
    ClientConfig::new("127.0.0.1", server.user())
        .port(server.port())
        .auth(Auth::new().identity_file(IdentityFile::new(server.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([server.known_hosts()])))
}

async fn connect(server: &Dropbear) -> ConnectionRef {
    match Client::new(config(server)).connect().await {
        Ok(conn) => conn,
        Err(error) => panic!("{error}\n{}", server.log()),
    }
}

async fn logs_in() {
    let server = Dropbear::start(PASSWORD).unwrap();
    let by_key = connect(&server).await;
    assert_eq!(run(&by_key, "id -un").await.stdout, b"alice\n");
    let auth = Auth::new().password(PASSWORD.into());
    let by_password = Client::new(config(&server).auth(auth)).connect().await.unwrap();
    assert_eq!(run(&by_password, "echo in").await.stdout, b"in\n");
    let auth = Auth::new().password("wonderland".into());
    Client::new(config(&server).auth(auth)).connect().await.unwrap_err();
}

async fn commands() {
    let server = Dropbear::start(PASSWORD).unwrap();
    let conn = connect(&server).await;
    let output = conn.command("sh").args(["-c", "echo out; echo err >&2; exit 7"]).output().await.unwrap();
    assert_eq!((output.stdout.as_ref(), output.stderr.as_ref()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.status, ExitStatus::Code(7));
    let killed = conn.exec("kill -TERM $$").output().await.unwrap();
    assert!(matches!(&killed.status, ExitStatus::Signal(exit) if exit.signal == Signal::Term), "{killed:?}");
    no_channels_left(&conn).await;
}

async fn transfers() {
    let server = Dropbear::start(PASSWORD).unwrap();
    let conn = connect(&server).await;
    let (take, end) = Take::new("head -c 8000000 /dev/zero");
    conn.session_channel(take).await.unwrap();
    let (taken, _) = end_of(end).await;
    assert_eq!((taken.bytes, taken.status), (8_000_000, Some(0)));

    let (channel, events) = exec(&conn, "sha1sum").await;
    soon("send", channel.send(vec![0; 8_000_000])).await.unwrap();
    channel.send_eof().unwrap();
    let outcome = events.outcome().await;
    assert!(outcome.stdout.starts_with(taken.sha1.as_bytes()), "{outcome:?}");
}

async fn terminal() {
    let server = Dropbear::start(PASSWORD).unwrap();
    let conn = connect(&server).await;
    let (channel, mut events) = open(&conn).await;
    channel.ptty_alloc(PtyRequest::new("vt100").size(101, 37)).await.unwrap();
    channel.exec("stty size; read line; stty size; echo $TERM").await.unwrap();
    events.until("37 101").await;
    channel.window_change(ractor_ssh::wire::pty::WindowSize::new(90, 30)).unwrap();
    channel.send("\n").await.unwrap();
    let rest = events.until("vt100").await;
    assert!(rest.contains("30 90"), "{rest:?}");
}

/// One after the other: of commands that begin together, Dropbear 2022.83 closes some without running them, whoever
/// asks.
async fn rekey() {
    let server = Dropbear::start(PASSWORD).unwrap();
    let conn = connect(&server).await;
    let mut echo = Echo::start(&conn).await;
    for number in 0..8 {
        let rekeyed = soon("a rekey", conn.rekey());
        let (rekeyed, ()) = futures::join!(rekeyed, echo.round());
        rekeyed.unwrap();
        let output = conn.exec(format!("echo {number}")).output().await.unwrap();
        assert_eq!(output.stdout, format!("{number}\n").as_bytes());
    }
    assert_eq!(counters(&conn).await.rekeys, 8);
}
