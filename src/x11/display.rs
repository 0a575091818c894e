//! The names of displays, as `DISPLAY` has them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::X11Error;

/// The TCP port of display 0.
pub(super) const FIRST_PORT: u16 = 6000;

/// Where an X server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A Unix socket of this machine, by the display's number.
    Local,
    /// A TCP port of this host.
    Host(String),
    /// The Unix socket of this name, without the screen; as macOS has it.
    Socket(PathBuf),
}

/// A display of an X server, and a screen of it.
///
/// | text | the X server |
/// |---|---|
/// | `:0`, `unix:0.1` | this machine's: the Unix socket `/tmp/.X11-unix/X0`, or the abstract one of this name on Linux |
/// | `host:10.0`, `[::1]:10` | TCP port 6010 of that host |
/// | `/path/to/socket:0` | the Unix socket of exactly this name, or of the name before the colon |
///
/// ```
/// use ractor_ssh::x11::Display;
///
/// let display: Display = "localhost:10.1".parse()?;
/// assert_eq!((display.number(), display.screen()), (10, 1));
/// assert!("localhost".parse::<Display>().is_err());
/// # Ok::<(), ractor_ssh::x11::X11Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Display {
    pub(super) place: Place,
    number: u16,
    screen: u32,
}

impl Display {
    /// The display of a number on this machine, screen 0.
    ///
    /// # Errors
    /// There is no such display: the last one is 59,535.
    pub fn local(number: u16) -> Result<Self, X11Error> {
        format!(":{number}").parse()
    }

    /// The display that the environment variable `DISPLAY` names.
    ///
    /// # Errors
    /// It is not set or empty, or its value is no display.
    pub fn from_env() -> Result<Self, X11Error> {
        match std::env::var_os("DISPLAY") {
            Some(text) if !text.is_empty() => text.to_string_lossy().parse(),
            _ => Err(X11Error::NoDisplay),
        }
    }

    /// The display's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The screen's number; 0 if none is named.
    #[must_use]
    pub const fn screen(&self) -> u32 {
        self.screen
    }

    /// The port, if the display is reached by TCP.
    pub(super) const fn port(&self) -> u16 {
        FIRST_PORT.saturating_add(self.number)
    }
}

impl FromStr for Display {
    type Err = X11Error;

    fn from_str(text: &str) -> Result<Self, X11Error> {
        let wrong = |problem| X11Error::Display { text: text.to_owned(), problem };
        let (host, rest) = text.rsplit_once(':').ok_or_else(|| wrong("there is no colon in it"))?;
        let (number, screen) = match rest.split_once('.') {
            Some((number, screen)) => {
                (number, digits(screen).ok_or_else(|| wrong("the screen is no number"))?)
            }
            None => (rest, 0),
        };
        let number = digits(number).ok_or_else(|| wrong("what follows the colon is no number"))?;
        let number = u16::try_from(number).ok().filter(|number| *number <= u16::MAX - FIRST_PORT);
        let number = number.ok_or_else(|| wrong("there are no displays above 59535"))?;
        let place = match host {
            "" | "unix" => Place::Local,
            _ if host.contains('\0') => return Err(wrong("there is a NUL in it")),
            path if path.starts_with('/') => Place::Socket(path.into()),
            _ if host.contains('/') => return Err(wrong("protocols in front of the host are not known")),
            _ if host.ends_with(':') => return Err(wrong("DECnet is not supported")),
            host => {
                let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
                Place::Host(bare.to_owned())
            }
        };
        Ok(Self { place, number, screen })
    }
}

/// Digits only: no sign, no space.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Local => {}
            Place::Host(host) if host.contains(':') => write!(f, "[{host}]")?,
            Place::Host(host) => f.write_str(host)?,
            Place::Socket(path) => write!(f, "{}", path.display())?,
        }
        write!(f, ":{}.{}", self.number, self.screen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_display_is_understood() {
        for (text, place, number, screen, shown) in [
            (":0", Place::Local, 0, 0, ":0.0"),
            ("unix:0.1", Place::Local, 0, 1, ":0.1"),
            ("host:10.0", Place::Host("host".into()), 10, 0, "host:10.0"),
            ("192.0.2.1:59535", Place::Host("192.0.2.1".into()), 59_535, 0, "192.0.2.1:59535.0"),
            ("[::1]:3", Place::Host("::1".into()), 3, 0, "[::1]:3.0"),
            (
                "/tmp/x/org.xquartz:0",
                Place::Socket("/tmp/x/org.xquartz".into()),
                0,
                0,
                "/tmp/x/org.xquartz:0.0",
            ),
        ] {
            let display: Display = text.parse().unwrap();
            assert_eq!(
                (display.place.clone(), display.number, display.screen),
                (place, number, screen),
                "{text}"
            );
            assert_eq!(display.to_string(), shown);
            assert_eq!(shown.parse::<Display>().unwrap(), display);
        }
    }

    #[test]
    fn what_is_no_display_is_an_error_that_says_why() {
        for (text, problem) in [
            ("", "no colon"),
            ("host", "no colon"),
            (":", "no number"),
            (":x", "no number"),
            (":+1", "no number"),
            (":1.x", "screen"),
            (":59536", "above"),
            (":99999999999999", "no number"),
            ("host::0", "DECnet"),
            ("tcp/host:0", "protocols"),
            ("a\0b:0", "NUL"),
        ] {
            let error = text.parse::<Display>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("give it as"), "{text}: {error}");
        }
    }
}
