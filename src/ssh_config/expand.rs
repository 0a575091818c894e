//! Puts tokens, variables and home directories into the options of a host: which keyword takes what.

use std::collections::BTreeMap;

use super::asked::Asked;
use super::error::{Place, Problem, SshConfigError};
use super::forward::{Endpoint, Forward};
use super::jump::JumpHost;
use super::local::Local;
use super::options::{Held, HostOptions};
use super::resolve::{Given, Resolved, tokens_of};
use super::tokens::{self, Tokens};
use super::value::Value;

/// What cannot be expanded: the whole host, as OpenSSH gives up then, or the option alone.
enum Failure {
    Fatal(String),
    Dropped(String),
}

/// What there is to put in.
struct Source<'a> {
    all: Tokens,
    proxy: Tokens,
    local: &'a Local,
}

pub(super) fn finish(
    resolved: Resolved,
    asked: &Asked,
    local: &Local,
) -> Result<HostOptions, SshConfigError> {
    let Resolved { host, mut options, mut remarks } = resolved;
    let mut problems = Vec::new();
    if let Some(given) = options.get_mut("user").and_then(|given| given.first_mut()) {
        given_user(given, &host, asked, local, &mut problems);
    }
    if let Some(given) = options.get_mut("hostkeyalias").and_then(|given| given.first_mut()) {
        given.value = Value::Text(given.value.as_text().unwrap_or("").to_ascii_lowercase());
    }
    let all = tokens_of(&options, asked, local, &host);
    let source = Source { proxy: all.only("hknpr"), all, local };
    let mut held: BTreeMap<&'static str, Vec<Held>> = BTreeMap::new();
    for Given { keyword, value, at } in options.into_values().flatten() {
        let written = value.to_string();
        let (value, shown) = match source.put_in(keyword.name, &value) {
            Ok(expanded) => (expanded, None),
            Err(Failure::Fatal(problem)) => {
                problems.push(Problem::new(
                    &at,
                    keyword.name,
                    problem,
                    "see TOKENS in ssh_config(5), or set the variable",
                ));
                continue;
            }
            Err(Failure::Dropped(problem)) => {
                let what = format!("{problem}: `{written}` is not used");
                remarks.push(Problem::new(
                    &at,
                    keyword.name,
                    what,
                    "see TOKENS in ssh_config(5), or set the variable",
                ));
                (None, Some(written.clone()))
            }
        };
        let value = if keyword.name == "hostname" { Some(Value::Text(host.clone())) } else { value };
        // What `ssh -G` shows as it is written.
        let raw = matches!(keyword.name, "identityfile" | "certificatefile" | "proxycommand" | "proxyjump");
        let shown = match (shown, &value) {
            (Some(shown), _) => shown,
            (None, Some(value)) if !raw => value.to_string(),
            (None, _) => written,
        };
        held.entry(keyword.name).or_default().push(Held { keyword, value, shown, at });
    }
    if !problems.is_empty() {
        return Err(SshConfigError::Bad(problems));
    }
    Ok(HostOptions::new(asked.host.clone(), host, asked.default_port, local.clone(), held, remarks))
}

/// OpenSSH 10 puts tokens into the user name of a file, all but those that are made of it.
fn given_user(given: &mut Given, host: &str, asked: &Asked, local: &Local, problems: &mut Vec<Problem>) {
    let Some(text) = given.value.as_text() else { return };
    if given.at == Place::Asked || !(text.contains('%') || text.contains("${")) {
        return;
    }
    let tokens = tokens_of(&BTreeMap::new(), asked, local, host).only("dhijkLlnpu");
    match tokens::expand(text, Some(&tokens), true) {
        Ok(user) => given.value = Value::Text(user),
        Err(problem) => {
            let fix = "write %% for a percent sign";
            problems.push(Problem::new(&given.at, "user", problem, fix));
        }
    }
}

impl Source<'_> {
    fn put_in(&self, keyword: &str, value: &Value) -> Result<Option<Value>, Failure> {
        let expanded = match (keyword, value) {
            ("identityfile" | "certificatefile", Value::Text(text)) if text.eq_ignore_ascii_case("none") => {
                None
            }
            ("identityfile" | "certificatefile" | "controlpath", Value::Text(text)) => {
                Some(Value::Text(self.path(text).map_err(Failure::Dropped)?))
            }
            ("identityagent" | "forwardagent", Value::Text(text)) => {
                let name = text.starts_with('$') && !text.starts_with("${");
                let as_it_is = name || text == "SSH_AUTH_SOCK" || text.eq_ignore_ascii_case("none");
                let path = if as_it_is { Ok(text.clone()) } else { self.path(text) };
                Some(Value::Text(path.map_err(Failure::Fatal)?))
            }
            ("userknownhostsfile", Value::Words(words)) => {
                let paths: Result<_, _> = words.iter().map(|word| self.path(word)).collect();
                Some(Value::Words(paths.map_err(Failure::Fatal)?))
            }
            ("remotecommand", Value::Text(text)) => {
                let command = tokens::expand(text, Some(&self.all), false).map_err(Failure::Fatal)?;
                Some(Value::Text(command))
            }
            ("proxycommand", Value::Text(text)) => {
                let command = tokens::expand(text, Some(&self.proxy), false).map_err(Failure::Fatal)?;
                Some(Value::Text(command))
            }
            ("proxyjump", Value::Jumps(jumps)) => {
                let jumps: Result<_, _> = jumps.iter().map(|jump| self.jump(jump)).collect();
                Some(Value::Jumps(jumps.map_err(Failure::Fatal)?))
            }
            (_, Value::Forward(forward)) => {
                Some(Value::Forward(self.forward(forward).map_err(Failure::Fatal)?))
            }
            (_, value) => Some(value.clone()),
        };
        Ok(expanded)
    }

    fn path(&self, text: &str) -> Result<String, String> {
        tokens::expand(&tokens::tilde(text, self.local)?, Some(&self.all), true)
    }

    fn jump(&self, jump: &JumpHost) -> Result<JumpHost, String> {
        let put_in = |text: &str| tokens::expand(text, Some(&self.proxy), false);
        let user = jump.user.as_deref().map(put_in).transpose()?;
        Ok(JumpHost { user, host: put_in(&jump.host)?, port: jump.port })
    }

    fn forward(&self, forward: &Forward) -> Result<Forward, String> {
        let end = |end: &Endpoint| match end {
            Endpoint::Unix(path) => tokens::expand(path, Some(&self.all), true).map(Endpoint::Unix),
            tcp @ Endpoint::Tcp { .. } => Ok(tcp.clone()),
        };
        let connect = forward.connect.as_ref().map(end).transpose()?;
        Ok(Forward { remote: forward.remote, listen: end(&forward.listen)?, connect })
    }
}
