//! Sessions with a peer that says what the test wants.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use libtest_mimic::Trial;
use ractor_ssh::netconf::{
    Framing, FramingError, NetconfCodec, NetconfError, NetconfOptions, NetconfSession,
};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio_util::codec::Framed;

use crate::kit::paused;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("sessions::the_highest_version_both_sides_have_is_spoken", versions),
        paused("sessions::a_first_message_that_is_no_hello_of_ours_is_an_error", hellos),
        paused("sessions::a_reply_is_found_by_its_message_id_and_notifications_are_kept", replies),
        paused("sessions::the_late_reply_of_a_request_that_was_given_up_is_not_anothers", late),
        paused("sessions::more_notifications_than_the_limit_are_an_error_and_none_is_lost", notifications),
        paused("sessions::notifications_are_limited_by_their_bytes_too", big_notifications),
        paused("sessions::every_step_has_a_deadline", deadlines),
        paused("sessions::the_end_and_wrong_frames_are_errors", ends),
        paused("sessions::the_second_message_may_come_glued_to_the_hello", glued),
    ]
}

type Peer = Framed<DuplexStream, NetconfCodec>;

const BASE: &str = "urn:ietf:params:netconf:base:";

fn hello(versions: &[&str]) -> String {
    let list: String =
        versions.iter().map(|version| format!("<capability>{BASE}{version}</capability>\n")).collect();
    format!(
        "<?xml version='1.0'?><nc:hello xmlns:nc='x'><nc:capabilities>{list}</nc:capabilities></nc:hello>"
    )
}

/// A peer that has sent its hello, its end of the stream, and what we said in ours.
async fn meet(
    theirs: &str,
    options: NetconfOptions,
) -> (Result<NetconfSession<DuplexStream>, NetconfError>, Peer, String) {
    let (ours, far) = tokio::io::duplex(1 << 20);
    let mut peer = Framed::new(far, NetconfCodec::new());
    peer.send(theirs).await.unwrap();
    let session = NetconfSession::over(ours, options).await;
    let hello = peer.next().await.unwrap().unwrap();
    (session, peer, String::from_utf8(hello.to_vec()).unwrap())
}

async fn both_1_1(options: NetconfOptions) -> (NetconfSession<DuplexStream>, Peer) {
    let (session, mut peer, _) = meet(&hello(&["1.0", "1.1"]), options).await;
    peer.codec_mut().set_framing(Framing::Chunked);
    (session.unwrap(), peer)
}

async fn next(peer: &mut Peer) -> String {
    String::from_utf8(peer.next().await.unwrap().unwrap().to_vec()).unwrap()
}

async fn versions() {
    for (theirs, only_1_0, framing) in [
        (&["1.0", "1.1"][..], false, Framing::Chunked),
        (&["1.1"], false, Framing::Chunked),
        (&["1.0"], false, Framing::EndOfMessage),
        (&["1.0", "1.1"], true, Framing::EndOfMessage),
    ] {
        let mut options = NetconfOptions::new().capability("urn:example:a?b=1&amp;c=2");
        if only_1_0 {
            options = options.only_1_0();
        }
        let (session, mut peer, ours) = meet(&hello(theirs), options).await;
        let mut session = session.unwrap();
        assert_eq!(session.framing(), framing);
        assert_eq!(ours.contains(&format!("<capability>{BASE}1.1</capability>")), !only_1_0);
        assert!(ours.contains("<capability>urn:example:a?b=1&amp;c=2</capability>"));
        assert!(session.has_capability(&format!("{BASE}{}", theirs[0])) && !session.has_capability(BASE));
        peer.codec_mut().set_framing(framing);
        let (reply, request) = tokio::join!(session.rpc("<get/>"), async {
            let request = next(&mut peer).await;
            peer.send("<rpc-reply message-id='1'><ok/></rpc-reply>").await.unwrap();
            request
        });
        assert!(request.contains("<rpc message-id=\"1\"") && request.ends_with("><get/></rpc>"), "{request}");
        assert_eq!(reply.unwrap(), "<rpc-reply message-id='1'><ok/></rpc-reply>");
    }
}

async fn hellos() {
    for theirs in ["<rpc-reply/>", "hello", &hello(&[]), &hello(&["1.10"])] {
        let (session, ..) = meet(theirs, NetconfOptions::new()).await;
        let Err(NetconfError::Hello { hello, .. }) = session else { panic!("{theirs}") };
        assert_eq!(hello, theirs.as_bytes());
    }
    let (session, ..) = meet(&hello(&["1.1"]), NetconfOptions::new().only_1_0()).await;
    assert!(matches!(session, Err(NetconfError::Hello { .. })));
    let (ours, _far) = tokio::io::duplex(1000);
    let session = NetconfSession::over(ours, NetconfOptions::new().capability("<evil/>")).await;
    assert!(matches!(session, Err(NetconfError::Config(_))));
}

async fn replies() {
    let (mut session, mut peer) = both_1_1(NetconfOptions::new()).await;
    for id in 1..=3 {
        let (reply, ()) = tokio::join!(session.rpc("<get/>"), async {
            next(&mut peer).await;
            peer.send(format!("<notification>{id}</notification>")).await.unwrap();
            let reply = format!(
                "<!-- message-id='9' -->\n<nc:rpc-reply a='x' message-id = \"{id}\"><data/></nc:rpc-reply>"
            );
            peer.send(reply).await.unwrap();
        });
        assert!(reply.unwrap().ends_with(b"<data/></nc:rpc-reply>"));
    }
    for id in 1..=3 {
        assert_eq!(session.notification().await.unwrap(), format!("<notification>{id}</notification>"));
    }
    // An error about a request without a readable id has none.
    let (reply, ()) = tokio::join!(session.rpc("<get/>"), async {
        next(&mut peer).await;
        peer.send("<rpc-reply><rpc-error/></rpc-reply>").await.unwrap();
    });
    assert_eq!(reply.unwrap(), "<rpc-reply><rpc-error/></rpc-reply>");
}

async fn late() {
    let (mut session, mut peer) = both_1_1(NetconfOptions::new()).await;
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_secs(1), session.rpc("<slow/>")).await.is_err());
    }
    let (reply, ()) = tokio::join!(session.rpc("<get/>"), async {
        for id in 1..=4 {
            assert!(next(&mut peer).await.contains(&format!("message-id=\"{id}\"")));
            peer.send(format!("<rpc-reply message-id=\"{id}\"/>")).await.unwrap();
        }
    });
    assert_eq!(reply.unwrap(), "<rpc-reply message-id=\"4\"/>");
}

async fn notifications() {
    let (mut session, mut peer) = both_1_1(NetconfOptions::new().notifications(2)).await;
    for number in 1..=3 {
        peer.send(format!("<notification>{number}</notification>")).await.unwrap();
    }
    peer.send("<rpc-reply message-id=\"2\"/>").await.unwrap();
    assert!(matches!(session.rpc("<get/>").await, Err(NetconfError::Notifications { kept: 3 })));
    // Until they are taken, no more come, and no request goes.
    assert!(matches!(session.rpc("<get/>").await, Err(NetconfError::Notifications { kept: 3 })));
    for number in 1..=3 {
        assert_eq!(session.notification().await.unwrap(), format!("<notification>{number}</notification>"));
    }
    assert_eq!(session.rpc("<get/>").await.unwrap(), "<rpc-reply message-id=\"2\"/>");
}

/// Few messages may be many bytes.
async fn big_notifications() {
    let codec = NetconfCodec::new().max_message(4000);
    let (mut session, mut peer) = both_1_1(NetconfOptions::new().codec(codec)).await;
    let big = format!("<notification>{}</notification>", "x".repeat(1500));
    for _ in 0..3 {
        peer.send(big.clone()).await.unwrap();
    }
    peer.send("<rpc-reply message-id=\"2\"/>").await.unwrap();
    assert!(matches!(session.rpc("<get/>").await, Err(NetconfError::Notifications { kept: 3 })));
    for _ in 0..3 {
        assert_eq!(session.notification().await.unwrap(), big);
    }
    assert_eq!(session.rpc("<get/>").await.unwrap(), "<rpc-reply message-id=\"2\"/>");
}

async fn deadlines() {
    let options = NetconfOptions::new().deadline(Duration::from_secs(7));
    let (ours, _far) = tokio::io::duplex(1000);
    let start = tokio::time::Instant::now();
    let session = NetconfSession::over(ours, options.clone()).await;
    assert_eq!(session.unwrap_err().to_string(), "no hello within 7s");
    let (mut session, _peer) = both_1_1(options).await;
    assert_eq!(session.rpc("<get/>").await.unwrap_err().to_string(), "no reply within 7s");
    assert_eq!(start.elapsed().as_secs(), 14);
}

async fn ends() {
    let (mut session, peer) = both_1_1(NetconfOptions::new()).await;
    drop(peer);
    assert!(session.rpc("<get/>").await.is_err());

    let (mut session, peer) = both_1_1(NetconfOptions::new()).await;
    let mut far = peer.into_inner();
    far.write_all(b"\n#5\n<rpc-").await.unwrap();
    far.shutdown().await.unwrap();
    let error = session.notification().await.unwrap_err();
    assert!(matches!(error, NetconfError::Framing(FramingError::Truncated { bytes: 5 })), "{error}");

    let codec = NetconfCodec::new().max_message(4000);
    let (mut session, peer) = both_1_1(NetconfOptions::new().codec(codec)).await;
    peer.into_inner().write_all(b"\n#4001\n").await.unwrap();
    let error = session.notification().await.unwrap_err();
    assert!(matches!(error, NetconfError::Framing(FramingError::MessageTooLong { limit: 4000 })), "{error}");
}

async fn glued() {
    let (ours, mut far) = tokio::io::duplex(1 << 20);
    let text = format!("{}]]>]]>\n#14\n<notification/\n#1\n>\n##\n", hello(&["1.1"]));
    far.write_all(text.as_bytes()).await.unwrap();
    let mut session = NetconfSession::over(ours, NetconfOptions::new()).await.unwrap();
    assert_eq!(session.notification().await.unwrap(), Bytes::from("<notification/>"));
}
