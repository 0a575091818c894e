//! SSH channels as supervised actors, in one process over loopback, with nothing to set up.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::host_key::{HostKeyPin, HostKeyPolicy};
use ractor_ssh::ractor::RpcReplyPort;
use ractor_ssh::supervised::SupervisedState;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::keys::{HashAlg, PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, ConnectionRef,
    Daemon, DaemonConfig, DaemonRef, ExecOutput, Incarnation, Next, Router, ServerChannel, ServerSide,
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let began = Instant::now();
    let (host_key, user_key) = (generate_ed25519(), generate_ed25519());

    // A daemon of our own: one user with one key, one command, one subsystem that never ends.
    let daemon = daemon(&host_key, user_key.public_key()).await?;
    println!("daemon      listens on {}", daemon.local_addr());

    // A client that trusts exactly that host key.
    let pin = host_key.public_key().fingerprint(HashAlg::Sha256).to_string().parse::<HostKeyPin>()?;
    let config = ClientConfig::new("127.0.0.1", "you")
        .port(daemon.local_addr().port())
        .host_key(HostKeyPolicy::pinned([pin]))
        .auth(Auth::new().identity(Identity::from_private_key(user_key)));
    let conn = Client::new(config).connect().await?;
    let info = conn.info().await?;
    println!(
        "connection  {} as {}, host key {}",
        info.algorithms.cipher, info.user, info.host_key_fingerprint
    );

    let output = conn.command("greet").arg("O'Hara & sons").output().await?;
    println!("command     `greet`: {}, said: {}", output.status, output.stdout_text().trim_end());

    supervised(&conn).await?;

    conn.close().await;
    daemon.stop().await;
    println!("shut down   everything has ended, after {:?}", began.elapsed());
    Ok(())
}

/// A long-running channel with a stable address: it is killed, comes back, and the address still answers.
async fn supervised(conn: &ConnectionRef) -> Result<(), BoxError> {
    let pauses = Backoff::fixed(Duration::from_millis(20));
    let policy = RestartPolicy::permanent().intensity(3, Duration::from_secs(10)).backoff(pauses);
    let watch = conn.supervise(ChannelSpec::new(Watch::new).restart(policy)).await?;
    let channel = watch.up().await?;
    println!("supervised  {}, counts ticks: {}", watch.state(), ticks(&watch).await?);

    channel.kill();
    println!("killed      the channel actor ended: {}", channel.wait().await);
    let mut states = watch.states();
    states.wait_for(|state| matches!(state, SupervisedState::Up { incarnation: 2, .. })).await?;
    println!("restarted   {}, at the same address, counts ticks: {}", watch.state(), ticks(&watch).await?);

    watch.stop();
    println!("stopped     {}", watch.wait().await);
    Ok(())
}

async fn ticks(watch: &ractor_ssh::SupervisedRef<Watch>) -> Result<u64, BoxError> {
    Ok(watch.call(Ask::AfterThree, Duration::from_secs(5)).await?)
}

/// The client's side of a channel that counts what it is sent.
struct Watch {
    ticks: u64,
    asked: Vec<RpcReplyPort<u64>>,
}

/// What others can ask of it.
enum Ask {
    /// How many ticks there were, once there were three.
    AfterThree(RpcReplyPort<u64>),
}

impl Watch {
    fn new(_: Incarnation) -> Self {
        Self { ticks: 0, asked: Vec::new() }
    }

    fn answer(&mut self) {
        if self.ticks >= 3 {
            self.asked.drain(..).for_each(|port| drop(port.send(self.ticks)));
        }
    }
}

impl ClientChannel for Watch {
    type Msg = Ask;

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.subsystem("ticker").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        if let ChannelMsg::Data { data, .. } = msg {
            self.ticks += data.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.answer();
        }
        Ok(Next::Continue)
    }

    async fn handle_msg(&mut self, msg: Ask, _: &mut ChannelContext<Self>) -> Result<Next, BoxError> {
        let Ask::AfterThree(port) = msg;
        self.asked.push(port);
        self.answer();
        Ok(Next::Continue)
    }
}

/// The daemon's side of it: a line every ten milliseconds, for ever.
struct Ticker;

impl ServerChannel for Ticker {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        let channel = ctx.handle();
        tokio::spawn(async move {
            // Ends with the channel: nothing can be sent then.
            while channel.send("tick\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Ok(())
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn daemon(host_key: &PrivateKey, user: &PublicKey) -> Result<DaemonRef, BoxError> {
    let user = user.clone();
    let router = Router::new()
        .exec_fn(|request| async move { ExecOutput::ok(format!("you asked for: {}\n", request.command())) })
        .subsystem("ticker", |_| Ticker);
    let config = DaemonConfig::new((Ipv4Addr::LOCALHOST, 0))
        .host_key(host_key.clone())
        .public_key(move |login, key| {
            let welcome = login.user == "you" && key.key_data() == user.key_data();
            async move { welcome }
        })
        .router(router);
    Ok(Daemon::start(config).await?)
}
