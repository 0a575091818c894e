//! NETCONF over SSH: a client for any server, and a small server.
//!
//! ```sh
//! cargo run --example netconf --features netconf,ssh-config -- call -p 830 admin@router \
//!     '<get-config><source><running/></source></get-config>'
//! cargo run --example netconf --features netconf,ssh-config -- serve --listen 127.0.0.1:8300 --authorized-key ~/.ssh/id_ed25519.pub
//! ```
//!
//! The client reads OpenSSH's configuration files, or the one that `-F` names; where they name no port, it is 830. It
//! prints each reply, and exits with 1 if one has an `<rpc-error>`, with 255 for errors of SSH and of the session. The
//! server keeps one configuration, as text: it is there to show the codec, and reads XML no better than it must.

#[path = "common/login.rs"]
mod login;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Parser, Subcommand};
use futures::{SinkExt as _, StreamExt as _};
use login::Login;
use ractor_ssh::netconf::{Framing, FramingError, NetconfCodec, NetconfOptions, NetconfSession};
use ractor_ssh::session::ServerStream;
use ractor_ssh::wire::keys::{HashAlg, PrivateKey, PublicKey, generate_ed25519};
use ractor_ssh::{BoxError, Client, Daemon, DaemonConfig, Router};
use tokio_util::codec::Framed;

/// Asks a NETCONF server, or is one.
#[derive(Parser)]
#[command(name = "netconf")]
struct Args {
    #[command(subcommand)]
    command: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Carries out operations on a server.
    Call(Box<Call>),
    /// Serves one configuration, in memory.
    Serve(Serve),
}

#[derive(clap::Args)]
struct Call {
    #[command(flatten)]
    login: Login,
    /// Name of the subsystem.
    #[arg(long, default_value = "netconf")]
    subsystem: String,
    /// Speak NETCONF 1.0, whatever the server offers.
    #[arg(long)]
    version_1_0: bool,
    /// Seconds a reply may take.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// What goes into `<rpc>`, one request each.
    #[arg(required = true)]
    operations: Vec<String>,
}

#[derive(clap::Args)]
struct Serve {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:830")]
    listen: SocketAddr,
    /// File with the public key that is let in.
    #[arg(long)]
    authorized_key: PathBuf,
    /// File with the daemon's private key, without a passphrase. Default: a new one.
    #[arg(long)]
    host_key: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let (outcome, who) = match Args::parse().command {
        Do::Call(call) => (self::call(&call).await, call.login.destination),
        Do::Serve(serve) => (self::serve(&serve).await.map(|()| true), serve.listen.to_string()),
    };
    match outcome {
        Ok(well) => ExitCode::from(u8::from(!well)),
        Err(error) => {
            eprintln!("netconf: {who}: {error}");
            ExitCode::from(255)
        }
    }
}

/// Whether no reply has an error.
async fn call(args: &Call) -> Result<bool, BoxError> {
    let conn = Client::new(args.login.client(830, &[]).await?.config).connect().await?;
    let mut options = NetconfOptions::new().deadline(Duration::from_secs(args.deadline));
    if args.version_1_0 {
        options = options.only_1_0();
    }
    let mut session = NetconfSession::open(conn.subsystem(&args.subsystem), options).await?;
    let mut well = true;
    for operation in &args.operations {
        let reply = session.rpc(operation).await?;
        well &= !String::from_utf8_lossy(&reply).contains("rpc-error");
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&reply)?;
        stdout.write_all(b"\n")?;
    }
    session.close().await?;
    conn.close().await;
    Ok(well)
}

async fn serve(args: &Serve) -> Result<(), BoxError> {
    let authorized = PublicKey::from_openssh(read(&args.authorized_key).await?.trim())?;
    let host_key = match &args.host_key {
        Some(path) => PrivateKey::from_openssh(read(path).await?)?,
        None => generate_ed25519(),
    };
    let fingerprint = host_key.public_key().fingerprint(HashAlg::Sha256);
    let running = Running::default();
    let router = Router::new().subsystem_fn("netconf", move |_, stream| {
        let running = Arc::clone(&running);
        async move {
            match session(stream, &running).await {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("netconf: a session: {error}");
                    1_u32
                }
            }
        }
    });
    let config = DaemonConfig::new(args.listen).host_key(host_key).router(router);
    let config = config.public_key(move |_, key| {
        let yes = key.key_data() == authorized.key_data();
        async move { yes }
    });
    let daemon = Daemon::start(config).await?;
    println!("listening on {}, host key {fingerprint}", daemon.local_addr());
    tokio::signal::ctrl_c().await?;
    daemon.stop().await;
    Ok(())
}

async fn read(path: &Path) -> Result<String, BoxError> {
    Ok(tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?)
}

/// The configuration all sessions have in common: what is in `<config>`.
type Running = Arc<Mutex<String>>;

const HELLO: &str = "<hello xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><capabilities>\
    <capability>urn:ietf:params:netconf:base:1.0</capability>\
    <capability>urn:ietf:params:netconf:base:1.1</capability>\
    <capability>urn:ietf:params:netconf:capability:writable-running:1.0</capability>\
    </capabilities><session-id>1</session-id></hello>";

/// One client: hellos, then requests until it has enough.
async fn session(stream: ServerStream, running: &Running) -> Result<(), FramingError> {
    let mut framed = Framed::new(stream, NetconfCodec::new().max_message(16 << 20));
    framed.send(HELLO).await?;
    let Some(hello) = framed.next().await.transpose()? else { return Ok(()) };
    if String::from_utf8_lossy(&hello).contains("urn:ietf:params:netconf:base:1.1<") {
        framed.codec_mut().set_framing(Framing::Chunked);
    }
    while let Some(request) = framed.next().await.transpose()? {
        let request = String::from_utf8_lossy(&request);
        let (attributes, content) = element(&request, "rpc").unwrap_or_default();
        let operation = name(content);
        let answer = match operation {
            "get" | "get-config" => format!("<data>{}</data>", lock(running)),
            "edit-config" => {
                let (_, config) = element(content, "config").unwrap_or_default();
                config.clone_into(&mut lock(running));
                "<ok/>".to_owned()
            }
            "close-session" => "<ok/>".to_owned(),
            _ => "<rpc-error><error-type>protocol</error-type><error-tag>operation-not-supported</error-tag>\
                  <error-severity>error</error-severity></rpc-error>"
                .to_owned(),
        };
        // All attributes of the request are given back (RFC 6241 section 4.2).
        let namespace = "xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"";
        let namespace = if attributes.contains("xmlns=") { "" } else { namespace };
        framed.send(format!("<rpc-reply {namespace} {attributes}>{answer}</rpc-reply>")).await?;
        if operation == "close-session" {
            break;
        }
    }
    Ok(())
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, String> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Attributes and content of the first element of this name, with any prefix.
fn element<'a>(text: &'a str, wanted: &str) -> Option<(&'a str, &'a str)> {
    let mut rest = text;
    loop {
        let (_, tag) = rest.split_once('<')?;
        rest = tag;
        let (tag, content) = tag.split_once('>')?;
        let (qualified, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        if qualified.rsplit(':').next() == Some(wanted) {
            let (content, _) = content.rsplit_once(&format!("</{qualified}>"))?;
            return Some((attributes.trim(), content));
        }
    }
}

/// The local name of the first element.
fn name(text: &str) -> &str {
    let tag = text.split_once('<').map_or("", |(_, tag)| tag);
    let end = tag.find(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '>')).unwrap_or(0);
    tag.get(..end).and_then(|name| name.rsplit(':').next()).unwrap_or_default()
}
