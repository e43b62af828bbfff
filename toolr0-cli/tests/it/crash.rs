//! Runs that are killed, go on, are replayed, and run into trouble: through the binary, as it happens to people.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use toolr0_model::rng::{Stream, uniform_f64};

use crate::chaos::in_time;
use crate::runs::{lines, timeless};
use crate::{last_json, names, run, stderr, succeed, tiny, toolr0};

/// Two iterations, saved after every step.
const MORE: [&str; 13] = [
    "--quiet",
    "--seed",
    "5",
    "--set",
    "selfplay.iterations=2",
    "--set",
    "checkpoint.every=1",
    "--set",
    "dataset.candidates=8",
    "--set",
    "exam.items=4",
    "--set",
    "exam.pass_at=2",
];

fn two_iterations<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let more: Vec<_> = MORE.iter().copied().chain(["--out", out]).chain(more.iter().copied()).collect();
    tiny(&more)
}

/// What a run leaves that does not depend on the clock.
fn left(run: &Path) -> (Vec<Value>, Vec<Value>, Vec<Vec<u8>>) {
    let mut ledger = lines(&run.join("ledger.jsonl"));
    for entry in &mut ledger {
        entry["cost"]["seconds"] = 0.into();
        let entry = entry.as_object_mut().unwrap();
        entry.retain(|key, _| key != "metrics" && key != "chain");
    }
    let files = [
        "generator/model.safetensors",
        "solver/model.safetensors",
        "iteration-1/tasks.jsonl",
        "iteration-2/tasks.jsonl",
    ];
    let files = files.iter().map(|file| std::fs::read(run.join(file)).unwrap()).collect();
    (timeless(&run.join("metrics.jsonl")), ledger, files)
}

/// Begins or goes on with the run `out` and kills it after `patience`; returns whether it came to its end before.
fn killed(home: &Path, out: &str, patience: Duration) -> bool {
    let begun = ["config.yaml", "run.json"].iter().all(|file| home.join(out).join(file).exists());
    if !begun {
        // Killed before there was a run: what was there is nothing.
        let _ = std::fs::remove_dir_all(home.join(out));
    }
    let args = if begun { vec!["--quiet", "selfplay", "--resume", out] } else { two_iterations(out, &[]) };
    let mut child = toolr0(home).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let clock = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let output = child.wait_with_output().unwrap();
            assert!(status.success(), "{}", stderr(&output));
            return true;
        }
        if patience <= clock.elapsed() {
            child.kill().unwrap();
            child.wait().unwrap();
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Killed at random moments, as often as it takes; with `TOOLR0_KILLS=20` that many runs instead of three.
#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_bit_for_bit() {
    let (home, clock) = (tempfile::tempdir().unwrap(), Instant::now());
    succeed(home.path(), &two_iterations("whole", &[]));
    let (took, whole) = (clock.elapsed(), left(&home.path().join("whole")));
    let runs = std::env::var("TOOLR0_KILLS").map_or(3, |n| n.parse().unwrap());
    for i in 0..runs as u64 {
        let out = format!("killed-{i}");
        let mut rng = Stream::root(17).child("kills").child(i).rng();
        // The first time anywhere in the run, then once more, then to its end.
        let mut ended = killed(home.path(), &out, took.mul_f64(0.95 * uniform_f64(&mut rng)));
        ended = ended || killed(home.path(), &out, took.mul_f64(0.5 * uniform_f64(&mut rng)));
        let ended = ended || killed(home.path(), &out, Duration::MAX);
        assert!(ended);
        let got = left(&home.path().join(&out));
        assert_eq!((&got.0, &got.1), (&whole.0, &whole.1), "{out}");
        assert!(got.2 == whole.2, "{out} has other weights or tasks");
        // Going on with what has ended is no error and changes nothing.
        if i == 0 {
            succeed(home.path(), &["--quiet", "selfplay", "--resume", &out]);
            assert!(left(&home.path().join(&out)) == whole, "a run that had ended has changed");
        }
    }
}

/// Changes one bit in the middle of a file; of tasks, in the middle of a question.
fn flip(path: &Path) -> Vec<u8> {
    let whole = std::fs::read(path).unwrap();
    let mut bytes = whole.clone();
    let question = bytes
        .windows(12)
        .position(|part| part == b"\"question\":\"")
        .filter(|_| path.ends_with("tasks.jsonl"));
    bytes[question.map_or(whole.len() / 2, |at| at + 20)] ^= 1;
    std::fs::write(path, bytes).unwrap();
    whole
}

fn newest(run: &Path) -> PathBuf {
    let all = names(&run.join("checkpoints"));
    run.join("checkpoints").join(all.into_iter().rfind(|name| !name.starts_with('.')).unwrap())
}

#[test]
fn steps_are_replayed_to_the_bit_and_flipped_bytes_found() {
    let home = tempfile::tempdir().unwrap();
    succeed(home.path(), &two_iterations("r", &["--set", "checkpoint.every=0", "--keep", "4"]));
    let dir = home.path().join("r");
    let kept = ["002-2-dataset-00000", "002-3-solver-00000", "002-4-exam-00000", "003-1-generator-00000"];
    assert_eq!(names(&dir.join("checkpoints"))[1..], kept);
    // The last step is replayed from a checkpoint, the first from the beginning.
    let last = last_json(&succeed(home.path(), &["--json", "replay", "r", "--step", "6"]));
    assert_eq!(
        (&last["role"], &last["from"], &last["compared"]),
        (&"solver".into(), &"002-3-solver-00000".into(), &2.into())
    );
    let first = last_json(&succeed(home.path(), &["--json", "replay", "r", "--step", "1"]));
    assert_eq!((&first["from"], &first["compared"]), (&"000-4-exam-00000".into(), &2.into()));
    let steps: Vec<Value> =
        lines(&dir.join("metrics.jsonl")).into_iter().filter(|r| r["record"] == "step").collect();
    assert_eq!((steps.len(), &steps[5]["update"]["loss"]), (6, &last["loss"]));
    let bits = format!("{:016x}", last["loss"].as_f64().unwrap().to_bits());
    assert_eq!(last["loss_bits"], bits);

    let refused = |args: &[&str], words: &str| {
        let output = run(home.path(), args);
        assert!(
            output.status.code() == Some(1) && stderr(&output).contains(words),
            "{words}: {}",
            stderr(&output)
        );
    };
    let replay = ["--quiet", "replay", "r", "--step", "6"];
    refused(&["--quiet", "replay", "r", "--step", "7"], "there is no step 7");
    for (file, words) in [
        ("metrics.jsonl", "metrics.jsonl"),
        ("ledger.jsonl", "ledger.jsonl"),
        ("iteration-2/tasks.jsonl", "tasks.jsonl"),
        (
            "checkpoints/002-3-solver-00000/solver/model.safetensors",
            "002-3-solver-00000/solver/model.safetensors",
        ),
    ] {
        let whole = flip(&dir.join(file));
        refused(&replay, words);
        std::fs::write(dir.join(file), whole).unwrap();
    }
    // A ledger that was forged as a whole is found out by the arithmetic.
    let config = dir.join("config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("alpha: 0.25", "alpha: 0.5").replace("learning_rate: 0.0003", "learning_rate: 0.0004"),
    )
    .unwrap();
    refused(&replay, "does not come out as recorded");
    std::fs::write(&config, text).unwrap();
    succeed(home.path(), &replay);

    // The newest checkpoint is damaged: it is refused, and the one before is used when asked for.
    let whole = left(&dir);
    flip(&newest(&dir).join("state.json"));
    refused(&["selfplay", "--resume", "r"], "003-1-generator-00000/state.json does not have the SHA-256");
    refused(&["selfplay", "--resume", "r"], "--fallback");
    succeed(home.path(), &["--quiet", "selfplay", "--resume", "r", "--fallback"]);
    assert!(left(&dir) == whole, "another end than before");
    refused_with(home.path(), &["selfplay", "--resume", "r", "--seed", "1"], "cannot be used with");
    refused_with(home.path(), &["selfplay", "--resume", "no-run"], "no-run holds no run");
}

#[track_caller]
fn refused_with(home: &Path, args: &[&str], words: &str) {
    let output = run(home, args);
    assert!(!output.status.success() && stderr(&output).contains(words), "{}", stderr(&output));
}

/// A limit on the size of files stands in for a disk that fills up in the middle of a run: models of 7 MB fit, moments
/// of 14 MB do not.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_ends_the_run_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    succeed(home.path(), &two_iterations("whole", &[]));
    let script = "trap '' XFSZ; ulimit -f 20000; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_toolr0")]).args(two_iterations("r", &[]));
    shell.current_dir(home.path());
    let output = in_time(shell);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("optimizer.safetensors"), "{}", stderr(&output));
    let checkpoints = names(&home.path().join("r/checkpoints"));
    assert!(checkpoints.iter().all(|name| name == ".lock" || !name.starts_with('.')), "{checkpoints:?}");
    succeed(home.path(), &["--quiet", "selfplay", "--resume", "r"]);
    assert!(left(&home.path().join("r")) == left(&home.path().join("whole")));
}

#[test]
fn verifiers_and_judges_that_fail_do_not_end_a_run() {
    let home = tempfile::tempdir().unwrap();
    // The base was never taught to judge: what it answers is garbage.
    let semantic = "reward.generator.curriculum_weights.semantic=0.5";
    // So many that some can be read, and so are judged.
    let mut judged = vec!["--out", "judged", "--set", semantic, "--set", "generator.prompts=16"];
    judged.extend(["--set", "dataset.pool_probed=false"]); // else the generator's turn pays for all that the dataset needs
    let result = last_json(&succeed(home.path(), &tiny(&[judged, vec!["--json"]].concat())));
    let turn = &result["cost"]["turns"]["generator"];
    let step = &lines(&home.path().join("judged/metrics.jsonl"))[1];
    let unscorable = step["unscorable"].as_u64().unwrap();
    assert!(0 < unscorable, "nobody was judged: {step}");
    assert!(3 * unscorable <= turn["judge_calls"].as_u64().unwrap(), "{turn} {step}");
    let kept = result["cost"]["kept_tasks"].as_u64().unwrap() as f64;
    assert!(0.0 < kept);
    // By turn and role: what one kept task cost is the turn's cost divided.
    for (name, turn) in result["cost"]["turns"].as_object().unwrap() {
        let per = turn["per_kept_task"].as_object().unwrap();
        for (key, value) in per.iter().filter(|(key, _)| *key != "tokens") {
            let whole = turn[key].as_f64().unwrap();
            assert!((value.as_f64().unwrap() - whole / kept).abs() < 1e-9, "{name}: {key}");
        }
        let sum =
            ["generator_tokens", "solver_tokens"].map(|key| per[key].as_f64().unwrap()).iter().sum::<f64>();
        assert!((per["tokens"].as_f64().unwrap() - sum).abs() < 1e-9, "{name}");
    }
    let per = |turn: &str, key: &str| result["cost"]["turns"][turn]["per_kept_task"][key].as_f64().unwrap();
    assert!(0.0 < per("generator", "generator_tokens") && 0.0 < per("generator", "judge_calls"));
    assert!(0.0 < per("dataset", "solver_tokens") && 0.0 < per("solver", "trained_positions"));

    let mut nan = toolr0(home.path());
    nan.args(tiny(&["--quiet", "--out", "nan", "--set", "drill.nan_rewards=0.3"]));
    let output = in_time(nan);
    assert!(output.status.success(), "{}", stderr(&output));
    let steps: Vec<Value> =
        lines(&home.path().join("nan/metrics.jsonl")).into_iter().filter(|r| r["record"] == "step").collect();
    assert!(steps.iter().all(|step| step["reward"].is_number() && step["update"]["loss"].is_number()));
    assert!(steps.iter().any(|step| step["unscorable"].as_u64() > Some(0)));
}

/// A directory nobody can write to, whoever asks: not even root makes folders there.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    refused_with(home.path(), &tiny(&["--quiet", "--out", "/proc/toolr0"]), "failed to make /proc/toolr0");
}

/// What jumps when somebody sets a clock is read by chat templates that print the date alone, and a run tells them the
/// time at which it began. Everything else measures with clocks that only go forward.
#[test]
fn nothing_in_a_run_asks_what_time_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    let rooms = ["tools", "model", "reward", "curriculum", "rl"];
    let mut folders: Vec<PathBuf> = rooms.map(|room| root.join(format!("toolr0-{room}/src"))).into();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("SystemTime")) {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    assert_eq!(found, [Path::new("toolr0-model/src/chat.rs")]);
}
