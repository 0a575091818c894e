//! Real shells: dash and bash behind `sshd` and behind our daemon.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::expect::{Dialog, DialogOptions, ExpectError, Pattern, PosixShell};
use ractor_ssh::wire::pty::{PtyRequest, WindowSize};
use ractor_ssh::wire::request::ExitStatus;
use secrecy::SecretString;

use crate::support::{Place, both};

pub(crate) fn trials() -> Vec<Trial> {
    [
        both("commands_run_in_one_shell_with_their_output_and_status", commands),
        both("output_arrives_byte_for_byte", bytes),
        both("a_command_that_takes_too_long_is_interrupted_and_the_shell_goes_on", too_long),
        both("the_end_of_the_shell_is_told_with_its_status", exits),
        both("a_password_prompt_is_answered_and_the_terminal_is_as_it_was_asked_for", password),
        both("a_login_shell_is_led_by_patterns", by_patterns),
        both("a_program_that_is_no_shell_shows_no_prompt", no_shell),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The shells that are everywhere.
const SHELLS: [&str; 2] = ["exec dash -i", "exec bash --norc --noprofile -i"];

async fn dialog(place: &Place, shell: &str, options: DialogOptions) -> Dialog {
    place.conn.exec(shell).pty(PtyRequest::new("xterm").size(80, 24)).dialog(options).await.unwrap()
}

async fn posix(place: &Place, shell: &str, options: DialogOptions) -> PosixShell {
    PosixShell::over(dialog(place, shell, options).await).await.unwrap()
}

async fn commands(place: Place) {
    for shell in SHELLS {
        let mut shell = posix(&place, shell, DialogOptions::new()).await;
        for (command, output, status) in [
            ("echo hello", "hello\n", 0),
            ("printf 'no line end'", "no line end", 0),
            ("false", "", 1),
            ("(exit 42)", "", 42),
            ("cd / && pwd", "/\n", 0),
            ("pwd; there=here", "/\n", 0),
            ("echo \"it's $there\"", "it's here\n", 0),
            ("for n in 1 2 3\ndo\n\techo \"$n\"\ndone", "1\n2\n3\n", 0),
            ("cat <<'END'\n$x `y` \\ \"z\"\nEND", "$x `y` \\ \"z\"\n", 0),
            ("echo to stderr >&2", "to stderr\n", 0),
            ("f() { return 7; }; f", "", 7),
            ("", "", 0),
            ("# nothing", "", 0),
            ("sh -c 'kill -TERM $$'", "", 143),
        ] {
            let done = shell.run(command).await.unwrap();
            // Shells say more than others of what a signal has ended.
            let said = if done.status > 128 { "" } else { &*done.text() };
            assert_eq!((said, done.status), (output, status), "{command}");
        }
        let done = shell.run("echo 'open; ( if").await.unwrap();
        assert_ne!(done.status, 0, "{done:?}");
        assert_eq!(shell.run("echo goes on").await.unwrap().output, "goes on\n");
        for (command, word) in [("sleep 1\x03", "0x03"), (&"x".repeat(5000), "4095")] {
            let error = shell.run(command).await.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(shell.run(format!("printf %s {}", "y".repeat(4000))).await.unwrap().output.len(), 4000);
    }
    place.end().await;
}

async fn bytes(place: Place) {
    for shell in SHELLS {
        let mut shell = posix(&place, shell, DialogOptions::new().buffer(8 << 20)).await;
        let all: Vec<u8> = (0..=255).collect();
        let octal: String = all.iter().map(|byte| format!("\\{byte:03o}")).collect();
        assert!(shell.run(format!("printf '{octal}'")).await.unwrap().output == all);
        let long = shell.run("seq 1 200000").await.unwrap().output;
        let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
        assert!(long == expected, "{} bytes of {}", long.len(), expected.len());
        assert_eq!(shell.run("echo 'gr\u{fc}n \u{1f980}'").await.unwrap().text(), "gr\u{fc}n \u{1f980}\n");
    }
    place.end().await;
}

async fn too_long(place: Place) {
    for shell in SHELLS {
        let mut shell = posix(&place, shell, DialogOptions::new()).await;
        shell.dialog().set_deadline(Duration::from_secs(1));
        let error = shell.run("sh -c 'echo started; exec sleep 1000'").await.unwrap_err();
        assert!(error.is_timeout() && error.seen().unwrap().bytes() == b"started\n", "{error}");
        assert!(matches!(shell.run("echo no").await, Err(ExpectError::Busy)));
        shell.dialog().set_deadline(Duration::from_secs(30));
        let done = shell.interrupt().await.unwrap();
        assert!(done.output.starts_with(b"started\n") && done.status == 130, "{done:?}");
        assert_eq!(shell.run("echo yes").await.unwrap().output, "yes\n");
        // A command whose future is dropped is waited for later.
        let given_up = tokio::time::timeout(Duration::from_millis(100), shell.run("sleep 0.5; echo late"));
        assert!(given_up.await.is_err());
        assert_eq!(shell.finish().await.unwrap().output, "late\n");
        assert!(matches!(shell.finish().await, Err(ExpectError::Config(_))));
        assert!(matches!(shell.interrupt().await, Err(ExpectError::Config(_))));
        // One that asks is answered.
        assert!(
            tokio::time::timeout(Duration::from_millis(100), shell.run("read answer; echo \"<$answer>\""))
                .await
                .is_err()
        );
        shell.dialog().send_line("blue").await.unwrap();
        assert_eq!(shell.finish().await.unwrap().output, "<blue>\n");
    }
    place.end().await;
}

async fn exits(place: Place) {
    for shell in SHELLS {
        let mut shell = posix(&place, shell, DialogOptions::new()).await;
        let error = shell.run("echo bye; exit 5").await.unwrap_err();
        let ExpectError::Closed { status, seen, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*status, ExitStatus::Code(5));
        assert!(seen.bytes().starts_with(b"bye\n"), "{error}");
    }
    place.end().await;
}

async fn password(place: Place) {
    let script = "stty -echo; printf 'Password: '; read -r x; stty echo; printf '\\n%s letters, %s, %s\\n' ${#x} \"$TERM\" \"$(stty size)\"; read -r y; stty size";
    let program = place.conn.exec(script).pty(PtyRequest::new("vt220").size(101, 37));
    let mut dialog = program.dialog(DialogOptions::new().transcript(4096)).await.unwrap();
    dialog.expect("assword: ").await.unwrap();
    dialog.send_secret(&SecretString::from("hunter2")).await.unwrap();
    dialog.expect("7 letters, vt220, 37 101\r\n").await.unwrap();
    dialog.window_change(WindowSize::new(50, 20)).unwrap();
    dialog.send_line("").await.unwrap();
    dialog.expect("20 50\r\n").await.unwrap();
    assert!(dialog.transcript().all(|entry| !entry.to_string().contains("hunter2")));
    assert!(dialog.expect_eof().await.unwrap().status.success());
    place.end().await;
}

async fn by_patterns(place: Place) {
    let mut dialog = dialog(&place, "PS1='ready> ' exec dash -i", DialogOptions::new()).await;
    dialog.expect("ready> ").await.unwrap();
    dialog.send_line("echo $((6 * 7)); echo done").await.unwrap();
    let number = Pattern::regex(r"(?m)^(\d+)\r\n").unwrap();
    assert_eq!(dialog.expect(&number).await.unwrap().group_text(1).unwrap(), "42");
    dialog.expect("done\r\nready> ").await.unwrap();
    // A shell that is about to start a program may miss the key.
    dialog.send_line("sh -c 'echo u''p; exec sleep 1000'").await.unwrap();
    dialog.expect("up\r\n").await.unwrap();
    dialog.send_control('c').await.unwrap();
    dialog.expect("ready> ").await.unwrap();
    dialog.send_control('d').await.unwrap();
    let ended = dialog.expect_eof().await.unwrap();
    assert!(ended.status.code().is_some());
    place.end().await;
}

async fn no_shell(place: Place) {
    let options = DialogOptions::new().deadline(Duration::from_millis(500));
    let dialog = place.conn.exec("exec cat").pty(PtyRequest::new("dumb")).dialog(options).await.unwrap();
    let error = PosixShell::over(dialog).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    place.end().await;
}
