//! Forwarded streams: this crate's local forward, OpenSSH's `ssh -L`, a bare channel of this crate, and one joined with a
//! socket by hand, to the same destination by the same OpenSSH server with the same cipher; and 500 forwarded connections,
//! one of them stalled.
//!
//! A transfer is timed from the connect to the last byte; logins are not in it. Repetitions are interleaved, the figures are
//! medians with their range in MiB/s. The destination is a process of its own. The clients of both forwards are a thread of
//! this process that blocks; the bare channel is read by a task, and has no local socket in between.
//!
//! ```text
//! cargo bench --bench forward                      1 GiB, five times; then the 500
//! cargo bench --bench forward -- --quick           a smoke test: 32 MiB, once, 20 connections
//! cargo bench --bench forward -- download many     rows whose name contains one of the words
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken environment ends the measurement"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use ractor_ssh::auth::{Auth, IdentityFile};
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::forward::Forward;
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{Client, ClientConfig, ConnectionRef};
use tokio::io::AsyncReadExt as _;

#[path = "../../tests/kit/mod.rs"]
mod kit;
mod many;
mod peer;

use peer::Peer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CIPHER: &str = "aes256-gcm@openssh.com";
const PIECE: usize = 256 << 10;

/// Forwards side by side.
#[derive(Debug, Parser)]
struct Options {
    /// Rows whose name contains one of these words: `download`, `upload`, `many`.
    words: Vec<String>,
    /// 32 MiB, once; 20 connections.
    #[arg(long)]
    quick: bool,
    /// MiB of one transfer.
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Repetitions.
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 500)]
    connections: usize,
    /// Seconds for each half of their measurement.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Internal: be the destination.
    #[arg(long, hide = true)]
    serve: bool,
    /// Given by `cargo bench`; without it the run is a quick one.
    #[arg(long, hide = true)]
    bench: bool,
    /// Given by test runners that ask what there is: nothing.
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
}

impl Options {
    fn wants(&self, row: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| row.contains(word.as_str()))
    }
}

fn main() {
    let mut options = Options::parse();
    if options.list {
        return;
    }
    if options.serve {
        return peer::serve();
    }
    if options.quick || !options.bench {
        (options.mib, options.reps, options.connections, options.seconds) = (32, 1, 20, 2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(options));
}

async fn run(options: Options) {
    if kit::find_program("ssh").is_none() || kit::find_program("sshd").is_none() {
        println!("no OpenSSH here: nothing to forward with");
        return;
    }
    let sshd = kit::Sshd::builder().start().unwrap();
    let peer = Peer::start();
    let conn = connect(&sshd).await;
    for way in [Way::Download, Way::Upload] {
        if options.wants(way.name()) {
            compare(way, &options, &sshd, &peer, &conn).await;
        }
    }
    conn.close().await;
    if options.wants("many") {
        many::measure(&options, &sshd, &peer).await;
    }
}

async fn connect(sshd: &kit::Sshd) -> ConnectionRef {
    let config = ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .ciphers([CIPHER])
        .auth(Auth::new().identity_file(IdentityFile::new(sshd.identity())))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
    Client::new(config).connect().await.unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Download,
    Upload,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }

    fn destination(self, peer: &Peer) -> SocketAddr {
        match self {
            Self::Download => peer.source,
            Self::Upload => peer.sink,
        }
    }
}

/// `ssh -N -L`, for as long as it is kept.
struct SshForward {
    child: Child,
    addr: SocketAddr,
}

impl SshForward {
    fn start(sshd: &kit::Sshd, to: SocketAddr) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = sshd
            .ssh_command()
            .unwrap()
            .args(["-N", "-c", CIPHER, "-o", "ExitOnForwardFailure=yes"])
            .args(["-L", &format!("127.0.0.1:{port}:{to}"), "127.0.0.1"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let end = Instant::now() + Duration::from_secs(10);
        while !listens(port) {
            assert!(Instant::now() < end, "ssh does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, addr }
    }
}

/// Whether somebody listens on this port of 127.0.0.1; a connection would be forwarded.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let ours = format!("0100007F:{port:04X} 00000000:0000 0A");
    table.lines().any(|line| line.contains(&ours))
}

impl Drop for SshForward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn compare(way: Way, options: &Options, sshd: &kit::Sshd, peer: &Peer, conn: &ConnectionRef) {
    let bytes = options.mib << 20;
    let to = way.destination(peer);
    let forward = conn.forward(Forward::local(("127.0.0.1", 0), to)).await.unwrap();
    let ours = forward.local_addr().socket_addr().unwrap();
    let ssh = SshForward::start(sshd, to);
    let (hand, by_hand) = by_hand(conn, to).await;
    let mut rows = ["channel", "by hand", "ours", "ssh -L"].map(|name| (name, Vec::new()));
    for repetition in 0..options.reps {
        for turn in 0..rows.len() {
            let (name, samples) = &mut rows[(turn + repetition) % 4];
            let seconds = match *name {
                "channel" => bare(way, conn, to, bytes).await,
                "by hand" => through(way, hand, bytes).await,
                "ours" => through(way, ours, bytes).await,
                _ => through(way, ssh.addr, bytes).await,
            };
            #[allow(clippy::cast_precision_loss, reason = "far from 2^52")]
            samples.push(options.mib as f64 / seconds);
        }
    }
    by_hand.abort();
    let [channel, hand, ours, ssh] = rows.map(|(name, mut samples)| {
        let median = median(&mut samples);
        println!(
            "{:<10} {name:<8} {median:>7.0} MiB/s ({:.0}-{:.0})",
            way.name(),
            samples[0],
            samples[samples.len() - 1]
        );
        median
    });
    println!(
        "{:<10} ours / channel {:.2}   ours / by hand {:.2}   ours / ssh -L {:.2}",
        way.name(),
        ours / channel,
        ours / hand,
        ours / ssh
    );
    forward.close().await;
}

/// Sorts the samples, too.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The same channel joined with a local socket by tokio's `copy_bidirectional`, as one would without a forward.
async fn by_hand(conn: &ConnectionRef, to: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let conn = conn.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut stream = conn.open_stream(direct_tcpip(to), ChannelOptions::new()).await.unwrap();
            tokio::io::copy_bidirectional_with_sizes(&mut socket, &mut stream, PIECE, PIECE).await.unwrap();
        }
    });
    (addr, task)
}

fn direct_tcpip(to: SocketAddr) -> OpenRequest {
    OpenRequest::DirectTcpip {
        host: to.ip().to_string(),
        port: to.port(),
        originator_host: "127.0.0.1".into(),
        originator_port: 0,
    }
}

/// One transfer through a listener.
async fn through(way: Way, addr: SocketAddr, bytes: u64) -> f64 {
    let thread = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let mut stream = TcpStream::connect(addr).unwrap();
        match way {
            Way::Download => {
                stream.write_all(&bytes.to_be_bytes()).unwrap();
                let mut buffer = vec![0; PIECE];
                let mut left = bytes;
                while left > 0 {
                    let read = stream.read(&mut buffer).unwrap();
                    assert!(read > 0, "{left} bytes are missing");
                    left -= read as u64;
                }
            }
            Way::Upload => {
                let buffer = vec![0; PIECE];
                for _ in 0..bytes / PIECE as u64 {
                    stream.write_all(&buffer).unwrap();
                }
                stream.shutdown(Shutdown::Write).unwrap();
                let mut count = [0; 8];
                stream.read_exact(&mut count).unwrap();
                assert_eq!(u64::from_be_bytes(count), bytes);
            }
        }
        began.elapsed().as_secs_f64()
    });
    thread.await.unwrap()
}

/// One transfer on a channel.
async fn bare(way: Way, conn: &ConnectionRef, to: SocketAddr, bytes: u64) -> f64 {
    let began = Instant::now();
    let mut stream = conn.open_stream(direct_tcpip(to), ChannelOptions::new()).await.unwrap();
    match way {
        Way::Download => {
            stream.send(bytes.to_be_bytes().to_vec()).await.unwrap();
            let mut left = bytes;
            while left > 0 {
                left -= stream.chunk().await.unwrap().expect("bytes are missing").len() as u64;
            }
        }
        Way::Upload => {
            let piece = Bytes::from(vec![0; PIECE]);
            for _ in 0..bytes / PIECE as u64 {
                stream.send(piece.clone()).await.unwrap();
            }
            stream.channel().send_eof().unwrap();
            assert_eq!(stream.read_u64().await.unwrap(), bytes);
        }
    }
    began.elapsed().as_secs_f64()
}
