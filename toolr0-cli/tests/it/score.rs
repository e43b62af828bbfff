//! Offline scoring, against goldens that other programs made.
//!
//! `golden/solver.jsonl` and `golden/generator.jsonl` are samples of completions scored by the public Tool-R0 release
//! (its one syntax error mended); the full sets are read where they are.

use std::path::Path;

use serde_json::{Value, json};

use crate::{run, shared, stderr, stdout, succeed};

/// Equal, floats within 1e-9; the keys of an object have no order.
fn close(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() <= 1e-9,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| close(a, b)))
        }
        (a, b) => a == b,
    }
}

/// Every line that the program prints has the golden's fields and values, and nothing else, line by line.
#[track_caller]
fn check(golden: &Path, args: &[&str], inputs: &[&str]) {
    let home = tempfile::tempdir().unwrap();
    let args: Vec<_> = args.iter().copied().chain([golden.to_str().unwrap()]).collect();
    let printed = succeed(home.path(), &args);
    let text = std::fs::read_to_string(golden).unwrap();
    assert_eq!(printed.lines().count(), text.lines().count());
    for (i, (got, want)) in printed.lines().zip(text.lines()).enumerate() {
        let got: Value = serde_json::from_str(got).unwrap();
        let mut want: Value = serde_json::from_str(want).unwrap();
        want.as_object_mut().unwrap().retain(|key, _| !inputs.contains(&key.as_str()));
        assert!(close(&got, &want), "line {}: got {got}, want {want}", i + 1);
    }
}

const SOLVER: [&str; 6] = ["score", "--role", "solver", "--profile", "release", "--input"];
const GENERATOR: [&str; 6] = ["score", "--role", "generator", "--profile", "release", "--input"];
const INPUTS: [&str; 4] = ["source", "kind", "gold", "completion"];

#[test]
fn samples_score_as_the_release_scores_them() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    check(&golden.join("solver.jsonl"), &SOLVER, &INPUTS);
    check(&golden.join("generator.jsonl"), &GENERATOR, &INPUTS);
}

#[test]
fn all_goldens_score_as_the_release_scores_them() {
    let Some(golden) = shared("golden") else { return };
    check(&golden.join("solver.jsonl"), &SOLVER, &INPUTS);
    check(&golden.join("generator.jsonl"), &GENERATOR, &INPUTS);
}

#[test]
fn recorded_predictions_score_as_the_reference_scores_them() {
    let (Some(bench), Some(golden)) = (shared("bench"), shared("golden/predictions.jsonl")) else { return };
    let args = ["bench", "score", "--bench", bench.to_str().unwrap(), "--predictions"];
    check(&golden, &args, &["kind", "prediction"]);
}

#[test]
fn strict_scores_come_in_order_from_stdin_too() {
    let home = tempfile::tempdir().unwrap();
    let answer = |city: &str| {
        format!(
            r#"<think>t</think><tool_call_answer>[{{"name":"f","arguments":{{"city":"{city}"}}}}]</tool_call_answer>"#
        )
    };
    let gold = json!([{"name": "f", "arguments": {"city": "Oslo"}}]);
    let texts = [answer("Oslo"), answer("Rome"), "hello".to_owned()];
    let tools =
        json!([{"name": "f", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]);
    let line = |text: &String| json!({"gold": gold, "completion": text, "tools": tools}).to_string();
    let lines: Vec<_> = texts.iter().map(line).collect();
    std::fs::write(home.path().join("in.jsonl"), lines.join("\n\n")).unwrap();
    let from_file = succeed(home.path(), &["score", "--role", "solver", "--input", "in.jsonl"]);
    let scores: Vec<Value> = from_file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&scores[0]["accuracy"], &scores[0]["fault"]), (&json!(1.0), &Value::Null));
    assert!(scores[1]["accuracy"].as_f64().unwrap() < 1.0 && scores[1]["parsed"].is_array());
    assert!(scores[2]["fault"].is_string() && scores[2]["parsed"].is_null());
    let mut command = crate::toolr0(home.path());
    command.args(["score", "--role", "solver", "--input", "-"]);
    let from_stdin =
        command.stdin(std::fs::File::open(home.path().join("in.jsonl")).unwrap()).output().unwrap();
    assert_eq!(stdout(&from_stdin), from_file);
}

#[test]
fn a_line_that_cannot_be_scored_is_named_after_those_before_it() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("in.jsonl"), "{\"completion\": \"x\"}\n{\"completion\": 3}\n").unwrap();
    let output = run(home.path(), &["score", "--role", "generator", "--input", "in.jsonl"]);
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(1), 1));
    assert!(stderr(&output).contains("in.jsonl, line 2"), "{}", stderr(&output));
    std::fs::write(home.path().join("in.jsonl"), "[\"x\", null]").unwrap();
    let list = run(home.path(), &["score", "--role", "generator", "--input", "in.jsonl"]);
    assert!(!list.status.success() && stderr(&list).contains("the line is no object"), "{}", stderr(&list));
    let none = run(home.path(), &["score", "--role", "generator", "--input", "none"]);
    assert!(stderr(&none).contains("failed to read none"));
}

/// A schema that is none is named by file, line, tool and key, whoever reads it.
#[test]
fn a_schema_that_is_none_is_named() {
    let home = tempfile::tempdir().unwrap();
    let tools = |kind: &str| json!([{"name": "book", "parameters": {"type": "object", "properties": {"city": {"type": kind}}}}]);
    let line = |kind: &str| json!({"gold": [], "completion": "x", "tools": tools(kind)}).to_string();
    std::fs::write(home.path().join("in.jsonl"), [line("string"), line("strnig")].join("\n")).unwrap();
    let output = run(home.path(), &["score", "--role", "solver", "--input", "in.jsonl"]);
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(1), 1));
    let named = |text: &str, place: &str| {
        for word in [place, "`book`", "/parameters/properties/city/type", "strnig"] {
            assert!(text.contains(word), "no {word} in {text}");
        }
    };
    named(stderr(&output), "in.jsonl, line 2");

    let item = |id: &str, kind: &str| {
        json!({"id": id, "benchmark": "b", "split": "s", "messages": [{"role": "user", "content": "q"}],
            "tools": tools(kind), "answers": [[]]})
    };
    std::fs::create_dir_all(home.path().join("bench/b")).unwrap();
    let lines = [item("good", "string").to_string(), item("bad", "strnig").to_string()].join("\n");
    std::fs::write(home.path().join("bench/b/s.jsonl"), lines).unwrap();
    std::fs::write(home.path().join("p.jsonl"), json!({"id": "good", "prediction": []}).to_string()).unwrap();
    let output = run(home.path(), &["bench", "score", "--bench", "bench", "--predictions", "p.jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    named(stderr(&output), "s.jsonl, line 2");
}

/// Two questions and a broken line, made by hand.
fn bench(home: &Path) {
    let item = |id: &str, extra: Value| {
        let mut item = json!({"id": id, "benchmark": "b", "split": "s", "messages": [{"role": "user", "content": "q"}],
            "tools": [{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}],
            "answers": [[{"name": "f", "arguments": {"n": 2}}]]});
        item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        item.to_string()
    };
    let expect = json!({"answers": [[]], "meta": {"expect": "no_call"}});
    let lines = [
        item("one", json!({})),
        "{broken".to_owned(),
        item("two", expect),
        item("bare", json!({"tools": []})),
        item("other", json!({"answers": [[{"name": "f", "arguments": {"m": 2}}]]})),
    ];
    std::fs::create_dir_all(home.join("bench/b")).unwrap();
    std::fs::write(home.join("bench/b/s.jsonl"), lines.join("\n")).unwrap();
}

#[test]
fn predictions_are_scored_in_their_order() {
    let home = tempfile::tempdir().unwrap();
    bench(home.path());
    let lines = [
        json!({"id": "two", "prediction": null}),
        json!({"id": "one", "prediction": [{"name": "f", "arguments": {"n": "2"}}]}),
        json!({"id": "one", "prediction": []}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(home.path().join("p.jsonl"), &text).unwrap();
    let output = run(home.path(), &["bench", "score", "--bench", "bench", "--predictions", "p.jsonl"]);
    assert!(output.status.success());
    let scores: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        scores.iter().map(|s| (s["id"].as_str().unwrap(), s["ast_match"].as_bool().unwrap())).collect();
    assert_eq!(seen, [("two", true), ("one", true), ("one", false)]);
    assert_eq!((&scores[0]["bfcl_match"], scores[1].get("bfcl_match")), (&json!(true), None));
    assert_eq!(scores[2]["hammer_counts"]["gold_api"], 1);
    assert!(stderr(&output).contains("s.jsonl, line 2") && stderr(&output).contains("line 4: no tools"));
    assert!(stderr(&output).contains("line 5: the answer has an unknown argument"));
    std::fs::write(home.path().join("p.jsonl"), "{\"id\": \"three\", \"prediction\": null}").unwrap();
    let unknown = run(home.path(), &["bench", "score", "--bench", "bench", "--predictions", "p.jsonl"]);
    assert!(!unknown.status.success() && stderr(&unknown).contains("no question has the id `three`"));
    let empty = run(home.path(), &["bench", "score", "--bench", "bench/b", "--predictions", "p.jsonl"]);
    assert!(!empty.status.success() && stderr(&empty).contains("holds no SUITE/SPLIT.jsonl"));
}

#[test]
fn a_model_is_evaluated_on_benchmark_questions() {
    let home = tempfile::tempdir().unwrap();
    bench(home.path());
    let args = ["eval", "--bench", "bench", "--out", "answers.jsonl", "--max-new-tokens", "48"];
    let output = run(home.path(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("b/s") && stdout(&output).contains("lines that are no question: 3"));
    assert!(stderr(&output).contains("s.jsonl, line 2"));
    let answers = std::fs::read_to_string(home.path().join("answers.jsonl")).unwrap();
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.iter().map(|a| a["id"].as_str().unwrap()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(answers.iter().all(|a| a["completion"].is_string() && a["ast_match"].is_boolean()));
    let again = run(home.path(), &args);
    assert!(!again.status.success() && stderr(&again).contains("answers.jsonl"));
    let strict = run(home.path(), &["eval", "--bench", "bench", "--bad-lines", "stop"]);
    assert!(!strict.status.success() && stderr(&strict).contains("s.jsonl, line 2"), "{}", stderr(&strict));
    let dev = crate::last_json(&succeed(
        home.path(),
        &["eval", "--questions", "dev", "--limit", "3", "--max-new-tokens", "8", "--json"],
    ));
    assert_eq!((&dev["splits"][0]["split"], &dev["items"]), (&json!("dev"), &json!(3)));

    // An answer that breaks the types of its own tool is named and counted, and asked all the same or the end.
    let good = std::fs::read_to_string(home.path().join("bench/b/s.jsonl")).unwrap();
    let good = good.lines().next().unwrap();
    std::fs::create_dir_all(home.path().join("typed/b")).unwrap();
    let lines =
        format!("{good}\n{}\n", good.replace("\"one\"", "\"odd\"").replace("{\"n\":2}", "{\"n\":\"many\"}"));
    std::fs::write(home.path().join("typed/b/s.jsonl"), lines).unwrap();
    let args = ["eval", "--bench", "typed", "--max-new-tokens", "8", "--json"];
    let output = run(home.path(), &args);
    let result = crate::last_json(stdout(&output));
    assert_eq!(
        (&result["items"], &result["mistyped_answers"], &result["bad_lines"]),
        (&json!(2), &json!(1), &json!(0))
    );
    let named = "s.jsonl, line 2: `n` is \"many\", expected integer";
    assert!(stderr(&output).contains(named), "{}", stderr(&output));
    let strict = run(home.path(), &[&args[..], &["--bad-lines", "stop"]].concat());
    assert!(!strict.status.success() && stderr(&strict).contains(named), "{}", stderr(&strict));
}
