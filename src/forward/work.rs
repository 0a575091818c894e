//! What a forward does: takes connections as long as it may, then sees the last of them to their end.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::error::ForwardEnd;
use super::listener::Listener;
use super::serve::Common;
use super::state::{ForwardState, Stop};
use crate::error::ConnectionError;
use crate::listen::Acceptor;

/// The work of a forward that listens here.
pub(super) async fn listen(listener: Listener, common: Arc<Common>) -> ForwardEnd {
    let mut connections = JoinSet::new();
    let mut stops = common.shared.stops();
    let mut gone = common.base.gone();
    let mut acceptor = Acceptor::new(listener);
    let end = loop {
        tokio::select! {
            biased;
            end = over(&mut stops, &mut gone) => break end,
            Some(done) = connections.join_next() => note(done),
            local = acceptor.next(|| ()), if connections.len() < common.spec.max_connections => {
                connections.spawn(Arc::clone(&common).serve(local));
            }
        }
    };
    drop(acceptor);
    common.shared.enter(ForwardState::Draining);
    drain(&mut connections, &mut stops).await;
    end
}

/// Waits until nothing more is to be taken, and says why.
pub(super) async fn over(
    stops: &mut watch::Receiver<Stop>,
    gone: &mut BoxFuture<'static, ConnectionError>,
) -> ForwardEnd {
    tokio::select! {
        biased;
        _ = stops.wait_for(|stop| *stop != Stop::Not) => ForwardEnd::Closed,
        error = gone => ForwardEnd::Connection(error),
    }
}

/// Waits for the connections that are left, as long as they may go on; then cuts them off.
pub(super) async fn drain(connections: &mut JoinSet<()>, stops: &mut watch::Receiver<Stop>) {
    loop {
        let stop = *stops.borrow_and_update();
        let limit = async {
            match stop {
                Stop::Now => {}
                Stop::By(at) => tokio::time::sleep_until(at).await,
                Stop::Drain | Stop::Not => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = connections.join_next() => match done {
                Some(done) => note(done),
                None => return,
            },
            Ok(()) = stops.changed() => {}
            () = limit => return connections.shutdown().await,
        }
    }
}

/// By when, from now.
pub(super) fn within(grace: std::time::Duration) -> Stop {
    Instant::now().checked_add(grace).map_or(Stop::Drain, Stop::By)
}

pub(super) fn note(done: Result<(), tokio::task::JoinError>) {
    if let Err(error) = done
        && error.is_panic()
    {
        tracing::error!(%error, "a forwarded connection's task panicked");
    }
}
