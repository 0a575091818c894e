//! Keys and certificates, made by `ssh-keygen` for one test and thrown away with its directory.
//!
//! Owns the calls of `ssh-keygen`; knows nothing of servers.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::require_program;

/// A kind of key, with its size where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Rsa2048,
    Rsa3072,
}

impl KeyKind {
    /// A file name part, unique per kind.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa256",
            Self::EcdsaP384 => "ecdsa384",
            Self::EcdsaP521 => "ecdsa521",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ed25519 => &["-t", "ed25519"],
            Self::EcdsaP256 => &["-t", "ecdsa", "-b", "256"],
            Self::EcdsaP384 => &["-t", "ecdsa", "-b", "384"],
            Self::EcdsaP521 => &["-t", "ecdsa", "-b", "521"],
            Self::Rsa2048 => &["-t", "rsa", "-b", "2048"],
            Self::Rsa3072 => &["-t", "rsa", "-b", "3072"],
        }
    }
}

/// A private key file with its `.pub` file beside it.
#[derive(Debug, Clone)]
pub(crate) struct KeyPair {
    path: PathBuf,
}

impl KeyPair {
    /// A new key without passphrase, in OpenSSH's own format.
    pub(crate) fn generate(path: impl Into<PathBuf>, kind: KeyKind) -> io::Result<Self> {
        Self::generate_with(path, kind, "", &[])
    }

    /// A new key with a passphrase ("" for none) and further arguments of `ssh-keygen`,
    /// for example `["-m", "PEM"]`.
    pub(crate) fn generate_with(
        path: impl Into<PathBuf>,
        kind: KeyKind,
        passphrase: &str,
        extra: &[&str],
    ) -> io::Result<Self> {
        let path = path.into();
        let mut arguments: Vec<&OsStr> = ["-q", "-C", "kit", "-N", passphrase].map(OsStr::new).to_vec();
        arguments.extend(kind.arguments().iter().map(OsStr::new));
        arguments.extend(extra.iter().map(OsStr::new));
        arguments.extend([OsStr::new("-f"), path.as_os_str()]);
        ssh_keygen(&arguments)?;
        Ok(Self { path })
    }

    /// The private key file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The public key file.
    pub(crate) fn public_path(&self) -> PathBuf {
        with_suffix(&self.path, ".pub")
    }

    /// The certificate file that [`certify_user`](Self::certify_user) and its sibling write.
    pub(crate) fn certificate_path(&self) -> PathBuf {
        with_suffix(&self.path, "-cert.pub")
    }

    /// The public key as one line: type, base64, comment.
    pub(crate) fn public_line(&self) -> io::Result<String> {
        Ok(std::fs::read_to_string(self.public_path())?.trim().to_owned())
    }

    /// The public key as known_hosts wants it: type and base64.
    pub(crate) fn public_fields(&self) -> io::Result<String> {
        Ok(self.public_line()?.split(' ').take(2).collect::<Vec<_>>().join(" "))
    }

    /// `SHA256:...`, as `ssh-keygen -l` prints it.
    pub(crate) fn fingerprint(&self) -> io::Result<String> {
        let text = ssh_keygen(&[
            OsStr::new("-l"),
            "-E".as_ref(),
            "sha256".as_ref(),
            "-f".as_ref(),
            self.public_path().as_ref(),
        ])?;
        text.split_whitespace()
            .find(|word| word.starts_with("SHA256:"))
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("ssh-keygen -l printed no fingerprint: {text}")))
    }

    /// Signs `subject` as a user key with this key as the authority; returns the certificate file.
    /// `extra` takes more arguments of `ssh-keygen`, for example `["-O", "force-command=true"]`.
    pub(crate) fn certify_user(
        &self,
        subject: &Self,
        principals: &[&str],
        validity: &str,
        extra: &[&str],
    ) -> io::Result<PathBuf> {
        self.certify(subject, principals, validity, extra)
    }

    /// Signs `subject` as a host key with this key as the authority; returns the certificate file.
    pub(crate) fn certify_host(
        &self,
        subject: &Self,
        principals: &[&str],
        validity: &str,
    ) -> io::Result<PathBuf> {
        self.certify(subject, principals, validity, &["-h"])
    }

    fn certify(
        &self,
        subject: &Self,
        principals: &[&str],
        validity: &str,
        extra: &[&str],
    ) -> io::Result<PathBuf> {
        let public = subject.public_path();
        let principals = principals.join(",");
        let mut arguments: Vec<&OsStr> = vec!["-q".as_ref(), "-s".as_ref(), self.path.as_ref()];
        arguments.extend(["-I", "kit", "-V", validity].map(OsStr::new));
        if !principals.is_empty() {
            arguments.extend([OsStr::new("-n"), principals.as_ref()]);
        }
        arguments.extend(extra.iter().map(OsStr::new));
        arguments.push(public.as_ref());
        ssh_keygen(&arguments)?;
        Ok(subject.certificate_path())
    }
}

/// Runs `ssh-keygen`; its output, or an error with what it said.
pub(crate) fn ssh_keygen(arguments: &[&OsStr]) -> io::Result<String> {
    let output =
        Command::new(require_program("ssh-keygen")?).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ssh-keygen {arguments:?} failed, {}: {said}", output.status)))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
