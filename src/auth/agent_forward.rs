//! Lending the agent to a server: what a user says about it, and what becomes of one connection to it.
//!
//! Passes whole messages on, one at a time; reads none but the answer to the one it sends itself first.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::agent::{SessionBinding, open};
use super::agent_wire::{self as wire, MAX_FRAME};
use crate::error::ConfigError;

/// How long the agent may take to be reached, and to take note of the session.
const PATIENCE: Duration = Duration::from_secs(10);

/// A byte stream to an agent.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Connect = dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync;

/// The agent that is lent to the programs of a remote command: what
/// [`Command::forward_agent`](crate::session::Command::forward_agent) takes.
///
/// # Trust
/// Whoever has the account on the server, and its root, can have the agent sign anything with any of its keys as long as
/// the command runs: when its channel is closed, what still is connected to the agent is cut off. They cannot take the
/// keys, but can ask for whatever agents do: to forget them, for instance. Before anything else each connection to the agent is bound to the SSH
/// connection that it comes from, as a forwarded one (`session-bind@openssh.com`, OpenSSH's PROTOCOL.agent): keys that
/// were added with destination constraints (`ssh-add -h`) are then good for these destinations only. An agent that does
/// not know the message has no such keys, and is lent all the same.
#[derive(Clone)]
#[must_use = "does nothing before it is given to a command"]
pub struct AgentForward {
    way: Way,
    max_connections: usize,
    required: bool,
}

#[derive(Clone)]
enum Way {
    Socket(PathBuf),
    Given(Arc<Connect>),
}

impl fmt::Debug for AgentForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AgentForward");
        if let Way::Socket(path) = &self.way {
            shown.field("socket", path);
        }
        shown.field("max_connections", &self.max_connections).field("required", &self.required).finish()
    }
}

impl AgentForward {
    /// The agent that the environment variable `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// It is not set or empty.
    pub fn from_env() -> Result<Self, ConfigError> {
        match std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) {
            Some(path) => Ok(Self::at(path)),
            None => {
                let fix = "start an ssh-agent, or name its socket with `AgentForward::at`";
                Err(ConfigError::new("SSH_AUTH_SOCK", "is not set", fix))
            }
        }
    }

    /// The agent at a Unix socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self::of(Way::Socket(socket.into()))
    }

    /// An agent that is reached in another way, or that lives in this process: the function is called for each
    /// connection that somebody on the server makes, and gives a byte stream on which the agent protocol is spoken
    /// (draft-miller-ssh-agent). It has 10 seconds. The first message on it is always `session-bind@openssh.com`: an agent
    /// that does not know it answers SSH_AGENT_FAILURE.
    ///
    /// ```
    /// use ractor_ssh::auth::AgentForward;
    ///
    /// let agent = AgentForward::connect_with(|| async {
    ///     let (ours, agents) = tokio::io::duplex(4096);
    ///     tokio::spawn(async move { /* an agent on `agents` */ drop(agents) });
    ///     Ok(ours)
    /// });
    /// ```
    pub fn connect_with<S, F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        Self::of(Way::Given(Arc::new(move || {
            let connecting = connect();
            async move { Ok(Box::new(connecting.await?) as Box<dyn Stream>) }.boxed()
        })))
    }

    const fn of(way: Way) -> Self {
        Self { way, max_connections: 16, required: true }
    }

    /// Sets how many connections there may be at a time; what comes beyond is refused, and may try again. Default 16.
    /// Of several commands at a time on one connection, the first one's limit holds for all.
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Starts the command without the agent, and says so in the log, if the server refuses it. Default: the command is
    /// not started, and the error says why.
    pub const fn best_effort(mut self) -> Self {
        self.required = false;
        self
    }

    pub(crate) const fn is_required(&self) -> bool {
        self.required
    }

    pub(crate) const fn limit(&self) -> usize {
        self.max_connections
    }

    /// Whether both lead to the same agent.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.way, &other.way) {
            (Way::Socket(one), Way::Socket(other)) => one == other,
            (Way::Given(one), Way::Given(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Serves one connection that came over the session of `binding`, until either side ends it.
    pub(crate) async fn serve(self, peer: impl AsyncRead + AsyncWrite + Unpin, binding: Arc<SessionBinding>) {
        match self.relay(peer, &binding).await {
            Ok(requests) => tracing::debug!(requests, "a connection to the forwarded agent ended"),
            Err(error) => tracing::warn!(%error, "a connection to the forwarded agent was cut off"),
        }
    }

    /// Says how many requests there were.
    async fn relay(
        self,
        mut peer: impl AsyncRead + AsyncWrite + Unpin,
        binding: &SessionBinding,
    ) -> io::Result<u64> {
        let mut agent = tokio::time::timeout(PATIENCE, self.bound(binding))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the agent does not answer")))?;
        let (mut message, mut requests) = (Vec::new(), 0);
        while read_message(&mut peer, &mut message, "a request to the agent").await? {
            write_message(&mut agent, &message).await?;
            if !read_message(&mut agent, &mut message, "the agent's answer").await? {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent hung up on a request"));
            }
            write_message(&mut peer, &message).await?;
            requests += 1;
        }
        // The peer may be gone; it has all its answers.
        let _ = peer.shutdown().await;
        Ok(requests)
    }

    /// Connects, and says first that what follows comes from somebody else.
    async fn bound(&self, binding: &SessionBinding) -> io::Result<Box<dyn Stream>> {
        let mut agent: Box<dyn Stream> = match &self.way {
            Way::Socket(path) => Box::new(open(path).await?),
            Way::Given(connect) => connect().await?,
        };
        let SessionBinding { host_key, session_id, signature } = binding;
        let request = wire::bind_request(host_key, session_id, signature, true)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the server's host key is too long"))?;
        agent.write_all(&request).await?;
        agent.flush().await?;
        let mut answer = Vec::new();
        if !read_message(&mut agent, &mut answer, "the agent's answer").await? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent hung up"));
        }
        match wire::read_success(&answer) {
            Ok(()) => {}
            // It knows no constraints, then.
            Err(wire::Answer::Declined) => tracing::debug!("the agent does not take note of the session"),
            Err(garbled) => return Err(io::Error::new(io::ErrorKind::InvalidData, garbled)),
        }
        Ok(agent)
    }
}

/// A whole message, without its length. False at an end between two messages.
async fn read_message(
    from: &mut (impl AsyncRead + Unpin),
    message: &mut Vec<u8>,
    what: &str,
) -> io::Result<bool> {
    let mut length = [0; 4];
    let (first, rest) = length.split_at_mut(1);
    if from.read(first).await? == 0 {
        return Ok(false);
    }
    from.read_exact(rest).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_FRAME {
        let said = format!("{what} has {length} bytes; 1 to {MAX_FRAME} are possible");
        return Err(io::Error::new(io::ErrorKind::InvalidData, said));
    }
    message.clear();
    // Memory comes with the bytes, not with what the length promises.
    let read = from.take(length as u64).read_to_end(message).await?;
    if read < length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{what} ended in the middle")));
    }
    Ok(true)
}

async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(message).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::sync::mpsc;

    use super::*;

    fn binding() -> Arc<SessionBinding> {
        let (host_key, session_id, signature) = (b"key".to_vec(), b"id".to_vec(), b"sig".to_vec());
        Arc::new(SessionBinding { host_key, session_id, signature })
    }

    /// A forward to an agent that the test plays, and the peer's end of one connection to it.
    fn lent() -> (DuplexStream, mpsc::UnboundedReceiver<DuplexStream>, tokio::task::JoinHandle<()>) {
        let (tell, agents) = mpsc::unbounded_channel();
        let forward = AgentForward::connect_with(move || {
            let (ours, agents) = tokio::io::duplex(1 << 20);
            let told = tell.send(agents).map_err(|_| io::ErrorKind::BrokenPipe.into());
            async move { told.map(|()| ours) }
        });
        let (peer, ours) = tokio::io::duplex(1 << 20);
        let served = tokio::spawn(forward.serve(ours, binding()));
        (peer, agents, served)
    }

    async fn message(from: &mut DuplexStream) -> Vec<u8> {
        let mut message = Vec::new();
        assert!(read_message(from, &mut message, "a message").await.unwrap());
        message
    }

    #[tokio::test]
    async fn the_agent_hears_first_that_the_session_is_a_forwarded_one_and_then_every_message() {
        for answer in [6, 5, 28] {
            let (mut peer, mut agents, served) = lent();
            write_message(&mut peer, &[11]).await.unwrap();
            write_message(&mut peer, b"\x1bquery").await.unwrap();
            let mut agent = agents.recv().await.unwrap();
            let expected =
                b"\x1b\0\0\0\x18session-bind@openssh.com\0\0\0\x03key\0\0\0\x02id\0\0\0\x03sig\x01";
            assert_eq!(message(&mut agent).await, expected);
            write_message(&mut agent, &[answer]).await.unwrap();
            assert_eq!(message(&mut agent).await, [11]);
            write_message(&mut agent, b"\x0c\0\0\0\0").await.unwrap();
            assert_eq!(message(&mut peer).await, b"\x0c\0\0\0\0");
            assert_eq!(message(&mut agent).await, b"\x1bquery");
            let long = vec![9; MAX_FRAME];
            write_message(&mut agent, &long).await.unwrap();
            assert_eq!(message(&mut peer).await, long);
            drop(peer);
            served.await.unwrap();
            assert_eq!(agent.read(&mut [0]).await.unwrap(), 0, "it is hung up on when the peer goes");
        }
    }

    #[tokio::test]
    async fn no_message_is_longer_than_agents_take_them() {
        for length in [0, 1 + u32::try_from(MAX_FRAME).unwrap(), u32::MAX] {
            let (mut peer, mut agents, served) = lent();
            let mut agent = agents.recv().await.unwrap();
            message(&mut agent).await;
            write_message(&mut agent, &[6]).await.unwrap();
            peer.write_all(&length.to_be_bytes()).await.unwrap();
            served.await.unwrap();
            assert_eq!(agent.read(&mut [0]).await.unwrap(), 0, "the agent sees nothing of it");
            assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_says_nothing_is_not_waited_for() {
        let (mut peer, _agents, served) = lent();
        write_message(&mut peer, &[11]).await.unwrap();
        served.await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_agent_that_talks_nonsense_is_not_lent() {
        let (mut peer, mut agents, served) = lent();
        let mut agent = agents.recv().await.unwrap();
        message(&mut agent).await;
        write_message(&mut agent, b"\x0c\0\0\0\0").await.unwrap();
        served.await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn one_agent_is_the_same_however_often_it_is_named() {
        let given = AgentForward::connect_with(|| async { Ok(tokio::io::empty()) });
        let at = AgentForward::at("/a");
        assert!(at.is_same(&AgentForward::at("/a").best_effort()) && given.is_same(&given.clone()));
        assert!(!at.is_same(&AgentForward::at("/b")) && !at.is_same(&given));
        let other = AgentForward::connect_with(|| async { Ok(tokio::io::empty()) });
        assert!(!given.is_same(&other));
    }
}
