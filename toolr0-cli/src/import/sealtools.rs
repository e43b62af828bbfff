//! Seal-Tools: `dataset_for_finetune/{dev,test_in_domain,test_out_domain}.json`, lists of
//! `{"id", "conversations": [human, gpt]}`. The human's text holds `api_list = [..]`, a Python list of tools, and
//! `task_instruction = ".."`; the answer is a Python list of `{'api', 'parameters', 'responses'}`.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};
use toolr0_reward::release::literal;
use toolr0_tools::{Message, ToolCall, ToolSpec};

use super::{Import, files, item, objects, schema, stem, str_of};
use crate::args::Suite;

pub(super) fn read(path: &Path, import: &mut Import) -> Result<()> {
    let names = ["dev.json", "test_in_domain.json", "test_out_domain.json"];
    for file in files(path, |name| names.contains(&name))? {
        let part = stem(&file).trim_start_matches("test_").to_owned();
        for entry in objects(&file)? {
            read_entry(&entry, &part, import);
        }
    }
    Ok(())
}

fn read_entry(entry: &Value, part: &str, import: &mut Import) {
    let said = |who: &str| {
        let turns = entry["conversations"].as_array().into_iter().flatten();
        turns.into_iter().find(|turn| turn["from"] == who).map(|turn| str_of(turn, "value"))
    };
    let id = str_of(entry, "id");
    let single = id.contains("easy");
    let split = |kind: &str| format!("{part}_{kind}");
    let Some((list, question)) = said("human").and_then(parts) else {
        return import.drop(&split(if single { "single" } else { "multiple" }), "unreadable question");
    };
    let apis = literal(list).and_then(|list| Some(list.as_array()?.clone())).unwrap_or_default();
    let calls = said("gpt").and_then(literal).and_then(|list| list.as_array()?.iter().map(call).collect());
    let Some(gold): Option<Vec<ToolCall>> = calls else {
        return import.drop(&split(if single { "single" } else { "multiple" }), "unreadable answer");
    };
    let nested = gold.iter().flat_map(|call| call.arguments.values()).any(refers);
    let split = split(if nested {
        "nested"
    } else if single {
        "single"
    } else {
        "multiple"
    });
    let mut messages = vec![Message::new("user", question)];
    if nested {
        messages.insert(0, Message::new("system", convention(&apis)));
    }
    import.keep(item(
        Suite::Sealtools,
        &split,
        id.to_owned(),
        messages,
        apis.iter().map(tool).collect(),
        gold,
    ));
}

/// The list of tools and the question.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("api_list = ")?;
    let (list, rest) = rest.split_once("\ntask_instruction = ")?;
    let question = rest.rsplit_once("\nOutput:").map_or(rest, |(question, _)| question).trim();
    Some((list, question.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(question)))
}

fn tool(api: &Value) -> ToolSpec {
    let parameters = api["parameters"].as_object().cloned().unwrap_or_default();
    let properties: Map<String, Value> = parameters
        .iter()
        .map(|(key, value)| (key.clone(), schema(str_of(value, "type"), str_of(value, "description"))))
        .collect();
    let required: Vec<&str> =
        api["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ToolSpec::new(str_of(api, "api_name"), str_of(api, "api_description"), properties, &required)
}

fn call(value: &Value) -> Option<ToolCall> {
    Some(ToolCall::new(value["api"].as_str()?, value["parameters"].as_object()?.clone()))
}

/// Whether a value stands for the result of an earlier call.
fn refers(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("API_call_"))
}

/// What a model has to know to refer to results.
fn convention(apis: &[Value]) -> String {
    let fields = |api: &Value| {
        let names = api["responses"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        (str_of(api, "api_name").to_owned(), json!(names.collect::<Vec<_>>()))
    };
    let fields: Map<String, Value> = apis.iter().map(fields).collect();
    format!(
        "Results may be used as argument values of later calls: the string \"API_call_k\" stands for the k-th result value \
         over all calls, counted from 0 in call order (a call with m result fields takes m consecutive numbers). Result \
         fields by tool: {}",
        Value::Object(fields)
    )
}
