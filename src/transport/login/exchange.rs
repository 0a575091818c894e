//! Single exchanges of a login through russh, and what their ends mean.
//!
//! Translates; keeps no state between exchanges.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse as Kbd};
use russh::keys::agent::AgentIdentity;
use russh::{MethodKind, MethodSet};
use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::{AuthMethod, Conversation, KeyOffer, OfferedKey, PromptRound, Round};
use crate::error::BoxError;
use crate::wire::keys::HashAlg;

/// How long a session that has ended may take to say why.
const ENDING_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of one exchange.
pub(super) enum Reply {
    /// Logged in.
    Success,
    /// SSH_MSG_USERAUTH_FAILURE (RFC 4252 section 5.1), with at least one method left.
    Failure { methods: Vec<AuthMethod>, partial: bool },
    /// Nothing was sent that the server would have to answer.
    Unusable(Arc<str>),
    /// We declined to answer, and the server took it as a failure.
    GaveUp { methods: Vec<AuthMethod>, why: Arc<str> },
    /// Too many keyboard-interactive rounds; the session is in the middle of one.
    RoundLimit(u32),
    /// Either the server named no methods or the connection is gone; the session is over.
    NothingLeft,
    /// The connection is gone.
    Lost,
}

/// How a session ended.
pub(super) enum Ending {
    /// The server refused and named no method to go on with.
    NoMethodsLeft,
    /// Anything else.
    Lost(Arc<str>),
}

impl Reply {
    fn failure(methods: &MethodSet, partial: bool) -> Self {
        if methods.is_empty() {
            return Self::NothingLeft;
        }
        Self::Failure { methods: methods.iter().map(method).collect(), partial }
    }

    fn of(result: Result<AuthResult, impl Sized>) -> Self {
        match result {
            Ok(AuthResult::Success) => Self::Success,
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                Self::failure(&remaining_methods, partial_success)
            }
            Err(_) => Self::Lost,
        }
    }
}

fn method(kind: &MethodKind) -> AuthMethod {
    match kind {
        MethodKind::None => AuthMethod::None,
        MethodKind::Password => AuthMethod::Password,
        MethodKind::PublicKey => AuthMethod::PublicKey,
        MethodKind::HostBased => AuthMethod::HostBased,
        MethodKind::KeyboardInteractive => AuthMethod::KeyboardInteractive,
        MethodKind::GssapiWithMic => AuthMethod::GssapiWithMic,
    }
}

pub(super) async fn none<H: Handler>(handle: &mut Handle<H>, user: &str) -> Reply {
    Reply::of(handle.authenticate_none(user).await)
}

pub(super) async fn password<H: Handler>(handle: &mut Handle<H>, user: &str, secret: &SecretString) -> Reply {
    Reply::of(handle.authenticate_password(user, secret.expose_secret()).await)
}

/// Offers a key and, if the server would take it, signs (RFC 4252 section 7).
pub(super) async fn public_key<H: Handler>(handle: &mut Handle<H>, user: &str, offer: &KeyOffer) -> Reply {
    let mut signer = OfferSigner { offer };
    let result = match &offer.key {
        OfferedKey::PublicKey(key) => {
            let key = key.as_ref().clone();
            handle.authenticate_publickey_with(user, key, offer.hash, &mut signer).await
        }
        OfferedKey::Certificate(certificate) => {
            let certificate = certificate.as_ref().clone();
            handle.authenticate_certificate_with(user, certificate, offer.hash, &mut signer).await
        }
    };
    match result {
        Err(SignError::Failed(why)) => Reply::Unusable(why.to_string().into()),
        other => Reply::of(other),
    }
}

/// Goes through the rounds of one keyboard-interactive exchange (RFC 4256).
pub(super) async fn keyboard_interactive<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    talk: &mut Conversation<'_>,
) -> Reply {
    talk.start();
    let mut gave_up: Option<&'static str> = None;
    let mut response = handle.authenticate_keyboard_interactive_start(user, None).await;
    loop {
        let (name, instructions, prompts) = match response {
            Ok(Kbd::Success) => return Reply::Success,
            Ok(Kbd::Failure { remaining_methods, partial_success }) => {
                return match (Reply::failure(&remaining_methods, partial_success), gave_up) {
                    (Reply::Failure { methods, partial: false }, Some(why)) => {
                        Reply::GaveUp { methods, why: why.into() }
                    }
                    (reply, _) => reply,
                };
            }
            Ok(Kbd::InfoRequest { name, instructions, prompts }) => (name, instructions, prompts),
            Err(_) => return Reply::Lost,
        };
        let prompts = prompts.into_iter().map(|p| (p.prompt, p.echo)).collect();
        let round = PromptRound::new(user, name, instructions, prompts);
        let round = match gave_up {
            Some(_) => talk.count_round().map_or(Round::Answers(Vec::new()), Round::Limit),
            None => talk.answer(round).await,
        };
        let answers = match round {
            Round::Answers(answers) => answers,
            Round::Limit(max) => return Reply::RoundLimit(max),
            // russh's session waits for answers and hears nothing else, so giving up means sending a wrong
            // number of them, to which the server must answer with a failure (RFC 4256 section 3.4).
            Round::GiveUp(why) => {
                gave_up = Some(why);
                Vec::new()
            }
        };
        let answers = answers.iter().map(|answer| answer.expose_secret().to_owned()).collect();
        response = handle.authenticate_keyboard_interactive_respond(answers).await;
    }
}

/// Waits for the end of a session that is over, and finds out what it was. Polls the handle to its end.
pub(super) async fn ending<H: Handler + 'static>(handle: &mut Handle<H>) -> Ending {
    let lost = |text: String| Ending::Lost(text.into());
    match tokio::time::timeout(ENDING_TIMEOUT, handle).await {
        Err(_) => lost("the session ended without a word".into()),
        Ok(Ok(())) => lost("the server disconnected".into()),
        Ok(Err(error)) => match (&error as &dyn Any).downcast_ref::<russh::Error>() {
            Some(russh::Error::NoAuthMethod) => Ending::NoMethodsLeft,
            Some(known) => lost(known.to_string()),
            // A handler with an error type of its own has wrapped russh's.
            None => {
                let text = format!("{error:?}");
                if text.contains("NoAuthMethod") { Ending::NoMethodsLeft } else { lost(text) }
            }
        },
    }
}

struct OfferSigner<'a> {
    offer: &'a KeyOffer,
}

enum SignError {
    /// The session is gone.
    Lost,
    /// There is no signature.
    Failed(BoxError),
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Lost
    }
}

impl russh::Signer for OfferSigner<'_> {
    type Error = SignError;

    fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, SignError>> + Send {
        let offer = self.offer;
        async move {
            let signature = offer.sign(&data).await.map_err(SignError::Failed)?;
            let len = u32::try_from(signature.len()).map_err(|e| SignError::Failed(e.into()))?;
            data.extend_from_slice(&len.to_be_bytes());
            data.extend_from_slice(&signature);
            Ok(data)
        }
    }
}
