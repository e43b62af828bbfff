//! One call of a tool.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A call as a model writes it: `{"name": "book_table", "arguments": {"city": "Oslo"}}`.
///
/// Two calls are equal when names and arguments are, whatever the order of the keys. Nothing is coerced here:
/// what counts as the same *value* is decided in one place, `toolr0_reward::matching`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// Values by parameter name, in the order they were written.
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

impl ToolCall {
    /// A call of `name` with `arguments`.
    pub fn new(name: impl Into<String>, arguments: Map<String, Value>) -> Self {
        Self { name: name.into(), arguments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_does_not_matter_and_arguments_may_be_left_out() {
        let a: ToolCall = serde_json::from_str(r#"{"name":"f","arguments":{"x":1,"y":"z"}}"#).unwrap();
        let b: ToolCall = serde_json::from_str(r#"{"arguments":{"y":"z","x":1},"name":"f"}"#).unwrap();
        assert_eq!(a, b);
        let c: ToolCall = serde_json::from_str(r#"{"name":"f"}"#).unwrap();
        assert!(c.arguments.is_empty());
    }
}
