//! Which methods must be passed, in which order.

use crate::auth::AuthMethod;
use crate::error::ConfigError;

/// Ways in. Each is a list of methods, all to be passed in that order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement(Vec<Vec<AuthMethod>>);

impl Requirement {
    /// Any one of the methods.
    pub(super) fn any_of(methods: &[AuthMethod]) -> Self {
        Self(methods.iter().map(|method| vec![*method]).collect())
    }

    /// These ways. All their methods must be among those that `offered` names.
    pub(super) fn new(ways: Vec<Vec<AuthMethod>>, offered: &[AuthMethod]) -> Result<Self, ConfigError> {
        let wrong = |problem: String, fix: &str| Err(ConfigError::new("require", problem, fix));
        if ways.is_empty() || ways.iter().any(Vec::is_empty) {
            return wrong(
                "names a way in without a method".to_owned(),
                "give at least one method for each way",
            );
        }
        for method in ways.iter().flatten() {
            if *method == AuthMethod::None {
                return wrong("names the method none".to_owned(), "leave it out: it proves nothing");
            }
            if !offered.contains(method) {
                return wrong(
                    format!("names {method}, which nothing decides about"),
                    "set its callback, or leave it out",
                );
            }
        }
        Ok(Self(ways))
    }

    /// The methods that can be used after these, each once, in the order of the ways.
    pub(super) fn next(&self, passed: &[AuthMethod]) -> Vec<AuthMethod> {
        let mut next = Vec::new();
        for way in &self.0 {
            let method = way.strip_prefix(passed).and_then(<[AuthMethod]>::first);
            if let Some(method) = method
                && !next.contains(method)
            {
                next.push(*method);
            }
        }
        next
    }

    /// Whether nothing is missing.
    pub(super) fn is_met(&self, passed: &[AuthMethod]) -> bool {
        self.0.iter().any(|way| way == passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: AuthMethod = AuthMethod::PublicKey;
    const WORD: AuthMethod = AuthMethod::Password;
    const ASK: AuthMethod = AuthMethod::KeyboardInteractive;

    #[test]
    fn each_way_has_its_order() {
        let ways = vec![vec![KEY, WORD], vec![KEY, ASK], vec![ASK]];
        let required = Requirement::new(ways, &[KEY, WORD, ASK]).unwrap();
        assert_eq!(required.next(&[]), [KEY, ASK]);
        assert_eq!(required.next(&[KEY]), [WORD, ASK]);
        assert_eq!(required.next(&[WORD]), []);
        assert_eq!(required.next(&[KEY, WORD]), []);
        let met = |passed: &[AuthMethod]| required.is_met(passed);
        assert!(!met(&[]) && !met(&[KEY]) && !met(&[WORD, KEY]) && !met(&[WORD]));
        assert!(met(&[KEY, WORD]) && met(&[KEY, ASK]) && met(&[ASK]));
    }

    #[test]
    fn a_method_may_be_required_twice() {
        let required = Requirement::new(vec![vec![KEY, KEY]], &[KEY]).unwrap();
        assert_eq!(required.next(&[KEY]), [KEY]);
        assert!(!required.is_met(&[KEY]) && required.is_met(&[KEY, KEY]));
    }

    #[test]
    fn a_way_that_cannot_be_gone_is_a_wrong_argument() {
        let table =
            [vec![], vec![vec![]], vec![vec![KEY], vec![]], vec![vec![WORD]], vec![vec![AuthMethod::None]]];
        for ways in table {
            assert_eq!(Requirement::new(ways, &[KEY, AuthMethod::None]).unwrap_err().field, "require");
        }
    }
}
