//! A disk that is slow or cannot be written, a clock that jumps, a judge that talks nonsense, a tool that is killed: a run
//! comes to the same end, or to one with a name, and its last checkpoint can be gone on with. A disk that is full is in
//! [`crate::crash`].

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use toolr0_model::Checkpoint;

use crate::endpoint::{Act, Bad};
use crate::runs::{lines, timeless};
use crate::{last_json, names, stderr, succeed, tiny, toolr0};

/// The shortest run with every turn, saved after every step.
const SHORT: [&str; 8] =
    ["--quiet", "--seed", "5", "--set", "checkpoint.every=1", "--set", "exam.items=4", "--out"];

fn short<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let more: Vec<_> = SHORT.iter().copied().chain([out]).chain(more.iter().copied()).collect();
    tiny(&more)
}

/// Runs to the end, which must come within half a minute of when a healthy run's would: a fault may end a run, and never
/// make it wait. How long the healthy one takes is measured, because machines differ.
#[track_caller]
pub(crate) fn in_time(mut command: Command) -> Output {
    static HEALTHY: OnceLock<Duration> = OnceLock::new();
    let healthy = HEALTHY.get_or_init(|| {
        let (home, clock) = (tempfile::tempdir().unwrap(), Instant::now());
        succeed(home.path(), &short("healthy", &[]));
        clock.elapsed()
    });
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ((sender, receiver), id) = (mpsc::channel(), child.id().to_string());
    std::thread::spawn(move || _ = sender.send(child.wait_with_output().unwrap()));
    receiver.recv_timeout(*healthy + Duration::from_secs(30)).unwrap_or_else(|_| {
        _ = Command::new("kill").args(["-9", &id]).status();
        panic!("a run among faults has not come to its end 30 s behind a healthy one, which took {healthy:?}")
    })
}

/// What a run leaves that does not depend on the clock.
fn left(run: &Path) -> (Vec<Value>, Vec<Vec<u8>>) {
    let files = ["generator/model.safetensors", "solver/model.safetensors", "iteration-1/tasks.jsonl"];
    (
        timeless(&run.join("metrics.jsonl")),
        files.iter().map(|file| std::fs::read(run.join(file)).unwrap()).collect(),
    )
}

/// The library that makes faults, compiled into `home`.
fn faults(home: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/faults.rs");
    let library = home.join("faults.so");
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(compiler)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["--edition", "2024", "--crate-type", "cdylib", "-O", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    library
}

/// The program among faults.
fn among(home: &Path, library: &Path, fault: (&str, &str)) -> Command {
    let mut command = toolr0(home);
    command.env("LD_PRELOAD", library).env(fault.0, fault.1).env("FAULTS_COUNT", home.join("count"));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn count(home: &Path) -> u64 {
    std::fs::read_to_string(home.join("count")).unwrap().parse().unwrap()
}

/// Waits for `sign` while the program runs.
#[track_caller]
fn until(child: &mut Child, sign: impl Fn() -> bool) {
    while !sign() {
        if child.try_wait().unwrap().is_some() {
            let mut text = String::new();
            std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
            panic!("the run ended by itself: {text}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn checkpoints(run: &Path, hidden: bool) -> Vec<String> {
    let all = run.join("checkpoints");
    if !all.exists() {
        return Vec::new();
    }
    let entries = all.read_dir().unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let mut found: Vec<String> =
        entries.filter(|name| name != ".lock" && name.starts_with('.') == hidden).collect();
    found.sort();
    found
}

/// Every sync takes a fortieth of a second, and the run does not care; killed in the middle of writing, it goes on.
#[test]
fn a_slow_disk_changes_nothing_and_a_run_killed_while_it_writes_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (home, library) = (home.path(), faults(home.path()));
    succeed(home, &short("whole", &[]));
    let whole = left(&home.join("whole"));
    assert!(whole.0.iter().any(|record| record["role"] == "solver"), "the solver had nothing to learn");
    let slow = ("FAULTS_DISK", "25");
    let mut slow = among(home, &library, slow);
    slow.args(short("slow", &[]));
    let output = in_time(slow);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(left(&home.join("slow")) == whole, "a slow disk has changed a run");
    // Of each checkpoint every file, the folder, its new name and the folder of all.
    assert!(100 < count(home), "{} syncs were slow", count(home));

    let dir = home.join("killed");
    let slower = ("FAULTS_DISK", "200");
    let mut child = among(home, &library, slower).args(short("killed", &[])).spawn().unwrap();
    until(&mut child, || !checkpoints(&dir, false).is_empty() && !checkpoints(&dir, true).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let (good, half) = (checkpoints(&dir, false), checkpoints(&dir, true));
    assert!(!good.is_empty() && !half.is_empty(), "{good:?} {half:?}");
    succeed(home, &["--quiet", "selfplay", "--resume", "killed"]);
    assert!(left(&dir) == whole, "killed while it wrote, the run came to another end");
    assert_eq!(checkpoints(&dir, true), Vec::<String>::new());
}

/// A model whose template prints the time to the second is told when the run began, whatever the clock says since.
#[test]
fn a_clock_that_jumps_changes_no_bit() {
    let home = tempfile::tempdir().unwrap();
    let (home, library) = (home.path(), faults(home.path()));
    let (base, dated) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/base"), home.join("dated"));
    std::fs::create_dir(&dated).unwrap();
    for file in names(&base) {
        std::fs::copy(base.join(&file), dated.join(&file)).unwrap();
    }
    let path = dated.join("tokenizer_config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let template = config["chat_template"].as_str().unwrap();
    config["chat_template"] = format!("{{{{ strftime_now('%Y-%m-%d %H:%M:%S') }}}}{template}").into();
    std::fs::write(&path, config.to_string()).unwrap();

    let (jumps, dir) = (("FAULTS_CLOCK", "1600000000"), home.join("r"));
    // Of 16 candidates, on some days none can be learned from.
    let more = ["--model", "dated", "--set", "dataset.candidates=48"];
    let mut child = among(home, &library, jumps).args(short("r", &more)).spawn().unwrap();
    until(&mut child, || dir.join("checkpoints/001-2-dataset-00000").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let first = count(home);
    let mut rest = among(home, &library, jumps);
    rest.args(["--quiet", "selfplay", "--resume", "r"]);
    let output = in_time(rest);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(0 < first && 0 < count(home), "nobody looked at the clock");
    let records = lines(&dir.join("metrics.jsonl"));
    let sane = |seconds: &Value| (0.0..1e6).contains(&seconds.as_f64().unwrap());
    assert!(records.iter().filter_map(|record| record.get("seconds")).all(sane), "{records:?}");
    // With the right clock every step comes out as recorded, behind the kill and before it.
    let steps = records.iter().filter(|record| record["record"] == "step").count();
    assert!(1 < steps, "the solver had nothing to learn");
    for step in ["1", &steps.to_string()] {
        let replayed = last_json(&succeed(home, &["--json", "replay", "r", "--step", step]));
        assert!(0 < replayed["compared"].as_u64().unwrap(), "{replayed}");
    }
    // Told another beginning, they do not: the time does stand in the prompts.
    let terms = dir.join("run.json");
    let mut other: Value = serde_json::from_str(&std::fs::read_to_string(&terms).unwrap()).unwrap();
    other["began"] = (other["began"].as_u64().unwrap() + 1).into();
    std::fs::write(&terms, other.to_string()).unwrap();
    let output = crate::run(home, &["--quiet", "replay", "r", "--step", "1"]);
    assert!(stderr(&output).contains("does not come out as recorded"), "{}", stderr(&output));
}

/// The folder of checkpoints cannot be written from some step on. Root may write anywhere, unless it gives that up.
#[test]
fn a_directory_that_becomes_read_only_ends_the_run_by_name_and_soon() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let set_mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let probe = home.join("probe");
    std::fs::create_dir(&probe).unwrap();
    set_mode(&probe, 0o555);
    let root = std::fs::write(probe.join("x"), "").is_ok();
    let program = env!("CARGO_BIN_EXE_toolr0");
    let drop = ["--bounding-set=-dac_override", "--inh-caps=-dac_override"];
    let mut command = if root { Command::new("setpriv") } else { Command::new(program) };
    if root {
        let able = Command::new("setpriv").args(drop).arg("true").output();
        if !able.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: root can write anywhere, and there is no setpriv to give that up");
            return;
        }
        command.args(drop).arg(program);
    }
    succeed(home, &short("whole", &[]));
    let dir = home.join("r");
    command.current_dir(home).args(short("r", &[])).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    until(&mut child, || dir.join("checkpoints/001-2-dataset-00000").exists());
    set_mode(&dir.join("checkpoints"), 0o555);
    let clock = Instant::now();
    let output = child.wait_with_output().unwrap();
    set_mode(&dir.join("checkpoints"), 0o755);
    assert!(clock.elapsed() < Duration::from_secs(30), "{:?}", clock.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let words = stderr(&output);
    assert!(words.contains("r/checkpoints") && words.contains("ermission denied"), "{words}");
    let last = checkpoints(&dir, false).pop().expect("the last checkpoint is still there");
    Checkpoint::load(&dir.join("checkpoints").join(last).join("solver")).unwrap();
    succeed(home, &["--quiet", "selfplay", "--resume", "r"]);
    assert!(left(&dir) == left(&home.join("whole")), "the run came to another end");
}

/// Scores of no kind, one after the other: each is no score, no task is paid for it, and the run comes to its end.
#[test]
fn a_judge_that_talks_nonsense_gives_no_score() {
    let home = tempfile::tempdir().unwrap();
    let nonsense = [
        r#"{"choices": [{"message": {"content": "]]}} <score>NaN</score> \u0000\ud83d"}}]}"#,
        r#"{"choices": [{"message": {"content": ""}}]}"#,
        r#"{"choices": [{"message": {"content": "<score>99999999999999999999</score>"}}]}"#,
        r#"{"choices": [{"message": {"content": "I like it."}}]}"#,
    ];
    let judge = Bad::start(r#"{"data": [{"id": "m"}]}"#, move |n| Act::Say(200, "", nonsense[n % 4]));
    let mut more = vec!["--endpoint", &judge.url, "--endpoint-roles", "judge"];
    // Enough tasks that some can be read, and so are judged.
    for set in [
        "generator.prompts=16",
        "generator.sampling.max_new_tokens=320",
        "reward.generator.curriculum_weights={difficulty: 0.5, semantic: 0.5}",
    ] {
        more.extend(["--set", set]);
    }
    let mut judged = toolr0(home.path());
    judged.args(short("r", &more));
    let output = in_time(judged);
    assert!(output.status.success(), "{}", stderr(&output));
    let records = lines(&home.path().join("r/metrics.jsonl"));
    let step = records.iter().find(|record| record["role"] == "generator").unwrap();
    assert!(!judge.asked().is_empty(), "nobody asked the judge");
    assert!(0 < step["unscorable"].as_u64().unwrap(), "{step}");
}

/// Kills whatever runs `script` and does not end by itself, as long as `on`; says how often.
fn kill_what_stays(script: &Path, on: &AtomicBool) -> usize {
    let (mut seen, mut kills) = (HashMap::<PathBuf, Instant>::new(), 0);
    while on.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
        let runs_it = |process: &PathBuf| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(script.to_str().unwrap())
        };
        let running: Vec<PathBuf> = Path::new("/proc")
            .read_dir()
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(runs_it)
            .collect();
        seen.retain(|process, _| running.contains(process));
        for process in running {
            let since = *seen.entry(process.clone()).or_insert_with(Instant::now);
            if Duration::from_millis(400) < since.elapsed() {
                let killed =
                    Command::new("kill").arg("-9").arg(process.file_name().unwrap()).output().unwrap();
                kills += usize::from(killed.status.success());
            }
        }
    }
    kills
}

/// A program behind the tools is killed in every other call: those golds are refused by name, what is left is learned
/// from, and the run comes to its end.
#[test]
fn a_tool_whose_process_is_killed_ends_no_run() {
    const TOOL: &str = r#"read -r call
[ $((${#call} % 2)) = 0 ] && while :; do :; done
printf '{"value": %s}\n' "$call""#;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let clinic = format!("mcp:{}", crate::live::clinic().display());
    let tools = last_json(&succeed(home, &["--json", "tools", "list", &clinic]))["tools"].clone();
    let script = home.join("tool.sh");
    std::fs::write(&script, TOOL).unwrap();
    let manifest =
        json!({"name": "healthcare", "run": ["/bin/sh", script], "read": ["tool.sh"], "tools": tools});
    std::fs::write(home.join("manifest.json"), manifest.to_string()).unwrap();
    let mut more = vec!["--tools", "process:."];
    for set in ["reward.solver.executed=true", "turns.most=2", "dataset.candidates=48"] {
        more.extend(["--set", set]);
    }
    let on = AtomicBool::new(true);
    let (output, kills) = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_what_stays(&script, &on));
        let mut called = toolr0(home);
        called.args(short("r", &more));
        let output = std::panic::catch_unwind(AssertUnwindSafe(|| in_time(called)));
        on.store(false, Ordering::Relaxed); // Else the killer would go on after a failure, and the scope wait for it.
        (output.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), killer.join().unwrap())
    });
    assert!(output.status.success(), "{}", stderr(&output));
    let records = lines(&home.join("r/metrics.jsonl"));
    let dataset = records.iter().find(|record| record["record"] == "dataset").unwrap();
    let execution = dataset["funnel"].as_array().unwrap().iter().find(|s| s["name"] == "execution").unwrap();
    assert!(
        0 < kills && execution["drops"]["gold_limit"].as_u64().is_some_and(|n| 0 < n),
        "{kills} kills, {execution}"
    );
    assert!(records.iter().any(|record| record["role"] == "solver"), "{execution}");
}
