//! API-Bank: `level-1-api.json` and `level-2-api.json`, lists of `{"file", "id", "instruction", "input",
//! "expected_output"}`. The instruction ends with `API descriptions:` and one JSON object a line; the input is a dialogue
//! of lines `User:`, `AI:` and `API-Request: [Name(key='value')]->result`; the answer is `API-Request: [Name(..)]`.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};
use toolr0_reward::ast::BenchItem;
use toolr0_reward::release::literal;
use toolr0_reward::wire::calls_json;
use toolr0_tools::{Message, ToolCall, ToolSpec};

use super::{Import, files, item, objects, schema, stem, str_of};
use crate::args::Suite;

pub(super) fn read(path: &Path, import: &mut Import) -> Result<()> {
    for file in files(path, |name| name.starts_with("level-") && name.ends_with("-api.json"))? {
        let split = stem(&file).trim_end_matches("-api").to_owned();
        let mut items = Vec::new();
        for (i, entry) in objects(&file)?.iter().enumerate() {
            match read_entry(entry, &split, i) {
                Ok(item) => items.push(item),
                Err(reason) => import.drop(&split, reason),
            }
        }
        mark_optional(&mut items);
        items.into_iter().for_each(|item| import.keep(item));
    }
    Ok(())
}

/// The source does not say what is optional: whatever some answer leaves out.
fn mark_optional(items: &mut [BenchItem]) {
    let mut left_out: HashSet<(String, String)> = HashSet::new();
    for item in items.iter() {
        for call in item.answers.iter().flatten() {
            let tool = item.tools.iter().find(|tool| tool.name == call.name);
            let missing = tool
                .into_iter()
                .flat_map(ToolSpec::required)
                .filter(|key| !call.arguments.contains_key(*key));
            left_out.extend(missing.map(|key| (call.name.clone(), key.to_owned())));
        }
    }
    for tool in items.iter_mut().flat_map(|item| &mut item.tools) {
        let name = tool.name.clone();
        if let Some(required) = tool.parameters.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|key| {
                !left_out.contains(&(name.clone(), key.as_str().unwrap_or_default().to_owned()))
            });
        }
    }
}

fn read_entry(entry: &Value, split: &str, i: usize) -> Result<BenchItem, &'static str> {
    let instruction = str_of(entry, "instruction");
    let (head, menu) = instruction.split_once("API descriptions:").ok_or("no tools")?;
    let mut tools: Vec<ToolSpec> = Vec::new();
    for line in menu.lines().filter(|line| !line.trim().is_empty()) {
        tools.push(tool(&serde_json::from_str(line).map_err(|_| "unreadable tool")?));
    }
    let mut messages = dialogue(str_of(entry, "input"), &mut tools)?;
    if let Some(at) = head.find("The current year is ") {
        messages.insert(0, Message::new("system", head[at..].lines().next().unwrap_or_default()));
    }
    let answer = str_of(entry, "expected_output").trim();
    let gold =
        request(answer.strip_prefix("API-Request:").unwrap_or(answer).trim()).ok_or("unreadable answer")?;
    let id = format!("{split}-{i}");
    let mut item = item(Suite::Apibank, split, id, messages, tools, vec![gold]);
    item.meta.insert("dialogue".into(), json!(str_of(entry, "file")));
    Ok(item)
}

fn tool(value: &Value) -> ToolSpec {
    let parameters = value["input_parameters"].as_object().cloned().unwrap_or_default();
    let properties: Map<String, Value> = parameters
        .iter()
        .map(|(key, value)| (key.clone(), schema(str_of(value, "type"), str_of(value, "description"))))
        .collect();
    let required: Vec<&str> = parameters.keys().map(String::as_str).collect();
    ToolSpec::new(str_of(value, "name"), str_of(value, "description"), properties, &required)
}

/// The dialogue as messages. Tools that a search in it found join the menu.
fn dialogue(text: &str, tools: &mut Vec<ToolSpec>) -> Result<Vec<Message>, &'static str> {
    let mut messages: Vec<Message> = Vec::new();
    for line in text.lines() {
        if line.starts_with("Generate API Request:") {
            break;
        }
        if let Some(said) = line.strip_prefix("User:") {
            messages.push(Message::new("user", said.trim()));
        } else if let Some(said) = line.strip_prefix("AI:") {
            messages.push(Message::new("assistant", said.trim()));
        } else if let Some(called) = line.strip_prefix("API-Request:") {
            let (call, result) = called.split_once(")]->").ok_or("unreadable dialogue")?;
            let call = request(&format!("{})]", call.trim())).ok_or("unreadable dialogue")?;
            let found = literal(result.trim()).unwrap_or_default();
            let found = found.as_array().cloned().unwrap_or_else(|| vec![found]);
            for new in found.iter().filter(|value| value.get("input_parameters").is_some()).map(tool) {
                if !tools.iter().any(|tool| tool.name == new.name) {
                    tools.push(new);
                }
            }
            messages.push(Message::new("assistant", calls_json(&[call])));
            messages.push(Message::new("tool", result.trim()));
        } else if let Some(last) = messages.last_mut() {
            last.content = format!("{}\n{line}", last.content).trim_end().to_owned();
        }
    }
    Ok(messages)
}

/// `[Name(key='value', other=3)]`. A value may hold quotes of its own, so it ends where the next key begins.
fn request(text: &str) -> Option<ToolCall> {
    let inner = text.strip_prefix('[')?.strip_suffix(")]")?;
    let (name, arguments) = inner.split_once('(')?;
    let mut starts: Vec<(usize, &str, usize)> = Vec::new();
    let mut at = 0;
    while at < arguments.len() {
        let rest = &arguments[at..];
        let skip = if at == 0 { 0 } else { rest.find(',').map(|i| i + 1)? };
        let word = rest[skip..].trim_start();
        let begin = at + (rest.len() - word.len());
        let key = word.find(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(word, |end| &word[..end]);
        let value = begin + key.len() + 1;
        if !key.is_empty() && arguments.get(value - 1..value) == Some("=") {
            starts.push((at, key, value));
            at = value;
        } else if at == 0 {
            return None;
        } else {
            at += skip;
        }
        let Some(next) = arguments[at..].find(',') else { break };
        at += next;
    }
    let ends = starts.iter().skip(1).map(|(start, ..)| *start).chain([arguments.len()]);
    let read = starts.iter().zip(ends).map(|((_, key, value), end)| {
        let text = arguments[*value..end].trim();
        let quoted = |q: char| text.strip_prefix(q).and_then(|inner| inner.strip_suffix(q));
        let plain = || quoted('\'').or_else(|| quoted('"')).map_or_else(|| json!(text), |inner| json!(inner));
        ((*key).to_owned(), literal(text).unwrap_or_else(plain))
    });
    Some(ToolCall::new(name.trim(), read.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_with_quotes_and_commas_in_their_values() {
        let read = |text| serde_json::to_value(request(text).unwrap().arguments).unwrap();
        assert_eq!(read("[F()]"), json!({}));
        assert_eq!(read("[F(a='x, y', b=3, c=[1, 'z'])]"), json!({"a": "x, y", "b": 3, "c": [1, "z"]}));
        assert_eq!(read("[F(a='Dr. O'Neil', b='(5+6)*3')]"), json!({"a": "Dr. O'Neil", "b": "(5+6)*3"}));
        assert_eq!(read("[F(a='say, b', b2=True)]"), json!({"a": "say, b", "b2": true}));
        assert!(request("F(a=1)").is_none() && request("[F(1)]").is_none());
    }
}
