//! The hostile peer is able to behave.

use libtest_mimic::Trial;

use crate::kex::Exchange;
use crate::rules::test;
use crate::target::Target;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("an_honest_raw_peer_logs_in_and_gets_its_echo", honest)]
}

async fn honest() {
    let target = Target::start().await;
    let mut bystander = target.bystander().await;
    let (mut peer, sibling) = target.guest().await;
    assert_eq!(target.started(), 2);
    Exchange::run(&mut peer).await.unwrap();
    peer.echo(sibling).await.unwrap();
    bystander.lives().await;
}
