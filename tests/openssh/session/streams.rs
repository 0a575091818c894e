//! Terminals, subsystems, and channels as streams.

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use libtest_mimic::Trial;
use ractor_ssh::config::ChannelOptions;
use ractor_ssh::session::{Child, CommandError, RecordCodec, Stdio};
use ractor_ssh::wire::codes::DataType;
use ractor_ssh::wire::open::OpenRequest;
use ractor_ssh::wire::pty::{PtyRequest, TerminalMode, WindowSize};
use ractor_ssh::wire::request::ExitStatus;
use ractor_ssh::{BoxError, ChannelContext, ChannelMsg, ClientChannel, Next};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{MIB, Outcome, noise, server, until, until_exists, until_no_channels};
use crate::kit::{Peer, peer_test};

pub(super) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(peer_test(concat!("session::", stringify!($name)), Peer::OpenSshServer, $name)),*]
        };
    }
    trials![
        a_shell_has_a_terminal_that_can_be_resized,
        a_terminal_has_the_modes_and_type_asked_for,
        a_shell_without_a_terminal_runs_a_script,
        hanging_up_a_terminal_ends_what_runs_in_it,
        the_sftp_subsystem_answers,
        a_subsystem_the_server_does_not_have_is_refused,
        a_stream_carries_both_directions_at_once_byte_for_byte,
        a_dropped_stream_sends_what_was_written,
        a_split_stream_is_closed_by_its_last_half,
        extended_data_of_a_stream_goes_where_it_was_sent,
        lines_have_a_cap_and_go_on_after_a_long_one,
        records_can_change_their_length_while_running,
        events_come_in_wire_order_and_end_with_closed,
        the_sink_of_events_takes_megabytes,
        dropped_events_close_their_channel,
        a_buffered_reader_sees_lines,
        an_open_whose_caller_left_during_init_is_closed,
    ]
}

/// Reads until the output contains `text`.
async fn expect(child: &mut Child, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        let chunk = child.stdout.as_mut().unwrap().chunk().await.unwrap();
        let Some(chunk) = chunk else { panic!("no {text:?} in {seen:?}") };
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    seen
}

async fn say(child: &mut Child, line: &str) {
    child.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
}

async fn a_shell_has_a_terminal_that_can_be_resized() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut shell = conn.shell().pty(PtyRequest::new("xterm").size(91, 37)).spawn().await?;
    say(&mut shell, "stty size; tty\n").await;
    let seen = expect(&mut shell, "37 91").await;
    if !seen.contains("/dev/pts") {
        expect(&mut shell, "/dev/").await;
    }
    shell.window_change(WindowSize::new(132, 43))?;
    say(&mut shell, "stty size\n").await;
    expect(&mut shell, "43 132").await;
    say(&mut shell, "exit 5\n").await;
    // Dropping stdin before the end would be Ctrl-D as well.
    let stdin = shell.stdin.take();
    assert_eq!(shell.wait().await?, ExitStatus::Code(5));
    drop(stdin);
    Ok(())
}

async fn a_terminal_has_the_modes_and_type_asked_for() -> Outcome {
    let (_sshd, conn) = server().await;
    let pty = PtyRequest::new("dumb").mode(TerminalMode::ECHO, 0).mode(TerminalMode::VINTR, 24);
    let output = conn.exec("stty -a; echo $TERM").pty(pty).output().await?;
    let text = output.stdout_text();
    assert!(text.contains(" -echo ") && text.contains("intr = ^X") && text.contains("dumb\r\n"), "{text}");
    Ok(())
}

async fn a_shell_without_a_terminal_runs_a_script() -> Outcome {
    let (_sshd, conn) = server().await;
    let script = ractor_ssh::session::Stdin::bytes("echo out; echo err >&2; exit 4\n");
    let output = conn.shell().no_pty().stdin(script).output().await?;
    assert_eq!(output.status, ExitStatus::Code(4));
    assert!(output.stdout_text().contains("out\n") && output.stderr_text().contains("err\n"), "{output:?}");
    Ok(())
}

async fn hanging_up_a_terminal_ends_what_runs_in_it() -> Outcome {
    let (sshd, conn) = server().await;
    let marker = sshd.directory().join("hup");
    let line =
        format!("trap 'echo > {}; exit' HUP; echo ready; while :; do sleep 0.02; done", marker.display());
    let mut child = conn.exec(line).pty(PtyRequest::new("dumb")).spawn().await?;
    expect(&mut child, "ready").await;
    child.hang_up();
    assert_eq!(child.wait().await?, ExitStatus::Missing);
    until_exists(&marker).await;
    until_no_channels(&conn).await;
    Ok(())
}

async fn the_sftp_subsystem_answers() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut sftp = conn.subsystem("sftp").stream().await?;
    sftp.write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await?;
    let length = sftp.read_u32().await?;
    let mut answer = vec![0; usize::try_from(length)?];
    sftp.read_exact(&mut answer).await?;
    assert_eq!(answer[..5], [2, 0, 0, 0, 3], "SSH_FXP_VERSION, version 3");
    assert!(sftp.finish().await?.success());
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_subsystem_the_server_does_not_have_is_refused() -> Outcome {
    let (_sshd, conn) = server().await;
    let error = conn.subsystem("no-such").stream().await.unwrap_err();
    assert!(matches!(&error, CommandError::Request(_)), "{error}");
    assert!(error.to_string().contains("refused the subsystem request"), "{error}");
    until_no_channels(&conn).await;
    assert_eq!(conn.info().await?.counters.actors_failed, 0, "a refusal is no failure of an actor");
    Ok(())
}

async fn a_stream_carries_both_directions_at_once_byte_for_byte() -> Outcome {
    let (_sshd, conn) = server().await;
    let sent = noise(10 * MIB);
    let (mut reader, mut writer) = conn.exec("cat").stream().await?.into_split();
    let write = async {
        for piece in sent.chunks(100_003) {
            writer.write_all(piece).await?;
        }
        writer.shutdown().await
    };
    let mut got = Vec::new();
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut got));
    written?;
    read?;
    assert!(got == sent);
    drop((reader, writer));
    until_no_channels(&conn).await;
    Ok(())
}

/// A local port that tells what came in, once it is closed.
async fn collector() -> std::io::Result<(OpenRequest, tokio::task::JoinHandle<std::io::Result<Vec<u8>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let collected = tokio::spawn(async move {
        let mut got = Vec::new();
        listener.accept().await?.0.read_to_end(&mut got).await?;
        Ok(got)
    });
    let (host, originator_host) = ("127.0.0.1".to_owned(), "127.0.0.1".to_owned());
    Ok((OpenRequest::DirectTcpip { host, port, originator_host, originator_port: 1 }, collected))
}

async fn a_dropped_stream_sends_what_was_written() -> Outcome {
    let (_sshd, conn) = server().await;
    let (request, collected) = collector().await?;
    let mut stream = conn.open_stream(request, ChannelOptions::new()).await?;
    let sent = noise(6 * MIB);
    stream.write_all(&sent).await?;
    drop(stream);
    assert!(collected.await?? == sent);
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_split_stream_is_closed_by_its_last_half() -> Outcome {
    let (_sshd, conn) = server().await;
    let (reader, mut writer) = conn.exec("cat").stream().await?.into_split();
    drop(reader);
    writer.write_all(b"nobody reads the echo").await?;
    assert_eq!(conn.info().await?.channels.len(), 1);
    drop(writer);
    until_no_channels(&conn).await;
    Ok(())
}

async fn read_all(mut stream: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut got = String::new();
    stream.read_to_string(&mut got).await.map(|_| got)
}

async fn extended_data_of_a_stream_goes_where_it_was_sent() -> Outcome {
    let (_sshd, conn) = server().await;
    let line = "echo out; echo err >&2";
    let mut stream = conn.exec(line).stream().await?;
    assert!(stream.take_stderr().is_none());
    assert_eq!(read_all(&mut stream).await?, "out\n");
    let mut stream = conn.exec(line).stderr(Stdio::piped()).stream().await?;
    assert_eq!(read_all(&mut stream).await?, "out\n");
    assert_eq!(read_all(stream.take_stderr().unwrap()).await?, "err\n");
    Ok(())
}

async fn lines_have_a_cap_and_go_on_after_a_long_one() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut lines = conn.exec("cat").stream().await?.lines(8);
    lines.send("one").await?;
    lines.send("far too long a line").await?;
    lines.send("two").await?;
    futures::SinkExt::<&str>::close(&mut lines).await?;
    assert_eq!(lines.next().await.unwrap()?, "one");
    lines.next().await.unwrap().unwrap_err();
    assert!(lines.next().await.is_none(), "the pause that `Framed` makes after an error");
    assert_eq!(lines.next().await.unwrap()?, "two");
    assert!(lines.next().await.is_none());
    Ok(())
}

async fn records_can_change_their_length_while_running() -> Outcome {
    let (_sshd, conn) = server().await;
    let codec = RecordCodec::new(4)?;
    let length = codec.length();
    let (mut sink, mut records) = conn.exec("cat").stream().await?.framed(codec).split();
    for record in ["head", "0006"] {
        sink.send(record.into()).await?;
        assert_eq!(records.next().await.unwrap()?, record);
    }
    length.set(6)?;
    sink.send("longer".into()).await?;
    assert_eq!(records.next().await.unwrap()?, "longer");
    sink.send("short".into()).await.unwrap_err();
    sink.close().await?;
    assert!(records.next().await.is_none());
    Ok(())
}

async fn events_come_in_wire_order_and_end_with_closed() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut events = conn.events(OpenRequest::Session, ChannelOptions::new()).await?;
    events.exec("cat; echo bad >&2; exit 2").await?;
    events.send("hello".into()).await?;
    events.close().await?;
    let (mut out, mut err, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        assert_eq!(event.channel, events.id());
        match event.msg {
            ChannelMsg::Data { data_type: DataType::Normal, data } => out.extend(data),
            ChannelMsg::Data { data, .. } => err.extend(data),
            ChannelMsg::Eof => rest.push("eof"),
            ChannelMsg::ExitStatus { status: 2 } => rest.push("status"),
            ChannelMsg::Closed { .. } => rest.push("closed"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((out.as_slice(), err.as_slice()), (&b"hello"[..], &b"bad\n"[..]));
    assert_eq!(rest.pop(), Some("closed"));
    rest.sort_unstable();
    assert_eq!(rest, ["eof", "status"]);
    until_no_channels(&conn).await;
    Ok(())
}

async fn the_sink_of_events_takes_megabytes() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut events = conn.events(OpenRequest::Session, ChannelOptions::new().high_water(1 << 16)).await?;
    events.exec("wc -c").await?;
    let piece = bytes::Bytes::from(vec![0; 50_000]);
    let mut pieces = futures::stream::iter(std::iter::repeat_n(Ok(piece), 100));
    events.send_all(&mut pieces).await?;
    events.close().await?;
    let mut text = Vec::new();
    while let Some(event) = events.next().await {
        if let ChannelMsg::Data { data, .. } = event.msg {
            text.extend(data);
        }
    }
    assert_eq!(String::from_utf8(text)?.trim(), "5000000");
    Ok(())
}

async fn dropped_events_close_their_channel() -> Outcome {
    let (_sshd, conn) = server().await;
    let events = conn.events(OpenRequest::Session, ChannelOptions::new()).await?;
    events.exec("yes").await?;
    drop(events);
    until_no_channels(&conn).await;
    let start = conn.events(OpenRequest::Session, ChannelOptions::new());
    assert!(start.now_or_never().is_none());
    until_no_channels(&conn).await;
    Ok(())
}

async fn a_buffered_reader_sees_lines() -> Outcome {
    let (_sshd, conn) = server().await;
    let mut child = conn.exec("seq 100000").spawn().await?;
    let mut lines = child.stdout.take().unwrap().lines();
    for wanted in 1..=100_000 {
        assert_eq!(lines.next_line().await?, Some(wanted.to_string()));
    }
    assert_eq!(lines.next_line().await?, None);
    Ok(())
}

/// Takes its time to start.
struct Slow(tokio::sync::oneshot::Sender<()>, tokio::sync::oneshot::Receiver<()>);

impl ClientChannel for Slow {
    type Msg = ();

    async fn init(&mut self, _ctx: &mut ChannelContext<Self>) -> Result<(), BoxError> {
        let (begun, _) = tokio::sync::oneshot::channel();
        let _ = std::mem::replace(&mut self.0, begun).send(());
        Ok((&mut self.1).await?)
    }

    async fn handle_ssh_msg(
        &mut self,
        _msg: ChannelMsg,
        _ctx: &mut ChannelContext<Self>,
    ) -> Result<Next, BoxError> {
        Ok(Next::Continue)
    }
}

async fn an_open_whose_caller_left_during_init_is_closed() -> Outcome {
    let (_sshd, conn) = server().await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = tokio::sync::oneshot::channel();
    let open = tokio::spawn({
        let conn = conn.clone();
        async move { conn.session_channel(Slow(begun, may_go_on)).await.map(drop) }
    });
    has_begun.await?;
    open.abort();
    assert!(open.await.unwrap_err().is_cancelled());
    go_on.send(()).unwrap();
    until("the channel is closed", || async { conn.info().await.is_ok_and(|info| info.channels.is_empty()) })
        .await;
    Ok(())
}
