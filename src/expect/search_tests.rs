//! The same match, however the stream is cut; and every byte looked at once.

use proptest::prelude::*;

use super::*;

fn regex(text: &str) -> Pattern {
    Pattern::regex(text).unwrap()
}

/// The stream cut behind these bytes. As in a dialogue, each piece is searched before the next one is there.
fn search(patterns: &[Pattern], stream: &[u8], cuts: &[usize]) -> Option<Hit> {
    let mut search = Search::new(patterns);
    cuts.iter()
        .find_map(|cut| search.advance(&stream[..*cut], false))
        .or_else(|| search.advance(stream, false))
        .or_else(|| search.advance(stream, true))
}

fn bytewise(patterns: &[Pattern], stream: &[u8]) -> Option<Hit> {
    search(patterns, stream, &(0..stream.len()).collect::<Vec<_>>())
}

fn found(patterns: &[Pattern], stream: &[u8]) -> Option<(usize, Range<usize>)> {
    let whole = search(patterns, stream, &[]);
    assert_eq!(bytewise(patterns, stream), whole, "{patterns:?} in {:?}", stream.escape_ascii().to_string());
    whole.map(|hit| (hit.index, hit.range))
}

#[test]
fn the_first_match_is_the_one_whose_end_comes_first() {
    for (patterns, stream, index, range) in [
        (vec![Pattern::literal("b"), Pattern::literal("a")], &b"xab"[..], 1, 1..2),
        (vec![Pattern::literal("abc"), Pattern::literal("b")], b"abc", 1, 1..2),
        (vec![Pattern::literal("bc"), Pattern::literal("abc")], b"abc", 0, 1..3),
        (vec![regex("a+"), Pattern::literal("aaa")], b"xaaa", 0, 1..2),
        (vec![regex(r"(?-u:\w)+\r?\n")], b"  one\r\ntwo\n", 0, 2..7),
        (vec![regex("abcd|b")], b"abcd", 0, 1..2),
        (vec![regex(r"x(?-u:\b)")], b"xx x.", 0, 1..2),
        (vec![regex("(?m)^b")], b"ab\nb", 0, 3..4),
        (vec![regex(r"\Ab")], b"bab", 0, 0..1),
        (vec![regex("(?m)a$")], b"ab a\nb", 0, 3..4),
        (vec![regex("(?-u)\\xff.")], b"a\xff\xfe", 0, 1..3),
        (vec![regex("\u{fc}+!")], "\u{fc}\u{fc}!".as_bytes(), 0, 0..5),
        // Certain at the same byte, so the list decides; one byte earlier, that does.
        (vec![regex("(?m)a$"), Pattern::literal("a\n")], b"a\n", 0, 0..1),
        (vec![regex("(?m)a$"), Pattern::literal("a")], b"a\n", 1, 0..1),
    ] {
        assert_eq!(found(&patterns, stream), Some((index, range)), "{patterns:?}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    for (pattern, stream) in [
        (Pattern::literal("abc"), &b"ababab"[..]),
        (regex(r"\Ab"), b"ab"),
        (regex(r"a(?-u:\b)"), b"ab"),
        (regex("(?m)a$"), b"a\r\n"),
    ] {
        assert_eq!(found(&[pattern], stream), None);
    }
}

#[test]
fn what_depends_on_the_next_byte_matches_at_the_end_of_the_stream_too() {
    for text in ["(?m)a$", r"a(?-u:\b)"] {
        let patterns = [regex(text)];
        let mut search = Search::new(&patterns);
        assert_eq!(search.advance(b"xa", false), None);
        assert_eq!(search.advance(b"xa", true).map(|hit| hit.range), Some(1..2));
    }
}

#[test]
fn groups_are_told_by_number_and_name() {
    let patterns = [regex(r"(?<key>[a-z]+)=(x)?(\d+);")];
    let hit = search(&patterns, b" port=22; ", &[]).unwrap();
    assert_eq!(hit.groups, [Some(1..9), Some(1..5), None, Some(6..8)]);
    assert_eq!(hit.names, [None, Some("key".into()), None, None]);
}

#[test]
fn a_search_whose_automaton_outgrows_its_memory_goes_on() {
    // Each byte leads to another state: the lazily built automaton is thrown away many times.
    let patterns = [regex("(?-u)[ab]*a[ab]{200}X")];
    let mut state = 1_u32;
    let mut stream: Vec<u8> = (0..60_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { b'a' } else { b'b' }
        })
        .collect();
    let at = stream.len() - 201;
    stream[at] = b'a';
    stream.extend(b"X!");
    let end = stream.len() - 1;
    let mut search = Search::new(&patterns);
    let found = (0..stream.len()).step_by(97).find_map(|cut| search.advance(&stream[..cut], false));
    let found = found.or_else(|| search.advance(&stream, false));
    assert_eq!(found.map(|hit| hit.range.end), Some(end));
    let Progress::Regex(scan) = &search.progress[0] else { panic!("no regex") };
    assert!(scan.cache.clear_count() > 2, "{}", scan.cache.clear_count());
}

#[test]
fn a_long_stream_in_small_pieces_is_looked_at_once() {
    // Looking at everything again with each byte would be 10^13 steps.
    let stream = vec![b'a'; 4 << 20];
    let patterns = [Pattern::literal("aaaaaaaab"), regex("a[^a]"), regex("(?-u:\\ba\\b)")];
    let mut search = Search::new(&patterns);
    for end in 1..=stream.len() {
        assert_eq!(search.advance(&stream[..end], false), None);
    }
    for progress in &search.progress {
        let at = match progress {
            Progress::Literal(from) => *from,
            Progress::Regex(scan) => scan.at,
        };
        assert!(at + 8 >= stream.len());
    }
}

#[test]
fn expressions_that_make_no_sense_in_a_stream_are_refused() {
    for (text, word) in [
        ("a*", "empty"),
        ("(?m)^", "empty"),
        ("a$", "end of the stream"),
        (r"a\z", "end of the stream"),
        (r"a\b", "word boundar"),
        ("a(", "is none"),
        ("(?-u)[ab]{5000}{5000}", "cannot be searched in a stream"),
    ] {
        let error = Pattern::regex(text).unwrap_err();
        assert!(error.to_string().contains(word), "{text}: {error}");
        assert_eq!(error.field, "regex");
    }
    Pattern::literal("").check().unwrap_err();
}

fn pattern() -> impl Strategy<Value = Pattern> {
    const TEXTS: &[&str] = &[
        "a+b",
        "(?m)^a",
        "(?m)b$",
        r"a(?-u:\b)",
        "[ab]{2,3}c?\n",
        r"\Aab",
        "a|ab|abc",
        "(?-u)\\xff[^a]",
        "b*a",
        "ab*?c",
        "(?s-u)a.{3}b",
    ];
    let literals =
        prop::collection::vec(prop::sample::select(&b"abc\n"[..]), 1..4).prop_map(Pattern::literal);
    prop_oneof![literals, prop::sample::select(TEXTS).prop_map(regex)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_match_does_not_depend_on_how_the_stream_is_cut(
        patterns in prop::collection::vec(pattern(), 1..4),
        stream in prop::collection::vec(prop::sample::select(&b"abc\n \xff"[..]), 0..48),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = search(&patterns, &stream, &[]);
        prop_assert_eq!(search(&patterns, &stream, &cuts), whole.clone());
        prop_assert_eq!(bytewise(&patterns, &stream), whole);
    }

    /// Against the plainest way there is: search every beginning of the stream, the shortest first.
    #[test]
    fn it_is_the_match_a_search_of_every_beginning_finds(
        text in prop::sample::select(&["a+b", "(?m)^a", "[ab]{2,3}c?\n", r"\Aab", "a|ab|abc", "b*a", "ab*?c"][..]),
        stream in prop::collection::vec(prop::sample::select(&b"abc\n "[..]), 0..32),
    ) {
        let plain = regex_automata::meta::Regex::new(text).unwrap();
        let naive = (0..=stream.len()).find_map(|end| plain.find(&stream[..end])).map(|found| found.range());
        prop_assert_eq!(search(&[regex(text)], &stream, &[]).map(|hit| hit.range), naive);
    }
}
