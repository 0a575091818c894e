//! A usable SFTP client.
//!
//! ```sh
//! cargo run --example sftp --features sftp-client,ssh-config -- -p 2222 user@127.0.0.1 ls -l releases
//! cargo run --example sftp --features sftp-client,ssh-config -- user@127.0.0.1 get -r releases .
//! cargo run --example sftp --features sftp-client,ssh-config -- user@127.0.0.1 put --resume image.iso isos/
//! ```
//!
//! It reads OpenSSH's configuration files, or the one that `-F` names. In a terminal there is a bar for each file under
//! way, and one for the whole. Exits with 0 when all is well, 1 when something of a transfer failed, 255 for SSH errors.
//! Ctrl-c ends it; `--resume` goes on behind what is there.

#[path = "common/login.rs"]
mod login;

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use login::Login;
use ractor_ssh::BoxError;
use ractor_ssh::sftp::{DirEntry, FileKind, Progress, SftpClient, Symlinks, Transfer, TransferReport};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Copies files to and from an SSH server, and lists them.
#[derive(Parser)]
#[command(name = "sftp")]
struct Args {
    #[command(flatten)]
    login: Login,
    #[command(subcommand)]
    command: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Copies a remote file or directory to here.
    Get {
        /// What to copy.
        remote: String,
        /// Where to; a directory that is there gets it under its own name.
        #[arg(default_value = ".")]
        local: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Copies a local file or directory to the server.
    Put {
        /// What to copy.
        local: PathBuf,
        /// Where to; a directory that is there gets it under its own name.
        #[arg(default_value = ".")]
        remote: String,
        #[command(flatten)]
        how: How,
    },
    /// Lists a remote directory.
    Ls {
        /// Sizes, permissions and times, too.
        #[arg(short)]
        long: bool,
        /// What to list.
        #[arg(default_value = ".")]
        remote: String,
    },
}

#[derive(clap::Args)]
struct How {
    /// Directories with all that is below them.
    #[arg(short)]
    recursive: bool,
    /// Keep permissions and times.
    #[arg(short)]
    preserve: bool,
    /// Go on behind what is there.
    #[arg(long)]
    resume: bool,
    /// Take what symbolic links in a tree lead to; without it they are left out.
    #[arg(short = 'L')]
    follow: bool,
    /// Go on with other files when one fails.
    #[arg(long)]
    keep_going: bool,
    /// How many files are at work at a time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    files: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(well) => ExitCode::from(u8::from(!well)),
        Err(error) => {
            eprintln!("sftp: {}: {error}", args.login.destination);
            ExitCode::from(255)
        }
    }
}

/// Whether nothing failed.
async fn run(args: &Args) -> Result<bool, BoxError> {
    let sftp = SftpClient::open_session(args.login.client(22, &[]).await?.config).await?;
    let work = async {
        Ok::<_, BoxError>(match &args.command {
            Do::Get { remote, local, how } => get(&sftp, remote, local, how).await?,
            Do::Put { local, remote, how } => put(&sftp, local, remote, how).await?,
            Do::Ls { long, remote } => list(&sftp, remote, *long).await.map(|()| true)?,
        })
    };
    let well = tokio::select! {
        well = work => well?,
        _ = tokio::signal::ctrl_c() => return Err("interrupted; --resume goes on behind what is there".into()),
    };
    sftp.close().await;
    Ok(well)
}

async fn get(sftp: &SftpClient, remote: &str, local: &Path, how: &How) -> Result<bool, BoxError> {
    let name = remote.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let into = local.is_dir() && !matches!(name, "" | "." | "..");
    let local = if into { local.join(name) } else { local.to_owned() };
    let screen = Screen::new();
    let report = sftp.download(remote, local, how.transfer(&screen)).await?;
    Ok(screen.done(&report))
}

async fn put(sftp: &SftpClient, local: &Path, remote: &str, how: &How) -> Result<bool, BoxError> {
    let into = sftp.stat(remote).await.is_ok_and(|there| there.is_dir());
    let remote = match local.file_name().and_then(|name| name.to_str()) {
        Some(name) if into => format!("{}/{name}", remote.trim_end_matches('/')),
        _ => remote.to_owned(),
    };
    let screen = Screen::new();
    let report = sftp.upload(local, remote, how.transfer(&screen)).await?;
    Ok(screen.done(&report))
}

impl How {
    fn transfer(&self, screen: &Arc<Screen>) -> Transfer {
        let screen = Arc::clone(screen);
        Transfer::new()
            .recursive(self.recursive)
            .preserve(self.preserve)
            .resume(self.resume)
            .keep_going(self.keep_going)
            .symlinks(if self.follow { Symlinks::Follow } else { Symlinks::Skip })
            .files_at_once(self.files.into())
            .on_progress(move |now| screen.show(now))
    }
}

/// Draws on stderr if that is a terminal, and nowhere if not.
struct Screen {
    bars: MultiProgress,
    all: ProgressBar,
    files: Mutex<HashMap<Arc<str>, ProgressBar>>,
}

impl Screen {
    fn new() -> Arc<Self> {
        let bars = MultiProgress::new();
        let all = bars.add(ProgressBar::new_spinner());
        all.set_style(style("[{elapsed_precise}] {bytes} {binary_bytes_per_sec} {msg}"));
        all.enable_steady_tick(Duration::from_millis(200));
        Arc::new(Self { bars, all, files: Mutex::default() })
    }

    fn show(&self, now: &Progress) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = files.entry(Arc::clone(&now.path)).or_insert_with(|| {
            let bar = self.bars.insert_before(&self.all, ProgressBar::new(now.size));
            bar.set_style(style("{bar:30} {percent:>3}% {bytes:>10} {wide_msg}").progress_chars("=> "));
            bar.set_message(now.path.to_string());
            bar
        });
        bar.set_position(now.at);
        if now.finished {
            bar.finish_and_clear();
            files.remove(&now.path);
        }
        self.all.set_position(now.all_bytes);
        self.all.set_message(format!("{} files", now.all_files));
    }

    /// Says what there is to say in the end, and whether nothing failed.
    fn done(&self, report: &TransferReport) -> bool {
        self.all.finish_and_clear();
        for name in &report.skipped_names {
            eprintln!("sftp: left out, no file and no directory: {name}");
        }
        for error in &report.errors {
            eprintln!("sftp: {error}");
        }
        let more = report.failed.saturating_sub(u64::try_from(report.errors.len()).unwrap_or(0));
        if more > 0 {
            eprintln!("sftp: and {more} errors more");
        }
        report.failed == 0
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

async fn list(sftp: &SftpClient, remote: &str, long: bool) -> Result<(), BoxError> {
    let mut entries = sftp.list(remote).await?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut text = String::new();
    for entry in &entries {
        // Names are the server's: a terminal gets no control characters of theirs.
        let name = shown(&entry.name_text());
        text.push_str(&if long { format!("{} {name}\n", details(entry)) } else { format!("{name}\n") });
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn shown(name: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return name.to_owned();
    }
    name.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn details(entry: &DirEntry) -> String {
    let kind = match entry.kind() {
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::File => '-',
        _ => '?',
    };
    let mode = entry.attributes.permissions.unwrap_or(0);
    let mut text = String::from(kind);
    for (bit, letter) in (0..9).rev().zip("rwxrwxrwx".chars()) {
        text.push(if mode >> bit & 1 == 1 { letter } else { '-' });
    }
    let size = entry.attributes.size.unwrap_or(0);
    let time = entry.attributes.times.map_or(0, |(_, modified)| modified);
    format!("{text} {size:>12} {time:>10}")
}
