//! What happens while it is decided what runs on a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, Timeouts};
use ractor_ssh::error::{OpenError, Phase, RequestError};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ConnectionRef, Next, Route, Router, ServerChannel, ServerSide,
};
use russh::ChannelMsg as Wire;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, mpsc};

use crate::kit::{Peer, peer_test};
use crate::ours::{Quiet, Report, Reports};
use crate::programs::router;
use crate::support::{Served, eventually, open_when_free, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("a_slow_route_stalls_no_sibling_and_keeps_early_data", NONE, slow_route),
        peer_test("a_slow_init_stalls_no_sibling_and_keeps_early_data", NONE, slow_init),
        peer_test("an_open_that_is_decided_when_the_daemon_drains_is_refused", NONE, open_amid_drain),
        peer_test("a_slow_open_stalls_no_sibling", NONE, slow_open),
        peer_test("a_route_that_never_decides_refuses_at_the_request_timeout", NONE, endless_route),
        peer_test("a_route_whose_channel_is_closed_stops_deciding", NONE, closed_meanwhile),
        peer_test("who_hears_a_late_no_can_ask_for_something_else_at_once", NONE, late_no),
        peer_test("an_async_route_that_panics_refuses_and_harms_nothing", NONE, panicking_decision),
        peer_test(
            "an_opener_that_goes_before_its_open_is_decided_leaks_nothing",
            NONE,
            handler_down_before_open,
        ),
        peer_test("x11_and_agent_requests_are_answered_and_many_do_no_harm", NONE, x11_and_agent),
        peer_test("channels_only_a_client_takes_are_prohibited", NONE, opens_for_clients),
    ]
}

/// Echoes what comes, after an `init` that waits for a permit.
struct Echo {
    gate: Option<Arc<Semaphore>>,
}

impl ServerChannel for Echo {
    type Msg = ();

    async fn init(&mut self, _ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        if let Some(gate) = &self.gate {
            gate.acquire().await?.forget();
        }
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data, .. } => ctx.send(data)?,
            ChannelMsg::Eof => ctx.exit(0)?,
            ChannelMsg::Exec { .. } => ctx.reply_request(true)?,
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// A sibling talks while somebody else takes long.
async fn chat(conn: &ConnectionRef, command: &str) {
    let mut stream = soon(conn.exec(command).stream()).await.unwrap();
    for number in 0..20_u8 {
        stream.send(vec![number; 100]).await.unwrap();
        let mut back = [0; 100];
        tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(back, [number; 100]);
    }
}

/// Sends early, has a sibling chat, opens the gate, and gets everything back.
async fn early_data(conn: &ConnectionRef, gate: &Semaphore) {
    let channel = conn.events(OpenRequest::Session, ChannelOptions::new()).await.unwrap();
    let handle = (*channel).clone();
    let asked = tokio::spawn(async move { handle.exec("slow").await });
    let sent: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    (*channel).send(sent.clone()).await.unwrap();
    channel.send_eof().unwrap();
    chat(conn, "quick").await;
    gate.add_permits(1);
    soon(asked).await.unwrap().unwrap();
    let mut got = Vec::new();
    let mut events = channel;
    while let Some(event) = soon(events.next()).await {
        if let ChannelMsg::Data { data, .. } = &event.msg {
            got.extend_from_slice(data);
        }
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}

async fn slow_route() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let served = Served::start(Router::new().decide(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            if request.command() == "slow" {
                wait.acquire().await.unwrap().forget();
            }
            Route::run(Echo { gate: None })
        }
    }))
    .await;
    let conn = served.connect().await;
    early_data(&conn, &gate).await;
    soon(conn.close()).await;
}

async fn slow_init() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let served = Served::start(
        Router::new()
            .exec(move |request| Echo { gate: (request.command() == "slow").then(|| Arc::clone(&wait)) }),
    )
    .await;
    let conn = served.connect().await;
    early_data(&conn, &gate).await;
    soon(conn.close()).await;
}

fn to(host: &str, port: u16) -> OpenRequest {
    OpenRequest::DirectTcpip {
        host: host.to_owned(),
        port,
        originator_host: "127.0.0.1".to_owned(),
        originator_port: 1,
    }
}

async fn open_amid_drain() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let served = Served::start(router().direct_tcpip_async(move |_| {
        let wait = Arc::clone(&wait);
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            wait.acquire().await.unwrap().forget();
            Ok(Echo { gate: None })
        }
    }))
    .await;
    let conn = served.connect().await;
    let mut cat = soon(conn.exec("cat").stream()).await.unwrap();
    cat.send("x").await.unwrap();
    assert_eq!(&soon(cat.chunk()).await.unwrap().unwrap()[..], b"x");
    let opening = tokio::spawn({
        let conn = conn.clone();
        async move { conn.open_stream(to("slow", 7), ChannelOptions::new()).await }
    });
    eventually(|| asked.load(Ordering::SeqCst) == 1).await;
    let daemon = served.daemon.clone();
    let draining = tokio::spawn(async move { daemon.shutdown(Duration::from_secs(20)).await });
    eventually(|| served.daemon.sessions().iter().all(|session| session.phase == Phase::Draining)).await;
    gate.add_permits(1);
    let refused = soon(opening).await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("prohibited"), "{refused}");
    cat.send("still served").await.unwrap();
    assert_eq!(&soon(cat.chunk()).await.unwrap().unwrap()[..], b"still served");
    assert!(soon(cat.finish()).await.unwrap().success());
    soon(draining).await.unwrap();
}

async fn slow_open() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let served = Served::start(router().direct_tcpip_async(move |open| {
        let wait = Arc::clone(&wait);
        async move {
            wait.acquire().await.unwrap().forget();
            match open.port {
                7 => Ok(Echo { gate: None }),
                _ => Err(OpenFailureReason::ResourceShortage),
            }
        }
    }))
    .await;
    let conn = served.connect().await;
    let open = |port| {
        let conn = conn.clone();
        tokio::spawn(async move { conn.open_stream(to("slow", port), ChannelOptions::new()).await })
    };
    let (accepted, refused) = (open(7), open(8));
    chat(&conn, "cat").await;
    assert!(!accepted.is_finished() && !refused.is_finished());
    gate.add_permits(2);
    let mut stream = soon(accepted).await.unwrap().unwrap();
    stream.send("hello").await.unwrap();
    assert_eq!(&soon(stream.chunk()).await.unwrap().unwrap()[..], b"hello");
    let refused = soon(refused).await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("resource shortage"), "{refused}");
    soon(conn.close()).await;
}

async fn endless_route() {
    let served = Served::with(|config| {
        let mut timeouts = Timeouts::default();
        timeouts.request = Duration::from_millis(300);
        config.router(router().decide(|_| async { std::future::pending::<Route>().await })).timeouts(timeouts)
    })
    .await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = soon(channel.shell()).await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    soon(channel.exec("cat")).await.unwrap();
    soon(conn.close()).await;
}

/// Says when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

async fn closed_meanwhile() {
    let (sender, mut dropped) = mpsc::unbounded_channel();
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let routes = Router::new().decide(move |_| {
        let guard = Dropped(sender.clone());
        let _ = asked.send(());
        async move {
            let _guard = guard;
            std::future::pending::<Route>().await
        }
    });
    let served = Served::with(|config| config.router(routes).max_channels(1)).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let waiting = channel.clone();
    let request = tokio::spawn(async move { waiting.shell().await });
    soon(was_asked.recv()).await.unwrap();
    channel.close();
    soon(dropped.recv()).await.unwrap();
    assert!(matches!(soon(request).await.unwrap(), Err(RequestError::Closed(_))));
    open_when_free(&conn).await;
    soon(conn.close()).await;
}

async fn late_no() {
    let served = Served::start(router().decide(|_| async {
        tokio::task::yield_now().await;
        Route::refuse()
    }))
    .await;
    let conn = served.connect().await;
    for _ in 0..200 {
        let channel = conn.session_channel(Quiet).await.unwrap();
        let refused = soon(channel.shell()).await;
        assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
        soon(channel.exec("cat")).await.unwrap();
        channel.close();
        soon(channel.wait()).await;
    }
    soon(conn.close()).await;
}

async fn panicking_decision() {
    let served = Served::start(router().decide(|_| async { panic!("planted") })).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = soon(channel.shell()).await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    soon(channel.exec("cat")).await.unwrap();
    soon(conn.close()).await;
}

async fn handler_down_before_open() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let routes = Router::new().session_async(move |_| {
        let (wait, first) = (Arc::clone(&wait), count.fetch_add(1, Ordering::SeqCst) == 1);
        async move {
            if first {
                wait.acquire().await.unwrap().forget();
            }
            Ok(Echo { gate: None })
        }
    });
    let served = Served::with(|config| config.router(routes).max_channels(2)).await;
    let conn = served.connect().await;
    let mut sibling = soon(conn.exec("cat").stream()).await.unwrap();
    let opening = tokio::spawn({
        let conn = conn.clone();
        async move { conn.session_channel(Quiet).await }
    });
    soon(async {
        while asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await
        }
    })
    .await;
    opening.abort();
    assert!(soon(opening).await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    // The place is free again when the late confirmation was answered by a close.
    open_when_free(&conn).await;
    sibling.send("still here").await.unwrap();
    assert_eq!(&soon(sibling.chunk()).await.unwrap().unwrap()[..], b"still here");
    soon(conn.close()).await;
}

async fn x11_and_agent() {
    let reports = Reports::default();
    let sender = reports.sender();
    let whole = Served::with(|config| config.session_channel(move |_| Report::new(&sender))).await;
    let routed = Served::start(router()).await;
    for (served, display) in [(&routed, false), (&whole, true)] {
        let handle = served.connect_plain().await;
        let mut channel = handle.channel_open_session().await.unwrap();
        let answer = async |channel: &mut russh::Channel<russh::client::Msg>| match soon(channel.wait())
            .await
            .unwrap()
        {
            Wire::Success => true,
            Wire::Failure => false,
            other => panic!("{other:?}"),
        };
        // More than fit into russh's own queue of a channel.
        for _ in 0..150 {
            channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00ff", 0).await.unwrap();
            assert_eq!(answer(&mut channel).await, display);
            channel.agent_forward(true).await.unwrap();
            assert!(!answer(&mut channel).await);
        }
    }
    assert!(reports.next().await.starts_with("X11"));
}

async fn opens_for_clients() {
    let served = Served::start(router()).await;
    let handle = served.connect_plain().await;
    let refused = soon(handle.channel_open_x11("127.0.0.1", 6000)).await;
    let Err(russh::Error::ChannelOpenFailure(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, russh::ChannelOpenFailure::AdministrativelyProhibited);
    let conn = served.connect().await;
    let refused = conn.open_channel(to("127.0.0.1", 1), ChannelOptions::new(), Quiet).await;
    let Err(OpenError::Refused { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, OpenFailureReason::AdministrativelyProhibited);
    soon(conn.close()).await;
}
