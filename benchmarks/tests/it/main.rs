//! The programs of `ablations/`, run as a reader would run them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use toolr0_rl::RunConfig;

/// A program that `cargo test` has built beside this one; `None`, said aloud, where only tests were built.
fn program(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let path =
        tests.parent()?.parent()?.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not built; `cargo test` without --test builds it", path.display());
    None
}

/// The smallest run in which everything happens, and two held-out tasks.
fn setup(home: &Path) {
    let mut config = serde_json::to_value(RunConfig::default()).unwrap();
    for (key, value) in [
        ("/style", json!("compact")),
        ("/selfplay/iterations", json!(1)),
        ("/selfplay/generator_steps", json!(1)),
        ("/selfplay/solver_steps", json!(1)),
        ("/generator/prompts", json!(1)),
        ("/generator/group_size", json!(2)),
        ("/generator/sampling/max_new_tokens", json!(256)),
        ("/solver/prompts", json!(2)),
        ("/solver/group_size", json!(2)),
        ("/solver/sampling/max_new_tokens", json!(64)),
        ("/probe/samples", json!(2)),
        ("/probe/sampling/max_new_tokens", json!(64)),
        ("/dataset/candidates", json!(8)),
        ("/dataset/samples", json!(2)),
        ("/dataset/agreement", json!(0.0)),
        ("/dataset/tasks", json!(4)),
        ("/dataset/sampling/max_new_tokens", json!(256)),
        ("/reward/generator/curriculum_weights/difficulty", json!(1.0)),
        ("/reward/generator/curriculum_weights/semantic", json!(0.0)),
        ("/rl/learning_rate", json!(1e-3)),
        ("/rl/max_rows", json!(16)),
        ("/exam/items", json!(2)),
        ("/exam/max_new_tokens", json!(64)),
    ] {
        *config.pointer_mut(key).unwrap_or_else(|| panic!("there is no key {key}")) = value;
    }
    std::fs::write(home.join("config.json"), config.to_string()).unwrap();
    let task = |guests: usize| -> Value {
        let tool = json!({"name": "book_room", "description": "Book a room.", "parameters": {"type": "object",
            "properties": {"guests": {"type": "integer"}}, "required": ["guests"]}});
        json!({"task": {"question": format!("Please book a room for {guests} guests."), "tools": [tool],
                "gold": [{"name": "book_room", "arguments": {"guests": guests}}]},
            "spec": {"domain": "travel", "context": "single_turn", "n_tools": 1, "n_calls": 1}})
    };
    std::fs::write(home.join("tasks.jsonl"), format!("{}\n{}\n", task(2), task(3))).unwrap();
}

#[test]
fn the_papers_ablations_run_as_programs() {
    let home = tempfile::tempdir().unwrap();
    setup(home.path());
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../toolr0-cli/assets/base");
    for (name, lines) in [
        ("shared_weights", &["shared weights"][..]),
        ("frozen_generator", &["frozen generator"]),
        ("no_difficulty", &["no difficulty"]),
        ("hard_cliff", &["hard cliff"]),
        ("curriculum_order", &["random", "hard to easy"]),
    ] {
        let Some(program) = program(name) else { return };
        let run = |tasks: &str| {
            let args = ["config.json", tasks];
            Command::new(&program).arg(&base).args(args).current_dir(home.path()).output().unwrap()
        };
        let output = run("tasks.jsonl");
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {wrong}");
        assert_eq!(said.lines().count(), lines.len(), "{name}: {said}");
        for (line, changed) in said.lines().zip(lines) {
            let whole = line.starts_with("full ")
                && line.contains(&format!("%, {changed} "))
                && line.contains("McNemar p = ");
            assert!(whole, "{name}: {line}");
        }
        let missing = run("nothing.jsonl");
        let words = String::from_utf8_lossy(&missing.stderr);
        assert!(
            !missing.status.success() && words.contains("failed to read nothing.jsonl"),
            "{name}: {words}"
        );
    }
}
