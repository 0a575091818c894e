//! What can be waited for: literals and regular expressions, compiled once.
//!
//! Owns the rules of what can be searched in a stream. How far a search has got is in `search`.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem::Finder;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_syntax::hir::Look;

use crate::error::ConfigError;

/// Something to wait for: bytes as they are, or a regular expression. Cheap to clone, and best made once.
///
/// Strings and byte strings become literals wherever a pattern is taken: `dialog.expect("login: ")`.
///
/// # When a regular expression matches
/// A stream has no end while it is open, and packets fall where they fall. So a pattern matches **as soon as the bytes
/// that came contain a match**, whatever follows, and the result does not depend on how the stream was cut:
/// - Repetitions at the end are as short as they can be: `\d+` finds `1` in `123`. Say what follows: `(\d+)\r?\n`.
/// - `(?m)$` and word boundaries at the end match one byte later, when it is known what follows, or at the stream's end.
/// - `\A` and `^` are the first byte that no earlier match has consumed; `(?m)^` is that, or behind a line feed.
///
/// The syntax is that of the crate `regex` for bytes: Unicode unless `(?-u)` is said. The search costs the same for every byte, however
/// much has come before without a match.
#[derive(Clone)]
pub struct Pattern(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Literal(Arc<Finder<'static>>),
    Regex(Arc<Compiled>),
}

pub(super) struct Compiled {
    text: String,
    /// Tells, byte by byte, when there is a match.
    pub(super) scan: DFA,
    /// Tells where it begins, and its groups.
    pub(super) locate: Regex,
    /// Whether the byte behind a match decides.
    pub(super) looks_ahead: bool,
}

impl Pattern {
    /// These bytes, as they are.
    #[must_use]
    pub fn literal(bytes: impl AsRef<[u8]>) -> Self {
        Self(Kind::Literal(Arc::new(Finder::new(bytes.as_ref()).into_owned())))
    }

    /// A regular expression.
    ///
    /// ```
    /// use ractor_ssh::expect::Pattern;
    ///
    /// let version = Pattern::regex(r"Version (?<major>\d+)\.(?<minor>\d+)\r?\n")?;
    /// let error = Pattern::regex(r"[>#] *$").unwrap_err();
    /// assert_eq!(error.field, "regex");
    /// # Ok::<(), ractor_ssh::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The text is no regular expression; it matches the empty string, and so before anything has come; it has a `$` or
    /// `\z` that means the end of the stream; it has a Unicode word boundary.
    pub fn regex(text: &str) -> Result<Self, ConfigError> {
        let wrong =
            |problem: String, fix: &str| ConfigError::new("regex", format!("`{text}` {problem}"), fix);
        let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(text);
        let hir =
            hir.map_err(|error| wrong(format!("is none: {error}"), "write it as the crate `regex` has it"))?;
        let properties = hir.properties();
        if properties.look_set().contains(Look::End) {
            return Err(wrong(
                "has a `$` or `\\z` that means the end of the stream, which is not known while it is open"
                    .into(),
                "write `(?m)$` or `\\r?\\n` for the end of a line; for a prompt use `Dialog::learn_prompt`",
            ));
        }
        if properties.minimum_len() == Some(0) {
            return Err(wrong(
                "matches the empty string, and so before anything has come".into(),
                "have it match at least one byte",
            ));
        }
        let fix = "write `(?-u:\\b)` for a word boundary, and smaller repetitions";
        let scan = DFA::builder()
            .syntax(syntax::Config::new().utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(LARGEST)))
            .build(text)
            .map_err(|error| wrong(format!("cannot be searched in a stream: {error}"), fix))?;
        let locate = Regex::builder()
            .configure(Regex::config().utf8_empty(false).nfa_size_limit(Some(LARGEST)))
            .build_from_hir(&hir)
            .map_err(|error| wrong(format!("cannot be compiled: {error}"), fix))?;
        let looks_ahead = !properties.look_set_suffix_any().is_empty();
        Ok(Self(Kind::Regex(Arc::new(Compiled { text: text.to_owned(), scan, locate, looks_ahead }))))
    }

    /// Fails for a literal without bytes.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match &self.0 {
            Kind::Literal(finder) if finder.needle().is_empty() => Err(ConfigError::new(
                "pattern",
                "is a literal without bytes, which is there before anything has come",
                "give at least one byte",
            )),
            _ => Ok(()),
        }
    }
}

/// A compiled expression must not take more: 10 MiB, as in the crate `regex`.
const LARGEST: usize = 10 << 20;

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Literal(finder) => write!(f, "\"{}\"", finder.needle().escape_ascii()),
            Kind::Regex(regex) => write!(f, "/{}/", regex.text),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

impl From<&Self> for Pattern {
    fn from(pattern: &Self) -> Self {
        pattern.clone()
    }
}

macro_rules! literals {
    ($($type:ty),+) => {
        $(impl From<$type> for Pattern {
            fn from(bytes: $type) -> Self {
                Self::literal(bytes)
            }
        })+
    };
}

literals!(&str, String, &String, &[u8], Vec<u8>, Bytes);

impl<const N: usize> From<&[u8; N]> for Pattern {
    fn from(bytes: &[u8; N]) -> Self {
        Self::literal(bytes)
    }
}
