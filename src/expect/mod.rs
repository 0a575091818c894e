//! Dialogues: send something, wait for what comes, go on. With shells, REPLs, network devices, password prompts.
//!
//! What Tcl's `expect`, Python's `pexpect` and `netmiko` and Erlang's `ct_telnet` are for. Needs the feature `expect`.
//!
//! | wanted | call |
//! |---|---|
//! | a dialogue with any command or shell | [`Command::dialog`](crate::session::Command::dialog) |
//! | wait for bytes, or a regular expression | [`Dialog::expect`], [`Pattern`] |
//! | wait for the first of several | [`Dialog::expect_any`] |
//! | wait until nothing more comes | [`Dialog::expect_quiet`] |
//! | answer a password prompt | [`Dialog::send_secret`] |
//! | commands at a device's prompt | [`Dialog::learn_prompt`], [`Dialog::run_at`] |
//! | commands in one POSIX shell, with their output and status | [`PosixShell`] |
//! | what was said | [`DialogOptions::transcript`], [`DialogOptions::on_transcript`] |
//!
//! ```no_run
//! # async fn example(conn: ractor_ssh::ConnectionRef) -> Result<(), Box<dyn std::error::Error>> {
//! use ractor_ssh::expect::{DialogOptions, Pattern};
//! use ractor_ssh::wire::pty::PtyRequest;
//! use secrecy::SecretString;
//!
//! let shell = conn.exec("passwd").pty(PtyRequest::new("dumb").size(132, 43));
//! let mut dialog = shell.dialog(DialogOptions::new().transcript(64 << 10)).await?;
//! for password in ["old", "new", "new"] {
//!     dialog.expect("password: ").await?;
//!     dialog.send_secret(&SecretString::from(password)).await?;
//! }
//! let outcome = dialog.expect_any([Pattern::literal("successfully"), Pattern::regex("(?m)^passwd: (.*)\r?\n")?]).await?;
//! if outcome.index == 1 {
//!     println!("refused: {:?}", outcome.group_text(1));
//! }
//! println!("{}", dialog.expect_eof().await?.status);
//! # Ok(())
//! # }
//! ```
//!
//! A dialogue is bytes all the way: nothing is decoded, and line ends stay as they come ([`LineEnd`]).

mod ansi;
mod dialog;
mod error;
mod found;
mod options;
mod pattern;
mod posix;
mod prompt;
mod search;
mod transcript;
mod wait;

pub use dialog::Dialog;
pub use error::ExpectError;
pub use found::{Ended, Found, Tail};
pub use options::{DialogOptions, LineEnd};
pub use pattern::Pattern;
pub use posix::{PosixShell, RunOutput};
pub use prompt::Prompt;
pub use transcript::{Direction, Entry};
