use proptest::prelude::*;
use serde_json::json;

use super::*;

fn menu() -> Vec<ToolSpec> {
    let properties = json!({"city": {"type": "string"}, "n": {"type": "integer"}, "ok": {"type": "boolean"}});
    ["f", "g", "h"]
        .map(|name| ToolSpec::new(name, "Does it.", properties.as_object().unwrap().clone(), &[]))
        .to_vec()
}

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall::new(name, arguments.as_object().unwrap().clone())
}

#[test]
fn values_are_compared_as_their_schema_says() {
    let int = json!({"type": "integer"});
    let num = json!({"type": ["number", "null"]});
    let text = json!({"type": "string"});
    let either = json!({"type": ["string", "integer"]});
    let list = json!({"type": "array", "items": {"type": "number"}});
    for (schema, a, b, want) in [
        (Some(&int), json!(5), json!(5.0), true),
        (Some(&int), json!(5), json!("5"), true),
        (Some(&int), json!("5"), json!("5.0"), true),
        (Some(&num), json!(3.5), json!("3.50"), true),
        (Some(&int), json!(5), json!("+5"), false),
        (Some(&int), json!(5), json!("05"), false),
        (Some(&int), json!(1), json!(true), false),
        (Some(&int), json!("x"), json!("x "), true),
        (Some(&int), json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64), false),
        (Some(&text), json!("5"), json!(5), false),
        (Some(&text), json!("5"), json!("5.0"), false),
        (Some(&either), json!("5"), json!(5), false),
        (Some(&text), json!("New  York"), json!(" New York"), true),
        (Some(&text), json!("Zu\u{308}rich"), json!("Zürich"), true),
        (Some(&text), json!("Oslo"), json!("oslo"), false),
        (Some(&text), json!("Os\u{200b}lo"), json!("Oslo"), false),
        (Some(&text), json!("true"), json!(true), false),
        (Some(&text), json!(5), json!(5.0), false),
        (None, json!(5), json!(5.0), true),
        (None, json!("5"), json!(5), false),
        (None, json!(null), json!("null"), false),
        (Some(&list), json!([1, "2"]), json!([1.0, 2]), true),
        (Some(&list), json!([1, 2]), json!([2, 1]), false),
        (None, json!({"a": {"b": 1}}), json!({"a": {"b": 1.0}}), true),
        (None, json!({"a": 1}), json!({"a": 1, "b": 2}), false),
    ] {
        assert_eq!(values_match(schema, &a, &b), want, "{schema:?} {a} {b}");
        assert_eq!(values_match(schema, &b, &a), want, "{schema:?} {b} {a}");
    }
}

#[test]
fn lists_match_in_any_order_and_each_call_counts_once() {
    let (a, b) = (call("f", json!({"n": 1})), call("f", json!({"n": 2})));
    let tools = menu();
    let same = |x: &[&ToolCall], y: &[&ToolCall]| {
        let own = |calls: &[&ToolCall]| calls.iter().map(|c| (*c).clone()).collect::<Vec<_>>();
        calls_match(&tools, &own(x), &own(y))
    };
    assert!(same(&[&a, &b], &[&b, &a]));
    assert!(!same(&[&a, &b], &[&a, &a]));
    assert!(!same(&[&a], &[&a, &a]));
    assert!(same(&[], &[]));
    assert!(!same(&[&a], &[]));
}

#[test]
fn the_assignment_is_the_best_one_and_not_the_first_one() {
    // Greedy gives the first gold call the half-right prediction that scores best for it, and the second nothing.
    let gold = [call("f", json!({"n": 1, "city": "Oslo"})), call("f", json!({"n": 1, "city": "Rome"}))];
    let pred = [call("f", json!({"n": 1, "city": "Rome"})), call("f", json!({"n": 1, "city": "Oslo"}))];
    let best = match_calls(&menu(), &gold, &pred, &CallWeights::default());
    assert_eq!(best.pairs.iter().map(|p| (p.gold, p.pred)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    assert!((best.total - 2.0).abs() < 1e-12);
}

#[test]
fn a_wrong_name_is_worth_nothing_and_one_sure_key_little() {
    let gold = call("f", json!({"city": "Oslo", "n": 2, "ok": true}));
    assert_eq!(call_score(&menu(), &gold, &call("g", json!({"city": "Oslo", "n": 2, "ok": true}))), None);
    let one = call_score(&menu(), &gold, &call("f", json!({"city": "Oslo"}))).unwrap();
    assert_eq!((one.keys, one.values), (0.5, 1.0 / 3.0));
    let stray =
        call_score(&menu(), &gold, &call("f", json!({"city": "Oslo", "n": 2, "ok": true, "x": 1}))).unwrap();
    assert_eq!(stray.values, 0.75);
}

#[test]
fn errors_are_attributed() {
    let gold = [call("f", json!({"city": "Oslo", "n": 2}))];
    let tell = |pred: &[ToolCall]| {
        let e = attribute(&menu(), &gold, Ok(pred));
        [e.format, e.tool_name, e.argument_names, e.argument_values, e.n_calls]
    };
    assert_eq!(tell(&gold), [false; 5]);
    assert_eq!(tell(&[call("g", json!({}))]), [false, true, false, false, false]);
    assert_eq!(tell(&[call("f", json!({"city": "Oslo"}))]), [false, false, true, false, false]);
    assert_eq!(tell(&[call("f", json!({"city": "Rome", "n": 2}))]), [false, false, false, true, false]);
    assert_eq!(tell(&[]), [false, false, false, false, true]);
    assert_eq!(tell(&[gold[0].clone(), gold[0].clone()]), [false, false, false, false, true]);
    let unread = attribute(&menu(), &gold, Err(&Fault::NoCalls));
    assert!(unread.format && !unread.tool_name);
}

#[test]
fn argument_errors_have_kinds() {
    let gold = [call("f", json!({"city": "Oslo", "n": 2}))];
    let tell = |gold: &[ToolCall], pred: Value| {
        let pred: Vec<ToolCall> = serde_json::from_value(pred).unwrap();
        let e = attribute(&menu(), gold, Ok(&pred));
        let kinds = [
            (e.missing_argument, "missing"),
            (e.extra_argument, "extra"),
            (e.mistyped_value, "mistyped"),
            (e.wrong_value, "wrong"),
            (e.no_call, "no call"),
            (e.should_abstain, "abstain"),
        ];
        kinds.iter().filter(|(set, _)| *set).map(|(_, kind)| *kind).collect::<Vec<_>>().join(", ")
    };
    let f = |arguments: Value| json!([{"name": "f", "arguments": arguments}]);
    assert_eq!(tell(&gold, f(json!({"city": "Oslo"}))), "missing");
    assert_eq!(tell(&gold, f(json!({"city": "Oslo", "n": 2, "x": 1}))), "extra");
    assert_eq!(tell(&gold, f(json!({"city": "Oslo", "m": 2}))), "missing, extra");
    assert_eq!(tell(&gold, f(json!({"city": ["Oslo"], "n": 3}))), "mistyped, wrong");
    assert_eq!(tell(&gold, f(json!({"city": "Oslo", "n": "2"}))), "", "the schema says that it is a number");
    assert_eq!(tell(&gold, json!([])), "no call");
    assert_eq!(tell(&[], f(json!({}))), "abstain");
}

proptest! {
    /// Against every permutation, which is the definition.
    #[test]
    fn assign_finds_the_largest_total(
        (rows, columns, profit) in (1usize..5, 1usize..5).prop_flat_map(|(r, c)| {
            let cell = (0u8..=8).prop_map(|k| f64::from(k) / 8.0);
            (Just(r), Just(c), prop::collection::vec(cell, r * c))
        }),
    ) {
        let got = assign(&profit, columns);
        prop_assert_eq!(got.len(), rows);
        let mut seen = std::collections::HashSet::new();
        let total: f64 = got.iter().enumerate().filter_map(|(i, j)| j.map(|j| {
            assert!(seen.insert(j), "a column is given twice");
            profit[i * columns + j]
        })).sum();
        fn best(profit: &[f64], columns: usize, row: usize, used: u32) -> f64 {
            if row * columns == profit.len() {
                return 0.0;
            }
            let skip = best(profit, columns, row + 1, used);
            (0..columns).filter(|j| used >> j & 1 == 0).fold(skip, |top, j| {
                top.max(profit[row * columns + j] + best(profit, columns, row + 1, used | 1 << j))
            })
        }
        prop_assert!((total - best(&profit, columns, 0, 0)).abs() < 1e-9);
    }
}
