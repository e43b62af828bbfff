//! MCP servers that run, above all one that does what none should.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use toolr0_tools::mcp::Server;
use toolr0_tools::{End, Limits, Sandbox, State, ToolCall};

fn start() -> Server {
    Server::start(&[env!("CARGO_BIN_EXE_hostile-server").to_owned()]).unwrap()
}

fn run(server: &Server, tool: &str, arguments: Value, millis: u64) -> (End, Duration) {
    let call = ToolCall::new(tool, arguments.as_object().unwrap().clone());
    let limits = Limits { millis, output_bytes: 4 << 10, ..Limits::default() };
    let start = Instant::now();
    let outcome = server.run(&call, &mut State::default(), &limits);
    (outcome.end, start.elapsed())
}

/// An answer of the server, however long this machine takes for it.
#[track_caller]
fn answers(server: &Server) {
    let (end, _) = run(server, "echo", json!({"n": 3}), 60_000);
    assert_eq!(end, End::Value(json!({"n": 3})));
}

/// Calls that are never answered end at their timeout, or before, and the server answers again afterwards. The clock of a
/// busy machine is no judge, so the best of some tries counts.
#[track_caller]
fn check(attack: &str, fits: impl Fn(&End) -> bool) {
    let server = start();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let (end, took) = run(&server, attack, json!({}), 300);
        assert!(fits(&end), "{attack}: {end:?}");
        best = best.min(took);
        answers(&server);
        if best <= Duration::from_millis(500) {
            break;
        }
    }
    assert!(best <= Duration::from_millis(500), "{attack} took {best:?}");
}

#[test]
fn a_server_is_started_listed_and_called() {
    let server = start();
    assert_eq!((server.title(), server.tools().len(), server.skipped().len()), ("Hostile", 10, 0));
    answers(&server);
    assert_eq!(run(&server, "fail", json!({}), 60_000).0, End::ToolError("there is none".into()));
    assert_eq!(run(&server, "echo", json!({"n": "x"}), 60_000).0.kind(), "refused");
    // What a server keeps stays there: these were its first two calls.
    assert_eq!(run(&server, "count", json!({}), 60_000).0, End::Value(json!("3")));
}

#[test]
fn a_server_that_does_not_answer_is_left_alone_and_then_started_again() {
    let late = |end: &End| *end == End::TimedOut;
    check("never", late);
    check("garbage", |end| matches!(end, End::TimedOut | End::Broken(_)));
    let server = start();
    for _ in 0..2 {
        assert_eq!(run(&server, "deaf", json!({}), 200).0, End::TimedOut);
    }
    assert_eq!(run(&server, "count", json!({}), 60_000).0, End::Value(json!("1")), "it is a new one");
}

#[test]
fn a_server_that_dies_or_floods_is_started_again() {
    check("die", |end| matches!(end, End::Broken(_)));
    check("flood", |end| *end == End::TooMuchOutput);
    // How soon many short messages are too much depends on how fast the machine lets the server write them.
    let server = start();
    assert_eq!(run(&server, "lines", json!({}), 60_000).0, End::TooMuchOutput);
    answers(&server);
    check("again", |end| !matches!(end, End::Value(_)));
}

#[test]
fn restarts_slow_down_until_the_server_answers() {
    let server = start();
    let mut ends = Vec::new();
    for _ in 0..6 {
        ends.push(run(&server, "die", json!({}), 250).0);
    }
    // The pauses double from 50 ms, so one of them is longer than a call may take.
    let rests = |end: &End| matches!(end, End::Broken(reason) if reason.contains("rests"));
    assert!(ends.iter().any(rests), "{ends:?}");
    answers(&server);
}

#[test]
fn what_does_not_start_is_named() {
    let refused = |command: &[&str]| {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        Server::start(&command).unwrap_err().to_string()
    };
    assert!(refused(&["/nowhere/server"]).starts_with("failed to start /nowhere/server: No such file"));
    assert!(refused(&["/bin/true"]).starts_with("failed to start /bin/true: "));
    assert_eq!(refused(&[]), "failed to start : the command is empty");
}
