//! From a function of the user's to an actor that can be started: now or later, and whatever the function does.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::behaviour::{ServerChannel, ServerSide};
use crate::channel::start::Starter;
use crate::config::WindowAdjust;
use crate::handle::msg::StartChannel;
use crate::session::{Served, ServerStream};
use crate::wire::codes::OpenFailureReason;
use crate::wire::request::ExitStatus;

/// What runs on a channel, or why nothing does. For a request on a channel that is open already the reason is moot.
pub(in crate::server) type Choice = Result<Box<dyn StartChannel>, OpenFailureReason>;

/// A choice, or the wait for one.
pub(in crate::server) enum Made {
    Now(Choice),
    Later(BoxFuture<'static, Choice>),
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now(Ok(_)) => "Now(..)",
            Self::Now(Err(_)) => "Refused",
            Self::Later(_) => "Later",
        })
    }
}

/// Chooses what runs on a channel.
pub(in crate::server) type Make<T> = Arc<dyn Fn(T, WindowAdjust) -> Made + Send + Sync>;

/// What runs on a channel, of whatever type: what a [`decide`](crate::Router::decide) route returns.
pub struct Route(Box<dyn FnOnce(WindowAdjust) -> Choice + Send>);

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Route")
    }
}

impl Route {
    /// Runs this behaviour.
    #[must_use]
    pub fn run(behaviour: impl ServerChannel) -> Self {
        Self(Box::new(move |adjust| Ok(starter(behaviour, adjust))))
    }

    /// Runs this function, as [`Router::exec_stream_fn`](crate::Router::exec_stream_fn) does.
    #[must_use]
    pub fn run_fn<F>(work: impl FnOnce(ServerStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output: Into<ExitStatus>> + Send + 'static,
    {
        Self::run(Served::new(work))
    }

    /// Runs nothing: the request is refused.
    #[must_use]
    pub fn refuse() -> Self {
        Self(Box::new(|_| Err(OpenFailureReason::AdministrativelyProhibited)))
    }
}

/// Forgets the type of a behaviour.
fn starter<C: ServerChannel>(behaviour: C, adjust: WindowAdjust) -> Box<dyn StartChannel> {
    Box::new(Starter::<C, ServerSide>::new(behaviour, adjust, None))
}

/// A choice at once; `None` refuses.
pub(super) fn now<T, C: ServerChannel>(make: impl Fn(T) -> Option<C> + Send + Sync + 'static) -> Make<T> {
    Arc::new(move |asked, adjust| {
        let behaviour = make(asked).ok_or(OpenFailureReason::AdministrativelyProhibited);
        Made::Now(behaviour.map(|behaviour| starter(behaviour, adjust)))
    })
}

/// A choice that takes its time.
pub(super) fn later<T, C, F>(make: impl Fn(T) -> F + Send + Sync + 'static) -> Make<T>
where
    C: ServerChannel,
    F: Future<Output = Result<C, OpenFailureReason>> + Send + 'static,
{
    Arc::new(move |asked, adjust| {
        let decision = make(asked);
        Made::Later(async move { decision.await.map(|behaviour| starter(behaviour, adjust)) }.boxed())
    })
}

/// A choice of any type that takes its time.
pub(super) fn decided<T, F>(make: impl Fn(T) -> F + Send + Sync + 'static) -> Make<T>
where
    F: Future<Output = Route> + Send + 'static,
{
    Arc::new(move |asked, adjust| {
        let decision = make(asked);
        Made::Later(async move { (decision.await.0)(adjust) }.boxed())
    })
}

/// A function of the user's that panics refuses, and takes nothing down with it.
pub(in crate::server) fn guarded<T>(make: &Make<T>, asked: T, adjust: WindowAdjust) -> Made {
    match catch_unwind(AssertUnwindSafe(|| make(asked, adjust))) {
        Ok(Made::Later(decision)) => {
            let guarded = AssertUnwindSafe(decision).catch_unwind();
            Made::Later(guarded.map(|decision| decision.unwrap_or_else(|_| panicked())).boxed())
        }
        Ok(made) => made,
        Err(_) => Made::Now(panicked()),
    }
}

fn panicked() -> Choice {
    tracing::error!("the function that makes a channel's behaviour panicked");
    Err(OpenFailureReason::ConnectFailed)
}
