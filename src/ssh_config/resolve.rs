//! From the lines of the files to the options that hold for one host, as OpenSSH goes through them.
//!
//! Pure: a command that `Match exec` needs to have run is asked for by name, and its outcome handed in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::asked::{Asked, MatchExec};
use super::criteria::{Criterion, What};
use super::error::{Place, Problem, SshConfigError};
use super::file::Item;
use super::keyword::{Grammar, Keyword, Merge};
use super::local::Local;
use super::pattern::{matches_host_list, matches_list, matches_words};
use super::tokens::{self, Known, Tokens};
use super::value::Value;
use crate::host_key::glob;

/// An option that holds.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) keyword: &'static Keyword,
    pub(super) value: Value,
    pub(super) at: Place,
}

/// Options by keyword, in the order they were given.
pub(super) type Options = BTreeMap<&'static str, Vec<Given>>;

/// Outcomes of commands that have been run.
pub(super) type Outcomes = BTreeMap<String, bool>;

/// What a look at the files comes to.
pub(super) enum Outcome {
    Done(Box<Resolved>),
    /// This command has to be run first.
    Run {
        command: String,
        at: Place,
    },
}

/// The options, before tokens are put in.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) host: String,
    pub(super) options: Options,
    pub(super) remarks: Vec<Problem>,
}

enum Stop {
    Error(SshConfigError),
    Run { command: String, at: Place },
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Error(problem.into())
    }
}

pub(super) fn resolve(
    asked: &Asked,
    given: Vec<Item>,
    files: &[Vec<Item>],
    local: &Local,
    outcomes: &Outcomes,
) -> Result<Outcome, SshConfigError> {
    let mut course = Course {
        asked,
        local,
        outcomes,
        options: Options::new(),
        remarks: Vec::new(),
        problems: Vec::new(),
        second: None,
    };
    match course.run(given, files) {
        Ok(host) if course.problems.is_empty() => {
            let Course { options, remarks, .. } = course;
            Ok(Outcome::Done(Box::new(Resolved { host, options, remarks })))
        }
        Ok(_) => Err(SshConfigError::Bad(course.problems)),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Run { command, at }) => Ok(Outcome::Run { command, at }),
    }
}

struct Course<'a> {
    asked: &'a Asked,
    local: &'a Local,
    outcomes: &'a Outcomes,
    options: Options,
    remarks: Vec<Problem>,
    problems: Vec<Problem>,
    /// In the second pass: the host's real name.
    second: Option<String>,
}

impl Course<'_> {
    /// Both passes; the host's real name.
    fn run(&mut self, given: Vec<Item>, files: &[Vec<Item>]) -> Result<String, Stop> {
        for item in given {
            self.item(&item, &mut true, false)?;
        }
        self.pass(files)?;
        let host = fold(&self.real_host(true)?);
        // As in OpenSSH, also when the name stays as it is: we ask no name server for another one.
        let canonical = self
            .first("canonicalizehostname")
            .is_some_and(|given| matches!(given.value, Value::Choice("yes" | "always")));
        if canonical || files.iter().any(|file| super::file::wants_final(file)) {
            self.second = Some(host.clone());
            self.pass(files)?;
        }
        if self.first("clearallforwardings").is_some_and(|given| given.value == Value::Choice("yes")) {
            for keyword in ["localforward", "remoteforward", "dynamicforward"] {
                self.options.remove(keyword);
            }
        }
        Ok(host)
    }

    fn pass(&mut self, files: &[Vec<Item>]) -> Result<(), Stop> {
        for file in files {
            self.file(file, &mut true, false)?;
        }
        Ok(())
    }

    /// `never`: no block of this file can hold, because the file was included where nothing holds.
    fn file(&mut self, items: &[Item], active: &mut bool, never: bool) -> Result<(), Stop> {
        for item in items {
            self.item(item, active, never)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Item, active: &mut bool, never: bool) -> Result<(), Stop> {
        match item {
            Item::Host { patterns } => {
                let host = self.second.as_ref().unwrap_or(&self.asked.host);
                *active = !never && matches_words(patterns, host);
            }
            Item::Match { criteria, at } => *active = !never && self.all_match(criteria, at)?,
            Item::Include { files } => {
                for file in files {
                    let mut inside = *active;
                    self.file(file, &mut inside, never || !*active)?;
                }
            }
            Item::Unknown { name, at } => self.unknown(name, at),
            Item::Option { keyword, value, at } => self.option(keyword, value, at, *active),
        }
        Ok(())
    }

    fn unknown(&mut self, name: &str, at: &Place) {
        if self.second.is_some() {
            return;
        }
        let ignored = self.first("ignoreunknown").and_then(|given| given.value.as_text());
        let ignored = ignored.is_some_and(|list| matches_list(&list.to_ascii_lowercase(), name));
        let problem = |fix| Problem::new(at, name, "is not known, and has no effect", fix);
        if ignored || self.asked.allow_unknown {
            self.remarks.push(problem("remove it, if it was not meant for another program"));
        } else {
            self.problems
                .push(problem("look at how it is written, or name it in an IgnoreUnknown line before it"));
        }
    }

    fn option(&mut self, keyword: &'static Keyword, value: &Value, at: &Place, active: bool) {
        if matches!(keyword.grammar, Grammar::Ignored | Grammar::Unsupported) {
            if self.second.is_none() {
                let what = "is no longer known to OpenSSH, and has no effect";
                self.remarks.push(Problem::new(at, keyword.name, what, "remove it"));
            }
            return;
        }
        // Of the two ways through a proxy, the first that is given holds; but a command after `ProxyJump none` does.
        let passed_over = match keyword.name {
            "proxycommand" => {
                let jumps = self.first("proxyjump").map(|given| &given.value);
                jumps.is_some_and(|jumps| *jumps != Value::Jumps(Vec::new()))
            }
            "proxyjump" => self.options.contains_key("proxycommand"),
            _ => false,
        };
        if !active || passed_over {
            return;
        }
        let given = Given { keyword, value: value.clone(), at: at.clone() };
        if let (Grammar::SendEnv, Value::Words(names)) = (keyword.grammar, value) {
            return self.send_env(names, &given);
        }
        let known = self.options.entry(keyword.name).or_default();
        match keyword.merge {
            Merge::First if !known.is_empty() => {}
            Merge::All if known.iter().any(|known| known.value == *value) => {}
            _ => known.push(given),
        }
    }

    fn send_env(&mut self, names: &[String], given: &Given) {
        let known = self.options.entry(given.keyword.name).or_default();
        for name in names {
            let is =
                |known: &Given, pattern: &str| known.value.as_text().is_some_and(|text| glob(pattern, text));
            match name.strip_prefix('-') {
                Some(gone) => known.retain(|known| !is(known, gone)),
                None if known.iter().any(|known| known.value.as_text() == Some(name)) => {}
                None => known.push(Given { value: Value::Text(name.clone()), ..given.clone() }),
            }
        }
        if known.is_empty() {
            self.options.remove(given.keyword.name);
        }
    }

    fn first(&self, keyword: &str) -> Option<&Given> {
        self.options.get(keyword).and_then(|given| given.first())
    }

    fn text(&self, keyword: &str) -> Option<&str> {
        self.first(keyword).and_then(|given| given.value.as_text())
    }

    /// The name that leads to the host, as far as it is known.
    fn real_host(&self, must: bool) -> Result<String, Stop> {
        if let Some(host) = &self.second {
            return Ok(host.clone());
        }
        let Some(given) = self.first("hostname") else { return Ok(self.asked.host.clone()) };
        let text = given.value.as_text().unwrap_or("");
        match tokens::expand(text, Some(&Tokens::host(&self.asked.host)), false) {
            Ok(host) if must && host.is_empty() => {
                Err(Problem::new(&given.at, "hostname", "is empty", "give a name or an address").into())
            }
            Ok(host) => Ok(host),
            Err(problem) => {
                Err(Problem::new(&given.at, "hostname", problem, "only %h and %% mean something here").into())
            }
        }
    }

    fn all_match(&mut self, criteria: &[Criterion], at: &Place) -> Result<bool, Stop> {
        let host = self.real_host(false)?;
        for criterion in criteria {
            let user = self.text("user").unwrap_or(&self.local.user);
            let tag = self.asked.tag.as_deref().or_else(|| self.text("tag")).unwrap_or("");
            let holds = match &criterion.what {
                What::All => true,
                What::Final { .. } => self.second.is_some(),
                What::Host(list) => matches_host_list(list, &host),
                What::OriginalHost(list) => matches_host_list(list, &self.asked.host),
                What::User(list) => matches_list(list, user),
                What::LocalUser(list) => matches_list(list, &self.local.user),
                What::Tagged(list) => matches_list(list, tag),
                What::Exec(command) => self.exec(command, &host, at)?,
            };
            if holds == criterion.negated {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn exec(&mut self, command: &str, host: &str, at: &Place) -> Result<bool, Stop> {
        let tokens = self.tokens(host);
        let command = tokens::expand(command, Some(&tokens), false)
            .map_err(|problem| Problem::new(at, "match exec", problem, "see TOKENS in ssh_config(5)"))?;
        match self.asked.exec {
            MatchExec::Refuse => Err(Stop::Error(SshConfigError::ExecRefused { at: at.clone(), command })),
            MatchExec::Skip => {
                let what = format!("`{command}` was not run: the block does not hold");
                let remark = Problem::new(at, "match exec", what, "allow it by `Asked::match_exec`");
                if !self.remarks.contains(&remark) {
                    self.remarks.push(remark);
                }
                Ok(false)
            }
            MatchExec::Run(_) => match self.outcomes.get(&command) {
                Some(outcome) => Ok(*outcome),
                None => Err(Stop::Run { command, at: at.clone() }),
            },
        }
    }

    fn tokens(&self, host: &str) -> Tokens {
        tokens_of(&self.options, self.asked, self.local, host)
    }
}

/// What tokens stand for, as far as it is known.
pub(super) fn tokens_of(options: &Options, asked: &Asked, local: &Local, host: &str) -> Tokens {
    let first = |keyword: &str| options.get(keyword).and_then(|given| given.first());
    let port = match first("port").map(|given| &given.value) {
        Some(Value::Number(port)) => u16::try_from(*port).unwrap_or(asked.default_port),
        _ => asked.default_port,
    };
    let jump = match first("proxyjump").map(|given| &given.value) {
        // OpenSSH means the last host before the target.
        Some(Value::Jumps(jumps)) => jumps.last().map(|jump| jump.host.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    Tokens::all(&Known {
        local,
        host,
        asked: &asked.host,
        alias: first("hostkeyalias").and_then(|given| given.value.as_text()).unwrap_or(&asked.host),
        port,
        user: first("user").and_then(|given| given.value.as_text()).unwrap_or(&local.user),
        jump: &jump,
    })
}

/// Names in lower case, addresses in their usual form. The zone behind an address of IPv6 stays as it is.
fn fold(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) if host.contains('%') => host.to_owned(),
        Err(_) => host.to_ascii_lowercase(),
    }
}
