//! Lines that `ssh` refuses are refused, and lines that it takes are taken.

use libtest_mimic::Trial;
use ractor_ssh::ssh_config::{Asked, SshConfig};

use crate::dump::ssh;
use crate::kit::{Peer, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("lines::what_ssh_refuses_is_refused_with_its_line", Peer::OpenSshClient, refused),
        peer_test(
            "lines::included_files_that_others_may_write_to_are_refused",
            Peer::OpenSshClient,
            writable,
        ),
        peer_test("lines::what_ssh_takes_is_taken", Peer::OpenSshClient, taken),
    ]
}

const REFUSED: &[&str] = &[
    "Port 0",
    "Port 65536",
    "Port",
    "Port 22 23",
    "Port 22#x",
    "Port \"22",
    "Port == 3",
    "Foo bar",
    "Tagg x",
    "\u{feff}Port 22",
    "RekeyLimit 10",
    "RekeyLimit 1K 2x",
    "RekeyLimit none",
    "RekeyLimit 1K 1h 1",
    "ConnectTimeout 5x",
    "ConnectTimeout -1",
    "ConnectTimeout \"\"",
    "Ciphers \"\"",
    "Host",
    "Host \"\"",
    "Match",
    "Match all host x",
    "Match host x user y all",
    "Match foo x",
    "Match user",
    "LocalForward 80",
    "LocalForward x y",
    "LocalForward 80 h",
    "LocalForward 80 h:0",
    "LocalForward 0 h:1",
    "RemoteForward 8080:localhost:80",
    "DynamicForward 0",
    "DynamicForward 1 2",
    "HostName %z",
    "HostName a b",
    "UserKnownHostsFile ${RACTOR_SSH_NOT_SET}/a",
    "IdentityAgent ${RACTOR_SSH_NOT_SET}/a",
    "IdentityAgent $a-b",
    "UserKnownHostsFile a none",
    "UserKnownHostsFile \"\"",
    "RemoteCommand %Z",
    "SetEnv A",
    "SetEnv A=1 B",
    "SendEnv A=b",
    "ProxyJump a:x",
    "ProxyJump a,,b",
    "ProxyJump @a",
    "Compression maybe",
    "StrictHostKeyChecking maybe",
    "RequestTTY maybe",
    "ServerAliveCountMax x",
    "ServerAliveCountMax -1",
    "NumberOfPasswordPrompts 1k",
    "NumberOfPasswordPrompts 0x10",
    "IPQoS nothing",
    "IPQoS af21 af22 af23",
    "EscapeChar abc",
    "StreamLocalBindMask 999",
    "AddKeysToAgent sometimes",
    "ControlPersist sometimes",
    "LogLevel loud",
    "User \"\"",
    "User a b",
    "Include \"\"",
    "AddressFamily inet5",
    "AddKeysToAgent confirm x",
    "AddKeysToAgent yes 1h",
    "AddKeysToAgent 1h confirm",
    "ConnectionAttempts 0",
    "PermitRemoteOpen h",
    "PermitRemoteOpen h:x",
    "PermitRemoteOpen h:0",
    "PermitRemoteOpen ::1:3",
    "PermitRemoteOpen any h:1",
];

const TAKEN: &[&str] = &[
    "Port=22",
    "\"Port\" 22",
    "\tport\t22 # x",
    "User = \"a b\"",
    "Ciphers -foo",
    "Match host x all",
    "Match host x # y",
    "Include /nonexistent/*",
    "UsePrivilegedPort yes",
    "RSAAuthentication yes",
    "Protocol 1,2",
    "IdentityFile ${RACTOR_SSH_NOT_SET}/a",
    "Host !foo\nPort 4",
    "Host nobody\nServerAliveInterval 5m5",
    "ServerAliveInterval 1w2d3h4m5s",
    "ServerAliveInterval 5H",
    "ConnectTimeout 0",
    "RekeyLimit 4096M",
    "RekeyLimit 0",
    "KeepAlive no",
    "ChallengeResponseAuthentication no",
    "IgnoreUnknown *\nAnything at all",
    "IPQoS 8 0x10",
    "IPQoS none",
    "SendEnv -X",
    "ProxyCommand a \\\n",
    "ProxyJump none",
];

fn file(directory: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
    let file = directory.path().join("config");
    std::fs::write(&file, text).unwrap();
    file
}

async fn ours(file: &std::path::Path) -> Result<(), String> {
    let config = SshConfig::load_file(file).await.map_err(|error| error.to_string())?;
    config.resolve(&Asked::host("foo")).map(drop).map_err(|error| error.to_string())
}

async fn refused() {
    let directory = tempfile::tempdir().unwrap();
    for line in REFUSED {
        let file = file(&directory, &format!("# one\n{line}\n"));
        assert!(ssh(&file, &["foo".to_owned()]).is_err(), "ssh takes {line}");
        let error = ours(&file).await.expect_err(line);
        let place = format!("{}:2: ", file.display());
        assert!(error.starts_with(&place), "{line}: {error}");
        let keyword = line.split([' ', '=']).next().unwrap().to_ascii_lowercase();
        assert!(error.contains(&keyword), "{line}: {error}");
    }
}

async fn taken() {
    let directory = tempfile::tempdir().unwrap();
    for line in TAKEN {
        let file = file(&directory, line);
        if let Err(error) = ssh(&file, &["foo".to_owned()]) {
            panic!("ssh refuses {line}: {error}");
        }
        ours(&file).await.expect(line);
    }
}

async fn writable() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let included = directory.path().join("included");
    std::fs::write(&included, "Port 3").unwrap();
    let file = file(&directory, &format!("Host other\nInclude {}\n", included.display()));
    for (mode, good) in [(0o644, true), (0o646, false), (0o600, true)] {
        std::fs::set_permissions(&included, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(ssh(&file, &["foo".to_owned()]).is_ok(), good, "ssh, {mode:o}");
        assert_eq!(ours(&file).await.is_ok(), good, "ours, {mode:o}");
    }
    // Debian's takes what a user's own group may write to; OpenSSH and we do not.
    std::fs::set_permissions(&included, std::fs::Permissions::from_mode(0o660)).unwrap();
    assert!(ours(&file).await.is_err());
    std::fs::set_permissions(&included, std::fs::Permissions::from_mode(0o600)).unwrap();
    // The file that is named is not looked at.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(ssh(&file, &["foo".to_owned()]).is_ok() && ours(&file).await.is_ok());
}
