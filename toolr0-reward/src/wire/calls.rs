//! Calls as JSON, both ways.

use serde_json::Value;
use toolr0_tools::ToolCall;

use super::json;
use crate::fault::{Block, Fault};

/// An answer of more calls than this is a [`Fault`]: it keeps the matching of calls small.
pub const MAX_CALLS: usize = 32;

/// `[{"name":"book_table","arguments":{"city":"Oslo"}}]`, without spaces.
pub fn calls_json(calls: &[ToolCall]) -> String {
    json::write(&calls)
}

/// Reads the content of an answer block: a list, possibly empty, of exactly `{"name", "arguments"}`.
pub(super) fn read(text: &str) -> Result<Vec<ToolCall>, Fault> {
    let value = json::read(text).map_err(|reason| Fault::Json { block: Block::ToolCallAnswer, reason })?;
    let Value::Array(items) = value else { return Err(Fault::NoCalls) };
    if items.len() > MAX_CALLS {
        return Err(Fault::TooManyCalls { calls: items.len() });
    }
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| call(item).ok_or(Fault::MalformedCall { index }))
        .collect()
}

/// No other spelling is taken: arguments as a string, a `function` wrapper or arguments beside the name would
/// each be a second format that is never asked for.
fn call(item: Value) -> Option<ToolCall> {
    let Value::Object(mut item) = item else { return None };
    let name = item.swap_remove("name")?;
    let arguments = item.swap_remove("arguments")?;
    match (name, arguments) {
        (Value::String(name), Value::Object(arguments)) if item.is_empty() && !name.is_empty() => {
            Some(ToolCall { name, arguments })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_asked_for_spelling_is_read() {
        let calls = read(r#"[{"name":"f","arguments":{"x":1}},{"arguments":{},"name":"g"}]"#).unwrap();
        assert_eq!(calls_json(&calls), r#"[{"name":"f","arguments":{"x":1}},{"name":"g","arguments":{}}]"#);
        assert_eq!(read("[]"), Ok(vec![]));
        for bad in [
            r#"[{"name":"f","arguments":"{\"x\":1}"}]"#,
            r#"[{"name":"f","x":1}]"#,
            r#"[{"name":"f"}]"#,
            r#"[{"function":{"name":"f","arguments":{}}}]"#,
            r#"[{"name":"f","arguments":{},"id":1}]"#,
            r#"[{"name":"","arguments":{}}]"#,
            r#"["f"]"#,
        ] {
            assert_eq!(read(bad), Err(Fault::MalformedCall { index: 0 }), "{bad}");
        }
        assert_eq!(read(r#"{"name":"f","arguments":{}}"#), Err(Fault::NoCalls));
        let many = format!("[{}]", vec![r#"{"name":"f","arguments":{}}"#; 33].join(","));
        assert_eq!(read(&many), Err(Fault::TooManyCalls { calls: 33 }));
    }
}
