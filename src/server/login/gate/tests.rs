use secrecy::SecretString;

use super::*;
use crate::server::login::penalties::SourcePenalties;
use crate::wire::keys::{Algorithm, PrivateKey, generate_ed25519};

fn gate(change: impl FnOnce(&mut Logins)) -> (Gate, Granted) {
    let mut logins = Logins::default();
    change(&mut logins);
    let penalties = Arc::new(Penalties::new(SourcePenalties::default()));
    let setup = GateSetup::new(logins, 6, penalties, Arc::default()).unwrap();
    let peer = Some("10.0.0.1:2222".parse().unwrap());
    Gate::new(setup, Contact::new((peer, None)))
}

fn password(text: &str) -> Proof {
    Proof::Password(text.to_owned().into())
}

fn key(key: &PrivateKey) -> Proof {
    Proof::Key { key: key.public_key().clone(), algorithm: Algorithm::Ed25519 }
}

fn no(next: &[AuthMethod]) -> Verdict {
    Verdict::NotYet { next: next.to_vec(), passed: false }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_gets_the_same_answer_after_the_same_time() {
    let (mut gate, _) = gate(|logins| {
        logins.set_password(|attempt, _| async move {
            if attempt.user == "known" {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            false
        });
    });
    for user in ["known", "unknown", "known"] {
        let start = Instant::now();
        assert_eq!(gate.judge(user, password("x")).await, no(&[AuthMethod::Password]));
        assert_eq!(start.elapsed(), Duration::from_secs(1), "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_the_delay_is_answered_after_a_multiple_of_it() {
    for (takes, answered) in [(1300, 2000), (2500, 4000), (999, 1000)] {
        let (mut gate, _) = gate(|logins| {
            logins.set_password(move |_, _| async move {
                tokio::time::sleep(Duration::from_millis(takes)).await;
                false
            });
        });
        let start = Instant::now();
        gate.judge("alice", password("x")).await;
        assert_eq!(start.elapsed(), Duration::from_millis(answered));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_takes_a_twentieth_of_the_delay_and_a_yes_no_time() {
    let good = generate_ed25519();
    let known = good.public_key().clone();
    let (mut gate, _) = gate(|logins| {
        logins.set_public_key(move |_, key| {
            let yes = key == known;
            async move { yes }
        });
    });
    let start = Instant::now();
    assert_eq!(gate.judge("alice", key(&generate_ed25519())).await, no(&[AuthMethod::PublicKey]));
    assert_eq!(start.elapsed(), Duration::from_millis(50));
    assert_eq!(gate.judge("alice", key(&good)).await, Verdict::Welcome);
    assert_eq!(start.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn without_attempts_left_nobody_is_asked() {
    let (mut gate, granted) = gate(|logins| {
        logins.set_password(|attempt, _| async move {
            assert!(attempt.refused < 6);
            attempt.user == "alice"
        });
    });
    for _ in 0..6 {
        gate.judge("bob", password("x")).await;
    }
    assert_eq!(gate.judge("alice", password("x")).await, no(&[AuthMethod::Password]));
    assert_eq!(granted.take(), Permissions::none(), "nothing was granted");
    assert_eq!(gate.setup.counters.snapshot().exhausted, 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_no_refusals_are_bounded_too() {
    let (mut gate, _) = gate(|logins| logins.set_password(|_, _| async { true }));
    for _ in 0..MAX_REQUESTS {
        assert_eq!(gate.judge("alice", Proof::None).await, no(&[AuthMethod::Password]));
    }
    assert_eq!(gate.judge("alice", Proof::None).await, Verdict::End);
}

#[tokio::test(start_paused = true)]
async fn a_name_of_more_than_1024_bytes_ends_the_connection() {
    let (mut gate, _) = gate(|logins| logins.set_password(|_, _| async { true }));
    assert_eq!(gate.judge(&"x".repeat(1025), password("x")).await, Verdict::End);
    assert_eq!(gate.judge(&"x".repeat(1024), password("x")).await, Verdict::Welcome);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_only_signs_with_sha1_is_not_asked_about() {
    let (mut gate, _) = gate(|logins| logins.set_public_key(|_, _| async { true }));
    let proof =
        Proof::OfferedKey { key: generate_ed25519().into(), algorithm: Algorithm::Rsa { hash: None } };
    assert_eq!(gate.judge("alice", proof).await, no(&[AuthMethod::PublicKey]));
}

#[tokio::test(start_paused = true)]
async fn permissions_of_all_steps_are_granted_together_and_only_at_the_end() {
    let (mut gate, granted) = gate(|logins| {
        logins.set_public_key(|_, _| async {
            let mut permissions = Permissions::all();
            permissions.force_command = Some("backup".into());
            permissions
        });
        logins.set_password(|_, _| async {
            let mut permissions = Permissions::all();
            permissions.pty = false;
            permissions
        });
        logins.required = Some(vec![vec![AuthMethod::PublicKey, AuthMethod::Password]]);
    });
    let next = vec![AuthMethod::Password];
    assert_eq!(gate.judge("alice", key(&generate_ed25519())).await, Verdict::NotYet { next, passed: true });
    assert!(granted.0.lock().unwrap().is_none());
    assert_eq!(gate.judge("alice", password("x")).await, Verdict::Welcome);
    let mut expected = Permissions::all();
    expected.pty = false;
    expected.force_command = Some("backup".into());
    assert_eq!(granted.take(), expected);
    assert_eq!(gate.passed(), [AuthMethod::PublicKey, AuthMethod::Password]);
}

#[tokio::test(start_paused = true)]
async fn two_steps_that_force_different_commands_let_nobody_in() {
    let (mut gate, _) = gate(|logins| {
        logins.set_public_key(|attempt, _| async move {
            let mut permissions = Permissions::all();
            permissions.force_command = Some(attempt.passed.len().to_string().into());
            permissions
        });
        logins.required = Some(vec![vec![AuthMethod::PublicKey, AuthMethod::PublicKey]]);
    });
    gate.judge("alice", key(&generate_ed25519())).await;
    assert_eq!(gate.judge("alice", key(&generate_ed25519())).await, no(&[AuthMethod::PublicKey]));
}

#[tokio::test(start_paused = true)]
async fn an_interview_ends_when_the_peer_turns_to_something_else() {
    let (mut gate, _) = gate(asking);
    gate.setup.max_refused = 20;
    let answers = || Proof::Answers(Some(vec!["x".to_owned().into()]));
    let refused = no(&[AuthMethod::KeyboardInteractive]);
    assert_eq!(gate.judge("alice", answers()).await, refused, "nothing was asked");
    assert!(matches!(gate.judge("alice", Proof::Interview).await, Verdict::Ask(_)));
    let start = Instant::now();
    gate.judge("alice", Proof::None).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1), "what comes instead waits");
    assert_eq!(gate.judge("alice", answers()).await, refused, "it is over");
    assert!(matches!(gate.judge("alice", Proof::Interview).await, Verdict::Ask(_)));
    assert_eq!(gate.judge("bob", answers()).await, refused, "it was somebody else's");
    assert!(matches!(gate.judge("alice", Proof::Interview).await, Verdict::Ask(_)));
    assert_eq!(gate.judge("alice", Proof::Answers(None)).await, refused, "that was no text");
    assert!(matches!(gate.judge("alice", Proof::Interview).await, Verdict::Ask(_)));
    assert_eq!(gate.judge("alice", answers()).await, Verdict::Welcome);
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_refused_cost_their_source_once_and_not_if_a_login_followed() {
    let good = generate_ed25519();
    let collected = async |and_in: bool| {
        let known = good.public_key().clone();
        let (mut gate, _) = gate(|logins| {
            logins.set_public_key(move |_, key| {
                let yes = key == known;
                async move { yes }
            });
        });
        for _ in 0..3 {
            gate.judge("alice", key(&generate_ed25519())).await;
        }
        if and_in {
            assert_eq!(gate.judge("alice", key(&good)).await, Verdict::Welcome);
        }
        let penalties = Arc::clone(&gate.setup.penalties);
        drop(gate);
        penalties.failures("10.0.0.1".parse().unwrap())
    };
    assert_eq!(collected(false).await, 1);
    assert_eq!(collected(true).await, 0);
}

/// Every refusal, as the hook hears of it.
type Told = Arc<Mutex<Vec<(String, usize, AuthMethod, LoginRefusal)>>>;

fn telling(logins: &mut Logins) -> Told {
    let told = Told::default();
    let note = Arc::clone(&told);
    logins.set_on_failed(move |attempt, method, why| {
        note.lock().unwrap().push((attempt.user.clone(), attempt.refused, method, why.clone()));
    });
    told
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_to_sign_and_did_not_is_refused_when_something_else_comes_or_nothing() {
    let mut told = Told::default();
    let (mut gate, _) = gate(|logins| {
        told = telling(logins);
        logins.set_public_key(|_, _| async { true });
    });
    let good = generate_ed25519();
    let offer = || Proof::OfferedKey { key: good.public_key().clone(), algorithm: Algorithm::Ed25519 };
    let not_proved =
        |user: &str, before| (user.to_owned(), before, AuthMethod::PublicKey, LoginRefusal::NotProved);
    for _ in 0..2 {
        assert_eq!(gate.judge("alice", offer()).await, Verdict::Sign);
    }
    assert_eq!(*told.lock().unwrap(), [not_proved("alice", 0)]);
    assert_eq!(gate.judge("bob", Proof::None).await, no(&[AuthMethod::PublicKey]));
    assert_eq!(told.lock().unwrap()[1..], [not_proved("alice", 1)]);
    assert_eq!(gate.judge("bob", offer()).await, Verdict::Sign);
    let (penalties, counters) = (Arc::clone(&gate.setup.penalties), Arc::clone(&gate.setup.counters));
    drop(gate);
    assert_eq!(told.lock().unwrap()[2..], [not_proved("bob", 2)]);
    assert_eq!(counters.snapshot().refused, 3);
    assert_eq!(penalties.failures("10.0.0.1".parse().unwrap()), 1, "as for all keys of a connection");
}

#[tokio::test(start_paused = true)]
async fn keys_that_never_sign_use_up_the_attempts() {
    let (mut gate, _) = gate(|logins| logins.set_public_key(|_, _| async { true }));
    let offer = || Proof::OfferedKey { key: generate_ed25519().into(), algorithm: Algorithm::Ed25519 };
    for _ in 0..6 {
        assert_eq!(gate.judge("alice", offer()).await, Verdict::Sign);
    }
    assert_eq!(gate.judge("alice", offer()).await, no(&[AuthMethod::PublicKey]));
    assert_eq!(gate.judge("alice", key(&generate_ed25519())).await, no(&[AuthMethod::PublicKey]));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_signs_is_no_refusal() {
    let mut told = Told::default();
    let (mut gate, _) = gate(|logins| {
        told = telling(logins);
        logins.set_public_key(|_, _| async { true });
    });
    let good = generate_ed25519();
    let offer = Proof::OfferedKey { key: good.public_key().clone(), algorithm: Algorithm::Ed25519 };
    assert_eq!(gate.judge("alice", offer).await, Verdict::Sign);
    assert_eq!(gate.judge("alice", key(&good)).await, Verdict::Welcome);
    drop(gate);
    assert_eq!(*told.lock().unwrap(), []);
}

/// One question, and any answer is good.
fn asking(logins: &mut Logins) {
    logins.set_interview(|_| {
        |answers: Vec<SecretString>| {
            let step = match answers.len() {
                0 => super::super::Prompts::new().hidden("Code: ").into(),
                _ => true.into(),
            };
            async move { step }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn an_interview_that_is_left_is_refused_and_paid_for_and_uses_up_an_attempt() {
    let mut told = Told::default();
    let (mut gate, _) = gate(|logins| {
        told = telling(logins);
        asking(logins);
    });
    for _ in 0..6 {
        assert!(matches!(gate.judge("alice", Proof::Interview).await, Verdict::Ask(_)));
    }
    let refused = no(&[AuthMethod::KeyboardInteractive]);
    assert_eq!(gate.judge("alice", Proof::Interview).await, refused, "no attempt is left");
    let (penalties, counters) = (Arc::clone(&gate.setup.penalties), Arc::clone(&gate.setup.counters));
    let expected = ("alice".to_owned(), 5, AuthMethod::KeyboardInteractive, LoginRefusal::Unfinished);
    assert_eq!(told.lock().unwrap()[5], expected);
    assert_eq!(counters.snapshot().refused, 7);
    assert!(penalties.failures("10.0.0.1".parse().unwrap()) >= 5);
}

#[tokio::test(start_paused = true)]
async fn an_interview_under_way_at_the_end_of_the_connection_is_paid_for() {
    let (mut gate, _) = gate(asking);
    assert!(matches!(gate.judge("alice", Proof::Interview).await, Verdict::Ask(_)));
    let (penalties, counters) = (Arc::clone(&gate.setup.penalties), Arc::clone(&gate.setup.counters));
    drop(gate);
    assert_eq!(counters.snapshot().refused, 1);
    assert_eq!(penalties.failures("10.0.0.1".parse().unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delay_of_more_than_a_day_is_a_wrong_argument() {
    let check = |delay| Logins { delay, ..Logins::default() }.check().map_err(|error| error.field);
    assert_eq!(check(LONGEST_DELAY), Ok(()));
    assert_eq!(check(LONGEST_DELAY + Duration::from_secs(1)), Err("login_delay".into()));
    assert_eq!(check(Duration::MAX), Err("login_delay".into()));
}

#[tokio::test(start_paused = true)]
async fn by_default_12_refusals_at_once_bar_an_address_and_14_one_after_the_other() {
    let ip = "10.0.0.1".parse().unwrap();
    let (mut gate, _) = gate(|logins| logins.set_password(|_, _| async { false }));
    gate.setup.max_refused = 20;
    for refused in 1..=14 {
        gate.judge("alice", password("x")).await;
        assert_eq!(gate.setup.penalties.is_barred(ip), refused == 14, "after {refused}");
    }
    let penalties = Arc::new(Penalties::new(SourcePenalties::default()));
    let setup = GateSetup { penalties: Arc::clone(&penalties), ..gate.setup.clone() };
    for refused in 1..=12 {
        let (mut gate, _) = Gate::new(setup.clone(), gate.contact.clone());
        // Charged before the delay: nobody waits for it here.
        let _ = futures::poll!(gate.judge("alice", password("x")));
        assert_eq!(penalties.is_barred(ip), refused == 12, "after {refused}");
    }
}
