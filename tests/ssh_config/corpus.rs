//! A collection of files, each looked up for several hosts, compared key by key with `ssh -G -F file host`.
//!
//! A file begins with lines `#? arguments`: what `ssh` is given along with the file. `@DIR@` in a file is the directory of
//! its copy, where the other files of the collection are too.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use ractor_ssh::ssh_config::{Asked, MatchExec, SshConfig};

use crate::dump::{differences, ours, ssh, usual};
use crate::kit::{Peer, peer_test};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh_config/corpus")
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".conf"))
        .collect();
    names.sort();
    let trial = |name: String| {
        let title = format!("corpus::{}_is_read_as_ssh_reads_it", name.trim_end_matches(".conf"));
        peer_test(&title, Peer::OpenSshClient, move || same_as_ssh(name))
    };
    let usual =
        peer_test("corpus::the_usual_files_are_read_as_ssh_reads_them", Peer::OpenSshClient, usual_files);
    names.into_iter().map(trial).chain([usual]).collect()
}

/// Whatever is configured on this machine, at least by its distribution.
async fn usual_files() {
    let host = "host.of.no.file";
    let theirs = usual(host).unwrap();
    let defaults = ssh(Path::new("none"), &[host.to_owned()]).unwrap();
    let config = SshConfig::load().await.unwrap_or_else(|error| panic!("{error}"));
    let options = config.resolve_running(&asked(&[host.to_owned()])).await;
    let options = options.unwrap_or_else(|error| panic!("{error}"));
    let differences = differences(&ours(&options, &defaults), &theirs, &defaults);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A copy of the collection, with its place put in, that nobody else may write to.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("@DIR@", copy.path().to_str().unwrap());
        let target = copy.path().join(path.file_name().unwrap());
        std::fs::write(&target, text).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    copy
}

/// What the arguments of `ssh` mean.
fn asked(arguments: &[String]) -> Asked {
    let (host, rest) = arguments.split_last().unwrap();
    let mut asked = Asked::host(host).match_exec(MatchExec::Run(std::time::Duration::from_secs(10)));
    for pair in rest.chunks(2) {
        asked = match pair[0].as_str() {
            "-l" => asked.user(&pair[1]),
            "-p" => asked.port(pair[1].parse().unwrap()),
            "-o" => asked.option(&pair[1]),
            other => panic!("{other}"),
        };
    }
    asked
}

async fn same_as_ssh(name: String) {
    let copy = copy();
    let file = copy.path().join(&name);
    let text = std::fs::read_to_string(&file).unwrap();
    let config = SshConfig::load_file(&file).await.unwrap_or_else(|error| panic!("{error}"));
    let mut cases = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("#? ")) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let theirs =
            ssh(&file, &arguments).unwrap_or_else(|error| panic!("ssh refuses {name} {line}: {error}"));
        let defaults = ssh(Path::new("none"), &[arguments.last().unwrap().clone()]).unwrap();
        let options = config.resolve_running(&asked(&arguments)).await;
        let options = options.unwrap_or_else(|error| panic!("we refuse {name} {line}: {error}"));
        let differences = differences(&ours(&options, &defaults), &theirs, &defaults);
        assert!(differences.is_empty(), "{name} {line}:\n{}", differences.join("\n"));
        cases += 1;
    }
    assert!(cases > 0, "{name} has no `#? host` line");
}
