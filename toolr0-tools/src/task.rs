//! What the generator is asked for, and what it hands in.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ToolCall, ToolSpec};

/// Whether the question is one sentence of a user or a short transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Context {
    /// One request.
    #[default]
    SingleTurn,
    /// A short User/Agent transcript is embedded in the question; still one gold call.
    MultiTurn,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleTurn => "single_turn",
            Self::MultiTurn => "multi_turn",
        })
    }
}

/// A grounded task specification `s = (d, c, m, n)`: what one generated task must look like.
///
/// Source: Tool-R0, arXiv:2602.21320; the law it is drawn from is data (`toolr0_curriculum::SpecLaw`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The domain `d`, e.g. `travel`.
    pub domain: String,
    /// The context `c`.
    pub context: Context,
    /// The number of tools `m` on the menu.
    pub n_tools: usize,
    /// The number of gold calls `n`.
    pub n_calls: usize,
}

/// A task `x = (q, T, C*)`: a question, the tools on offer, and the calls that answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What the user says.
    pub question: String,
    /// The menu, in the order the model sees it.
    pub tools: Vec<ToolSpec>,
    /// The calls that answer the question, in order.
    pub gold: Vec<ToolCall>,
}

/// A content hash of a [`Task`]: stable across runs and machines, 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub String);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Task {
    /// The content hash. Keys are hashed in the order they are written, since that is what a model sees.
    pub fn id(&self) -> TaskId {
        let text = serde_json::to_vec(self).expect("a task is plain JSON: string keys, no NaN");
        TaskId(hex(&Sha256::digest(text)[..8]))
    }

    /// The tool called `name`, if it is on the menu.
    pub fn tool(&self, name: &str) -> Option<&ToolSpec> {
        self.tools.iter().find(|tool| tool.name == name)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn task(question: &str) -> Task {
        Task {
            question: question.into(),
            tools: vec![ToolSpec::new("f", "Does f.", Map::new(), &[])],
            gold: vec![ToolCall::new("f", Map::new())],
        }
    }

    #[test]
    fn ids_are_stable_and_depend_on_every_part() {
        assert_eq!(task("q").id(), task("q").id());
        assert_ne!(task("q").id(), task("r").id());
        let mut other = task("q");
        other.gold.clear();
        assert_ne!(other.id(), task("q").id());
        assert_eq!(task("q").id().0.len(), 16);
    }

    #[test]
    fn a_spec_prints_as_it_is_configured() {
        assert_eq!(serde_json::to_string(&Context::MultiTurn).unwrap(), "\"multi_turn\"");
        assert_eq!(Context::SingleTurn.to_string(), "single_turn");
    }
}
