//! X11 forwarding (RFC 4254 section 6.3): displays, cookies, and what is needed to let others draw on one.
//!
//! On the client, [`X11Forward`] says which display a remote command may use:
//!
//! ```no_run
//! # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
//! use ractor_ssh::x11::{Display, X11Forward};
//!
//! let status = conn.exec("xclock").forward_x11(X11Forward::untrusted(Display::from_env()?)).status().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The server is given a cookie that is made up for this one channel. Whoever connects over the server must show it in
//! the first packet of the X11 connection; the display's own cookie is put in its place here, and never leaves this
//! machine. A connection that shows anything else gets an X11 refusal that says so, and is closed.
//!
//! On a daemon, [`Router::x11_forwarding`](crate::Router::x11_forwarding) allows it.
//!
//! Nothing here knows SSH. Files, sockets and one program: `xauth`, which makes the cookies of untrusted clients.

mod authority;
mod connect;
mod cookie;
mod directory;
mod display;
mod error;
mod forward;
mod setup;
mod table;
mod untrusted;

#[cfg(feature = "server")]
pub(crate) use authority::Entry;
use connect::XStream;
#[cfg(feature = "server")]
pub(crate) use cookie::Cookie;
pub(crate) use cookie::MIT_MAGIC_COOKIE;
#[cfg(feature = "server")]
pub(crate) use directory::private_directory;
pub use display::Display;
pub use error::X11Error;
pub(crate) use forward::Prepared;
pub use forward::X11Forward;
pub(crate) use table::{Registration, Table};
