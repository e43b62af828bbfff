//! Conversations with tools: budgets hold, what does not fit is rolled back, and no token of a result carries loss.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, Finish, SamplingConfig};
use toolr0_reward::executed::{Stage, same_end};
use toolr0_reward::reward::{SolverConfig, solver_reward_on};
use toolr0_reward::{judge_on, wire};
use toolr0_rl::config::TurnsConfig;
use toolr0_rl::conversation::{Desk, answer_turns};
use toolr0_rl::optim::AdamW;
use toolr0_rl::selfplay::Record;
use toolr0_rl::update::{UpdateStats, update};
use toolr0_rl::{Agent, Group, Role, Rollout, Sampler, SelfPlay};
use toolr0_tools::{Prompt, Sandbox, Source, Task, ToolCall, Worlds};

use crate::selfplay::{Log, bits, rl};

fn call(name: &str, arguments: Value) -> ToolCall {
    ToolCall::new(name, arguments.as_object().unwrap().clone())
}

/// A policy with one phrase in its head: one token that is a whole turn.
fn scripted() -> (Checkpoint, ToolCall) {
    let call = call("check_stock", json!({ "product": "P101" }));
    let turn = wire::solver::write("so", std::slice::from_ref(&call));
    (crate::tiny(&[turn], 14.0, Checkpoint::chatml()), call)
}

/// What is said after every turn: 12 bytes, as many tokens.
const TOLD: &str = "<r>[1, 2]</>";

/// Greedy samples of two prompts, in `turns` turns of at most `max_new_tokens` tokens in all.
fn talk(base: &Checkpoint, turns: usize, max_new_tokens: usize) -> Vec<Rollout> {
    groups(base, turns, max_new_tokens).into_iter().flat_map(|group| group.rollouts).collect()
}

fn groups(base: &Checkpoint, turns: usize, max_new_tokens: usize) -> Vec<Group> {
    let sampling = SamplingConfig {
        temperature: 0.0,
        max_new_tokens,
        stop: wire::STOP.map(str::to_owned).into(),
        ..Default::default()
    };
    let prompt = |i: u64, text| {
        (Prompt::new("Call.", text), vec![Stream::root(i).child(0usize), Stream::root(i).child(1usize)])
    };
    let reply = |prompt: usize, said: &[String]| {
        assert!(prompt < 2 && said.len() < turns, "a conversation that is over is asked on");
        assert!(said.iter().all(|turn| wire::solver::parse(turn).is_ok()), "turns are told apart: {said:?}");
        Some(TOLD.to_owned())
    };
    let sampler = Sampler::new(base, 3).unwrap();
    let desk = Desk { turns, reply: &reply, dictates: false };
    sampler
        .converse(&[prompt(1, "Go."), prompt(2, "Go on, please.")], &sampling, &desk, &mut |_| true)
        .unwrap()
}

#[test]
fn budgets_hold_and_what_does_not_fit_is_rolled_back() {
    let (base, call) = scripted();
    let told = TOLD.len();
    // By turns: each is one token, and all results fit.
    for turns in 1..=4 {
        for rollout in talk(&base, turns, 200) {
            assert_eq!((rollout.finish, rollout.quoted.len()), (Finish::Stop, turns - 1));
            assert_eq!((rollout.own_tokens(), rollout.tokens.len()), (turns, turns + (turns - 1) * told));
            assert_eq!(wire::solver::parse(&rollout.text).unwrap(), vec![call.clone(); turns]);
        }
    }
    // By tokens: a result is said whole and with a token of the policy's own behind it, or not at all.
    for max in 1..60 {
        for rollout in talk(&base, 9, max) {
            let turns = 1 + (max - 1) / (told + 1);
            assert!(rollout.tokens.len() <= max, "{max}");
            assert_eq!((rollout.own_tokens(), rollout.quoted.len()), (turns, turns - 1), "{max}");
            assert_eq!(rollout.own_mask().last(), Some(&true), "it ends with a turn: {max}");
            let spans: Vec<_> = (1..turns).map(|k| k + (k - 1) * told..k + k * told).collect();
            assert_eq!(rollout.quoted, spans);
            assert!(spans.iter().flat_map(Clone::clone).all(|i| rollout.logprobs[i] == 0.0));
        }
    }
    // Nobody but the desk says anything.
    let sampler = Sampler::new(&base, 3).unwrap();
    let prompts = [(Prompt::new("Call.", "Go."), vec![Stream::root(1)])];
    let sampling = SamplingConfig {
        temperature: 0.0,
        max_new_tokens: 50,
        stop: wire::STOP.map(str::to_owned).into(),
        ..Default::default()
    };
    let silent = Desk { turns: 5, reply: &|_, _| None, dictates: false };
    let alone = sampler.converse(&prompts, &sampling, &silent, &mut |_| true).unwrap();
    assert_eq!(alone, sampler.sample(&prompts, &sampling, &mut |_| true).unwrap());
}

fn step(base: &Checkpoint, groups: &[Group]) -> (UpdateStats, BTreeMap<String, Vec<u32>>) {
    let agent = Agent::new(Role::Solver, base).unwrap();
    let mut config = rl();
    config.loss.beta = 0.0;
    let mut optimizer = AdamW::new(config.adamw.clone());
    let stats = update(
        &agent,
        &mut optimizer,
        groups,
        &[1.0, -0.5, 0.25, -1.0],
        None,
        &config,
        1e-3,
        Stream::root(0),
    );
    (stats.unwrap(), bits(&agent.checkpoint().unwrap()))
}

#[test]
fn no_token_of_a_result_carries_loss() {
    let (base, _) = scripted();
    let mut groups = groups(&base, 3, 200);
    let own: usize = groups.iter().flat_map(|g| &g.rollouts).map(Rollout::own_tokens).sum();
    let all: usize = groups.iter().flat_map(|g| &g.rollouts).map(|r| r.tokens.len()).sum();
    let (stats, weights) = step(&base, &groups);
    assert_eq!((stats.stats.tokens, own), (own, 4 * 3), "of {all} tokens");
    let mismatch = stats.stats.mismatch.as_ref().unwrap();
    assert_eq!(
        (mismatch.gap_max, stats.stats.ratio),
        (0.0, 1.0),
        "the sampler is the trainer, also behind results"
    );
    // Whatever stands there in place of a log-probability, nobody reads it.
    for rollout in groups.iter_mut().flat_map(|group| &mut group.rollouts) {
        for span in rollout.quoted.clone() {
            rollout.logprobs[span].fill(f32::NAN);
        }
    }
    let (unread, unmoved) = step(&base, &groups);
    assert_eq!(unread, stats);
    assert!(unmoved == weights);
    // Told apart from a run that learns them.
    for rollout in groups.iter_mut().flat_map(|group| &mut group.rollouts) {
        rollout.quoted.clear();
        rollout.logprobs.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = -1.0);
    }
    let (learned, others) = step(&base, &groups);
    assert_eq!(learned.stats.tokens, all);
    assert!(others != weights);
}

fn task(worlds: &Worlds, gold: &[ToolCall]) -> Task {
    Task { question: "Do it.".into(), tools: worlds.tools().to_vec(), gold: gold.to_vec() }
}

#[test]
fn a_solver_may_look_and_try_again_but_not_change_more_than_the_gold() {
    let worlds = Worlds::new(&["calendar"]).unwrap();
    let gym = |time: &str| call("add_event", json!({ "title": "Gym", "date": "2026-05-01", "time": time }));
    let look = call("list_events", json!({ "date": "2026-05-01" }));
    let task = task(&worlds, &[gym("08:00")]);
    let stage = |looks| Stage { sandbox: &worlds, seed: 3, looks };
    let turn = |calls: &[ToolCall]| wire::solver::write("so", calls);
    let config = TurnsConfig { most: 3, result_chars: 300 };
    let ask = |turns: &[String]| answer_turns(&task, &stage(true), turns, &config);

    // Errors are told, so that the next turn can do better; what a call did is there for the next one.
    let bad = turn(&[call("add_event", json!({ "title": "Gym" }))]);
    assert!(ask(std::slice::from_ref(&bad)).unwrap().contains("error"));
    assert!(ask(&[turn(&[call("fly", json!({}))])]).unwrap().contains("there is no tool"));
    let told = ask(&[turn(&[gym("08:00")]), turn(std::slice::from_ref(&look))]).unwrap();
    assert!(told.contains("Gym"), "{told}");
    // Nothing to do, and nothing to read.
    assert_eq!((ask(&[turn(&[])]), ask(&["no idea".into()])), (None, None));

    let end = |turns: &[Vec<ToolCall>]| {
        let text = wire::solver::joined(&turns.iter().map(|calls| turn(calls)).collect::<Vec<_>>());
        let paid = solver_reward_on(&task, &text, &SolverConfig::default(), Some(&stage(true)));
        (judge_on(&task, &text, Some(&stage(true))).solved, paid.get("accuracy").unwrap())
    };
    assert_eq!(end(&[vec![gym("08:00")]]), (true, 1.0));
    assert_eq!(end(&[vec![look.clone()], vec![gym("08:00")]]), (true, 1.0 / 1.25), "a look has its price");
    let (solved, paid) = end(&[vec![gym("08:00")], vec![gym("09:00")]]);
    assert!(!solved && paid < 1.0, "two events are not one");
    assert!(!same_end(&task, &[look, gym("08:00")], &stage(false)), "without turns nobody looks");
}

/// A run in which calls have results, to the end, twice.
#[test]
fn a_run_of_conversations_trains_on_what_the_solver_wrote() {
    let base = crate::tiny(&crate::given::phrases(), 11.0, Checkpoint::chatml());
    let source = Source::worlds(&["calendar"]).unwrap();
    let run = |most: usize| {
        let mut config = crate::given::config(true);
        config.turns.most = most;
        config.solver.sampling.max_new_tokens = 600;
        config.probe.sampling.max_new_tokens = 600;
        config.turns.result_chars = if most == 1 { 400 } else { 120 };
        let mut log = Log::default();
        let game = SelfPlay::new(&config, &base, &[]).unwrap().with_tools(&source).unwrap();
        let outcome = game.run(&mut log, &mut |_| Ok(())).unwrap();
        (log, bits(&outcome.solver))
    };
    let ((log, weights), (again, same), (single, other)) = (run(3), run(3), run(1));
    assert_eq!(log.lines(), again.lines(), "a run is a function of its configuration");
    assert!(weights == same);
    assert!(weights != other, "turns change nothing");
    let steps =
        |log: &Log| log.steps().into_iter().filter(|s| s.role == "solver").cloned().collect::<Vec<_>>();
    assert!(!steps(&log).is_empty());
    for step in steps(&log) {
        let update = &step.update;
        assert!(update.stats.tokens < update.head_rows, "some of its tokens were said by tools");
        let mismatch = update.stats.mismatch.as_ref().unwrap();
        assert_eq!((mismatch.gap_max, update.stats.ratio), (0.0, 1.0));
    }
    assert!(steps(&single).iter().all(|step| step.update.stats.tokens == step.update.head_rows));
    assert!(log.records.iter().any(|record| matches!(record, Record::Dataset(data) if 0 < data.tasks)));
}
