//! The example on a terminal: it is given back on every way out.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
/// In the first picture. Later ones are only what has changed.
const PICTURE: &str = "observer";

/// The program, built with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    test.ancestors().nth(2).expect("it is in target/*/deps").join("examples").join("observer")
}

/// A program on a terminal of its own.
struct Run {
    terminal: pty_process::Pty,
    child: tokio::process::Child,
    seen: String,
}

impl Run {
    fn start(command: pty_process::Command) -> Self {
        let (terminal, slave) = pty_process::open().expect("a terminal");
        terminal.resize(pty_process::Size::new(50, 180)).expect("a size");
        let command = command.env("TERM", "xterm").kill_on_drop(true);
        let child = command.spawn(slave).expect("the example is built: `cargo build --examples`");
        Self { terminal, child, seen: String::new() }
    }

    async fn until(&mut self, what: &str) {
        let reading = async {
            let mut buffer = [0; 4096];
            while !self.seen.contains(what) {
                let len = self.terminal.read(&mut buffer).await.expect("it is open");
                self.seen.push_str(&String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()));
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(60), reading).await;
        assert!(done.is_ok(), "no {what:?} in {}", self.seen);
    }

    /// Reads what is left, and gives the exit code.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut buffer = [0; 4096];
        let reading = async {
            // An error is the end: nobody has the terminal open any more.
            while let Ok(len @ 1..) = self.terminal.read(&mut buffer).await {
                self.seen.push_str(&String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()));
            }
            self.child.wait().await.expect("it can be waited for")
        };
        let status = tokio::time::timeout(Duration::from_secs(60), reading).await.expect("it ends");
        (status.code(), self.seen)
    }
}

#[tokio::test]
async fn the_terminal_is_given_back_after_quit() {
    let mut run = Run::start(pty_process::Command::new(program()));
    run.until(ENTER).await;
    run.until(PICTURE).await;
    run.terminal.write_all(b"jj?q").await.unwrap();
    let (code, seen) = run.end().await;
    assert!(seen.contains(LEAVE) && code == Some(0), "{code:?} {seen}");
}

#[tokio::test]
async fn the_terminal_is_given_back_after_sigterm() {
    let mut run = Run::start(pty_process::Command::new(program()));
    run.until(PICTURE).await;
    let pid = run.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it runs");
    kill_process(pid, Signal::TERM).unwrap();
    let (code, seen) = run.end().await;
    assert!(seen.contains(LEAVE) && code == Some(0), "{code:?} {seen}");
}

#[tokio::test]
async fn the_terminal_is_given_back_before_a_panic_is_printed() {
    let program = std::env::current_exe().unwrap();
    let run = Run::start(pty_process::Command::new(program).args([
        "--ignored",
        "--exact",
        "terminal::falls_with_the_screen_in_its_hands",
        "--nocapture",
        "--test-threads=1",
    ]));
    let (code, seen) = run.end().await;
    let (left, told) = (seen.find(LEAVE).expect(&seen), seen.find("as planned").expect(&seen));
    assert!(seen.contains(ENTER) && left < told && code == Some(101), "{code:?} {seen}");
}

#[test]
#[ignore = "run by the test above, on a terminal"]
fn falls_with_the_screen_in_its_hands() {
    let (_screen, _keys) = crate::screen::Screen::enter().unwrap();
    panic!("as planned");
}

#[tokio::test]
async fn without_a_terminal_it_says_what_to_do() {
    let output = tokio::process::Command::new(program()).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--once"));
}
