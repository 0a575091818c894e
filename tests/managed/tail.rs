//! The example `tail_supervised`, as its users run it.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::common::becomes_true;
use crate::kit::{Peer, Sshd, example, peer_test};
use crate::proxy::Proxy;

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("tail::no_line_is_lost_or_doubled_while_its_sshd_is_killed", SERVER, sessions_killed),
        peer_test("tail::no_line_is_lost_or_doubled_while_its_connection_is_reset", SERVER, connection_reset),
        peer_test("tail::a_remote_tail_that_is_killed_is_started_where_it_was", SERVER, tail_killed),
        peer_test("tail::a_file_that_is_replaced_is_read_to_its_end_and_then_the_new_one", SERVER, replaced),
        peer_test("tail::a_file_that_is_cut_short_is_read_from_its_start", SERVER, cut_short),
        peer_test("tail::a_file_that_is_not_there_is_waited_for", SERVER, not_there),
        peer_test("tail::it_leaves_nothing_on_the_remote_host", SERVER, leaves_nothing),
        peer_test("tail::an_unknown_host_is_255_with_a_word_about_it", SERVER, unknown_host),
    ]
}

type Lines = Arc<Mutex<Vec<String>>>;

struct Tail {
    child: Child,
    out: Lines,
    err: Lines,
}

fn collect(from: impl AsyncRead + Unpin + Send + 'static) -> Lines {
    let lines = Lines::default();
    let into = Arc::clone(&lines);
    tokio::spawn(async move {
        let mut from = BufReader::new(from).lines();
        while let Ok(Some(line)) = from.next_line().await {
            into.lock().unwrap().push(line);
        }
    });
    lines
}

impl Tail {
    fn start(sshd: &Sshd, port: u16, known_hosts: &Path, file: &Path) -> Self {
        let mut child = Command::new(example("tail_supervised"))
            .args(["-p", &port.to_string(), "-l", sshd.user()])
            .arg("-i")
            .arg(sshd.identity())
            .arg("--known-hosts")
            .arg(known_hosts)
            .arg("127.0.0.1")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example is built: `cargo build --examples`");
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    fn direct(sshd: &Sshd, file: &Path) -> Self {
        Self::start(sshd, sshd.port(), &sshd.known_hosts(), file)
    }

    fn lines(&self) -> Vec<String> {
        self.out.lock().unwrap().clone()
    }

    fn said(&self) -> String {
        self.err.lock().unwrap().join("\n")
    }

    async fn has(&self, count: usize) {
        becomes_true(&format!("{count} lines are here"), || self.out.lock().unwrap().len() >= count).await;
    }
}

fn line(number: usize) -> String {
    format!("line {number} {}", "x".repeat(number % 50))
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(line).collect()
}

fn append(file: &Path, text: &str) {
    let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Appends numbered lines, now and then in two pieces, until told to stop; says how many there are.
struct Writer {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Writer {
    fn start(file: &Path) -> Self {
        let (file, stop) = (file.to_owned(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
                let text = line(number);
                let (first, second) = text.split_at(text.len() * (number % 3) / 3);
                append(&file, first);
                std::thread::sleep(Duration::from_micros(300));
                append(&file, &format!("{second}\n"));
                number += 1;
            }
            number
        });
        Self { stop, thread }
    }

    fn end(self) -> usize {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

async fn sessions_killed() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("log");
    append(&file, "");
    let writer = Writer::start(&file);
    let tail = Tail::direct(&sshd, &file);
    for kill in 0..8 {
        let before = tail.lines().len();
        tail.has(before + 100).await;
        // Also before it has held for a second.
        tokio::time::sleep(Duration::from_millis(if kill % 4 == 3 { 0 } else { 1_100 })).await;
        tokio::task::block_in_place(|| sshd.kill_sessions());
    }
    let written = writer.end();
    tail.has(written).await;
    assert_eq!(tail.lines(), lines(written), "{}", tail.said());
    assert!(tail.said().matches("connection ").count() >= 8, "{}", tail.said());
}

async fn connection_reset() {
    let sshd = Sshd::builder().start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    // Makes the file with the name of that port.
    drop(crate::common::config_by(&sshd, proxy.port()));
    let known_hosts = sshd.directory().join(format!("known_hosts_{}", proxy.port()));
    let file = sshd.directory().join("log");
    append(&file, "");
    let writer = Writer::start(&file);
    let tail = Tail::start(&sshd, proxy.port(), &known_hosts, &file);
    for _ in 0..8 {
        let before = tail.lines().len();
        tail.has(before + 50).await;
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        proxy.reset_once();
    }
    let written = writer.end();
    tail.has(written).await;
    assert_eq!(tail.lines(), lines(written), "{}", tail.said());
    // What was left behind by the connections that were reset ends by itself.
    becomes_true("one script is left", || count_tails(&sshd) == 1).await;
}

/// How many `tail`s the server runs.
fn count_tails(sshd: &Sshd) -> usize {
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    sshd.pids().iter().filter(|pid| name(pid).trim() == "tail").count()
}

async fn tail_killed() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("log");
    append(&file, "");
    let writer = Writer::start(&file);
    let tail = Tail::direct(&sshd, &file);
    for _ in 0..3 {
        let before = tail.lines().len();
        tail.has(before + 100).await;
        for pid in sshd.pids() {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim() == "tail" {
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    let written = writer.end();
    tail.has(written).await;
    assert_eq!(tail.lines(), lines(written), "{}", tail.said());
}

async fn replaced() {
    let sshd = Sshd::builder().start().unwrap();
    let (file, old) = (sshd.directory().join("log"), sshd.directory().join("log.1"));
    append(&file, "1\n2\n");
    let tail = Tail::direct(&sshd, &file);
    tail.has(2).await;
    std::fs::rename(&file, &old).unwrap();
    append(&old, "3\n");
    append(&file, "4\n");
    append(&old, "5\n");
    tail.has(5).await;
    append(&file, "6\n");
    tail.has(6).await;
    assert_eq!(tail.lines(), ["1", "2", "3", "5", "4", "6"]);
    assert!(tail.said().contains("was replaced"), "{}", tail.said());
}

async fn cut_short() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("log");
    append(&file, "one\ntwo\nthree\n");
    let tail = Tail::direct(&sshd, &file);
    tail.has(3).await;
    std::fs::write(&file, "").unwrap();
    becomes_true("it says so", || tail.said().contains("was cut short")).await;
    append(&file, "four\n");
    tail.has(4).await;
    assert_eq!(tail.lines(), ["one", "two", "three", "four"]);
}

async fn not_there() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("a log with 'odd' \"letters\" $HOME");
    let tail = Tail::direct(&sshd, &file);
    becomes_true("it says so", || tail.said().contains("remote: ")).await;
    append(&file, "1\n");
    tail.has(1).await;
    assert_eq!(tail.lines(), ["1"]);
}

async fn leaves_nothing() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("log");
    append(&file, "1\n");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::KILL] {
        let mut tail = Tail::direct(&sshd, &file);
        tail.has(1).await;
        let pid = rustix::process::Pid::from_raw(i32::try_from(tail.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let status = crate::common::soon("its end", tail.child.wait()).await.unwrap();
        assert_eq!(status.success(), signal == rustix::process::Signal::INT, "{}", tail.said());
        becomes_true("the listener alone is left", || sshd.pids().len() == 1).await;
    }
}

async fn unknown_host() {
    let sshd = Sshd::builder().start().unwrap();
    let file = sshd.directory().join("log");
    let mut tail = Tail::start(&sshd, sshd.port(), &sshd.directory().join("nothing_known"), &file);
    let status = crate::common::soon("its end", tail.child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(255));
    becomes_true("it says why", || tail.said().contains("127.0.0.1")).await;
}
