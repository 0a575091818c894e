//! The task that looks after one connection of a pool: has it made, tells the desk where it is, asks its server
//! questions, and ends it when it is idle, unwell or not wanted any more.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::Notify;

use super::desk::{Desk, Orders, Question};
use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, OpenError};
use crate::managed::{ManagedEnd, ManagedState, NotConnected};

/// How long a server may take to answer before its silence is taken for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn watch(desk: Arc<Desk>, number: u64, wake: Arc<Notify>) {
    let managed = match desk.client.manage(desk.common.config.managed.clone()).await {
        Ok(managed) => managed,
        Err(error) => return desk.gone(number, Some(not_managed(error))),
    };
    if !desk.install(number, &managed) {
        return;
    }
    let mut states = managed.states();
    let mut asking: Option<BoxFuture<'static, (u64, usize)>> = None;
    let grace = loop {
        if states.borrow_and_update().is_final() {
            break Duration::ZERO;
        }
        desk.observe(number, managed.current());
        let (idle_at, try_at) = match desk.orders(number, asking.is_none()) {
            Orders::Leave { grace } => break grace,
            Orders::Vanish => return,
            Orders::Stay { idle_at, try_at, ask } => {
                asking = asking.or_else(|| ask.map(|question| ask_it(question).boxed()));
                (idle_at, try_at)
            }
        };
        let idle = OptionFuture::from(idle_at.map(tokio::time::sleep_until));
        let due = OptionFuture::from(try_at.map(tokio::time::sleep_until));
        tokio::select! {
            changed = states.changed() => if changed.is_err() {
                break Duration::ZERO;
            },
            () = wake.notified() => {}
            Some(()) = idle => desk.idle(number),
            Some(()) = due => desk.look_again(),
            Some((generation, places)) = OptionFuture::from(asking.as_mut()) => {
                asking = None;
                desk.settled(number, generation, places);
            }
        }
    };
    managed.shutdown(grace).await;
    let _ = managed.keeper().wait(None).await;
    desk.gone(number, cannot_be_made(managed.state()));
}

/// Waits until the server has noticed what was sent before. When the connection is lost, its places are, too.
async fn ask_it(Question { connection, generation, places }: Question) -> (u64, usize) {
    let _ = tokio::time::timeout(PATIENCE, connection.ask()).await;
    (generation, places)
}

/// What callers are told, if the connection could not be made. One that was up and is not made again is replaced.
fn cannot_be_made(state: ManagedState) -> Option<OpenError> {
    match &state {
        ManagedState::Ended(ManagedEnd::Lost(_) | ManagedEnd::Escalated(_)) | ManagedState::Stopped => None,
        _ => Some(NotConnected::Over { state }.into()),
    }
}

fn not_managed(error: ConnectError) -> OpenError {
    match error {
        ConnectError::Config(error) => error.into(),
        other => ConnectionError::Abandoned(other.to_string().into()).into(),
    }
}
