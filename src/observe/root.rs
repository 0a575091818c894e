//! Who can be asked for a tree, and groups of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use super::tree::{NodeKind, Tree};

/// How long one connection has to answer, before its node says that it did not: 1 s. Connections are asked at once, so
/// that a whole tree takes no longer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Waits for the answer of one connection; otherwise says that there was none.
pub(crate) async fn within<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    let limit = super::words::time(ANSWER_LIMIT);
    tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(|_| format!("did not answer within {limit}"))
}

/// What can be looked into: connections, managed connections, pools, supervised channels, daemons, and [`Group`]s of them.
///
/// The types have a function of the same name, so this is needed for mixed collections alone.
pub trait Observe: Send + Sync {
    /// It and all that belongs to it, at this moment. Answers within little more than [`ANSWER_LIMIT`], whatever is
    /// stuck.
    ///
    /// # Cancel safety
    /// Nothing is changed by asking.
    fn tree(&self) -> BoxFuture<'_, Tree>;
}

impl<T: Observe + ?Sized> Observe for Arc<T> {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        (**self).tree()
    }
}

impl<T: Observe + ?Sized> Observe for Box<T> {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        (**self).tree()
    }
}

/// Things to look at together, under one name.
///
/// ```no_run
/// use ractor_ssh::observe::Group;
///
/// # async fn example(build: ractor_ssh::ManagedRef, stage: ractor_ssh::ConnectionRef) {
/// let house = Group::new("deployment").with(build).with(stage);
/// println!("{}", house.tree().await);
/// # }
/// ```
#[derive(Default)]
pub struct Group {
    name: String,
    members: Vec<Box<dyn Observe>>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).field("members", &self.members.len()).finish()
    }
}

impl Group {
    /// An empty one.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), members: Vec::new() }
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, member: impl Observe + 'static) -> Self {
        self.members.push(Box::new(member));
        self
    }

    /// It and all its members, in the order in which they were added.
    pub async fn tree(&self) -> Tree {
        let members = join_all(self.members.iter().map(Observe::tree)).await;
        let state = match members.len() {
            1 => "1 member".to_owned(),
            n => format!("{n} members"),
        };
        Tree::new(NodeKind::Group, self.name.clone(), self.name.clone(), state).children(members)
    }
}

impl Observe for Group {
    fn tree(&self) -> BoxFuture<'_, Tree> {
        self.tree().boxed()
    }
}
