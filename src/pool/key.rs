//! Which callers share connections.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::client::{Client, ClientConfig};

/// Who we are there. Never guessed from what credentials look like.
#[derive(Clone)]
enum Identity {
    /// The caller says which identities are the same.
    Named(Arc<str>),
    /// One client and its clones.
    Client(Arc<ClientConfig>),
}

/// A target and an identity.
#[derive(Clone)]
pub(super) struct Key {
    client: Client,
    identity: Identity,
}

impl Key {
    pub(super) fn of(client: &Client) -> Self {
        Self { client: client.clone(), identity: Identity::Client(Arc::clone(client.shared_config())) }
    }

    pub(super) fn named(client: &Client, identity: Arc<str>) -> Self {
        Self { client: client.clone(), identity: Identity::Named(identity) }
    }

    pub(super) fn name(&self) -> Option<&str> {
        match &self.identity {
            Identity::Named(name) => Some(name),
            Identity::Client(_) => None,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let same_identity = match (&self.identity, &other.identity) {
            (Identity::Named(one), Identity::Named(other)) => one == other,
            // Both are held here, so that no address can be used anew.
            (Identity::Client(one), Identity::Client(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same_identity && self.client.config().goes_where(other.client.config())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let config = self.client.config();
        (config.target(), config.user(), self.name()).hash(state);
    }
}
