//! Cutting a channel's data into packets: a length of four bytes, then that many.
//!
//! Owns what arrived and was not served yet, with its receive credit: as long as bytes wait here, they count against
//! their connection. A length above the cap is refused as soon as it is there.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::failure::Malformed;
use crate::Credit;

/// The length field.
const HEAD: usize = 4;
/// A type and a number: there is no shorter packet.
const SHORTEST: usize = 5;

/// What has arrived.
#[derive(Debug)]
pub(super) struct Frames {
    longest: usize,
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Bytes ever taken in, and ever served; each credit with the count at its end.
    taken: u64,
    served: u64,
    credits: VecDeque<(u64, Credit)>,
}

impl Frames {
    pub(super) const fn new(longest: usize) -> Self {
        Self { longest, chunks: VecDeque::new(), bytes: 0, taken: 0, served: 0, credits: VecDeque::new() }
    }

    /// Takes in what arrived. The credit goes back when all of it has been served.
    pub(super) fn push(&mut self, data: Bytes, credit: Option<Credit>) {
        if data.is_empty() {
            return;
        }
        self.bytes += data.len();
        self.taken += data.len() as u64;
        self.chunks.push_back(data);
        self.credits.extend(credit.map(|credit| (self.taken, credit)));
    }

    /// The next whole packet without its length, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = self.length() else { return Ok(None) };
        if length > self.longest {
            return Err(Malformed::TooLong { length, limit: self.longest });
        }
        if length < SHORTEST {
            return Err(Malformed::TooShort { length });
        }
        if self.bytes < HEAD + length {
            return Ok(None);
        }
        self.take(HEAD);
        Ok(Some(self.take(length)))
    }

    /// Whether nothing is left, not even a part of a packet.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// A packet of this length, as [`next`](Self::next) gave it, was served.
    pub(super) fn release(&mut self, packet: usize) {
        self.served += (HEAD + packet) as u64;
        while self.credits.front().is_some_and(|(end, _)| *end <= self.served) {
            self.credits.pop_front();
        }
    }

    fn length(&self) -> Option<usize> {
        if self.bytes < HEAD {
            return None;
        }
        let head = self.chunks.iter().flatten().take(HEAD);
        let length = head.fold(0_u32, |length, byte| length << 8 | u32::from(*byte));
        Some(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Takes bytes out that are there: without a copy if one chunk has them all.
    fn take(&mut self, mut count: usize) -> Bytes {
        self.bytes -= count;
        match self.chunks.front_mut() {
            Some(first) if first.len() > count => return first.split_to(count),
            Some(first) if first.len() == count => return self.chunks.pop_front().unwrap_or_default(),
            _ => {}
        }
        let mut whole = BytesMut::with_capacity(count);
        while count > 0 {
            let Some(first) = self.chunks.front_mut() else { break };
            let part = first.len().min(count);
            whole.extend_from_slice(first.get(..part).unwrap_or_default());
            first.advance(part);
            count -= part;
            if first.is_empty() {
                self.chunks.pop_front();
            }
        }
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(body: &[u8]) -> Vec<u8> {
        let mut packet = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn a_length_above_the_cap_is_refused_before_anything_of_the_packet_is_there() {
        let mut frames = Frames::new(10);
        frames.push(Bytes::from_static(&[0, 0, 0]), None);
        assert_eq!(frames.next(), Ok(None));
        frames.push(Bytes::from_static(&[11]), None);
        assert_eq!(frames.next(), Err(Malformed::TooLong { length: 11, limit: 10 }));
    }

    #[test]
    fn a_packet_as_long_as_the_cap_is_fine_and_one_too_short_for_a_number_is_not() {
        let mut frames = Frames::new(10);
        frames.push(packet(b"0123456789").into(), None);
        assert_eq!(frames.next(), Ok(Some(Bytes::from_static(b"0123456789"))));
        frames.push(packet(b"0123").into(), None);
        assert_eq!(frames.next(), Err(Malformed::TooShort { length: 4 }));
    }

    #[test]
    fn a_packet_in_one_piece_is_not_copied() {
        let mut frames = Frames::new(10);
        let data = Bytes::from(packet(b"abcdef"));
        let place = data.as_ptr().wrapping_add(4);
        frames.push(data, None);
        assert_eq!(frames.next().unwrap().unwrap().as_ptr(), place);
        assert!(frames.is_empty());
    }

    proptest! {
        #[test]
        fn however_packets_are_cut_they_come_out_whole_and_in_order(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 5..40), 0..12),
            cuts in prop::collection::vec(1_usize..30, 1..60),
        ) {
            let mut stream = Bytes::from(bodies.iter().flat_map(|body| packet(body)).collect::<Vec<u8>>());
            let mut frames = Frames::new(64);
            let mut seen = Vec::new();
            let mut cuts = cuts.iter().cycle();
            while !stream.is_empty() {
                let cut = cuts.next().copied().unwrap_or(1).min(stream.len());
                frames.push(stream.split_to(cut), None);
                while let Some(packet) = frames.next().unwrap() {
                    frames.release(packet.len());
                    seen.push(packet.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
            prop_assert!(frames.is_empty());
            prop_assert_eq!(frames.served, frames.taken);
        }
    }
}
