//! Where to log in, and how: options of the command line that several examples have in common, and the client that is
//! made of them and of OpenSSH's configuration files.

use std::path::{Path, PathBuf};

use ractor_ssh::BoxError;
use ractor_ssh::auth::Passphrase;
use ractor_ssh::auth::{KeyboardInteractive, PassphraseRequest};
use ractor_ssh::host_key::{HostKeyPin, HostKeyPolicy};
use ractor_ssh::ssh_config::{Applied, Asked, Asking, JumpHost, Left, MatchExec, Place, SshConfig};
use secrecy::SecretString;

#[derive(clap::Args)]
pub(crate) struct Login {
    /// Port of the server. Default: what the files say, else 22, for NETCONF 830.
    #[arg(short)]
    port: Option<u16>,
    /// User to log in as; also `user@host`. Default: what the files say, else the local user.
    #[arg(short = 'l')]
    login: Option<String>,
    /// Private key file. Default: what the files say, else the agent of SSH_AUTH_SOCK, then the usual files.
    #[arg(short = 'i')]
    identity: Vec<PathBuf>,
    /// File with the password; a newline at its end is not part of it.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// known_hosts file. Default: OpenSSH's.
    #[arg(long)]
    known_hosts: Option<PathBuf>,
    /// Accept and write down the key of a host that is not known yet.
    #[arg(long, conflicts_with = "pin")]
    accept_new: bool,
    /// Accept exactly the host key with this fingerprint, `SHA256:...`.
    #[arg(long)]
    pin: Option<String>,
    /// Go over these hosts: `[user@]host[:port]`, several with commas between. Their keys must be in known_hosts.
    #[arg(short = 'J')]
    jump: Option<String>,
    /// Configuration file to read instead of OpenSSH's; `none` for none.
    #[arg(short = 'F')]
    file: Option<PathBuf>,
    /// An option as a configuration file has it: `Keyword=value`.
    #[arg(short = 'o')]
    option: Vec<String>,
    /// Say which options are not honoured.
    #[arg(short)]
    verbose: bool,
    /// `host`, `user@host` or `ssh://user@host:port`.
    pub(crate) destination: String,
}

impl Login {
    /// Looks everything up. Files that were named must be there. `usual_port` is where servers of this kind listen, if
    /// nobody says a port. `honoured` are the keywords about sessions and forwards that the program does something about;
    /// others may not be asked for by `-o`.
    pub(crate) async fn client(&self, usual_port: u16, honoured: &[&str]) -> Result<Applied, BoxError> {
        let files = self.files().await?;
        let asked = self.asked()?.default_port(usual_port);
        for path in &self.identity {
            // Looked at now: a file that was asked for by name and cannot be read is no key to pass over.
            tokio::fs::metadata(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let mut applied = files.client(&asked, &self.asking().await?).await?;
        left_to_us(&mut applied, honoured)?;
        for hop in &mut applied.hops {
            left_to_us(hop, &[])?;
        }
        if let Some(pin) = &self.pin {
            applied.config = applied.config.host_key(HostKeyPolicy::pinned([pin.parse::<HostKeyPin>()?]));
        }
        applied.config = applied.config.on_banner(|banner| eprint!("{banner}"));
        if self.verbose {
            for note in applied.notes() {
                eprintln!("{}: {note}", env!("CARGO_BIN_NAME"));
            }
        }
        Ok(applied)
    }

    async fn files(&self) -> Result<SshConfig, BoxError> {
        Ok(match &self.file {
            Some(file) if file.as_os_str() == "none" => SshConfig::default(),
            Some(file) => SshConfig::load_file(file).await?,
            None => SshConfig::load().await?,
        })
    }

    fn asked(&self) -> Result<Asked, BoxError> {
        let uri = self.destination.starts_with("ssh://");
        let (user, host, port) = match self.destination.rsplit_once('@') {
            _ if uri => {
                let place: JumpHost = self.destination.parse()?;
                (place.user, place.host, place.port)
            }
            Some((user, host)) => (Some(user.to_owned()), host.to_owned(), None),
            None => (None, self.destination.clone(), None),
        };
        let mut asked = Asked::host(host).match_exec(MatchExec::Run(std::time::Duration::from_secs(30)));
        if let Some(user) = self.login.clone().or(user) {
            asked = asked.user(user);
        }
        if let Some(port) = self.port.or(port) {
            asked = asked.port(port);
        }
        if let Some(jump) = &self.jump {
            asked = asked.option(format!("ProxyJump={jump}"));
        }
        // These are for the jump hosts as well.
        for file in &self.identity {
            asked = asked.option_everywhere(format!("IdentityFile={}", quoted(file)?));
        }
        if !self.identity.is_empty() {
            asked = asked.option_everywhere("IdentityAgent=none");
        }
        if self.password_file.is_some() {
            asked = asked.option_everywhere("NumberOfPasswordPrompts=1");
        }
        if let Some(file) = &self.known_hosts {
            asked = asked.option_everywhere(format!("UserKnownHostsFile={}", quoted(file)?));
            asked = asked.option_everywhere("GlobalKnownHostsFile=none");
        }
        if self.accept_new {
            asked = asked.option_everywhere("StrictHostKeyChecking=accept-new");
        }
        for option in &self.option {
            asked = asked.option(option);
        }
        Ok(asked)
    }

    async fn asking(&self) -> Result<Asking, BoxError> {
        let asking = Asking::nobody().passphrase(Passphrase::ask(ask_passphrase));
        let Some(path) = &self.password_file else { return Ok(asking) };
        let password = password(path).await?;
        let answers = KeyboardInteractive::new().answer("*assword*", password.clone());
        Ok(asking.keyboard_interactive(answers).password_with(move |_| {
            let password = password.clone();
            async move { Some(password) }
        }))
    }
}

/// What is up to the program is honoured, refused, or told by `-v`.
fn left_to_us(applied: &mut Applied, honoured: &[&str]) -> Result<(), BoxError> {
    applied.left.retain(|left| {
        let nothing = match left.keyword {
            "requesttty" | "sessiontype" => false,
            "remotecommand" | "escapechar" => left.value.eq_ignore_ascii_case("none"),
            _ => left.value == "no",
        };
        left.left != Left::ForCaller || !(nothing || honoured.contains(&left.keyword))
    });
    for left in applied.left.iter_mut().filter(|left| left.left == Left::ForCaller) {
        if left.at == Place::Asked {
            let (keyword, value) = (left.keyword, &left.value);
            return Err(
                format!("-o {keyword}={value}: this program does nothing about it; leave it out").into()
            );
        }
        left.left = Left::NotHonoured("this program does nothing about it".to_owned());
    }
    Ok(())
}

/// A path as a configuration file has it: one word, no token and no variable.
fn quoted(path: &Path) -> Result<String, BoxError> {
    let text = path.to_str().ok_or_else(|| format!("{}: is not UTF-8", path.display()))?;
    if text.contains(['"', '\n']) || text.contains("${") {
        return Err(format!(
            "{text}: has a quote, a line feed or `${{` in it, which options cannot have; rename it"
        )
        .into());
    }
    Ok(format!("\"{}\"", text.replace('%', "%%").replace('\\', "\\\\")))
}

async fn password(path: &Path) -> Result<SecretString, BoxError> {
    let text = tokio::fs::read_to_string(path).await.map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).into())
}

/// Asks SSH_ASKPASS, or at the terminal, as OpenSSH does.
async fn ask_passphrase(request: PassphraseRequest) -> Option<SecretString> {
    let question = format!("Enter passphrase for key '{}': ", request.key);
    if let Some(program) = std::env::var_os("SSH_ASKPASS") {
        let output = tokio::process::Command::new(program).arg(question).output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        return output.status.success().then(|| text.trim_end_matches(['\r', '\n']).into());
    }
    tokio::task::spawn_blocking(move || rpassword::prompt_password(question).ok().map(Into::into))
        .await
        .ok()?
}
