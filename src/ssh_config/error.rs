//! What is wrong with a configuration: where, what, and the way out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A line of a file, or an option given by the program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// A line of a file, counted from 1.
    Line {
        /// The file.
        file: Arc<Path>,
        /// Its line.
        line: usize,
    },
    /// [`Asked`](super::Asked): what stands on the command line of `ssh`.
    Asked,
}

impl Place {
    pub(super) fn line(file: &Arc<Path>, line: usize) -> Self {
        Self::Line { file: Arc::clone(file), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Asked => f.write_str("given option"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where it stands.
    pub at: Place,
    /// The keyword as it is written, in lower case; empty if the line has none.
    pub keyword: String,
    /// What is wrong.
    pub problem: String,
    /// The way out.
    pub fix: String,
}

impl Problem {
    pub(super) fn new(at: &Place, keyword: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { at: at.clone(), keyword: keyword.to_owned(), problem: problem.into(), fix: fix.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gap = if self.keyword.is_empty() { "" } else { " " };
        write!(f, "{}: {}{gap}{}: {}", self.at, self.keyword, self.problem, self.fix)
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SshConfigError {
    /// Lines that cannot be used, all of them; OpenSSH refuses such files as well.
    #[error("{}", lines(.0))]
    Bad(Vec<Problem>),
    /// A file cannot be read.
    #[error("{}: cannot be read: {source}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else may write to the file, and so could make us run commands.
    #[error("{}: {what}: it must belong to you or root, and be writable by nobody else (chmod 600)", .file.display())]
    Unsafe {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// `Match exec` came up, and it is not said what to do then.
    #[error("{at}: match exec \"{command}\" would run a command: allow or skip it by `Asked::match_exec`")]
    ExecRefused {
        /// Where it stands.
        at: Place,
        /// The command, tokens expanded.
        command: String,
    },
    /// The command of a `Match exec` could not be run, or took too long.
    #[error("{at}: match exec \"{command}\": {source}")]
    Exec {
        /// Where it stands.
        at: Place,
        /// The command, tokens expanded.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not known who we are on this machine.
    #[error("the local user is not known: {0}: give it by `Asked::local`")]
    Local(String),
}

impl From<Problem> for SshConfigError {
    fn from(problem: Problem) -> Self {
        Self::Bad(vec![problem])
    }
}

impl SshConfigError {
    /// The lines that are wrong, if that is it.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        if let Self::Bad(problems) = self { problems } else { &[] }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
