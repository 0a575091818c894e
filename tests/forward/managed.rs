//! On a connection that comes back.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::forward::{Endpoint, Forward, ForwardEnd, ForwardState, WhileDown};
use ractor_ssh::observe::NodeKind;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{Client, ManagedRef, ManagedSpec};
use tokio::io::AsyncWriteExt as _;

use crate::common::{
    Destination, any_port, becomes_true, config, echoes, enter, is_reset, is_turned_away, soon,
};
use crate::kit::{Peer, Sshd, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    let peers = [Peer::OpenSshServer];
    vec![
        peer_test("managed::a_forward_outlives_its_connections", peers, outlives),
        peer_test("managed::who_comes_while_it_is_down_waits_for_the_next_connection", peers, waits),
        peer_test("managed::who_comes_while_it_is_down_waits_no_longer_than_allowed", peers, waits_in_vain),
        peer_test("managed::who_comes_while_it_is_down_can_be_refused", peers, refuses),
        peer_test("managed::it_ends_with_the_managed_connection", peers, ends),
    ]
}

async fn manage(sshd: &Sshd) -> ManagedRef {
    let policy =
        RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(Duration::from_millis(20)));
    let spec = ManagedSpec::new().restart(policy);
    let managed = Client::new(config(sshd)).manage(spec).await.unwrap();
    soon("being up", managed.connection()).await.unwrap();
    managed
}

async fn goes_down(sshd: &Sshd, managed: &ManagedRef) {
    sshd.kill();
    sshd.kill_sessions();
    soon("being down", managed.states().wait_for(|state| !state.is_up())).await.unwrap();
}

async fn outlives() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(&sshd).await;
    let forward = managed.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    for turn in 1..=3 {
        let mut stream = enter(&forward).await;
        echoes(&mut stream).await;
        assert_eq!(forward.counters().total, turn);
        goes_down(&sshd, &managed).await;
        is_reset(&mut stream).await;
        assert!(matches!(forward.state(), ForwardState::Listening));
        sshd.restart().unwrap();
    }
    let mut stream = enter(&forward).await;
    echoes(&mut stream).await;
    let tree = managed.tree().await;
    let node = tree.children.iter().find(|node| node.kind == NodeKind::Forward).unwrap();
    assert_eq!(node.children.len(), 1, "its channel is below it: {tree:#}");
    assert_eq!(forward.counters().failed, 3);
    soon("shutting down", managed.shutdown(Duration::ZERO)).await;
}

async fn waits() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(&sshd).await;
    let forward = managed.forward(Forward::local(any_port(), Destination::new().await.echo())).await.unwrap();
    goes_down(&sshd, &managed).await;
    let mut stream = enter(&forward).await;
    stream.write_all(b"patient ").await.unwrap();
    becomes_true("it waits", || forward.counters().open == 1).await;
    sshd.restart().unwrap();
    let mut heard = [0; 8];
    soon("an echo", tokio::io::AsyncReadExt::read_exact(&mut stream, &mut heard)).await.unwrap();
    assert_eq!(&heard, b"patient ");
    soon("shutting down", managed.shutdown(Duration::ZERO)).await;
}

async fn waits_in_vain() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(&sshd).await;
    let limit = Duration::from_millis(300);
    let spec = Forward::local(any_port(), ("localhost", 80)).while_down(WhileDown::Wait(limit));
    let forward = managed.forward(spec).await.unwrap();
    goes_down(&sshd, &managed).await;
    let began = std::time::Instant::now();
    is_turned_away(&forward).await;
    assert!(began.elapsed() >= limit);
    becomes_true("it is counted", || forward.counters().refused == 1).await;
    soon("shutting down", managed.shutdown(Duration::ZERO)).await;
}

async fn refuses() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(&sshd).await;
    let spec = Forward::local(any_port(), Destination::new().await.echo()).while_down(WhileDown::Refuse);
    let forward = managed.forward(spec).await.unwrap();
    goes_down(&sshd, &managed).await;
    is_turned_away(&forward).await;
    sshd.restart().unwrap();
    soon("being up", managed.connection()).await.unwrap();
    let mut stream = enter(&forward).await;
    echoes(&mut stream).await;
    soon("shutting down", managed.shutdown(Duration::ZERO)).await;
}

async fn ends() {
    let sshd = Sshd::builder().start().unwrap();
    let managed = manage(&sshd).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socks").display().to_string();
    let forward = managed.forward(Forward::dynamic(Endpoint::unix(&path))).await.unwrap();
    assert!(std::path::Path::new(&path).exists());
    managed.stop();
    let end = soon("the end of the forward", forward.closed()).await;
    assert!(matches!(end, ForwardEnd::Connection(_)), "{end}");
    assert!(!std::path::Path::new(&path).exists(), "its socket is removed");
    // The last handle of a forward is also the last that keeps the connection.
    let managed = manage(&sshd).await;
    let forward = managed.forward(Forward::dynamic(any_port())).await.unwrap();
    let mut states = managed.states();
    let keeper = managed.keeper();
    drop(managed);
    assert!(states.borrow_and_update().is_up());
    drop(forward);
    soon("the keeper's end", keeper.wait(None)).await.unwrap();
}
