//! The example `sftp`, as its users run it.

use std::process::Output;

use libtest_mimic::Trial;
use tokio::process::Command;

use crate::kit::{Peer, example, peer_test};
use crate::support::{Place, bytes, mode, set_mode, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let real = [Peer::OpenSshServer, Peer::OpenSshSftp];
    vec![
        peer_test("example_sftp::puts_gets_and_lists_files_and_trees", real, life),
        peer_test("example_sftp::goes_on_behind_what_is_there", real, resume),
        peer_test("example_sftp::what_it_does_nothing_about_is_refused_or_told", real, not_honoured),
        peer_test("example_sftp::an_error_is_a_line_and_a_status", real, errors),
    ]
}

async fn run(place: &Place, words: &[&str]) -> Output {
    run_with(place, "none", words).await
}

async fn run_with(place: &Place, file: &str, words: &[&str]) -> Output {
    let sshd = place.sshd().unwrap();
    let mut command = Command::new(example("sftp"));
    command
        .args(["-F", file, "-p", &sshd.port().to_string(), "-i"])
        .arg(sshd.identity())
        .arg("--known-hosts")
        .arg(sshd.known_hosts())
        .arg(format!("{}@127.0.0.1", sshd.user()))
        .args(words)
        .env_remove("SSH_AUTH_SOCK")
        .kill_on_drop(true);
    soon("the example", command.output()).await.expect("it is built: `cargo build --examples`")
}

async fn well(place: &Place, words: &[&str]) -> String {
    let output = run(place, words).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

async fn life() {
    let place = Place::openssh().await;
    let content = bytes(3_000_000);
    std::fs::create_dir(place.local("tree")).unwrap();
    std::fs::write(place.local("tree/big"), &content).unwrap();
    std::fs::write(place.local("tree/run"), "#!/bin/sh\n").unwrap();
    set_mode(&place.local("tree/run"), 0o751);
    let (tree, root) = (place.local("tree"), place.remote(""));
    well(&place, &["put", "-r", "-p", tree.to_str().unwrap(), &root]).await;
    assert!(std::fs::read(place.root("tree/big")).unwrap() == content);
    assert_eq!(mode(&place.root("tree/run")), 0o751);
    assert_eq!(well(&place, &["ls", &place.remote("tree")]).await, "big\nrun\n");
    let long = well(&place, &["ls", "-l", &place.remote("tree")]).await;
    assert!(long.lines().any(|line| line.starts_with("-rwxr-x--x ") && line.ends_with(" run")), "{long}");

    std::fs::create_dir(place.local("back")).unwrap();
    let back = place.local("back");
    well(&place, &["get", "-r", "-p", &place.remote("tree"), back.to_str().unwrap()]).await;
    assert!(std::fs::read(place.local("back/tree/big")).unwrap() == content);
    assert_eq!(mode(&place.local("back/tree/run")), 0o751);
    let one = place.local("one");
    well(&place, &["get", &place.remote("tree/run"), one.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_to_string(one).unwrap(), "#!/bin/sh\n");
    place.end().await;
}

async fn resume() {
    let place = Place::openssh().await;
    let content = bytes(2_000_000);
    std::fs::write(place.root("whole"), &content).unwrap();
    std::fs::write(place.local("part"), &content[..1_000_000]).unwrap();
    // Were it read again from its beginning, the mark would be gone.
    let mark = &mut content.clone()[..1_000_000];
    mark[5] ^= 1;
    std::fs::write(place.local("part"), &*mark).unwrap();
    let part = place.local("part");
    well(&place, &["get", "--resume", &place.remote("whole"), part.to_str().unwrap()]).await;
    let got = std::fs::read(&part).unwrap();
    assert!(got[..1_000_000] == *mark && got[1_000_000..] == content[1_000_000..]);
    place.end().await;
}

async fn not_honoured() {
    let place = Place::openssh().await;
    let root = place.remote("");
    for option in ["LocalForward=1 h:1", "SetEnv=A=b", "RemoteCommand=true", "RequestTTY=force"] {
        let output = run(&place, &["-o", option, "ls", &root]).await;
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        let keyword = option.to_lowercase().split_once('=').unwrap().0.to_owned();
        assert!(output.status.code() == Some(255) && said.contains(&format!("-o {keyword}=")), "{said}");
    }
    // To do nothing about these is what they ask for.
    well(&place, &["-o", "ForwardAgent=no", "-o", "RemoteCommand=none", "ls", &root]).await;
    let file = place.local("config");
    std::fs::write(&file, "SetEnv A=b\n").unwrap();
    let output = run_with(&place, file.to_str().unwrap(), &["-v", "ls", &root]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("config:1: setenv A=b: is not honoured: this program does nothing"), "{said}");
    place.end().await;
}

async fn errors() {
    let place = Place::openssh().await;
    let output = run(&place, &["get", &place.remote("nothing"), place.local("x").to_str().unwrap()]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(255));
    assert!(said.contains("nothing: no such file") && said.lines().count() == 1, "{said}");

    std::fs::create_dir(place.root("tree")).unwrap();
    std::fs::write(place.root("tree/good"), "good").unwrap();
    std::os::unix::fs::symlink("nowhere", place.root("tree/link")).unwrap();
    std::fs::write(place.root("tree/bad"), "bad").unwrap();
    std::fs::create_dir_all(place.local("tree/bad")).unwrap();
    let local = place.local("");
    let output =
        run(&place, &["get", "-r", "--keep-going", &place.remote("tree"), local.to_str().unwrap()]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("left out") && said.contains("tree/bad"), "{said}");
    assert_eq!(std::fs::read_to_string(place.local("tree/good")).unwrap(), "good");
    place.end().await;
}
