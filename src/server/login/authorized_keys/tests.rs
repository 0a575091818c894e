use proptest::prelude::*;

use super::*;
use crate::wire::keys::generate_ed25519;

fn key_line() -> (KeyData, String) {
    let key = generate_ed25519();
    let public = key.public_key();
    (public.key_data().clone(), public.to_openssh().unwrap())
}

fn asking(user: &str) -> Asking<'_> {
    Asking { user, ip: Some("10.0.0.1".parse().unwrap()), now: 1_767_225_600 }
}

fn answer(text: &str, key: &KeyData) -> Option<Result<Permissions, LoginRefusal>> {
    KeyLines::parse("keys", text.as_bytes()).look_up(&asking("alice"), &Shown::Key(key)).answer
}

#[test]
fn a_key_on_the_list_is_let_in_with_what_its_line_permits() {
    let (key, line) = key_line();
    let text = format!("# comment\n\n \t restrict,command=\"ls\" \t{line} a comment\r\n");
    let permissions = answer(&text, &key).unwrap().unwrap();
    let mut expected = Permissions::none();
    expected.force_command = Some("ls".into());
    assert_eq!(permissions, expected);
    assert_eq!(answer(&line, &key), Some(Ok(Permissions::all())));
    assert_eq!(answer(&line, &key_line().0), None);
    assert_eq!(answer("", &key), None);
}

#[test]
fn the_first_line_that_lets_in_counts_and_one_that_does_not_hides_no_other() {
    let (key, line) = key_line();
    let text = format!(
        "from=\"192.168.0.0/16\",no-pty {line}\nexpiry-time=\"20200101Z\" {line}\nno-pty {line}\n{line}\n"
    );
    let mut expected = Permissions::all();
    expected.pty = false;
    assert_eq!(answer(&text, &key), Some(Ok(expected)));
}

#[test]
fn address_and_time_are_held_against_a_key_and_the_place_is_told() {
    let (key, line) = key_line();
    let refused = |options: &str| match answer(&format!("\n{options} {line}"), &key) {
        Some(Err(LoginRefusal::Line { place, problem })) => {
            assert_eq!(place, "keys:2");
            Some(problem)
        }
        Some(Ok(_)) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused("from=\"10.0.0.0/8\""), None);
    assert_eq!(refused("from=\"10.0.0.0/8,!10.0.0.1\"").as_deref(), Some("not from this address"));
    assert_eq!(refused("expiry-time=\"20260101000000Z\""), None, "the last second is good");
    assert_eq!(refused("expiry-time=\"20251231235959Z\"").as_deref(), Some("its time is over"));
}

#[test]
fn without_an_address_nothing_matches_from() {
    let (key, line) = key_line();
    let lines = KeyLines::parse("keys", format!("from=\"*\" {line}").as_bytes());
    let nowhere = Asking { ip: None, ..asking("alice") };
    assert!(matches!(lines.look_up(&nowhere, &Shown::Key(&key)).answer, Some(Err(_))));
}

#[test]
fn an_authority_is_no_key_to_log_in_with() {
    let (key, line) = key_line();
    let lines = KeyLines::parse("keys", format!("cert-authority {line}").as_bytes());
    let found = lines.look_up(&asking("alice"), &Shown::Key(&key));
    assert!(found.answer.is_none() && found.authorities);
}

#[test]
fn a_line_that_is_not_understood_lets_nobody_in_and_is_reported_with_its_place() {
    let (key, line) = key_line();
    let body = line.split(' ').nth(1).unwrap();
    let table = [
        (format!("no-such-option {line}"), "no-such-option"),
        (format!("no-pty,{line}"), "unknown"),
        (format!("command=\"ls {line}"), "closing quote"),
        ("no-pty".to_owned(), "no key"),
        ("ssh-ed25519".to_owned(), "no key"),
        ("ssh-ed25519 AAAA".to_owned(), "cannot be read"),
        (format!("ssh-rsa {body}"), "cannot be read"),
        (format!("ssh-ed25519 {body}AAAA"), "cannot be read"),
        ("ssh-unheard AAAA".to_owned(), "cannot be read"),
    ];
    for (text, word) in table {
        let keys = AuthorizedKeys::parse(&format!("# one\n{text}\n"));
        let [problem] = keys.problems() else { panic!("{text}: {:?}", keys.problems()) };
        assert_eq!(problem.place, "authorized_keys:2");
        assert!(problem.problem.contains(word), "{text}: {problem}");
        assert_eq!(answer(&text, &key), None, "{text}");
    }
}

#[test]
fn options_that_are_no_utf8_are_refused_and_comments_may_be_anything() {
    let (key, line) = key_line();
    let options = [b"command=\"\xff\" ", line.as_bytes()].concat();
    assert_eq!(KeyLines::parse("keys", &options).problems.len(), 1);
    let comment = [line.as_bytes(), b" M\xfcller"].concat();
    let lines = KeyLines::parse("keys", &comment);
    assert!(matches!(lines.look_up(&asking("alice"), &Shown::Key(&key)).answer, Some(Ok(_))));
}

#[tokio::test]
async fn a_list_may_be_for_one_user_and_without_environment() {
    let (key, line) = key_line();
    let keys = AuthorizedKeys::parse(&format!("environment=\"A=1\" {line}"));
    let bob = keys.clone().user("bob");
    assert!(bob.look_up(&asking("alice"), &Shown::Key(&key)).await.answer.is_none());
    assert!(bob.look_up(&asking("bob"), &Shown::Key(&key)).await.answer.is_some());
    let environment = async |keys: AuthorizedKeys| {
        keys.look_up(&asking("alice"), &Shown::Key(&key)).await.answer.unwrap().unwrap().environment.len()
    };
    assert_eq!(environment(keys.clone()).await, 1);
    assert_eq!(environment(keys.without_environment()).await, 0);
}

#[cfg(unix)]
mod files {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &std::path::Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    async fn lets_in(keys: &AuthorizedKeys, user: &str, key: &KeyData) -> bool {
        matches!(keys.look_up(&asking(user), &Shown::Key(key)).await.answer, Some(Ok(_)))
    }

    #[tokio::test]
    async fn a_file_is_read_anew_each_time_and_named_after_the_user() {
        let directory = tempfile::tempdir().unwrap();
        let (key, line) = key_line();
        let keys = AuthorizedKeys::file(directory.path().join("%u.keys"));
        assert!(!lets_in(&keys, "alice", &key).await, "there is no file yet");
        let path = directory.path().join("alice.keys");
        fs::write(&path, &line).unwrap();
        mode(&path, 0o644);
        assert!(lets_in(&keys, "alice", &key).await);
        assert!(!lets_in(&keys, "bob", &key).await);
        fs::write(&path, "").unwrap();
        assert!(!lets_in(&keys, "alice", &key).await);
    }

    #[tokio::test]
    async fn a_user_name_leads_to_no_other_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (key, line) = key_line();
        let inner = directory.path().join("keys");
        fs::create_dir(&inner).unwrap();
        mode(&inner, 0o755);
        let outside = directory.path().join("outside");
        fs::write(&outside, &line).unwrap();
        mode(&outside, 0o644);
        let keys = AuthorizedKeys::file(inner.join("%u"));
        for user in ["../outside", "..", ".", "", "a/../../outside", "a\0b"] {
            assert!(!lets_in(&keys, user, &key).await, "{user:?}");
        }
    }

    #[tokio::test]
    async fn what_others_can_write_is_not_used_unless_told_so() {
        let directory = tempfile::tempdir().unwrap();
        let (key, line) = key_line();
        let path = directory.path().join("keys");
        fs::write(&path, &line).unwrap();
        let keys = AuthorizedKeys::file(&path);
        for (file, folder, good) in
            [(0o600, 0o700, true), (0o620, 0o700, false), (0o602, 0o700, false), (0o600, 0o770, false)]
        {
            mode(&path, file);
            mode(directory.path(), folder);
            assert_eq!(lets_in(&keys, "alice", &key).await, good, "{file:o} in {folder:o}");
            assert!(lets_in(&keys.clone().danger_any_file_mode(), "alice", &key).await);
        }
    }

    #[tokio::test]
    async fn a_huge_file_and_what_is_no_file_are_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let (key, line) = key_line();
        let path = directory.path().join("keys");
        let filler = "#".repeat(1 << 20);
        fs::write(&path, format!("{line}\n{filler}")).unwrap();
        mode(&path, 0o600);
        assert!(!lets_in(&AuthorizedKeys::file(&path), "alice", &key).await);
        assert!(!lets_in(&AuthorizedKeys::file(directory.path()), "alice", &key).await);
    }

    #[test]
    fn a_path_that_cannot_be_meant_is_a_wrong_argument() {
        for path in ["", "/keys/%h", "/keys/%", "%"] {
            assert_eq!(AuthorizedKeys::file(path).check().unwrap_err().field, "authorized_keys", "{path}");
        }
        for path in ["/keys/%u", "/keys/100%%", "keys"] {
            AuthorizedKeys::file(path).check().unwrap();
        }
    }
}

proptest! {
    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        KeyLines::parse("keys", &bytes);
    }

    #[test]
    fn every_line_is_used_or_reported(lines in proptest::collection::vec("[a-z ,=\"-]{1,30}", 0..8)) {
        let text = lines.join("\n");
        let read = KeyLines::parse("keys", text.as_bytes());
        let meant = lines.iter().filter(|line| !line.trim().is_empty()).count();
        prop_assert_eq!(read.lines.len() + read.problems.len(), meant);
    }
}
