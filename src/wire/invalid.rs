//! The error of a wrong argument.

/// A wrong argument: which field, what is wrong with it, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {fix}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The argument or option, as its setter is called; for files, with path and line.
    pub field: String,
    /// What is wrong with the given value.
    pub problem: String,
    /// What to give instead.
    pub fix: String,
}

impl ConfigError {
    /// Names the field, the problem and the way out.
    pub fn new(field: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), fix: fix.into() }
    }
}
