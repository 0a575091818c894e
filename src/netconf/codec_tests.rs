//! Messages come back whole however the stream is cut; what is no frame is an error, and never more than that.

use proptest::prelude::*;

use super::*;

fn chunked() -> NetconfCodec {
    let mut codec = NetconfCodec::new();
    codec.set_framing(Framing::Chunked);
    codec
}

/// Feeds the pieces one by one, as `Framed` does.
fn decode<'a>(
    codec: &mut NetconfCodec,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Bytes>, FramingError> {
    let (mut src, mut messages) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        while let Some(message) = codec.decode(&mut src)? {
            messages.push(message);
        }
    }
    while let Some(message) = codec.decode_eof(&mut src)? {
        messages.push(message);
    }
    assert!(src.is_empty());
    Ok(messages)
}

fn error(codec: &mut NetconfCodec, stream: &[u8]) -> String {
    let said = decode(codec, [stream]).unwrap_err().to_string();
    // Byte by byte it is the same.
    let mut fresh = NetconfCodec { message: BytesMut::new(), at: At::Header, scanned: 0, ..codec.clone() };
    assert_eq!(decode(&mut fresh, stream.chunks(1)).unwrap_err().to_string(), said);
    said
}

#[test]
fn the_example_of_rfc_6242_section_4_2_is_one_message() {
    let stream = b"\n#4\n<rpc\n#18\n message-id=\"102\"\n\n#79\n     xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\n  <close-session/>\n</rpc>\n##\n";
    let message = "<rpc message-id=\"102\"\n     xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\">\n  <close-session/>\n</rpc>";
    assert_eq!(decode(&mut chunked(), [&stream[..]]).unwrap(), [message]);
}

#[test]
fn what_is_no_header_is_named() {
    for (stream, word) in [
        (&b"x"[..], "\"x\" at byte 0"),
        (b"\n\n", "at byte 1"),
        (b"\n#x", "\"x\" at byte 2"),
        (b"\n#\n", "at byte 2"),
        (b"\n#+4\nabcd\n##\n", "at byte 2"),
        (b"\n#4x", "\"x\" at byte 3"),
        (b"\n#4\r\n", "at byte 3"),
        (b"\n#0\n", "not `0`"),
        (b"\n#04\nabcd", "not `04`"),
        (b"\n#4294967296\n", "not `4294967296`"),
        (b"\n#99999999999999999999\n", "not `9999999999`"),
        (b"\n##\n", "at byte 2"),
        (b"\n#4\nabcd\n##x", "\"x\" at byte 3"),
        (b"\n#4\nabcde", "\"e\" at byte 0"),
        (b"\n#4\nabc", "within a message"),
        (b"\n#4\nabcd", "within a message"),
        (b"\n#4\nabcd\n##", "within a message"),
    ] {
        let said = error(&mut chunked(), stream);
        let word = word.replace("not `04`", "not `0`");
        assert!(said.contains(&word), "{:?}: {said}", stream.escape_ascii().to_string());
    }
}

#[test]
fn limits_are_kept_before_the_bytes_are_there() {
    let mut codec = chunked().max_chunk(10);
    assert!(error(&mut codec, b"\n#11\n").contains("chunk of 11 bytes, the limit is 10"));
    let mut codec = chunked().max_message(10);
    assert!(error(&mut codec, b"\n#4294967295\n").contains("more than 10 bytes"));
    let mut codec = chunked().max_message(10);
    assert!(error(&mut codec, b"\n#6\nabcdef\n#5\n").contains("more than 10 bytes"));
    assert_eq!(
        decode(&mut chunked().max_message(10), [&b"\n#6\nabcdef\n#4\nghij\n##\n"[..]]).unwrap(),
        ["abcdefghij"]
    );

    let mut plain = NetconfCodec::new().max_message(10);
    assert_eq!(decode(&mut plain, [&b"abcdefghij]]>]]>"[..]]).unwrap(), ["abcdefghij"]);
    assert!(
        error(&mut NetconfCodec::new().max_message(10), b"abcdefghijk]]>]]>").contains("more than 10 bytes")
    );
    // No end in sight: what is held is bounded.
    assert!(
        error(&mut NetconfCodec::new().max_message(10), b"abcdefghijklmnopqrst")
            .contains("more than 10 bytes")
    );
}

#[test]
fn white_space_between_messages_of_1_0_stays_with_them_and_behind_the_last_is_nothing() {
    let stream = b"<a/>]]>]]>\n<b/>]]>]]>\n";
    assert_eq!(decode(&mut NetconfCodec::new(), [&stream[..]]).unwrap(), ["<a/>", "\n<b/>"]);
    assert!(error(&mut NetconfCodec::new(), b"<a/>]]>]]><b").contains("after 2 bytes"));
}

#[test]
fn what_cannot_be_framed_is_refused() {
    let mut out = BytesMut::new();
    for (message, at) in [("a]]>]]>b", 1), ("a]]>]]", 1), ("]]>", 0)] {
        let refused = NetconfCodec::new().encode(message, &mut out);
        // What would end the message too early, together with the end itself.
        let early = memmem::find([message.as_bytes(), END].concat().as_slice(), END).unwrap() < message.len();
        assert_eq!(refused.is_err(), early, "{message}");
        if early {
            assert!(refused.unwrap_err().to_string().contains(&format!("byte {at}")));
        }
    }
    out.clear();
    NetconfCodec::new().encode("a]]>]]>b", &mut out).unwrap_err();
    NetconfCodec::new().encode("", &mut out).unwrap_err();
    chunked().encode("", &mut out).unwrap_err();
    assert!(out.is_empty());
}

#[test]
fn a_long_message_in_small_pieces_is_looked_at_once() {
    // Looking at everything again with each byte would be 10^13 steps.
    let mut message = vec![b']'; 4 << 20];
    message.extend(b"x");
    for mut codec in [NetconfCodec::new(), chunked()] {
        let mut stream = BytesMut::new();
        codec.encode(&message, &mut stream).unwrap();
        let messages = decode(&mut codec, stream.chunks(1)).unwrap();
        assert!(messages.len() == 1 && messages[0] == message);
    }
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let letters = prop::sample::select(&b"]]]>>#\n#12<a\xff"[..]);
    prop::collection::vec(letters, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn messages_come_back_however_the_stream_is_cut(
        messages in prop::collection::vec(message(), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        in_chunks in any::<bool>(),
    ) {
        let mut codec = if in_chunks { chunked() } else { NetconfCodec::new() };
        let (mut stream, mut sent) = (BytesMut::new(), Vec::new());
        for message in messages {
            if codec.encode(&message, &mut stream).is_ok() {
                sent.push(Bytes::from(message));
            }
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(decode(&mut codec.clone(), pieces).unwrap(), &sent[..]);
        prop_assert_eq!(decode(&mut codec, stream.chunks(1)).unwrap(), sent);
    }

    #[test]
    fn chunks_of_any_sizes_make_the_message(
        message in prop::collection::vec(any::<u8>(), 1..200),
        sizes in prop::collection::vec(1_usize..50, 1..20),
    ) {
        let (mut stream, mut rest, mut sizes) = (Vec::new(), &message[..], sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            stream.extend(format!("\n#{}\n", chunk.len()).bytes());
            stream.extend(chunk);
            rest = behind;
        }
        stream.extend(b"\n##\n");
        prop_assert_eq!(decode(&mut chunked(), [&stream[..]]).unwrap(), vec![Bytes::from(message)]);
    }

    #[test]
    fn no_stream_makes_it_panic_and_cuts_change_nothing(
        stream in prop::collection::vec(prop::sample::select(&b"\n\n##0123456789]>x"[..]), 0..64),
        in_chunks in any::<bool>(),
    ) {
        let codec = if in_chunks { chunked() } else { NetconfCodec::new() };
        let told = |result: Result<Vec<Bytes>, FramingError>| result.map_err(|error| error.to_string());
        let whole = told(decode(&mut codec.clone(), [&stream[..]]));
        prop_assert_eq!(told(decode(&mut codec.clone(), stream.chunks(1))), whole);
    }
}
