//! An account that exists for one server alone: the server sees user tables of its own, in a mount namespace.
//!
//! Owns those files; the machine's own are never written.

use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

/// No user of this machine has such a number.
const ID: u32 = 54_242;

/// Where each file is seen by the server.
const PLACES: [(&str, &str); 3] =
    [("passwd", "/etc/passwd"), ("shadow", "/etc/shadow"), ("pam", "/etc/pam.d/sshd")];

/// A user with a password. The server's directory is the home.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) name: String,
    password: String,
}

impl Account {
    pub(super) fn new(name: &str, password: &str) -> Self {
        Self { name: name.to_owned(), password: password.to_owned() }
    }

    /// Writes the tables.
    pub(super) fn prepare(&self, directory: &Path) -> io::Result<()> {
        let Self { name, password } = self;
        let home = directory.display();
        let hash = Command::new("openssl").args(["passwd", "-6", password]).output()?;
        let hash = String::from_utf8_lossy(&hash.stdout).trim().to_owned();
        let with = |table: &str, line: String| -> io::Result<String> {
            Ok(format!("{}{line}\n", std::fs::read_to_string(table)?))
        };
        let texts = [
            with("/etc/passwd", format!("{name}:x:{ID}:{ID}::{home}:/bin/sh"))?,
            with("/etc/shadow", format!("{name}:{hash}:19000:0:99999:7:::"))?,
            "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n".into(),
        ];
        for ((file, _), text) in PLACES.iter().zip(texts) {
            let path = directory.join(file);
            std::fs::write(&path, text)?;
            let mode = if *file == "shadow" { 0o600 } else { 0o644 };
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        // The server reads the user's keys as that user.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711))
    }

    /// Lets a key in, where servers look that are told no other place: `.ssh/authorized_keys` in the home.
    pub(super) fn authorize(directory: &Path, line: &str) -> io::Result<()> {
        let folder = directory.join(".ssh");
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("authorized_keys"), format!("{line}\n"))?;
        for path in [directory, &folder, &folder.join("authorized_keys")] {
            chown(path, Some(ID), Some(ID))?;
        }
        Ok(())
    }

    /// A command that becomes `program`, seeing the tables; its arguments are still to be added.
    pub(super) fn command(program: &Path, directory: &Path) -> Command {
        let mounts: String =
            PLACES.iter().map(|(file, place)| format!("mount --bind \"$0/{file}\" {place} && ")).collect();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(format!("{mounts} exec \"$@\"")).arg(directory).arg(program).stdin(Stdio::null());
        command
    }
}
