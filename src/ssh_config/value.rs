//! The values of options: read, checked, and shown as `ssh -G` shows them.

use std::fmt;
use std::time::Duration;

use super::algorithms::AlgorithmList;
use super::forward::Forward;
use super::jump::{self, JumpHost};
use super::keyword::{Grammar, Keyword};
use super::permit::Open;
use super::{units, words};

/// A value, by its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A word or a command.
    Text(String),
    /// Several.
    Words(Vec<String>),
    /// One of a few words, as `ssh -G` shows it.
    Choice(&'static str),
    Number(u32),
    /// A time; `None` is `none`.
    Time(Option<Duration>),
    Algorithms(AlgorithmList),
    /// 0 is the default; no time is none.
    Rekey {
        bytes: u64,
        time: Option<Duration>,
    },
    Forward(Forward),
    /// Empty is `none`.
    Jumps(Vec<JumpHost>),
}

/// What is wrong with a value, and the way out.
pub(super) type Wrong = (String, String);

fn wrong<T>(problem: impl Into<String>, fix: impl Into<String>) -> Result<T, Wrong> {
    Err((problem.into(), fix.into()))
}

impl Value {
    /// Reads what stands behind the keyword.
    pub(super) fn parse(keyword: &Keyword, rest: &str) -> Result<Self, Wrong> {
        let grammar = keyword.grammar;
        let Some(words) = words::split_words(rest) else {
            return wrong(
                format!("`{rest}` has a quote that is not closed"),
                "close it, or write \\\" for a quote",
            );
        };
        if rest.is_empty() {
            return wrong("has no value", "give one, or remove the line");
        }
        if grammar == Grammar::Command || grammar == Grammar::Jumps {
            let text = words::command(rest);
            return if text.is_empty() {
                wrong("has no value", "give one, or remove the line")
            } else if grammar == Grammar::Command {
                Ok(Self::Text(text.to_owned()))
            } else {
                jumps(words.first().map_or(text, String::as_str))
            };
        }
        let lists = matches!(
            grammar,
            Grammar::WordsOrNone
                | Grammar::Open
                | Grammar::SendEnv
                | Grammar::SetEnv
                | Grammar::Ignored
                | Grammar::Unsupported
        );
        let most = match grammar {
            _ if lists => usize::MAX,
            Grammar::OneOrTwo | Grammar::Rekey | Grammar::LocalForward | Grammar::RemoteForward => 2,
            Grammar::AddKeys(_) if words.first().is_some_and(|word| word.eq_ignore_ascii_case("confirm")) => {
                2
            }
            _ => 1,
        };
        if let Some(extra) = words.get(most) {
            return wrong(
                format!("has an extra argument `{extra}`"),
                "remove it, or put quotes around the value",
            );
        }
        let may_be_empty = matches!(grammar, Grammar::Ignored | Grammar::Unsupported);
        if !may_be_empty && (words.is_empty() || words.iter().any(String::is_empty)) {
            return wrong("has an empty value", "give one, or remove the line");
        }
        let mut arguments = words.iter().map(String::as_str);
        let (first, second) = (arguments.next().unwrap_or(""), arguments.next());
        match grammar {
            Grammar::Choice(choices) => choice(choices, first),
            Grammar::ChoiceOrTime(choices) => choice(choices, first)
                .or_else(|wrong| units::time(first).map(|time| Self::Time(Some(time))).ok_or(wrong)),
            Grammar::AddKeys(choices) => match (second, second.and_then(units::time)) {
                (Some(_), Some(age)) => Ok(text(&format!("confirm {}", age.as_secs()))),
                (Some(age), None) => {
                    wrong(format!("`{age}` is no time"), "give seconds, or numbers with units")
                }
                (None, _) => choice(choices, first)
                    .or_else(|wrong| units::time(first).map(|time| Self::Time(Some(time))).ok_or(wrong)),
            },
            Grammar::Open => match words.iter().find(|word| !is_open(word, words.len() == 1)) {
                Some(word) => wrong(
                    format!("`{word}` is no host and port"),
                    "write host:port, host:*, addresses of IPv6 in brackets, or any or none alone",
                ),
                None => Ok(Self::Words(words)),
            },
            Grammar::ChoiceOrWord(choices) => Ok(choice(choices, first).unwrap_or_else(|_| text(first))),
            Grammar::Word => word(keyword.name, first),
            Grammar::AgentPath => agent_path(first),
            Grammar::Number => match units::number(first) {
                Some(0) if keyword.name == "connectionattempts" => {
                    wrong("is 0", "give how often to try, 1 or more")
                }
                Some(number) => Ok(Self::Number(number)),
                None => wrong(format!("`{first}` is no number"), "give one from 0 to 2147483647"),
            },
            Grammar::Port => match units::port(first) {
                Some(port) => Ok(Self::Number(port.into())),
                None => wrong(format!("`{first}` is no port"), "give a number from 1 to 65535"),
            },
            Grammar::Time => time(first).map(Self::Time),
            Grammar::Rekey => rekey(first, second),
            Grammar::Algorithms => AlgorithmList::parse(first).map(Self::Algorithms).or_else(|problem| {
                wrong(problem, "give names with commas between, after +, - or ^ to change the default")
            }),
            Grammar::LocalForward if second.is_none() => {
                wrong("has no destination", "write [host:]port host:port, or paths of Unix sockets")
            }
            Grammar::LocalForward => forward(false, first, second),
            Grammar::RemoteForward => forward(true, first, second),
            Grammar::DynamicForward => forward(false, first, None),
            Grammar::SendEnv => match words.iter().find(|name| name.contains('=')) {
                Some(name) => wrong(
                    format!("`{name}` is no name of a variable"),
                    "give names without values, or use SetEnv",
                ),
                None => Ok(Self::Words(words)),
            },
            Grammar::SetEnv => match words.iter().find(|pair| !pair.contains('=')) {
                Some(name) => wrong(format!("`{name}` has no value"), "write NAME=value"),
                None => Ok(Self::Words(words)),
            },
            Grammar::WordsOrNone
                if words.len() > 1 && words.iter().any(|word| word.eq_ignore_ascii_case("none")) =>
            {
                wrong("has `none` among other values", "give `none` alone, or remove it")
            }
            Grammar::OneOrTwo => match words.iter().find(|class| !is_class(class)) {
                Some(class) => wrong(
                    format!("`{class}` is no class of service"),
                    "give a name as af21, ef or lowdelay, a number, or none",
                ),
                None => Ok(Self::Words(words)),
            },
            Grammar::WordsOrNone => Ok(Self::Words(words)),
            _ => Ok(text(rest)),
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Choice(word) => Some(word),
            _ => None,
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn choice(choices: &[(&'static str, &'static str)], word: &str) -> Result<Value, Wrong> {
    match choices.iter().find(|(accepted, _)| accepted.eq_ignore_ascii_case(word)) {
        Some((_, shown)) => Ok(Value::Choice(shown)),
        None => {
            let known: Vec<_> = choices.iter().map(|(accepted, _)| *accepted).collect();
            wrong(format!("`{word}` is not known"), format!("give one of {}", known.join(", ")))
        }
    }
}

fn word(keyword: &str, word: &str) -> Result<Value, Wrong> {
    let good = match keyword {
        "escapechar" => {
            let mut chars = word.chars();
            match (chars.next(), chars.next(), chars.next()) {
                (Some(_), None, None) => word.is_ascii(),
                (Some('^'), Some(control), None) => ('@'..='\x7f').contains(&control),
                _ => word.eq_ignore_ascii_case("none"),
            }
        }
        "streamlocalbindmask" => u32::from_str_radix(word, 8).is_ok_and(|mask| mask <= 0o777),
        "hostname" | "user" => !word.contains('\0'),
        _ => true,
    };
    if good {
        Ok(text(word))
    } else {
        wrong(format!("`{word}` cannot be it"), "see ssh_config(5) for what can")
    }
}

fn agent_path(path: &str) -> Result<Value, Wrong> {
    let name = path.strip_prefix('$').filter(|rest| !rest.starts_with('{'));
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match name {
        Some(name) if !is_name(name) => {
            wrong(format!("`{path}` is no name of a variable"), "write $NAME, ${NAME} or a path")
        }
        _ => Ok(text(path)),
    }
}

fn jumps(text: &str) -> Result<Value, Wrong> {
    jump::parse_list(text)
        .map(Value::Jumps)
        .or_else(|problem| wrong(problem, "write [user@]host[:port], with commas between, or none"))
}

fn forward(remote: bool, listen: &str, connect: Option<&str>) -> Result<Value, Wrong> {
    Forward::parse(remote, listen, connect)
        .map(Value::Forward)
        .or_else(|problem| wrong(problem, "write [host:]port host:port, addresses of IPv6 in brackets"))
}

fn time(text: &str) -> Result<Option<Duration>, Wrong> {
    if text == "none" {
        return Ok(None);
    }
    match units::time(text) {
        Some(time) => Ok(Some(time)),
        None => {
            wrong(format!("`{text}` is no time"), "give seconds, or numbers with units as 1h30m, or none")
        }
    }
}

fn rekey(size: &str, age: Option<&str>) -> Result<Value, Wrong> {
    let bytes = if size == "default" { Some(0) } else { units::size(size) };
    let Some(bytes) = bytes else {
        return wrong(format!("`{size}` is no size"), "give bytes, as 500M or 1G, or default");
    };
    if (1..16).contains(&bytes) {
        return wrong(format!("`{size}` is too small"), "give at least 16 bytes");
    }
    let time = match age {
        Some(age) => time(age)?,
        None => None,
    };
    Ok(Value::Rekey { bytes, time: time.filter(|time| !time.is_zero()) })
}

/// Whether it can be a value of `PermitRemoteOpen`.
fn is_open(word: &str, alone: bool) -> bool {
    match Open::parse(word) {
        Some(Open::Any | Open::None) => alone,
        Some(Open::At { .. }) => true,
        None => false,
    }
}

fn is_class(word: &str) -> bool {
    const NAMES: [&str; 29] = [
        "af11",
        "af12",
        "af13",
        "af21",
        "af22",
        "af23",
        "af31",
        "af32",
        "af33",
        "af41",
        "af42",
        "af43",
        "cs0",
        "cs1",
        "cs2",
        "cs3",
        "cs4",
        "cs5",
        "cs6",
        "cs7",
        "ef",
        "le",
        "va",
        "lowdelay",
        "throughput",
        "reliability",
        "none",
        "mincost",
        "default",
    ];
    // As C's `strtol` with base 0.
    let number = match word.get(..2) {
        Some("0x" | "0X") => word.get(2..).and_then(|digits| u8::from_str_radix(digits, 16).ok()),
        _ if word.starts_with('0') => u8::from_str_radix(word, 8).ok(),
        _ => word.parse::<u8>().ok(),
    };
    number.is_some() || NAMES.iter().any(|name| name.eq_ignore_ascii_case(word))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Words(words) => f.write_str(&words.join(" ")),
            Self::Choice(word) => f.write_str(word),
            Self::Number(number) => number.fmt(f),
            Self::Time(Some(time)) => time.as_secs().fmt(f),
            Self::Time(None) => f.write_str("none"),
            Self::Algorithms(list) => list.fmt(f),
            Self::Rekey { bytes, time } => write!(f, "{bytes} {}", time.map_or(0, |time| time.as_secs())),
            Self::Forward(forward) => forward.fmt(f),
            Self::Jumps(jumps) if jumps.is_empty() => f.write_str("none"),
            Self::Jumps(jumps) => {
                f.write_str(&jumps.iter().map(JumpHost::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}
