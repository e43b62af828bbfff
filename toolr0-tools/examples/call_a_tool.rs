//! Describes a tool, reads a call of it and looks both up in a task: `cargo run -p toolr0-tools --example call_a_tool`.
#![expect(clippy::print_stdout, reason = "an example speaks")]

use anyhow::Context as _;
use serde_json::json;
use toolr0_tools::{Prompt, Task, ToolCall, ToolSpec};

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
    Ok(())
}
