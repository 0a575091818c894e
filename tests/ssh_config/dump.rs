//! What `ssh -G` says, and what we say, in one form.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use ractor_ssh::ssh_config::{AlgorithmList, HostOptions};

use crate::kit::require_program;

/// Values by keyword, in order.
pub(crate) type Dump = BTreeMap<String, Vec<String>>;

/// Asks `ssh` about one file; its error text if it refuses.
pub(crate) fn ssh(file: &Path, arguments: &[String]) -> Result<Dump, String> {
    let mut command = Command::new(require_program("ssh").unwrap());
    command.arg("-G").arg("-F").arg(file).args(arguments);
    dump(command)
}

/// Asks `ssh` about the files it reads without being told.
pub(crate) fn usual(host: &str) -> Result<Dump, String> {
    let mut command = Command::new(require_program("ssh").unwrap());
    command.arg("-G").arg(host);
    dump(command)
}

fn dump(mut command: Command) -> Result<Dump, String> {
    command.stdin(Stdio::null());
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let mut dump = Dump::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        dump.entry(keyword.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
    let listens: Vec<String> = dump.get("localforward").into_iter().flatten().cloned().collect();
    if let Some(dynamic) = dump.get_mut("dynamicforward") {
        // It shows local forwards that lead to sockets here as well.
        dynamic.retain(|shown| {
            !listens
                .iter()
                .any(|local| local.strip_prefix(shown.as_str()).is_some_and(|rest| rest.starts_with(' ')))
        });
        if dynamic.is_empty() {
            dump.remove("dynamicforward");
        }
    }
    Ok(dump)
}

/// What `ssh -Q` lists; asked once.
fn query(what: &'static str) -> Vec<String> {
    static KNOWN: Mutex<BTreeMap<&str, Vec<String>>> = Mutex::new(BTreeMap::new());
    let ask = || {
        let output = Command::new(require_program("ssh").unwrap()).args(["-Q", what]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    KNOWN.lock().unwrap().entry(what).or_insert_with(ask).clone()
}

/// Ours. Algorithms are resolved against what `ssh` has.
pub(crate) fn ours(options: &HostOptions, defaults: &Dump) -> Dump {
    let mut dump = Dump::new();
    for setting in options.settings() {
        dump.entry(setting.keyword.to_owned()).or_default().push(setting.value.to_owned());
    }
    dump.insert("host".to_owned(), vec![options.asked().to_owned()]);
    dump.insert("hostname".to_owned(), vec![options.host().to_owned()]);
    dump.insert("user".to_owned(), vec![options.user().to_owned()]);
    dump.insert("port".to_owned(), vec![options.port().to_string()]);
    if dump.contains_key("setenv") {
        let pairs = options.set_env().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        dump.insert("setenv".to_owned(), pairs);
    }
    let mut algorithms = |keyword: &str, list: Option<&AlgorithmList>, all: &'static str| {
        if let Some(list) = list {
            let default: Vec<&str> = defaults[keyword][0].split(',').collect();
            dump.insert(keyword.to_owned(), vec![list.resolve(&default, &query(all)).join(",")]);
        }
    };
    algorithms("ciphers", options.ciphers(), "cipher");
    algorithms("macs", options.macs(), "mac");
    algorithms("kexalgorithms", options.kex_algorithms(), "kex");
    algorithms("hostkeyalgorithms", options.host_key_algorithms(), "HostKeyAlgorithms");
    dump
}

/// Takes out differences of writing that mean nothing.
fn plain(keyword: &str, values: &[String]) -> Vec<String> {
    let mut plain: Vec<String> = Vec::new();
    for value in values {
        let value = match (keyword, value.as_str()) {
            ("serveraliveinterval", "none") => "0".to_owned(),
            ("ipqos", one) if !one.contains(' ') => format!("{one} {one}"),
            ("escapechar" | "syslogfacility", value) => value.replace('\\', "").to_ascii_lowercase(),
            ("streamlocalbindmask", mask) => mask.trim_start_matches('0').to_owned(),
            (_, "true") => "yes".to_owned(),
            (_, "false") => "no".to_owned(),
            (_, value) => value.to_owned(),
        };
        // It sends a variable twice if two passes say so.
        if keyword != "sendenv" || !plain.contains(&value) {
            plain.push(value);
        }
    }
    plain
}

/// Every keyword in which ours is another value than theirs: what we have must be the same, what we do not have must be their
/// default.
pub(crate) fn differences(ours: &Dump, theirs: &Dump, defaults: &Dump) -> Vec<String> {
    let none = Vec::new();
    let keywords: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut differences = Vec::new();
    for keyword in keywords {
        // It shows the first of several only.
        let first_only = keyword == "logverbose";
        // A default that hangs on other options.
        let derived = keyword == "updatehostkeys" && !ours.contains_key(keyword);
        if first_only || derived {
            continue;
        }
        let their = plain(keyword, theirs.get(keyword).unwrap_or(&none));
        let our = match ours.get(keyword) {
            Some(ours) => plain(keyword, ours),
            None => plain(keyword, defaults.get(keyword).unwrap_or(&none)),
        };
        let same_as_none = their.is_empty() && our == ["none"];
        if our != their && !same_as_none {
            differences.push(format!("{keyword}: ours {our:?}, ssh has {their:?}"));
        }
    }
    differences
}
