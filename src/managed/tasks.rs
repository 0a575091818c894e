//! What a keeper has done by tasks: ending a connection, and giving the supervised channels their turns.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::grounds::{Grounds, Next};
use crate::handle::ConnectionRef;
use crate::handle::msg::ConnectionMsg;
use crate::handle::route::Way;
use crate::supervised::{Admitted, Turn};

/// Ends a connection, also one that was lost and has channels left, and waits until nothing is left of it.
pub(super) async fn end(connection: ConnectionRef, grace: Option<Duration>) {
    if let Some(grace) = grace {
        // Of a connection that is lost, the channels have the grace; one that is up sees to it itself.
        let over = tokio::time::sleep(grace);
        connection.shutdown(grace).await;
        tokio::select! {
            () = connection.nothing_left() => {}
            () = over => {}
        }
    }
    let _ = connection.tell(ConnectionMsg::Close);
    connection.nothing_left().await;
}

/// Gives every supervised channel its turn, in the order of declaration.
pub(super) async fn bring_up(grounds: Arc<Grounds>, connection: ConnectionRef, limit: Duration) {
    let mut held: Option<(u64, Instant)> = None;
    loop {
        let changed = grounds.changed.notified();
        match grounds.next(&connection) {
            Next::Give(give, connection) => {
                let (turn, over) = Turn::new();
                if give.send(Admitted { way: Way::shared(connection), turn: Some(turn) }).is_ok() {
                    let _ = tokio::time::timeout(limit, over).await;
                }
            }
            Next::Held(number) => {
                let since =
                    held.filter(|(who, _)| *who == number).map_or_else(Instant::now, |(_, since)| since);
                held = Some((number, since));
                let left = limit.saturating_sub(since.elapsed());
                if tokio::time::timeout(left, changed).await.is_err() {
                    grounds.pass_over(&connection, number);
                }
            }
            Next::Nobody => changed.await,
            Next::Over => return,
        }
    }
}
