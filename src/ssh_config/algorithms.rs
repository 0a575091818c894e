//! Lists of algorithms, as `Ciphers`, `MACs`, `KexAlgorithms` and `HostKeyAlgorithms` give them.

use std::fmt;

use super::pattern::matches_list;

/// Names, and what is done with them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AlgorithmList {
    /// What is done with the names.
    pub change: Change,
    /// The names, which may have the wildcards `*` and `?`.
    pub names: Vec<String>,
}

/// What a list does to the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// It takes its place.
    Replace,
    /// `+`: it comes behind.
    Append,
    /// `-`: it is taken out.
    Remove,
    /// `^`: it comes first.
    Prepend,
}

impl AlgorithmList {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (change, rest) = match text.chars().next() {
            Some('+') => (Change::Append, text.get(1..)),
            Some('-') => (Change::Remove, text.get(1..)),
            Some('^') => (Change::Prepend, text.get(1..)),
            _ => (Change::Replace, Some(text)),
        };
        let names: Vec<_> = rest.unwrap_or("").split(',').map(str::to_owned).collect();
        match names.iter().find(|name| name.is_empty() || name.starts_with('!')) {
            Some(_) => Err(format!("`{text}` has an empty or negated name")),
            None => Ok(Self { change, names }),
        }
    }

    /// The list that comes out, given what is the default and what there is at all, as OpenSSH's `kex_assemble_names`.
    /// Nothing comes twice, and nothing that there is not.
    ///
    /// ```
    /// use ractor_ssh::ssh_config::{Asked, SshConfig};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = SshConfig::parse("MACs ^hmac-sha2-512*");
    /// let options = config?.resolve(&Asked::host("build"))?;
    /// let ours = ["hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-512-etm@openssh.com"];
    /// let macs = options.macs().ok_or("no MACs")?.resolve(&ours[..2], &ours);
    /// assert_eq!(macs, ["hmac-sha2-512", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn resolve<D: AsRef<str>, A: AsRef<str>>(&self, default: &[D], all: &[A]) -> Vec<String> {
        let default = default.iter().map(|name| name.as_ref().to_owned());
        if self.change == Change::Remove {
            return default.filter(|name| !self.names.iter().any(|gone| matches_list(gone, name))).collect();
        }
        let meant = self.names.iter().flat_map(|pattern| {
            all.iter().map(AsRef::as_ref).filter(move |name| matches_list(pattern, name)).map(str::to_owned)
        });
        let mut list: Vec<String> = Vec::new();
        let add = |name: String| {
            if !list.contains(&name) {
                list.push(name);
            }
        };
        match self.change {
            Change::Append => default.chain(meant).for_each(add),
            Change::Prepend => meant.chain(default).for_each(add),
            Change::Replace | Change::Remove => meant.for_each(add),
        }
        list
    }

    /// Those of its names that mean nothing of what there is.
    pub(super) fn unknown<A: AsRef<str>>(&self, all: &[A]) -> Vec<&str> {
        let names = self.names.iter().map(String::as_str);
        names.filter(|pattern| !all.iter().any(|name| matches_list(pattern, name.as_ref()))).collect()
    }
}

impl fmt::Display for AlgorithmList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Change::Replace => "",
            Change::Append => "+",
            Change::Remove => "-",
            Change::Prepend => "^",
        };
        write!(f, "{change}{}", self.names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_changes_the_default_as_its_sign_says() {
        let default = ["a1", "a2", "b1"];
        let all = ["a1", "a2", "a3", "b1", "b2"];
        let table: [(&str, &[&str]); 9] = [
            ("b2,a1", &["b2", "a1"]),
            ("+b2,a1", &["a1", "a2", "b1", "b2"]),
            ("-a*", &["b1"]),
            ("^b?", &["b1", "b2", "a1", "a2"]),
            ("a*", &["a1", "a2", "a3"]),
            ("a1,a1", &["a1"]),
            ("nothing", &[]),
            ("-*", &[]),
            ("^nothing", &["a1", "a2", "b1"]),
        ];
        for (text, list) in table {
            assert_eq!(AlgorithmList::parse(text).unwrap().resolve(&default, &all), list, "{text}");
        }
    }

    #[test]
    fn names_that_there_are_not_are_told() {
        let list = AlgorithmList::parse("+a,x*,b").unwrap();
        assert_eq!(list.unknown(&["a", "c"]), ["x*", "b"]);
        for text in ["", "+", "a,,b", "!a"] {
            assert!(AlgorithmList::parse(text).is_err(), "{text}");
        }
    }
}
