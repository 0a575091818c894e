//! What happens to connections and channels, at random.

use std::sync::Arc;
use std::time::Duration;

use ractor_ssh::SupervisedRef;
use rand::RngExt as _;

use crate::proxy::{Proxy, Way};
use crate::worker::{Order, Worker};

fn random(from: u64, to: u64) -> Duration {
    Duration::from_millis(rand::rng().random_range(from..to))
}

/// Cuts one connection every few seconds; silences are shorter or longer than its keepalive bound. Says how often.
pub(crate) async fn cut(proxy: Arc<Proxy>, count: Arc<std::sync::atomic::AtomicU64>) {
    loop {
        tokio::time::sleep(random(500, 5_000)).await;
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let how = rand::rng().random_range(0..4_u32);
        match how {
            0 | 1 => proxy.reset_once(),
            2 => {
                proxy.set(Way::Reset);
                tokio::time::sleep(random(0, 1_500)).await;
                proxy.set(Way::Open);
            }
            _ => {
                proxy.set(Way::Silent);
                tokio::time::sleep(random(0, 3_000)).await;
                proxy.set(Way::Open);
            }
        }
    }
}

/// Ends one incarnation after the other, in one way or another.
pub(crate) async fn crash(channels: Vec<SupervisedRef<Worker>>, count: Arc<std::sync::atomic::AtomicU64>) {
    loop {
        tokio::time::sleep(random(10, 400)).await;
        let which = rand::rng().random_range(0..channels.len());
        let Some(channel) = channels.get(which).and_then(SupervisedRef::current) else { continue };
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match rand::rng().random_range(0..5_u32) {
            0 => channel.kill(),
            1 => channel.stop("as planned"),
            2 => channel.close(),
            3 => drop(channel.cast(Order::Panic)),
            _ => drop(channel.cast(Order::Fail)),
        }
    }
}
