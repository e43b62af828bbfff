//! Calls of the built-in worlds per second, on one core: `cargo bench -p toolr0-benchmarks --bench worlds`.
//!
//! Each call is read by its schema, runs on a copy of its world's first state, and has its changes collected, as in
//! self-play.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use toolr0_tools::{Limits, Sandbox, State, ToolCall, Worlds};

/// One call that reads and one that writes in each of some worlds, all of which work on the state of seed 0.
fn calls() -> Vec<ToolCall> {
    let calls = json!([
        {"name": "search_flights", "arguments": {"origin": "Oslo", "destination": "Madrid"}},
        {"name": "book_flight", "arguments": {"flight": "F113", "name": "Nora", "seats": 2}},
        {"name": "get_balance", "arguments": {"account": "A205"}},
        {"name": "transfer_money", "arguments": {"source": "A112", "target": "A154", "amount": 100}},
        {"name": "list_events", "arguments": {"date": "2026-03-09"}},
        {"name": "add_event", "arguments": {"title": "Gym", "date": "2026-03-20", "time": "09:00"}},
        {"name": "list_messages", "arguments": {"sender": "Ivan"}},
        {"name": "send_message", "arguments": {"recipient": "Kenji", "text": "late"}},
        {"name": "search_products", "arguments": {"category": "lamp"}},
        {"name": "order_product", "arguments": {"product": "P134", "address": "Lima"}},
        {"name": "get_forecast", "arguments": {"city": "Oslo", "date": "2026-03-04"}},
        {"name": "set_alert", "arguments": {"city": "Oslo", "event": "frost"}},
        {"name": "divide", "arguments": {"dividend": 84, "divisor": 12}},
        {"name": "convert_length", "arguments": {"value": 5, "source": "mile", "target": "kilometre"}},
        {"name": "find_restaurants", "arguments": {"cuisine": "indian"}},
        {"name": "reserve_table", "arguments": {"restaurant": "Casa Lola", "name": "Elif", "guests": 4}},
    ]);
    let Value::Array(calls) = calls else { return Vec::new() };
    calls.into_iter().filter_map(|call| serde_json::from_value(call).ok()).collect()
}

fn throughput(c: &mut Criterion) {
    let worlds = Worlds::new(&toolr0_tools::world::names().collect::<Vec<_>>()).expect("its own names");
    let (start, calls, limits): (State, _, _) = (worlds.state(0), calls(), Limits::default());
    let run = |call: &ToolCall| worlds.run(call, &mut start.clone(), &limits);
    assert!(calls.iter().all(|call| run(call).end.value().is_some()), "a call of the bench does not work");
    let mut group = c.benchmark_group("worlds");
    for (name, writes) in [("read", false), ("write", true)] {
        let own: Vec<&ToolCall> = calls.iter().filter(|call| run(call).writes == writes).collect();
        group.throughput(Throughput::Elements(own.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| own.iter().filter(|call| run(call).changes.is_empty()).count())
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("a state of all worlds", |b| b.iter(|| worlds.state(7).bytes()));
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
