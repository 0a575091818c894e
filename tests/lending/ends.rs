//! What is left of what was lent, when the daemon has stopped: nothing.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::kit::{Peer, peer_test};
use crate::support::{Agent, Served, XServer, soon};

pub(crate) fn trials() -> Vec<Trial> {
    let peers = [Peer::OpenSshAgent, Peer::Xvfb];
    vec![peer_test("nothing_of_what_was_lent_is_left_when_stop_returns", peers, stopped)]
}

const SESSIONS: usize = 8;

async fn stopped() {
    let (agent, x) = (Agent::start().await, XServer::start().await);
    let served = Served::lent_to().await;
    let conn = served.connect().await;
    let (mut made, mut displays, mut holds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SESSIONS {
        let says = "echo $SSH_AUTH_SOCK; echo $XAUTHORITY; echo $DISPLAY; exec cat";
        let command = conn.exec(says).forward_agent(agent.forward()).forward_x11(x.trusted());
        let mut child = soon(command.spawn()).await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..2 {
            let file = PathBuf::from(soon(lines.next_line()).await.unwrap().unwrap());
            assert!(file.exists(), "{}", file.display());
            made.push(file.parent().map(Path::to_owned).unwrap());
        }
        let display = soon(lines.next_line()).await.unwrap().unwrap();
        let number = display.strip_prefix("localhost:").and_then(|rest| rest.strip_suffix(".0")).unwrap();
        displays.push(6000 + number.parse::<u16>().unwrap());
        holds.push((child, lines));
    }
    soon(served.daemon.stop()).await;
    let left: Vec<_> = made.iter().filter(|directory| directory.exists()).collect();
    assert!(left.is_empty(), "{left:?} of {}", made.len());
    for port in displays {
        let open = std::net::TcpStream::connect(("127.0.0.1", port));
        assert!(open.is_err(), "somebody listens on {port}");
    }
}
