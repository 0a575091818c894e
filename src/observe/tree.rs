//! One picture of a whole house: nodes of any kind, below each other.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ractor::ActorCell;

use super::words;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeKind {
    /// Things that somebody has put together: [`Group`](super::Group).
    Group,
    /// An embedded daemon.
    Daemon,
    /// A pool of connections.
    Pool,
    /// One host of a pool, under one identity.
    Host,
    /// A managed connection: it outlives the connections that follow each other.
    Managed,
    /// A connection.
    Connection,
    /// A supervised channel: it outlives its incarnations.
    Supervised,
    /// A forward: it outlives the connections that it passes on.
    Forward,
    /// A channel.
    Channel,
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "group",
            Self::Daemon => "daemon",
            Self::Pool => "pool",
            Self::Host => "host",
            Self::Managed => "managed connection",
            Self::Connection => "connection",
            Self::Supervised => "supervised channel",
            Self::Forward => "forward",
            Self::Channel => "channel",
        })
    }
}

/// A node and all below it, at the moment it was asked for. Made from the infos of each level, and from nothing else.
///
/// `{}` shows it as lines, one a node, with what it is [stuck](Tree::stuck) at; `{:#}` with all facts.
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) {
/// println!("{}", conn.tree().await);
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tree {
    /// What it stands for.
    pub kind: NodeKind,
    /// Which one: unique among the nodes beside it, and the same as long as it lives.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where in its life it is, in words.
    pub state: String,
    /// Why it stands still, in sentences; empty when it does not.
    pub stuck: Vec<String>,
    /// What else is known of it.
    pub facts: Vec<Fact>,
    /// The actor behind it, to monitor, stop or kill.
    pub actor: Option<ActorCell>,
    /// What belongs to it.
    pub children: Vec<Self>,
}

/// Something known of a node.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// How much, how long, or which.
    pub value: Value,
}

/// The value of a fact.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// A number of things.
    Count(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A time span.
    Time(Duration),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Count(count) => write!(f, "{count}"),
            Self::Bytes(bytes) => f.write_str(&words::bytes(*bytes)),
            Self::Time(time) => f.write_str(&words::time(*time)),
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

/// What is known under the same name at several levels.
pub(crate) const BYTES_IN: &str = "bytes in";
pub(crate) const BYTES_OUT: &str = "bytes out";

impl Tree {
    /// A node without facts and children.
    #[must_use]
    pub fn new(
        kind: NodeKind,
        id: impl Into<String>,
        name: impl Into<String>,
        state: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            id: id.into(),
            name: name.into(),
            state: state.into(),
            stuck: Vec::new(),
            facts: Vec::new(),
            actor: None,
            children: Vec::new(),
        }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.facts.push(Fact { name, value: value.into() });
        self
    }

    /// Adds a fact if it is known.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.fact(name, value),
            None => self,
        }
    }

    /// Adds a number of things.
    #[must_use]
    pub fn count(self, name: &'static str, count: u64) -> Self {
        self.fact(name, Value::Count(count))
    }

    /// Adds a number of bytes.
    #[must_use]
    pub fn bytes(self, name: &'static str, bytes: u64) -> Self {
        self.fact(name, Value::Bytes(bytes))
    }

    /// Sets the actor behind it.
    #[must_use]
    pub fn actor(mut self, actor: Option<ActorCell>) -> Self {
        self.actor = actor;
        self
    }

    /// Sets why it stands still.
    #[must_use]
    pub fn stuck(mut self, why: Vec<String>) -> Self {
        self.stuck = why;
        self
    }

    /// Adds what belongs to it.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// A fact by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| &fact.value)
    }

    /// Bytes received so far, by this node, or else by all below it.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.total(BYTES_IN)
    }

    /// Bytes sent so far, by this node, or else by all below it.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.total(BYTES_OUT)
    }

    fn total(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::Bytes(bytes)) => *bytes,
            _ => self.children.iter().map(|child| child.total(name)).sum(),
        }
    }

    /// How many nodes there are, this one included.
    #[must_use]
    pub fn len(&self) -> usize {
        1 + self.children.iter().map(Self::len).sum::<usize>()
    }

    /// Whether there is nothing below it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// All nodes from this one down, each before its children.
    pub fn walk(&self) -> impl Iterator<Item = &Self> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(next.children.iter().rev());
            Some(next)
        })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, first: &str, rest: &str) -> fmt::Result {
        write!(f, "{first}{} {}: {}", self.kind, self.name, self.state)?;
        if self.get(BYTES_IN).is_some() {
            let (bytes_in, bytes_out) = (words::bytes(self.bytes_in()), words::bytes(self.bytes_out()));
            write!(f, " (in {bytes_in}, out {bytes_out})")?;
        }
        let below = if self.children.is_empty() { "  " } else { "│ " };
        for why in &self.stuck {
            write!(f, "\n{rest}{below}! {why}")?;
        }
        if f.alternate() {
            for Fact { name, value } in &self.facts {
                write!(f, "\n{rest}{below}  {name}: {value}")?;
            }
        }
        let last = self.children.len().saturating_sub(1);
        for (n, child) in self.children.iter().enumerate() {
            let (branch, under) = if n == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            f.write_str("\n")?;
            child.write(f, &format!("{rest}{branch}"), &format!("{rest}{under}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "", "")
    }
}
