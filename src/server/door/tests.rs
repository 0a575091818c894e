//! The door by itself: a connection actor that only takes notes, and requests as the transport brings them.

use std::sync::Mutex;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use super::*;
use crate::config::{ChannelOptions, Rate};
use crate::error::Phase;
use crate::handle::msg::AcceptCommand;
use crate::observe::{Gauges, PhaseEvent};
use crate::port::budget::ConnectionBudget;
use crate::port::event::ChannelMsg;
use crate::server::request::{SessionKind, SessionRequest};
use crate::server::router::Route;
use crate::transport::door::{Decision, Guest};
use crate::wire::pty::{PtyRequest, WindowSize};
use crate::wire::request::X11Request;

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Recorder(Notes);

impl Actor for Recorder {
    type Msg = ConnectionMsg;
    type State = Vec<AcceptCommand>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): (),
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Vec::new())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ConnectionMsg::Accept(command) => state.push(command),
            ConnectionMsg::Expel(why) => self.0.add(format!("expel: {why}")),
            ConnectionMsg::Shutdown { .. } => self.0.add("drain"),
            _ => {}
        }
        Ok(())
    }
}

struct Fixture {
    door: ConnectionDoor,
    gauges: Arc<Gauges>,
    notes: Notes,
    actor: ActorRef<ConnectionMsg>,
}

impl Fixture {
    async fn new(router: Router, limits: SessionLimits, permissions: Permissions) -> Self {
        let notes = Notes::default();
        let (actor, _) = Actor::spawn(None, Recorder(notes.clone()), ()).await.unwrap();
        let gauges = Arc::new(Gauges::new());
        let reception = Reception {
            intake: Intake {
                actor: actor.clone(),
                budget: ConnectionBudget::new(1 << 20),
                keys: Arc::default(),
                options: ChannelOptions::default(),
                close_timeout: Duration::from_secs(1),
                gauges: Arc::clone(&gauges),
                phase: watch::channel(PhaseEvent::new(Phase::Up)).1,
            },
            router: Arc::new(router),
            limits,
            lend_limits: LendLimits { agents: 2, displays: 1 },
            lending: Arc::default(),
            open_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            login: Login {
                user: "alice".into(),
                peer: None,
                local: None,
                permissions: Arc::new(permissions),
            },
        };
        Self { door: ConnectionDoor::new(reception, Slots::new(64)), gauges, notes, actor }
    }

    fn session(&mut self) -> Box<dyn Guest> {
        match self.door.open(OpenRequest::Session) {
            Admission::Now(new) => new.guest.expect("a daemon decides about requests"),
            other => panic!("{}", name(&other)),
        }
    }

    /// What the connection actor was told.
    async fn told(&self) -> Vec<String> {
        while self.notes.read().is_empty() {
            tokio::task::yield_now().await;
        }
        self.notes.read()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.actor.stop(None);
    }
}

fn name(admission: &Admission) -> String {
    match admission {
        Admission::Now(_) => "taken in".into(),
        Admission::Later(_) => "decided later".into(),
        Admission::Refused(reason) => format!("refused: {}", reason.code()),
    }
}

/// A router that takes everything, and where what it was asked stands.
fn open_house() -> (Router, Arc<Mutex<Vec<SessionRequest>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writes = Arc::clone(&seen);
    let router = Router::new().decide(move |request| {
        writes.lock().unwrap().push(request);
        async { Route::run_fn(|_| async { 0 }) }
    });
    (router, seen)
}

fn exec(command: &str) -> ChannelMsg {
    ChannelMsg::Exec { want_reply: true, command: command.to_owned().into() }
}

fn env(name: &str, value: &str) -> ChannelMsg {
    ChannelMsg::Env { want_reply: true, name: name.into(), value: value.into() }
}

fn pty(term: &str, columns: u32) -> ChannelMsg {
    ChannelMsg::Pty { want_reply: true, request: PtyRequest::new(term).size(columns, 24) }
}

fn subsystem(name: &str) -> ChannelMsg {
    ChannelMsg::Subsystem { want_reply: true, name: name.into() }
}

fn answer(decision: &Decision) -> Option<bool> {
    match decision {
        Decision::Answer(yes) => Some(*yes),
        _ => None,
    }
}

fn forced() -> Permissions {
    let mut permissions = Permissions::all();
    permissions.force_command = Some("backup --receive".into());
    permissions.environment = vec![("ROLE".into(), "backup".into())];
    permissions
}

#[tokio::test]
async fn a_forced_command_runs_instead_of_commands_shells_and_subsystems() {
    let original = |text: &str| ("SSH_ORIGINAL_COMMAND".to_owned(), text.to_owned());
    let cases = [
        (exec("rm -rf /"), Some(original("rm -rf /"))),
        (ChannelMsg::Shell { want_reply: true }, None),
        (subsystem("sftp"), Some(original("sftp"))),
    ];
    for (asked, expected) in cases {
        let (router, seen) = open_house();
        let mut fixture = Fixture::new(router, SessionLimits::default(), forced()).await;
        let mut guest = fixture.session();
        assert_eq!(answer(&guest.request(env("LANG", "C"))), Some(true));
        assert_eq!(answer(&guest.request(env("ROLE", "root"))), Some(false));
        assert_eq!(answer(&guest.request(env("SSH_ORIGINAL_COMMAND", "x"))), Some(false));
        assert!(matches!(guest.request(asked), Decision::Later(_)));
        let request = seen.lock().unwrap().pop().unwrap();
        assert_eq!(request.kind, SessionKind::Exec { command: "backup --receive".into() });
        assert_eq!(request.env, [("LANG".to_owned(), "C".to_owned())]);
        let mut environment = vec![("ROLE".to_owned(), "backup".to_owned())];
        environment.extend(expected);
        assert_eq!(request.environment, environment);
        assert_eq!(fixture.gauges.requests_refused(), 2);
    }
}

#[tokio::test]
async fn a_behaviour_with_the_whole_session_gets_the_forced_command_behind_its_variables() {
    let router =
        Router::new().session_async(|_| async { Err::<Nobody, _>(OpenFailureReason::ConnectFailed) });
    let fixture = Fixture::new(router, SessionLimits::default(), forced()).await;
    let mut visitor = Visitor::new(Arc::clone(&fixture.door.reception), Mode::Whole);
    let Decision::Deliver { before, request } = visitor.request(exec("ls")) else { panic!("not delivered") };
    let variables: Vec<String> = before
        .iter()
        .map(|event| match event {
            ChannelMsg::Env { want_reply: false, name, value } => format!("{name}={value}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(variables, ["ROLE=backup", "SSH_ORIGINAL_COMMAND=ls"]);
    assert!(matches!(request, ChannelMsg::Exec { command, .. } if command == "backup --receive"));
}

struct Nobody;

impl crate::behaviour::ServerChannel for Nobody {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut crate::behaviour::ChannelContext<Self, crate::behaviour::ServerSide>,
    ) -> Result<crate::behaviour::Next, crate::error::BoxError> {
        Ok(crate::behaviour::Next::Stop)
    }
}

#[tokio::test]
async fn a_restricted_login_gets_no_terminal_no_display_and_no_ports() {
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let router = Router::new().direct_tcpip(move |_| {
        *count.lock().unwrap() += 1;
        Nobody
    });
    let mut fixture = Fixture::new(router.clone(), SessionLimits::default(), Permissions::none()).await;
    let mut visitor = Visitor::new(Arc::clone(&fixture.door.reception), Mode::Whole);
    assert_eq!(answer(&visitor.request(pty("vt100", 80))), Some(false));
    let display =
        || ChannelMsg::X11 { want_reply: true, request: X11Request::new("MIT-MAGIC-COOKIE-1", "00") };
    assert_eq!(answer(&visitor.request(display())), Some(false));
    let open = |host: &str, port| OpenRequest::DirectTcpip {
        host: host.into(),
        port,
        originator_host: "::1".into(),
        originator_port: 1,
    };
    assert_eq!(name(&fixture.door.open(open("db", 5432))), "refused: 1");
    assert_eq!(fixture.gauges.opens_refused(), 1);

    let mut permissions = Permissions::all();
    permissions.permit_open = Some(vec!["db:5432".into()]);
    let mut fixture = Fixture::new(router, SessionLimits::default(), permissions).await;
    assert_eq!(name(&fixture.door.open(open("db", 22))), "refused: 1");
    assert_eq!(*asked.lock().unwrap(), 0);
    assert_eq!(name(&fixture.door.open(open("db", 5432))), "taken in");
    assert_eq!(*asked.lock().unwrap(), 1);
    let mut visitor = Visitor::new(Arc::clone(&fixture.door.reception), Mode::Whole);
    assert_eq!(answer(&visitor.request(pty("vt100", 80))), None);
    assert_eq!(answer(&visitor.request(display())), None);
}

#[tokio::test]
async fn what_is_too_big_is_refused_and_counted() {
    let (router, seen) = open_house();
    let mut limits = SessionLimits::default();
    (limits.env_vars, limits.env_bytes, limits.command_bytes, limits.name_bytes) = (2, 10, 8, 8);
    let mut fixture = Fixture::new(router, limits, Permissions::all()).await;
    let mut guest = fixture.session();
    let long = "123456789";
    let refused = [
        env("A", "1234567890"),
        exec(long),
        subsystem(long),
        pty(long, 80),
        pty("vt100", 65_536),
        ChannelMsg::X11 { want_reply: true, request: X11Request::new(long, long) },
    ];
    let count = refused.len() as u64;
    for request in refused {
        let text = format!("{request:?}");
        assert_eq!(answer(&guest.request(request)), Some(false), "{text}");
    }
    assert!(!guest.event(&ChannelMsg::WindowChange { size: WindowSize::new(70_000, 1) }));
    assert!(guest.event(&ChannelMsg::WindowChange { size: WindowSize::new(65_535, 1) }));
    assert_eq!(fixture.gauges.requests_refused(), count + 1);
    assert_eq!(answer(&guest.request(env("A", "1234"))), Some(true));
    assert_eq!(answer(&guest.request(env("B", "12345"))), Some(false), "11 bytes in all");
    assert_eq!(answer(&guest.request(env("B", "1234"))), Some(true));
    assert_eq!(answer(&guest.request(env("", ""))), Some(false), "a third one");
    assert_eq!(answer(&guest.request(pty("12345678", 65_535))), Some(true));
    assert!(seen.lock().unwrap().is_empty());
    assert!(matches!(guest.request(exec("12345678")), Decision::Later(_)));
}

#[tokio::test]
async fn a_connection_that_has_had_its_channels_drains() {
    let limits = SessionLimits { max_opens: 2, ..SessionLimits::default() };
    let mut fixture = Fixture::new(Router::new(), limits, Permissions::all()).await;
    let seen: Vec<String> = (0..4).map(|_| name(&fixture.door.open(OpenRequest::Session))).collect();
    assert_eq!(seen, ["taken in", "taken in", "refused: 4", "refused: 4"]);
    assert_eq!(fixture.told().await, ["drain"]);
    assert_eq!(fixture.gauges.opens_refused(), 2);
}

#[tokio::test]
async fn opens_beyond_the_rate_are_refused_and_a_flood_of_them_ends_the_connection_once() {
    let limits = SessionLimits { opens: Rate::new(1, 3), ..SessionLimits::default() };
    let mut fixture = Fixture::new(Router::new(), limits, Permissions::all()).await;
    let seen: Vec<String> = (0..20).map(|_| name(&fixture.door.open(OpenRequest::Session))).collect();
    assert!(
        seen[..3].iter().all(|what| what == "taken in") && seen[3..].iter().all(|what| what == "refused: 4")
    );
    assert!(fixture.notes.read().is_empty());
    for _ in 0..50 {
        fixture.door.turn_away();
    }
    assert_eq!(fixture.told().await, ["expel: too many channel opens per second"]);
    assert_eq!(fixture.gauges.opens_refused(), 67);
}

#[tokio::test]
async fn requests_beyond_the_rate_are_refused_and_a_flood_of_them_ends_the_connection_once() {
    let limits = SessionLimits { requests: Rate::new(1, 5), ..SessionLimits::default() };
    let mut fixture = Fixture::new(Router::new(), limits, Permissions::all()).await;
    let allowed = (0..40).filter(|_| fixture.door.may_ask()).count();
    assert_eq!(allowed, 5);
    assert!(fixture.notes.read().is_empty());
    assert!((0..40).all(|_| !fixture.door.may_ask()));
    assert_eq!(fixture.told().await, ["expel: too many channel requests per second"]);
    assert_eq!(fixture.gauges.requests_refused(), 75);
}

/// Router, and what asks for its agent and for its display.
fn lending_house() -> (Router, Arc<Mutex<Vec<SessionRequest>>>, [ChannelMsg; 2]) {
    let (router, seen) = open_house();
    let router = router.agent_forwarding(|_| true).x11_forwarding(|_| true);
    let cookie = X11Request::new("MIT-MAGIC-COOKIE-1", "00112233445566778899aabbccddeeff");
    let display = ChannelMsg::X11 { want_reply: true, request: cookie };
    (router, seen, [ChannelMsg::AuthAgent { want_reply: true }, display])
}

/// Waits, as the session does.
async fn settled(decision: Decision) -> Option<bool> {
    match decision {
        Decision::Wait(decision) => Some(decision.await),
        decision => answer(&decision),
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_lent_is_made_off_the_callback_and_there_for_the_command_that_follows() {
    let (router, seen, asks) = lending_house();
    let mut fixture = Fixture::new(router, SessionLimits::default(), Permissions::all()).await;
    let mut guest = fixture.session();
    for ask in asks.clone() {
        let decision = guest.request(ask);
        assert!(matches!(decision, Decision::Wait(_)), "not decided in the callback");
        assert_eq!(settled(decision).await, Some(true));
    }
    let again: Vec<_> = asks.into_iter().map(|ask| answer(&guest.request(ask))).collect();
    assert_eq!(again, [Some(true), Some(false)], "the same agent; no second display");
    assert!(matches!(guest.request(exec("ls")), Decision::Later(_)));
    let request = seen.lock().unwrap().pop().unwrap();
    let (socket, display) = (request.agent_socket.unwrap(), request.x11.unwrap());
    assert!(tokio::net::UnixStream::connect(&socket).await.is_ok());
    assert!(display.authority.is_file());
    drop(guest);
    let gone = async {
        while socket.exists() || display.authority.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("all of it goes with the channel");
}

#[cfg(unix)]
#[tokio::test]
async fn a_user_has_so_many_agents_and_displays_and_gets_others_when_they_have_gone() {
    let (router, _, [agent, display]) = lending_house();
    let mut fixture = Fixture::new(router, SessionLimits::default(), Permissions::all()).await;
    let mut guests: Vec<_> = (0..3).map(|_| fixture.session()).collect();
    for (ask, expected) in [(&agent, [true, true, false]), (&display, [true, false, false])] {
        let before = fixture.gauges.requests_refused();
        for (guest, expected) in guests.iter_mut().zip(expected) {
            assert_eq!(settled(guest.request(ask.clone())).await, Some(expected));
        }
        let refused = expected.iter().filter(|yes| !**yes).count() as u64;
        assert_eq!(fixture.gauges.requests_refused() - before, refused);
    }
    drop(guests.remove(0));
    for ask in [agent, display] {
        assert_eq!(settled(guests[1].request(ask)).await, Some(true));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_display_that_cannot_be_made_keeps_no_place() {
    let (router, _, [_, display]) = lending_house();
    let mut fixture = Fixture::new(router, SessionLimits::default(), Permissions::all()).await;
    let mut guest = fixture.session();
    let other = X11Request::new("XDM-AUTHORIZATION-1", "00");
    let other = ChannelMsg::X11 { want_reply: true, request: other };
    assert_eq!(settled(guest.request(other)).await, Some(false));
    assert_eq!(settled(guest.request(display)).await, Some(true));
}

#[tokio::test]
async fn a_channel_that_is_no_session_takes_no_requests() {
    let fixture = Fixture::new(Router::new(), SessionLimits::default(), Permissions::all()).await;
    let mut visitor = Visitor::new(Arc::clone(&fixture.door.reception), Mode::Deaf);
    assert_eq!(answer(&visitor.request(exec("ls"))), Some(false));
    assert!(!visitor.event(&ChannelMsg::WindowChange { size: WindowSize::new(80, 24) }));
}
