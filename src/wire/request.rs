//! Channel requests (RFC 4254 sections 6.2 to 6.10, RFC 4335), and how a command ended.
//!
//! Owns what a request says, its name on the wire, and what is refused before it is sent. Knows
//! nothing of replies, channels or the library that encodes requests.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};

use super::invalid::ConfigError;
use super::pty::{PtyRequest, WindowSize};
use super::signal::Signal;

/// The most bytes of payload in one request that we send: 255 KiB.
///
/// OpenSSH ends the whole connection at a packet over 256 KiB, and the rest of the packet needs
/// some room. (Linux itself runs no command line over 128 KiB: the peer then reports exit status 1.)
pub const MAX_REQUEST_BYTES: usize = 255 * 1024;

/// The longest name of a request or signal (RFC 4250 section 4.6.1).
const MAX_NAME_BYTES: usize = 64;

/// A request on a channel (RFC 4254 section 5.4), sent by us or by the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelRequest {
    /// `pty-req`: allocate a pseudo-terminal (section 6.2). To a server.
    Pty(PtyRequest),
    /// `x11-req`: forward X11 (section 6.3.1). To a server.
    X11(X11Request),
    /// `env`: set an environment variable for what is started later (section 6.4). To a server.
    Env {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// `shell`: start the user's login shell (section 6.5). To a server.
    Shell,
    /// `exec`: have the user's shell run a command (section 6.5). To a server.
    Exec {
        /// The command line, any bytes.
        command: Bytes,
    },
    /// `subsystem`: start a subsystem such as `sftp` (section 6.5). To a server.
    Subsystem {
        /// The subsystem's name.
        name: String,
    },
    /// `window-change`: the terminal has another size (section 6.7). To a server, unanswered.
    WindowChange(WindowSize),
    /// `xon-xoff`: whether the client may do flow control with Ctrl-S and Ctrl-Q (section 6.8). To
    /// a client, unanswered.
    XonXoff {
        /// Whether it may.
        client_can_do: bool,
    },
    /// `signal`: deliver a signal to the remote process (section 6.9). To a server, unanswered.
    Signal(Signal),
    /// `exit-status`: the process ended with that status (section 6.10). To a client, unanswered.
    ExitStatus(u32),
    /// `exit-signal`: the process was ended by a signal (section 6.10). To a client, unanswered.
    ExitSignal(ExitSignal),
    /// `break`: send a break (RFC 4335). To a server.
    Break {
        /// Length in milliseconds; 0 for the peer's default. Peers keep it between 500 and 3,000.
        length_ms: u32,
    },
    /// `auth-agent-req@openssh.com`: forward the authentication agent. To a server.
    AuthAgent,
    /// A request this crate has no name for.
    Other {
        /// Its name on the wire.
        name: String,
        /// All that follows `want_reply`, as it stands on the wire.
        payload: Bytes,
    },
}

impl ChannelRequest {
    /// The request's name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other { name, .. } => name,
            known => known.own_name(),
        }
    }

    /// The name, as a value of its own.
    pub(crate) fn known_name(&self) -> Cow<'static, str> {
        match self {
            Self::Other { name, .. } => Cow::Owned(name.clone()),
            known => Cow::Borrowed(known.own_name()),
        }
    }

    const fn own_name(&self) -> &'static str {
        match self {
            Self::Pty(_) => "pty-req",
            Self::X11(_) => "x11-req",
            Self::Env { .. } => "env",
            Self::Shell => "shell",
            Self::Exec { .. } => "exec",
            Self::Subsystem { .. } => "subsystem",
            Self::WindowChange(_) => "window-change",
            Self::XonXoff { .. } => "xon-xoff",
            Self::Signal(_) => "signal",
            Self::ExitStatus(_) => "exit-status",
            Self::ExitSignal(_) => "exit-signal",
            Self::Break { .. } => "break",
            Self::AuthAgent => "auth-agent-req@openssh.com",
            Self::Other { .. } => "",
        }
    }

    /// Whether the request may ask for a reply. RFC 4254 has `want_reply` false for
    /// `window-change`, `xon-xoff`, `signal`, `exit-status` and `exit-signal`.
    #[must_use]
    pub const fn may_want_reply(&self) -> bool {
        !matches!(
            self,
            Self::WindowChange(_)
                | Self::XonXoff { .. }
                | Self::Signal(_)
                | Self::ExitStatus(_)
                | Self::ExitSignal(_)
        )
    }

    /// Refuses what no peer could make sense of. For requests that we send; what peers send is
    /// taken as it is.
    ///
    /// # Errors
    ///
    /// - `env`: a name that is empty or has `=` or NUL in it, a value with NUL.
    /// - `exec`: an empty command. (Any bytes are allowed in it, NUL included.)
    /// - `subsystem`: an empty name, or one with NUL.
    /// - `pty-req`: a terminal type with NUL.
    /// - `signal`, `exit-signal`, other requests: a name that is not one in the sense of RFC 4250
    ///   section 4.6.1: 1 to 64 printable ASCII characters, no space or comma, at most one `@`.
    /// - `x11-req`: an empty authentication protocol, a cookie that is not made of hexadecimal digits.
    /// - All: a payload over [`MAX_REQUEST_BYTES`].
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Pty(pty) => no_nul("term", &pty.term)?,
            Self::X11(x11) => x11.check()?,
            Self::Env { name, value } => check_env(name, value)?,
            Self::Exec { command } => not_empty("command", command, "name a command, or ask for a shell")?,
            Self::Subsystem { name } => {
                not_empty("subsystem", name.as_bytes(), "name one the server knows, such as `sftp`")?;
                no_nul("subsystem", name)?;
            }
            Self::Signal(signal) | Self::ExitSignal(ExitSignal { signal, .. }) => {
                check_name("signal", signal.name())?;
            }
            Self::Other { name, .. } => check_name("request name", name)?,
            Self::Shell
            | Self::WindowChange(_)
            | Self::XonXoff { .. }
            | Self::ExitStatus(_)
            | Self::Break { .. }
            | Self::AuthAgent => {}
        }
        self.check_length()
    }

    fn check_length(&self) -> Result<(), ConfigError> {
        let (field, length) = match self {
            Self::Pty(pty) => ("term", pty.term.len()),
            Self::X11(x11) => ("x11 authentication", x11.text_len()),
            Self::Env { name, value } => ("env", name.len().saturating_add(value.len())),
            Self::Exec { command } => ("command", command.len()),
            Self::Subsystem { name } => ("subsystem", name.len()),
            Self::ExitSignal(exit) => ("message", exit.message.len().saturating_add(exit.lang.len())),
            Self::Other { payload, .. } => ("payload", payload.len()),
            _ => return Ok(()),
        };
        if length <= MAX_REQUEST_BYTES {
            return Ok(());
        }
        let problem = format!("{length} bytes are more than the {MAX_REQUEST_BYTES} that fit one request");
        Err(ConfigError::new(field, problem, "send bulk as data: a script on stdin, or a file first"))
    }
}

fn check_env(name: &str, value: &str) -> Result<(), ConfigError> {
    not_empty("env name", name.as_bytes(), "name the variable to set")?;
    no_nul("env name", name)?;
    if name.contains('=') {
        let problem = format!("{name:?} contains `=`");
        return Err(ConfigError::new("env name", problem, "give name and value as two arguments"));
    }
    no_nul(&format!("env value of {name}"), value)
}

fn not_empty(field: &str, value: &[u8], fix: &str) -> Result<(), ConfigError> {
    if value.is_empty() { Err(ConfigError::new(field, "is empty", fix)) } else { Ok(()) }
}

fn no_nul(field: &str, value: &str) -> Result<(), ConfigError> {
    match value.find('\0') {
        None => Ok(()),
        Some(at) => Err(ConfigError::new(field, format!("contains NUL at byte {at}"), "leave the NUL out")),
    }
}

/// RFC 4250 section 4.6.1.
fn check_name(field: &str, name: &str) -> Result<(), ConfigError> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > MAX_NAME_BYTES {
        format!("{} bytes are more than the {MAX_NAME_BYTES} of a name", name.len())
    } else if !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        format!("{name:?} contains something else than printable ASCII, or a comma")
    } else if name.bytes().filter(|byte| *byte == b'@').count() > 1 {
        format!("{name:?} contains more than one `@`")
    } else {
        return Ok(());
    };
    Err(ConfigError::new(field, problem, "give a name of RFC 4254, or a private one as `name@domain`"))
}

/// A request to forward X11, `x11-req` (RFC 4254 section 6.3.1).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct X11Request {
    /// Forward one connection only.
    pub single_connection: bool,
    /// The X11 authentication method, such as `MIT-MAGIC-COOKIE-1`.
    pub auth_protocol: String,
    /// The X11 authentication cookie, in hexadecimal. Send a made-up one and replace it by the
    /// real one on the channels that the peer opens (RFC 4254 section 6.3.1).
    pub auth_cookie: SecretString,
    /// The X11 screen number.
    pub screen: u32,
}

impl X11Request {
    /// Forwards any number of connections to screen 0.
    pub fn new(auth_protocol: impl Into<String>, auth_cookie: impl Into<SecretString>) -> Self {
        Self {
            single_connection: false,
            auth_protocol: auth_protocol.into(),
            auth_cookie: auth_cookie.into(),
            screen: 0,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        not_empty("x11 auth_protocol", self.auth_protocol.as_bytes(), "give `MIT-MAGIC-COOKIE-1`")?;
        no_nul("x11 auth_protocol", &self.auth_protocol)?;
        let cookie = self.auth_cookie.expose_secret();
        if cookie.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(());
        }
        let problem = "contains something else than hexadecimal digits";
        Err(ConfigError::new("x11 auth_cookie", problem, "encode the cookie in hexadecimal"))
    }

    /// Bytes of protocol and cookie.
    pub(crate) fn text_len(&self) -> usize {
        self.auth_protocol.len().saturating_add(self.auth_cookie.expose_secret().len())
    }
}

impl PartialEq for X11Request {
    fn eq(&self, other: &Self) -> bool {
        self.single_connection == other.single_connection
            && self.auth_protocol == other.auth_protocol
            && self.auth_cookie.expose_secret() == other.auth_cookie.expose_secret()
            && self.screen == other.screen
    }
}

impl Eq for X11Request {}

/// How a signal ended a process, `exit-signal` (RFC 4254 section 6.10).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ExitSignal {
    /// The signal.
    pub signal: Signal,
    /// Whether a core was dumped.
    pub core_dumped: bool,
    /// A text for humans, often empty. From the peer: print it as such.
    pub message: String,
    /// The text's language tag (RFC 3066), often empty.
    pub lang: String,
}

impl ExitSignal {
    /// Ended by that signal: no core, no text.
    #[must_use]
    pub const fn new(signal: Signal) -> Self {
        Self { signal, core_dumped: false, message: String::new(), lang: String::new() }
    }

    /// Says whether a core was dumped.
    #[must_use]
    pub const fn core_dumped(mut self, core_dumped: bool) -> Self {
        self.core_dumped = core_dumped;
        self
    }

    /// Sets the text for humans, and its language tag.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>, lang: impl Into<String>) -> Self {
        self.message = message.into();
        self.lang = lang.into();
        self
    }
}

impl fmt::Display for ExitSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}", self.signal.name().escape_debug())?;
        if self.core_dumped {
            f.write_str(" (core dumped)")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message.escape_debug())?;
        }
        Ok(())
    }
}

/// How a remote command ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are all the ways, and callers should look at each")]
pub enum ExitStatus {
    /// It exited by itself, with that status. 32 bits travel; POSIX systems use 8 of them.
    Code(u32),
    /// A signal ended it.
    Signal(ExitSignal),
    /// The channel closed without a word about it: the server does not say, or the connection was lost.
    Missing,
}

impl ExitStatus {
    /// Whether the command exited by itself with status 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        matches!(self, Self::Code(0))
    }

    /// The status, if the command exited by itself.
    #[must_use]
    pub const fn code(&self) -> Option<u32> {
        match self {
            Self::Code(code) => Some(*code),
            _ => None,
        }
    }

    /// The signal that ended the command, if one did.
    #[must_use]
    pub const fn signal(&self) -> Option<&ExitSignal> {
        match self {
            Self::Signal(signal) => Some(signal),
            _ => None,
        }
    }

    /// The exit code for a local process that passes this one on, as shells count: the status
    /// itself, 128 + n for signal n, 255 for anything else.
    ///
    /// A status over 255 gives 255 (its low byte could be 0, a success it was not).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let code = match self {
            Self::Code(code) => u8::try_from(*code).ok(),
            Self::Signal(exit) => exit.signal.number().and_then(|n| u8::try_from(n.checked_add(128)?).ok()),
            Self::Missing => None,
        };
        code.unwrap_or(u8::MAX)
    }
}

impl From<u32> for ExitStatus {
    fn from(code: u32) -> Self {
        Self::Code(code)
    }
}

impl From<ExitSignal> for ExitStatus {
    fn from(signal: ExitSignal) -> Self {
        Self::Signal(signal)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "ended by {signal}"),
            Self::Missing => f.write_str("no exit status"),
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, value: &str) -> ChannelRequest {
        ChannelRequest::Env { name: name.into(), value: value.into() }
    }

    fn exec(command: impl Into<Bytes>) -> ChannelRequest {
        ChannelRequest::Exec { command: command.into() }
    }

    fn subsystem(name: &str) -> ChannelRequest {
        ChannelRequest::Subsystem { name: name.into() }
    }

    fn other(name: &str) -> ChannelRequest {
        ChannelRequest::Other { name: name.into(), payload: Bytes::new() }
    }

    fn signal(name: &str) -> ChannelRequest {
        ChannelRequest::Signal(Signal::from_name(name))
    }

    fn x11(protocol: &str, cookie: &str) -> ChannelRequest {
        ChannelRequest::X11(X11Request::new(protocol, cookie))
    }

    #[test]
    fn names_and_reply_rules_are_those_of_the_rfc() {
        let killed = ExitSignal::new(Signal::Kill);
        for (request, name, may_want_reply) in [
            (ChannelRequest::Pty(PtyRequest::default()), "pty-req", true),
            (x11("MIT-MAGIC-COOKIE-1", "00ff"), "x11-req", true),
            (env("A", "b"), "env", true),
            (ChannelRequest::Shell, "shell", true),
            (exec("ls"), "exec", true),
            (subsystem("sftp"), "subsystem", true),
            (ChannelRequest::WindowChange(WindowSize::FALLBACK), "window-change", false),
            (ChannelRequest::XonXoff { client_can_do: true }, "xon-xoff", false),
            (signal("TERM"), "signal", false),
            (ChannelRequest::ExitStatus(1), "exit-status", false),
            (ChannelRequest::ExitSignal(killed), "exit-signal", false),
            (ChannelRequest::Break { length_ms: 0 }, "break", true),
            (ChannelRequest::AuthAgent, "auth-agent-req@openssh.com", true),
            (other("keepalive@example.com"), "keepalive@example.com", true),
        ] {
            assert_eq!(request.name(), name);
            assert_eq!(request.may_want_reply(), may_want_reply, "{name}");
            assert_eq!(request.check(), Ok(()), "{name}");
        }
    }

    #[test]
    fn odd_but_meaningful_requests_are_sent() {
        for request in [
            env("A", ""),
            env("dash-ed.name", "a=b\nc"),
            exec(&b"printf '\0\xff'"[..]),
            exec(vec![b'x'; MAX_REQUEST_BYTES]),
            signal("WINCH"),
            signal("INFO@openssh.com"),
            ChannelRequest::Pty(PtyRequest::new("").size(0, 0)),
        ] {
            assert_eq!(request.check(), Ok(()));
        }
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused_with_field_and_problem() {
        let long = "x".repeat(MAX_REQUEST_BYTES + 1);
        for (request, field, problem) in [
            (env("", "v"), "env name", "empty"),
            (env("A=B", "v"), "env name", "`=`"),
            (env("A\0", "v"), "env name", "NUL at byte 1"),
            (env("A", "v\0"), "env value of A", "NUL at byte 1"),
            (env("A", &long), "env", "more than the 261120"),
            (exec(""), "command", "empty"),
            (exec(long.clone()), "command", "more than the 261120"),
            (subsystem(""), "subsystem", "empty"),
            (subsystem("s\0"), "subsystem", "NUL"),
            (subsystem(&long), "subsystem", "more than the 261120"),
            (ChannelRequest::Pty(PtyRequest::new("vt\0")), "term", "NUL at byte 2"),
            (ChannelRequest::Pty(PtyRequest::new(&*long)), "term", "more than the 261120"),
            (signal(""), "signal", "empty"),
            (signal("T RM"), "signal", "printable"),
            (other(""), "request name", "empty"),
            (other("a,b"), "request name", "comma"),
            (other("a@b@c"), "request name", "more than one `@`"),
            (other("é"), "request name", "printable"),
            (other(&"n".repeat(65)), "request name", "65 bytes"),
            (x11("", "00"), "x11 auth_protocol", "empty"),
            (x11("p", "secret!"), "x11 auth_cookie", "hexadecimal"),
            (x11("p", &"0".repeat(MAX_REQUEST_BYTES)), "x11 authentication", "more than the 261120"),
        ] {
            let error = request.check().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.problem.contains(problem), "{error}");
            assert!(!error.fix.is_empty() && !error.to_string().contains("secret!"), "{error}");
        }
    }

    #[test]
    fn the_x11_cookie_is_compared_but_never_printed() {
        assert_eq!(x11("p", "c00c1e"), x11("p", "c00c1e"));
        assert_ne!(x11("p", "c00c1e"), x11("p", "c00c1f"));
        assert!(!format!("{:?}", x11("p", "c00c1e")).contains("c00c1e"));
    }

    #[test]
    fn exit_codes_are_those_a_shell_would_give() {
        let by = |name: &str| ExitStatus::Signal(ExitSignal::new(Signal::from_name(name)));
        for (status, exit_code, success, shown) in [
            (ExitStatus::Code(0), 0, true, "exit status 0"),
            (ExitStatus::Code(42), 42, false, "exit status 42"),
            (ExitStatus::Code(255), 255, false, "exit status 255"),
            (ExitStatus::Code(256), 255, false, "exit status 256"),
            (by("TERM"), 143, false, "ended by signal TERM"),
            (by("KILL"), 137, false, "ended by signal KILL"),
            (by("SIG@openssh.com"), 255, false, "ended by signal SIG@openssh.com"),
            (ExitStatus::Missing, 255, false, "no exit status"),
        ] {
            assert_eq!(status.exit_code(), exit_code, "{shown}");
            assert_eq!(status.success(), success, "{shown}");
            assert_eq!(status.to_string(), shown);
        }
        assert_eq!(ExitStatus::Code(3).code(), Some(3));
        assert_eq!(by("INT").code(), None);
        assert_eq!(by("INT").signal(), Some(&ExitSignal::new(Signal::Int)));
    }

    #[test]
    fn a_peers_text_cannot_drive_the_terminal_it_is_shown_on() {
        let exit = ExitSignal::new(Signal::Segv).core_dumped(true).message("bad\x1b[2J", "en");
        assert_eq!(exit.to_string(), "signal SEGV (core dumped): bad\\u{1b}[2J");
        let named = ExitSignal::new(Signal::from_name("X\x1b[2J"));
        assert_eq!(named.to_string(), "signal X\\u{1b}[2J");
    }
}
