//! The crate through its public API: one module per subject.

mod cheats;
mod corrections;
mod executed;
mod fuzz_targets;
mod golden;
mod hostile;
mod rewards;

use serde_json::{Value, json};
use toolr0_reward::tools::{Context, Task, TaskSpec, ToolCall};

/// A sound task of one call with two arguments; the menu holds two distractors.
fn task() -> Task {
    serde_json::from_value(json!({
        "question": "Book a table for two in New York, please.",
        "tools": [
            {"name": "book_table", "description": "Book a table at a restaurant.", "parameters": {"type": "object",
                "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}, "required": ["city", "n"]}},
            {"name": "cancel_table", "description": "Cancel a table that is booked.", "parameters": {"type": "object",
                "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}, "required": ["city"]}},
            {"name": "find_menu", "description": "Find the menu of a restaurant.", "parameters": {"type": "object",
                "properties": {"city": {"type": "string"}}, "required": ["city"]}}
        ],
        "gold": [{"name": "book_table", "arguments": {"city": "New York", "n": 2}}]
    }))
    .expect("the task above is well-formed")
}

/// What [`task`] was asked for with.
fn spec() -> TaskSpec {
    TaskSpec { domain: "food_ordering".into(), context: Context::SingleTurn, n_tools: 3, n_calls: 1 }
}

/// A call by name.
fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall::new(name, arguments.as_object().expect("arguments are an object").clone())
}
