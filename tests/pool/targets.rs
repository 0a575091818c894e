//! The same calls, wherever they run.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::config::{ChannelOptions, SlowConsumer};
use ractor_ssh::error::{ConnectionError, OpenError};
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::session::{Command, CommandError};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, ChannelSpec, Client, ClientChannel, ClientConfig, ManagedSpec,
    Next, Pool, PoolConfig, Target,
};

use crate::kit::{Peer, peer_test};
use crate::support::{Served, becomes_true, client, config, silent, soon, sshd, tasks};

pub(crate) fn trials() -> Vec<Trial> {
    let real = Peer::OpenSshServer;
    vec![
        peer_test("targets::all_kinds_take_the_same_calls", real, same_calls),
        peer_test("targets::one_use_closes_its_connection_in_every_case", real, one_use),
        peer_test("targets::one_use_that_is_given_up_leaves_nothing", real, given_up),
        peer_test("targets::one_use_has_one_connection_also_when_it_is_isolated", real, isolated),
        peer_test("targets::one_use_says_why_there_is_no_connection", [], no_connection),
        peer_test(
            "targets::a_supervised_channel_of_a_client_comes_back_and_leaves_nothing",
            real,
            supervised,
        ),
    ]
}

/// Closes when it has heard something.
struct Hearing;

impl ClientChannel for Hearing {
    type Msg = ();

    async fn init(&mut self, ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        Ok(ctx.exec("echo $$; cat").await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn use_it(target: Target) {
    let output = soon("command", Command::new(&target, "echo").arg("it's").output()).await.unwrap();
    assert_eq!(output.stdout_text(), "it's\n");
    let status = soon("exec", Command::exec(&target, "exit 3").status()).await.unwrap();
    assert_eq!(status.exit_code(), 3);
    let shell =
        Command::shell(&target).no_pty().stdin(ractor_ssh::session::Stdin::bytes("echo $((6 * 7))\n"));
    assert_eq!(soon("shell", shell.output()).await.unwrap().stdout_text(), "42\n");
    let mut sftp = soon("subsystem", Command::subsystem(&target, "sftp").stream()).await.unwrap();
    soon("init", tokio::io::AsyncWriteExt::write_all(&mut sftp, &[0, 0, 0, 5, 1, 0, 0, 0, 3])).await.unwrap();
    let mut answer = [0; 5];
    soon("version", tokio::io::AsyncReadExt::read_exact(&mut sftp, &mut answer)).await.unwrap();
    assert_eq!(answer[4], 2, "SSH_FXP_VERSION");
    drop(sftp);
    let channel = target.open_channel(OpenRequest::Session, ChannelOptions::default(), Hearing);
    let channel = soon("channel", channel).await.unwrap();
    channel.close();
    soon("its end", channel.wait()).await;
    let spec = ChannelSpec::new(|_| Hearing);
    let supervised = soon("supervise", target.supervise(spec)).await.unwrap();
    soon("its start", supervised.up()).await.unwrap();
    supervised.stop();
}

async fn same_calls() {
    let sshd = sshd(10);
    let client = client(&sshd);
    let connection = client.connect().await.unwrap();
    let managed = client.manage(ManagedSpec::new()).await.unwrap();
    let pool = Pool::new(PoolConfig::new()).unwrap();
    for target in [
        Target::from(&connection),
        Target::from(&managed),
        Target::from(&pool.get(&client)),
        Target::from(&client),
        Target::from(config(&sshd)),
    ] {
        use_it(target).await;
    }
    connection.close().await;
    managed.shutdown(Duration::ZERO).await;
    pool.close().await;
    becomes_true("no session is left", || sshd.pids().len() == 1).await;
}

async fn one_use() {
    let sshd = sshd(1);
    let before = tasks();
    let gone = || becomes_true("its connection is closed", || sshd.pids().len() == 1);
    soon("output", Command::exec(config(&sshd), "echo x").output()).await.unwrap();
    gone().await;
    let child = soon("start", Command::exec(config(&sshd), "cat").spawn()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(sshd.pids().len() > 1, "as long as its channel");
    drop(child);
    gone().await;
    let late = Command::exec(config(&sshd), "sleep 3").deadline(Duration::from_millis(400)).output();
    assert!(matches!(soon("the deadline", late).await, Err(CommandError::Deadline { .. })));
    gone().await;
    let refused = Command::subsystem(config(&sshd), "none").output();
    assert!(matches!(soon("an answer", refused).await, Err(CommandError::Request(_))));
    gone().await;
    becomes_true("no task is left", || tasks() <= before).await;
}

async fn given_up() {
    let sshd = sshd(1);
    let before = tasks();
    let client = client(&sshd);
    for delay in 0..60 {
        let limit = Duration::from_micros(delay * 700);
        let _ = tokio::time::timeout(limit, Command::exec(&client, "cat").spawn()).await;
    }
    becomes_true("no session is left", || sshd.pids().len() == 1).await;
    becomes_true("no task is left", || tasks() <= before).await;
    let (_holding, silent) = silent().await;
    let before = tasks();
    let call = Command::exec(silent, "x").output();
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err());
    becomes_true("no task is left", || tasks() <= before).await;
}

async fn isolated() {
    let sshd = sshd(1);
    let options = ChannelOptions::new().slow_consumer(SlowConsumer::Isolate);
    let call = Command::exec(config(&sshd), "echo x").options(options).output();
    assert_eq!(soon("output", call).await.unwrap().stdout_text(), "x\n");
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1);
}

async fn no_connection() {
    let served = Served::echo().await;
    let key = generate_ed25519().public_key().clone();
    let config = served.config().host_key(HostKeyPolicy::pinned([key]));
    match soon("an answer", Command::exec(config, "x").output()).await.unwrap_err() {
        CommandError::Open(error @ OpenError::Connection(ConnectionError::Abandoned(_))) => {
            assert!(!error.is_retryable(), "nothing changes by itself");
        }
        other => panic!("{other}"),
    }
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let nobody = Client::new(ClientConfig::new("127.0.0.1", "nobody").port(port));
    let error = soon("an answer", Command::exec(&nobody, "x").output()).await.unwrap_err();
    assert!(error.is_retryable() && !error.may_have_run(), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    match soon("an answer", Command::exec(ClientConfig::new("", "x"), "x").output()).await.unwrap_err() {
        CommandError::Open(OpenError::Config(error)) => assert_eq!(error.field, "host"),
        other => panic!("{other}"),
    }
}

async fn supervised() {
    let sshd = sshd(1);
    let before = tasks();
    let target = Target::from(config(&sshd));
    let channel = soon("supervise", target.supervise(ChannelSpec::new(|_| Hearing))).await.unwrap();
    soon("its start", channel.up()).await.unwrap();
    sshd.kill_sessions();
    becomes_true("it is back", || channel.info().incarnation >= 2 && channel.state().is_up()).await;
    drop((channel, target));
    becomes_true("no session is left", || sshd.pids().len() == 1).await;
    becomes_true("no task is left", || tasks() <= before).await;
}
