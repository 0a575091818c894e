//! A way to a server of this machine that can be cut and mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections are accepted, and nothing passes; what is under way passes later.
    Silent,
    /// Connections are reset, and new ones too.
    Reset,
}

pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

struct Shared {
    to: AtomicU16,
    way: watch::Sender<Way>,
    /// Counts what is cut off one by one.
    generation: watch::Sender<u64>,
    accepted: AtomicUsize,
    upwards: AtomicU64,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let shared = Arc::new(Shared {
            to: AtomicU16::new(port),
            way: watch::Sender::new(Way::Open),
            generation: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
            upwards: AtomicU64::new(0),
        });
        let port = listener.local_addr().unwrap().port();
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Self { port, shared, listening }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// From now on, new connections lead to this port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.shared.to.store(port, Ordering::SeqCst);
    }

    pub(crate) fn set(&self, way: Way) {
        self.shared.way.send_replace(way);
    }

    /// Resets what is connected now; new connections pass.
    pub(crate) fn reset_once(&self) {
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// How many connections were made to it.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many bytes went to the server.
    pub(crate) fn upwards(&self) -> u64 {
        self.shared.upwards.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.set(Way::Reset);
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((near, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(near, Arc::clone(&shared)));
    }
}

async fn serve(near: TcpStream, shared: Arc<Shared>) {
    let mut way = shared.way.subscribe();
    let mut generation = shared.generation.subscribe();
    near.set_zero_linger().unwrap();
    near.set_nodelay(true).unwrap();
    let cut = async {
        tokio::select! {
            _ = way.wait_for(|way| *way == Way::Reset) => {}
            _ = generation.changed() => {}
        }
    };
    let pass = async {
        let to = shared.to.load(Ordering::SeqCst);
        let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
        far.set_zero_linger().unwrap();
        far.set_nodelay(true).unwrap();
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        let up = copy(near_in, far_out, shared.way.subscribe(), Some(&shared.upwards));
        let down = copy(far_in, near_out, shared.way.subscribe(), None);
        tokio::join!(up, down);
    };
    tokio::select! {
        biased;
        () = cut => {}
        () = pass => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    count: Option<&AtomicU64>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await;
        if way.wait_for(|way| *way == Way::Open).await.is_err() {
            return;
        }
        let Ok(len @ 1..) = read else { break };
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
        if let Some(count) = count {
            count.fetch_add(len as u64, Ordering::SeqCst);
        }
    }
    let _ = to.shutdown().await;
}
