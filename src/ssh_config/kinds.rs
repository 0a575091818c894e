//! The values of options that are one of a few things.

use std::path::PathBuf;

use super::jump::JumpHost;

/// `StrictHostKeyChecking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrictHostKeys {
    /// Only known keys.
    Yes,
    /// New hosts are taken and written down.
    AcceptNew,
    /// Somebody is asked about new hosts.
    Ask,
    /// New hosts are taken, and changed keys too.
    No,
}

/// `IdentityAgent`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityAgent {
    /// No agent.
    Off,
    /// The socket that `SSH_AUTH_SOCK` names.
    Usual,
    /// This socket.
    At(PathBuf),
}

/// `ProxyJump` or `ProxyCommand`, whichever was given first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Proxy {
    /// Through these hosts, in this order; not empty.
    Jump(Vec<JumpHost>),
    /// Over input and output of this command, tokens expanded, for a shell to run.
    Command(String),
}

/// `AddressFamily`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressFamily {
    /// Both.
    Any,
    /// IPv4 only.
    Inet,
    /// IPv6 only.
    Inet6,
}

/// `ForwardAgent`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentForwarding {
    /// None.
    No,
    /// The usual agent's.
    Yes,
    /// The agent at this socket.
    At(PathBuf),
}

/// `RequestTTY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestTty {
    /// Never.
    No,
    /// If our input is a terminal.
    Yes,
    /// Always.
    Force,
    /// For shells, if our input is a terminal.
    Auto,
}

/// `SessionType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionType {
    /// No session: forwards only.
    None,
    /// The command is the name of a subsystem.
    Subsystem,
    /// A shell, or a command.
    Default,
}
