//! Verdicts per second on the golden completions, on one core.
//!
//! `cargo bench -p toolr0-benchmarks --bench reward`. The public release, prints silenced, gives about 2,700 verdicts
//! per second in Python.

use anyhow::{Context as _, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use toolr0_reward::reward::SolverConfig;
use toolr0_reward::score::Side;
use toolr0_reward::tools::{Task, ToolCall};
use toolr0_reward::{Profile, judge, release, score_line, solver_reward, wire};

/// Completions of both roles with what the release says of them, one JSON object a line.
const SOLVER: &str = include_str!("../../toolr0-reward/tests/it/golden/solver.jsonl");
const GENERATOR: &str = include_str!("../../toolr0-reward/tests/it/golden/generator.jsonl");

/// Each completion and its task; those whose gold is no list of calls are left out.
fn completions(jsonl: &str) -> Result<Vec<(Task, String)>> {
    let mut out = Vec::new();
    for line in jsonl.lines() {
        let line: Value = serde_json::from_str(line)?;
        let Ok(gold) = serde_json::from_value::<Vec<ToolCall>>(line["gold"].clone()) else { continue };
        let text = line["completion"].as_str().context("a golden line has a completion")?;
        let task = Task { question: "What time is it in Oslo?".into(), tools: Vec::new(), gold };
        out.push((task, text.to_owned()));
    }
    Ok(out)
}

fn verdicts(c: &mut Criterion) {
    let all = completions(SOLVER).expect("the golden sample is part of the repository");
    let mut group = c.benchmark_group("solver");
    group.throughput(Throughput::Elements(all.len() as u64));
    group.bench_function("verdict", |b| {
        b.iter(|| all.iter().filter(|(task, text)| judge(task, text).solved).count());
    });
    let config = SolverConfig::default();
    group.bench_function("reward", |b| {
        b.iter(|| {
            all.iter().filter_map(|(task, text)| solver_reward(task, text, &config).total()).sum::<f64>()
        });
    });
    group.finish();
}

fn parsers(c: &mut Criterion) {
    let texts: Vec<String> = GENERATOR
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<Value>(line).ok()?["completion"].as_str().map(str::to_owned)
        })
        .collect();
    let mut group = c.benchmark_group("generator");
    group.throughput(Throughput::Bytes(texts.iter().map(|t| t.len() as u64).sum()));
    group.bench_function("parse", |b| {
        b.iter(|| texts.iter().filter(|text| wire::generator::parse(text).is_ok()).count());
    });
    group.finish();

    let mut group = c.benchmark_group("score a line");
    for (side, name, lines) in [(Side::Solver, "solver", SOLVER), (Side::Generator, "generator", GENERATOR)] {
        group.throughput(Throughput::Elements(lines.lines().count() as u64));
        for (profile, label) in [(Profile::Strict, "strict"), (Profile::Release, "release")] {
            group.bench_function(format!("{name}, {label}"), |b| {
                b.iter(|| lines.lines().filter(|line| score_line(side, profile, line).is_ok()).count());
            });
        }
    }
    group.finish();

    // What a hostile model writes must not cost more than its length: a mebibyte is answered at once, and so is the
    // longest text that is read at all.
    let mut group = c.benchmark_group("hostile");
    for (size, bytes) in [("1 MiB", 1 << 20), ("64 KiB", wire::MAX_BYTES)] {
        for (name, part) in [("brackets", "["), ("tags", "<think>"), ("nested tags", "<think></think>")] {
            let text = part.repeat(bytes / part.len());
            let inside = format!("<tool_call_answer>{}", &text[..bytes - 32]);
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(format!("{name}, {size}, every reader"), |b| {
                b.iter(|| {
                    let faults = [&text, &inside].map(|text| {
                        wire::solver::parse(text).is_err() && wire::generator::parse(text).is_err()
                    });
                    let paid = [&text, &inside].map(|text| release::generator::score(text).validity);
                    (faults, paid, release::solver::score(&Value::Null, &inside).accuracy)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, verdicts, parsers);
criterion_main!(benches);
