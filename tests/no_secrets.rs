//! Nothing that is logged or printed shows a secret (`no_sensitive_leak` of OTP's ssh_connection_SUITE): both ends of
//! logins, good, refused and crashing, with everything written down that the crate and russh have to say.

#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the test"
)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor_ssh::auth::{Auth, Identity, KeyboardInteractive};
use ractor_ssh::dial::{Proxy, Via};
use ractor_ssh::host_key::HostKeyPolicy;
use ractor_ssh::login::{InterviewStep, Prompts};
use ractor_ssh::wire::keys::generate_ed25519;
use ractor_ssh::{Client, ClientConfig, Daemon, DaemonConfig};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PASSWORD: &str = "correct-horse-battery";
const WRONG: &str = "wrong-donkey-charger";
const CRASHING: &str = "crashing-zebra-dynamo";
const PASSPHRASE: &str = "staple-that-opens-keys";
const PROXY: &str = "proxy-otter-tollgate";
/// `me:` and [`PROXY`], as HTTP has them.
const PROXY_AS_BASIC: &str = "bWU6cHJveHktb3R0ZXItdG9sbGdhdGU=";
const HEADER: &str = "token-of-the-toll-keeper";
const CODE: &str = "code-of-the-inner-door";

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn add(&self, text: impl AsRef<str>) {
        self.clone().write_all(text.as_ref().as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

/// Logins at proxies that refuse them.
async fn at_proxies(written: &Written) {
    let answering = |answers: &'static [&'static [u8]]| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            for answer in answers {
                let mut piece = vec![0; 4096];
                let len = stream.read(&mut piece).await.unwrap();
                asked.extend_from_slice(&piece[..len]);
                stream.write_all(answer).await.unwrap();
            }
            asked
        });
        (port, asked)
    };
    let (http, at_http) =
        answering(&[b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n"]).await;
    let (socks, at_socks) = answering(&[b"\x05\x02", b"\x01\x01"]).await;
    let proxies = [
        Proxy::http("127.0.0.1", http).login("me", secret(PROXY)).header("X-Toll", HEADER),
        Proxy::from_url(&format!("socks5h://me:{PROXY}@127.0.0.1:{socks}")).unwrap(),
    ];
    for proxy in proxies {
        let config =
            ClientConfig::new("target.example.org", "alice").via(Via::default().proxy(proxy.clone()));
        written.add(format!("{proxy} {proxy:?} {config:?}"));
        let error = Client::new(config).connect().await.unwrap_err();
        written.add(format!("{error} {error:?}"));
    }
    for url in [format!("https://me:{PROXY}@p"), format!("http://me:{PROXY}@p:x")] {
        let error = Proxy::from_url(&url).unwrap_err();
        written.add(format!("{error} {error:?}"));
    }
    let has = |asked: Vec<u8>, text: &str| asked.windows(text.len()).any(|part| part == text.as_bytes());
    let asked = at_http.await.unwrap();
    assert!(
        has(asked.clone(), PROXY_AS_BASIC) && has(asked, HEADER),
        "the proxy is not told: nothing is proved"
    );
    assert!(has(at_socks.await.unwrap(), PROXY), "the proxy is not told: nothing is proved");
}

#[tokio::test]
async fn no_log_panic_error_or_debug_output_of_a_login_shows_a_secret() {
    let written = Written::default();
    let logs = written.clone();
    // Takes in russh's own records, too.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || logs.clone())
        .init();
    let panics = written.clone();
    std::panic::set_hook(Box::new(move |panic| panics.add(panic.to_string())));

    let config = DaemonConfig::new(([127, 0, 0, 1], 0))
        .host_key(generate_ed25519())
        .login_delay(Duration::from_millis(5))
        .password(|_, password| async move {
            assert!(password.expose_secret() != CRASHING, "planted: {password:?}");
            password.expose_secret() == PASSWORD
        })
        .keyboard_interactive(|_| {
            |answers: Vec<SecretString>| {
                let step: InterviewStep = match answers.first() {
                    None => Prompts::new().hidden("Code: ").into(),
                    Some(code) => (code.expose_secret() == CODE).into(),
                };
                async move { step }
            }
        })
        .public_key(|_, _| async { true });
    written.add(format!("{config:?}"));
    let daemon = Daemon::start(config).await.unwrap();

    let key = generate_ed25519().encrypt(&mut rand::rng(), PASSPHRASE).unwrap();
    let file = key.to_openssh(Default::default()).unwrap().as_bytes().to_vec();
    let identity = Identity::from_bytes(file.clone(), secret(PASSPHRASE)).await.unwrap();
    let unreadable = Identity::from_bytes(file, secret(WRONG)).await.unwrap_err();
    written.add(format!("{unreadable} {unreadable:?}"));

    let code = |text: &str| KeyboardInteractive::new().answer("*ode*", secret(text));
    let logins = [
        (Auth::new().password(secret(PASSWORD)), true),
        (Auth::new().password(secret(WRONG)), false),
        (Auth::new().keyboard_interactive(code(CODE)), true),
        (Auth::new().keyboard_interactive(code(WRONG)), false),
        (Auth::new().identity(identity), true),
    ];
    for (auth, good) in logins {
        let config = ClientConfig::new("127.0.0.1", "alice")
            .port(daemon.local_addr().port())
            .auth(auth)
            .host_key(HostKeyPolicy::danger_accept_anything());
        written.add(format!("{config:?}"));
        match Client::new(config).connect().await {
            Ok(conn) => {
                assert!(good);
                written.add(format!("{conn:?}"));
                conn.close().await;
            }
            Err(error) => {
                assert!(!good, "{error}");
                written.add(format!("{error} {error:?}"));
            }
        }
    }
    let config = ClientConfig::new("127.0.0.1", "alice")
        .port(daemon.local_addr().port())
        .auth(Auth::new().password(secret(CRASHING)))
        .host_key(HostKeyPolicy::danger_accept_anything());
    let crashed = Client::new(config).connect().await.unwrap_err();
    written.add(format!("{crashed} {crashed:?}"));
    written.add(format!("{daemon:?}"));
    daemon.stop().await;
    at_proxies(&written).await;

    let text = written.text();
    for present in
        ["a login callback panicked", "login refused", "russh", "planted", "TRACE", "407 Who", "status 1"]
    {
        assert!(text.contains(present), "{present} is missing: nothing is proved\n{text}");
    }
    for hidden in [PASSWORD, WRONG, CRASHING, PASSPHRASE, CODE, PROXY, PROXY_AS_BASIC, HEADER] {
        assert!(!text.contains(hidden), "{hidden} was written down");
        let bytes = format!("{:?}", hidden.as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(!text.contains(bytes), "{hidden} was written down, as bytes");
    }
}
