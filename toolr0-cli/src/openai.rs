//! OpenAI's form of conversations with tools: what `sft` reads, `export` writes and `chat` takes for tools.
//!
//! Our models write calls into a block of their text ([`wire::solver`]); what OpenAI keeps in `tool_calls` becomes that
//! text, and back.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use toolr0_reward::wire;
use toolr0_tools::{Message, Task, ToolCall, ToolSpec};

/// A conversation and what may be called in it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Conversation {
    /// In order of speaking.
    pub(crate) messages: Vec<ApiMessage>,
    /// A list of tools; also as JSON in a string, as tables store it.
    #[serde(default)]
    pub(crate) tools: Value,
}

/// One message.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ApiMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub(crate) role: String,
    /// The text, or its parts, or `null` beside calls.
    #[serde(default)]
    pub(crate) content: Option<Content>,
    /// What an assistant calls.
    #[serde(default)]
    pub(crate) tool_calls: Option<Vec<ApiCall>>,
}

/// Text in one piece or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    /// One piece.
    Text(String),
    /// Several.
    Parts(Vec<Part>),
}

/// A piece of a message; only text is read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Part {
    /// The text; a picture has none.
    pub(crate) text: Option<String>,
}

/// A call of an assistant.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ApiCall {
    /// The name and its arguments.
    pub(crate) function: ApiFunction,
}

/// A name and its arguments.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ApiFunction {
    /// The tool's.
    pub(crate) name: String,
    /// JSON in a string, or an object.
    #[serde(default)]
    pub(crate) arguments: Value,
}

impl ApiMessage {
    /// The text alone.
    fn text(&self) -> Result<String> {
        match &self.content {
            None => Ok(String::new()),
            Some(Content::Text(text)) => Ok(text.clone()),
            Some(Content::Parts(parts)) => {
                let texts: Option<Vec<&str>> = parts.iter().map(|part| part.text.as_deref()).collect();
                Ok(texts.context("a part of a message is no text")?.concat())
            }
        }
    }

    /// The calls.
    pub(crate) fn calls(&self) -> Result<Vec<ToolCall>> {
        let read = |call: &ApiCall| -> Result<ToolCall> {
            let ApiFunction { name, arguments } = &call.function;
            let arguments: Map<String, Value> = match arguments {
                Value::String(text) => serde_json::from_str(text)
                    .with_context(|| format!("the arguments of `{name}` are no JSON object"))?,
                Value::Object(map) => map.clone(),
                Value::Null => Map::new(),
                _ => bail!("the arguments of `{name}` are no JSON object"),
            };
            Ok(ToolCall::new(name.as_str(), arguments))
        };
        self.tool_calls.iter().flatten().map(read).collect()
    }

    /// The message as a model of ours reads and writes it.
    pub(crate) fn plain(&self) -> Result<Message> {
        let (text, calls) = (self.text()?, self.calls()?);
        let role = if self.role == "developer" { "system" } else { self.role.as_str() };
        Ok(Message::new(role, if calls.is_empty() { text } else { answer(&text, &calls) }))
    }
}

/// Calls as the text that our models write; the reasoning is left out where there is none.
pub(crate) fn answer(think: &str, calls: &[ToolCall]) -> String {
    match think.trim() {
        "" => format!("<tool_call_answer>{}</tool_call_answer>", wire::calls_json(calls)),
        think => wire::solver::write(think, calls),
    }
}

/// Reads a list of tools: OpenAI's `{"type": "function", "function": {..}}`, or the bare functions.
pub(crate) fn tools(value: &Value) -> Result<Vec<ToolSpec>> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::String(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Value::String(text) => serde_json::from_str(text).context("`tools` is no JSON")?,
        other => other.clone(),
    };
    let Value::Array(items) = list else { bail!("`tools` is no list") };
    let read = |(i, item): (usize, Value)| {
        let function = item.get("function").cloned().unwrap_or(item);
        serde_json::from_value::<ToolSpec>(function).with_context(|| format!("tool {i} has no name"))
    };
    items.into_iter().enumerate().map(read).collect()
}

/// A call of an assistant, in a message.
pub(crate) fn call_json(call: &ToolCall, id: &str) -> Value {
    let arguments = Value::Object(call.arguments.clone()).to_string();
    json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}})
}

/// A task as a conversation of a user and an assistant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Export {
    /// The content hash of the task.
    pub(crate) id: String,
    /// What the user says, and what the assistant calls.
    pub(crate) messages: Value,
    /// The menu.
    pub(crate) tools: Value,
}

impl Export {
    /// From a task.
    pub(crate) fn new(task: &Task) -> Self {
        let calls = task.gold.iter().enumerate().map(|(i, call)| call_json(call, &format!("call_{i}")));
        let calls: Vec<Value> = calls.collect();
        let tool = |tool: &ToolSpec| json!({"type": "function", "function": tool});
        Self {
            id: task.id().0,
            messages: json!([
                {"role": "user", "content": task.question},
                {"role": "assistant", "content": null, "tool_calls": calls},
            ]),
            tools: task.tools.iter().map(tool).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        serde_json::from_value(json!({"question": "Book for 2.",
            "tools": [{"name": "book", "description": "Book.", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}],
            "gold": [{"name": "book", "arguments": {"n": 2}}]}))
        .unwrap()
    }

    #[test]
    fn an_exported_task_reads_back() {
        let text = serde_json::to_string(&Export::new(&task())).unwrap();
        let read: Conversation = serde_json::from_str(&text).unwrap();
        assert_eq!(tools(&read.tools).unwrap(), task().tools);
        assert_eq!(read.messages[1].calls().unwrap(), task().gold);
        let plain = read.messages[1].plain().unwrap();
        assert_eq!(wire::solver::parse(&plain.content), Ok(task().gold));
        assert_eq!(tools(&json!(read.tools.to_string())).unwrap(), task().tools, "as JSON in a string");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let message = |value: Value| serde_json::from_value::<ApiMessage>(value).unwrap();
        let parts =
            message(json!({"role": "developer", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}));
        assert_eq!(parts.plain().unwrap(), Message::new("system", "ab"));
        let picture = message(json!({"role": "user", "content": [{"type": "image_url"}]}));
        assert!(picture.plain().unwrap_err().to_string().contains("no text"));
        let call = message(
            json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}),
        );
        assert!(call.plain().unwrap_err().to_string().contains("arguments of `f`"));
        assert!(tools(&json!({"a": 1})).unwrap_err().to_string().contains("no list"));
        assert!(tools(&json!([{"description": "x"}])).unwrap_err().to_string().contains("tool 0"));
    }
}
