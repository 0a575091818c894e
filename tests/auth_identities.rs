//! Key files of every format, made by the tools that people make them with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ractor_ssh::auth::{Identity, IdentityError, IdentityFile, Passphrase, PassphraseRequest};
use ractor_ssh::wire::keys::PublicKey;
use secrecy::SecretString;
use tempfile::TempDir;

const PASSPHRASE: &str = "open sesame";
const TYPES: [(&str, &str); 5] =
    [("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("ed25519", "256")];

/// Whether a tool is there; says so if not, and fails if peers are required.
fn have(tool: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()));
    if !found {
        assert!(std::env::var_os("REQUIRE_PEERS").is_none_or(|v| v != "1"), "{tool} is not installed");
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a key pair; `format` is what `-m` takes.
fn keygen(dir: &Path, kind: (&str, &str), format: Option<&str>, passphrase: &str) -> PathBuf {
    let path = dir.join(format!("{}-{}-{}-{}", kind.0, kind.1, format.unwrap_or("new"), passphrase.len()));
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", kind.0, "-b", kind.1, "-C", "a comment", "-N", passphrase, "-f"]).arg(&path);
    if let Some(format) = format {
        command.args(["-m", format]);
    }
    run(&mut command);
    path
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn public(path: &Path) -> PublicKey {
    let text = std::fs::read_to_string(with_suffix(path, ".pub")).unwrap();
    PublicKey::from_openssh(&text).unwrap()
}

fn secret(text: &str) -> Passphrase {
    SecretString::from(text).into()
}

/// Loads with the right passphrase, and fails as it should with none and with a wrong one.
async fn check(path: &Path, expected: &PublicKey, encrypted: bool) {
    let name = path.display();
    let identity = Identity::load(path, secret(PASSPHRASE)).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(identity.public_key().key_data(), expected.key_data(), "{name}");
    if !encrypted {
        Identity::load(path, Passphrase::none()).await.unwrap();
        return;
    }
    let error = Identity::load(path, Passphrase::none()).await.unwrap_err();
    assert!(matches!(error, IdentityError::PassphraseNeeded { .. }), "{error}");
    let error = Identity::load(path, secret("wrong")).await.unwrap_err();
    assert!(matches!(error, IdentityError::WrongPassphrase { .. }), "{error}");
    assert!(error.to_string().starts_with(&name.to_string()), "{error}");
}

#[tokio::test]
async fn files_of_ssh_keygen_in_all_its_formats_encrypted_or_not() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = TempDir::new().unwrap();
    for kind in TYPES {
        for format in [None, Some("PEM"), Some("PKCS8")] {
            for passphrase in ["", PASSPHRASE] {
                let path = keygen(dir.path(), kind, format, passphrase);
                check(&path, &public(&path), !passphrase.is_empty()).await;
            }
        }
    }
}

#[tokio::test]
async fn files_of_puttygen_version_2_and_3_encrypted_or_not() {
    if !have("ssh-keygen") || !have("puttygen") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let passphrase_file = dir.path().join("passphrase");
    for kind in TYPES {
        let from = keygen(dir.path(), kind, None, "");
        for (version, passphrase) in [("2", ""), ("2", PASSPHRASE), ("3", ""), ("3", PASSPHRASE)] {
            let path = with_suffix(&from, &format!("-{version}-{}.ppk", passphrase.len()));
            std::fs::write(&passphrase_file, passphrase).unwrap();
            let mut command = Command::new("puttygen");
            command.arg(&from).args(["-O", "private", "-o"]).arg(&path);
            command
                .args(["--ppk-param", &format!("version={version}"), "--new-passphrase"])
                .arg(&passphrase_file);
            run(&mut command);
            check(&path, &public(&from), !passphrase.is_empty()).await;
        }
    }
}

#[tokio::test]
async fn files_of_openssl_in_the_old_and_the_new_way_of_encrypting() {
    if !have("ssh-keygen") || !have("openssl") {
        return;
    }
    let dir = TempDir::new().unwrap();
    for (kind, command) in [(("rsa", "2048"), "rsa"), (("ecdsa", "256"), "ec")] {
        let from = keygen(dir.path(), kind, Some("PEM"), "");
        for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
            let path = with_suffix(&from, cipher);
            let mut openssl = Command::new("openssl");
            openssl.args([command, cipher, "-passout", &format!("pass:{PASSPHRASE}")]);
            openssl.args(if command == "rsa" { &["-traditional"][..] } else { &[] });
            run(openssl.arg("-in").arg(&from).arg("-out").arg(&path));
            if cipher == "-des3" {
                let error = Identity::load(&path, secret(PASSPHRASE)).await.unwrap_err();
                assert!(matches!(error, IdentityError::Unsupported { .. }), "{error}");
                assert!(error.to_string().contains("ssh-keygen -p"), "{error}");
            } else {
                check(&path, &public(&from), true).await;
            }
        }
    }
    let plain = dir.path().join("ed25519");
    run(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&plain));
    let expected = Identity::load(&plain, Passphrase::none()).await.unwrap();
    for (options, supported) in [
        (&["-v2", "aes128"][..], true),
        (&["-v2", "aes256", "-v2prf", "hmacWithSHA512"], true),
        (&["-scrypt"], true),
        (&["-v2", "des3"], false),
        (&["-v2", "aes256", "-v2prf", "hmacWithSHA1"], false),
        (&["-v1", "PBE-SHA1-3DES"], false),
    ] {
        let path = dir.path().join("encrypted");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs8", "-topk8", "-passout", &format!("pass:{PASSPHRASE}")]).args(options);
        run(openssl.arg("-in").arg(&plain).arg("-out").arg(&path));
        if supported {
            check(&path, expected.public_key(), true).await;
        } else {
            let error = Identity::load(&path, secret(PASSPHRASE)).await.unwrap_err();
            assert!(matches!(error, IdentityError::Unsupported { .. }), "{options:?}: {error}");
        }
    }
}

#[tokio::test]
async fn what_is_no_private_key_is_named_with_the_way_out() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let cases: Vec<(PathBuf, &str)> = vec![
        (dir.path().join("missing"), "cannot be read"),
        (dir.path().to_owned(), "cannot be read"),
        (file("public", b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me"), "public key"),
        (file("public.pem", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "public key"),
        (file("ssh2.pub", b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n"), "public key"),
        (file("empty", b""), "the file is empty"),
        (file("binary", &[0xff, 0xfe, 0, 1]), "binary data"),
        (file("prose", b"Dear diary"), "no PEM block"),
        (file("x509", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "CERTIFICATE"),
        (file("huge", &vec![b'x'; (1 << 20) + 1]), "longer than 1 MiB"),
        (
            file("dsa", b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n"),
            "not supported",
        ),
        (file("nonsense", pem.as_bytes()), "damaged"),
        (file("cut", &pem.as_bytes()[..40]), "END line is missing"),
        (file("base64", pem.replace("AAAA", "A_A").as_bytes()), "base64"),
        (file("openssh", pem.replace("RSA", "OPENSSH").as_bytes()), "damaged"),
        (file("pkcs8", pem.replace("RSA ", "").as_bytes()), "damaged"),
        (file("ppk", b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"), "damaged"),
        (file("ppk1", b"PuTTY-User-Key-File-1: ssh-rsa\nEncryption: none\n"), "not supported"),
    ];
    for (path, words) in cases {
        let error = Identity::load(&path, Passphrase::none()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains(';'), "no way out in: {text}");
    }
    let error = Identity::from_bytes(b"nothing".as_slice(), Passphrase::none()).await.unwrap_err();
    assert!(error.to_string().starts_with("the key given as bytes"), "{error}");
}

#[tokio::test]
async fn a_passphrase_is_asked_for_only_if_the_file_is_encrypted_and_at_most_three_times() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let plain = keygen(dir.path(), TYPES[4], None, "");
    let encrypted = keygen(dir.path(), TYPES[4], None, PASSPHRASE);
    let asked = Arc::new(AtomicU32::new(0));
    let ask = |right_at: u32| {
        let asked = Arc::clone(&asked);
        Passphrase::ask(move |request: PassphraseRequest| {
            assert_eq!(request.attempt, asked.fetch_add(1, Ordering::Relaxed) + 1);
            assert!(request.key.ends_with("ed25519-256-new-11"), "{request:?}");
            async move { Some(if request.attempt == right_at { PASSPHRASE } else { "wrong" }.into()) }
        })
    };

    Identity::load(&plain, ask(1)).await.unwrap();
    assert_eq!(asked.swap(0, Ordering::Relaxed), 0);
    Identity::load(&encrypted, ask(3)).await.unwrap();
    assert_eq!(asked.swap(0, Ordering::Relaxed), 3);
    let error = Identity::load(&encrypted, ask(4)).await.unwrap_err();
    assert!(matches!(error, IdentityError::WrongPassphrase { .. }), "{error}");
    assert_eq!(asked.swap(0, Ordering::Relaxed), 3);
    let nobody = Passphrase::ask(|_| async { None });
    let error = Identity::load(&encrypted, nobody).await.unwrap_err();
    assert!(matches!(error, IdentityError::PassphraseNeeded { .. }), "{error}");

    let file = IdentityFile::new(&encrypted).passphrase(ask(1));
    file.load().await.unwrap();
    file.clone().load().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1, "a file is decrypted once");
    assert!(!format!("{file:?}").contains(PASSPHRASE));
}

#[tokio::test]
async fn bytes_load_like_files_and_debug_shows_no_key() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = keygen(dir.path(), TYPES[4], None, PASSPHRASE);
    let identity = Identity::from_bytes(std::fs::read(&path).unwrap(), secret(PASSPHRASE)).await.unwrap();
    assert_eq!(identity.public_key().key_data(), public(&path).key_data());
    let printed = format!("{identity:?} {:?}", secret(PASSPHRASE));
    assert!(printed.contains("SHA256:") && !printed.contains(PASSPHRASE), "{printed}");
    assert!(!printed.contains("PrivateKey"), "{printed}");
}

/// Signs `key`'s public half with `ca`; the result is `key-cert.pub`.
fn certify(ca: &Path, key: &Path, extra: &[&str]) -> PathBuf {
    let mut command = Command::new("ssh-keygen");
    command.arg("-q").arg("-s").arg(ca).args(["-I", "alice@work", "-n", "alice"]).args(extra);
    run(command.arg(with_suffix(key, ".pub")));
    with_suffix(key, "-cert.pub")
}

#[tokio::test]
async fn a_certificate_beside_the_key_is_taken_along_and_a_wrong_one_is_refused_only_if_named() {
    if !have("ssh-keygen") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let ca = keygen(dir.path(), TYPES[1], None, "");
    let key = keygen(dir.path(), TYPES[4], None, "");
    let other = keygen(dir.path(), TYPES[2], None, "");

    assert!(Identity::load(&key, Passphrase::none()).await.unwrap().certificate().is_none());
    let certificate = certify(&ca, &key, &[]);
    let identity = Identity::load(&key, Passphrase::none()).await.unwrap();
    assert_eq!(identity.certificate().unwrap().key_id(), "alice@work");
    assert!(format!("{identity:?}").contains("alice@work"));

    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&certificate, &elsewhere).unwrap();
    let identity = Identity::load(&key, Passphrase::none()).await.unwrap();
    assert!(identity.certificate().is_none());
    assert!(identity.with_certificate(&elsewhere).await.unwrap().certificate().is_some());

    let wrong = Identity::load(&other, Passphrase::none()).await.unwrap();
    let error = wrong.clone().with_certificate(&elsewhere).await.unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
    let host = certify(&ca, &other, &["-h"]);
    let error = wrong.clone().with_certificate(&host).await.unwrap_err();
    assert!(error.to_string().contains("a host, not a user"), "{error}");
    let error = wrong.clone().with_certificate(with_suffix(&other, ".pub")).await.unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
    let error = wrong.with_certificate(dir.path().join("missing")).await.unwrap_err();
    assert!(matches!(error, IdentityError::Unreadable { .. }), "{error}");
    let ignored = Identity::load(&other, Passphrase::none()).await.unwrap();
    assert!(ignored.certificate().is_none(), "a wrong certificate that nobody named is ignored");
}
