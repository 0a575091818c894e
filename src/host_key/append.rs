//! Writing down the key of a new host.
//!
//! Owns the file's integrity: lines are whole, names are hashed like their neighbours, two first
//! contacts at once cannot leave two keys. Does not decide who is trusted.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::check::Verdict;
use super::error::HostKeyError;
use super::files::KnownHostsFiles;
use super::known_hosts::KnownHosts;
use super::names::{Host, HostNames};
use super::presented::PresentedKey;
use crate::error::ConfigError;

/// One writer at a time in this process. Others append whole lines too, so nothing is torn.
static WRITER: Mutex<()> = Mutex::new(());

/// Adds the key if the host is still new, and says what holds now. On this thread.
///
/// The files are read again under the lock: what another task has written since counts.
pub(super) fn remember(
    files: &KnownHostsFiles,
    host: &Host,
    key: &PresentedKey,
    now: u64,
) -> Result<Verdict, HostKeyError> {
    let path = files.writable().ok_or_else(|| {
        ConfigError::new("known_hosts", "no file to write the new host key to", "give at least one file")
    })?;
    let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let known = KnownHosts::load_now(files.paths())?;
    if let Some(problem) = known.unreadable_revocation(host) {
        return Err(HostKeyError::Malformed(problem.clone()));
    }
    let verdict = known.judge(host, key, now);
    if verdict == Verdict::New {
        append(path, files.hash_names, host, key).map_err(|e| HostKeyError::io("write", path, e))?;
    }
    Ok(verdict)
}

fn append(path: &Path, hash: bool, host: &Host, key: &PresentedKey) -> io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        create_private_dir(dir)?;
    }
    let mut file = open_private(path)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let hash = hash || KnownHosts::parse(path, &content).entries().iter().any(|entry| entry.is_hashed());
    let torn = content.last().is_some_and(|last| *last != b'\n');
    let line = format!("{}{}\n", if torn { "\n" } else { "" }, line(hash, host, key)?);
    // One write in append mode: other writers' lines come before or after, never within.
    file.write_all(line.as_bytes()).or_else(|e| {
        take_back(&file, content.len(), line.len())?;
        Err(e)
    })?;
    // `/dev/null` takes what is written, and cannot be synced.
    if file.metadata()?.is_file() { file.sync_data() } else { Ok(()) }
}

/// Removes what a failed write has left, unless somebody else has written since.
fn take_back(file: &File, before: usize, attempted: usize) -> io::Result<()> {
    let (before, attempted) = (before as u64, attempted as u64);
    if file.metadata()?.len() < before + attempted { file.set_len(before) } else { Ok(()) }
}

fn line(hash: bool, host: &Host, key: &PresentedKey) -> io::Result<String> {
    let name = host.name();
    let names = if hash {
        HostNames::hash(&name).ok_or_else(|| io::Error::other("HMAC-SHA1 is not available"))?
    } else {
        HostNames::plain(&name)
    };
    let key = key.public_key().to_openssh().map_err(io::Error::other)?;
    Ok(format!("{names} {}", key.trim_end()))
}

/// Readable by its owner only; a file that exists keeps its mode.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
