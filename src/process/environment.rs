//! What a process finds in its environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;

use super::account::Account;
use crate::SessionRequest;

/// What a process finds first if nobody says otherwise.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

pub(super) type Environment = BTreeMap<OsString, OsString>;

/// Later ones win: what the peer asked for and is allowed, what the daemon knows, what came with the login, what the peer
/// lends.
pub(super) fn environment(request: &SessionRequest, account: &Account, allowed: &[String]) -> Environment {
    let mut found = Environment::new();
    let mut set = |name: &str, value: OsString| {
        found.insert(name.into(), value);
    };
    for (name, value) in &request.env {
        if may_be_asked(name, value) && allowed.iter().any(|pattern| matches(pattern, name)) {
            set(name, value.into());
        }
    }
    set("HOME", account.home.clone().into());
    set("USER", account.name.clone().into());
    set("LOGNAME", account.name.clone().into());
    set("SHELL", account.shell.clone().into());
    set("PATH", DEFAULT_PATH.into());
    if let Some(peer) = request.peer {
        let local_port = request.local.map_or(0, |local| local.port());
        set("SSH_CLIENT", format!("{} {local_port}", address(peer)).into());
        if let Some(local) = request.local {
            set("SSH_CONNECTION", format!("{} {}", address(peer), address(local)).into());
        }
    }
    if let Some(pty) = &request.pty
        && may_be_set("TERM", &pty.term)
        && !pty.term.is_empty()
    {
        set("TERM", pty.term.clone().into());
    }
    for (name, value) in &request.environment {
        if may_be_set(name, value) {
            set(name, value.into());
        }
    }
    if let Some(socket) = &request.agent_socket {
        set("SSH_AUTH_SOCK", socket.into());
    }
    if let Some(x11) = &request.x11 {
        set("DISPLAY", x11.display.clone().into());
        set("XAUTHORITY", x11.authority.clone().into());
    }
    found
}

/// As OpenSSH writes it: no brackets, no colon before the port.
fn address(address: SocketAddr) -> String {
    format!("{} {}", address.ip().to_canonical(), address.port())
}

/// Whether a peer may set it at all: it has no say in what the daemon tells about the connection.
fn may_be_asked(name: &str, value: &str) -> bool {
    may_be_set(name, value) && !name.starts_with("SSH_")
}

/// Not what no environment can hold.
fn may_be_set(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// Whether a name fits a pattern, in which `*` stands for any characters, and `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pattern_rest = pattern.chars();
    match pattern_rest.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = pattern_rest.as_str().trim_start_matches('*');
            let tails = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            tails.filter_map(|at| name.get(at..)).any(|tail| matches(rest, tail))
        }
        Some(wanted) => {
            let mut name_rest = name.chars();
            name_rest.next().is_some_and(|found| wanted == '?' || wanted == found)
                && matches(pattern_rest.as_str(), name_rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::pty::PtyRequest;
    use crate::{SessionKind, X11Session};

    fn account() -> Account {
        Account { name: "bob".into(), home: "/home/bob".into(), shell: "/bin/zsh".into() }
    }

    fn request() -> SessionRequest {
        SessionRequest {
            user: "alice".into(),
            peer: None,
            local: None,
            permissions: Arc::default(),
            kind: SessionKind::Shell,
            env: Vec::new(),
            environment: Vec::new(),
            pty: None,
            agent_socket: None,
            x11: None,
        }
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    fn get(environment: &Environment, name: &str) -> Option<String> {
        environment.get(&OsString::from(name)).map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, name, fits) in [
            ("LANG", "LANG", true),
            ("LANG", "LANGUAGE", false),
            ("LC_*", "LC_ALL", true),
            ("LC_*", "LC_", true),
            ("LC_*", "LD_PRELOAD", false),
            ("*", "ANY", true),
            ("*_X_*", "A_X_B", true),
            ("*_X_*", "A_X", false),
            ("A?C", "ABC", true),
            ("A?C", "AC", false),
            ("ü*", "über", true),
            ("", "", true),
            ("", "A", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn the_peer_sets_only_what_is_allowed_and_nothing_that_is_the_daemons() {
        let mut request = request();
        request.env = vec![
            pair("LANG", "C"),
            pair("PATH", "/evil"),
            pair("LD_PRELOAD", "x"),
            pair("LC_ALL", "a\0b"),
            pair("LC_A=B", "c"),
            pair("SSH_ORIGINAL_COMMAND", "x"),
        ];
        let all = environment(&request, &account(), &["*".into()]);
        assert_eq!(get(&all, "PATH").as_deref(), Some(DEFAULT_PATH));
        assert_eq!(get(&all, "LD_PRELOAD").as_deref(), Some("x"));
        for missing in ["LC_ALL", "LC_A=B", "SSH_ORIGINAL_COMMAND"] {
            assert_eq!(get(&all, missing), None, "{missing}");
        }
        let few = environment(&request, &account(), &["LANG".into(), "LC_*".into()]);
        let names: Vec<_> = few.keys().map(|name| name.to_string_lossy()).collect();
        assert_eq!(names, ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"]);
        assert_eq!(get(&few, "USER").as_deref(), Some("bob"));
    }

    #[test]
    fn what_came_with_the_login_wins() {
        let mut request = request();
        request.env = vec![pair("LANG", "C")];
        request.environment = vec![pair("LANG", "de_DE"), pair("PATH", "/opt")];
        let found = environment(&request, &account(), &["LANG".into()]);
        assert_eq!(get(&found, "LANG").as_deref(), Some("de_DE"));
        assert_eq!(get(&found, "PATH").as_deref(), Some("/opt"));
    }

    #[test]
    fn what_the_peer_lends_wins_and_is_told_only_then() {
        let mut request = request();
        let names = ["SSH_AUTH_SOCK", "DISPLAY"];
        request.env = names.iter().map(|name| pair(name, "asked")).collect();
        let found = environment(&request, &account(), &["*".into()]);
        assert_eq!(get(&found, "SSH_AUTH_SOCK"), None);
        assert_eq!(get(&found, "XAUTHORITY"), None);
        request.environment = names.iter().map(|name| pair(name, "login")).collect();
        request.agent_socket = Some("/tmp/agent".into());
        request.x11 = Some(X11Session { display: "localhost:10.0".into(), authority: "/tmp/x".into() });
        let found = environment(&request, &account(), &["*".into()]);
        assert_eq!(get(&found, "SSH_AUTH_SOCK").as_deref(), Some("/tmp/agent"));
        assert_eq!(get(&found, "DISPLAY").as_deref(), Some("localhost:10.0"));
        assert_eq!(get(&found, "XAUTHORITY").as_deref(), Some("/tmp/x"));
    }

    #[test]
    fn the_addresses_and_the_terminal_are_told() {
        let mut request = request();
        request.peer = Some(([192, 0, 2, 7], 5000).into());
        request.local = Some("[::1]:22".parse().unwrap());
        request.pty = Some(PtyRequest::new("xterm"));
        let found = environment(&request, &account(), &[]);
        assert_eq!(get(&found, "SSH_CLIENT").as_deref(), Some("192.0.2.7 5000 22"));
        assert_eq!(get(&found, "SSH_CONNECTION").as_deref(), Some("192.0.2.7 5000 ::1 22"));
        assert_eq!(get(&found, "TERM").as_deref(), Some("xterm"));
    }
}
