//! Several steps: partial success, the order, what is reset, what stays shut meanwhile.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::auth::AuthMethod::{self, KeyboardInteractive, Password, PublicKey};
use ractor_ssh::auth::{self, Auth, Identity};
use ractor_ssh::login::Prompts;
use ractor_ssh::wire::keys::{PrivateKey, generate_ed25519};
use ractor_ssh::{Client, ConnectError, DaemonConfig};
use russh::MethodKind;
use russh::client::AuthResult;
use secrecy::{ExposeSecret, SecretString};

use crate::kit::{Peer, peer_test};
use crate::programs::router;
use crate::support::{Anything, Served, Ssh, USER, soon};

const NONE: [Peer; 0] = [];
const SSH: [Peer; 1] = [Peer::OpenSshClient];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("ssh_passes_a_key_and_then_a_password", SSH, ssh_key_and_password),
        peer_test("our_client_passes_a_key_and_then_a_password_or_an_interview", NONE, ours),
        peer_test("a_step_passed_names_the_next_ones_and_opens_nothing", NONE, partial),
        peer_test("another_user_name_begins_from_nothing", NONE, other_user),
        peer_test("two_steps_by_key_take_two_keys", NONE, two_keys),
        peer_test("a_requirement_that_nothing_decides_about_does_not_start", NONE, wrong_requirement),
    ]
}

/// Anybody's key, then the password `x` or the code `y`.
fn steps(config: DaemonConfig) -> DaemonConfig {
    config
        .router(router())
        .login_delay(Duration::from_millis(20))
        .public_key(|_, _| async { true })
        .password(|attempt, password| async move {
            assert_eq!(attempt.passed, [PublicKey]);
            password.expose_secret() == "x"
        })
        .keyboard_interactive(|_| {
            |answers: Vec<SecretString>| {
                let step = match answers.first() {
                    None => Prompts::new().hidden("Code: ").into(),
                    Some(code) => (code.expose_secret() == "y").into(),
                };
                async move { step }
            }
        })
        .require([[PublicKey, Password], [PublicKey, KeyboardInteractive]])
}

async fn ssh_key_and_password() {
    let ssh = Ssh::new();
    let served = Served::bare(steps).await;
    let asked = "alice@127.0.0.1's password: ";
    let run = async |answer: &str| {
        let mut command = ssh.answering(&served, &[(asked, answer)]);
        command.args(["-v", "-o", "PreferredAuthentications=publickey,password", "127.0.0.1", "fail"]);
        soon(command.output()).await.unwrap()
    };
    let output = run("x").await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("Authenticated using \"publickey\" with partial success"), "{stderr}");
    assert!(stderr.contains("can continue: password,keyboard-interactive"), "{stderr}");
    let output = run("wrong").await;
    assert_eq!(output.status.code(), Some(255), "{output:?}");
}

async fn ours() {
    let served = Served::bare(steps).await;
    let key = || Auth::new().identity(Identity::from_private_key(served.identity.clone()));
    let connect = async |auth: Auth| soon(Client::new(served.client_config().auth(auth)).connect()).await;
    let conn = connect(key().password("x".to_owned().into())).await.unwrap();
    assert_eq!(conn.info().await.unwrap().auth_methods, ["publickey", "password"]);
    soon(conn.close()).await;
    let code = auth::KeyboardInteractive::new().answer("*ode*", "y".to_owned().into());
    let conn = connect(key().keyboard_interactive(code)).await.unwrap();
    assert_eq!(conn.info().await.unwrap().auth_methods, ["publickey", "keyboard-interactive"]);
    soon(conn.close()).await;
    for auth in [key(), Auth::new().password("x".to_owned().into()), key().password("z".to_owned().into())] {
        let refused = connect(auth).await;
        assert!(matches!(refused, Err(ConnectError::Auth(_))), "{refused:?}");
    }
}

fn methods(result: &AuthResult) -> (Vec<MethodKind>, bool) {
    match result {
        AuthResult::Success => panic!("let in"),
        AuthResult::Failure { remaining_methods, partial_success } => {
            (remaining_methods[..].to_vec(), *partial_success)
        }
    }
}

async fn key(handle: &mut russh::client::Handle<Anything>, user: &str, key: &PrivateKey) -> AuthResult {
    let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
    soon(handle.authenticate_publickey(user, key)).await.unwrap()
}

async fn partial() {
    let served = Served::bare(steps).await;
    let mut handle = served.plain_unauthenticated().await;
    let early = soon(handle.authenticate_password(USER, "x")).await.unwrap();
    assert_eq!(methods(&early), (vec![MethodKind::PublicKey], false), "not its turn");
    let passed = key(&mut handle, USER, &served.identity).await;
    let next = vec![MethodKind::Password, MethodKind::KeyboardInteractive];
    assert_eq!(methods(&passed), (next.clone(), true));
    let wrong = soon(handle.authenticate_password(USER, "wrong")).await.unwrap();
    assert_eq!(methods(&wrong), (next, false), "what was passed stays");
    assert!(soon(handle.authenticate_password(USER, "x")).await.unwrap().success());
    let stats = served.daemon.login_stats();
    assert_eq!((stats.accepted, stats.partial, stats.refused), (1, 1, 2));

    let mut handle = served.plain_unauthenticated().await;
    assert!(methods(&key(&mut handle, USER, &served.identity).await).1);
    let opened = tokio::time::timeout(Duration::from_millis(300), handle.channel_open_session()).await;
    assert!(!matches!(opened, Ok(Ok(_))), "a channel was opened after one step of two");
}

async fn other_user() {
    let served = Served::bare(steps).await;
    let mut handle = served.plain_unauthenticated().await;
    assert!(methods(&key(&mut handle, USER, &served.identity).await).1);
    let other = soon(handle.authenticate_password("bob", "x")).await.unwrap();
    assert_eq!(methods(&other), (vec![MethodKind::PublicKey], false));
    let back = soon(handle.authenticate_password(USER, "x")).await.unwrap();
    assert_eq!(methods(&back), (vec![MethodKind::PublicKey], false), "alice's step is gone, too");
    key(&mut handle, USER, &served.identity).await;
    assert!(soon(handle.authenticate_password(USER, "x")).await.unwrap().success());
}

async fn two_keys() {
    let served = Served::bare(|config| {
        config
            .router(router())
            .login_delay(Duration::from_millis(20))
            .public_key(|_, _| async { true })
            .require([[PublicKey, PublicKey]])
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    assert!(methods(&key(&mut handle, USER, &served.identity).await).1);
    assert_eq!(
        methods(&key(&mut handle, USER, &served.identity).await),
        (vec![MethodKind::PublicKey], false)
    );
    assert!(key(&mut handle, USER, &generate_ed25519()).await.success());
}

async fn wrong_requirement() {
    let config = || DaemonConfig::new(([127, 0, 0, 1], 0)).host_key(generate_ed25519());
    let field = |config: DaemonConfig| config.check().unwrap_err().field;
    assert_eq!(field(config().require([[Password]])), "require");
    assert_eq!(field(config().danger_let_anyone_in().require([[AuthMethod::None]])), "require");
    assert_eq!(field(config().require(Vec::<Vec<AuthMethod>>::new())), "require");
    config().password(|_, _| async { false }).require([[Password]]).check().unwrap();
}
