//! A usable SSH client.
//!
//! ```sh
//! cargo run --example ssh -- -p 2222 user@127.0.0.1 -- uname -a
//! cargo run --example ssh -- -t user@127.0.0.1
//! cargo run --example ssh -- -J user@bastion.example.org,inner user@target
//! cargo run --example ssh -- -N -L 5432:db.internal:5432 -D 1080 user@bastion.example.org
//! ```
//!
//! It reads OpenSSH's configuration files, or the one that `-F` names. stdin, stdout and stderr are streamed and
//! binary-safe. When the command has ended, forwarded connections may go on to their end. Exits with the remote status,
//! 128 + n when the remote command was ended by signal n, and 255 for SSH errors.

mod forwards;
#[path = "../common/login.rs"]
mod login;
mod options;
mod session;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use options::Args;
use ractor_ssh::ssh_config::HostOptions;
use ractor_ssh::{BoxError, Client, ConnectionRef};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let code = match run(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ssh: {}: {error}", args.login.destination);
            255
        }
    };
    // A thread may still be waiting for standard input, and cannot be told to stop.
    std::process::exit(code.into());
}

async fn run(args: &Args) -> Result<u8, BoxError> {
    let applied = args.login.client(22, &options::HONOURED).await?;
    let conn = Client::new(applied.config).connect().await?;
    // They are there as long as their handles are.
    let mut forwards = Vec::new();
    let status = match forwards::set_up(&conn, args, &applied.options, &mut forwards).await {
        Ok(()) => work(args, &conn, &applied.options).await,
        Err(error) => Err(error),
    };
    forwards::end(&forwards).await;
    conn.close().await;
    status
}

/// The command and what it leaves behind, or nothing until it is interrupted.
async fn work(args: &Args, conn: &ConnectionRef, options: &HostOptions) -> Result<u8, BoxError> {
    if !session::is_wanted(args, options) {
        return tokio::select! {
            error = conn.closed() => Err(error.into()),
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| 130)?),
        };
    }
    let status = session::run(conn, args, options).await;
    let _ = std::io::stdout().flush();
    let status = status?;
    tokio::select! {
        seen_off = forwards::see_off(conn) => {
            if let Err(error) = seen_off {
                eprintln!("ssh: {}: {error}", args.login.destination);
            }
        }
        // The command has come to its end; what it has left behind need not.
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(status)
}
