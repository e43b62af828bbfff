//! The program as people use it: through its binary, in a folder of its own.

mod bad_input;
#[cfg(target_os = "linux")]
mod chaos;
mod configs;
mod crash;
mod data;
mod device;
mod endpoint;
mod eval;
mod foreign;
mod given;
#[cfg(unix)]
mod live;
mod report;
mod rooms;
mod runs;
mod score;
mod serve;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The binary, in the folder `home`, without the network and without the user's cache.
fn toolr0(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolr0"));
    command.current_dir(home).env("HF_HOME", home.join("no-cache")).env("HF_HUB_OFFLINE", "1");
    command.env_remove("HF_HUB_CACHE").env_remove("RAYON_NUM_THREADS");
    command
}

/// Runs to the end.
fn run(home: &Path, args: &[&str]) -> Output {
    toolr0(home).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Runs to the end, which must be a good one, and returns what was printed.
#[track_caller]
fn succeed(home: &Path, args: &[&str]) -> String {
    let output = run(home, args);
    assert!(output.status.success(), "{args:?}: {}\n{}", output.status, stderr(&output));
    stdout(&output).to_owned()
}

/// The object on the last line of `text`.
#[track_caller]
fn last_json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is one JSON object")
}

/// The names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder of reference data beside the repository, where there is one; says so where there is none.
fn shared(part: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(part);
    if path.exists() {
        return Some(path.canonicalize().unwrap());
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

/// The smallest run in which everything happens.
const TINY: [&str; 18] = [
    "selfplay.iterations=1",
    "selfplay.generator_steps=1",
    "selfplay.solver_steps=2",
    "generator.prompts=2",
    "generator.group_size=2",
    "generator.sampling.max_new_tokens=256",
    "solver.prompts=2",
    "solver.group_size=4",
    "solver.sampling.max_new_tokens=96",
    "probe.samples=2",
    "probe.sampling.max_new_tokens=96",
    "dataset.candidates=16",
    "dataset.samples=2",
    "dataset.agreement=0",
    "dataset.tasks=8",
    "dataset.sampling.max_new_tokens=256",
    "exam.items=8",
    "exam.max_new_tokens=96",
];

/// `selfplay`, tiny, with further arguments.
fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let sets = TINY.iter().flat_map(|set| ["--set", set]);
    std::iter::once("selfplay").chain(sets).chain(more.iter().copied()).collect()
}
