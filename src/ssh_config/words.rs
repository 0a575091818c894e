//! One line of a file: its keyword and its arguments, quoted as OpenSSH reads them.
//!
//! Owns the lexing. Knows no keyword.

/// What OpenSSH takes for white space inside of a line.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A line that says something.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// In lower case.
    pub(super) keyword: String,
    /// What follows it, without the `=` between, never with white space around.
    pub(super) rest: &'a str,
}

/// The line's keyword and the rest; `None` for an empty line and a comment.
pub(super) fn split_line(line: &str) -> Option<Line<'_>> {
    let line = line.trim_end_matches(|c| SPACE.contains(&c) || c == '\x0c').trim_start_matches(SPACE);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    if let Some((keyword, rest)) = line.strip_prefix('"').and_then(|inner| inner.split_once('"')) {
        return Some(Line { keyword: keyword.to_ascii_lowercase(), rest: rest.trim_start_matches(SPACE) });
    }
    let end = line.find(|c| SPACE.contains(&c) || c == '=').unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end).unwrap_or((line, ""));
    let rest = rest.trim_start_matches(SPACE);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches(SPACE);
    Some(Line { keyword: keyword.to_ascii_lowercase(), rest })
}

/// The rest of a line as one command: what OpenSSH does not split, quotes and `#` included.
pub(super) fn command(rest: &str) -> &str {
    rest.trim_start_matches(|c| SPACE.contains(&c) || c == '=')
}

/// The arguments of a line. A word that starts with `#` and all after it is a comment. `None`: a quote is not closed.
pub(super) fn split_words(rest: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = rest.chars().peekable();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if matches!(chars.peek(), None | Some('#')) {
            return Some(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => {
                    let escaped =
                        |next: &char| matches!(next, '\'' | '"' | '\\') || (quote.is_none() && *next == ' ');
                    word.push(chars.next_if(escaped).unwrap_or('\\'));
                }
                (' ' | '\t', None) => break,
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
}

/// The words of a `Match` line, which OpenSSH reads in a way of its own: only `"` quotes, a quote ends the word, and one
/// `=` may stand between two words. `None`: a quote is not closed.
pub(super) fn split_criteria(rest: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = rest.trim_start_matches(SPACE);
    while !rest.is_empty() && !rest.starts_with('#') {
        if let Some(inner) = rest.strip_prefix('"') {
            let (word, after) = inner.split_once('"')?;
            words.push(word.to_owned());
            rest = after.trim_start_matches(SPACE);
            continue;
        }
        let end = rest.find(|c| SPACE.contains(&c) || c == '=').unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end)?;
        words.push(word.to_owned());
        let after = after.trim_start_matches(SPACE);
        rest = after.strip_prefix('=').unwrap_or(after).trim_start_matches(SPACE);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(String, &str)> {
        split_line(text).map(|line| (line.keyword, line.rest))
    }

    #[test]
    fn a_keyword_ends_at_white_space_or_at_one_equals_sign() {
        for text in ["Port 22", "port=22", " PORT = 22\r", "\tPort\t=22 \x0c", "\"Port\" 22"] {
            assert_eq!(line(text), Some(("port".to_owned(), "22")), "{text:?}");
        }
        assert_eq!(line("Port == 3"), Some(("port".to_owned(), "= 3")));
        assert_eq!(line("Port"), Some(("port".to_owned(), "")));
    }

    #[test]
    fn empty_lines_and_comments_say_nothing() {
        for text in ["", "   ", "# Port 22", "\t#", "\r", "\x0c"] {
            assert_eq!(line(text), None, "{text:?}");
        }
    }

    #[test]
    fn words_are_quoted_as_in_openssh() {
        let table: [(&str, &[&str]); 10] = [
            ("a b\tc", &["a", "b", "c"]),
            ("\"a b\" 'c d'", &["a b", "c d"]),
            ("'a b'c", &["a bc"]),
            (r#"a\ b \"c\" \\ \x"#, &["a b", "\"c\"", "\\", "\\x"]),
            (r#""a\ b""#, &["a\\ b"]),
            ("a # b", &["a"]),
            ("a#b", &["a#b"]),
            ("\"\"", &[""]),
            ("\"it's\"", &["it's"]),
            ("\\", &["\\"]),
        ];
        for (text, words) in table {
            assert_eq!(split_words(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn an_open_quote_is_no_word() {
        for text in ["\"a", "a 'b", "a\"", "\"a\\\""] {
            assert_eq!(split_words(text), None, "{text}");
        }
    }

    #[test]
    fn criteria_may_be_joined_by_equals_signs() {
        assert_eq!(split_criteria("host=a,b user \"x y\" # c").unwrap(), ["host", "a,b", "user", "x y"]);
        assert_eq!(split_criteria("exec \"test -f /x\"").unwrap(), ["exec", "test -f /x"]);
        assert_eq!(split_criteria("exec \"a"), None);
    }
}
