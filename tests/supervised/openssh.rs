//! The whole against `sshd`, in real time.

use std::time::Duration;

use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::error::ConnectionError;
use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles};
use ractor_ssh::supervised::{IncarnationEnd, SupervisedState};
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, Incarnation, Next,
};
use tokio::sync::mpsc;

use crate::kit::{Peer, Sshd, Verdict, execute, verdict};

/// A remote shell that tells its process id and waits.
struct Remote(Incarnation, mpsc::UnboundedSender<(Incarnation, i32)>);

impl ClientChannel for Remote {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("echo $$; read line").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Data { data, .. } = msg {
            self.1.send((self.0.clone(), std::str::from_utf8(&data)?.trim().parse()?))?;
        }
        Ok(Next::Continue)
    }
}

#[test]
fn a_remote_process_that_is_killed_is_started_again_until_the_server_goes() {
    let missing: Vec<String> = Peer::OpenSshServer.missing().into_iter().collect();
    let required = std::env::var("REQUIRE_PEERS").is_ok_and(|value| value == "1");
    match verdict(&missing, required) {
        Verdict::Run => {}
        Verdict::Ignore(reason) => return eprintln!("skipped: {reason}"),
        Verdict::Fail(reason) => panic!("{reason}"),
    }
    execute(Duration::from_secs(60), "supervised", killed_and_back).unwrap();
}

async fn killed_and_back() {
    // A bash that sshd starts reads ~/.bashrc, unless it takes itself for a nested one.
    let sshd = Sshd::builder().config("SetEnv SHLVL=2").start().unwrap();
    let config = ClientConfig::new("127.0.0.1", sshd.user())
        .port(sshd.port())
        .auth(Auth::new().identity(Identity::load(sshd.identity(), None).await.unwrap()))
        .host_key(HostKeyPolicy::strict(KnownHostsFiles::new([sshd.known_hosts()])));
    let conn = Client::new(config).connect().await.unwrap();
    let (tell, mut pids) = mpsc::unbounded_channel();
    let pauses = Backoff::fixed(Duration::from_millis(10));
    let spec = ChannelSpec::new(move |incarnation| Remote(incarnation, tell.clone()))
        .restart(RestartPolicy::permanent().backoff(pauses));
    let channel = conn.supervise(spec).await.unwrap();
    for number in 1..=3 {
        let (incarnation, pid) = pids.recv().await.unwrap();
        assert_eq!(incarnation.number, number);
        if number > 1 {
            let Some(IncarnationEnd::Stopped(reason)) = incarnation.last else { panic!("no reason") };
            assert!(reason.is_normal(), "the peer closed: {reason}");
        }
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    pids.recv().await.unwrap();
    sshd.kill();
    match channel.wait().await {
        SupervisedState::Down(ConnectionError::Lost(_) | ConnectionError::Disconnected { .. }) => {}
        other => panic!("{other}"),
    }
}
