//! The servers: a daemon of this crate, and `sshd`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ractor_ssh::auth::{Auth, Identity};
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::session::ServerStream;
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{ClientConfig, Daemon, DaemonConfig, DaemonRef, Router, SessionRequest};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::kit::Sshd;

/// What the sinks have written down, by the number of the channel.
pub(crate) type Ledgers = Arc<Mutex<BTreeMap<usize, Ledger>>>;

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) numbers: Vec<u64>,
    /// How many sinks have begun. Only the last may write: one of a connection that was given up may get late what was
    /// held up on the way.
    epoch: u64,
}

/// The daemon, and how to reach it.
pub(crate) async fn daemon() -> (DaemonRef, ClientConfig, Ledgers) {
    let (host_key, identity) = (generate_ed25519(), generate_ed25519());
    let known = identity.public_key().key_data().clone();
    let pin = host_key.public_key().clone();
    let ledgers = Ledgers::default();
    let books = Arc::clone(&ledgers);
    let router = Router::new().exec_stream_fn(move |request: SessionRequest, stream| {
        let ledgers = Arc::clone(&books);
        async move {
            let line = request.command().to_string();
            let words: Vec<&str> = line.split_whitespace().collect();
            let served = match words[..] {
                ["produce", from] => produce(from.parse().unwrap(), stream).await,
                ["sink", name] => sink(name.parse().unwrap(), &ledgers, stream).await,
                ["cat"] => cat(stream).await,
                _ => return 127,
            };
            u32::from(served.is_err())
        }
    });
    let config =
        DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(host_key).router(router).public_key(move |_, key| {
            let yes = *key.key_data() == known;
            async move { yes }
        });
    let daemon = Daemon::start(config).await.unwrap();
    let client = ClientConfig::new("127.0.0.1", "soak")
        .auth(Auth::new().identity(Identity::from_private_key(identity)))
        .host_key(HostKeyPolicy::pinned([pin]));
    (daemon, client, ledgers)
}

/// Numbers from this one on, about a thousand a second.
async fn produce(from: u64, mut stream: ServerStream) -> std::io::Result<()> {
    for number in from.. {
        stream.write_all(format!("{number}\n").as_bytes()).await?;
        if number % 10 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    Ok(())
}

/// Says what the ledger ends with, takes what follows, and acknowledges it.
async fn sink(name: usize, ledgers: &Ledgers, stream: ServerStream) -> std::io::Result<()> {
    let (epoch, last) = {
        let mut ledgers = ledgers.lock().unwrap();
        let ledger = ledgers.entry(name).or_default();
        ledger.epoch += 1;
        (ledger.epoch, ledger.numbers.last().copied().unwrap_or(0))
    };
    let (input, mut output) = tokio::io::split(stream);
    output.write_all(format!("{last}\n").as_bytes()).await?;
    let mut lines = BufReader::new(input).lines();
    while let Some(line) = lines.next_line().await? {
        let number: u64 = line.parse().map_err(std::io::Error::other)?;
        {
            let mut ledgers = ledgers.lock().unwrap();
            let ledger = ledgers.entry(name).or_default();
            if ledger.epoch != epoch {
                return Ok(());
            }
            ledger.numbers.push(number);
        }
        output.write_all(format!("{number}\n").as_bytes()).await?;
    }
    Ok(())
}

async fn cat(stream: ServerStream) -> std::io::Result<()> {
    let (mut input, mut output) = tokio::io::split(stream);
    tokio::io::copy(&mut input, &mut output).await.map(|_| ())
}

/// `sshd`, and how to reach it; `None` where it is missing.
pub(crate) async fn sshd() -> Option<(Sshd, ClientConfig)> {
    let sshd = Sshd::builder().max_sessions(100).start().ok()?;
    let key =
        ractor_ssh::wire::keys::PublicKey::from_openssh(&sshd.host_keys()[0].public_line().ok()?).ok()?;
    let config = ClientConfig::new("127.0.0.1", sshd.user())
        .auth(Auth::new().identity(Identity::load(sshd.identity(), None).await.ok()?))
        .host_key(HostKeyPolicy::pinned([key]));
    Some((sshd, config))
}
