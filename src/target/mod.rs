//! Where something runs, whichever way that is reached.
//!
//! A [`Target`] is made from a connection, a managed connection, a host of a pool, or a client. Code that takes
//! `impl Into<Target>` leaves it to its callers whether connections are kept, shared, or made for this one use.
//!
//! | from | the connection | afterwards |
//! |---|---|---|
//! | `&`[`ConnectionRef`] | is there | stays |
//! | `&`[`ManagedRef`] | is waited for | stays |
//! | `&`[`Host`] of a [`Pool`](crate::Pool) | has a free place, which is waited for | stays until it is idle |
//! | [`Client`], [`ClientConfig`] | is made for this use | is closed, in every case |
//!
//! ```no_run
//! use ractor_ssh::session::{Command, CommandError};
//! use ractor_ssh::{ClientConfig, Pool, PoolConfig, Target};
//!
//! async fn kernel(target: impl Into<Target>) -> Result<String, CommandError> {
//!     Ok(Command::new(target, "uname").arg("-r").output().await?.stdout_text().into_owned())
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ClientConfig::new("build.example.org", "ci");
//! println!("{}", kernel(config.clone()).await?);
//!
//! let pool = Pool::new(PoolConfig::new())?;
//! println!("{}", kernel(&pool.get(config)).await?);
//! # Ok(())
//! # }
//! ```

use std::fmt;

use crate::behaviour::{ChannelRef, ClientChannel};
use crate::client::{Client, ClientConfig};
use crate::config::ChannelOptions;
use crate::connect_error::ConnectError;
use crate::error::{ConnectionError, OpenError};
use crate::handle::ConnectionRef;
use crate::handle::route::{Route, Way};
use crate::managed::{ManagedRef, ManagedSpec};
use crate::pool::Host;
use crate::session::Command;
use crate::supervised::{ChannelSpec, SupervisedRef};
use crate::wire::open::OpenRequest;

/// Where something runs. See [`target`](crate::target).
///
/// Cheap to clone. It keeps what it was made from; from a client, it connects anew for every use.
#[derive(Clone)]
pub struct Target(Kind);

#[derive(Clone)]
enum Kind {
    Connection(ConnectionRef),
    Managed(ManagedRef),
    Pooled(Host),
    Client(Client),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Connection(connection) => connection.fmt(f),
            Kind::Managed(managed) => managed.fmt(f),
            Kind::Pooled(host) => host.fmt(f),
            Kind::Client(client) => client.fmt(f),
        }
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $kind:expr;)*) => {$(
        impl From<$from> for Target {
            fn from($value: $from) -> Self {
                Self($kind)
            }
        }
    )*};
}

from! {
    ConnectionRef => |it| Kind::Connection(it);
    &ConnectionRef => |it| Kind::Connection(it.clone());
    ManagedRef => |it| Kind::Managed(it);
    &ManagedRef => |it| Kind::Managed(it.clone());
    Host => |it| Kind::Pooled(it);
    &Host => |it| Kind::Pooled(it.clone());
    Client => |it| Kind::Client(it);
    &Client => |it| Kind::Client(it.clone());
    ClientConfig => |it| Kind::Client(Client::new(it));
    &Target => |it| it.0.clone();
}

impl Target {
    fn route(self) -> Route {
        match self.0 {
            Kind::Connection(connection) => Route::from(&connection),
            Kind::Managed(managed) => managed.route(),
            Kind::Pooled(host) => host.route(),
            Kind::Client(client) => Route::found(move |_| {
                let connecting = client.connect();
                // Nobody keeps its address: it ends with its channel, or with the attempt to open that.
                async move { connecting.await.map(Way::own).map_err(not_connected) }
            }),
        }
    }

    /// As [`ConnectionRef::open_channel`]. The channel of a client has a connection of its own, which ends with it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the channel is closed as soon as the peer has confirmed it; an attempt to connect is
    /// given up.
    ///
    /// # Errors
    /// As the connection's; there was none to be had.
    pub async fn open_channel<C: ClientChannel>(
        &self,
        request: OpenRequest,
        options: ChannelOptions,
        behaviour: C,
    ) -> Result<ChannelRef<C>, OpenError> {
        self.clone().route().open_channel(request, options, behaviour).await
    }

    /// Starts a supervised channel there: [`ConnectionRef::supervise`], [`ManagedRef::supervise`] or
    /// [`Host::supervise`]. With a client, it gets a managed connection of its own, with
    /// [all defaults](ManagedSpec::new), which ends with it.
    ///
    /// # Errors
    /// Wrong values in the specification or the client's configuration, each with the way out.
    pub async fn supervise<C: ClientChannel>(
        &self,
        spec: ChannelSpec<C>,
    ) -> Result<SupervisedRef<C>, OpenError> {
        match &self.0 {
            Kind::Connection(connection) => connection.supervise(spec).await,
            Kind::Managed(managed) => managed.supervise(spec).await,
            Kind::Pooled(host) => host.supervise(spec).await,
            Kind::Client(client) => {
                let managed = client.manage(ManagedSpec::new()).await.map_err(not_connected)?;
                managed.supervise(spec).await
            }
        }
    }
}

/// # Where to run it
impl Command {
    /// A program with arguments, as [`ConnectionRef::command`], wherever that is.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use ractor_ssh::ClientConfig;
    /// use ractor_ssh::session::Command;
    ///
    /// let output = Command::new(ClientConfig::new("build.example.org", "ci"), "uptime").output().await?;
    /// println!("{}", output.stdout_text());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(target: impl Into<Target>, program: impl AsRef<[u8]>) -> Self {
        target.into().route().command(program)
    }

    /// A command line for the user's login shell, as [`ConnectionRef::exec`], wherever that is.
    pub fn exec(target: impl Into<Target>, line: impl AsRef<[u8]>) -> Self {
        target.into().route().exec(line)
    }

    /// The user's login shell, as [`ConnectionRef::shell`], wherever that is.
    pub fn shell(target: impl Into<Target>) -> Self {
        target.into().route().shell()
    }

    /// A subsystem, as [`ConnectionRef::subsystem`], wherever that is.
    pub fn subsystem(target: impl Into<Target>, name: impl Into<String>) -> Self {
        target.into().route().subsystem(name)
    }
}

/// What is wrong with an argument stays that; everything else means that there is no connection, now or ever.
fn not_connected(error: ConnectError) -> OpenError {
    match error {
        ConnectError::Config(error) => error.into(),
        ConnectError::Actor(error) => ConnectionError::ActorGone(error).into(),
        other if other.is_retryable() => OpenError::NoConnection(other.to_string().into()),
        other => ConnectionError::Abandoned(other.to_string().into()).into(),
    }
}
