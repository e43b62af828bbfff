//! Tools in one line: `book_flight(flight: string, seats: integer = 1, cabin?: economy|business)`.
//!
//! A parameter with `?` may be left out, one with `= value` has that default. Types are JSON Schema's plain ones; names
//! joined by `|` are a closed set.

use serde_json::{Map, Value, json};

use crate::ToolSpec;

/// The tool that a signature and a sentence describe.
///
/// # Panics
///
/// If the signature is none. They are part of the program, and a test reads them all.
pub(super) fn spec(signature: &str, about: &str) -> ToolSpec {
    let (name, rest) = signature.split_once('(').expect("a signature has parentheses");
    let list = rest.strip_suffix(')').expect("a signature ends with a parenthesis");
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for param in list.split(", ").filter(|param| !param.is_empty()) {
        let (key, of) = param.split_once(": ").expect("a parameter has a type");
        let (kind, default) = of.split_once(" = ").map_or((of, None), |(kind, value)| (kind, Some(value)));
        let mut schema = match kind {
            "string" | "integer" | "number" | "boolean" => json!({"type": kind}),
            set => json!({"type": "string", "enum": set.split('|').collect::<Vec<_>>()}),
        };
        if let Some(default) = default {
            schema["default"] = serde_json::from_str(default).unwrap_or_else(|_| Value::from(default));
        }
        let optional = key.ends_with('?') || default.is_some();
        let key = key.trim_end_matches('?');
        if !optional {
            required.push(key);
        }
        properties.insert(key.into(), schema);
    }
    ToolSpec::new(name, about, properties, &required)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_says_names_types_sets_and_defaults() {
        let tool =
            spec("book(city: string, n: integer = 2, cabin?: economy|business, on: boolean = true)", "Book.");
        let want = json!({"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string"}, "n": {"type": "integer", "default": 2},
            "cabin": {"type": "string", "enum": ["economy", "business"]}, "on": {"type": "boolean", "default": true},
        }});
        assert_eq!((tool.name.as_str(), tool.parameters), ("book", want));
        assert_eq!(spec("now()", "Tell the time.").params().count(), 0);
    }
}
