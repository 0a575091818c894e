//! One output stream between the channel's actor, which fills it, and whoever wants the bytes.
//!
//! Owns what is kept and what is dropped; knows nothing of channels and wakes nobody. Callers hold its lock, so
//! everything with a destructor that matters (receive credit) is handed out instead of dropped.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use crate::Credit;

/// Some bytes with the receive credit they hold.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) data: Bytes,
    /// What is left of it is held until this is dropped.
    credit: Option<Credit>,
    /// Bytes that are consumed, and whose credit is not back yet.
    owed: usize,
    /// How many bytes of memory `data` keeps.
    kept: usize,
}

/// A rest that is less than this part of the memory that it keeps is copied out of it.
const SMALL_REST: usize = 4;
/// Credit goes back in pieces of so many bytes at least: a reader of bytes or of short lines need not pay for each.
const PIECE: usize = 1 << 10;

impl Chunk {
    pub(super) fn new(data: Bytes, credit: Option<Credit>) -> Self {
        Self { kept: data.len(), data, credit, owed: 0 }
    }

    /// The first `bytes` are consumed, and their credit goes back, as soon as it is a [`PIECE`]: a reader that takes little at
    /// a time is seen to take something. The rest goes back with the chunk, whose last byte ends it. What is counted stays in
    /// proportion to the memory that is held.
    pub(super) fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.data.len());
        self.data.advance(bytes);
        self.owed += bytes;
        if self.owed >= PIECE
            && let Some(credit) = &mut self.credit
        {
            credit.release(std::mem::take(&mut self.owed));
        }
        if self.data.len() < self.kept / SMALL_REST {
            self.data = Bytes::copy_from_slice(&self.data);
            self.kept = self.data.len();
        }
    }
}

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They wait for a reader, and hold the peer up meanwhile.
    Pipe,
    /// The first of them are kept for the end.
    Capture,
    /// They are dropped.
    Discard,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Lane {
    fate: Fate,
    /// How many bytes are kept without holding anybody up.
    cap: usize,
    /// Bytes with their credit; always older than `kept`.
    queue: VecDeque<Chunk>,
    /// Bytes whose credit went back on arrival.
    kept: Vec<u8>,
    lost: u64,
    /// Somebody has read from it.
    pub(super) was_read: bool,
    /// Nobody can read it now, and nothing may wait for it.
    pub(super) draining: bool,
}

impl Lane {
    pub(super) const fn new(fate: Fate, cap: usize) -> Self {
        Self {
            fate,
            cap,
            queue: VecDeque::new(),
            kept: Vec::new(),
            lost: 0,
            was_read: false,
            draining: false,
        }
    }

    /// Takes what arrived. `other_read`: the other stream has a reader, which must not wait for this one's.
    /// What is returned holds credit to drop outside the lock.
    #[must_use]
    pub(super) fn push(&mut self, chunk: Chunk, other_read: bool) -> Option<Chunk> {
        match self.fate {
            Fate::Discard => {}
            Fate::Capture => self.keep(&chunk.data),
            Fate::Pipe if self.must_not_hold(other_read) => self.keep(&chunk.data),
            Fate::Pipe => {
                self.seal_kept();
                self.queue.push_back(chunk);
                return None;
            }
        }
        Some(chunk)
    }

    const fn must_not_hold(&self, other_read: bool) -> bool {
        self.draining || (other_read && !self.was_read)
    }

    /// Stops holding the peer up: copies what waits, as far as the cap goes, and hands out the credit.
    #[must_use]
    pub(super) fn let_go(&mut self, other_read: bool) -> VecDeque<Chunk> {
        if self.fate != Fate::Pipe || !self.must_not_hold(other_read) {
            return VecDeque::new();
        }
        self.settle()
    }

    fn settle(&mut self) -> VecDeque<Chunk> {
        let queue = std::mem::take(&mut self.queue);
        let newer = std::mem::take(&mut self.kept);
        for chunk in &queue {
            self.keep(&chunk.data);
        }
        self.keep(&newer);
        queue
    }

    /// Moves everything to a reader's own queue.
    pub(super) fn move_to(&mut self, reader: &mut VecDeque<Chunk>) {
        self.seal_kept();
        reader.append(&mut self.queue);
    }

    /// From now on everything goes into memory, behind what a reader had taken and not consumed.
    #[must_use]
    pub(super) fn capture(&mut self, mut unread: VecDeque<Chunk>, cap: usize) -> VecDeque<Chunk> {
        unread.append(&mut self.queue);
        self.queue = unread;
        self.fate = Fate::Capture;
        self.cap = cap;
        self.settle()
    }

    /// From now on everything is dropped.
    #[must_use]
    pub(super) fn discard(&mut self) -> VecDeque<Chunk> {
        self.fate = Fate::Discard;
        self.kept = Vec::new();
        std::mem::take(&mut self.queue)
    }

    /// What was captured, and how much was lost.
    pub(super) fn take_captured(&mut self) -> (Vec<u8>, u64) {
        match self.fate {
            Fate::Capture => (std::mem::take(&mut self.kept), self.lost),
            Fate::Pipe | Fate::Discard => (Vec::new(), 0),
        }
    }

    pub(super) const fn is_capture(&self) -> bool {
        matches!(self.fate, Fate::Capture)
    }

    /// Whether everything is dropped.
    #[cfg(feature = "server")]
    pub(super) const fn is_discarded(&self) -> bool {
        matches!(self.fate, Fate::Discard)
    }

    /// Whether there is something that no reader has taken over.
    #[cfg(feature = "server")]
    pub(super) fn holds_something(&self) -> bool {
        !self.queue.is_empty() || !self.kept.is_empty()
    }

    /// Bytes that were dropped because the cap was reached.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    fn keep(&mut self, data: &[u8]) {
        let room = self.cap.saturating_sub(self.kept.len());
        let (fits, over) = data.split_at(room.min(data.len()));
        self.kept.extend_from_slice(fits);
        if !over.is_empty() && self.lost == 0 {
            tracing::debug!(cap = self.cap, "output beyond the cap is dropped");
        }
        self.lost = self.lost.saturating_add(over.len() as u64);
    }

    fn seal_kept(&mut self) {
        if !self.kept.is_empty() {
            let data = Bytes::from(std::mem::take(&mut self.kept));
            self.queue.push_back(Chunk::new(data, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::port::budget::{ChannelBudget, ConnectionBudget};

    fn chunk(data: &[u8]) -> Chunk {
        Chunk::new(Bytes::copy_from_slice(data), None)
    }

    fn all(lane: &mut Lane) -> Vec<u8> {
        let mut chunks = VecDeque::new();
        lane.move_to(&mut chunks);
        chunks.iter().flat_map(|chunk| chunk.data.to_vec()).collect()
    }

    #[test]
    fn the_rest_of_a_chunk_keeps_no_more_than_four_times_its_memory() {
        let whole = Bytes::from(vec![1; 1000]);
        let mut chunk = Chunk::new(whole.clone(), None);
        chunk.consume(750);
        assert!(!whole.is_unique(), "a large rest is not copied");
        chunk.consume(1);
        assert!(whole.is_unique());
        assert_eq!(chunk.data, vec![1; 249]);
        chunk.consume(usize::MAX);
        assert!(chunk.data.is_empty());
    }

    #[test]
    fn credit_goes_back_in_pieces_and_all_of_it_with_the_chunk() {
        let connection = ConnectionBudget::new(1 << 20);
        let budget = ChannelBudget::new(Arc::clone(&connection), 1 << 20);
        let credit = |bytes| Some(Credit::new(budget.charge(bytes)));
        let mut read = Chunk::new(Bytes::from(vec![1; 3000]), credit(3000));
        let whole = budget.held();
        for byte in 1..=3000 {
            read.consume(1);
            assert_eq!(budget.held(), whole - byte / PIECE * PIECE, "after {byte}");
        }
        drop(read);
        assert_eq!(budget.held(), 0);
        let mut left = Chunk::new(Bytes::from(vec![1; 3000]), credit(3000));
        left.consume(PIECE + 1);
        left.consume(PIECE - 2);
        assert_eq!(budget.held(), whole - PIECE - 1);
        drop(left);
        assert_eq!((budget.held(), connection.used()), (0, 0));
    }

    #[test]
    fn a_pipe_nobody_waits_behind_keeps_everything_and_its_credit() {
        let mut lane = Lane::new(Fate::Pipe, 4);
        assert!(lane.push(chunk(b"abc"), false).is_none());
        assert!(lane.push(chunk(b"def"), false).is_none());
        assert_eq!(all(&mut lane), b"abcdef");
        assert_eq!(lane.lost(), 0);
    }

    #[test]
    fn an_unread_pipe_beside_a_read_one_keeps_its_first_bytes_and_counts_the_rest() {
        let mut lane = Lane::new(Fate::Pipe, 4);
        assert!(lane.push(chunk(b"abc"), false).is_none());
        assert_eq!(lane.let_go(true).len(), 1, "what waited gives its credit back");
        assert!(lane.push(chunk(b"def"), true).is_some());
        assert_eq!((all(&mut lane), lane.lost()), (b"abcd".to_vec(), 2));
    }

    #[test]
    fn a_pipe_that_was_read_once_drops_nothing() {
        let mut lane = Lane::new(Fate::Pipe, 1);
        lane.was_read = true;
        assert!(lane.push(chunk(b"abc"), true).is_none());
        assert!(lane.let_go(true).is_empty());
        assert_eq!((all(&mut lane), lane.lost()), (b"abc".to_vec(), 0));
    }

    #[test]
    fn a_draining_pipe_holds_nobody_up_and_goes_on_in_order_afterwards() {
        let mut lane = Lane::new(Fate::Pipe, 5);
        lane.was_read = true;
        assert!(lane.push(chunk(b"abc"), true).is_none());
        lane.draining = true;
        assert_eq!(lane.let_go(true).len(), 1);
        assert!(lane.push(chunk(b"def"), true).is_some());
        lane.draining = false;
        assert!(lane.push(chunk(b"ghi"), true).is_none());
        assert_eq!((all(&mut lane), lane.lost()), (b"abcdeghi".to_vec(), 1));
    }

    #[test]
    fn a_capture_takes_what_a_reader_had_left_first() {
        let mut lane = Lane::new(Fate::Pipe, 1);
        assert!(lane.push(chunk(b"def"), false).is_none());
        let credits = lane.capture(VecDeque::from([chunk(b"abc")]), 8);
        assert_eq!(credits.len(), 2);
        assert!(lane.push(chunk(b"ghi"), false).is_some());
        assert_eq!(lane.take_captured(), (b"abcdefgh".to_vec(), 1));
    }

    #[test]
    fn a_discarded_lane_keeps_nothing() {
        let mut lane = Lane::new(Fate::Pipe, 8);
        assert!(lane.push(chunk(b"abc"), false).is_none());
        assert_eq!(lane.discard().len(), 1);
        assert!(lane.push(chunk(b"def"), false).is_some());
        assert_eq!((all(&mut lane), lane.take_captured()), (Vec::new(), (Vec::new(), 0)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8, bool),
        Drain(bool),
        Read,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u8..6, any::<bool>()).prop_map(|(len, other_read)| Step::Push(len, other_read)),
            1 => any::<bool>().prop_map(Step::Drain),
            1 => Just(Step::Read),
        ]
    }

    proptest! {
        #[test]
        fn a_pipe_gives_bytes_in_order_and_counts_those_that_are_missing(
            steps in prop::collection::vec(step(), 0..40), cap in 0_usize..24,
        ) {
            let mut lane = Lane::new(Fate::Pipe, cap);
            let (mut sent, mut got) = (0_u8, Vec::new());
            for step in steps {
                match step {
                    Step::Push(len, other_read) => {
                        let data: Vec<u8> = (sent..sent + len).collect();
                        sent += len;
                        drop(lane.push(chunk(&data), other_read));
                    }
                    Step::Drain(on) => {
                        lane.draining = on;
                        drop(lane.let_go(true));
                        prop_assert!(!on || lane.queue.is_empty() && lane.kept.len() <= cap);
                    }
                    Step::Read => {
                        lane.was_read = true;
                        got.extend(all(&mut lane));
                    }
                }
            }
            got.extend(all(&mut lane));
            prop_assert!(got.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(got.len() as u64 + lane.lost(), u64::from(sent));
        }
    }
}
