//! Every key of a run outside its section `rl` changes a number.
//!
//! The keys come from the configuration itself: a new one without a row in [`rows`] fails here. Most show in the
//! records or weights of a short run; those that need a certain text or candidate, in what reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use toolr0_curriculum::{Attempts, Candidate, LossPriorConfig, PosteriorConfig, select, verify};
use toolr0_model::rng::Stream;
use toolr0_reward::reward::{Curriculum, RewardConfig};
use toolr0_reward::wire;
use toolr0_rl::RunConfig;
use toolr0_rl::config::DatasetConfig;
use toolr0_tools::{Context, Task, TaskSpec, ToolCall};

use crate::options::leaves;
use crate::selfplay::{Trace, short, spec, tasks, trace};

/// Where a change of a key must show.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// In the records and weights of a run.
    Run,
    /// In the rewards of fixed completions.
    Reward,
    /// In the score of eight attempts, none to all of them right.
    Difficulty,
    /// In which of fixed candidates are kept, and in their order.
    Dataset,
}

/// One key: what is set before, what it is set to, and what must change with it.
struct Row {
    key: String,
    base: Vec<(&'static str, Value)>,
    value: Value,
    along: Vec<(&'static str, Value)>,
    shown: Shown,
}

impl Row {
    fn after(mut self, key: &'static str, value: Value) -> Self {
        self.base.push((key, value));
        self
    }

    fn along(mut self, key: &'static str, value: Value) -> Self {
        self.along.push((key, value));
        self
    }
}

fn row(shown: Shown, key: impl Into<String>, value: Value) -> Row {
    Row { key: key.into(), base: Vec::new(), value, along: Vec::new(), shown }
}

/// What the command line reads, and a run in this crate does not: its tests `configs`, `eval`, `endpoint` and `live` have these.
const OF_THE_COMMAND_LINE: [&str; 5] = ["dataset.guard", "endpoint", "exam.items", "exam.pass_at", "strict"];

/// What needs given tools: the tests `given` and `conversation` have these, and that a run without them refuses them.
const OF_GIVEN_TOOLS: [&str; 5] =
    ["menu", "tools", "turns.most", "turns.result_chars", "reward.solver.executed"];

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(Shown::Run, "seed", json!(12)),
        // One prompt: those of the paper's style are long.
        row(Shown::Run, "style", json!("paper"))
            .after("selfplay", json!({ "iterations": 1, "generator_steps": 1, "solver_steps": 0 }))
            .after("generator.prompts", json!(1))
            .after("dataset.candidates", json!(1)),
        row(Shown::Run, "selfplay.iterations", json!(2)),
        row(Shown::Run, "selfplay.generator_steps", json!(1)),
        row(Shown::Run, "selfplay.solver_steps", json!(1)),
        row(Shown::Run, "selfplay.shared_weights", json!(true)),
        row(Shown::Reward, "reward.profile", json!("release")),
        row(Shown::Difficulty, "frontier.low", json!(0.6)),
        row(Shown::Difficulty, "frontier.high", json!(0.9)),
        row(Shown::Difficulty, "frontier.sigma", json!(0.3)),
        row(Shown::Difficulty, "frontier.shape", json!("hard_cliff")),
        row(Shown::Run, "exam.max_new_tokens", json!(1)),
    ];
    rows.extend(spec_rows());
    rows.extend(rollout_rows());
    rows.extend(probe_rows());
    rows.extend(dataset_rows());
    rows.extend(reward_rows());
    rows.extend(switch_rows());
    rows
}

fn spec_rows() -> [Row; 4] {
    let both = || json!({ "single_turn": { "1": 1.0 }, "multi_turn": { "1": 1.0 } });
    let menus = || json!({ "1": [{ "min": 2, "max": 2, "weight": 1.0 }], "2": [{ "min": 2, "max": 2, "weight": 1.0 }] });
    [
        row(Shown::Run, "spec.domains", json!({ "travel": 1.0 })),
        row(Shown::Run, "spec.contexts", json!({ "multi_turn": 1.0 })).after("spec.calls", both()),
        row(Shown::Run, "spec.calls", json!({ "single_turn": { "2": 1.0 } })).after("spec.menus", menus()),
        row(Shown::Run, "spec.menus", json!({ "1": [{ "min": 3, "max": 3, "weight": 1.0 }] })),
    ]
}

/// All of one section of sampling but its temperature; each is set where the key can show.
fn sampling_rows(section: &'static str, base: &[(&'static str, Value)]) -> Vec<Row> {
    let keys = [
        ("top_k", json!(1)),
        ("top_p", json!(0.05)),
        ("min_p", json!(0.95)),
        ("max_new_tokens", json!(1)),
        ("stop", json!([])),
    ];
    let of = |(key, value)| Row { base: base.to_vec(), ..row(Shown::Run, format!("{section}.{key}"), value) };
    keys.map(of).into()
}

fn rollout_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (role, other) in [("generator", "solver"), ("solver", "generator")] {
        let section = if role == "generator" { "generator.sampling" } else { "solver.sampling" };
        rows.push(row(Shown::Run, format!("{role}.prompts"), json!(4)));
        rows.push(row(Shown::Run, format!("{role}.group_size"), json!(3)));
        rows.push(row(Shown::Run, format!("{role}.learning_rate"), json!(1e-2)));
        rows.extend(sampling_rows(section, &[]));
        // Tokens are scored under the distribution that they are drawn from, by one loss for both roles: here one of
        // them does not learn.
        let (idle, theirs) = match other {
            "solver" => ("selfplay.solver_steps", "solver.sampling.temperature"),
            _ => ("selfplay.generator_steps", "generator.sampling.temperature"),
        };
        let colder = row(Shown::Run, format!("{section}.temperature"), json!(0.5)).after(idle, json!(0));
        rows.push(colder.along(theirs, json!(0.5)).along("rl.loss.temperature", json!(0.5)));
    }
    rows
}

fn probe_rows() -> Vec<Row> {
    // So hot that bytes are as likely as whole answers.
    let hot = [("probe.sampling.temperature", json!(3.0))];
    let mut rows = vec![
        row(Shown::Run, "probe.samples", json!(5)),
        row(Shown::Run, "probe.sampling.temperature", json!(3.0)),
    ];
    rows.extend(sampling_rows("probe.sampling", &hot));
    let posterior = |key: &str, base, value| {
        row(Shown::Run, format!("probe.posterior.{key}"), value).after("probe.posterior", base)
    };
    rows.push(posterior("alpha", json!({}), json!(3.0)));
    rows.push(posterior("beta", json!({}), json!(3.0)));
    // After four probes little is known of a task; after sixteen it is.
    let many = ("probe.samples", json!(16));
    rows.push(posterior("batch", json!({}), json!(1)).after(many.0, many.1.clone()));
    rows.push(posterior("tolerance", json!({ "batch": 1 }), json!(0.0)).after(many.0, many.1));
    rows.push(posterior("floor", json!({}), json!(0.25)));
    let forecast = |key: &str, after: usize, value| {
        let base = json!({ "loss_prior": { "after": after } });
        posterior(&format!("loss_prior.{key}"), base, value).after("selfplay.generator_steps", json!(4))
    };
    rows.push(forecast("strength", 0, json!(20.0)));
    rows.push(forecast("after", 48, json!(0)));
    rows.push(forecast("memory", 0, json!(0.2)));
    // Judged by a model that writes no numbers: how many tokens it takes is what there is to see.
    let judged = ("reward.generator.curriculum_weights.semantic", json!(0.5));
    let long = ("probe.judge_sampling.max_new_tokens", json!(4));
    let hot = ("probe.judge_sampling.temperature", json!(10.0));
    let judge =
        |key: &str, value| row(Shown::Run, format!("probe.{key}"), value).after(judged.0, judged.1.clone());
    rows.push(judge("judge_tries", json!(3)));
    rows.push(judge("judge_sampling.temperature", json!(10.0)).after(long.0, long.1.clone()));
    for mut row in sampling_rows("probe.judge_sampling", &[judged.clone(), long.clone()]) {
        if !row.key.ends_with("stop") {
            row.base.push(hot.clone());
        }
        rows.push(row);
    }
    rows
}

fn dataset_rows() -> Vec<Row> {
    // Enough that several are sound.
    let many = |row: Row| row.after("dataset.candidates", json!(24));
    let mut rows = vec![
        row(Shown::Run, "dataset.candidates", json!(12)),
        row(Shown::Run, "dataset.sampling.temperature", json!(0.3)),
        many(row(Shown::Run, "dataset.samples", json!(4))),
        many(row(Shown::Run, "dataset.temperature", json!(3.0))),
        row(Shown::Run, "dataset.agreement", json!(1.0)),
        many(row(Shown::Run, "dataset.tasks", json!(1))),
        many(row(Shown::Run, "dataset.reuse_within", json!(2))).after("dataset.temperature", json!(1.0)),
        row(Shown::Run, "dataset.pool_probed", json!(true)).after("dataset.temperature", json!(0.7)),
        row(Shown::Dataset, "dataset.agree", json!("each_call")).after("dataset.agreement", json!(0.5)),
        row(Shown::Dataset, "dataset.bands.hard_below", json!(0.1)),
        row(Shown::Dataset, "dataset.bands.easy_above", json!(0.5)),
        row(Shown::Dataset, "dataset.rounding", json!("per_domain")),
        row(Shown::Dataset, "dataset.order", json!("hard_to_easy")),
    ];
    for row in sampling_rows("dataset.sampling", &[]) {
        rows.push(match row.key.ends_with("max_new_tokens") {
            // So hot that a task seldom is the first token.
            true => many(row).after("dataset.sampling.temperature", json!(3.0)),
            false => row,
        });
    }
    let mix = |key: &str| row(Shown::Dataset, format!("dataset.mix.{key}"), json!(4.0));
    rows.extend(["easy", "medium", "hard"].map(mix));
    rows
}

fn reward_rows() -> Vec<Row> {
    let of = |role: &str, key: &str, value| row(Shown::Reward, format!("reward.{role}.{key}"), value);
    let verify = |key: &str, value| of("generator", &format!("verify.{key}"), value);
    let mut rows = vec![
        row(Shown::Run, "reward.generator.format", json!(0.5)),
        row(Shown::Run, "reward.solver.format", json!(0.5)),
        of("generator", "validity", json!(0.5)),
        of("generator", "curriculum", json!(0.5)),
        of("solver", "accuracy", json!(0.5)),
        of("solver", "alpha", json!(0.5)),
        of("solver", "needless", json!(0.5)),
        of("solver", "require_think", json!(false)),
        verify("min_question_chars", json!(40)),
        verify("max_question_chars", json!(20)),
        verify("flat", json!(false)),
        verify("grounded", json!(false)),
        verify("descriptions", json!(false)),
        verify("turns", json!(false)),
        verify("twin_similarity", json!(0.3)),
    ];
    let share = |role: &str, key: &str| of(role, key, json!(0.9));
    // With one part alone its weight means nothing.
    rows.push(
        share("generator", "curriculum_weights.difficulty")
            .after("reward.generator.curriculum_weights.semantic", json!(0.5)),
    );
    rows.push(share("generator", "curriculum_weights.semantic"));
    rows.extend(
        ["menu", "arguments", "grounding"].map(|of| share("generator", &format!("validity_weights.{of}"))),
    );
    rows.extend(["answered", "parsed", "calls"].map(|of| share("solver", &format!("format_weights.{of}"))));
    rows.extend(["name", "keys", "values"].map(|of| share("solver", &format!("call_weights.{of}"))));
    rows
}

/// Mechanisms that are off unless a key of them is set.
fn switch_rows() -> Vec<Row> {
    let run = |key: &str, value| row(Shown::Run, key, value);
    // Judged by a model that writes no numbers: who is not trusted is not asked.
    let judged = |row: Row| {
        row.after("reward.generator.curriculum_weights.semantic", json!(0.5))
            .after("generator.prompts", json!(1))
            .after("probe.judge_tries", json!(1))
    };
    let mut rows = vec![
        run("novelty.penalty", json!(0.5)),
        // Enough that tasks of several kinds meet in one batch.
        run("novelty.alike", json!(0.05))
            .after("novelty.penalty", json!(0.5))
            .after("generator.prompts", json!(8)),
        // What is bent shows only after an iteration, in more than one domain.
        run("steering.floor", json!(0.1))
            .after("selfplay", json!({ "iterations": 2, "generator_steps": 1, "solver_steps": 2 }))
            .after("spec.domains", json!({ "food_ordering": 1.0, "travel": 1.0 }))
            .after("dataset.candidates", json!(24)),
        run("abstention.share", json!(1.0)),
        run("abstention.withdrawn", json!(1.0)).after("abstention.share", json!(1e-6)),
    ];
    rows.extend(["agreement", "canary", "bias"].map(|key| judged(run(&format!("trust.{key}"), json!(0.5)))));
    rows
}

#[test]
fn every_key_has_a_row() {
    let mut switched = RunConfig {
        novelty: Some(Default::default()),
        steering: Some(Default::default()),
        abstention: Some(Default::default()),
        trust: Some(Default::default()),
        ..RunConfig::default()
    };
    let loss_prior = Some(LossPriorConfig::default());
    switched.probe.posterior = Some(PosteriorConfig { loss_prior, ..PosteriorConfig::default() });
    let mut whole = serde_json::to_value(switched).unwrap();
    let sections = whole.as_object_mut().unwrap();
    sections.remove("rl"); // `options` has these
    // What a run is watched and saved by changes no number of a healthy one: `resume` and the tests of `alarm` have these.
    for section in ["alarms", "checkpoint", "drill"] {
        sections.remove(section);
    }
    for table in sections["spec"].as_object_mut().unwrap().values_mut() {
        *table = Value::Null; // its keys are data
    }
    let mut keys = BTreeSet::new();
    leaves(&whole, "", &mut keys);
    let mut shown: BTreeSet<String> = rows().into_iter().map(|row| row.key).collect();
    assert_eq!(shown.len(), rows().len(), "no key has two rows");
    shown.extend(OF_THE_COMMAND_LINE.map(str::to_owned));
    shown.extend(OF_GIVEN_TOOLS.map(str::to_owned));
    assert_eq!(shown, keys);
}

/// `config` with some keys set.
fn with<'a>(config: &Value, keys: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Value {
    let mut config = config.clone();
    for (key, value) in keys {
        let slot = key.split('.').fold(&mut config, |at, part| &mut at[part]);
        *slot = value.clone();
    }
    config
}

#[test]
fn every_key_changes_a_number() {
    let short = serde_json::to_value(short()).unwrap();
    let (mut runs, mut silent) = (BTreeMap::<String, Trace>::new(), Vec::new());
    for Row { key, base, value, along, shown } in rows() {
        let before = with(&short, base.iter().map(|(key, value)| (*key, value)));
        let along = along.iter().map(|(key, value)| (*key, value));
        let after = with(&before, along.chain([(key.as_str(), &value)]));
        assert_ne!(before, after, "`{key}` is not changed");
        let [old, new]: [RunConfig; 2] =
            [&before, &after].map(|config| serde_json::from_value(config.clone()).unwrap());
        let changes = match shown {
            Shown::Run => {
                let run =
                    |config: &RunConfig| trace(config).unwrap_or_else(|error| panic!("`{key}`: {error}"));
                let old = runs.entry(before.to_string()).or_insert_with(|| run(&old));
                *old != run(&new)
            }
            Shown::Reward => rewards_of(&old.reward) != rewards_of(&new.reward),
            Shown::Difficulty => difficulties_of(&old) != difficulties_of(&new),
            Shown::Dataset => kept_of(&old.dataset) != kept_of(&new.dataset),
        };
        if !changes {
            silent.push((key, shown));
        }
    }
    assert!(silent.is_empty(), "these change nothing: {silent:?}");
}

fn difficulties_of(config: &RunConfig) -> Vec<Option<f64>> {
    (0..=8).map(|solved| config.frontier.score(Attempts::new(solved, 8).unwrap())).collect()
}

/// Completions of both roles, of which each falls short of another rule.
fn rewards_of(config: &RewardConfig) -> Vec<Option<f64>> {
    let task = &tasks()[0];
    let changed = |change: &dyn Fn(&mut Task)| {
        let mut task = task.clone();
        change(&mut task);
        wire::generator::write("easy", &task)
    };
    let talk = TaskSpec { context: Context::MultiTurn, ..spec() };
    let invented = [
        (wire::generator::write("easy", task), spec()),
        (wire::generator::write("easy", task).replace("[{", "[{{"), spec()),
        (changed(&|t| t.gold[0].arguments["city"] = json!("Rome")), spec()),
        (changed(&|t| t.gold[0].arguments.clear()), spec()),
        (changed(&|t| t.tools[0].parameters["properties"]["tags"] = json!({ "type": "array" })), spec()),
        (changed(&|t| t.tools[1].description.clear()), spec()),
        (changed(&twin), spec()),
        (wire::generator::write("easy", task), talk),
    ];
    let curriculum = Curriculum::difficulty(0.25).judged(Some(5));
    let generator = invented.iter().map(|(text, spec)| config.of_generator(text, spec, &curriculum).total());

    let right = &task.gold[0];
    let call = |name: &str, arguments: Value| ToolCall::new(name, arguments.as_object().unwrap().clone());
    let answer = |calls: &[ToolCall]| wire::solver::write("so", calls);
    let answers = [
        answer(&task.gold),
        answer(&[call(&right.name, json!({ "city": "Rome" }))]),
        answer(&[call(&right.name, json!({ "city": "Oslo", "day": "today" }))]),
        answer(&[right.clone(), call(&right.name, json!({ "city": "Rome" }))]),
        answer(&task.gold).replace("<think>so</think>", ""),
        "<think>so</think><tool_call_answer>[{</tool_call_answer>".into(),
        r#"<think>so</think><tool_call_answer>{"a": 1}</tool_call_answer>"#.into(),
    ];
    let solver = answers.iter().map(|text| config.of_solver(task, text).total());
    let unserved = Task { gold: Vec::new(), ..task.clone() };
    let needless = config.of_solver(&unserved, &answers[0]).total();
    generator.chain(solver).chain([needless]).collect()
}

/// A second tool with the arguments of the first, and half of its words.
fn twin(task: &mut Task) {
    task.tools[0].description = "Books a table for a guest of this house.".into();
    task.tools[1] = task.tools[0].clone();
    task.tools[1].name = "hold_table".into();
    task.tools[1].description = "Books a table for a guest of another one.".into();
}

/// Which of thirty candidates of three domains are kept and in which order, by number.
fn kept_of(config: &DatasetConfig) -> Vec<String> {
    let candidate = |i: u32| {
        let mut task = tasks()[0].clone();
        task.question = format!("Book table {i} in Oslo, please.");
        let spec = TaskSpec { domain: ["a", "b", "c"][i as usize % 3].into(), ..spec() };
        let attempts = Attempts::new(i % 9, 8).unwrap();
        Candidate { attempts, weakest_call: Attempts::new(8, 8).unwrap(), ..Candidate::new(task, spec) }
    };
    let config = DatasetConfig { tasks: 10, ..config.clone() };
    let (all, _) = verify((0..30).map(candidate).collect(), config.agreement, config.agree);
    let chosen = select(all, &config.selection(), &mut Stream::root(1).rng()).unwrap();
    chosen.tasks.into_iter().map(|candidate| candidate.task.question).collect()
}
