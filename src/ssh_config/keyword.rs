//! Every keyword that OpenSSH knows: how its value is written, how values add up, and what becomes of it here.
//!
//! The table is OpenSSH 10's; older ones know fewer.

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grammar {
    /// One of these words, whatever the case; each with the word that `ssh -G` shows.
    Choice(&'static [(&'static str, &'static str)]),
    /// One word.
    Word,
    /// All of the line, quotes included.
    Command,
    /// At least one word, or `none` alone.
    WordsOrNone,
    /// One or two words.
    OneOrTwo,
    /// A number.
    Number,
    /// A port.
    Port,
    /// A time; `none`.
    Time,
    /// One of the words, or a time.
    ChoiceOrTime(&'static [(&'static str, &'static str)]),
    /// One of the words, the word `confirm` and a time, or a time.
    AddKeys(&'static [(&'static str, &'static str)]),
    /// Hosts with ports, `*` for any; or `any` or `none` alone.
    Open,
    /// One of the words, or any one word.
    ChoiceOrWord(&'static [(&'static str, &'static str)]),
    /// A list of algorithms.
    Algorithms,
    /// A size and a time.
    Rekey,
    /// A place to listen at and one to connect to.
    LocalForward,
    /// The same, the second may miss.
    RemoteForward,
    /// A place to listen at.
    DynamicForward,
    /// Hosts on the way.
    Jumps,
    /// Names of variables, `-` takes away.
    SendEnv,
    /// `NAME=value`.
    SetEnv,
    /// A path, `SSH_AUTH_SOCK`, `$NAME` or `none`.
    AgentPath,
    /// Anything; it means nothing any more.
    Ignored,
    /// Anything; OpenSSH was built without.
    Unsupported,
    /// A block begins.
    Host,
    /// A block begins.
    Match,
    /// Other files.
    Include,
}

/// How the values of several lines add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// The first one holds.
    First,
    /// All hold, each once.
    All,
}

/// What becomes of an option when it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It goes into the configuration of a client.
    Applied,
    /// It comes out as a typed value, for whoever dials, forwards or opens sessions.
    Caller,
    /// These values are what we do anyway; others cannot be honoured.
    Only(&'static [&'static str]),
    /// It has done its work when the files have been read.
    Done,
}

/// One keyword.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keyword {
    /// In lower case.
    pub(super) name: &'static str,
    pub(super) grammar: Grammar,
    pub(super) merge: Merge,
    pub(super) standing: Standing,
}

/// The keyword of that name, in lower case. Other names that OpenSSH has for it lead to it as well.
pub(super) fn find(name: &str) -> Option<&'static Keyword> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

use Grammar as G;
use Standing::{Applied, Caller, Done, Only};

type Words = &'static [(&'static str, &'static str)];

const YES_NO: Words = &[("yes", "yes"), ("true", "yes"), ("no", "no"), ("false", "no")];
const YES_NO_ASK: Words = &[("yes", "yes"), ("true", "yes"), ("no", "no"), ("false", "no"), ("ask", "ask")];
const STRICT: Words = &[
    ("yes", "yes"),
    ("true", "yes"),
    ("no", "no"),
    ("false", "no"),
    ("off", "no"),
    ("ask", "ask"),
    ("accept-new", "accept-new"),
];
const CANONICALIZE: Words =
    &[("yes", "yes"), ("true", "yes"), ("no", "no"), ("false", "no"), ("always", "always")];
const MASTER: Words = &[
    ("yes", "yes"),
    ("true", "yes"),
    ("no", "no"),
    ("false", "no"),
    ("auto", "auto"),
    ("ask", "ask"),
    ("autoask", "autoask"),
];
const TUNNEL: Words = &[
    ("ethernet", "ethernet"),
    ("point-to-point", "point-to-point"),
    ("yes", "point-to-point"),
    ("true", "point-to-point"),
    ("no", "no"),
    ("false", "no"),
];
const TTY: Words =
    &[("yes", "yes"), ("true", "yes"), ("no", "no"), ("false", "no"), ("force", "force"), ("auto", "auto")];
const PUBKEY: Words = &[
    ("yes", "yes"),
    ("true", "yes"),
    ("no", "no"),
    ("false", "no"),
    ("unbound", "unbound"),
    ("host-bound", "host-bound"),
];
const ADD_KEYS: Words =
    &[("yes", "yes"), ("true", "yes"), ("no", "no"), ("false", "no"), ("ask", "ask"), ("confirm", "confirm")];
const FAMILY: Words = &[("inet", "inet"), ("inet6", "inet6"), ("any", "any")];
const SESSION: Words = &[("none", "none"), ("subsystem", "subsystem"), ("default", "default")];
const HASH: Words =
    &[("md5", "MD5"), ("sha1", "SHA1"), ("sha256", "SHA256"), ("sha384", "SHA384"), ("sha512", "SHA512")];
const LEVEL: Words = &[
    ("silent", "SILENT"),
    ("quiet", "SILENT"),
    ("fatal", "FATAL"),
    ("error", "ERROR"),
    ("info", "INFO"),
    ("verbose", "VERBOSE"),
    ("debug", "DEBUG"),
    ("debug1", "DEBUG"),
    ("debug2", "DEBUG2"),
    ("debug3", "DEBUG3"),
];

const ALIASES: [(&str, &str); 9] = [
    ("challengeresponseauthentication", "kbdinteractiveauthentication"),
    ("skeyauthentication", "kbdinteractiveauthentication"),
    ("tisauthentication", "kbdinteractiveauthentication"),
    ("dsaauthentication", "pubkeyauthentication"),
    ("identityfile2", "identityfile"),
    ("keepalive", "tcpkeepalive"),
    ("hostbasedkeytypes", "hostbasedacceptedalgorithms"),
    ("pubkeyacceptedkeytypes", "pubkeyacceptedalgorithms"),
    ("smartcarddevice", "pkcs11provider"),
];

const fn first(name: &'static str, grammar: Grammar, standing: Standing) -> Keyword {
    Keyword { name, grammar, merge: Merge::First, standing }
}

const fn all(name: &'static str, grammar: Grammar, standing: Standing) -> Keyword {
    Keyword { name, grammar, merge: Merge::All, standing }
}

const fn flag(name: &'static str, standing: Standing) -> Keyword {
    first(name, G::Choice(YES_NO), standing)
}

const fn ignored(name: &'static str) -> Keyword {
    first(name, G::Ignored, Done)
}

const fn unsupported(name: &'static str) -> Keyword {
    first(name, G::Unsupported, Done)
}

const NO: Standing = Only(&["no"]);
const NONE: Standing = Only(&["none"]);
const NEVER: Standing = Only(&[]);

const KEYWORDS: &[Keyword] = &[
    first("host", G::Host, Done),
    first("match", G::Match, Done),
    first("include", G::Include, Done),
    first("ignoreunknown", G::Word, Done),
    first("tag", G::Word, Done),
    // Which host, as whom.
    first("hostname", G::Word, Applied),
    first("user", G::Word, Applied),
    first("port", G::Port, Applied),
    // Who we are.
    all("identityfile", G::Word, Applied),
    all("certificatefile", G::Word, Applied),
    flag("identitiesonly", Applied),
    first("identityagent", G::AgentPath, Applied),
    first("pubkeyauthentication", G::Choice(PUBKEY), Applied),
    flag("passwordauthentication", Applied),
    flag("kbdinteractiveauthentication", Applied),
    first("preferredauthentications", G::Word, Applied),
    first("numberofpasswordprompts", G::Number, Applied),
    flag("batchmode", Applied),
    first("addkeystoagent", G::AddKeys(ADD_KEYS), NO),
    flag("hostbasedauthentication", NO),
    flag("gssapiauthentication", NO),
    flag("gssapidelegatecredentials", NO),
    flag("gssapikeyexchange", NO),
    flag("gssapitrustdns", NO),
    flag("gssapirenewalforcesrekey", NO),
    first("gssapiclientidentity", G::Word, NEVER),
    first("gssapiserveridentity", G::Word, NEVER),
    first("gssapikexalgorithms", G::Word, NEVER),
    first("kbdinteractivedevices", G::Word, NEVER),
    flag("enablesshkeysign", NO),
    first("pkcs11provider", G::Word, NONE),
    first("securitykeyprovider", G::Word, Only(&["internal", "none"])),
    first("pubkeyacceptedalgorithms", G::Algorithms, NEVER),
    first("hostbasedacceptedalgorithms", G::Algorithms, NEVER),
    first("requiredrsasize", G::Number, NEVER),
    // Whom we trust.
    first("stricthostkeychecking", G::Choice(STRICT), Applied),
    first("userknownhostsfile", G::WordsOrNone, Applied),
    first("globalknownhostsfile", G::WordsOrNone, Applied),
    flag("hashknownhosts", Applied),
    first("hostkeyalias", G::Word, Applied),
    first("hostkeyalgorithms", G::Algorithms, Applied),
    first("casignaturealgorithms", G::Algorithms, NEVER),
    first("revokedhostkeys", G::Word, NONE),
    first("knownhostscommand", G::Command, NONE),
    first("verifyhostkeydns", G::Choice(YES_NO_ASK), NO),
    first("updatehostkeys", G::Choice(YES_NO_ASK), NO),
    flag("checkhostip", NO),
    flag("nohostauthenticationforlocalhost", NO),
    // How one gets there.
    first("proxycommand", G::Command, Applied),
    first("proxyjump", G::Jumps, Applied),
    flag("proxyusefdpass", NO),
    first("bindaddress", G::Word, Applied),
    first("bindinterface", G::Word, Caller),
    first("addressfamily", G::Choice(FAMILY), Applied),
    first("connectionattempts", G::Number, Caller),
    flag("tcpkeepalive", Applied),
    first("ipqos", G::OneOrTwo, Caller),
    first("canonicalizehostname", G::Choice(CANONICALIZE), NO),
    first("canonicaldomains", G::WordsOrNone, NONE),
    flag("canonicalizefallbacklocal", Only(&["yes"])),
    first("canonicalizemaxdots", G::Number, Only(&["1"])),
    first("canonicalizepermittedcnames", G::WordsOrNone, NONE),
    // The connection.
    first("connecttimeout", G::Time, Applied),
    first("serveraliveinterval", G::Time, Applied),
    first("serveralivecountmax", G::Number, Applied),
    first("rekeylimit", G::Rekey, Applied),
    first("ciphers", G::Algorithms, Applied),
    first("macs", G::Algorithms, Applied),
    first("kexalgorithms", G::Algorithms, Applied),
    flag("compression", NO),
    first("controlmaster", G::Choice(MASTER), NO),
    first("controlpath", G::Word, NONE),
    first("controlpersist", G::ChoiceOrTime(YES_NO), NO),
    first("versionaddendum", G::Command, NONE),
    first("refuseconnection", G::Command, Applied),
    flag("warnweakcrypto", NO),
    first("channeltimeout", G::WordsOrNone, NONE),
    flag("obscurekeystroketiming", NO),
    // What runs over it.
    all("localforward", G::LocalForward, Caller),
    all("remoteforward", G::RemoteForward, Caller),
    all("dynamicforward", G::DynamicForward, Caller),
    flag("clearallforwardings", Done),
    flag("exitonforwardfailure", Caller),
    flag("gatewayports", Caller),
    first("permitremoteopen", G::Open, Caller),
    first("streamlocalbindmask", G::Word, Caller),
    flag("streamlocalbindunlink", Caller),
    first("forwardagent", G::ChoiceOrWord(YES_NO), Caller),
    flag("forwardx11", Caller),
    flag("forwardx11trusted", Caller),
    first("forwardx11timeout", G::Time, Caller),
    first("xauthlocation", G::Word, Caller),
    all("sendenv", G::SendEnv, Caller),
    first("setenv", G::SetEnv, Caller),
    first("requesttty", G::Choice(TTY), Caller),
    first("remotecommand", G::Command, Caller),
    first("sessiontype", G::Choice(SESSION), Caller),
    flag("stdinnull", Caller),
    first("escapechar", G::Word, Caller),
    flag("forkafterauthentication", NO),
    first("localcommand", G::Command, NEVER),
    flag("permitlocalcommand", NO),
    first("tunnel", G::Choice(TUNNEL), NO),
    first("tunneldevice", G::Word, NEVER),
    flag("enableescapecommandline", NO),
    // What is shown.
    first("loglevel", G::Choice(LEVEL), NEVER),
    first("logverbose", G::WordsOrNone, NONE),
    first("syslogfacility", G::Word, NEVER),
    first("fingerprinthash", G::Choice(HASH), Only(&["SHA256"])),
    flag("visualhostkey", NO),
    // What was.
    ignored("protocol"),
    ignored("cipher"),
    ignored("fallbacktorsh"),
    ignored("globalknownhostsfile2"),
    ignored("rhostsauthentication"),
    ignored("userknownhostsfile2"),
    ignored("useroaming"),
    ignored("usersh"),
    ignored("useprivilegedport"),
    unsupported("afstokenpassing"),
    unsupported("kerberosauthentication"),
    unsupported("kerberostgtpassing"),
    unsupported("rsaauthentication"),
    unsupported("rhostsrsaauthentication"),
    unsupported("compressionlevel"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_keyword_is_there_twice_and_every_alias_leads_somewhere() {
        let mut names: Vec<_> = KEYWORDS.iter().map(|keyword| keyword.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())));
        for (alias, name) in ALIASES {
            assert!(find(alias).is_some_and(|keyword| keyword.name == name), "{alias}");
        }
    }
}
