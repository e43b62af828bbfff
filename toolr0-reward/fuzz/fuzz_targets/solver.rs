//! A solver's completion: reading, judging and paying never panic, and rewards stay in their range.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use toolr0_reward::tools::Task;
use toolr0_reward::{judge, solver_reward};

static TASK: LazyLock<Task> = LazyLock::new(|| {
    let text = r#"{"question": "Book a table for 2 in Oslo.",
        "tools": [{"name": "book_table", "description": "Book.", "parameters": {"type": "object",
            "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}, "required": ["city"]}}],
        "gold": [{"name": "book_table", "arguments": {"city": "Oslo", "people": 2}}]}"#;
    serde_json::from_str(text).expect("a task")
});

fuzz_target!(|text: &str| {
    let verdict = judge(&TASK, text);
    let reward = solver_reward(&TASK, text, &Default::default()).total().expect("a solver's reward is always known");
    assert!((0.0..=2.0).contains(&reward), "{reward}");
    assert!(!verdict.solved || verdict.fault.is_none());
});
