//! A connection to an ssh-agent over its Unix socket.
//!
//! Owns the socket; asks one thing at a time. Which keys are offered, and when, is decided elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::agent_wire::{self as wire, MAX_FRAME};
use super::key_file::{certificate_from_blob, public_from_blob};
use super::offer::OfferedKey;
use crate::wire::keys::HashAlg;

#[cfg(unix)]
pub(super) type Socket = tokio::net::UnixStream;
#[cfg(not(unix))]
pub(super) type Socket = tokio::io::DuplexStream;

/// Whether an ssh-agent takes part in a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AgentMode {
    /// No agent is asked.
    Off,
    /// The agent is asked if there is one.
    #[default]
    IfAvailable,
    /// There must be an agent: without one the login fails before anything else is tried with its turn.
    Required,
}

/// What binds an agent's signatures to one session, as the key exchange left it.
#[derive(Debug, Clone)]
pub(crate) struct SessionBinding {
    pub(crate) host_key: Vec<u8>,
    pub(crate) session_id: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// Why the agent could not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    #[error("SSH_AUTH_SOCK is not set")]
    NoSocket,
    #[error("the agent at {} cannot be reached: {source}", .path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the agent's socket failed: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Answer(#[from] wire::Answer),
    #[error("the request is too long for an agent")]
    TooLong,
    #[error("the agent signed with {0:?} instead of what was asked for; it may not know RSA with SHA-2")]
    WrongAlgorithm(String),
}

/// One connection to an agent.
pub(super) struct Agent {
    socket: Socket,
}

/// An identity as the agent lists it.
#[derive(Debug)]
pub(super) struct AgentKey {
    pub(super) key: OfferedKey,
    pub(super) blob: Vec<u8>,
    pub(super) comment: String,
}

impl Agent {
    /// Connects to `socket`, or to the one that the environment names.
    pub(super) async fn connect(socket: Option<&Path>) -> Result<Self, AgentError> {
        let path = match socket {
            Some(path) => path.to_owned(),
            None => std::env::var_os("SSH_AUTH_SOCK")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
                .ok_or(AgentError::NoSocket)?,
        };
        match open(&path).await {
            Ok(socket) => Ok(Self { socket }),
            Err(source) => Err(AgentError::Connect { path, source }),
        }
    }

    /// Tells the agent which session it signs for. Agents that do not know the request decline; keys that
    /// are not restricted to destinations work all the same.
    pub(super) async fn bind(&mut self, to: &SessionBinding) -> Result<(), AgentError> {
        let request = wire::bind_request(&to.host_key, &to.session_id, &to.signature, false);
        Ok(wire::read_success(&self.ask(request).await?)?)
    }

    /// The identities that can be used, in the agent's order. Those of unknown kinds are left out.
    pub(super) async fn keys(&mut self) -> Result<Vec<AgentKey>, AgentError> {
        let answer = self.ask(wire::request_identities()).await?;
        let identities = wire::read_identities(&answer)?;
        Ok(identities
            .into_iter()
            .filter_map(|(blob, comment)| {
                let key = decode(&blob)?;
                Some(AgentKey { key, blob, comment })
            })
            .collect())
    }

    /// Has `data` signed; the answer is a signature blob (RFC 4253 section 6.6) of the algorithm asked for.
    pub(super) async fn sign(
        &mut self,
        blob: &[u8],
        data: &[u8],
        hash: Option<HashAlg>,
    ) -> Result<Vec<u8>, AgentError> {
        let (flags, expected) = match hash {
            Some(HashAlg::Sha256) => (wire::RSA_SHA2_256, Some("rsa-sha2-256")),
            Some(_) => (wire::RSA_SHA2_512, Some("rsa-sha2-512")),
            None => (0, None),
        };
        let answer = self.ask(wire::sign_request(blob, data, flags)).await?;
        let signature = wire::read_signature(&answer)?;
        let algorithm = wire::signature_algorithm(&signature).ok_or(wire::Answer::Garbled)?;
        if expected.is_some_and(|expected| expected != algorithm) {
            return Err(AgentError::WrongAlgorithm(algorithm.to_owned()));
        }
        Ok(signature)
    }

    async fn ask(&mut self, request: Option<Vec<u8>>) -> Result<Vec<u8>, AgentError> {
        let request = request.ok_or(AgentError::TooLong)?;
        self.socket.write_all(&request).await?;
        self.socket.flush().await?;
        let len = usize::try_from(self.socket.read_u32().await?).unwrap_or(usize::MAX);
        if len > MAX_FRAME {
            return Err(wire::Answer::Garbled.into());
        }
        let mut answer = vec![0; len];
        self.socket.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

#[cfg(unix)]
pub(super) async fn open(path: &Path) -> io::Result<Socket> {
    Socket::connect(path).await
}

#[cfg(not(unix))]
pub(super) async fn open(_path: &Path) -> io::Result<Socket> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "agents are reached over Unix sockets only"))
}

fn decode(blob: &[u8]) -> Option<OfferedKey> {
    let is_certificate =
        wire::signature_algorithm(blob).is_some_and(|name| name.ends_with("-cert-v01@openssh.com"));
    if is_certificate {
        certificate_from_blob(blob).map(|c| OfferedKey::Certificate(Box::new(c)))
    } else {
        public_from_blob(blob).map(|key| OfferedKey::PublicKey(Box::new(key)))
    }
}
