use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall::new(name, arguments.as_object().unwrap().clone())
}

/// Every world; compiling the schemas of all tools takes longer than a case of a property.
static EVERYTHING: LazyLock<Worlds> = LazyLock::new(|| Worlds::new(&names().collect::<Vec<_>>()).unwrap());

/// Runs calls in a world of seed 0, and returns how each ended.
fn play(world: &str, calls: &[(&str, Value)]) -> (State, Vec<End>) {
    let worlds = Worlds::new(&[world]).unwrap();
    let mut state = worlds.state(0);
    let run = |(name, arguments): &(&str, Value)| {
        worlds.run(&call(name, arguments.clone()), &mut state, &Limits::default()).end
    };
    let ends = calls.iter().map(run).collect();
    (state, ends)
}

#[test]
fn every_world_has_four_to_eight_tools_and_no_name_stands_twice() {
    let all = &*EVERYTHING;
    assert!(all.menus().all(|(_, tools)| (4..=8).contains(&tools.len())));
    assert_eq!(all.tools.len(), all.specs.len(), "two tools share a name");
    let mut owners = BTreeMap::new();
    for name in names() {
        for table in Worlds::new(&[name]).unwrap().state(3).tables() {
            assert_eq!(owners.insert(table, name), None, "two worlds share the table {table}");
        }
    }
    for spec in &all.specs {
        assert!(spec.description.ends_with('.') && spec.description.len() < 100, "{}", spec.name);
    }
}

#[test]
fn a_seed_gives_one_state_and_another_seed_another() {
    let worlds = Worlds::new(&["travel", "calendar"]).unwrap();
    assert_eq!(worlds.state(5).hash(), worlds.state(5).hash());
    assert_ne!(worlds.state(5).hash(), worlds.state(6).hash());
    // A world looks the same whatever stands beside it.
    let alone = Worlds::new(&["travel"]).unwrap();
    assert!(alone.state(5).rows("flights").eq(worlds.state(5).rows("flights")));
    // This seed's hash on every machine, and in every version that does not say otherwise in its changelog.
    assert_eq!(worlds.state(5).hash(), "db2862bdc747d6a4");
}

#[test]
fn unknown_worlds_are_named_with_those_there_are() {
    let error = Worlds::new(&["travel", "moon"]).unwrap_err().to_string();
    assert!(error.starts_with("there is no world `moon`, expected one of calendar, education,"), "{error}");
    assert!(matches!(Worlds::new(&[]), Err(Error::NoTools)));
}

#[test]
fn a_booking_takes_a_seat_and_its_cancellation_gives_it_back_once() {
    let worlds = Worlds::new(&["travel"]).unwrap();
    let mut state = worlds.state(0);
    let flight = state.rows("flights").find(|row| row["seats"].as_i64() >= Some(2)).unwrap().clone();
    let seats = |state: &State| {
        state.rows("flights").find(|row| row["id"] == flight["id"]).unwrap()["seats"].as_i64().unwrap()
    };
    let before = seats(&state);
    let mut run =
        |name: &str, arguments: Value| worlds.run(&call(name, arguments), &mut state, &Limits::default());
    let booked = run("book_flight", json!({"flight": flight["id"], "name": "Nora", "seats": 2}));
    assert_eq!(booked.changes.iter().map(|c| c.table).collect::<Vec<_>>(), ["bookings", "flights"]);
    let booking = booked.end.value().unwrap()["id"].clone();
    let too_many = run("book_flight", json!({"flight": flight["id"], "name": "Omar", "seats": 99}));
    assert!(matches!(&too_many.end, End::ToolError(why) if why.ends_with("seats")), "{too_many:?}");
    assert!(matches!(run("cancel_booking", json!({"booking": booking})).end, End::Value(_)));
    let again = run("cancel_booking", json!({"booking": booking}));
    assert_eq!(again.end, End::ToolError(format!("{} is cancelled, not booked", booking.as_str().unwrap())));
    assert!(again.changes.is_empty());
    assert_eq!(seats(&state), before);
}

#[test]
fn money_is_neither_made_nor_lost() {
    let worlds = Worlds::new(&["finance"]).unwrap();
    let mut state = worlds.state(0);
    let total =
        |state: &State| state.rows("accounts").map(|row| row["balance"].as_f64().unwrap()).sum::<f64>();
    let (before, ids): (f64, Vec<Value>) =
        (total(&state), state.rows("accounts").map(|row| row["id"].clone()).collect());
    let mut done = 0;
    for source in &ids {
        for target in &ids {
            let arguments = json!({"source": source, "target": target, "amount": 12.5});
            done += usize::from(
                worlds
                    .run(&call("transfer_money", arguments), &mut state, &Limits::default())
                    .end
                    .value()
                    .is_some(),
            );
        }
    }
    assert!(10 < done && done < ids.len() * ids.len(), "{done}");
    assert_eq!(total(&state), before);
}

#[test]
fn nobody_is_in_two_places_at_once() {
    let event = |title: &str, time: &str| {
        ("add_event", json!({"title": title, "date": "2026-04-01", "time": time, "minutes": 30}))
    };
    let (state, ends) = play(
        "calendar",
        &[event("a", "10:00"), event("b", "10:20"), event("c", "10:30"), event("d", "25:00")],
    );
    let kinds: Vec<_> = ends.iter().map(End::kind).collect();
    assert_eq!(kinds, ["value", "tool_error", "value", "tool_error"]);
    assert_eq!(ends[1], End::ToolError("a is at that time".into()));
    assert_eq!(state.rows("events").filter(|row| row["date"] == "2026-04-01").count(), 2);
}

#[test]
fn plain_tools_compute() {
    let (_, ends) =
        play("units", &[("convert_length", json!({"value": 5, "source": "mile", "target": "kilometre"}))]);
    assert_eq!(ends, [End::Value(json!(8.04672))]);
    let (_, ends) = play(
        "math",
        &[("divide", json!({"dividend": 9, "divisor": 0})), ("power", json!({"base": 2, "exponent": 10}))],
    );
    assert_eq!(ends, [End::ToolError("a number cannot be divided by 0".into()), End::Value(json!(1024))]);
}

#[test]
fn an_outcome_says_whether_a_call_was_of_any_use() {
    let worlds = Worlds::new(&["iot", "travel"]).unwrap();
    let mut state = worlds.state(0);
    let mut idle = |name: &str, arguments: Value| {
        worlds.run(&call(name, arguments), &mut state, &Limits::default()).is_idle()
    };
    idle("switch_lamp", json!({"room": "office", "state": "off"}));
    assert!(!idle("switch_lamp", json!({"room": "office", "state": "on"})));
    assert!(idle("switch_lamp", json!({"room": "office", "state": "on"})), "it is on already");
    assert!(!idle("read_sensor", json!({"room": "office", "sensor": "degrees"})));
    assert!(idle("search_flights", json!({"origin": "Atlantis"})), "there is no such flight");
    assert!(idle("cancel_booking", json!({"booking": "B0"})), "there is no such booking");
}

#[test]
fn every_limit_ends_a_call_and_leaves_the_state_alone() {
    let worlds = Worlds::new(&["files"]).unwrap();
    let state = worlds.state(0);
    let long = "x".repeat(5000);
    let store = call("write_file", json!({"path": "docs/long.txt", "text": long}));
    let find = call("search_files", json!({"word": "version"}));
    let limits =
        |steps, state_bytes, output_bytes| Limits { steps, state_bytes, output_bytes, ..Limits::default() };
    for (call, limits, want) in [
        (&find, limits(3, 1 << 20, 1 << 16), End::TimedOut),
        (&store, limits(100, 3000, 1 << 16), End::OutOfMemory),
        (&store, limits(100, 1 << 20, 400), End::TooMuchOutput),
    ] {
        let mut after = state.clone();
        let outcome = worlds.run(call, &mut after, &limits);
        assert_eq!((outcome.end, after.hash(), outcome.changes.len()), (want, state.hash(), 0));
    }
}

/// Calls of every tool with arguments that often fit: its own types, keys that are there, and nonsense.
fn any_call() -> impl Strategy<Value = ToolCall> {
    let worlds = &*EVERYTHING;
    let state = worlds.state(0);
    let ids = state.tables().flat_map(|table| state.rows(table)).map(|row| row["id"].clone());
    let words = ["Oslo", "2026-03-05", "10:30", "on", "metre", "", "../x", "é"].map(Value::from);
    let values: Vec<Value> = ids
        .chain(words)
        .chain([json!(1), json!(3), json!(-2.5), json!(1e300), json!(true), json!(null)])
        .collect();
    let specs = &worlds.specs;
    (0..specs.len(), prop::collection::vec(any::<prop::sample::Index>(), 4)).prop_map(move |(tool, picks)| {
        let spec = &specs[tool];
        let arguments =
            spec.params().zip(&picks).map(|(param, pick)| (param.name.to_owned(), pick.get(&values).clone()));
        ToolCall::new(spec.name.clone(), arguments.collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The same calls end alike twice, a call that fails leaves no trace, and the size of the state is what it holds.
    #[test]
    fn runs_repeat_and_failures_leave_no_trace(calls in prop::collection::vec(any_call(), 1..12)) {
        let worlds = &*EVERYTHING;
        let (mut state, mut twin) = (worlds.state(0), worlds.state(0));
        for call in &calls {
            let before = state.clone();
            let outcome = worlds.run(call, &mut state, &Limits::default());
            prop_assert_eq!(&worlds.run(call, &mut twin, &Limits::default()), &outcome);
            if outcome.end.value().is_none() || outcome.changes.is_empty() {
                prop_assert_eq!(&before.hash(), &state.hash());
            }
            if !outcome.writes {
                prop_assert!(outcome.changes.is_empty(), "{} only reads", call.name);
            }
            let bytes: usize = state.tables().flat_map(|t| state.rows(t)).map(json_len).sum();
            prop_assert_eq!(bytes, state.bytes());
        }
        prop_assert_eq!(state.hash(), twin.hash());
    }
}

/// How one statement ends in the world `sql`, and the state after it.
fn sql(tool: &str, statement: &str) -> (State, End) {
    let (state, mut ends) = play("sql", &[(tool, json!({"sql": statement}))]);
    (state, ends.remove(0))
}

#[test]
fn statements_read_and_change_the_rows_of_the_state() {
    let worlds = Worlds::new(&["sql"]).unwrap();
    let before = worlds.state(0);
    let (_, end) = sql("run_query", "SELECT count(*) AS n, max(salary) AS most FROM staff");
    let most = before.rows("staff").map(|row| row["salary"].as_i64().unwrap()).max().unwrap();
    assert_eq!(end, End::Value(json!([{"n": 12, "most": most}])));
    let all: Vec<Value> = before.rows("staff").map(|row| Value::Object(row.clone())).collect();
    assert_eq!(
        sql("run_query", "SELECT * FROM staff").1,
        End::Value(all.into()),
        "in the order of their keys"
    );

    let (state, end) =
        sql("run_update", "UPDATE staff SET salary = salary + 1, hired = NULL WHERE id > 'S150'");
    let changed = state.since(&before);
    assert_eq!(end, End::Value(changed.len().into()));
    for change in &changed {
        let (old, new) = (change.before.as_ref().unwrap(), change.after.as_ref().unwrap());
        assert_eq!(old["salary"].as_i64().unwrap() + 1, new["salary"].as_i64().unwrap());
        assert!(change.table == "staff" && !new.contains_key("hired"));
    }
    let (state, end) = sql("run_update", "DELETE FROM departments WHERE id <> 'legal'");
    assert_eq!((end, state.rows("departments").count()), (End::Value(json!(3)), 1));
    let (state, end) = sql("run_update", "INSERT INTO projects VALUES ('J1', 'moon', 'legal', 'planned', 5)");
    assert_eq!((end, state.rows("projects").count()), (End::Value(json!(1)), 7));
    // The keys change, the rows stay: what was there is gone, and something else is there.
    let (state, end) = sql("run_update", "UPDATE departments SET id = 'x' || id");
    assert_eq!((end, state.since(&before).len()), (End::Value(json!(4)), 8));
    let count = |condition: &str| {
        play("sql", &[("count_rows", json!({"table": "Staff", "condition": condition}))]).1.remove(0)
    };
    assert_eq!((count(""), count("salary < 0")), (End::Value(json!(12)), End::Value(json!(0))));
}

#[test]
fn statements_reach_nothing_but_the_rows() {
    let before = Worlds::new(&["sql"]).unwrap().state(0);
    for (tool, statement, want) in [
        ("run_query", "DELETE FROM staff", "not authorized"),
        ("run_query", "SELECT * FROM sqlite_schema", "prohibited"),
        ("run_query", "SELECT random()", "not authorized"),
        ("run_query", "SELECT datetime('now')", "not authorized"),
        ("run_query", "SELECT CURRENT_TIMESTAMP", "not authorized"),
        ("run_query", "SELECT load_extension('x')", "not authorized"),
        ("run_query", "SELECT 1; SELECT 2", "Multiple statements"),
        ("run_query", "PRAGMA max_page_count = 1", "not authorized"),
        ("run_query", "SELECT x'00' AS x", "x is no text and no number"),
        ("run_query", "SELECT moon FROM staff", "no such column: moon"),
        ("run_query", "SELECT printf('%9999d', 1)", "too big"),
        ("run_query", "", "SQL is empty"),
        ("run_update", "SELECT 1", "this statement changes nothing"),
        ("run_update", "ATTACH '/tmp/x.db' AS x", "not authorized"),
        ("run_update", "VACUUM INTO '/nowhere/x.db'", ""),
        ("run_update", "CREATE TABLE t (a)", "not authorized"),
        ("run_update", "DROP TABLE staff", "not authorized"),
        ("run_update", "BEGIN", "not authorized"),
        (
            "run_update",
            "INSERT INTO staff (id, salary) VALUES ('S1', 'much')",
            "cannot store TEXT value in INTEGER",
        ),
        ("run_update", "INSERT INTO departments (id) VALUES ('legal')", "UNIQUE constraint failed"),
        ("run_update", "INSERT INTO staff (id) VALUES (CAST(x'ff' AS TEXT))", "invalid utf-8"),
    ] {
        let (state, end) = sql(tool, statement);
        assert!(matches!(&end, End::ToolError(why) if why.contains(want)), "{statement}: {end:?}");
        assert_eq!(state, before, "{statement}");
        // And the next one finds all as it was.
        assert_eq!(sql("run_query", "SELECT count(*) AS n FROM staff").1, End::Value(json!([{"n": 12}])));
    }
}

#[test]
fn statements_that_would_not_end_are_ended() {
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT";
    let start = std::time::Instant::now();
    assert_eq!(sql("run_query", &format!("{endless} max(n) FROM c")).1, End::TimedOut);
    assert_eq!(
        sql("run_query", "SELECT count(*) FROM staff a, staff b, staff c, staff d, staff e").1,
        End::TimedOut
    );
    let long = format!("{endless} printf('%4000d', n) AS x FROM c LIMIT 100");
    assert_eq!(sql("run_query", &long).1, End::TooMuchOutput);
    let (state, end) = sql("run_update", &format!("INSERT INTO departments (id) {endless} 'd' || n FROM c"));
    assert_eq!((end, state.rows("departments").count()), (End::TimedOut, 4));
    assert!(start.elapsed().as_secs() < 20);
    assert_eq!(sql("run_query", "SELECT count(*) AS n FROM staff").1, End::Value(json!([{"n": 12}])));
}
