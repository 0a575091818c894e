//! A subsystem of one's own: a daemon that keeps values by key, and a client that asks it.
//!
//! ```sh
//! cargo run --example custom_subsystem
//! cargo run --example custom_subsystem -- --listen 127.0.0.1:2222 --authorized-key ~/.ssh/id_ed25519.pub
//! ssh -p 2222 -s 127.0.0.1 kv
//! ```
//!
//! The protocol has one line a request (`set KEY VALUE`, `get KEY`, `keys`) and one line an answer (`ok ...`, `none`,
//! `error ...`). Each channel is an actor with a [`ServerChannel`] of its own; what they share is the store.
//! Without arguments the daemon and a client run in this process, and the program shows what they say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser;
use futures::{SinkExt, StreamExt};
use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::bytes::BytesMut;
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::wire::keys::{PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::{
    BoxError, ChannelContext, ChannelMsg, Client, ClientConfig, Daemon, DaemonConfig, DaemonRef, Next,
    Router, ServerChannel, ServerSide,
};
use tokio_util::codec::{Decoder as _, LinesCodec};

/// The name of the subsystem.
const NAME: &str = "kv";
/// Longer requests, in bytes, end the channel: what comes before the end of a line is kept.
const LONGEST: usize = 64 << 10;
/// More keys are refused.
const MOST_KEYS: usize = 10_000;
/// Longer keys, in bytes, are refused. With [`MOST_KEYS`] of them, an answer to `keys` has less than 700 KB.
const LONGEST_KEY: usize = 64;
/// More is refused: bytes of all keys and values together.
const MOST_BYTES: usize = 16 << 20;

/// Serves a key-value store as an SSH subsystem.
#[derive(Parser)]
struct Args {
    /// Serve others: where to listen. Without it, a client in this program shows the protocol.
    #[arg(long, requires = "authorized_key")]
    listen: Option<SocketAddr>,
    /// File with the public key that is let in.
    #[arg(long, requires = "listen")]
    authorized_key: Option<PathBuf>,
    /// File with the daemon's private key, without a passphrase. Default: a new one.
    #[arg(long, requires = "listen")]
    host_key: Option<PathBuf>,
}

/// What is kept, and how many bytes that is.
#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, String>,
    bytes: usize,
}

impl Values {
    /// Keeps a value; says what is in the way if it does not.
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if key.len() > LONGEST_KEY {
            return Err(format!("the key is longer than {LONGEST_KEY} bytes"));
        }
        let old = self.by_key.get(key).map(|old| key.len() + old.len());
        if old.is_none() && self.by_key.len() >= MOST_KEYS {
            return Err(format!("there are {MOST_KEYS} keys already"));
        }
        let bytes = self.bytes - old.unwrap_or(0) + key.len() + value.len();
        if bytes > MOST_BYTES {
            return Err(format!("there is no room, the limit is {MOST_BYTES} bytes"));
        }
        self.bytes = bytes;
        self.by_key.insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}

type Store = Arc<Mutex<Values>>;

/// One channel: the beginning of a line, and the store that all have in common.
struct KeyValue {
    store: Store,
    lines: LinesCodec,
    partial: BytesMut,
    eof: bool,
}

impl KeyValue {
    fn answer(&self, line: &str) -> String {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (verb, rest.split_once(' ')) {
            ("get", None) => store.by_key.get(rest).map_or("none".to_owned(), |value| format!("ok {value}")),
            ("keys", None) if rest.is_empty() => {
                format!("ok {}", store.by_key.keys().map(String::as_str).collect::<Vec<_>>().join(" "))
            }
            ("set", Some((key, value))) => match store.set(key, value) {
                Ok(()) => "ok".to_owned(),
                Err(why) => format!("error {why}"),
            },
            _ => "error say `set KEY VALUE`, `get KEY` or `keys`".to_owned(),
        }
    }
}

impl KeyValue {
    /// Answers while there is room for answers: a short request may have a long one, and a packet holds thousands.
    /// Meanwhile no more data is delivered. A line that is too long, or is no UTF-8, ends the channel.
    fn go_on(&mut self, ctx: &mut ChannelContext<Self, ServerSide>) -> Result<(), BoxError> {
        while ctx.is_ready() {
            let Some(line) = self.lines.decode(&mut self.partial)? else {
                if self.eof {
                    // Fails when the peer has closed the channel.
                    let _ = ctx.exit(0);
                }
                return Ok(());
            };
            if ctx.send(self.answer(line.trim_end()) + "\n").is_err() {
                return Ok(());
            }
        }
        ctx.notify_when_ready();
        Ok(())
    }
}

impl ServerChannel for KeyValue {
    type Msg = ();

    async fn handle_ssh_msg(
        &mut self,
        msg: ChannelMsg,
        ctx: &mut ChannelContext<Self, ServerSide>,
    ) -> Result<Next, BoxError> {
        match msg {
            ChannelMsg::Data { data, .. } => {
                self.partial.extend_from_slice(&data);
                self.go_on(ctx)?;
            }
            ChannelMsg::Eof => {
                self.eof = true;
                self.go_on(ctx)?;
            }
            ChannelMsg::ReadyToSend => self.go_on(ctx)?,
            _ => {}
        }
        Ok(Next::Continue)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custom_subsystem: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let Some((listen, authorized)) = args.listen.zip(args.authorized_key) else { return show().await };
    let host_key = match args.host_key {
        Some(path) => PrivateKey::from_openssh(read(&path).await?)?,
        None => generate_ed25519(),
    };
    let daemon = start(listen, host_key, PublicKey::from_openssh(read(&authorized).await?.trim())?).await?;
    println!("listening on {}", daemon.local_addr());
    tokio::signal::ctrl_c().await?;
    daemon.stop().await;
    Ok(())
}

async fn read(path: &Path) -> Result<String, BoxError> {
    Ok(tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?)
}

/// A daemon with the subsystem and nothing else.
async fn start(
    listen: SocketAddr,
    host_key: PrivateKey,
    authorized: PublicKey,
) -> Result<DaemonRef, BoxError> {
    let store = Store::default();
    let routes = Router::new().subsystem(NAME, move |_| KeyValue {
        store: Arc::clone(&store),
        lines: LinesCodec::new_with_max_length(LONGEST),
        partial: BytesMut::new(),
        eof: false,
    });
    let config = DaemonConfig::new(listen).host_key(host_key).router(routes);
    let config = config.public_key(move |_, key| {
        let yes = key.key_data() == authorized.key_data();
        async move { yes }
    });
    Ok(Daemon::start(config).await?)
}

/// Both sides in one program.
async fn show() -> Result<(), BoxError> {
    let (host_key, identity) = (generate_ed25519(), generate_ed25519());
    let policy = HostKeyPolicy::pinned([host_key.public_key().clone()]);
    let daemon = start(([127, 0, 0, 1], 0).into(), host_key, identity.public_key().clone()).await?;
    let client = ClientConfig::new("127.0.0.1", "somebody")
        .port(daemon.local_addr().port())
        .auth(Auth::new().identity(Identity::from_private_key(identity)))
        .host_key(policy);
    let conn = Client::new(client).connect().await?;

    let mut lines = conn.subsystem(NAME).stream().await?.lines(LONGEST);
    for request in ["set planet Earth", "set star Sun", "get planet", "get moon", "keys", "sing"] {
        lines.send(request).await?;
        let answer = lines.next().await.ok_or("the subsystem has ended")??;
        println!("{request:<20} {answer}");
    }
    lines.into_inner().finish().await?;
    conn.close().await;
    daemon.stop().await;
    Ok(())
}
