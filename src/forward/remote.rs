//! Forwards whose listener is on the server.
//!
//! Owns asking the server, again after each reconnect, and what becomes of a connection that was taken there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::endpoint::Endpoint;
use super::error::{ForwardEnd, ForwardError};
use super::listener::Local;
use super::serve::{Common, ask, say_goodbye};
use super::socks::{Answer, Version};
use super::spec::{Kind, To};
use super::state::{ForwardState, Present, Shared, Stop};
use super::work::{drain, note, over};
use crate::RemoteListener;
use crate::config::SlowConsumer;
use crate::error;
use crate::handle::ConnectionRef;
use crate::session::{ChannelStream, stream_fn};

/// The pause after a first refusal, and the longest: a server may take that long to find out that a connection is lost,
/// and to free its port.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the end waits for the server to say that it does not listen any more.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);
/// How long the end waits for connections that are on their way, if the server did not say that.
const LATE_LIMIT: Duration = Duration::from_secs(1);

/// A connection that was taken on the server, and its place among those there may be.
type Taken = (ChannelStream, OwnedSemaphorePermit);

pub(super) struct Remote {
    listen: Endpoint,
    /// The server listens.
    listener: Option<RemoteListener>,
    places: Arc<Semaphore>,
    give: mpsc::Sender<Taken>,
    take: mpsc::Receiver<Taken>,
}

impl Remote {
    pub(super) fn new(listen: Endpoint, max_connections: usize) -> Self {
        let places = max_connections.min(Semaphore::MAX_PERMITS);
        // As many as there are places: giving never waits.
        let (give, take) = mpsc::channel(places);
        Self { listen, listener: None, places: Arc::new(Semaphore::new(places)), give, take }
    }

    /// Has the server listen: on the port that it chose before, if it may choose.
    pub(super) async fn ask(
        &mut self,
        connection: &ConnectionRef,
        shared: &Arc<Shared>,
    ) -> Result<(), ForwardError> {
        let before = shared.listen();
        let mut asked = self.ask_for(&before, connection, shared).await;
        if matches!(asked, Err(error::ListenError::Refused { .. })) && before != self.listen {
            asked = self.ask_for(&self.listen, connection, shared).await;
        }
        let listener = asked.map_err(|error| match error {
            error::ListenError::Config(error) => ForwardError::Config(error),
            error::ListenError::Connection(error) => ForwardError::Connection(error),
            error => ForwardError::Refused { at: self.listen.clone(), source: Box::new(error) },
        })?;
        shared.listens(match &self.listen {
            Endpoint::Tcp { host, .. } => Endpoint::tcp(host, listener.port()),
            unix => unix.clone(),
        });
        shared.enter(ForwardState::Listening);
        self.listener = Some(listener);
        Ok(())
    }

    async fn ask_for(
        &self,
        at: &Endpoint,
        connection: &ConnectionRef,
        shared: &Arc<Shared>,
    ) -> Result<RemoteListener, error::ListenError> {
        let (places, give, shared) = (Arc::clone(&self.places), self.give.clone(), Arc::clone(shared));
        let make = move || {
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::info!(forward = shared.to, "a connection is refused, there are too many");
                shared.turned_away();
                return None;
            };
            let give = give.clone();
            Some(stream_fn(async move |stream: ChannelStream| {
                // When the work is over, so is the stream.
                let _ = give.send((stream, place)).await;
            }))
        };
        match at {
            Endpoint::Tcp { host, port } => {
                connection.tcpip_forward(host.clone(), *port, move |_| make()).await
            }
            Endpoint::Unix { path } => connection.streamlocal_forward(path.clone(), move |_| make()).await,
        }
    }

    /// The work of the forward.
    pub(super) async fn run(mut self, common: Arc<Common>) -> ForwardEnd {
        let mut connections = JoinSet::new();
        let mut stops = common.shared.stops();
        let mut gone = common.base.gone();
        let end = tokio::select! {
            biased;
            end = over(&mut stops, &mut gone) => end,
            end = self.listen(&common, &mut connections) => end,
        };
        common.shared.enter(ForwardState::Draining);
        if let Some(listener) = self.listener.take() {
            let cancelled = tokio::time::timeout(CANCEL_LIMIT, listener.cancel());
            if let Ok(Err(error)) = cancelled.await {
                tracing::debug!(%error, "a remote listener was not cancelled");
            }
        }
        let Self { give, take, .. } = self;
        // What is left of them is held by those who may still give something.
        drop(give);
        let late = if matches!(end, ForwardEnd::Connection(_)) { Duration::ZERO } else { LATE_LIMIT };
        see_off(take, late, &common, &mut connections, &mut stops).await;
        end
    }

    /// Has the server listen on one connection after the other. Returns when that makes no sense any more.
    async fn listen(&mut self, common: &Arc<Common>, connections: &mut JoinSet<()>) -> ForwardEnd {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(listener) = &self.listener {
                tokio::select! {
                    biased;
                    Some(done) = connections.join_next() => note(done),
                    Some(taken) = self.take.recv() => {
                        connections.spawn(Arc::clone(common).serve_remote(taken));
                    }
                    lost = listener.closed() => {
                        self.listener = None;
                        if !common.base.comes_back() {
                            return ForwardEnd::Connection(lost);
                        }
                        common.shared.enter(ForwardState::Waiting { why: lost.to_string().into() });
                    }
                }
                continue;
            }
            let asked = async {
                let connection = common.base.connection().await?;
                self.ask(&connection, &common.shared).await
            };
            match asked.await {
                Ok(()) => pause = FIRST_PAUSE,
                // Not yet, or never: whoever waits for the end of the base is told.
                Err(error) => {
                    tracing::info!(forward = common.shared.to, %error, ?pause, "the server does not listen");
                    common.shared.enter(ForwardState::Waiting { why: error.to_string().into() });
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Sees the connections to their end, and those that came in before the server's answer and are still on their way here:
/// until nobody can give any more, or nobody has for `late`.
async fn see_off(
    mut take: mpsc::Receiver<Taken>,
    late: Duration,
    common: &Arc<Common>,
    connections: &mut JoinSet<()>,
    stops: &mut watch::Receiver<Stop>,
) {
    loop {
        let taken = tokio::select! {
            biased;
            taken = take.recv() => taken,
            () = drain(connections, stops) => {
                tokio::time::timeout(late, take.recv()).await.ok().flatten()
            }
        };
        match taken {
            Some(taken) => connections.spawn(Arc::clone(common).serve_remote(taken)),
            None => return drain(connections, stops).await,
        };
    }
}

impl Common {
    /// Serves a connection that was taken on the server.
    async fn serve_remote(self: Arc<Self>, (channel, place): Taken) {
        let mut present = self.shared.one_more();
        if let SlowConsumer::Yield(patience) = self.spec.options.slow_consumer {
            channel.channel().yields_after(patience);
        }
        if let Kind::Remote { to, .. } = &self.spec.kind {
            match to {
                To::Function(serve) => serve(channel).await,
                To::Endpoint(to) => self.connect(channel, to, None, &mut present).await,
                To::Asked => self.ask(channel, &mut present).await,
            }
        }
        drop((present, place));
    }

    async fn ask(&self, mut channel: ChannelStream, present: &mut Present<'_>) {
        match tokio::time::timeout(self.spec.handshake_limit, ask(&mut channel, &self.spec)).await {
            Ok(Ok((version, to, early))) => {
                self.connect(channel, &to, Some((version, early)), present).await;
            }
            Ok(Err(error)) => {
                tracing::info!(%error, "a SOCKS client is turned away");
                self.shared.refused();
            }
            Err(_) => {
                tracing::info!(limit = ?self.spec.handshake_limit, "a SOCKS client says nothing");
                self.shared.refused();
                channel.channel().abort();
            }
        }
    }

    /// Connects on this side, and passes bytes on until both directions have ended.
    async fn connect(
        &self,
        mut channel: ChannelStream,
        to: &Endpoint,
        socks: Option<(Version, Bytes)>,
        present: &mut Present<'_>,
    ) {
        let connected = tokio::time::timeout(self.spec.connect_limit, Local::connect(to)).await;
        let local = match connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(local) => local,
            Err(error) => {
                tracing::info!(%to, %error, "a connection from the server gets nowhere");
                self.shared.refused();
                match socks {
                    Some((version, _)) => say_goodbye(&mut channel, &version.reply(reason(&error))).await,
                    None => channel.channel().abort(),
                }
                return;
            }
        };
        if let Some((version, _)) = &socks
            && channel.write_all(&version.reply(Answer::Granted)).await.is_err()
        {
            return self.shared.refused();
        }
        let early = socks.map_or_else(Bytes::new, |(_, early)| early);
        match local {
            Local::Tcp(mut stream, _) => {
                if stream.write_all(&early).await.is_ok() {
                    self.join(channel, &stream, Bytes::new(), present).await;
                }
            }
            #[cfg(unix)]
            Local::Unix(mut stream) => {
                if stream.write_all(&early).await.is_ok() {
                    self.join(channel, &stream, Bytes::new(), present).await;
                }
            }
        }
    }
}

/// What a SOCKS client is told when there is no connection on this side.
fn reason(error: &std::io::Error) -> Answer {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => Answer::Refused,
        ErrorKind::NetworkUnreachable => Answer::NetworkUnreachable,
        ErrorKind::HostUnreachable => Answer::HostUnreachable,
        ErrorKind::TimedOut => Answer::TimedOut,
        _ => Answer::Failed,
    }
}
