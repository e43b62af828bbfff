//! The server, over loopback, through its binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::toolr0;

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// The most memory it has held, MiB; 0 where the system does not say.
    fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.map_or(0, |kib| kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024)
    }

    pub(crate) fn start(home: &Path, args: &[&str], key: Option<&str>) -> Self {
        let mut command = toolr0(home);
        command
            .args(["serve", "--port", "0", "--json"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command.env_remove("TOOLR0_API_KEY");
        command.envs(key.map(|key| ("TOOLR0_API_KEY", key)));
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url: Value = serde_json::from_str(&line).unwrap();
        let port = url["url"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        Self { child, port }
    }

    /// Sends bytes, and reads until the server closes.
    fn raw(&self, bytes: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        // The server may answer, and close, before it has read all.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        self.raw(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}").as_bytes())
    }

    fn chat(&self, body: &Value) -> (u16, Value) {
        let (status, _, text) = self.request("POST", "/v1/chat/completions", "", &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) fn metric(&self, name: &str) -> usize {
        let (_, _, text) = self.request("GET", "/metrics", "", "");
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn interrupt(&mut self) -> std::process::ExitStatus {
        let kill = std::process::Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "book_room", "description": "Book a room.", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}, "guests": {"type": "integer"}}, "required": ["city"]}}}])
}

fn ask(extra: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Please book a room for 3 guests in Oslo."}], "max_tokens": 24, "seed": 5});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// The events of a stream, without the last one, which is `[DONE]`.
fn events(text: &str) -> Vec<Value> {
    // Chunks of the transfer stand between the lines of the events.
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"), "{text}");
    data[..data.len() - 1].iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn completions_are_openais() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[], None);
    assert_eq!(server.request("GET", "/health", "", "").0, 200);
    let (_, _, models) = server.request("GET", "/v1/models", "", "");
    assert_eq!(serde_json::from_str::<Value>(&models).unwrap()["data"][0]["id"], "embedded");

    let (status, first) = server.chat(&ask(json!({"n": 3, "logprobs": true, "model": "embedded"})));
    assert_eq!((status, first["choices"].as_array().map(Vec::len)), (200, Some(3)), "{first}");
    let choice = &first["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    let drawn: usize = first["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["logprobs"]["content"].as_array().unwrap().len())
        .sum();
    assert_eq!(first["usage"]["completion_tokens"], drawn);
    assert!(tokens.iter().all(|token| token["logprob"].as_f64().unwrap() <= 0.0));
    let content =
        |body: &Value, i: usize| body["choices"][i]["message"]["content"].as_str().unwrap().to_owned();
    let again = server.chat(&ask(json!({"n": 3}))).1;
    assert!((0..3).all(|i| content(&again, i) == content(&first, i)), "a seed decides");
    assert_ne!(content(&first, 0), content(&first, 1));
    let other = server.chat(&ask(json!({"n": 3, "seed": 6}))).1;
    assert!((0..3).any(|i| content(&other, i) != content(&first, i)));

    // A stop string ends the text before it.
    let letter = content(&first, 0).chars().nth(4).unwrap().to_string();
    let stopped = server.chat(&ask(json!({"n": 3, "stop": [letter]}))).1;
    assert_eq!(content(&stopped, 0), content(&first, 0).split(&letter).next().unwrap());
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    // A stream says the same, in pieces.
    for extra in [json!({}), json!({"stop": [letter]})] {
        let mut body = ask(json!({"n": 3, "stream": true, "stream_options": {"include_usage": true}}));
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let (status, head, text) = server.request("POST", "/v1/chat/completions", "", &body.to_string());
        assert!(status == 200 && head.contains("text/event-stream"), "{head}");
        let events = events(&text);
        let whole = if extra == json!({}) { &first } else { &stopped };
        for i in 0..3 {
            let of = events.iter().flat_map(|e| e["choices"].as_array().unwrap()).filter(|c| c["index"] == i);
            let text: String = of.filter_map(|c| c["delta"]["content"].as_str()).collect();
            assert_eq!(text, content(whole, i));
        }
        assert_eq!(events.last().unwrap()["usage"], whole["usage"]);
    }

    // A tool that must be called is called, also where the answer is cut off in the middle of its arguments.
    let forced = json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "book_room"}}, "n": 4, "max_tokens": 64, "temperature": 0});
    let called = server.chat(&ask(forced.clone())).1;
    let mut short = forced;
    short["max_tokens"] = json!(3);
    let short = server.chat(&ask(short)).1;
    for choice in [&called, &short].iter().flat_map(|body| body["choices"].as_array().unwrap()) {
        let call = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!((&call["name"], &choice["message"]["content"]), (&json!("book_room"), &Value::Null));
        assert!(call["arguments"].as_str().unwrap().starts_with('{'), "{choice}");
        assert!(choice["finish_reason"] == "tool_calls" || choice["finish_reason"] == "length", "{choice}");
    }
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert!(server.metric("toolr0_answers_total{status=\"200\"}") >= 5);
    assert_eq!(server.metric("toolr0_requests"), 0);
    assert!(server.interrupt().success());
}

#[test]
fn bad_requests_are_refused_and_named() {
    let home = tempfile::tempdir().unwrap();
    let limits = ["--max-body-kib", "16", "--timeout", "2", "--max-requests", "2", "--name", "mine"];
    let server = Server::start(home.path(), &limits, Some("secret"));
    let post = |headers: &str, body: &str| server.request("POST", "/v1/chat/completions", headers, body);
    let key = "Authorization: Bearer secret\r\n";
    assert_eq!(post("", "{}").0, 401);
    assert_eq!(post("Authorization: Bearer secre\r\n", "{}").0, 401);
    assert_eq!(server.request("GET", "/v1/models", "", "").0, 401);
    assert_eq!(server.request("GET", "/v1/models", key, "").0, 200);
    assert_eq!(server.request("GET", "/v1/nothing", key, "").0, 404);
    for (body, status, word) in [
        ("{broken".to_owned(), 400, "no chat request"),
        ("{}".to_owned(), 400, "messages"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "model": "gpt"}).to_string(),
            404,
            "no model `gpt`",
        ),
        (json!({"messages": [{"role": "user", "content": "x"}], "n": 0}).to_string(), 400, "`n` is 0"),
        (
            json!({"messages": [{"role": "user", "content": "x"}], "temperature": -1}).to_string(),
            400,
            "temperature",
        ),
        (
            json!({"messages": [{"role": "user", "content": "lo ".repeat(4000)}]}).to_string(),
            400,
            "positions",
        ),
        ("x".repeat(20_000), 413, "16384 bytes"),
    ] {
        let (got, _, text) = post(key, &body);
        assert!(got == status && text.contains(word), "{got} {text}, expected {status} {word}");
    }
    // Two bodies that never come fill the house: the third is told to come again, until their time is up.
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{key}Content-Length: 100\r\n\r\n{{");
    let mut slow: Vec<TcpStream> =
        (0..2).map(|_| TcpStream::connect(("127.0.0.1", server.port)).unwrap()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(head.as_bytes()).unwrap());
    while server.metric("toolr0_requests") < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let good = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}).to_string();
    let (status, head, _) = post(key, &good);
    assert!(status == 429 && head.contains("retry-after: 1"), "{status} {head}");
    let mut reply = [0; 12];
    slow[0].read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HTTP/1.1 504");
    while server.metric("toolr0_requests") > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(post(key, &good).0, 200);
}

/// Many clients with good, broken, huge and cut-off requests: every one of them that waits is answered, and in the end the
/// server is empty and as before.
#[test]
fn nothing_is_lost_under_load() {
    const CLIENTS: usize = 64;
    const EACH: usize = 32;
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &["--max-body-kib", "64"], None);
    let want = server.chat(&ask(json!({}))).1["choices"][0]["message"].clone();
    let run = |client: usize| {
        for i in 0..EACH {
            match (client + i) % 5 {
                0 => {
                    assert_eq!(server.request("POST", "/v1/chat/completions", "", "{\"messages\": [").0, 400)
                }
                1 => assert_eq!(
                    server.request("POST", "/v1/chat/completions", "", &"x".repeat(100_000)).0,
                    413
                ),
                2 => {
                    // Asks for much and leaves.
                    let body = ask(json!({"n": 4, "max_tokens": 500, "stream": true})).to_string();
                    let mut gone = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
                    let head = format!(
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    gone.write_all(head.as_bytes()).unwrap();
                }
                3 => {
                    let body = ask(json!({"stream": true})).to_string();
                    let (status, _, text) = server.request("POST", "/v1/chat/completions", "", &body);
                    assert_eq!(status, 200);
                    let text: String = events(&text)
                        .iter()
                        .filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
                        .collect();
                    assert_eq!(json!(text), want["content"], "who else is in the batch changes nothing");
                }
                _ => {
                    let (status, body) = server.chat(&ask(json!({})));
                    assert_eq!((status, &body["choices"][0]["message"]), (200, &want));
                }
            }
        }
    };
    std::thread::scope(|scope| (0..CLIENTS).for_each(|client| _ = scope.spawn(move || run(client))));
    while server.metric("toolr0_requests") > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.chat(&ask(json!({}))).1["choices"][0]["message"], want);
    let peak = server.peak_mib();
    assert!(peak < 512, "the server has held {peak} MiB");
    assert!(server.interrupt().success(), "it ends when it is asked to");
}
