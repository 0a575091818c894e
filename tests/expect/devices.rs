//! Prompts that are not known before: a scripted device, and a REPL.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::expect::{DialogOptions, ExpectError, Prompt};
use ractor_ssh::test_util::ScriptedChannel;
use ractor_ssh::wire::pty::PtyRequest;

use crate::kit::{Peer, paused};
use crate::support::{Place, Scene, both_with, scene};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        paused("devices::a_prompt_is_learned_from_two_answers_to_an_empty_line", learned),
        paused("devices::a_prompt_that_changes_is_not_learned", changing),
        paused("devices::the_prompt_in_the_middle_of_a_line_ends_no_answer", in_the_middle),
    ];
    trials.extend(both_with("a_python_repl_is_led_by_the_prompt_it_shows", &[Peer::Python], python));
    trials
}

const QUIET: Duration = Duration::from_millis(500);

/// Echoes, answers, and shows its prompt, one byte a packet.
async fn device(mut remote: ScriptedChannel, prompts: impl IntoIterator<Item = &'static str>) {
    let mut prompts = prompts.into_iter();
    let say = |text: &str| text.bytes().for_each(|byte| remote.data(vec![byte]));
    say("*** Authorized access only ***\r\n");
    say(prompts.next().unwrap_or_default());
    let mut line = Vec::new();
    loop {
        let byte = remote.expect_bytes(1).await[0];
        if byte != b'\n' {
            line.push(byte);
            continue;
        }
        let command = String::from_utf8(std::mem::take(&mut line)).unwrap();
        let answer = match command.as_str() {
            "" => String::new(),
            "show version" => "Version 7 (router# is my prompt)\r\n".to_owned(),
            "quit" => return,
            other => format!("% no such command: {other}\r\n"),
        };
        let text = format!("{command}\r\n{answer}{}", prompts.next().unwrap_or_default());
        text.bytes().for_each(|byte| remote.data(vec![byte]));
    }
}

async fn learned() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    let work = async {
        let prompt = dialog.learn_prompt(QUIET).await.unwrap();
        assert_eq!(prompt.text(), "router# ");
        assert!(prompt.before().starts_with(b"*** Authorized access only ***\r\n"));
        let answer = dialog.run_at(&prompt, "show version").await.unwrap();
        assert_eq!(answer, "Version 7 (router# is my prompt)\r\n");
        assert_eq!(dialog.run_at(&prompt, "what").await.unwrap(), "% no such command: what\r\n");
        assert_eq!(dialog.unmatched(), b"");
        dialog.send_line("quit").await.unwrap();
    };
    tokio::join!(work, device(remote, std::iter::repeat("router# ")));
}

async fn changing() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    let work = async {
        let error = dialog.learn_prompt(QUIET).await.unwrap_err();
        let ExpectError::NoPrompt { first, second } = &error else { panic!("{error}") };
        assert_eq!((&first[..], &second[..]), (&b"[2] "[..], &b"[3] "[..]));
        dialog.send_line("quit").await.unwrap();
    };
    tokio::join!(work, device(remote, ["[1] ", "[2] ", "[3] "]));
    assert_eq!(Prompt::new("").unwrap_err().field, "prompt");
}

async fn in_the_middle() {
    let Scene { mut dialog, remote, .. } = scene(DialogOptions::new()).await;
    let prompt = Prompt::new("a.b> ").unwrap();
    remote.data("see a.b> \r\naxb> \r\ra.b> ");
    let found = dialog.expect(prompt.pattern()).await.unwrap();
    assert_eq!(found.before, "see a.b> \r\naxb> \r");
}

async fn python(place: Place) {
    let repl = place.conn.exec("exec python3 -i -q").pty(PtyRequest::new("dumb").size(200, 50));
    let mut dialog = repl.dialog(DialogOptions::new()).await.unwrap();
    dialog.expect(">>> ").await.unwrap();
    let prompt = dialog.learn_prompt(QUIET).await.unwrap();
    assert_eq!(prompt.text(), ">>> ");
    assert_eq!(dialog.run_at(&prompt, "6 * 7").await.unwrap(), "42\r\n");
    assert_eq!(dialog.run_at(&prompt, "x = 5").await.unwrap(), "");
    let trace = dialog.run_at(&prompt, "x / 0").await.unwrap();
    assert!(trace.ends_with(b"ZeroDivisionError: division by zero\r\n"), "{}", trace.escape_ascii());
    dialog.send_line("exit(x)").await.unwrap();
    assert_eq!(dialog.expect_eof().await.unwrap().status.code(), Some(5));

    // Without a terminal its prompt comes on stderr.
    let mut dialog = place.conn.exec("exec python3 -i -q").dialog(DialogOptions::new()).await.unwrap();
    dialog.expect(">>> ").await.unwrap();
    dialog.send_line("print(2 ** 10)").await.unwrap();
    dialog.expect("1024\n").await.unwrap();
    dialog.send_eof();
    assert!(dialog.expect_eof().await.unwrap().status.success());
    place.end().await;
}
