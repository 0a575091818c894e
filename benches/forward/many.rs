//! Many forwarded downloads at once, and the same with one client that does not read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor_ssh::forward::Forward;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::kit::Sshd;
use crate::peer::Peer;
use crate::{Options, connect};

/// In what steps it is looked whether somebody stands still.
const STEP: Duration = Duration::from_millis(250);

pub(crate) async fn measure(options: &Options, sshd: &Sshd, peer: &Peer) {
    let seconds = Duration::from_secs(options.seconds);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..options.reps {
        // Whoever goes first is the other one in every second round.
        for stalled in [round % 2 == 1, round % 2 == 0] {
            // A connection each: what is under way to clients that are gone would be in the way of the next.
            let conn = connect(sshd).await;
            let forward = conn.forward(Forward::local(("127.0.0.1", 0), peer.source)).await.unwrap();
            let addr = forward.local_addr().socket_addr().unwrap();
            let seen = phase(addr, options.connections, stalled, seconds).await;
            let counters = conn.info().await.unwrap().counters;
            seen.print("many", if stalled { "one stalled" } else { "none stalled" });
            println!(
                "many       gate shut {} times, keys exchanged {} times",
                counters.pauses, counters.rekeys
            );
            if stalled {
                with.push(seen.total)
            } else {
                without.push(seen.total)
            }
            conn.close().await;
        }
    }
    let (with, without) = (crate::median(&mut with), crate::median(&mut without));
    println!("many       one stalled {with:.0} MiB/s, none {without:.0} MiB/s, ratio {:.2}", with / without);
}

/// What the active connections have read.
struct Seen {
    connections: usize,
    /// MiB/s of all.
    total: f64,
    /// Of each, in order.
    each: Vec<f64>,
    /// For how long, at most, all of them together read nothing.
    standstill: Duration,
}

impl Seen {
    fn print(&self, row: &str, what: &str) {
        let (least, most) = (self.each[0] * 1024.0, self.each[self.each.len() - 1] * 1024.0);
        println!(
            "{row:<10} {what:<14} {} active: {:.0} MiB/s in all, each {least:.0}-{most:.0} KiB/s, longest standstill {:?}",
            self.connections, self.total, self.standstill,
        );
    }
}

async fn phase(addr: SocketAddr, connections: usize, stalled: bool, seconds: Duration) -> Seen {
    let mut readers = tokio::task::JoinSet::new();
    let mut stuck = None;
    let counts: Vec<Arc<AtomicU64>> =
        (0..connections - usize::from(stalled)).map(|_| Arc::default()).collect();
    if stalled {
        stuck = Some(ask(addr).await);
    }
    for count in &counts {
        let count = Arc::clone(count);
        let mut stream = ask(addr).await;
        readers.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                count.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
    }
    let sum = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    // All have begun.
    while counts.iter().any(|count| count.load(Ordering::Relaxed) == 0) {
        tokio::time::sleep(STEP).await;
    }
    let before: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let (began, mut last, mut moved, mut standstill) =
        (Instant::now(), sum(), Instant::now(), Duration::ZERO);
    while began.elapsed() < seconds {
        tokio::time::sleep(STEP).await;
        let now = sum();
        if now > last {
            (last, moved) = (now, Instant::now());
        }
        standstill = standstill.max(moved.elapsed());
    }
    let elapsed = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "far from 2^52")]
    let rate = |bytes: u64| bytes as f64 / f64::from(1 << 20) / elapsed;
    let mut each: Vec<f64> = counts
        .iter()
        .zip(&before)
        .map(|(count, before)| rate(count.load(Ordering::Relaxed) - before))
        .collect();
    each.sort_by(f64::total_cmp);
    readers.shutdown().await;
    drop(stuck);
    Seen { connections: each.len(), total: each.iter().sum(), each, standstill }
}

/// A connection that will be sent bytes without end.
async fn ask(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&u64::MAX.to_be_bytes()).await.unwrap();
    stream
}
