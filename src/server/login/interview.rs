//! Questions and answers: the method keyboard-interactive (RFC 4256).

use std::fmt;
use std::future::Future;

use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;

use super::decision::LoginDecision;
use crate::transport::gate::Questions;

/// One round of questions (RFC 4256 section 3.2).
///
/// ```
/// use ractor_ssh::login::Prompts;
///
/// let round = Prompts::new().instructions("A code was sent to your phone.").hidden("Code: ");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompts {
    /// A title; may be empty.
    pub name: String,
    /// What to tell before the questions; may be empty.
    pub instructions: String,
    /// The questions. Without any, the peer shows the instructions and answers with nothing.
    pub prompts: Vec<Prompt>,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// The text, for example `"Password: "`.
    pub text: String,
    /// Whether what is typed is shown.
    pub echo: bool,
}

impl Prompts {
    /// No question yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the title.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what to tell before the questions.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.instructions = text.into();
        self
    }

    /// Asks for something that is not shown while it is typed.
    #[must_use]
    pub fn hidden(mut self, text: impl Into<String>) -> Self {
        self.prompts.push(Prompt { text: text.into(), echo: false });
        self
    }

    /// Asks for something that is shown while it is typed.
    #[must_use]
    pub fn shown(mut self, text: impl Into<String>) -> Self {
        self.prompts.push(Prompt { text: text.into(), echo: true });
        self
    }

    pub(super) fn into_questions(self) -> Questions {
        Questions {
            name: self.name,
            instructions: self.instructions,
            prompts: self.prompts.into_iter().map(|prompt| (prompt.text, prompt.echo)).collect(),
        }
    }
}

/// What comes next in an interview. [`Prompts`] and what is a [`LoginDecision`] become one with `into()`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterviewStep {
    /// Another round.
    Ask(Prompts),
    /// The end.
    Decide(LoginDecision),
}

impl From<Prompts> for InterviewStep {
    fn from(prompts: Prompts) -> Self {
        Self::Ask(prompts)
    }
}

impl<D: Into<LoginDecision>> From<D> for InterviewStep {
    fn from(decision: D) -> Self {
        Self::Decide(decision.into())
    }
}

/// One peer's interview. A closure over the answers is one, too.
///
/// It is made anew whenever the peer starts the method, and dropped when the peer turns to something else: that is a
/// refused login, as is the end of the connection before the interview has decided.
pub trait Interview: Send + 'static {
    /// Takes the answers of the last round, one for each question of it (none at the start), and says what comes next.
    ///
    /// # Cancel safety
    /// The future is dropped when the login grace ends.
    fn next(&mut self, answers: Vec<SecretString>) -> impl Future<Output = InterviewStep> + Send;
}

impl<F, Fut> Interview for F
where
    F: FnMut(Vec<SecretString>) -> Fut + Send + 'static,
    Fut: Future<Output = InterviewStep> + Send,
{
    fn next(&mut self, answers: Vec<SecretString>) -> impl Future<Output = InterviewStep> + Send {
        self(answers)
    }
}

/// An interview of any type.
pub(super) trait AnyInterview: Send {
    fn next(&mut self, answers: Vec<SecretString>) -> BoxFuture<'_, InterviewStep>;
}

impl<I: Interview> AnyInterview for I {
    fn next(&mut self, answers: Vec<SecretString>) -> BoxFuture<'_, InterviewStep> {
        Interview::next(self, answers).boxed()
    }
}

/// An interview under way.
pub(super) struct Conversation {
    pub(super) interview: Box<dyn AnyInterview>,
    /// How many answers are expected.
    pub(super) asked: usize,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("asked", &self.asked).finish_non_exhaustive()
    }
}
