//! A NETCONF client on one stream: hellos, requests, replies.
//!
//! Owns the message ids, and what came that is no reply.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::consume_budget;
use tokio_util::codec::Framed;

use super::codec::{Framing, NetconfCodec};
use super::error::NetconfError;
use super::root::{has_capability, root};
use crate::error::ConfigError;
use crate::session::{ChannelStream, Command};

const BASE_1_0: &str = "urn:ietf:params:netconf:base:1.0";
const BASE_1_1: &str = "urn:ietf:params:netconf:base:1.1";
const NAMESPACE: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";

/// How a session is led.
///
/// | | default |
/// |---|---|
/// | [`deadline`](Self::deadline) of a step | 30 s |
/// | [`codec`](Self::codec): the largest message | 64 MiB |
/// | [`notifications`](Self::notifications) kept | 256, and no more bytes than the largest message may have |
/// | versions offered | 1.0 and 1.1 |
#[derive(Debug, Clone)]
#[must_use]
pub struct NetconfOptions {
    deadline: Duration,
    codec: NetconfCodec,
    notifications: usize,
    only_1_0: bool,
    capabilities: Vec<String>,
}

impl NetconfOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            codec: NetconfCodec::new(),
            notifications: 256,
            only_1_0: false,
            capabilities: Vec::new(),
        }
    }

    /// How long a step may take: the hellos, a request with its reply. Default 30 s.
    pub const fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = limit;
        self
    }

    /// Sets the limits of messages and chunks. The framing is chosen by the hellos, whatever this codec's is.
    pub fn codec(mut self, codec: NetconfCodec) -> Self {
        self.codec = codec;
        self
    }

    /// How many messages that are no replies are kept while a reply is waited for. Default 256. Together they have no more
    /// bytes than the largest message may have.
    pub const fn notifications(mut self, most: usize) -> Self {
        self.notifications = most;
        self
    }

    /// Offers NETCONF 1.0 only, for servers whose 1.1 is at fault.
    pub const fn only_1_0(mut self) -> Self {
        self.only_1_0 = true;
        self
    }

    /// Names one more capability in our hello: a URI, written as XML text.
    pub fn capability(mut self, uri: impl Into<String>) -> Self {
        self.capabilities.push(uri.into());
        self
    }

    fn hello(&self) -> Result<Bytes, ConfigError> {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<hello xmlns=\"{NAMESPACE}\"><capabilities>"
        );
        let base: &[&str] = if self.only_1_0 { &[BASE_1_0] } else { &[BASE_1_0, BASE_1_1] };
        for uri in base.iter().copied().chain(self.capabilities.iter().map(String::as_str)) {
            if uri.is_empty() || uri.contains(['<', '>']) {
                let problem = format!("`{uri}` is no URI");
                return Err(ConfigError::new(
                    "capability",
                    problem,
                    "give a URI as XML text: `&amp;` for `&`",
                ));
            }
            text.push_str(&format!("<capability>{uri}</capability>"));
        }
        text.push_str("</capabilities></hello>");
        Ok(text.into())
    }
}

impl Default for NetconfOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A NETCONF client's session (RFC 6241), on a channel or on any stream.
///
/// One request at a time: [`rpc`](Self::rpc) sends an operation and gives its reply. Dropping it closes the stream;
/// [`close`](Self::close) says so before.
pub struct NetconfSession<S = ChannelStream> {
    framed: Framed<S, NetconfCodec>,
    hello: Bytes,
    deadline: Duration,
    last_id: u64,
    notifications: VecDeque<Bytes>,
    /// In all of them.
    kept_bytes: usize,
    most_notifications: usize,
    most_bytes: usize,
}

impl<S> fmt::Debug for NetconfSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetconfSession")
            .field("framing", &self.framed.codec().framing())
            .field("last_id", &self.last_id)
            .finish_non_exhaustive()
    }
}

impl NetconfSession {
    /// Starts a subsystem and exchanges hellos: `conn.subsystem("netconf")`; 830 is the port of servers that have nothing
    /// else (RFC 6242 section 3).
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed.
    ///
    /// # Errors
    /// The subsystem could not be started. As [`over`](Self::over).
    pub async fn open(subsystem: Command, options: NetconfOptions) -> Result<Self, NetconfError> {
        let starting = async { subsystem.stream().await.map_err(NetconfError::Start) };
        let stream = within(options.deadline, "start of the subsystem", starting).await?;
        Self::over(stream, options).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> NetconfSession<S> {
    /// Exchanges hellos on a stream (RFC 6241 section 8.1), and takes the highest version both sides have.
    ///
    /// # Cancel safety
    /// If the future is dropped, so is the stream.
    ///
    /// # Errors
    /// The peer's first message is no hello; it has no base capability of ours; the stream failed; the deadline passed.
    pub async fn over(stream: S, options: NetconfOptions) -> Result<Self, NetconfError> {
        let ours = options.hello()?;
        let mut codec = options.codec;
        codec.set_framing(Framing::EndOfMessage);
        let mut framed = Framed::new(stream, codec);
        let hello = within(options.deadline, "hello", async {
            framed.send(ours).await?;
            framed.next().await.ok_or(NetconfError::Ended { waited_for: "the hello" })?.map_err(Into::into)
        });
        let hello: Bytes = hello.await?;
        if root(&hello).is_none_or(|root| root.name != b"hello") {
            return Err(NetconfError::Hello { problem: "is none", hello });
        }
        if !options.only_1_0 && has_capability(&hello, BASE_1_1) {
            framed.codec_mut().set_framing(Framing::Chunked);
        } else if !has_capability(&hello, BASE_1_0) {
            return Err(NetconfError::Hello { problem: "has no base capability that is ours", hello });
        }
        let most_bytes = framed.codec().longest();
        Ok(Self {
            framed,
            hello,
            deadline: options.deadline,
            last_id: 0,
            notifications: VecDeque::new(),
            kept_bytes: 0,
            most_notifications: options.notifications,
            most_bytes,
        })
    }

    /// The peer's hello.
    #[must_use]
    pub const fn hello(&self) -> &Bytes {
        &self.hello
    }

    /// Whether the peer's hello has this capability: the whole URI, parameters included, as it is written.
    #[must_use]
    pub fn has_capability(&self, uri: &str) -> bool {
        has_capability(&self.hello, uri)
    }

    /// The framing, and with it the version: chunks are 1.1.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framed.codec().framing()
    }

    /// Sends an operation (the content of `<rpc>`) and waits for its reply, with the deadline: the whole `<rpc-reply>`,
    /// errors in it included. What comes before it and is no reply is kept for
    /// [`notification`](Self::notification).
    ///
    /// # Cancel safety
    /// If the future is dropped, the operation may have been sent, and is carried out. Its late reply is not taken for
    /// another one's.
    ///
    /// # Errors
    /// The session ended, the framing is wrong, too much came that is no reply, or the deadline passed. Too much is still
    /// there that is no reply: nothing was sent then.
    pub async fn rpc(&mut self, operation: &str) -> Result<Bytes, NetconfError> {
        self.check_notifications()?;
        self.last_id += 1;
        let id = self.last_id.to_string();
        let message = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rpc message-id=\"{id}\" xmlns=\"{NAMESPACE}\">{operation}</rpc>"
        );
        within(self.deadline, "reply", async {
            self.framed.send(Bytes::from(message)).await?;
            loop {
                let message = self.next("the reply").await?;
                match root(&message) {
                    // One without an id answers a request the peer could not read (RFC 6241 section 4.3).
                    Some(root) if root.name == b"rpc-reply" => match root.message_id {
                        Some(other) if other != id.as_bytes() => {
                            // A peer that says this without a pause must not keep the deadline from passing.
                            consume_budget().await;
                            tracing::debug!(id = %other.escape_ascii(), "reply to a request that was given up");
                        }
                        _ => return Ok(message),
                    },
                    _ => {
                        // The one too many stays as well.
                        self.kept_bytes = self.kept_bytes.saturating_add(message.len());
                        self.notifications.push_back(message);
                        self.check_notifications()?;
                    }
                }
            }
        })
        .await
    }

    /// The next message that is no reply: a notification (RFC 5277). Waits without a deadline, since there may be none
    /// for long.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The session ended, or the framing is wrong.
    pub async fn notification(&mut self) -> Result<Bytes, NetconfError> {
        loop {
            if let Some(message) = self.notifications.pop_front() {
                self.kept_bytes = self.kept_bytes.saturating_sub(message.len());
                return Ok(message);
            }
            let message = self.next("a notification").await?;
            if root(&message).is_none_or(|root| root.name != b"rpc-reply") {
                return Ok(message);
            }
            tracing::debug!("reply to a request that was given up");
        }
    }

    fn check_notifications(&self) -> Result<(), NetconfError> {
        let kept = self.notifications.len();
        if kept > self.most_notifications || self.kept_bytes > self.most_bytes {
            return Err(NetconfError::Notifications { kept });
        }
        Ok(())
    }

    async fn next(&mut self, waited_for: &'static str) -> Result<Bytes, NetconfError> {
        Ok(self.framed.next().await.ok_or(NetconfError::Ended { waited_for })??)
    }

    /// Asks for the end of the session (`<close-session>`, RFC 6241 section 7.8), and closes the stream when the peer has
    /// answered.
    ///
    /// # Cancel safety
    /// If the future is dropped, so is the session.
    ///
    /// # Errors
    /// As [`rpc`](Self::rpc).
    pub async fn close(mut self) -> Result<Bytes, NetconfError> {
        self.rpc("<close-session/>").await
    }

    /// The stream with its codec, in the state the hellos have brought it to: to go on by hand. Messages that were kept
    /// come beside it.
    pub fn into_framed(self) -> (Framed<S, NetconfCodec>, VecDeque<Bytes>) {
        (self.framed, self.notifications)
    }
}

async fn within<T>(
    after: Duration,
    waited_for: &'static str,
    work: impl Future<Output = Result<T, NetconfError>>,
) -> Result<T, NetconfError> {
    let done = tokio::time::timeout(after, work).await;
    done.unwrap_or(Err(NetconfError::Timeout { waited_for, after }))
}
