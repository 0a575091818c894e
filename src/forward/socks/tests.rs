use proptest::prelude::*;

use super::*;

/// What came of a request that arrives in pieces of `piece` bytes: what was said, the last step, and what is left.
fn run(bytes: &[u8], piece: usize) -> (Vec<u8>, Step, Vec<u8>) {
    let (mut request, mut read, mut said) = (Request::default(), BytesMut::new(), Vec::new());
    let mut pieces = bytes.chunks(piece);
    loop {
        match request.step(&mut read) {
            Step::Read => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None => return (said, Step::Read, read.to_vec()),
            },
            Step::Say(bytes) => said.extend_from_slice(bytes),
            last => {
                pieces.for_each(|piece| read.extend_from_slice(piece));
                return (said, last, read.to_vec());
            }
        }
    }
}

fn connects(bytes: &[u8]) -> (Version, String, u16) {
    for piece in [1, 2, 3, 1000] {
        let (_, step, left) = run(&[bytes, b"early"].concat(), piece);
        assert_eq!(left, b"early", "what follows the request is not its own");
        assert!(matches!(step, Step::Connect(..)), "{step:?}");
    }
    match run(bytes, 1000).1 {
        Step::Connect(version, host, port) => (version, host, port),
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> Vec<u8> {
    match run(bytes, 1).1 {
        Step::Refuse(reply, _) => reply.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn socks4_names_an_address_and_socks4a_a_name() {
    let four = connects(&[4, 1, 0, 80, 10, 0, 0, 7, b'm', b'e', 0]);
    assert_eq!(four, (Version::V4, "10.0.0.7".to_owned(), 80));
    let four_a = connects(b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00host.internal\x00");
    assert_eq!(four_a, (Version::V4, "host.internal".to_owned(), 443));
}

#[test]
fn socks5_names_both_kinds_of_addresses_and_names() {
    let greeting: &[u8] = &[5, 2, 2, 0];
    let four = [greeting, &[5, 1, 0, 1, 127, 0, 0, 1, 0, 22]].concat();
    assert_eq!(connects(&four), (Version::V5, "127.0.0.1".to_owned(), 22));
    let name = [greeting, &[5, 1, 0, 3, 4], b"host", &[1, 0]].concat();
    assert_eq!(connects(&name), (Version::V5, "host".to_owned(), 256));
    let six = [greeting, &[5, 1, 0, 4], &[0; 15], &[1, 0, 22]].concat();
    assert_eq!(connects(&six), (Version::V5, "::1".to_owned(), 22));
    assert_eq!(run(&four, 1).0, LOGGED_IN);
}

#[test]
fn what_is_not_known_gets_the_reply_that_says_so() {
    let bind = [5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 22];
    assert_eq!(refused(&bind), [5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    let udp = [5, 1, 0, 5, 3, 0, 1, 127, 0, 0, 1, 0, 22];
    assert_eq!(refused(&udp), [5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&[5, 1, 0, 5, 1, 0, 9]), [5, 8, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&[5, 1, 2]), NO_METHOD, "a login is wanted");
    assert_eq!(refused(&[5, 0]), NO_METHOD, "no way is offered");
    assert_eq!(refused(&[4, 2, 0, 80, 10, 0, 0, 7, 0]), [0, 91, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&[5, 1, 0, 5, 1, 0, 3, 0, 0, 22]), [5, 1, 0, 1, 0, 0, 0, 0, 0, 0], "an empty name");
    assert_eq!(refused(b"GET / HTTP/1.1"), b"");
}

#[test]
fn a_request_without_an_end_is_not_read_for_ever() {
    let endless = [&[4_u8, 1, 0, 80, 10, 0, 0, 7][..], &[b'x'; 4000]].concat();
    assert_eq!(refused(&endless), b"");
}

#[test]
fn replies_follow_the_reason_of_the_open_failure() {
    let refused =
        |reason, text: &str| answer_to(&OpenError::Refused { reason, description: text.to_owned() });
    use OpenFailureReason as Reason;
    assert_eq!(refused(Reason::AdministrativelyProhibited, "open failed"), Answer::NotAllowed);
    assert_eq!(refused(Reason::ConnectFailed, "Connection refused"), Answer::Refused);
    assert_eq!(refused(Reason::ConnectFailed, "Network is unreachable"), Answer::NetworkUnreachable);
    assert_eq!(refused(Reason::ConnectFailed, "No route to host"), Answer::HostUnreachable);
    assert_eq!(refused(Reason::ConnectFailed, "Connection timed out"), Answer::TimedOut);
    assert_eq!(refused(Reason::ResourceShortage, ""), Answer::Failed);
    assert_eq!(answer_to(&OpenError::Draining), Answer::NetworkUnreachable);
}

proptest! {
    #[test]
    fn any_bytes_come_to_the_same_end_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..80), piece in 1_usize..9,
    ) {
        prop_assert_eq!(run(&bytes, piece), run(&bytes, 1000));
    }
}
