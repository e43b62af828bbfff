//! A frontier that costs less: probes in batches, samples that are used twice, baselines of a task's own.

use serde_json::Value;
use toolr0_curriculum::{LossPriorConfig, PosteriorConfig};
use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, Finish, SamplingConfig};
use toolr0_reward::{Style, wire};
use toolr0_rl::advantage::{AdvantageConfig, Estimator, group_advantages, peer_advantages};
use toolr0_rl::gold::gold_logprobs;
use toolr0_rl::loss::{Advantages, GrpoConfig, LossInput, Window, grpo_loss};
use toolr0_rl::selfplay::{Record, StepReport};
use toolr0_rl::state::Turn;
use toolr0_rl::{Agent, Group, Role, Rollout, RunConfig, Sampler, SelfPlay};
use toolr0_tools::Task;

use crate::selfplay::{Log, base, bits, config, rl, tasks, trace};

fn log(config: &RunConfig) -> Log {
    let (base, exam, mut log) = (base(Checkpoint::chatml()), tasks(), Log::default());
    SelfPlay::new(config, &base, &exam).unwrap().run(&mut log, &mut |_| Ok(())).unwrap();
    log
}

fn generator_steps(log: &Log) -> Vec<&StepReport> {
    log.steps().into_iter().filter(|step| step.role == "generator").collect()
}

/// A run whose tasks are probed at most eight times.
fn probing(posterior: Option<PosteriorConfig>) -> RunConfig {
    let mut config = config();
    config.probe.samples = 8;
    config.probe.posterior = posterior;
    config.selfplay.generator_steps = 3;
    config.generator.prompts = 6;
    config
}

#[test]
fn batches_change_what_is_drawn_and_never_what_a_probe_is() {
    // Nothing is ever known to a tolerance of 0: all eight probes are drawn, however they are cut into batches.
    let of = |batch| PosteriorConfig { batch, tolerance: 0.0, ..PosteriorConfig::default() };
    let whole = trace(&probing(Some(of(8)))).unwrap();
    for batch in [1, 3, 100] {
        assert!(trace(&probing(Some(of(batch)))).unwrap() == whole, "batches of {batch}");
    }
    // They are the probes of a run without batches.
    let (plain, batched) = (log(&probing(None)), log(&probing(Some(of(2)))));
    let first = |log: &Log| generator_steps(log)[0].p_hat.clone();
    assert!(0 < first(&plain).iter().sum::<usize>());
    assert_eq!(first(&plain), first(&batched));
    assert!(generator_steps(&plain).iter().all(|step| step.probing.is_none()));
}

#[test]
fn a_task_that_is_known_is_not_probed_again() {
    let settings = PosteriorConfig { batch: 2, ..PosteriorConfig::default() };
    let log = log(&probing(Some(settings)));
    let steps = generator_steps(&log);
    let reports: Vec<_> = steps.iter().filter_map(|step| step.probing.as_ref()).collect();
    let (tasks, probes) =
        reports.iter().fold((0, 0), |(tasks, probes), r| (tasks + r.tasks, probes + r.probes));
    assert!(0 < tasks && 2 * tasks <= probes && probes < 8 * tasks, "{probes} probes of {tasks} tasks");
    for report in reports {
        let saved = 1.0 - report.probes as f64 / (8 * report.tasks) as f64;
        assert!((report.saved - saved).abs() < 1e-12 && report.forecast.is_none());
        assert!(0.0 < report.deviation && report.deviation < 0.5, "{report:?}");
    }
}

#[test]
fn forecasts_are_made_before_the_probes_that_judge_them() {
    let loss_prior = Some(LossPriorConfig { after: 1, ..LossPriorConfig::default() });
    let settings = PosteriorConfig { loss_prior, ..PosteriorConfig::default() };
    let log = log(&probing(Some(settings)));
    let steps = generator_steps(&log);
    let first = steps.iter().find_map(|step| step.probing.as_ref()).unwrap();
    let forecast = first.forecast.as_ref().unwrap();
    assert!((forecast.brier - 0.25).abs() < 1e-12, "whoever has seen nothing says one half: {forecast:?}");
    let all: Vec<f64> =
        steps.iter().filter_map(|step| Some(step.probing.as_ref()?.forecast.as_ref()?.brier)).collect();
    assert!(2 <= all.len() && all.iter().all(|brier| (0.0..=1.0).contains(brier)), "{all:?}");
    assert!(all[1..].iter().any(|brier| *brier != 0.25), "it has learned nothing");
}

#[test]
fn a_gold_answer_is_as_likely_as_its_parts() {
    let (base, tasks) = (base(Checkpoint::chatml()), tasks());
    let sampler = Sampler::new(&base, 4).unwrap();
    let ask = |task: &Task| wire::solver::prompt(&task.question, &task.tools, Style::Compact);
    let all: Vec<_> = tasks.iter().map(|task| (ask(task), task)).collect();
    let got = gold_logprobs(&sampler, &all).unwrap();
    assert_eq!(got.len(), 3);
    for (task, got) in tasks.iter().zip(&got) {
        let alone = gold_logprobs(&sampler, &[(ask(task), task)]).unwrap();
        assert_eq!(alone[0], *got, "it does not depend on who is computed beside it");
        assert!(got.iter().all(|part| *part < 0.0 && part.is_finite()), "{got:?}");
    }
    // A token of this model is a byte, so a part's tokens are where its text is.
    let text = wire::solver::write("", &tasks[0].gold);
    let prompt = ask(&tasks[0]);
    let tokens = sampler.tokenizer().encode(&text).unwrap();
    assert_eq!(tokens.len(), text.len());
    let rollout =
        Rollout { tokens, logprobs: Vec::new(), finish: Finish::Eos, text: text.clone(), quoted: Vec::new() };
    let group = Group { prompt: sampler.encode(&prompt).unwrap(), rollouts: vec![rollout] };
    let each = toolr0_rl::update::logprobs(sampler.model(), &[&group], 1.0).unwrap();
    for (part, want) in ["\"book_table\"", "\"city\"", "\"Oslo\""].into_iter().zip(got[0]) {
        let at = text.find(part).unwrap();
        let sum: f64 = each[at..at + part.len()].iter().sum();
        assert!((sum - want).abs() < 1e-4, "{part}: {sum}, {want}");
    }
    let mut wrong = tasks[0].clone();
    wrong.gold[0].arguments["city"] = "Oslo, or some other town that has tables".into();
    let worse = gold_logprobs(&sampler, &[(ask(&wrong), &wrong)]).unwrap();
    assert!(worse[0][2] < got[0][2] && worse[0][0] == got[0][0], "{worse:?}");
}

/// A run in which samples that measured a task may be used again, or not.
fn reusing(within: usize) -> RunConfig {
    let mut config = config();
    config.dataset.temperature = 1.0;
    config.probe.sampling = config.solver.sampling.clone();
    config.dataset.reuse_within = within;
    // So slow that its answers do not change their length.
    config.rl.learning_rate = 1e-5;
    config
}

#[test]
fn samples_that_measured_a_task_are_trained_on() {
    let tokens = |log: &Log| -> (f64, f64) {
        let of = |turn| -> usize {
            log.entries.iter().filter(|e| e.position.turn == turn).map(|e| e.cost.solver_tokens).sum()
        };
        let steps: Vec<_> = log.steps().into_iter().filter(|step| step.role == "solver").collect();
        let trained = 12.0 * steps.len() as f64;
        (
            of(Turn::Solver) as f64 / trained,
            steps.iter().map(|step| step.reused).sum::<usize>() as f64 / trained,
        )
    };
    let (never, always) = (log(&reusing(0)), log(&reusing(2)));
    let dataset = |log: &Log| -> Vec<Value> {
        log.lines().into_iter().filter(|line| line["record"] == "dataset").collect()
    };
    assert_eq!(dataset(&never), dataset(&always), "they are the same samples");
    let ((before, none), (after, reused)) = (tokens(&never), tokens(&always));
    assert!(none == 0.0 && 0.4 < reused, "share of reused samples {reused}");
    assert!(after < 0.6 * before, "{before} tokens a trained sample became {after}");
    // With a bound of one update the second step draws its own.
    let bounded = log(&reusing(1));
    let of_steps: Vec<usize> =
        bounded.steps().iter().filter(|step| step.role == "solver").map(|step| step.reused).collect();
    assert!(0 < of_steps[0] && of_steps[1] == 0, "{of_steps:?}");
}

#[test]
fn samples_drawn_elsewhere_are_refused() {
    let mut config = reusing(2);
    config.check().unwrap();
    config.dataset.temperature = 0.9;
    let error = config.check().unwrap_err().to_string();
    assert!(error.contains("dataset.reuse_within"), "{error}");
    let mut config = reusing(2);
    config.probe.sampling = SamplingConfig { max_new_tokens: 5, ..config.solver.sampling.clone() };
    config.check().unwrap_err();
}

#[test]
fn tasks_of_the_generators_steps_are_candidates_with_their_probes() {
    let mut config = reusing(2);
    config.dataset.candidates = 30;
    let apart = log(&config);
    config.dataset.pool_probed = true;
    let pooled = log(&config);
    let entered = |log: &Log, name: &str| -> Option<usize> {
        let dataset = log.lines().into_iter().find(|line| line["record"] == "dataset").unwrap();
        let stage = dataset["funnel"].as_array().unwrap().iter().find(|stage| stage["name"] == name)?;
        let dropped: u64 = stage["drops"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert!(dropped <= stage["entered"].as_u64().unwrap());
        stage["entered"].as_u64().map(|n| n as usize)
    };
    // Two steps of twelve completions; thirty in all.
    assert_eq!((entered(&apart, "parse"), entered(&apart, "probed before")), (Some(30), None));
    assert_eq!(entered(&pooled, "parse"), Some(30 - 24));
    let sound: usize = generator_steps(&pooled).iter().flat_map(|step| &step.p_hat).sum();
    let all = entered(&pooled, "probed before").unwrap();
    assert!(0 < sound && sound <= all && all <= sound + 6, "{sound} of {all}");
    assert_eq!(entered(&pooled, "dedup"), Some(all));
    let cost = |log: &Log| -> (usize, usize) {
        let dataset = log.entries.iter().filter(|entry| entry.position.turn == Turn::Dataset);
        dataset.fold((0, 0), |(g, s), e| (g + e.cost.generator_tokens, s + e.cost.solver_tokens))
    };
    let (before, after) = (cost(&apart), cost(&pooled));
    assert!(3 * after.0 < before.0 && after.1 < before.1, "{before:?} tokens became {after:?}");
    // Their probes are the solver's rollouts, and what the difficulty was measured by: four, where the dataset draws five.
    let samples = pooled.lines().into_iter().find(|line| line["record"] == "samples").unwrap();
    let tried = |task: &Value| task["candidate"]["attempts"]["tried"].as_u64().unwrap();
    assert!(samples["tasks"].as_array().unwrap().iter().any(|task| tried(task) == 4), "{samples}");
    assert!(pooled.steps().iter().any(|step| step.role == "solver" && 0 < step.reused));
}

#[test]
fn what_pools_nothing_is_refused() {
    let refused = |change: fn(&mut RunConfig)| {
        let mut config = reusing(0);
        config.dataset.pool_probed = true;
        config.check().unwrap();
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("dataset.pool_probed"), "{error}");
    };
    refused(|c| c.selfplay.generator_steps = 0);
    refused(|c| c.selfplay.shared_weights = true);
    refused(|c| c.dataset.temperature = 0.5);
}

/// Four completions of each task's prompt; samples `from..to` of them alone.
fn drawn(sampler: &Sampler, which: std::ops::Range<usize>) -> Vec<Group> {
    let stream = Stream::root(5);
    let ask = |(i, task): (usize, &Task)| {
        let prompt = wire::solver::prompt(&task.question, &task.tools, Style::Compact);
        (prompt, which.clone().map(|k| stream.child(i).child("sample").child(k)).collect())
    };
    let prompts: Vec<_> = tasks().iter().enumerate().map(ask).collect();
    sampler.sample(&prompts, &config().solver.sampling, &mut |_| true).unwrap()
}

#[test]
fn reused_samples_of_the_same_weights_give_the_on_policy_update() {
    let base = base(Checkpoint::chatml());
    let advantages = [1.0, -1.0, 0.5, -0.5].repeat(3);
    let mut rl = rl();
    rl.loss.beta = 0.0;
    let step = |groups: &[Group]| {
        let agent = Agent::new(Role::Solver, &base).unwrap();
        let mut optimizer = toolr0_rl::optim::AdamW::new(rl.adamw.clone());
        let stream = Stream::root(1);
        let done =
            toolr0_rl::update::update(&agent, &mut optimizer, groups, &advantages, None, &rl, 1e-3, stream)
                .unwrap();
        (done.grad_norm, bits(&agent.checkpoint().unwrap()))
    };
    let sampler = Agent::new(Role::Solver, &base).unwrap().sampler(16).unwrap();
    let fresh = drawn(&sampler, 0..4);
    // Two of four were drawn before, and lay on a disk meanwhile.
    let mut mixed = drawn(&sampler, 2..4);
    for (group, early) in mixed.iter_mut().zip(drawn(&sampler, 0..2)) {
        let text = serde_json::to_string(&early.rollouts).unwrap();
        group.rollouts.splice(0..0, serde_json::from_str::<Vec<Rollout>>(&text).unwrap());
    }
    let (fresh, mixed) = (step(&fresh), step(&mixed));
    assert!(0.0 < fresh.0 && (fresh.0 - mixed.0).abs() < 1e-6);
    assert!(fresh.1 == mixed.1);
}

/// The slope of a token is its on-policy slope times how much likelier it has become since it was drawn.
#[test]
fn stale_samples_count_by_their_importance_weight() {
    let now = [-1.0, -2.0, -0.5, -0.7];
    let slopes = |drawn_at: [f64; 4]| {
        let input = LossInput {
            row_lens: &[2, 2],
            mask: &[true; 4],
            logprobs: &now,
            old: Some(&drawn_at),
            reference: None,
            sampler: Some(&drawn_at),
            entropies: None,
            advantages: Advantages::Rows(&[1.0, -1.0]),
            window: Window::default(),
        };
        grpo_loss(&GrpoConfig { beta: 0.0, ..GrpoConfig::default() }, &input).unwrap().d_logprobs
    };
    let on_policy = slopes(now);
    let weights = [0.05_f64, -0.1, 0.1, -0.05];
    let stale = slopes(std::array::from_fn(|i| now[i] - weights[i]));
    for ((stale, fresh), weight) in stale.iter().zip(&on_policy).zip(weights) {
        assert!(*fresh != 0.0 && (stale - fresh * weight.exp()).abs() < 1e-12, "{stale} {fresh} {weight}");
    }
}

#[test]
fn a_task_is_its_own_baseline() {
    let config = AdvantageConfig { estimator: Estimator::Hierarchical, ..AdvantageConfig::default() };
    let own = [1.0 / 3.0, 1.0 / 3.0, -2.0 / 3.0];
    for others in [[0.0; 3], [1.0; 3], [7.0, -3.0, 0.25]] {
        let rewards = [[1.0, 1.0, 0.0], others].concat();
        let got = group_advantages(&rewards, 3, &config).unwrap();
        // Attempts of uneven number go by the task they are at, in whatever order they came.
        let keyed =
            peer_advantages(&[1.0, others[0], 1.0, others[1], 0.0], &["a", "b", "a", "b", "a"]).unwrap();
        for (i, want) in own.iter().enumerate() {
            assert!(
                (got[i] - want).abs() < 1e-12 && (keyed[2 * i] - want).abs() < 1e-12,
                "{got:?} {keyed:?}"
            );
        }
    }
}

/// In a run, a group is the proposals of one spec or the attempts at one task: both roles learn with baselines of these.
#[test]
fn both_roles_have_baselines_of_their_own() {
    let mut hierarchical = config();
    hierarchical.rl.advantage.estimator = Estimator::Hierarchical;
    let log = log(&hierarchical);
    let steps = log.steps();
    for role in ["generator", "solver"] {
        let learned = steps.iter().filter(|step| step.role == role && 0.0 < step.update.grad_norm).count();
        assert!(0 < learned, "{role}");
    }
    assert!(log.records.iter().any(|record| matches!(record, Record::Dataset(_))));
    assert!(trace(&hierarchical).unwrap() != trace(&config()).unwrap());
}
