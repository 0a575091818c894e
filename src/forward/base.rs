//! What a forward stands on: where its channels are opened, and how long there will be anything to open them on.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::spec::WhileDown;
use crate::config::ChannelOptions;
use crate::error::{ConnectionError, OpenError, Phase};
use crate::handle::ConnectionRef;
use crate::handle::route::Route;
use crate::observe::{Lineage, Watched};
use crate::session::{ChannelStream, CommandError};
use crate::wire::open::OpenRequest;

/// A connection, a managed one, or something else that channels can be opened on.
pub(crate) trait Base: Send + Sync + 'static {
    /// The way to a connection, for one channel.
    fn route(&self) -> Route;

    /// Whether there is a connection just now, as far as that is known.
    fn is_up(&self) -> bool;

    /// The connection to be used next: waits for it as long as it takes. Fails when none will come.
    fn connection(&self) -> BoxFuture<'static, Result<ConnectionRef, ConnectionError>>;

    /// Whether another connection may follow when one is lost.
    fn comes_back(&self) -> bool;

    /// Waits until there will be no connection any more.
    fn gone(&self) -> BoxFuture<'static, ConnectionError>;

    /// Lists the forward among those of this place, for as long as it can be looked at.
    fn list(&self, forward: Weak<dyn Watched>);
}

impl Base for ConnectionRef {
    fn route(&self) -> Route {
        Route::from(self)
    }

    fn is_up(&self) -> bool {
        self.phase() == Phase::Up
    }

    fn connection(&self) -> BoxFuture<'static, Result<Self, ConnectionError>> {
        let found = match self.phase() {
            Phase::Down => Err(self.error()),
            _ => Ok(self.clone()),
        };
        std::future::ready(found).boxed()
    }

    fn comes_back(&self) -> bool {
        false
    }

    fn gone(&self) -> BoxFuture<'static, ConnectionError> {
        let connection = self.clone();
        async move { connection.closed().await }.boxed()
    }

    fn list(&self, forward: Weak<dyn Watched>) {
        self.watched().add(forward);
    }
}

/// Opens a channel for a connection that has come, listed below the forward in the tree of the connection.
pub(super) async fn open(
    base: &Arc<dyn Base>,
    lineage: Lineage,
    while_down: WhileDown,
    request: OpenRequest,
    options: ChannelOptions,
) -> Result<ChannelStream, OpenError> {
    let limit = match while_down {
        WhileDown::Refuse if !base.is_up() => return Err(OpenError::NoConnection("it is down".into())),
        // What is up may be lost while the channel is opened; then there is an error at once.
        WhileDown::Refuse => Duration::MAX,
        WhileDown::Wait(limit) => limit,
    };
    let route = Route::found({
        let route = base.route();
        move |wish| {
            let route = route.clone();
            async move { route.way(wish).await.map(|way| way.with_lineage(lineage)) }
        }
    });
    match tokio::time::timeout(limit, route.open_stream(request, options)).await {
        Ok(opened) => opened.map_err(|error| match error {
            CommandError::Open(error) => error,
            CommandError::Config(error) => error.into(),
            other => OpenError::Init(other.to_string().into()),
        }),
        Err(_) => Err(OpenError::Timeout { after: limit }),
    }
}
