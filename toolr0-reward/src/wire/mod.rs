//! The two roles' formats: what is asked ([`Prompt`](toolr0_tools::Prompt)), how an answer is written, and the
//! one parser that reads it back, in every stage alike.
//!
//! - [`generator`]: a task specification in, a task out;
//! - [`solver`]: a task in, calls out;
//! - [`judge`]: a task in, a score from 1 to 5 out.
//!
//! A prompt, its writer and its parser share a file, since they are parts of one format; a test parses the
//! example that a prompt prints. Parsers are total, linear in the text and bounded ([`MAX_BYTES`],
//! [`MAX_DEPTH`], [`MAX_TOOLS`], [`MAX_CALLS`]): bad text is a [`Fault`](crate::Fault), never a panic.

mod blocks;
mod calls;
pub mod generator;
mod json;
pub mod judge;
pub mod solver;
mod tools;

use serde::{Deserialize, Serialize};

pub use blocks::MAX_BYTES;
pub use calls::{MAX_CALLS, calls_json};
pub use json::MAX_DEPTH;
pub use tools::{MAX_TOOLS, tools_json};

pub(crate) use blocks::{Blocks, holds_tag};

/// How prompts are worded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Full instructions with a worked example, for an instruction-tuned checkpoint; the content of the paper's
    /// prompts in our words.
    #[default]
    Paper,
    /// A few words, for a small model that was trained on exactly these.
    Compact,
}

/// Where sampling stops: both roles' completions end with the calls.
pub const STOP: [&str; 1] = ["</tool_call_answer>"];
