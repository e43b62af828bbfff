//! Measuring models: files of answers, samples, comparisons, and imported suites.

use std::path::Path;

use serde_json::{Value, json};

use crate::{last_json, names, run, stderr, stdout, succeed, tiny};

/// Seven questions of two splits, made by hand.
pub(crate) fn bench(home: &Path) {
    std::fs::create_dir_all(home.join("bench/b")).unwrap();
    for (split, n) in [("s", 4), ("t", 3)] {
        let item = |i: usize| {
            json!({"id": format!("{split}-{i}"), "benchmark": "b", "split": split,
                "messages": [{"role": "user", "content": format!("Please book a room for {i} guests in Oslo.")}],
                "tools": [{"name": "book_room", "description": "Book a room.", "parameters": {"type": "object",
                    "properties": {"guests": {"type": "integer"}, "city": {"type": "string"}}, "required": ["guests"]}}],
                "answers": [[{"name": "book_room", "arguments": {"guests": i, "city": "Oslo"}}]]})
        };
        let lines: String = (2..2 + n).map(|i| format!("{}\n", item(i))).collect();
        std::fs::write(home.join(format!("bench/b/{split}.jsonl")), lines).unwrap();
    }
}

pub(crate) const EVAL: [&str; 6] = ["eval", "--bench", "bench", "--max-new-tokens", "64", "--json"];

#[track_caller]
pub(crate) fn eval(home: &Path, more: &[&str]) -> Value {
    let mut result = last_json(&succeed(home, &[EVAL.as_slice(), more].concat()));
    result.as_object_mut().unwrap().remove("seconds");
    result
}

pub(crate) fn answers(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_of_answers_is_gone_on_with() {
    let home = tempfile::tempdir().unwrap();
    let (home, file) = (home.path(), home.path().join("a.jsonl"));
    bench(home);
    let more = ["--samples", "3", "--seed", "5", "--out", "a.jsonl"];
    let whole = eval(home, &more);
    assert_eq!((&whole["items"], &whole["samples"], answers(&file).len()), (&json!(7), &json!(3), 21));
    assert!(whole["pass_at"]["3"].as_f64() >= whole["pass_at"]["1"].as_f64());
    let all = std::fs::read_to_string(&file).unwrap();

    // Eight answers and half of the ninth: the others are drawn again, each as it was.
    let cut: Vec<&str> = all.lines().take(8).collect();
    std::fs::write(&file, format!("{}\n{}", cut.join("\n"), &all.lines().nth(8).unwrap()[..40])).unwrap();
    let resumed = eval(home, &[more.as_slice(), &["--resume"]].concat());
    assert_eq!(resumed, whole);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&std::fs::read_to_string(&file).unwrap()), sorted(&all));

    // What is there is not asked again: an answer that was changed by hand is marked as it stands.
    let gold = r#"<tool_call_answer>[{"name":"book_room","arguments":{"guests":2,"city":"Oslo"}}]</tool_call_answer>"#;
    let mut lines = answers(&file);
    let before = lines.iter().filter(|line| line["solved"] == true).count();
    let first = lines.iter_mut().find(|line| line["id"] == "s-2" && line["solved"] == false).unwrap();
    first["completion"] = json!(gold);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, text).unwrap();
    assert_eq!(eval(home, &[more.as_slice(), &["--resume"]].concat())["solved"], before + 1);

    // Other settings are other answers, which is told.
    let other = run(home, &[EVAL.as_slice(), &["--out", "a.jsonl", "--resume"]].concat());
    assert!(stderr(&other).contains("21 lines of a.jsonl are of other models, questions or settings"));
    assert_eq!(answers(&file).len(), 28);

    std::fs::write(&file, "{\"key\": 3}\n").unwrap();
    let bad = run(home, &[EVAL.as_slice(), &["--out", "a.jsonl", "--resume"]].concat());
    assert!(!bad.status.success() && stderr(&bad).contains("a.jsonl, line 1"), "{}", stderr(&bad));
    let greedy = run(home, &["eval", "--samples", "2", "--temperature", "0"]);
    assert!(!greedy.status.success() && stderr(&greedy).contains("2 times the same answer"));
}

#[test]
fn models_and_iterations_are_compared() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    bench(home);
    succeed(home, &tiny(&["--quiet", "--keep-iterations", "--out", "r", "--set", "rl.learning_rate=0.01"]));
    let compared = eval(home, &["--compare", "r"]);
    let models: Vec<_> = compared["models"].as_array().unwrap().iter().map(|m| m["model"].clone()).collect();
    assert_eq!(models, ["embedded", "r/iteration-1/solver"]);
    let rows = compared["comparisons"][0]["splits"].as_array().unwrap();
    let row_names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(row_names, ["b/s", "b/t", "all"]);
    let accuracy = |i: usize| compared["models"][i]["accuracy"].as_f64().unwrap();
    let mean = rows[2]["difference"]["mean"].as_f64().unwrap();
    assert!((mean - (accuracy(1) - accuracy(0))).abs() < 1e-12);
    let (lost, won) = (rows[2]["only_first"].as_f64().unwrap(), rows[2]["only_second"].as_f64().unwrap());
    assert!((mean - (won - lost) / 7.0).abs() < 1e-12);

    let same =
        run(home, &["eval", "--limit", "4", "--max-new-tokens", "16", "--compare", "embedded", "r/solver"]);
    let table = stdout(&same);
    assert!(table.contains("r/solver against embedded") && table.contains("McNemar p"), "{table}");
    let one = run(home, &["eval", "--compare", "embedded"]);
    assert!(!one.status.success() && stderr(&one).contains("--compare needs two models"));
}

#[test]
fn a_published_suite_is_imported_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let say = |text: &str| json!({"data": [{"text": "Play "}, {"text": text, "entity": "artist"}]});
    let suite = json!({"PlayMusic": [say("Bach"), say("Nina"), {"data": []}]});
    std::fs::create_dir(home.join("snips")).unwrap();
    std::fs::write(home.join("snips/validate_PlayMusic.json"), suite.to_string()).unwrap();
    let table = succeed(home, &["bench", "import", "snips", "snips", "--out", "bench"]);
    assert!(table.contains("snips/validate") && table.contains("1 no question"), "{table}");
    assert_eq!(names(&home.join("bench/snips")), ["validate.jsonl"]);
    let result = eval(home, &[]);
    assert_eq!((&result["items"], &result["bad_lines"]), (&json!(2), &json!(0)));
    let again = run(home, &["bench", "import", "snips", "snips", "--out", "bench"]);
    assert!(
        !again.status.success() && stderr(&again).contains("bench/snips is not empty"),
        "{}",
        stderr(&again)
    );
    std::fs::write(home.join("snips/validate_RateBook.json"), "{").unwrap();
    let broken = run(home, &["bench", "import", "snips", "snips", "--out", "other"]);
    assert!(!broken.status.success() && stderr(&broken).contains("validate_RateBook.json"));
    assert!(!home.join("other").exists());
}

#[test]
fn tasks_like_held_out_questions_are_dropped_and_listed() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let more = ["--quiet", "--seed", "3", "--set", "selfplay.generator_steps=0"];
    succeed(home, &tiny(&[more.as_slice(), &["--out", "free"]].concat()));
    let taught = answers(&home.join("free/iteration-1/tasks.jsonl"));
    assert!(!taught.is_empty());
    // What it was taught becomes a suite; then the generator, which is not trained, writes the same again.
    let item = |line: &Value| {
        let question = line["task"]["question"].as_str().unwrap();
        json!({"id": question, "benchmark": "b", "split": "s", "messages": [{"role": "user", "content": question}],
            "tools": line["task"]["tools"], "answers": [line["task"]["gold"]]})
    };
    std::fs::create_dir_all(home.join("suite/b")).unwrap();
    let lines: String = taught.iter().map(|line| format!("{}\n", item(line))).collect();
    std::fs::write(home.join("suite/b/s.jsonl"), format!("{lines}{{\"id\": 1\n")).unwrap();
    let guarded = [&more[1..], &["--out", "guarded", "--guard", "suite"]].concat();
    let output = run(home, &tiny(&guarded));
    assert!(output.status.success(), "{}", stderr(&output));
    let bad = format!("s.jsonl, line {}", taught.len() + 1);
    assert!(stderr(&output).contains(&bad), "{bad} in {}", stderr(&output));
    let records = answers(&home.join("guarded/metrics.jsonl"));
    let dataset = records.iter().find(|record| record["record"] == "dataset").unwrap();
    let listed: Vec<_> =
        dataset["contaminated"].as_array().unwrap().iter().map(|hit| &hit["question"]).collect();
    for line in &taught {
        assert!(listed.contains(&&line["task"]["question"]), "{line} in {listed:?}");
    }
    let stage = dataset["funnel"].as_array().unwrap().iter().find(|stage| stage["name"] == "guard").unwrap();
    let dropped: u64 = stage["drops"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(dropped as usize, listed.len());
    let result: Value =
        serde_json::from_str(&std::fs::read_to_string(home.join("guarded/result.json")).unwrap()).unwrap();
    assert_eq!((&result["guarded"], &result["guard_bad_lines"]), (&json!(taught.len()), &json!(1)));
    let none = run(home, &tiny(&["--out", "x", "--guard", "nowhere"]));
    assert!(!none.status.success() && stderr(&none).contains("nowhere") && !home.join("x").exists());
}
