//! Our own client as the peer.

use libtest_mimic::Trial;
use ractor_ssh::auth::Auth;
use ractor_ssh::error::{OpenError, RequestError, StopReason};
use ractor_ssh::wire::codes::OpenFailureReason;
use ractor_ssh::wire::{PtyRequest, Signal, WindowSize};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Client, ClientChannel, ConnectError, DaemonConfig, Next, Router,
    ServerChannel, ServerSide,
};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;

use crate::kit::{Peer, peer_test};
use crate::programs::router;
use crate::support::{Served, soon};

const NONE: [Peer; 0] = [];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("our_client_sees_output_then_status_then_eof_then_closed", NONE, order),
        peer_test("a_subsystem_is_chosen_by_its_name_and_others_are_refused", NONE, subsystems),
        peer_test("a_second_command_on_a_channel_is_refused", NONE, second_command),
        peer_test("signals_and_new_window_sizes_reach_the_behaviour", NONE, signals),
        peer_test("a_whole_session_channel_gets_every_request_and_answers_it", NONE, whole),
        peer_test("data_sent_before_the_command_waits_for_the_behaviour", NONE, early_data),
        peer_test("a_route_that_panics_refuses_and_harms_nothing", NONE, panicking_route),
        peer_test("a_password_decides_and_a_wrong_one_is_refused", NONE, password),
        peer_test("without_a_callback_nobody_gets_in", NONE, nobody),
        peer_test("a_channel_type_without_a_door_is_prohibited", NONE, other_types),
        peer_test("a_configuration_without_a_host_key_is_refused", NONE, no_host_key),
        peer_test("dropping_the_last_handle_stops_the_daemon", NONE, dropped),
    ]
}

/// Runs a command and passes on what it is told.
pub(crate) struct Tell {
    pub(crate) command: &'static str,
    pub(crate) to: mpsc::UnboundedSender<ChannelMsg>,
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
        let _ = self.to.send(msg);
        Ok(Next::Continue)
    }
}

/// Opens a channel and does nothing with it.
pub(crate) struct Quiet;

impl ClientChannel for Quiet {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn order() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let (to, mut events) = mpsc::unbounded_channel();
    let channel = conn.session_channel(Tell { command: "fail", to }).await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = soon(events.recv()).await {
        seen.push(match event {
            ChannelMsg::Data { data, .. } => String::from_utf8_lossy(&data).into_owned(),
            ChannelMsg::ExitStatus { status } => status.to_string(),
            ChannelMsg::Eof => "eof".to_owned(),
            ChannelMsg::Closed { .. } => "closed".to_owned(),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["out\n", "err\n", "7", "eof", "closed"]);
    assert!(matches!(channel.wait().await, StopReason::Closed(_)));
    soon(conn.close()).await;
}

async fn subsystems() {
    let reports = Reports::default();
    let sender = reports.sender();
    let served = Served::start(Router::new().subsystem("clock", move |_| Report::new(&sender))).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = channel.subsystem("calendar").await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    channel.subsystem("clock").await.unwrap();
    channel.send("x").await.unwrap();
    assert_eq!(reports.next().await, "data x");
    soon(conn.close()).await;
    assert_eq!(reports.next().await, "closed");
}

async fn second_command() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.exec("cat").await.unwrap();
    let second = channel.exec("cat").await;
    assert!(matches!(second, Err(RequestError::Refused { .. })), "{second:?}");
    let late = channel.setenv("A", "b").await;
    assert!(matches!(late, Err(RequestError::Refused { .. })), "{late:?}");
    soon(conn.close()).await;
}

async fn signals() {
    let reports = Reports::default();
    let sender = reports.sender();
    let served = Served::start(Router::new().shell(move |_| Report::new(&sender))).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.shell().await.unwrap();
    channel.window_change(WindowSize::new(132, 43)).unwrap();
    channel.signal(Signal::from_name("INT")).unwrap();
    channel.send_eof().unwrap();
    assert_eq!(reports.next().await, "window 132x43");
    assert_eq!(reports.next().await, "signal INT");
    assert_eq!(reports.next().await, "eof");
    soon(conn.close()).await;
}

async fn whole() {
    let reports = Reports::default();
    let sender = reports.sender();
    let served = Served::with(|config| config.session_channel(move |_| Report::new(&sender))).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.ptty_alloc(PtyRequest::new("vt100").size(80, 24)).await.unwrap();
    channel.setenv("LANG", "C").await.unwrap();
    let refused = channel.setenv("SECRET", "x").await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    channel.exec("anything").await.unwrap();
    let expected = ["pty vt100 80x24", "env LANG=C", "env SECRET=x", "exec anything"];
    for event in expected {
        assert_eq!(reports.next().await, event);
    }
    soon(conn.close()).await;
}

async fn early_data() {
    let reports = Reports::default();
    let sender = reports.sender();
    let served = Served::start(Router::new().shell(move |_| Report::new(&sender))).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    channel.send("early").await.unwrap();
    channel.shell().await.unwrap();
    channel.send("late").await.unwrap();
    assert_eq!(reports.next().await, "data early");
    assert_eq!(reports.next().await, "data late");
    soon(conn.close()).await;
}

async fn panicking_route() {
    let served = Served::start(router().shell(|_| -> Report { panic!("planted") })).await;
    let conn = served.connect().await;
    let channel = conn.session_channel(Quiet).await.unwrap();
    let refused = channel.shell().await;
    assert!(matches!(refused, Err(RequestError::Refused { .. })), "{refused:?}");
    channel.exec("cat").await.unwrap();
    soon(conn.close()).await;
}

async fn password() {
    let served = Served::with(|config| {
        config.router(router()).password(|attempt, password| async move {
            attempt.user == "alice" && password.expose_secret() == "open sesame"
        })
    })
    .await;
    let with = |word: &str| served.client_config().auth(Auth::new().password(word.to_owned().into()));
    let conn = soon(Client::new(with("open sesame")).connect()).await.unwrap();
    soon(conn.close()).await;
    let refused = soon(Client::new(with("open barley")).connect()).await;
    assert!(matches!(refused, Err(ConnectError::Auth(_))), "{refused:?}");
}

async fn nobody() {
    let served = Served::with(|config| {
        DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(ractor_ssh::wire::keys::generate_ed25519()).router({
            drop(config);
            router()
        })
    })
    .await;
    let policy = ractor_ssh::host_key::HostKeyPolicy::danger_accept_anything();
    let config = served.client_config().host_key(policy);
    let refused =
        soon(Client::new(config.auth(Auth::new().none().password("x".to_owned().into()))).connect()).await;
    assert!(matches!(refused, Err(ConnectError::Auth(_))), "{refused:?}");
}

async fn other_types() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    let request = ractor_ssh::wire::open::OpenRequest::DirectStreamlocal { path: "/tmp/x".to_owned() };
    let refused = conn.open_channel(request, Default::default(), Quiet).await;
    let Err(OpenError::Refused { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, OpenFailureReason::AdministrativelyProhibited);
    soon(conn.close()).await;
}

async fn no_host_key() {
    let error = DaemonConfig::new(([127, 0, 0, 1], 0)).check().unwrap_err();
    assert_eq!(error.field, "host_key");
    assert!(error.fix.contains("generate_ed25519"), "{error}");
}

async fn dropped() {
    let served = Served::start(router()).await;
    let conn = served.connect().await;
    drop(served.daemon);
    soon(conn.closed()).await;
}

/// What behaviours report, in order.
pub(crate) struct Reports {
    sender: mpsc::UnboundedSender<String>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Default for Reports {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: receiver.into() }
    }
}

impl Reports {
    pub(crate) fn sender(&self) -> mpsc::UnboundedSender<String> {
        self.sender.clone()
    }

    pub(crate) async fn next(&self) -> String {
        soon(async { self.receiver.lock().await.recv().await.unwrap() }).await
    }
}

/// Reports every event; refuses a variable called `SECRET`.
pub(crate) struct Report(mpsc::UnboundedSender<String>);

impl Report {
    pub(crate) fn new(to: &mpsc::UnboundedSender<String>) -> Self {
        Self(to.clone())
    }
}

impl ServerChannel for Report {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        let (text, yes) = match msg {
            ChannelMsg::Data { data, .. } => (format!("data {}", String::from_utf8_lossy(&data)), true),
            ChannelMsg::Eof => ("eof".to_owned(), true),
            ChannelMsg::Closed { .. } => ("closed".to_owned(), true),
            ChannelMsg::Pty { request, .. } => {
                (format!("pty {} {}x{}", request.term, request.columns, request.rows), true)
            }
            ChannelMsg::Env { name, value, .. } => (format!("env {name}={value}"), name != "SECRET"),
            ChannelMsg::Exec { command, .. } => (format!("exec {}", String::from_utf8_lossy(&command)), true),
            ChannelMsg::WindowChange { size } => (format!("window {}x{}", size.columns, size.rows), true),
            ChannelMsg::Signal { signal } => (format!("signal {}", signal.name()), true),
            other => (format!("{other:?}"), true),
        };
        let _ = self.0.send(text);
        let _ = ctx.reply_request(yes);
        Ok(Next::Continue)
    }
}
