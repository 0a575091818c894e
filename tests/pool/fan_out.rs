//! The same on many hosts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use libtest_mimic::Trial;
use ractor_ssh::fan_out::{FanOut, HostChannelError, HostEvent, HostEventKind, HostOutcome};
use ractor_ssh::session::CommandError;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, ClientChannel, ClientConfig, ExecOutput, Next, Pool,
    PoolConfig, Router, Target,
};
use tokio::io::AsyncWriteExt as _;

use crate::kit::{Peer, peer_test};
use crate::support::{Served, becomes_true, config, plain, silent, soon, sshd, tasks};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("fan_out::reports_are_in_the_order_of_the_hosts", [], order),
        peer_test("fan_out::no_more_hosts_than_allowed_are_at_work", [], concurrency),
        peer_test("fan_out::a_hundred_hosts_by_a_pool_and_without", [], hundred),
        peer_test("fan_out::each_host_starts_speaks_and_finishes_in_this_order", real, events),
        peer_test("fan_out::output_comes_byte_for_byte", real, bytes),
        peer_test("fan_out::collecting_goes_on_after_failures", real, collects),
        peer_test("fan_out::failing_fast_ends_the_others_and_says_what_became_of_each", [], fails_fast),
        peer_test("fan_out::a_deadline_is_for_each_host_from_its_turn_on", [], deadline),
        peer_test("fan_out::who_does_not_read_holds_the_hosts_up", [], back_pressure),
        peer_test("fan_out::dropping_it_ends_everything", real, dropped),
        peer_test("fan_out::a_panic_ends_its_host_alone_and_is_told", [], panics),
        peer_test("fan_out::nothing_to_do_is_done_at_once", [], nothing),
        peer_test("fan_out::supervised_channels_are_started_on_all_hosts", [], supervised),
        peer_test(
            "fan_out::a_supervised_channel_that_fails_stops_the_others_if_asked_to",
            [],
            supervised_fails,
        ),
    ]
}

fn label(number: usize) -> String {
    format!("host {number}")
}

async fn order() {
    // The first is the slowest.
    let router = Router::new().exec_fn(|request| async move {
        let pause = request.command().parse().unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        ExecOutput::status(u32::try_from(pause).unwrap())
    });
    let served = Served::start(router).await;
    let hosts = (0..6).map(|number| (label(number), served.client()));
    let mut number = 6;
    let run = FanOut::new(hosts).run(|name, target| {
        number -= 1;
        assert_eq!(name, label(5 - number));
        ractor_ssh::session::Command::exec(target, format!("{}", number * 20))
    });
    let reports = soon("all", run.reports()).await;
    let codes: Vec<_> = reports
        .iter()
        .map(|report| match &report.outcome {
            HostOutcome::Finished(status) => status.code(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(codes, [100, 80, 60, 40, 20, 0].map(Some));
    let labels: Vec<_> = reports.iter().map(|report| report.label.to_string()).collect();
    assert_eq!(labels, (0..6).map(label).collect::<Vec<_>>());
}

async fn concurrency() {
    let (now, most, wanted) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let counted = (now, Arc::clone(&most), Arc::clone(&wanted));
    let router = Router::new().exec_fn(move |_| {
        let (now, most, wanted) = counted.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // As many as may come have the time to.
            while most.load(Ordering::SeqCst) < wanted.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            ExecOutput::ok("")
        }
    });
    let served = Served::start(router).await;
    for allowed in [1, 3, 7] {
        most.store(0, Ordering::SeqCst);
        wanted.store(allowed, Ordering::SeqCst);
        let hosts = (0..20).map(|number| (label(number), served.client()));
        let reports = soon("all", FanOut::new(hosts).concurrency(allowed).exec("x").reports()).await;
        assert!(reports.iter().all(|report| report.success()));
        assert_eq!(most.load(Ordering::SeqCst), allowed);
    }
}

async fn hundred() {
    let daemons = join_all((0..10).map(|_| Served::echo())).await;
    let before = tasks();
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let clients: Vec<_> = (0..100).map(|number| daemons[number % 10].client()).collect();
    let one_use: Vec<(String, Target)> =
        clients.iter().enumerate().map(|(n, client)| (label(n), client.into())).collect();
    let pooled: Vec<(String, Target)> =
        clients.iter().enumerate().map(|(n, client)| (label(n), pool.get(client).into())).collect();
    for hosts in [one_use, pooled.clone(), pooled] {
        let mut number = 0;
        let run = FanOut::new(hosts).concurrency(20).run(|_, target| {
            number += 1;
            ractor_ssh::session::Command::exec(target, format!("number {number}"))
        });
        for (number, output) in soon("all", run.outputs(1024)).await.into_iter().enumerate() {
            assert!(output.outcome.success(), "{}", output.outcome);
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("number {}", number + 1));
        }
    }
    assert_eq!(pool.info().counters.connections, 100, "each is used twice");
    soon("close", pool.close()).await;
    becomes_true("no connection is left", || {
        daemons.iter().all(|served| served.daemon.info().connections == 0)
    })
    .await;
    becomes_true("no task is left", || tasks() <= before).await;
}

async fn events() {
    let (one, two) = (sshd(10), sshd(10));
    let hosts = [("one", config(&one)), ("two", config(&two))];
    let mut run = FanOut::new(hosts).exec("echo a; echo >&2 oops; printf 'b\\r\\nc'; exit 2");
    let mut seen: [Vec<HostEvent>; 2] = Default::default();
    while let Some(event) = soon("an event", run.next()).await {
        assert_eq!(&*event.label, ["one", "two"][event.host]);
        seen[event.host].push(event);
    }
    assert_eq!((run.finished(), run.hosts()), (2, 2));
    for events in seen {
        assert!(matches!(events.first().unwrap().kind, HostEventKind::Started));
        match &events.last().unwrap().kind {
            HostEventKind::Finished(HostOutcome::Finished(status)) => assert_eq!(status.code(), Some(2)),
            other => panic!("{other:?}"),
        }
        let said = |stdout: bool| -> Vec<String> {
            let lines = events.iter().filter_map(|event| match &event.kind {
                HostEventKind::Stdout(line) if stdout => Some(line),
                HostEventKind::Stderr(line) if !stdout => Some(line),
                _ => None,
            });
            lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
        };
        assert_eq!(
            (said(true), said(false)),
            (["a", "b", "c"].map(String::from).to_vec(), vec!["oops".into()])
        );
    }
}

async fn bytes() {
    let sshd = plain().start().unwrap();
    let script = "head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; seq 1 100000";
    let expected = {
        let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
        format!("{}\n{numbers}", "x".repeat(3_000_000)).into_bytes()
    };
    for pieces in [false, true] {
        let fan_out = FanOut::new([("one", config(&sshd)), ("two", config(&sshd))]);
        let fan_out = if pieces { fan_out.pieces() } else { fan_out };
        for output in soon("all", fan_out.exec(script).outputs(usize::MAX)).await {
            assert!(output.outcome.success(), "{}", output.outcome);
            assert!(output.stdout == expected, "{} of {} bytes", output.stdout.len(), expected.len());
            assert_eq!(output.lost, 0);
        }
    }
    let cut = soon("cut", FanOut::new([("one", config(&sshd))]).exec("seq 1 1000").outputs(10)).await;
    assert_eq!((&*cut[0].stdout, cut[0].lost), (&b"1\n2\n3\n4\n5\n"[..], 3893 - 10));
}

async fn collects() {
    let sshd = sshd(10);
    let (_holding, silent) = silent().await;
    let dead = ClientConfig::new("127.0.0.1", "nobody").port(1);
    let hosts = [("dead", dead), ("fine", config(&sshd)), ("silent", silent), ("fine too", config(&sshd))];
    let run = FanOut::new(hosts).concurrency(1).deadline(Duration::from_millis(1500)).exec("echo x");
    let reports = soon("all", run.reports()).await;
    let success: Vec<_> = reports.iter().map(|report| report.success()).collect();
    assert_eq!(success, [false, true, false, true], "{reports:?}");
    assert!(reports[0].outcome.to_string().contains("127.0.0.1:1"), "{}", reports[0].outcome);
    assert!(matches!(reports[2].outcome, HostOutcome::Failed(CommandError::Deadline { .. })));
}

async fn fails_fast() {
    let router = Router::new().exec_stream_fn(|request, mut stream| async move {
        match &*request.command() {
            "fail" => 1_u32,
            "quick" => 0,
            _ => {
                let _ = stream.write_all(b"running\n").await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                std::future::pending().await
            }
        }
    });
    let served = Served::start(router).await;
    let (_holding, silent) = silent().await;
    let before = tasks();
    let mut hosts: Vec<(String, Target)> =
        ["quick", "run", "stuck"].iter().map(|name| ((*name).to_owned(), served.client().into())).collect();
    hosts[2].1 = silent.into();
    hosts.push(("fail".to_owned(), served.client().into()));
    hosts.extend((4..10).map(|number| (label(number), served.client().into())));
    let began = Instant::now();
    let mut run = FanOut::new(hosts)
        .concurrency(3)
        .fail_fast(true)
        .run(|name, target| ractor_ssh::session::Command::exec(target, name));
    // `fail` gets its turn when `quick` is done.
    let reports = {
        let mut said = 0;
        while let Some(event) = soon("an event", run.next()).await {
            said += usize::from(matches!(event.kind, HostEventKind::Stdout(_)));
        }
        assert!(said <= 1);
        run.reports().await
    };
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let words: Vec<_> = reports.iter().map(|report| report.outcome.to_string()).collect();
    assert!(matches!(&reports[0].outcome, HostOutcome::Finished(status) if status.success()), "{words:?}");
    assert!(matches!(reports[1].outcome, HostOutcome::Cancelled { .. }), "{words:?}");
    assert!(matches!(reports[2].outcome, HostOutcome::Cancelled { started: false }), "{words:?}");
    assert!(
        matches!(&reports[3].outcome, HostOutcome::Finished(status) if status.code() == Some(1)),
        "{words:?}"
    );
    assert!(reports[4..].iter().all(|report| matches!(report.outcome, HostOutcome::NotStarted)), "{words:?}");
    becomes_true("their channels are closed", || served.daemon.info().connections == 0).await;
    becomes_true("no task is left", || tasks() <= before).await;
}

async fn deadline() {
    let served = Served::echo().await;
    let (_holding, silent) = silent().await;
    let limit = Duration::from_millis(300);
    let hosts: Vec<(String, ClientConfig)> = (0..4)
        .map(|number| (label(number), if number % 2 == 0 { silent.clone() } else { served.config() }))
        .collect();
    let began = Instant::now();
    let run = FanOut::new(hosts).concurrency(1).deadline(limit).exec("x");
    let reports = soon("all", run.reports()).await;
    assert!(began.elapsed() >= limit * 2, "one after the other: {:?}", began.elapsed());
    for (number, report) in reports.iter().enumerate() {
        match (&report.outcome, number % 2) {
            (HostOutcome::Failed(CommandError::Deadline { after, .. }), 0) => assert_eq!(*after, limit),
            (HostOutcome::Finished(status), 1) => assert!(status.success()),
            (other, _) => panic!("{number}: {other}"),
        }
    }
}

async fn back_pressure() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let router = Router::new().exec_stream_fn(move |_, mut stream| {
        let sent = Arc::clone(&counter);
        async move {
            let line = [b'x'; 1023].iter().copied().chain([b'\n']).collect::<Vec<_>>();
            for _ in 0..(200 << 10) {
                if stream.write_all(&line).await.is_err() {
                    return 1_u32;
                }
                sent.fetch_add(line.len(), Ordering::SeqCst);
            }
            0
        }
    });
    let served = Served::start(router).await;
    let mut limits = ractor_ssh::config::Limits::default();
    limits.inbound_budget = 4 << 20;
    let config = served.config().limits(limits);
    let mut run = FanOut::new([("one", config.clone()), ("two", config)]).unread_events(8).exec("x");
    assert!(matches!(soon("start", run.next()).await.unwrap().kind, HostEventKind::Started));
    // It comes to a stand: windows, budgets and socket buffers are full.
    let mut before = usize::MAX;
    soon("a stand", async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = sent.load(Ordering::SeqCst);
            if now == std::mem::replace(&mut before, now) {
                break;
            }
        }
    })
    .await;
    assert!(before < 60 << 20, "{before} bytes of 400 MiB were sent to nobody");
    // And it goes on as far as it is read.
    for _ in 0..20_000 {
        soon("an event", run.next()).await.unwrap();
    }
    assert!(sent.load(Ordering::SeqCst) > before);
}

async fn dropped() {
    let sshd = sshd(10);
    let (_holding, silent) = silent().await;
    let before = tasks();
    for delay in [0, 1, 10, 50, 200] {
        let hosts: Vec<(String, ClientConfig)> = (0..6)
            .map(|number| (label(number), if number == 0 { silent.clone() } else { config(&sshd) }))
            .collect();
        let mut run = FanOut::new(hosts).concurrency(4).exec("while echo x; do sleep 0.02; done");
        let _ =
            tokio::time::timeout(Duration::from_millis(delay), async { while run.next().await.is_some() {} })
                .await;
        drop(run);
        becomes_true("no session is left", || sshd.pids().len() == 1).await;
        becomes_true("no task is left", || tasks() <= before).await;
    }
}

async fn nothing() {
    let hosts: [(&str, ClientConfig); 0] = [];
    let mut run = FanOut::new(hosts).exec("x");
    assert!(soon("its end", run.next()).await.is_none());
    assert!(run.reports().await.is_empty());
}

/// Does nothing for as long as it may.
struct Idle;

impl ClientChannel for Idle {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("x").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

fn endless() -> Router {
    Router::new().exec_stream_fn(|_, _stream| async move { std::future::pending::<u32>().await })
}

async fn supervised() {
    let served = Served::start(endless()).await;
    let before = tasks();
    let (_holding, silent) = silent().await;
    let pool = Pool::new(PoolConfig::new()).unwrap();
    let mut hosts: Vec<(String, Target)> =
        (0..10).map(|number| (label(number), pool.get(served.client()).into())).collect();
    hosts.insert(3, ("silent".into(), silent.into()));
    let fan_out = FanOut::new(hosts).concurrency(4).deadline(Duration::from_millis(1500));
    let channels = soon("all", fan_out.supervise(|_| ChannelSpec::new(|_| Idle))).await;
    assert_eq!(channels.len(), 11);
    for (number, host) in channels.iter().enumerate() {
        match &host.channel {
            Ok(channel) => assert!(channel.state().is_up()),
            Err(HostChannelError::Deadline { .. }) => assert_eq!((number, &*host.label), (3, "silent")),
            Err(other) => panic!("{number}: {other}"),
        }
    }
    assert_eq!(served.daemon.info().connections, 10);
    drop(channels);
    pool.close().await;
    drop(_holding);
    becomes_true("no connection is left", || served.daemon.info().connections == 0).await;
    becomes_true("no task is left", || tasks() <= before + 1).await;
}

async fn supervised_fails() {
    let served = Served::start(endless()).await;
    let bad = served.config().port(1).client_id("");
    let mut hosts: Vec<(String, Target)> =
        (0..5).map(|number| (label(number), served.client().into())).collect();
    hosts.insert(2, ("bad".into(), bad.into()));
    let fan_out = FanOut::new(hosts).concurrency(1).fail_fast(true);
    let channels = soon("all", fan_out.supervise(|_| ChannelSpec::new(|_| Idle))).await;
    let ends: Vec<_> = channels.iter().map(|host| host.channel.as_ref().unwrap_err().to_string()).collect();
    for host in &channels[..2] {
        assert!(matches!(host.channel, Err(HostChannelError::Cancelled)), "{ends:?}");
    }
    assert!(matches!(channels[2].channel, Err(HostChannelError::Open(_))), "{ends:?}");
    for host in &channels[3..] {
        assert!(matches!(host.channel, Err(HostChannelError::NotStarted)), "{ends:?}");
    }
    becomes_true("all are stopped", || served.daemon.info().connections == 0).await;
}

async fn panics() {
    let served = Served::echo().await;
    let broken = served.config().dial_with(|| {
        futures::future::poll_fn(|_| -> std::task::Poll<std::io::Result<tokio::net::TcpStream>> {
            panic!("a dialler that is broken")
        })
    });
    let run = FanOut::new([("broken", broken), ("good", served.config())]).exec("x");
    let reports = soon("all", run.reports()).await;
    match &reports[0].outcome {
        HostOutcome::Panicked { started: false, why } => assert_eq!(&**why, "a dialler that is broken"),
        other => panic!("{other}"),
    }
    assert!(reports[1].success(), "{}", reports[1].outcome);
}
