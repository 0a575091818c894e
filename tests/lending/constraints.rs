//! Keys that are restricted to destinations (`ssh-add -h`): good for those and no others, however the agent travels. That
//! is only so if the agent is told of every session on the way (`session-bind@openssh.com`).

use libtest_mimic::Trial;
use ractor_ssh::ConnectionRef;
use ractor_ssh::auth::{AgentMode, Auth};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{Client, ClientConfig};

use crate::kit::{Peer, Sshd, peer_test};
use crate::support::{Agent, connect_to, soon, sshd};

pub(crate) fn trials() -> Vec<Trial> {
    let peers = [Peer::OpenSshServer, Peer::OpenSshClient, Peer::OpenSshAgent];
    vec![
        peer_test("a_key_for_one_host_logs_in_there_and_is_of_no_use_from_there", peers, one_hop),
        peer_test("a_key_for_a_way_leads_along_that_way_only", peers, two_hops),
        peer_test("a_key_for_a_host_behind_a_jump_host_logs_in_there", peers, jump),
    ]
}

/// An agent that knows these hosts by names, and has its key for these ways.
async fn restricted(hosts: &[(&str, &Sshd)], ways: &[&str]) -> Agent {
    let agent = Agent::empty().await;
    let known = agent.directory.path().join("known");
    let line =
        |(name, sshd): &(&str, &Sshd)| format!("{name} {}\n", sshd.host_keys()[0].public_fields().unwrap());
    std::fs::write(&known, hosts.iter().map(line).collect::<String>()).unwrap();
    let mut arguments = vec!["-H", known.to_str().unwrap()];
    for way in ways {
        arguments.extend(["-h", way]);
    }
    agent.add(&arguments).await;
    for (_, sshd) in hosts {
        sshd.authorize(&agent.key.public_line().unwrap()).unwrap();
    }
    agent
}

fn by_agent(sshd: &Sshd, agent: &Agent) -> ClientConfig {
    ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().agent_at(AgentMode::Required, agent.socket()))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])))
}

async fn listed(conn: &ConnectionRef, agent: &Agent) -> String {
    let command = conn.exec("ssh-add -l 2>&1").forward_agent(agent.forward());
    soon(command.output()).await.unwrap().stdout_text().into_owned()
}

/// Logs in from one server to another with the agent that was lent to the first; the exit status of what runs there.
async fn onward(conn: &ConnectionRef, to: &Sshd, agent: &Agent) -> Option<u32> {
    let line = format!(
        "ssh -F none -o BatchMode=yes -o IdentitiesOnly=no -o IdentityFile=none -o StrictHostKeyChecking=yes \
         -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile={} -l {} -p {} 127.0.0.1 exit 42",
        to.known_hosts().display(),
        to.user(),
        to.port()
    );
    let output = soon(conn.exec(line).forward_agent(agent.forward()).output()).await.unwrap();
    output.status.code()
}

async fn one_hop() {
    let (here, there) = (sshd(), sshd());
    let agent = restricted(&[("here", &here), ("there", &there)], &["here"]).await;
    let conn = soon(Client::new(by_agent(&here, &agent)).connect()).await.unwrap();
    assert!(soon(Client::new(by_agent(&there, &agent)).connect()).await.is_err(), "the key is not for there");
    let seen = listed(&conn, &agent).await;
    assert!(seen.contains("no identities"), "from here it leads nowhere: {seen}");
    assert_eq!(onward(&conn, &there, &agent).await, Some(255));
    // The same agent without restrictions, as a check of the check.
    agent.add(&[]).await;
    assert!(listed(&connect_to(&here).await, &agent).await.contains(&agent.listed()));
}

async fn two_hops() {
    let (here, there, elsewhere) = (sshd(), sshd(), sshd());
    let hosts = [("here", &here), ("there", &there), ("elsewhere", &elsewhere)];
    let agent = restricted(&hosts, &["here", "here>there"]).await;
    let conn = soon(Client::new(by_agent(&here, &agent)).connect()).await.unwrap();
    let seen = listed(&conn, &agent).await;
    assert!(seen.contains(&agent.listed()), "from here it leads on: {seen}");
    assert_eq!(onward(&conn, &there, &agent).await, Some(42));
    assert_eq!(onward(&conn, &elsewhere, &agent).await, Some(255));
}

/// Both logins are ours, and each is bound by itself.
async fn jump() {
    let (hop, target) = (sshd(), sshd());
    let agent = restricted(&[("hop", &hop), ("target", &target)], &["hop", "target"]).await;
    let config = by_agent(&target, &agent).jump(by_agent(&hop, &agent));
    let conn = soon(Client::new(config).connect()).await.unwrap();
    let seen = listed(&conn, &agent).await;
    assert!(seen.contains("no identities"), "from the target it leads nowhere: {seen}");
    agent.add(&[]).await;
    assert!(listed(&conn, &agent).await.contains(&agent.listed()));
}
