use russh::keys::ssh_key::certificate::Builder;

use super::*;
use crate::wire::keys::{PrivateKey, generate_ed25519};

const NOW: u64 = 1_767_225_600;

/// A certificate for alice, valid for an hour around now.
fn certificate(change: impl FnOnce(&mut Builder)) -> Certificate {
    let (subject, authority) = (generate_ed25519(), generate_ed25519());
    signed(&subject, &authority, change)
}

fn signed(subject: &PrivateKey, authority: &PrivateKey, change: impl FnOnce(&mut Builder)) -> Certificate {
    let nonce = vec![7; 16];
    let mut builder = Builder::new(nonce, subject.public_key(), NOW - 1800, NOW + 1800).unwrap();
    builder.key_id("test").unwrap().valid_principal("alice").unwrap();
    change(&mut builder);
    builder.sign(authority).unwrap()
}

fn judge_at(certificate: &Certificate, now: u64) -> Result<Permissions, CertificateRefusal> {
    check(certificate, &["alice".to_owned()], Some("10.0.0.1".parse().unwrap()), now)
}

fn judge(change: impl FnOnce(&mut Builder)) -> Result<Permissions, CertificateRefusal> {
    judge_at(&certificate(change), NOW)
}

#[test]
fn a_good_certificate_permits_only_what_its_extensions_name() {
    assert_eq!(judge(|_| ()), Ok(Permissions::none()));
    let all = judge(|builder| {
        for name in ["pty", "port-forwarding", "agent-forwarding", "X11-forwarding", "user-rc"] {
            builder.extension(format!("permit-{name}"), "").unwrap();
        }
        builder.extension("unknown@example.com", "").unwrap();
    });
    assert_eq!(all, Ok(Permissions::all()));
}

#[test]
fn its_command_is_forced() {
    let permissions = judge(|builder| {
        builder.critical_option("force-command", "backup --now").unwrap();
    });
    assert_eq!(permissions.unwrap().force_command.as_deref(), Some(&b"backup --now"[..]));
}

#[test]
fn it_holds_from_its_first_second_up_to_its_last() {
    let good = certificate(|_| ());
    assert!(judge_at(&good, NOW - 1800).is_ok() && judge_at(&good, NOW + 1799).is_ok());
    assert_eq!(judge_at(&good, NOW - 1801), Err(CertificateRefusal::NotYetValid(NOW - 1800)));
    assert_eq!(judge_at(&good, NOW + 1800), Err(CertificateRefusal::Expired(NOW + 1800)));
}

#[test]
fn host_certificates_and_unknown_critical_options_are_refused() {
    let host = judge(|builder| {
        builder.cert_type(CertType::Host).unwrap();
    });
    assert_eq!(host, Err(CertificateRefusal::NotForUsers));
    for name in ["verify-required", "no-such@example.com"] {
        let refused = judge(|builder| {
            builder.critical_option(name, "").unwrap();
        });
        assert_eq!(refused, Err(CertificateRefusal::CriticalOptions(vec![name.to_owned()])));
    }
}

#[test]
fn the_source_address_is_held_against_the_peer() {
    let with = |list: &'static str| {
        certificate(move |builder| {
            builder.critical_option("source-address", list).unwrap();
        })
    };
    assert!(judge_at(&with("192.168.0.0/16,10.0.0.0/8"), NOW).is_ok());
    let elsewhere = with("10.0.0.2");
    assert_eq!(judge_at(&elsewhere, NOW), Err(CertificateRefusal::WrongAddress("10.0.0.2".to_owned())));
    for list in ["10.0.0.*", "10.0.0.1/8", "!10.0.0.1", ""] {
        let refused = judge_at(&with(list), NOW);
        assert!(matches!(refused, Err(CertificateRefusal::BadSourceAddress(_))), "{list}: {refused:?}");
    }
    let nowhere = check(&with("0.0.0.0/0"), &["alice".to_owned()], None, NOW);
    assert!(matches!(nowhere, Err(CertificateRefusal::WrongAddress(_))), "the peer has no address");
}

#[test]
fn a_signature_of_another_authority_does_not_hold() {
    let (subject, one, other) = (generate_ed25519(), generate_ed25519(), generate_ed25519());
    let keys = |key: &PrivateKey| key.public_key().to_bytes().unwrap();
    let bytes = signed(&subject, &one, |_| ()).to_bytes().unwrap();
    let (from, to) = (keys(&one), keys(&other));
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    let forged = [&bytes[..at], &to, &bytes[at + from.len()..]].concat();
    let forged = Certificate::from_bytes(&forged).unwrap();
    assert_eq!(*forged.signature_key(), *other.public_key().key_data());
    assert_eq!(judge_at(&forged, NOW), Err(CertificateRefusal::BadSignature));
}
