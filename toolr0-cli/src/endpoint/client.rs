//! One exchange with a server in OpenAI's form, and everything that it may answer instead.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use toolr0_model::SamplingConfig;
use toolr0_tools::{Message, Prompt};

use crate::openai::ApiMessage;

/// Bytes of a body that are read: more than any answer, less than memory.
const MAX_BODY: u64 = 16 << 20;
/// A server that says when to come again is not waited for longer than this.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Why an answer did not come.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// A word for counts: `timeout`, `unreachable`, `cut_off`, `http_500`, `not_json`, `no_choice`, `too_large`.
    pub(super) kind: String,
    detail: String,
    /// Whether the same request may be answered later.
    pub(super) again: bool,
    /// When the server says that it may be.
    pub(super) wait: Option<Duration>,
    /// Whether no request at all will be answered: the key, the address or the model is wrong.
    pub(super) hopeless: bool,
}

impl Failure {
    fn new(kind: impl Into<String>, detail: impl Into<String>, again: bool) -> Self {
        Self { kind: kind.into(), detail: detail.into(), again, wait: None, hopeless: false }
    }

    /// The time is up.
    pub(super) fn timeout() -> Self {
        Self::new("timeout", "no answer in time", false)
    }

    /// What happened on the way; `kind` names what is neither a lack of time nor of space.
    fn transport(error: ureq::Error, kind: &str) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::timeout(),
            ureq::Error::BodyExceedsLimit(_) => {
                Self::new("too_large", format!("an answer of more than {MAX_BODY} bytes"), false)
            }
            other => Self::new(kind, other.to_string(), true),
        }
    }

    /// What a server says that is not an answer.
    fn status(status: u16, text: &str, wait: Option<Duration>) -> Self {
        let said = serde_json::from_str::<Value>(text).ok().and_then(|body| {
            let message = [&body["error"]["message"], &body["error"], &body["detail"], &body["message"]];
            message.into_iter().find_map(|value| value.as_str().map(str::to_owned))
        });
        let detail = beginning(&said.unwrap_or_else(|| text.to_owned()));
        let again = matches!(status, 408 | 425 | 429 | 500..);
        let hopeless = matches!(status, 401 | 403 | 404);
        Self { wait, hopeless, ..Self::new(format!("http_{status}"), detail, again) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.is_empty() {
            true => f.write_str(&self.kind),
            false => write!(f, "{} ({})", self.kind, self.detail),
        }
    }
}

/// The first words of a text, on one line.
fn beginning(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    /// The text; calls stand in it as our models write them.
    pub(super) text: String,
    /// Tokens that were drawn; 0 where the server does not say.
    pub(super) tokens: usize,
}

/// Where requests go.
pub(super) struct Client {
    agent: ureq::Agent,
    /// Up to the version, without a slash at its end.
    pub(super) url: String,
    key: Option<String>,
}

impl Client {
    /// A client of the server at `url`, which keeps `connections` open.
    pub(super) fn new(url: &str, key: Option<String>, connections: usize) -> Self {
        let url = url.trim_end_matches('/');
        let path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .max_redirects(0);
        // What listens on this machine is not behind a proxy.
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        let local = ["127.", "localhost", "[::1]"].iter().any(|name| host.starts_with(name));
        let config = if local { config.proxy(None) } else { config };
        let url = if path { url.to_owned() } else { format!("{url}/v1") };
        Self { agent: config.build().into(), url, key }
    }

    /// Sends `body`, or asks for what is at `path`, and reads JSON.
    fn exchange(&self, path: &str, body: Option<&Value>, time: Duration) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.url);
        let key = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let response = match body {
            Some(body) => {
                let request = self.agent.post(&url).content_type("application/json");
                let request =
                    key.into_iter().fold(request, |request, key| request.header("Authorization", key));
                request.config().timeout_global(Some(time)).build().send(body.to_string())
            }
            None => {
                let request = self.agent.get(&url);
                let request =
                    key.into_iter().fold(request, |request, key| request.header("Authorization", key));
                request.config().timeout_global(Some(time)).build().call()
            }
        };
        let mut response = response.map_err(|error| Failure::transport(error, "unreachable"))?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let wait = wait.map(|seconds| Duration::from_secs(seconds).min(MAX_WAIT));
        let text = response.body_mut().with_config().limit(MAX_BODY).lossy_utf8(true).read_to_string();
        let text = text.map_err(|error| Failure::transport(error, "cut_off"))?;
        if !(200..300).contains(&status) {
            return Err(Failure::status(status, &text, wait));
        }
        serde_json::from_str(&text).map_err(|_| Failure::new("not_json", beginning(&text), true))
    }

    /// The names of the models.
    pub(super) fn models(&self, time: Duration) -> Result<Vec<String>, Failure> {
        let body = self.exchange("/models", None, time)?;
        let models = body["data"].as_array().ok_or_else(|| {
            Failure::new("not_json", format!("no list of models, but {}", beginning(&body.to_string())), true)
        })?;
        Ok(models.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
    }

    /// Sends a chat request.
    pub(super) fn chat(&self, body: &Value, time: Duration) -> Result<Reply, Failure> {
        reply(&self.exchange("/chat/completions", Some(body), time)?)
    }
}

/// The body of a request. Stop strings are not sent, because servers cut them off and our parsers want them; see [`cut`].
pub(super) fn request(model: &str, prompt: &Prompt, sampling: &SamplingConfig, seed: u32) -> Value {
    let messages: Vec<Value> = prompt.messages.iter().map(message).collect();
    let mut body = json!({"model": model, "messages": messages, "temperature": sampling.temperature,
        "top_p": sampling.top_p, "max_tokens": sampling.max_new_tokens, "seed": seed});
    // Not OpenAI's own, but understood by vLLM, SGLang and llama.cpp; not sent where they would change nothing.
    if let Some(k) = sampling.top_k {
        body["top_k"] = json!(k);
    }
    if 0.0 < sampling.min_p {
        body["min_p"] = json!(sampling.min_p);
    }
    body
}

fn message(Message { role, content }: &Message) -> Value {
    json!({"role": role, "content": content})
}

/// The text up to the end of the first stop string, as the sampler in this process ends it.
pub(super) fn cut(mut text: String, stops: &[String]) -> String {
    let end = stops.iter().filter_map(|stop| Some(text.find(stop.as_str())? + stop.len())).min();
    text.truncate(end.unwrap_or(text.len()));
    text
}

/// Reads an answer. Reasoning that a server keeps apart (`reasoning_content`) is left out: calls and scores are judged, and
/// nobody asked the judge for an essay.
fn reply(body: &Value) -> Result<Reply, Failure> {
    let said = &body["choices"][0]["message"];
    let message: ApiMessage = serde_json::from_value(said.clone()).map_err(|_| {
        Failure::new("no_choice", format!("no message in {}", beginning(&body.to_string())), true)
    })?;
    // A call that cannot be read is the model's doing: what is left of the answer is judged as it stands.
    let text = message
        .plain()
        .map_or_else(|_| said["content"].as_str().unwrap_or_default().to_owned(), |message| message.content);
    let tokens = body["usage"]["completion_tokens"].as_u64().unwrap_or(0) as usize;
    Ok(Reply { text, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_the_version_where_it_has_no_path() {
        for (given, want) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
            ("http://host:1/", "http://host:1/v1"),
            ("https://host/api/v3/", "https://host/api/v3"),
        ] {
            assert_eq!(Client::new(given, None, 1).url, want);
        }
    }

    #[test]
    fn answers_are_read_in_every_form() {
        let text =
            |message: Value| reply(&json!({"choices": [{"message": message}]})).map(|reply| reply.text);
        assert_eq!(text(json!({"role": "assistant", "content": "5"})).unwrap(), "5");
        assert_eq!(text(json!({"role": "assistant", "content": null})).unwrap(), "");
        let apart = json!({"role": "assistant", "content": "5", "reasoning_content": "It is good."});
        assert_eq!(text(apart).unwrap(), "5");
        let call = json!([{"type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
        let want = r#"<tool_call_answer>[{"name":"f","arguments":{"a":1}}]</tool_call_answer>"#;
        assert_eq!(text(json!({"role": "assistant", "content": null, "tool_calls": call})).unwrap(), want);
        let half = json!([{"function": {"name": "f", "arguments": "{\"a\":"}}]);
        assert_eq!(text(json!({"role": "assistant", "content": "so", "tool_calls": half})).unwrap(), "so");
        for bad in [json!({"choices": []}), json!({"error": "no"}), json!([1]), json!(null)] {
            assert_eq!(reply(&bad).unwrap_err().kind, "no_choice");
        }
        let used =
            json!({"choices": [{"message": {"role": "assistant"}}], "usage": {"completion_tokens": 7}});
        assert_eq!(reply(&used).unwrap(), Reply { text: String::new(), tokens: 7 });
    }

    #[test]
    fn what_a_server_refuses_is_told_from_what_passes() {
        let of = |status| Failure::status(status, r#"{"error": {"message": "no room"}}"#, None);
        for (status, again, hopeless) in [
            (400, false, false),
            (401, false, true),
            (404, false, true),
            (429, true, false),
            (500, true, false),
        ] {
            assert_eq!((of(status).again, of(status).hopeless), (again, hopeless), "{status}");
        }
        assert_eq!(of(503).to_string(), "http_503 (no room)");
        let html = format!("<html>\n  {}", "x".repeat(200));
        assert!(Failure::status(502, &html, None).to_string().len() < 130);
    }

    #[test]
    fn a_text_ends_with_its_stop_string() {
        let stops = ["</b>".to_owned(), "\n".to_owned()];
        assert_eq!(cut("a</b>c\n".into(), &stops), "a</b>");
        assert_eq!(cut("é\nx</b>".into(), &stops), "é\n");
        assert_eq!(cut("abc".into(), &stops), "abc");
        assert_eq!(cut("abc\n".into(), &[]), "abc\n");
    }
}
