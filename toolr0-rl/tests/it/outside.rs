//! Somebody outside in place of the frozen solver.

use std::path::PathBuf;

use serde_json::Value;
use toolr0_curriculum::Guard;
use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, SamplingConfig};
use toolr0_rl::config::{EndpointConfig, EndpointRole};
use toolr0_rl::{Answerer, Answers, Error, Result, RunConfig, Sampler, SelfPlay};
use toolr0_tools::Prompt;

use crate::selfplay::{Log, base, config};

/// A sampler of which some answers are lost on the way.
#[derive(Debug)]
struct Lossy {
    sampler: Sampler,
    /// Of every so many answers one arrives; 0 loses all.
    arrives: usize,
    /// Whether a loss is the end.
    ends: bool,
}

impl Answerer for Lossy {
    fn answer(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers> {
        let mut answers = self.sampler.answer(prompts, sampling, progress)?;
        for (i, text) in answers.texts.iter_mut().flatten().enumerate() {
            if self.arrives == 0 || i % self.arrives != 0 {
                *text = None;
                answers.unknown.add("lost");
            }
        }
        let lost = !answers.unknown.is_empty();
        answers.ended = (self.ends && lost)
            .then(|| Error::Endpoint { url: "here".into(), reason: "gave no answer: lost".into() });
        Ok(answers)
    }
}

fn lossy(arrives: usize) -> Lossy {
    Lossy { sampler: Sampler::new(&base(Checkpoint::chatml()), 16).unwrap(), arrives, ends: false }
}

/// The records of a run in which `outside` plays `roles`, and how it ended.
fn run(config: &RunConfig, outside: &dyn Answerer, roles: &[EndpointRole]) -> (Log, Result<()>) {
    let (base, mut log) = (base(Checkpoint::chatml()), Log::default());
    let game = SelfPlay::new(config, &base, &[]).unwrap().assisted(outside, roles);
    let ended = game.run(&mut log, &mut |_| Ok(())).map(drop);
    (log, ended)
}

fn dataset(log: &Log) -> Value {
    log.lines().into_iter().find(|line| line["record"] == "dataset").unwrap()
}

/// Two ways to the same run: in the first iteration the frozen solver is the base.
#[test]
fn who_answers_the_same_changes_nothing() {
    let config = config();
    let own = {
        let (base, mut log) = (base(Checkpoint::chatml()), Log::default());
        SelfPlay::new(&config, &base, &[]).unwrap().run(&mut log, &mut |_| Ok(())).unwrap();
        log.lines()
    };
    for roles in [&[EndpointRole::Solver][..], &[EndpointRole::Teacher, EndpointRole::Judge]] {
        assert_eq!(run(&config, &lossy(1), roles).0.lines(), own);
    }
}

#[test]
fn an_answer_that_does_not_come_is_no_attempt() {
    let (config, base, mut log) = (config(), base(Checkpoint::chatml()), Log::default());
    let lost = lossy(2);
    let game = SelfPlay::new(&config, &base, &[]).unwrap().assisted(&lost, &[EndpointRole::Solver]);
    let mut tasks = Vec::new();
    game.run(&mut log, &mut |iteration| {
        tasks.extend_from_slice(iteration.tasks);
        Ok(())
    })
    .unwrap();
    let first = log.steps()[0].clone();
    assert!(0 < first.unknown.of("lost") && first.unscorable == 0 && first.success_rate.is_some());
    // Of five samples of a task every other one of all arrives: two or three, and no more are counted as attempts.
    assert!(!tasks.is_empty());
    assert!(tasks.iter().all(|task| [2, 3].contains(&task.attempts.tried())), "{tasks:?}");
    let data = dataset(&log);
    assert!(data["unknown"]["lost"].as_u64() >= Some(2 * tasks.len() as u64), "{data}");
}

#[test]
fn a_task_that_nobody_attempted_has_no_reward_and_teaches_nothing() {
    let config = config();
    let (log, ended) = run(&config, &lossy(0), &[EndpointRole::Solver]);
    ended.unwrap();
    for step in log.steps().iter().filter(|step| step.role == "generator") {
        assert!(0 < step.unscorable && step.success_rate.is_none(), "{step:?}");
        assert_eq!(step.unknown.total(), step.unscorable * config.probe.samples);
    }
    let data = dataset(&log);
    let stages = data["funnel"].as_array().unwrap();
    let verified = stages.iter().find(|stage| stage["name"] == "cross-verification").unwrap();
    assert_eq!(verified["drops"], serde_json::json!({"unmeasured": verified["entered"]}));
    assert_eq!(data["tasks"], 0);

    // A teacher that is silent costs the dataset alone.
    let (log, _) = run(&config, &lossy(0), &[EndpointRole::Teacher]);
    let steps = log.steps();
    assert!(steps.iter().all(|step| step.unscorable == 0 && step.unknown.is_empty()));
    assert_eq!(dataset(&log)["tasks"], 0);
}

#[test]
fn a_judge_that_does_not_come_leaves_the_score_unknown() {
    let mut config = config();
    config.reward.generator.curriculum_weights.semantic = 0.5;
    let (log, ended) = run(&config, &lossy(0), &[EndpointRole::Judge]);
    ended.unwrap();
    let first = log.steps()[0].clone();
    assert!(0 < first.unscorable && first.success_rate.is_some());
    assert_eq!(first.unknown.total(), first.unscorable * config.probe.judge_tries, "asked again each time");
}

#[test]
fn the_end_of_all_answers_is_an_error_by_name_and_keeps_what_was() {
    let lost = Lossy { ends: true, ..lossy(2) };
    let (log, ended) = run(&config(), &lost, &[EndpointRole::Teacher]);
    let error = ended.unwrap_err().to_string();
    assert_eq!(error, "the endpoint here gave no answer: lost");
    assert_eq!(log.steps().len(), 2, "what the generator learned is told");
}

#[test]
fn what_the_configuration_names_must_be_given() {
    let refused = |change: fn(&mut RunConfig), word: &str| {
        let (mut config, base) = (config(), base(Checkpoint::chatml()));
        change(&mut config);
        let game = SelfPlay::new(&config, &base, &[]).unwrap();
        let error = game.run(&mut Log::default(), &mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(|c| c.dataset.guard = vec![PathBuf::from("bench")], "SelfPlay::guarded");
    refused(
        |c| c.endpoint = Some(EndpointConfig { url: "http://x".into(), ..EndpointConfig::default() }),
        "SelfPlay::assisted",
    );
    let mut guarded = config();
    guarded.dataset.guard = vec![PathBuf::from("bench")];
    let (base, guard) = (base(Checkpoint::chatml()), Guard::default());
    let game = SelfPlay::new(&guarded, &base, &[]).unwrap().guarded(&guard);
    game.run(&mut Log::default(), &mut |_| Ok(())).unwrap();
}
