//! The turns of both roles, on a model that knows a few whole completions by heart: each is one token.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use toolr0_curriculum::spec_law::MenuRange;
use toolr0_curriculum::{Candidate, SpecTables};
use toolr0_model::{Checkpoint, LoraConfig, SamplingConfig};
use toolr0_reward::{Style, wire};
use toolr0_rl::config::{
    DatasetConfig, DynamicSampling, ExamConfig, Overlong, ProbeConfig, RlConfig, RolloutConfig,
    SelfPlayConfig,
};
use toolr0_rl::ledger::Entry;
use toolr0_rl::selfplay::{Outcome, Phase, Record, StepReport};
use toolr0_rl::{Error, Observer, Result, RunConfig, SelfPlay};
use toolr0_tools::{Context, Prompt, Task, TaskSpec};

/// Three sound tasks of two tools and one call each, as they read after the wire.
pub(crate) fn tasks() -> Vec<Task> {
    let read = |question: &str, name: &str, key: &str, value: Value| {
        let kind = if value.is_string() { "string" } else { "integer" };
        let task: Task = serde_json::from_value(json!({
            "question": question,
            "tools": [
                { "name": name, "description": "Serves the wish of a guest.", "parameters": { "type": "object",
                  "properties": { key: { "type": kind } }, "required": [key] } },
                { "name": "find_menu", "description": "Find what a kitchen cooks today.", "parameters": {
                  "type": "object", "properties": { "kitchen": { "type": "string" } }, "required": ["kitchen"] } },
            ],
            "gold": [{ "name": name, "arguments": { key: value } }],
        }))
        .unwrap();
        wire::generator::parse(&wire::generator::write("easy", &task)).unwrap()
    };
    vec![
        read("Book a table in Oslo, please.", "book_table", "city", json!("Oslo")),
        read("Bring 7 plates to us now.", "bring_plates", "plates", json!(7)),
        read("Cancel what Maria ordered.", "cancel_order", "guest", json!("Maria")),
    ]
}

pub(crate) fn spec() -> TaskSpec {
    TaskSpec { domain: "food_ordering".into(), context: Context::SingleTurn, n_tools: 2, n_calls: 1 }
}

/// What the model knows: all tasks, all answers, a task that is not sound, an answer with a number as a string.
fn phrases() -> Vec<String> {
    let tasks = tasks();
    let mut phrases: Vec<String> = tasks.iter().map(|task| wire::generator::write("easy", task)).collect();
    phrases.extend(tasks.iter().map(|task| wire::solver::write("so", &task.gold)));
    phrases.push(
        wire::generator::write("easy", &tasks[0]).replace("Book a table in Oslo", "Book a table in Rome"),
    );
    phrases.push(wire::solver::write("so", &tasks[1].gold).replace("bring_plates", "find_menu"));
    phrases
}

pub(crate) fn base(template: &str) -> Checkpoint {
    crate::tiny(&phrases(), 11.0, template)
}

fn sampling(temperature: f64, max_new_tokens: usize) -> SamplingConfig {
    SamplingConfig {
        temperature,
        max_new_tokens,
        stop: wire::STOP.map(str::to_owned).into(),
        ..Default::default()
    }
}

/// How the runs of these tests learn.
pub(crate) fn rl() -> RlConfig {
    RlConfig { learning_rate: 3e-3, micro_batch_tokens: 2048, max_rows: 16, ..RlConfig::default() }
}

pub(crate) fn config() -> RunConfig {
    let rollout =
        |prompts| RolloutConfig { prompts, group_size: 4, learning_rate: None, sampling: sampling(1.0, 6) };
    let mut config = RunConfig {
        seed: 11,
        style: Style::Compact,
        selfplay: SelfPlayConfig {
            iterations: 1,
            generator_steps: 2,
            solver_steps: 2,
            shared_weights: false,
        },
        spec: SpecTables {
            domains: BTreeMap::from([(spec().domain, 1.0)]),
            contexts: BTreeMap::from([(Context::SingleTurn, 1.0)]),
            calls: BTreeMap::from([(Context::SingleTurn, BTreeMap::from([(1, 1.0)]))]),
            menus: BTreeMap::from([(1, vec![MenuRange { min: 2, max: 2, weight: 1.0 }])]),
        },
        generator: rollout(3),
        solver: rollout(3),
        probe: ProbeConfig {
            samples: 4,
            sampling: sampling(0.7, 6),
            judge_sampling: sampling(1.0, 1),
            judge_tries: 2,
            ..ProbeConfig::default()
        },
        dataset: DatasetConfig {
            candidates: 24,
            sampling: sampling(1.0, 6),
            samples: 5,
            agreement: 0.0,
            tasks: 3,
            ..DatasetConfig::default()
        },
        rl: rl(),
        exam: ExamConfig { items: 3, max_new_tokens: 6, pass_at: 0 },
        ..RunConfig::default()
    };
    // No judge: a model of eight phrases writes no numbers.
    config.reward.generator.curriculum_weights.semantic = 0.0;
    config
}

/// Keeps the records; asks to stop after so many of them.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Record>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) phases: Vec<(Phase, usize)>,
    pub(crate) stop_after: Option<usize>,
}

impl Log {
    pub(crate) fn steps(&self) -> Vec<&StepReport> {
        self.records
            .iter()
            .filter_map(|r| if let Record::Step(step) = r { Some(&**step) } else { None })
            .collect()
    }

    /// The records without what the clock says.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let line = |record: &Record| {
            let mut line = serde_json::to_value(record).unwrap();
            for key in ["seconds", "tokens_per_second"] {
                line.as_object_mut().unwrap().remove(key);
            }
            line
        };
        self.records.iter().map(line).collect()
    }
}

impl Observer for Log {
    fn begin(&mut self, phase: Phase, iteration: usize, _: usize) {
        self.phases.push((phase, iteration));
    }

    fn advance(&mut self, _: usize, _: &str) {}

    fn record(&mut self, record: &Record) -> Result<()> {
        self.records.push(record.clone());
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        self.entries.push(entry.clone());
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop_after.is_some_and(|n| n <= self.records.len())
    }
}

/// Everything that a run gives.
struct Done {
    log: Log,
    tasks: Vec<Candidate>,
    outcome: Outcome,
}

fn run(config: &RunConfig, base: &Checkpoint, stop_after: Option<usize>) -> Result<Done> {
    let exam = tasks();
    let mut log = Log { stop_after, ..Log::default() };
    let mut kept = Vec::new();
    let outcome = SelfPlay::new(config, base, &exam)?.run(&mut log, &mut |iteration| {
        assert_eq!(iteration.number, 1);
        kept.extend_from_slice(iteration.tasks);
        Ok(())
    })?;
    Ok(Done { log, tasks: kept, outcome })
}

/// The weights, bit for bit.
pub(crate) fn bits(checkpoint: &Checkpoint) -> BTreeMap<String, Vec<u32>> {
    let values = |x: &candle_core::Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let bits = |x| values(x).into_iter().map(f32::to_bits).collect();
    checkpoint.tensors.iter().map(|(name, x)| (name.clone(), bits(x))).collect()
}

/// A run of two steps a role that takes a fraction of a second.
pub(crate) fn short() -> RunConfig {
    let mut config = config();
    // Two answers are alike more often than four, so that groups without a signal are common.
    (config.generator.group_size, config.solver.group_size) = (2, 2);
    config.dataset.candidates = 8;
    config
}

/// Every line of a run's log, and the weights that it leaves.
pub(crate) type Trace = (Vec<Value>, [BTreeMap<String, Vec<u32>>; 2]);

/// All that a run tells and leaves: whether two settings differ in anything.
pub(crate) fn trace(config: &RunConfig) -> Result<Trace> {
    let (base, exam, mut log) = (base(Checkpoint::chatml()), tasks(), Log::default());
    let outcome = SelfPlay::new(config, &base, &exam)?.run(&mut log, &mut |_| Ok(()))?;
    Ok((log.lines(), [bits(&outcome.generator), bits(&outcome.solver)]))
}

/// Every estimator finds what it needs in a run: lengths, terms, groups.
#[test]
fn every_estimator_trains() {
    let estimators = [
        "rloo",
        "reinforce_plus_plus",
        "reinforce_plus_plus_baseline",
        "opo",
        "max_rl",
        "gdpo",
        "hierarchical",
    ];
    let mut seen = vec![trace(&short()).unwrap()];
    for estimator in estimators {
        let mut config = short();
        config.rl.advantage.estimator = serde_json::from_value(estimator.into()).unwrap();
        let got = trace(&config).unwrap();
        assert!(!seen.contains(&got), "`{estimator}` learns like another");
        seen.push(got);
    }
}

#[test]
fn the_tasks_of_this_test_are_sound() {
    for task in tasks() {
        toolr0_reward::verify(&task, &spec(), &Default::default()).unwrap();
    }
}

#[test]
fn an_iteration_runs_through() {
    let (config, base) = (config(), base(Checkpoint::chatml()));
    let Done { log, tasks, outcome } = run(&config, &base, None).unwrap();
    let phases = [
        (Phase::Exam, 0),
        (Phase::Generator, 1),
        (Phase::Candidates, 1),
        (Phase::Verification, 1),
        (Phase::Solver, 1),
        (Phase::Exam, 1),
    ];
    assert_eq!(log.phases, phases);
    let kinds: Vec<&str> = log
        .records
        .iter()
        .map(|record| match record {
            Record::Step(step) if step.role == "generator" => "generator",
            Record::Step(_) => "solver",
            Record::Dataset(_) => "dataset",
            Record::Samples { .. } => "samples",
            Record::Exam { .. } => "exam",
            Record::Alarm(_) => "alarm",
            Record::Trust { .. } => "trust",
        })
        .collect();
    assert_eq!(kinds, ["exam", "generator", "generator", "dataset", "samples", "solver", "solver", "exam"]);
    assert_eq!((outcome.iterations, outcome.stopped, outcome.exams.len()), (1, false, 2));

    for (step, n) in log.steps().into_iter().zip([12.0; 4]) {
        assert_eq!(step.unscorable, 0);
        assert!(step.reward > 0.0 && step.completion_tokens >= 1.0, "{step:?}");
        assert_eq!(step.update.stats.rows as f64, n, "every completion of the step takes part");
        let mismatch = step.update.stats.mismatch.as_ref().unwrap();
        assert_eq!((mismatch.gap_max, step.update.stats.ratio), (0.0, 1.0), "the sampler is the trainer");
        assert!(step.update.grad_norm > 0.0 && step.tokens_per_second > 0.0);
    }
    // The generator's rate counts probes of sound tasks, the solver's its own completions.
    assert!(log.steps().iter().all(|step| step.success_rate.is_some()));

    let Some(Record::Dataset(dataset)) = log.records.iter().find(|r| matches!(r, Record::Dataset(_))) else {
        panic!("no dataset")
    };
    let stages: Vec<&str> = dataset.funnel.stages().iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(stages, ["parse", "structure", "dedup", "cross-verification", "selection"]);
    assert_eq!(dataset.funnel.stages()[0].entered, 24);
    assert!(dataset.funnel.stages().windows(2).all(|w| w[0].kept() == w[1].entered), "every drop is counted");
    assert_eq!((dataset.tasks, dataset.funnel.stages()[4].kept()), (tasks.len(), tasks.len()));
    assert!(!tasks.is_empty() && tasks.iter().all(|c| c.attempts.tried() == 5), "{tasks:?}");
    let Some(Record::Samples { tasks: samples, .. }) = log.records.get(4) else { panic!("no samples") };
    assert_eq!(samples.iter().map(|s| &s.candidate).collect::<Vec<_>>(), tasks.iter().collect::<Vec<_>>());
    for sample in samples {
        let solved = sample.answers.iter().filter(|answer| answer.solved).count();
        assert_eq!((sample.answers.len(), solved), (5, sample.candidate.attempts.solved() as usize));
    }
    assert_eq!(dataset.p_hat.iter().sum::<usize>(), dataset.funnel.stages()[3].entered, "all were measured");
    let probed = |step: &StepReport| step.p_hat.iter().sum::<usize>();
    assert!(log.steps().iter().all(|step| (0 < probed(step)) == (step.role == "generator")));
    let rates: Vec<f64> = tasks.iter().map(|c| c.attempts.rate().unwrap()).collect();
    assert!(rates.is_sorted_by(|a, b| a >= b), "easy to hard: {rates:?}");

    assert_ne!(bits(&outcome.generator), bits(&base));
    assert_ne!(bits(&outcome.solver), bits(&base));
    assert_ne!(bits(&outcome.solver), bits(&outcome.generator));
}

#[test]
fn a_guard_keeps_held_out_questions_from_the_solver() {
    let (config, base) = (config(), base(Checkpoint::chatml()));
    // Without a guard it is trained on.
    let planted = run(&config, &base, None).unwrap().tasks.swap_remove(0).task;
    let mut guard = toolr0_curriculum::Guard::default();
    // The same words in other clothes, and none of the tools.
    let copy = planted.question.to_uppercase().replace(' ', " -- ");
    guard.add("suite-7", [copy.as_str()], &[]);
    let (mut log, mut kept) = (Log::default(), Vec::new());
    let game = SelfPlay::new(&config, &base, &[]).unwrap().guarded(&guard);
    game.run(&mut log, &mut |iteration| {
        kept.extend_from_slice(iteration.tasks);
        Ok(())
    })
    .unwrap();
    assert!(!kept.is_empty() && kept.iter().all(|c| c.task.question != planted.question));
    let Some(Record::Dataset(dataset)) = log.records.iter().find(|r| matches!(r, Record::Dataset(_))) else {
        panic!("no dataset")
    };
    let stage = dataset.funnel.stages().iter().find(|stage| stage.name == "guard").unwrap();
    assert_eq!(stage.drops.of("held-out question"), dataset.contaminated.len());
    assert_eq!((dataset.contaminated.len(), dataset.contaminated[0].item.as_str()), (1, "suite-7"));
    assert_eq!(dataset.contaminated[0].question, planted.question);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (config, base) = (config(), base(Checkpoint::chatml()));
    let want = run(&config, &base, None).unwrap();
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let got = pool.install(|| run(&config, &base, None)).unwrap();
        assert_eq!(got.log.lines(), want.log.lines(), "{threads} threads");
        assert_eq!(got.tasks, want.tasks, "{threads} threads");
        assert_eq!(bits(&got.outcome.generator), bits(&want.outcome.generator), "{threads} threads");
        assert_eq!(bits(&got.outcome.solver), bits(&want.outcome.solver), "{threads} threads");
    }
    // Rows per batch bound memory and change nothing.
    let narrow = RunConfig { rl: RlConfig { max_rows: 3, ..config.rl.clone() }, ..config.clone() };
    assert_eq!(run(&narrow, &base, None).unwrap().log.lines(), want.log.lines());
    let other = run(&RunConfig { seed: 12, ..config }, &base, None).unwrap();
    assert_ne!(other.log.lines(), want.log.lines());
    assert_ne!(bits(&other.outcome.solver), bits(&want.outcome.solver));
}

/// ChatML that refuses a conversation nobody has announced: what was asked is then known to the letter.
fn guarded(known: &[Prompt]) -> String {
    let key = |p: &Prompt| {
        serde_json::to_string(&format!("{}|{}", p.messages[0].content, p.messages[1].content)).unwrap()
    };
    let keys: Vec<String> = known.iter().map(key).collect();
    format!(
        "{{% set key = messages[0].content ~ '|' ~ messages[1].content %}}\
         {{% if messages | length != 2 or key not in [{}] %}}{{{{ raise_exception('unannounced: ' ~ key) }}}}\
         {{% endif %}}{}",
        keys.join(", "),
        Checkpoint::chatml()
    )
}

/// Fault 17 of the public release: a solver was probed, checked, trained and measured on different prompts.
#[test]
fn every_phase_asks_in_the_same_words() {
    let mut config = config();
    config.reward.generator.curriculum_weights.semantic = 0.5; // the judge is asked, too
    let solver = |task: &Task| wire::solver::prompt(&task.question, &task.tools, Style::Compact);
    let generator = wire::generator::prompt(&spec(), Style::Compact);
    let mut known: Vec<Prompt> = tasks().iter().map(solver).collect();
    known.extend(tasks().iter().map(|task| wire::judge::prompt(task, Style::Compact)));
    known.push(generator.clone());

    // Probing, judging, verifying, training and the exam all pass, and all of them take place.
    let done = run(&config, &base(&guarded(&known)), None).unwrap();
    let steps = done.log.steps();
    assert!(steps[0].success_rate.is_some(), "the solver was probed");
    assert!(!done.tasks.is_empty() && done.outcome.exams.len() == 2);
    assert!(steps[..2].iter().all(|step| step.prompt_fingerprint == generator.fingerprint()));
    assert_eq!(steps[2].prompt_fingerprint, solver(&done.tasks[0].task).fingerprint());
    let asked: Vec<String> = tasks().iter().map(|task| solver(task).fingerprint()).collect();
    assert!(steps[2..].iter().all(|step| asked.contains(&step.prompt_fingerprint)));

    // The guard does its work: in every phase, a single unknown prompt ends the run.
    let refused = |known: &[Prompt], config: &RunConfig, exam: &[Task]| {
        let base = base(&guarded(known));
        let error = SelfPlay::new(config, &base, exam)?.run(&mut Log::default(), &mut |_| Ok(())).map(|_| ());
        error.map_err(|error| {
            assert!(matches!(&error, Error::Model(toolr0_model::Error::TemplateRaised { .. })), "{error:?}");
            error
        })
    };
    refused(&known, &config, &[]).unwrap();
    refused(&known[1..], &config, &tasks()).expect_err("the exam asks of task 0");
    refused(&known[..6], &config, &[]).expect_err("the generator is asked");
    refused(&known[3..], &config, &[]).expect_err("the solver is probed");
    let judges = [&known[..3], &known[6..]].concat();
    refused(&judges, &config, &[]).expect_err("the judge is asked");
    let prompted = SelfPlayConfig { generator_steps: 0, ..config.selfplay.clone() };
    let no_generator = RunConfig { selfplay: prompted, ..config.clone() };
    refused(&known, &no_generator, &[]).unwrap();
    refused(&known[3..], &no_generator, &[]).expect_err("the tasks are verified");
}

#[test]
fn a_request_to_stop_ends_at_a_step_boundary() {
    let (config, base) = (config(), base(Checkpoint::chatml()));
    let whole = run(&config, &base, None).unwrap();
    // Records: exam, two steps of the generator, dataset, samples of it, two steps of the solver, exam.
    for (after, generator, solver) in [(1, false, false), (2, true, false), (6, true, true)] {
        let done = run(&config, &base, Some(after)).unwrap();
        assert_eq!(done.log.lines(), whole.log.lines()[..after], "what was done is what the whole run did");
        assert!(done.outcome.stopped && done.outcome.iterations == 0 && done.tasks.is_empty());
        assert_eq!(done.outcome.exams.len(), 1);
        assert_eq!(bits(&done.outcome.generator) != bits(&base), generator, "after {after} records");
        assert_eq!(bits(&done.outcome.solver) != bits(&base), solver, "after {after} records");
        assert_ne!(bits(&done.outcome.solver), bits(&whole.outcome.solver));
    }
}

#[test]
fn the_control_deals_the_same_advantages_to_others() {
    let (mut config, base) = (config(), base(Checkpoint::chatml()));
    let want = run(&config, &base, None).unwrap();
    config.rl.shuffle_advantages = true;
    let got = run(&config, &base, None).unwrap();
    // The first step samples alike and is paid alike; what is learned from it differs.
    let (a, b) = (&want.log.steps()[0], &got.log.steps()[0]);
    assert_eq!(
        (a.reward, a.completion_tokens, a.success_rate),
        (b.reward, b.completion_tokens, b.success_rate)
    );
    assert_ne!(bits(&got.outcome.generator), bits(&want.outcome.generator));
}

#[test]
fn dynamic_sampling_draws_flat_groups_again() {
    let (mut config, base) = (config(), base(Checkpoint::chatml()));
    // Two answers are alike more often than four.
    (config.generator.group_size, config.solver.group_size) = (2, 2);
    let plain = run(&config, &base, None).unwrap();
    config.rl.dynamic_sampling = Some(DynamicSampling { max_rounds: 3 });
    let got = run(&config, &base, None).unwrap();
    let (before, after) = (plain.log.steps(), got.log.steps());
    assert!(before.iter().all(|step| step.resampled == 0));
    assert!(before.iter().any(|step| 0.0 < step.zero_variance), "there is something to draw again");
    assert!(after.iter().any(|step| 0 < step.resampled));
    let sampled = |steps: &[&StepReport]| steps.iter().map(|s| s.sampled_tokens).sum::<usize>();
    assert!(sampled(&after) > sampled(&before));
    assert_ne!(bits(&got.outcome.solver), bits(&plain.outcome.solver));
}

#[test]
fn length_is_punished_where_it_is_asked_for() {
    let (mut config, base) = (config(), base(Checkpoint::chatml()));
    let plain = run(&config, &base, None).unwrap();
    config.rl.overlong = Some(Overlong { cache: 6 });
    let got = run(&config, &base, None).unwrap();
    let (before, after) = (&plain.log.steps()[0], &got.log.steps()[0]);
    assert!(!before.reward_terms.contains_key("overlong"));
    assert!(after.reward_terms["overlong"] < 0.0);
    assert!((after.reward - before.reward - after.reward_terms["overlong"]).abs() < 1e-9);
}

#[test]
fn adapters_play_as_full_weights_do() {
    let (mut config, base) = (config(), base(Checkpoint::chatml()));
    config.rl.lora = Some(LoraConfig { rank: 2, dropout: 0.1, ..LoraConfig::default() });
    let twice = [run(&config, &base, None).unwrap(), run(&config, &base, None).unwrap()];
    assert_eq!(bits(&twice[0].outcome.solver), bits(&twice[1].outcome.solver));
    assert_ne!(bits(&twice[0].outcome.solver), bits(&base), "the solver has learned");
    assert_ne!(bits(&twice[0].outcome.generator), bits(&base), "the generator has learned");
    config.rl.lora = Some(LoraConfig { rank: 0, ..LoraConfig::default() });
    let error = run(&config, &base, None).err().unwrap().to_string();
    assert!(error.contains("`rank`"), "{error}");
}

#[test]
fn shared_weights_are_one_model_that_both_roles_teach() {
    let (mut config, base) = (config(), base(Checkpoint::chatml()));
    let apart = run(&config, &base, None).unwrap().outcome;
    config.selfplay.shared_weights = true;
    for lora in [None, Some(LoraConfig { rank: 2, ..LoraConfig::default() })] {
        config.rl.lora = lora;
        let together = run(&config, &base, None).unwrap().outcome;
        assert_eq!(bits(&together.solver), bits(&together.generator));
        assert_ne!(bits(&together.solver), bits(&apart.solver), "the generator's steps move the solver, too");
        assert_ne!(bits(&together.solver), bits(&base));
    }
}

#[test]
fn the_release_profile_pays_by_the_releases_rules() {
    let (mut config, base) = (config(), base(Checkpoint::chatml()));
    let mean = |log: &Log| log.steps().iter().map(|step| step.reward).collect::<Vec<_>>();
    let strict = mean(&run(&config, &base, None).unwrap().log);
    config.reward.profile = toolr0_reward::Profile::Release;
    let release = mean(&run(&config, &base, None).unwrap().log);
    // One of the phrases asks for Rome and books Oslo, another calls the wrong tool: both earn more by the release.
    assert!(strict[0] != release[0] || strict[2] != release[2], "{strict:?} {release:?}");
}

#[test]
fn a_failing_observer_ends_the_run() {
    struct Full;
    impl Observer for Full {
        fn begin(&mut self, _: Phase, _: usize, _: usize) {}
        fn advance(&mut self, _: usize, _: &str) {}
        fn record(&mut self, _: &Record) -> Result<()> {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            Err(Error::Write { path: "metrics.jsonl".into(), source })
        }
    }
    let (config, base, exam) = (config(), base(Checkpoint::chatml()), tasks());
    let play = SelfPlay::new(&config, &base, &exam).unwrap();
    let error = play.run(&mut Full, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(&error, Error::Write { .. }), "{error:?}");
}
