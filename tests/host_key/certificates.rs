//! Host certificates made by `ssh-keygen -s`.

use ractor_ssh::host_key::{
    AcceptedBy, CertificateProblem, HostKeyError, HostKeyPolicy, KnownHostsFiles, PresentedKey, Verdict,
};
use ractor_ssh::wire::keys::Certificate;

use crate::support::{check, ed25519, have, key_pair, parse, sign, text};

/// A time within the validity of all the certificates that are valid.
const IN_2027: u64 = 1_800_000_000;

struct Lab {
    dir: tempfile::TempDir,
    ca: String,
    key: String,
}

impl Lab {
    fn new() -> Option<Self> {
        if !have("ssh-keygen") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let ca = text(&key_pair(dir.path(), "ca", "ed25519"));
        let key = text(&key_pair(dir.path(), "host", "ed25519"));
        Some(Self { dir, ca, key })
    }

    fn sign(&self, name: &str, options: &[&str]) -> Certificate {
        sign(self.dir.path(), "ca", "host", name, options)
    }

    fn authority(&self) -> String {
        format!("@cert-authority *.example.com {}\n", self.ca)
    }
}

fn why(content: &str, host: &str, certificate: &Certificate, now: u64) -> Result<(), CertificateProblem> {
    match parse(content).check(host, 22, &PresentedKey::from(certificate.clone()), now).unwrap() {
        Verdict::Certified(at) => {
            assert_eq!(at.line, 1);
            Ok(())
        }
        Verdict::CertificateInvalid { at, why } => {
            assert_eq!(at.line, 1);
            Err(why)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_holds_within_its_principals() {
    let Some(lab) = Lab::new() else { return };
    let line = lab.authority();
    let named = lab.sign("named", &["-h", "-n", "a.example.com,b.example.com"]);
    assert_eq!(why(&line, "a.example.com", &named, IN_2027), Ok(()));
    assert_eq!(why(&line, "B.Example.com", &named, IN_2027), Ok(()));
    assert_eq!(
        why(&line, "c.example.com", &named, IN_2027),
        Err(CertificateProblem::WrongPrincipal(vec!["a.example.com".into(), "b.example.com".into()]))
    );
    let wild = lab.sign("wild", &["-h", "-n", "*.example.com"]);
    assert_eq!(why(&line, "c.example.com", &wild, IN_2027), Ok(()));
    let any = lab.sign("any", &["-h"]);
    assert_eq!(why(&line, "c.example.com", &any, IN_2027), Err(CertificateProblem::NoPrincipals));
}

#[test]
fn a_certificate_holds_from_its_first_second_to_before_its_last() {
    let Some(lab) = Lab::new() else { return };
    let certificate =
        lab.sign("dated", &["-h", "-n", "a.example.com", "-V", "20250101000000:20260101000000"]);
    let (from, to) = (certificate.valid_after(), certificate.valid_before());
    assert!(from < to);
    let at = |now| why(&lab.authority(), "a.example.com", &certificate, now);
    assert_eq!(at(from - 1), Err(CertificateProblem::NotYetValid(from)));
    assert_eq!(at(from), Ok(()));
    assert_eq!(at(to - 1), Ok(()));
    assert_eq!(at(to), Err(CertificateProblem::Expired(to)));
}

#[test]
fn user_certificates_critical_options_and_wrong_signatures_are_refused() {
    let Some(lab) = Lab::new() else { return };
    let line = lab.authority();
    let user = lab.sign("user", &["-n", "a.example.com"]);
    assert_eq!(why(&line, "a.example.com", &user, IN_2027), Err(CertificateProblem::NotForHosts));
    let critical = lab.sign("critical", &["-h", "-n", "a.example.com", "-O", "critical:new@example.com=1"]);
    assert_eq!(
        why(&line, "a.example.com", &critical, IN_2027),
        Err(CertificateProblem::CriticalOptions(vec!["new@example.com".into()]))
    );
    let mut forged = lab.sign("forged", &["-h", "-n", "a.example.com"]).to_bytes().unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let forged = Certificate::from_bytes(&forged).unwrap();
    assert_eq!(why(&line, "a.example.com", &forged, IN_2027), Err(CertificateProblem::BadSignature));
}

#[test]
fn a_changed_principal_breaks_the_signature() {
    let Some(lab) = Lab::new() else { return };
    let bytes = lab.sign("short", &["-h", "-n", "a.example.com"]).to_bytes().unwrap();
    let at = bytes.windows(13).position(|window| window == b"a.example.com").unwrap();
    let mut forged = bytes;
    forged[at] = b'b';
    let forged = Certificate::from_bytes(&forged).unwrap();
    assert_eq!(
        why(&lab.authority(), "b.example.com", &forged, IN_2027),
        Err(CertificateProblem::BadSignature)
    );
}

#[test]
fn authorities_of_every_type_sign_but_not_with_sha1() {
    let Some(lab) = Lab::new() else { return };
    for (kind, algorithm) in
        [("ecdsa", ""), ("rsa", "rsa-sha2-256"), ("rsa", "rsa-sha2-512"), ("rsa", "ssh-rsa")]
    {
        let name = format!("{kind}{algorithm}");
        let ca = text(&key_pair(lab.dir.path(), &name, kind));
        let line = format!("@cert-authority *.example.com {ca}\n");
        let mut options = vec!["-h", "-n", "a.example.com"];
        if !algorithm.is_empty() {
            options.extend(["-t", algorithm]);
        }
        let certificate = sign(lab.dir.path(), &name, "host", &format!("by-{name}"), &options);
        let result = why(&line, "a.example.com", &certificate, IN_2027);
        if algorithm == "ssh-rsa" {
            assert_eq!(result, Err(CertificateProblem::SignatureAlgorithm("ssh-rsa".into())));
        } else {
            assert_eq!(result, Ok(()), "{name}");
        }
    }
}

#[test]
fn a_host_with_an_authority_is_never_judged_by_the_key_inside_a_bad_certificate() {
    let Some(lab) = Lab::new() else { return };
    let certificate = lab.sign("expired", &["-h", "-n", "a.example.com", "-V", "20200101:20210101"]);
    let lines = format!("{}a.example.com {}\n", lab.authority(), lab.key);
    assert!(matches!(
        why(&lines, "a.example.com", &certificate, IN_2027),
        Err(CertificateProblem::Expired(_))
    ));
    key_pair(lab.dir.path(), "ca2", "ed25519");
    let foreign = sign(lab.dir.path(), "ca2", "host", "foreign", &["-h", "-n", "a.example.com"]);
    assert!(matches!(
        why(&lines, "a.example.com", &foreign, IN_2027),
        Err(CertificateProblem::UnknownAuthority { .. })
    ));
}

#[test]
fn a_host_without_authority_is_judged_by_the_key_inside_the_certificate() {
    let Some(lab) = Lab::new() else { return };
    let certificate = lab.sign("good", &["-h", "-n", "a.example.com"]);
    let elsewhere = format!("@cert-authority *.example.org {}\n", lab.ca);
    let known = format!("{elsewhere}a.example.com {}\n", lab.key);
    let changed = format!("{elsewhere}a.example.com {}\n", text(&ed25519()));
    assert!(
        matches!(check(&known, "a.example.com", 22, certificate.clone()), Verdict::Known(at) if at.line == 2)
    );
    assert!(matches!(check(&changed, "a.example.com", 22, certificate.clone()), Verdict::Changed(_)));
    assert_eq!(check(&elsewhere, "a.example.com", 22, certificate), Verdict::New);
}

#[test]
fn an_authority_line_without_port_serves_other_ports() {
    let Some(lab) = Lab::new() else { return };
    let good = lab.sign("good", &["-h", "-n", "a.example.com"]);
    let bad = lab.sign("bad", &["-h", "-n", "b.example.com"]);
    let line = lab.authority();
    assert!(matches!(check(&line, "a.example.com", 2222, good.clone()), Verdict::Certified(_)));
    assert!(matches!(check(&line, "a.example.com", 2222, bad.clone()), Verdict::CertificateInvalid { .. }));
    let with_port = format!("{line}[a.example.com]:2222 {}\n", lab.key);
    assert!(matches!(check(&with_port, "a.example.com", 2222, bad), Verdict::Known(at) if at.line == 2));
    let changed = format!("{line}[a.example.com]:2222 {}\n", text(&ed25519()));
    assert!(matches!(check(&changed, "a.example.com", 2222, good), Verdict::Certified(at) if at.line == 1));
}

#[test]
fn revoking_the_key_inside_or_the_authority_or_a_certificate_refuses() {
    let Some(lab) = Lab::new() else { return };
    let certificate = lab.sign("good", &["-h", "-n", "a.example.com"]);
    let as_line = certificate.to_openssh().unwrap();
    for revoked in [&lab.key, &lab.ca, &as_line] {
        let lines = format!("{}@revoked * {revoked}\n", lab.authority());
        let verdict = check(&lines, "a.example.com", 22, certificate.clone());
        assert!(matches!(verdict, Verdict::Revoked(at) if at.line == 2), "{revoked}");
    }
}

#[test]
fn an_authority_does_not_vouch_for_plain_keys_and_a_host_key_signs_nothing() {
    let Some(lab) = Lab::new() else { return };
    let certificate = lab.sign("good", &["-h", "-n", "a.example.com"]);
    let ca = PresentedKey::from(ractor_ssh::wire::keys::PublicKey::from_openssh(&lab.ca).unwrap());
    assert_eq!(check(&lab.authority(), "a.example.com", 22, ca), Verdict::New);
    let plain_ca = format!("a.example.com {}\n", lab.ca);
    assert!(matches!(check(&plain_ca, "a.example.com", 22, certificate), Verdict::Changed(_)));
}

#[tokio::test]
async fn policies_accept_certificates_and_name_what_is_wrong_with_them() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.dir.path().join("known_hosts");
    std::fs::write(&path, lab.authority()).unwrap();
    let good = lab.sign("good", &["-h", "-n", "a.example.com"]);
    for policy in [
        HostKeyPolicy::strict(KnownHostsFiles::new([&path])),
        HostKeyPolicy::accept_new(KnownHostsFiles::new([&path])),
    ] {
        let prepared = policy.prepare("a.example.com", 22).await.unwrap();
        assert!(!prepared.algorithms().certificates.is_empty());
        assert!(matches!(prepared.decide(good.clone()).await.unwrap().by, AcceptedBy::Certified(_)));
        let error =
            policy.prepare("b.example.com", 22).await.unwrap().decide(good.clone()).await.unwrap_err();
        assert!(matches!(error, HostKeyError::CertificateInvalid { .. }), "{error:?}");
        let shown = error.to_string();
        assert!(
            shown.contains(&format!("{}:1", path.display())) && shown.contains("a.example.com"),
            "{shown}"
        );
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lab.authority(), "nothing is written");
}

#[tokio::test]
async fn accept_new_writes_the_key_inside_a_certificate_nobody_vouches_for() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.dir.path().join("known_hosts");
    let good = lab.sign("good", &["-h", "-n", "a.example.com"]);
    let policy = HostKeyPolicy::accept_new(KnownHostsFiles::new([&path]));
    policy.prepare("a.example.com", 22).await.unwrap().decide(good.clone()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("a.example.com {}\n", lab.key));
    let pinned = HostKeyPolicy::pinned([good.public_key().fingerprint(Default::default())]);
    pinned.prepare("a.example.com", 22).await.unwrap().decide(good).await.unwrap();
}
