//! The options that hold for one host, typed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::algorithms::AlgorithmList;
use super::error::{Place, Problem};
use super::forward::Forward;
use super::keyword::Keyword;
use super::kinds::{
    AddressFamily, AgentForwarding, IdentityAgent, Proxy, RequestTty, SessionType, StrictHostKeys,
};
use super::local::Local;
use super::permit::Open;
use super::value::Value;

/// One option, expanded.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) keyword: &'static Keyword,
    /// `None`: it says that there is none, or could not be expanded.
    pub(super) value: Option<Value>,
    /// As `ssh -G` shows it.
    pub(super) shown: String,
    pub(super) at: Place,
}

/// The options that hold for one host. What no file says is `None`, or empty: OpenSSH's defaults are not put in.
#[derive(Debug, Clone)]
pub struct HostOptions {
    asked: String,
    host: String,
    default_port: u16,
    local: Local,
    held: BTreeMap<&'static str, Vec<Held>>,
    remarks: Vec<Problem>,
}

/// One option, as `ssh -G` shows it, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting<'a> {
    /// The keyword, in lower case.
    pub keyword: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Where it stands.
    pub at: &'a Place,
}

impl fmt::Display for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.keyword, self.value)
    }
}

impl HostOptions {
    pub(super) const fn new(
        asked: String,
        host: String,
        default_port: u16,
        local: Local,
        held: BTreeMap<&'static str, Vec<Held>>,
        remarks: Vec<Problem>,
    ) -> Self {
        Self { asked, host, default_port, local, held, remarks }
    }

    /// All options that are given, by keyword; those that add up in the order they were given.
    pub fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        let all = self.held.values().flatten();
        all.map(|held| Setting { keyword: held.keyword.name, value: &held.shown, at: &held.at })
    }

    /// What is wrong, but no reason to stop: keywords that are ignored because of `IgnoreUnknown`, keywords of times past,
    /// `Match exec` that was skipped, files that cannot be named.
    #[must_use]
    pub fn remarks(&self) -> &[Problem] {
        &self.remarks
    }

    /// The host as it was asked for.
    #[must_use]
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// The name or address to connect to: `HostName`, or the host as it was asked for, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whom to log in as: `User`, or the local user.
    #[must_use]
    pub fn user(&self) -> &str {
        self.text("user").unwrap_or(&self.local.user)
    }

    /// The port; if none is given, the [default](super::Asked::default_port), 22.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.number("port").and_then(|port| u16::try_from(port).ok()).unwrap_or(self.default_port)
    }

    /// `IdentityFile`, expanded. `None`: none is given, and the usual ones are meant; empty: `none`.
    #[must_use]
    pub fn identity_files(&self) -> Option<Vec<PathBuf>> {
        self.held.contains_key("identityfile").then(|| self.paths("identityfile"))
    }

    /// `CertificateFile`, expanded.
    #[must_use]
    pub fn certificate_files(&self) -> Vec<PathBuf> {
        self.paths("certificatefile")
    }

    /// `IdentityAgent`.
    #[must_use]
    pub fn identity_agent(&self) -> Option<IdentityAgent> {
        let agent = self.text("identityagent")?;
        Some(match agent {
            none if none.eq_ignore_ascii_case("none") => IdentityAgent::Off,
            "SSH_AUTH_SOCK" => IdentityAgent::Usual,
            path => IdentityAgent::At(variable_or_path(path)),
        })
    }

    /// `StrictHostKeyChecking`.
    #[must_use]
    pub fn strict_host_keys(&self) -> Option<StrictHostKeys> {
        Some(match self.text("stricthostkeychecking")? {
            "yes" => StrictHostKeys::Yes,
            "accept-new" => StrictHostKeys::AcceptNew,
            "ask" => StrictHostKeys::Ask,
            _ => StrictHostKeys::No,
        })
    }

    /// `UserKnownHostsFile`, expanded; empty for `none`.
    #[must_use]
    pub fn user_known_hosts(&self) -> Option<Vec<PathBuf>> {
        self.files("userknownhostsfile")
    }

    /// `GlobalKnownHostsFile`; empty for `none`.
    #[must_use]
    pub fn global_known_hosts(&self) -> Option<Vec<PathBuf>> {
        self.files("globalknownhostsfile")
    }

    /// `ProxyJump` or `ProxyCommand`. `None`: none is given, or `none` is.
    #[must_use]
    pub fn proxy(&self) -> Option<Proxy> {
        match (self.first("proxyjump"), self.text("proxycommand")) {
            (Some(Value::Jumps(jumps)), _) if !jumps.is_empty() => Some(Proxy::Jump(jumps.clone())),
            (_, Some(command)) if !command.eq_ignore_ascii_case("none") => {
                Some(Proxy::Command(command.to_owned()))
            }
            _ => None,
        }
    }

    /// `BindAddress`.
    #[must_use]
    pub fn bind_address(&self) -> Option<&str> {
        self.text("bindaddress")
    }

    /// `BindInterface`.
    #[must_use]
    pub fn bind_interface(&self) -> Option<&str> {
        self.text("bindinterface")
    }

    /// `AddressFamily`.
    #[must_use]
    pub fn address_family(&self) -> Option<AddressFamily> {
        Some(match self.text("addressfamily")? {
            "inet" => AddressFamily::Inet,
            "inet6" => AddressFamily::Inet6,
            _ => AddressFamily::Any,
        })
    }

    /// `ConnectionAttempts`.
    #[must_use]
    pub fn connection_attempts(&self) -> Option<u32> {
        self.number("connectionattempts")
    }

    /// `TCPKeepAlive`.
    #[must_use]
    pub fn tcp_keepalive(&self) -> Option<bool> {
        self.flag("tcpkeepalive")
    }

    /// `IPQoS`: for interactive sessions, and for others if there are two.
    #[must_use]
    pub fn ip_qos(&self) -> &[String] {
        self.words("ipqos")
    }

    /// `ConnectTimeout`; the inner `None` is `none`.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Option<Duration>> {
        self.time("connecttimeout")
    }

    /// `ServerAliveInterval`; zero is none.
    #[must_use]
    pub fn server_alive_interval(&self) -> Option<Duration> {
        self.time("serveraliveinterval").map(Option::unwrap_or_default)
    }

    /// `ServerAliveCountMax`.
    #[must_use]
    pub fn server_alive_count_max(&self) -> Option<u32> {
        self.number("serveralivecountmax")
    }

    /// `RekeyLimit`: bytes, 0 for the default, and a time.
    #[must_use]
    pub fn rekey_limit(&self) -> Option<(u64, Option<Duration>)> {
        match self.first("rekeylimit")? {
            Value::Rekey { bytes, time } => Some((*bytes, *time)),
            _ => None,
        }
    }

    /// `Ciphers`.
    #[must_use]
    pub fn ciphers(&self) -> Option<&AlgorithmList> {
        self.algorithms("ciphers")
    }

    /// `MACs`.
    #[must_use]
    pub fn macs(&self) -> Option<&AlgorithmList> {
        self.algorithms("macs")
    }

    /// `KexAlgorithms`.
    #[must_use]
    pub fn kex_algorithms(&self) -> Option<&AlgorithmList> {
        self.algorithms("kexalgorithms")
    }

    /// `HostKeyAlgorithms`.
    #[must_use]
    pub fn host_key_algorithms(&self) -> Option<&AlgorithmList> {
        self.algorithms("hostkeyalgorithms")
    }

    /// `LocalForward`, in order.
    #[must_use]
    pub fn local_forwards(&self) -> Vec<Forward> {
        self.forwards("localforward")
    }

    /// `RemoteForward`, in order.
    #[must_use]
    pub fn remote_forwards(&self) -> Vec<Forward> {
        self.forwards("remoteforward")
    }

    /// `DynamicForward`, in order.
    #[must_use]
    pub fn dynamic_forwards(&self) -> Vec<Forward> {
        self.forwards("dynamicforward")
    }

    /// `GatewayPorts`. See [`forward`](Self::forward).
    #[must_use]
    pub fn gateway_ports(&self) -> Option<bool> {
        self.flag("gatewayports")
    }

    /// `ExitOnForwardFailure`.
    #[must_use]
    pub fn exit_on_forward_failure(&self) -> Option<bool> {
        self.flag("exitonforwardfailure")
    }

    /// `PermitRemoteOpen`: `host:port`, `any` or `none`. See [`permits_remote_open`](Self::permits_remote_open).
    #[must_use]
    pub fn permit_remote_open(&self) -> &[String] {
        self.words("permitremoteopen")
    }

    /// Whether `PermitRemoteOpen` lets the SOCKS clients of a remote forward go there: for
    /// [`Forward::permit_open`](crate::forward::Forward::permit_open), into which [`forward`](Self::forward) puts it. As in OpenSSH, names and addresses must be the same to
    /// the letter, `*` stands for all hosts or ports, and nothing is looked up.
    #[must_use]
    pub fn permits_remote_open(&self, host: &str, port: u16) -> bool {
        let places = self.permit_remote_open();
        places.is_empty()
            || places.iter().filter_map(|place| Open::parse(place)).any(|place| place.is_for(host, port))
    }

    /// `StreamLocalBindMask`.
    #[must_use]
    pub fn stream_local_bind_mask(&self) -> Option<u32> {
        u32::from_str_radix(self.text("streamlocalbindmask")?, 8).ok()
    }

    /// `StreamLocalBindUnlink`.
    #[must_use]
    pub fn stream_local_bind_unlink(&self) -> Option<bool> {
        self.flag("streamlocalbindunlink")
    }

    /// `ForwardAgent`.
    #[must_use]
    pub fn forward_agent(&self) -> Option<AgentForwarding> {
        Some(match self.text("forwardagent")? {
            "no" => AgentForwarding::No,
            "yes" => AgentForwarding::Yes,
            path => AgentForwarding::At(variable_or_path(path)),
        })
    }

    /// `ForwardX11`.
    #[must_use]
    pub fn forward_x11(&self) -> Option<bool> {
        self.flag("forwardx11")
    }

    /// `ForwardX11Trusted`.
    #[must_use]
    pub fn forward_x11_trusted(&self) -> Option<bool> {
        self.flag("forwardx11trusted")
    }

    /// `ForwardX11Timeout`; the inner `None` is `none`.
    #[must_use]
    pub fn forward_x11_timeout(&self) -> Option<Option<Duration>> {
        self.time("forwardx11timeout")
    }

    /// `XAuthLocation`.
    #[must_use]
    pub fn xauth_location(&self) -> Option<&str> {
        self.text("xauthlocation")
    }

    /// `SendEnv`: patterns of names, in order.
    #[must_use]
    pub fn send_env(&self) -> Vec<&str> {
        self.all("sendenv").filter_map(Value::as_text).collect()
    }

    /// `SetEnv`: names and values; of a name that comes twice, the first.
    #[must_use]
    pub fn set_env(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (name, value) in self.words("setenv").iter().filter_map(|pair| pair.split_once('=')) {
            if !pairs.iter().any(|(known, _)| *known == name) {
                pairs.push((name, value));
            }
        }
        pairs
    }

    /// `RequestTTY`.
    #[must_use]
    pub fn request_tty(&self) -> Option<RequestTty> {
        Some(match self.text("requesttty")? {
            "no" => RequestTty::No,
            "yes" => RequestTty::Yes,
            "force" => RequestTty::Force,
            _ => RequestTty::Auto,
        })
    }

    /// `RemoteCommand`, tokens expanded. `None`: none is given, or `none` is.
    #[must_use]
    pub fn remote_command(&self) -> Option<&str> {
        self.text("remotecommand").filter(|command| !command.eq_ignore_ascii_case("none"))
    }

    /// `SessionType`.
    #[must_use]
    pub fn session_type(&self) -> Option<SessionType> {
        Some(match self.text("sessiontype")? {
            "none" => SessionType::None,
            "subsystem" => SessionType::Subsystem,
            _ => SessionType::Default,
        })
    }

    /// `StdinNull`.
    #[must_use]
    pub fn stdin_null(&self) -> Option<bool> {
        self.flag("stdinnull")
    }

    /// `EscapeChar`, as it is written.
    #[must_use]
    pub fn escape_char(&self) -> Option<&str> {
        self.text("escapechar")
    }

    /// `BatchMode`.
    #[must_use]
    pub fn batch_mode(&self) -> Option<bool> {
        self.flag("batchmode")
    }

    /// `~/.ssh` of the local user.
    pub(super) fn ssh_dir(&self) -> PathBuf {
        self.local.ssh_dir()
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.values().flatten()
    }

    fn all(&self, keyword: &str) -> impl Iterator<Item = &Value> {
        self.held.get(keyword).into_iter().flatten().filter_map(|held| held.value.as_ref())
    }

    pub(super) fn first(&self, keyword: &str) -> Option<&Value> {
        self.all(keyword).next()
    }

    pub(super) fn text(&self, keyword: &str) -> Option<&str> {
        self.first(keyword)?.as_text()
    }

    pub(super) fn flag(&self, keyword: &str) -> Option<bool> {
        self.text(keyword).map(|word| word == "yes")
    }

    pub(super) fn number(&self, keyword: &str) -> Option<u32> {
        if let Value::Number(number) = self.first(keyword)? { Some(*number) } else { None }
    }

    fn time(&self, keyword: &str) -> Option<Option<Duration>> {
        if let Value::Time(time) = self.first(keyword)? { Some(*time) } else { None }
    }

    fn words(&self, keyword: &str) -> &[String] {
        if let Some(Value::Words(words)) = self.first(keyword) { words } else { &[] }
    }

    fn files(&self, keyword: &str) -> Option<Vec<PathBuf>> {
        self.held.contains_key(keyword).then(|| {
            let words = self.words(keyword).iter().filter(|word| !word.eq_ignore_ascii_case("none"));
            words.map(PathBuf::from).collect()
        })
    }

    fn paths(&self, keyword: &str) -> Vec<PathBuf> {
        self.all(keyword).filter_map(Value::as_text).map(PathBuf::from).collect()
    }

    fn algorithms(&self, keyword: &str) -> Option<&AlgorithmList> {
        if let Value::Algorithms(list) = self.first(keyword)? { Some(list) } else { None }
    }

    fn forwards(&self, keyword: &str) -> Vec<Forward> {
        let forward =
            |value: &Value| if let Value::Forward(forward) = value { Some(forward.clone()) } else { None };
        self.all(keyword).filter_map(forward).collect()
    }
}

/// `$NAME`, the old way to name a variable, or a path.
fn variable_or_path(text: &str) -> PathBuf {
    match text.strip_prefix('$') {
        Some(name) => std::env::var_os(name).map(PathBuf::from).unwrap_or_default(),
        None => PathBuf::from(text),
    }
}
