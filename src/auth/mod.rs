//! Who we are: identities, agents, prompters, and the order they are tried in (RFC 4252, RFC 4256).
//!
//! [`Auth`] lists what may be tried, first to last. [`Identity`] and [`IdentityFile`] are key files,
//! [`AgentMode`] says what to do about an ssh-agent, [`Signer`] is a key that lives elsewhere,
//! [`Prompter`] answers keyboard-interactive rounds. Which of them is next, given what the server
//! has answered so far, is decided by a plan without I/O; the transport carries it out.
//! [`AgentForward`] is an agent that is lent to the server after the login.
//!
//! Nothing here sends a packet or knows a session: this is what a login needs to know, not the login.
//!
//! # Secrets
//!
//! Passwords and passphrases are [`secrecy::SecretString`]s: wiped when dropped, never printed by
//! `Debug`, never logged. There is one gap that this crate cannot close: the SSH library underneath takes
//! passwords and keyboard-interactive answers as plain `String`s. It wipes the password when
//! the attempt is over; the packet it was sent in, and keyboard-interactive answers, are freed unwiped.

mod agent;
mod agent_forward;
mod agent_wire;
mod config;
mod credentials;
mod error;
mod identity;
mod identity_file;
mod key_file;
mod keyboard;
mod method;
mod offer;
mod passphrase;
mod pem;
mod plan;
mod signer;

pub use agent::AgentMode;
pub use agent_forward::AgentForward;
pub use config::{Auth, PasswordRequest};
pub use error::{AttemptOutcome, AuthAttempt, AuthError, AuthStop, IdentityError, LoginSummary};
pub use identity::Identity;
pub use identity_file::IdentityFile;
pub use keyboard::{KeyboardInteractive, Prompt, PromptRound, Prompter};
pub use method::AuthMethod;
pub use passphrase::{Passphrase, PassphraseRequest};
pub use signer::Signer;

pub(crate) use agent::SessionBinding;
pub(crate) use config::Source;
pub(crate) use credentials::Credentials;
pub(crate) use keyboard::{Conversation, Round};
pub(crate) use offer::{KeyOffer, Listing, OfferedKey, RsaHashes, list_keys};
pub(crate) use plan::{Answer, LeftOver, Plan, Step};
