//! Benchmark questions on disk: `SUITE/SPLIT.jsonl`, one [`BenchItem`] a line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toolr0_reward::ast::BenchItem;
use toolr0_reward::schema::check_schemas;
use toolr0_reward::{Style, wire};
use toolr0_tools::{Message, Prompt};

use crate::input::Lines;

/// The questions of one file.
#[derive(Debug)]
pub(crate) struct Split {
    /// The folder's name.
    pub(crate) suite: String,
    /// The file's name, without ending.
    pub(crate) name: String,
    /// In their order.
    pub(crate) items: Vec<BenchItem>,
    /// Lines that are no question: where, and why.
    pub(crate) bad: Vec<String>,
}

/// Reads every `SUITE/SPLIT.jsonl` under `dir`, in the order of their names.
///
/// # Errors
///
/// If the folder cannot be read or holds no such file. A bad line is counted, not an error.
pub(crate) fn read(dir: &Path) -> Result<Vec<Split>> {
    let mut splits = Vec::new();
    for suite in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&suite)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        {
            splits.push(read_split(&suite, &file)?);
        }
    }
    if splits.is_empty() {
        bail!("{} holds no SUITE/SPLIT.jsonl", dir.display());
    }
    Ok(splits)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read =
        || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect() };
    let mut paths = read().with_context(|| format!("failed to read {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

fn read_split(suite: &Path, file: &Path) -> Result<Split> {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut split = Split { suite: name(suite), name: name(file), items: Vec::new(), bad: Vec::new() };
    let mut lines = Lines::open(file)?;
    while let Some(line) = lines.next()? {
        match serde_json::from_str::<BenchItem>(&line) {
            Ok(item) if item.tools.is_empty() => split.bad.push(format!("{}: no tools", lines.place())),
            Ok(item) if item.messages.is_empty() => split.bad.push(format!("{}: no messages", lines.place())),
            Ok(item) => match check_schemas(&item.tools) {
                Ok(()) => split.items.push(item),
                Err(error) => split.bad.push(format!("{}: {error}", lines.place())),
            },
            Err(error) => split.bad.push(format!("{}: {error}", lines.place())),
        }
    }
    Ok(split)
}

/// What a model is asked: the conversation of the question between the solver's own system prompt and the place to
/// answer, with the menu behind the last message of the user, laid out as in training.
///
/// A system message of the question joins the solver's, since most chat templates take one. For a question of one
/// message this is exactly the prompt that the solver is trained on.
pub(crate) fn prompt(item: &BenchItem, style: Style) -> Prompt {
    let last_user = item.messages.iter().rposition(|message| message.role == "user");
    let question = last_user.map_or("", |i| item.messages[i].content.as_str());
    let Prompt { messages: own } = wire::solver::prompt(question, &item.tools, style);
    let (mut system, mut user) = (String::new(), String::new());
    for Message { role, content } in own {
        let part = if role == "system" { &mut system } else { &mut user };
        part.push_str(&content);
    }
    let mut messages = Vec::with_capacity(item.messages.len() + 1);
    for (i, message) in item.messages.iter().enumerate() {
        if message.role == "system" {
            system = format!("{system}\n\n{}", message.content);
        } else if Some(i) == last_user {
            messages.push(Message::new("user", user.as_str()));
        } else {
            messages.push(message.clone());
        }
    }
    if last_user.is_none() {
        messages.push(Message::new("user", user.trim_start()));
    }
    messages.insert(0, Message::new("system", system));
    Prompt { messages }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(messages: &[(&str, &str)]) -> BenchItem {
        let messages: Vec<_> = messages.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        let tools = serde_json::json!([{"name": "f", "description": "F."}]);
        serde_json::from_value(
            serde_json::json!({"id": "1", "benchmark": "b", "split": "s", "messages": messages,
            "tools": tools, "answers": [[]]}),
        )
        .unwrap()
    }

    #[test]
    fn one_message_makes_the_solvers_own_prompt() {
        let item = item(&[("user", "Do f.")]);
        for style in [Style::Paper, Style::Compact] {
            assert_eq!(prompt(&item, style), wire::solver::prompt("Do f.", &item.tools, style));
        }
    }

    #[test]
    fn a_conversation_keeps_its_order_and_the_menu_stands_behind_the_last_user_message() {
        let turns = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("tool", "d")];
        let messages = prompt(&item(&turns), Style::Compact).messages;
        let roles: Vec<_> = messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "tool"]);
        assert!(messages[0].content.ends_with("Be kind."));
        assert!(!messages[1].content.contains("<available_tools>"));
        assert!(messages[3].content.starts_with("c\n\n<available_tools>["));
        let none = prompt(&item(&[("assistant", "b")]), Style::Compact).messages;
        assert!(none[2].content.starts_with("<available_tools>"));
    }
}
