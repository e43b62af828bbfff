//! Whole runs, tiny ones.

use std::path::Path;

use serde_json::Value;
use toolr0_curriculum::Candidate;
use toolr0_model::{Checkpoint, LoraConfig};

use crate::{last_json, names, run, stderr, stdout, succeed, tiny, toolr0};

const CHECKPOINT: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

#[test]
fn a_run_leaves_models_tasks_metrics_and_its_result() {
    let home = tempfile::tempdir().unwrap();
    let more = ["--seed", "3", "--json", "--set", "exam.pass_at=2", "--keep-iterations"];
    let text = succeed(home.path(), &tiny(&more));
    let result = last_json(&text);
    assert_eq!(text.lines().count(), 1, "--json prints one line");
    assert_eq!((&result["seed"], &result["exam"]["items"]), (&3.into(), &8.into()));
    assert!(result["seconds"].as_f64().unwrap() > 0.0);
    for (name, sitting) in [("base", &result["exam"]["base"]), ("1", &result["exam"]["iterations"][0])] {
        for key in ["accuracy", "parse_rate"] {
            let share = sitting[key].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&share), "{name}: {key} {share}");
        }
        assert_eq!(sitting["interval"].as_array().unwrap().len(), 2);
    }
    assert!(result["exam"]["base"]["pass_at_2"].is_f64());
    assert!(result["exam"].as_object().unwrap().contains_key("relative_gain"));

    let dir = home.path().join("runs/3-1");
    assert_eq!(result["out"], "runs/3-1");
    let files = [
        "checkpoints",
        "config.yaml",
        "generator",
        "iteration-1",
        "ledger.jsonl",
        "metrics.jsonl",
        "report.html",
        "result.json",
        "run.json",
        "solver",
        "tensorboard",
    ];
    assert_eq!(names(&dir), files);
    assert_eq!(names(&dir.join("iteration-1")), ["generator", "solver", "tasks.jsonl"]);
    let saved: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("result.json")).unwrap()).unwrap();
    assert_eq!(saved, result);
    for role in ["generator", "solver", "iteration-1/generator", "iteration-1/solver"] {
        assert_eq!(names(&dir.join(role)), CHECKPOINT);
        Checkpoint::load(&dir.join(role)).unwrap();
    }
    let records = lines(&dir.join("metrics.jsonl"));
    let kinds: Vec<_> = records.iter().map(|r| r["record"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["exam", "step", "dataset"]);
    assert_eq!(kinds.last(), Some(&"exam"));
    let dataset = &records[2];
    let tasks = std::fs::read_to_string(dir.join("iteration-1/tasks.jsonl")).unwrap();
    let tasks: Vec<Candidate> = tasks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(dataset["tasks"], tasks.len());

    // What was saved is a configuration again, and a model again.
    let config = dir.join("config.yaml");
    let again = ["selfplay", "--config", config.to_str().unwrap(), "--dry-run"];
    let printed = succeed(home.path(), &again);
    assert!(printed.starts_with(&std::fs::read_to_string(&config).unwrap()));
    let eval = succeed(
        home.path(),
        &["eval", "--model", "runs/3-1/solver", "--limit", "4", "--max-new-tokens", "64", "--json"],
    );
    assert_eq!(
        (last_json(&eval)["items"].as_u64(), last_json(&eval)["style"].as_str()),
        (Some(4), Some("compact"))
    );

    // The next run of the seed gets the next name; a name that is taken is refused before anything is computed.
    let before = names(&dir);
    let taken = run(home.path(), &tiny(&["--out", "runs/3-1"]));
    assert!(
        !taken.status.success() && stderr(&taken).contains("runs/3-1 already holds a run"),
        "{}",
        stderr(&taken)
    );
    assert_eq!(names(&dir), before);
}

#[test]
fn people_see_a_table_and_the_funnel() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &tiny(&["--out", "r"]));
    assert!(output.status.success(), "{}", stderr(&output));
    for part in ["exam of 8 questions", "95 % interval", "arg. values", "iteration 1", "relative gain"] {
        assert!(stdout(&output).contains(part), "no `{part}` in {}", stdout(&output));
    }
    for part in
        ["generator learns", "verification", "reward ", "p-hat ", "kept  dropped", "cross-verification"]
    {
        assert!(stderr(&output).contains(part), "no `{part}` in {}", stderr(&output));
    }
    let quiet = run(home.path(), &["--quiet", "eval", "--limit", "2", "--max-new-tokens", "8"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty());
    assert!(stdout(&quiet).contains("toolr0/exam"));
}

pub(crate) fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records without the two numbers that are not reproducible.
pub(crate) fn timeless(path: &Path) -> Vec<Value> {
    let mut records = lines(path);
    for record in &mut records {
        let record = record.as_object_mut().unwrap();
        record.retain(|key, _| key != "seconds" && key != "tokens_per_second");
    }
    records
}

#[test]
fn a_seed_decides_everything_and_threads_nothing() {
    let home = tempfile::tempdir().unwrap();
    for (out, threads, seed) in [("a", "1", "5"), ("b", "2", "5"), ("c", "2", "5"), ("d", "2", "6")] {
        succeed(home.path(), &tiny(&["--quiet", "--out", out, "--threads", threads, "--seed", seed]));
    }
    let of = |out: &str| home.path().join(out);
    let metrics = timeless(&of("a").join("metrics.jsonl"));
    assert!(metrics.len() > 4);
    for other in ["b", "c"] {
        assert_eq!(timeless(&of(other).join("metrics.jsonl")), metrics);
        for file in ["generator/model.safetensors", "solver/model.safetensors", "iteration-1/tasks.jsonl"] {
            let same =
                std::fs::read(of("a").join(file)).unwrap() == std::fs::read(of(other).join(file)).unwrap();
            assert!(same, "{file} of {other} differs from that of a");
        }
    }
    assert_ne!(timeless(&of("d").join("metrics.jsonl")), metrics);
}

#[test]
fn a_dry_run_touches_nothing() {
    let home = tempfile::tempdir().unwrap();
    let text = succeed(home.path(), &tiny(&["--dry-run"]));
    for part in ["model: embedded", "generator_steps: 1", "in all", "parameters", "memory, about"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let json = last_json(&succeed(home.path(), &tiny(&["--dry-run", "--json"])));
    assert_eq!((&json["plan"]["steps"], &json["config"]["exam"]["items"]), (&3.into(), &8.into()));
    assert!(json["plan"]["parameters"].as_u64().unwrap() > 100_000);
    let hub = ["selfplay", "--config", "qwen2.5-1.5b", "--dry-run"];
    // Offline, the model cannot be looked at, which is no reason not to plan.
    assert!(succeed(home.path(), &hub).contains("unknown until the model is fetched"));
    assert!(names(home.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_run_at_a_step_and_keeps_both_models() {
    let home = tempfile::tempdir().unwrap();
    let long = [
        "--quiet",
        "--out",
        "r",
        "--set",
        "selfplay.solver_steps=100000",
        "--set",
        "selfplay.generator_steps=0",
    ];
    let mut child = toolr0(home.path()).args(tiny(&long)).spawn().unwrap();
    let metrics = home.path().join("r/metrics.jsonl");
    let steps = || std::fs::read_to_string(&metrics).unwrap_or_default().matches("\"step\"").count();
    while steps() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for role in ["generator", "solver"] {
        Checkpoint::load(&home.path().join("r").join(role)).unwrap();
    }
    let result = std::fs::read_to_string(home.path().join("r/result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(
        (&result["stopped"], result["exam"]["iterations"].as_array().unwrap().len()),
        (&true.into(), 0)
    );
    lines(&metrics);
}

#[test]
fn a_base_can_be_made_again() {
    let home = tempfile::tempdir().unwrap();
    let small = [
        "vocab=320",
        "tokenizer_documents=20",
        "hidden=32",
        "layers=1",
        "heads=2",
        "kv_heads=1",
        "intermediate=32",
        "batch_tokens=1024",
        "warmup_steps=1",
        "first.steps=2",
        "second.steps=2",
        "third.steps=1",
        "fourth.steps=1",
    ];
    let sets = small.iter().flat_map(|set| ["--set", set]);
    for out in ["a", "b"] {
        let args: Vec<_> =
            ["bootstrap", "--seed", "4", "--json", "--out", out].into_iter().chain(sets.clone()).collect();
        let result = last_json(&succeed(home.path(), &args));
        assert_eq!((&result["seed"], &result["recipe"]["hidden"]), (&4.into(), &32.into()));
    }
    assert_eq!(names(&home.path().join("a")), CHECKPOINT);
    Checkpoint::load(&home.path().join("a")).unwrap();
    for file in CHECKPOINT {
        let of = |out: &str| std::fs::read(home.path().join(out).join(file)).unwrap();
        assert!(of("a") == of("b"), "{file} differs");
    }
    // Each cycle by itself, from what the one before it left: the same base.
    let only = |more: &[&'static str]| {
        let args = ["bootstrap", "--seed", "4"].into_iter().chain(sets.clone()).chain(more.iter().copied());
        succeed(home.path(), &args.collect::<Vec<_>>());
    };
    let without = |cycles: &[&'static str]| cycles.iter().flat_map(|set| ["--set", set]).collect::<Vec<_>>();
    let [second, third, fourth] = ["second.steps=0", "third.steps=0", "fourth.steps=0"];
    only(&[vec!["--out", "first"], without(&[second, third, fourth])].concat());
    only(&[vec!["--out", "third", "--from", "first"], without(&[fourth])].concat());
    only(&[vec!["--out", "fourth", "--from", "third"], without(&[second, third])].concat());
    let weights = |out: &str| std::fs::read(home.path().join(out).join("model.safetensors")).unwrap();
    assert!(weights("fourth") == weights("a") && weights("third") != weights("a"));
    let idle =
        [vec!["bootstrap", "--out", "c", "--from", "first"], without(&[second, third, fourth])].concat();
    let idle = run(home.path(), &idle);
    assert!(!idle.status.success() && stderr(&idle).contains("have 0 steps"), "{}", stderr(&idle));
    let bad = run(home.path(), &["bootstrap", "--out", "c", "--set", "heads=0"]);
    assert!(!bad.status.success() && stderr(&bad).contains("`heads` is 0"), "{}", stderr(&bad));
    assert!(!home.path().join("c").exists());
}

#[test]
fn adapters_are_saved_beside_what_they_make() {
    let home = tempfile::tempdir().unwrap();
    succeed(home.path(), &tiny(&["--seed", "3", "--out", "r", "--set", "rl.lora.rank=2"]));
    let base = home.path().join("r/solver");
    let mut files = CHECKPOINT.to_vec();
    files.insert(0, "adapter");
    assert_eq!(names(&base), files);
    let merged = Checkpoint::load(&base).unwrap();
    let (lora, adapters) = LoraConfig::load(&base.join("adapter"), &merged.config).unwrap();
    assert_eq!((lora.rank, adapters.len()), (2, 2 * 7 * merged.config.layers));
}
