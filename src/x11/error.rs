//! Why a display cannot be used.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why X11 cannot be forwarded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum X11Error {
    /// The environment names no display.
    #[error("DISPLAY is not set; start an X server, or name the display")]
    NoDisplay,
    /// The text is no display.
    #[error("display {text:?}: {problem}; give it as `:0`, `unix:0.1`, `host:10.0` or `/path/to/socket:0`")]
    Display {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file with the display's cookie could not be read.
    #[error("the X authority file {}: {error}", .path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: Arc<io::Error>,
    },
    /// The X server could not be reached.
    #[error("the X server of {display}: {error}")]
    Connect {
        /// Which display.
        display: String,
        /// What the operating system said.
        #[source]
        error: Arc<io::Error>,
    },
    /// No cookie for untrusted clients could be had: `xauth` is missing, or the X server has no SECURITY extension.
    #[error(
        "no cookie for untrusted X11 clients: {problem}; install `xauth`, or trust the server with `X11Forward::trusted`"
    )]
    Untrusted {
        /// What went wrong.
        problem: String,
    },
}
