//! What is asked and answered, in OpenAI's form.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use toolr0_reward::question::conversation_prompt;
use toolr0_reward::{Style, wire};
use toolr0_tools::{Message, Prompt, ToolCall, ToolSpec};

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
    /// Not OpenAI's own, but known to most such servers; -1 and 0 are all tokens.
    top_k: Option<i64>,
    min_p: Option<f64>,
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

/// What an answer is made to begin with, and the tools that it may then call; empty where it is free.
#[derive(Clone, Debug, Default)]
pub(super) struct Forced {
    pub(super) text: String,
    names: Vec<String>,
}

/// A request that has passed its checks.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) prompt: Prompt,
    /// What the answer is made to begin with, so that it is a call.
    pub(super) forced: Forced,
    /// Whether calls are looked for in the answer.
    pub(super) tools: bool,
    pub(super) n: usize,
    pub(super) stops: Vec<String>,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
    pub(super) top_k: Option<usize>,
    pub(super) min_p: f64,
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
                false => messages.into(),
            },
            forced,
            tools: offered,
            n,
            stops,
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            top_k: self.top_k.and_then(|k| usize::try_from(k).ok()).filter(|k| 0 < *k),
            min_p: self.min_p.unwrap_or(0.0),
            max_tokens,
            logprobs: self.logprobs.unwrap_or(false),
            include_usage: self.stream_options.is_some_and(|options| options.include_usage),
        })
    }
}

/// How an answer that is a call begins.
const HEAD: &str = "<tool_call_answer>[{\"name\":";
/// What stands between a name and its arguments.
const MIDDLE: &str = ",\"arguments\":";

/// What `tool_choice` makes of the menu, and of the beginning of the answer.
fn forced(choice: &Value, tools: &mut Vec<ToolSpec>) -> Result<Forced, String> {
    let kind = choice.as_str();
    match (choice, kind) {
        (Value::Null, _) | (_, Some("auto")) => return Ok(Forced::default()),
        (_, Some("none")) => {
            tools.clear();
            return Ok(Forced::default());
        }
        (_, Some("required")) if tools.is_empty() => {
            return Err("`tool_choice` is required, but there are no tools".into());
        }
        (_, Some("required")) => {}
        _ => {
            let name = choice["function"]["name"].as_str();
            let name = name.ok_or("`tool_choice` is neither auto, none, required nor a function")?;
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(format!("`tool_choice` names `{name}`, which is not among the tools"));
            }
            tools.retain(|tool| tool.name == name);
        }
    }
    let names: Vec<String> = tools.iter().map(|tool| tool.name.clone()).collect();
    let text = match tools.as_slice() {
        // Where there must be an argument, its quote belongs to the beginning: tokenizers join the two.
        [only] => {
            let quote = if only.required().next().is_some() { "\"" } else { "" };
            format!("{HEAD}{}{MIDDLE}{{{quote}", json!(only.name))
        }
        _ => format!("{HEAD}\""),
    };
    Ok(Forced { text, names })
}

/// The message that a text stands for, and why it ended.
pub(super) fn message(
    text: &str,
    tools: bool,
    forced: &Forced,
    cut: bool,
    id: &str,
) -> (Value, &'static str) {
    let ended = if cut { "length" } else { "stop" };
    if !tools {
        return (json!({"role": "assistant", "content": text}), ended);
    }
    let called = |calls: Vec<Value>, ended| {
        (json!({"role": "assistant", "content": null, "tool_calls": calls}), ended)
    };
    let allowed = |call: &ToolCall| forced.names.is_empty() || forced.names.contains(&call.name);
    let read = wire::solver::parse(text).map(|mut calls| {
        calls.retain(allowed);
        calls
    });
    match read {
        Ok(calls) if !calls.is_empty() => {
            let call = |(i, call): (usize, &ToolCall)| call_json(call, &format!("call_{id}_{i}"));
            called(calls.iter().enumerate().map(call).collect(), "tool_calls")
        }
        read => match (broken_call(text, forced), read) {
            (Some((name, arguments)), _) => {
                let function = json!({"name": name, "arguments": arguments});
                let call = json!({"id": format!("call_{id}_0"), "type": "function", "function": function});
                called(vec![call], if cut { "length" } else { "tool_calls" })
            }
            // No tool serves: what is left are the words before the empty list.
            (None, Ok(_)) if forced.names.is_empty() => {
                let words = text.split("<tool_call_answer>").next().unwrap_or_default();
                (json!({"role": "assistant", "content": words.trim()}), ended)
            }
            (None, _) => (json!({"role": "assistant", "content": text}), ended),
        },
    }
}

/// Name and arguments of a forced call that is not whole. Arguments are text in OpenAI's form, and may be no JSON there
/// either: what can be read of them, else what stands there.
fn broken_call(text: &str, forced: &Forced) -> Option<(String, String)> {
    if forced.names.is_empty() {
        return None;
    }
    let rest = text.strip_prefix(HEAD)?;
    let mut names = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let name = names.next()?.ok().filter(|name| forced.names.contains(name))?;
    let rest = rest[names.byte_offset()..].strip_prefix(MIDDLE)?;
    let object = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>().next();
    let arguments = match object {
        Some(Ok(object)) => Value::Object(object).to_string(),
        _ => rest.trim_end_matches(wire::STOP[0]).to_owned(),
    };
    Some((name, arguments))
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
        assert!(auto.tools && auto.forced.text.is_empty() && shown(&auto).contains("\"sing\""));
        let none = ask(json!({"tool_choice": "none"})).unwrap();
        assert!(!none.tools && shown(&none) == "Book.");
        let required = ask(json!({"tool_choice": "required"})).unwrap();
        assert!(required.tools && required.forced.text.ends_with("\"name\":\""));
        let named = ask(json!({"tool_choice": {"type": "function", "function": {"name": "book"}}})).unwrap();
        assert!(named.forced.text.contains("\"book\"") && !shown(&named).contains("sing"));
        let text = format!("{}}}}}]</tool_call_answer>", named.forced.text);
        assert_eq!(said(&text, &named.forced, false).1, "tool_calls");
        let one = ask(
            json!({"tool_choice": "required", "tools": [{"type": "function", "function": {"name": "sing"}}]}),
        );
        assert!(one.unwrap().forced.text.contains("\"sing\""), "of one tool there is no choice");
    }

    fn said(text: &str, forced: &Forced, cut: bool) -> (Value, &'static str) {
        message(text, true, forced, cut, "x")
    }

    #[test]
    fn a_named_function_is_called_whatever_the_model_writes() {
        let named =
            ask(json!({"tool_choice": {"type": "function", "function": {"name": "book"}}})).unwrap().forced;
        for (rest, arguments) in [
            ("\"city\":\"Oslo\"}}]</tool_call_answer>", "{\"city\":\"Oslo\"}"),
            ("}},{\"name\":\"sing\",\"arguments\":{}}]</tool_call_answer>", "{}"),
            ("\"a\":1} and more", "{\"a\":1}"),
            ("\"a\": what</tool_call_answer>", "{\"a\": what"),
            ("\u{e9}<think></think>", "{\u{e9}<think></think>"),
            ("", "{"),
        ] {
            let (said, why) = said(&format!("{}{rest}", named.text), &named, false);
            let calls = said["tool_calls"].as_array().unwrap();
            assert_eq!((calls.len(), &calls[0]["function"]["name"], why), (1, &json!("book"), "tool_calls"));
            assert_eq!(calls[0]["function"]["arguments"], arguments);
        }
        assert_eq!(said(&named.text, &named, true).1, "length");
        // Where there is a choice, it is the model's; one that is no tool's is no call.
        let any = ask(json!({"tool_choice": "required"})).unwrap().forced;
        let of = |rest: &str| said(&format!("{}{rest}", any.text), &any, false);
        assert_eq!(of("sing\",\"arguments\":{\"x").0["tool_calls"][0]["function"]["name"], "sing");
        let other = of("fly\",\"arguments\":{}}]</tool_call_answer>");
        assert!(other.0.get("tool_calls").is_none() && other.1 == "stop", "{other:?}");
        assert!(other.0["content"].as_str().unwrap().contains("\"fly\""));
    }

    #[test]
    fn filters_are_taken_over() {
        let of = |extra| ask(extra).map(|asked| (asked.top_k, asked.min_p)).unwrap();
        assert_eq!(of(json!({})), (None, 0.0));
        assert_eq!(of(json!({"top_k": 5, "min_p": 0.1})), (Some(5), 0.1));
        assert_eq!(of(json!({"top_k": -1})), (None, 0.0));
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
        let free = Forced::default();
        let call =
            r#"<think>t</think><tool_call_answer>[{"name":"f","arguments":{"a":1}}]</tool_call_answer>"#;
        let (said, why) = message(call, true, &free, false, "x");
        assert_eq!((&said["content"], why), (&Value::Null, "tool_calls"));
        assert_eq!(said["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(message(call, false, &free, false, "x").0["content"], call);
        assert_eq!(
            message("I cannot.<tool_call_answer>[]</tool_call_answer>", true, &free, false, "x").0["content"],
            "I cannot."
        );
        assert_eq!(message("<tool_call_answer>[{", true, &free, true, "x").1, "length");
    }
}
