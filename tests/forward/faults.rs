//! Destinations that are not there, that fail, and servers that die.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::forward::{Endpoint, Forward, ForwardEnd, ForwardError};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Client, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bytes;
use crate::common::{
    Destination, Server, Which, any_port, becomes_true, both, echoes, enter, entrance, is_reset,
    is_turned_away, soon,
};
use crate::kit::{Peer, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        peer_test("faults::what_cannot_be_listened_on_is_named", [], listen),
        peer_test("faults::a_reset_destination_of_our_daemon_is_a_reset_here", [], reset_there),
        peer_test("faults::a_close_without_eof_of_a_foreign_server_loses_nothing", [], hasty_server),
        peer_test("faults::a_close_without_eof_of_a_foreign_client_loses_nothing", [], hasty_client),
        peer_test("faults::what_is_left_of_ended_channels_for_clients_that_hang_is_bounded", [], left_behind),
        peer_test("faults::a_server_that_is_killed_resets_what_was_under_way", [Peer::OpenSshServer], killed),
        peer_test("faults::a_destination_that_does_not_answer_is_given_up_in_time", [], slow),
    ];
    trials.extend(both("faults::a_destination_that_refuses_is_a_reset_and_the_forward_goes_on", refused));
    trials.extend(both("faults::a_reset_client_closes_the_channel", reset_here));
    trials.extend(both("faults::the_end_of_the_connection_is_the_end_of_the_forward", lost));
    trials
}

async fn listen() {
    let server = Server::start(Which::Ours).await;
    let conn = server.connect().await;
    let taken = Destination::new().await;
    let error = conn.forward(Forward::local(taken.addr, ("localhost", 80))).await.unwrap_err();
    assert!(
        matches!(&error, ForwardError::Listen { at, .. } if *at == Endpoint::from(taken.addr)),
        "{error}"
    );
    assert!(error.to_string().contains(&taken.addr.to_string()), "{error}");
    for (spec, field) in [
        (Forward::local(any_port(), ("", 80)), "to"),
        (Forward::local(any_port(), ("localhost", 0)), "to"),
        (Forward::local(("", 0), ("localhost", 80)), "listen"),
        (Forward::local(any_port(), Endpoint::unix("")), "to"),
        (Forward::dynamic(any_port()).max_connections(0), "max_connections"),
        (Forward::dynamic(any_port()).handshake_limit(Duration::ZERO), "handshake_limit"),
    ] {
        match conn.forward(spec).await {
            Err(ForwardError::Config(error)) => assert_eq!(error.field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    soon("closing", conn.close()).await;
    let error = conn.forward(Forward::dynamic(any_port())).await.unwrap_err();
    assert!(matches!(error, ForwardError::Connection(_)), "{error}");
}

async fn refused(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await;
    let addr = there.addr;
    let forward = conn.forward(Forward::local(any_port(), addr)).await.unwrap();
    drop(there);
    is_turned_away(&forward).await;
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!((forward.counters().total, forward.counters().refused), (1, 1));
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    let mut stream = enter(&forward).await;
    let mut theirs = soon("a connection", listener.accept()).await.unwrap().0;
    stream.write_all(b"x").await.unwrap();
    assert_eq!(soon("a byte", theirs.read_u8()).await.unwrap(), b'x');
    soon("closing", conn.close()).await;
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

async fn reset_there() {
    let server = Server::start(Which::Ours).await;
    let conn = server.connect().await;
    let there = Destination::new().await;
    let forward = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let mut ours = enter(&forward).await;
    let mut theirs = there.accept().await;
    theirs.write_all(&bytes::piece(1, 0, 1 << 20)).await.unwrap();
    let mut heard = vec![0; 1 << 20];
    soon("what came before", ours.read_exact(&mut heard)).await.unwrap();
    assert!(heard == bytes::piece(1, 0, 1 << 20));
    reset(theirs);
    is_reset(&mut ours).await;
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!(forward.counters().failed, 1);
    soon("closing", conn.close()).await;
}

/// Sends this much and closes, without eof, as programs in Go do.
struct Hasty(usize);

const MUCH: usize = 8 << 20;

impl Hasty {
    fn run<R: ractor_ssh::Role>(&self, channel: &ractor_ssh::ChannelHandle<R>) {
        let (channel, much) = (channel.clone(), self.0);
        tokio::spawn(async move {
            channel.send(bytes::piece(1, 0, much)).await.unwrap();
            let _ = channel.flush().await;
            channel.close();
        });
    }
}

impl ractor_ssh::ServerChannel for Hasty {
    type Msg = ();

    async fn init(
        &mut self,
        ctx: &mut ractor_ssh::ChannelContext<Self, ractor_ssh::ServerSide>,
    ) -> Result<(), ractor_ssh::BoxError> {
        self.run(&ctx.handle());
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ractor_ssh::ChannelMsg,
        _ctx: &mut ractor_ssh::ChannelContext<Self, ractor_ssh::ServerSide>,
    ) -> Result<ractor_ssh::Next, ractor_ssh::BoxError> {
        Ok(ractor_ssh::Next::Continue)
    }
}

impl ractor_ssh::ClientChannel for Hasty {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ractor_ssh::ChannelContext<Self>) -> Result<(), ractor_ssh::BoxError> {
        self.run(&ctx.handle());
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ractor_ssh::ChannelMsg,
        _ctx: &mut ractor_ssh::ChannelContext<Self>,
    ) -> Result<ractor_ssh::Next, ractor_ssh::BoxError> {
        Ok(ractor_ssh::Next::Continue)
    }
}

/// Reads late, and to a clean end.
async fn hears_all(stream: &mut TcpStream) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut heard = Vec::new();
    soon("everything", stream.read_to_end(&mut heard)).await.unwrap();
    assert!(heard == bytes::piece(1, 0, MUCH), "{} bytes of {MUCH}", heard.len());
}

async fn hasty_server() {
    let router = Router::new().direct_tcpip(|_| Hasty(MUCH));
    let server = Server::ours_with(router, |config| config.server_id("Go")).await;
    let conn = server.connect().await;
    let forward = conn.forward(Forward::local(any_port(), ("192.0.2.1", 80))).await.unwrap();
    hears_all(&mut enter(&forward).await).await;
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!((forward.counters().refused, forward.counters().failed), (0, 0));
    soon("closing", conn.close()).await;
}

async fn left_behind() {
    const EACH: usize = 40 << 20;
    let router = Router::new().direct_tcpip(|_| Hasty(EACH));
    let server = Server::ours_with(router, |config| config.server_id("Go")).await;
    let conn = server.connect().await;
    let forward = conn.forward(Forward::local(any_port(), ("192.0.2.1", 80))).await.unwrap();
    let mut streams = Vec::new();
    for turn in 0..4 {
        streams.push(enter(&forward).await);
        becomes_true("it is taken", || forward.counters().total == turn + 1).await;
        soon("its channel is over", no_channel(&conn)).await;
    }
    // Two of them are too much.
    becomes_true("enough are given up", || forward.counters().failed >= 1).await;
    let mut whole = 0;
    for mut stream in streams {
        let mut heard = Vec::new();
        whole += usize::from(soon("its end", stream.read_to_end(&mut heard)).await.is_ok());
        assert!(heard.len() <= EACH);
    }
    assert!((1..4).contains(&whole), "{whole} of 4 were whole");
    becomes_true("none is open", || forward.counters().open == 0).await;
    soon("closing", conn.close()).await;
}

/// Waits until there is none.
async fn no_channel(conn: &ractor_ssh::ConnectionRef) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    while !conn.info().await.unwrap().channels.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn hasty_client() {
    let server = Server::start(Which::Ours).await;
    let conn = soon("connecting", Client::new(server.config().client_id("Go")).connect()).await.unwrap();
    let there = Destination::new().await;
    let request = OpenRequest::DirectTcpip {
        host: "127.0.0.1".to_owned(),
        port: there.addr.port(),
        originator_host: "127.0.0.1".to_owned(),
        originator_port: 1,
    };
    let _channel =
        soon("a channel", conn.open_channel(request, ChannelOptions::new(), Hasty(MUCH))).await.unwrap();
    hears_all(&mut there.accept().await).await;
    soon("closing", conn.close()).await;
}

async fn reset_here(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let there = Destination::new().await;
    let forward = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let mut ours = enter(&forward).await;
    let mut theirs = there.accept().await;
    ours.write_all(b"x").await.unwrap();
    assert_eq!(soon("a byte", theirs.read_u8()).await.unwrap(), b'x');
    reset(ours);
    // OpenSSH makes an end of it, we a reset.
    match soon("its end", theirs.read(&mut [0; 8])).await {
        Ok(read) => assert_eq!((read, which), (0, Which::OpenSsh)),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!(forward.counters().failed, 1);
    becomes_true("the channel is gone", || true).await;
    soon("no channel is left", async {
        while !conn.info().await.unwrap().channels.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    soon("closing", conn.close()).await;
}

async fn killed() {
    let server = Server::start(Which::OpenSsh).await;
    let Server::OpenSsh(sshd) = &server else { unreachable!() };
    let conn = server.connect().await;
    let there = Destination::new().await;
    let forward = conn.forward(Forward::local(any_port(), there.addr)).await.unwrap();
    let mut ours = enter(&forward).await;
    let mut theirs = there.accept().await;
    let endless = tokio::spawn(async move { bytes::write(&mut theirs, 1, u64::MAX).await });
    let mut some = vec![0; 1 << 20];
    soon("some bytes", ours.read_exact(&mut some)).await.unwrap();
    sshd.kill();
    sshd.kill_sessions();
    is_reset(&mut ours).await;
    let end = soon("the end of the forward", forward.closed()).await;
    assert!(matches!(end, ForwardEnd::Connection(_)), "{end}");
    assert_eq!(forward.counters().failed, 1);
    assert!(TcpStream::connect(entrance(&forward)).await.is_err(), "nobody listens any more");
    assert!(soon("the other end", endless).await.unwrap().is_err());
}

async fn slow() {
    let router = Router::new().direct_tcpip_async(|_| std::future::pending::<Result<Never, _>>());
    let server = Server::ours(router).await;
    let conn = server.connect().await;
    let options = ChannelOptions::new().open_timeout(Duration::from_millis(300));
    let spec = Forward::local(any_port(), ("192.0.2.1", 80)).options(options);
    let forward = conn.forward(spec).await.unwrap();
    is_turned_away(&forward).await;
    becomes_true("it has ended", || forward.counters().open == 0).await;
    assert_eq!(forward.counters().refused, 1);
    soon("closing", conn.close()).await;
}

/// A behaviour that is never made.
struct Never;

impl ractor_ssh::ServerChannel for Never {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ractor_ssh::ChannelMsg,
        _ctx: &mut ractor_ssh::ChannelContext<Self, ractor_ssh::ServerSide>,
    ) -> Result<ractor_ssh::Next, ractor_ssh::BoxError> {
        Ok(ractor_ssh::Next::Continue)
    }
}

async fn lost(which: Which) {
    let server = Server::start(which).await;
    let conn = server.connect().await;
    let forward = conn.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    let mut stream = enter(&forward).await;
    echoes(&mut stream).await;
    soon("closing", conn.close()).await;
    is_reset(&mut stream).await;
    let end = soon("the end of the forward", forward.closed()).await;
    assert!(matches!(end, ForwardEnd::Connection(_)), "{end}");
    assert!(TcpStream::connect(entrance(&forward)).await.is_err(), "nobody listens any more");
}
