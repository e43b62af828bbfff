//! Warm calls of a WebAssembly tool per second, on one core: `cargo bench -p toolr0-benchmarks --bench wasm`.
//!
//! Each call is read by its schema, gets a fresh instance with its limits, writes the call into it and reads the answer. The
//! module answers with the length of what it was given, so that nothing of it can be left out.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use toolr0_tools::wasm::{Manifest, Modules};
use toolr0_tools::{End, Limits, Sandbox, State, ToolCall};

/// Counts the bytes of the call one by one, and writes the number with two digits.
const MODULE: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 16) "{\"value\": 00}")
    (func (export "alloc") (param i32) (result i32) i32.const 1024)
    (func (export "call") (param $at i32) (param $length i32) (result i64) (local $n i32)
        (loop $next
            (local.set $n (i32.add (local.get $n) (i32.ne (i32.load8_u (i32.add (local.get $at) (local.get $n))) (i32.const 0))))
            (br_if $next (i32.lt_u (local.get $n) (local.get $length))))
        (i32.store8 (i32.const 26) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))
        (i32.store8 (i32.const 27) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
        (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 13))))"#;

fn throughput(c: &mut Criterion) {
    let home = std::env::temp_dir().join(format!("toolr0-bench-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a temporary folder");
    std::fs::write(home.join("count.wat"), MODULE).expect("a module");
    let tools = json!([{"name": "count", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}]);
    let manifest: Manifest =
        serde_json::from_value(json!({"name": "count", "module": "count.wat", "tools": tools}))
            .expect("a manifest");
    let tools = Modules::new(manifest, &home).expect("a module");
    std::fs::remove_dir_all(&home).expect("it was made above");
    let call = ToolCall::new("count", json!({"n": 3}).as_object().cloned().unwrap_or_default());
    let limits = Limits::default();
    let run = || tools.run(&call, &mut State::default(), &limits).end;
    assert_eq!(run(), End::Value(json!(36)), "a call of the bench does not work");
    let mut group = c.benchmark_group("wasm");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a warm call", |b| b.iter(|| run().kind()));
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
