//! Dialogues with shells, devices and other programs that show a prompt.
//!
//! ```sh
//! cargo run --example expect --features expect,ssh-config -- user@127.0.0.1 run 'cd /tmp' 'ls | wc -l'
//! cargo run --example expect --features expect,ssh-config -- admin@router device 'terminal length 0' 'show version'
//! cargo run --example expect --features expect,ssh-config -- --program passwd user@127.0.0.1 script steps.txt
//! ```
//!
//! `run` leads one POSIX shell, and exits with the status of the last command. `device` learns the prompt first. `script`
//! reads steps, one a line:
//!
//! ```text
//! # comments, and empty lines, mean nothing
//! expect assword:
//! secret /run/secrets/old
//! regex (?i)(new|retype).*: ?
//! send some text
//! control c
//! within 60
//! eof
//! ```
//!
//! It reads OpenSSH's configuration files, or the one that `-F` names. What the commands write goes to stdout; of a script,
//! what came before each match. 255 is for errors of SSH and of the dialogue.

#[path = "common/login.rs"]
mod login;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use login::Login;
use ractor_ssh::expect::{Dialog, DialogOptions, Pattern, PosixShell};
use ractor_ssh::wire::pty::PtyRequest;
use ractor_ssh::{BoxError, Client};
use secrecy::SecretString;

/// Leads a dialogue with a program on an SSH server.
#[derive(Parser)]
#[command(name = "expect")]
struct Args {
    #[command(flatten)]
    login: Login,
    /// What to start, as a command line. Default: the login shell.
    #[arg(long)]
    program: Option<String>,
    /// Type of the terminal.
    #[arg(long, default_value = "dumb")]
    term: String,
    /// Size of the terminal, columns x rows.
    #[arg(long, default_value = "200x50", value_parser = size)]
    size: (u32, u32),
    /// Seconds a step may take.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// Leave escape sequences out.
    #[arg(long)]
    strip: bool,
    /// Write everything that is said to stderr, escaped, with the time.
    #[arg(long)]
    transcript: bool,
    #[command(subcommand)]
    command: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Runs commands, one after another, in one POSIX shell.
    Run {
        /// The commands.
        #[arg(required = true)]
        commands: Vec<String>,
    },
    /// Runs commands at the prompt of something that is no POSIX shell.
    Device {
        /// Milliseconds of silence that end an answer while the prompt is learned.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
        quiet: u64,
        /// The commands.
        #[arg(required = true)]
        commands: Vec<String>,
    },
    /// Carries out the steps in a file.
    Script {
        /// The file.
        file: PathBuf,
    },
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('x').map(|(columns, rows)| (columns.parse(), rows.parse()));
    match numbers {
        Some((Ok(columns), Ok(rows))) => Ok((columns, rows)),
        _ => Err("give columns and rows: 200x50".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(255)),
        Err(error) => {
            eprintln!("expect: {}: {error}", args.login.destination);
            ExitCode::from(255)
        }
    }
}

async fn run(args: &Args) -> Result<u32, BoxError> {
    // Read first: a mistake in it is found before anything is sent.
    let steps = match &args.command {
        Do::Script { file } => steps(file).await?,
        _ => Vec::new(),
    };
    let conn = Client::new(args.login.client(22, &[]).await?.config).connect().await?;
    let program = args.program.as_ref().map_or_else(|| conn.shell(), |line| conn.exec(line));
    let terminal = PtyRequest::new(&args.term).size(args.size.0, args.size.1);
    let mut options =
        DialogOptions::new().deadline(Duration::from_secs(args.deadline)).strip_escapes(args.strip);
    if args.transcript {
        options = options.on_transcript(|entry| eprintln!("{entry}"));
    }
    let dialog = program.pty(terminal).dialog(options).await?;
    let status = match &args.command {
        Do::Run { commands } => in_a_shell(dialog, commands).await,
        Do::Device { quiet, commands } => at_a_prompt(dialog, Duration::from_millis(*quiet), commands).await,
        Do::Script { .. } => carry_out(dialog, &steps).await,
    };
    conn.close().await;
    status
}

async fn in_a_shell(dialog: Dialog, commands: &[String]) -> Result<u32, BoxError> {
    let mut shell = PosixShell::over(dialog).await?;
    let mut status = 0;
    for command in commands {
        let done = shell.run(command).await?;
        print(&done.output)?;
        status = done.status;
    }
    Ok(status)
}

async fn at_a_prompt(mut dialog: Dialog, quiet: Duration, commands: &[String]) -> Result<u32, BoxError> {
    let prompt = dialog.learn_prompt(quiet).await?;
    for command in commands {
        print(&dialog.run_at(&prompt, command).await?)?;
    }
    Ok(0)
}

enum Step {
    Expect(Pattern),
    Send(String),
    Secret(SecretString),
    Control(char),
    Within(Duration),
    Eof,
}

async fn steps(file: &Path) -> Result<Vec<Step>, BoxError> {
    let text =
        tokio::fs::read_to_string(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
    let mut steps = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let step = step(line).await.map_err(|error| format!("{}:{}: {error}", file.display(), number + 1))?;
        steps.push(step);
    }
    Ok(steps)
}

async fn step(line: &str) -> Result<Step, BoxError> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    Ok(match verb {
        "expect" if !rest.is_empty() => Step::Expect(Pattern::literal(rest)),
        "regex" => Step::Expect(Pattern::regex(rest)?),
        "send" => Step::Send(rest.to_owned()),
        "secret" => {
            let text = tokio::fs::read_to_string(rest).await.map_err(|error| format!("{rest}: {error}"))?;
            Step::Secret(SecretString::from(text.trim_end_matches(['\r', '\n'])))
        }
        "control" if rest.chars().count() == 1 => Step::Control(rest.chars().next().unwrap_or_default()),
        "within" => Step::Within(Duration::from_secs(rest.parse().map_err(|_| "give seconds")?)),
        "eof" if rest.is_empty() => Step::Eof,
        _ => return Err("a step is one of: expect TEXT, regex RE, send TEXT, secret FILE, control KEY, within SECONDS, eof".into()),
    })
}

async fn carry_out(mut dialog: Dialog, steps: &[Step]) -> Result<u32, BoxError> {
    for step in steps {
        match step {
            Step::Expect(pattern) => print(&dialog.expect(pattern).await?.before)?,
            Step::Send(text) => dialog.send_line(text).await?,
            Step::Secret(secret) => dialog.send_secret(secret).await?,
            Step::Control(key) => dialog.send_control(*key).await?,
            Step::Within(limit) => dialog.set_deadline(*limit),
            Step::Eof => {
                let ended = dialog.expect_eof().await?;
                print(&ended.before)?;
                return Ok(ended.status.exit_code().into());
            }
        }
    }
    Ok(0)
}

fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
