//! Files in and out: fine-tuning, export, chat and inspection.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use toolr0_model::Checkpoint;

use crate::{last_json, run, stderr, stdout, succeed, tiny, toolr0};

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_is_inspected_exported_and_learned_from() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    succeed(home, &tiny(&["--quiet", "--seed", "3", "--out", "r"]));
    let tasks = lines(&home.join("r/iteration-1/tasks.jsonl"));

    let seen = last_json(&succeed(home, &["inspect", "r", "--json"]));
    assert_eq!(seen["tasks"].as_array().unwrap().len(), tasks.len());
    assert_eq!(seen["tasks"][0]["question"], tasks[0]["task"]["question"]);
    let roles: Vec<_> =
        seen["phases"].as_array().unwrap().iter().map(|p| (&p["role"], &p["steps"])).collect();
    assert_eq!(roles, [(&json!("generator"), &json!(1)), (&json!("solver"), &json!(2))]);
    assert!(seen["phases"][1]["last"]["reward_terms"]["accuracy"].is_f64());
    let one = last_json(&succeed(home, &["inspect", "r", "--task", "1", "--samples", "3", "--json"]));
    let answers = one["answers"].as_array().unwrap();
    assert_eq!((answers.len(), answers[1].get("logprobs")), (3, None));
    let tokens = answers[0]["logprobs"].as_array().unwrap();
    assert_eq!(answers[0]["tokens"], tokens.len());
    assert!(tokens.iter().all(|token| token["logprob"].as_f64().unwrap() <= 0.0));
    let sum: f64 =
        answers[0]["reward_terms"].as_object().unwrap().values().map(|term| term.as_f64().unwrap()).sum();
    assert!((sum - answers[0]["reward"].as_f64().unwrap()).abs() < 1e-9);
    let text = succeed(home, &["inspect", "r", "--task", "1"]);
    assert!(text.contains("answer 1: reward") && text.contains("gold: ["), "{text}");
    assert!(succeed(home, &["inspect", "r"]).contains("tasks, in the order of training"));
    let none = run(home, &["inspect", "r", "--task", "9999"]);
    assert!(!none.status.success() && stderr(&none).contains("there is no task 9999"));
    let no_run = run(home, &["inspect", "."]);
    assert!(!no_run.status.success() && stderr(&no_run).contains("holds no run"));

    succeed(home, &["export", "r", "--out", "m.jsonl"]);
    succeed(home, &["export", "r", "--out", "t.parquet"]);
    let messages = lines(&home.join("m.jsonl"));
    assert_eq!(messages.len(), tasks.len());
    let call = &messages[0]["messages"][1]["tool_calls"][0]["function"];
    assert_eq!(call["name"], tasks[0]["task"]["gold"][0]["name"]);
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, tasks[0]["task"]["gold"][0]["arguments"]);
    let table = std::fs::read(home.join("t.parquet")).unwrap();
    assert!(table.starts_with(b"PAR1") && table.ends_with(b"PAR1"));
    let again = run(home, &["export", "r", "--out", "m.jsonl"]);
    assert!(!again.status.success() && stderr(&again).contains("m.jsonl exists already"));

    // Tool-R0, then fine-tuning on a file: the same tasks in both forms make the same model, bit for bit.
    for (data, out) in [("m.jsonl", "a"), ("r/iteration-1/tasks.jsonl", "b")] {
        let more = ["--epochs", "4", "--learning-rate", "1e-3", "--batch-tokens", "1024", "--json"];
        let more = [&["--model", "r/solver"], &more[..]].concat();
        let result = last_json(&succeed(home, &[&["sft", "--data", data, "--out", out][..], &more].concat()));
        assert_eq!(result["examples"], tasks.len());
        assert!(result["last_loss"].as_f64() < result["first_loss"].as_f64(), "{result}");
    }
    let weights = |dir: &str| std::fs::read(home.join(dir).join("model.safetensors")).unwrap();
    assert!(weights("a") == weights("b") && weights("a") != weights("r/solver"));
    Checkpoint::load(&home.join("a")).unwrap();
    let few = [
        "eval",
        "--limit",
        "2",
        "--max-new-tokens",
        "16",
        "--json",
        "--compare",
        "embedded",
        "r/solver",
        "a",
    ];
    let compared = last_json(&succeed(home, &few));
    assert_eq!(compared["comparisons"].as_array().map(Vec::len), Some(2), "{compared}");
}

#[test]
fn bad_lines_are_counted_or_end_the_training() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let good = json!({"question": "Book for 2.", "gold": [{"name": "book", "arguments": {"n": 2}}], "tools": [{"name": "book",
        "description": "Book.", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}]});
    let mut wrong = good.clone();
    wrong["gold"][0]["arguments"]["n"] = json!("many");
    let bare = json!({"question": "Book for 2.", "gold": [], "tools": []});
    std::fs::write(home.join("d.jsonl"), format!("{good}\n{{half\n{wrong}\n{bare}\n")).unwrap();
    let args = ["sft", "--data", "d.jsonl", "--out", "o", "--json"];
    let output = run(home, &args);
    let result = last_json(stdout(&output));
    assert_eq!(result["bad_lines"], json!({"this is no JSON": 1, "argument_type": 1, "no tools": 1}));
    for place in ["d.jsonl, line 2", "d.jsonl, line 3: argument_type", "d.jsonl, line 4: no tools"] {
        assert!(stderr(&output).contains(place), "{}", stderr(&output));
    }
    let stop = run(home, &["sft", "--data", "d.jsonl", "--out", "p", "--bad-lines", "stop"]);
    assert!(!stop.status.success() && stderr(&stop).contains("d.jsonl, line 2"));
    assert!(!home.join("p").exists());
    std::fs::write(home.join("e.jsonl"), "{}\n").unwrap();
    let nothing = run(home, &["sft", "--data", "e.jsonl", "--out", "p"]);
    assert!(!nothing.status.success() && stderr(&nothing).contains("nothing to learn in e.jsonl"));
    assert!(!home.join("p").exists());
}

#[test]
fn a_chat_shows_calls() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let tools = json!([{"type": "function", "function": {"name": "book_room", "description": "Book a room.", "parameters":
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    std::fs::write(home.join("tools.json"), tools.to_string()).unwrap();
    let ask = |more: &[&str], text: &str| {
        let mut command = toolr0(home);
        command.args(["chat", "--tools", "tools.json", "--max-new-tokens", "48"]).args(more);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = ask(&["--json"], "Please book a room in Oslo.\nAnd one in Rome.\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let answers: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert!(
        answers.iter().all(|a| a["text"].is_string() && (a["calls"].is_array() != a["fault"].is_string()))
    );
    let shown = ask(&[], "Please book a room in Oslo.\n");
    assert!(stdout(&shown).contains("  call ") || stdout(&shown).contains("  no "), "{}", stdout(&shown));
    std::fs::write(home.join("tools.json"), "{}").unwrap();
    let bad = ask(&[], "hello\n");
    assert!(!bad.status.success() && stderr(&bad).contains("tools.json"), "{}", stderr(&bad));
}
