//! What a process finds when it starts.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use ractor_ssh::Router;
use ractor_ssh::process::Refusal;

use super::{processes, run, served, served_to_us, text};
use crate::kit::{Peer, peer_test};
use crate::support::{Served, soon};

const NONE: [Peer; 0] = [];

pub(super) fn trials() -> Vec<Trial> {
    let needs = [Peer::OpenSshClient];
    vec![
        peer_test("process::the_environment_is_clean_but_for_what_is_allowed", needs, environment),
        peer_test("process::the_hook_chooses_directory_and_environment", NONE, hook),
        peer_test("process::a_refusal_is_told_with_its_status", needs, refusal),
        peer_test("process::a_hook_that_panics_ends_its_channel_only", NONE, panicking_hook),
        peer_test("process::what_cannot_be_started_is_told", NONE, no_program),
        peer_test("process::a_subsystem_runs_what_the_hook_names", NONE, subsystem),
        peer_test("process::more_than_may_run_are_refused", NONE, too_many),
        peer_test("process::it_leads_a_session_and_a_group_of_its_own", NONE, session),
    ]
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn environment() {
    let processes = processes().env_allow(["LANG", "MY_?"]);
    let (ssh, served) = served(&processes).await;
    let set = "SetEnv=LANG=C MY_A=1 MY_AB=2 PATH=/evil SSH_CLIENT=evil LC_ALL=C";
    let output = run(&ssh, &served, &["-o", set, "127.0.0.1", "/usr/bin/env"], b"").await;
    let found = variables(&text(&output.stdout));
    let get = |name: &str| found.get(name).map(String::as_str);
    assert_eq!((get("LANG"), get("MY_A"), get("MY_AB"), get("LC_ALL")), (Some("C"), Some("1"), None, None));
    assert_eq!(get("SHELL"), Some("/bin/sh"));
    assert!(get("PATH").is_some_and(|path| path.contains("/usr/bin") && !path.contains("evil")));
    assert_eq!(get("USER"), get("LOGNAME"));
    let port = served.daemon.local_addr().port().to_string();
    let connection: Vec<_> = get("SSH_CONNECTION").unwrap().split(' ').collect();
    assert!(matches!(connection[..], ["127.0.0.1", _, "127.0.0.1", ours] if ours == port), "{connection:?}");
    let client: Vec<_> = get("SSH_CLIENT").unwrap().split(' ').collect();
    assert_eq!(client, ["127.0.0.1", connection[1], &port]);
    let known = [
        "HOME",
        "LANG",
        "LOGNAME",
        "MY_A",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "USER",
        "_",
    ];
    let unknown: Vec<_> = found.keys().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

async fn hook() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    let chosen = path.clone();
    let processes = processes().prepare(move |request, plan| {
        let chosen = chosen.clone();
        async move { Ok(plan.current_dir(chosen).env("WHO", request.user).env_remove("USER").env("PWD", "/")) }
    });
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let output = soon(conn.exec("pwd -P; echo $WHO:$USER").output()).await.unwrap();
    assert_eq!(output.stdout_text(), format!("{}\nalice:\n", path.display()));
    soon(conn.close()).await;
}

async fn refusal() {
    let processes = processes().prepare(|request, plan| async move {
        if request.command() == "good" {
            return Ok(plan.program("/bin/echo").arg("instead"));
        }
        Err(Refusal::new("only good ones").status(77))
    });
    let (ssh, served) = served(&processes).await;
    let refused = run(&ssh, &served, &["127.0.0.1", "bad"], b"").await;
    assert_eq!((text(&refused.stderr), refused.status.code()), ("only good ones\n".to_owned(), Some(77)));
    let replaced = run(&ssh, &served, &["127.0.0.1", "good"], b"").await;
    assert_eq!((text(&replaced.stdout), replaced.status.code()), ("instead\n".to_owned(), Some(0)));
}

async fn panicking_hook() {
    let processes = processes().prepare(|request, plan| async move {
        assert_ne!(request.command(), "panic", "as asked for");
        Ok(plan)
    });
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let bystander = conn.exec("sleep 0.2; echo fine");
    let bystander = tokio::spawn(async move { bystander.output().await });
    let failed = soon(conn.exec("panic").output()).await.unwrap();
    assert_eq!(failed.status.code(), None);
    assert_eq!(soon(bystander).await.unwrap().unwrap().stdout_text(), "fine\n");
    soon(processes.ended()).await;
    soon(conn.close()).await;
}

async fn no_program() {
    for (processes, words) in [
        (processes().shell("/no/such/shell"), "cannot start /no/such/shell"),
        (
            processes().prepare(|_, plan| async move { Ok(plan.current_dir("/no/such/directory")) }),
            "there is no directory /no/such/directory",
        ),
    ] {
        let served = served_to_us(&processes).await;
        let conn = served.connect().await;
        let output = soon(conn.exec("true").output()).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr_text().contains(words), "{output:?}");
        assert_eq!(processes.running(), 0);
        soon(conn.close()).await;
    }
}

async fn subsystem() {
    let echo = processes().prepare(|_, plan| async move { Ok(plan.program("cat")) });
    let bare = processes();
    let router = Router::new()
        .subsystem("echo", move |request| echo.channel(request))
        .subsystem("bare", move |request| bare.channel(request));
    let served = Served::start(router).await;
    let conn = served.connect().await;
    let output = soon(conn.subsystem("echo").stdin(ractor_ssh::session::Stdin::bytes("x")).output()).await;
    assert_eq!(output.unwrap().stdout_text(), "x");
    let output = soon(conn.subsystem("bare").output()).await.unwrap();
    assert!(output.stderr_text().contains("no program"), "{output:?}");
    soon(conn.close()).await;
}

async fn too_many() {
    let processes = processes().max_processes(1);
    let served = served_to_us(&processes).await;
    let conn = served.connect().await;
    let mut first = conn.exec("cat").stdin(ractor_ssh::session::Stdin::piped()).spawn().await.unwrap();
    super::until("the first", || async { (processes.running() == 1).then_some(()) }).await;
    let second = soon(conn.exec("true").output()).await.unwrap();
    assert!(second.stderr_text().contains("too many processes"), "{second:?}");
    drop(first.stdin.take());
    assert!(soon(first.wait()).await.unwrap().success());
    soon(processes.ended()).await;
    assert!(soon(conn.exec("true").output()).await.unwrap().status.success());
    soon(conn.close()).await;
}

/// Also without a terminal: it must not find the daemon's.
async fn session() {
    let served = served_to_us(&processes()).await;
    let conn = served.connect().await;
    let line = "echo $$; cut -d ' ' -f 1,5,6,7 /proc/$$/stat";
    let output = soon(conn.exec(line).output()).await.unwrap();
    let text = output.stdout_text().into_owned();
    let (pid, stat) = text.split_once('\n').unwrap();
    assert_eq!(stat.trim(), format!("{pid} {pid} {pid} 0"));
    soon(conn.close()).await;
}
