//! One POSIX shell for many commands: each with its output, byte for byte, and its status.
//!
//! Owns the prompt the shell is given, and whether a command is under way.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::dialog::Dialog;
use super::error::ExpectError;
use super::pattern::Pattern;
use crate::error::ConfigError;

/// The longest line a terminal takes, without its end: `MAX_CANON` of Linux.
const LONGEST_LINE: usize = 4095;

/// A POSIX shell (bash, dash, ksh, busybox and the like) on a terminal, led by its prompt.
///
/// The shell is given a prompt that nobody else writes, and that tells `$?`. Commands run one after another in the same
/// shell: variables, the directory and functions stay. The terminal's echo and output processing are turned off, so that
/// what a command writes arrives byte for byte, LF as LF; the line editor and the history file are turned off, too.
///
/// ```no_run
/// # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
/// use ractor_ssh::expect::{DialogOptions, PosixShell};
///
/// let dialog = conn.shell().dialog(DialogOptions::new()).await?;
/// let mut shell = PosixShell::over(dialog).await?;
/// shell.run("cd /var/log").await?;
/// let listing = shell.run("ls | wc -l").await?;
/// println!("{} files, status {}", listing.text().trim(), listing.status);
/// # Ok(())
/// # }
/// ```
///
/// For single commands a channel each is better: [`ConnectionRef::command`](crate::ConnectionRef::command) keeps output
/// and error output apart, and needs no terminal.
pub struct PosixShell {
    dialog: Dialog,
    prompt: Pattern,
    /// A command was sent, and its prompt has not been seen.
    busy: bool,
}

impl fmt::Debug for PosixShell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PosixShell")
            .field("dialog", &self.dialog)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// What a command wrote, and its status.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOutput {
    /// Standard output and standard error, as they came to the terminal.
    pub output: Bytes,
    /// `$?`: 128 and more for a command that a signal has ended.
    pub status: u32,
}

impl RunOutput {
    /// Whether the status is 0.
    #[must_use]
    pub const fn success(&self) -> bool {
        self.status == 0
    }

    /// The output as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.output)
    }
}

impl fmt::Debug for RunOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOutput")
            .field("output", &format_args!("\"{}\"", self.output.escape_ascii()))
            .field("status", &self.status)
            .finish()
    }
}

impl PosixShell {
    /// Makes a dialogue with a fresh shell one of commands: sets the shell up, and waits for its prompt, with the
    /// dialogue's deadline. What came before (a greeting) is consumed.
    ///
    /// # Cancel safety
    /// If the future is dropped, so is the dialogue.
    ///
    /// # Errors
    /// No prompt comes: it is no POSIX shell, or has neither a terminal nor `-i`. As [`Dialog::expect`].
    pub async fn over(mut dialog: Dialog) -> Result<Self, ExpectError> {
        let nonce = format!("{:016x}", rand::random::<u64>());
        // Torn apart, so that the echo of this line is not taken for the prompt.
        let prompt = format!("rssh-''{nonce}:$?:");
        let setup = format!(
            " unset HISTFILE PROMPT_COMMAND; [ -z \"$ZSH_VERSION\" ] || {{ setopt promptsubst nopromptcr nopromptsp; \
             unsetopt zle; }}; set +o emacs +o vi 2>/dev/null; stty -echo -opost 2>/dev/null; PS2=; PS1='{prompt}'"
        );
        dialog.send(format!("{setup}\n")).await?;
        let prompt = Pattern::regex(&format!("rssh-{nonce}:(\\d+):"))?;
        dialog.expect(&prompt).await?;
        Ok(Self { dialog, prompt, busy: false })
    }

    /// Runs a command to its end, with the dialogue's deadline.
    ///
    /// The text is given to `eval`, quoted: it may have several lines, and is a syntax error of its own if it is not
    /// complete. It reads from the terminal if it reads anything. A command that stays in the background writes into the
    /// output of later ones; `exit` is an error of kind [`Closed`](ExpectError::Closed), with the status.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may have been started, and runs on. The shell knows: the next
    /// call fails with [`Busy`](ExpectError::Busy) until [`finish`](Self::finish) or [`interrupt`](Self::interrupt).
    ///
    /// # Errors
    /// The command has a line longer than a terminal takes, or a control character other than tab and line feed:
    /// nothing was sent then. As [`Dialog::send`] and [`Dialog::expect`]. Another status than 0 is no error.
    pub async fn run(&mut self, command: impl AsRef<[u8]> + Send) -> Result<RunOutput, ExpectError> {
        if self.busy {
            return Err(ExpectError::Busy);
        }
        let line = quote(command.as_ref())?;
        // Set first: the future may be dropped with the command sent.
        self.busy = true;
        if let Err(error) = self.dialog.send(line).await {
            self.busy = false;
            return Err(error);
        }
        self.finish().await
    }

    /// Waits for the end of the command whose `run` was cut off, with the dialogue's deadline. The output is all that has
    /// come since it began.
    ///
    /// # Cancel safety
    /// Nothing is consumed if the future is dropped.
    ///
    /// # Errors
    /// As [`Dialog::expect`]. No command is under way.
    pub async fn finish(&mut self) -> Result<RunOutput, ExpectError> {
        self.finish_within(self.dialog.deadline).await
    }

    /// As [`finish`](Self::finish), with a deadline for this call.
    ///
    /// # Cancel safety
    /// As [`finish`](Self::finish).
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_within(&mut self, limit: Duration) -> Result<RunOutput, ExpectError> {
        self.check_busy("finish")?;
        let found = self.dialog.expect_within(limit, &self.prompt).await?;
        self.busy = false;
        let status = found.group_text(1).and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX);
        Ok(RunOutput { output: found.before, status })
    }

    /// Types ctrl-c, and waits for the end of the command.
    ///
    /// # Cancel safety
    /// As [`finish`](Self::finish).
    ///
    /// # Errors
    /// As [`finish`](Self::finish): the command may not care. No command is under way: nothing was sent.
    pub async fn interrupt(&mut self) -> Result<RunOutput, ExpectError> {
        self.check_busy("interrupt")?;
        self.dialog.send_control('c').await?;
        self.finish().await
    }

    fn check_busy(&self, field: &str) -> Result<(), ConfigError> {
        if self.busy {
            return Ok(());
        }
        Err(ConfigError::new(field, "no command is under way", "call it after a `run` was cut off"))
    }

    /// The dialogue: for what a command asks while it runs, whose `run` was given up.
    pub const fn dialog(&mut self) -> &mut Dialog {
        &mut self.dialog
    }

    /// The dialogue, with the shell as it is set up.
    #[must_use]
    pub fn into_dialog(self) -> Dialog {
        self.dialog
    }
}

/// The line that runs the command: in quotes, so that the shell reads on to their end.
fn quote(command: &[u8]) -> Result<Vec<u8>, ConfigError> {
    let mut line = b"eval '".to_vec();
    for byte in command {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            b'\n' | b'\t' => line.push(*byte),
            0..0x20 | 0x7f => {
                let problem = format!("has the control character 0x{byte:02x}, which a terminal obeys");
                return Err(ConfigError::new("command", problem, "write it as an escape, for `printf` say"));
            }
            _ => line.push(*byte),
        }
    }
    line.extend_from_slice(b"'\n");
    if line.split(|byte| *byte == b'\n').any(|line| line.len() > LONGEST_LINE) {
        let problem =
            format!("has a line of more than {LONGEST_LINE} bytes, quotes included, which a terminal cuts");
        return Err(ConfigError::new(
            "command",
            problem,
            "use shorter lines, or a channel of its own: `exec`",
        ));
    }
    Ok(line)
}
