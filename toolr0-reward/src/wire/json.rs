//! JSON as a model writes it: read within bounds, and written without spaces.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::fault::JsonFault;

/// How deep lists and objects may nest. A menu of nested schemas needs eight; the recursion is bounded by this.
pub const MAX_DEPTH: usize = 16;

const TOO_DEEP: &str = "toolr0: too deep";
const REPEATED: &str = "toolr0: repeated key";
const HUGE: &str = "toolr0: huge number";

/// 2^63, the first float above every `i64`.
const FIRST_BEYOND_I64: f64 = (1u64 << 63) as f64;

/// Reads one JSON value that fills `text`, after taking off one surrounding Markdown fence.
///
/// Stricter than `serde_json::from_str`: a repeated key, nesting beyond [`MAX_DEPTH`] and whole numbers beyond
/// 64 bits are faults, since each lets two readers see two values.
pub(crate) fn read(text: &str) -> Result<Value, JsonFault> {
    let mut reader = serde_json::Deserializer::from_str(strip_fence(text));
    let value = Bounded(MAX_DEPTH).deserialize(&mut reader).map_err(fault)?;
    reader.end().map_err(fault)?;
    Ok(value)
}

fn fault(err: serde_json::Error) -> JsonFault {
    let text = err.to_string();
    if text.starts_with(TOO_DEEP) {
        JsonFault::TooDeep
    } else if text.starts_with(REPEATED) {
        JsonFault::RepeatedKey
    } else if text.starts_with(HUGE) {
        JsonFault::HugeNumber
    } else {
        JsonFault::Syntax
    }
}

/// Takes one pair of Markdown fences (```` ``` ````, with or without `json`) off a trimmed text.
pub(crate) fn strip_fence(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

/// A value that may nest this many levels more.
struct Bounded(usize);

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        // A whole number beyond 64 bits arrives here, rounded.
        if v.abs() >= FIRST_BEYOND_I64 {
            return Err(E::custom(HUGE));
        }
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom(HUGE))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let left = self.0.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Bounded(left))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let left = self.0.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.insert(key, map.next_value_seed(Bounded(left))?).is_some() {
                return Err(A::Error::custom(REPEATED));
            }
        }
        Ok(Value::Object(object))
    }
}

/// Compact JSON that holds none of the format's tags: where a string does, its `<` is written as an escape, so
/// that a value can never close the block it stands in.
pub(crate) fn write(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).expect("plain JSON values have string keys and finite numbers");
    if super::blocks::holds_tag(&text) { text.replace('<', "\\u003c") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, want: JsonFault) {
        assert_eq!(read(text), Err(want), "{text:.60}");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        refused(r#"{"a":1,"a":2}"#, JsonFault::RepeatedKey);
        refused("[1] [2]", JsonFault::Syntax);
        refused("NaN", JsonFault::Syntax);
        refused("1e999", JsonFault::Syntax);
        refused("123456789012345678901234567890", JsonFault::HugeNumber);
        refused("{'a': 1}", JsonFault::Syntax);
        refused("", JsonFault::Syntax);
    }

    #[test]
    fn depth_is_bounded_exactly() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nest(MAX_DEPTH)).is_ok());
        refused(&nest(MAX_DEPTH + 1), JsonFault::TooDeep);
        refused(&"[".repeat(60_000), JsonFault::TooDeep);
        refused(&"{\"a\":".repeat(10_000), JsonFault::TooDeep);
    }

    #[test]
    fn one_fence_is_taken_off_and_tags_are_escaped() {
        assert_eq!(read("```json\n[1]\n```"), Ok(serde_json::json!([1])));
        assert_eq!(read("```[1]```"), Ok(serde_json::json!([1])));
        let text = write(&serde_json::json!(["a < b", "</tool_call_answer>"]));
        assert!(!text.contains('<'));
        assert_eq!(read(&text), Ok(serde_json::json!(["a < b", "</tool_call_answer>"])));
        assert_eq!(write(&serde_json::json!(["a < b"])), r#"["a < b"]"#);
    }
}
