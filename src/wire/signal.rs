//! Signal names (RFC 4254 sections 6.9 and 6.10).
//!
//! Owns the spelling of signals and their conventional numbers. Knows nothing of requests,
//! processes or this machine's own signal numbers.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A signal, sent to a remote process or reported as what ended it (RFC 4254 section 6.10).
///
/// Names travel without the `SIG` prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `ABRT`: abort.
    Abrt,
    /// `ALRM`: a timer ran out.
    Alrm,
    /// `FPE`: arithmetic error.
    Fpe,
    /// `HUP`: hang-up.
    Hup,
    /// `ILL`: illegal instruction.
    Ill,
    /// `INT`: interrupt, as by Ctrl-C.
    Int,
    /// `KILL`: kill, cannot be caught.
    Kill,
    /// `PIPE`: write to a pipe nobody reads.
    Pipe,
    /// `QUIT`: quit, as by Ctrl-\.
    Quit,
    /// `SEGV`: invalid memory access.
    Segv,
    /// `TERM`: polite request to end.
    Term,
    /// `USR1`: user-defined.
    Usr1,
    /// `USR2`: user-defined.
    Usr2,
    /// Any other name as it stands on the wire: private ones as `name@domain`
    /// (OpenSSH: `INFO@openssh.com`), and names outside the RFC that peers use all the same.
    ///
    /// [`Signal::from_name`] never puts a name of the RFC here.
    Other(String),
}

/// Signals of the RFC, their names, and their numbers on Linux.
const KNOWN: [(Signal, &str, i32); 13] = [
    (Signal::Abrt, "ABRT", 6),
    (Signal::Alrm, "ALRM", 14),
    (Signal::Fpe, "FPE", 8),
    (Signal::Hup, "HUP", 1),
    (Signal::Ill, "ILL", 4),
    (Signal::Int, "INT", 2),
    (Signal::Kill, "KILL", 9),
    (Signal::Pipe, "PIPE", 13),
    (Signal::Quit, "QUIT", 3),
    (Signal::Segv, "SEGV", 11),
    (Signal::Term, "TERM", 15),
    (Signal::Usr1, "USR1", 10),
    (Signal::Usr2, "USR2", 12),
];

impl Signal {
    /// The signal of that name, with or without `SIG`, in upper or lower case.
    ///
    /// A name outside the RFC becomes [`Signal::Other`], without its `SIG` unless it is a private
    /// `name@domain` one, which is kept as it is (OpenSSH reports `SIG@openssh.com`).
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        let bare = strip_sig(name);
        let known = KNOWN.into_iter().find(|(_, known, _)| known.eq_ignore_ascii_case(bare));
        match known {
            Some((signal, _, _)) => signal,
            None if name.contains('@') || bare.is_empty() => Self::Other(name.to_owned()),
            None => Self::Other(bare.to_owned()),
        }
    }

    /// The name on the wire, without `SIG`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Abrt => "ABRT",
            Self::Alrm => "ALRM",
            Self::Fpe => "FPE",
            Self::Hup => "HUP",
            Self::Ill => "ILL",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Pipe => "PIPE",
            Self::Quit => "QUIT",
            Self::Segv => "SEGV",
            Self::Term => "TERM",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
            Self::Other(name) => name,
        }
    }

    /// The conventional number, for exit codes of the form 128 + n; `None` for
    /// [`Signal::Other`].
    ///
    /// Numbers are those of Linux. POSIX fixes only some of them: `USR1` and `USR2` are 30 and 31
    /// on BSD and macOS, here always 10 and 12.
    #[must_use]
    pub fn number(&self) -> Option<i32> {
        KNOWN.iter().find(|(signal, _, _)| signal == self).map(|(_, _, number)| *number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Signal {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from_name(name))
    }
}

fn strip_sig(name: &str) -> &str {
    match name.split_at_checked(3) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("SIG") => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rfc_name_is_understood_with_and_without_prefix_in_any_case() {
        for (signal, name, number) in KNOWN {
            for spelling in [name.to_owned(), format!("SIG{name}"), format!("sig{name}").to_lowercase()] {
                assert_eq!(Signal::from_name(&spelling), signal, "{spelling}");
                assert_eq!(spelling.parse::<Signal>(), Ok(signal.clone()));
            }
            assert_eq!(signal.name(), name);
            assert_eq!(signal.to_string(), name);
            assert_eq!(signal.number(), Some(number));
        }
    }

    #[test]
    fn names_outside_the_rfc_are_kept() {
        for (given, kept) in [
            ("INFO@openssh.com", "INFO@openssh.com"),
            ("SIG@openssh.com", "SIG@openssh.com"),
            ("SIGWINCH", "WINCH"),
            ("WINCH", "WINCH"),
            ("SIG", "SIG"),
            ("", ""),
            ("ünï", "ünï"),
        ] {
            let signal = Signal::from_name(given);
            assert_eq!(signal, Signal::Other(kept.to_owned()));
            assert_eq!(signal.name(), kept);
            assert_eq!(signal.number(), None);
        }
    }
}
