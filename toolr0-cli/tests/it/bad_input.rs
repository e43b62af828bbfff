//! What a user can get wrong: a message that names it, an exit code, and nothing left behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::{last_json, names, run, stderr, succeed, tiny};

/// `args` fail with `code`, say `words`, and leave nothing in the folder that was not there.
#[track_caller]
fn refused(home: &Path, args: &[&str], code: i32, words: &[&str]) {
    let before = names(home);
    let output = run(home, args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(names(home), before, "{args:?} left something");
}

#[test]
fn keys_that_do_not_exist_are_named_with_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    for (set, near) in [
        ("rl.learning_rat=1", "unknown key `rl.learning_rat`; did you mean `rl.learning_rate`?"),
        ("selfplay.iteration=1", "did you mean `selfplay.iterations`?"),
        ("rl.loss.importance_correction.levle=token", "did you mean `rl.loss.importance_correction.level`?"),
        ("reward.generator.verify.flatt=true", "did you mean `reward.generator.verify.flat`?"),
        ("solver.smapling.top_p=1", "did you mean `solver.sampling`?"),
        ("candidates=3", "did you mean `dataset.candidates`?"),
        ("zzz=3", "unknown key `zzz`; expected one of"),
        ("seed.x=3", "`seed` takes one value and has no key `x`"),
    ] {
        refused(home.path(), &["selfplay", "--set", set], 1, &[set, near]);
    }
    std::fs::write(home.path().join("bad.yaml"), "rl:\n  los:\n    beta: 0\n").unwrap();
    let args = ["selfplay", "--config", "bad.yaml"];
    refused(home.path(), &args, 1, &["bad.yaml", "`rl.los`", "did you mean `rl.loss`?"]);
}

#[test]
fn values_are_refused_by_key() {
    let home = tempfile::tempdir().unwrap();
    for (set, words) in [
        ("rl.learning_rate=fast", "`rl.learning_rate` is string \"fast\", expected a number"),
        ("selfplay.iterations=-1", "`selfplay.iterations`"),
        ("selfplay.iterations=1.5", "expected a whole number of at least 0"),
        ("selfplay.iterations=0", "`selfplay.iterations` is 0, expected at least 1"),
        ("solver.group_size=1", "`solver.group_size` is 1, expected at least 2"),
        ("rl.learning_rate=2", "`rl.learning_rate` is 2, expected 0 to 1"),
        ("probe.sampling.top_p=0", "`probe.sampling`: sampling: `top_p` is 0"),
        ("dataset.agreement=1.5", "`dataset.agreement` is 1.5"),
        ("spec.domains.travel=-1", "`domains` gives `travel` the weight -1"),
        ("spec.menus.1=[{min: 3, max: 2, weight: 1}]", "`menus.1` has the range 3..=2"),
        ("rl=3", "`rl` is 3, expected a section with keys"),
        ("style=loud", "style"),
        ("frontier.low=0.9", "low 0.9"),
        ("rl.loss.delta=0.5", "delta"),
        ("reward.solver.alpha=-1", "`reward.solver.alpha` is -1, expected a number >= 0"),
        ("rl.adamw.beta1=1.5", "`rl.adamw.beta1` is 1.5"),
    ] {
        refused(home.path(), &["selfplay", "--set", set], 1, &[words]);
    }
    refused(home.path(), &["selfplay", "--set", "seed"], 1, &["expected KEY=VALUE"]);
    refused(home.path(), &["selfplay", "--set", "seed=[1"], 1, &["the value is not YAML"]);
    refused(home.path(), &["selfplay", "--seed", "x"], 2, &["--seed"]);
    refused(home.path(), &["selfplay", "--threads", "0"], 2, &["--threads"]);
    for (text, words) in [("a: [", "not valid YAML"), ("- 1", "a list"), ("model: 3", "`model` is 3")] {
        std::fs::write(home.path().join("bad.yaml"), text).unwrap();
        refused(home.path(), &["selfplay", "--config", "bad.yaml"], 1, &["bad.yaml", words]);
    }
    refused(home.path(), &["selfplay", "--config", "none.yaml"], 1, &["none.yaml", "nano, qwen2.5-0.5b"]);
}

/// The number is that of the list of faults of the public release in the specification of the method: its scripts print
/// `ERROR` and go on, so that what follows trains on what is not there.
#[test]
fn fault_21_an_error_ends_with_a_status_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    refused(home.path(), &["selfplay", "--model", "./none", "--out", "r"], 1, &["./none"]);
    refused(home.path(), &["score", "--role", "solver", "--input", "none.jsonl"], 1, &["none.jsonl"]);
    refused(home.path(), &["export", "r", "--out", "tasks.jsonl"], 1, &["failed to read r"]);
    refused(home.path(), &["train"], 2, &["unrecognized subcommand"]);
}

#[test]
fn sets_go_together_and_tables_are_data() {
    let home = tempfile::tempdir().unwrap();
    let sets = [
        "spec.domains={banking: 1}",
        "spec.calls.single_turn.2=0",
        "dataset.mix.easy=0.5",
        "rl.learning_rate=1e-4",
    ];
    let mut args = vec!["selfplay", "--dry-run"];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let text = succeed(home.path(), &args);
    for part in ["banking: 1.0", "easy: 0.5", "learning_rate: 0.0001"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!text.contains("cybersecurity"));
    // Neither key is whole without the other: together they are read, and then found to have no effect.
    let (level, bounds) =
        ("rl.loss.importance_correction.level=token", "rl.loss.importance_correction.out_of_bounds=truncate");
    refused(home.path(), &["selfplay", "--dry-run", "--set", level], 1, &["out_of_bounds"]);
    let both = ["selfplay", "--dry-run", "--set", level, "--set", bounds];
    refused(home.path(), &both, 1, &["rl.loss.importance_correction", "one process does not use it"]);
    // Sections that are off by default are switched on by any of their keys.
    for (set, part) in [
        ("rl.lora.rank=4", "rank: 4"),
        ("rl.dynamic_sampling.max_rounds=3", "max_rounds: 3"),
        ("rl.overlong.cache=16", "cache: 16"),
    ] {
        let text = succeed(home.path(), &["selfplay", "--dry-run", "--set", set]);
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    refused(home.path(), &["selfplay", "--set", "rl.lora.targets=[x]"], 1, &["rl.lora.targets"]);
    refused(home.path(), &["selfplay", "--set", "rl.lora.rank=0"], 1, &["lora: `rank` is 0"]);
}

/// Tensors of a weight file: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The weight file with one change.
fn with_tensors(file: &[u8], change: &dyn Fn(&mut Tensors)) -> Vec<u8> {
    let mut all: Tensors = SafeTensors::deserialize(file)
        .unwrap()
        .iter()
        .map(|(name, x)| (name.to_owned(), (x.dtype(), x.shape().to_vec(), x.data().to_vec())))
        .collect();
    change(&mut all);
    let views = all
        .iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn checkpoints_that_are_none_are_named() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    succeed(
        dir,
        &[
            "bootstrap",
            "--quiet",
            "--out",
            "m",
            "--set",
            "vocab=320",
            "--set",
            "tokenizer_documents=5",
            "--set",
            "hidden=16",
            "--set",
            "layers=1",
            "--set",
            "heads=2",
            "--set",
            "kv_heads=1",
            "--set",
            "intermediate=16",
            "--set",
            "first.steps=1",
            "--set",
            "second.steps=0",
            "--set",
            "third.steps=0",
            "--set",
            "fourth.steps=0",
            "--set",
            "warmup_steps=0",
            "--set",
            "batch_tokens=256",
        ],
    );
    let run = |model: &'static str, words: &[&str]| {
        refused(dir, &tiny(&["--out", "r", "--model", model]), 1, words)
    };
    run("./none", &["model `./none`"]);
    run("org/none", &["model `org/none`", "not in the cache"]);
    // Broken in one place each, and whole again.
    let broken = |file: &str, text: Option<&[u8]>, words: &[&str]| {
        let path = dir.join("m").join(file);
        let whole = std::fs::read(&path).unwrap();
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        run("m", words);
        std::fs::write(&path, whole).unwrap();
    };
    broken("config.json", None, &["m/config.json"]);
    broken("config.json", Some(b"{"), &["m/config.json", "JSON"]);
    broken("tokenizer.json", None, &["m/tokenizer.json"]);
    broken("tokenizer_config.json", Some(b"{}"), &["m/tokenizer_config.json", "chat_template"]);
    broken("model.safetensors", None, &["m/model.safetensors"]);
    let weights = std::fs::read(dir.join("m/model.safetensors")).unwrap();
    broken(
        "model.safetensors",
        Some(&weights[..weights.len() - 9]),
        &["m/model.safetensors", "not a whole safetensors"],
    );
    let config = std::fs::read_to_string(dir.join("m/config.json")).unwrap();
    let smaller = config.replace("\"vocab_size\": 320", "\"vocab_size\": 300");
    assert_ne!(smaller, config);
    broken("config.json", Some(smaller.as_bytes()), &["m/tokenizer.json", "vocab_size is 300"]);
    let larger = config.replace("\"vocab_size\": 320", "\"vocab_size\": 400");
    let shape = ["m/model.safetensors", "`model.embed_tokens.weight`", "[320, 16]", "[400, 16]"];
    broken("config.json", Some(larger.as_bytes()), &shape);

    // Weights that are not the config's, each by file and tensor.
    const NORM: &str = "model.norm.weight";
    let changed = |change: &dyn Fn(&mut Tensors), words: &[&str]| {
        let words = [&["m/model.safetensors"], words].concat();
        broken("model.safetensors", Some(&with_tensors(&weights, change)), &words);
    };
    let norm = |dtype, bytes: Vec<u8>| {
        move |all: &mut Tensors| drop(all.insert(NORM.into(), (dtype, vec![16], bytes.clone())))
    };
    changed(&norm(Dtype::I32, vec![0; 64]), &[NORM, "I32"]);
    changed(&norm(Dtype::F64, vec![0; 128]), &[NORM, "F64"]);
    changed(&norm(Dtype::F32, f32::NAN.to_le_bytes().repeat(16)), &[NORM, "not finite"]);
    changed(&|all| drop(all.remove(NORM)), &["lacks tensor", NORM]);
    changed(
        &|all| drop(all.insert("model.extra".into(), all[NORM].clone())),
        &["holds tensor `model.extra`"],
    );

    // A template that cannot be read, and one that refuses what it is asked to render.
    let template = |source: &str| {
        let path = dir.join("m/tokenizer_config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        config["chat_template"] = source.into();
        config.to_string()
    };
    for (source, word) in [
        ("{% if %}", "syntax error"),
        ("{{ raise_exception('no system message, please') }}", "no system message, please"),
        ("{{ messages[7].content.lower() }}", "undefined"),
    ] {
        let text = template(source);
        broken("tokenizer_config.json", Some(text.as_bytes()), &["m/tokenizer_config.json", word]);
    }
    // Whole again: it runs.
    succeed(dir, &tiny(&["--quiet", "--out", "r", "--model", "m"]));

    // The same files in the cache of the hub are that hub id's model, and the network is not asked.
    let folder = dir.join("no-cache/hub/models--org--m");
    let snapshot = folder.join("snapshots/abc123");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    std::fs::write(folder.join("refs/main"), "abc123").unwrap();
    for name in names(&dir.join("m")) {
        let _ = std::fs::copy(dir.join("m").join(&name), snapshot.join(&name));
    }
    let eval = ["eval", "--limit", "1", "--max-new-tokens", "4", "--json", "--model"];
    let (hub, local) = ([&eval[..], &["org/m"]].concat(), [&eval[..], &["m"]].concat());
    let without = |text: String| last_json(&text)["splits"].clone();
    assert_eq!(without(succeed(dir, &hub)), without(succeed(dir, &local)));
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("full")).unwrap();
    std::fs::write(home.path().join("full/notes.txt"), "mine").unwrap();
    refused(home.path(), &tiny(&["--out", "full"]), 1, &["full is not empty"]);
    refused(home.path(), &tiny(&["--out", "full", "--dry-run"]), 1, &["full is not empty"]);
    refused(home.path(), &tiny(&["--out", "full/notes.txt"]), 1, &["full/notes.txt"]);
    refused(home.path(), &["bootstrap", "--out", "full"], 1, &["full is not empty"]);
    assert_eq!(std::fs::read_to_string(home.path().join("full/notes.txt")).unwrap(), "mine");
}

/// A limit on the size of files stands in for a disk: the same call fails in the same place, with another number.
#[cfg(unix)]
#[test]
fn a_full_disk_names_the_file_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_toolr0")]).args(tiny(&["--quiet", "--out", "r"]));
    let output = shell.current_dir(home.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("failed to write r/generator/"), "{}", stderr(&output));
    assert!(names(home.path()).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_behind_stdout_is_an_error_and_a_closed_pipe_is_not() {
    let home = tempfile::tempdir().unwrap();
    let sh = |script: &str| {
        Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_toolr0")])
            .current_dir(home.path())
            .output()
            .unwrap()
    };
    for script in ["\"$0\" configs nano > /dev/full", "\"$0\" completions bash > /dev/full"] {
        let output = sh(script);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("failed to write to standard output"), "{}", stderr(&output));
    }
    let closed = sh(
        "set -o pipefail; for i in 1 2 3 4 5 6 7 8 9; do \"$0\" completions bash | head -c 1 > /dev/null; done",
    );
    assert!(closed.status.success() && closed.stderr.is_empty(), "{}", stderr(&closed));
}
