//! Self-play with tools that are given and run, on a model that knows a few whole completions by heart.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use toolr0_curriculum::spec_law::MenuRange;
use toolr0_curriculum::{Candidate, Funnel};
use toolr0_model::Checkpoint;
use toolr0_reward::wire;
use toolr0_rl::config::Menu;
use toolr0_rl::selfplay::Record;
use toolr0_rl::{Error, Result, RunConfig, SelfPlay};
use toolr0_tools::{Source, ToolCall};

use crate::selfplay::Log;

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall::new(name, arguments.as_object().unwrap().clone())
}

/// The end of a task, as it goes on from the opening of its prompt.
fn written(question: &str, gold: &ToolCall) -> String {
    let gold = wire::calls_json(std::slice::from_ref(gold));
    format!(" so</think><question>{question}</question><tool_call_answer>{gold}</tool_call_answer>")
}

fn gym() -> ToolCall {
    call("add_event", json!({"title": "Gym", "date": "2026-05-01", "time": "08:00"}))
}

/// A gold that works, one that fails, one without effect; the first in a spelling of the solver's own, and a wrong one.
pub(crate) fn phrases() -> Vec<String> {
    let long =
        call("add_event", json!({"minutes": 60, "time": "08:00", "title": "Gym", "date": "2026-05-01"}));
    let other = call("add_event", json!({"title": "Gym", "date": "2026-05-01", "time": "09:00"}));
    vec![
        written("Put Gym into my calendar on 2026-05-01 at 08:00.", &gym()),
        written("Cancel the event E999 for me.", &call("cancel_event", json!({"event": "E999"}))),
        written("What do I have on 2026-07-01?", &call("list_events", json!({"date": "2026-07-01"}))),
        wire::solver::write("so", &[long]),
        wire::solver::write("so", &[other]),
    ]
}

pub(crate) fn config(executed: bool) -> RunConfig {
    let mut config = crate::selfplay::config();
    config.menu = Menu::Given;
    config.reward.solver.executed = executed;
    // Two steps of a model this small at the usual rate make it forget what it knew.
    config.generator.learning_rate = Some(1e-5);
    // All six tools on every menu.
    config.spec.menus = BTreeMap::from([(1, vec![MenuRange { min: 6, max: 6, weight: 1.0 }])]);
    config.exam.items = 0;
    config.dataset.samples = 12;
    config
}

fn run(config: &RunConfig) -> (Log, Vec<Candidate>) {
    let base = crate::tiny(&phrases(), 11.0, Checkpoint::chatml());
    let source = Source::worlds(&["calendar"]).unwrap();
    let (mut log, mut tasks) = (Log::default(), Vec::new());
    let game = SelfPlay::new(config, &base, &[]).unwrap().with_tools(&source).unwrap();
    game.run(&mut log, &mut |iteration| {
        tasks.extend_from_slice(iteration.tasks);
        Ok(())
    })
    .unwrap();
    (log, tasks)
}

fn funnel(log: &Log) -> &Funnel {
    let dataset = log.records.iter().find_map(|r| if let Record::Dataset(d) = r { Some(d) } else { None });
    &dataset.unwrap().funnel
}

/// The mean of one term of the rewards of a role's steps.
fn paid(log: &Log, role: &str, term: &str) -> f64 {
    let steps = log.records.iter().filter_map(|r| if let Record::Step(s) = r { Some(s) } else { None });
    let of_role: Vec<f64> = steps.filter(|s| s.role == role).map(|s| s.reward_terms[term]).collect();
    of_role.iter().sum::<f64>() / of_role.len() as f64
}

#[test]
fn golds_are_run_and_answers_that_come_to_the_same_end_are_right() {
    let (log, tasks) = run(&config(true));
    let stage = funnel(&log).stages().iter().find(|stage| stage.name == "execution").unwrap();
    assert!(0 < stage.drops.of("gold_failed") && 0 < stage.drops.of("gold_idle"), "{}", funnel(&log));
    assert_eq!(stage.drops.total(), stage.drops.of("gold_failed") + stage.drops.of("gold_idle"));
    let [Candidate { task, spec, attempts, seed, .. }] = tasks.as_slice() else {
        panic!("{tasks:?}\n{}", funnel(&log))
    };
    assert_eq!(
        (task.gold.as_slice(), spec.domain.as_str(), seed.is_some()),
        ([gym()].as_slice(), "calendar", true)
    );
    assert!(0 < attempts.solved(), "the solver gives a default that the gold leaves out");
    assert!(0.0 < paid(&log, "generator", "curriculum"));
}

#[test]
fn by_spelling_the_same_answers_are_wrong() {
    let run = |executed| {
        let mut config = config(executed);
        config.selfplay.generator_steps = 0;
        run(&config)
    };
    let ((log, tasks), (spelt, by_spelling)) = (run(true), run(false));
    assert_eq!(funnel(&spelt).stages()[..3], funnel(&log).stages()[..3]);
    assert!(by_spelling[0].attempts.solved() < tasks[0].attempts.solved());
    assert!(paid(&spelt, "solver", "accuracy") < paid(&log, "solver", "accuracy"));
}

/// A generator that stops behind its question reads the menu there, and goes on with the calls.
#[test]
fn the_menu_is_dictated_behind_the_question() {
    let whole = written("Put Gym into my calendar on 2026-05-01 at 08:00.", &gym());
    let (question, answer) = whole.split_at(whole.find("<tool_call_answer>").unwrap());
    let phrases = vec![question.to_owned(), answer.to_owned()];
    let base = crate::tiny(&phrases, 11.0, Checkpoint::chatml());
    let source = Source::worlds(&["calendar"]).unwrap();
    let run = |room: usize| {
        let mut config = config(true);
        config.selfplay.generator_steps = 0;
        config.selfplay.solver_steps = 0;
        config.dataset.sampling.max_new_tokens = room;
        let (mut log, mut tasks) = (Log::default(), Vec::new());
        let game = SelfPlay::new(&config, &base, &[]).unwrap().with_tools(&source).unwrap();
        game.run(&mut log, &mut |iteration| {
            tasks.extend_from_slice(iteration.tasks);
            Ok(())
        })
        .unwrap();
        tasks
    };
    let tasks = run(2000);
    assert!(matches!(tasks.as_slice(), [one] if one.task.gold == [gym()]), "{tasks:?}");
    // Without room for the menu nothing is dictated, and no answer follows.
    assert!(run(100).is_empty());
}

/// Tools that are described alone: a gold is read by their schemas, and nothing runs.
#[test]
fn golds_of_described_tools_are_read() {
    let tool = |name: &str, properties: Value, required: Value| {
        json!({"name": name, "description": "Do this for a guest.",
        "inputSchema": {"type": "object", "properties": properties, "required": required, "additionalProperties": false}})
    };
    let listed = json!({"tools": [
        tool("book_room", json!({"guest": {"type": "string", "minLength": 4}}), json!(["guest"])),
        tool("find_room", json!({"floor": {"type": "integer"}}), json!(["floor"])),
    ]});
    let source = Source::mcp(&listed).unwrap();
    let book = |guest: &str| call("book_room", json!({ "guest": guest }));
    let phrases = vec![
        written("Please book a room for Maria.", &book("Maria")),
        written("Please book a room for Al.", &book("Al")),
        wire::solver::write("so", &[book("Maria")]),
        wire::solver::write("so", &[book("Al")]),
    ];
    let base = crate::tiny(&phrases, 11.0, Checkpoint::chatml());
    let mut config = config(false);
    config.spec.menus = BTreeMap::from([(1, vec![MenuRange { min: 2, max: 2, weight: 1.0 }])]);
    let (mut log, mut tasks) = (Log::default(), Vec::new());
    let game = SelfPlay::new(&config, &base, &[]).unwrap().with_tools(&source).unwrap();
    game.run(&mut log, &mut |iteration| {
        tasks.extend_from_slice(iteration.tasks);
        Ok(())
    })
    .unwrap();
    assert!(!tasks.is_empty());
    assert!(tasks.iter().all(|c| c.task.gold == [book("Maria")] && c.seed.is_none()), "{tasks:?}");
    let refused: usize = funnel(&log).stages().iter().map(|stage| stage.drops.total()).sum();
    assert!(0 < refused, "{}", funnel(&log));
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let base = crate::tiny(&phrases(), 11.0, Checkpoint::chatml());
    let refused = |result: Result<SelfPlay<'_>>| result.map(|_| ()).unwrap_err().to_string();
    let (given, invented) = (config(true), RunConfig { menu: Menu::Invented, ..config(true) });
    assert_eq!(
        refused(SelfPlay::new(&invented, &base, &[])),
        "`reward.solver.executed` is set, but menu `invented` does not use it"
    );
    let unasked = RunConfig { menu: Menu::Invented, ..config(false) };
    let worlds = Source::worlds(&["calendar"]).unwrap();
    assert_eq!(
        refused(SelfPlay::new(&unasked, &base, &[]).unwrap().with_tools(&worlds)),
        "`tools` is set, but menu `invented` does not use it"
    );
    let listed = json!({"tools": [{"name": "now", "description": "Tell the time.", "inputSchema": {"type": "object"}}]});
    let listed = Source::mcp(&listed).unwrap();
    assert_eq!(
        refused(SelfPlay::new(&given, &base, &[]).unwrap().with_tools(&listed)),
        "`reward.solver.executed` is set, but a source whose tools do not run does not use it"
    );
    // Without a description no task can offer it.
    let bare = json!({"tools": [{"name": "now", "inputSchema": {"type": "object"}}]});
    let bare = Source::mcp(&bare).unwrap();
    let plain = config(false);
    assert!(refused(SelfPlay::new(&plain, &base, &[]).unwrap().with_tools(&bare)).contains("needs `tools`"));
    let ended = SelfPlay::new(&plain, &base, &[]).unwrap().run(&mut Log::default(), &mut |_| Ok(()));
    assert!(matches!(ended, Err(Error::Missing { name: "tools", .. })));
}
