//! What one step finds, consumes and leaves, and how long it takes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::expect::{DialogOptions, Direction, ExpectError, LineEnd, Pattern};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::kit::paused;
use crate::support::{Scene, scene};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("steps::a_match_is_consumed_with_what_is_before_it_and_nothing_else", consumes),
        paused("steps::of_several_patterns_the_first_to_be_there_is_told", several),
        paused("steps::a_match_is_found_in_pieces_of_any_size", pieces),
        paused("steps::a_step_takes_as_long_as_its_deadline_and_consumes_nothing", deadlines),
        paused("steps::a_step_that_is_given_up_loses_nothing", given_up),
        paused("steps::a_full_buffer_is_an_error_and_the_rest_waits_in_the_channel", full),
        paused("steps::silence_is_waited_for", silence),
        paused("steps::what_is_sent_arrives_with_the_line_end_that_was_chosen", sends),
        paused("steps::secrets_are_in_no_transcript_no_log_and_no_error", secrets),
        paused("steps::the_transcript_has_both_directions_in_order", transcript),
        paused("steps::escape_sequences_are_left_out_on_request_though_torn_apart", escapes),
        paused("steps::error_output_is_part_of_the_dialogue", error_output),
        paused("steps::sending_to_a_peer_that_reads_nothing_ends_at_the_deadline", nobody_reads),
        paused("steps::wrong_arguments_are_refused_before_anything_is_sent", arguments),
    ]
}

async fn consumes() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    remote.data("Welcome\r\nlogin: and password: rest");
    let found = dialog.expect("login: ").await.unwrap();
    assert_eq!(
        (found.index, &found.before[..], &found.matched[..]),
        (0, &b"Welcome\r\n"[..], &b"login: "[..])
    );
    let found = dialog.expect(Pattern::regex("(?<what>[a-z]+): ").unwrap()).await.unwrap();
    assert_eq!(found.before_text(), "and ");
    assert_eq!(
        (found.named("what"), found.group_text(1).as_deref()),
        (Some(&b"password"[..]), Some("password"))
    );
    assert_eq!((found.group(2), found.named("who")), (None, None));
    assert_eq!(dialog.unmatched(), b"rest");
    // A literal may be anything, and so may the stream.
    remote.data(&b"\0\xff\xfe"[..]);
    assert_eq!(dialog.expect(b"\xff\xfe").await.unwrap().before, "rest\0");
}

async fn several() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    remote.data("yes no");
    let found = dialog.expect_any(["no", "yes"]).await.unwrap();
    assert_eq!((found.index, found.text().as_ref()), (1, "yes"));
    let found =
        dialog.expect_any([Pattern::literal("maybe"), Pattern::regex("[a-z]o").unwrap()]).await.unwrap();
    assert_eq!((found.index, found.text().as_ref()), (1, "no"));
}

async fn pieces() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    for byte in b"aab aabc" {
        remote.data(vec![*byte]);
    }
    assert_eq!(dialog.expect("aabc").await.unwrap().before, "aab ");
    let waiting = dialog.expect("12");
    tokio::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    remote.data("1");
    tokio::task::yield_now().await;
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    remote.data("2");
    waiting.await.unwrap();
}

async fn deadlines() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new().deadline(Duration::from_secs(7))).await;
    remote.data("# ");
    for (own, after) in [(None, 7), (Some(3), 3), (Some(u64::MAX), 60)] {
        let start = Instant::now();
        let step = async {
            match own {
                None => dialog.expect("$ ").await,
                Some(own) => dialog.expect_any_within(Duration::from_secs(own), ["$ ", "> "]).await,
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(60), step).await;
        assert_eq!(start.elapsed().as_secs(), after);
        let Ok(outcome) = outcome else { continue };
        let error = outcome.unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.seen().map(|seen| (seen.bytes(), seen.total())), Some((&b"# "[..], 2)));
        let named = if own.is_some() {
            r##"no "$ " or "> " within 3s; 2 bytes came: "# ""##
        } else {
            r#"no "$ " within 7s"#
        };
        assert!(error.to_string().starts_with(named), "{error}");
    }
    // Bytes that keep coming do not keep a step alive.
    let start = Instant::now();
    let outcome = {
        let step = dialog.expect("$ ");
        tokio::pin!(step);
        loop {
            tokio::select! {
                outcome = &mut step => break outcome,
                () = tokio::time::sleep(Duration::from_secs(2)) => remote.data("."),
            }
        }
    };
    assert!(outcome.unwrap_err().is_timeout());
    assert_eq!(start.elapsed().as_secs(), 7);
    assert_eq!(dialog.expect("# ...").await.unwrap().before, "");
}

async fn given_up() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    let mut sent = Vec::new();
    for number in 0..200_u32 {
        let line = format!("line {number};");
        sent.extend_from_slice(line.as_bytes());
        remote.data(line);
        let patience = Duration::from_millis(u64::from(number % 3));
        let _ = tokio::time::timeout(patience, dialog.expect("no such thing")).await;
        drop(dialog.expect_quiet(Duration::from_secs(1)));
        let _ = tokio::time::timeout(patience, dialog.expect_eof()).await;
    }
    remote.data("the end");
    let found = dialog.expect("the end").await.unwrap();
    assert!(found.before == sent, "{} bytes of {}", found.before.len(), sent.len());
}

async fn full() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new().buffer(1000).transcript(1 << 20)).await;
    let sent: Vec<u8> = (0..10_000_u32).flat_map(|number| number.to_be_bytes()).collect();
    for piece in sent.chunks(333) {
        remote.data(piece.to_vec());
    }
    remote.data("END");
    let mut received = Vec::new();
    let last = loop {
        match dialog.expect("END").await {
            Ok(found) => break found.before,
            Err(ExpectError::BufferFull { limit, seen, waited_for }) => {
                assert_eq!((limit, seen.total(), &*waited_for), (1000, 1000, "\"END\""));
                // Nothing more was taken, however often one asks.
                assert!(matches!(dialog.expect("END").await, Err(ExpectError::BufferFull { .. })));
                let taken: usize = dialog.transcript().map(|entry| entry.data.len()).sum();
                assert_eq!(taken, received.len() + 1000);
                received.extend_from_slice(&dialog.take());
            }
            Err(other) => panic!("{other}"),
        }
    };
    received.extend_from_slice(&last);
    assert!(received == sent);
}

async fn silence() {
    let Scene { mut dialog, remote, .. } =
        scene(DialogOptions::new().deadline(Duration::from_secs(10))).await;
    let script = async {
        for text in ["one ", "two ", "three"] {
            tokio::time::sleep(Duration::from_millis(400)).await;
            remote.data(text);
        }
    };
    let start = Instant::now();
    let (quiet, ()) = tokio::join!(dialog.expect_quiet(Duration::from_millis(500)), script);
    assert_eq!(quiet.unwrap(), "one two three");
    assert_eq!(start.elapsed(), Duration::from_millis(1700));
    assert_eq!(dialog.expect_quiet(Duration::from_secs(1)).await.unwrap(), "");
    // Never quiet.
    let chatter = async {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            remote.data(".");
        }
    };
    let (quiet, ()) = tokio::join!(dialog.expect_quiet(Duration::from_millis(500)), chatter);
    assert!(quiet.unwrap_err().is_timeout());
}

async fn sends() {
    for (end, bytes) in [(LineEnd::Lf, "go\n"), (LineEnd::Cr, "go\r"), (LineEnd::CrLf, "go\r\n")] {
        let Scene { mut dialog, mut remote, .. } = scene(DialogOptions::new().line_end(end)).await;
        dialog.send_line("go").await.unwrap();
        assert_eq!(remote.expect_bytes(bytes.len()).await, bytes);
        dialog.send(b"\0\xff").await.unwrap();
        assert_eq!(remote.expect_bytes(2).await, &b"\0\xff"[..]);
        for (key, byte) in [('c', 3), ('D', 4), ('[', 27), ('@', 0), ('?', 127)] {
            dialog.send_control(key).await.unwrap();
            assert_eq!(remote.expect_bytes(1).await, vec![byte]);
        }
        assert!(matches!(dialog.send_control('1').await, Err(ExpectError::Config(_))));
        dialog.send_eof();
        remote.expect_eof().await;
        assert!(matches!(dialog.send("more").await, Err(ExpectError::Config(_))));
    }
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn secrets() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let told = Arc::new(Mutex::new(String::new()));
    let tell = Arc::clone(&told);
    let options = DialogOptions::new().transcript(4096);
    let options =
        options.on_transcript(move |entry| tell.lock().unwrap().push_str(&format!("{entry} {entry:?}")));
    let Scene { mut dialog, mut remote, .. } = scene(options).await;
    dialog.send_secret(&SecretString::from("hunter2")).await.unwrap();
    assert_eq!(remote.expect_bytes(8).await, "hunter2\n");
    let kept: Vec<_> = dialog.transcript().cloned().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].direction, kept[0].data.len()), (Direction::SentSecret, 0));
    remote.close();
    dialog.expect_eof().await.unwrap();
    let error = dialog.send_secret(&SecretString::from("hunter2")).await.unwrap_err();
    let all = format!("{error} {error:?} {dialog:?} {kept:?} {}", told.lock().unwrap());
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!logged.is_empty());
    for text in [all, logged] {
        assert!(!text.contains("hunter2") && !text.contains("104, 117, 110"), "{text}");
    }
}

async fn transcript() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new().transcript(4096)).await;
    remote.data("\x1b[1mlogin: ");
    dialog.expect("login: ").await.unwrap();
    dialog.send_line("me").await.unwrap();
    remote.data("$ ");
    dialog.expect("$ ").await.unwrap();
    let lines: Vec<_> =
        dialog.transcript().map(|entry| entry.to_string().split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(lines, [r#"< "\x1b[1mlogin: ""#, r#"> "me\n""#, r#"< "$ ""#]);
    assert_eq!(dialog.transcript_dropped(), 0);
}

async fn escapes() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new().strip_escapes(true)).await;
    for byte in "\x1b]0;a title\x07\x1b[32mgr\u{fc}n\x1b[0m$ ".bytes() {
        remote.data(vec![byte]);
    }
    assert_eq!(dialog.expect("\u{fc}n$ ").await.unwrap().before, "gr");
}

async fn error_output() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    remote.data("out ");
    dialog.expect("out ").await.unwrap();
    remote.stderr(">>> ");
    dialog.expect(">>> ").await.unwrap();
    remote.eof();
    remote.stderr("late");
    assert!(dialog.expect("nothing").await.is_err());
}

async fn nobody_reads() {
    let Scene { mut dialog, .. } = scene(DialogOptions::new().deadline(Duration::from_secs(3))).await;
    let piece = vec![b'x'; 1 << 20];
    let start = Instant::now();
    let error = loop {
        if let Err(error) = dialog.send(&piece).await {
            break error;
        }
    };
    assert!(error.is_timeout() && error.to_string().starts_with("no room to send within 3s"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 3);
}

async fn arguments() {
    let Scene { mut dialog, remote, peer, _conn } = scene(DialogOptions::new()).await;
    remote.data("something");
    let config = |outcome: Result<_, ExpectError>, field: &str| match outcome {
        Err(ExpectError::Config(error)) => assert_eq!(error.field, field),
        other => panic!("{other:?}"),
    };
    config(dialog.expect("").await, "pattern");
    config(dialog.expect_any::<&str>([]).await, "patterns");
    for (command, field) in [
        (_conn.exec("x").dialog(DialogOptions::new().buffer(0)), "buffer"),
        (_conn.exec("x").dialog(DialogOptions::new().deadline(Duration::ZERO)), "deadline"),
        (_conn.exec("x").stdin(ractor_ssh::session::Stdin::null()).dialog(DialogOptions::new()), "stdin"),
        (_conn.exec("x").stdout(ractor_ssh::session::Stdio::null()).dialog(DialogOptions::new()), "stdout"),
    ] {
        let said = command.await.unwrap_err().to_string();
        assert!(said.contains(field), "{said}");
    }
    assert_eq!(peer.pending_opens(), 0);
}
