//! Prompts of devices and REPLs: learned by asking, used to tell where an answer ends.
//!
//! Knows nothing of what the prompts look like.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::dialog::Dialog;
use super::error::ExpectError;
use super::pattern::Pattern;
use crate::error::ConfigError;

/// What the other end shows when it waits for a command.
#[derive(Debug, Clone)]
pub struct Prompt {
    text: Bytes,
    pattern: Pattern,
    before: Bytes,
}

impl Prompt {
    /// This prompt, spaces at its end included. It is recognized at the beginning of a line.
    ///
    /// # Errors
    /// It is empty.
    pub fn new(text: impl Into<Bytes>) -> Result<Self, ConfigError> {
        let text = text.into();
        if text.is_empty() {
            return Err(ConfigError::new(
                "prompt",
                "is empty",
                "give what is shown before a command is typed",
            ));
        }
        let mut regex = String::from("(?m-u)(?:^|\\r)");
        for byte in &text {
            let _ = write!(regex, "\\x{byte:02x}");
        }
        Ok(Self { pattern: Pattern::regex(&regex)?, text, before: Bytes::new() })
    }

    /// The prompt.
    #[must_use]
    pub const fn text(&self) -> &Bytes {
        &self.text
    }

    /// The prompt at the beginning of a line, to be waited for together with others.
    #[must_use]
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// What came while it was learned: a greeting, perhaps.
    #[must_use]
    pub const fn before(&self) -> &Bytes {
        &self.before
    }
}

/// # Prompts
impl Dialog {
    /// Learns the prompt: waits until the other end is quiet, sends an empty line twice, and takes for the prompt what
    /// stands on the last line of both answers.
    ///
    /// `quiet` is how long nothing must come for an answer to be over: somewhat more than the other end's longest
    /// pause, half a second for most devices. The whole takes three times that at least.
    ///
    /// Prompts that change by themselves (with the time, a counter, the directory) are better waited for with a
    /// pattern; a POSIX shell is better given a prompt: [`PosixShell`](super::PosixShell).
    ///
    /// # Cancel safety
    /// If the future is dropped, an empty line may have been sent, and what came may be consumed.
    ///
    /// # Errors
    /// The answers differ, or have no last line: [`NoPrompt`](ExpectError::NoPrompt). As [`expect`](Self::expect).
    pub async fn learn_prompt(&mut self, quiet: Duration) -> Result<Prompt, ExpectError> {
        let greeting = self.expect_quiet(quiet).await?;
        let first = self.answer_to_nothing(quiet).await?;
        let second = self.answer_to_nothing(quiet).await?;
        let prompt = last_line(&second);
        if prompt.is_empty() || prompt != last_line(&first) {
            let (first, second) = (last_line(&first).to_vec(), prompt.to_vec());
            return Err(ExpectError::NoPrompt { first, second });
        }
        let before = [greeting, first.clone()].concat().into();
        Ok(Prompt { before, ..Prompt::new(second.slice_ref(prompt))? })
    }

    async fn answer_to_nothing(&mut self, quiet: Duration) -> Result<Bytes, ExpectError> {
        self.send_line("").await?;
        self.expect_quiet(quiet).await
    }

    /// Sends a command and waits for the prompt, with the default deadline. Gives what came between, without the echo of
    /// the command: its line end included, CR LF as it came.
    ///
    /// The echo is left out if it is the first line, byte for byte; a terminal that is too narrow for the command wraps
    /// it, and it stays in. Give it room: `PtyRequest::size`. A pager is the caller's to turn off.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may have been sent, and its answer is found by the next step.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`expect`](Self::expect).
    pub async fn run_at(
        &mut self,
        prompt: &Prompt,
        command: impl AsRef<[u8]> + Send,
    ) -> Result<Bytes, ExpectError> {
        self.send_line(command.as_ref()).await?;
        let mut answer = self.expect(&prompt.pattern).await?.before;
        let line = answer.iter().position(|byte| *byte == b'\n').map_or(answer.len(), |at| at + 1);
        let first = answer.get(..line).unwrap_or_default();
        if !command.as_ref().is_empty() && first.trim_ascii_end() == command.as_ref().trim_ascii_end() {
            let _ = answer.split_to(line);
        }
        Ok(answer)
    }
}

fn last_line(answer: &[u8]) -> &[u8] {
    answer.rsplit(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default()
}
