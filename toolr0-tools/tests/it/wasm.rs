//! WebAssembly tools, above all those that would not end.

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::{Value, json};
use toolr0_tools::wasm::{Manifest, Modules};
use toolr0_tools::{End, Limits, Sandbox, State, ToolCall};

/// A module whose `call` has this body, with an answer `{"value": 42}` at 16.
fn module(body: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1) (table $t 1 funcref)
            (data (i32.const 16) "{{\"value\": 42}}")
            (func (export "alloc") (param i32) (result i32) i32.const 1024)
            (func $call (export "call") (param i32 i32) (result i64) {body}))"#
    )
}

/// The value 42.
const ANSWER: &str = "(i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 13))";
const ENDLESS: &str = "(loop (br 0)) i64.const 0";
/// Grows its memory until that fails, then touches what it did not get.
const BOMB: &str =
    "(block (loop (br_if 1 (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br 0))) unreachable";
const TABLES: &str = "(drop (table.grow $t (ref.null func) (i32.const 10000000))) (if (i32.lt_u (table.size $t) (i32.const 1000)) (then unreachable)) i64.const 0";
const RECURSION: &str = "(call $call (local.get 0) (local.get 1))";
/// 1 GB at 0, which it does not have; and 60 kB that are no JSON.
const FLOOD: &str = "i64.const 1000000000";
const OUTSIDE: &str = "(i64.or (i64.shl (i64.const 4294967295) (i64.const 32)) (i64.const 13))";
const ZEROS: &str = "i64.const 60000";
/// As many opening brackets as fit.
const NESTED: &str = "(memory.fill (i32.const 0) (i32.const 91) (i32.const 60000)) i64.const 60000";

fn load(text: &str) -> Result<Modules, toolr0_tools::Error> {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("tool.wat"), text).unwrap();
    let manifest = json!({"name": "test", "module": "tool.wat", "tools": [
        {"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    ]});
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    Modules::new(manifest, home.path())
}

fn run(tools: &Modules, limits: &Limits) -> End {
    let call = ToolCall::new("f", json!({"n": 3}).as_object().unwrap().clone());
    tools.run(&call, &mut State::default(), limits).end
}

#[track_caller]
fn check(body: &str, limits: &Limits, want: &str) {
    let tools = load(&module(body)).unwrap();
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(run(&tools, limits).kind(), want, "{body}");
        best = best.min(start.elapsed());
    }
    assert!(best <= Duration::from_millis(limits.millis + 50), "{body} took {best:?}");
}

#[test]
fn a_module_answers_from_the_call_it_reads() {
    assert_eq!(run(&load(&module(ANSWER)).unwrap(), &Limits::default()), End::Value(json!(42)));
    // What it got stands at 1024: the call itself is no answer, but it is what the module was given.
    let echo = "(i64.or (i64.shl (i64.const 1024) (i64.const 32)) (i64.extend_i32_u (local.get 1)))";
    let End::Broken(reason) = run(&load(&module(echo)).unwrap(), &Limits::default()) else { panic!() };
    assert!(reason.contains("unknown variant `name`"), "{reason}");
}

#[test]
fn what_never_ends_or_grows_is_stopped() {
    let limits = Limits { millis: 300, memory_bytes: 16 << 20, ..Limits::default() };
    check(ENDLESS, &Limits { fuel: 1_000_000, ..limits }, "timed_out");
    check(ENDLESS, &Limits { fuel: u64::MAX, millis: 100, ..limits }, "timed_out");
    check(BOMB, &limits, "out_of_memory");
    check(TABLES, &limits, "out_of_memory");
    check(RECURSION, &limits, "broken");
    check(FLOOD, &limits, "too_much_output");
    check(OUTSIDE, &limits, "broken");
    check(ZEROS, &limits, "broken");
    check(NESTED, &limits, "broken");
}

#[test]
fn fuel_is_the_same_on_every_run() {
    let tools = load(&module(ANSWER)).unwrap();
    let call = ToolCall::new("f", json!({"n": 3}).as_object().unwrap().clone());
    let steps = || tools.run(&call, &mut State::default(), &Limits::default()).cost.steps;
    assert_eq!((steps(), steps() > 0), (steps(), true));
}

#[test]
fn a_thousand_calls_side_by_side_lose_none() {
    let good = load(&module(ANSWER)).unwrap();
    let bad = [ENDLESS, BOMB, RECURSION, NESTED].map(|body| load(&module(body)).unwrap());
    let limits = Limits { fuel: 10_000_000, millis: 60_000, memory_bytes: 16 << 20, ..Limits::default() };
    let ends: Vec<End> = (0..1000usize)
        .into_par_iter()
        .map(|n| run(if n % 20 == 0 { &bad[n / 20 % 4] } else { &good }, &limits))
        .collect();
    let values = ends.iter().filter(|end| **end == End::Value(json!(42))).count();
    assert_eq!((ends.len(), values), (1000, 950));
}

#[test]
fn a_module_that_reaches_out_is_refused_by_name() {
    let refused = |text: &str| load(text).unwrap_err().to_string();
    let imports = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
    assert!(
        refused(imports).contains("it imports `wasi_snapshot_preview1.fd_write`"),
        "{}",
        refused(imports)
    );
    assert!(refused("(module)").ends_with("it does not export `memory`"));
    assert!(refused("(modul)").contains("failed to start"));
    let manifest: Manifest =
        serde_json::from_value::<Manifest>(json!({"name": "x", "module": "none.wasm", "tools": []})).unwrap();
    let missing = Modules::new(manifest, Path::new("/nowhere")).unwrap_err().to_string();
    assert_eq!(missing, "failed to read /nowhere/none.wasm");
    assert!(serde_json::from_value::<Manifest>(json!({"name": "x", "modul": 1}) as Value).is_err());
}
