//! Programs and process trees: finding binaries, and signalling everything a server has started.
//!
//! Owns the look into `/proc`; knows nothing of SSH. Where there is no `/proc`, a tree is its root only.

use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// Looks a program up in `PATH` and in the directories where daemons live. The path is absolute.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .and_then(|found| std::path::absolute(found).ok())
}

/// As [`find_program`], with an error that says what is missing.
pub(crate) fn require_program(name: &str) -> io::Result<PathBuf> {
    find_program(name).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("`{name}` is neither in PATH nor in /usr/sbin"))
    })
}

/// One process; `start` tells it from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pid: i32,
    parent: i32,
    start: u64,
    ended: bool,
}

impl Process {
    pub(super) fn pid(self) -> i32 {
        self.pid
    }

    /// Sends a signal; a process that has ended meanwhile is none of our business.
    pub(super) fn signal(self, signal: Signal) {
        let same = read_process(self.pid).is_none_or(|now| now.start == self.start);
        if same && let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Whether a process with this number exists and has not ended (a zombie has).
pub(crate) fn is_running(pid: i32) -> bool {
    if Path::new("/proc/self/stat").exists() {
        return read_process(pid).is_some_and(|process| !process.ended);
    }
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// The living processes below `root`, and those with `tag` in their environment wherever they hang.
/// `root` itself comes first.
pub(super) fn family(root: Option<i32>, tag: &str) -> Vec<Process> {
    let all = processes();
    let mut members: Vec<Process> = match root {
        None => Vec::new(),
        Some(pid) => {
            let bare = Process { pid, parent: 0, start: 0, ended: false };
            vec![all.iter().copied().find(|process| process.pid == pid).unwrap_or(bare)]
        }
    };
    members.extend(all.iter().filter(|process| Some(process.pid) != root && is_tagged(process.pid, tag)));
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        next += 1;
        for process in &all {
            if process.parent == parent.pid && !members.contains(process) {
                members.push(*process);
            }
        }
    }
    members.retain(|process| !process.ended);
    members
}

/// Stops processes until a look finds no new one: what is stopped starts nothing more.
pub(super) fn freeze(look: impl Fn() -> Vec<Process>) -> Vec<Process> {
    let mut stopped: Vec<Process> = Vec::new();
    for _ in 0..100 {
        let found = look();
        let new: Vec<Process> =
            found.into_iter().filter(|one| !stopped.iter().any(|known| known.pid() == one.pid())).collect();
        if new.is_empty() {
            break;
        }
        new.iter().for_each(|process| process.signal(Signal::STOP));
        stopped.extend(new);
    }
    stopped
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read_process)
        .collect()
}

/// Reads `/proc/PID/stat`: number, name in brackets (which may hold anything), state, parent, ... start time.
fn read_process(pid: i32) -> Option<Process> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
        ended: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn is_tagged(pid: i32, tag: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|text| text.split(|byte| *byte == 0).any(|entry| entry == tag.as_bytes()))
}
