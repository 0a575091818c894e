//! NETCONF over SSH: the framing of RFC 6242 as a codec, and a thin client.
//!
//! [`NetconfCodec`] is for both roles and for any stream. [`NetconfSession`] exchanges hellos, switches the framing,
//! and has each request answered by its own reply. What is in the messages is the caller's: no XML library is in here.
//! Needs the feature `netconf`.
//!
//! ```no_run
//! # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
//! use ractor_ssh::netconf::{NetconfOptions, NetconfSession};
//!
//! let mut session = NetconfSession::open(conn.subsystem("netconf"), NetconfOptions::new()).await?;
//! let reply = session.rpc("<get-config><source><running/></source></get-config>").await?;
//! println!("{}", String::from_utf8_lossy(&reply));
//! session.close().await?;
//! # Ok(())
//! # }
//! ```

mod codec;
mod error;
mod root;
mod session;

pub use codec::{Framing, NetconfCodec};
pub use error::{FramingError, NetconfError};
pub use session::{NetconfOptions, NetconfSession};
