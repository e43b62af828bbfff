//! What is asked and answered, in OpenAI's form.

use serde::Deserialize;
use serde_json::{Value, json};
use toolr0_reward::question::conversation_prompt;
use toolr0_reward::{Style, wire};
use toolr0_tools::{Message, Prompt};

use crate::openai::{ApiMessage, call_json, tools};

/// Completions of one request at most.
const MAX_N: usize = 128;
/// Stop strings of one request at most; OpenAI takes four.
const MAX_STOPS: usize = 16;

/// The body of `POST /v1/chat/completions`. Keys that are not here are passed over, as every such server does.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) model: Option<String>,
    messages: Vec<ApiMessage>,
    #[serde(default)]
    tools: Value,
    #[serde(default)]
    tool_choice: Value,
    n: Option<usize>,
    pub(super) seed: Option<i64>,
    stop: Option<Stop>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    pub(super) stream: bool,
    stream_options: Option<StreamOptions>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

/// A request that has passed its checks.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) prompt: Prompt,
    /// What the answer is made to begin with, so that it is a call.
    pub(super) forced: String,
    /// Whether calls are looked for in the answer.
    pub(super) tools: bool,
    pub(super) n: usize,
    pub(super) stops: Vec<String>,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
    pub(super) max_tokens: Option<usize>,
    pub(super) logprobs: bool,
    pub(super) include_usage: bool,
}

impl ChatRequest {
    /// Checks a request; the error names the parameter.
    pub(super) fn check(self, style: Style) -> Result<Asked, String> {
        let in_range = |name: &str, value: usize, most: usize| match (1..=most).contains(&value) {
            true => Ok(value),
            false => Err(format!("`{name}` is {value}, expected 1 to {most}")),
        };
        let n = in_range("n", self.n.unwrap_or(1), MAX_N)?;
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        let max_tokens = max_tokens.map(|most| in_range("max_tokens", most, 1 << 20)).transpose()?;
        let stops = match self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        };
        if MAX_STOPS < stops.len() || stops.iter().any(String::is_empty) {
            return Err(format!("`stop` holds an empty string, or more than {MAX_STOPS}"));
        }
        if self.top_logprobs.is_some_and(|top| top != 0) {
            return Err(
                "`top_logprobs` is not served: only tokens that were drawn have a log-probability".into()
            );
        }
        let mut tools = tools(&self.tools).map_err(|error| format!("`tools`: {error:#}"))?;
        let forced = forced(&self.tool_choice, &mut tools)?;
        let messages: Result<Vec<Message>, _> = self.messages.iter().map(ApiMessage::plain).collect();
        let messages = messages.map_err(|error| format!("`messages`: {error:#}"))?;
        if messages.is_empty() {
            return Err("`messages` is empty".into());
        }
        let offered = !tools.is_empty();
        Ok(Asked {
            prompt: match offered {
                true => conversation_prompt(&messages, &tools, style),
                false => Prompt { messages },
            },
            forced,
            tools: offered,
            n,
            stops,
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            max_tokens,
            logprobs: self.logprobs.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

/// What `tool_choice` makes of the menu, and of the beginning of the answer.
fn forced(choice: &Value, tools: &mut Vec<toolr0_tools::ToolSpec>) -> Result<String, String> {
    let kind = choice.as_str();
    match (choice, kind) {
        (Value::Null, _) | (_, Some("auto")) => Ok(String::new()),
        (_, Some("none")) => {
            tools.clear();
            Ok(String::new())
        }
        (_, Some("required")) if tools.is_empty() => {
            Err("`tool_choice` is required, but there are no tools".into())
        }
        (_, Some("required")) => Ok("<tool_call_answer>[{\"name\":\"".into()),
        _ => {
            let name = choice["function"]["name"].as_str();
            let name = name.ok_or("`tool_choice` is neither auto, none, required nor a function")?;
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(format!("`tool_choice` names `{name}`, which is not among the tools"));
            }
            tools.retain(|tool| tool.name == name);
            // Where there must be an argument, its quote belongs to the beginning: tokenizers join the two.
            let quote = if tools.iter().any(|tool| tool.required().next().is_some()) { "\"" } else { "" };
            Ok(format!("<tool_call_answer>[{{\"name\":{},\"arguments\":{{{quote}", json!(name)))
        }
    }
}

/// The message that a text stands for, and why it ended.
pub(super) fn message(text: &str, tools: bool, cut: bool, id: &str) -> (Value, &'static str) {
    let ended = if cut { "length" } else { "stop" };
    if !tools {
        return (json!({"role": "assistant", "content": text}), ended);
    }
    match wire::solver::parse(text) {
        Ok(calls) if !calls.is_empty() => {
            let calls: Vec<Value> = calls
                .iter()
                .enumerate()
                .map(|(i, call)| call_json(call, &format!("call_{id}_{i}")))
                .collect();
            (json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls")
        }
        // No tool serves: what is left are the words before the empty list.
        Ok(_) => {
            let words = text.split("<tool_call_answer>").next().unwrap_or_default();
            (json!({"role": "assistant", "content": words.trim()}), ended)
        }
        Err(_) => (json!({"role": "assistant", "content": text}), ended),
    }
}

/// The body of an error.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(extra: Value) -> Result<Asked, String> {
        let mut body = json!({"messages": [{"role": "user", "content": "Book."}], "tools": [
            {"type": "function", "function": {"name": "book"}}, {"type": "function", "function": {"name": "sing"}}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value::<ChatRequest>(body).unwrap().check(Style::Compact)
    }

    #[test]
    fn the_choice_of_a_tool_is_obeyed() {
        let shown = |asked: &Asked| asked.prompt.messages.last().unwrap().content.clone();
        let auto = ask(json!({})).unwrap();
        assert!(auto.tools && auto.forced.is_empty() && shown(&auto).contains("\"sing\""));
        let none = ask(json!({"tool_choice": "none"})).unwrap();
        assert!(!none.tools && shown(&none) == "Book.");
        let required = ask(json!({"tool_choice": "required"})).unwrap();
        assert!(required.tools && required.forced.ends_with("\"name\":\""));
        let named = ask(json!({"tool_choice": {"type": "function", "function": {"name": "book"}}})).unwrap();
        assert!(named.forced.contains("\"book\"") && !shown(&named).contains("sing"));
        let text = format!("{}}}}}]</tool_call_answer>", named.forced);
        assert_eq!(message(&text, true, false, "x").1, "tool_calls");
    }

    #[test]
    fn bad_parameters_are_named() {
        for (extra, word) in [
            (json!({"n": 0}), "`n` is 0"),
            (json!({"max_tokens": 0}), "`max_tokens` is 0"),
            (json!({"stop": [""]}), "`stop`"),
            (json!({"top_logprobs": 3}), "`top_logprobs`"),
            (json!({"tools": {"a": 1}}), "`tools`"),
            (json!({"tool_choice": {"function": {"name": "fly"}}}), "`fly`"),
            (json!({"tool_choice": 3}), "`tool_choice`"),
            (json!({"tools": [], "tool_choice": "required"}), "no tools"),
            (json!({"messages": []}), "`messages` is empty"),
        ] {
            let error = ask(extra).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_text_becomes_calls_or_words() {
        let call =
            r#"<think>t</think><tool_call_answer>[{"name":"f","arguments":{"a":1}}]</tool_call_answer>"#;
        let (said, why) = message(call, true, false, "x");
        assert_eq!((&said["content"], why), (&Value::Null, "tool_calls"));
        assert_eq!(said["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(message(call, false, false, "x").0["content"], call);
        assert_eq!(
            message("I cannot.<tool_call_answer>[]</tool_call_answer>", true, false, "x").0["content"],
            "I cannot."
        );
        assert_eq!(message("<tool_call_answer>[{", true, true, "x").1, "length");
    }
}
