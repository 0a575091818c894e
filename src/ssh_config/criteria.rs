//! `Match`: which criteria there are, and how they are written.

use super::words;

/// One criterion of a `Match` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Criterion {
    pub(super) negated: bool,
    pub(super) what: What,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    All,
    /// The second pass over the files, `final` or `canonical`.
    Final {
        asks_for_it: bool,
    },
    Host(String),
    OriginalHost(String),
    User(String),
    LocalUser(String),
    Tagged(String),
    Exec(String),
}

/// Reads the line; the error is what is wrong, and the way out.
pub(super) fn parse(rest: &str) -> Result<Vec<Criterion>, (String, String)> {
    let wrong = |problem: String, fix: &str| Err((problem, fix.to_owned()));
    let Some(words) = words::split_criteria(rest) else {
        return wrong(format!("`{rest}` has a quote that is not closed"), "close it");
    };
    let mut words = words.into_iter();
    let mut criteria = Vec::new();
    while let Some(word) = words.next() {
        let (negated, name) = match word.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, word.as_str()),
        };
        let name = name.to_ascii_lowercase();
        let what = match name.as_str() {
            "all" if criteria.len() > 1 || words.len() > 0 => {
                return wrong(
                    "has `all` among other criteria".to_owned(),
                    "give `all` alone, or behind `canonical` or `final`",
                );
            }
            "all" => What::All,
            "final" => What::Final { asks_for_it: true },
            "canonical" => What::Final { asks_for_it: false },
            "localnetwork" | "command" | "sessiontype" | "version" => {
                return wrong(
                    format!("has `{name}`, which cannot be judged here"),
                    "use other criteria, or `Host`",
                );
            }
            "host" | "originalhost" | "user" | "localuser" | "tagged" | "exec" => {
                let Some(argument) = words.next().filter(|argument| !argument.is_empty()) else {
                    return wrong(
                        format!("has nothing behind `{name}`"),
                        "give a list of patterns, or a command",
                    );
                };
                match name.as_str() {
                    "host" => What::Host(argument),
                    "originalhost" => What::OriginalHost(argument),
                    "user" => What::User(argument),
                    "localuser" => What::LocalUser(argument),
                    "tagged" => What::Tagged(argument),
                    _ => What::Exec(argument),
                }
            }
            _ => {
                return wrong(
                    format!("has the unknown criterion `{word}`"),
                    "give host, originalhost, user, localuser, tagged, exec, canonical, final or all",
                );
            }
        };
        criteria.push(Criterion { negated, what });
    }
    if criteria.is_empty() {
        return wrong("has no criterion".to_owned(), "give one, as `all` or `host a,b`");
    }
    Ok(criteria)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_criteria_with_arguments() {
        let criteria = parse("host a,b !user=x exec \"test -f /x\" final").unwrap();
        let of = |negated, what| Criterion { negated, what };
        assert_eq!(
            criteria,
            [
                of(false, What::Host("a,b".to_owned())),
                of(true, What::User("x".to_owned())),
                of(false, What::Exec("test -f /x".to_owned())),
                of(false, What::Final { asks_for_it: true }),
            ]
        );
    }

    #[test]
    fn all_stands_alone_or_behind_one_other() {
        assert!(parse("all").is_ok() && parse("final all").is_ok() && parse("!all # x").is_ok());
        for line in
            ["all host a", "host a user b all", "all all", "", "user", "host \"\"", "what x", "exec \"a"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
