//! Keys, files and OpenSSH's programs for these tests.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ractor_ssh::host_key::{KnownHosts, PresentedKey, Verdict};
use ractor_ssh::wire::keys::{Algorithm, Certificate, PrivateKey, PublicKey};

pub(crate) fn ed25519() -> PublicKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap().public_key().clone()
}

pub(crate) fn ecdsa() -> PublicKey {
    let algorithm = Algorithm::new("ecdsa-sha2-nistp256").unwrap();
    PrivateKey::random(&mut rand::rng(), algorithm).unwrap().public_key().clone()
}

/// A public RSA key of that size; nobody has its private part.
pub(crate) fn rsa(bytes: usize) -> PublicKey {
    let mut blob = Vec::new();
    let mut modulus = vec![0];
    modulus.extend((0..bytes).map(|_| rand::random::<u8>() | 0x81));
    for part in [b"ssh-rsa".as_slice(), &[1, 0, 1], &modulus] {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    PublicKey::from_bytes(&blob).unwrap()
}

pub(crate) fn text(key: &PublicKey) -> String {
    let text = key.to_openssh().unwrap();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

pub(crate) fn parse(content: &str) -> KnownHosts {
    KnownHosts::parse("known_hosts", content.as_bytes())
}

pub(crate) fn check(content: &str, host: &str, port: u16, key: impl Into<PresentedKey>) -> Verdict {
    parse(content).check(host, port, &key.into(), 1_800_000_000).unwrap()
}

/// The line numbers found for a name.
pub(crate) fn found(known: &KnownHosts, name: &str) -> Vec<usize> {
    known.find(name).map(|entry| entry.at().line).collect()
}

/// Whether a program of OpenSSH is here; without it the test says so and passes, unless
/// `REQUIRE_PEERS=1`.
pub(crate) fn have(program: &str) -> bool {
    let runs = Command::new(program).arg("-?").stdin(Stdio::null()).output().is_ok();
    if !runs {
        assert_ne!(std::env::var("REQUIRE_PEERS").as_deref(), Ok("1"), "{program} is required and missing");
        eprintln!("skipped: {program} is not installed");
    }
    runs
}

pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs `ssh-keygen`, which must succeed.
pub(crate) fn keygen(args: &[&str]) {
    let output = run("ssh-keygen", args);
    assert!(output.status.success(), "ssh-keygen {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a key pair `name` and `name.pub`.
pub(crate) fn key_pair(dir: &Path, name: &str, kind: &str) -> PublicKey {
    let file = dir.join(name);
    keygen(&["-q", "-t", kind, "-N", "", "-C", "", "-f", file.to_str().unwrap()]);
    PublicKey::from_openssh(&std::fs::read_to_string(file.with_extension("pub")).unwrap()).unwrap()
}

/// Signs `key.pub` with `authority`, and keeps the certificate as `name`.
pub(crate) fn sign(dir: &Path, authority: &str, key: &str, name: &str, options: &[&str]) -> Certificate {
    let (ca, copy) = (dir.join(authority), dir.join(format!("{name}.pub")));
    std::fs::copy(dir.join(format!("{key}.pub")), &copy).unwrap();
    let mut args = vec!["-q", "-s", ca.to_str().unwrap(), "-I", name];
    args.extend(options);
    args.push(copy.to_str().unwrap());
    keygen(&args);
    let made = dir.join(format!("{name}-cert.pub"));
    Certificate::from_openssh(&std::fs::read_to_string(made).unwrap()).unwrap()
}

/// A wrong key of the type, as text.
pub(crate) fn garbage_key() -> String {
    format!("ssh-ed25519 {}", STANDARD.encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20short"))
}
