//! One end of a connection that says whatever it is told to, at any stage, and hears what comes back. Honest only as
//! long as a test lets it be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::kex::{Exchange, Role};
use crate::packet::{Incoming, Keys, Outgoing};
use crate::wire::{Payload, Reader, number};

/// Nothing that a test waits for may take longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// So much that was received is looked through at once while a flood is sent.
const DIGEST: usize = 1 << 20;

/// The other side has ended the connection, with this SSH_MSG_DISCONNECT if it sent one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone(pub(crate) Option<(u32, String)>);

/// A raw connection.
pub(crate) struct Peer {
    pub(crate) role: Role,
    stream: TcpStream,
    received: Vec<u8>,
    from: usize,
    ended: bool,
    pub(crate) outgoing: Outgoing,
    incoming: Incoming,
    farewell: Option<(u32, String)>,
    pub(crate) our_version: String,
    pub(crate) their_version: String,
    /// The first exchange hash; empty before there was one.
    pub(crate) session: Vec<u8>,
    pub(crate) strict: bool,
    /// Reads nothing while it sends.
    pub(crate) deaf: bool,
    /// What is received during a flood is only counted, by message number.
    pub(crate) counts: Option<BTreeMap<u8, u64>>,
    pub(crate) next_channel: u32,
}

impl Peer {
    fn new(stream: TcpStream, role: Role) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            role,
            stream,
            received: Vec::new(),
            from: 0,
            ended: false,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            farewell: None,
            our_version: "SSH-2.0-hostile".to_owned(),
            their_version: String::new(),
            session: Vec::new(),
            strict: false,
            deaf: false,
            counts: None,
            next_channel: 100,
        }
    }

    /// A TCP connection, nothing said.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect(addr).await.unwrap(), Role::Client)
    }

    /// A client's TCP connection, nothing said.
    pub(crate) fn serve(stream: TcpStream, key: &SigningKey) -> Self {
        Self::new(stream, Role::Server(Box::new(key.clone())))
    }

    /// Versions exchanged.
    pub(crate) async fn greeted(addr: SocketAddr) -> Self {
        let mut peer = Self::connect(addr).await;
        peer.greet().await.unwrap();
        peer
    }

    /// Keys exchanged.
    pub(crate) async fn keyed(addr: SocketAddr) -> Self {
        let mut peer = Self::greeted(addr).await;
        Exchange::run(&mut peer).await.unwrap();
        peer
    }

    pub(crate) async fn greet(&mut self) -> Result<(), Gone> {
        self.send_raw(format!("{}\r\n", self.our_version).as_bytes()).await?;
        self.hear_version().await
    }

    pub(crate) async fn hear_version(&mut self) -> Result<(), Gone> {
        let end = loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            self.read().await?;
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        self.their_version = String::from_utf8(line).unwrap().trim_end().to_owned();
        assert!(self.their_version.starts_with("SSH-2.0-"), "{}", self.their_version);
        Ok(())
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) fn arm_incoming(&mut self, keys: &Keys) {
        self.incoming.arm(keys, self.strict);
    }

    /// Sends a payload as a well-formed packet.
    pub(crate) async fn send(&mut self, payload: impl AsRef<[u8]>) -> Result<(), Gone> {
        let packet = self.outgoing.pack(payload.as_ref());
        self.send_raw(&packet).await
    }

    /// Sends many payloads in one go.
    pub(crate) async fn send_all<P: AsRef<[u8]>>(
        &mut self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        for payload in payloads {
            bytes.extend_from_slice(&self.outgoing.pack(payload.as_ref()));
            if bytes.len() > 256 << 10 {
                self.send_raw(&bytes).await?;
                bytes.clear();
            }
        }
        self.send_raw(&bytes).await
    }

    /// Sends bytes as they stand, and reads meanwhile, unless deaf.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let interest =
                if self.deaf { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
            let ready = tokio::time::timeout(DEADLINE, self.stream.ready(interest));
            let ready = ready.await.expect("the other side takes nothing").unwrap();
            if ready.is_readable() && !self.deaf {
                self.try_read();
            }
            if self.ended {
                return Err(self.gone());
            }
            match self.stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    while !self.ended && !self.deaf {
                        self.read_on().await;
                    }
                    return Err(self.gone());
                }
            }
        }
        Ok(())
    }

    fn try_read(&mut self) {
        let mut buffer = [0; 64 << 10];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(read) => self.received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
        if self.counts.is_some() && self.received.len() - self.from > DIGEST {
            self.digest();
        }
    }

    async fn read_on(&mut self) {
        let readable = tokio::time::timeout(DEADLINE, self.stream.readable());
        readable.await.expect("nothing was said in time").unwrap();
        self.try_read();
    }

    /// Reads until there is more than before.
    async fn read(&mut self) -> Result<(), Gone> {
        let before = self.received.len();
        while self.received.len() == before {
            if self.ended {
                return Err(self.gone());
            }
            self.read_on().await;
        }
        Ok(())
    }

    fn unpack(&mut self) -> Option<Vec<u8>> {
        let payload = self.incoming.unpack(&mut self.received, &mut self.from)?;
        if self.from > DIGEST {
            self.received.drain(..self.from);
            self.from = 0;
        }
        if payload[0] == number::DISCONNECT {
            let mut reader = Reader::after_number(&payload);
            self.farewell = Some((reader.u32(), reader.text()));
        }
        Some(payload)
    }

    fn digest(&mut self) {
        while let Some(payload) = self.unpack() {
            if let Some(counts) = &mut self.counts {
                *counts.entry(payload[0]).or_default() += 1;
            }
        }
    }

    fn gone(&mut self) -> Gone {
        // Before the version exchange there are no packets.
        while !self.their_version.is_empty() && self.farewell.is_none() && self.unpack().is_some() {}
        Gone(self.farewell.clone())
    }

    /// The next payload.
    pub(crate) async fn recv(&mut self) -> Result<Vec<u8>, Gone> {
        loop {
            if let Some(payload) = self.unpack() {
                if self.farewell.is_some() {
                    return Err(self.gone());
                }
                if let Some(counts) = &mut self.counts {
                    *counts.entry(payload[0]).or_default() += 1;
                }
                return Ok(payload);
            }
            self.read().await?;
        }
    }

    /// The next payload with this number; others are passed over.
    pub(crate) async fn wait_for(&mut self, number: u8) -> Result<Vec<u8>, Gone> {
        self.wait_where(|payload| payload[0] == number).await
    }

    pub(crate) async fn wait_where(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Gone> {
        loop {
            let payload = self.recv().await?;
            if wanted(&payload) {
                return Ok(payload);
            }
        }
    }

    /// Hears all there is until the connection ends.
    pub(crate) async fn until_gone(&mut self) -> Gone {
        loop {
            if let Err(gone) = self.recv().await {
                while !self.ended {
                    self.read_on().await;
                }
                return gone;
            }
        }
    }

    /// Reads raw bytes until the connection ends: for stages without packets. Whatever comes is dropped.
    pub(crate) async fn until_closed(&mut self) {
        while !self.ended {
            self.read_on().await;
            self.received.clear();
        }
    }

    /// Waits a moment for the end of the connection; false when it still lives.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, async {
            while !self.ended {
                let _ = self.stream.readable().await;
                self.try_read();
            }
        })
        .await
        .is_ok()
    }

    /// Asks something everybody must refuse, and returns what came before the refusal: the answers to all that was
    /// sent before.
    pub(crate) async fn answers(&mut self) -> Result<Vec<Vec<u8>>, Gone> {
        self.send(Payload::new(number::GLOBAL_REQUEST).string("hostile@example.com").bool(true)).await?;
        let mut heard = Vec::new();
        loop {
            let payload = self.recv().await?;
            match payload[0] {
                number::REQUEST_FAILURE => return Ok(heard),
                number::WINDOW_ADJUST | number::EXT_INFO | number::GLOBAL_REQUEST => {}
                _ => heard.push(payload),
            }
        }
    }
}
