//! Data of a file on its way from the channel to where it is wanted, as it came: not copied, unless it came in crumbs.

use bytes::{Bytes, BytesMut};

/// Shorter than this, bytes are put together: each of them would cost more than it carries.
const CRUMB: usize = 1 << 10;

/// What reads have brought.
#[derive(Debug, Default)]
pub(super) struct Piece {
    chunks: Vec<Bytes>,
    /// Crumbs behind the chunks.
    crumbs: BytesMut,
    len: usize,
}

impl Piece {
    pub(super) fn push(&mut self, data: Bytes) {
        self.len += data.len();
        if data.len() < CRUMB {
            self.crumbs.extend_from_slice(&data);
        } else {
            self.settle();
            self.chunks.push(data);
        }
    }

    /// Appends what another read has brought.
    pub(super) fn append(&mut self, more: Self) {
        more.into_chunks().into_iter().for_each(|chunk| self.push(chunk));
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes in their order.
    pub(super) fn into_chunks(mut self) -> Vec<Bytes> {
        self.settle();
        self.chunks
    }

    fn settle(&mut self) {
        if !self.crumbs.is_empty() {
            self.chunks.push(std::mem::take(&mut self.crumbs).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_come_one_by_one_are_one_chunk() {
        let mut piece = Piece::default();
        for number in 0..100_000_usize {
            let mut one = Piece::default();
            one.push(Bytes::copy_from_slice(&[u8::try_from(number % 251).unwrap()]));
            piece.append(one);
        }
        assert_eq!(piece.len(), 100_000);
        let chunks = piece.into_chunks();
        assert_eq!(chunks.len(), 1);
        assert!(chunks[0].iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    }

    #[test]
    fn big_chunks_are_not_copied_and_order_is_kept() {
        let big = Bytes::from(vec![7; CRUMB]);
        let mut piece = Piece::default();
        for data in
            [Bytes::from_static(b"a"), big.clone(), Bytes::from_static(b"b"), Bytes::from_static(b"c")]
        {
            piece.push(data);
        }
        assert_eq!(piece.len(), CRUMB + 3);
        let chunks = piece.into_chunks();
        assert_eq!(chunks[1].as_ptr(), big.as_ptr());
        assert_eq!(chunks, [Bytes::from_static(b"a"), big, Bytes::from_static(b"bc")]);
    }
}
