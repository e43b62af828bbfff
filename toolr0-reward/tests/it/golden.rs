//! The release's own numbers: every twentieth line here, all of them where the full set is at hand.

use serde_json::Value;
use toolr0_reward::score::{Profile, Side, score_line};

/// Within 1e-9 between floats, exactly else. `want` holds the fields that count.
fn same(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= 1e-9)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && b.iter().all(|(k, b)| a.get(k).is_some_and(|a| same(a, b)))
        }
        _ => got == want,
    }
}

#[track_caller]
fn check(side: Side, lines: &str, least: usize) {
    let mut n = 0;
    for (at, line) in lines.lines().enumerate() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let got = score_line(side, Profile::Release, line).unwrap();
        let mut want = golden.as_object().unwrap().clone();
        for input in ["source", "kind", "gold", "completion"] {
            want.remove(input);
        }
        let want = Value::Object(want);
        assert!(same(&got, &want), "line {}, {}:\ngot  {got}\nwant {want}", at + 1, golden["kind"]);
        n += 1;
    }
    assert!(n >= least, "only {n} lines");
}

/// The full set beside the repository, if it is there.
fn full(name: &str) -> Option<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: no full set of {name} beside the repository");
    }
    text
}

#[test]
fn solver_sample() {
    check(Side::Solver, include_str!("golden/solver.jsonl"), 100);
}

#[test]
fn generator_sample() {
    check(Side::Generator, include_str!("golden/generator.jsonl"), 30);
}

#[test]
fn solver_full_set() {
    if let Some(lines) = full("solver.jsonl") {
        check(Side::Solver, &lines, 2000);
    }
}

#[test]
fn generator_full_set() {
    if let Some(lines) = full("generator.jsonl") {
        check(Side::Generator, &lines, 1000);
    }
}
