//! Pseudo-terminal requests and terminal modes (RFC 4254 sections 6.2, 6.7 and 8).
//!
//! Owns the opcode table, the encoding of modes, and the rules for sizes and defaults. Knows
//! nothing of real terminals: who has one gives its size.

use std::fmt;

/// Opcodes from here on have no defined argument: RFC 4254 section 8 ends parsing at them.
const FIRST_UNDEFINED: u8 = 160;

/// What RFC 4254 section 8 puts in the place of a control character that is switched off.
const NO_CHARACTER: u32 = 255;

/// One terminal mode, by its opcode (RFC 4254 section 8, and RFC 8160 for `IUTF8`).
///
/// Modes for control characters (`V...`) take the character, or 255 for none. `ISPEED` and `OSPEED`
/// take bits per second. All others take 0 (off) or 1 (on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TerminalMode(u8);

macro_rules! terminal_modes {
    ($($name:ident = $opcode:literal, $wire:literal, $doc:literal;)*) => {
        impl TerminalMode {
            $(
                #[doc = $doc]
                pub const $name: Self = Self($opcode);
            )*
        }

        /// Every mode that has a name.
        const NAMED: &[(TerminalMode, &str)] = &[$((TerminalMode::$name, $wire),)*];
    };
}

terminal_modes! {
    VINTR = 1, "VINTR", "Interrupt character.";
    VQUIT = 2, "VQUIT", "Quit character.";
    VERASE = 3, "VERASE", "Erases the character to the left.";
    VKILL = 4, "VKILL", "Kills the current input line.";
    VEOF = 5, "VEOF", "End-of-file character.";
    VEOL = 6, "VEOL", "End-of-line character, besides carriage return or line feed.";
    VEOL2 = 7, "VEOL2", "A further end-of-line character.";
    VSTART = 8, "VSTART", "Continues paused output.";
    VSTOP = 9, "VSTOP", "Pauses output.";
    VSUSP = 10, "VSUSP", "Suspends the current program.";
    VDSUSP = 11, "VDSUSP", "Suspends the current program when it reads.";
    VREPRINT = 12, "VREPRINT", "Reprints the current input line.";
    VWERASE = 13, "VWERASE", "Erases the word to the left.";
    VLNEXT = 14, "VLNEXT", "Takes the next character literally.";
    VFLUSH = 15, "VFLUSH", "Flushes output.";
    VSWTCH = 16, "VSWTCH", "Switches to another shell layer.";
    VSTATUS = 17, "VSTATUS", "Prints a line of system status.";
    VDISCARD = 18, "VDISCARD", "Toggles the discarding of output.";
    IGNPAR = 30, "IGNPAR", "Ignores bytes with parity errors.";
    PARMRK = 31, "PARMRK", "Marks parity and framing errors.";
    INPCK = 32, "INPCK", "Checks parity on input.";
    ISTRIP = 33, "ISTRIP", "Strips the eighth bit of input.";
    INLCR = 34, "INLCR", "Maps line feed to carriage return on input.";
    IGNCR = 35, "IGNCR", "Ignores carriage return on input.";
    ICRNL = 36, "ICRNL", "Maps carriage return to line feed on input.";
    IUCLC = 37, "IUCLC", "Maps upper case to lower case on input.";
    IXON = 38, "IXON", "Lets input characters pause and continue output.";
    IXANY = 39, "IXANY", "Lets any character continue paused output.";
    IXOFF = 40, "IXOFF", "Pauses and continues input by characters.";
    IMAXBEL = 41, "IMAXBEL", "Rings the bell when the input queue is full.";
    IUTF8 = 42, "IUTF8", "Takes input for UTF-8 when erasing characters (RFC 8160).";
    ISIG = 50, "ISIG", "Makes signals of the interrupt, quit and suspend characters.";
    ICANON = 51, "ICANON", "Collects input in lines.";
    XCASE = 52, "XCASE", "Upper case is written as backslash and lower case.";
    ECHO = 53, "ECHO", "Echoes input.";
    ECHOE = 54, "ECHOE", "Erases visibly.";
    ECHOK = 55, "ECHOK", "Starts a new line after the kill character.";
    ECHONL = 56, "ECHONL", "Echoes line feeds even without `ECHO`.";
    NOFLSH = 57, "NOFLSH", "Does not flush after interrupt and quit.";
    TOSTOP = 58, "TOSTOP", "Stops background jobs that write to the terminal.";
    IEXTEN = 59, "IEXTEN", "Enables extensions.";
    ECHOCTL = 60, "ECHOCTL", "Echoes control characters as `^X`.";
    ECHOKE = 61, "ECHOKE", "Erases visibly on the kill character.";
    PENDIN = 62, "PENDIN", "Retypes pending input.";
    OPOST = 70, "OPOST", "Processes output.";
    OLCUC = 71, "OLCUC", "Maps lower case to upper case on output.";
    ONLCR = 72, "ONLCR", "Maps line feed to carriage return and line feed on output.";
    OCRNL = 73, "OCRNL", "Maps carriage return to line feed on output.";
    ONOCR = 74, "ONOCR", "Prints no carriage return in column 0.";
    ONLRET = 75, "ONLRET", "Line feed also returns the carriage.";
    CS7 = 90, "CS7", "7-bit characters.";
    CS8 = 91, "CS8", "8-bit characters.";
    PARENB = 92, "PARENB", "Enables parity.";
    PARODD = 93, "PARODD", "Odd parity, else even.";
    ISPEED = 128, "TTY_OP_ISPEED", "Input speed in bits per second.";
    OSPEED = 129, "TTY_OP_OSPEED", "Output speed in bits per second.";
}

impl TerminalMode {
    /// The mode with that opcode, named or not; `None` for 0, which ends the list on the wire
    /// (`TTY_OP_END`) and is no mode.
    ///
    /// Opcodes 160 to 255 are undefined: they can be held, are encoded after all others, and make
    /// the peer stop parsing where they stand.
    #[must_use]
    pub const fn raw(opcode: u8) -> Option<Self> {
        if opcode == 0 { None } else { Some(Self(opcode)) }
    }

    /// The opcode on the wire, never 0.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        self.0
    }

    /// The mnemonic of the RFC, such as `ECHO` or `TTY_OP_ISPEED`; `None` for opcodes without one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMED.iter().find(|(mode, _)| *mode == self).map(|(_, name)| *name)
    }

    /// The mode with that mnemonic, in upper or lower case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMED.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(mode, _)| *mode)
    }

    const fn is_defined(self) -> bool {
        self.0 < FIRST_UNDEFINED
    }
}

impl fmt::Display for TerminalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "opcode {}", self.0),
        }
    }
}

/// Terminal modes with their values, each mode at most once, in the order they were first set.
///
/// An empty list leaves everything to the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TerminalModes {
    modes: Vec<(TerminalMode, u32)>,
}

impl TerminalModes {
    /// No modes.
    #[must_use]
    pub const fn new() -> Self {
        Self { modes: Vec::new() }
    }

    /// What a terminal is after `stty sane`: Ctrl-C, Ctrl-D and Ctrl-Z work, input is collected in
    /// lines and echoed, output gets its carriage returns; 8 bits, UTF-8, 38,400 bits per second.
    #[must_use]
    pub fn sane() -> Self {
        SANE.iter().copied().collect()
    }

    /// Sets a mode, in its old place if it was set before.
    pub fn set(&mut self, mode: TerminalMode, value: u32) -> &mut Self {
        match self.modes.iter_mut().find(|(known, _)| *known == mode) {
            Some((_, old)) => *old = value,
            None => self.modes.push((mode, value)),
        }
        self
    }

    /// The value of a mode, if it is set.
    #[must_use]
    pub fn get(&self, mode: TerminalMode) -> Option<u32> {
        self.iter().find(|(known, _)| *known == mode).map(|(_, value)| value)
    }

    /// All modes with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TerminalMode, u32)> + '_ {
        self.modes.iter().copied()
    }

    /// How many modes are set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.modes.len()
    }

    /// Whether no mode is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.modes.is_empty()
    }

    /// The list as it travels (RFC 4254 section 8): opcode and value of each mode, then
    /// `TTY_OP_END`. Undefined opcodes (160 and above) come last.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (defined, undefined): (Vec<_>, Vec<_>) = self.iter().partition(|(mode, _)| mode.is_defined());
        let mut out = Vec::with_capacity(self.len().saturating_mul(5).saturating_add(1));
        for (mode, value) in defined.into_iter().chain(undefined) {
            out.push(mode.opcode());
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.push(0);
        out
    }

    /// The modes a peer sent.
    ///
    /// Reads up to `TTY_OP_END`, the first undefined opcode (RFC 4254 section 8 stops there), a value cut
    /// short, or the end, whichever is first; none of them is an error. Of a mode given twice, the
    /// last value counts.
    #[must_use]
    pub fn decode(mut encoded: &[u8]) -> Self {
        let mut modes = Self::new();
        while let Some((&[opcode, a, b, c, d], rest)) = encoded.split_first_chunk() {
            match TerminalMode::raw(opcode) {
                Some(mode) if mode.is_defined() => modes.set(mode, u32::from_be_bytes([a, b, c, d])),
                _ => break,
            };
            encoded = rest;
        }
        modes
    }
}

impl FromIterator<(TerminalMode, u32)> for TerminalModes {
    fn from_iter<I: IntoIterator<Item = (TerminalMode, u32)>>(modes: I) -> Self {
        let mut list = Self::new();
        list.extend(modes);
        list
    }
}

impl Extend<(TerminalMode, u32)> for TerminalModes {
    fn extend<I: IntoIterator<Item = (TerminalMode, u32)>>(&mut self, modes: I) {
        for (mode, value) in modes {
            self.set(mode, value);
        }
    }
}

const SANE: &[(TerminalMode, u32)] = &[
    (TerminalMode::VINTR, 3),
    (TerminalMode::VQUIT, 28),
    (TerminalMode::VERASE, 127),
    (TerminalMode::VKILL, 21),
    (TerminalMode::VEOF, 4),
    (TerminalMode::VEOL, NO_CHARACTER),
    (TerminalMode::VEOL2, NO_CHARACTER),
    (TerminalMode::VSTART, 17),
    (TerminalMode::VSTOP, 19),
    (TerminalMode::VSUSP, 26),
    (TerminalMode::VREPRINT, 18),
    (TerminalMode::VWERASE, 23),
    (TerminalMode::VLNEXT, 22),
    (TerminalMode::VDISCARD, 15),
    (TerminalMode::INLCR, 0),
    (TerminalMode::IGNCR, 0),
    (TerminalMode::ICRNL, 1),
    (TerminalMode::IXON, 1),
    (TerminalMode::IXANY, 0),
    (TerminalMode::IXOFF, 0),
    (TerminalMode::IMAXBEL, 1),
    (TerminalMode::IUTF8, 1),
    (TerminalMode::ISIG, 1),
    (TerminalMode::ICANON, 1),
    (TerminalMode::ECHO, 1),
    (TerminalMode::ECHOE, 1),
    (TerminalMode::ECHOK, 1),
    (TerminalMode::ECHONL, 0),
    (TerminalMode::NOFLSH, 0),
    (TerminalMode::TOSTOP, 0),
    (TerminalMode::IEXTEN, 1),
    (TerminalMode::ECHOCTL, 1),
    (TerminalMode::ECHOKE, 1),
    (TerminalMode::OPOST, 1),
    (TerminalMode::ONLCR, 1),
    (TerminalMode::OCRNL, 0),
    (TerminalMode::CS8, 1),
    (TerminalMode::PARENB, 0),
    (TerminalMode::ISPEED, 38_400),
    (TerminalMode::OSPEED, 38_400),
];

/// The size of a terminal, in characters and in pixels (RFC 4254 sections 6.2 and 6.7).
///
/// 0 means "not said". Characters count for more than pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WindowSize {
    /// Width in characters.
    pub columns: u32,
    /// Height in characters.
    pub rows: u32,
    /// Width of the drawable area in pixels.
    pub width_px: u32,
    /// Height of the drawable area in pixels.
    pub height_px: u32,
}

impl WindowSize {
    /// What is taken for a terminal whose size nobody said: 80 × 24 characters.
    pub const FALLBACK: Self = Self::new(80, 24);

    /// A size in characters; the pixels are not said.
    #[must_use]
    pub const fn new(columns: u32, rows: u32) -> Self {
        Self { columns, rows, width_px: 0, height_px: 0 }
    }

    /// The same with a size in pixels.
    #[must_use]
    pub const fn pixels(mut self, width: u32, height: u32) -> Self {
        self.width_px = width;
        self.height_px = height;
        self
    }

    /// The size a terminal of size `current` has after this one was received: what is 0 here changes
    /// nothing (RFC 4254 section 6.2), except that new characters make old pixels unknown.
    #[must_use]
    pub const fn or(self, current: Self) -> Self {
        let (columns, width_px) = resolve((self.columns, self.width_px), (current.columns, current.width_px));
        let (rows, height_px) = resolve((self.rows, self.height_px), (current.rows, current.height_px));
        Self { columns, rows, width_px, height_px }
    }
}

/// One dimension as (characters, pixels), zeros taken from `old`.
const fn resolve(new: (u32, u32), old: (u32, u32)) -> (u32, u32) {
    match new {
        (0, 0) => old,
        (0, pixels) => (old.0, pixels),
        given => given,
    }
}

/// A request for a pseudo-terminal, `pty-req` (RFC 4254 section 6.2).
///
/// ```
/// use ractor_ssh::wire::pty::{PtyRequest, TerminalMode};
///
/// let pty = PtyRequest::new("xterm-256color").size(132, 43).mode(TerminalMode::ECHO, 0);
/// assert_eq!(pty.columns, 132);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PtyRequest {
    /// The terminal type: what `TERM` will be for the remote program. Empty means "not said".
    pub term: String,
    /// Width in characters; 0 means "not said".
    pub columns: u32,
    /// Height in characters; 0 means "not said".
    pub rows: u32,
    /// Width of the drawable area in pixels; 0 means "not said".
    pub width_px: u32,
    /// Height of the drawable area in pixels; 0 means "not said".
    pub height_px: u32,
    /// Terminal modes; those that are not set are the peer's choice.
    pub modes: TerminalModes,
}

impl PtyRequest {
    /// A terminal of that type with 80 × 24 characters and no modes.
    #[must_use]
    pub fn new(term: impl Into<String>) -> Self {
        let WindowSize { columns, rows, width_px, height_px } = WindowSize::FALLBACK;
        Self { term: term.into(), columns, rows, width_px, height_px, modes: TerminalModes::new() }
    }

    /// A terminal like the one this program runs in, as far as the environment tells: the type from
    /// `TERM` (else `vt100`), the size from `COLUMNS` and `LINES` (else 80 × 24), no modes.
    ///
    /// Shells often keep `COLUMNS` and `LINES` to themselves: who can ask the terminal gives its
    /// size with [`PtyRequest::window_size`].
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name| var(name).and_then(|v| v.trim().parse().ok()).unwrap_or(0);
        let size = WindowSize::new(number("COLUMNS"), number("LINES")).or(WindowSize::FALLBACK);
        let term = var("TERM").filter(|term| !term.is_empty()).unwrap_or_else(|| "vt100".to_owned());
        Self::new(term).window_size(size)
    }

    /// Sets the size in characters.
    #[must_use]
    pub const fn size(mut self, columns: u32, rows: u32) -> Self {
        self.columns = columns;
        self.rows = rows;
        self
    }

    /// Sets the size in pixels.
    #[must_use]
    pub const fn pixels(mut self, width: u32, height: u32) -> Self {
        self.width_px = width;
        self.height_px = height;
        self
    }

    /// Sets the size in characters and in pixels.
    #[must_use]
    pub const fn window_size(self, size: WindowSize) -> Self {
        self.size(size.columns, size.rows).pixels(size.width_px, size.height_px)
    }

    /// Sets one mode.
    #[must_use]
    pub fn mode(mut self, mode: TerminalMode, value: u32) -> Self {
        self.modes.set(mode, value);
        self
    }

    /// Replaces all modes.
    #[must_use]
    pub fn modes(mut self, modes: TerminalModes) -> Self {
        self.modes = modes;
        self
    }

    /// The size as it was asked for; [`WindowSize::or`] with [`WindowSize::FALLBACK`] gives the
    /// size to use.
    #[must_use]
    pub const fn requested_size(&self) -> WindowSize {
        WindowSize::new(self.columns, self.rows).pixels(self.width_px, self.height_px)
    }
}

impl Default for PtyRequest {
    /// A `vt100` with 80 × 24 characters and no modes.
    fn default() -> Self {
        Self::new("vt100")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn opcodes_and_names_are_those_of_the_rfc() {
        let ranges = [1..=18, 30..=42, 50..=62, 70..=75, 90..=93, 128..=129];
        let opcodes: Vec<u8> = ranges.into_iter().flatten().collect();
        assert_eq!(NAMED.iter().map(|(mode, _)| mode.opcode()).collect::<Vec<_>>(), opcodes);
        for opcode in opcodes {
            let mode = TerminalMode::raw(opcode).unwrap();
            let name = mode.name().unwrap();
            assert_eq!(TerminalMode::from_name(name), Some(mode));
            assert_eq!(TerminalMode::from_name(&name.to_lowercase()), Some(mode));
            assert_eq!(mode.to_string(), name);
        }
        for (name, opcode) in
            [("VINTR", 1), ("IUTF8", 42), ("ECHO", 53), ("ONLCR", 72), ("TTY_OP_OSPEED", 129)]
        {
            assert_eq!(TerminalMode::from_name(name).unwrap().opcode(), opcode);
        }
    }

    #[test]
    fn opcode_zero_is_no_mode_and_unnamed_ones_are_held() {
        assert_eq!(TerminalMode::raw(0), None);
        assert_eq!(TerminalMode::from_name("TTY_OP_END"), None);
        let unnamed = TerminalMode::raw(77).unwrap();
        assert_eq!(unnamed.name(), None);
        assert_eq!(unnamed.to_string(), "opcode 77");
    }

    #[test]
    fn encoding_is_opcode_value_pairs_and_a_terminator() {
        let mut modes = TerminalModes::new();
        assert_eq!(modes.encode(), [0]);
        modes.set(TerminalMode::raw(200).unwrap(), 9).set(TerminalMode::ECHO, 0);
        modes.set(TerminalMode::OSPEED, 38_400).set(TerminalMode::ECHO, 1);
        assert_eq!(modes.encode(), [53, 0, 0, 0, 1, 129, 0, 0, 150, 0, 200, 0, 0, 0, 9, 0]);
    }

    #[test]
    fn decoding_stops_where_the_rfc_says_and_forgives_a_missing_end() {
        let echo = [53, 0, 0, 0, 1];
        for rest in [&[][..], &[0], &[0, 36, 0, 0, 0, 1], &[160, 0, 0, 0, 1], &[255], &[36, 0, 0, 0], &[36]] {
            let modes = TerminalModes::decode(&[&echo[..], rest].concat());
            assert_eq!(modes.iter().collect::<Vec<_>>(), [(TerminalMode::ECHO, 1)], "{rest:?}");
        }
        let twice = TerminalModes::decode(&[53, 0, 0, 0, 1, 36, 0, 0, 0, 1, 53, 0, 0, 0, 0, 0]);
        assert_eq!(twice.iter().collect::<Vec<_>>(), [(TerminalMode::ECHO, 0), (TerminalMode::ICRNL, 1)]);
    }

    #[test]
    fn sane_modes_name_each_mode_once() {
        let sane = TerminalModes::sane();
        assert_eq!(sane.len(), SANE.len());
        assert_eq!(sane.get(TerminalMode::VINTR), Some(3));
        assert_eq!(TerminalModes::decode(&sane.encode()), sane);
    }

    #[test]
    fn the_environment_gives_type_and_size() {
        for (term, columns, lines, expected) in [
            (None, None, None, ("vt100", 80, 24)),
            (Some(""), Some("0"), Some("-1"), ("vt100", 80, 24)),
            (Some("xterm"), Some("132"), None, ("xterm", 132, 24)),
            (Some("screen"), Some("wide"), Some(" 50 "), ("screen", 80, 50)),
        ] {
            let pty = PtyRequest::from_vars(|name| {
                let value = match name {
                    "TERM" => term,
                    "COLUMNS" => columns,
                    "LINES" => lines,
                    other => panic!("{other} was asked for"),
                };
                value.map(str::to_owned)
            });
            assert_eq!((pty.term.as_str(), pty.columns, pty.rows), expected);
            assert!(pty.modes.is_empty());
        }
    }

    #[test]
    fn a_zero_dimension_changes_nothing_and_characters_override_pixels() {
        let current = WindowSize::new(80, 24).pixels(800, 480);
        assert_eq!(WindowSize::default().or(current), current);
        assert_eq!(
            WindowSize::new(100, 0).or(current),
            WindowSize { height_px: 480, ..WindowSize::new(100, 24) }
        );
        assert_eq!(
            WindowSize::new(0, 0).pixels(900, 0).or(current),
            WindowSize::new(80, 24).pixels(900, 480)
        );
        let full = WindowSize::new(1, 2).pixels(3, 4);
        assert_eq!(full.or(current), full);
        assert_eq!(PtyRequest::default().window_size(full).requested_size(), full);
    }

    proptest! {
        #[test]
        fn defined_modes_come_back_as_they_were(
            modes in prop::collection::vec((1_u8..160, any::<u32>()), 0..200)
        ) {
            let modes: TerminalModes =
                modes.into_iter().map(|(op, v)| (TerminalMode::raw(op).unwrap(), v)).collect();
            prop_assert_eq!(TerminalModes::decode(&modes.encode()), modes);
        }

        #[test]
        fn any_bytes_decode_to_defined_modes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let modes = TerminalModes::decode(&bytes);
            prop_assert!(modes.iter().all(|(mode, _)| (1..160).contains(&mode.opcode())));
            prop_assert_eq!(TerminalModes::decode(&modes.encode()), modes);
        }
    }
}
