//! Channels that come back: one address, one behaviour after the other behind it.
//!
//! [`ConnectionRef::supervise`](crate::ConnectionRef::supervise) takes a [`ChannelSpec`] and gives a
//! [`SupervisedRef`]: an address that stays the same while the behaviour behind it ends and is started again.
//!
//! ```text
//!            ┌────────────────────────────── due ◄──────────────────────┐
//!            ▼                                                          │
//!        Starting ──open confirmed, init returned──► Up ──ended──┬──► Backoff
//!            │                                                   │
//!            └──not opened, init failed──────────────────────────┤
//!                                                                ├──► Ended    the restart type wants no more
//!   from anywhere:  stop ──► Stopped                             └──► GaveUp   too many restarts in the window
//!                   connection lost or closed ──► Down, or Waiting if it is managed
//! ```
//!
//! # What is kept and what is lost
//! The address, its state stream and, with [`ChannelSpec::queue`], the messages that were cast while nothing
//! was up. A behaviour's own state is not kept: the factory makes a new one, and is told the number of the
//! incarnation and why the last one ended. Messages in the mailbox of a behaviour that ended are lost with it,
//! as with any actor; a call among them gets an error. Bytes of a channel are never sent twice.
//!
//! The next incarnation starts when the last one's actor has ended. It may take its time for what had arrived; but when
//! its channel was cut off on our side, as one that stalled is, it has the close timeout for the callback that is under
//! way and `terminate`, and is killed then. When its connection was lost and the next one is up, each callback has
//! [`ChannelSpec::stuck_limit`].
//!
//! # Who stops it
//! [`SupervisedRef::stop`], which wins over everything: a pause, an open under way, a restart that is due.
//! And the loss of the last [`SupervisedRef`]: nobody could stop the channel after that. A supervised channel
//! never outlives its supervisor, however that one ends.
//!
//! When the connection is lost or closed, supervision ends in [`SupervisedState::Down`]: there is nothing left
//! to restart a channel on. A connection that is shut down restarts nothing and waits for supervised channels
//! as for all others. On a [managed connection](crate::managed) the channel waits instead, and comes back with the
//! next connection; the end of a connection is no failure of the channel, and does not count for its intensity. So it
//! does whatever its restart type is; but a behaviour that ended itself ([`Next::Stop`](crate::Next)) at what had
//! arrived before the loss has ended: only a `Permanent` one comes back then.
//!
//! ```no_run
//! use std::time::Duration;
//! use ractor_ssh::supervision::{Backoff, RestartPolicy};
//! use ractor_ssh::{
//!     BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, ConnectionRef, Incarnation, Next,
//! };
//!
//! struct Tail(Incarnation);
//!
//! impl ClientChannel for Tail {
//!     type Msg = ();
//!
//!     async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
//!         println!("start number {}", self.0.number);
//!         Ok(ctx.exec("tail --follow=name /var/log/syslog").await?)
//!     }
//!
//!     async fn handle_ssh_msg(
//!         &mut self,
//!         msg: ChannelMsg,
//!         _ctx: &mut ChannelContext<Self>,
//!     ) -> Result<Next, BoxError> {
//!         println!("{msg:?}");
//!         Ok(Next::Continue)
//!     }
//! }
//!
//! # async fn example(conn: ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
//! let pauses = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
//! let policy = RestartPolicy::permanent().intensity(5, Duration::from_secs(60)).backoff(pauses);
//! let tail = conn.supervise(ChannelSpec::new(Tail).restart(policy)).await?;
//! tail.up().await?;
//! # Ok(())
//! # }
//! ```

mod course;
mod door;
mod error;
mod look;
mod place;
mod spec;
mod state;
mod step;
mod supervised_ref;
mod supervisor;

pub use error::{CastError, NotUp, SupervisedCallError};
pub use spec::{ChannelSpec, Escalation, Incarnation};
pub use state::{IncarnationEnd, SupervisedInfo, SupervisedState};
pub use supervised_ref::SupervisedRef;

pub(crate) use place::{Admission, Admitted, Place, Turn};
pub(crate) use step::panic_text;
pub(crate) use supervised_ref::supervise;
