//! The messages that are shown to a model.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message by `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// What a model is asked: the messages, before any chat template.
///
/// Probing, verifying, judging, training and the exam all render through the same function of
/// `toolr0_reward::wire`, so that a policy is never measured on another prompt than it is trained on
/// (fault 17 of the public release).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// In order of speaking.
    pub messages: Vec<Message>,
    /// What the answer begins with: written for the model, which goes on from there. Empty in most prompts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub opening: String,
}

impl Prompt {
    /// A prompt of one system and one user message.
    pub fn new(system: impl Into<String>, user: impl Into<String>) -> Self {
        vec![Message::new("system", system), Message::new("user", user)].into()
    }

    /// The same prompt, whose answer begins with `opening`.
    pub fn opened(self, opening: String) -> Self {
        Self { opening, ..self }
    }

    /// A short fingerprint of the messages, for tests and logs that compare prompts across phases.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for m in &self.messages {
            for part in [&m.role, &m.content] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.update(&self.opening);
        crate::task::hex(&hash.finalize()[..8])
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, opening: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_separates_what_a_plain_join_would_not() {
        assert_ne!(Prompt::new("ab", "c").fingerprint(), Prompt::new("a", "bc").fingerprint());
        assert_eq!(Prompt::new("a", "b").fingerprint(), Prompt::new("a", "b").fingerprint());
        assert_ne!(
            Prompt::new("a", "b").opened("c".into()).fingerprint(),
            Prompt::new("a", "b").fingerprint()
        );
    }
}
