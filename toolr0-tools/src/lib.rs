//! What is a tool, a call, a task, and what happens when a call runs?
//!
//! This crate is the bottom of the workspace: it owns the nouns that every other crate speaks of, and knows
//! none of them. Read in this order:
//!
//! - [`spec`]: a tool as a model sees it, a name, a description and a JSON Schema of its arguments;
//! - [`call`]: one call of a tool;
//! - [`task`]: what the generator is asked for ([`TaskSpec`]) and what it hands in ([`Task`]);
//! - [`prompt`]: the messages that are shown to a model.
#![forbid(unsafe_code)]

pub mod call;
pub mod prompt;
pub mod spec;
pub mod task;

pub use call::ToolCall;
pub use prompt::{Message, Prompt};
pub use spec::{ParamSpec, ToolSpec};
pub use task::{Context, Task, TaskId, TaskSpec};
