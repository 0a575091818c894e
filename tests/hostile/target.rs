//! The daemon under attack, and those who are not to notice it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ractor_ssh::login::SourcePenalties;
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Daemon, DaemonConfig, DaemonRef, Next, Router, ServerChannel,
    ServerSide, SessionRequest,
};
use secrecy::ExposeSecret;

use crate::channel::Chan;
use crate::logs;
use crate::peer::Peer;

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "open sesame";

/// A daemon that runs the programs of [`Program`].
pub(crate) struct Target {
    pub(crate) daemon: DaemonRef,
    started: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        Self::with(|config| config).await
    }

    pub(crate) async fn with(change: impl FnOnce(DaemonConfig) -> DaemonConfig) -> Self {
        Self::routed(|router| router, change).await
    }

    /// With more routes.
    pub(crate) async fn routed(
        more: impl FnOnce(Router) -> Router,
        change: impl FnOnce(DaemonConfig) -> DaemonConfig,
    ) -> Self {
        let (started, asked) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (starts, asks) = (Arc::clone(&started), Arc::clone(&asked));
        let run = move |request: SessionRequest| {
            starts.fetch_add(1, Ordering::SeqCst);
            Program::new(&request)
        };
        let also = run.clone();
        let router = Router::new().exec_if(run).subsystem("echo", move |request| {
            let _ = also(request);
            Program::Echo
        });
        // All peers, hostile or not, come from one address.
        let config = DaemonConfig::new(([127, 0, 0, 1], 0))
            .host_key(generate_ed25519())
            .router(more(router))
            .source_penalties(SourcePenalties::off());
        let config = config.password(move |attempt, password| {
            asks.fetch_add(1, Ordering::SeqCst);
            async move { attempt.user == USER && password.expose_secret() == PASSWORD }
        });
        Self { daemon: Daemon::start(change(config)).await.unwrap(), started, asked }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.daemon.local_addr()
    }

    /// How many programs were started.
    pub(crate) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// How many passwords were tried.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A connection of somebody else, with an echo on it.
    pub(crate) async fn bystander(&self) -> Bystander {
        let mut peer = Peer::logged_in(self.addr()).await;
        let chan = peer.run("echo").await.unwrap();
        let mut bystander = Bystander { peer, chan };
        bystander.lives().await;
        bystander
    }

    /// A hostile peer that has logged in, with a sibling of the channels it will abuse.
    pub(crate) async fn guest(&self) -> (Peer, Chan) {
        let mut peer = Peer::logged_in(self.addr()).await;
        let sibling = peer.run("echo").await.unwrap();
        peer.echo(sibling).await.unwrap();
        (peer, sibling)
    }

    /// The daemon says in its log why it ended the connection of this peer.
    pub(crate) async fn says_why(&self, peer: SocketAddr, why: &str) {
        logs::line(&peer.to_string(), why).await;
    }
}

/// Somebody who does nothing wrong.
pub(crate) struct Bystander {
    peer: Peer,
    chan: Chan,
}

impl Bystander {
    /// What is sent comes back.
    pub(crate) async fn lives(&mut self) {
        self.peer.echo(self.chan).await.expect("the connection of a bystander ended");
    }
}

/// What the daemon can run: `echo` sends back what comes, `hoard` takes everything in and gives no credit back,
/// `wait` consumes and says nothing, `pour` sends without end.
pub(crate) enum Program {
    Echo,
    Hoard(Vec<ractor_ssh::Credit>),
    Wait,
    Pour,
}

impl Program {
    fn new(request: &SessionRequest) -> Option<Self> {
        Some(match &*request.command() {
            "echo" => Self::Echo,
            "hoard" => Self::Hoard(Vec::new()),
            "wait" => Self::Wait,
            "pour" => Self::Pour,
            _ => return None,
        })
    }

    fn pour(&self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        if matches!(self, Self::Pour) {
            while ctx.is_ready() {
                ctx.send(vec![7; 64 << 10])?;
            }
            ctx.notify_when_ready();
        }
        Ok(())
    }
}

impl ServerChannel for Program {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        self.pour(ctx)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match (&mut *self, msg) {
            (Self::Echo, ChannelMsg::Data { data_type, data }) => {
                // The peer may have gone meanwhile.
                let _ = ctx.send_typed(data_type, data);
            }
            (Self::Hoard(credits), ChannelMsg::Data { .. }) => credits.extend(ctx.hold_credit()),
            (Self::Pour, ChannelMsg::ReadyToSend) => self.pour(ctx)?,
            (_, ChannelMsg::Eof) => ctx.exit(0)?,
            _ => {}
        }
        Ok(Next::Continue)
    }
}
