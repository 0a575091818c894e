//! Our client against servers that let it in and then keep no rules: a channel that is attacked may end, the connection
//! may end with a reason, its sibling lives as long as the connection does.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::error::{ConnectionError, StopReason};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelRef, Client, ClientChannel, ConnectionRef, Next,
};
use tokio::sync::mpsc;

use crate::channel::Chan;
use crate::rules::{Memory, alone, test};
use crate::server::{Attack, serve};
use crate::wire::{Payload, data, extended, number, open, request, to_channel};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("our_client_bears_what_concerns_one_channel", bears),
        test("our_client_ends_the_connection_with_a_reason_where_russh_does", ends),
        test("our_client_takes_a_close_more_than_once", closes),
        test("our_client_takes_a_refusal_of_an_open_channel_as_its_end", refused_later),
        test("our_client_takes_an_exit_signal_before_and_after_the_close", exit_signals),
        alone("our_client_bears_floods_in_bounded_memory", floods),
    ]
}

/// Runs a command and tells of everything but data, which it sums up.
struct Watch {
    command: &'static str,
    told: mpsc::UnboundedSender<String>,
    bytes: usize,
}

impl ClientChannel for Watch {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec(self.command).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        let text = match msg {
            ChannelMsg::Data { data, .. } => {
                self.bytes += data.len();
                if !data.starts_with(b"ping") {
                    return Ok(Next::Continue);
                }
                "pong".to_owned()
            }
            ChannelMsg::ExitSignal(exit) => format!("exit-signal {}", exit.signal.name()),
            ChannelMsg::Closed { .. } => "closed".to_owned(),
            ChannelMsg::Eof => "eof".to_owned(),
            _ => return Ok(Next::Continue),
        };
        let _ = self.told.send(text);
        Ok(Next::Continue)
    }
}

/// A client with an echo and a channel that was attacked when it opened.
struct Attacked {
    conn: ConnectionRef,
    sibling: ChannelRef<Watch>,
    echoes: mpsc::UnboundedReceiver<String>,
    victim: Option<ChannelRef<Watch>>,
    told: mpsc::UnboundedReceiver<String>,
}

impl Attacked {
    async fn by(attack: impl Fn(Chan, bool) -> Attack + Send + Sync + 'static) -> Self {
        let config = serve(move |mut peer| async move {
            peer.admit().await?;
            peer.go_on(attack).await
        });
        let conn = Client::new(config.await).connect().await.unwrap();
        let (echo, echoes) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        let sibling = conn.session_channel(Watch { command: "echo", told: echo, bytes: 0 }).await.unwrap();
        let victim = conn.session_channel(Watch { command: "attack", told: tell, bytes: 0 }).await.ok();
        Self { conn, sibling, echoes, victim, told }
    }

    async fn echo(&mut self, what: &str) {
        self.sibling.send("ping").await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(soon(self.echoes.recv()).await.as_deref(), Some("pong"), "{what}");
    }
}

async fn soon<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("not done in time")
}

async fn bears() {
    type Shot = fn(u32) -> Payload;
    let cases: [(&str, Shot); 17] = [
        ("sessions opened", |_| open("session", 9, 1 << 20, 1 << 15)),
        ("forwardings opened", |_| {
            open("forwarded-tcpip", 9, 1 << 20, 1 << 15).string("x").u32(1).string("y").u32(2)
        }),
        ("X11 opened", |_| open("x11", 9, 1 << 20, 1 << 15).string("x").u32(1)),
        ("an agent opened", |_| open("auth-agent@openssh.com", 9, 1 << 20, 1 << 15)),
        ("nonsense opened", |_| open("nonsense@example.com", 9, 1 << 20, 1 << 15).raw([0xff; 9])),
        ("global requests", |_| Payload::new(number::GLOBAL_REQUEST).string("nonsense").bool(true)),
        ("host keys that are none", |_| {
            Payload::new(number::GLOBAL_REQUEST)
                .string("hostkeys-00@openssh.com")
                .bool(false)
                .string([0xff; 99])
        }),
        ("answers to no global request", |_| Payload::new(number::REQUEST_SUCCESS)),
        ("refusals of no global request", |_| Payload::new(number::REQUEST_FAILURE)),
        ("the channel confirmed again", |id| {
            to_channel(number::OPEN_CONFIRMATION, id).u32(101).u32(1 << 20).u32(1 << 15)
        }),
        ("refused requests that were not made", |_| to_channel(number::CHANNEL_FAILURE, 4711)),
        ("data for nobody", |_| data(4711, "x")),
        ("data of type 7", |id| extended(id, 7, "x")),
        ("windows beyond all bounds", |id| to_channel(number::WINDOW_ADJUST, id).u32(u32::MAX)),
        ("requests only clients make", |id| request(id, "exec", true).string("x")),
        ("messages without a meaning", |_| Payload::new(200).u32(1)),
        ("debug messages", |_| Payload::new(number::DEBUG).bool(true).string(b"\x1b[2J").string("")),
    ];
    for (what, attack) in cases {
        println!("{what}");
        let mut client = Attacked::by(
            move |chan, closing| {
                if closing { Vec::new() } else { vec![(500, attack(chan.theirs))] }
            },
        )
        .await;
        assert!(client.victim.is_some(), "{what}");
        client.echo(what).await;
        soon(client.conn.close()).await;
    }
}

async fn ends() {
    type Shot = fn(u32) -> Payload;
    let cases: [(&str, Shot); 11] = [
        ("a confirmation of nothing", |_| to_channel(number::OPEN_CONFIRMATION, 4711).u32(0).u32(0).u32(1)),
        ("half an exit status", |id| request(id, "exit-status", false).raw([0, 0])),
        ("half an exit signal", |id| request(id, "exit-signal", false).string("KILL")),
        ("half a string of data", |id| to_channel(number::CHANNEL_DATA, id).u32(u32::MAX)),
        ("an open for packets of nothing", |_| open("session", 9, 1 << 20, 0)),
        ("host keys that are cut off", |_| {
            Payload::new(number::GLOBAL_REQUEST).string("hostkeys-00@openssh.com").bool(false).u32(u32::MAX)
        }),
        ("public values out of the blue, after a KEXINIT", |_| {
            crate::kex::Lists::honest(&crate::kex::Role::Client).payload()
        }),
        ("a disconnect with junk", |_| {
            Payload::new(number::DISCONNECT).u32(77).string("\u{1b}[2J").string("")
        }),
        ("half a disconnect", |_| Payload::new(number::DISCONNECT).u32(2).u32(u32::MAX)),
        ("a window without a size", |id| to_channel(number::WINDOW_ADJUST, id)),
        ("a close with more", |id| to_channel(number::CHANNEL_CLOSE, id).byte(0)),
    ];
    for (what, attack) in cases {
        println!("{what}");
        let mut client = Attacked::by(
            move |chan, closing| if closing { Vec::new() } else { vec![(3, attack(chan.theirs))] },
        )
        .await;
        let reason = soon(client.conn.closed()).await;
        assert!(
            matches!(
                reason,
                ConnectionError::Protocol(_)
                    | ConnectionError::Lost(_)
                    | ConnectionError::Disconnected { .. }
            ),
            "{what}: {reason}"
        );
        println!("  {reason}");
        assert!(matches!(soon(client.sibling.wait()).await, StopReason::Closed(_)), "{what}");
        while soon(client.echoes.recv()).await.is_some() {}
    }
}

async fn closes() {
    let mut client = Attacked::by(|chan, closing| {
        if closing { Vec::new() } else { vec![(3, to_channel(number::CHANNEL_CLOSE, chan.theirs))] }
    })
    .await;
    client.echo("closed three times").await;
    if let Some(victim) = &client.victim {
        soon(victim.wait()).await;
        assert_eq!(soon(client.told.recv()).await.as_deref(), Some("closed"));
    }
    assert_eq!(soon(client.told.recv()).await, None, "closed once");
    soon(client.conn.close()).await;
}

async fn refused_later() {
    let mut client = Attacked::by(|chan, closing| {
        let refusal = to_channel(number::OPEN_FAILURE, chan.theirs).u32(1).string("no").string("");
        if closing { Vec::new() } else { vec![(3, refusal)] }
    })
    .await;
    client.echo("refused later").await;
    if let Some(victim) = &client.victim {
        soon(victim.wait()).await;
    }
    soon(client.conn.close()).await;
}

async fn exit_signals() {
    let signal = |chan: Chan| {
        request(chan.theirs, "exit-signal", false).string("KILL").bool(false).string("gone").string("")
    };
    // A server that was closed by us says late what had happened.
    let mut client = Attacked::by(
        move |chan, closing| if closing { vec![(2, signal(chan))] } else { vec![(1, signal(chan))] },
    )
    .await;
    assert_eq!(soon(client.told.recv()).await.as_deref(), Some("exit-signal KILL"));
    client.victim.take().unwrap().close();
    assert_eq!(soon(client.told.recv()).await.as_deref(), Some("closed"));
    client.echo("late exit-signals").await;
    soon(client.conn.close()).await;
    // And one that closes behind it.
    let mut client = Attacked::by(move |chan, closing| {
        let close = to_channel(number::CHANNEL_CLOSE, chan.theirs);
        if closing { Vec::new() } else { vec![(1, signal(chan)), (1, close)] }
    })
    .await;
    client.echo("a process that was killed").await;
    soon(client.conn.close()).await;
}

async fn floods() {
    type Shot = fn(u32) -> Payload;
    let cases: [(&str, usize, Shot); 5] = [
        ("data beyond the window by 100 times", 400, |id| data(id, vec![7; 32 << 10])),
        ("empty data", 100_000, |id| data(id, "")),
        ("opens", 20_000, |_| open("session", 9, 1 << 20, 1 << 15)),
        ("global requests", 50_000, |_| Payload::new(number::GLOBAL_REQUEST).string("x").bool(true)),
        ("confirmations", 20_000, |id| {
            to_channel(number::OPEN_CONFIRMATION, id).u32(101).u32(1 << 20).u32(1 << 15)
        }),
    ];
    for (what, count, attack) in cases {
        println!("{what}");
        let memory = Memory::now();
        let mut client = Attacked::by(
            move |chan, closing| {
                if closing { Vec::new() } else { vec![(count, attack(chan.theirs))] }
            },
        )
        .await;
        client.echo(what).await;
        soon(client.conn.close()).await;
        memory.grew_at_most(32);
    }
}
