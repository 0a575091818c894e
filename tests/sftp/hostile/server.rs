//! A server that says whatever a test wants.

use std::time::Duration;

use ractor_ssh::DaemonRef;
use ractor_ssh::session::ServerStream;
use ractor_ssh::sftp::{SftpClient, SftpError, SftpErrorKind, SftpOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{scripted, soon};

pub(crate) const STATUS: u8 = 101;
pub(crate) const HANDLE: u8 = 102;

pub(crate) const DATA: u8 = 103;
pub(crate) const NAME: u8 = 104;

pub(crate) const ATTRS: u8 = 105;

/// One request: its kind, its id, and the rest.
pub(crate) struct Asked {
    pub(crate) kind: u8,
    pub(crate) id: u32,
    pub(crate) rest: Vec<u8>,
}

impl Asked {
    /// The rest behind one string, as numbers.
    pub(crate) fn offset_and_len(&self) -> (u64, u32) {
        let at = 4 + u32::from_be_bytes(self.rest[..4].try_into().unwrap()) as usize;
        let offset = u64::from_be_bytes(self.rest[at..at + 8].try_into().unwrap());
        (offset, u32::from_be_bytes(self.rest[at + 8..at + 12].try_into().unwrap()))
    }

    pub(crate) fn string(&self) -> Vec<u8> {
        let len = u32::from_be_bytes(self.rest[..4].try_into().unwrap()) as usize;
        self.rest[4..4 + len].to_vec()
    }
}

/// The next packet's type and body; `None` at the end.
pub(crate) async fn packet(stream: &mut ServerStream) -> Option<(u8, Vec<u8>)> {
    let len = stream.read_u32().await.ok()?;
    let mut bytes = vec![0; len as usize];
    stream.read_exact(&mut bytes).await.ok()?;
    Some((bytes[0], bytes[1..].to_vec()))
}

pub(crate) async fn next(stream: &mut ServerStream) -> Option<Asked> {
    let (kind, body) = packet(stream).await?;
    Some(Asked { kind, id: u32::from_be_bytes(body[..4].try_into().unwrap()), rest: body[4..].to_vec() })
}

pub(crate) fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[kind], body].concat()
}

pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

pub(crate) fn answer(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    framed(kind, &[&id.to_be_bytes()[..], body].concat())
}

pub(crate) fn status(id: u32, code: u32) -> Vec<u8> {
    answer(STATUS, id, &[&code.to_be_bytes()[..], &string(b""), &string(b"")].concat())
}

/// Attributes with a mode alone.
pub(crate) fn of_mode(mode: u32) -> Vec<u8> {
    [4_u32.to_be_bytes(), mode.to_be_bytes()].concat()
}

pub(crate) fn names(id: u32, names: &[(&[u8], u32)]) -> Vec<u8> {
    let mut body = (names.len() as u32).to_be_bytes().to_vec();
    for (name, mode) in names {
        body.extend([string(name), string(b"long"), of_mode(*mode)].concat());
    }
    answer(NAME, id, &body)
}

/// Says hello, with these extensions.
pub(crate) async fn hello(stream: &mut ServerStream, extensions: &[&str]) {
    let (kind, _) = packet(stream).await.unwrap();
    assert_eq!(kind, 1);
    let mut body = 3_u32.to_be_bytes().to_vec();
    extensions.iter().for_each(|name| body.extend([string(name.as_bytes()), string(b"1")].concat()));
    stream.write_all(&framed(2, &body)).await.unwrap();
}

/// A session with a server that says hello and answers each request with what the function says.
pub(crate) async fn server(
    options: SftpOptions,
    respond: impl Fn(Asked) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> (DaemonRef, SftpClient) {
    let (daemon, config) = scripted(move |mut stream| {
        let respond = respond.clone();
        async move {
            hello(&mut stream, &[]).await;
            while let Some(asked) = next(&mut stream).await {
                if stream.write_all(&respond(asked)).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    let sftp = soon("hello", SftpClient::open_session_with(config, options)).await.unwrap();
    (daemon, sftp)
}

pub(crate) fn quick() -> SftpOptions {
    SftpOptions::new().timeout(Duration::from_millis(500))
}

pub(crate) fn is_protocol(error: &SftpError) -> bool {
    matches!(error.kind, SftpErrorKind::Protocol { .. })
}

/// Files are opened, and have this size.
pub(crate) fn file_of(asked: &Asked, size: u64) -> Option<Vec<u8>> {
    match asked.kind {
        3 => Some(answer(HANDLE, asked.id, &string(b"h"))),
        4 => Some(status(asked.id, 0)),
        7 | 8 | 17 => {
            let body = [&5_u32.to_be_bytes()[..], &size.to_be_bytes(), &0o100_644_u32.to_be_bytes()].concat();
            Some(answer(ATTRS, asked.id, &body))
        }
        _ => None,
    }
}

pub(crate) fn directory_of(asked: &Asked) -> Option<Vec<u8>> {
    match asked.kind {
        11 => Some(answer(HANDLE, asked.id, &string(b"d"))),
        7 | 17 => Some(answer(ATTRS, asked.id, &of_mode(0o040_755))),
        4 => Some(status(asked.id, 0)),
        _ => None,
    }
}
