//! Supervised channels, as their connections know them: to look at, whatever their behaviours are.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ractor::ActorId;

use super::channel::ChannelInfo;
use super::tree::Tree;

/// A supervised channel to look at.
pub(crate) trait Watched: Send + Sync {
    /// The actor that supervises it.
    fn supervisor(&self) -> ActorId;

    /// Its node, without its channel.
    fn node(&self) -> Tree;

    /// The channel of the running incarnation.
    fn channel(&self) -> Option<ChannelInfo>;
}

/// The supervised channels of one connection, in the order in which they were declared.
#[derive(Default)]
pub(crate) struct WatchList(Mutex<Vec<Weak<dyn Watched>>>);

impl fmt::Debug for WatchList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchList({})", self.lock().len())
    }
}

impl WatchList {
    /// One more. Those that are gone are forgotten whenever the list would have to grow.
    pub(crate) fn add(&self, channel: Weak<dyn Watched>) {
        let mut list = self.lock();
        if list.len() == list.capacity() {
            list.retain(|channel| channel.strong_count() > 0);
        }
        list.push(channel);
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn Watched>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Watched>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Channels in their places.
pub(crate) struct Family {
    /// The supervised ones, each with its channel, wherever that one is.
    pub(crate) supervised: Vec<Tree>,
    /// The others.
    pub(crate) free: Vec<Tree>,
}

impl Family {
    /// Puts the channels of a connection below those that supervise them. An isolated channel is on a connection of its
    /// own, and is asked itself.
    pub(crate) fn of(watched: &[Arc<dyn Watched>], channels: &[ChannelInfo]) -> Self {
        let mut supervised: Vec<Tree> = watched.iter().map(|channel| channel.node()).collect();
        let places: HashMap<ActorId, usize> =
            watched.iter().enumerate().map(|(n, channel)| (channel.supervisor(), n)).collect();
        let mut free = Vec::new();
        for channel in channels {
            let parent = channel.supervised.and_then(|lineage| places.get(&lineage.supervisor));
            match parent.and_then(|n| supervised.get_mut(*n)) {
                Some(parent) => parent.children.push(channel.into()),
                None => free.push(channel.into()),
            }
        }
        for (node, channel) in supervised.iter_mut().zip(watched) {
            if node.children.is_empty() {
                node.children.extend(channel.channel().as_ref().map(Tree::from));
            }
        }
        Self { supervised, free }
    }
}
