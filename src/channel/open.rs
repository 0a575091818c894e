//! Opening channels, from a connection's address.

use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::{NotOpened, Unopened};
use super::bare::{BareChannel, ChannelEvent, Relay};
use super::start::Starter;
use crate::behaviour::{ChannelRef, ClientChannel};
#[cfg(feature = "server")]
use crate::behaviour::{ServerChannel, ServerSide};
use crate::config::{ChannelOptions, SlowConsumer};
#[cfg(feature = "server")]
use crate::error::ConnectionError;
use crate::error::{OpenError, Phase};
use crate::handle::ConnectionRef;
use crate::handle::msg::{ConnectionMsg, OpenCommand};
use crate::handle::route::{Claim, Route, Way, Whereabouts, Wish};
use crate::wire::open::OpenRequest;

/// The connection of an isolated channel that is being opened. If nothing comes of that, it is closed, which ends in
/// time even if the behaviour's `init` does not.
struct Own {
    connection: ConnectionRef,
    opened: bool,
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.opened {
            let _ = self.connection.tell(ConnectionMsg::Close);
        }
    }
}

/// # Channels
impl ConnectionRef {
    /// Opens a `session` channel (RFC 4254 section 6.1) and runs `behaviour` on it, with default options.
    ///
    /// Returns when the behaviour's `init` has returned.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed as soon as the peer has confirmed it.
    ///
    /// # Errors
    /// The peer refused or did not answer in time, a limit was reached, `init` failed, the connection ended.
    pub async fn session_channel<C: ClientChannel>(&self, behaviour: C) -> Result<ChannelRef<C>, OpenError> {
        self.open_channel(OpenRequest::Session, ChannelOptions::default(), behaviour).await
    }

    /// Opens a channel of any kind with options. Otherwise as [`session_channel`](Self::session_channel).
    ///
    /// With [`SlowConsumer::Isolate`] the channel gets a connection of its own, which ends with it. It is closed when
    /// this connection is gone; a shutdown of this connection does not wait for it.
    ///
    /// # Errors
    /// As [`session_channel`](Self::session_channel); wrong options; the isolated connection failed.
    pub async fn open_channel<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
    ) -> Result<ChannelRef<C>, OpenError> {
        options.check()?;
        self.open_on(request, options, behaviour, Claim::default(), None).await.map_err(NotOpened::into_error)
    }

    /// Opens a channel that somebody keeps an account of.
    async fn open_on<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
        claim: Claim,
        told: Option<&Whereabouts>,
    ) -> Result<ChannelRef<C>, NotOpened<C>> {
        if options.slow_consumer != SlowConsumer::Isolate {
            return self.open_here(request, options, behaviour, claim, told).await;
        }
        let Some(redial) = self.redial() else {
            return Err(OpenError::Isolate("this connection was made over a given stream".into()).into());
        };
        self.may_open()?;
        let isolated = async {
            let connection = redial().await.map_err(|e| OpenError::Isolate(e.to_string().into()))?;
            let mut own = Own { connection, opened: false };
            self.may_open()?;
            // What happens there says nothing about this connection.
            let claim = claim.elsewhere();
            let channel = own.connection.open_here(request, options, behaviour, claim, told).await?;
            own.opened = true;
            Ok::<_, NotOpened<C>>((own.connection.clone(), channel))
        };
        let (own, channel) = tokio::select! {
            biased;
            opened = isolated => opened?,
            // Whatever the attempt is at: nobody would get the channel.
            error = self.closed() => return Err(OpenError::Connection(error).into()),
        };
        self.takes_along(own, &channel);
        Ok(channel)
    }

    /// An isolated channel asks its parent, which has no entry for it.
    fn may_open(&self) -> Result<(), OpenError> {
        match self.phase() {
            Phase::Up => Ok(()),
            Phase::Down => Err(OpenError::Connection(self.error())),
            _ => Err(OpenError::Draining),
        }
    }

    /// An isolated channel is closed when this connection is gone. As here, one that is stuck in a callback is killed when
    /// the close timeout is over.
    fn takes_along<C: ClientChannel>(&self, own: Self, channel: &ChannelRef<C>) {
        let mut phases = self.phases();
        let counted = self.isolates();
        let channel = channel.clone();
        tokio::spawn(async move {
            let down = async move { phases.wait_for(|event| event.phase == Phase::Down).await.map(drop) };
            tokio::select! {
                _ = down => {
                    channel.close();
                    let limit = channel.port().close_timeout();
                    if tokio::time::timeout(limit, channel.port().exited()).await.is_err() {
                        channel.kill();
                    }
                }
                _ = channel.port().exited() => {}
            }
            let actor = own.actor();
            drop((own, channel));
            let _ = actor.wait(None).await;
            drop(counted);
        });
    }

    async fn open_here<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
        claim: Claim,
        told: Option<&Whereabouts>,
    ) -> Result<ChannelRef<C>, NotOpened<C>> {
        if let Some(told) = told {
            told.are(Some(self));
        }
        let (tx, rx) = oneshot::channel();
        let adjust = options.window_adjust;
        let start = Box::new(Starter::new(behaviour, adjust, Some(tx)));
        // A command that nobody takes gives the behaviour back.
        let _ = self.tell(ConnectionMsg::Open(OpenCommand { request, options, claim, start }));
        match rx.await {
            Ok(Ok(opened)) => Ok(opened.claim()),
            Ok(Err(Unopened { error: Some(error), behaviour })) => Err(NotOpened { error, behaviour }),
            Ok(Err(Unopened { error: None, behaviour })) => {
                Err(NotOpened { error: OpenError::Connection(self.closed().await), behaviour })
            }
            // Nobody is left to answer: the channel's actor was killed in `init`, or the connection is gone.
            Err(_) if self.is_running() => Err(OpenError::Init("the channel actor was killed".into()).into()),
            Err(_) => Err(OpenError::Connection(self.closed().await).into()),
        }
    }

    /// Opens a channel without a behaviour: `owner` gets a [`ChannelEvent`] for every SSH event, as any Erlang
    /// process gets `{ssh_cm, ...}`. When the owner ends, the channel is closed.
    ///
    /// The receive credit of data travels in the event, and goes back when the owner drops it. A message type
    /// that throws the event's credit away on conversion gives up flow control.
    ///
    /// # Errors
    /// As [`open_channel`](Self::open_channel).
    pub async fn open_bare<M>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        owner: ActorRef<M>,
    ) -> Result<BareChannel, OpenError>
    where
        M: ractor::Message + From<ChannelEvent>,
    {
        let relay = self.open_channel(request, options, Relay::new(owner)).await?;
        Ok(BareChannel::new(&relay))
    }
}

/// # Channels on a connection that is found first
impl Route {
    /// Opens a channel, looking for another connection as long as the one that was found has no room after all.
    pub(crate) async fn open_channel<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
    ) -> Result<ChannelRef<C>, OpenError> {
        self.open_channel_telling(request, options, behaviour, None).await
    }

    /// As above; when the behaviour runs, `told` says on which connection.
    pub(crate) async fn open_channel_telling<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        mut behaviour: C,
        told: Option<&Whereabouts>,
    ) -> Result<ChannelRef<C>, OpenError> {
        options.check()?;
        let mut wish = Wish {
            session: matches!(request, OpenRequest::Session),
            isolated: options.slow_consumer == SlowConsumer::Isolate,
            since: Instant::now(),
            again: false,
        };
        loop {
            let way = self.way(wish).await?;
            let slot = way.claim.slot.clone();
            match way.open_channel(request.clone(), options.clone(), behaviour, told).await {
                Ok(channel) => return Ok(channel),
                Err(not_opened) => {
                    let again = slot.is_some_and(|slot| slot.not_opened(&not_opened.error));
                    match not_opened {
                        NotOpened { behaviour: Some(unused), .. } if again => behaviour = unused,
                        not_opened => return Err(not_opened.into_error()),
                    }
                    wish.again = true;
                    if let Some(told) = told {
                        told.are(None);
                    }
                }
            }
        }
    }
}

impl Way {
    pub(crate) async fn open_channel<C: ClientChannel>(
        self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
        told: Option<&Whereabouts>,
    ) -> Result<ChannelRef<C>, NotOpened<C>> {
        if self.own {
            self.connection.open_here(request, options, behaviour, self.claim, told).await
        } else {
            self.connection.open_on(request, options, behaviour, self.claim, told).await
        }
    }
}

/// Opens a channel from the side of a server, towards its client.
#[cfg(feature = "server")]
pub(crate) async fn open_towards_client<C: ServerChannel>(
    actor: &ActorRef<ConnectionMsg>,
    request: OpenRequest,
    options: ChannelOptions,
    behaviour: C,
) -> Result<ChannelRef<C, ServerSide>, OpenError> {
    let gone = || OpenError::Connection(ConnectionError::Closed);
    let (tx, rx) = oneshot::channel();
    let start = Box::new(Starter::new(behaviour, options.window_adjust, Some(tx)));
    let command = OpenCommand { request, options, claim: Claim::default(), start };
    actor.cast(ConnectionMsg::Open(command)).map_err(|_| gone())?;
    match rx.await {
        Ok(Ok(opened)) => Ok(opened.claim()),
        Ok(Err(Unopened { error, behaviour })) => {
            Err(NotOpened { error: error.unwrap_or_else(gone), behaviour }.into_error())
        }
        Err(_) => Err(gone()),
    }
}
