//! The attack suite: a program that tries everything, and what is left of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::{Value, json};
use toolr0_tools::process::{Manifest, Processes, layers};
use toolr0_tools::{End, Limits, Outcome, Sandbox, State, ToolCall};

const TOOL: &str = env!("CARGO_BIN_EXE_hostile-tool");

/// The hostile program's tools, in a home of their own.
struct Stage {
    home: tempfile::TempDir,
    tools: Processes,
}

impl Stage {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let open = json!({"type": "object", "properties": {}, "additionalProperties": true});
        let names = [
            "echo",
            "refuse",
            "crash",
            "babble",
            "endless",
            "sleep",
            "allocate",
            "recurse",
            "flood",
            "flood_stderr",
            "nest",
            "threads",
            "fork",
            "read",
            "environment",
            "write",
            "fill",
            "socket",
            "kill",
        ];
        let tools: Vec<Value> = names.iter().map(|name| json!({"name": name, "parameters": open})).collect();
        let manifest: Manifest =
            serde_json::from_value(json!({"name": "hostile", "run": [TOOL], "tools": tools})).unwrap();
        // Where the machine has all layers this is the strict mode; elsewhere the tests say what is missing.
        let tools = Processes::new(manifest, Path::new("/"), home.path(), false).unwrap();
        Self { home, tools }
    }

    fn run(&self, name: &str, limits: &Limits) -> Outcome {
        let arguments = json!({"folder": self.home.path()}).as_object().unwrap().clone();
        self.tools.run(&ToolCall::new(name, arguments), &mut State::default(), limits)
    }

    /// What is left in the home: nothing, once every call has ended.
    fn left(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.home.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Runs one attack, and holds its end and its time against what they should be. The clock of a busy machine is
    /// no judge, so the best of some tries counts.
    #[track_caller]
    fn check(&self, attack: &str, fits: impl Fn(&End) -> bool) {
        let limits = Limits { millis: 300, memory_bytes: 64 << 20, ..Limits::default() };
        let before = own_memory();
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let start = Instant::now();
            let outcome = self.run(attack, &limits);
            best = best.min(start.elapsed());
            assert!(fits(&outcome.end), "{attack}: {:?}", outcome.end);
            assert_eq!(self.left(), [] as [PathBuf; 0], "{attack} left something behind");
            if best <= Duration::from_millis(limits.millis + 50) {
                break;
            }
        }
        assert!(best <= Duration::from_millis(limits.millis + 50), "{attack} took {best:?}");
        let grown = own_memory().saturating_sub(before);
        assert!(grown < 64 << 20, "{attack} took {grown} bytes of this process");
        assert_eq!(children(), 0, "{attack} left a process behind");
    }
}

/// Resident memory of this process, bytes.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Processes of the hostile program that are no children of this one: each would have got away.
fn children() -> usize {
    let own = format!(" {} ", std::process::id());
    let got_away = |entry: &std::fs::DirEntry| {
        let of_tool = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == Path::new(TOOL));
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name: state, parent.
        of_tool && stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest[1..].starts_with(&own))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(got_away).count()
}

/// Whether this machine has the layer that an attack needs to be kept off by.
fn has(layer: &str, attack: &str) -> bool {
    let there = layers().iter().any(|one| one.name == layer && one.there);
    if !there {
        eprintln!("skipped: {attack}, since this machine lacks {layer}");
    }
    there
}

#[test]
fn a_program_answers_refuses_and_breaks() {
    let stage = Stage::new();
    let limits = Limits { millis: 20_000, ..Limits::default() };
    let end = |name| stage.run(name, &limits).end;
    assert!(matches!(end("echo"), End::Value(value) if value["folder"] == json!(stage.home.path())));
    assert_eq!(end("refuse"), End::ToolError("there is none".into()));
    assert_eq!(end("crash"), End::Broken("exit status: 3: the disk is on fire".into()));
    assert!(matches!(end("babble"), End::Broken(reason) if reason.starts_with("expected {\"value\"")));
    assert_eq!(end("moon").kind(), "refused");
    let End::Value(environment) = end("environment") else { panic!() };
    assert_eq!(environment, json!(["HOME", "LANG", "PATH", "TMPDIR"]), "of the parent's environment nothing");
    assert_eq!(stage.left(), [] as [PathBuf; 0]);
}

#[test]
fn what_never_ends_is_ended() {
    let stage = Stage::new();
    stage.check("endless", |end| *end == End::TimedOut);
    stage.check("sleep", |end| *end == End::TimedOut);
    stage.check("flood_stderr", |end| *end == End::TimedOut);
}

#[test]
fn what_grows_is_stopped() {
    let stage = Stage::new();
    stage.check("allocate", |end| matches!(end, End::OutOfMemory | End::TimedOut));
    stage.check("recurse", |end| matches!(end, End::Broken(_) | End::OutOfMemory | End::TimedOut));
    stage.check("flood", |end| *end == End::TooMuchOutput);
    stage.check("nest", |end| matches!(end, End::Broken(_)));
    stage.check("fill", |end| *end == End::OutOfMemory);
}

#[test]
fn what_reaches_out_gets_nothing_done() {
    let stage = Stage::new();
    let nothing = |end: &End| *end == End::Value(json!([]));
    for (attack, layer) in [
        ("fork", "seccomp"),
        ("socket", "seccomp"),
        ("kill", "seccomp"),
        ("read", "landlock"),
        ("write", "landlock"),
    ] {
        if has(layer, attack) {
            stage.check(attack, nothing);
        }
    }
    // Threads are allowed; address space runs out long before they are too many.
    stage.check("threads", |end| nothing(end) || *end == End::TimedOut);
}

#[test]
fn the_strict_mode_runs_nothing_where_a_layer_is_missing() {
    let manifest = json!({"name": "hostile", "run": [TOOL], "tools": [{"name": "echo", "parameters": {"type": "object"}}]});
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    let missing: Vec<_> = layers().iter().filter(|layer| !layer.there).map(|layer| layer.name).collect();
    match Processes::new(manifest, Path::new("/"), &std::env::temp_dir(), true) {
        Ok(_) => assert!(missing.is_empty(), "{missing:?}"),
        Err(error) => assert_eq!(
            error.to_string(),
            format!("this machine lacks {}, and the strict mode runs no program without", missing.join(", "))
        ),
    }
}

#[test]
fn a_thousand_calls_side_by_side_lose_none() {
    let stage = Stage::new();
    // One in twenty never answers, or tries to start others.
    let hostile = |n: usize| ["endless", "sleep", "flood", "fork"][n / 20 % 4];
    let ends: Vec<(usize, End)> = (0..1000usize)
        .into_par_iter()
        .map(|n| {
            let name = if n % 20 == 0 { hostile(n) } else { "echo" };
            let millis = if n % 20 == 0 { 200 } else { 60_000 };
            let call = ToolCall::new(name, json!({"n": n}).as_object().unwrap().clone());
            let limits = Limits { millis, ..Limits::default() };
            (n, stage.tools.run(&call, &mut State::default(), &limits).end)
        })
        .collect();
    for (n, end) in ends {
        match (n % 20, end) {
            (0, End::TimedOut | End::TooMuchOutput | End::Value(_)) => {}
            (1.., End::Value(value)) => assert_eq!(value, json!({"n": n})),
            (_, end) => panic!("call {n}: {end:?}"),
        }
    }
    assert_eq!(stage.left(), [] as [PathBuf; 0]);
}

#[test]
fn a_manifest_is_refused_by_name() {
    let refused = |manifest: Value| {
        let manifest: Manifest = serde_json::from_value(manifest).unwrap();
        Processes::new(manifest, Path::new("/nowhere"), Path::new("/tmp"), false).unwrap_err().to_string()
    };
    let tools = json!([{"name": "f"}]);
    assert_eq!(
        refused(json!({"name": "x", "run": [], "tools": tools})),
        "expected a manifest of tools: `run` is empty"
    );
    assert_eq!(refused(json!({"name": "x", "run": ["./f"], "tools": tools})), "failed to read /nowhere/./f");
    assert_eq!(
        refused(json!({"name": "x", "run": ["/bin/true"], "tools": [{"name": "f"}, {"name": "f"}]})),
        "expected a manifest of tools: two tools are called `f`"
    );
}
