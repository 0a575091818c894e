//! Logins that take a password: by itself, as the answer to a prompt, and as the second of two steps.

use std::sync::{Arc, Mutex};

use libtest_mimic::Trial;
use ractor_ssh::auth::{Auth, IdentityFile, KeyboardInteractive, PromptRound};
use ractor_ssh::{Client, ConnectError, ConnectionRef};

use crate::common::{config, run, soon};
use crate::kit::{Peer, Sshd, SshdBuilder, peer_test};

const USER: &str = "alice";
const PASSWORD: &str = "wonder land";

pub(crate) fn trials() -> Vec<Trial> {
    const PEERS: [Peer; 2] = [Peer::OpenSshServer, Peer::Account];
    vec![
        peer_test("passwords::a_password_logs_in", PEERS, password),
        peer_test("passwords::a_wrong_password_is_refused_and_not_tried_again", PEERS, wrong),
        peer_test("passwords::who_is_asked_may_try_again", PEERS, asked_twice),
        peer_test("passwords::a_prompt_is_answered_by_its_pattern", PEERS, pattern),
        peer_test("passwords::a_prompter_gets_the_round_and_answers_it", PEERS, prompter),
        peer_test("passwords::a_key_and_a_password_are_two_steps_of_one_login", PEERS, two_steps),
    ]
}

fn server(line: &str) -> Sshd {
    builder(&[line]).start().unwrap()
}

/// The first line of a keyword counts.
fn builder(lines: &[&str]) -> SshdBuilder {
    let none = ["PasswordAuthentication no", "KbdInteractiveAuthentication no", "PubkeyAuthentication no"];
    lines.iter().copied().chain(none).fold(Sshd::builder().account(USER, PASSWORD), SshdBuilder::config)
}

async fn log_in(sshd: &Sshd, auth: Auth) -> Result<ConnectionRef, ConnectError> {
    soon("the answer", Client::new(config(sshd).auth(auth)).connect()).await
}

async fn is_alice(conn: &ConnectionRef) {
    assert_eq!(conn.user(), USER);
    assert_eq!(run(conn, "id -un").await.stdout, b"alice\n");
}

async fn password() {
    let sshd = server("PasswordAuthentication yes");
    let conn = log_in(&sshd, Auth::new().password(PASSWORD.into())).await.unwrap();
    is_alice(&conn).await;
    assert!(sshd.log().contains("Accepted password for alice"), "{}", sshd.log());
}

async fn wrong() {
    let sshd = server("PasswordAuthentication yes");
    let error = log_in(&sshd, Auth::new().password("wonderland".into())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Auth(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("wonder"), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(sshd.log().matches("Failed password").count(), 1);
}

async fn asked_twice() {
    let sshd = server("PasswordAuthentication yes");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let auth = Auth::new().max_asks(3).password_with(move |request| {
        seen.lock().unwrap().push((request.user, request.attempt));
        let answer = if request.attempt == 1 { "oops" } else { PASSWORD };
        async move { Some(answer.into()) }
    });
    is_alice(&log_in(&sshd, auth).await.unwrap()).await;
    assert_eq!(*asked.lock().unwrap(), [(USER.to_owned(), 1), (USER.to_owned(), 2)]);
}

async fn pattern() {
    let sshd = server("KbdInteractiveAuthentication yes");
    let keyboard = KeyboardInteractive::new().answer("*assword*", PASSWORD.into());
    is_alice(&log_in(&sshd, Auth::new().keyboard_interactive(keyboard)).await.unwrap()).await;
    assert!(sshd.log().contains("Accepted keyboard-interactive/pam for alice"), "{}", sshd.log());
}

async fn prompter() {
    let sshd = server("KbdInteractiveAuthentication yes");
    let rounds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&rounds);
    let keyboard = KeyboardInteractive::new().prompter(move |round: PromptRound| {
        let answers = round.prompts.iter().map(|_| PASSWORD.into()).collect();
        seen.lock().unwrap().push(round);
        async move { Some(answers) }
    });
    is_alice(&log_in(&sshd, Auth::new().keyboard_interactive(keyboard)).await.unwrap()).await;
    let rounds = rounds.lock().unwrap();
    let prompts: Vec<_> = rounds.iter().flat_map(|round| &round.prompts).collect();
    assert!(prompts.iter().any(|prompt| prompt.text.contains("Password:") && !prompt.echo), "{rounds:?}");
}

async fn two_steps() {
    for (second, word) in [("password", "Password"), ("keyboard-interactive", "KbdInteractive")] {
        let (on, methods) =
            (format!("{word}Authentication yes"), format!("AuthenticationMethods publickey,{second}"));
        let sshd = builder(&["PubkeyAuthentication yes", &on, &methods]).start().unwrap();
        let key = Auth::new().identity_file(IdentityFile::new(sshd.identity()));
        let error = log_in(&sshd, key.clone()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Auth(_)), "the key alone is not enough: {error:?}");
        let keyboard = KeyboardInteractive::new().answer("*assword*", PASSWORD.into());
        let both = key.password(PASSWORD.into()).keyboard_interactive(keyboard);
        is_alice(&log_in(&sshd, both).await.unwrap()).await;
        assert!(sshd.log().contains("Partial publickey for alice"), "{}", sshd.log());
    }
}
