//! The names of the authentication methods (RFC 4252 section 5, RFC 4256, RFC 4462).

use std::fmt;

/// An authentication method, as named on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// `none` (RFC 4252 section 5.2): logs in where nothing is asked for, and else makes the server
    /// name its methods.
    None,
    /// `publickey` (RFC 4252 section 7), certificates included.
    PublicKey,
    /// `password` (RFC 4252 section 8).
    Password,
    /// `keyboard-interactive` (RFC 4256).
    KeyboardInteractive,
    /// `hostbased` (RFC 4252 section 9). Servers may ask for it; this client cannot do it.
    HostBased,
    /// `gssapi-with-mic` (RFC 4462). Servers may ask for it; this client cannot do it.
    GssapiWithMic,
}

impl AuthMethod {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PublicKey => "publickey",
            Self::Password => "password",
            Self::KeyboardInteractive => "keyboard-interactive",
            Self::HostBased => "hostbased",
            Self::GssapiWithMic => "gssapi-with-mic",
        }
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
