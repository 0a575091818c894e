//! Channels that the daemon opens towards our client, over a real session of russh: what is asked for comes in, whatever its
//! kind, and nothing else.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::{Daemon, DaemonConfig, DaemonRef};
use crate::channel::open::open_towards_client;
use crate::config::ChannelOptions;
use crate::error::OpenError;
use crate::host_key::HostKeyPolicy;
use crate::session::{ChannelStream, Served, ServerStream, stream_fn};
use crate::wire::codes::OpenFailureReason;
use crate::wire::keys::generate_ed25519;
use crate::wire::open::OpenRequest;
use crate::wire::request::ExitStatus;
use crate::{Client, ClientChannel, ClientConfig, ConnectionRef};

/// Both ends of one connection.
struct Ends {
    daemon: DaemonRef,
    conn: ConnectionRef,
}

impl Ends {
    async fn new() -> Self {
        let key = generate_ed25519();
        let public = key.public_key().clone();
        let config = DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(key).danger_let_anyone_in();
        let daemon = Daemon::start(config).await.unwrap();
        let config = ClientConfig::new("127.0.0.1", "alice")
            .port(daemon.local_addr().port())
            .auth(crate::auth::Auth::new().none())
            .host_key(HostKeyPolicy::pinned([public]));
        let conn = Client::new(config).connect().await.unwrap();
        Self { daemon, conn }
    }

    /// Opens a channel from the daemon's side, says something on it, and tells the answer.
    async fn ask(&self, request: OpenRequest, question: &'static [u8]) -> Result<Vec<u8>, OpenError> {
        let (told, mut answer) = mpsc::unbounded_channel();
        let behaviour = Served::new(move |mut stream: ServerStream| async move {
            stream.write_all(question).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            let _ = told.send(all);
            ExitStatus::Missing
        });
        let session = loop {
            let live = self.daemon.live();
            if let Some(session) = live.first().filter(|session| session.connection().is_some()) {
                break Arc::clone(session);
            }
            tokio::task::yield_now().await;
        };
        let actor = session.connection().unwrap().mailbox();
        open_towards_client(actor, request, ChannelOptions::default(), behaviour).await?;
        Ok(answer.recv().await.expect("the function has answered"))
    }
}

/// Turns what it hears.
fn backwards() -> impl ClientChannel {
    stream_fn(|mut stream: ChannelStream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    })
}

fn display() -> OpenRequest {
    OpenRequest::X11 { originator_address: "192.0.2.1".into(), originator_port: 6010 }
}

fn refused(result: Result<Vec<u8>, OpenError>) -> bool {
    let reason = OpenFailureReason::AdministrativelyProhibited;
    matches!(result, Err(OpenError::Refused { reason: why, .. }) if why == reason)
}

#[tokio::test]
async fn an_agent_channel_comes_in_while_somebody_takes_it() {
    let ends = Ends::new().await;
    assert!(refused(ends.ask(OpenRequest::AuthAgent, b"").await));
    let accepting = ends.conn.accept_agent(|| Some(backwards())).unwrap();
    assert!(ends.conn.accept_agent(|| Some(backwards())).is_err(), "one at a time");
    for _ in 0..3 {
        assert_eq!(ends.ask(OpenRequest::AuthAgent, b"abc").await.unwrap(), b"cba");
    }
    drop(accepting);
    assert!(refused(ends.ask(OpenRequest::AuthAgent, b"").await));
    ends.conn.close().await;
}

#[tokio::test]
async fn an_x11_channel_goes_to_the_newest_that_takes_it() {
    let ends = Ends::new().await;
    assert!(refused(ends.ask(display(), b"").await));
    let old = ends.conn.accept_x11(|_, _| Some(backwards()));
    let new = ends.conn.accept_x11(|from, port| {
        assert_eq!((from, port), ("192.0.2.1", 6010));
        false.then(backwards)
    });
    assert_eq!(ends.ask(display(), b"abc").await.unwrap(), b"cba");
    drop(old);
    assert!(refused(ends.ask(display(), b"").await), "the one that is left makes nothing");
    drop(new);
    ends.conn.close().await;
}

#[tokio::test]
async fn what_nobody_asked_for_is_refused_and_what_only_clients_open_is_not_sent() {
    let ends = Ends::new().await;
    for request in [
        OpenRequest::ForwardedTcpip {
            address: "localhost".into(),
            port: 80,
            originator_address: "192.0.2.1".into(),
            originator_port: 1,
        },
        OpenRequest::ForwardedStreamlocal { path: "/run/s".into() },
    ] {
        assert!(refused(ends.ask(request, b"").await));
    }
    let wrong = ends.ask(OpenRequest::Session, b"").await;
    assert!(matches!(wrong, Err(OpenError::Unsupported { .. })), "{wrong:?}");
    let info = ends.conn.info().await.unwrap();
    assert_eq!((info.counters.opens_refused, info.channels.len()), (2, 0));
    let ours = ends.conn.open_channel(OpenRequest::AuthAgent, ChannelOptions::default(), backwards()).await;
    assert!(matches!(ours, Err(OpenError::Unsupported { .. })), "{ours:?}");
    ends.conn.close().await;
}
