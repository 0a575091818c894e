//! The steps of a supervisor: waiting for a connection, one incarnation from its open to its end, a pause. Each is a task
//! that tells the actor what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::future::BoxFuture;
use ractor::ActorRef;

use super::place::Admitted;
use super::spec::{ChannelSpec, Incarnation};
use super::state::IncarnationEnd;
use super::supervisor::Order;
use crate::behaviour::{ChannelRef, ClientChannel};
use crate::config::SlowConsumer;
use crate::error::{CloseReason, ConnectionError, OpenError, Phase, StopReason};
use crate::handle::route::Way;
use crate::observe::Lineage;

/// What came of a step.
pub(super) enum Report<C: ClientChannel> {
    Admitted(Admitted),
    Up(Held<C>),
    /// The connection is lost or closing; the channel may still be at what arrived before.
    Away(ConnectionError),
    Ended(IncarnationEnd),
    PauseOver,
    /// No connection will follow.
    Gone(ConnectionError),
}

/// A channel that is stopped with whoever holds it.
pub(super) struct Held<C: ClientChannel>(pub(super) Option<ChannelRef<C>>);

impl<C: ClientChannel> Held<C> {
    /// Whether it was ended for holding its connection up, whatever its behaviour made of that.
    pub(super) fn has_stalled(&self) -> bool {
        let closed = self.0.as_ref().and_then(|channel| channel.info().closed);
        matches!(closed, Some(CloseReason::Stalled { .. }))
    }

    /// Lets the channel end by itself.
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl<C: ClientChannel> Drop for Held<C> {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take() {
            channel.stop("its supervisor has stopped it");
        }
    }
}

/// Tells the supervisor what came of one step.
pub(super) struct Reporter<C: ClientChannel> {
    pub(super) to: ActorRef<Order<C>>,
    pub(super) step: u64,
}

impl<C: ClientChannel> Reporter<C> {
    fn tell(&self, what: Report<C>) {
        let _ = self.to.cast(Order::Report { step: self.step, what });
    }
}

/// Waits for a connection.
pub(super) async fn wait<C: ClientChannel>(
    admitted: BoxFuture<'static, Option<Admitted>>,
    gone: BoxFuture<'static, ConnectionError>,
    reporter: Reporter<C>,
) {
    let report = tokio::select! {
        biased;
        Some(admitted) = admitted => Report::Admitted(admitted),
        error = gone => Report::Gone(error),
    };
    reporter.tell(report);
}

/// Opens one incarnation and watches over it until it ends.
pub(super) async fn open<C: ClientChannel>(
    spec: ChannelSpec<C>,
    way: Way,
    (comes_back, gone): (bool, BoxFuture<'static, ConnectionError>),
    (incarnation, lineage): (Incarnation, Lineage),
    reporter: Reporter<C>,
) {
    let isolated = spec.options.slow_consumer == SlowConsumer::Isolate;
    let connection = way.connection.clone();
    let life = async {
        let behaviour = match catch_unwind(AssertUnwindSafe(|| (spec.factory)(incarnation))) {
            Ok(behaviour) => behaviour,
            Err(panic) => return (IncarnationEnd::FactoryPanicked(panic_text(&*panic).into()), false),
        };
        // What happens on a connection of its own says nothing about this one.
        let slot = way.claim.slot.clone().filter(|_| !isolated);
        match way.with_lineage(lineage).open_channel(spec.request, spec.options, behaviour).await {
            Ok(channel) => {
                drop(slot);
                reporter.tell(Report::Up(Held(Some(channel.clone()))));
                (IncarnationEnd::Stopped(end_of(&channel).await), false)
            }
            Err(not_opened) => {
                // The connection had no room after all: nothing the channel could be blamed for.
                let elsewhere = slot.is_some_and(|slot| slot.not_opened(&not_opened.error));
                let error = not_opened.into_error();
                (IncarnationEnd::NotStarted(if elsewhere { OpenError::Draining } else { error }), elsewhere)
            }
        }
    };
    tokio::pin!(life);
    let (end, elsewhere) = tokio::select! {
        biased;
        end = &mut life => end,
        error = connection.closed() => {
            reporter.tell(Report::Away(error));
            // It may still be at what arrived before: the next incarnation is not to overtake it.
            tokio::select! {
                biased;
                end = life => end,
                error = gone => return reporter.tell(Report::Gone(error)),
            }
        }
    };
    let lost = if isolated {
        // Closed with the connection that it was declared on.
        (connection.phase() == Phase::Down).then(|| connection.error())
    } else {
        end.connection_error()
    };
    if let Some(error) = lost
        && (isolated || comes_back)
        && !elsewhere
    {
        reporter.tell(Report::Away(error));
        connection.closed().await;
    }
    reporter.tell(Report::Ended(end));
}

/// Waits until the channel's actor has ended. When the channel was cut off on our side, as one that stalled is, only the
/// callback that is under way and `terminate` are waited for, and for no longer than closing may take: a behaviour
/// that is stuck would never come back.
async fn end_of<C: ClientChannel>(channel: &ChannelRef<C>) -> StopReason {
    let stuck = async {
        channel.port().until_cut_off().await;
        tokio::time::sleep(channel.port().close_timeout()).await;
    };
    tokio::select! {
        biased;
        reason = channel.wait() => return reason,
        () = stuck => {}
    }
    tracing::warn!(
        behaviour = std::any::type_name::<C>(),
        "killing a channel actor that is stuck in a callback"
    );
    channel.kill();
    channel.wait().await
}

/// Waits until the next incarnation is due.
pub(super) async fn pause<C: ClientChannel>(
    after: Duration,
    gone: BoxFuture<'static, ConnectionError>,
    reporter: Reporter<C>,
) {
    let report = tokio::select! {
        () = tokio::time::sleep(after) => Report::PauseOver,
        error = gone => Report::Gone(error),
    };
    reporter.tell(report);
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
