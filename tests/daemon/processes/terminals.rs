//! Processes on a terminal.

use libtest_mimic::Trial;
use ractor_ssh::wire::{PtyRequest, TerminalMode, WindowSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{WAITING, processes, run, served, served_to_us, text};
use crate::kit::{Peer, peer_test};
use crate::support::soon;

const NONE: [Peer; 0] = [];

pub(super) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient];
    vec![
        peer_test("process::ssh_tt_gives_a_terminal_with_its_name_and_type", needs, terminal),
        peer_test("process::a_shell_is_driven_through_a_terminal_and_resized", needs, expect),
        peer_test("process::control_c_reaches_the_job_and_not_the_shell", needs, control_c),
        peer_test("process::modes_speeds_and_size_are_applied", NONE, modes),
        peer_test("process::a_new_size_is_told_to_the_process", NONE, resize),
        peer_test("process::eof_on_a_terminal_ends_what_reads_lines", needs, eof),
        peer_test("process::a_login_shell_reads_a_script_from_a_terminal_to_its_end", needs, script),
        peer_test("process::a_megabyte_through_a_terminal_is_complete", needs, bulk),
        peer_test("process::a_shell_without_a_terminal_has_pipes", needs, no_terminal),
    ]
}

async fn terminal() {
    let (ssh, served) = served(&processes()).await;
    let mut command = ssh.command(&served);
    command.env("TERM", "vt220").args([
        "-tt",
        "127.0.0.1",
        "tty; echo $SSH_TTY; echo $TERM; echo err >&2; exit 5",
    ]);
    let output = soon(command.output()).await.unwrap();
    let stdout = text(&output.stdout);
    let lines: Vec<_> = stdout.lines().collect();
    assert!(
        matches!(lines[..], [tty, name, "vt220", "err"] if tty == name && tty.starts_with("/dev/")),
        "{lines:?}"
    );
    assert_eq!(output.status.code(), Some(5));
}

/// `ssh` in a terminal of ours.
struct Typist {
    terminal: pty_process::Pty,
    child: tokio::process::Child,
    seen: String,
}

impl Typist {
    fn start(command: &tokio::process::Command, size: (u16, u16)) -> Self {
        let (terminal, slave) = pty_process::open().unwrap();
        terminal.resize(pty_process::Size::new(size.0, size.1)).unwrap();
        let mut ours = pty_process::Command::new(command.as_std().get_program())
            .args(command.as_std().get_args())
            .env_remove("SSH_AUTH_SOCK")
            .env("TERM", "xterm")
            .kill_on_drop(true);
        let child = ours.spawn_borrowed(&slave).unwrap();
        Self { terminal, child, seen: String::new() }
    }

    async fn type_in(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Waits for a text behind what was waited for before.
    async fn expect(&mut self, what: &str) {
        let mut buffer = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            let len = soon(self.terminal.read(&mut buffer)).await;
            let len =
                len.unwrap_or_else(|error| panic!("{error}, waiting for {what:?}; seen: {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..len]));
        }
    }
}

async fn expect() {
    let (ssh, served) = served(&processes()).await;
    let mut command = ssh.command(&served);
    command.args(["-t", "127.0.0.1"]);
    let mut typist = Typist::start(&command, (33, 99));
    typist.type_in("PS1=ready'> '\r").await;
    typist.expect("ready> ").await;
    typist.type_in("echo $0 ${#HOME}; stty size\r").await;
    typist.expect("-sh ").await;
    typist.expect("33 99").await;
    typist.expect("ready> ").await;
    typist.terminal.resize(pty_process::Size::new(44, 111)).unwrap();
    typist.type_in("while [ \"$(stty size)\" = '33 99' ]; do sleep 0.02; done; stty size\r").await;
    typist.expect("44 111").await;
    typist.type_in("exit 3\r").await;
    assert_eq!(soon(typist.child.wait()).await.unwrap().code(), Some(3));
}

async fn control_c() {
    let (ssh, served) = served(&processes()).await;
    let mut command = ssh.command(&served);
    command.args(["-t", "127.0.0.1"]);
    let mut typist = Typist::start(&command, (24, 80));
    typist.type_in("PS1=ready'> '\r").await;
    typist.expect("ready> ").await;
    // The job itself says so, when it is in the foreground.
    typist.type_in("sh -c \"echo sta'r'ted; exec sleep 1000\"\r").await;
    typist.expect("started").await;
    typist.type_in("\x03").await;
    typist.expect("ready> ").await;
    typist.type_in("exit\r").await;
    assert!(soon(typist.child.wait()).await.unwrap().code().is_some());
}

async fn modes() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let pty = PtyRequest::new("xterm")
        .size(123, 45)
        .mode(TerminalMode::VINTR, 24)
        .mode(TerminalMode::VSUSP, 255)
        .mode(TerminalMode::ECHO, 0)
        .mode(TerminalMode::IXANY, 1)
        .mode(TerminalMode::IUTF8, 1)
        .mode(TerminalMode::ONLCR, 0)
        .mode(TerminalMode::PARODD, 1)
        .mode(TerminalMode::ISPEED, 9600)
        .mode(TerminalMode::OSPEED, 9600);
    let output = soon(conn.exec("stty -a").pty(pty).output()).await.unwrap();
    let text = output.stdout_text().into_owned();
    assert!(!text.contains('\r'), "{text:?}");
    let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c == ';').collect();
    for word in ["^X", "-echo", "ixany", "iutf8", "-onlcr", "parodd", "icanon"] {
        assert!(words.contains(&word), "{word}: {text}");
    }
    for part in ["speed 9600 baud", "rows 45", "columns 123", "susp = <undef>"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    soon(conn.close()).await;
}

async fn resize() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let command = conn.exec(format!("trap 'stty size; exit 4' WINCH; {WAITING}"));
    let mut child = command.pty(PtyRequest::new("xterm").size(80, 24)).spawn().await.unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 7];
    soon(stdout.read_exact(&mut ready)).await.unwrap();
    // No rows: they stay.
    child.window_change(WindowSize::new(200, 0)).unwrap();
    let mut rest = String::new();
    soon(stdout.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "24 200\r\n");
    assert_eq!(soon(child.wait()).await.unwrap().code(), Some(4));
    soon(conn.close()).await;
}

async fn eof() {
    let (ssh, served) = served(&processes()).await;
    for (input, out) in [(&b"abc\n"[..], "abc\r\nabc\r\n"), (b"abc", "abcabc"), (b"", "")] {
        let output = run(&ssh, &served, &["-tt", "127.0.0.1", "cat"], input).await;
        assert_eq!((text(&output.stdout), output.status.code()), (out.to_owned(), Some(0)));
    }
}

/// OpenSSH's server would wait for more.
async fn script() {
    let (ssh, served) = served(&processes()).await;
    let output = run(&ssh, &served, &["-tt", "127.0.0.1"], b"echo $((40+2))\n(exit 6)\n").await;
    assert!(text(&output.stdout).contains("42"), "{output:?}");
    assert_eq!(output.status.code(), Some(6), "{output:?}");
}

async fn bulk() {
    let (ssh, served) = served(&processes()).await;
    let output = run(&ssh, &served, &["-tt", "127.0.0.1", "stty -onlcr; seq 1 150000"], b"").await;
    let expected: String = (1..=150_000).map(|number| format!("{number}\n")).collect();
    assert!(text(&output.stdout) == expected, "{} of {} bytes", output.stdout.len(), expected.len());
}

async fn no_terminal() {
    let (ssh, served) = served(&processes()).await;
    let input = b"tty; echo $0; echo err >&2; exit 2\n";
    let output = run(&ssh, &served, &["-T", "127.0.0.1"], input).await;
    assert_eq!(text(&output.stdout), "not a tty\n-sh\n");
    assert_eq!((text(&output.stderr), output.status.code()), ("err\n".to_owned(), Some(2)));
}
