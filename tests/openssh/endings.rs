//! How channels and connections end, whoever ends them.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::Client;
use ractor_ssh::config::{Keepalive, Timeouts};
use ractor_ssh::error::{CloseReason, ConnectionError, OpenError, Phase, StopReason};

use crate::common::{
    Bulk, Echo, Take, Tell, becomes_true, config, connect, end_of, exec, no_channels_left, open, run, soon,
};
use crate::kit::{Peer, Sshd, is_running, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("endings::a_server_killed_mid_transfer_ends_every_channel_once", SERVER, killed_server),
        peer_test("endings::a_server_that_stops_is_dead_within_the_keepalive_bound", SERVER, stopped_server),
        peer_test("endings::a_server_that_answers_is_never_dead", SERVER, quiet_server),
        peer_test("endings::close_ends_every_channel_and_tells_the_server", SERVER, close),
        peer_test("endings::close_is_done_in_time_with_a_server_that_stopped", SERVER, close_stopped),
        peer_test("endings::shutdown_lets_channels_finish_and_opens_none", SERVER, shutdown),
        peer_test("endings::shutdown_ends_what_does_not_finish", SERVER, shutdown_forced),
        peer_test(
            "endings::a_dropped_handle_ends_the_connection_with_its_last_channel",
            SERVER,
            dropped_handle,
        ),
        peer_test("endings::a_killed_connection_actor_leaves_nothing_open", SERVER, killed_actor),
        peer_test("endings::our_close_ends_the_command_and_is_told_as_ours", SERVER, our_close),
        peer_test("endings::our_close_waits_for_what_was_queued_before", SERVER, close_after_data),
        peer_test("endings::abort_drops_what_was_queued", SERVER, abort),
        peer_test("endings::a_channel_follows_the_actor_it_belongs_to", SERVER, follows_its_owner),
    ]
}

async fn killed_server() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut downloads = Vec::new();
    for _ in 0..4 {
        let (take, end) = Take::new("cat /dev/zero");
        conn.session_channel(take).await.unwrap();
        downloads.push(end);
    }
    let (upload, uploading) = exec(&conn, "cat > /dev/null").await;
    let sending = tokio::spawn({
        let upload = upload.clone();
        async move {
            let mut bulk = Bulk::new(1, u64::MAX);
            while let Some(piece) = bulk.next() {
                upload.send(piece).await?;
            }
            Ok::<_, ractor_ssh::error::SendError>(())
        }
    });
    becomes_true("much has come", || async { crate::common::counters(&conn).await.bytes_in > 8 << 20 }).await;
    sshd.kill();
    let why = soon("the end is told", conn.closed()).await;
    assert!(matches!(why, ConnectionError::Lost(_)), "{why:?}");
    for end in downloads {
        let (taken, reason) = end_of(end).await;
        assert!(matches!(reason, CloseReason::Connection(ConnectionError::Lost(_))), "{reason:?}");
        assert!(taken.bytes > 0 && taken.status.is_none());
    }
    let outcome = uploading.outcome().await;
    assert!(
        matches!(outcome.closed, Some(CloseReason::Connection(ConnectionError::Lost(_)))),
        "{:?}",
        outcome.closed
    );
    soon("the sender is released", sending).await.unwrap().expect_err("nothing can be sent any more");
    let open = conn.session_channel(Tell::new().0).await;
    assert!(matches!(open, Err(OpenError::Connection(ConnectionError::Lost(_)))), "{open:?}");
    assert!(matches!(conn.info().await, Err(ConnectionError::Lost(_))));
    assert!(matches!(conn.rekey().await, Err(ConnectionError::Lost(_))));
    assert_eq!(conn.phase(), Phase::Down);
}

async fn stopped_server() {
    let sshd = Sshd::builder().start().unwrap();
    let interval = Duration::from_millis(200);
    let config = config(&sshd).keepalive(Keepalive::new(interval, 3));
    let conn = Client::new(config).connect().await.unwrap();
    let (_channel, events) = exec(&conn, "sleep 1000").await;
    let stopped = sshd.stop_cont();
    let start = Instant::now();
    let why = soon("it is noticed", conn.closed()).await;
    let took = start.elapsed();
    assert!(matches!(why, ConnectionError::PeerDead { .. }), "{why:?}");
    assert!(took < 3 * interval + Duration::from_secs(1), "{took:?}");
    let outcome = events.outcome().await;
    assert!(
        matches!(outcome.closed, Some(CloseReason::Connection(ConnectionError::PeerDead { .. }))),
        "{:?}",
        outcome.closed
    );
    drop(stopped);
}

async fn quiet_server() {
    let sshd = Sshd::builder().start().unwrap();
    let config = config(&sshd).keepalive(Keepalive::new(Duration::from_millis(50), 3));
    let conn = Client::new(config).connect().await.unwrap();
    becomes_true("ten questions were answered", || async {
        crate::common::counters(&conn).await.keepalives_answered >= 10
    })
    .await;
    assert_eq!(conn.phase(), Phase::Up);
}

async fn close() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (_one, one) = exec(&conn, "sleep 1000").await;
    let (_two, two) = exec(&conn, "cat").await;
    let closing = tokio::spawn({
        let conn = conn.clone();
        async move { conn.close().await }
    });
    for events in [one, two] {
        let outcome = events.outcome().await;
        assert!(
            matches!(outcome.closed, Some(CloseReason::Connection(ConnectionError::Closed))),
            "{:?}",
            outcome.closed
        );
        assert!(matches!(outcome.terminated, Some(StopReason::Closed(_))), "{:?}", outcome.terminated);
    }
    soon("close", closing).await.unwrap();
    soon("once more", conn.close()).await;
    assert!(matches!(conn.closed().await, ConnectionError::Closed));
    assert!(conn.actor().get_children().is_empty());
    sshd.wait_for_log("closed by the application", Duration::from_secs(10)).await.unwrap();
    let open = conn.session_channel(Tell::new().0).await;
    assert!(matches!(open, Err(OpenError::Connection(ConnectionError::Closed))), "{open:?}");
}

async fn close_stopped() {
    let sshd = Sshd::builder().start().unwrap();
    let mut timeouts = Timeouts::default();
    timeouts.close = Duration::from_millis(500);
    let conn = Client::new(config(&sshd).timeouts(timeouts)).connect().await.unwrap();
    let (channel, events) = exec(&conn, "sleep 1000").await;
    let stopped = sshd.stop_cont();
    // More than window, queue and kernel take: the close cannot get through either.
    let sending = tokio::spawn(async move { while channel.send(vec![0u8; 1 << 20]).await.is_ok() {} });
    let start = Instant::now();
    soon("close", conn.close()).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    soon("the sender is released", sending).await.unwrap();
    assert!(events.outcome().await.closed.is_some());
    drop(stopped);
}

async fn shutdown() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, events) = exec(&conn, "cat; echo bye").await;
    let draining = tokio::spawn({
        let conn = conn.clone();
        async move { conn.shutdown(Duration::from_secs(30)).await }
    });
    becomes_true("it drains", || async { conn.phase() == Phase::Draining }).await;
    let open = conn.session_channel(Tell::new().0).await;
    assert!(matches!(open, Err(OpenError::Draining)), "{open:?}");
    channel.send("still here, ").await.unwrap();
    channel.send_eof().unwrap();
    let outcome = events.outcome().await;
    assert_eq!(outcome.stdout, b"still here, bye\n");
    assert_eq!(outcome.status, Some(0));
    soon("shutdown", draining).await.unwrap();
    assert!(matches!(conn.closed().await, ConnectionError::Closed));
}

async fn shutdown_forced() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (_channel, events) = exec(&conn, "sleep 1000").await;
    soon("shutdown", conn.shutdown(Duration::from_millis(200))).await;
    let outcome = events.outcome().await;
    assert!(
        matches!(outcome.closed, Some(CloseReason::Connection(ConnectionError::Closed))),
        "{:?}",
        outcome.closed
    );
}

async fn dropped_handle() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut phases = conn.phases();
    let (channel, mut events) = exec(&conn, "cat").await;
    drop(conn.clone());
    drop(conn);
    channel.send("alive").await.unwrap();
    events.until("alive").await;
    assert_eq!(phases.borrow().phase, Phase::Up);
    channel.send_eof().unwrap();
    assert_eq!(events.outcome().await.status, Some(0));
    soon("the end", phases.wait_for(|event| event.phase == Phase::Down)).await.unwrap();
    sshd.wait_for_log("closed by the application", Duration::from_secs(10)).await.unwrap();
}

async fn killed_actor() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (_channel, events) = exec(&conn, "sleep 1000").await;
    conn.actor().kill();
    let why = soon("the end is told", conn.closed()).await;
    assert!(matches!(why, ConnectionError::ActorGone(_)), "{why:?}");
    drop(events);
    let listener = sshd.pids()[0];
    becomes_true("the server's side is gone", || async {
        // What sshd leaves running is the command, which does not look at its input.
        sshd.log().contains("Close session") && is_running(listener)
    })
    .await;
}

async fn our_close() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let mut sibling = Echo::start(&conn).await;
    let (channel, mut events) = exec(&conn, "echo $$; exec cat").await;
    let pid: i32 = events.until("\n").await.trim().parse().unwrap();
    channel.close();
    channel.close();
    let outcome = events.outcome().await;
    assert!(matches!(outcome.closed, Some(CloseReason::Local)), "{:?}", outcome.closed);
    assert!(matches!(outcome.terminated, Some(StopReason::Closed(CloseReason::Local))));
    becomes_true("the command has ended", || async { !is_running(pid) }).await;
    sibling.round().await;
}

async fn close_after_data() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let file = sshd.directory().join("copy");
    let (channel, events) = exec(&conn, &format!("cat > '{}'", file.display())).await;
    let mut bulk = Bulk::new(3, 512 * 1024);
    while let Some(piece) = bulk.next() {
        channel.send(piece).await.unwrap();
    }
    channel.close();
    events.outcome().await;
    becomes_true("all of it has arrived", || async {
        std::fs::metadata(&file).is_ok_and(|data| data.len() == 512 * 1024)
    })
    .await;
}

async fn abort() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (channel, events) = open(&conn).await;
    channel.exec("sleep 1000").await.unwrap();
    for _ in 0..16 {
        channel.send(vec![0u8; 256 * 1024]).await.unwrap_or_default();
        if crate::common::info(&conn).await.channels.iter().any(|channel| channel.queued > 0) {
            break;
        }
    }
    channel.abort();
    let outcome = events.outcome().await;
    assert!(matches!(outcome.closed, Some(CloseReason::Local)), "{:?}", outcome.closed);
    assert_eq!(channel.closed().map(|reason| reason.to_string()), Some(CloseReason::Local.to_string()));
    no_channels_left(&conn).await;
    assert_eq!(run(&conn, "echo on").await.stdout, b"on\n");
}

struct Owner;

impl ractor_ssh::ractor::Actor for Owner {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ractor_ssh::ractor::ActorRef<()>,
        (): (),
    ) -> Result<(), ractor_ssh::ractor::ActorProcessingErr> {
        Ok(())
    }
}

struct Owned {
    owner: ractor_ssh::ractor::ActorCell,
}

impl ractor_ssh::ClientChannel for Owned {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ractor_ssh::ChannelContext<Self>) -> Result<(), ractor_ssh::BoxError> {
        ctx.close_with(&self.owner);
        Ok(ctx.exec("cat").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ractor_ssh::ChannelMsg,
        _: &mut ractor_ssh::ChannelContext<Self>,
    ) -> Result<ractor_ssh::Next, ractor_ssh::BoxError> {
        Ok(ractor_ssh::Next::Continue)
    }
}

async fn follows_its_owner() {
    let sshd = Sshd::builder().start().unwrap();
    let conn = connect(&sshd).await;
    let (owner, _) = ractor_ssh::ractor::Actor::spawn(None, Owner, ()).await.unwrap();
    let channel = conn.session_channel(Owned { owner: owner.get_cell() }).await.unwrap();
    owner.kill();
    let reason = soon("the channel ends", channel.wait()).await;
    assert!(matches!(reason, StopReason::Stopped(_)), "{reason:?}");
    no_channels_left(&conn).await;
}
