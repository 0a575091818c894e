//! A russh client for login tests, and a russh server in the process that answers as a script says.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKeyOrCertificate};
use russh::server::{Auth as Verdict, PublicKeyOffer, Response, VerifiedPublicKey};
use russh::{MethodKind, MethodSet, client, server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::wire::keys::{Algorithm, Certificate};

/// What the server is asked, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    None,
    Password(String),
    Offered(Algorithm),
    Signed(Algorithm),
    Keyboard(Option<Vec<String>>),
}

pub(super) type Script = Box<dyn FnMut(&Asked) -> Verdict + Send>;

/// Refuses and names the methods that can continue.
pub(super) fn refuse(methods: &[MethodKind]) -> Verdict {
    Verdict::Reject { proceed_with_methods: Some(MethodSet::from(methods)), partial_success: false }
}

/// Accepts and wants more.
pub(super) fn partial(methods: &[MethodKind]) -> Verdict {
    Verdict::Reject { proceed_with_methods: Some(MethodSet::from(methods)), partial_success: true }
}

/// Asks for answers.
pub(super) fn prompts(name: &'static str, prompts: &[(&'static str, bool)]) -> Verdict {
    let prompts = prompts.iter().map(|(text, echo)| (Cow::Borrowed(*text), *echo)).collect();
    Verdict::Partial { name: name.into(), instructions: "".into(), prompts: Cow::Owned(prompts) }
}

pub(super) struct Server {
    script: Script,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn decide(&mut self, asked: Asked) -> Verdict {
        let verdict = (self.script)(&asked);
        self.log.lock().unwrap().push(asked);
        verdict
    }
}

impl server::Handler for Server {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Verdict, Self::Error> {
        Ok(self.decide(Asked::None))
    }

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Verdict, Self::Error> {
        Ok(self.decide(Asked::Password(password.to_owned())))
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Verdict, Self::Error> {
        Ok(self.decide(Asked::Offered(offer.algorithm.clone())))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Verdict, Self::Error> {
        Ok(self.decide(Asked::Signed(key.algorithm.clone())))
    }

    async fn auth_openssh_certificate(
        &mut self,
        _user: &str,
        c: &Certificate,
    ) -> Result<Verdict, Self::Error> {
        Ok(self.decide(Asked::Signed(c.algorithm())))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Verdict, Self::Error> {
        let answers =
            response.map(|response| response.map(|a| String::from_utf8_lossy(&a).into_owned()).collect());
        Ok(self.decide(Asked::Keyboard(answers)))
    }
}

/// A client that takes any host key: these tests are about users.
pub(super) struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

pub(super) async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> client::Handle<Client> {
    client::connect_stream(Arc::new(client::Config::default()), stream, Client).await.unwrap()
}

/// A fresh Ed25519 key.
pub(super) fn ed25519() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

pub(super) type Log = Arc<Mutex<Vec<Asked>>>;

/// Starts a server with a script; the log tells afterwards what it was asked.
pub(super) async fn scripted(
    script: impl FnMut(&Asked) -> Verdict + Send + 'static,
) -> (client::Handle<Client>, Log) {
    scripted_with(|_| {}, script).await
}

/// The same with changes to the server's configuration.
pub(super) async fn scripted_with(
    change: impl FnOnce(&mut server::Config),
    script: impl FnMut(&Asked) -> Verdict + Send + 'static,
) -> (client::Handle<Client>, Log) {
    let mut config = server::Config {
        auth_rejection_time: Duration::ZERO,
        keys: vec![ed25519()],
        max_auth_attempts: 100,
        ..server::Config::default()
    };
    change(&mut config);
    let log = Arc::new(Mutex::new(Vec::new()));
    let handler = Server { script: Box::new(script), log: Arc::clone(&log) };
    let (near, far) = tokio::io::duplex(1 << 16);
    let config = Arc::new(config);
    tokio::spawn(async move {
        if let Ok(session) = server::run_stream(config, far, handler).await {
            let _ended_either_way = session.await;
        }
    });
    (connect(near).await, log)
}
