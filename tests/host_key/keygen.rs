//! The same files and names, looked up by us and by `ssh-keygen`.

use std::cell::Cell;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHosts, KnownHostsFiles, Marker};

use crate::support::{ecdsa, ed25519, found, have, keygen, rsa, run, text};

/// Lines that `ssh-keygen -F` finds, with their markers.
fn keygen_finds(file: &Path, name: &str) -> Vec<(usize, Marker)> {
    let output = run("ssh-keygen", &["-F", name, "-f", file.to_str().unwrap()]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("# Host {name} found: line ")))
        .map(|rest| match rest.trim_end().split_once(' ') {
            None => (rest.trim_end().parse().unwrap(), Marker::Plain),
            Some((line, "CA")) => (line.parse().unwrap(), Marker::CertAuthority),
            Some((line, "REVOKED")) => (line.parse().unwrap(), Marker::Revoked),
            Some(other) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(output.status.success(), !lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    lines
}

fn we_find(known: &KnownHosts, name: &str) -> Vec<(usize, Marker)> {
    known.find(name).map(|entry| (entry.at().line, entry.marker())).collect()
}

const NAMES: [&str; 12] = [
    "a",
    "b",
    "a.example.com",
    "b.example.com",
    "a.b.example.com",
    "10.0.0.1",
    "10.0.0.12",
    "::1",
    "[a]:2222",
    "[a.example.com]:2222",
    "[::1]:2222",
    "[a]:22",
];

fn host_field() -> impl Strategy<Value = String> {
    let pattern = prop_oneof![
        4 => proptest::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => proptest::sample::select(vec!["A", "A.Example.COM", "[A]:2222"]).prop_map(str::to_owned),
        3 => proptest::sample::select(vec![
            "*", "*.example.com", "?.example.com", "10.0.0.?", "10.0.0.*", "[*]:2222", "[?]:*", "*.*", "", "*a*", "??",
        ])
        .prop_map(str::to_owned),
        1 => "[ab*?.]{1,5}",
    ];
    let item = (prop::bool::weighted(0.2), pattern)
        .prop_map(|(negated, pattern)| if negated { format!("!{pattern}") } else { pattern });
    proptest::collection::vec(item, 1..4).prop_map(|items| items.join(","))
}

fn line(keys: Vec<String>, hashed: Vec<String>) -> impl Strategy<Value = String> {
    let key = proptest::sample::select(keys);
    let hosts = prop_oneof![
        5 => host_field().prop_filter("an empty field is no field", |field| !field.is_empty()),
        3 => proptest::sample::select(hashed),
    ];
    let marker = prop_oneof![6 => Just(""), 1 => Just("@cert-authority "), 1 => Just("@revoked ")];
    let comment = prop_oneof![Just(""), Just(" user@host"), Just("\tx # y"), Just("\r")];
    let indent = prop_oneof![4 => Just(""), 1 => Just(" \t ")];
    let good = (indent, marker, hosts, key, comment).prop_map(|(indent, marker, hosts, key, comment)| {
        format!("{indent}{marker}{hosts} \t{key}{comment}")
    });
    let odd = proptest::sample::select(vec![
        "".to_owned(),
        "# a b c".to_owned(),
        "   # a".to_owned(),
        "a".to_owned(),
        "a ssh-ed25519".to_owned(),
        "a ssh-unheard AAAA".to_owned(),
        "a 1024 35 12345".to_owned(),
        "@other a ssh-ed25519 AAAA".to_owned(),
        "@revoked @revoked a ssh-ed25519 AAAA".to_owned(),
        "|1|aaaa|bbbb ssh-ed25519 AAAA".to_owned(),
        "|2|aaaa|bbbb ssh-ed25519 AAAA".to_owned(),
    ]);
    prop_oneof![5 => good, 1 => odd]
}

/// The host fields that `ssh-keygen -H` makes of names.
fn hashed_by_keygen(dir: &Path, key: &str) -> Vec<String> {
    let file = dir.join("to_hash");
    let lines: String = NAMES.iter().map(|name| format!("{name} {key}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    keygen(&["-q", "-H", "-f", file.to_str().unwrap()]);
    let content = std::fs::read_to_string(&file).unwrap();
    content.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn lookups_in_generated_files_equal_those_of_ssh_keygen() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = [ed25519(), ecdsa(), rsa(256)].iter().map(text).collect();
    let hashed = hashed_by_keygen(dir.path(), &keys[0]);
    let file = dir.path().join("known_hosts");
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let files = proptest::collection::vec(line(keys, hashed), 0..12).prop_map(|lines| lines.join("\n"));
    let (found_lines, lookups) = (Cell::new(0), Cell::new(0));
    runner
        .run(&(files, prop::bool::ANY), |(content, newline)| {
            let content = if newline { content + "\n" } else { content };
            std::fs::write(&file, &content).unwrap();
            let known = KnownHosts::parse(&file, content.as_bytes());
            for name in NAMES {
                let theirs = keygen_finds(&file, name);
                found_lines.set(found_lines.get() + theirs.len());
                lookups.set(lookups.get() + 1);
                prop_assert_eq!(we_find(&known, name), theirs, "{} in\n{}", name, content);
            }
            Ok(())
        })
        .unwrap();
    assert!(found_lines.get() > lookups.get() / 4, "little was found: the comparison says nothing");
}

#[test]
fn files_hashed_by_ssh_keygen_name_the_same_hosts_with_the_same_keys() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    let keys: Vec<_> = (0..4).map(|_| text(&ed25519())).collect();
    let plain = format!(
        "A.example.com,10.0.0.1 {} comment\n*.wild.com {}\n[h]:2222 {}\n@cert-authority ca {}\n",
        keys[0], keys[1], keys[2], keys[3]
    );
    std::fs::write(&file, &plain).unwrap();
    keygen(&["-q", "-H", "-f", file.to_str().unwrap()]);
    let before = KnownHosts::parse("plain", plain.as_bytes());
    let after = KnownHosts::parse(&file, &std::fs::read(&file).unwrap());
    assert!(after.problems().is_empty());
    assert_eq!(after.entries().iter().filter(|entry| entry.is_hashed()).count(), 3);
    let names = ["a.example.com", "10.0.0.1", "x.wild.com", "[h]:2222", "ca", "h", "wild.com", "other"];
    for name in names {
        let keys = |known: &KnownHosts| known.find(name).map(|e| text(e.key())).collect::<Vec<_>>();
        assert_eq!(keys(&before), keys(&after), "{name}");
    }
}

#[tokio::test]
async fn lines_written_by_us_are_found_and_removed_by_ssh_keygen() {
    if !have("ssh-keygen") {
        return;
    }
    for hashed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("known_hosts");
        let policy = HostKeyPolicy::accept_new(KnownHostsFiles::new([&file]).hash_names(hashed));
        let hosts =
            [("Example.com", 22), ("example.com", 2222), ("::1", 22), ("::1", 2222), ("10.0.0.1", 22)];
        let keys = [ed25519(), ecdsa(), rsa(256), ed25519(), ed25519()];
        for ((host, port), key) in hosts.iter().zip(keys) {
            policy.prepare(host, *port).await.unwrap().decide(key).await.unwrap();
        }
        let names = ["example.com", "[example.com]:2222", "::1", "[::1]:2222", "10.0.0.1"];
        for (name, line) in names.iter().zip(1..) {
            assert_eq!(keygen_finds(&file, name), [(line, Marker::Plain)], "{name}");
        }
        for (removed, name) in names.iter().enumerate() {
            keygen(&["-q", "-R", name, "-f", file.to_str().unwrap()]);
            let known = KnownHosts::parse(&file, &std::fs::read(&file).unwrap());
            assert_eq!(found(&known, name), Vec::<usize>::new(), "{name}");
            assert_eq!(known.entries().len(), names.len() - removed - 1);
        }
    }
}

#[test]
fn fingerprints_are_those_that_ssh_keygen_prints() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    for key in [ed25519(), ecdsa(), rsa(256)] {
        std::fs::write(&file, format!("a {}\n", text(&key))).unwrap();
        let output = run("ssh-keygen", &["-l", "-F", "a", "-f", file.to_str().unwrap()]);
        let stdout = String::from_utf8(output.stdout).unwrap();
        let known = KnownHosts::parse(&file, &std::fs::read(&file).unwrap());
        assert!(stdout.contains(&known.entries()[0].fingerprint()), "{stdout}");
    }
}
