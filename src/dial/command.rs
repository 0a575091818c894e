//! A command whose standard streams are the byte stream: OpenSSH's `ProxyCommand`.

use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Fuse, FusedFuture as _, Shared};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::error::DialError;
use super::via::Stop;
use crate::error::ConfigError;

/// How much of its standard error is kept: the end of it.
const KEPT: usize = 4096;
/// From SIGHUP to SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// How long what it said last, and its status, are waited for when its output has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How often it is looked whether anything of a command that has ended is left.
const LOOK: Duration = Duration::from_secs(1);

/// Ready when the stream is dropped.
type Dropped = Fuse<oneshot::Receiver<()>>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// For `/bin/sh`.
    Shell(String),
    /// Without a shell.
    Words(Vec<String>),
}

/// A command whose standard input and output are the byte stream, as OpenSSH's `ProxyCommand`.
///
/// In every word `%h`, `%p` and `%r` stand for the host, the port and the user, `%%` for a percent sign. Values with
/// letters that mean something to a shell are refused, as OpenSSH does, so that a host name can run nothing.
///
/// It leads a process group of its own, and has no terminal to ask at: that group is hung up when the stream is dropped,
/// and killed a second later. Of what it writes to its standard error the last 4 KiB are kept, and stand in the error when
/// it ends with another status than 0 or has said something. Unix.
///
/// Errors and `Debug` show the command, as the system shows it to every user: a password does not belong into it.
///
/// ```
/// use ractor_ssh::dial::{ProxyCommand, Via};
///
/// let by_shell = Via::command(ProxyCommand::shell("ssh -W %h:%p bastion.example.org"));
/// let by_words = Via::command(ProxyCommand::new(["ssh", "-W", "%h:%p", "bastion.example.org"]));
/// assert!(by_shell.check().is_ok() && by_words.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCommand(Line);

impl ProxyCommand {
    /// A line for `/bin/sh`, run with `exec` in front as OpenSSH does, so that a simple command takes the shell's place.
    /// Of several commands, the shell goes no further than the first: put them into `sh -c '...'`.
    #[must_use]
    pub fn shell(line: impl Into<String>) -> Self {
        Self(Line::Shell(line.into()))
    }

    /// A program and its arguments, without a shell. A program without a slash is looked up in `PATH`.
    #[must_use]
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self(Line::Words(words.into_iter().map(Into::into).collect()))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let sample = Stop { host: "h", port: 1, user: "u" };
        match &self.0 {
            Line::Shell(line) if line.trim().is_empty() => {
                Err(ConfigError::new("proxy_command", "is empty", "give a command, or leave it out"))
            }
            Line::Shell(line) => expand(line, sample).map(drop),
            Line::Words(words) if words.first().is_none_or(String::is_empty) => {
                Err(ConfigError::new("proxy_command", "has no program", "give one, or leave it out"))
            }
            Line::Words(words) => words.iter().try_for_each(|word| expand(word, sample).map(drop)),
        }
    }

    /// As it was given.
    fn line(&self) -> String {
        match &self.0 {
            Line::Shell(line) => line.clone(),
            Line::Words(words) => words.join(" "),
        }
    }

    pub(super) fn start(&self, stop: Stop<'_>) -> Result<CommandStream, DialError> {
        let words = match &self.0 {
            Line::Shell(line) => expand(line, stop)
                .map(|line| vec!["/bin/sh".to_owned(), "-c".to_owned(), format!("exec {line}")]),
            Line::Words(words) => words.iter().map(|word| expand(word, stop)).collect(),
        };
        let failed = |command: &str, source| DialError::Command { command: command.to_owned(), source };
        let words = words
            .map_err(|error| failed(&self.line(), io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let name: Arc<str> = match &self.0 {
            Line::Shell(_) => {
                words.last().and_then(|line| line.strip_prefix("exec ")).unwrap_or_default().into()
            }
            Line::Words(_) => words.join(" ").into(),
        };
        let mut command = Command::new(words.first().map(String::as_str).unwrap_or_default());
        command.args(words.iter().skip(1));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| failed(&name, source))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(&name, io::Error::other("it has no pipes")));
        };
        let (hold, dropped) = oneshot::channel();
        let (tell, ended) = oneshot::channel();
        tokio::spawn(async move {
            let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            let mut dropped = dropped.fuse();
            let end = keep(child, stderr, group, &mut dropped).await;
            tracing::debug!(status = ?end.status, stderr = %end.said, "a proxy command ended");
            let _ = tell.send(end);
            sweep(group, dropped).await;
        });
        let words = last_words(name, ended).boxed().shared();
        Ok(CommandStream {
            stdin: Some(stdin),
            stdout,
            read_end: Last::Not(words.clone()),
            write_end: Last::Not(words),
            _hold: hold,
        })
    }
}

/// Replaces the tokens.
fn expand(text: &str, stop: Stop<'_>) -> Result<String, ConfigError> {
    let harmless = |field: &str, value: &str| {
        // OpenSSH's `valid_hostname` and `valid_ruser` refuse the same.
        let bad = |c: char| c.is_control() || c.is_whitespace() || "'`\"$\\;&<>|(){}*?!#~^".contains(c);
        if value.is_empty() || value.starts_with('-') || value.chars().any(bad) {
            return Err(ConfigError::new(
                field,
                format!("{value:?} cannot be put into a proxy command"),
                "give one without letters that mean something to a shell",
            ));
        }
        Ok(value.to_owned())
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match rest.next() {
            Some('h') => out.push_str(&harmless("host", stop.host)?),
            Some('p') => out.push_str(&stop.port.to_string()),
            Some('r') => out.push_str(&harmless("user", stop.user)?),
            Some('%') => out.push('%'),
            other => {
                return Err(ConfigError::new(
                    "proxy_command",
                    format!("has the unknown token %{}", other.map(String::from).unwrap_or_default()),
                    "use %h, %p, %r, or %% for a percent sign",
                ));
            }
        }
    }
    if out.contains('\0') {
        return Err(ConfigError::new("proxy_command", "has a NUL byte", "leave it out"));
    }
    Ok(out)
}

/// How a command ended.
#[derive(Debug)]
struct End {
    status: io::Result<ExitStatus>,
    said: String,
}

/// Reaps the command, hears what it says on its standard error, and ends it when the stream is dropped.
async fn keep(mut child: Child, stderr: ChildStderr, group: Option<Pid>, dropped: &mut Dropped) -> End {
    let mut tail = Tail { stderr, kept: Vec::new(), open: true };
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = tail.hear(), if tail.open => {}
            _ = &mut *dropped => {
                signal(group, Signal::HUP);
                let _ = timeout(GRACE, child.wait()).await;
                // Also when the command has ended: what it started may be left.
                signal(group, Signal::KILL);
                break child.wait().await;
            }
        }
    };
    // What it started may have its standard error for as long as it likes.
    let rest = async {
        while tail.open {
            tail.hear().await;
        }
    };
    let _ = timeout(LAST_WORDS / 2, rest).await;
    let said = String::from_utf8_lossy(&tail.kept);
    // It may repeat what a peer has said, and errors are shown on terminals.
    let said: String = said.trim().chars().filter(|c| !c.is_control() || *c == '\n').collect();
    End { status, said }
}

/// Ends what a command that has ended has left behind in its group, when the stream is dropped: it may be what holds the
/// stream open.
async fn sweep(group: Option<Pid>, mut dropped: Dropped) {
    let is_left = || group.is_some_and(|group| test_kill_process_group(group).is_ok());
    while !dropped.is_terminated() && is_left() {
        if timeout(LOOK, &mut dropped).await.is_ok() {
            signal(group, Signal::HUP);
            sleep(GRACE).await;
            signal(group, Signal::KILL);
        }
    }
}

/// To the command's process group. Its number is taken as long as a member lives; after that the signal goes to nobody,
/// as numbers are given out in turn and come back much later than this is sent.
fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, signal)
    {
        tracing::debug!(?group, %error, "no signal sent to a proxy command");
    }
}

/// The last that was said on a standard error.
struct Tail {
    stderr: ChildStderr,
    kept: Vec<u8>,
    open: bool,
}

impl Tail {
    async fn hear(&mut self) {
        let mut piece = [0; 1024];
        match self.stderr.read(&mut piece).await {
            Ok(len @ 1..) => {
                self.kept.extend_from_slice(piece.get(..len).unwrap_or_default());
                let excess = self.kept.len().saturating_sub(KEPT);
                self.kept.drain(..excess);
            }
            _ => self.open = false,
        }
    }
}

/// The standard streams of a command, which ends when this is dropped.
pub(super) struct CommandStream {
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    // Each half of the stream asks for itself, so that each is woken.
    read_end: Last,
    write_end: Last,
    _hold: oneshot::Sender<()>,
}

type Words = Shared<BoxFuture<'static, Option<Arc<str>>>>;

/// Whether a half has ended, and what is told about it.
enum Last {
    Not(Words),
    Waiting(Words),
    Told,
}

impl Last {
    fn begin(&mut self) {
        if let Self::Not(words) = self {
            *self = Self::Waiting(words.clone());
        }
    }

    const fn has_begun(&self) -> bool {
        !matches!(self, Self::Not(_))
    }

    /// The command's last words, once.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Error>> {
        let Self::Waiting(words) = self else { return Poll::Ready(None) };
        let words = ready!(words.poll_unpin(cx));
        *self = Self::Told;
        Poll::Ready(words.map(|words| io::Error::new(io::ErrorKind::BrokenPipe, words.to_string())))
    }
}

/// What there is to say of the command's end, unless it ended well and in silence, or does not end within a moment.
async fn last_words(name: Arc<str>, ended: oneshot::Receiver<End>) -> Option<Arc<str>> {
    let Ok(Ok(End { status, said })) = timeout(LAST_WORDS, ended).await else { return None };
    let how = match status {
        Ok(status) if status.success() && said.is_empty() => return None,
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let said = if said.is_empty() { "it said nothing".to_owned() } else { format!("it said: {said}") };
    Some(format!("the proxy command `{name}` ended with {how}; {said}").into())
}

impl AsyncRead for CommandStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read_end.has_begun() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stdout).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.read_end.begin();
        }
        Poll::Ready(ready!(this.read_end.poll(cx)).map_or(Ok(()), Err))
    }
}

fn over() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for CommandStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.write_end.has_begun() {
            let Some(stdin) = &mut this.stdin else { return Poll::Ready(Err(over())) };
            match ready!(Pin::new(stdin).poll_write(cx, data)) {
                Ok(taken) => return Poll::Ready(Ok(taken)),
                // Why it no longer reads, says more.
                Err(_) => this.write_end.begin(),
            }
        }
        Poll::Ready(Err(ready!(this.write_end.poll(cx)).unwrap_or_else(over)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stdin) = &mut self.stdin {
            ready!(Pin::new(stdin).poll_flush(cx))?;
        }
        // A pipe has no other end of output than being closed.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    fn stop(host: &str) -> Stop<'_> {
        Stop { host, port: 22, user: "me" }
    }

    #[test]
    fn tokens_stand_for_the_target() {
        assert_eq!(expand("nc -l %r %h:%p 5%%", stop("a.b")).unwrap(), "nc -l me a.b:22 5%");
        for line in ["%x", "%", "a\0"] {
            assert!(expand(line, stop("a")).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_host_that_a_shell_would_run_is_refused() {
        for host in ["$(id)", "a;b", "a b", "`x`", "-oProxyCommand=x", "a\nb", "a'b", ""] {
            assert!(expand("nc %h", stop(host)).unwrap_err().field == "host", "{host:?}");
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_of_input_is_told() {
        let mut stream = ProxyCommand::new(["cat"]).start(stop("a")).unwrap();
        stream.write_all(b"through").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "through");
    }

    #[tokio::test]
    async fn a_failed_command_tells_status_and_the_end_of_its_standard_error() {
        let line = "sh -c 'head -c 100000 /dev/zero | tr \"\\0\" x >&2; echo no way to %h >&2; exit 7'";
        let mut stream = ProxyCommand::shell(line).start(stop("far.example.org")).unwrap();
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 7") && error.contains("no way to far.example.org"), "{error}");
        assert!(error.len() < KEPT + 500, "{}", error.len());
    }

    #[tokio::test]
    async fn writing_to_a_command_that_has_ended_tells_the_same() {
        let mut stream = ProxyCommand::new(["sh", "-c", "echo gone >&2; exit 9"]).start(stop("a")).unwrap();
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 1 << 16]).await {
                break error.to_string();
            }
        };
        assert!(error.contains("exit status: 9") && error.contains("gone"), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_named() {
        let failed = ProxyCommand::new(["/nonexistent/program", "%h"]).start(stop("a.b"));
        let error = failed.err().unwrap().to_string();
        assert!(error.contains("/nonexistent/program a.b"), "{error}");
    }

    #[tokio::test]
    async fn dropping_the_stream_ends_the_command_and_what_it_started() {
        // Neither ends by a hang-up, and each has the standard error for as long as it lives.
        let line = "sh -c 'trap \"\" HUP; sleep 1000 & echo $!; wait'";
        let mut stream = ProxyCommand::shell(line).start(stop("a")).unwrap();
        let mut sleeper = String::new();
        while !sleeper.ends_with('\n') {
            sleeper.push(char::from(stream.read_u8().await.unwrap()));
        }
        let sleeper = Pid::from_raw(sleeper.trim().parse().unwrap()).unwrap();
        drop(stream);
        let gone = async {
            // Killed with the group; whoever inherits it reaps it.
            while !is_gone(sleeper) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[tokio::test]
    async fn dropping_the_stream_ends_what_a_command_that_has_ended_left_behind() {
        let line = "sh -c 'sleep 1000 & echo $!'";
        let mut stream = ProxyCommand::shell(line).start(stop("a")).unwrap();
        let mut sleeper = String::new();
        while !sleeper.ends_with('\n') {
            sleeper.push(char::from(stream.read_u8().await.unwrap()));
        }
        let sleeper = Pid::from_raw(sleeper.trim().parse().unwrap()).unwrap();
        // The shell is gone, and known to be, and the sleeper still has the streams.
        sleep(2 * LAST_WORDS).await;
        assert!(!is_gone(sleeper));
        drop(stream);
        let gone = async {
            while !is_gone(sleeper) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_command_says_cannot_steer_a_terminal() {
        let line = "sh -c 'printf \"\\033[31mred\\nsecond\" >&2; exit 1'";
        let mut stream = ProxyCommand::shell(line).start(stop("a")).unwrap();
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("[31mred\nsecond") && !error.contains('\x1b'), "{error:?}");
    }

    fn is_gone(process: Pid) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
        state.is_ok_and(|text| text.contains(") Z ")) || rustix::process::test_kill_process(process).is_err()
    }
}
