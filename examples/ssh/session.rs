//! The command, or the shell: its streams, its terminal, its status.

use std::io::IsTerminal;

use ractor_ssh::session::{Child, Command, EnvPolicy, Stdin, Stdio};
use ractor_ssh::ssh_config::{HostOptions, RequestTty, SessionType};
use ractor_ssh::wire::pty::{PtyRequest, WindowSize};
use ractor_ssh::{BoxError, ConnectionRef};
use tokio::io::AsyncWriteExt;

use crate::forwards;
use crate::options::Args;

/// Whether there is to be none.
pub(crate) fn is_wanted(args: &Args, options: &HostOptions) -> bool {
    !args.no_command && options.session_type() != Some(SessionType::None)
}

/// Runs it to its end; the status as a shell has it.
pub(crate) async fn run(conn: &ConnectionRef, args: &Args, options: &HostOptions) -> Result<u8, BoxError> {
    let line = match options.remote_command() {
        Some(_) if !args.command.is_empty() => {
            return Err("a command and RemoteCommand: leave one out, or say `-o RemoteCommand=none`".into());
        }
        Some(line) => line.to_owned(),
        None => args.command.join(" "),
    };
    let command = match options.session_type() {
        Some(SessionType::Subsystem) if line.is_empty() => {
            return Err("SessionType subsystem: give its name as the command".into());
        }
        Some(SessionType::Subsystem) => conn.subsystem(&line),
        _ if line.is_empty() => conn.shell(),
        _ => conn.exec(&line),
    };
    let input = if options.stdin_null() == Some(true) { Stdin::null() } else { Stdin::piped() };
    let command = command.stdin(input).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let command = forwards::lend(with_env(command, options), args, options);
    if wants_terminal(args, options, line.is_empty()) {
        in_terminal(command).await
    } else {
        plain(command.no_pty()).await
    }
}

/// Servers take only what their configuration names: as with OpenSSH, the rest goes without.
fn with_env(mut command: Command, options: &HostOptions) -> Command {
    for (name, value) in options.set_env() {
        command = command.env_with(name, value, EnvPolicy::BestEffort);
    }
    let patterns = options.send_env();
    for (name, value) in std::env::vars() {
        if patterns.iter().any(|pattern| matches(pattern, &name)) {
            command = command.env_with(name, value, EnvPolicy::BestEffort);
        }
    }
    command
}

/// `*` stands for any letters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    match (first, name.chars().next()) {
        ('*', _) => name.char_indices().any(|(at, _)| matches(rest, &name[at..])) || matches(rest, ""),
        ('?', Some(letter)) => matches(rest, &name[letter.len_utf8()..]),
        (first, Some(letter)) if first == letter => matches(rest, &name[letter.len_utf8()..]),
        _ => false,
    }
}

fn wants_terminal(args: &Args, options: &HostOptions, shell: bool) -> bool {
    let ours = || std::io::stdin().is_terminal();
    match options.request_tty() {
        _ if args.terminal => true,
        Some(RequestTty::Force) => true,
        Some(RequestTty::Yes) => ours(),
        Some(RequestTty::Auto) => shell && ours(),
        _ => false,
    }
}

async fn plain(command: Command) -> Result<u8, BoxError> {
    let mut child = command.spawn().await?;
    feed(&mut child);
    Ok(child.wait().await?.exit_code())
}

/// Copies our standard input to the command's, in the background.
fn feed(child: &mut Child) {
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            // It fails when the command stops reading: that is the command's choice.
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await;
            let _ = stdin.shutdown().await;
        });
    }
}

/// With a remote terminal, and ours, if it is one, passed through: keys as they are, and its size.
async fn in_terminal(command: Command) -> Result<u8, BoxError> {
    let local = std::io::stdin().is_terminal();
    let mut pty = PtyRequest::from_env();
    if let Ok((columns, rows)) = crossterm::terminal::size() {
        pty = pty.size(columns.into(), rows.into());
    }
    let mut child = command.pty(pty).spawn().await?;
    let _raw = local.then(Raw::enter).transpose()?;
    feed(&mut child);
    let mut resized = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?.exit_code()),
            Some(()) = resized.recv() => {
                if let Ok((columns, rows)) = crossterm::terminal::size() {
                    let _ = child.window_change(WindowSize::new(columns.into(), rows.into()));
                }
            }
        }
    }
}

/// Our terminal in raw mode, until dropped.
struct Raw;

impl Raw {
    fn enter() -> std::io::Result<Self> {
        crossterm::terminal::enable_raw_mode().map(|()| Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}
