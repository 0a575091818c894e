//! Command lines for a POSIX shell, from words.
//!
//! Owns the quoting: each word arrives at the program byte for byte. Knows nothing of channels; what it
//! makes is the payload of an `exec` request, which the server gives to the user's shell with `-c`
//! (RFC 4254 section 6.5). Other shells (`cmd.exe`, PowerShell, the command lines of network devices, csh
//! for words with a newline) have rules of their own: for them there are raw words.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::ConfigError;

/// Words that mean something else to some shell when they stand first and bare. (Those with brackets or
/// braces are quoted anyway.)
const RESERVED: &[&[u8]] = &[
    b"case",
    b"coproc",
    b"do",
    b"done",
    b"elif",
    b"else",
    b"end",
    b"esac",
    b"fi",
    b"for",
    b"foreach",
    b"function",
    b"if",
    b"in",
    b"namespace",
    b"nocorrect",
    b"repeat",
    b"select",
    b"then",
    b"time",
    b"until",
    b"while",
];

/// A command line in the making: a program and its arguments, joined by single spaces.
///
/// The first mistake is kept and reported by [`Arguments::build`], so that calls can be chained.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    line: Vec<u8>,
    count: usize,
    error: Option<ConfigError>,
}

impl Arguments {
    /// Starts with a program, quoted so that it is run as a program of that very name: neither keyword,
    /// assignment nor option of the shell.
    pub(crate) fn new(program: impl AsRef<[u8]>) -> Self {
        let mut this = Self { line: Vec::new(), count: 0, error: None };
        match quote_program(program.as_ref()) {
            Ok(word) => this.line.extend_from_slice(&word),
            Err(error) => this.error = Some(error),
        }
        this
    }

    /// Starts with text for the shell, as it is.
    pub(crate) fn raw(line: impl AsRef<[u8]>) -> Self {
        Self { line: line.as_ref().to_vec(), count: 0, error: None }
    }

    /// Adds an argument, quoted.
    pub(crate) fn arg(&mut self, word: impl AsRef<[u8]>) -> &mut Self {
        self.count = self.count.saturating_add(1);
        match quote(&format!("argument {}", self.count), word.as_ref()) {
            Ok(word) => self.push(&word),
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }

    /// Adds arguments, quoted.
    pub(crate) fn args<W: AsRef<[u8]>>(&mut self, words: impl IntoIterator<Item = W>) -> &mut Self {
        for word in words {
            self.arg(word);
        }
        self
    }

    /// Adds text for the shell, as it is, after a space.
    pub(crate) fn raw_arg(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.count = self.count.saturating_add(1);
        self.push(text.as_ref());
        self
    }

    /// The command line.
    ///
    /// # Errors
    ///
    /// The program is empty; the program or an argument contains NUL, which no program can be given: the
    /// first such word is named by its position (`argument 1` is the first after the program), not shown.
    pub(crate) fn build(&self) -> Result<Bytes, ConfigError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(Bytes::copy_from_slice(&self.line)),
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.line.push(b' ');
        self.line.extend_from_slice(text);
    }
}

/// One word, so that a POSIX shell takes it for exactly these bytes; `field` names it in the error.
fn quote<'a>(field: &str, word: &'a [u8]) -> Result<Cow<'a, [u8]>, ConfigError> {
    shlex::bytes::try_quote(word).map_err(|_| {
        let at = word.iter().position(|byte| *byte == 0).unwrap_or_default();
        let problem = format!("contains NUL at byte {at}, which cannot be an argument of a program");
        ConfigError::new(field, problem, "leave the NUL out, or send it as data on stdin")
    })
}

fn quote_program(program: &[u8]) -> Result<Cow<'_, [u8]>, ConfigError> {
    if program.is_empty() {
        return Err(ConfigError::new("program", "is empty", "name a program, or ask for a shell"));
    }
    let word = quote("program", program)?;
    let bare = matches!(word, Cow::Borrowed(_));
    if bare && (RESERVED.contains(&program) || matches!(program.first(), Some(b'-' | b'+'))) {
        return Ok(Cow::Owned([b"'", program, b"'"].concat()));
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(program: &str, words: &[&str]) -> String {
        let line = Arguments::new(program).args(words).build().unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    }

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        assert_eq!(line("ls", &["-l", "/tmp/a.b"]), "ls -l /tmp/a.b");
        assert_eq!(line("echo", &["", "two words", "it's", "$HOME"]), "echo '' 'two words' \"it's\" '$HOME'");
        assert_eq!(line("a b", &[]), "'a b'");
    }

    #[test]
    fn the_program_is_never_a_keyword_an_assignment_or_an_option_of_the_shell() {
        assert_eq!(line("if", &["if"]), "'if' if");
        assert_eq!(line("time", &[]), "'time'");
        assert_eq!(line("-x", &["-x"]), "'-x' -x");
        assert_eq!(line("+x", &[]), "'+x'");
        assert_eq!(line("A=b", &[]), "'A=b'");
        for keyword in ["!", "{", "}", "[["] {
            assert_eq!(line(keyword, &[]), format!("'{keyword}'"));
        }
    }

    #[test]
    fn raw_text_goes_to_the_shell_as_it_is() {
        let built = Arguments::raw("cat *").raw_arg("| wc -l >").arg("a b").build().unwrap();
        assert_eq!(built, "cat * | wc -l > 'a b'");
    }

    #[test]
    fn the_first_word_with_nul_is_named_and_not_shown() {
        let error = Arguments::new("p").arg("ok").raw_arg("|").arg("hush\0").arg("\0").build().unwrap_err();
        assert_eq!(error.field, "argument 3");
        assert!(error.problem.contains("NUL at byte 4") && !error.to_string().contains("hush"), "{error}");
        assert_eq!(Arguments::new("p\0").arg("\0").build().unwrap_err().field, "program");
        assert_eq!(Arguments::new("").build().unwrap_err().problem, "is empty");
    }

    #[cfg(unix)]
    mod with_a_real_shell {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        use std::process::{Command, Stdio};

        use proptest::prelude::*;

        use super::*;

        /// What the words of a command line are to `/bin/sh`.
        fn through_sh(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
            let line = Arguments::new("printf").arg("%s\\0").args(words).build().unwrap();
            let mut sh = Command::new("/bin/sh");
            sh.arg("-c").arg(OsStr::from_bytes(&line)).stdin(Stdio::null());
            let output = sh.output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            output.stdout.strip_suffix(b"\0").unwrap().split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
        }

        /// Any bytes, with a liking for those a shell has plans for.
        fn word() -> impl Strategy<Value = Vec<u8>> {
            let byte = prop_oneof![
                prop::sample::select(&b" \t\n\r'\"\\$`!^*?[]{}()<>|&;#~=%,-+abc"[..]),
                1_u8..=255
            ];
            prop::collection::vec(byte, 0..40)
        }

        #[test]
        fn every_byte_but_nul_survives_alone_and_between_others() {
            let alone = (1..=255).map(|byte| vec![byte]);
            let between = (1..=255).map(|byte| vec![b'a', byte, byte, b'\'', byte]);
            let words: Vec<_> = alone.chain(between).collect();
            assert_eq!(through_sh(&words), words);
        }

        #[test]
        fn a_program_named_like_a_keyword_or_option_is_looked_up_as_a_program() {
            for program in RESERVED.iter().copied().chain([&b"-x"[..], b"+x", b"!", b"{", b"A=b"]) {
                let line = Arguments::new(program).build().unwrap();
                let mut sh = Command::new("/bin/sh");
                sh.env("PATH", "/nonexistent").arg("-c").arg(OsStr::from_bytes(&line));
                let status = sh.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap();
                assert_eq!(status.code(), Some(127), "{}", program.escape_ascii());
            }
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(200))]

            #[test]
            fn words_come_back_from_the_shell_byte_for_byte(words in prop::collection::vec(word(), 1..8)) {
                prop_assert_eq!(through_sh(&words), words);
            }
        }
    }
}
