//! Reading lines, and what they say of plain keys.

use proptest::prelude::*;
use ractor_ssh::host_key::{HostKeyError, Marker, Verdict};

use crate::support::{check, ecdsa, ed25519, found, garbage_key, parse, rsa, text};

#[test]
fn blanks_comments_and_line_ends_are_no_entries_and_no_problems() {
    let key = text(&ed25519());
    let known =
        parse(&format!("\n# comment\n  \t# comment\n\r\n\ta\t{key}\tcomment # more\r\n\n   b   {key}"));
    assert!(known.problems().is_empty(), "{:?}", known.problems());
    assert_eq!(known.entries().iter().map(|e| e.at().line).collect::<Vec<_>>(), [5, 7]);
}

#[test]
fn markers_are_read() {
    let key = text(&ed25519());
    let known = parse(&format!("a {key}\n@cert-authority a {key}\n@revoked\ta {key}"));
    let markers: Vec<_> = known.entries().iter().map(|e| e.marker()).collect();
    assert_eq!(markers, [Marker::Plain, Marker::CertAuthority, Marker::Revoked]);
}

#[test]
fn a_comment_need_not_be_utf8() {
    let mut content = format!("a {} caf", text(&ed25519())).into_bytes();
    content.extend([0xe9, b'\n']);
    assert_eq!(ractor_ssh::host_key::KnownHosts::parse("f", &content).entries().len(), 1);
}

#[test]
fn a_malformed_line_names_file_line_fault_and_way_out_and_the_others_count() {
    let key = text(&ed25519());
    let certificate_type = key.replacen("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", 1);
    let table = [
        ("host", "the key type is missing"),
        ("host ssh-ed25519", "the key is missing"),
        ("host ssh-ed25519 # comment", "the key is missing"),
        ("host ssh-ed25519 AAAA", "key cannot be read"),
        (&format!("host {}", garbage_key()), "key cannot be read"),
        (&format!("host {}", key.replacen("ssh-ed25519", "ssh-rsa", 1)), "key cannot be read"),
        (&format!("host {}", key.replacen("ssh-ed25519", "ssh-new", 1)), "key cannot be read"),
        (&format!("host {certificate_type}"), "certificate cannot be read"),
        ("host 1024 35 123456789", "key cannot be read"),
        (&format!("@unknown host {key}"), "unknown marker"),
        (&format!("@cert-authority @cert-authority host {key}"), "more than one marker"),
        (&format!("|1|abc|def {key}"), "salt"),
        (&format!("|3|abc|def {key}"), "|1|salt|hash"),
        (&format!(", {key}"), "no host name"),
    ];
    for (line, fault) in table {
        let known = parse(&format!("a {key}\n{line}\nb {key}\n"));
        assert_eq!(known.entries().len(), 2, "{line}");
        let problem = known.problems().first().unwrap_or_else(|| panic!("{line} is read"));
        let shown = problem.to_string();
        assert!(shown.starts_with("known_hosts:2: ") && shown.contains(fault), "{line}: {shown}");
        assert!(shown.contains("correct or remove the line"), "{shown}");
        assert!(!problem.is_revocation());
    }
}

#[test]
fn a_revocation_that_cannot_be_read_refuses_the_hosts_it_names() {
    let key = ed25519();
    let plain = text(&key);
    let table = [
        ("@revoked a ssh-ed25519 AAAA".to_owned(), true, false),
        ("@revoked a".to_owned(), true, false),
        ("@revoked *,!b,![b]:* ssh-ed25519 AAAA".to_owned(), true, false),
        ("@revoked".to_owned(), true, true),
        ("@Revoked b ssh-ed25519 AAAA".to_owned(), true, true),
        (format!("@revoked @cert-authority c {plain}"), true, true),
        (format!("@revoked |1|x|y {plain}"), true, true),
        (format!("@cert-authority |1|x|y {plain}"), false, false),
    ];
    for (line, refuses_a, refuses_b) in table {
        let known = parse(&format!("* {plain}\n{line}"));
        for (host, refuses) in [("a", refuses_a), ("b", refuses_b)] {
            for port in [22, 2222] {
                let result = known.check(host, port, &key.clone().into(), 0);
                let malformed =
                    matches!(&result, Err(HostKeyError::Malformed(p)) if p.at.line == 2 && p.is_revocation());
                assert_eq!(malformed, refuses, "{line} for {host}:{port}: {result:?}");
            }
        }
    }
}

#[test]
fn plain_keys_are_known_new_or_changed() {
    let (mine, other, third) = (ed25519(), ecdsa(), ed25519());
    let (m, o) = (text(&mine), text(&other));
    let verdict = |content: String, host: &str, port| match check(&content, host, port, mine.clone()) {
        Verdict::Known(at) => format!("known {}", at.line),
        Verdict::New => "new".to_owned(),
        Verdict::Changed(keys) => format!("changed {:?}", keys.iter().map(|k| k.at.line).collect::<Vec<_>>()),
        other => format!("{other:?}"),
    };
    assert_eq!(verdict(format!("a {m}"), "a", 22), "known 1");
    assert_eq!(verdict(format!("a {m}"), "A", 22), "known 1");
    assert_eq!(verdict(format!("A.Example.COM {m}"), "a.example.com", 22), "known 1");
    assert_eq!(verdict(format!("a {m}"), "b", 22), "new");
    assert_eq!(verdict(format!("a {o}\na {m}"), "a", 22), "known 2", "several keys for a host");
    assert_eq!(verdict(format!("a {o}\nb {m}"), "a", 22), "changed [1]", "keys of another type count");
    assert_eq!(verdict(format!("a {o}\n* {}", text(&third)), "a", 22), "changed [1, 2]");
    assert_eq!(verdict(format!("*,!a {m}"), "a", 22), "new");
    assert_eq!(verdict(format!("[a]:2222 {m}"), "a", 2222), "known 1");
    assert_eq!(verdict(format!("[a]:2222 {m}"), "a", 22), "new");
    assert_eq!(verdict(format!("a {m}"), "a", 2222), "known 1", "a line without port will do");
    assert_eq!(verdict(format!("a {o}"), "a", 2222), "new", "but its key says nothing of other ports");
    assert_eq!(verdict(format!("[a]:2222 {o}\na {m}"), "a", 2222), "changed [1]");
    assert_eq!(verdict(format!("::1 {m}"), "::1", 22), "known 1");
    assert_eq!(verdict(format!("[::1]:2222 {m}"), "[::1]", 2222), "known 1");
}

#[test]
fn a_revoked_key_is_refused_whatever_else_is_said() {
    let key = ed25519();
    let k = text(&key);
    for (content, line) in [
        (format!("a {k}\n@revoked a {k}"), 2),
        (format!("@revoked * {k}\n[a]:2222 {k}"), 1),
        (format!("@revoked a {k}\n[a]:2222 {k}"), 1),
        (format!("@revoked [a]:2222 {k}\na {k}"), 1),
    ] {
        assert!(
            matches!(check(&content, "a", 2222, key.clone()), Verdict::Revoked(at) if at.line == line)
                || matches!(check(&content, "a", 22, key.clone()), Verdict::Revoked(at) if at.line == line),
            "{content}"
        );
    }
    let elsewhere = format!("a {k}\n@revoked b {k}\n@revoked a {}", text(&ed25519()));
    assert!(matches!(check(&elsewhere, "a", 22, key), Verdict::Known(_)));
}

#[test]
fn keys_of_every_type_are_read() {
    for key in [ed25519(), ecdsa(), rsa(256)] {
        assert!(matches!(check(&format!("a {}", text(&key)), "a", 22, key), Verdict::Known(_)));
    }
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    let k = text(&ed25519());
    let word = prop_oneof![
        Just("@revoked".to_owned()),
        Just("@cert-authority".to_owned()),
        Just("@".to_owned()),
        Just("|1|".to_owned()),
        Just("|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM=".to_owned()),
        Just("ssh-ed25519-cert-v01@openssh.com".to_owned()),
        Just(k.clone()),
        Just(k.split_at(40).0.to_owned()),
        "[ \t\r\n#!,*?\\[\\]:|a-c0-9=+/-]{0,12}",
    ];
    let lines = proptest::collection::vec(word, 0..40).prop_map(|words| words.join(" ").into_bytes());
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..400), lines]
}

proptest! {
    #[test]
    fn any_content_is_read_without_panic_and_each_line_is_counted_once(content in anything(), name in "[a-c.:*]{1,4}") {
        let known = ractor_ssh::host_key::KnownHosts::parse("f", &content);
        let lines = content.split(|b| *b == b'\n').count();
        prop_assert!(known.entries().len() + known.problems().len() <= lines);
        let _ = known.find(&name).count();
        let _ = known.check(&name, 22, &ed25519().into(), 0);
    }

    #[test]
    fn a_pattern_list_and_a_host_field_with_one_name_agree(name in "[a-zA-Z0-9.-]{1,30}", other in "[a-z0-9.-]{1,30}") {
        let known = parse(&format!("{name} {}", text(&ed25519())));
        prop_assert_eq!(found(&known, &name), [1]);
        prop_assert_eq!(found(&known, &other).is_empty(), !other.eq_ignore_ascii_case(&name));
    }
}
