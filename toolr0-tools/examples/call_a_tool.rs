//! Describes a tool, reads a call of it, looks both up in a task, and runs a call in a built-in world:
//! `cargo run -p toolr0-tools --example call_a_tool`.
#![expect(clippy::print_stdout, reason = "an example speaks")]

use anyhow::Context as _;
use serde_json::json;
use toolr0_tools::{Limits, Prompt, Sandbox, Task, ToolCall, ToolSpec, Worlds};

fn main() -> anyhow::Result<()> {
    let properties = json!({
        "city": {"type": "string", "description": "Where to eat."},
        "guests": {"type": "integer", "description": "How many come."},
        "outside": {"type": "boolean", "description": "Whether to sit outside."},
    });
    let properties = properties.as_object().context("properties are an object")?.clone();
    let book = ToolSpec::new("book_table", "Book a table at a restaurant.", properties, &["city", "guests"]);
    println!("{} takes", book.name);
    for param in book.params() {
        let need = if param.required { "required" } else { "optional" };
        println!("  {:8} {:8} {need}", param.name, param.kind().unwrap_or("anything"));
    }

    // What a model writes.
    let text = r#"{"name": "book_table", "arguments": {"guests": 2, "city": "Oslo"}}"#;
    let call: ToolCall = serde_json::from_str(text)?;
    let task = Task {
        question: "A table for two in Oslo, please.".into(),
        tools: vec![book],
        gold: vec![call.clone()],
    };
    let tool = task.tool(&call.name).context("the call names a tool of the menu")?;
    for (name, value) in &call.arguments {
        let param = tool.param(name).context("the tool knows the argument")?;
        println!("{name} = {value} ({})", param.kind().unwrap_or("anything"));
    }
    let missing: Vec<&str> = tool.required().filter(|name| !call.arguments.contains_key(*name)).collect();
    println!("missing arguments: {missing:?}");

    // Calls are equal whatever the order of their keys; a task's id is the same on every machine.
    let same: ToolCall =
        serde_json::from_str(r#"{"name": "book_table", "arguments": {"city": "Oslo", "guests": 2}}"#)?;
    println!("the same call: {}", same == call);
    println!("task {}", task.id());
    let prompt = Prompt::new("Answer with tool calls.", task.question.as_str());
    println!("prompt {} of {} messages", prompt.fingerprint(), prompt.messages.len());

    // A call with real effects: the second time it is an error of the tool.
    let worlds = Worlds::new(&["travel"])?;
    let mut state = worlds.state(0);
    let cancel = serde_json::from_str(r#"{"name": "cancel_booking", "arguments": {"booking": "B108"}}"#)?;
    for _ in 0..2 {
        let outcome = worlds.run(&cancel, &mut state, &Limits::default());
        println!("{:?}, {} rows changed, state {}", outcome.end, outcome.changes.len(), state.hash());
    }
    Ok(())
}
