//! NexusRaven: the two tables of `Nexusflow/NexusRaven_API_evaluation` as JSON lines. `standardized_api_list`:
//! `{"dataset", "name", "description", "args_dicts": [{"name", "type", "description", "required"}]}`;
//! `standardized_queries`: `{"dataset", "prompt", "python_function_name", "python_args_dict" (JSON in a string),
//! "context_functions"}`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use toolr0_tools::{ToolCall, ToolSpec};

use super::{Import, files, item, objects, schema, str_of, user};
use crate::args::Suite;

pub(super) fn read(path: &Path, import: &mut Import) -> Result<()> {
    let table = |name: &str| -> Result<Vec<Value>> {
        let wanted =
            |file: &str| file.starts_with(name) && (file.ends_with(".json") || file.ends_with(".jsonl"));
        let found = files(path, wanted).with_context(|| format!("expected a file named {name}.jsonl"))?;
        Ok(found.iter().map(|file| objects(file)).collect::<Result<Vec<_>>>()?.concat())
    };
    let apis = table("standardized_api_list")?;
    let by_name: BTreeMap<(&str, &str), &Value> =
        apis.iter().map(|api| ((str_of(api, "dataset"), str_of(api, "name")), api)).collect();
    for (i, query) in table("standardized_queries")?.iter().enumerate() {
        let split = str_of(query, "dataset");
        let offered = query["context_functions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut tools: Vec<ToolSpec> =
            offered.filter_map(|name| by_name.get(&(split, name)).map(|api| tool(api))).collect();
        let arguments: Option<Map<String, Value>> = match &query["python_args_dict"] {
            Value::String(text) => serde_json::from_str(text).ok(),
            Value::Object(map) => Some(map.clone()),
            _ => None,
        };
        let Some(mut arguments) = arguments else {
            import.drop(split, "unreadable answer");
            continue;
        };
        // An argument that is None is one that was left out, so it is not required.
        let name = str_of(query, "python_function_name");
        let left_out: Vec<String> =
            arguments.iter().filter(|(_, v)| v.is_null()).map(|(key, _)| key.clone()).collect();
        arguments.retain(|_, value| !value.is_null());
        for tool in tools.iter_mut().filter(|tool| tool.name == name) {
            if let Some(required) = tool.parameters.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|key| !left_out.iter().any(|out| key == out));
            }
        }
        let gold = vec![ToolCall::new(name, arguments)];
        import.keep(item(
            Suite::Nexusraven,
            split,
            format!("{split}-{i}"),
            user(str_of(query, "prompt")),
            tools,
            gold,
        ));
    }
    Ok(())
}

fn tool(api: &Value) -> ToolSpec {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for argument in api["args_dicts"].as_array().into_iter().flatten() {
        let name = str_of(argument, "name");
        properties.insert(name.to_owned(), schema(str_of(argument, "type"), str_of(argument, "description")));
        required.extend((argument["required"] == true).then_some(name));
    }
    ToolSpec::new(str_of(api, "name"), str_of(api, "description").trim(), properties, &required)
}
