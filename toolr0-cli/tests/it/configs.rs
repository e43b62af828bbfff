//! The embedded configurations, and the texts that the program prints.

use serde_json::{Value, json};

use crate::{last_json, run, stderr, succeed};

/// The resolved configuration of an embedded one.
fn resolved(name: &str) -> (String, Value) {
    let home = tempfile::tempdir().unwrap();
    let plan = last_json(&succeed(home.path(), &["selfplay", "--config", name, "--dry-run", "--json"]));
    (plan["model"].as_str().unwrap().to_owned(), plan["config"].clone())
}

/// Tool-R0, arXiv:2602.21320, table 4 and the constants that its public release adds.
#[test]
fn published_set_ups_have_the_papers_constants() {
    for (name, model) in [
        ("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("qwen2.5-1.5b", "Qwen/Qwen2.5-1.5B-Instruct"),
        ("qwen2.5-3b", "Qwen/Qwen2.5-3B-Instruct"),
        ("llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct"),
    ] {
        let (named, config) = resolved(name);
        assert_eq!(named, model);
        for (pointer, want) in [
            ("/style", json!("paper")),
            ("/selfplay/iterations", json!(3)),
            ("/selfplay/generator_steps", json!(50)),
            ("/selfplay/solver_steps", json!(50)),
            ("/generator/prompts", json!(6)),
            ("/generator/group_size", json!(4)),
            ("/solver/prompts", json!(8)),
            ("/solver/group_size", json!(4)),
            ("/solver/sampling/temperature", json!(1.0)),
            ("/probe/samples", json!(8)),
            ("/probe/sampling/temperature", json!(0.7)),
            ("/probe/sampling/max_new_tokens", json!(2048)),
            ("/probe/judge_sampling/temperature", json!(0.1)),
            ("/probe/judge_tries", json!(3)),
            ("/frontier/low", json!(0.25)),
            ("/frontier/high", json!(0.75)),
            ("/frontier/sigma", json!(0.12)),
            ("/dataset/candidates", json!(10_000)),
            ("/dataset/tasks", json!(2000)),
            ("/dataset/sampling/temperature", json!(0.7)),
            ("/dataset/samples", json!(10)),
            ("/dataset/agreement", json!(0.2)),
            ("/dataset/mix", json!({"easy": 0.2, "medium": 0.5, "hard": 0.3})),
            ("/dataset/order", json!("easy_to_hard")),
            ("/rl/learning_rate", json!(1e-6)),
            ("/rl/loss/loss_type", json!("grpo")),
            ("/rl/loss/beta", json!(0.01)),
            ("/rl/loss/epsilon_low", json!(0.2)),
            ("/rl/adamw/weight_decay", json!(0.01)),
            ("/rl/adamw/max_grad_norm", json!(1.0)),
            ("/reward/generator/validity_weights", json!({"menu": 0.4, "arguments": 0.4, "grounding": 0.2})),
            ("/reward/generator/curriculum_weights", json!({"difficulty": 0.5, "semantic": 0.5})),
            ("/reward/solver/format_weights", json!({"answered": 0.3, "parsed": 0.3, "calls": 0.4})),
            ("/reward/solver/call_weights", json!({"name": 0.2, "keys": 0.3, "values": 0.5})),
            ("/reward/solver/alpha", json!(0.25)),
        ] {
            assert_eq!(config.pointer(pointer), Some(&want), "{name}: {pointer}");
        }
        assert_eq!(config["spec"]["domains"].as_object().unwrap().len(), 32);
    }
}

#[test]
fn the_default_is_nano_from_the_embedded_base() {
    let home = tempfile::tempdir().unwrap();
    let plan = last_json(&succeed(home.path(), &["selfplay", "--dry-run", "--json"]));
    let (model, config) = resolved("nano");
    assert_eq!((plan["model"].as_str(), &plan["config"]), (Some("embedded"), &config));
    assert_eq!((model.as_str(), &config["style"]), ("embedded", &json!("compact")));
}

/// What the embedded set-up saves by, it does without where a `--set` rules it out; asked for by name, it is refused.
#[test]
fn savings_give_way_to_what_is_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let plan = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<_> = ["selfplay", "--dry-run", "--json"].into_iter().chain(sets).collect();
        crate::run(home.path(), &args)
    };
    let savings = |sets: &[&str]| {
        let output = plan(sets);
        assert!(output.status.success(), "{}", crate::stderr(&output));
        let dataset = last_json(crate::stdout(&output))["config"]["dataset"].clone();
        (dataset["reuse_within"].as_u64().unwrap(), dataset["pool_probed"].as_bool().unwrap())
    };
    assert_eq!(savings(&[]), (16, true));
    assert_eq!(savings(&["selfplay.shared_weights=true"]), (16, false));
    assert_eq!(savings(&["solver.sampling.max_new_tokens=100"]), (0, true));
    assert_eq!(savings(&["selfplay.generator_steps=0", "dataset.temperature=0.5"]), (0, false));
    let refused = plan(&["selfplay.shared_weights=true", "dataset.pool_probed=true"]);
    assert!(crate::stderr(&refused).contains("`dataset.pool_probed`"), "{}", crate::stderr(&refused));
}

/// A run in `toolr0-rl` never reads these two: questions are drawn, and the base's headroom measured, by the program.
#[test]
fn keys_of_the_exam_change_the_plan() {
    let home = tempfile::tempdir().unwrap();
    let completions = |sets: &[&str]| -> u64 {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<_> = ["selfplay", "--dry-run", "--json"].into_iter().chain(sets).collect();
        let plan = last_json(&succeed(home.path(), &args))["plan"].clone();
        let phases = plan["phases"].as_array().unwrap();
        let exam = phases.iter().find(|phase| phase["name"] == "exam").unwrap();
        exam["completions"].as_u64().unwrap()
    };
    // The base and three iterations sit it.
    assert_eq!(completions(&["exam.items=7"]), 4 * 7);
    assert_eq!(completions(&["exam.items=9"]), 4 * 9);
    assert_eq!(completions(&["exam.items=7", "exam.pass_at=5"]), 9 * 7);
}

#[test]
fn configurations_can_be_listed_and_printed() {
    let home = tempfile::tempdir().unwrap();
    let list = succeed(home.path(), &["configs"]);
    for name in ["nano (default)", "qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b", "llama-3.2-3b"] {
        assert!(list.contains(name), "no {name} in {list}");
        let name = name.split(' ').next().unwrap();
        assert!(succeed(home.path(), &["configs", name]).contains("model:"));
    }
    let none = run(home.path(), &["configs", "huge"]);
    assert!(!none.status.success() && stderr(&none).contains("no embedded configuration huge"));
}

#[test]
fn help_has_examples_and_shells_have_completions() {
    let home = tempfile::tempdir().unwrap();
    for command in [
        &["selfplay"][..],
        &["eval"],
        &["bench", "score"],
        &["score"],
        &["bootstrap"],
        &["configs"],
        &["completions"],
    ] {
        let args: Vec<_> = command.iter().copied().chain(["--help"]).collect();
        assert!(succeed(home.path(), &args).contains("Example"), "{command:?}");
    }
    succeed(home.path(), &["man", "--out", "man"]);
    let pages = crate::names(&home.path().join("man"));
    for page in ["toolr0.1", "toolr0-selfplay.1", "toolr0-bench-import.1"] {
        assert!(pages.iter().any(|name| name == page), "no {page} in {pages:?}");
    }
    let reference = succeed(home.path(), &["configs", "--reference"]);
    assert!(reference.contains("| `frontier.low` | `0.25` |"), "{reference}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(succeed(home.path(), &["completions", shell]).contains("selfplay"));
    }
}
