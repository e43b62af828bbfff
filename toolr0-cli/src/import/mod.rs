//! Published benchmark files become [`BenchItem`]s. What cannot be scored is dropped, and counted by reason.
//!
//! One file a suite, each with its published layout at the top. All of them hand their items to [`Import::keep`], which
//! refuses a question without tools or words, and an answer that breaks the schema of its own tool.

mod apibank;
mod bfcl;
mod nexusraven;
mod sealtools;
mod snips;
mod toolalpaca;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use toolr0_curriculum::Drops;
use toolr0_reward::ast::BenchItem;
use toolr0_tools::{Message, ToolCall, ToolSpec};

use crate::args::Suite;

/// What was read of a suite.
#[derive(Debug, Default)]
pub(crate) struct Import {
    /// Items by split.
    pub(crate) splits: BTreeMap<String, Vec<BenchItem>>,
    /// The others, by split and reason.
    pub(crate) drops: BTreeMap<String, Drops>,
    ids: HashSet<String>,
}

/// Reads the published files of a suite.
pub(crate) fn import(suite: Suite, path: &Path) -> Result<Import> {
    let mut import = Import::default();
    match suite {
        Suite::Bfcl => bfcl::read(path, &mut import),
        Suite::Toolalpaca => toolalpaca::read(path, &mut import),
        Suite::Sealtools => sealtools::read(path, &mut import),
        Suite::Nexusraven => nexusraven::read(path, &mut import),
        Suite::Apibank => apibank::read(path, &mut import),
        Suite::Snips => snips::read(path, &mut import),
    }?;
    if import.splits.is_empty() && import.drops.is_empty() {
        bail!("{} holds no question of {suite}", path.display());
    }
    Ok(import)
}

impl Import {
    /// Takes an item, unless something is wrong with it.
    fn keep(&mut self, item: BenchItem) {
        match item.fault() {
            Some(reason) => self.drop(&item.split, reason),
            None if !self.ids.insert(item.id.clone()) => self.drop(&item.split, "id given twice"),
            None => self.splits.entry(item.split.clone()).or_default().push(item),
        }
    }

    fn drop(&mut self, split: &str, reason: &str) {
        self.drops.entry(split.to_owned()).or_default().add(reason);
    }
}

/// An item of plain published form: one question, one list of calls. Where an argument is written as a string and its
/// tool wants a number or a boolean, the answer in the tool's types comes first and the published one second.
fn item(
    suite: Suite,
    split: &str,
    id: String,
    messages: Vec<Message>,
    tools: Vec<ToolSpec>,
    gold: Vec<ToolCall>,
) -> BenchItem {
    let typed: Vec<ToolCall> = gold.iter().map(|call| cast(call, &tools)).collect();
    let answers = if typed == gold { vec![gold] } else { vec![typed, gold] };
    BenchItem {
        id: format!("{suite}-{id}"),
        benchmark: suite.to_string(),
        split: split.to_owned(),
        messages,
        tools,
        answers,
        answer_spec: None,
        meta: Map::new(),
    }
}

fn cast(call: &ToolCall, tools: &[ToolSpec]) -> ToolCall {
    let tool = tools.iter().find(|tool| tool.name == call.name);
    let typed = |(key, value): (&String, &Value)| {
        let kind = tool.and_then(|tool| tool.param(key)?.kind().map(str::to_owned));
        let read = value.as_str().and_then(|text| match kind.as_deref()? {
            "integer" => text.trim().parse::<i64>().ok().map(Value::from),
            "number" => {
                text.trim().parse::<f64>().ok().filter(|x| x.is_finite()).map(|_| text)?.trim().parse().ok()
            }
            "boolean" => text.trim().to_lowercase().parse::<bool>().ok().map(Value::from),
            "array" | "object" => toolr0_reward::release::literal(text),
            _ => None,
        });
        let fits = read.filter(|read| match kind.as_deref() {
            Some("number") => read.is_number(),
            Some("array") => read.is_array(),
            Some("object") => read.is_object(),
            _ => true,
        });
        (key.clone(), fits.unwrap_or_else(|| value.clone()))
    };
    ToolCall::new(call.name.as_str(), call.arguments.iter().map(typed).collect())
}

/// The JSON Schema of a type as Python, or a person, would call it; no type where none is meant.
fn schema(kind: &str, description: &str) -> Value {
    let kind = kind.to_lowercase();
    let name = match kind.as_str() {
        k if k.starts_with("list") || k.starts_with("arr") || k.starts_with("tuple") => Some("array"),
        k if k.starts_with("dict") || k.starts_with("obj") || k == "json" => Some("object"),
        k if k.starts_with("bool") => Some("boolean"),
        k if k.starts_with("int") => Some("integer"),
        k if k.starts_with("float") || k.starts_with("num") || k == "double" => Some("number"),
        k if k.starts_with("str") || k.starts_with("enum") || k.starts_with("date") => Some("string"),
        _ => None,
    };
    let mut schema = Map::new();
    schema.extend(name.map(|name| ("type".to_owned(), json!(name))));
    schema.insert("description".to_owned(), json!(description.trim()));
    Value::Object(schema)
}

/// The text of a file; bytes that are no UTF-8 are taken for Latin-1, in which older suites are written.
fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().iter().map(|&byte| char::from(byte)).collect()))
}

/// A list of objects: one JSON list, or one object a line.
fn objects(path: &Path) -> Result<Vec<Value>> {
    let text = text(path)?;
    if text.trim_start().starts_with('[') {
        let values = serde_json::from_str(&text);
        return values.with_context(|| format!("{}: expected a JSON list", path.display()));
    }
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, n)| {
            serde_json::from_str(line).with_context(|| format!("{}, line {n}: expected JSON", path.display()))
        })
        .collect()
}

/// The files of a folder and of the folders in it whose name `wanted` takes, sorted; or the one file that `path` is.
fn files(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let read = || format!("failed to read {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(read)? {
            let path = entry.with_context(read)?.path();
            if path.is_dir() && depth < 2 {
                folders.push((path, depth + 1));
            } else if path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() {
        bail!("{} holds none of the suite's files", path.display());
    }
    Ok(found)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn str_of<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn user(text: &str) -> Vec<Message> {
    vec![Message::new("user", text)]
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
