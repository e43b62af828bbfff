//! Somebody outside who answers: our own server, and one that behaves badly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::eval::{EVAL, answers, bench, eval};
use crate::serve::Server;
use crate::{last_json, names, run, stderr, succeed, tiny, toolr0};

/// What a bad server does.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// Answers the question rightly.
    Right,
    /// A status, a line of headers and a body.
    Say(u16, &'static str, &'static str),
    /// Begins to answer and hangs up.
    HangUp,
    /// Takes the question and says nothing.
    Silence,
}

/// A server of which each chat request is answered as its number says.
pub(crate) struct Bad {
    pub(crate) url: String,
    /// The bodies of chat requests, in order.
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Bad {
    /// `act`: what to do with the n-th request.
    pub(crate) fn start(models: &'static str, act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, act) = (Arc::new(Mutex::new(Vec::new())), Arc::new(act));
        let bodies = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (bodies, act) = (Arc::clone(&bodies), Arc::clone(&act));
                std::thread::spawn(move || serve(stream, models, &bodies, &*act));
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request of one connection. A client that has gone is none of its business.
fn serve(mut stream: TcpStream, models: &str, bodies: &Mutex<Vec<Value>>, act: &dyn Fn(usize) -> Act) {
    let Some((head, body)) = read(&mut stream) else { return };
    let mut say = |status: u16, headers: &str, body: &str| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    };
    if head.starts_with("GET /v1/models") {
        return say(200, "", models);
    }
    let asked: Value = serde_json::from_str(&body).unwrap();
    let number = {
        let mut bodies = bodies.lock().unwrap();
        bodies.push(asked.clone());
        bodies.len() - 1
    };
    match act(number) {
        Act::Right => say(200, "", &right(&asked).to_string()),
        Act::Say(status, headers, body) => say(status, headers, body),
        Act::HangUp => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"choices\": ["))
        }
        Act::Silence => std::thread::sleep(std::time::Duration::from_secs(3600)),
    }
}

/// Head and body of a request.
fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length.unwrap_or(0) <= body.len() {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

/// The right answer to a question of [`bench`].
fn right(asked: &Value) -> Value {
    let question = asked["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let guests: u32 = question.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    let call = json!([{"name": "book_room", "arguments": {"guests": guests, "city": "Oslo"}}]);
    let text = format!("<think>so</think><tool_call_answer>{call}</tool_call_answer>");
    json!({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"completion_tokens": 9}})
}

const ONE: &str = r#"{"data": [{"id": "m"}]}"#;
const BOOM: Act = Act::Say(500, "", r#"{"error": {"message": "boom"}}"#);

/// `eval` over `url`, one request at a time. The time is for the silent alone: a busy machine is slow.
fn ask(home: &Path, url: &str, more: &[&str]) -> Output {
    let one = ["--endpoint", url, "--endpoint-concurrency", "1", "--endpoint-timeout", "8"];
    run(home, &[EVAL.as_slice(), &one, more].concat())
}

/// Two ways to the same answers.
#[test]
fn a_served_model_is_measured_as_it_is_in_this_process() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    bench(home);
    let server = Server::start(home, &["--name", "served"], Some("secret"));
    let url = format!("http://127.0.0.1:{}", server.port);
    let here = eval(home, &["--out", "here.jsonl"]);
    let args =
        [EVAL.as_slice(), &["--style", "compact", "--out", "there.jsonl", "--endpoint", &url]].concat();
    let output = toolr0(home).args(args).env("TOOLR0_ENDPOINT_KEY", "secret").output().unwrap();
    let there = last_json(std::str::from_utf8(&output.stdout).unwrap());
    for key in ["items", "solved", "accuracy", "interval", "splits"] {
        assert_eq!(there[key], here[key], "{key}: {}", stderr(&output));
    }
    assert_eq!(
        (&there["model"], &there["parameters"], &there["unknown"]),
        (&json!("served"), &Value::Null, &json!({}))
    );
    let texts = |name: &str| -> Vec<Value> {
        answers(&home.join(name)).iter().map(|line| json!([line["id"], line["completion"]])).collect()
    };
    assert_eq!(texts("there.jsonl"), texts("here.jsonl"));

    let refused = ask(home, &url, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("http_401 (the API key is missing or wrong)"), "{}", stderr(&refused));
    let wrong = toolr0(home)
        .args([EVAL.as_slice(), &["--endpoint", &url, "--endpoint-model", "gpt"]].concat())
        .env("TOOLR0_ENDPOINT_KEY", "secret")
        .output()
        .unwrap();
    assert!(stderr(&wrong).contains("refuses: http_404 (there is no model `gpt`"), "{}", stderr(&wrong));
}

/// The whole run: probes, judgements and verification are asked of the server, and the same seed is the same run.
#[test]
fn a_run_goes_over_a_server() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = Server::start(home, &[], None);
    let url = format!("http://127.0.0.1:{}", server.port);
    let records = |out: &str| {
        let judged = "reward.generator.curriculum_weights.semantic=0.5";
        let more = ["--quiet", "--seed", "3", "--out", out, "--set", judged, "--endpoint", &url];
        succeed(home, &tiny(&[&more[..], &["--endpoint-roles", "solver,judge"]].concat()));
        let mut records = answers(&home.join(out).join("metrics.jsonl"));
        for record in &mut records {
            for key in ["seconds", "tokens_per_second"] {
                record.as_object_mut().unwrap().remove(key);
            }
        }
        records
    };
    let first = records("a");
    let drawn = server.metric("toolr0_completion_tokens_total");
    assert!(0 < drawn && 0 < server.metric("toolr0_answers_total{status=\"200\"}"));
    let dataset = first.iter().find(|record| record["record"] == "dataset").unwrap();
    assert!(0 < dataset["tasks"].as_u64().unwrap(), "{dataset}");
    assert!(first.iter().all(|record| record.get("unknown").is_none()), "all answers came");
    assert_eq!(first, records("b"));
    assert_eq!(server.metric("toolr0_completion_tokens_total"), 2 * drawn);
    // The endpoint is part of the saved configuration.
    let config = std::fs::read_to_string(home.join("a/config.yaml")).unwrap();
    assert!(config.contains(&format!("url: {url}")) && config.contains("- judge"), "{config}");
    drop(server);
    let gone = run(home, &["selfplay", "--config", "a/config.yaml", "--out", "c"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("unreachable") && stderr(&gone).contains(&url), "{}", stderr(&gone));
    assert!(!home.join("c").exists());
}

#[test]
fn what_is_no_answer_is_named_counted_and_no_score() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    bench(home);
    // Six that fail, each in its own way, and one that does not; after them all is well.
    let server = Bad::start(ONE, |n| match n {
        0 => Act::Say(200, "Content-Type: text/html\r\n", "<html><body>Welcome!</body></html>"),
        1 => BOOM,
        2 => Act::Say(200, "", "{\"choices\": [{\"message\": {\"role\": \"assist"),
        3 => Act::HangUp,
        4 => Act::Silence,
        5 => Act::Say(200, "", "{\"choices\": []}"),
        _ => Act::Right,
    });
    let more = ["--out", "a.jsonl", "--endpoint-retries", "0"];
    let output = ask(home, &server.url, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let result = last_json(std::str::from_utf8(&output.stdout).unwrap());
    let unknown = json!({"cut_off": 1, "http_500": 1, "no_choice": 1, "not_json": 2, "timeout": 1});
    assert_eq!(result["unknown"], unknown);
    assert_eq!(
        (&result["unanswered"], &result["items"], &result["accuracy"]),
        (&json!(6), &json!(1), &json!(1.0))
    );
    assert!(stderr(&output).contains("6 answers did not come from"), "{}", stderr(&output));
    assert_eq!(answers(&home.join("a.jsonl")).len(), 1);

    // What did not come is asked again, and nothing else.
    let output = ask(home, &server.url, &[&more[..], &["--resume"]].concat());
    let result = last_json(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!((&result["items"], &result["solved"], &result["unknown"]), (&json!(7), &json!(7), &json!({})));
    assert_eq!(server.asked().len(), 13);
}

#[test]
fn a_request_that_failed_is_sent_again_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    bench(home.path());
    let server = Bad::start(ONE, |n| match n % 3 {
        0 => Act::Say(429, "Retry-After: 0\r\n", "{}"),
        1 => Act::HangUp,
        _ => Act::Right,
    });
    let output = ask(home.path(), &server.url, &["--endpoint-retries", "2"]);
    let result = last_json(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!((&result["solved"], &result["unknown"]), (&json!(7), &json!({})), "{}", stderr(&output));
    let asked = server.asked();
    assert_eq!(asked.len(), 21);
    assert!(asked.chunks(3).all(|three| three.iter().all(|body| *body == three[0])));
    assert_ne!(asked[0]["seed"], asked[3]["seed"], "each answer has a seed of its own");
    assert_eq!((&asked[0]["model"], &asked[0]["temperature"]), (&json!("m"), &json!(0.0)));
}

#[test]
fn a_server_that_fails_for_good_ends_the_measuring_and_keeps_what_came() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    bench(home);
    let server = Bad::start(ONE, |n| if n < 2 { Act::Right } else { BOOM });
    let more = ["--out", "a.jsonl", "--endpoint-retries", "0", "--endpoint-patience", "2"];
    let output = ask(home, &server.url, &more);
    assert_eq!(output.status.code(), Some(1));
    for words in ["gave no answer 2 times in a row, the last time: http_500 (boom)", "a.jsonl; --resume"] {
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    assert_eq!((answers(&home.join("a.jsonl")).len(), server.asked().len()), (2, 4));
}

#[test]
fn a_run_goes_on_without_answers_or_ends_as_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let silent = Bad::start(ONE, |_| Act::Silence);
    let broken = Bad::start(ONE, |_| BOOM);
    let fast = ["--quiet", "--seed", "3", "--endpoint-retries", "0"];
    for (server, reason, timeout, patience, out) in [
        (&silent, "timeout", "0.2", "0", "a"),
        (&broken, "http_500", "60", "0", "b"),
        (&broken, "http_500", "60", "3", "c"),
    ] {
        let more = ["--out", out, "--endpoint", &server.url, "--endpoint-patience", patience];
        let more = [&more[..], &["--endpoint-timeout", timeout]].concat();
        let output = run(home, &tiny(&[&fast[..], &more].concat()));
        let records = answers(&home.join(out).join("metrics.jsonl"));
        assert_eq!(records[0]["record"], "exam", "what was done before is kept");
        if patience == "3" {
            assert_eq!(output.status.code(), Some(1));
            let words = "gave no answer 3 times in a row, the last time: http_500 (boom)";
            assert!(
                stderr(&output).contains(words) && stderr(&output).contains("is in c"),
                "{}",
                stderr(&output)
            );
            assert!(names(&home.join(out)).contains(&"solver".to_owned()));
            continue;
        }
        assert!(output.status.success(), "{}", stderr(&output));
        let dataset = records.iter().find(|record| record["record"] == "dataset").unwrap();
        let candidates = dataset["funnel"].as_array().unwrap().last().unwrap()["entered"].clone();
        assert_eq!(candidates, 0, "what nobody attempted is not taught");
        assert!(0 < dataset["unknown"][reason].as_u64().unwrap(), "{dataset}");
        let result = std::fs::read_to_string(home.join(out).join("result.json")).unwrap();
        let result: Value = serde_json::from_str(&result).unwrap();
        assert!(dataset["unknown"][reason].as_u64() <= result["unknown"][reason].as_u64(), "{result}");
    }
}

#[test]
fn servers_and_flags_that_will_not_do_are_named_before_anything_is_begun() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let right = move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Act::Right
    };
    let two = Bad::start(r#"{"data": [{"id": "a"}, {"id": "b"}]}"#, right);
    let html = Bad::start("<html>hello</html>", |_| Act::Right);
    for (args, words) in [
        (["--endpoint", &two.url], "several models, name one of them: a, b"),
        (["--endpoint", &html.url], "does not list its models: not_json (<html>hello</html>)"),
        (["--endpoint", "http://127.0.0.1:1"], "does not list its models: unreachable"),
        (["--endpoint", "127.0.0.1:1"], "`endpoint.url` is `127.0.0.1:1`, expected http:// or https://"),
        (["--set", "endpoint.timeout=3"], "`endpoint.url` is ``"),
        (["--set", "endpoint.urll=x"], "did you mean `endpoint.url`?"),
        (["--endpoint-roles", "poet"], "poet"),
        (["--set", "dataset.guard=[nowhere]"], "nowhere"),
    ] {
        let output = run(home, &tiny(&[&args[..], &["--out", "r"]].concat()));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(words), "no `{words}` in {}", stderr(&output));
        assert!(!home.join("r").exists());
    }
    let alone = run(home, &["eval", "--endpoint-model", "m"]);
    assert!(!alone.status.success() && stderr(&alone).contains("needs --endpoint"), "{}", stderr(&alone));
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
