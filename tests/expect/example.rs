//! The example `expect`, as its users run it.

use std::process::Output;

use libtest_mimic::Trial;
use tokio::process::Command;

use crate::kit::{Peer, example, peer_test};
use crate::support::Place;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("example_expect::runs_commands_in_one_shell", Peer::OpenSshServer, commands),
        peer_test("example_expect::carries_out_a_script", Peer::OpenSshServer, script),
        peer_test("example_expect::leads_a_repl_by_its_prompt", [Peer::OpenSshServer, Peer::Python], device),
        peer_test("example_expect::an_error_is_a_line_and_a_status", Peer::OpenSshServer, errors),
    ]
}

async fn run(place: &Place, program: &str, words: &[&str]) -> Output {
    let sshd = place.sshd.as_ref().unwrap();
    let mut command = Command::new(example("expect"));
    command
        .args(["-F", "none", "-p", &sshd.port().to_string(), "-i"])
        .arg(sshd.identity())
        .arg("--known-hosts")
        .arg(sshd.known_hosts())
        .args(["--program", program])
        .arg("--transcript")
        .arg(format!("{}@127.0.0.1", sshd.user()))
        .args(words)
        .env_remove("SSH_AUTH_SOCK")
        .kill_on_drop(true);
    command.output().await.expect("it is built: `cargo build --examples`")
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

async fn commands() {
    let place = Place::openssh().await;
    let output =
        run(&place, "exec dash -i", &["run", "cd /", "pwd", "exit_with() { return $1; }", "exit_with 9"])
            .await;
    let (stdout, stderr) = said(&output);
    assert_eq!((stdout.as_str(), output.status.code()), ("/\n", Some(9)), "{stderr}");
    assert!(stderr.contains(r#"> "eval \'pwd\'\n""#), "{stderr}");
    place.end().await;
}

async fn script() {
    let place = Place::openssh().await;
    let directory = tempfile::tempdir().unwrap();
    let (secret, file) = (directory.path().join("secret"), directory.path().join("steps"));
    std::fs::write(&secret, "hunter2\n").unwrap();
    let steps = format!(
        "# a comment\n\nwithin 20\nexpect assword: \nsecret {}\nregex ([0-9]+) letters\r?\\n\nsend yes\neof\n",
        secret.display()
    );
    std::fs::write(&file, steps).unwrap();
    let program = "stty -echo; printf 'Password: '; read -r x; echo before ${#x} letters; read -r y; echo \"<$y>\"; exit 4";
    let output = run(&place, program, &["script", file.to_str().unwrap()]).await;
    let (stdout, stderr) = said(&output);
    assert_eq!((stdout.as_str(), output.status.code()), ("Pbefore <yes>\r\n", Some(4)), "{stderr}");
    assert!(stderr.contains("(a secret)") && !stderr.contains("hunter2"), "{stderr}");
    place.end().await;
}

async fn device() {
    let place = Place::openssh().await;
    let words = ["device", "--quiet", "1000", "x = 6", "x * 7"];
    let output = run(&place, "exec python3 -i -q", &words).await;
    let (stdout, stderr) = said(&output);
    assert_eq!((stdout.as_str(), output.status.code()), ("42\r\n", Some(0)), "{stderr}");
    place.end().await;
}

async fn errors() {
    let place = Place::openssh().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("steps");
    std::fs::write(&file, "send x\nregex a*\n").unwrap();
    for (words, what) in [
        (vec!["script", file.to_str().unwrap()], "steps:2: regex"),
        (vec!["script", "/nonexistent"], "/nonexistent: "),
        (vec!["-o", "SetEnv=A=b", "run", "true"], "-o setenv=A=b: this program does nothing"),
        (vec!["run", "exit 3"], "the channel ended (exit status 3)"),
    ] {
        let output = run(&place, "exec dash -i", &words).await;
        let (stdout, stderr) = said(&output);
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("expect: ") && last.contains(what), "{stderr}");
        assert_eq!((stdout.as_str(), output.status.code()), ("", Some(255)));
    }
    place.end().await;
}
