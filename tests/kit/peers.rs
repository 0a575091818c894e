//! Which programs from outside are here, and what a test does that needs one which is not.
//!
//! A missing peer makes its tests *ignored, with the reason*, and failed when `REQUIRE_PEERS=1`.
//! Knows nothing of how tests run.

use std::process::{Command, Stdio};

use super::process::find_program;

/// A program this crate must get on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// `sshd`, with the `ssh-keygen` the kit needs to set it up.
    OpenSshServer,
    /// `ssh`.
    OpenSshClient,
    /// `sftp`.
    OpenSshSftp,
    /// `ssh-agent` and `ssh-add`.
    OpenSshAgent,
    /// `plink` and `puttygen`.
    Putty,
    /// `dropbear` and `dropbearkey`.
    DropbearServer,
    /// `dbclient`.
    DropbearClient,
    /// `Xvfb`, with `xauth`, `xdpyinfo` and `xprop`.
    Xvfb,
    /// `danted`.
    Dante,
    /// `tinyproxy`.
    Tinyproxy,
    /// `curl`.
    Curl,
    /// `python3`, for its prompt.
    Python,
    /// yuma's `netconfd`.
    Netconfd,
    /// Python's `ncclient`, as Debian has it.
    Ncclient,
    /// An account with a password, that only this test's server sees: takes root and a mount namespace.
    Account,
}

impl Peer {
    /// The programs it is made of, and the package that has them.
    fn programs(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::OpenSshServer => (&["sshd", "ssh-keygen"], "openssh-server"),
            Self::OpenSshClient => (&["ssh", "ssh-keygen"], "openssh-client"),
            Self::OpenSshSftp => (&["sftp"], "openssh-client"),
            Self::OpenSshAgent => (&["ssh-agent", "ssh-add"], "openssh-client"),
            Self::Putty => (&["plink", "puttygen"], "putty-tools"),
            Self::DropbearServer => (&["dropbear", "dropbearkey"], "dropbear-bin"),
            Self::DropbearClient => (&["dbclient"], "dropbear-bin"),
            Self::Xvfb => (&["Xvfb", "xauth", "xdpyinfo", "xprop"], "xvfb, xauth and x11-utils"),
            Self::Dante => (&["danted"], "dante-server"),
            Self::Tinyproxy => (&["tinyproxy"], "tinyproxy"),
            Self::Curl => (&["curl"], "curl"),
            Self::Python => (&["python3"], "python3"),
            Self::Netconfd => (&["netconfd", "netconf-subsystem"], "netconfd"),
            Self::Ncclient => (
                &["/usr/bin/python3", "/usr/lib/python3/dist-packages/ncclient/__init__.py"],
                "python3-ncclient",
            ),
            Self::Account => (&["unshare", "mount", "openssl"], "util-linux, mount and openssl"),
        }
    }

    /// None if it is here, otherwise what is missing and how to get it.
    pub(crate) fn missing(self) -> Option<String> {
        let (programs, package) = self.programs();
        let absent = programs.iter().find(|program| find_program(program).is_none())?;
        Some(format!("no {absent}, install {package}"))
    }

    /// Why this machine or user cannot have it, whatever is installed.
    fn impossible(self) -> Option<String> {
        if self != Self::Account || may_mount() {
            return None;
        }
        Some("an account of its own takes root and the right to mount".to_owned())
    }
}

/// Whether this process may have a mount namespace of its own.
fn may_mount() -> bool {
    let mut trial = Command::new("unshare");
    trial.args(["--mount", "mount", "--bind", "/etc/passwd", "/etc/passwd"]);
    trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    rustix::process::getuid().is_root() && trial.status().is_ok_and(|status| status.success())
}

impl AsRef<[Self]> for Peer {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// What to do with a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Run,
    Ignore(String),
    Fail(String),
}

/// Decides on a test whose peers miss `missing`; `required` is `REQUIRE_PEERS=1`.
pub(crate) fn verdict(missing: &[String], required: bool) -> Verdict {
    if missing.is_empty() {
        return Verdict::Run;
    }
    let reason = missing.join("; ");
    if required {
        return Verdict::Fail(format!("REQUIRE_PEERS=1 is set, but a peer is missing: {reason}"));
    }
    Verdict::Ignore(reason)
}

/// [`verdict`] for these peers on this machine.
pub(super) fn judge(peers: &[Peer]) -> Verdict {
    if let Some(reason) = peers.iter().find_map(|peer| peer.impossible()) {
        return Verdict::Ignore(reason);
    }
    let missing: Vec<String> = peers.iter().filter_map(|peer| peer.missing()).collect();
    verdict(&missing, std::env::var("REQUIRE_PEERS").is_ok_and(|value| value == "1"))
}
