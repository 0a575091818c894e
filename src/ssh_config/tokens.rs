//! What is put in for `%h`, `${NAME}` and `~`.

use sha1::{Digest, Sha1};

use super::local::Local;

/// What tokens stand for, when everything about a host is known.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    pairs: Vec<(char, String)>,
}

/// What is known of a host.
pub(super) struct Known<'a> {
    pub(super) local: &'a Local,
    pub(super) host: &'a str,
    pub(super) asked: &'a str,
    pub(super) alias: &'a str,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) jump: &'a str,
}

impl Tokens {
    /// All that OpenSSH's `DEFAULT_CLIENT_PERCENT_EXPAND_ARGS` has.
    pub(super) fn all(known: &Known<'_>) -> Self {
        let Known { local, host, asked, alias, port, user, jump } = known;
        let port = port.to_string();
        let mut hash = Sha1::new();
        for part in [&local.hostname, *host, &port, *user, *jump] {
            hash.update(part.as_bytes());
        }
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let pairs = vec![
            ('C', hash),
            ('d', local.home().display().to_string()),
            ('h', (*host).to_owned()),
            ('i', local.uid.to_string()),
            ('j', (*jump).to_owned()),
            ('k', (*alias).to_owned()),
            ('L', local.short_hostname().to_owned()),
            ('l', local.hostname.clone()),
            ('n', (*asked).to_owned()),
            ('p', port),
            ('r', (*user).to_owned()),
            ('u', local.user.clone()),
        ];
        Self { pairs }
    }

    /// Only some of them.
    pub(super) fn only(&self, keys: &str) -> Self {
        Self { pairs: self.pairs.iter().filter(|(key, _)| keys.contains(*key)).cloned().collect() }
    }

    /// `%h` alone, for `HostName`.
    pub(super) fn host(host: &str) -> Self {
        Self { pairs: vec![('h', host.to_owned())] }
    }

    fn get(&self, key: char) -> Option<&str> {
        self.pairs.iter().find(|(token, _)| *token == key).map(|(_, value)| value.as_str())
    }
}

/// Puts in tokens, if there are any to put in, and variables, if that is wanted. What was put in is not looked at again.
/// The error says what is wrong.
pub(super) fn expand(text: &str, tokens: Option<&Tokens>, variables: bool) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '$']) {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        expanded.push_str(before);
        if let Some(inner) = from.strip_prefix("${").filter(|_| variables) {
            let Some((name, after)) = inner.split_once('}') else {
                return Err(format!("`{text}` has a `${{` that is not closed"));
            };
            match std::env::var(name) {
                Ok(value) if !name.is_empty() => expanded.push_str(&value),
                _ => return Err(format!("the environment variable `{name}` is not set")),
            }
            rest = after;
            continue;
        }
        let mut chars = from.chars();
        let (sign, key) = (chars.next(), chars.next());
        match (sign, key, tokens) {
            (Some('%'), Some('%'), Some(_)) => expanded.push('%'),
            (Some('%'), Some(key), Some(tokens)) => match tokens.get(key) {
                Some(value) => expanded.push_str(value),
                None => return Err(format!("`%{key}` means nothing here")),
            },
            (Some('%'), None, Some(_)) => return Err(format!("`{text}` ends with a `%`")),
            (sign, _, _) => {
                expanded.extend(sign);
                rest = from.get(1..).unwrap_or("");
                continue;
            }
        }
        rest = chars.as_str();
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Puts in the home directory for a leading `~` or `~user`. The error says what is wrong.
pub(super) fn tilde(text: &str, local: &Local) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(text.to_owned()) };
    let (user, path) = rest.split_once('/').unwrap_or((rest, ""));
    let home = local.home_of(user).ok_or_else(|| format!("there is no user `{user}` here"))?;
    let home = home.display().to_string();
    let slash = if home.ends_with('/') { "" } else { "/" };
    Ok(format!("{home}{slash}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        let local = Local::new("me", 1000, "/home/me", "desk.example.org");
        Tokens::all(&Known {
            local: &local,
            host: "h.example.org",
            asked: "h",
            alias: "alias",
            port: 2222,
            user: "you",
            jump: "",
        })
    }

    #[test]
    fn every_token_stands_for_what_openssh_puts_in() {
        let text = "%d %h %i %k %L %l %n %p %r %u %% %j.";
        let expected = "/home/me h.example.org 1000 alias desk desk.example.org h 2222 you me % .";
        assert_eq!(expand(text, Some(&tokens()), true).as_deref(), Ok(expected));
        // printf desk.example.orgh.example.org2222you | sha1sum
        assert_eq!(
            expand("%C", Some(&tokens()), true).as_deref(),
            Ok("f4a19053cbfe9e61d3c74720759af496515a433d")
        );
    }

    #[test]
    fn what_means_nothing_is_an_error() {
        for text in ["%z", "a%", "${RACTOR_SSH_IS_NOT_SET}", "${", "${}", "%C%Z"] {
            assert!(expand(text, Some(&tokens()), true).is_err(), "{text}");
        }
        assert!(expand("%u", Some(&tokens().only("hnpr")), false).is_err());
    }

    #[test]
    fn what_was_put_in_is_not_looked_at_again() {
        let tokens = Tokens::host("%h${HOME}~");
        assert_eq!(expand("<%h>", Some(&tokens), true).as_deref(), Ok("<%h${HOME}~>"));
        assert_eq!(expand("$x %h ${HOME}", None, false).as_deref(), Ok("$x %h ${HOME}"));
    }

    #[test]
    fn a_tilde_is_a_home_only_at_the_beginning() {
        let local = Local::new("me", 1000, "/home/me", "desk");
        for (text, path) in [
            ("~/x", "/home/me/x"),
            ("~", "/home/me/"),
            ("~me/x", "/home/me/x"),
            ("/a/~/x", "/a/~/x"),
            ("x", "x"),
        ] {
            assert_eq!(tilde(text, &local).as_deref(), Ok(path), "{text}");
        }
        assert!(tilde("~no-such-user-here/x", &local).is_err());
    }
}
