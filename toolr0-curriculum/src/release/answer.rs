//! How the release's cross-verification reads a solver's text.
//!
//! The text is hostile input: every function here is total and takes time linear in its length. Python's `json`
//! also reads `NaN` and `Infinity`, which is refused here.

use serde_json::{Value, json};

use crate::text::{SPACED, dumps, strip};

const OPEN: &str = "<tool_call_answer>";
const CLOSE: &str = "</tool_call_answer>";
const FENCE: &str = "```";

/// An answer as the release finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text of the first block, trimmed. An unclosed block counts if it holds a `[`.
    pub block: String,
    /// The block as JSON, from its first `[` to its last `]`; `None` if it is none. Anything, not only calls.
    pub json: Option<Value>,
}

/// Finds and reads the first answer block, tags in any case; `None` if there is none.
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::release::{names_key, parse_answer};
/// let answer = parse_answer(r#"<TOOL_CALL_ANSWER>```json
/// [{"name": "f", "arguments": {"x": 1}}]
/// ```"#).unwrap();
/// assert_eq!(names_key(&answer.json.unwrap()).unwrap(), r#"["f"]"#);
/// ```
pub fn parse_answer(text: &str) -> Option<Answer> {
    // A block that is closed begins at the first tag of all, since a close after a later tag is after it too.
    let start = find_ignoring_case(text, OPEN)? + OPEN.len();
    let rest = &text[start..];
    let block = match find_ignoring_case(rest, CLOSE) {
        Some(end) => strip(&rest[..end]),
        None => Some(strip(rest)).filter(|tail| tail.contains('['))?,
    };
    Some(Answer { block: block.to_owned(), json: serde_json::from_str(clean(block)).ok() })
}

/// Strips code fences, then everything outside the first `[` and the last `]`.
fn clean(block: &str) -> &str {
    let mut block = strip(block);
    if let Some(rest) = block.strip_prefix(FENCE) {
        let tagged = rest.get(..4).filter(|word| word.eq_ignore_ascii_case("json"));
        block = strip(&rest[tagged.map_or(0, str::len)..]);
    }
    block = strip(block.strip_suffix(FENCE).unwrap_or(block));
    match (block.find('['), block.rfind(']')) {
        (Some(from), Some(to)) if from < to => &block[from..=to],
        _ => block,
    }
}

/// The first place of an ASCII `needle`, whatever the case.
fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    let (text, needle) = (text.as_bytes(), needle.as_bytes());
    text.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

/// The key of a whole answer, keys sorted: `[{"arguments": {..}, "name": ".."}, ..]`; `None` unless it is a list
/// of objects with a name and an object of arguments.
pub fn calls_key(answer: &Value) -> Option<String> {
    let call = |item: &Value| {
        let (name, arguments) = (item.get("name")?, item.get("arguments")?);
        (name.is_string() && arguments.is_object()).then(|| json!({"name": name, "arguments": arguments}))
    };
    let calls: Option<Vec<Value>> = answer.as_array()?.iter().map(call).collect();
    calls.map(|calls| dumps(&Value::Array(calls), SPACED))
}

/// The key that the release really compares: the tools' names in order, arguments ignored (fault 8).
pub fn names_key(answer: &Value) -> Option<String> {
    let name = |item: &Value| item.get("name").filter(|name| name.is_string()).cloned();
    let names: Option<Vec<Value>> = answer.as_array()?.iter().map(name).collect();
    names.map(|names| dumps(&Value::Array(names), SPACED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_first_block_counts_and_may_be_left_open() {
        let block = |text: &str| parse_answer(text).map(|answer| answer.block);
        assert_eq!(
            block("<tool_call_answer>a</tool_call_answer><tool_call_answer>b</tool_call_answer>").unwrap(),
            "a"
        );
        assert_eq!(block("<tool_call_answer> [1").unwrap(), "[1");
        assert_eq!(block("<tool_call_answer> 1"), None);
        assert_eq!(block("</tool_call_answer>[<tool_call_answer>"), None);
    }

    #[test]
    fn keys_need_calls() {
        assert_eq!(
            calls_key(&json!([{"name": "f", "arguments": {"b": 1, "a": 2.0}, "id": 7}])).unwrap(),
            r#"[{"arguments": {"a": 2.0, "b": 1}, "name": "f"}]"#
        );
        assert_eq!(calls_key(&json!([{"name": "f"}])), None);
        assert_eq!(names_key(&json!([{"name": "f"}, {"name": "g"}])).unwrap(), r#"["f", "g"]"#);
        assert_eq!((names_key(&json!([1])), names_key(&json!({"name": "f"}))), (None, None));
    }

    #[test]
    fn a_megabyte_of_anything_is_read_quickly() {
        for piece in ["[", "<tool_call_answer>", "```", "<tool_call_answer>[", "{\"name\":"] {
            let text = piece.repeat((1 << 20) / piece.len());
            for text in [text.clone(), format!("<tool_call_answer>{text}</tool_call_answer>")] {
                let start = Instant::now();
                let json = parse_answer(&text).and_then(|answer| answer.json);
                assert_eq!(json, None, "{piece}");
                assert!(start.elapsed() < Duration::from_secs(2), "{piece}: {:?}", start.elapsed());
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(<tool_call_answer>|</TOOL_CALL_answer>|```|json|JS|é|\\[|\\]|\\{\"name\":\"f\"\\}|,| |\u{1c}){0,12}") {
            if let Some(answer) = parse_answer(&text) {
                let json = answer.json.unwrap_or_default();
                prop_assert!(calls_key(&json).is_none() || names_key(&json).is_some());
            }
        }

        #[test]
        fn never_panics_on_any_string(text in any::<String>()) {
            let wrapped = format!("<tool_call_answer>{text}");
            prop_assert!(parse_answer(&wrapped).is_some() || !text.contains('[') && find_ignoring_case(&text, CLOSE).is_none());
        }
    }
}
