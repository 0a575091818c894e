//! Who may enter: logins, their proofs, and what is held against guessing.
//!
//! A [`DaemonConfig`](crate::DaemonConfig) has a setter for each way in; a way without one is refused. The callbacks are
//! asked with a [`LoginAttempt`] and answer with a [`LoginDecision`]. Keys can also be let in by list
//! ([`AuthorizedKeys`]) or by certificate; questions are asked by an [`Interview`]. Where several steps are required,
//! each is a partial success on the wire until all are passed (RFC 4252 section 5.1).
//!
//! ```
//! use ractor_ssh::DaemonConfig;
//! use ractor_ssh::auth::AuthMethod::{KeyboardInteractive, Password, PublicKey};
//! use ractor_ssh::login::{AuthorizedKeys, Prompts};
//! use secrecy::{ExposeSecret, SecretString};
//!
//! let config = DaemonConfig::new(([127, 0, 0, 1], 0))
//!     .authorized_keys(AuthorizedKeys::file("/etc/my-service/keys/%u"))
//!     .password(|attempt, password| async move { password_is_right(&attempt.user, &password) })
//!     .keyboard_interactive(|attempt| {
//!         move |answers: Vec<SecretString>| {
//!             let step = match answers.first() {
//!                 None => Prompts::new().hidden("Code: ").into(),
//!                 Some(code) => code_is_right(&attempt.user, code).into(),
//!             };
//!             async move { step }
//!         }
//!     })
//!     .require([[PublicKey, Password], [PublicKey, KeyboardInteractive]]);
//! # fn password_is_right(_: &str, password: &SecretString) -> bool { password.expose_secret().len() > 8 }
//! # fn code_is_right(_: &str, code: &SecretString) -> ractor_ssh::login::InterviewStep { true.into() }
//! ```
//!
//! # What a peer can learn
//!
//! A refusal says which methods can go on, and nothing else: the same for an unknown user, a wrong password and a key that
//! is on no list. It is sent no sooner than after the login delay (a key: a twentieth of it), and where deciding took
//! longer, after twice, four times, eight times that delay; so its time tells little of what was looked up. What comes
//! before is up to the callbacks: let them do the same work for a user they do not know.
//!
//! Where certificates are trusted, every key is asked to sign: russh shows of a certificate that is only offered nothing
//! but the key in it. So where some users have a `cert-authority` line and others have none, an offered key tells which.
//! To keep that to yourself, name the authorities with
//! [`trusted_user_ca`](crate::DaemonConfig::trusted_user_ca): then every key is asked to sign, whoever the user is.
//!
//! # What russh refuses itself
//!
//! Some requests never reach a callback, a list, [`LoginStats`], the hook of
//! [`on_login_failed`](crate::DaemonConfig::on_login_failed) or the source's penalties: a certificate that has expired,
//! is not valid yet or is not signed well; a key in an unknown algorithm, and a signature in another one than was
//! named, where the key was not offered before; a change of a password; a method that is not known here (`hostbased`);
//! answers where nothing was asked. They are refused after a twentieth of the login delay, and use up the same number of
//! attempts: [`max_auth_attempts`](crate::DaemonConfig::max_auth_attempts) of them end the connection.
//!
//! A wrong signature with a key that would be let in is refused by russh, too; it is noticed here with the next request or
//! at the end of the connection, as [`LoginRefusal::NotProved`], and then it counts as any refused key.

mod addresses;
mod attempt;
mod authorized_keys;
mod certificate;
mod decision;
mod expiry;
mod gate;
mod interview;
mod key_files;
mod key_options;
mod keys;
mod logins;
mod merge;
mod penalties;
mod requirement;
mod stats;

pub use attempt::{Contact, LoginAttempt};
pub use authorized_keys::{AuthorizedKeys, KeyLineProblem};
pub use certificate::CertificateRefusal;
pub use decision::{LoginDecision, LoginRefusal};
pub use interview::{Interview, InterviewStep, Prompt, Prompts};
pub use penalties::SourcePenalties;
pub use stats::LoginStats;

pub(in crate::server) use gate::{Gate, GateSetup};
pub(in crate::server) use logins::Logins;
pub(in crate::server) use penalties::Penalties;
pub(in crate::server) use stats::Counters;
