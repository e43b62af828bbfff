//! Scores a solver's completions with this crate alone: `cargo run -p toolr0-reward --example score_completion`.
#![expect(clippy::print_stdout, reason = "an example speaks")]

use toolr0_reward::judge;
use toolr0_reward::reward::{SolverConfig, solver_reward};
use toolr0_reward::tools::{Task, ToolCall, ToolSpec};
use toolr0_reward::wire::{Style, solver};

fn main() -> anyhow::Result<()> {
    let task = Task {
        question: "Book a table for two in New York.".into(),
        tools: vec![
            serde_json::from_str::<ToolSpec>(
                r#"{"name": "book_table", "description": "Book a table.", "parameters": {"type": "object",
                    "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}, "required": ["city", "n"]}}"#,
            )?,
            serde_json::from_str::<ToolSpec>(
                r#"{"name": "cancel_table", "description": "Cancel a table."}"#,
            )?,
        ],
        gold: vec![serde_json::from_str::<ToolCall>(
            r#"{"name": "book_table", "arguments": {"city": "New York", "n": 2}}"#,
        )?],
    };
    let prompt = solver::prompt(&task.question, &task.tools, Style::Compact);
    println!("{}\n{}\n", prompt.messages[0].content, prompt.messages[1].content);

    for text in [
        solver::write("a table for two", &task.gold),
        r#"<think>hm</think><tool_call_answer>[{"name":"book_table","arguments":{"city":"New York"}}]"#
            .to_owned(),
        r#"<think>hm</think><tool_call_answer>[{"name":"book_table","#.to_owned(),
        "Certainly! I booked it.".to_owned(),
    ] {
        let reward = solver_reward(&task, &text, &SolverConfig::default());
        let terms: Vec<String> =
            reward.terms.iter().map(|t| format!("{} {:.2}", t.name, t.value.unwrap_or(f64::NAN))).collect();
        let why = reward.fault.as_ref().map_or(String::new(), |fault| format!("  ({fault})"));
        println!("{:<5} {}{why}", judge(&task, &text).solved, terms.join(", "));
    }
    Ok(())
}
