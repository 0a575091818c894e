//! What a user says about forwarding a display, and what is looked up before it is done.

use std::path::PathBuf;
use std::time::Duration;

use super::authority;
use super::cookie::Cookie;
use super::display::Display;
use super::error::X11Error;
use super::untrusted::generate;

/// How long it may take to find a cookie.
const PATIENCE: Duration = Duration::from_secs(30);
/// As OpenSSH's `ForwardX11Timeout`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1200);

/// Lets programs of one remote command use a local display: what
/// [`Command::forward_x11`](crate::session::Command::forward_x11) takes.
///
/// # Trust
/// X11 has no walls: a trusted client reads every key that is typed on the display, whatever window it is typed
/// into, and can type by itself. Whoever has the account on the server, and its root, can become such a client as long as
/// the command runs, and stay one as long as the connection does. [`untrusted`](Self::untrusted) clients cannot do that; the X server keeps them apart by its SECURITY
/// extension, and some programs do not work then. It takes the program `xauth`, and an X server with that extension.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "does nothing before it is given to a command"]
pub struct X11Forward {
    display: Display,
    trusted: bool,
    timeout: Option<Duration>,
    single_connection: bool,
    authority: Option<PathBuf>,
    xauth: PathBuf,
    max_connections: usize,
    required: bool,
}

impl X11Forward {
    /// Forwards this display to clients that it does not trust (`ssh -X`, `ForwardX11Trusted no`).
    pub fn untrusted(display: Display) -> Self {
        Self {
            display,
            trusted: false,
            timeout: Some(DEFAULT_TIMEOUT),
            single_connection: false,
            authority: None,
            xauth: "xauth".into(),
            max_connections: 100,
            required: true,
        }
    }

    /// Forwards this display to clients that may do everything on it (`ssh -Y`, `ForwardX11Trusted yes`).
    pub fn trusted(display: Display) -> Self {
        Self { trusted: true, ..Self::untrusted(display) }
    }

    /// Sets for how long untrusted clients may connect, counted from the request (`ForwardX11Timeout`); those that have
    /// connected by then go on. `None`: as long as the command runs. Default 20 minutes. Trusted ones have no such limit.
    pub const fn timeout(mut self, limit: Option<Duration>) -> Self {
        self.timeout = limit;
        self
    }

    /// Lets one connection through, and no second one (RFC 4254 section 6.3.1). Default: any number, one after the
    /// other and at a time.
    pub const fn single_connection(mut self) -> Self {
        self.single_connection = true;
        self
    }

    /// Sets the file that has the display's cookie; it must be a regular file, and no FIFO. Default: `$XAUTHORITY`, else `~/.Xauthority`. If it has none, trusted
    /// clients are passed on without one, and the X server decides.
    pub fn authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self
    }

    /// Sets the program that makes cookies for untrusted clients. Default: `xauth`, from `PATH`.
    pub fn xauth(mut self, program: impl Into<PathBuf>) -> Self {
        self.xauth = program.into();
        self
    }

    /// Sets how many connections there may be at a time; what comes beyond is refused, and may try again.
    /// Default 100.
    pub const fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// Starts the command without X11, and says so in the log, if the display cannot be forwarded: the server refuses, or
    /// there is no cookie. Default: the command is not started, and the error says why.
    pub const fn best_effort(mut self) -> Self {
        self.required = false;
        self
    }

    /// The display.
    #[must_use]
    pub const fn display(&self) -> &Display {
        &self.display
    }

    pub(crate) const fn is_required(&self) -> bool {
        self.required
    }

    /// Finds the display's cookie, or has one made, and makes up the one for the server.
    pub(crate) async fn prepare(&self) -> Result<Prepared, X11Error> {
        // A name may take its time to be looked up, and a home directory to be read.
        let late = |_| self.display.unreachable(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(PATIENCE, self.find()).await.map_err(late)?
    }

    async fn find(&self) -> Result<Prepared, X11Error> {
        let real = if self.trusted {
            let file = self.authority.clone().unwrap_or_else(authority::usual_file);
            let addresses = self.display.addresses().await?;
            let real = authority::find(&file, &addresses, self.display.number()).await?;
            if real.is_none() {
                tracing::debug!(display = %self.display, "no cookie for the display; clients come without one");
            }
            real
        } else {
            Some(generate(&self.display, &self.xauth, self.timeout, self.authority.as_deref()).await?)
        };
        Ok(Prepared {
            display: self.display.clone(),
            fake: Cookie::made_up(),
            real,
            lasts: self.timeout.filter(|_| !self.trusted),
            single_connection: self.single_connection,
            max_connections: self.max_connections,
        })
    }
}

/// All that is needed to forward a display.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) display: Display,
    /// What the server is told.
    pub(crate) fake: Cookie,
    /// What the display wants to see.
    pub(crate) real: Option<Cookie>,
    /// For how long clients may connect.
    pub(crate) lasts: Option<Duration>,
    pub(crate) single_connection: bool,
    pub(crate) max_connections: usize,
}
