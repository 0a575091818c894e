//! How dialogues end: by the program, by the channel, by the connection, and by us.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::expect::{DialogOptions, ExpectError, Pattern};
use ractor_ssh::wire::request::ExitStatus;

use crate::kit::paused;
use crate::support::{Scene, scene};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        paused("ends::the_end_tells_the_status_and_what_was_left", eof),
        paused("ends::a_pattern_that_can_not_come_any_more_is_an_error_with_status_and_tail", closed),
        paused("ends::what_came_before_the_end_still_matches", late),
        paused("ends::a_lost_connection_is_no_end_of_the_program", lost),
        paused(
            "ends::a_program_that_closes_its_output_and_runs_on_is_waited_for_until_the_deadline",
            runs_on,
        ),
        paused("ends::dropping_a_dialogue_closes_its_channel", dropped),
        paused("ends::the_program_can_be_had_without_the_dialogue", taken_apart),
    ]
}

async fn eof() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    remote.data("last words");
    remote.exit_status(3);
    remote.eof();
    remote.close();
    let ended = dialog.expect_eof().await.unwrap();
    assert_eq!((&ended.before[..], ended.status.clone()), (&b"last words"[..], ExitStatus::Code(3)));
    // And again, as often as one likes.
    assert_eq!(dialog.expect_eof().await.unwrap().before, "");
    assert!(matches!(dialog.send("x").await, Err(ExpectError::Send(_))));
}

async fn closed() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    remote.data("no such command\r\n");
    remote.exit_status(127);
    remote.eof();
    remote.close();
    let error = dialog.expect("$ ").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the channel ended (exit status 127) before "$ "; 17 bytes came: "no such command\r\n""#
    );
    assert!(matches!(error, ExpectError::Closed { status: ExitStatus::Code(127), .. }));
    assert_eq!(dialog.take(), "no such command\r\n");
    let error = dialog.expect_quiet(Duration::from_secs(1)).await.unwrap_err();
    assert!(
        matches!(error, ExpectError::Closed { .. }) && error.to_string().contains("nothing came"),
        "{error}"
    );
}

async fn late() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    remote.data("one two");
    remote.close();
    assert_eq!(dialog.expect("one ").await.unwrap().before, "");
    // Decided by the end.
    dialog.expect(Pattern::regex(r"two(?-u:\b)").unwrap()).await.unwrap();
    assert!(matches!(dialog.expect("x").await, Err(ExpectError::Closed { status: ExitStatus::Missing, .. })));
}

async fn lost() {
    let Scene { mut dialog, remote, peer, .. } = scene(DialogOptions::new()).await;
    remote.data("half an ans");
    peer.vanish();
    let error = dialog.expect("answer").await.unwrap_err();
    assert!(matches!(error, ExpectError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("half an ans"), "{error}");
    assert!(matches!(dialog.expect_eof().await, Err(ExpectError::Lost { .. })));
    assert_eq!(dialog.take(), "half an ans");
}

async fn runs_on() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new().deadline(Duration::from_secs(5))).await;
    remote.eof();
    let start = tokio::time::Instant::now();
    let error = dialog.expect_eof().await.unwrap_err();
    assert!(error.is_timeout() && error.to_string().starts_with("no end within 5s"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(matches!(dialog.expect("x").await, Err(ExpectError::Closed { status: ExitStatus::Missing, .. })));
    assert_eq!(start.elapsed().as_secs(), 10);
    remote.exit_status(0);
    remote.close();
    assert!(dialog.expect_eof().await.unwrap().status.success());
}

async fn dropped() {
    let Scene { dialog, mut remote, .. } = scene(DialogOptions::new()).await;
    remote.data("unread");
    drop(dialog);
    loop {
        if remote.next().await == ractor_ssh::test_util::Sent::Close {
            break;
        }
    }
    remote.close();
}

async fn taken_apart() {
    let Scene { mut dialog, mut remote, .. } = scene(DialogOptions::new()).await;
    remote.data("one two");
    dialog.expect("one ").await.unwrap();
    let (mut child, rest) = dialog.into_child();
    assert_eq!(rest, "two");
    child.stdin.as_mut().unwrap().send("go on").await.unwrap();
    assert_eq!(remote.expect_bytes(5).await, "go on");
    remote.data("more");
    assert_eq!(child.stdout.as_mut().unwrap().chunk().await.unwrap().unwrap(), "more");
}
