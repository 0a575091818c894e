//! The bench's servers. The raw russh one is written for speed: it answers in its handler and knows the few commands
//! of the bench.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelWriteHalf};
use tokio::net::TcpListener;

use crate::daemon;
use crate::target::{Failure, new_key};

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// russh, and nothing else.
    Plain,
    /// This crate's daemon.
    Ours,
}

/// Serves until standard input ends, so that the server cannot outlive the bench.
pub(crate) fn serve(kind: Kind, threads: usize) -> Result<(), Failure> {
    let runtime = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        more => tokio::runtime::Builder::new_multi_thread().worker_threads(more).enable_all().build()?,
    };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match kind {
        Kind::Plain => runtime.block_on(listen()),
        Kind::Ours => runtime.block_on(daemon::listen()),
    }
}

async fn listen() -> Result<(), Failure> {
    let config = Arc::new(Config {
        keys: vec![new_key()],
        auth_rejection_time: std::time::Duration::ZERO,
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            if let Ok(session) = russh::server::run_stream(config, stream, Commands::default()).await {
                let _ = session.await;
            }
        });
    }
}

/// One connection.
#[derive(Default)]
struct Commands {
    channels: HashMap<ChannelId, Open>,
}

struct Open {
    write: Option<ChannelWriteHalf<Msg>>,
    echo: bool,
}

impl Commands {
    fn finish(session: &mut Session, id: ChannelId) -> Result<(), russh::Error> {
        session.exit_status_request(id, 0)?;
        session.eof(id)?;
        session.close(id)
    }
}

impl Handler for Commands {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let id = channel.id();
        // Nobody reads the queue of the channel: everything is answered in the handler.
        let (_, write) = channel.split();
        self.channels.insert(id, Open { write: Some(write), echo: false });
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        let Some(open) = self.channels.get_mut(&id) else { return Ok(()) };
        match std::str::from_utf8(command).unwrap_or_default().split(' ').collect::<Vec<_>>()[..] {
            ["true"] => Self::finish(session, id)?,
            ["cat"] => open.echo = true,
            ["head", "-c", bytes, "/dev/zero"] => {
                if let (Some(write), Ok(bytes)) = (open.write.take(), bytes.parse()) {
                    tokio::spawn(download(write, bytes));
                }
            }
            // `cat >/dev/null` and the like: swallow until eof.
            _ => {}
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        if self.channels.get(&id).is_some_and(|open| open.echo) {
            session.data(id, Bytes::copy_from_slice(data))?;
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        Self::finish(session, id)
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }
}

async fn download(write: ChannelWriteHalf<Msg>, mut left: usize) -> Result<(), russh::Error> {
    let block = Bytes::from(vec![0; 1 << 20]);
    while left > 0 {
        let now = left.min(block.len());
        write.data_bytes(block.slice(..now)).await?;
        left -= now;
    }
    write.exit_status(0).await?;
    write.eof().await?;
    write.close().await
}
