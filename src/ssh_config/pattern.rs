//! Patterns of names: `*`, `?`, negation, and lists of them (OpenSSH's `match.c`).

use crate::host_key::glob;

/// `match_pattern_list`: separated by commas. One negated match is a "no".
pub(super) fn matches_list(list: &str, text: &str) -> bool {
    let mut hit = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(pattern, text) => return false,
            Some(_) => {}
            None => hit |= glob(pattern, text),
        }
    }
    hit
}

/// `match_hostname`: the same, whatever the case.
pub(super) fn matches_host_list(list: &str, host: &str) -> bool {
    matches_list(&list.to_ascii_lowercase(), &host.to_ascii_lowercase())
}

/// The patterns of a `Host` line. The case counts, as in OpenSSH. One negated match is a "no".
pub(super) fn matches_words(patterns: &[String], host: &str) -> bool {
    let mut hit = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(pattern, host) => return false,
            Some(_) => {}
            None => hit |= glob(pattern, host),
        }
    }
    hit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_negated_match_is_a_no() {
        for (list, text, hit) in [
            ("a,b", "b", true),
            ("*,!b", "b", false),
            ("!b,*", "b", false),
            ("!b", "a", false),
            ("!b,*", "a", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches_list(list, text), hit, "{list} {text}");
            let words: Vec<_> = list.split(',').map(str::to_owned).collect();
            assert_eq!(matches_words(&words, text), hit, "{list} {text}");
        }
    }

    #[test]
    fn the_case_counts_in_host_lines_and_not_in_match_host() {
        assert!(!matches_words(&["foo".to_owned()], "Foo"));
        assert!(matches_host_list("FOO,bar", "Foo"));
    }
}
