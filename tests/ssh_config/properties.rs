//! No text, whatever it says, does worse than to be refused.

use libtest_mimic::{Failed, Trial};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ractor_ssh::ssh_config::{Asked, Asking, Local, Place, SshConfig};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("properties::no_text_panics", || holds(&any_text(), |text| whole(&text))),
        Trial::test("properties::no_line_that_is_nearly_right_panics", || {
            holds(&near_lines(), |text| whole(&text))
        }),
        Trial::test("properties::no_given_option_panics", || holds(&any_text(), |line| given(&line))),
        Trial::test("properties::the_first_value_wins", || holds(&blocks(), |blocks| first(&blocks))),
    ]
}

fn holds<S: Strategy>(
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) -> Result<(), Failed> {
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    runner.run(strategy, test).map_err(|error| Failed::from(error.to_string()))
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ -~\\n\\t]{0,80}"]
}

/// A keyword that there is, and words that mean something somewhere.
fn near_lines() -> impl Strategy<Value = String> {
    const KEYWORDS: &[&str] = &[
        "Host",
        "Match",
        "Port",
        "HostName",
        "User",
        "IdentityFile",
        "ProxyJump",
        "ProxyCommand",
        "LocalForward",
        "RemoteForward",
        "DynamicForward",
        "RekeyLimit",
        "ConnectTimeout",
        "Ciphers",
        "HostKeyAlgorithms",
        "SendEnv",
        "SetEnv",
        "UserKnownHostsFile",
        "ControlPath",
        "IdentityAgent",
        "RemoteCommand",
        "IPQoS",
        "EscapeChar",
        "IgnoreUnknown",
        "StreamLocalBindMask",
        "ForwardAgent",
        "Include",
        "Tag",
        "BatchMode",
        "ServerAliveCountMax",
    ];
    const PARTS: &[&str] = &[
        "%h",
        "%",
        "%%",
        "${HOME}",
        "${",
        "~",
        "~x",
        "a",
        "*",
        "!",
        "?",
        "[",
        "]",
        "[::1]:1",
        ":",
        "1",
        "0",
        "99999999999999999999",
        "1h30m",
        "1.5G",
        "none",
        "yes",
        "no",
        ",",
        "\"",
        "'",
        "\\",
        "=",
        "#",
        " ",
        "/",
        "host",
        "user",
        "all",
        "final",
        "exec",
        "@",
        "ssh://",
        "é",
        "\u{0}",
        "-",
        "+",
        "^",
        "\t",
    ];
    let line = (prop::sample::select(KEYWORDS), prop::collection::vec(prop::sample::select(PARTS), 0..8))
        .prop_map(|(keyword, parts)| format!("{keyword} {}", parts.concat()));
    prop::collection::vec(line, 1..5).prop_map(|lines| lines.join("\n"))
}

fn local() -> Local {
    Local::new("me", 1000, "/home/me", "desk.example.org")
}

fn whole(text: &str) -> Result<(), TestCaseError> {
    let lines = text.split('\n').count();
    match SshConfig::parse(text) {
        Err(error) => {
            for problem in error.problems() {
                let Place::Line { line, .. } = problem.at else { return Err(TestCaseError::fail("no line")) };
                prop_assert!((1..=lines).contains(&line), "{problem}");
                prop_assert!(!problem.problem.is_empty() && !problem.fix.is_empty(), "{problem}");
            }
        }
        Ok(config) => {
            if let Ok(options) = config.resolve(&Asked::host("foo").local(local()).allow_unknown()) {
                prop_assert!(options.settings().all(|setting| !setting.keyword.is_empty()));
                if let Ok(applied) = options.client_config(&Asking::nobody()) {
                    let _ = applied.config.check();
                }
            }
        }
    }
    Ok(())
}

fn given(line: &str) -> Result<(), TestCaseError> {
    let _ = SshConfig::default().resolve(&Asked::host(line).local(local()).option(line).user(line));
    Ok(())
}

fn blocks() -> impl Strategy<Value = Vec<(bool, Option<u16>, Option<u16>)>> {
    prop::collection::vec(
        (any::<bool>(), prop::option::of(1..=u16::MAX), prop::option::of(0..1000_u16)),
        0..6,
    )
}

fn first(blocks: &[(bool, Option<u16>, Option<u16>)]) -> Result<(), TestCaseError> {
    let mut text = String::new();
    for (ours, port, file) in blocks {
        text.push_str(if *ours { "Host foo\n" } else { "Host bar\n" });
        port.iter().for_each(|port| text.push_str(&format!("Port {port}\n")));
        file.iter().for_each(|file| text.push_str(&format!("IdentityFile /{file}\n")));
    }
    let config = SshConfig::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let options = config
        .resolve(&Asked::host("foo").local(local()))
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let holding = || blocks.iter().filter(|(ours, ..)| *ours);
    prop_assert_eq!(options.port(), holding().find_map(|(_, port, _)| *port).unwrap_or(22));
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    for file in holding().filter_map(|(.., file)| *file).map(|file| format!("/{file}").into()) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    prop_assert_eq!(options.identity_files().unwrap_or_default(), files);
    Ok(())
}
