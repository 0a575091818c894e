//! A live system to look at: a daemon on loopback, two managed connections to it, and supervised channels that follow
//! feeds, one that fails now and then, and one that is slow.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::config::Limits;
use ractor_ssh::host_key::{HostKeyPin, HostKeyPolicy};
use ractor_ssh::observe::Group;
use ractor_ssh::supervision::{Backoff, RestartPolicy};
use ractor_ssh::wire::keys::{HashAlg, generate_ed25519};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, Daemon,
    DaemonConfig, DaemonRef, ManagedRef, ManagedSpec, Next, Router, ServerChannel, ServerSide, SupervisedRef,
};

/// How often a feed sends.
const BEAT: Duration = Duration::from_millis(100);

/// The system. It ends with this value.
pub(crate) struct Demo {
    daemon: DaemonRef,
    managed: Vec<ManagedRef>,
    feeds: Vec<SupervisedRef<Follow>>,
    others: (SupervisedRef<Moody>, SupervisedRef<Slow>),
}

impl Demo {
    /// Starts it all.
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let (host_key, user_key) = (generate_ed25519(), generate_ed25519());
        let known = user_key.public_key().clone();
        let config = DaemonConfig::new((Ipv4Addr::LOCALHOST, 0))
            .host_key(host_key.clone())
            .public_key(move |_, key| {
                let welcome = key.key_data() == known.key_data();
                async move { welcome }
            })
            .router(Router::new().exec_if(|request| Feed::parse(&request.command())));
        let daemon = Daemon::start(config).await?;

        let pin: HostKeyPin = host_key.public_key().fingerprint(HashAlg::Sha256).to_string().parse()?;
        let target = |user: &str| {
            ClientConfig::new("127.0.0.1", user)
                .port(daemon.local_addr().port())
                .host_key(HostKeyPolicy::pinned([pin.clone()]))
                .auth(Auth::new().identity(Identity::from_private_key(user_key.clone())))
        };
        let web = Client::new(target("web")).manage(ManagedSpec::new()).await?;
        // So little may be unread here that a slow channel stops the reading of all.
        let mut narrow = Limits::default();
        narrow.inbound_budget = 256 << 10;
        let backup = Client::new(target("backup").limits(narrow)).manage(ManagedSpec::new()).await?;

        let mut feeds = Vec::new();
        for (managed, rate) in [(&web, 2_000), (&web, 40_000), (&web, 400_000), (&backup, 8_000)] {
            let line = format!("feed {rate}");
            feeds.push(managed.supervise(follow(line)).await?);
        }
        let moody =
            ChannelSpec::new(|_| Moody { patience: 40 + rand::random::<u32>() % 60 }).restart(policy());
        let slow = ChannelSpec::new(|_| Slow).restart(policy());
        let others = (web.supervise(moody).await?, backup.supervise(slow).await?);
        Ok(Self { daemon, managed: vec![web, backup], feeds, others })
    }

    /// What is to be looked at.
    pub(crate) fn house(&self) -> Group {
        let house = Group::new("demo").with(self.daemon.clone());
        self.managed.iter().fold(house, |house, managed| house.with(managed.clone()))
    }

    /// Ends it all.
    pub(crate) async fn stop(self) {
        self.feeds.iter().for_each(SupervisedRef::stop);
        self.others.0.stop();
        self.others.1.stop();
        for managed in &self.managed {
            managed.shutdown(Duration::from_secs(1)).await;
        }
        self.daemon.stop().await;
    }
}

/// Comes back for ever, after a pause that can be seen.
pub(crate) fn policy() -> RestartPolicy {
    RestartPolicy::permanent().never_give_up().backoff(Backoff::fixed(Duration::from_secs(1)))
}

/// A supervised channel that runs a command.
pub(crate) fn follow(line: String) -> ChannelSpec<Follow> {
    ChannelSpec::new(move |_| Follow(line.clone())).restart(policy())
}

/// Runs a command and takes what it prints.
pub(crate) struct Follow(String);

impl ClientChannel for Follow {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(self.0.clone()).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

/// Fails after so many messages.
struct Moody {
    patience: u32,
}

impl ClientChannel for Moody {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("feed 10000").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        self.patience = self.patience.checked_sub(1).ok_or("lost its temper")?;
        Ok(Next::Continue)
    }
}

/// Takes its time with every message.
struct Slow;

impl ClientChannel for Slow {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("feed 200000").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _: ChannelMsg,
        _: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        tokio::time::sleep(Duration::from_secs(4)).await;
        Ok(Next::Continue)
    }
}

/// The daemon's side: so many bytes a second.
struct Feed {
    bytes_a_beat: usize,
}

impl Feed {
    fn parse(command: &str) -> Option<Self> {
        let rate: usize = command.strip_prefix("feed ")?.parse().ok()?;
        Some(Self { bytes_a_beat: (rate / 10).clamp(1, 1 << 20) })
    }
}

impl ServerChannel for Feed {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        let (channel, piece) = (ctx.handle(), Bytes::from(vec![b'.'; self.bytes_a_beat]));
        tokio::spawn(async move {
            // Ends with the channel: nothing can be sent then.
            while channel.send(piece.clone()).await.is_ok() {
                tokio::time::sleep(BEAT).await;
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
