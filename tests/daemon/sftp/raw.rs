//! A client that speaks the protocol byte by byte, with nothing of the library under test in between but the stream.

use std::path::Path;

use ractor_ssh::session::ChannelStream;
use ractor_ssh::wire::request::ExitStatus;
use ractor_ssh::{ConnectionRef, Router, Sftp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Served, soon};

/// Packet types and status codes of the draft.
pub(crate) const INIT: u8 = 1;
pub(crate) const OPEN: u8 = 3;
pub(crate) const CLOSE: u8 = 4;
pub(crate) const READ: u8 = 5;
pub(crate) const WRITE: u8 = 6;
pub(crate) const LSTAT: u8 = 7;
pub(crate) const FSTAT: u8 = 8;
pub(crate) const SETSTAT: u8 = 9;
pub(crate) const FSETSTAT: u8 = 10;
pub(crate) const OPENDIR: u8 = 11;
pub(crate) const READDIR: u8 = 12;
pub(crate) const REMOVE: u8 = 13;
pub(crate) const MKDIR: u8 = 14;
pub(crate) const RMDIR: u8 = 15;
pub(crate) const REALPATH: u8 = 16;
pub(crate) const STAT: u8 = 17;
pub(crate) const RENAME: u8 = 18;
pub(crate) const READLINK: u8 = 19;
pub(crate) const SYMLINK: u8 = 20;
pub(crate) const EXTENDED: u8 = 200;

pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;
pub(crate) const DATA: u8 = 103;
pub(crate) const NAME: u8 = 104;

pub(crate) const OK: u32 = 0;
pub(crate) const EOF: u32 = 1;
pub(crate) const NO_SUCH_FILE: u32 = 2;
pub(crate) const DENIED: u32 = 3;
pub(crate) const FAILURE: u32 = 4;
pub(crate) const UNSUPPORTED: u32 = 8;

pub(crate) const FOR_READING: u32 = 1;
pub(crate) const FOR_WRITING: u32 = 2;
pub(crate) const APPENDING: u32 = 4;
pub(crate) const CREATING: u32 = 8;
pub(crate) const CUTTING: u32 = 16;
pub(crate) const EXCLUSIVE: u32 = 32;

/// The body of a packet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.0.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        self.0.extend_from_slice(text);
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn no_attributes(self) -> Self {
        self.u32(0)
    }
}

/// An answer: its type, and what follows the number.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) kind: u8,
    pub(crate) id: u32,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The code of a status; `OK` for anything that is none, as it says yes.
    pub(crate) fn code(&self) -> u32 {
        if self.kind == STATUS { self.number(0) } else { OK }
    }

    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.body[at..at + 4].try_into().unwrap())
    }

    /// The string at an offset.
    pub(crate) fn text(&self, at: usize) -> &[u8] {
        let len = usize::try_from(self.number(at)).unwrap();
        &self.body[at + 4..at + 4 + len]
    }
}

/// A session of a client that keeps no rules it is not told to.
pub(crate) struct Raw {
    pub(crate) stream: ChannelStream,
    next: u32,
}

impl Raw {
    /// Opens a session, and says hello.
    pub(crate) async fn open(conn: &ConnectionRef) -> Self {
        let mut raw = Self::silent(conn).await;
        raw.send(&[0, 0, 0, 5, INIT, 0, 0, 0, 3]).await;
        assert_eq!((raw.answer().await.kind, raw.next), (2, 0));
        raw
    }

    /// Opens a session only.
    pub(crate) async fn silent(conn: &ConnectionRef) -> Self {
        Self { stream: soon(conn.subsystem("sftp").stream()).await.unwrap(), next: 0 }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends a request; its number.
    pub(crate) async fn request(&mut self, kind: u8, body: &Body) -> u32 {
        self.next += 1;
        let packet = packet(kind, self.next, body);
        self.send(&packet).await;
        self.next
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        soon(async {
            let len = self.stream.read_u32().await.unwrap();
            let mut packet = vec![0; usize::try_from(len).unwrap()];
            self.stream.read_exact(&mut packet).await.unwrap();
            let id = u32::from_be_bytes(packet[1..5].try_into().unwrap());
            Answer { kind: packet[0], id, body: packet.split_off(5) }
        })
        .await
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn ask(&mut self, kind: u8, body: &Body) -> Answer {
        let id = self.request(kind, body).await;
        let answer = self.answer().await;
        assert_eq!(answer.id, id);
        answer
    }

    pub(crate) async fn open_file(&mut self, name: &str, flags: u32) -> Answer {
        self.ask(OPEN, &Body::new().text(name).u32(flags).no_attributes()).await
    }

    /// The handle of a file that can be opened.
    pub(crate) async fn handle(&mut self, name: &str, flags: u32) -> Vec<u8> {
        let answer = self.open_file(name, flags).await;
        assert_eq!(answer.kind, HANDLE, "{name}: {answer:?}");
        answer.text(0).to_vec()
    }

    /// How the session ended, after the peer's last byte.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let mut rest = Vec::new();
        soon(self.stream.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
        soon(self.stream.finish()).await.unwrap()
    }
}

pub(crate) fn packet(kind: u8, id: u32, body: &Body) -> Vec<u8> {
    let len = u32::try_from(body.0.len() + 5).unwrap();
    let mut packet = len.to_be_bytes().to_vec();
    packet.push(kind);
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&body.0);
    packet
}

/// A daemon that serves this directory, and a connection to it.
pub(crate) async fn serve(root: &Path, set: impl FnOnce(Sftp) -> Sftp) -> (Served, ConnectionRef) {
    let served = Served::start(Router::new().sftp(set(Sftp::new(root)))).await;
    let conn = served.connect().await;
    (served, conn)
}
