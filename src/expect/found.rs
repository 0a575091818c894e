//! What a match, and the end of a dialogue, have brought.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::search::Hit;
use crate::wire::request::ExitStatus;

/// A match, and what came before it. Both are consumed: the next search begins behind them.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Which of the patterns was found, by its place in the list; 0 if there was but one.
    pub index: usize,
    /// What came before the match and was not consumed earlier.
    pub before: Bytes,
    /// The match.
    pub matched: Bytes,
    groups: Vec<Option<Range<usize>>>,
    names: Vec<Option<String>>,
}

impl Found {
    /// Takes the match and what is before it out of the buffer.
    pub(super) fn take(hit: Hit, buffer: &mut BytesMut) -> Self {
        let Range { start, end } = hit.range;
        let mut taken = buffer.split_to(end.min(buffer.len())).freeze();
        let before = taken.split_to(start.min(taken.len()));
        let shift = |range: Range<usize>| range.start.saturating_sub(start)..range.end.saturating_sub(start);
        let groups = hit.groups.into_iter().map(|group| group.map(shift)).collect();
        Self { index: hit.index, before, matched: taken, groups, names: hit.names }
    }

    /// What a group of a regular expression matched, by number; 0 is the whole match. `None` if the group took no part.
    #[must_use]
    pub fn group(&self, number: usize) -> Option<&[u8]> {
        self.matched.get(self.groups.get(number)?.clone()?)
    }

    /// What a named group (`(?<name>...)`) matched.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&[u8]> {
        self.group(self.names.iter().position(|known| known.as_deref() == Some(name))?)
    }

    /// What came before the match, as text; what is not UTF-8 is replaced. Line ends stay as they came: a terminal
    /// sends CR LF where a program wrote LF.
    #[must_use]
    pub fn before_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.before)
    }

    /// The match as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.matched)
    }

    /// A group as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn group_text(&self, number: usize) -> Option<Cow<'_, str>> {
        self.group(number).map(String::from_utf8_lossy)
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("index", &self.index)
            .field("before", &format_args!("\"{}\"", self.before.escape_ascii()))
            .field("matched", &format_args!("\"{}\"", self.matched.escape_ascii()))
            .finish_non_exhaustive()
    }
}

/// The end of a dialogue.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// What came before the end and was not consumed earlier.
    pub before: Bytes,
    /// How the program at the other end ended.
    pub status: ExitStatus,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended")
            .field("before", &format_args!("\"{}\"", self.before.escape_ascii()))
            .field("status", &self.status)
            .finish()
    }
}

/// The last bytes that came and matched nothing, for an error message.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Tail {
    /// The bytes: at most [`Tail::MOST`] of them. They are still in the dialogue, too.
    bytes: Box<[u8]>,
    /// How many there are in all.
    total: usize,
}

impl Tail {
    /// As many bytes are kept.
    pub const MOST: usize = 1024;

    pub(super) fn of(buffer: &[u8]) -> Self {
        let tail = buffer.get(buffer.len().saturating_sub(Self::MOST)..).unwrap_or_default();
        Self { bytes: tail.into(), total: buffer.len() }
    }

    /// The last of the bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes have come and matched nothing, those included that are not kept here.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for Tail {
    /// The last 200 bytes on one line, escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total == 0 {
            return f.write_str("nothing came");
        }
        let shown = self.bytes.get(self.bytes.len().saturating_sub(200)..).unwrap_or_default();
        let all = if shown.len() < self.total { "... " } else { "" };
        write!(f, "{} bytes came: {all}\"{}\"", self.total, shown.escape_ascii())
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tail({self})")
    }
}
