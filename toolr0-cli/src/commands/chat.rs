//! `toolr0 chat`: a conversation in a terminal, with the calls that a model makes.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use toolr0_model::SamplingConfig;
use toolr0_model::rng::Stream;
use toolr0_reward::question::conversation_prompt;
use toolr0_reward::wire;
use toolr0_rl::Sampler;
use toolr0_tools::{Message, ToolSpec};

use crate::args::{Chat, Global};
use crate::input::Lines;
use crate::model;
use crate::openai;
use crate::ui::{Screen, out};

/// Answers line by line, until there is no more.
pub(crate) fn run(args: &Chat, global: Global) -> Result<()> {
    let tools = read_tools(args.tools.as_deref())?;
    let checkpoint = model::load(&args.model, &Screen::new(global))?;
    let style = model::style(&checkpoint, args.style);
    let sampler = Sampler::new(&checkpoint, 1)?;
    let max_new_tokens = args.max_new_tokens as usize;
    let sampling =
        SamplingConfig { temperature: args.temperature, max_new_tokens, ..SamplingConfig::default() };
    sampling.validate()?;
    let stream = Stream::root(args.seed).child("chat");
    let mut lines = Lines::open(Path::new("-"))?;
    let mut said: Vec<Message> = Vec::new();
    for turn in 0.. {
        if std::io::stdin().is_terminal() && !global.quiet {
            // The prompt is for people; without a terminal nobody waits for it.
            let _ = write!(std::io::stderr(), "> ");
        }
        let Some(line) = lines.next()? else { return Ok(()) };
        said.push(Message::new("user", line));
        let prompt = match tools.is_empty() {
            true => said.clone().into(),
            false => conversation_prompt(&said, &tools, style),
        };
        let length = sampler.encode(&prompt)?.len();
        if checkpoint.config.max_position <= length {
            let position = checkpoint.config.max_position;
            anyhow::bail!("the conversation has {length} tokens, and the model {position} positions");
        }
        let groups = sampler.sample(&[(prompt, vec![stream.child(turn)])], &sampling, &mut |_| true)?;
        let text =
            groups.into_iter().flat_map(|group| group.rollouts).map(|r| r.text).next().unwrap_or_default();
        out(&match global.json {
            true => format!("{}\n", answer_json(&text)),
            false => format!("{text}\n{}\n", calls_text(&text, &tools)),
        })?;
        said.push(Message::new("assistant", text));
    }
    Ok(())
}

fn read_tools(path: Option<&Path>) -> Result<Vec<ToolSpec>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let read = || format!("failed to read tools from {}", path.display());
    let text = std::fs::read_to_string(path).with_context(read)?;
    let value: Value = serde_json::from_str(&text).with_context(read)?;
    openai::tools(&value).with_context(read)
}

fn answer_json(text: &str) -> Value {
    match wire::solver::parse(text) {
        Ok(calls) => json!({"text": text, "calls": calls, "fault": null}),
        Err(fault) => json!({"text": text, "calls": null, "fault": fault.kind()}),
    }
}

/// One line a call, or why there is none.
fn calls_text(text: &str, tools: &[ToolSpec]) -> String {
    match wire::solver::parse(text) {
        Err(fault) => format!("  no calls: {fault}"),
        Ok(calls) if calls.is_empty() => "  no tool serves".to_owned(),
        Ok(calls) => {
            let line = |call: &toolr0_tools::ToolCall| {
                let known = tools.iter().any(|tool| tool.name == call.name);
                let arguments: Vec<String> =
                    call.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let note = if known { "" } else { "  (no such tool)" };
                format!("  call {}({}){note}", call.name, arguments.join(", "))
            };
            calls.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_shown_with_what_is_wrong() {
        let tools = [ToolSpec::new("f", "", Default::default(), &[])];
        let show = |calls: &str| calls_text(&format!("<tool_call_answer>{calls}</tool_call_answer>"), &tools);
        assert_eq!(show(r#"[{"name":"f","arguments":{"a":1,"b":"x"}}]"#), "  call f(a=1, b=\"x\")");
        assert_eq!(show(r#"[{"name":"g","arguments":{}}]"#), "  call g()  (no such tool)");
        assert_eq!(show("[]"), "  no tool serves");
        assert!(calls_text("hello", &tools).starts_with("  no calls: "));
    }
}
