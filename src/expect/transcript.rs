//! What was said, by whom and when.
//!
//! Owns the bound on what is kept. Secrets never get here.

use std::collections::VecDeque;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

/// What each entry counts beside its bytes.
const ENTRY: usize = 64;

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// We did.
    Sent,
    /// We did, and it was a secret: [`Entry::data`] is empty.
    SentSecret,
    /// The other end did.
    Received,
}

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// When it was queued for sending, or taken from the channel.
    pub at: SystemTime,
    /// Who said it.
    pub direction: Direction,
    /// What was said, escape sequences included.
    pub data: Bytes,
}

impl fmt::Display for Entry {
    /// One line: seconds since 1970, `>` for what was sent and `<` for what was received, the bytes escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(f, "{}.{:03} ", since.as_secs(), since.subsec_millis())?;
        match self.direction {
            Direction::Sent => write!(f, "> \"{}\"", self.data.escape_ascii()),
            Direction::SentSecret => f.write_str("> (a secret)"),
            Direction::Received => write!(f, "< \"{}\"", self.data.escape_ascii()),
        }
    }
}

/// Told of each entry.
pub(super) type Tell = Box<dyn FnMut(&Entry) + Send>;

/// Keeps entries, tells them, or neither.
#[derive(Default)]
pub(super) struct Transcript {
    /// How many bytes are kept.
    pub(super) limit: usize,
    pub(super) tell: Option<Tell>,
    entries: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Transcript {
    pub(super) fn note(&mut self, direction: Direction, data: &[u8]) {
        if self.limit == 0 && self.tell.is_none() {
            return;
        }
        let entry = Entry { at: SystemTime::now(), direction, data: Bytes::copy_from_slice(data) };
        if let Some(tell) = &mut self.tell {
            tell(&entry);
        }
        let entry = self.cut(entry);
        self.bytes += entry.data.len() + ENTRY;
        self.entries.push_back(entry);
        while self.bytes > self.limit
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.data.len() + ENTRY;
            self.dropped += 1;
        }
    }

    /// Its end, if it alone is more than may be kept.
    fn cut(&self, entry: Entry) -> Entry {
        let most = self.limit.saturating_sub(ENTRY);
        match entry.data.len().checked_sub(most) {
            None | Some(0) => entry,
            Some(over) => {
                let end = entry.data.get(over..).unwrap_or_default();
                // Copied: a slice would hold all of it.
                Entry { data: Bytes::copy_from_slice(end), ..entry }
            }
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_when_the_limit_is_reached_and_are_counted() {
        let mut transcript = Transcript { limit: 2 * ENTRY + 5, ..Transcript::default() };
        for text in ["one", "two", "three", "four"] {
            transcript.note(Direction::Sent, text.as_bytes());
        }
        let left: Vec<_> = transcript.entries().map(|entry| entry.data.clone()).collect();
        assert_eq!(left, ["four"]);
        assert_eq!(transcript.dropped(), 3);
        transcript.note(Direction::Received, b"5");
        assert_eq!(transcript.entries().count(), 2);
    }
    #[test]
    fn of_an_entry_that_is_too_long_by_itself_the_end_is_kept_and_all_of_it_told() {
        let (tell, told) = std::sync::mpsc::channel();
        let mut transcript = Transcript {
            limit: ENTRY + 5,
            tell: Some(Box::new(move |entry: &Entry| tell.send(entry.data.clone()).unwrap())),
            ..Transcript::default()
        };
        transcript.note(Direction::Received, b"0123456789");
        let left: Vec<_> = transcript.entries().map(|entry| entry.data.clone()).collect();
        assert_eq!((left, told.recv().unwrap()), (vec![Bytes::from("56789")], Bytes::from("0123456789")));
    }
}
