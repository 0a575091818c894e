//! Policies: what is accepted, what is written, what is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ractor_ssh::error::{BoxError, Origin};
use ractor_ssh::host_key::{
    Accepted, AcceptedBy, HostKeyDecision, HostKeyError, HostKeyInfo, HostKeyPin, HostKeyPolicy, KnownHosts,
    KnownHostsFiles, Verdict,
};
use ractor_ssh::wire::keys::{HashAlg, PublicKey};

use crate::support::{ecdsa, ed25519, found, rsa, text};

async fn decide(
    policy: &HostKeyPolicy,
    host: &str,
    port: u16,
    key: &PublicKey,
) -> Result<Accepted, HostKeyError> {
    policy.prepare(host, port).await?.decide(key.clone()).await
}

fn file(dir: &tempfile::TempDir, content: &str) -> PathBuf {
    let path = dir.path().join("known_hosts");
    std::fs::write(&path, content).unwrap();
    path
}

fn files(path: &Path) -> KnownHostsFiles {
    KnownHostsFiles::new([path])
}

#[tokio::test]
async fn strict_accepts_known_keys_from_any_of_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (user, global) = (ed25519(), ed25519());
    let second = dir.path().join("global");
    std::fs::write(&second, format!("a {}\n", text(&global))).unwrap();
    let first = file(&dir, &format!("a {}\n", text(&user)));
    let policy = HostKeyPolicy::strict(KnownHostsFiles::new([&first, &second, &dir.path().join("absent")]));
    let accepted = decide(&policy, "a", 22, &global).await.unwrap();
    assert!(matches!(accepted.by, AcceptedBy::Known(at) if *at.file == *second && at.line == 1));
    assert_eq!(accepted.fingerprint, global.fingerprint(HashAlg::Sha256).to_string());
    assert!(accepted.fingerprint.starts_with("SHA256:"));
    decide(&policy, "a", 22, &user).await.unwrap();
}

#[tokio::test]
async fn strict_refuses_an_unknown_host_and_names_key_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "");
    let key = ed25519();
    let error = decide(&HostKeyPolicy::strict(files(&path)), "New.Host", 2222, &key).await.unwrap_err();
    assert!(matches!(error, HostKeyError::Unknown { .. }), "{error:?}");
    let shown = error.to_string();
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    for part in ["[new.host]:2222", "ssh-ed25519", &fingerprint, path.to_str().unwrap()] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"", "nothing is written");
    assert_eq!(error.origin(), Origin::Remote);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_changed_key_names_lines_fingerprints_and_the_command_that_removes_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (ed25519(), ecdsa());
    let path = file(&dir, &format!("# a comment\n[a]:2222 {}\n", text(&old)));
    for policy in [HostKeyPolicy::strict(files(&path)), HostKeyPolicy::accept_new(files(&path))] {
        let shown = decide(&policy, "a", 2222, &new).await.unwrap_err().to_string();
        let expected = [
            format!("{}:2", path.display()),
            old.fingerprint(HashAlg::Sha256).to_string(),
            new.fingerprint(HashAlg::Sha256).to_string(),
            format!("-f {}`", path.display()),
        ];
        for part in expected {
            assert!(shown.contains(&part), "{part} in {shown}");
        }
        assert!(
            shown.contains("ssh-keygen -R '[a]:2222'") || shown.contains("ssh-keygen -R \"[a]:2222\""),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_wrong_host_or_port_is_an_error_that_names_it() {
    let policy = HostKeyPolicy::strict(KnownHostsFiles::new(Vec::<PathBuf>::new()));
    for (host, port, field) in [("", 22, "host"), ("a b", 22, "host"), ("*", 22, "host"), ("a", 0, "port")] {
        let error = policy.prepare(host, port).await.unwrap_err();
        assert!(matches!(&error, HostKeyError::Config(e) if e.field == field), "{error:?}");
        assert_eq!(error.origin(), Origin::Local);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = HostKeyPolicy::strict(files(dir.path())).prepare("a", 22).await.unwrap_err();
    assert!(matches!(&error, HostKeyError::Io { file, .. } if file == dir.path()), "{error:?}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
}

#[tokio::test]
async fn malformed_lines_are_reported_and_can_be_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = ed25519();
    let path = file(&dir, &format!("broken\na {}\n", text(&key)));
    let prepared = HostKeyPolicy::strict(files(&path)).prepare("a", 22).await.unwrap();
    assert_eq!(prepared.problems().len(), 1);
    prepared.decide(key).await.unwrap();
    let refused =
        HostKeyPolicy::strict(files(&path).refuse_malformed(true)).prepare("a", 22).await.unwrap_err();
    assert!(refused.to_string().starts_with(&format!("{}:1: ", path.display())), "{refused}");
}

#[tokio::test]
async fn a_broken_revocation_refuses_before_a_connection_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "@revoked a* ssh-ed25519 AAAA\n");
    for policy in [HostKeyPolicy::strict(files(&path)), HostKeyPolicy::accept_new(files(&path))] {
        assert!(matches!(policy.prepare("abc", 2222).await, Err(HostKeyError::Malformed(_))));
        policy.prepare("b", 22).await.unwrap();
    }
}

#[tokio::test]
async fn accept_new_writes_a_new_host_once_and_knows_it_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/.ssh/known_hosts");
    let policy = HostKeyPolicy::accept_new(files(&path));
    let (a, b) = (ed25519(), ecdsa());
    assert_eq!(decide(&policy, "Host.A", 22, &a).await.unwrap().by, AcceptedBy::Remembered);
    assert_eq!(decide(&policy, "::1", 2222, &b).await.unwrap().by, AcceptedBy::Remembered);
    assert!(matches!(decide(&policy, "host.a", 22, &a).await.unwrap().by, AcceptedBy::Known(_)));
    let content = std::fs::read_to_string(&path).unwrap();
    assert_eq!(content, format!("host.a {}\n[::1]:2222 {}\n", text(&a), text(&b)));
}

#[cfg(unix)]
#[tokio::test]
async fn accept_new_makes_private_files_and_leaves_the_mode_of_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = dir.path().join(".ssh/known_hosts");
    decide(&HostKeyPolicy::accept_new(files(&path)), "a", 22, &ed25519()).await.unwrap();
    assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
    let shared = file(&dir, "");
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o644)).unwrap();
    decide(&HostKeyPolicy::accept_new(files(&shared)), "a", 22, &ed25519()).await.unwrap();
    assert_eq!(mode(&shared), 0o644);
}

#[tokio::test]
async fn accept_new_starts_a_line_of_its_own_after_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (ed25519(), ed25519());
    let path = file(&dir, &format!("a {}", text(&old)));
    decide(&HostKeyPolicy::accept_new(files(&path)), "b", 22, &new).await.unwrap();
    let content = std::fs::read_to_string(&path).unwrap();
    assert_eq!(content, format!("a {}\nb {}\n", text(&old), text(&new)));
}

#[tokio::test]
async fn accept_new_hashes_names_if_the_file_does_or_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known_hosts");
    decide(&HostKeyPolicy::accept_new(files(&path).hash_names(true)), "secret.a", 22, &ed25519())
        .await
        .unwrap();
    decide(&HostKeyPolicy::accept_new(files(&path)), "secret.b", 2222, &ed25519()).await.unwrap();
    let content = std::fs::read_to_string(&path).unwrap();
    assert!(!content.contains("secret"), "{content}");
    let known = KnownHosts::parse(&path, content.as_bytes());
    assert_eq!((found(&known, "secret.a"), found(&known, "[secret.b]:2222")), (vec![1], vec![2]));
}

#[tokio::test]
async fn accept_new_does_not_accept_what_it_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let below_a_file = file(&dir, "").join("known_hosts");
    let error =
        decide(&HostKeyPolicy::accept_new(files(&below_a_file)), "a", 22, &ed25519()).await.unwrap_err();
    assert!(matches!(&error, HostKeyError::Io { action: "write", .. }), "{error:?}");
    let nowhere = HostKeyPolicy::accept_new(KnownHostsFiles::new(Vec::<PathBuf>::new()));
    assert!(matches!(decide(&nowhere, "a", 22, &ed25519()).await, Err(HostKeyError::Config(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn first_contacts_at_once_leave_whole_lines_and_one_key_for_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "# no newline");
    let policy = HostKeyPolicy::accept_new(files(&path));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..32 {
        let (policy, key) = (policy.clone(), ed25519());
        // Every second one claims to be the same host, each with its own key.
        let host = if i % 2 == 0 { "same".to_owned() } else { format!("host{i}") };
        tasks.spawn(async move { (host.clone(), decide(&policy, &host, 22, &key).await) });
    }
    let results = tasks.join_all().await;
    let accepted = results.iter().filter(|(host, result)| host == "same" && result.is_ok()).count();
    assert_eq!(accepted, 1, "one key is the first");
    for (host, result) in &results {
        assert!(result.is_ok() || (host == "same" && matches!(result, Err(HostKeyError::Changed { .. }))));
    }
    let known = KnownHosts::load([&path]).await.unwrap();
    assert_eq!((known.entries().len(), known.problems().len()), (17, 0));
}

#[tokio::test]
async fn pins_accept_their_keys_only() {
    let (mine, other) = (ed25519(), ed25519());
    let fingerprint = mine.fingerprint(HashAlg::Sha256).to_string();
    let sha512 = mine.fingerprint(HashAlg::Sha512).to_string();
    for pin in [fingerprint.clone(), sha512, text(&mine), mine.to_openssh().unwrap()] {
        let policy = HostKeyPolicy::pinned([pin.parse::<HostKeyPin>().unwrap()]);
        assert_eq!(decide(&policy, "a", 22, &mine).await.unwrap().by, AcceptedBy::Pinned);
        let error = decide(&policy, "a", 22, &other).await.unwrap_err();
        assert!(matches!(error, HostKeyError::NotPinned { .. }), "{error:?}");
        assert!(error.to_string().contains(&other.fingerprint(HashAlg::Sha256).to_string()));
    }
    let none = HostKeyPolicy::pinned(Vec::<HostKeyPin>::new());
    decide(&none, "a", 22, &mine).await.unwrap_err();
}

#[test]
fn a_pin_that_is_none_says_what_to_give() {
    for text in ["", "SHA256:", "MD5:00:11", "SHA256:abc", "ssh-ed25519 AAAA"] {
        let error = text.parse::<HostKeyPin>().unwrap_err();
        assert_eq!(error.field, "pin");
        assert!(error.to_string().contains("ssh-keygen -l"), "{error}");
    }
}

#[tokio::test]
async fn a_short_rsa_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (short, long) = (rsa(64), rsa(256));
    let path = file(&dir, &format!("a {}\na {}\n", text(&short), text(&long)));
    let policy = HostKeyPolicy::strict(files(&path));
    assert!(matches!(decide(&policy, "a", 22, &short).await, Err(HostKeyError::WeakKey { bits: 512, .. })));
    decide(&policy, "a", 22, &long).await.unwrap();
}

#[tokio::test]
async fn danger_accept_anything_does() {
    let accepted = decide(&HostKeyPolicy::danger_accept_anything(), "a", 22, &ed25519()).await.unwrap();
    assert_eq!(accepted.by, AcceptedBy::Anything);
}

#[tokio::test]
async fn the_verifier_is_told_the_verdict_and_its_answer_is_carried_out() {
    let dir = tempfile::tempdir().unwrap();
    let (known, changed, new) = (ed25519(), ed25519(), ed25519());
    let path = file(&dir, &format!("known {}\nchanged {}\n", text(&known), text(&ecdsa())));
    let ask = |answer: HostKeyDecision, expected: &'static str| {
        HostKeyPolicy::ask(files(&path), move |info: HostKeyInfo| {
            let answer = answer.clone();
            async move {
                let verdict = match info.verdict {
                    Verdict::Known(_) => "known",
                    Verdict::New => "new",
                    Verdict::Changed(_) => "changed",
                    _ => "other",
                };
                assert_eq!((verdict, info.port), (expected, 22));
                assert_eq!(info.fingerprint, info.key.fingerprint());
                Ok::<_, BoxError>(answer)
            }
        })
    };
    use HostKeyDecision::{Accept, AcceptAndRemember, AsKnownHosts, Refuse};
    let by = |result: Result<Accepted, HostKeyError>| result.unwrap().by;
    assert!(matches!(
        by(decide(&ask(AsKnownHosts, "known"), "known", 22, &known).await),
        AcceptedBy::Known(_)
    ));
    assert_eq!(by(decide(&ask(Accept, "changed"), "changed", 22, &changed).await), AcceptedBy::Verifier);
    assert_eq!(
        by(decide(&ask(AcceptAndRemember, "changed"), "changed", 22, &changed).await),
        AcceptedBy::Verifier
    );
    let error = decide(&ask(AsKnownHosts, "changed"), "changed", 22, &changed).await.unwrap_err();
    assert!(matches!(error, HostKeyError::Changed { .. }), "a changed key is never written");
    assert_eq!(by(decide(&ask(Accept, "new"), "new", 22, &new).await), AcceptedBy::Verifier);
    assert!(matches!(
        decide(&ask(AsKnownHosts, "new"), "new", 22, &new).await,
        Err(HostKeyError::Unknown { .. })
    ));
    assert_eq!(by(decide(&ask(AcceptAndRemember, "new"), "new", 22, &new).await), AcceptedBy::Remembered);
    let refusal = decide(&ask(Refuse("not today".into()), "known"), "new", 22, &new).await.unwrap_err();
    assert!(refusal.to_string().contains("not today"));
}

#[tokio::test]
async fn the_verifier_is_not_asked_about_revoked_keys_and_its_failure_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let key = ed25519();
    let path = file(&dir, &format!("@revoked a {}\n", text(&key)));
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let policy = HostKeyPolicy::ask(files(&path), move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Err::<HostKeyDecision, BoxError>("the database is down".into()) }
    });
    assert!(matches!(decide(&policy, "a", 22, &key).await, Err(HostKeyError::Revoked { .. })));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let error = decide(&policy, "b", 22, &key).await.unwrap_err();
    assert!(matches!(error, HostKeyError::Verifier { .. }) && error.to_string().contains("database"));
    assert_eq!((calls.load(Ordering::Relaxed), error.origin()), (1, Origin::Local));
}

#[tokio::test]
async fn known_key_types_are_offered_first() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ec, rs) = (text(&ed25519()), text(&ecdsa()), text(&rsa(256)));
    let default =
        "ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 rsa-sha2-512 rsa-sha2-256";
    let ecdsa_first =
        "ecdsa-sha2-nistp256 ssh-ed25519 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 rsa-sha2-512 rsa-sha2-256";
    let rsa_first =
        "rsa-sha2-512 rsa-sha2-256 ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521";
    let table = [
        (String::new(), 22, "", default),
        (format!("b {rs}"), 22, "", default),
        (format!("a {ec}"), 22, "", ecdsa_first),
        (format!("a {rs}"), 22, "", rsa_first),
        (format!("a {rs}\na {ed}"), 22, "", default),
        (format!("[a]:2222 {ec}\na {rs}"), 2222, "", ecdsa_first),
        (format!("a {rs}"), 2222, "", rsa_first),
        (format!("@cert-authority * {ec}"), 22, default, default),
        (format!("@cert-authority b {ec}"), 22, "", default),
        (format!("@cert-authority a {ec}\na {rs}"), 22, default, rsa_first),
        (format!("@revoked * {ec}\na {rs}"), 22, "rsa-sha2-512 rsa-sha2-256", rsa_first),
        (format!("@revoked * {ec}"), 22, default, default),
    ];
    for (content, port, certificates, keys) in table {
        let policy = HostKeyPolicy::strict(files(&file(&dir, &content)));
        let prepared = policy.prepare("a", port).await.unwrap();
        let names = |list: &[ractor_ssh::wire::keys::Algorithm]| {
            list.iter().map(|a| a.as_str().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let offered = prepared.algorithms();
        assert_eq!(names(&offered.certificates), certificates, "{content}");
        assert_eq!(names(&offered.keys), keys, "{content}");
    }
    let pinned = HostKeyPolicy::pinned([rsa(256)]).prepare("a", 22).await.unwrap();
    assert_eq!(pinned.algorithms().keys.first().map(|a| a.as_str()), Some("rsa-sha2-512"));
}

#[test]
fn the_default_files_are_those_of_openssh() {
    let files = KnownHostsFiles::default();
    let names: Vec<_> = files.paths().iter().map(|path| path.to_string_lossy().into_owned()).collect();
    assert!(names.first().is_some_and(|name| name.ends_with(".ssh/known_hosts")), "{names:?}");
    assert!(names.contains(&"/etc/ssh/ssh_known_hosts".to_owned()), "{names:?}");
}

#[test]
fn verifiers_are_not_shown_by_debug() {
    let policy = HostKeyPolicy::ask(KnownHostsFiles::new(["f"]), |_| async { Ok(HostKeyDecision::Accept) });
    assert!(format!("{policy:?}").contains("Ask"));
}
