//! R3: two ends of the SSH library that stream to each other stop for good, because each waits for
//! its flush without reading. A pump on one side cures it.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use russh::keys::{PrivateKey, PublicKeyOrCertificate};
use russh::server::{Auth, ChannelOpenHandle, Session};
use russh::{Channel, ChannelMsg, client, server};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::port::budget::OutboundPermit;

const CHANNELS: usize = 8;
const EACH_WAY: usize = 4 * 1024 * 1024;
const CHUNK: usize = 32 * 1024;
const SOCKET_BUFFER: u32 = 32 * 1024;

struct TrustAll;

impl client::Handler for TrustAll {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Accepts everyone and streams both ways on every channel.
#[derive(Clone)]
struct Streamer {
    /// Where all channels of both ends, and the test, meet when all are open and when all are done.
    all: Arc<Barrier>,
    /// Taken before each chunk is sent, if there is any.
    credit: Option<Arc<OutboundCredit>>,
    /// Bytes that have arrived.
    got: Arc<AtomicUsize>,
}

impl server::Handler for Streamer {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(self.clone().stream(channel));
        Ok(())
    }
}

impl Streamer {
    fn pair() -> [Self; 2] {
        let all = Arc::new(Barrier::new(2 * CHANNELS + 1));
        [(); 2].map(|()| Self { all: Arc::clone(&all), credit: None, got: Arc::default() })
    }

    /// Sends and takes [`EACH_WAY`] bytes at once.
    async fn stream<M>(self, channel: Channel<M>)
    where
        M: From<(russh::ChannelId, ChannelMsg)> + Send + Sync + 'static,
    {
        let (mut inbound, outbound) = channel.split();
        self.all.wait().await;
        let receive = async {
            let mut left = EACH_WAY;
            while left > 0 {
                match inbound.wait().await {
                    Some(ChannelMsg::Data { data }) => {
                        left -= data.len();
                        self.got.fetch_add(data.len(), Ordering::Relaxed);
                    }
                    Some(_) => {}
                    None => panic!("{left} bytes never came"),
                }
            }
        };
        let send = async {
            for _ in 0..EACH_WAY / CHUNK {
                let permit = match &self.credit {
                    Some(credit) => Some(credit.acquire(CHUNK).await.unwrap()),
                    None => None,
                };
                outbound.data_bytes(Bytes::from_static(&[7; CHUNK])).await.unwrap();
                permit.into_iter().for_each(OutboundPermit::spend);
            }
        };
        tokio::join!(receive, send);
        self.all.wait().await;
    }

    /// Serves `far`, until the connection ends.
    async fn serve(self, far: TcpStream) {
        let config = server::Config {
            keys: vec![PrivateKey::random(&mut rand::rng(), russh::keys::Algorithm::Ed25519).unwrap()],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        };
        let session = server::run_stream(Arc::new(config), far, self).await.unwrap();
        let _ = session.await;
    }

    /// Streams on all channels at once over `near`.
    async fn run<IO>(self, near: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut client = client::connect_stream(Arc::default(), near, TrustAll).await.unwrap();
        assert!(client.authenticate_none("anyone").await.unwrap().success());
        let mut channels = JoinSet::new();
        for _ in 0..CHANNELS {
            let channel = client.channel_open_session().await.unwrap();
            channels.spawn(self.clone().stream(channel));
        }
        while let Some(done) = channels.join_next().await {
            done.unwrap();
        }
    }
}

fn small_buffers() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
    socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
    socket
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let socket = small_buffers();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener: TcpListener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(small_buffers().connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_plain_ends_that_stream_to_each_other_stop_for_good() {
    let (near, far) = tcp_pair().await;
    let [client, server] = Streamer::pair();
    let all = Arc::clone(&client.all);
    let got = [&client, &server].map(|end| Arc::clone(&end.got));
    let got = || got.each_ref().map(|got| got.load(Ordering::Relaxed));
    let server = tokio::spawn(server.serve(far));
    let mut run = pin!(client.run(near));
    tokio::select! {
        () = &mut run => panic!("has not waited for the start"),
        opened = timeout(Duration::from_secs(30), all.wait()) => assert!(opened.is_ok()),
    }
    assert!(timeout(Duration::from_secs(1), &mut run).await.is_err(), "has the library learnt it?");
    let before = got();
    assert!(timeout(Duration::from_secs(2), &mut run).await.is_err());
    assert_eq!(got(), before, "slow, but not at a stop");
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_pump_on_one_side_both_streams_complete() {
    let (near, far) = tcp_pair().await;
    let credit = OutboundCredit::new(OutboundCredit::DEFAULT_CAPACITY);
    let gate = ConnectionBudget::new(usize::MAX);
    let pump = Pump::new(near, &PumpConfig::default(), gate, Arc::clone(&credit));
    let stats = pump.stats();
    let [mut client, server] = Streamer::pair();
    client.credit = Some(credit);
    let server = tokio::spawn(server.serve(far));
    let all = Arc::clone(&client.all);
    let meet = async {
        all.wait().await;
        all.wait().await;
    };
    let run = async { tokio::join!(client.run(pump), meet) };
    timeout(Duration::from_secs(30), run).await.expect("stalled");
    let peak = stats.peak_buffered();
    assert!(peak > 0, "the socket was never full: nothing was shown");
    assert!(peak < 2 * OutboundCredit::DEFAULT_CAPACITY, "{peak} bytes were buffered at once");
    server.abort();
}
