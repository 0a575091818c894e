//! What travels in a channel actor's mailbox. Never payload of the channel: that waits in the inbox.

/// One message to a channel actor.
#[derive(Debug)]
pub(crate) enum ActorMsg<M> {
    /// The inbox has something.
    Arrived,
    /// The outbound queue has room again.
    Room,
    /// A message of another actor for the behaviour.
    User(M),
}
