//! The same files, hosts and keys, decided by us and by the OpenSSH client.
//!
//! `ssh` talks to `sshd -i` through a `ProxyCommand`, so any host name and port will do, and no
//! socket is opened.

use std::fmt;
use std::path::{Path, PathBuf};

use ractor_ssh::host_key::{HostKeyPolicy, KnownHostsFiles, PresentedKey};
use ractor_ssh::wire::keys::{Certificate, PublicKey};

use crate::support::{have, key_pair, run, sign, text};

const SSHD: &str = "/usr/sbin/sshd";

/// Keys and certificates, by file name.
struct Lab {
    dir: tempfile::TempDir,
}

/// How the two may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expect {
    Same,
    /// OpenSSH accepts, we refuse, as the module's documentation says.
    Stricter,
    /// The same since OpenSSH 10.3, which changed the meaning of principals.
    SameSince10_3,
}

/// The major and minor version of `ssh`.
fn ssh_version() -> (u32, u32) {
    let output = run("ssh", &["-V"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

impl Lab {
    fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        let dir = lab.dir.path();
        for name in ["host", "other", "ca", "ca2"] {
            key_pair(dir, name, "ed25519");
        }
        key_pair(dir, "rsa", "rsa");
        let certificates: [(&str, &str, &[&str]); 7] = [
            ("good", "ca", &["-h", "-n", "a.example.com"]),
            ("wild", "ca", &["-h", "-n", "*.example.com"]),
            ("nobody", "ca", &["-h"]),
            ("elsewhere", "ca", &["-h", "-n", "z.example.com"]),
            ("expired", "ca", &["-h", "-n", "a.example.com", "-V", "20200101:20210101"]),
            ("critical", "ca", &["-h", "-n", "a.example.com", "-O", "critical:new@example.com=1"]),
            ("foreign", "ca2", &["-h", "-n", "a.example.com"]),
        ];
        for (name, authority, options) in certificates {
            sign(dir, authority, "host", name, options);
        }
        sign(dir, "rsa", "host", "sha1", &["-h", "-n", "a.example.com", "-t", "ssh-rsa"]);
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn public(&self, name: &str) -> String {
        text(
            &PublicKey::from_openssh(&std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap())
                .unwrap(),
        )
    }

    /// Replaces `$name` by the public key of that name.
    fn fill(&self, known_hosts: &str) -> String {
        let mut lines = known_hosts.to_owned();
        for name in ["host", "other", "ca2", "ca", "rsa"] {
            lines = lines.replace(&format!("${name}"), &self.public(name));
        }
        lines
    }

    /// What the server presents: the key `host`, or a certificate for it.
    fn presented(&self, what: &str) -> PresentedKey {
        if what == "key" {
            return PublicKey::from_openssh(&self.public("host")).unwrap().into();
        }
        let file = self.path(&format!("{what}-cert.pub"));
        Certificate::from_openssh(&std::fs::read_to_string(file).unwrap()).unwrap().into()
    }

    /// Whether `ssh` goes on to authentication.
    fn ssh_accepts(&self, case: &Case, file: &Path) -> bool {
        let config = self.path("sshd_config");
        let certificate = match case.presents {
            "key" => String::new(),
            name => format!("HostCertificate {}\n", self.path(&format!("{name}-cert.pub")).display()),
        };
        let host_key = self.path("host");
        std::fs::write(
            &config,
            format!(
                "HostKey {}\n{certificate}PidFile none\nStrictModes no\nUsePAM no\n\
                 AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
                host_key.display()
            ),
        )
        .unwrap();
        let options = [
            format!("ProxyCommand={SSHD} -i -f {}", config.display()),
            format!("UserKnownHostsFile={}", file.display()),
            format!("StrictHostKeyChecking={}", if case.accept_new { "accept-new" } else { "yes" }),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "KexAlgorithms=curve25519-sha256".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "CheckHostIP=no".to_owned(),
            "BatchMode=yes".to_owned(),
            "IdentityFile=none".to_owned(),
            "IdentityAgent=none".to_owned(),
        ];
        let port = case.port.to_string();
        let mut args = vec!["-F", "none", "-p", &port, "-l", "nobody"];
        for option in &options {
            args.extend(["-o", option]);
        }
        args.extend([case.host, "true"]);
        let output = run("ssh", &args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let (refused, accepted) = (
            stderr.contains("Host key verification failed"),
            stderr.contains("Permission denied (publickey)"),
        );
        assert_ne!(refused, accepted, "{case}: {stderr}");
        accepted
    }

    async fn we_accept(&self, case: &Case, file: &Path) -> bool {
        let files = KnownHostsFiles::new([file]);
        let policy =
            if case.accept_new { HostKeyPolicy::accept_new(files) } else { HostKeyPolicy::strict(files) };
        match policy.prepare(case.host, case.port).await {
            Ok(prepared) => prepared.decide(self.presented(case.presents)).await.is_ok(),
            Err(_) => false,
        }
    }
}

struct Case {
    known_hosts: String,
    host: &'static str,
    port: u16,
    presents: &'static str,
    accept_new: bool,
    expect: Expect,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known_hosts, host, port, presents, accept_new, .. } = self;
        write!(f, "{presents} of {host}:{port}, accept-new {accept_new}, known_hosts {known_hosts:?}")
    }
}

/// Known_hosts content, what the server presents, and on which port.
const CASES: [(&str, &str, u16, Expect); 46] = {
    use Expect::{Same, SameSince10_3, Stricter};
    [
        ("", "key", 22, Same),
        ("a.example.com $host\n", "key", 22, Same),
        ("A.Example.com $host\n", "key", 22, Same),
        ("*.example.com $host\n", "key", 22, Same),
        ("*.example.com,!a.example.com $host\n", "key", 22, Same),
        ("a.example.com $other\n", "key", 22, Same),
        ("a.example.com $rsa\n", "key", 22, Same),
        ("a.example.com $other\na.example.com $host\n", "key", 22, Same),
        ("a.example.com $host\n@revoked * $host\n", "key", 22, Same),
        ("@revoked b.example.com $host\na.example.com $host\n", "key", 22, Same),
        ("@revoked a.example.com $host\n", "key", 22, Same),
        ("@cert-authority * $host\n", "key", 22, Same),
        ("@cert-authority a.example.com $ca\na.example.com $host\n", "key", 22, Same),
        ("broken\n@cert-authority\na.example.com $host\n", "key", 22, Same),
        ("@revoked a.example.com ssh-ed25519 AAAA\na.example.com $host\n", "key", 22, Stricter),
        ("@revoked b.example.com ssh-ed25519 AAAA\na.example.com $host\n", "key", 22, Same),
        ("a.example.com $host\n", "key", 2222, Same),
        ("[a.example.com]:2222 $host\n", "key", 2222, Same),
        ("[a.example.com]:2222 $host\n", "key", 22, Same),
        ("[a.example.com]:2222 $other\na.example.com $host\n", "key", 2222, Same),
        ("a.example.com $other\n", "key", 2222, Same),
        ("[*]:2222 $host\n", "key", 2222, Same),
        ("@revoked a.example.com $host\n[a.example.com]:2222 $host\n", "key", 2222, Stricter),
        ("@cert-authority *.example.com $ca\n", "good", 22, Same),
        ("@cert-authority *.example.com $ca\n", "wild", 22, SameSince10_3),
        ("@cert-authority *.example.com $ca\n", "nobody", 22, SameSince10_3),
        ("@cert-authority *.example.com $ca\n", "good", 2222, Same),
        ("@cert-authority [*.example.com]:2222 $ca\n", "good", 2222, Same),
        ("@cert-authority *.example.com $ca2\n@cert-authority *.example.com $ca\n", "good", 22, Same),
        ("@cert-authority *.example.org $ca\n", "good", 22, Same),
        ("@cert-authority *.example.org $ca\na.example.com $host\n", "good", 22, Same),
        ("a.example.com $ca\n", "good", 22, Same),
        ("a.example.com $other\n", "good", 22, Same),
        ("[a.example.com]:2222 $other\n@cert-authority *.example.com $ca\n", "good", 2222, Same),
        ("[a.example.com]:2222 $host\n@cert-authority *.example.com $ca\n", "elsewhere", 2222, Same),
        ("@cert-authority *.example.com $ca\n@revoked * $host\n", "good", 22, Same),
        ("@cert-authority *.example.com $ca\n@revoked * $ca\n", "good", 22, Same),
        ("@revoked * $ca\na.example.com $host\n", "good", 22, Same),
        ("@cert-authority *.example.com $ca\na.example.com $host\n", "expired", 22, Stricter),
        ("@cert-authority *.example.com $ca\na.example.com $host\n", "elsewhere", 22, Stricter),
        ("@cert-authority *.example.com $ca\na.example.com $host\n", "critical", 22, Stricter),
        ("@cert-authority *.example.com $ca\na.example.com $host\n", "foreign", 22, Stricter),
        ("@cert-authority *.example.com $rsa\na.example.com $host\n", "sha1", 22, Stricter),
        ("@cert-authority *.example.com $ca\na.example.com $other\n", "expired", 22, Same),
        ("@cert-authority *.example.com $ca\na.example.com $other\n", "foreign", 22, Same),
        ("@cert-authority *.example.com $rsa\na.example.com $other\n", "sha1", 22, Same),
    ]
};

fn cases() -> impl Iterator<Item = Case> {
    CASES.into_iter().flat_map(|(known_hosts, presents, port, expect)| {
        [false, true].map(|accept_new| Case {
            known_hosts: known_hosts.to_owned(),
            host: "a.example.com",
            port,
            presents,
            accept_new,
            expect,
        })
    })
}

#[tokio::test]
async fn decisions_equal_those_of_the_openssh_client_or_are_stricter_as_documented() {
    if !(have("ssh-keygen") && have("ssh") && have(SSHD)) {
        return;
    }
    let lab = Lab::new();
    let (ours, theirs) = (lab.path("ours"), lab.path("theirs"));
    let is_old = ssh_version() < (10, 3);
    let mut wrong = Vec::new();
    let mut accepted = 0;
    for case in cases() {
        if is_old && case.expect == Expect::SameSince10_3 {
            continue;
        }
        let content = lab.fill(&case.known_hosts);
        std::fs::write(&ours, &content).unwrap();
        std::fs::write(&theirs, &content).unwrap();
        let (we, they) = (lab.we_accept(&case, &ours).await, lab.ssh_accepts(&case, &theirs));
        accepted += usize::from(we);
        let as_expected = match case.expect {
            Expect::Same | Expect::SameSince10_3 => {
                we == they && std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap()
            }
            Expect::Stricter => !we && they,
        };
        if !as_expected {
            wrong.push(format!("{case}: we {we}, ssh {they}, expected {:?}", case.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 20, "the table is not about refusals only");
}
