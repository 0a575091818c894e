//! Rules that hold without any peer: what is reported, and what is never done.

use std::time::Duration;

use libtest_mimic::Trial;
use ractor_ssh::ssh_config::{
    Asked, Asking, HostOptions, Local, MatchExec, Proxy, SshConfig, SshConfigError,
};

use crate::kit::{is_running, peer_test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        peer_test("rules::every_bad_line_is_told_at_once", [], every_bad_line),
        peer_test("rules::an_unknown_keyword_is_an_error_or_a_remark", [], unknown),
        peer_test("rules::old_keywords_are_remarks", [], old),
        peer_test("rules::match_exec_runs_nothing_unless_allowed", [], exec_refused),
        peer_test("rules::match_exec_has_a_deadline_and_runs_once", [], exec_runs),
        peer_test("rules::a_default_port_is_the_last_word_and_takes_no_second_look", [], default_port),
        peer_test("rules::what_a_match_exec_starts_ends_with_it_when_it_is_given_up", [], exec_given_up),
        peer_test("rules::what_is_asked_comes_before_the_files", [], asked_first),
        peer_test("rules::a_block_cannot_be_asked", [], no_blocks),
        peer_test("rules::what_is_asked_cannot_reach_a_shell", [], no_shell),
        peer_test("rules::a_tag_can_be_asked_or_written", [], tags),
        peer_test("rules::newer_keywords_are_known", [], newer),
        peer_test("rules::jump_hosts_are_looked_up_as_they_say", [], jumps),
        peer_test("rules::a_way_that_leads_over_itself_is_refused", [], round),
        peer_test("rules::jump_hosts_are_asked_about_by_their_own_names", [], hops),
        peer_test("rules::a_missing_file_is_an_error_only_if_it_was_named", [], missing),
    ]
}

fn local() -> Local {
    Local::new("me", 1000, "/home/me", "desk.example.org")
}

fn options(text: &str, host: &str) -> HostOptions {
    SshConfig::parse(text).unwrap().resolve(&Asked::host(host).local(local())).unwrap()
}

async fn every_bad_line() {
    let error = SshConfig::parse("Port x\nHost a\nUser b\nCompression maybe\nMatch what\n").unwrap_err();
    let lines: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("text:1: port "), "{lines:?}");
    assert!(lines[1].starts_with("text:4: compression "), "{lines:?}");
    assert!(lines[2].starts_with("text:5: match "), "{lines:?}");
    assert!(error.problems().iter().all(|problem| !problem.fix.is_empty()));
}

async fn unknown() {
    let config = SshConfig::parse("Host other\n  Frobnicate 3\n").unwrap();
    let asked = Asked::host("foo").local(local());
    let error = config.resolve(&asked).unwrap_err();
    assert!(error.to_string().starts_with("text:2: frobnicate "), "{error}");
    let allowed = config.resolve(&asked.allow_unknown()).unwrap();
    assert_eq!(allowed.remarks().len(), 1);
    assert_eq!(allowed.remarks()[0].keyword, "frobnicate");
    let ignored = options("IgnoreUnknown Frob*\nFrobnicate 3", "foo");
    assert_eq!(ignored.remarks().len(), 1);
    // It must stand before.
    let late = SshConfig::parse("Frobnicate 3\nIgnoreUnknown Frob*").unwrap();
    assert!(late.resolve(&Asked::host("foo").local(local())).is_err());
}

async fn old() {
    let options = options("RSAAuthentication yes\nProtocol 1\nIdentityFile ${RACTOR_SSH_NOT_SET}", "foo");
    let keywords: Vec<_> = options.remarks().iter().map(|remark| remark.keyword.as_str()).collect();
    assert_eq!(keywords, ["rsaauthentication", "protocol", "identityfile"]);
    assert_eq!(options.identity_files(), Some(Vec::new()), "it is not used");
}

async fn exec_refused() {
    let directory = tempfile::tempdir().unwrap();
    let proof = directory.path().join("proof");
    let text = format!("Match host foo exec \"touch '{}'\"\nPort 5\n", proof.display());
    let config = SshConfig::parse(&text).unwrap();
    let asked = Asked::host("foo").local(local());
    let error = config.resolve_running(&asked).await.unwrap_err();
    assert!(matches!(error, SshConfigError::ExecRefused { .. }), "{error}");
    let other = config.resolve_running(&Asked::host("other").local(local())).await.unwrap();
    assert_eq!(other.port(), 22, "it does not matter for others");
    let skipped = config.resolve_running(&asked.clone().match_exec(MatchExec::Skip)).await.unwrap();
    assert_eq!((skipped.port(), skipped.remarks().len()), (22, 1));
    let run = MatchExec::Run(Duration::from_secs(10));
    assert!(
        config.resolve(&asked.clone().match_exec(run)).is_err(),
        "this one runs nothing, whatever is allowed"
    );
    assert!(!proof.exists());
    assert_eq!(config.resolve_running(&asked.match_exec(run)).await.unwrap().port(), 5);
    assert!(proof.exists());
}

async fn exec_runs() {
    let directory = tempfile::tempdir().unwrap();
    let count = directory.path().join("count");
    let command = format!("echo x >> '{}'", count.display());
    let text = format!("Match exec \"{command}\"\nPort 5\nMatch exec \"{command}\"\nUser u\n");
    let run = Asked::host("foo").local(local()).match_exec(MatchExec::Run(Duration::from_secs(10)));
    let options = SshConfig::parse(&text).unwrap().resolve_running(&run).await.unwrap();
    assert_eq!((options.port(), options.user()), (5, "u"));
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n");
    let slow = SshConfig::parse("Match exec \"sleep 600\"\nPort 5\n").unwrap();
    let run = run.match_exec(MatchExec::Run(Duration::from_millis(50)));
    let error = slow.resolve_running(&run).await.unwrap_err();
    assert!(matches!(error, SshConfigError::Exec { .. }), "{error}");
}

async fn default_port() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let text = format!(
        "Host said\n  Port 5\nHost far\n  ProxyJump near\nMatch exec \"echo %n %p >> '{}'\"\n  User u\n",
        seen.display(),
    );
    let config = SshConfig::parse(&text).unwrap();
    let run = MatchExec::Run(Duration::from_secs(10));
    for (asked, port, wanted) in [
        (Asked::host("other"), 830, "other 830\n"),
        (Asked::host("other").port(6), 6, "other 6\n"),
        (Asked::host("said"), 5, "said 5\n"),
        // Jump hosts are SSH servers like others.
        (Asked::host("far"), 830, "far 830\nnear 22\n"),
    ] {
        let asked = asked.local(local()).match_exec(run).default_port(830);
        let applied = config.client(&asked, &Asking::nobody()).await.unwrap();
        assert_eq!((applied.options.port(), applied.options.user()), (port, "u"), "{asked:?}");
        assert_eq!(std::fs::read_to_string(&seen).unwrap(), wanted);
        std::fs::remove_file(&seen).unwrap();
    }
}

async fn exec_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let (written, file) = (directory.path().join("written"), directory.path().join("pid"));
    let command =
        format!("sleep 600 & echo $! >'{}'; mv '{0}' '{}'; wait", written.display(), file.display());
    let config = SshConfig::parse(&format!("Match exec \"{command}\"\nPort 5\n")).unwrap();
    let run = Asked::host("foo").local(local()).match_exec(MatchExec::Run(Duration::from_secs(600)));
    tokio::select! {
        options = config.resolve_running(&run) => panic!("{options:?}"),
        () = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        } => {}
    }
    let pid = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let gone = async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), gone).await.unwrap();
}

async fn asked_first() {
    let config =
        SshConfig::parse("User file\nPort 1\nIdentityFile b\nMatch user DOM*\nCompression yes").unwrap();
    let asked = Asked::host("h").local(local()).user("DOM\\a b").port(2).option("IdentityFile=a");
    let options = config.resolve(&asked).unwrap();
    assert_eq!((options.user(), options.port()), ("DOM\\a b", 2));
    assert_eq!(options.identity_files().unwrap(), ["a", "b"].map(Into::<std::path::PathBuf>::into));
    assert!(options.settings().any(|setting| setting.to_string() == "compression yes"), "the user matched");
}

async fn no_blocks() {
    for line in ["Host x", "Match all", "Include x", "Port", "Foo 1"] {
        let error = SshConfig::default().resolve(&Asked::host("h").local(local()).option(line)).unwrap_err();
        assert!(error.to_string().starts_with("given option: "), "{error}");
    }
}

async fn no_shell() {
    let config = SshConfig::parse("ProxyCommand nc %h %r").unwrap();
    let fine = config.resolve(&Asked::host("foo").local(local()).user("u"));
    assert_eq!(fine.unwrap().proxy(), Some(Proxy::Command("nc foo u".to_owned())));
    for asked in [
        Asked::host("$(reboot)"),
        Asked::host("-x"),
        Asked::host(""),
        Asked::host("h").user("`reboot`"),
        Asked::host("h").option("HostName=a;b"),
    ] {
        let error = config.resolve(&asked.local(local())).unwrap_err().to_string();
        assert!(error.contains("mean something to a shell"), "{error}");
    }
}

async fn tags() {
    let config = SshConfig::parse("Host a\nTag red\nMatch tagged red,blue\nPort 5\n").unwrap();
    let port = |asked: Asked| config.resolve(&asked.local(local())).unwrap().port();
    assert_eq!(port(Asked::host("a")), 5);
    assert_eq!(port(Asked::host("b")), 22);
    assert_eq!(port(Asked::host("b").tag("blue")), 5);
}

async fn newer() {
    let options =
        options("User %u-%L\nChannelTimeout session=1m\nObscureKeystrokeTiming no\nWarnWeakCrypto no", "h");
    assert_eq!(options.user(), "me-desk");
    let asked = SshConfig::default().resolve(&Asked::host("h").local(local()).user("50%")).unwrap();
    assert_eq!(asked.user(), "50%", "what is asked is taken as it is");
    assert!(options.remarks().is_empty());
}

async fn jumps() {
    let config =
        SshConfig::parse("Host t\nProxyJump ops@%h-gate:2222,b\nHost t-gate\nHostName 192.0.2.1\nUser no")
            .unwrap();
    let Some(Proxy::Jump(jumps)) = config.resolve(&Asked::host("t").local(local())).unwrap().proxy() else {
        panic!("a jump")
    };
    assert_eq!(jumps.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ops@t-gate:2222", "b"]);
    let gate = config.resolve(&jumps[0].asked().local(local())).unwrap();
    assert_eq!((gate.host(), gate.user(), gate.port()), ("192.0.2.1", "ops", 2222));
}

async fn missing() {
    let directory = tempfile::tempdir().unwrap();
    let named = SshConfig::load_file(directory.path().join("no")).await;
    assert!(matches!(named, Err(SshConfigError::Unreadable { .. })), "{named:?}");
    let file = directory.path().join("config");
    std::fs::write(&file, format!("Include {}/no\nPort 3", directory.path().display())).unwrap();
    let options = SshConfig::load_file(file).await.unwrap().resolve(&Asked::host("h")).unwrap();
    assert_eq!(options.port(), 3);
}

async fn round() {
    let asked = |host: &str| Asked::host(host).local(local());
    let star = SshConfig::parse("Host *\n  ProxyJump gate\n").unwrap();
    let error = star.client(&asked("box"), &Asking::nobody()).await.unwrap_err().to_string();
    assert!(
        error.contains("text:2: proxyjump leads over gate") && error.contains("ProxyJump none"),
        "{error}"
    );
    let ring = SshConfig::parse("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n").unwrap();
    assert!(ring.client(&asked("a"), &Asking::nobody()).await.is_err());
    let spared = SshConfig::parse("Host * !gate\n  ProxyJump gate\n").unwrap();
    assert_eq!(spared.client(&asked("box"), &Asking::nobody()).await.unwrap().hops.len(), 1);
}

async fn hops() {
    let text = "Host gate\n  User g\n  Port 99\n  LocalForward 1 a:1\n  AddressFamily inet\nHost box\n  ProxyJump x@gate:77,inner\n  \
                AddressFamily inet6\nHost inner\n  ProxyCommand nc %h %p\n  Unheard of\n";
    let asked = Asked::host("box").local(local()).option("User=me").allow_unknown();
    let applied = SshConfig::parse(text).unwrap().client(&asked, &Asking::nobody()).await.unwrap();
    let [gate, inner] = applied.hops.as_slice() else { panic!("{:?}", applied.hops) };
    assert_eq!(
        (gate.options.user(), gate.options.port()),
        ("x", 77),
        "what is said with the jump comes first"
    );
    assert_eq!(inner.options.user(), "me", "the local user: the target's is its own");
    let notes = applied.notes();
    let has = |start: &str, end: &str| notes.iter().any(|note| note.starts_with(start) && note.contains(end));
    assert!(has("jump host gate: ", "localforward"), "{notes:?}");
    assert!(has("jump host inner: ", "unheard"), "{notes:?}");
    assert!(has("text:8: addressfamily", "made by the jump host"), "{notes:?}");
    assert!(!has("jump host gate: ", "addressfamily"), "{notes:?}");
    assert!(has("jump host inner: text:10: proxycommand", "named before it"), "{notes:?}");
    assert_eq!(applied.config.check(), Ok(()));
}
