//! The core against a real server.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, Client, ClientChannel, ClientConfig, Next};
use tokio::sync::mpsc;

use crate::kit::{Peer, Sshd, peer_test};

pub fn trials() -> Vec<Trial> {
    vec![peer_test("a_command_tells_its_output_and_status_and_then_closes", Peer::OpenSshServer, one_command)]
}

struct Tell {
    command: &'static str,
    to: mpsc::UnboundedSender<ChannelMsg>,
}

impl ClientChannel for Tell {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        ctx.exec(self.command).await?;
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        self.to.send(msg)?;
        Ok(Next::Continue)
    }
}

async fn one_command() {
    let sshd = Sshd::builder().start().unwrap();
    let config = ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity(Identity::load(sshd.identity(), None).await.unwrap()))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
    let conn = Client::new(config).connect().await.unwrap();
    let (to, mut events) = mpsc::unbounded_channel();
    let channel = conn.session_channel(Tell { command: "echo hello; exit 3", to }).await.unwrap();
    while let Some(event) = events.recv().await {
        println!("{event:?}");
    }
    println!("{:?}", channel.wait().await);
    println!("{:#?}", conn.info().await);
    conn.rekey().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), conn.close()).await.unwrap();
}
