//! Waiting: for patterns, for silence, for the end.
//!
//! Owns deadlines, and what an error tells. All state between two polls is in the dialogue, so that a future may be
//! dropped anywhere.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout, timeout_at};

use super::dialog::{Dialog, Filled};
use super::error::ExpectError;
use super::found::{Ended, Found, Tail};
use super::pattern::Pattern;
use super::search::Search;
use crate::error::ConfigError;
use crate::wire::request::ExitStatus;

/// When a step must be done.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    after: Duration,
    /// `None` when it is too far away to be told from never.
    at: Option<Instant>,
}

impl Deadline {
    fn from_now(after: Duration) -> Self {
        Self { after, at: Instant::now().checked_add(after) }
    }

    /// `None` when it passed first.
    async fn within<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.at {
            Some(at) => timeout_at(at, work).await.ok(),
            None => Some(work.await),
        }
    }
}

/// # What is waited for
impl Dialog {
    /// Waits for a pattern, at most as long as the [deadline](super::DialogOptions::deadline) says. Consumes the match
    /// and what is before it.
    ///
    /// # Cancel safety
    /// Nothing is consumed if the future is dropped: the next call searches all of it again.
    ///
    /// # Errors
    /// It did not come in time, before the end, or within the buffer. Nothing is consumed then.
    pub fn expect(
        &mut self,
        pattern: impl Into<Pattern>,
    ) -> impl Future<Output = Result<Found, ExpectError>> + Send {
        self.expect_within(self.deadline, pattern)
    }

    /// As [`expect`](Self::expect), with a deadline for this call.
    ///
    /// # Cancel safety
    /// As [`expect`](Self::expect).
    ///
    /// # Errors
    /// As [`expect`](Self::expect).
    pub fn expect_within(
        &mut self,
        limit: Duration,
        pattern: impl Into<Pattern>,
    ) -> impl Future<Output = Result<Found, ExpectError>> + Send {
        let patterns = vec![pattern.into()];
        self.search(limit, patterns)
    }

    /// Waits for the first of several patterns; [`Found::index`] tells which. The one whose match ends first wins, of
    /// several that end together the first in the list: however the stream is cut.
    ///
    /// # Cancel safety
    /// As [`expect`](Self::expect).
    ///
    /// # Errors
    /// As [`expect`](Self::expect). There are no patterns.
    pub fn expect_any<P: Into<Pattern>>(
        &mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> impl Future<Output = Result<Found, ExpectError>> + Send {
        self.expect_any_within(self.deadline, patterns)
    }

    /// As [`expect_any`](Self::expect_any), with a deadline for this call.
    ///
    /// # Cancel safety
    /// As [`expect`](Self::expect).
    ///
    /// # Errors
    /// As [`expect_any`](Self::expect_any).
    pub fn expect_any_within<P: Into<Pattern>>(
        &mut self,
        limit: Duration,
        patterns: impl IntoIterator<Item = P>,
    ) -> impl Future<Output = Result<Found, ExpectError>> + Send {
        let patterns = patterns.into_iter().map(Into::into).collect();
        self.search(limit, patterns)
    }

    async fn search(&mut self, limit: Duration, patterns: Vec<Pattern>) -> Result<Found, ExpectError> {
        if patterns.is_empty() {
            return Err(ConfigError::new("patterns", "are none", "give at least one").into());
        }
        patterns.iter().try_for_each(Pattern::check)?;
        let deadline = Deadline::from_now(limit);
        let mut search = Search::new(&patterns);
        let mut ended = false;
        loop {
            if let Some(hit) = search.advance(&self.buffer, ended) {
                return Ok(Found::take(hit, &mut self.buffer));
            }
            if ended {
                return Err(self.closed(deadline, names(&patterns)).await);
            }
            match deadline.within(self.fill()).await {
                Some(Filled::More) => {}
                Some(Filled::Ended) => ended = true,
                Some(Filled::Full) => return Err(self.full(names(&patterns))),
                None => return Err(self.timeout(deadline, names(&patterns))),
            }
        }
    }

    /// Waits until nothing has come for `quiet`, and consumes what came until then, which may be nothing. At the end of
    /// the stream it returns at once, if something is there. The whole wait has the default deadline.
    ///
    /// # Cancel safety
    /// As [`expect`](Self::expect).
    ///
    /// # Errors
    /// It did not become quiet in time or within the buffer; nothing is there, and nothing more will come.
    pub async fn expect_quiet(&mut self, quiet: Duration) -> Result<Bytes, ExpectError> {
        let waited_for = || -> Box<str> { format!("silence of {quiet:?}").into() };
        let deadline = Deadline::from_now(self.deadline);
        loop {
            match deadline.within(timeout(quiet, self.fill())).await {
                Some(Ok(Filled::More)) => {}
                Some(Ok(Filled::Ended)) if self.buffer.is_empty() => {
                    return Err(self.closed(deadline, waited_for()).await);
                }
                Some(Ok(Filled::Ended) | Err(_)) => return Ok(self.take()),
                Some(Ok(Filled::Full)) => return Err(self.full(waited_for())),
                None => return Err(self.timeout(deadline, waited_for())),
            }
        }
    }

    /// Waits until the program at the other end has ended, and consumes what is left of its output. Sends no eof: a
    /// program that waits for input does not end.
    ///
    /// # Cancel safety
    /// As [`expect`](Self::expect).
    ///
    /// # Errors
    /// As [`expect`](Self::expect). The channel was lost before the status came.
    pub async fn expect_eof(&mut self) -> Result<Ended, ExpectError> {
        self.expect_eof_within(self.deadline).await
    }

    /// As [`expect_eof`](Self::expect_eof), with a deadline for this call.
    ///
    /// # Cancel safety
    /// As [`expect`](Self::expect).
    ///
    /// # Errors
    /// As [`expect_eof`](Self::expect_eof).
    pub async fn expect_eof_within(&mut self, limit: Duration) -> Result<Ended, ExpectError> {
        let end = || Box::<str>::from("end");
        let deadline = Deadline::from_now(limit);
        loop {
            match deadline.within(self.fill()).await {
                Some(Filled::More) => {}
                Some(Filled::Ended) => break,
                Some(Filled::Full) => return Err(self.full(end())),
                None => return Err(self.timeout(deadline, end())),
            }
        }
        match deadline.within(self.child.wait()).await {
            Some(Ok(status)) => Ok(Ended { before: self.take(), status }),
            Some(Err(error)) => Err(ExpectError::Lost {
                waited_for: end(),
                error: Box::new(error),
                seen: Tail::of(&self.buffer),
            }),
            None => Err(self.timeout(deadline, end())),
        }
    }

    async fn fill(&mut self) -> Filled {
        // When there always is something, the deadline is looked at all the same.
        consume_budget().await;
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Nothing more will come. How it ended is told if it is known by the deadline.
    async fn closed(&mut self, deadline: Deadline, waited_for: Box<str>) -> ExpectError {
        let told = deadline.within(self.child.wait()).await;
        let seen = Tail::of(&self.buffer);
        match told {
            Some(Err(error)) => ExpectError::Lost { waited_for, error: Box::new(error), seen },
            Some(Ok(status)) => ExpectError::Closed { waited_for, status, seen },
            None => ExpectError::Closed { waited_for, status: ExitStatus::Missing, seen },
        }
    }

    fn full(&self, waited_for: Box<str>) -> ExpectError {
        ExpectError::BufferFull { waited_for, limit: self.limit, seen: Tail::of(&self.buffer) }
    }

    fn timeout(&self, deadline: Deadline, waited_for: Box<str>) -> ExpectError {
        ExpectError::Timeout { waited_for, after: deadline.after, seen: Tail::of(&self.buffer) }
    }
}

fn names(patterns: &[Pattern]) -> Box<str> {
    patterns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ").into()
}
