//! Logins against a server that answers as a script says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use russh::MethodKind as M;
use russh::server::Auth as Verdict;
use secrecy::SecretString;

use super::login;
use super::test_support::{Asked, Log, ed25519, partial, prompts, refuse, scripted, scripted_with};
use crate::auth::{
    AttemptOutcome, Auth, AuthError, AuthMethod, AuthStop, Identity, KeyboardInteractive, PasswordRequest,
    PromptRound, Signer,
};
use crate::error::{BoxError, Origin};
use crate::wire::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, SignBytes, Signature};

fn asked(log: &Log) -> Vec<Asked> {
    log.lock().unwrap().clone()
}

fn key() -> Identity {
    Identity::from_private_key(ed25519())
}

fn outcomes(error: &AuthError) -> Vec<(AuthMethod, AttemptOutcome)> {
    error.tried().iter().map(|a| (a.method, a.outcome.clone())).collect()
}

const OFFERED: Asked = Asked::Offered(Algorithm::Ed25519);
const SIGNED: Asked = Asked::Signed(Algorithm::Ed25519);

#[tokio::test]
async fn an_empty_user_is_a_config_error_and_nothing_is_sent() {
    let (mut handle, log) = scripted(|_| Verdict::Accept).await;
    let error = login(&mut handle, "", &Auth::new().none()).await.unwrap_err();
    assert!(matches!(&error, AuthError::Config(e) if e.field == "user"), "{error}");
    assert_eq!((error.origin(), error.is_retryable()), (Origin::Local, false));
    assert_eq!(asked(&log), []);
}

#[tokio::test]
async fn none_logs_in_where_nothing_is_asked_for() {
    let (mut handle, log) = scripted(|_| Verdict::Accept).await;
    let summary = login(&mut handle, "alice", &Auth::new().none()).await.unwrap();
    assert_eq!((summary.methods, summary.attempts), (vec![AuthMethod::None], 1));
    assert_eq!(asked(&log), [Asked::None]);
}

#[tokio::test]
async fn a_key_is_offered_without_asking_for_methods_first() {
    let (mut handle, log) = scripted(|_| Verdict::Accept).await;
    let summary = login(&mut handle, "alice", &Auth::new().identity(key())).await.unwrap();
    assert_eq!(summary.methods, [AuthMethod::PublicKey]);
    assert_eq!(asked(&log), [OFFERED, SIGNED]);
}

#[tokio::test]
async fn a_password_is_not_sent_to_a_server_that_does_not_offer_it() {
    let (mut handle, log) = scripted(|_| refuse(&[M::PublicKey])).await;
    let error = login(&mut handle, "alice", &Auth::new().password("pw".into())).await.unwrap_err();
    assert_eq!(asked(&log), [Asked::None]);
    assert_eq!(outcomes(&error), [(AuthMethod::Password, AttemptOutcome::NotOffered)]);
    let text = error.to_string();
    assert!(text.contains("not offered") && text.contains("wants publickey"), "{text}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn partial_success_leads_through_publickey_password_and_keyboard_interactive() {
    let (mut handle, log) = scripted(|asked| match asked {
        Asked::Signed(_) => partial(&[M::Password]),
        Asked::Password(pw) if pw == "pw" => partial(&[M::KeyboardInteractive]),
        Asked::Keyboard(None) => prompts("token", &[("Code: ", true)]),
        Asked::Keyboard(Some(code)) if code == &["42"] => Verdict::Accept,
        Asked::Offered(_) => Verdict::Accept,
        _ => refuse(&[M::PublicKey]),
    })
    .await;
    let auth = Auth::new()
        .password("pw".into())
        .keyboard_interactive(KeyboardInteractive::new().prompter(|_| async { Some(vec!["42".into()]) }))
        .identity(key());
    let summary = login(&mut handle, "alice", &auth).await.unwrap();
    use AuthMethod::{KeyboardInteractive as Kbd, Password, PublicKey};
    assert_eq!(summary.methods, [PublicKey, Password, Kbd]);
    assert_eq!(summary.attempts, 3);
    assert_eq!(asked(&log)[..4], [Asked::None, OFFERED, SIGNED, Asked::Password("pw".into())]);
}

#[tokio::test]
async fn two_steps_of_publickey_use_two_keys_and_never_the_same_twice() {
    let mut signatures = 0;
    let (mut handle, log) = scripted(move |asked| match asked {
        Asked::Signed(_) => {
            signatures += 1;
            if signatures == 2 { Verdict::Accept } else { partial(&[M::PublicKey]) }
        }
        _ => Verdict::Accept,
    })
    .await;
    let first = key();
    let auth = Auth::new().identity(first.clone()).identity(first).identity(key());
    let summary = login(&mut handle, "alice", &auth).await.unwrap();
    assert_eq!(summary.methods, [AuthMethod::PublicKey; 2]);
    assert_eq!(asked(&log), [OFFERED, SIGNED, OFFERED, SIGNED]);
    assert!(summary.tried.iter().any(|a| matches!(a.outcome, AttemptOutcome::Skipped(_))));
}

#[tokio::test]
async fn refusals_stop_at_the_limit_on_attempts() {
    let (mut handle, log) = scripted(|_| refuse(&[M::PublicKey])).await;
    let auth = (0..5).fold(Auth::new().max_attempts(3), |auth, _| auth.identity(key()));
    let error = login(&mut handle, "alice", &auth).await.unwrap_err();
    assert!(matches!(&error, AuthError::Refused { stop: AuthStop::AttemptLimit { max: 3 }, .. }), "{error}");
    assert_eq!(asked(&log).len(), 3);
    assert_eq!((error.origin(), error.is_retryable()), (Origin::Remote, false));
}

#[tokio::test]
async fn a_server_that_names_no_method_is_a_refusal_and_not_a_lost_connection() {
    for _ in 0..20 {
        let (mut handle, _log) = scripted(|asked| match asked {
            Asked::None => refuse(&[M::Password]),
            _ => refuse(&[]),
        })
        .await;
        let error = login(&mut handle, "alice", &Auth::new().password("pw".into())).await.unwrap_err();
        assert!(matches!(&error, AuthError::Refused { stop: AuthStop::NoMethodsLeft, .. }), "{error}");
        assert_eq!(outcomes(&error), [(AuthMethod::Password, AttemptOutcome::Refused)]);
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a_server_that_disconnects_is_not_mistaken_for_a_refusal() {
    let (mut handle, _log) =
        scripted_with(|config| config.max_auth_attempts = 2, |_| refuse(&[M::PublicKey])).await;
    let auth = (0..5).fold(Auth::new(), |auth, _| auth.identity(key()));
    let error = login(&mut handle, "alice", &auth).await.unwrap_err();
    assert!(matches!(error, AuthError::ConnectionLost { .. }), "{error}");
    assert!(error.is_retryable());
    let code = crate::wire::codes::DisconnectCode(14);
    let error = error.with_disconnect(code, "Too many authentication attempts".into());
    assert!(error.to_string().contains("Too many authentication attempts"));
    assert!(!error.is_retryable() && error.tried().len() == 2);
}

#[tokio::test]
async fn a_lost_connection_is_retryable_and_tells_what_was_tried() {
    struct Vanish(Log);
    impl russh::server::Handler for Vanish {
        type Error = russh::Error;
        async fn auth_none(&mut self, _user: &str) -> Result<Verdict, Self::Error> {
            Ok(refuse(&[M::Password]))
        }
        async fn auth_password(&mut self, _user: &str, _password: &str) -> Result<Verdict, Self::Error> {
            self.0.lock().unwrap().push(Asked::None);
            Err(russh::Error::HUP)
        }
    }
    let log = Log::default();
    let config = russh::server::Config {
        auth_rejection_time: std::time::Duration::ZERO,
        keys: vec![ed25519()],
        ..Default::default()
    };
    let (near, far) = tokio::io::duplex(1 << 16);
    let vanish = Vanish(Arc::clone(&log));
    tokio::spawn(async move {
        let session = russh::server::run_stream(Arc::new(config), far, vanish).await.unwrap();
        session.await.unwrap_err();
    });
    let mut handle = super::test_support::connect(near).await;
    let error = login(&mut handle, "alice", &Auth::new().password("secret-pw".into())).await.unwrap_err();
    assert!(matches!(error, AuthError::ConnectionLost { .. }), "{error}");
    assert_eq!((error.origin(), error.is_retryable()), (Origin::Remote, true));
    assert_eq!(asked(&log).len(), 1);
    assert!(!format!("{error:?} {error}").contains("secret-pw"));
}

#[tokio::test]
async fn keyboard_interactive_goes_through_two_rounds_with_all_prompts_of_a_round_together() {
    let mut round = 0;
    let (mut handle, log) = scripted(move |asked| match asked {
        Asked::Keyboard(None) => prompts("first", &[("Password: ", false)]),
        Asked::Keyboard(Some(_)) => {
            round += 1;
            if round == 2 {
                Verdict::Accept
            } else {
                prompts("second", &[("Code: ", true), ("Pin: ", false)])
            }
        }
        _ => refuse(&[M::KeyboardInteractive]),
    })
    .await;
    let how = KeyboardInteractive::new().answer("*assword*", "pw".into()).prompter(|round: PromptRound| {
        assert_eq!((round.user.as_str(), round.name.as_str(), round.prompts.len()), ("alice", "second", 2));
        assert_eq!((round.prompts[0].echo, round.prompts[1].echo), (true, false));
        async move { Some(round.prompts.iter().map(|p| format!("<{}>", p.text).into()).collect()) }
    });
    let summary = login(&mut handle, "alice", &Auth::new().keyboard_interactive(how)).await.unwrap();
    assert_eq!((summary.methods, summary.attempts), (vec![AuthMethod::KeyboardInteractive], 1));
    let second = vec!["<Code: >".to_owned(), "<Pin: >".to_owned()];
    let expected = [
        Asked::None,
        Asked::Keyboard(None),
        Asked::Keyboard(Some(vec!["pw".into()])),
        Asked::Keyboard(Some(second)),
    ];
    assert_eq!(asked(&log), expected);
}

#[tokio::test]
async fn a_prompter_that_gives_up_moves_on_to_the_next_method() {
    let (mut handle, log) = scripted(|asked| match asked {
        Asked::Keyboard(None) => prompts("", &[("Code: ", false)]),
        Asked::Password(_) => Verdict::Accept,
        _ => refuse(&[M::KeyboardInteractive, M::Password]),
    })
    .await;
    let auth = Auth::new()
        .max_asks(3)
        .keyboard_interactive(KeyboardInteractive::new().prompter(|_| async { None }))
        .password("pw".into());
    let summary = login(&mut handle, "alice", &auth).await.unwrap();
    assert_eq!(summary.methods, [AuthMethod::Password]);
    let expected =
        [Asked::None, Asked::Keyboard(None), Asked::Keyboard(Some(vec![])), Asked::Password("pw".into())];
    assert_eq!(asked(&log), expected);
}

#[tokio::test]
async fn endless_keyboard_interactive_rounds_end_at_the_limit() {
    let (mut handle, log) = scripted(|asked| match asked {
        Asked::Keyboard(_) => prompts("", &[("Again: ", false)]),
        _ => refuse(&[M::KeyboardInteractive]),
    })
    .await;
    let how = KeyboardInteractive::new().max_rounds(3).prompter(|_| async { Some(vec!["x".into()]) });
    let error = login(&mut handle, "alice", &Auth::new().keyboard_interactive(how)).await.unwrap_err();
    assert!(matches!(&error, AuthError::Refused { stop: AuthStop::RoundLimit { max: 3 }, .. }), "{error}");
    assert_eq!(asked(&log).len(), 5, "none, the start and three answers");
}

#[tokio::test]
async fn somebody_is_asked_for_a_password_as_often_as_allowed_and_only_if_it_is_offered() {
    let (mut handle, log) = scripted(|_| refuse(&[M::Password])).await;
    let asks = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asks);
    let auth = Auth::new().max_asks(2).password_with(move |request: PasswordRequest| {
        assert_eq!(request.attempt, count.fetch_add(1, Ordering::Relaxed) + 1);
        async move { Some(SecretString::from(format!("try {}", request.attempt))) }
    });
    login(&mut handle, "alice", &auth).await.unwrap_err();
    let expected = [Asked::None, Asked::Password("try 1".into()), Asked::Password("try 2".into())];
    assert_eq!(asked(&log), expected);

    let (mut handle, _log) = scripted(|_| refuse(&[M::PublicKey])).await;
    login(&mut handle, "alice", &auth).await.unwrap_err();
    assert_eq!(asks.load(Ordering::Relaxed), 2, "nobody is asked where no password is wanted");
}

fn rsa() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Rsa { hash: None }).unwrap()
}

const fn rsa_algorithm(hash: Option<HashAlg>) -> Algorithm {
    Algorithm::Rsa { hash }
}

#[tokio::test]
async fn rsa_keys_sign_with_the_best_hash_that_the_server_names_and_never_with_sha1_unasked() {
    let identity = Identity::from_private_key(rsa());
    let (sha512, sha256) = (rsa_algorithm(Some(HashAlg::Sha512)), rsa_algorithm(Some(HashAlg::Sha256)));
    let sha1 = rsa_algorithm(None);
    let plain = Auth::new().identity(identity);
    let cases = [
        (vec![sha256.clone(), sha512.clone()], plain.clone(), Some(sha512)),
        (vec![sha256.clone(), sha1.clone()], plain.clone(), Some(sha256)),
        (vec![sha1.clone()], plain.clone(), None),
        (vec![sha1.clone()], plain.danger_allow_rsa_sha1(), Some(sha1)),
    ];
    for (named, auth, expected) in cases {
        let mut key = named.clone();
        key.push(Algorithm::Ed25519);
        let (mut handle, log) = scripted_with(
            move |config| config.preferred.key = key.into(),
            |asked| match asked {
                Asked::None => refuse(&[M::PublicKey]),
                _ => Verdict::Accept,
            },
        )
        .await;
        let result = login(&mut handle, "alice", &auth).await;
        match expected {
            Some(hash) => {
                result.unwrap();
                assert_eq!(asked(&log), [Asked::Offered(hash.clone()), Asked::Signed(hash)], "{named:?}");
            }
            None => {
                let error = result.unwrap_err();
                assert!(error.to_string().contains("SHA-1"), "{error}");
                assert_eq!((asked(&log), error.origin()), (vec![], Origin::Local));
            }
        }
    }
}

/// A signer that can be told to refuse, or to sign with the wrong algorithm.
struct Token {
    key: PrivateKey,
    signature: fn(&PrivateKey, &[u8]) -> Result<Signature, BoxError>,
}

impl Signer for Token {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn sign<'a>(
        &'a self,
        data: &'a [u8],
        _hash: Option<HashAlg>,
    ) -> BoxFuture<'a, Result<Signature, BoxError>> {
        Box::pin(async move { (self.signature)(&self.key, data) })
    }
}

#[tokio::test]
async fn an_external_signer_that_declines_or_signs_wrongly_moves_on_to_the_next_key() {
    let (mut handle, log) = scripted(|_| Verdict::Accept).await;
    let declines = Token { key: ed25519(), signature: |_, _| Err("not plugged in".into()) };
    let wrong = Token {
        key: ed25519(),
        signature: |_, _| Ok(Signature::new(Algorithm::Rsa { hash: None }, vec![1, 2, 3])?),
    };
    let good = Token { key: ed25519(), signature: |key, data| Ok(key.try_sign(data)?) };
    let auth = Auth::new().max_attempts(1).signer(declines).signer(wrong).signer(good);
    let summary = login(&mut handle, "alice", &auth).await.unwrap();
    assert_eq!(asked(&log), [OFFERED, OFFERED, OFFERED, SIGNED]);
    assert_eq!(summary.attempts, 1, "what we did not sign is not counted");
    let report: Vec<_> = summary.tried.iter().map(ToString::to_string).collect();
    assert!(report[0].contains("not plugged in") && report[1].contains("instead of"), "{report:?}");
}
