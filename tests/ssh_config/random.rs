//! Files made at random, compared with `ssh -G`: whether they are taken, and what they come to.

use std::path::Path;

use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use ractor_ssh::ssh_config::{Asked, HostOptions, SshConfig};

use crate::dump::{differences, ours, ssh};
use crate::kit::{Peer, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![peer_test("random::files_are_read_as_ssh_reads_them", Peer::OpenSshClient, same)]
}

/// Beginnings of blocks.
const BLOCKS: &[&str] = &[
    "Host foo",
    "Host *",
    "Host bar",
    "Host f* !foo",
    "Host !bar *",
    "Host foo bar",
    "Host \"f?o\"",
    "Host=foo",
    "Match all",
    "Match host foo",
    "Match host *.org,foo",
    "Match host !foo,*",
    "Match !host foo",
    "Match user me",
    "Match originalhost bar",
    "Match final",
    "Match final host foo",
    "Match !final",
    "Match canonical all",
    "Match localuser root",
    "Match user me host foo",
    "Match host=foo user=me",
    "Match host",
    "Match all all",
    "Host",
];

/// Values by keyword. Some cannot be.
const LINES: &[(&str, &[&str])] = &[
    ("Port", &["22", "0", "2222", "x", "70000"]),
    ("User", &["me", "you", "\"a b\"", "a b"]),
    ("HostName", &["%h.org", "foo", "BAR", "::1", "10.0.0.1", "%%h"]),
    ("IdentityFile", &["~/a", "/b", "%d/c", "none", "\"/d e\""]),
    ("CertificateFile", &["~/a", "/b"]),
    ("ProxyJump", &["a", "none", "u@b:2,c", "a:b"]),
    ("ProxyCommand", &["nc %h %p", "none", "\"x\" 'y'"]),
    ("LocalForward", &["1 a:1", "2 a:1", "[::1]:3 /s", "/p /q", "4", "*:5 [::1]:6"]),
    ("RemoteForward", &["1 a:1", "0 a:1", "7", "/p a:1"]),
    ("DynamicForward", &["1", "a:2", "*:3", "[::1]:4"]),
    ("SendEnv", &["A B", "C*", "-A", "A", "-*", "D=1"]),
    ("SetEnv", &["A=1", "A=2 B=3", "\"C=x y\"", "D"]),
    ("ConnectTimeout", &["5", "1m", "none", "1x", "1h1"]),
    ("ServerAliveInterval", &["5", "1m", "0"]),
    ("ServerAliveCountMax", &["0", "7", "-1"]),
    ("RekeyLimit", &["1G", "1M 1h", "default none", "0 0", "15", "1.5K"]),
    ("Compression", &["yes", "no", "maybe"]),
    ("StrictHostKeyChecking", &["yes", "no", "ask", "accept-new", "off", "YES"]),
    ("UserKnownHostsFile", &["~/k", "/a /b", "none", "a none", "%d/%h", "${HOME}/x"]),
    ("GlobalKnownHostsFile", &["/g", "none", "/a /b"]),
    ("Ciphers", &["aes128-ctr", "+3des-cbc", "-aes*", "^aes256-ctr"]),
    ("MACs", &["hmac-sha2-256", "-*sha1*", "^hmac-sha2-512"]),
    ("HostKeyAlgorithms", &["ssh-*", "+ssh-rsa", "-ecdsa*", "^rsa-sha2-512"]),
    ("ClearAllForwardings", &["yes", "no"]),
    ("RequestTTY", &["yes", "force", "auto", "no"]),
    ("RemoteCommand", &["ls %h", "none", "echo \"a  b\" # c"]),
    ("ControlPath", &["~/c-%h-%r", "none", "%d/%k"]),
    ("HostKeyAlias", &["K1", "k2"]),
    ("IPQoS", &["ef", "af11 af12", "none"]),
    ("AddKeysToAgent", &["yes", "1h", "ask", "confirm", "no"]),
    ("IdentityAgent", &["none", "~/sock", "SSH_AUTH_SOCK", "%d/a"]),
    ("IgnoreUnknown", &["x*", "y"]),
    ("Xyz", &["1", "a b"]),
    ("BindAddress", &["1.2.3.4", "::1"]),
    ("AddressFamily", &["inet", "any", "inet6", "x"]),
    ("LogLevel", &["DEBUG2", "quiet", "info"]),
    ("EscapeChar", &["^b", "none", "~"]),
    ("PreferredAuthentications", &["publickey", "a,b"]),
    ("Protocol", &["2"]),
];

fn line() -> impl Strategy<Value = String> {
    let option = prop::sample::select(LINES).prop_flat_map(|(keyword, values)| {
        let join = prop::sample::select(&[" ", "=", " = ", "\t", "  "][..]);
        let end = prop::sample::select(&["", "", "", " ", "\r"][..]);
        let case = any::<bool>();
        (prop::sample::select(values), join, end, case).prop_map(move |(value, join, end, case)| {
            let keyword = if case { keyword.to_ascii_uppercase() } else { keyword.to_owned() };
            format!("  {keyword}{join}{value}{end}")
        })
    });
    let block = prop::sample::select(BLOCKS).prop_map(str::to_owned);
    prop_oneof![5 => option, 2 => block, 1 => Just("# comment".to_owned())]
}

async fn ours_of(file: &Path, host: &str) -> Result<HostOptions, String> {
    let config = SshConfig::load_file(file).await.map_err(|error| error.to_string())?;
    config.resolve(&Asked::host(host)).map_err(|error| error.to_string())
}

async fn same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let mut runner = TestRunner::deterministic();
    let files = prop::collection::vec(line(), 1..12);
    let (mut taken, mut refused) = (0, 0);
    let defaults = ["foo", "Bar"].map(|host| (host, ssh(Path::new("none"), &[host.to_owned()]).unwrap()));
    for _ in 0..200 {
        let text = files.new_tree(&mut runner).unwrap().current().join("\n");
        std::fs::write(&file, &text).unwrap();
        for (host, defaults) in &defaults {
            let theirs = ssh(&file, &[(*host).to_owned()]);
            match (ours_of(&file, host).await, theirs) {
                (Err(_), Err(_)) => refused += 1,
                (Ok(options), Ok(theirs)) => {
                    taken += 1;
                    let differences = differences(&ours(&options, defaults), &theirs, defaults);
                    assert!(differences.is_empty(), "{host}:\n{}\nof\n{text}", differences.join("\n"));
                }
                (Err(error), Ok(_)) => panic!("ssh takes, we refuse: {error}\nof\n{text}"),
                (Ok(_), Err(error)) => panic!("we take, ssh refuses: {error}\nof\n{text}"),
            }
        }
    }
    assert!(taken > 25 && refused > 25, "{taken} taken, {refused} refused");
}
