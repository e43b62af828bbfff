//! What the tools outside of this program have in common: their schemas, and the form in which they answer.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::sandbox::{Cost, End, Limits, Outcome, json_len};
use crate::schema::{Refusal, Schema};
use crate::{ToolCall, ToolSpec};

/// Tools by name, ready to check calls.
#[derive(Debug)]
pub(crate) struct Toolbox {
    specs: Vec<ToolSpec>,
    schemas: HashMap<String, Schema>,
}

impl Toolbox {
    /// # Errors
    ///
    /// If there is no tool, two have one name, or the parameters of one are no JSON Schema.
    pub(crate) fn new(specs: Vec<ToolSpec>) -> Result<Self> {
        let mut schemas = HashMap::new();
        for spec in &specs {
            if schemas.insert(spec.name.clone(), Schema::new(spec)?).is_some() {
                return Err(Error::Manifest { reason: format!("two tools are called `{}`", spec.name) });
            }
        }
        if specs.is_empty() { Err(Error::NoTools) } else { Ok(Self { specs, schemas }) }
    }

    pub(crate) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Checks a call, has `run` run it as its tool reads it, and holds its value against the limit. What happens to a
    /// state outside of this program is not seen: no tool counts as one that writes.
    pub(crate) fn run(
        &self,
        call: &ToolCall,
        limits: &Limits,
        run: impl FnOnce(ToolCall) -> (End, u64),
    ) -> Outcome {
        let Some(schema) = self.schemas.get(&call.name) else {
            return Outcome::refused(Refusal::UnknownTool { tool: call.name.clone() });
        };
        let checked = match schema.check(call) {
            Ok(checked) => checked,
            Err(refusal) => return Outcome::refused(refusal),
        };
        let (mut end, steps) = run(ToolCall::new(call.name.clone(), checked.arguments));
        let mut cost = Cost { steps, output_bytes: 0 };
        match &mut end {
            End::Value(value) => {
                cost.output_bytes = json_len(value);
                if cost.output_bytes > limits.output_bytes {
                    end = End::TooMuchOutput;
                }
            }
            End::ToolError(text) | End::Broken(text) => shorten(text),
            _ => {}
        }
        Outcome { end, changes: Vec::new(), coerced: checked.coerced, cost, writes: false }
    }
}

/// A stranger's message is kept to a line or two.
fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(500) {
        text.truncate(at);
        text.push_str("..");
    }
}

/// What a tool answers: `{"value": ..}`, or `{"error": ".."}` where it says that the call cannot be done.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Value(Value),
    Error(String),
}

/// Reads the whole output of a tool.
pub(crate) fn read_reply(output: &[u8]) -> End {
    match serde_json::from_slice(output) {
        Ok(Reply::Value(value)) => End::Value(value),
        Ok(Reply::Error(message)) => End::ToolError(message),
        Err(error) => {
            End::Broken(format!("expected {{\"value\": ..}} or {{\"error\": \"..\"}} as output: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_value_an_error_or_none() {
        let read = |text: &str| read_reply(text.as_bytes());
        assert_eq!(read(r#"{"value": [1]}"#), End::Value(serde_json::json!([1])));
        assert_eq!(read(r#"{"error": "no"}"#), End::ToolError("no".into()));
        for bad in ["", "1", "{}", r#"{"value": 1} x"#, r#"{"value": 1, "error": "no"}"#, &"[".repeat(60_000)]
        {
            assert_eq!(read(bad).kind(), "broken", "{bad}");
        }
        let deep = format!("{{\"value\": {}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert_eq!(read(&deep).kind(), "broken");
    }
}
