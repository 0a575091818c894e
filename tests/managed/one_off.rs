//! Commands that run once: started where there is a connection, never started twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::ManagedRef;

use crate::common::{becomes_true, is_up, manage, reaches, soon, spec};
use crate::cuts::alert;
use crate::kit::{Peer, Sshd, peer_test};
use crate::proxy::{Proxy, Way};

pub(crate) fn trials() -> Vec<Trial> {
    const SERVER: Peer = Peer::OpenSshServer;
    vec![
        peer_test("one_off::a_command_under_way_is_not_repeated_and_may_have_run", SERVER, not_repeated),
        peer_test("one_off::one_that_is_started_while_down_waits_for_the_connection", SERVER, waits),
        peer_test("one_off::it_waits_no_longer_than_its_patience", SERVER, patience),
        peer_test("one_off::who_is_told_that_it_did_not_run_can_rely_on_it", SERVER, honest),
    ]
}

async fn server() -> (Sshd, Proxy, ManagedRef) {
    let sshd = Sshd::builder().max_sessions(100).start().unwrap();
    let proxy = Proxy::to(sshd.port()).await;
    let managed = manage(alert(&sshd, proxy.port()), spec().patience(Duration::from_secs(15))).await;
    (sshd, proxy, managed)
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

async fn not_repeated() {
    let (sshd, proxy, managed) = server().await;
    for (number, way) in [(1, Way::Reset), (2, Way::Silent)] {
        let file = sshd.directory().join(format!("runs_{number}"));
        let line = format!("echo run >> '{}'; exec sleep 1000", file.display());
        let running = tokio::spawn({
            let managed = managed.clone();
            async move { managed.exec(line).output().await }
        });
        becomes_true("it runs", || lines(&file) == ["run"]).await;
        proxy.set(way);
        let error = soon("the end", running).await.unwrap().unwrap_err();
        assert!(error.may_have_run() && !error.is_retryable(), "{error}");
        proxy.set(Way::Open);
        is_up(&managed, number + 1).await;
        assert!(managed.exec("true").status().await.unwrap().success());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(lines(&file), ["run"]);
    }
}

async fn waits() {
    let (_sshd, proxy, managed) = server().await;
    is_up(&managed, 1).await;
    proxy.set(Way::Reset);
    reaches(&managed, "lost", |state| !state.is_up()).await;
    let waiting = tokio::spawn({
        let managed = managed.clone();
        async move { managed.exec("echo here").output().await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    proxy.set(Way::Open);
    let output = soon("the command", waiting).await.unwrap().unwrap();
    assert_eq!(output.stdout_text(), "here\n");
}

async fn patience() {
    let (sshd, proxy, _) = server().await;
    let limit = Duration::from_millis(300);
    let managed = manage(alert(&sshd, proxy.port()), spec().patience(limit)).await;
    is_up(&managed, 1).await;
    proxy.set(Way::Reset);
    reaches(&managed, "lost", |state| !state.is_up()).await;
    let start = Instant::now();
    let error = managed.exec("true").output().await.unwrap_err();
    assert!(!error.may_have_run() && error.is_retryable(), "{error:?}");
    assert!((limit..limit * 5).contains(&start.elapsed()), "{:?}", start.elapsed());
    managed.stop();
    let start = Instant::now();
    let error = managed.exec("true").output().await.unwrap_err();
    assert!(!error.may_have_run() && !error.is_retryable(), "{error:?}");
    assert!(start.elapsed() < limit, "nobody waits for what will not come");
}

async fn honest() {
    const WORKERS: u64 = 4;
    let (sshd, proxy, managed) = server().await;
    is_up(&managed, 1).await;
    let file = sshd.directory().join("runs");
    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (managed, file, over) = (managed.clone(), file.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let (mut ran, mut not) = (Vec::new(), Vec::new());
                for round in 0.. {
                    if over.load(Ordering::SeqCst) && !ran.is_empty() {
                        break;
                    }
                    let number = (round * WORKERS + worker).to_string();
                    let line = format!("echo {number} >> '{}'", file.display());
                    match managed.exec(line).output().await {
                        Ok(output) if output.success() => ran.push(number),
                        Ok(output) => panic!("{output:?}"),
                        Err(error) if error.may_have_run() => {}
                        Err(_) => not.push(number),
                    }
                }
                (ran, not)
            })
        })
        .collect();
    for time in 0..60_u64 {
        tokio::time::sleep(Duration::from_millis(time * 13 % 90)).await;
        proxy.reset_once();
    }
    over.store(true, Ordering::SeqCst);
    let mut results = Vec::new();
    for worker in workers {
        results.push(soon("the worker", worker).await.unwrap());
    }
    // What was under way has come to its end there, too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut seen = lines(&file);
    seen.sort();
    let runs = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), runs, "no command ran twice");
    for (ran, not) in &results {
        assert!(ran.iter().all(|number| seen.binary_search(number).is_ok()));
        let liars: Vec<_> = not.iter().filter(|number| seen.binary_search(number).is_ok()).collect();
        assert!(liars.is_empty(), "they ran, and we were told that they did not: {liars:?}");
    }
}
