//! Passwords, interviews, the method none: what callbacks are told, what peers see, what refusals cost.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use ractor_ssh::auth::{self, Auth, AuthMethod, KeyboardInteractive};
use ractor_ssh::login::{LoginRefusal, Prompts, SourcePenalties};
use ractor_ssh::wire::PtyRequest;
use ractor_ssh::{Client, ConnectError, LoginDecision, Permissions};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::kit::{Peer, peer_test};
use crate::ours::Quiet;
use crate::programs::router;
use crate::support::{Served, Ssh, USER, soon};

const NONE: [Peer; 0] = [];
const SSH: [Peer; 1] = [Peer::OpenSshClient];
const ASKED: &str = "alice@127.0.0.1's password: ";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("server_password_option_ssh_gets_in_with_the_password_and_not_with_another", SSH, password),
        peer_test("server_pwdfun_4_option_a_callback_sees_who_asks_and_may_end_it", NONE, callback_state),
        peer_test("login_bad_pwd_no_retry_a_client_with_one_wrong_password_is_refused_once", NONE, no_retry),
        peer_test("server_keyboard_interactive_ssh_answers_round_by_round", SSH, interview),
        peer_test(
            "server_keyboard_interactive_extra_msg_reaches_ssh_and_wants_no_answer",
            SSH,
            extra_message,
        ),
        peer_test("our_client_passes_an_interview_and_a_wrong_answer_does_not", NONE, our_interview),
        peer_test("answers_that_fit_no_question_are_refused", NONE, stray_answers),
        peer_test("auth_none_is_decided_by_user_and_is_no_method_to_go_on_with", NONE, auth_none),
        peer_test("banner_sent_to_client_may_differ_by_peer", SSH, banner),
        peer_test(
            "an_unknown_user_and_a_wrong_password_get_the_same_answer_not_before_the_delay",
            NONE,
            same_answer,
        ),
        peer_test("failed_logins_are_told_to_the_hook_and_a_panic_in_it_harms_nothing", NONE, hook),
        peer_test(
            "a_source_that_guesses_is_turned_away_at_once_and_its_connections_live_on",
            NONE,
            penalties,
        ),
        peer_test("a_callback_that_panics_is_a_refusal", NONE, panicking_callback),
        peer_test("permissions_of_a_callback_reach_the_channels", NONE, permissions),
    ]
}

fn quick(delay: Duration) -> impl FnOnce(ractor_ssh::DaemonConfig) -> ractor_ssh::DaemonConfig {
    move |config| config.router(router()).login_delay(delay)
}

const SHORT: Duration = Duration::from_millis(20);

async fn password() {
    let ssh = Ssh::new();
    let served = Served::bare(|config| {
        quick(SHORT)(config).password(|attempt, password| async move {
            attempt.user == USER && password.expose_secret() == "open sesame"
        })
    })
    .await;
    let mut command = ssh.answering(&served, &[(ASKED, "open sesame")]);
    let output = soon(command.args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let mut command = ssh.answering(&served, &[(ASKED, "open barley")]);
    let output = soon(command.args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Permission denied (password)"), "{stderr}");
    let stats = served.daemon.login_stats();
    assert_eq!((stats.accepted, stats.refused), (1, 3), "ssh asks three times");
}

async fn callback_state() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let served = Served::bare(|config| {
        quick(SHORT)(config).password(move |attempt, _| {
            let decision =
                if attempt.refused < 2 { LoginDecision::Reject } else { LoginDecision::Disconnect };
            note.lock().unwrap().push(attempt);
            async move { decision }
        })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    for user in ["bob", USER] {
        assert!(!soon(handle.authenticate_password(user, "x")).await.unwrap().success());
    }
    let ended = soon(handle.authenticate_password(USER, "x")).await;
    assert!(!matches!(ended, Ok(result) if result.success()));
    soon(async {
        while !handle.is_closed() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let seen = seen.lock().unwrap();
    let told: Vec<_> = seen.iter().map(|attempt| (attempt.user.as_str(), attempt.refused)).collect();
    assert_eq!(told, [("bob", 0), (USER, 1), (USER, 2)]);
    for attempt in seen.iter() {
        assert!(attempt.peer.unwrap().ip().is_loopback());
        assert_eq!(attempt.local, Some(served.daemon.local_addr()));
        assert!(attempt.client_version.starts_with("SSH-2.0-russh"), "{attempt:?}");
        assert!(attempt.passed.is_empty());
    }
}

async fn no_retry() {
    let served = Served::bare(|config| quick(SHORT)(config).password(|_, _| async { false })).await;
    let config = served.client_config().auth(Auth::new().password("wrong".to_owned().into()));
    let refused = soon(Client::new(config).connect()).await;
    assert!(matches!(refused, Err(ConnectError::Auth(_))), "{refused:?}");
    assert_eq!(served.daemon.login_stats().refused, 1);
}

/// Asks for a name, then for a code that depends on it.
async fn interviewing() -> Served {
    Served::bare(|config| {
        quick(SHORT)(config).keyboard_interactive(|_| {
            let mut name = String::new();
            move |answers: Vec<SecretString>| {
                let step = match answers.first().map(|answer| answer.expose_secret()) {
                    None => Prompts::new().name("Door").shown("Name: ").into(),
                    Some(answer) if name.is_empty() => {
                        name = answer.to_owned();
                        Prompts::new().hidden("Code: ").hidden("Again: ").into()
                    }
                    Some(code) => {
                        let again = answers.get(1).map(|answer| answer.expose_secret());
                        (code == format!("{name}123") && again == Some(code)).into()
                    }
                };
                async move { step }
            }
        })
    })
    .await
}

async fn interview() {
    let ssh = Ssh::new();
    let served = interviewing().await;
    let (name, code) = ("(alice@127.0.0.1) Name: ", "(alice@127.0.0.1) Code: ");
    let again = "(alice@127.0.0.1) Again: ";
    let right = [(name, "al"), (code, "al123"), (again, "al123")];
    let output = soon(ssh.answering(&served, &right).args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let wrong = [(name, "al"), (code, "al123"), (again, "al124")];
    let output = soon(ssh.answering(&served, &wrong).args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Permission denied (keyboard-interactive)"), "{stderr}");
}

async fn extra_message() {
    let ssh = Ssh::new();
    let served = Served::bare(|config| {
        quick(SHORT)(config).keyboard_interactive(|_| {
            let mut round = 0;
            move |answers: Vec<SecretString>| {
                round += 1;
                let step = match round {
                    1 => Prompts::new().hidden("Word: ").into(),
                    2 if answers[0].expose_secret() == "x" => {
                        Prompts::new().name("News").instructions("You have mail.").into()
                    }
                    3 => (answers.is_empty()).into(),
                    _ => false.into(),
                };
                async move { step }
            }
        })
    })
    .await;
    let mut command = ssh.answering(&served, &[("(alice@127.0.0.1) Word: ", "x")]);
    let output = soon(command.args(["127.0.0.1", "fail"]).output()).await.unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("You have mail."), "{stderr}");
}

async fn our_interview() {
    let served = interviewing().await;
    let with = |code: &str| {
        let code = code.to_owned();
        let answers = KeyboardInteractive::new().prompter(move |round: auth::PromptRound| {
            let answer = |prompt: &auth::Prompt| if prompt.echo { "al".to_owned() } else { code.clone() };
            let answers = round.prompts.iter().map(|prompt| answer(prompt).into()).collect();
            async move { Some(answers) }
        });
        served.client_config().auth(Auth::new().keyboard_interactive(answers))
    };
    let conn = soon(Client::new(with("al123")).connect()).await.unwrap();
    assert_eq!(conn.info().await.unwrap().auth_methods, ["keyboard-interactive"]);
    soon(conn.close()).await;
    let refused = soon(Client::new(with("al124")).connect()).await;
    assert!(matches!(refused, Err(ConnectError::Auth(_))), "{refused:?}");
}

async fn stray_answers() {
    use russh::client::KeyboardInteractiveAuthResponse as Response;

    let served = interviewing().await;
    let mut handle = served.plain_unauthenticated().await;
    let answers = async |handle: &mut russh::client::Handle<_>, answers: &[&str]| {
        let answers = answers.iter().map(|answer| (*answer).to_owned()).collect();
        soon(handle.authenticate_keyboard_interactive_respond(answers)).await.unwrap()
    };
    for wrong in [&["al", "more"][..], &[]] {
        let asked = soon(handle.authenticate_keyboard_interactive_start(USER, None)).await.unwrap();
        assert!(matches!(asked, Response::InfoRequest { .. }), "{asked:?}");
        let refused = answers(&mut handle, wrong).await;
        assert!(matches!(refused, Response::Failure { .. }), "{wrong:?}: {refused:?}");
    }
    soon(handle.authenticate_keyboard_interactive_start(USER, None)).await.unwrap();
    assert!(matches!(answers(&mut handle, &["al"]).await, Response::InfoRequest { .. }));
    assert!(matches!(answers(&mut handle, &["al123", "al123"]).await, Response::Success));
}

async fn auth_none() {
    let served = Served::bare(|config| {
        quick(SHORT)(config)
            .none(|attempt| async move { attempt.user == "guest" })
            .password(|_, _| async { false })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    let refused = soon(handle.authenticate_none(USER)).await.unwrap();
    let russh::client::AuthResult::Failure { remaining_methods, partial_success } = refused else {
        panic!("alice was let in without proof")
    };
    assert_eq!((remaining_methods[..].to_vec(), partial_success), (vec![russh::MethodKind::Password], false));
    assert!(soon(handle.authenticate_none("guest")).await.unwrap().success());
    handle.channel_open_session().await.unwrap();
    let stats = served.daemon.login_stats();
    assert_eq!((stats.accepted, stats.refused), (1, 0), "to ask for nothing is no guess");
}

async fn banner() {
    let ssh = Ssh::new();
    let served = ssh
        .serve(|config| {
            config.router(router()).banner_fn(|contact| {
                Some(format!("Hello {}, {}\n", contact.peer?.ip(), contact.client_version.get(..15)?))
            })
        })
        .await;
    let output = soon(ssh.command(&served).args(["127.0.0.1", "fail"]).output()).await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("Hello 127.0.0.1, SSH-2.0-OpenSSH"), "{stderr}");
}

/// That the times are equal is a test of the gate alone, where time is paused.
async fn same_answer() {
    let delay = Duration::from_millis(300);
    let served = Served::bare(|config| {
        quick(delay)(config).password(|attempt, _| async move {
            if attempt.user == USER {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            false
        })
    })
    .await;
    let mut answers = Vec::new();
    for user in [USER, "nobody"] {
        let mut handle = served.plain_unauthenticated().await;
        let start = Instant::now();
        answers.push(soon(handle.authenticate_password(user, "x")).await.unwrap());
        assert!(start.elapsed() >= delay, "{user}: {:?}", start.elapsed());
    }
    assert_eq!(answers[0], answers[1]);
}

async fn hook() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let served = Served::with(|config| {
        quick(SHORT)(config).password(|_, _| async { false }).on_login_failed(move |attempt, method, why| {
            note.lock().unwrap().push((attempt.user.clone(), attempt.refused, method, why.clone()));
            panic!("planted");
        })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    soon(handle.authenticate_none(USER)).await.unwrap();
    soon(handle.authenticate_password("bob", "x")).await.unwrap();
    soon(handle.authenticate_keyboard_interactive_start(USER, None)).await.unwrap();
    let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(served.identity.clone()), None);
    assert!(soon(handle.authenticate_publickey(USER, key)).await.unwrap().success());
    let told = told.lock().unwrap();
    let expected = [
        ("bob".to_owned(), 0, AuthMethod::Password, LoginRefusal::Denied),
        (USER.to_owned(), 1, AuthMethod::KeyboardInteractive, LoginRefusal::NotOffered),
    ];
    assert_eq!(*told, expected, "the question which methods there are is no failure");
}

async fn penalties() {
    let served = Served::with(|config| {
        let mut penalties = SourcePenalties::default();
        penalties.per_failure = Duration::from_secs(30);
        quick(SHORT)(config).password(|_, _| async { false }).source_penalties(penalties)
    })
    .await;
    let conn = served.connect().await;
    let mut guessing = served.plain_unauthenticated().await;
    soon(guessing.authenticate_password(USER, "1")).await.unwrap();
    soon(served.connect()).await.close().await;
    soon(guessing.authenticate_password(USER, "2")).await.unwrap();
    let mut turned_away = TcpStream::connect(served.daemon.local_addr()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = soon(turned_away.read_to_end(&mut bytes)).await;
    assert_eq!(bytes, b"Too many refused logins\r\n");
    assert_eq!(served.daemon.info().counters.refused_barred, 1);
    conn.session_channel(Quiet).await.unwrap();
    soon(conn.close()).await;
}

async fn panicking_callback() {
    let served = Served::with(|config| {
        quick(SHORT)(config).password(|_, _| async {
            if true {
                panic!("planted");
            }
            true
        })
    })
    .await;
    let mut handle = served.plain_unauthenticated().await;
    assert!(!soon(handle.authenticate_password(USER, "x")).await.unwrap().success());
    let key = russh::keys::PrivateKeyWithHashAlg::new(Arc::new(served.identity.clone()), None);
    assert!(soon(handle.authenticate_publickey(USER, key)).await.unwrap().success());
}

async fn permissions() {
    let served = Served::bare(|config| {
        quick(SHORT)(config).password(|attempt, _| async move {
            if attempt.user == USER { Permissions::none() } else { Permissions::all() }
        })
    })
    .await;
    for (user, pty) in [(USER, false), ("bob", true)] {
        let config = ractor_ssh::ClientConfig::new("127.0.0.1", user)
            .port(served.daemon.local_addr().port())
            .auth(Auth::new().password("x".to_owned().into()))
            .host_key(ractor_ssh::host_key::HostKeyPolicy::pinned([served.host_key.clone()]));
        let conn = soon(Client::new(config).connect()).await.unwrap();
        let channel = conn.session_channel(Quiet).await.unwrap();
        let asked = soon(channel.ptty_alloc(PtyRequest::new("vt100").size(80, 24))).await;
        assert_eq!(asked.is_ok(), pty, "{user}: {asked:?}");
        soon(conn.close()).await;
    }
}
