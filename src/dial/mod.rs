//! Ways to a byte stream. Knows nothing of SSH.
//!
//! A [`Via`] is a value that says how a stream to a host is made: where it starts, and which [`Proxy`]s it goes through.
//! It is given to [`ClientConfig::via`](crate::ClientConfig::via), and used anew for every connection, so managed
//! connections and pools go the same way each time.
//!
//! ```
//! use ractor_ssh::ClientConfig;
//! use ractor_ssh::dial::{Proxy, TcpOptions, Via};
//!
//! // proxy → bastion → target
//! let way_out = Via::tcp(TcpOptions::new()).proxy(Proxy::http("proxy.example.org", 3128));
//! let bastion = ClientConfig::new("bastion.example.org", "ops").via(way_out);
//! let config = ClientConfig::new("db.internal", "ops").jump(bastion);
//! assert!(config.check().is_ok());
//! ```

#[cfg(unix)]
mod command;
mod dialer;
mod env;
mod error;
mod eyeballs;
mod glued;
mod http;
mod pace;
mod proxy;
mod socks;
mod streams;
mod tcp;
mod via;

#[cfg(unix)]
pub use command::ProxyCommand;
pub(crate) use dialer::ByteStream;
pub use error::{DialError, ProxyError};
pub(crate) use eyeballs::connect_plainly;
pub(crate) use pace::Paced;
pub use proxy::Proxy;
pub(crate) use proxy::authority;
pub(crate) use streams::Streams;
pub use tcp::{AddressFamily, TcpKeepalive, TcpOptions};
pub use via::Via;
pub(crate) use via::{FirstStop, Stop};
