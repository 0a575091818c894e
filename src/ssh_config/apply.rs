//! From the options of a host to a client's configuration, and to the list of what did not go into it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::asking::{Asking, Shared};
use super::error::{Place, Problem, SshConfigError};
use super::keyword::Standing;
use super::kinds::{IdentityAgent, StrictHostKeys};
use super::options::{Held, HostOptions};
use crate::auth::{AgentMode, Auth, IdentityFile};
use crate::client::ClientConfig;
use crate::config::{Keepalive, RekeyLimit, Timeouts};
use crate::host_key::{HostKeyPolicy, KnownHostsFiles};
use crate::transport::russh_client::{AlgorithmKind, known_algorithms};

/// A configuration, and what did not go into it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Applied {
    /// The configuration. It has our own defaults where no option is given.
    pub config: ClientConfig,
    /// The options that are not in it.
    pub left: Vec<LeftOver>,
}

/// An option that did not go into the configuration of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOver {
    /// The keyword, in lower case.
    pub keyword: &'static str,
    /// Its value, as `ssh -G` shows it.
    pub value: String,
    /// Where it stands.
    pub at: Place,
    /// What about it.
    pub left: Left,
}

/// What is to be done about an option that is left over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Left {
    /// It is about how one gets there, about forwards or about sessions: [`HostOptions`] has it as a typed value.
    ForCaller,
    /// It cannot be honoured, or not fully, for this reason.
    NotHonoured(String),
}

impl fmt::Display for LeftOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}: ", self.at, self.keyword, self.value)?;
        match &self.left {
            Left::ForCaller => f.write_str("is up to the program"),
            Left::NotHonoured(why) => write!(f, "is not honoured: {why}"),
        }
    }
}

impl HostOptions {
    /// Makes a client's configuration of the options: where to, as whom, with which keys, trusting whom, with which
    /// algorithms, deadlines and limits.
    ///
    /// `ConnectTimeout` is the limit of the dial and of the identification strings. `ServerAliveCountMax` questions stay
    /// unanswered before the connection is given up. Without `ServerAliveInterval` our own keepalive stays on.
    /// `StrictHostKeyChecking no` takes new hosts, as `accept-new`, but never a changed key. With `IdentitiesOnly` the
    /// agent is not asked. Looks whether the usual key files exist; reads nothing.
    ///
    /// # Errors
    /// [`SshConfigError::Bad`] for a proxy without [`Asking::dial_with`] or [`Asking::proxy_by_caller`] (a direct connection is not what was asked for),
    /// for `RefuseConnection`, and for lists of algorithms of which we have none.
    pub fn client_config(&self, asking: &Asking) -> Result<Applied, SshConfigError> {
        let mut applying = Applying { options: self, left: Vec::new(), problems: Vec::new() };
        let mut config = ClientConfig::new(self.host(), self.user())
            .port(self.port())
            .auth(applying.auth(asking))
            .host_key(applying.host_key(asking))
            .timeouts(applying.timeouts())
            .keepalive(applying.keepalive())
            .rekey(applying.rekey());
        if let Some(alias) = self.text("hostkeyalias") {
            config = config.host_key_alias(alias);
        }
        if let Some(names) = applying.algorithms("ciphers", AlgorithmKind::Cipher) {
            config = config.ciphers(names);
        }
        if let Some(names) = applying.algorithms("macs", AlgorithmKind::Mac) {
            config = config.macs(names);
        }
        if let Some(names) = applying.algorithms("kexalgorithms", AlgorithmKind::Kex) {
            config = config.kex_algorithms(names);
        }
        if let Some(names) = applying.algorithms("hostkeyalgorithms", AlgorithmKind::HostKey) {
            config = config.host_key_algorithms(names);
        }
        applying.proxy(asking);
        applying.others();
        if let Some(dial) = &asking.dial {
            config = dial(config);
        }
        let Applying { left, problems, .. } = applying;
        if problems.is_empty() { Ok(Applied { config, left }) } else { Err(SshConfigError::Bad(problems)) }
    }
}

struct Applying<'a> {
    options: &'a HostOptions,
    left: Vec<LeftOver>,
    problems: Vec<Problem>,
}

impl Applying<'_> {
    fn held(&self, keyword: &str) -> Option<&Held> {
        self.options.held().find(|held| held.keyword.name == keyword)
    }

    fn leave(&mut self, keyword: &str, left: Left) {
        if let Some(Held { keyword, shown, at, .. }) = self.held(keyword) {
            let left = LeftOver { keyword: keyword.name, value: shown.clone(), at: at.clone(), left };
            self.left.push(left);
        }
    }

    fn not_honoured(&mut self, keyword: &str, why: impl Into<String>) {
        self.leave(keyword, Left::NotHonoured(why.into()));
    }

    fn problem(&mut self, keyword: &str, problem: impl Into<String>, fix: &str) {
        if let Some(Held { keyword, at, .. }) = self.held(keyword) {
            let problem = Problem::new(at, keyword.name, problem, fix);
            self.problems.push(problem);
        }
    }

    /// Whether a method may be used: unless it is said otherwise.
    fn allows(&self, keyword: &str) -> bool {
        self.options.text(keyword) != Some("no")
    }

    fn auth(&mut self, asking: &Asking) -> Auth {
        const OURS: [&str; 4] = ["publickey", "keyboard-interactive", "password", "none"];
        let preferred = self.options.text("preferredauthentications");
        let order: Vec<String> = preferred
            .unwrap_or("publickey,keyboard-interactive,password")
            .split(',')
            .map(str::to_owned)
            .collect();
        let foreign: Vec<_> =
            order.iter().filter(|method| !OURS.contains(&method.as_str())).cloned().collect();
        if preferred.is_some() && !foreign.is_empty() {
            self.not_honoured("preferredauthentications", format!("there is no {} here", foreign.join(", ")));
        }
        let asks = self.options.number("numberofpasswordprompts");
        let may_ask = self.options.batch_mode() != Some(true) && asks != Some(0);
        let mut auth = Auth::new();
        let mut methods = 0;
        for method in order {
            let keyboard = asking.keyboard.as_ref().filter(|_| may_ask);
            let password = asking.password.as_ref().filter(|_| may_ask);
            methods += 1;
            auth = match (method.as_str(), keyboard, password) {
                ("publickey", ..) if self.allows("pubkeyauthentication") => self.keys(auth, asking),
                ("keyboard-interactive", Some(how), _) if self.allows("kbdinteractiveauthentication") => {
                    auth.keyboard_interactive(how.clone())
                }
                ("password", _, Some(ask)) if self.allows("passwordauthentication") => {
                    let ask = ask.clone();
                    auth.password_with(move |request| ask(request))
                }
                ("none", ..) => auth.none(),
                _ => {
                    methods -= 1;
                    auth
                }
            };
        }
        // OpenSSH asks for `none` first, in every case; here it is asked for if there is nothing else.
        let auth = if methods == 0 || auth.check("user").is_err() { auth.none() } else { auth };
        auth.max_asks(asks.unwrap_or(3).max(1))
    }

    /// The agent, then the files, each with the certificates that may be its own.
    fn keys(&mut self, auth: Auth, asking: &Asking) -> Auth {
        let only = self.options.flag("identitiesonly") == Some(true);
        if only {
            let why = "the agent is not asked, not even for the keys of named files: give files it can read";
            self.not_honoured("identitiesonly", why);
        }
        let mut auth = match self.options.identity_agent() {
            _ if only => auth,
            Some(IdentityAgent::Off) => auth,
            Some(IdentityAgent::At(socket)) => auth.agent_at(AgentMode::IfAvailable, socket),
            Some(IdentityAgent::Usual) | None => auth.agent(AgentMode::IfAvailable),
        };
        let files = self.options.identity_files().unwrap_or_else(|| usual_keys(&self.options.ssh_dir()));
        let certificates = self.options.certificate_files();
        if !certificates.is_empty() && !only {
            self.not_honoured(
                "certificatefile",
                "certificates of keys in the agent are not used, those of key files are",
            );
        }
        for file in files {
            let file = IdentityFile::new(file).passphrase(asking.passphrase.clone());
            // One that is for another key is passed over.
            for certificate in &certificates {
                auth = auth.identity_file(file.clone().certificate(certificate));
            }
            auth = auth.identity_file(file);
        }
        auth
    }

    fn host_key(&mut self, asking: &Asking) -> HostKeyPolicy {
        let ssh = self.options.ssh_dir();
        let user = self.options.user_known_hosts();
        let mut files = user.unwrap_or_else(|| vec![ssh.join("known_hosts"), ssh.join("known_hosts2")]);
        if files.is_empty() {
            // New keys go to the first file: with `none`, nowhere.
            files.push(PathBuf::from("/dev/null"));
        }
        let global = self.options.global_known_hosts();
        files.extend(global.unwrap_or_else(|| {
            ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from).to_vec()
        }));
        let hash = self.options.flag("hashknownhosts") == Some(true);
        let files = KnownHostsFiles::new(files).hash_names(hash);
        let batch = self.options.batch_mode() == Some(true);
        let verifier = asking.verifier.as_ref().filter(|_| !batch);
        match (self.options.strict_host_keys(), verifier) {
            (Some(StrictHostKeys::Yes), _) => HostKeyPolicy::strict(files),
            (Some(StrictHostKeys::AcceptNew), _) => HostKeyPolicy::accept_new(files),
            (Some(StrictHostKeys::No), _) => {
                let why = "new hosts are accepted, changed keys are still refused";
                self.not_honoured("stricthostkeychecking", why);
                HostKeyPolicy::accept_new(files)
            }
            (Some(StrictHostKeys::Ask) | None, Some(verifier)) => {
                HostKeyPolicy::ask(files, Shared(verifier.clone()))
            }
            (Some(StrictHostKeys::Ask) | None, None) => {
                self.not_honoured("stricthostkeychecking", "there is nobody to ask: new hosts are refused");
                HostKeyPolicy::strict(files)
            }
        }
    }

    fn timeouts(&self) -> Timeouts {
        let mut timeouts = Timeouts::default();
        match self.options.connect_timeout() {
            Some(Some(limit)) if !limit.is_zero() => {
                timeouts.dial = limit;
                timeouts.version = limit;
            }
            // The system's own limit holds.
            Some(_) => timeouts.dial = Duration::MAX,
            None => {}
        }
        timeouts
    }

    fn keepalive(&self) -> Keepalive {
        let interval = self.options.server_alive_interval();
        let count = self.options.server_alive_count_max();
        if interval == Some(Duration::ZERO) {
            return Keepalive::off();
        }
        if interval.is_none() && count.is_none() {
            return Keepalive::default();
        }
        let interval = interval.unwrap_or(Keepalive::default().interval);
        match count.unwrap_or(3) {
            0 => Keepalive::new(interval, u32::MAX),
            // The last question is asked one interval before the end.
            count => Keepalive::new(interval, count.saturating_add(1)),
        }
    }

    fn rekey(&self) -> RekeyLimit {
        match self.options.rekey_limit() {
            None => RekeyLimit::default(),
            Some((bytes, time)) => {
                let bytes = if bytes == 0 { RekeyLimit::default().bytes } else { bytes };
                RekeyLimit::new(bytes, time.unwrap_or(Duration::MAX))
            }
        }
    }

    fn algorithms(&mut self, keyword: &str, kind: AlgorithmKind) -> Option<Vec<String>> {
        let list = match kind {
            AlgorithmKind::Cipher => self.options.ciphers(),
            AlgorithmKind::Mac => self.options.macs(),
            AlgorithmKind::Kex => self.options.kex_algorithms(),
            AlgorithmKind::HostKey => self.options.host_key_algorithms(),
        }?;
        let known = known_algorithms(kind);
        let names = list.resolve(&known.default, &known.all);
        // What there is not need not be taken out.
        let unknown =
            if list.change == super::Change::Remove { Vec::new() } else { list.unknown(&known.all) };
        if names.is_empty() {
            let fix = format!("give at least one of {}", known.all.join(", "));
            self.problem(keyword, "leaves no algorithm that we have", &fix);
        } else if !unknown.is_empty() {
            let why = format!("there is no {} here", unknown.join(", "));
            self.not_honoured(keyword, why);
        }
        Some(names)
    }

    fn proxy(&mut self, asking: &Asking) {
        if self.options.proxy().is_some() && asking.dial.is_none() && !asking.proxy_by_caller {
            let fix = "give a way through it by `Asking::dial_with`, see to it yourself (`Asking::proxy_by_caller`), or say `ProxyJump none`";
            for keyword in ["proxyjump", "proxycommand"] {
                self.problem(keyword, "asks for a proxy, and the connection would be made without", fix);
            }
        }
        if let Some(text) = self.options.text("refuseconnection").map(str::to_owned) {
            self.problem(
                "refuseconnection",
                format!("refuses it: {text}"),
                "connect to another host, or remove it",
            );
        }
    }

    /// What the other keywords come to.
    fn others(&mut self) {
        for Held { keyword, shown, at, .. } in self.options.held() {
            let left = match keyword.standing {
                Standing::Applied | Standing::Done => continue,
                Standing::Caller => Left::ForCaller,
                Standing::Only(good) if good.iter().any(|good| good.eq_ignore_ascii_case(shown)) => continue,
                Standing::Only([]) => Left::NotHonoured("there is no such thing here".to_owned()),
                Standing::Only(good) => {
                    Left::NotHonoured(format!("only {} is possible here", good.join(" or ")))
                }
            };
            self.left.push(LeftOver { keyword: keyword.name, value: shown.clone(), at: at.clone(), left });
        }
    }
}

/// The keys OpenSSH tries without being told, as far as they exist.
fn usual_keys(ssh: &Path) -> Vec<PathBuf> {
    let files = ["id_rsa", "id_ecdsa", "id_ed25519"].map(|name| ssh.join(name));
    files.into_iter().filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests;
