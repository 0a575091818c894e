//! What a proof comes to: whom to ask, and whether to ask at all.

use std::sync::Arc;

use secrecy::SecretString;

use super::{Gate, guarded};
use crate::auth::AuthMethod;
use crate::server::login::attempt::LoginAttempt;
use crate::server::login::decision::{LoginDecision, LoginRefusal};
use crate::server::login::interview::{Conversation, InterviewStep};
use crate::server::login::keys::{Offer, is_sha1};
use crate::server::login::logins::Decide;
use crate::transport::gate::{Proof, Questions};
use crate::wire::keys::{Algorithm, KeyData};

/// What a proof came to.
pub(super) enum Outcome {
    Decided(LoginDecision, Option<KeyData>),
    Sign,
    Ask(Questions),
    Refused(LoginRefusal),
}

impl From<Result<LoginDecision, LoginRefusal>> for Outcome {
    fn from(result: Result<LoginDecision, LoginRefusal>) -> Self {
        result.map_or_else(Self::Refused, |decision| Self::Decided(decision, None))
    }
}

impl Gate {
    pub(super) async fn weigh(&mut self, user: &str, method: AuthMethod, proof: Proof) -> Outcome {
        let conversation = self.conversation.take();
        if !self.setup.required.next(&self.passed).contains(&method) {
            return Outcome::Refused(LoginRefusal::NotOffered);
        }
        if self.refused >= self.setup.max_refused {
            return Outcome::Refused(LoginRefusal::TooManyAttempts);
        }
        let attempt = self.attempt(user);
        let logins = Arc::clone(&self.setup.logins);
        match proof {
            Proof::None => callback(logins.none.as_ref(), attempt, ()).await.into(),
            Proof::Password(password) => callback(logins.password.as_ref(), attempt, password).await.into(),
            Proof::OfferedKey { key, algorithm } => {
                if let Err(refusal) = self.usable(key.key_data(), &algorithm) {
                    return Outcome::Refused(refusal);
                }
                match logins.offered(&attempt, &key).await {
                    Offer::Known | Offer::Perhaps => Outcome::Sign,
                    Offer::No(refusal) => Outcome::Refused(refusal),
                    Offer::Disconnect => Outcome::Decided(LoginDecision::Disconnect, None),
                }
            }
            Proof::Key { key, algorithm } => {
                if let Err(refusal) = self.usable(key.key_data(), &algorithm) {
                    return Outcome::Refused(refusal);
                }
                let decision = logins.key(&attempt, &key).await;
                self.decided(decision, key.key_data())
            }
            // The algorithm was looked at when russh offered the key in it.
            Proof::Certificate(certificate) => {
                if self.spent.contains(certificate.public_key()) {
                    return Outcome::Refused(LoginRefusal::KeyUsedBefore);
                }
                let decision = logins.certificate(&attempt, &certificate).await;
                self.decided(decision, certificate.public_key())
            }
            Proof::Interview => {
                let Some(begin) = logins.interview.clone() else {
                    return Outcome::Refused(LoginRefusal::NotOffered);
                };
                match guarded(async move { begin(attempt) }).await {
                    Ok(interview) => self.converse(Conversation { interview, asked: 0 }, Vec::new()).await,
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            Proof::Answers(answers) => match (conversation, answers) {
                (Some(conversation), Some(answers)) if conversation.asked == answers.len() => {
                    self.converse(conversation, answers).await
                }
                _ => Outcome::Refused(LoginRefusal::Answers),
            },
        }
    }

    fn decided(&self, decision: Result<LoginDecision, LoginRefusal>, key: &KeyData) -> Outcome {
        decision.map_or_else(Outcome::Refused, |decision| Outcome::Decided(decision, Some(key.clone())))
    }

    fn usable(&self, key: &KeyData, algorithm: &Algorithm) -> Result<(), LoginRefusal> {
        if is_sha1(algorithm) {
            return Err(LoginRefusal::Sha1);
        }
        if self.spent.contains(key) { Err(LoginRefusal::KeyUsedBefore) } else { Ok(()) }
    }

    async fn converse(&mut self, mut conversation: Conversation, answers: Vec<SecretString>) -> Outcome {
        let step = guarded(async {
            let step = conversation.interview.next(answers).await;
            (step, conversation)
        });
        match step.await {
            Ok((InterviewStep::Ask(prompts), conversation)) => {
                let asked = prompts.prompts.len();
                self.conversation = Some(Conversation { asked, ..conversation });
                Outcome::Ask(prompts.into_questions())
            }
            Ok((InterviewStep::Decide(decision), _)) => Outcome::Decided(decision, None),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }
}

async fn callback<T: Send + 'static>(
    decide: Option<&Decide<T>>,
    attempt: LoginAttempt,
    proof: T,
) -> Result<LoginDecision, LoginRefusal> {
    let decide = decide.cloned().ok_or(LoginRefusal::NotOffered)?;
    guarded(async move { decide(attempt, proof).await }).await
}
