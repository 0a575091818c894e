//! Frames of one length: a codec for records.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::ConfigError;

/// A codec for records of one length, which can be changed while it is at work.
///
/// What is sent must have that length at that moment. An input that ends within a record is an error.
///
/// ```
/// use bytes::BytesMut;
/// use ractor_ssh::session::RecordCodec;
/// use tokio_util::codec::Decoder as _;
///
/// let mut codec = RecordCodec::new(2)?;
/// let length = codec.length();
/// let mut input = BytesMut::from(&b"aabbb"[..]);
/// assert_eq!(codec.decode(&mut input)?.as_deref(), Some(&b"aa"[..]));
/// length.set(3)?; // from the next record on
/// assert_eq!(codec.decode(&mut input)?.as_deref(), Some(&b"bbb"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RecordCodec {
    length: RecordLength,
}

impl RecordCodec {
    /// Records of `bytes` bytes.
    ///
    /// # Errors
    /// 0 is no length.
    pub fn new(bytes: usize) -> Result<Self, ConfigError> {
        let length = RecordLength(Arc::default());
        length.set(bytes)?;
        Ok(Self { length })
    }

    /// The length, to change it from anywhere, also when the codec is inside a `Framed` that was split.
    #[must_use]
    pub fn length(&self) -> RecordLength {
        self.length.clone()
    }
}

/// The record length of one [`RecordCodec`] and its clones.
#[derive(Debug, Clone)]
pub struct RecordLength(Arc<AtomicUsize>);

impl RecordLength {
    /// The length in bytes.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Changes it, from the next record on: bytes that were received and are not yet part of a record count by the new
    /// length. Records that were already taken from the codec stay as they are.
    ///
    /// # Errors
    /// 0 is no length.
    pub fn set(&self, bytes: usize) -> Result<(), ConfigError> {
        if bytes == 0 {
            return Err(ConfigError::new("record length", "is 0", "give at least 1 byte"));
        }
        self.0.store(bytes, Ordering::Release);
        Ok(())
    }
}

impl Decoder for RecordCodec {
    type Item = Bytes;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let length = self.length.get();
        if input.len() < length {
            return Ok(None);
        }
        Ok(Some(input.split_to(length).freeze()))
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> io::Result<Option<Bytes>> {
        let record = self.decode(input)?;
        if record.is_some() || input.is_empty() {
            return Ok(record);
        }
        let (have, want) = (input.len(), self.length.get());
        // So that asking again tells the end.
        input.clear();
        let message = format!("the input ended after {have} of the {want} bytes of a record");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }
}

impl Encoder<Bytes> for RecordCodec {
    type Error = io::Error;

    fn encode(&mut self, record: Bytes, output: &mut BytesMut) -> io::Result<()> {
        let (have, want) = (record.len(), self.length.get());
        if have != want {
            let message = format!("a record of {have} bytes where all have {want}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        output.extend_from_slice(&record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_whole_however_the_bytes_came_in() {
        let mut codec = RecordCodec::new(3).unwrap();
        let (mut input, mut records) = (BytesMut::new(), Vec::new());
        for byte in b"abcdefg" {
            input.extend_from_slice(&[*byte]);
            records.extend(codec.decode(&mut input).unwrap());
        }
        assert_eq!(records, ["abc", "def"]);
        assert_eq!(input, "g");
    }

    #[test]
    fn an_input_that_ends_within_a_record_is_an_error_once() {
        let mut codec = RecordCodec::new(3).unwrap();
        let mut input = BytesMut::from("abcde");
        assert_eq!(codec.decode_eof(&mut input).unwrap().unwrap(), "abc");
        let error = codec.decode_eof(&mut input).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(error.to_string(), "the input ended after 2 of the 3 bytes of a record");
        assert!(codec.decode_eof(&mut input).unwrap().is_none());
    }

    #[test]
    fn a_record_of_another_length_is_refused_and_0_is_no_length() {
        let mut codec = RecordCodec::new(3).unwrap();
        let mut output = BytesMut::new();
        codec.encode("abc".into(), &mut output).unwrap();
        assert_eq!(codec.encode("ab".into(), &mut output).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(output, "abc");
        assert_eq!(codec.length().set(0).unwrap_err().problem, "is 0");
        assert_eq!(codec.length().get(), 3);
    }

    #[test]
    fn a_changed_length_counts_from_the_next_record_on_for_every_clone() {
        let mut codec = RecordCodec::new(1).unwrap();
        let mut other = codec.clone();
        let mut input = BytesMut::from("abbccc");
        assert_eq!(codec.decode(&mut input).unwrap().unwrap(), "a");
        codec.length().set(2).unwrap();
        assert_eq!(other.decode(&mut input).unwrap().unwrap(), "bb");
        other.length().set(4).unwrap();
        assert!(codec.decode(&mut input).unwrap().is_none());
    }
}
