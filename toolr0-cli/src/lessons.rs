//! Files of examples to learn from: conversations in OpenAI's form, or tasks as `selfplay` writes them, a line each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use toolr0_curriculum::{Candidate, Drops};
use toolr0_reward::question::conversation_prompt;
use toolr0_reward::verify::{VerifyConfig, inspect};
use toolr0_reward::{Style, wire};
use toolr0_tools::{Message, Prompt, Task};

use crate::args::OnBadLine;
use crate::input::Lines;
use crate::openai::{Conversation, answer, tools};

/// Something to learn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lesson {
    /// What is asked.
    pub(crate) prompt: Prompt,
    /// What is learned to be answered.
    pub(crate) completion: String,
}

/// Reads all lines of some files. A bad one is named and counted, or ends the reading, as `on_bad` says.
pub(crate) fn read(
    paths: &[PathBuf],
    style: Style,
    on_bad: OnBadLine,
    warn: &dyn Fn(&str),
) -> Result<(Vec<Lesson>, Drops)> {
    let (mut lessons, mut drops) = (Vec::new(), Drops::default());
    for path in paths {
        let mut lines = Lines::open(path)?;
        while let Some(line) = lines.next()? {
            match lesson(&line, style) {
                Ok(lesson) => lessons.push(lesson),
                Err(error) if on_bad == OnBadLine::Stop => return Err(error.context(lines.place())),
                Err(error) => {
                    warn(&format!("{}: {error:#}", lines.place()));
                    _ = drops.add(&error.to_string());
                }
            }
        }
    }
    if lessons.is_empty() {
        bail!("there is nothing to learn in {}", names(paths));
    }
    Ok((lessons, drops))
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The tasks of a file, or of all iterations of a run.
pub(crate) fn tasks(path: &Path) -> Result<Vec<Task>> {
    let files = match path.is_dir() {
        false => vec![path.to_owned()],
        true => {
            let file = |i: usize| path.join(format!("iteration-{i}/tasks.jsonl"));
            (1..).map(file).take_while(|file| file.exists()).collect()
        }
    };
    if files.is_empty() {
        bail!("{} holds no iteration-1/tasks.jsonl", path.display());
    }
    let mut tasks = Vec::new();
    for file in files {
        let mut lines = Lines::open(&file)?;
        while let Some(line) = lines.next()? {
            let read = serde_json::from_str(&line).context("this is no JSON");
            tasks.push(read.and_then(task).with_context(|| lines.place())?);
        }
    }
    Ok(tasks)
}

/// A bare task, or a candidate that holds one.
fn task(value: Value) -> Result<Task> {
    match value.get("task") {
        Some(_) => serde_json::from_value::<Candidate>(value).map(|candidate| candidate.task),
        None => serde_json::from_value(value),
    }
    .context("expected a task: question, tools, gold")
}

fn lesson(line: &str, style: Style) -> Result<Lesson> {
    let value: Value = serde_json::from_str(line).context("this is no JSON")?;
    if value.get("messages").is_some() {
        return conversation(value, style);
    }
    let task = task(value)?;
    sound(&task)?;
    Ok(Lesson {
        prompt: wire::solver::prompt(&task.question, &task.tools, style),
        completion: answer("", &task.gold),
    })
}

/// Learned is the last message, which is the assistant's.
fn conversation(value: Value, style: Style) -> Result<Lesson> {
    let Conversation { messages, tools: menu } =
        serde_json::from_value(value).context("expected messages with role and content")?;
    let tools = tools(&menu)?;
    let Some((last, before)) = messages.split_last().filter(|(last, _)| last.role == "assistant") else {
        bail!("the last message is not the assistant's");
    };
    let gold = last.calls()?;
    let history: Vec<Message> = before.iter().map(|message| message.plain()).collect::<Result<_>>()?;
    if history.is_empty() {
        bail!("nothing is asked before the answer");
    }
    let completion = last.plain()?.content;
    if completion.trim().is_empty() {
        bail!("the answer is empty");
    }
    if tools.is_empty() {
        match gold.is_empty() {
            true => return Ok(Lesson { prompt: history.into(), completion }),
            false => bail!("no tools"),
        }
    }
    let prompt = conversation_prompt(&history, &tools, style);
    sound(&Task { question: String::new(), tools, gold })?;
    Ok(Lesson { prompt, completion })
}

/// Calls must be of tools on offer, and fit their schemas.
fn sound(task: &Task) -> Result<()> {
    if task.tools.is_empty() {
        bail!("no tools");
    }
    let findings = inspect(task, None, &VerifyConfig { grounded: false, ..VerifyConfig::default() });
    match findings.menu.or(findings.arguments) {
        Some(fault) => Err(anyhow::Error::msg(fault.to_string()).context(fault.kind())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool() -> Value {
        json!({"type": "function", "function": {"name": "book", "description": "Book a table.", "parameters":
            {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}})
    }

    fn call(arguments: &str) -> Value {
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": "x", "type": "function", "function": {"name": "book", "arguments": arguments}}]})
    }

    #[track_caller]
    fn refused(line: &Value, word: &str) {
        let error = format!("{:#}", lesson(&line.to_string(), Style::Compact).unwrap_err());
        assert!(error.contains(word), "{error}");
    }

    #[test]
    fn both_kinds_of_lines_teach_the_same() {
        let user = json!({"role": "user", "content": "Book for 2."});
        let openai = json!({"messages": [user, call("{\"n\": 2}")], "tools": [tool()]});
        let own = json!({"question": "Book for 2.", "tools": [tool()["function"]], "gold": [{"name": "book", "arguments": {"n": 2}}]});
        let a = lesson(&openai.to_string(), Style::Compact).unwrap();
        assert_eq!(a, lesson(&own.to_string(), Style::Compact).unwrap());
        assert_eq!(a.prompt.messages[0].content, "Answer with tool calls.");
        assert!(a.completion.starts_with("<tool_call_answer>[{\"name\":\"book\""));
        let spec = json!({"domain": "d", "context": "single_turn", "n_tools": 1, "n_calls": 1});
        let candidate = json!({"task": own, "spec": spec});
        assert_eq!(a, lesson(&candidate.to_string(), Style::Compact).unwrap());
        let talk = json!({"messages": [user, {"role": "assistant", "content": "For when?"}]});
        assert_eq!(lesson(&talk.to_string(), Style::Paper).unwrap().completion, "For when?");
    }

    #[test]
    fn bad_lines_say_why() {
        let user = json!({"role": "user", "content": "Book for 2."});
        let with = |last: Value| json!({"messages": [user, last], "tools": [tool()]});
        refused(&with(call("{\"n\": \"two\"}")), "argument_type");
        refused(&with(call("{}")), "missing_argument");
        refused(&with(call("{\"n\": 1")), "no JSON object");
        refused(&with(user.clone()), "not the assistant's");
        refused(&json!({"messages": [user, call("{\"n\": 2}")]}), "no tools");
        refused(&json!({"messages": [call("{\"n\": 2}")], "tools": [tool()]}), "nothing is asked");
        refused(&json!({"question": "q", "tools": [], "gold": []}), "no tools");
        refused(&json!({"question": "q"}), "expected a task");
        assert!(lesson("{broken", Style::Compact).unwrap_err().to_string().contains("no JSON"));
    }
}
