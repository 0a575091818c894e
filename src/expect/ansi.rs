//! Leaves out what only a terminal wants to see.
//!
//! Owns where in an escape sequence the stream is, so that sequences may be torn apart anywhere.

use anstyle_parse::state::{Action, State, state_change};

/// Removes the escape sequences of ECMA-48 (`ESC [ ...`, `ESC ] ... BEL`, `ESC P ... ESC \` and the like).
///
/// Everything else goes through byte for byte: text in any encoding, CR, LF, tabs, backspaces, bells. Control bytes
/// within a sequence, which a terminal would obey at once, go through too. Keeps one state and no bytes: a sequence
/// that never ends hides what follows, as it does on a terminal.
#[derive(Debug, Clone, Default)]
pub(super) struct Stripper {
    state: State,
}

impl Stripper {
    /// Appends what is left of these bytes.
    pub(super) fn strip(&mut self, bytes: &[u8], into: &mut impl Extend<u8>) {
        into.extend(bytes.iter().copied().filter(|byte| self.passes(*byte)));
    }

    /// Takes one byte in. Bytes above 127 are text here: the one-byte controls of ECMA-48 are of no use with UTF-8.
    fn passes(&mut self, byte: u8) -> bool {
        let was_ground = self.state == State::Ground;
        if byte > 0x7f {
            return was_ground;
        }
        let (state, action) = state_change(self.state, byte);
        if state != State::Anywhere {
            self.state = state;
        }
        match action {
            Action::Execute => true,
            Action::Print => was_ground,
            // DEL and the like in the text.
            _ => was_ground && self.state == State::Ground,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strip<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut stripper, mut out) = (Stripper::default(), Vec::new());
        pieces.into_iter().for_each(|piece| stripper.strip(piece, &mut out));
        out
    }

    #[test]
    fn sequences_go_and_everything_else_stays() {
        for (given, left) in [
            (&b"\x1b[1;31mred\x1b[0m\r\n\tgreen"[..], &b"red\r\n\tgreen"[..]),
            (b"\x1b]0;title\x07$ ", b"$ "),
            (b"\x1b]0;title\x1b\\$ ", b"$ "),
            (b"\x1b[?2004h$ \x1b[?2004l\r", b"$ \r"),
            (b"\x1b(Ba\x1b=b\x1bMc", b"abc"),
            (b"\x1bPq#0;2\x1b\\after", b"after"),
            (b"a\x08b\x07c\x7fd\0", b"a\x08b\x07c\x7fd\0"),
            ("gr\u{fc}n \u{2192} \u{1f980}".as_bytes(), "gr\u{fc}n \u{2192} \u{1f980}".as_bytes()),
            (b"\xff\xfe\x80", b"\xff\xfe\x80"),
            (b"\x1b]0;\xe2\x86\x92\x07ok", b"ok"),
        ] {
            assert_eq!(strip([given]).escape_ascii().to_string(), left.escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_stream_is_cut(
            bytes in prop::collection::vec(
                prop_oneof![Just(0x1b_u8), Just(b'['), Just(b']'), Just(7), Just(b'm'), Just(b'\\'), any::<u8>()],
                0..64,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(strip([left, right]), strip([&bytes[..]]));
        }

        #[test]
        fn what_has_no_escape_is_left_alone(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assume!(!bytes.contains(&0x1b));
            prop_assert_eq!(strip([&bytes[..]]), bytes);
        }
    }
}
