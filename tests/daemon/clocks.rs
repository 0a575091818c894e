//! How long a connection may be what it is. On a paused clock: peers stand at the other end of a pipe, and the defaults
//! pass at once.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use ractor_ssh::config::Timeouts;
use ractor_ssh::error::{ConnectionError, Phase};
use ractor_ssh::wire::codes::DisconnectCode;
use ractor_ssh::{Client, ConnectionRef, DaemonConfig, SessionEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, USER, ignore_packet};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("a_peer_that_trickles_is_cut_off_at_the_login_grace", trickle),
        paused("silence_ends_at_the_limit_of_its_phase", silence),
        paused("a_peer_that_does_not_log_in_is_told_when_its_time_is_over", told),
        paused("the_login_grace_ends_with_the_login", no_grace_after_login),
        paused("a_connection_that_opens_no_channel_is_ended", initial_idle),
        paused("a_connection_without_a_channel_is_ended_and_one_with_a_silent_channel_is_not", idle),
        paused("a_connection_is_ended_at_its_greatest_age", lifetime),
        paused("an_idle_timeout_of_the_client_ends_its_connection", client_idle),
    ]
}

/// A test on a clock that jumps whenever nothing else can happen.
fn paused<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()> + Send + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.map_err(|error| Failed::from(error.to_string()))?;
        // What the body asserts arrives as its panic.
        runtime.block_on(body());
        Ok(())
    })
}

/// How connections ended, as the daemon's hook was told.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<SessionEnd>>>);

impl Ends {
    fn hook(&self, config: DaemonConfig) -> DaemonConfig {
        let ends = Arc::clone(&self.0);
        config.on_disconnect(move |_, end| ends.lock().unwrap().push(end.clone()))
    }

    fn take(&self) -> Vec<SessionEnd> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn pipe(served: &Served) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    served.daemon.serve(theirs).unwrap();
    ours
}

async fn connect(served: &Served) -> ConnectionRef {
    Client::new(served.client_config()).connect_stream(pipe(served)).await.unwrap()
}

/// How long the daemon keeps a peer that sends `piece` every second.
async fn kept(served: &Served, first: &[u8], piece: &[u8]) -> Duration {
    let mut stream = pipe(served);
    let start = Instant::now();
    stream.write_all(first).await.unwrap();
    let mut ticks = tokio::time::interval(SECOND);
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) {
                return start.elapsed();
            },
            _ = ticks.tick() => if stream.write_all(piece).await.is_err() {
                return start.elapsed();
            }
        }
    }
}

/// OTP: ssh_connect_negtimeout_sequential.
async fn trickle() {
    let ends = Ends::default();
    let served = Served::with(|config| {
        let mut timeouts = Timeouts::default();
        timeouts.kex = Duration::MAX;
        ends.hook(config.timeouts(timeouts))
    })
    .await;
    let kept = kept(&served, b"SSH-2.0-trickle\r\n", &ignore_packet()).await;
    assert!(kept >= 120 * SECOND && kept <= 121 * SECOND, "{kept:?}");
    assert!(matches!(ends.take()[..], [SessionEnd::LoginTimeout { phase: Phase::Kex, .. }]));
    assert_eq!(served.daemon.info().counters.login_timeouts, 1);
}

async fn silence() {
    let served = Served::with(|config| config).await;
    let before_version = kept(&served, b"", b"").await;
    assert!(before_version >= 10 * SECOND && before_version <= 11 * SECOND, "{before_version:?}");
    let before_keys = kept(&served, b"SSH-2.0-quiet\r\n", b"").await;
    assert!(before_keys >= 30 * SECOND && before_keys <= 31 * SECOND, "{before_keys:?}");
    assert_eq!(served.daemon.info().counters.login_timeouts, 2);
}

/// russh's client, that says why it ended.
struct Farewell(tokio::sync::oneshot::Sender<(russh::Disconnect, String)>);

/// What it takes for [`Farewell`] to be moved out of a handler.
struct Listener(Option<Farewell>);

impl russh::client::Handler for Listener {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn disconnected(
        &mut self,
        reason: russh::client::DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        if let (russh::client::DisconnectReason::ReceivedDisconnect(info), Some(farewell)) =
            (reason, self.0.take())
        {
            let _ = farewell.0.send((info.reason_code, info.message));
        }
        Ok(())
    }
}

async fn told() {
    let served = Served::with(|config| config).await;
    let start = Instant::now();
    let (told, farewell) = tokio::sync::oneshot::channel();
    let listener = Listener(Some(Farewell(told)));
    let config = russh::client::Config::default();
    let mut handle = russh::client::connect_stream(config.into(), pipe(&served), listener).await.unwrap();
    assert!(!handle.authenticate_none(USER).await.unwrap().success());
    let (code, text) = farewell.await.unwrap();
    assert!(matches!(code, russh::Disconnect::ByApplication));
    assert!(text.contains("time to log in"), "{text}");
    let after = start.elapsed();
    assert!(after >= 119 * SECOND && after <= 121 * SECOND, "{after:?}");
}

/// OTP: ssh_connect_nonegtimeout_connected_sequential.
async fn no_grace_after_login() {
    let served = Served::with(|config| config.router(router()).login_grace(5 * SECOND)).await;
    let conn = connect(&served).await;
    sleep(60 * SECOND).await;
    conn.session_channel(Quiet).await.unwrap().exec("cat").await.unwrap();
    conn.close().await;
}

/// OTP: max_initial_idle_time.
async fn initial_idle() {
    let ends = Ends::default();
    let served = Served::with(|config| ends.hook(config.router(router()))).await;
    let start = Instant::now();
    let conn = connect(&served).await;
    let ConnectionError::Disconnected { code, description } = conn.closed().await else {
        panic!("not told: {:?}", conn.closed().await)
    };
    assert_eq!(code, DisconnectCode::BY_APPLICATION);
    assert_eq!(description, "no channel for too long");
    let after = start.elapsed();
    assert!(after >= 120 * SECOND && after <= 122 * SECOND, "{after:?}");
    served.daemon.stop().await;
    assert!(
        matches!(ends.take()[..], [SessionEnd::Ended(ConnectionError::Idle { after })] if after == 120 * SECOND)
    );
    assert_eq!(served.daemon.info().counters.idle_timeouts, 1);
}

/// OTP: idle_time, idle_time_server.
async fn idle() {
    let limit = 15 * 60 * SECOND;
    let served = Served::with(|config| config.router(router())).await;
    let conn = connect(&served).await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.exec("cat").await.unwrap();
    sleep(3 * limit).await;
    channel.send("still here").await.unwrap();
    channel.close();
    channel.wait().await;
    let start = Instant::now();
    sleep(limit / 2).await;
    // A new channel starts the clock anew.
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.close();
    channel.wait().await;
    let reason = conn.closed().await;
    assert!(matches!(reason, ConnectionError::Disconnected { .. }), "{reason}");
    let after = start.elapsed();
    assert!(after >= limit * 3 / 2 && after <= limit * 3 / 2 + 10 * SECOND, "{after:?}");
}

async fn lifetime() {
    let ends = Ends::default();
    let served = Served::with(|config| ends.hook(config.router(router()).max_lifetime(3600 * SECOND))).await;
    let start = Instant::now();
    let conn = connect(&served).await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.exec("cat").await.unwrap();
    while conn.phase() == Phase::Up {
        // In use all the time.
        let _ = channel.send("x").await;
        sleep(30 * SECOND).await;
    }
    assert!(matches!(conn.closed().await, ConnectionError::Disconnected { description, .. }
        if description.contains("greatest age")));
    let after = start.elapsed();
    assert!(after >= 3600 * SECOND && after <= 3660 * SECOND, "{after:?}");
    served.daemon.stop().await;
    assert!(matches!(ends.take()[..], [SessionEnd::Ended(ConnectionError::Expired { .. })]));
    assert_eq!(served.daemon.info().counters.lifetimes_over, 1);
}

/// OTP: idle_time_client.
async fn client_idle() {
    let served = Served::with(|config| config.router(router())).await;
    let config = served.client_config().idle_timeout(20 * SECOND);
    let conn = Client::new(config).connect_stream(pipe(&served)).await.unwrap();
    let channel = conn.session_channel(Quiet).await.unwrap();
    sleep(60 * SECOND).await;
    assert_eq!(conn.phase(), Phase::Up);
    channel.close();
    channel.wait().await;
    let start = Instant::now();
    let reason = conn.closed().await;
    assert!(matches!(reason, ConnectionError::Idle { .. } | ConnectionError::Closed), "{reason}");
    let after = start.elapsed();
    assert!(after >= 20 * SECOND && after <= 22 * SECOND, "{after:?}");
}
