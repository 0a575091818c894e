//! Keyboard-interactive (RFC 4256): who answers the prompts of a round.
//!
//! Owns the automatic answers and the limit on rounds; the messages themselves are the transport's.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

/// One question of a round (RFC 4256 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    /// The text, as the server sent it. Strip control characters before it reaches a terminal.
    pub text: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
}

/// The questions of one SSH_MSG_USERAUTH_INFO_REQUEST, all together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PromptRound {
    /// The user that is logging in.
    pub user: String,
    /// The server's title for the round; often empty.
    pub name: String,
    /// The server's explanation; often empty.
    pub instructions: String,
    /// The questions, without those that were answered automatically. May be empty: then the server only
    /// wants `name` and `instructions` shown.
    pub prompts: Vec<Prompt>,
}

/// Answers the prompts of keyboard-interactive rounds: a person, or a program in its place.
///
/// Contract:
/// 1. `answer` is called once per round, with all its prompts.
/// 2. `Some` holds exactly one answer per prompt, in order; anything else counts as `None`.
/// 3. `None` gives up: the method ends and the next one is tried. The server counts it as a failure.
/// 4. The future may be dropped when the login's deadline passes.
///
/// Implemented for closures:
///
/// ```
/// use ractor_ssh::auth::{KeyboardInteractive, PromptRound};
///
/// let keyboard = KeyboardInteractive::new().prompter(|round: PromptRound| async move {
///     Some(round.prompts.iter().map(|_| "123456".into()).collect())
/// });
/// ```
pub trait Prompter: Send + Sync {
    /// Answers one round.
    fn answer(&self, round: PromptRound) -> BoxFuture<'_, Option<Vec<SecretString>>>;
}

impl<F, Fut> Prompter for F
where
    F: Fn(PromptRound) -> Fut + Send + Sync,
    Fut: Future<Output = Option<Vec<SecretString>>> + Send + 'static,
{
    fn answer(&self, round: PromptRound) -> BoxFuture<'_, Option<Vec<SecretString>>> {
        Box::pin(self(round))
    }
}

/// How keyboard-interactive is answered.
#[derive(Clone)]
pub struct KeyboardInteractive {
    prompter: Option<Arc<dyn Prompter>>,
    answers: Vec<(String, SecretString)>,
    max_rounds: u32,
}

impl KeyboardInteractive {
    /// Answers nothing yet; at most 16 rounds.
    #[must_use]
    pub fn new() -> Self {
        Self { prompter: None, answers: Vec::new(), max_rounds: 16 }
    }

    /// Who answers what has no automatic answer. Without one such a round gives up.
    #[must_use]
    pub fn prompter(mut self, prompter: impl Prompter + 'static) -> Self {
        self.prompter = Some(Arc::new(prompter));
        self
    }

    /// Answers hidden prompts that match `pattern` with `secret`, once per login.
    ///
    /// `*` stands for any text and `?` for any character: `*assword*` catches the password prompts of most
    /// servers. Prompts whose answer is echoed are never answered automatically. If the server
    /// asks the same again, the answer was wrong and the prompter is asked.
    #[must_use]
    pub fn answer(mut self, pattern: impl Into<String>, secret: SecretString) -> Self {
        self.answers.push((pattern.into(), secret));
        self
    }

    /// How many rounds the server may ask in one exchange; beyond it the login fails. Default: 16.
    #[must_use]
    pub fn max_rounds(mut self, rounds: u32) -> Self {
        self.max_rounds = rounds;
        self
    }

    pub(super) fn problem(&self) -> Option<(&'static str, &'static str, &'static str)> {
        if self.max_rounds == 0 {
            return Some(("max_rounds", "0 rounds allow no answer", "give at least 1"));
        }
        if self.prompter.is_none() && self.answers.is_empty() {
            return Some((
                "keyboard_interactive",
                "nobody answers it",
                "add a prompter or an automatic answer",
            ));
        }
        None
    }

    pub(super) fn has_prompter(&self) -> bool {
        self.prompter.is_some()
    }
}

impl Default for KeyboardInteractive {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyboardInteractive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns: Vec<_> = self.answers.iter().map(|(pattern, _)| pattern).collect();
        f.debug_struct("KeyboardInteractive")
            .field("prompter", &self.prompter.is_some())
            .field("answers", &patterns)
            .field("max_rounds", &self.max_rounds)
            .finish()
    }
}

/// The state of answering within one login: which automatic answers were given.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    how: &'a KeyboardInteractive,
    given: Vec<bool>,
    rounds: u32,
}

/// What to do about a round.
pub(crate) enum Round {
    /// Send these.
    Answers(Vec<SecretString>),
    /// Send a refusal to answer, for this reason.
    GiveUp(&'static str),
    /// Too many rounds.
    Limit(u32),
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(how: &'a KeyboardInteractive) -> Self {
        Self { how, given: vec![false; how.answers.len()], rounds: 0 }
    }

    /// A new exchange begins; answers that were given stay given.
    pub(crate) fn start(&mut self) {
        self.rounds = 0;
    }

    /// Counts a round that is not answered; the limit if this one is beyond it.
    pub(crate) fn count_round(&mut self) -> Option<u32> {
        self.rounds = self.rounds.saturating_add(1);
        (self.rounds > self.how.max_rounds).then_some(self.how.max_rounds)
    }

    /// Answers one round: what has an automatic answer by that, the rest by the prompter.
    pub(crate) async fn answer(&mut self, mut round: PromptRound) -> Round {
        if let Some(limit) = self.count_round() {
            return Round::Limit(limit);
        }
        let mut answers: Vec<_> = round.prompts.iter().map(|prompt| self.automatic(prompt)).collect();
        let mut open = answers.iter().map(Option::is_none);
        round.prompts.retain(|_| open.next().unwrap_or(false));
        let nothing_to_show = round.name.is_empty() && round.instructions.is_empty();
        if round.prompts.is_empty() && (!answers.is_empty() || nothing_to_show) {
            return Round::Answers(answers.into_iter().flatten().collect());
        }
        let wanted = round.prompts.len();
        let given = match &self.how.prompter {
            Some(prompter) => prompter.answer(round).await,
            None if wanted == 0 => Some(Vec::new()),
            None => return Round::GiveUp("a prompt has no automatic answer and there is no prompter"),
        };
        match given {
            None => Round::GiveUp("the prompter gave up"),
            Some(given) if given.len() != wanted => {
                Round::GiveUp("the prompter did not give one answer per prompt")
            }
            Some(given) => {
                let mut given = given.into_iter();
                for answer in answers.iter_mut().filter(|answer| answer.is_none()) {
                    *answer = given.next();
                }
                Round::Answers(answers.into_iter().flatten().collect())
            }
        }
    }

    fn automatic(&mut self, prompt: &Prompt) -> Option<SecretString> {
        if prompt.echo {
            return None;
        }
        let mut candidates = self.how.answers.iter().zip(&mut self.given);
        let ((_, secret), given) =
            candidates.find(|((pattern, _), given)| !**given && matches(pattern, &prompt.text))?;
        *given = true;
        Some(secret.clone())
    }
}

impl PromptRound {
    pub(crate) fn new(user: &str, name: String, instructions: String, prompts: Vec<(String, bool)>) -> Self {
        let prompts = prompts.into_iter().map(|(text, echo)| Prompt { text, echo }).collect();
        Self { user: user.to_owned(), name, instructions, prompts }
    }
}

/// Whether `text` matches a pattern of `*`, `?` and literal characters. Linear in the text for each `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(want), Some(have)) if *want == '?' || want == have => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((star_p, star_t)) => {
                    *star_t += 1;
                    (p, t) = (*star_p + 1, *star_t);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn round(prompts: &[(&str, bool)]) -> PromptRound {
        let prompts = prompts.iter().map(|(text, echo)| ((*text).to_owned(), *echo)).collect();
        PromptRound::new("alice", String::new(), String::new(), prompts)
    }

    async fn answers(talk: &mut Conversation<'_>, prompts: &[(&str, bool)]) -> Result<Vec<String>, String> {
        match talk.answer(round(prompts)).await {
            Round::Answers(a) => Ok(a.iter().map(|s| s.expose_secret().to_owned()).collect()),
            Round::GiveUp(why) => Err(why.to_owned()),
            Round::Limit(n) => Err(format!("limit {n}")),
        }
    }

    #[test]
    fn patterns_know_star_and_question_mark() {
        for (pattern, text, expected) in [
            ("*assword*", "Password: ", true),
            ("*assword*", "alice's password for host:", true),
            ("*assword*", "Verification code:", false),
            ("P?ssword: ", "Password: ", true),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-c-", false),
            ("?", "ü", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[tokio::test]
    async fn a_hidden_prompt_that_matches_is_answered_once_then_the_prompter_is_asked() {
        let how = KeyboardInteractive::new()
            .answer("*assword*", "auto".into())
            .prompter(|round: PromptRound| async move { Some(vec!["asked".into(); round.prompts.len()]) });
        let mut talk = Conversation::new(&how);
        assert_eq!(answers(&mut talk, &[("Password: ", false)]).await.unwrap(), ["auto"]);
        assert_eq!(answers(&mut talk, &[("Password: ", false)]).await.unwrap(), ["asked"]);
    }

    #[tokio::test]
    async fn echoed_prompts_are_never_answered_automatically_and_order_is_kept() {
        let how = KeyboardInteractive::new().answer("*assword*", "auto".into()).prompter(
            |round: PromptRound| async move {
                Some(round.prompts.iter().map(|p| format!("<{}>", p.text).into()).collect())
            },
        );
        let mut talk = Conversation::new(&how);
        let given =
            answers(&mut talk, &[("Code", false), ("Password", false), ("password hint", true)]).await;
        assert_eq!(given.unwrap(), ["<Code>", "auto", "<password hint>"]);
    }

    #[tokio::test]
    async fn without_a_prompter_an_unknown_prompt_gives_up_and_an_empty_round_is_answered_empty() {
        let how = KeyboardInteractive::new().answer("*assword*", "auto".into());
        let mut talk = Conversation::new(&how);
        assert!(answers(&mut talk, &[("Code", false)]).await.unwrap_err().contains("no prompter"));
        assert_eq!(answers(&mut talk, &[]).await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_wrong_number_of_answers_gives_up_and_rounds_are_limited() {
        let how = KeyboardInteractive::new().max_rounds(2).prompter(|_| async { Some(vec!["one".into()]) });
        let mut talk = Conversation::new(&how);
        assert!(answers(&mut talk, &[("a", false), ("b", false)]).await.unwrap_err().contains("one answer"));
        assert_eq!(answers(&mut talk, &[("a", false)]).await.unwrap(), ["one"]);
        assert_eq!(answers(&mut talk, &[("a", false)]).await.unwrap_err(), "limit 2");
        talk.start();
        assert_eq!(answers(&mut talk, &[("a", false)]).await.unwrap(), ["one"]);
    }
}
