//! Searching a stream that grows.
//!
//! Owns how far each pattern has looked. A byte is looked at once for each pattern (for literals, once more for each
//! arrival that it is near the end of); knows nothing of where the bytes come from.

use std::ops::Range;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::Cache;
use regex_automata::util::captures::Captures;
use regex_automata::util::start;
use regex_automata::{Anchored, Input};

use super::pattern::{Compiled, Kind, Pattern};

/// Where a pattern was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// Which pattern.
    pub(super) index: usize,
    pub(super) range: Range<usize>,
    /// By number; the first is the whole match.
    pub(super) groups: Vec<Option<Range<usize>>>,
    pub(super) names: Vec<Option<String>>,
}

/// The search for the first of some patterns in a buffer that only grows.
pub(super) struct Search<'a> {
    patterns: &'a [Pattern],
    progress: Vec<Progress>,
}

enum Progress {
    /// The next search begins here.
    Literal(usize),
    Regex(Box<Scan>),
}

struct Scan {
    cache: Cache,
    /// `None` when there can be no match any more.
    state: Option<LazyStateID>,
    at: usize,
    started: bool,
}

/// The end of the first match, and after how many bytes of the stream it was certain.
#[derive(Debug, Clone, Copy)]
struct End {
    end: usize,
    known: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(patterns: &'a [Pattern]) -> Self {
        let progress = patterns.iter().map(|pattern| match &pattern.0 {
            Kind::Literal(_) => Progress::Literal(0),
            Kind::Regex(regex) => Progress::Regex(Box::new(Scan {
                cache: regex.scan.create_cache(),
                state: None,
                at: 0,
                started: false,
            })),
        });
        Self { patterns, progress: progress.collect() }
    }

    /// Looks at what has come since the last call. `ended`: nothing more will come.
    ///
    /// The match that is certain first wins, of several that are so at the same byte the first in the list.
    pub(super) fn advance(&mut self, buffer: &[u8], ended: bool) -> Option<Hit> {
        let mut best: Option<(usize, End)> = None;
        for (index, (pattern, progress)) in self.patterns.iter().zip(&mut self.progress).enumerate() {
            let found = match (&pattern.0, progress) {
                (Kind::Literal(finder), Progress::Literal(from)) => {
                    let found = finder.find(buffer.get(*from..).unwrap_or_default());
                    let end = found.map(|at| *from + at + finder.needle().len());
                    *from = buffer.len().saturating_sub(finder.needle().len().saturating_sub(1)).max(*from);
                    end.map(|end| End { end, known: end })
                }
                (Kind::Regex(regex), Progress::Regex(scan)) => scan.advance(regex, buffer, ended),
                _ => None,
            };
            if let Some(found) = found
                && best.is_none_or(|(_, best)| found.known < best.known)
            {
                best = Some((index, found));
            }
        }
        let (index, found) = best?;
        self.patterns.get(index).map(|pattern| locate(index, pattern, buffer, found))
    }
}

impl Scan {
    fn advance(&mut self, regex: &Compiled, buffer: &[u8], ended: bool) -> Option<End> {
        if !self.started {
            self.restart(regex);
        }
        while let (Some(state), Some(byte)) = (self.state, buffer.get(self.at)) {
            self.step(regex, state, *byte);
            // A match is told one byte late.
            if self.state.is_some_and(|state| state.is_match()) {
                let end = self.at - 1;
                return Some(End { end, known: if regex.looks_ahead { self.at } else { end } });
            }
        }
        if !regex.looks_ahead || ended { self.at_the_end(regex, buffer) } else { None }
    }

    fn restart(&mut self, regex: &Compiled) {
        let config = start::Config::new().anchored(Anchored::No);
        self.state = regex.scan.start_state(&mut self.cache, &config).ok();
        self.at = 0;
        self.started = true;
    }

    fn step(&mut self, regex: &Compiled, state: LazyStateID, byte: u8) {
        let next = regex.scan.next_state(&mut self.cache, state, byte).ok();
        self.state = next.filter(|state| !state.is_dead() && !state.is_quit());
        self.at += 1;
    }

    /// Whether what has come ends with a match.
    fn at_the_end(&mut self, regex: &Compiled, buffer: &[u8]) -> Option<End> {
        let state = self.state?;
        let cleared = self.cache.clear_count();
        let last = regex.scan.next_eoi_state(&mut self.cache, state).ok()?;
        if self.cache.clear_count() != cleared {
            // The state is gone with the full cache: walk there again. No match lies on the way.
            self.restart(regex);
            while let (Some(state), Some(byte)) = (self.state, buffer.get(self.at)) {
                self.step(regex, state, *byte);
            }
        }
        last.is_match().then(|| End { end: self.at, known: self.at + usize::from(regex.looks_ahead) })
    }
}

/// The whole match that ends there.
fn locate(index: usize, pattern: &Pattern, buffer: &[u8], found: End) -> Hit {
    let end = found.end;
    match &pattern.0 {
        Kind::Literal(finder) => {
            let range = end.saturating_sub(finder.needle().len())..end;
            Hit { index, groups: vec![Some(range.clone())], names: vec![None], range }
        }
        Kind::Regex(regex) => {
            let known = buffer.get(..found.known).unwrap_or(buffer);
            let mut captures: Captures = regex.locate.create_captures();
            regex.locate.captures(Input::new(known).range(..end), &mut captures);
            let groups: Vec<_> = captures.iter().map(|span| span.map(|span| span.range())).collect();
            let names =
                captures.group_info().all_names().map(|(_, _, name)| name.map(str::to_owned)).collect();
            let range = groups.first().cloned().flatten().unwrap_or(end..end);
            Hit { index, range, groups, names }
        }
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
