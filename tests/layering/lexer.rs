//! Rust text to tokens, as far as reading paths needs it. Knows nothing of their meaning.

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Words, `::` and single signs; comments, strings and characters are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let letters: Vec<char> = text.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while at < letters.len() {
        let end = skipped(&letters, at).unwrap_or_else(|| {
            let end = token_end(&letters, at);
            if !letters[at].is_whitespace() {
                found.push(Token { text: letters[at..end].iter().collect(), line });
            }
            end
        });
        line += letters[at..end].iter().filter(|letter| **letter == '\n').count();
        at = end;
    }
    found
}

fn token_end(letters: &[char], at: usize) -> usize {
    let word = |letter: &char| letter.is_alphanumeric() || *letter == '_';
    if letters[at..].starts_with(&[':', ':']) {
        return at + 2;
    }
    at + letters[at..].iter().take_while(|letter| word(letter)).count().max(1)
}

/// The end of the comment, string or character that starts here.
fn skipped(letters: &[char], at: usize) -> Option<usize> {
    let rest = &letters[at..];
    match rest {
        ['/', '/', ..] => Some(at + rest.iter().take_while(|letter| **letter != '\n').count()),
        ['/', '*', ..] => Some(at + block_comment(rest)),
        ['"', ..] => Some(at + quoted(rest, '"')),
        ['\'', '\\', ..] => Some(at + quoted(rest, '\'')),
        ['\'', _, '\'', ..] => Some(at + 3),
        ['b' | 'c', '"', ..] => Some(at + 1 + quoted(&rest[1..], '"')),
        ['b' | 'c', 'r', '"' | '#', ..] => raw_string(&rest[2..]).map(|length| at + 2 + length),
        ['r', '"' | '#', ..] => raw_string(&rest[1..]).map(|length| at + 1 + length),
        _ => None,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of `#"..."#` with any number of `#`; none for a raw identifier.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|letter| **letter == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take_while(|letter| **letter == '#').count() >= hashes
    };
    (hashes + 1..rest.len()).find(closes).map(|at| at + 1 + hashes).or(Some(rest.len()))
}
