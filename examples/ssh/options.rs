//! What is asked for on the command line.

use clap::Parser;

use crate::login::Login;

/// What it does of the keywords that are about sessions and forwards.
pub(crate) const HONOURED: [&str; 16] = [
    "localforward",
    "remoteforward",
    "dynamicforward",
    "exitonforwardfailure",
    "gatewayports",
    "permitremoteopen",
    "forwardagent",
    "forwardx11",
    "forwardx11trusted",
    "forwardx11timeout",
    "sendenv",
    "setenv",
    "requesttty",
    "remotecommand",
    "sessiontype",
    "stdinnull",
];

/// Runs a command, or a shell, on an SSH server.
#[derive(Parser)]
#[command(name = "ssh")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) login: Login,
    /// Listen here, and lead there from the server: `[address:]port:host:port`; paths of Unix sockets as either end.
    #[arg(short = 'L')]
    pub(crate) local: Vec<String>,
    /// Have the server listen, and lead there from here: `[address:]port[:host:port]`; without a host, by SOCKS.
    #[arg(short = 'R')]
    pub(crate) remote: Vec<String>,
    /// Listen here as a SOCKS proxy: `[address:]port`.
    #[arg(short = 'D')]
    pub(crate) dynamic: Vec<String>,
    /// Lend the agent to the command.
    #[arg(short = 'A')]
    pub(crate) agent: bool,
    /// Lend the display to the command, with restrictions.
    #[arg(short = 'X')]
    pub(crate) x11: bool,
    /// Lend the display to the command, without restrictions.
    #[arg(short = 'Y')]
    pub(crate) trusted_x11: bool,
    /// Ask for a terminal.
    #[arg(short)]
    pub(crate) terminal: bool,
    /// No command: forward only, until it is interrupted.
    #[arg(short = 'N')]
    pub(crate) no_command: bool,
    /// The command; its words are joined by spaces. Without one, a shell.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}
