//! ToolAlpaca: `eval_real.json` and `eval_simulated.json`, lists of APIs with `Function_Description` (name to text, which
//! holds `Parameters: {name: "Required. type. words"}`), `Instructions` and `Golden_Answers`, one list of
//! `{"Action", "Action_Input"}` an instruction, where the input is JSON in a string.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};
use toolr0_tools::{ToolCall, ToolSpec};

use super::{Import, files, item, objects, schema, stem, str_of, user};
use crate::args::Suite;

/// Arguments that hold the key of a paid service: where the question does not tell it, no model can.
const SERVICE_KEYS: [&str; 4] = ["access_key", "api_key", "apikey", "appid"];

pub(super) fn read(path: &Path, import: &mut Import) -> Result<()> {
    for file in files(path, |name| name.starts_with("eval_") && name.ends_with(".json"))? {
        let split = stem(&file).trim_start_matches("eval_").to_owned();
        for api in objects(&file)? {
            read_api(&api, &split, import);
        }
    }
    Ok(())
}

fn read_api(api: &Value, split: &str, import: &mut Import) {
    let described = api["Function_Description"].as_object().cloned().unwrap_or_default();
    // `components` is what the documentation ends with, and no tool.
    let described = described.iter().filter(|(name, _)| *name != "components");
    let tools: Option<Vec<ToolSpec>> = described.map(|(name, text)| tool(name, text.as_str()?)).collect();
    let Some(tools) = tools else { return import.drop(split, "unreadable tool") };
    let questions = api["Instructions"].as_array().into_iter().flatten();
    let golds = api["Golden_Answers"].as_array().map_or(&[][..], Vec::as_slice);
    for (i, question) in questions.enumerate() {
        let question = question.as_str().unwrap_or_default();
        let calls = golds.get(i).and_then(Value::as_array).filter(|calls| !calls.is_empty());
        let Some(calls) = calls else {
            import.drop(split, "no answer");
            continue;
        };
        let Some(gold) = calls.iter().map(call).collect::<Option<Vec<_>>>() else {
            import.drop(split, "unreadable answer");
            continue;
        };
        if gold.iter().flat_map(|call| call.arguments.values()).any(is_placeholder) {
            import.drop(split, "the answer waits for an earlier result");
            continue;
        }
        let (mut tools, mut gold) = (tools.clone(), gold);
        let removed = without_service_keys(question, &mut tools, &mut gold);
        let id = format!("{split}-{}-{i}", str_of(api, "Name"));
        let mut item = item(Suite::Toolalpaca, split, id, user(question), tools, gold);
        if removed {
            item.meta.insert("gold_auth_args_removed".into(), json!(true));
        }
        import.keep(item);
    }
}

fn tool(name: &str, text: &str) -> Option<ToolSpec> {
    let (description, rest) = text.split_once("\nParameters: ").unwrap_or((text, "{}"));
    let parameters = rest.split("\nOutput:").next().unwrap_or_default();
    let parameters: Map<String, Value> = serde_json::from_str(parameters.trim()).ok()?;
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (key, words) in &parameters {
        let mut words = words.as_str()?.trim();
        for (mark, wanted) in [("required.", true), ("optional.", false)] {
            if words.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark)) {
                words = words[mark.len()..].trim_start();
                required.extend(wanted.then_some(key.as_str()));
            }
        }
        let (kind, words) = words.split_once('.').unwrap_or((words, ""));
        properties.insert(key.clone(), schema(kind.trim(), words));
    }
    Some(ToolSpec::new(name, description.trim(), properties, &required))
}

/// An argument that is an empty text is one that was left out.
fn call(value: &Value) -> Option<ToolCall> {
    let arguments: Map<String, Value> = match &value["Action_Input"] {
        Value::String(text) => serde_json::from_str(text).ok()?,
        Value::Object(map) => map.clone(),
        _ => return None,
    };
    let given = arguments.into_iter().filter(|(_, value)| value.as_str() != Some(""));
    Some(ToolCall::new(value["Action"].as_str()?, given.collect()))
}

/// `<id of the first result>` and the like.
fn is_placeholder(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let text = text.trim();
    let within = |open: char, close: char| text.starts_with(open) && text.ends_with(close) && 2 < text.len();
    within('<', '>')
        || within('{', '}') && serde_json::from_str::<Value>(text).is_err()
        || text.contains("{{")
}

fn without_service_keys(question: &str, tools: &mut [ToolSpec], gold: &mut [ToolCall]) -> bool {
    let hidden = |call: &ToolCall, key: &str| {
        call.arguments.get(key).is_some_and(|value| !question.contains(value.as_str().unwrap_or("\0")))
    };
    let removed: Vec<&str> =
        SERVICE_KEYS.into_iter().filter(|key| gold.iter().any(|call| hidden(call, key))).collect();
    for key in &removed {
        gold.iter_mut().for_each(|call| _ = call.arguments.shift_remove(*key));
        for tool in tools.iter_mut() {
            if let Some(properties) = tool.parameters.get_mut("properties").and_then(Value::as_object_mut) {
                properties.shift_remove(*key);
            }
            if let Some(required) = tool.parameters.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|name| name != key);
            }
        }
    }
    !removed.is_empty()
}
