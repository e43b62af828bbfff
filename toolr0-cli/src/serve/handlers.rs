//! The routes, and their limits of size, time and number.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::response::Response;
use axum::routing::{get, post};
use futures_core::Stream as Flow;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};
use toolr0_model::engine::Token;
use toolr0_model::rng::Stream;
use toolr0_model::{ChatTemplate, Finish, Request, SamplingConfig, Tokenizer};
use toolr0_reward::{Style, wire};

use super::Limits;
use super::api::{Asked, ChatRequest, error, message};
use super::metrics::Metrics;
use super::worker::Job;

/// All that a handler needs.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) template: Arc<ChatTemplate>,
    pub(super) eos: Vec<u32>,
    pub(super) max_position: usize,
    pub(super) limits: Limits,
    pub(super) key: Option<String>,
    pub(super) stream: Stream,
    pub(super) worker: std::sync::mpsc::Sender<Job>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/health", get(async || "ok\n"))
        .route("/metrics", get(async |State(server): State<Arc<Server>>| server.metrics.text()))
        .fallback(async || failed(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address"))
        .with_state(server)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a constant"));
    response
}

fn failed(status: StatusCode, kind: &str, reason: &str) -> Response {
    answer(status, &error(kind, reason))
}

fn bad(reason: &str) -> Response {
    failed(StatusCode::BAD_REQUEST, "invalid_request_error", reason)
}

impl Server {
    /// Whether the request carries the key, if one is asked for. Every byte is compared, so that time tells nothing.
    fn knows(&self, request: &HttpRequest) -> bool {
        let Some(key) = &self.key else { return true };
        let sent = request.headers().get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        let sent = sent.strip_prefix(b"Bearer ").unwrap_or_default();
        let differ = sent.iter().zip(key.as_bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        differ == 0 && sent.len() == key.len()
    }

    fn refusal(&self) -> Response {
        failed(StatusCode::UNAUTHORIZED, "authentication_error", "the API key is missing or wrong")
    }
}

async fn models(State(server): State<Arc<Server>>, request: HttpRequest) -> Response {
    if !server.knows(&request) {
        return server.refusal();
    }
    let model = json!({"id": server.name, "object": "model", "created": 0, "owned_by": "toolr0"});
    answer(StatusCode::OK, &json!({"object": "list", "data": [model]}))
}

async fn chat(State(server): State<Arc<Server>>, request: HttpRequest) -> Response {
    let metrics = Arc::clone(&server.metrics);
    let limit = server.limits.timeout;
    let response = match tokio::time::timeout(limit, respond(server, request)).await {
        Ok(response) => response,
        Err(_) => {
            failed(StatusCode::GATEWAY_TIMEOUT, "timeout", &format!("no answer within {} s", limit.as_secs()))
        }
    };
    metrics.answered(response.status().as_u16());
    response
}

/// A place in the house, given back when it is dropped.
struct Place(Arc<Metrics>);

impl Place {
    fn take(server: &Server) -> Option<Self> {
        let place = Self(Arc::clone(&server.metrics));
        let before = place.0.in_house.fetch_add(1, Ordering::SeqCst);
        (before < server.limits.max_requests).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_house.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn respond(server: Arc<Server>, request: HttpRequest) -> Response {
    if !server.knows(&request) {
        return server.refusal();
    }
    let Some(place) = Place::take(&server) else {
        let mut full = failed(StatusCode::TOO_MANY_REQUESTS, "overloaded", "too many requests are waiting");
        full.headers_mut().insert(RETRY_AFTER, "1".parse().expect("a constant"));
        return full;
    };
    let Ok(body) = to_bytes(request.into_body(), server.limits.max_body).await else {
        let most = format!("the body breaks off or is larger than {} bytes", server.limits.max_body);
        return failed(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", &most);
    };
    let read: ChatRequest = match serde_json::from_slice(&body) {
        Ok(read) => read,
        Err(error) => return bad(&format!("the body is no chat request: {error}")),
    };
    if read.model.as_ref().is_some_and(|name| *name != server.name) {
        let reason = format!("there is no model `{}`, but `{}`", read.model.unwrap_or_default(), server.name);
        return failed(StatusCode::NOT_FOUND, "model_not_found", &reason);
    }
    let (seed, stream) = (read.seed, read.stream);
    let asked = match read.check(server.style) {
        Ok(asked) => asked,
        Err(reason) => return bad(&reason),
    };
    match begin(&server, &asked, seed) {
        Err(reason) => bad(&reason),
        Ok(talk) if stream => talk.streamed(server, asked, place),
        Ok(talk) => talk.whole(&server, &asked).await,
    }
}

/// Numbers of requests: of ids, and of streams for requests without a seed.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Renders the prompt and hands it to the model.
fn begin(server: &Server, asked: &Asked, seed: Option<i64>) -> Result<Talk, String> {
    let text = server.template.render(&asked.prompt.messages, None, true, &Default::default());
    let text = text.map_err(|error| format!("the chat template refuses `messages`: {error}"))?;
    let prompt = server
        .tokenizer
        .encode(&format!("{text}{}", asked.forced.text))
        .map_err(|error| error.to_string())?;
    let room = server.max_position.saturating_sub(prompt.len());
    if room == 0 {
        let (length, most) = (prompt.len(), server.max_position);
        return Err(format!("the prompt has {length} tokens, and the model {most} positions"));
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let stream = match seed {
        Some(seed) => Stream::root(seed as u64).child("serve"),
        None => server.stream.child(number),
    };
    let mut stop = asked.stops.clone();
    stop.extend(asked.tools.then(|| wire::STOP[0].to_owned()));
    let sampling = SamplingConfig {
        temperature: asked.temperature,
        top_p: asked.top_p,
        top_k: asked.top_k,
        min_p: asked.min_p,
        max_new_tokens: asked.max_tokens.unwrap_or(room).min(room),
        stop,
    };
    sampling.validate().map_err(|error| error.to_string())?;
    server.metrics.prompt_tokens.fetch_add(prompt.len(), Ordering::Relaxed);
    let (to, tokens) = unbounded_channel();
    let prompt_tokens = prompt.len();
    let request = Request { prompt, streams: (0..asked.n).map(|sample| stream.child(sample)).collect() };
    server.worker.send(Job { request, sampling, to }).map_err(|_| "the model has ended".to_owned())?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let choices = vec![Choice::default(); asked.n];
    Ok(Talk { id: format!("chatcmpl-{number}"), created, prompt_tokens, tokens, choices })
}

/// What was drawn for one choice so far.
#[derive(Clone, Default)]
struct Choice {
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    finish: Option<Finish>,
    /// Characters of the text that are sent already.
    sent: usize,
}

/// A request that the model works on.
struct Talk {
    id: String,
    created: u64,
    prompt_tokens: usize,
    tokens: UnboundedReceiver<Result<Token, String>>,
    choices: Vec<Choice>,
}

impl Talk {
    /// Takes the next token in; `None` when all choices are finished.
    async fn next(&mut self) -> Option<Result<usize, String>> {
        if self.choices.iter().all(|choice| choice.finish.is_some()) {
            return None;
        }
        let token = match self.tokens.recv().await {
            Some(Ok(token)) => token,
            Some(Err(reason)) => return Some(Err(reason)),
            None => return Some(Err("the model has ended".into())),
        };
        let choice = self.choices.get_mut(token.sample)?;
        choice.ids.push(token.id);
        choice.logprobs.push(token.logprob);
        choice.finish = token.finish;
        Some(Ok(token.sample))
    }

    /// The text of a choice, with what it was made to begin with, up to a stop string of the user's.
    fn text(&self, i: usize, server: &Server, asked: &Asked) -> String {
        let ids = &self.choices[i].ids;
        let said = match ids.split_last() {
            Some((last, before)) if server.eos.contains(last) => before,
            _ => ids,
        };
        let drawn = server.tokenizer.decode(said, true).unwrap_or_default();
        let end = asked.stops.iter().filter_map(|stop| drawn.find(stop.as_str())).min();
        format!("{}{}", asked.forced.text, &drawn[..end.unwrap_or(drawn.len())])
    }

    fn message(&self, i: usize, server: &Server, asked: &Asked) -> (Value, &'static str) {
        let cut = self.choices[i].finish == Some(Finish::Length);
        let id = format!("{}_{i}", self.id);
        message(&self.text(i, server, asked), asked.tools, &asked.forced, cut, &id)
    }

    fn logprobs(&self, i: usize, from: usize, server: &Server, asked: &Asked) -> Value {
        if !asked.logprobs {
            return Value::Null;
        }
        let Choice { ids, logprobs, .. } = &self.choices[i];
        let token = |(id, logprob): (&u32, &f32)| {
            let text = server.tokenizer.decode(&[*id], false).unwrap_or_default();
            json!({"token": text, "logprob": logprob, "bytes": text.as_bytes(), "top_logprobs": []})
        };
        json!({"content": ids.iter().zip(logprobs).skip(from).map(token).collect::<Vec<_>>()})
    }

    fn usage(&self) -> Value {
        let drawn: usize = self.choices.iter().map(|choice| choice.ids.len()).sum();
        let sum = self.prompt_tokens + drawn;
        json!({"prompt_tokens": self.prompt_tokens, "completion_tokens": drawn, "total_tokens": sum})
    }

    /// The whole answer.
    async fn whole(mut self, server: &Server, asked: &Asked) -> Response {
        while let Some(next) = self.next().await {
            if let Err(reason) = next {
                return failed(StatusCode::INTERNAL_SERVER_ERROR, "server_error", &reason);
            }
        }
        let choice = |i: usize| {
            let (message, finish) = self.message(i, server, asked);
            json!({"index": i, "message": message, "finish_reason": finish, "logprobs": self.logprobs(i, 0, server, asked)})
        };
        let choices: Vec<Value> = (0..self.choices.len()).map(choice).collect();
        let body = json!({"id": self.id, "object": "chat.completion", "created": self.created, "model": server.name,
            "choices": choices, "usage": self.usage()});
        answer(StatusCode::OK, &body)
    }

    /// The answer in pieces. Where tools are offered, a choice is sent when it is whole: only then is it known to be calls.
    fn streamed(mut self, server: Arc<Server>, asked: Asked, place: Place) -> Response {
        /// Pieces that wait for a slow reader; beyond them the next one waits.
        const WAITING: usize = 16;
        let (to, pieces) = channel::<String>(WAITING);
        let deadline = tokio::time::Instant::now() + server.limits.timeout;
        tokio::spawn(async move {
            let _place = place;
            let send = async {
                while let Some(next) = self.next().await {
                    let piece = match next {
                        Ok(i) => self.pieces(i, &server, &asked),
                        Err(reason) => vec![error("server_error", &reason)],
                    };
                    for piece in piece {
                        // Nobody reads: the listener is dropped, and the model forgets the request.
                        if to.send(format!("data: {piece}\n\n")).await.is_err() {
                            return;
                        }
                    }
                }
                if asked.include_usage {
                    let last = self.chunk(&server, json!([]), self.usage());
                    let _ = to.send(format!("data: {last}\n\n")).await;
                }
                let _ = to.send("data: [DONE]\n\n".to_owned()).await;
            };
            if tokio::time::timeout_at(deadline, send).await.is_err() {
                // A stream that only ended would look whole; a reader that is too slow is not waited for.
                let late = error("timeout", "the answer was not whole in time");
                let _ = to.try_send(format!("data: {late}\n\n"));
            }
        });
        let mut response = Response::new(Body::from_stream(Pieces(pieces)));
        response.headers_mut().insert(CONTENT_TYPE, "text/event-stream".parse().expect("a constant"));
        response
    }

    fn chunk(&self, server: &Server, choices: Value, usage: Value) -> Value {
        json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": server.name,
            "choices": choices, "usage": usage})
    }

    /// What there is to send after a token of choice `i`.
    fn pieces(&mut self, i: usize, server: &Server, asked: &Asked) -> Vec<Value> {
        let first = self.choices[i].ids.len() == 1;
        let finished = self.choices[i].finish.is_some();
        let mut deltas: Vec<(Value, Value, Value)> = Vec::new();
        if first {
            deltas.push((json!({"role": "assistant", "content": ""}), Value::Null, Value::Null));
        }
        if asked.tools && finished {
            let (mut message, _) = self.message(i, server, asked);
            for (index, call) in message["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
                call["index"] = json!(index);
            }
            deltas.push((message, Value::Null, self.logprobs(i, 0, server, asked)));
        } else if !asked.tools {
            let text = self.text(i, server, asked);
            // What may turn out to be the beginning of a stop string, or half a character, is held back.
            let held = if finished { 0 } else { asked.stops.iter().map(String::len).max().unwrap_or(0) };
            let whole = if finished { text.len() } else { text.trim_end_matches('\u{fffd}').len() };
            let mut end = whole.saturating_sub(held);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            let sent = self.choices[i].sent;
            if sent < end || asked.logprobs {
                let new = text.get(sent..end).unwrap_or_default();
                let logprobs = self.logprobs(i, self.choices[i].ids.len() - 1, server, asked);
                deltas.push((json!({"content": new}), Value::Null, logprobs));
                self.choices[i].sent = end.max(sent);
            }
        }
        if finished {
            deltas.push((json!({}), json!(self.message(i, server, asked).1), Value::Null));
        }
        let chunk = |(delta, finish, logprobs)| {
            let choice = json!([{"index": i, "delta": delta, "finish_reason": finish, "logprobs": logprobs}]);
            self.chunk(server, choice, Value::Null)
        };
        deltas.into_iter().map(chunk).collect()
    }
}

/// Pieces of a body, as they come.
struct Pieces(Receiver<String>);

impl Flow for Pieces {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|piece| piece.map(Ok))
    }
}
