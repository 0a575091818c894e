//! The options before a key in an authorized_keys file (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
//!
//! Owns the grammar and what each option means. Does not know files, and asks no clock.

use super::addresses::Patterns;
use super::expiry;
use crate::server::permissions::Permissions;

/// Environment variables taken from a line.
const MAX_ENVIRONMENT: usize = 1024;

/// What a line says about its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyOptions {
    /// The key signs certificates; it is not for logging in itself.
    pub(super) cert_authority: bool,
    /// Which principals a certificate may name, instead of the user's name.
    pub(super) principals: Option<Vec<String>>,
    /// Where the peer must be.
    pub(super) from: Option<Patterns>,
    /// The last second at which the key is good, in Unix time.
    pub(super) expires: Option<u64>,
    /// What the login may do.
    pub(super) permissions: Permissions,
}

impl KeyOptions {
    /// Reads the options a line begins with; also returns what comes behind them. The error says what is wrong.
    pub(super) fn parse(line: &str) -> Result<(Self, &str), String> {
        let mut options = Self::default();
        let mut rest = line;
        loop {
            rest = options.one(rest)?;
            match rest.strip_prefix(',') {
                // Empty options mean nothing, as in OpenSSH.
                Some(behind) if !behind.starts_with([' ', '\t']) => rest = behind,
                Some(behind) => return Ok((options, behind)),
                None if rest.is_empty() || rest.starts_with([' ', '\t']) => return Ok((options, rest)),
                None => return Err(format!("has an unknown option at `{}`", start_of(rest))),
            }
        }
    }

    /// Reads one option; returns what comes behind it.
    fn one<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        if text.starts_with(',') {
            return Ok(text);
        }
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name = name.to_ascii_lowercase();
        match rest.strip_prefix('=') {
            Some(value) => {
                let (value, rest) = dequote(value).map_err(|what| format!("has `{name}=` {what}"))?;
                self.valued(&name, &value)?;
                Ok(rest)
            }
            None if self.flag(&name)? => Ok(rest),
            None => Err(format!("has the unknown option `{}`", start_of(text))),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        let allowed = &mut self.permissions;
        let (plain, yes) = match name.strip_prefix("no-") {
            Some(plain) => (plain, false),
            None => (name, true),
        };
        match plain {
            "pty" => allowed.pty = yes,
            "port-forwarding" => allowed.port_forwarding = yes,
            "agent-forwarding" => allowed.agent_forwarding = yes,
            "x11-forwarding" => allowed.x11_forwarding = yes,
            // There is no such file here.
            "user-rc" => {}
            // The SSH library does not show the signature: nobody can be made to touch anything.
            "touch-required" if !yes => {}
            "touch-required" | "verify-required" if yes => {
                return Err(format!("has `{name}`, which this server cannot enforce"));
            }
            "verify-required" => {}
            "restrict" if yes => {
                (allowed.pty, allowed.port_forwarding) = (false, false);
                (allowed.agent_forwarding, allowed.x11_forwarding) = (false, false);
            }
            "cert-authority" if yes => self.cert_authority = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn valued(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "command" => once(&mut self.permissions.force_command, name, value.to_owned().into()),
            "principals" => {
                let names: Vec<_> = value.split(',').map(str::to_owned).collect();
                if names.iter().any(String::is_empty) {
                    return Err("has `principals=` with an empty name".to_owned());
                }
                once(&mut self.principals, name, names)
            }
            "from" => {
                let patterns = Patterns::parse(value).map_err(|what| format!("has `from=` that {what}"))?;
                once(&mut self.from, name, patterns)
            }
            "expiry-time" => {
                let at = expiry::parse(value).ok_or_else(|| {
                    format!("has `expiry-time={value}`; write YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]")
                })?;
                self.expires = Some(self.expires.map_or(at, |before| before.min(at)));
                Ok(())
            }
            "environment" => self.environment(value),
            "permitopen" => {
                self.permissions.permit_open.get_or_insert_default().push(target(value, false)?);
                Ok(())
            }
            "permitlisten" => {
                self.permissions.permit_listen.get_or_insert_default().push(target(value, true)?);
                Ok(())
            }
            // There are no tunnel devices here.
            "tunnel" if is_tunnel(value) => Ok(()),
            "tunnel" => Err("has `tunnel=` without the number of a device".to_owned()),
            _ => Err(format!("has the unknown option `{name}=`")),
        }
    }

    /// The first of two values for a name counts.
    fn environment(&mut self, value: &str) -> Result<(), String> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let Some((name, value)) = value.split_once('=').filter(|(name, _)| is_name(name)) else {
            return Err("has `environment=` without a NAME=value of letters, digits and `_`".to_owned());
        };
        let known = &mut self.permissions.environment;
        if known.len() >= MAX_ENVIRONMENT {
            return Err(format!("has more than {MAX_ENVIRONMENT} variables"));
        }
        if !known.iter().any(|(known, _)| known == name) {
            known.push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    if place.is_some() {
        return Err(format!("has `{name}=` twice"));
    }
    *place = Some(value);
    Ok(())
}

/// A value in double quotes, where `\"` stands for one; and what comes behind it.
fn dequote(text: &str) -> Result<(String, &str), &'static str> {
    let inner = text.strip_prefix('"').ok_or("without a quoted value")?;
    let mut value = String::new();
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, inner.get(at + 1..).unwrap_or_default())),
            '\\' if chars.next_if(|(_, next)| *next == '"').is_some() => value.push('"'),
            c => value.push(c),
        }
    }
    Err("without a closing quote")
}

/// `host:port`; the host may be in brackets, the port may be `*`; with `bare`, the host may be left out.
fn target(value: &str, bare: bool) -> Result<String, String> {
    let option = if bare { "permitlisten" } else { "permitopen" };
    let wrong = |what: &str| Err(format!("has `{option}={value}` {what}"));
    let (host, port) = match value.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None if bare => (None, value),
        None => return wrong("without a port"),
    };
    if let Some(host) = host {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match inner {
            Some(inner) => !inner.is_empty(),
            None => !host.is_empty() && !host.contains([':', '[', ']']),
        };
        if !is_host {
            return wrong("without a host; an IPv6 address stands in brackets");
        }
    }
    if port != "*" && !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return wrong("without a port number or `*`");
    }
    Ok(value.to_owned())
}

fn is_tunnel(value: &str) -> bool {
    let is_unit = |unit: &str| unit == "any" || unit.parse::<u32>().is_ok();
    value.split(':').count() <= 2 && value.split(':').all(is_unit)
}

/// Enough of a text to find the place.
fn start_of(text: &str) -> String {
    text.chars().take_while(|c| !c.is_whitespace()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> KeyOptions {
        KeyOptions::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
    }

    #[test]
    fn flags_take_away_and_give_back_in_their_order() {
        let allowed = |text: &str| {
            let allowed = read(text).permissions;
            [allowed.pty, allowed.port_forwarding, allowed.agent_forwarding, allowed.x11_forwarding]
        };
        assert_eq!(allowed("no-pty"), [false, true, true, true]);
        assert_eq!(allowed("No-Port-Forwarding,no-X11-forwarding"), [true, false, true, false]);
        assert_eq!(allowed("restrict"), [false; 4]);
        assert_eq!(allowed("restrict,pty,agent-forwarding"), [true, false, true, false]);
        assert_eq!(allowed("pty,,restrict"), [false; 4]);
        assert_eq!(allowed("no-user-rc,tunnel=\"any\",no-touch-required"), [true; 4]);
    }

    #[test]
    fn values_are_taken_out_of_their_quotes() {
        let options = read(r#"command="say \"hi\", \you" ssh-ed25519"#);
        assert_eq!(options.permissions.force_command.as_deref(), Some(&br#"say "hi", \you"#[..]));
        let options = read(r#"environment="A=1",environment="B=x=y",environment="A=2""#);
        let expected = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())];
        assert_eq!(options.permissions.environment, expected);
        let options =
            read(r#"cert-authority,principals="a,b",expiry-time="20300101Z",expiry-time="20260101Z""#);
        assert!(options.cert_authority);
        assert_eq!(options.principals.unwrap(), ["a", "b"]);
        assert_eq!(options.expires, Some(1_767_225_600));
        let options =
            read(r#"permitopen="h:80",permitopen="[::1]:*",permitlisten="8080",permitlisten="*:1""#);
        assert_eq!(options.permissions.permit_open.unwrap(), ["h:80", "[::1]:*"]);
        assert_eq!(options.permissions.permit_listen.unwrap(), ["8080", "*:1"]);
    }

    #[test]
    fn what_comes_behind_the_options_is_returned() {
        assert_eq!(KeyOptions::parse("no-pty\tkey").unwrap().1, "\tkey");
        assert_eq!(KeyOptions::parse(r#"command="a b" key c"#).unwrap().1, " key c");
        assert_eq!(KeyOptions::parse("no-pty").unwrap().1, "");
    }

    #[test]
    fn an_option_that_is_unknown_or_broken_is_refused_by_name() {
        let table = [
            ("no-such", "no-such"),
            ("no-restrict", "no-restrict"),
            ("no-cert-authority", "no-cert-authority"),
            ("no-pty,", "unknown"),
            ("no-ptyx", "no-ptyx"),
            ("no-pty=\"x\"", "no-pty="),
            ("pty!", "!"),
            ("command", "command"),
            ("command=ls", "command="),
            ("command=\"ls", "closing"),
            ("command=\"a\",command=\"b\"", "twice"),
            ("from=\"a\",from=\"b\"", "twice"),
            ("from=\"10.0.0.1/8\"", "10.0.0.0/8"),
            ("principals=\"a,,b\"", "empty"),
            ("expiry-time=\"tomorrow\"", "YYYYMMDD"),
            ("environment=\"A\"", "NAME=value"),
            ("environment=\"A-B=1\"", "NAME=value"),
            ("environment=\"=1\"", "NAME=value"),
            ("permitopen=\"80\"", "port"),
            ("permitopen=\"h:0\"", "port"),
            ("permitopen=\"::1:80\"", "brackets"),
            ("permitlisten=\"h:x\"", "port"),
            ("tunnel=\"tun0\"", "tunnel"),
            ("verify-required", "enforce"),
            ("environment=\"A=1\"x", "x"),
        ];
        for (text, word) in table {
            let error = KeyOptions::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,200}") {
            let _ = KeyOptions::parse(&text);
        }

        #[test]
        fn no_combination_panics_and_the_rest_is_a_part_of_the_line(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "no-pty", "restrict", "command=", "\"", "\\", "\\\"", ",", " ", "from=", "10.0.0.0/8", "=", "é", "a",
                "expiry-time=", "environment=", "A=b", "permitopen=", "h:80", "principals=", "cert-authority",
            ]), 0..12)
        ) {
            let line = parts.concat();
            if let Ok((_, rest)) = KeyOptions::parse(&line) {
                prop_assert!(line.ends_with(rest));
            }
        }
    }
}
