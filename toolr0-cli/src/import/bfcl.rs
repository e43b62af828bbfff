//! BFCL v4: `BFCL_v4_<category>.json`, one object a line, `{"id", "question": [[messages]], "function": [tools]}`, and
//! `possible_answer/` with files of the same names, `{"id", "ground_truth": [{name: {argument: [alternatives]}}]}`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use toolr0_reward::ast::{BenchItem, CallSpec};
use toolr0_tools::{Message, ToolCall, ToolSpec};

use super::{Import, files, objects, str_of};

/// The single-turn categories of Python calls, and whether they have answers.
const CATEGORIES: [(&str, Option<&str>); 11] = [
    ("simple_python", None),
    ("multiple", None),
    ("parallel", None),
    ("parallel_multiple", None),
    ("live_simple", None),
    ("live_multiple", None),
    ("live_parallel", None),
    ("live_parallel_multiple", None),
    ("irrelevance", Some("no_call")),
    ("live_irrelevance", Some("no_call")),
    ("live_relevance", Some("any_call")),
];

/// Lists of calls beyond which one stands for all; `answer_spec` says them all anyway.
const MAX_ANSWERS: usize = 8;

pub(super) fn read(path: &Path, import: &mut Import) -> Result<()> {
    let category = |name: &str| {
        let middle = name.strip_prefix("BFCL_v")?.split_once('_')?.1.strip_suffix(".json")?;
        CATEGORIES.iter().find(|(category, _)| *category == middle)
    };
    let mut found: Vec<_> = files(path, |name| category(name).is_some())?;
    found.retain(|file| file.parent().is_none_or(|dir| !dir.ends_with("possible_answer")));
    for file in found {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (split, expect) = category(&name).context("expected a file named BFCL_v4_<category>.json")?;
        let answers = match expect {
            Some(_) => HashMap::new(),
            None => answers(&file.with_file_name("possible_answer").join(&name))?,
        };
        for entry in objects(&file)? {
            match question(&entry, split, *expect, &answers) {
                Ok(item) => import.keep(item),
                Err(reason) => import.drop(split, reason),
            }
        }
    }
    Ok(())
}

fn answers(path: &Path) -> Result<HashMap<String, Value>> {
    let entries = objects(path)?;
    Ok(entries
        .into_iter()
        .map(|entry| (str_of(&entry, "id").to_owned(), entry["ground_truth"].clone()))
        .collect())
}

fn question(
    entry: &Value,
    split: &str,
    expect: Option<&str>,
    answers: &HashMap<String, Value>,
) -> Result<BenchItem, &'static str> {
    let id = str_of(entry, "id");
    let turns = entry["question"].as_array().ok_or("no question")?;
    let [turn] = turns.as_slice() else { return Err("several turns") };
    let messages: Vec<Message> = serde_json::from_value(turn.clone()).map_err(|_| "no question")?;
    let tools = entry["function"].as_array().ok_or("no tools")?.iter().map(tool).collect();
    let spec: Option<Vec<CallSpec>> = match (expect, answers.get(id)) {
        (Some(_), _) => None,
        (None, None) => return Err("no answer"),
        (None, Some(truth)) => Some(serde_json::from_value(truth.clone()).map_err(|_| "unreadable answer")?),
    };
    let mut meta = Map::new();
    let answers = match (expect, &spec) {
        (Some("any_call"), _) => vec![],
        (None, Some(spec)) => {
            let all: Option<Vec<Vec<ToolCall>>> = product(spec.iter().map(calls).collect::<Option<Vec<_>>>());
            meta.insert("answers_complete".into(), json!(all.is_some()));
            all.unwrap_or_else(|| vec![spec.iter().map(first_call).collect()])
        }
        _ => vec![vec![]],
    };
    meta.extend(expect.map(|expect| ("expect".to_owned(), json!(expect))));
    Ok(BenchItem {
        id: format!("bfcl-{id}"),
        benchmark: "bfcl".into(),
        split: split.to_owned(),
        messages,
        tools,
        answers,
        answer_spec: spec,
        meta,
    })
}

/// A tool with Python's types renamed to those of JSON Schema.
fn tool(value: &Value) -> ToolSpec {
    let parameters = renamed(value.get("parameters").unwrap_or(&Value::Null));
    let (name, description) = (str_of(value, "name"), str_of(value, "description"));
    ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters }
}

fn renamed(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                match (key.as_str(), value.as_str()) {
                    ("type", Some("any")) => {}
                    ("type", Some(kind)) => {
                        let kind = match kind {
                            "dict" => "object",
                            "float" => "number",
                            "tuple" => "array",
                            other => other,
                        };
                        out.insert(key.clone(), json!(kind));
                    }
                    _ => _ = out.insert(key.clone(), renamed(value)),
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(renamed).collect(),
        other => other.clone(),
    }
}

fn may_be_left_out(option: &Value) -> bool {
    option.as_str() == Some("")
}

/// Every call that an entry allows; `None` beyond [`MAX_ANSWERS`].
fn calls(spec: &CallSpec) -> Option<Vec<ToolCall>> {
    let maps = maps(spec.arguments.iter().map(|(key, options)| (key, options.as_slice())))?;
    Some(maps.into_iter().map(|arguments| ToolCall::new(spec.name.as_str(), arguments)).collect())
}

/// Every object whose keys have these alternatives.
fn maps<'a>(keys: impl Iterator<Item = (&'a String, &'a [Value])>) -> Option<Vec<Map<String, Value>>> {
    let mut maps = vec![Map::new()];
    for (key, options) in keys {
        let mut choices: Vec<Option<Value>> = Vec::new();
        for option in options {
            match may_be_left_out(option) {
                true => choices.push(None),
                false => choices.extend(values(option)?.into_iter().map(Some)),
            }
        }
        let grown = maps.iter().flat_map(|map| {
            choices.iter().map(move |choice| {
                let mut map = map.clone();
                map.extend(choice.clone().map(|value| (key.clone(), value)));
                map
            })
        });
        maps = grown.take(MAX_ANSWERS + 1).collect();
        if maps.len() > MAX_ANSWERS {
            return None;
        }
    }
    Some(maps)
}

/// Every value that one alternative stands for: inside an object, lists are alternatives again.
fn values(option: &Value) -> Option<Vec<Value>> {
    match option {
        Value::Object(map) => {
            let slices = map.iter().map(|(key, inner)| {
                (key, inner.as_array().map_or(std::slice::from_ref(inner), Vec::as_slice))
            });
            Some(maps(slices)?.into_iter().map(Value::Object).collect())
        }
        Value::Array(items) => {
            let all: Option<Vec<Vec<Value>>> = product(items.iter().map(values).collect::<Option<Vec<_>>>());
            Some(all?.into_iter().map(Value::Array).collect())
        }
        plain => Some(vec![plain.clone()]),
    }
}

/// One of each; `None` beyond [`MAX_ANSWERS`].
fn product<T: Clone>(choices: Option<Vec<Vec<T>>>) -> Option<Vec<Vec<T>>> {
    choices?.into_iter().try_fold(vec![vec![]], |lists, choices| {
        let fits = lists.len() * choices.len() <= MAX_ANSWERS;
        let grow = |list: &Vec<T>| {
            choices
                .iter()
                .map(|one| [list.as_slice(), std::slice::from_ref(one)].concat())
                .collect::<Vec<_>>()
        };
        fits.then(|| lists.iter().flat_map(grow).collect())
    })
}

/// The call of the first alternatives.
fn first_call(spec: &CallSpec) -> ToolCall {
    let first = |(key, options): (&String, &Vec<Value>)| {
        let wanted = options.iter().find(|option| !may_be_left_out(option))?;
        Some((key.clone(), first_value(wanted)))
    };
    ToolCall::new(spec.name.as_str(), spec.arguments.iter().filter_map(first).collect())
}

fn first_value(option: &Value) -> Value {
    match option {
        Value::Object(map) => {
            let first = |(key, inner): (&String, &Value)| {
                let options = inner.as_array().map_or(std::slice::from_ref(inner), Vec::as_slice);
                let wanted = options.iter().find(|option| !may_be_left_out(option))?;
                Some((key.clone(), first_value(wanted)))
            };
            Value::Object(map.iter().filter_map(first).collect())
        }
        Value::Array(items) => items.iter().map(first_value).collect(),
        plain => plain.clone(),
    }
}
