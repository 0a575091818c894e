//! From the options of a host to a client's configuration, and to the list of what did not go into it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::asking::{Asking, Shared};
use super::error::{Place, Problem, SshConfigError};
use super::keyword::Standing;
use super::kinds::{AddressFamily, IdentityAgent, Proxy, StrictHostKeys};
use super::options::{Held, HostOptions};
use crate::auth::{AgentMode, Auth, IdentityFile};
use crate::client::ClientConfig;
use crate::config::{Keepalive, RekeyLimit, Timeouts};
#[cfg(unix)]
use crate::dial::ProxyCommand;
use crate::dial::{self, TcpKeepalive, TcpOptions, Via};
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
    /// All options that hold for the host: among them those that are for sessions and forwards.
    pub options: HostOptions,
    /// What held for the jump hosts on the way, in the order they are passed. They are in [`config`](Self::config).
    pub hops: Vec<Self>,
}

impl Applied {
    /// What is left over, and wrong but no reason to stop, on the whole way: a line each, the jump hosts' first, with
    /// their names in front.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let hops = self.hops.iter().flat_map(|hop| {
            let name = hop.options.asked().to_owned();
            hop.own_notes().map(move |note| format!("jump host {name}: {note}"))
        });
        hops.chain(self.own_notes()).collect()
    }

    fn own_notes(&self) -> impl Iterator<Item = String> {
        let remarks = self.options.remarks().iter().map(ToString::to_string);
        remarks.chain(self.left.iter().map(LeftOver::to_string))
    }
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
    /// It is about forwards or sessions: [`HostOptions`] has it as a typed value.
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
    /// agent's keys are used that are named by `IdentityFile`. `TCPKeepAlive yes` probes as Linux does by default, first
    /// after two hours. Looks whether the usual key files exist; reads nothing.
    ///
    /// Jump hosts have options of their own: with `ProxyJump`, use [`SshConfig::client`](super::SshConfig::client).
    ///
    /// # Errors
    /// [`SshConfigError::Bad`] for `ProxyJump`, for `RefuseConnection`, for a `BindAddress` that is no address or of the
    /// wrong family, and for lists of algorithms of which we have none.
    pub fn client_config(&self, asking: &Asking) -> Result<Applied, SshConfigError> {
        if matches!(self.proxy(), Some(Proxy::Jump(_))) {
            let mut applying = Applying::new(self);
            let fix = "use `SshConfig::client`, which looks up the jump hosts too, or say `ProxyJump none`";
            applying.problem("proxyjump", "asks for jump hosts, which have options of their own", fix);
            return Err(SshConfigError::Bad(applying.problems));
        }
        self.apply(asking, Start::Here)
    }

    /// The configuration of this host alone, for a way that starts here or on a jump host.
    pub(super) fn apply(&self, asking: &Asking, start: Start) -> Result<Applied, SshConfigError> {
        let mut applying = Applying::new(self);
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
        if let Some(via) = applying.via(start) {
            config = config.via(via);
        }
        applying.refusal();
        applying.others();
        let Applying { left, problems, .. } = applying;
        if !problems.is_empty() {
            return Err(SshConfigError::Bad(problems));
        }
        Ok(Applied { config, left, options: self.clone(), hops: Vec::new() })
    }
}

struct Applying<'a> {
    options: &'a HostOptions,
    left: Vec<LeftOver>,
    problems: Vec<Problem>,
}

/// Where the byte stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// On this machine.
    Here,
    /// On a jump host.
    Elsewhere,
    /// On the jump host that is named before this one: how it is reached otherwise does not matter.
    Behind,
}

impl<'a> Applying<'a> {
    const fn new(options: &'a HostOptions) -> Self {
        Self { options, left: Vec::new(), problems: Vec::new() }
    }

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
        let files = self.options.identity_files().unwrap_or_else(|| usual_keys(&self.options.ssh_dir()));
        let socket = match self.options.identity_agent() {
            Some(IdentityAgent::Off) => None,
            Some(IdentityAgent::At(socket)) => Some(Some(socket)),
            Some(IdentityAgent::Usual) | None => Some(None),
        };
        let only = self.options.flag("identitiesonly") == Some(true);
        let asked = socket.is_some();
        let mut auth = match socket {
            None => auth,
            Some(_) if only && files.is_empty() => auth,
            Some(socket) if only => auth.agent_keys_of(AgentMode::IfAvailable, socket, &files),
            Some(Some(socket)) => auth.agent_at(AgentMode::IfAvailable, socket),
            Some(None) => auth.agent(AgentMode::IfAvailable),
        };
        let certificates = self.options.certificate_files();
        if !certificates.is_empty() && asked {
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

    /// How the byte stream is made; `None` for one that a jump host makes.
    fn via(&mut self, start: Start) -> Option<Via> {
        const SOCKET: [&str; 3] = ["bindaddress", "addressfamily", "tcpkeepalive"];
        if start == Start::Behind {
            for keyword in ["proxycommand", "proxyjump"] {
                self.not_honoured(
                    keyword,
                    "it is reached over the jump host that is named before it, as with OpenSSH",
                );
            }
        }
        if start != Start::Here {
            for keyword in SOCKET {
                self.not_honoured(keyword, "the connection is made by the jump host");
            }
            return None;
        }
        if let Some(Proxy::Command(command)) = self.options.proxy() {
            for keyword in SOCKET {
                self.not_honoured(keyword, "the connection is made by the proxy command");
            }
            return self.command(&command);
        }
        let mut tcp = TcpOptions::new();
        match self.options.address_family() {
            Some(AddressFamily::Inet) => tcp = tcp.family(dial::AddressFamily::Ipv4),
            Some(AddressFamily::Inet6) => tcp = tcp.family(dial::AddressFamily::Ipv6),
            Some(AddressFamily::Any) | None => {}
        }
        if self.options.tcp_keepalive() == Some(true) {
            tcp = tcp.keepalive(TcpKeepalive::new(Duration::from_secs(7200), Duration::from_secs(75), 9));
        }
        if let Some(address) = self.options.bind_address() {
            match address.parse() {
                Ok(address) => tcp = tcp.local_address(address),
                Err(_) => self.problem("bindaddress", "is no address", "give an IP address of this machine"),
            }
            if let Err(error) = tcp.check() {
                self.problem(
                    "bindaddress",
                    error.problem,
                    "give one of the family, or leave `AddressFamily` out",
                );
            }
        }
        Some(Via::tcp(tcp))
    }

    #[cfg(unix)]
    fn command(&mut self, command: &str) -> Option<Via> {
        if command == "-" {
            let fix = "give a command, or a stream of your own by `Client::connect_stream`";
            self.problem("proxycommand", "means our own input and output, which are not for it", fix);
            return None;
        }
        // Its tokens are expanded already.
        Some(Via::command(ProxyCommand::shell(command.replace('%', "%%"))))
    }

    #[cfg(not(unix))]
    fn command(&mut self, _command: &str) -> Option<Via> {
        self.problem("proxycommand", "is there on Unix only", "use `ProxyJump`");
        None
    }

    fn refusal(&mut self) {
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
    // The public key alone says which of the agent's is meant.
    files.into_iter().filter(|path| path.is_file() || path.with_extension("pub").is_file()).collect()
}

#[cfg(test)]
mod tests;
