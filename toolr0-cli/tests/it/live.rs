//! Tools outside of the program: programs, WebAssembly modules, and MCP servers that run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::runs::lines;
use crate::{last_json, run, stderr, stdout, succeed, tiny};

/// The server of `examples/clinic.rs`, which is built with the tests.
pub(crate) fn clinic() -> PathBuf {
    let server = Path::new(env!("CARGO_BIN_EXE_toolr0")).with_file_name("examples").join("clinic");
    assert!(server.exists(), "run `cargo build --examples` first: there is no {}", server.display());
    server
}

/// Ends a server with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lists, calls and checks the tools of the clinic.
#[track_caller]
fn check(home: &Path, source: &str) {
    let listed = succeed(home, &["tools", "list", source]);
    assert!(
        listed.starts_with("healthcare (3 tools)\n  find_checkup(patient: string, date: string)\n"),
        "{listed}"
    );
    let good = r#"{"name": "postpone_checkup", "arguments": {"patient": "Nora", "time": "07:30"}}"#;
    let bad = r#"{"name": "postpone_checkup", "arguments": {"patient": "Nora", "time": "noon"}}"#;
    let coerced = r#"{"name": "postpone_checkup", "arguments": {"patient": 7, "time": "07:30"}}"#;
    let called = succeed(home, &["tools", "call", source, good, "--timeout", "30"]);
    assert!(called.starts_with(r#"{"value":{"patient":"Nora","moved_to":"07:30"}}"#), "{called}");
    let both = run(home, &["tools", "call", source, bad, coerced, "--json", "--timeout", "30"]);
    let ends: Vec<Value> = stdout(&both).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((both.status.code(), ends.len()), (Some(1), 2), "{}", stderr(&both));
    assert_eq!(ends[0]["outcome"]["end"], json!({"tool_error": "noon is no time such as 14:30"}));
    assert_eq!(ends[1]["outcome"]["end"], json!({"value": {"patient": "7", "moved_to": "07:30"}}));
    let refused = run(
        home,
        &["tools", "check", source, good, r#"{"name": "postpone_checkup", "arguments": {"time": "07:30"}}"#],
    );
    assert_eq!((refused.status.code(), stdout(&refused).lines().count()), (Some(1), 2));
}

#[test]
fn a_server_is_spoken_to_over_its_pipes() {
    let home = tempfile::tempdir().unwrap();
    check(home.path(), &format!("mcp:{}", clinic().display()));
    let none = run(home.path(), &["tools", "list", "mcp:/nowhere/server --fast"]);
    let message = "error: mcp:/nowhere/server --fast: failed to start /nowhere/server --fast: ";
    assert!(!none.status.success() && stderr(&none).starts_with(message), "{}", stderr(&none));
}

#[test]
fn a_server_is_spoken_to_over_http() {
    let home = tempfile::tempdir().unwrap();
    let mut server = Ended(Command::new(clinic()).arg("--http").stdout(Stdio::piped()).spawn().unwrap());
    let mut address = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    check(home.path(), &format!("mcp:{}", address.trim()));
    drop(server);
    let gone = run(home.path(), &["tools", "list", &format!("mcp:{}", address.trim())]);
    assert!(!gone.status.success() && stderr(&gone).contains("failed to start http://"), "{}", stderr(&gone));
}

#[test]
fn a_run_learns_the_tools_of_a_server() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let server = clinic();
    let source = format!("mcp:{}", server.display());
    let given = [
        "--tools",
        &source,
        "--out",
        "r",
        "--quiet",
        "--json",
        "--set",
        "reward.solver.executed=true",
        "--set",
        "turns.most=2",
        "--set",
        "dataset.candidates=48",
    ];
    let result = last_json(&succeed(home, &tiny(&given)));
    assert_eq!(result["stopped"], false);
    let records = lines(&home.join("r/metrics.jsonl"));
    let dataset = records.iter().find(|record| record["record"] == "dataset").unwrap();
    let stages: Vec<_> = dataset["funnel"].as_array().unwrap().iter().map(|stage| &stage["name"]).collect();
    assert_eq!(stages[..3], ["parse", "structure", "execution"]);
    assert!(dataset["domains"].as_object().unwrap().keys().all(|domain| domain == "healthcare"));
    // What was kept has a gold that the server answers with a value.
    let tasks = lines(&home.join("r/iteration-1/tasks.jsonl"));
    assert!(!tasks.is_empty(), "{dataset}");
    for task in tasks {
        for call in task["task"]["gold"].as_array().unwrap() {
            succeed(home, &["tools", "call", &source, &call.to_string(), "--timeout", "30"]);
        }
    }
}

/// A tool that counts the letters of its call, written in the shell.
const COUNT: &str = r#"read -r call
printf '{"value": %s}\n' "${#call}""#;

#[test]
fn a_program_is_confined_and_called() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let tools = json!([{"name": "count", "description": "Count.", "parameters": {"type": "object", "properties": {}}}]);
    let manifest = json!({"name": "shell", "run": ["/bin/sh", home.join("count.sh")], "read": ["count.sh"], "tools": tools});
    std::fs::write(home.join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::write(home.join("count.sh"), COUNT).unwrap();
    let call = r#"{"name":"count","arguments":{}}"#;
    let value = format!("{{\"value\":{}}}", call.len());
    for source in ["process:manifest.json", "process:."] {
        assert_eq!(succeed(home, &["tools", "list", source]), "shell (1 tool)\n  count()\n      Count.\n");
        let called = run(home, &["tools", "call", source, call, "--timeout", "30"]);
        assert!(stdout(&called).starts_with(&value), "{}{}", stdout(&called), stderr(&called));
    }
    // The strict mode runs it where the doctor finds every layer, and refuses it elsewhere.
    let doctor = run(home, &["doctor", "--json"]);
    let whole = last_json(stdout(&doctor));
    assert_eq!(whole["layers"].as_array().unwrap().len(), 4);
    assert_eq!(doctor.status.success(), whole["strict"] == true);
    let strict = run(home, &["tools", "call", "process:.", call, "--strict", "--timeout", "30"]);
    if whole["strict"] == true {
        assert!(stdout(&strict).starts_with(&value), "{}", stderr(&strict));
    } else {
        assert!(stderr(&strict).contains("this machine lacks"), "{}", stderr(&strict));
        for layer in whole["layers"].as_array().unwrap().iter().filter(|layer| layer["there"] == false) {
            assert!(stderr(&strict).contains(layer["name"].as_str().unwrap()), "{}", stderr(&strict));
        }
        let play = run(home, &tiny(&["--tools", "process:.", "--strict", "--out", "r"]));
        assert!(stderr(&play).contains("this machine lacks"), "{}", stderr(&play));
        assert!(!home.join("r").exists(), "a run that may not begin leaves nothing");
    }
    let plan =
        last_json(&succeed(home, &["selfplay", "--tools", "process:.", "--strict", "--dry-run", "--json"]));
    assert_eq!(plan["config"]["strict"], true);
    let world = run(home, &["selfplay", "--tools", "world:math", "--strict", "--dry-run"]);
    assert!(stderr(&world).contains("`strict`"), "{}", stderr(&world));
}

/// Held-out questions about given tools are a benchmark, the same each time, whose answers the tools take.
#[test]
fn questions_about_a_server_are_written() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let source = format!("mcp:{}", clinic().display());
    let written = succeed(home, &["tools", "questions", &source, "--n", "12"]);
    assert_eq!(written, succeed(home, &["tools", "questions", &source, "--n", "12"]));
    std::fs::create_dir_all(home.join("questions/own")).unwrap();
    let file = home.join("questions/own/exam.jsonl");
    std::fs::write(&file, &written).unwrap();
    let all = lines(&file);
    assert_eq!(all.len(), 12);
    for question in &all {
        let text = question["messages"][0]["content"].as_str().unwrap();
        for call in question["answers"][0].as_array().unwrap() {
            let values = call["arguments"].as_object().unwrap().values();
            assert!(
                values.clone().count() == 2 && values.into_iter().all(|v| text.contains(v.as_str().unwrap()))
            );
            succeed(home, &["tools", "check", &source, &call.to_string()]);
        }
    }
    let sheet = succeed(home, &["eval", "--bench", "questions", "--limit", "2"]);
    assert!(sheet.contains("own/exam"), "{sheet}");
    let foreign = run(home, &["tools", "questions", "world:math"]);
    assert!(
        stderr(&foreign).contains("world:math: the embedded base has no words for the tool "),
        "{}",
        stderr(&foreign)
    );
}

#[test]
fn a_module_is_called() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let module = r#"(module (memory (export "memory") 1) (data (i32.const 16) "{\"value\": 42}")
        (func (export "alloc") (param i32) (result i32) i32.const 1024)
        (func (export "call") (param i32 i32) (result i64) (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 13))))"#;
    let tools = json!([{"name": "answer", "description": "Answer.", "parameters": {"type": "object", "properties": {}}}]);
    let manifest = json!({"name": "deep", "module": "answer.wat", "tools": tools});
    std::fs::write(home.join("answer.wat"), module).unwrap();
    std::fs::write(home.join("manifest.json"), manifest.to_string()).unwrap();
    let call = r#"{"name":"answer","arguments":{}}"#;
    assert!(succeed(home, &["tools", "call", "wasm:manifest.json", call]).starts_with("{\"value\":42}"));
    assert!(succeed(home, &["tools", "check", "wasm:.", call]).starts_with("fits: {}"));
    std::fs::remove_file(home.join("answer.wat")).unwrap();
    let none = run(home, &["tools", "list", "wasm:."]);
    assert!(stderr(&none).contains("failed to read ./answer.wat"), "{}", stderr(&none));
}
