//! A menu of tools as JSON, both ways.

use serde_json::{Map, Value, json};
use toolr0_tools::ToolSpec;

use super::{Style, json};
use crate::fault::{Block, Fault};

/// A menu of more tools than this is a [`Fault`].
pub const MAX_TOOLS: usize = 64;

/// The menu as JSON without spaces.
///
/// [`Style::Paper`]: OpenAI's function objects with the whole schema. [`Style::Compact`]: the flat layout, where
/// `parameters` maps each name to its schema, a schema that says only its type is written as that type, and
/// `required` stands beside them:
/// `{"name":"book","description":"Book.","parameters":{"city":"string"},"required":["city"]}`.
pub fn tools_json(tools: &[ToolSpec], style: Style) -> String {
    match style {
        Style::Paper => json::write(&tools),
        Style::Compact => json::write(&tools.iter().map(flat).collect::<Vec<_>>()),
    }
}

fn flat(tool: &ToolSpec) -> Value {
    let properties = tool.properties().cloned().unwrap_or_default();
    // A parameter that is itself called `type`, `properties` or `required` reads like a schema's own key, so such
    // a tool keeps the outer layout.
    let ambiguous = ["type", "properties", "required"].iter().any(|key| properties.contains_key(*key));
    let parameters = if ambiguous {
        json!({"type": "object", "properties": properties})
    } else {
        Value::Object(properties.into_iter().map(|(name, schema)| (name, shorten(schema))).collect())
    };
    let required: Vec<&str> = tool.required().collect();
    json!({"name": tool.name, "description": tool.description, "parameters": parameters, "required": required})
}

fn shorten(schema: Value) -> Value {
    match schema.as_object() {
        Some(object) if object.len() == 1 && object.get("type").is_some_and(Value::is_string) => {
            object["type"].clone()
        }
        _ => schema,
    }
}

/// Reads the content of a menu block. Both layouts are taken, `required` first beside `parameters`, then inside
/// (fault 2 of the release); every tool comes out with the schema `{type: object, properties, required}`.
pub(super) fn read(text: &str) -> Result<Vec<ToolSpec>, Fault> {
    let value = json::read(text).map_err(|reason| Fault::Json { block: Block::AvailableTools, reason })?;
    let Value::Array(items) = value else { return Err(Fault::NoTools) };
    if items.is_empty() {
        return Err(Fault::NoTools);
    }
    if items.len() > MAX_TOOLS {
        return Err(Fault::TooManyTools { tools: items.len() });
    }
    items.into_iter().enumerate().map(|(index, item)| tool(index, item)).collect()
}

fn tool(index: usize, item: Value) -> Result<ToolSpec, Fault> {
    let Value::Object(mut item) = item else { return Err(Fault::ToolName { index }) };
    // The outer wrapper of OpenAI's format: {"type": "function", "function": {..}}.
    if let Some(Value::Object(inner)) = item.get_mut("function") {
        item = std::mem::take(inner);
    }
    let name = match item.swap_remove("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        _ => return Err(Fault::ToolName { index }),
    };
    let description = match item.swap_remove("description") {
        Some(Value::String(text)) => text,
        None => String::new(),
        Some(_) => return Err(Fault::ToolDescription { index }),
    };
    let bad = Fault::ToolSchema { index };
    let beside = item.swap_remove("required");
    let (properties, inside) = match item.swap_remove("parameters") {
        None => (Map::new(), None),
        Some(Value::Object(parameters)) => layout(parameters).ok_or_else(|| bad.clone())?,
        Some(_) => return Err(bad),
    };
    let mut plain = Map::with_capacity(properties.len());
    for (key, schema) in properties {
        plain.insert(key, property(schema).ok_or_else(|| bad.clone())?);
    }
    let required = match beside.or(inside) {
        None => Vec::new(),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(bad),
    };
    // A required name must be a parameter, or no call could ever be right.
    if !required.iter().all(|r| r.as_str().is_some_and(|r| plain.contains_key(r))) {
        return Err(bad);
    }
    let parameters = json!({"type": "object", "properties": plain, "required": required});
    Ok(ToolSpec { name, description, parameters })
}

/// Splits `parameters` of either layout into its properties and its own `required`; `None` if it is neither.
fn layout(mut parameters: Map<String, Value>) -> Option<(Map<String, Value>, Option<Value>)> {
    let says_object = parameters.get("type").and_then(Value::as_str) == Some("object");
    let has_properties =
        parameters.get("properties").is_some_and(Value::is_object) && !parameters.contains_key("type");
    if says_object || has_properties {
        let required = parameters.swap_remove("required");
        return match parameters.swap_remove("properties") {
            Some(Value::Object(properties)) => Some((properties, required)),
            None => Some((Map::new(), required)),
            Some(_) => None,
        };
    }
    // In the flat layout a list under `required` is the list of names; anything else is a parameter so called.
    let listed = parameters.get("required").is_some_and(Value::is_array);
    let required = if listed { parameters.shift_remove("required") } else { None };
    Some((parameters, required))
}

/// One property: a type's name alone, or a schema whose `type` may be spelt as programmers do.
fn property(schema: Value) -> Option<Value> {
    match schema {
        Value::String(kind) => Some(json!({"type": json_type(&kind)?})),
        Value::Object(mut schema) => {
            if let Some(kind) = schema.get_mut("type") {
                match kind {
                    Value::String(text) => *text = json_type(text)?.to_owned(),
                    Value::Array(kinds) => {
                        for kind in kinds {
                            *kind = json_type(kind.as_str()?)?.into();
                        }
                    }
                    _ => return None,
                }
            }
            Some(Value::Object(schema))
        }
        _ => None,
    }
}

fn json_type(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "string" | "str" | "date" | "datetime" => "string",
        "integer" | "int" => "integer",
        "number" | "float" | "double" => "number",
        "boolean" | "bool" => "boolean",
        "array" | "list" => "array",
        "object" | "dict" => "object",
        "null" => "null",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: &str = r#"[{"name":"book","description":"Book.","parameters":{"city":"string","n":{"type":"integer","enum":[1,2]}},"required":["city"]}]"#;

    #[test]
    fn all_layouts_come_out_the_same() {
        let want = read(FLAT).unwrap();
        assert_eq!(tools_json(&want, Style::Compact), FLAT);
        for text in [
            r#"[{"name":"book","description":"Book.","parameters":{"type":"object","properties":{"city":{"type":"str"},"n":{"type":"int","enum":[1,2]}},"required":["city"]}}]"#,
            r#"[{"name":"book","description":"Book.","parameters":{"city":"str","n":{"type":"integer","enum":[1,2]},"required":["city"]}}]"#,
            r#"[{"type":"function","function":{"name":"book","description":"Book.","parameters":{"properties":{"city":"string","n":{"type":"integer","enum":[1,2]}},"required":["city"]}}}]"#,
        ] {
            assert_eq!(read(text).unwrap(), want, "{text}");
        }
        assert_eq!(read(&tools_json(&want, Style::Paper)).unwrap(), want);
    }

    #[test]
    fn a_parameter_called_like_a_key_of_schemas_survives() {
        for key in ["type", "properties", "required"] {
            let mut properties = Map::new();
            properties.insert(key.into(), json!({"type": "string"}));
            let tools = [ToolSpec::new("f", "F.", properties, &[key])];
            assert_eq!(read(&tools_json(&tools, Style::Compact)).unwrap(), tools, "{key}");
        }
    }

    #[test]
    fn what_is_no_menu_says_why() {
        let kind = |text: &str| read(text).unwrap_err().kind();
        assert_eq!(kind("[]"), "no_tools");
        assert_eq!(kind("{}"), "no_tools");
        assert_eq!(kind("[1]"), "tool_name");
        assert_eq!(kind(r#"[{"name":"f","parameters":3}]"#), "tool_schema");
        assert_eq!(kind(r#"[{"name":"f","parameters":{"x":"quark"}}]"#), "tool_schema");
        assert_eq!(kind(r#"[{"name":"f","parameters":{"x":"string"},"required":["y"]}]"#), "tool_schema");
        assert_eq!(kind(r#"[{"name":"f","description":7}]"#), "tool_description");
    }
}
