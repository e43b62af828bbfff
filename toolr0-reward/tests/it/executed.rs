//! Golds that are run, and answers that are compared by what they do.

use serde::Deserialize;
use serde_json::{Value, json};
use toolr0_reward::executed::{Stage, Trial, check_gold, same_end};
use toolr0_reward::reward::{SolverConfig, solver_reward, solver_reward_on};
use toolr0_reward::tools::{Sandbox, Source, Task, ToolCall, Worlds};
use toolr0_reward::verify::inspect;
use toolr0_reward::{judge, judge_on, wire};

/// A hand-made task about the state of seed 0, and what verification has to say of it.
#[derive(Deserialize)]
struct Line {
    world: String,
    question: String,
    gold: Vec<ToolCall>,
    want: String,
}

/// Verification as in a run: structure first, then the gold in the sandbox.
fn verdict(task: &Task, stage: &Stage<'_>) -> String {
    let fault = inspect(task, None, &Default::default()).first().or_else(|| check_gold(task, stage).err());
    fault.map_or("ok", |fault| fault.kind()).to_owned()
}

#[test]
fn every_wrong_gold_is_refused_and_no_good_one_is_lost() {
    let lines =
        include_str!("data/executed.jsonl").lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    let (mut good, mut wrong) = (0, 0);
    for Line { world, question, gold, want } in lines {
        let worlds = Worlds::new(&[&world]).unwrap();
        let task = Task { question, tools: worlds.tools().to_vec(), gold };
        assert_eq!(
            verdict(&task, &Stage { sandbox: &worlds, seed: 0, looks: false }),
            want,
            "{}",
            task.question
        );
        if want == "ok" { good += 1 } else { wrong += 1 }
    }
    assert_eq!((good, wrong), (25, 25));
}

fn calls(calls: Value) -> Vec<ToolCall> {
    serde_json::from_value(calls).unwrap()
}

/// Whether `answer` is as good as `gold` when both run in `world`, and when only their spelling is compared.
#[track_caller]
fn check(world: &str, gold: Value, answer: Value, want: (bool, bool)) {
    let worlds = Worlds::new(&[world]).unwrap();
    let stage = Stage { sandbox: &worlds, seed: 0, looks: false };
    let task = Task { question: "What now?".into(), tools: worlds.tools().to_vec(), gold: calls(gold) };
    let answer = calls(answer);
    let text = wire::solver::write("so", &answer);
    assert_eq!((same_end(&task, &answer, &stage), judge(&task, &text).solved), want);
    assert_eq!(judge_on(&task, &text, Some(&stage)).solved, want.0 || want.1);
    let config = SolverConfig::default();
    let full = |reward: toolr0_reward::Reward| reward.get("accuracy") == Some(1.0);
    assert_eq!(full(solver_reward_on(&task, &text, &config, Some(&stage))), want.0 || want.1);
    assert_eq!(full(solver_reward(&task, &text, &config)), want.1);
    if !want.0 && !want.1 {
        let paid = |stage| solver_reward_on(&task, &text, &config, stage).total();
        assert_eq!(paid(Some(&stage)), paid(None), "partial marks are as without execution");
    }
}

#[test]
fn the_spelling_of_a_call_does_not_matter_where_its_end_is_the_same() {
    let event = json!({"title": "Gym", "date": "2026-05-01", "time": "08:00"});
    let long = json!({"time": "08:00", "minutes": 60.0, "date": "2026-05-01", "title": "Gym"});
    let gold = json!([{"name": "add_event", "arguments": event}]);
    check("calendar", gold.clone(), json!([{"name": "add_event", "arguments": long}]), (true, false));
    let other = json!({"title": "Gym", "date": "2026-05-01", "time": "08:30"});
    check("calendar", gold.clone(), json!([{"name": "add_event", "arguments": other}]), (false, false));
    check("calendar", gold, json!([]), (false, false));
    // A text with a letter in another case leaves another state, but is found by key.
    let cancel = |id: &str| json!([{"name": "cancel_event", "arguments": {"event": id}}]);
    check("calendar", cancel("E107"), cancel("e107"), (true, false));
    check("calendar", cancel("E107"), cancel("E114"), (false, false));
}

#[test]
fn independent_calls_may_be_swapped_and_dependent_ones_may_not() {
    let add =
        |key: &str, value: &str| json!({"name": "store_fact", "arguments": {"key": key, "value": value}});
    let [a, b] = [add("car", "red"), add("bike", "blue")];
    check("memory", json!([a, b]), json!([b, a]), (true, true));
    check("memory", json!([a, b]), json!([a, a]), (false, false));
    let book = |name: &str| json!({"name": "book_flight", "arguments": {"flight": "F113", "name": name}});
    check("travel", json!([book("Nora"), book("Omar")]), json!([book("Omar"), book("Nora")]), (true, true));
    // The balances that two payments tell depend on their order; the state in the end does not.
    let pay =
        |amount: u8| json!({"name": "deposit_cash", "arguments": {"account": "A101", "amount": amount}});
    check("finance", json!([pay(5), pay(7)]), json!([pay(7), pay(5)]), (false, true));
}

#[test]
fn an_answer_that_does_more_or_less_or_fails_is_another_end() {
    let forecast =
        |city: &str| json!({"name": "get_forecast", "arguments": {"city": city, "date": "2026-03-04"}});
    check("weather", json!([forecast("Oslo")]), json!([forecast("Oslo"), forecast("Rome")]), (false, false));
    check("weather", json!([forecast("Oslo"), forecast("Rome")]), json!([forecast("Oslo")]), (false, false));
    check("weather", json!([forecast("Oslo")]), json!([forecast("Atlantis")]), (false, false));
    // Another tool that tells the same is as good.
    let sum = json!([{"name": "add", "arguments": {"a": 2, "b": 2}}]);
    check("math", sum, json!([{"name": "multiply", "arguments": {"a": "2", "b": 2.0}}]), (true, false));
}

#[test]
fn a_tool_that_is_not_on_the_menu_is_no_way_to_the_end() {
    let worlds = Worlds::new(&["math"]).unwrap();
    let gold = calls(json!([{"name": "add", "arguments": {"a": 2, "b": 2}}]));
    let tools = worlds.tools().iter().filter(|tool| tool.name == "add").cloned().collect();
    let task = Task { question: "What is 2 and 2?".into(), tools, gold };
    let answer = calls(json!([{"name": "multiply", "arguments": {"a": 2, "b": 2}}]));
    assert!(!same_end(&task, &answer, &Stage { sandbox: &worlds, seed: 0, looks: false }));
}

/// Tools that do not run: a gold is read by their schemas.
#[test]
fn golds_of_described_tools_are_read() {
    let listed = json!({"tools": [{"name": "now", "description": "Tell the time.", "inputSchema":
        {"type": "object", "properties": {"zone": {"type": "string", "enum": ["UTC", "CET"]}}, "required": ["zone"]}}]});
    let source = Source::mcp(&listed).unwrap();
    let pass = |gold: Value| {
        let tools = source.tools().cloned().collect();
        let task = Task { question: "What time is it?".into(), tools, gold: calls(gold) };
        Trial::Read(&source).pass(&task).map_err(|fault| fault.kind())
    };
    assert_eq!(pass(json!([{"name": "now", "arguments": {"zone": "UTC"}}])), Ok(()));
    assert_eq!(pass(json!([{"name": "now", "arguments": {"zone": "EST"}}])), Err("gold_refused"));
    assert_eq!(pass(json!([{"name": "now", "arguments": {}}])), Err("gold_refused"));
    assert_eq!(pass(json!([{"name": "then", "arguments": {"zone": "UTC"}}])), Err("gold_refused"));
}
