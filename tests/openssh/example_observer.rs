//! The example `observer`, looking at a real host.

use std::process::Stdio;

use libtest_mimic::Trial;
use tokio::process::Command;

use crate::kit::{Peer, Sshd, example, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![peer_test("example_observer::a_real_host_is_shown", Peer::OpenSshServer, real_host)]
}

async fn real_host() {
    let sshd = Sshd::builder().start().expect("sshd starts");
    let output = Command::new(example("observer"))
        .args(["--once", "--every", "1500", "-p", &sshd.port().to_string()])
        .arg("-i")
        .arg(sshd.identity())
        .arg("--known-hosts")
        .arg(sshd.known_hosts())
        .arg(format!("{}@127.0.0.1", sshd.user()))
        .args(["--", "while echo tick; do sleep 0.1; done", "cat"])
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the example is built: `cargo build --examples`");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for expected in [
        &format!("managed connection {}@127.0.0.1:{}: connection 1 is up", sshd.user(), sshd.port()),
        "supervised channel Follow while echo tick; do sleep 0.1; done: incarnation 1 is up",
        "supervised channel Follow cat: incarnation 1 is up",
        "channel #1 while echo tick; do sleep 0.1; done: open, incarnation 1",
        "peer: SSH-2.0-OpenSSH",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}
