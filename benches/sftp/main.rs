//! One big file both ways: this crate's SFTP client, OpenSSH's `sftp`, and russh-sftp's client on a channel of this
//! crate's, against the same OpenSSH server and its `sftp-server`.
//!
//! Times are whole: login, transfer, end. Repetitions are interleaved, the figures are medians with their range, the ratio
//! is to OpenSSH's `sftp` with the same cipher: above 1 is faster. Every copy is compared byte for byte.
//! The client's processor time, user and system, stands beside it where there is `/proc`, with the same ratio: above 1 is
//! less work. On a machine that does other things, it says more than the clock.
//!
//! ```text
//! cargo bench --bench sftp --features sftp-client                a GiB, three times
//! cargo bench --bench sftp --features sftp-client -- --quick     16 MiB, once
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken environment ends the measurement"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Parser;
use ractor_ssh::auth::{AgentMode, Auth, IdentityFile};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::sftp::{SftpClient, SftpOptions, Transfer};
use ractor_ssh::{Client, ClientConfig};
use tokio::io::AsyncWriteExt as _;

#[path = "../../tests/kit/mod.rs"]
mod kit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CIPHER: &str = "aes256-gcm@openssh.com";

/// SFTP clients side by side.
#[derive(Debug, Parser)]
struct Options {
    /// 16 MiB, once.
    #[arg(long)]
    quick: bool,
    /// Size of the file in MiB.
    #[arg(long, default_value_t = 1024)]
    mib: usize,
    /// Repetitions.
    #[arg(long, default_value_t = 3)]
    reps: usize,
    /// Bytes in flight of this crate's client, in KiB.
    #[arg(long)]
    in_flight: Option<usize>,
    /// Bytes of one request of this crate's client, in KiB.
    #[arg(long)]
    packet: Option<usize>,
    /// Only the client whose name begins like this; for profilers.
    #[arg(long)]
    only: Option<String>,
    /// Given by `cargo bench`; without it the run is a quick one.
    #[arg(long, hide = true)]
    bench: bool,
    /// Given by test runners that ask what there is: nothing.
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    OpenSsh,
    OpenSshDefault,
    RusshSftp,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

struct Bench {
    sshd: kit::Sshd,
    directory: tempfile::TempDir,
    in_flight: Option<usize>,
    packet: Option<usize>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut options = Options::parse();
    if options.list {
        return;
    }
    if options.quick || !options.bench {
        (options.mib, options.reps) = (16, 1);
    }
    if kit::find_program("sftp").is_none() || kit::find_program("sshd").is_none() {
        println!("no OpenSSH here: nothing to compare with");
        return;
    }
    let bench = Bench {
        sshd: kit::Sshd::builder().start().unwrap(),
        directory: tempfile::tempdir().unwrap(),
        in_flight: options.in_flight.map(|kib| kib << 10),
        packet: options.packet.map(|kib| kib << 10),
    };
    bench.plant(options.mib);
    println!("{} MiB, OpenSSH server and sftp-server, {} repetitions", options.mib, options.reps);
    for way in [Way::Up, Way::Down] {
        bench.compare(way, &options).await;
    }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn plant(&self, mib: usize) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.path("whole")).unwrap();
        let mut state = 1_u64;
        for _ in 0..mib {
            let mut block = Vec::with_capacity(1 << 20);
            while block.len() < 1 << 20 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                block.extend_from_slice(&state.to_le_bytes());
            }
            file.write_all(&block).unwrap();
        }
        file.sync_all().unwrap();
    }

    async fn compare(&self, way: Way, options: &Options) {
        let mut all = vec![Who::OpenSsh, Who::Ours, Who::OpenSshDefault, Who::RusshSftp];
        if let Some(only) = &options.only {
            all.retain(|who| *who == Who::OpenSsh || format!("{who:?}").starts_with(only.as_str()));
        }
        let (mut times, mut works) = (vec![Vec::new(); all.len()], vec![Vec::new(); all.len()]);
        for _ in 0..options.reps {
            for (who, (times, work)) in all.iter().zip(times.iter_mut().zip(&mut works)) {
                let copy = self.path("copy");
                let _ = std::fs::remove_file(&copy);
                let (begin, before) = (Instant::now(), cpu());
                self.copy(*who, way, &self.path("whole"), &copy).await;
                times.push(begin.elapsed());
                work.push(cpu().saturating_sub(before));
                same(&self.path("whole"), &copy);
            }
        }
        let median = |times: &[Duration]| {
            let mut sorted = times.to_vec();
            sorted.sort();
            sorted[sorted.len() / 2]
        };
        let (theirs, their_work) = (median(&times[0]), median(&works[0]));
        for (who, (times, work)) in all.iter().zip(times.iter().zip(&works)) {
            let rate = |time: Duration| options.mib as f64 / time.as_secs_f64();
            let (slow, fast) = (times.iter().max().unwrap(), times.iter().min().unwrap());
            let middle = median(times);
            let ratio = theirs.as_secs_f64() / middle.as_secs_f64();
            let work = median(work);
            let work_ratio = their_work.as_secs_f64() / work.as_secs_f64().max(0.01);
            let row = format!("{way:?} {who:?}");
            println!(
                "{row:24} {:7.0} MiB/s  ({:.0} to {:.0})  ratio {ratio:.2}  cpu {:.2} s  ratio {work_ratio:.2}",
                rate(middle),
                rate(*slow),
                rate(*fast),
                work.as_secs_f64(),
            );
        }
    }

    async fn copy(&self, who: Who, way: Way, from: &Path, to: &Path) {
        match who {
            Who::Ours => self.ours(way, from, to).await,
            Who::OpenSsh => self.openssh(way, from, to, Some(CIPHER)).await,
            Who::OpenSshDefault => self.openssh(way, from, to, None).await,
            Who::RusshSftp => self.russh_sftp(way, from, to).await,
        }
    }

    fn config(&self) -> ClientConfig {
        let identity = IdentityFile::new(self.sshd.identity());
        ClientConfig::new("127.0.0.1", self.sshd.user())
            .port(self.sshd.port())
            .auth(Auth::new().agent(AgentMode::Off).identity_file(identity))
            .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([self.sshd.known_hosts()])))
    }

    async fn ours(&self, way: Way, from: &Path, to: &Path) {
        let mut options = SftpOptions::new();
        if let Some(bytes) = self.packet {
            options = options.packet_data(bytes);
        }
        let sftp = SftpClient::open_session_with(self.config(), options).await.unwrap();
        let mut how = Transfer::new();
        if let Some(bytes) = self.in_flight {
            how = how.in_flight(bytes);
        }
        match way {
            Way::Up => sftp.upload(from, to.as_os_str().as_encoded_bytes(), how).await.unwrap(),
            Way::Down => sftp.download(from.as_os_str().as_encoded_bytes(), to, how).await.unwrap(),
        };
        sftp.close().await;
    }

    async fn openssh(&self, way: Way, from: &Path, to: &Path, cipher: Option<&str>) {
        let mut command = tokio::process::Command::new(kit::require_program("sftp").unwrap());
        command
            .args(["-F", "none", "-q", "-b", "-", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"])
            .args(["-o", &format!("UserKnownHostsFile=\"{}\"", self.sshd.known_hosts().display())])
            .arg("-i")
            .arg(self.sshd.identity())
            .args(["-o", &format!("Port={}", self.sshd.port())])
            .args(cipher.map(|cipher| format!("-oCiphers={cipher}")))
            .arg(format!("{}@127.0.0.1", self.sshd.user()))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let word = if matches!(way, Way::Up) { "put" } else { "get" };
        let line = format!("{word} {} {}\n", from.display(), to.display());
        child.stdin.take().unwrap().write_all(line.as_bytes()).await.unwrap();
        assert!(child.wait().await.unwrap().success(), "{line}");
    }

    async fn russh_sftp(&self, way: Way, from: &Path, to: &Path) {
        let conn = Client::new(self.config()).connect().await.unwrap();
        let stream = conn.subsystem("sftp").stream().await.unwrap();
        let sftp = russh_sftp::client::SftpSession::new(stream).await.unwrap();
        let name = |path: &Path| path.to_str().unwrap().to_owned();
        match way {
            Way::Up => {
                let mut local = tokio::fs::File::open(from).await.unwrap();
                let mut remote = sftp.create(name(to)).await.unwrap();
                let mut buffer = vec![0; 256 << 10];
                copy(&mut local, &mut remote, &mut buffer).await;
                remote.shutdown().await.unwrap();
            }
            Way::Down => {
                let mut remote = sftp.open(name(from)).await.unwrap();
                let mut local = tokio::fs::File::create(to).await.unwrap();
                let mut buffer = vec![0; 256 << 10];
                copy(&mut remote, &mut local, &mut buffer).await;
                local.flush().await.unwrap();
            }
        }
        drop(sftp);
        conn.close().await;
    }
}

/// Processor time of this process and of children that have ended: the clients', not the server's.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // utime, stime, cutime, cstime, in hundredths of a second.
    let ticks = fields.iter().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
}

async fn copy<R, W>(from: &mut R, to: &mut W, buffer: &mut [u8])
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    use tokio::io::AsyncReadExt as _;
    loop {
        let count = from.read(buffer).await.unwrap();
        if count == 0 {
            return;
        }
        to.write_all(&buffer[..count]).await.unwrap();
    }
}

/// Ends everything if the files differ.
fn same(one: &Path, other: &Path) {
    use std::io::Read as _;
    let open = |path: &Path| std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path).unwrap());
    let (mut one, mut other) = (open(one), open(other));
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut left).unwrap();
        if count == 0 {
            assert_eq!(other.read(&mut right).unwrap(), 0, "the copy is longer");
            return;
        }
        other.read_exact(&mut right[..count]).unwrap();
        assert!(left[..count] == right[..count], "the copy differs");
    }
}
