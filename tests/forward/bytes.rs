//! Bytes whose every position is known, in pieces of any size.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The byte at a position of a stream: no shift or repetition goes unseen.
fn at(seed: u64, position: u64) -> u8 {
    let mut x = (position / 8).wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> (8 * (position % 8))) as u8
}

/// So many bytes of a stream, from a position on.
pub(crate) fn piece(seed: u64, from: u64, len: usize) -> Vec<u8> {
    (from..).take(len).map(|position| at(seed, position)).collect()
}

/// Sizes that change from one to the next, none too regular.
fn size(seed: u64, turn: u64) -> usize {
    let sizes = [1, 7, 100, 4096, 32 << 10, (32 << 10) + 1, 70_000, 1 << 20];
    sizes[usize::from(at(seed, turn * 8)) % sizes.len()]
}

/// Writes a stream in pieces of many sizes.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), seed: u64, len: u64) -> std::io::Result<()> {
    let (mut done, mut turn) = (0, 0);
    while done < len {
        let next = size(seed, turn).min((len - done) as usize);
        to.write_all(&piece(seed, done, next)).await?;
        done += next as u64;
        turn += 1;
    }
    Ok(())
}

/// Reads to the end, and says how many bytes came, all of them as written.
///
/// # Panics
/// At the first byte that is wrong.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin), seed: u64) -> std::io::Result<u64> {
    let (mut done, mut turn) = (0, 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = from.read(&mut buffer[..size(seed + 1, turn)]).await?;
        if read == 0 {
            return Ok(done);
        }
        assert!(buffer[..read] == piece(seed, done, read), "wrong bytes behind {done}");
        done += read as u64;
        turn += 1;
    }
}
