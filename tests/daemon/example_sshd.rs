//! The example `sshd`, as its users run it.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::kit::{KeyKind, KeyPair, Peer, example, is_running, peer_test, peer_test_within, require_program};
use crate::support::soon;

mod leaks;
mod services;

pub(crate) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient];
    vec![
        peer_test("example_sshd::commands_and_terminals_are_real", needs, commands),
        peer_test("example_sshd::a_password_lets_in_and_a_wrong_one_does_not", needs, password),
        peer_test("example_sshd::an_unknown_key_is_refused", needs, wrong_key),
        peer_test("example_sshd::the_banner_is_shown", needs, banner),
        peer_test("example_sshd::a_connection_has_so_many_sessions_and_no_more", needs, max_sessions),
        peer_test("example_sshd::what_is_missing_is_said_with_the_way_out", needs, complaints),
        peer_test("example_sshd::files_below_the_root_are_served", needs, services::files_are_served),
        peer_test(
            "example_sshd::ports_are_forwarded_only_if_allowed",
            needs,
            services::ports_are_forwarded_if_allowed,
        ),
        peer_test(
            "example_sshd::the_options_of_a_keys_line_are_obeyed",
            needs,
            services::a_keys_line_is_obeyed,
        ),
        peer_test("example_sshd::sigterm_ends_it_and_what_it_runs", needs, terminated),
        peer_test_within(
            Duration::from_secs(240),
            "example_sshd::500_abrupt_disconnects_leak_no_terminal_child_or_descriptor",
            needs,
            leaks::abrupt_disconnects,
        ),
    ]
}

/// The files of a server and its client.
struct Files {
    directory: TempDir,
    host_key: KeyPair,
    key: KeyPair,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host_key = KeyPair::generate(directory.path().join("host"), KeyKind::Ed25519).unwrap();
        let key = KeyPair::generate(directory.path().join("id"), KeyKind::Ed25519).unwrap();
        Self { directory, host_key, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The server, all but what an option is for.
    fn server(&self) -> Command {
        let mut command = Command::new(example("sshd"));
        command
            .args(["--listen", "127.0.0.1:0", "--host-key"])
            .arg(self.host_key.path())
            .env("SHELL", "/bin/sh")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn server_with_key(&self) -> Command {
        let mut command = self.server();
        command.arg("--authorized-keys").arg(self.key.public_path());
        command
    }

    /// Where to and with what, for `ssh` and `sftp`.
    fn options(&self, server: &Server) -> Vec<OsString> {
        let known = format!("[127.0.0.1]:{} {}\n", server.port, self.host_key.public_fields().unwrap());
        let known_hosts = self.write("known_hosts", &known);
        let mut options: Vec<OsString> = ["-F", "none", "-i"].map(OsString::from).into();
        options.push(self.key.path().into());
        for option in [
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            &format!("UserKnownHostsFile=\"{}\"", known_hosts.display()),
            &format!("Port={}", server.port),
        ] {
            options.extend(["-o".into(), option.into()]);
        }
        options
    }

    fn ssh(&self, server: &Server) -> Command {
        let mut command = Command::new(require_program("ssh").unwrap());
        command
            .args(self.options(server))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// What a command of `ssh` prints and returns.
    async fn run(&self, server: &Server, arguments: &[&str]) -> Output {
        let mut command = self.ssh(server);
        command.args(["-o", "BatchMode=yes", "127.0.0.1"]).args(arguments);
        soon(command.output()).await.unwrap()
    }
}

struct Server {
    child: Child,
    port: u16,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    async fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the example is built: `cargo build --examples`");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        soon(stdout.read_line(&mut line)).await.unwrap();
        let port = line.trim().strip_prefix("listening on 127.0.0.1:").and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("its first line is {line:?}"));
        Self { child, port, _stdout: stdout }
    }

    fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn commands() {
    let files = Files::new();
    let server = Server::start(files.server_with_key()).await;
    let output = files.run(&server, &["echo out; echo err >&2; exit 7"]).await;
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".into(), "err\n".into()));
    assert_eq!(output.status.code(), Some(7));
    let mut command = files.ssh(&server);
    let mut shell = command.args(["-tt", "127.0.0.1"]).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.as_mut().unwrap().write_all(b"test -t 0 && echo a te'r'minal; exit 3\n").await.unwrap();
    let output = soon(shell.wait_with_output()).await.unwrap();
    assert!(text(&output.stdout).contains("a terminal"), "{output:?}");
    assert_eq!(output.status.code(), Some(3));
}

/// A program that `ssh` asks for the password.
fn askpass(files: &Files, password: &str) -> PathBuf {
    let path = files.write("askpass", &format!("#!/bin/sh\necho '{password}'\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

async fn password() {
    let files = Files::new();
    let mut command = files.server();
    command.args(["--user", "alice", "--password-file"]).arg(files.write("password", "open sesame\n"));
    let server = Server::start(command).await;
    for (given, user, code) in [
        ("open sesame", "alice", 0),
        ("open", "alice", 255),
        ("open sesame!", "alice", 255),
        ("open sesame", "bob", 255),
    ] {
        let mut ssh = files.ssh(&server);
        ssh.args(["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"])
            .args([&format!("{user}@127.0.0.1"), "true"])
            .env("SSH_ASKPASS", askpass(&files, given))
            .env("SSH_ASKPASS_REQUIRE", "force");
        let output = soon(ssh.output()).await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{given:?} {user}: {output:?}");
    }
}

async fn wrong_key() {
    let files = Files::new();
    let mut command = files.server();
    let other = KeyPair::generate(files.path("other"), KeyKind::Ed25519).unwrap();
    command.arg("--authorized-keys").arg(other.public_path());
    let server = Server::start(command).await;
    let output = files.run(&server, &["true"]).await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("Permission denied"), "{output:?}");
}

async fn banner() {
    let files = Files::new();
    let mut command = files.server_with_key();
    command.args(["--banner", "No fishing."]);
    let server = Server::start(command).await;
    let output = files.run(&server, &["true"]).await;
    assert_eq!(text(&output.stderr), "No fishing.\n");
}

async fn max_sessions() {
    let files = Files::new();
    let mut command = files.server_with_key();
    command.args(["--max-sessions", "2"]);
    let server = Server::start(command).await;
    let socket = files.path("master");
    let shared = |arguments: &[&str]| {
        let mut ssh = files.ssh(&server);
        ssh.arg("-S").arg(&socket).args(arguments);
        ssh
    };
    let mut master = shared(&["-M", "127.0.0.1", "echo up; cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    soon(master.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    let mut second = shared(&["127.0.0.1", "echo up; cat"]).stdin(Stdio::piped()).spawn().unwrap();
    soon(second.stdout.as_mut().unwrap().read_exact(&mut up)).await.unwrap();
    // Refused by the master, ssh would go on with a connection of its own.
    let third =
        soon(shared(&["-o", "ProxyCommand=false", "127.0.0.1", "echo third"]).output()).await.unwrap();
    assert_eq!((text(&third.stdout), third.status.code()), (String::new(), Some(255)), "{third:?}");
    drop(second.stdin.take());
    assert!(soon(second.wait()).await.unwrap().success());
    let fourth =
        soon(shared(&["-o", "ProxyCommand=false", "127.0.0.1", "echo fourth"]).output()).await.unwrap();
    assert_eq!(text(&fourth.stdout), "fourth\n", "{fourth:?}");
    drop(master.stdin.take());
    assert!(soon(master.wait()).await.unwrap().success());
}

async fn complaints() {
    let files = Files::new();
    let locked = KeyPair::generate_with(files.path("locked"), KeyKind::Ed25519, "secret", &[]).unwrap();
    let host_key = files.host_key.path().display().to_string();
    let keys = files.key.public_path().display().to_string();
    let locked = locked.path().display().to_string();
    let nonsense = files.write("nonsense", "no key\n").display().to_string();
    for (arguments, words) in [
        (&["--authorized-keys", &keys][..], "ssh-keygen"),
        (&["--host-key", &host_key, "--listen", "127.0.0.1:0"], "--authorized-keys"),
        (&["--host-key", &locked, "--authorized-keys", &keys], "passphrase"),
        (&["--host-key", &nonsense, "--authorized-keys", &keys], "nonsense"),
        (&["--host-key", "/no/such/file", "--authorized-keys", &keys], "/no/such/file"),
        (&["--host-key", &host_key, "--authorized-keys", &nonsense], "line 1"),
        (&["--host-key", &host_key, "--user", "alice"], "--password-file"),
        (&["--host-key", &host_key, "--authorized-keys", &keys, "--listen", "nowhere"], "--listen"),
    ] {
        let mut command = Command::new(example("sshd"));
        command.args(arguments);
        let output = soon(command.kill_on_drop(true).output()).await.unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

async fn terminated() {
    for signal in [Signal::TERM, Signal::INT] {
        let files = Files::new();
        let mut server = Server::start(files.server_with_key()).await;
        let mut command = files.ssh(&server);
        let mut client = command.args(["127.0.0.1", "echo $$; exec sleep 1000"]).spawn().unwrap();
        let mut line = String::new();
        soon(BufReader::new(client.stdout.take().unwrap()).read_line(&mut line)).await.unwrap();
        let pid = line.trim().parse().unwrap();
        kill_process(Pid::from_raw(server.pid()).unwrap(), signal).unwrap();
        assert!(soon(server.child.wait()).await.unwrap().success());
        assert!(!is_running(pid));
        assert!(!soon(client.wait()).await.unwrap().success());
    }
}

/// How many entries a directory has.
fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}
