//! What a login may lend: `no-agent-forwarding`, `no-X11-forwarding` and `restrict` come before what the daemon allows.

use libtest_mimic::Trial;
use ractor_ssh::error::{Phase, RequestError};
use ractor_ssh::session::CommandError;
use ractor_ssh::{ConnectionRef, Permissions, Router};

use crate::kit::{Peer, peer_test};
use crate::support::{Agent, Served, XServer, processes, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let peers = [Peer::OpenSshAgent, Peer::Xvfb];
    vec![
        peer_test("a_login_that_may_not_lend_lends_nothing", peers, permissions),
        peer_test("a_user_is_lent_as_much_as_the_daemon_allows_on_all_its_connections", peers, limited),
        peer_test("the_daemon_decides_by_who_is_logged_in_and_a_panic_is_a_no", peers, policies),
    ]
}

/// Whether the agent is taken, and the display.
async fn taken(conn: &ConnectionRef, agent: &Agent, x: &XServer) -> (bool, bool) {
    let with_agent = soon(conn.exec("true").forward_agent(agent.forward()).output()).await;
    let with_display = soon(conn.exec("true").forward_x11(x.trusted()).output()).await;
    let judge = |result: Result<_, CommandError>| match result {
        Ok(_) => true,
        Err(CommandError::Request(RequestError::Refused { .. })) => false,
        Err(other) => panic!("{other}"),
    };
    (judge(with_agent), judge(with_display))
}

async fn permissions() {
    let (agent, x) = (Agent::start().await, XServer::start().await);
    let (mut no_agent, mut no_display) = (Permissions::all(), Permissions::all());
    no_agent.agent_forwarding = false;
    no_display.x11_forwarding = false;
    for (permissions, expected) in [
        (Permissions::all(), (true, true)),
        (no_agent, (false, true)),
        (no_display, (true, false)),
        (Permissions::none(), (false, false)),
    ] {
        let router = processes().agent_forwarding(|_| true).x11_forwarding(|_| true);
        let served = Served::permitting(router, permissions).await;
        let conn = served.connect().await;
        assert_eq!(taken(&conn, &agent, &x).await, expected);
    }
}

async fn policies() {
    let (agent, x) = (Agent::start().await, XServer::start().await);
    for (router, expected) in [
        (processes(), (false, false)),
        (processes().agent_forwarding(|session| session.user == "alice"), (true, false)),
        (processes().x11_forwarding(|session| session.peer.is_some()), (false, true)),
        (processes().agent_forwarding(|session| session.user == "bob"), (false, false)),
        (panicking(), (false, false)),
    ] {
        let served = Served::start(router).await;
        let conn = served.connect().await;
        assert_eq!(taken(&conn, &agent, &x).await, expected);
    }
}

async fn limited() {
    let (agent, x) = (Agent::start().await, XServer::start().await);
    let router = processes().agent_forwarding(|_| true).x11_forwarding(|_| true);
    let served = Served::configured(router, Permissions::all(), |config| {
        config.max_agents_per_user(1).max_displays_per_user(1)
    })
    .await;
    let (one, other) = (served.connect().await, served.connect().await);
    let holds = one.exec("cat").forward_agent(agent.forward()).forward_x11(x.trusted());
    let holds = soon(holds.spawn()).await.unwrap();
    assert_eq!(taken(&other, &agent, &x).await, (false, false));
    assert_eq!(other.info().await.unwrap().phase, Phase::Up);
    drop(holds);
    // The daemon hears of it when the channel's close arrives.
    soon(async { while taken(&other, &agent, &x).await != (true, true) {} }).await;
}

#[allow(clippy::diverging_sub_expression, reason = "that is what is tested")]
fn panicking() -> Router {
    processes().agent_forwarding(|_| panic!("on purpose")).x11_forwarding(|_| panic!("on purpose"))
}
