//! A run that goes on is the run that was never interrupted: from every checkpoint, after a stop, after a rollback.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use toolr0_curriculum::{LossPriorConfig, PosteriorConfig};
use toolr0_model::{Checkpoint, LoraConfig};
use toolr0_rl::alarm::{Action, Alarm};
use toolr0_rl::checkpoint::{self, Store};
use toolr0_rl::config::{AbstentionConfig, Drill, SelfPlayConfig};
use toolr0_rl::ledger::Entry;
use toolr0_rl::selfplay::{Outcome, Record};
use toolr0_rl::state::Turn;
use toolr0_rl::{Error, RunConfig, SelfPlay};

use crate::selfplay::{Log, base, bits, config, tasks};

/// What a run told, without the clock.
fn told(log: &Log) -> (Vec<Value>, Vec<Entry>) {
    let mut entries = log.entries.clone();
    entries.iter_mut().for_each(|entry| entry.cost.seconds = 0.0);
    (log.lines(), entries)
}

/// A run from the beginning, saved in `root`, to its end or until so many records are told.
fn play(
    config: &RunConfig,
    base: &Checkpoint,
    root: &Path,
    stop_after: Option<usize>,
) -> (Log, Result<Outcome, Error>) {
    let (exam, mut log) = (tasks(), Log { stop_after, ..Log::default() });
    let store = Store::open(root, config.checkpoint.keep).unwrap();
    let game = SelfPlay::new(config, base, &exam).unwrap().saved_in(&store);
    let outcome = game.run(&mut log, &mut |_| Ok(()));
    (log, outcome)
}

/// Goes on from one checkpoint of `root`, saving elsewhere.
fn go_on(config: &RunConfig, base: &Checkpoint, root: &Path, name: &str) -> (usize, Log, Outcome) {
    let (exam, mut log) = (tasks(), Log::default());
    let state = checkpoint::load(&root.join(name), config, base).unwrap();
    let other = tempfile::tempdir().unwrap();
    let store = Store::open(other.path(), 2).unwrap();
    let (from, game) = (state.records, SelfPlay::new(config, base, &exam).unwrap().saved_in(&store));
    let outcome = game.go_on(state, &mut log, &mut |_| Ok(())).unwrap();
    (from, log, outcome)
}

#[track_caller]
fn check_every_checkpoint(config: &RunConfig, want: usize) {
    let (base, home) = (base(Checkpoint::chatml()), tempfile::tempdir().unwrap());
    let (whole, outcome) = play(config, &base, home.path(), None);
    let (lines, entries) = told(&whole);
    let outcome = outcome.unwrap();
    let all = checkpoint::list(home.path()).unwrap();
    assert_eq!(all.len(), want, "{all:?}");
    for position in all {
        let (from, log, got) = go_on(config, &base, home.path(), &position.to_string());
        let (more, rest) = told(&log);
        assert_eq!((more, rest), (lines[from..].to_vec(), entries[from..].to_vec()), "from {position}");
        assert_eq!(bits(&got.generator), bits(&outcome.generator), "from {position}");
        assert_eq!(bits(&got.solver), bits(&outcome.solver), "from {position}");
        assert_eq!(
            (got.exams, got.iterations),
            (outcome.exams.clone(), outcome.iterations),
            "from {position}"
        );
    }
}

/// Two iterations of two and three steps, saved after each.
fn saved() -> RunConfig {
    let mut config = config();
    config.selfplay =
        SelfPlayConfig { iterations: 2, generator_steps: 2, solver_steps: 3, shared_weights: false };
    config.checkpoint.every = 1;
    config.checkpoint.keep = 0;
    config
}

#[test]
fn every_checkpoint_goes_on_as_if_nothing_had_happened() {
    // The exam of the base, then of each iteration 2 + 1 + 3 + 1.
    check_every_checkpoint(&saved(), 1 + 2 * 7);
}

/// What was said, how far answers got, whom to trust: all of it changes what comes next.
#[test]
fn a_run_that_remembers_goes_on_too() {
    let mut config = saved();
    config.reward.generator.curriculum_weights.semantic = 0.5;
    config.novelty = Some(Default::default());
    config.steering = Some(Default::default());
    config.abstention = Some(AbstentionConfig { share: 0.2, withdrawn: 0.5 });
    config.trust = Some(Default::default());
    config.checkpoint.every = 2;
    check_every_checkpoint(&config, 1 + 2 * 5);
}

#[test]
fn adapters_go_on_too() {
    let mut config = saved();
    config.rl.lora = Some(LoraConfig { rank: 2, dropout: 0.1, ..LoraConfig::default() });
    config.rl.epochs = 2;
    config.checkpoint.every = 2;
    check_every_checkpoint(&config, 1 + 2 * 5);
}

#[test]
fn forecasts_and_samples_to_be_trained_on_go_on_too() {
    let mut config = saved();
    config.probe.sampling = config.solver.sampling.clone();
    config.dataset.temperature = 1.0;
    config.dataset.reuse_within = 2;
    config.dataset.pool_probed = true;
    let loss_prior = Some(LossPriorConfig { after: 1, ..LossPriorConfig::default() });
    config.probe.posterior = Some(PosteriorConfig { loss_prior, ..PosteriorConfig::default() });
    check_every_checkpoint(&config, 1 + 2 * 7);
}

#[test]
fn a_stop_loses_nothing_and_the_newest_stay() {
    let (mut config, base) = (saved(), base(Checkpoint::chatml()));
    (config.checkpoint.every, config.checkpoint.keep) = (0, 2);
    let home = tempfile::tempdir().unwrap();
    let (whole, _) = play(&config, &base, home.path(), None);
    let names = |root: &Path| -> Vec<String> {
        checkpoint::list(root).unwrap().iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(home.path()), ["002-4-exam-00000", "003-1-generator-00000"]);
    let home = tempfile::tempdir().unwrap();
    let (part, outcome) = play(&config, &base, home.path(), Some(7));
    assert!(outcome.unwrap().stopped);
    assert_eq!(names(home.path()), ["001-3-solver-00000", "001-3-solver-00002"]);
    let (from, rest, _) = go_on(&config, &base, home.path(), "001-3-solver-00002");
    assert_eq!((from, [part.lines(), rest.lines()].concat()), (7, whole.lines()));
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name_and_another_process_kept_out() {
    let (config, base, home) = (saved(), base(Checkpoint::chatml()), tempfile::tempdir().unwrap());
    play(&config, &base, home.path(), Some(3)).1.unwrap();
    let newest = checkpoint::list(home.path()).unwrap().pop().unwrap();
    let dir = home.path().join(newest.to_string());
    checkpoint::load(&dir, &config, &base).unwrap();
    for name in ["solver/model.safetensors", "state.json", "solver/config.json"] {
        let path = dir.join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for bytes in [flipped, whole[..whole.len() - 1].to_vec()] {
            std::fs::write(&path, bytes).unwrap();
            let error = checkpoint::load(&dir, &config, &base).unwrap_err();
            assert!(matches!(&error, Error::Damaged { path: named, .. } if *named == path), "{error:?}");
        }
        std::fs::write(&path, whole).unwrap();
    }
    std::fs::remove_file(dir.join("tasks.jsonl")).unwrap();
    let error = checkpoint::load(&dir, &config, &base).unwrap_err().to_string();
    assert!(error.contains("tasks.jsonl is in the manifest"), "{error}");

    let store = Store::open(home.path(), 2).unwrap();
    assert!(matches!(Store::open(home.path(), 2), Err(Error::InUse { .. })));
    // What a killed process was writing is no checkpoint, and goes when the next one comes.
    let half = home.path().join(".tmp-new-001-4-exam-00000");
    std::fs::create_dir_all(half.join("solver")).unwrap();
    assert_eq!(checkpoint::list(home.path()).unwrap().last(), Some(&newest));
    drop(store);
    Store::open(home.path(), 2).unwrap();
    assert!(!half.exists());
}

/// The solver's learning rate is a hundred times too high from its 30th step on.
fn spiked() -> RunConfig {
    let mut config = config();
    config.selfplay =
        SelfPlayConfig { iterations: 1, generator_steps: 0, solver_steps: 45, shared_weights: false };
    config.checkpoint.every = 5;
    config.rl.learning_rate = 1e-3;
    config.drill = Drill { rate_from_step: 30, rate_factor: 100.0, ..Drill::default() };
    config.alarms.smaller = 0.1;
    config
}

fn alarms(log: &Log) -> Vec<(Alarm, usize, Option<String>)> {
    let alarm = |record: &Record| match record {
        Record::Alarm(report) => Some((report.alarm, report.step, report.back_to.clone())),
        _ => None,
    };
    log.records.iter().filter_map(alarm).collect()
}

/// Mean reward of the solver's last ten steps.
fn last_reward(log: &Log) -> f64 {
    let steps = log.steps();
    steps[steps.len() - 10..].iter().map(|step| step.reward).sum::<f64>() / 10.0
}

/// How far training has moved the solver's weights.
fn moved(outcome: &Outcome, base: &Checkpoint) -> f64 {
    let (now, before) = (bits(&outcome.solver), bits(base));
    let values = |bits: &BTreeMap<String, Vec<u32>>| {
        bits.values().flatten().map(|x| f32::from_bits(*x)).collect::<Vec<_>>()
    };
    let squares = values(&now).into_iter().zip(values(&before)).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt()
}

#[test]
fn a_learning_rate_a_hundred_times_too_high_raises_an_alarm_and_the_run_recovers() {
    let (base, home) = (base(Checkpoint::chatml()), || tempfile::tempdir().unwrap());
    let calm = RunConfig { drill: Drill::default(), ..spiked() };
    let (want, _) = play(&calm, &base, home().path(), None);
    assert_eq!(alarms(&want), []);
    let mut off = spiked();
    off.alarms.update_norm.action = Action::Off;
    let (_, broken) = play(&off, &base, home().path(), None);

    let (root, config) = (home(), spiked());
    let (log, outcome) = play(&config, &base, root.path(), None);
    let raised = alarms(&log);
    let expected =
        |(alarm, step, _): &(Alarm, usize, _)| *alarm == Alarm::UpdateNorm && (30..35).contains(step);
    assert!(raised.iter().all(expected), "{raised:?}");
    assert!(
        (1..=2).contains(&raised.len()) && raised[0].2.as_deref() == Some("001-3-solver-00020"),
        "{raised:?}"
    );
    let (broken, outcome) = (broken.unwrap(), outcome.unwrap());
    assert!(!outcome.stopped);
    // Without the alarm the weights are thrown far away; with it the run learns on as if nothing had been.
    let (lost, kept) = (moved(&broken, &base), moved(&outcome, &base));
    assert!(2.0 * kept < lost, "{kept} with the alarm, {lost} without");
    let (want, got) = (last_reward(&want), last_reward(&log));
    assert!(want - 0.25 < got, "{got} with the alarm, {want} without the fault");

    // A process that is killed behind the rollback comes to the same end.
    let newest = checkpoint::list(root.path()).unwrap().pop().unwrap().to_string();
    let (from, rest, _) = go_on(&config, &base, root.path(), &newest);
    assert_eq!(rest.lines(), log.lines()[from..]);

    // Where there is nothing left to try the run ends with the alarm as its cause.
    let mut strict = spiked();
    strict.alarms.max_rollbacks = 0;
    let error = play(&strict, &base, home().path(), None).1.unwrap_err();
    let Error::Alarm(report) = &error else { panic!("{error:?}") };
    assert_eq!(
        (report.alarm, report.turn, report.back_to.as_deref()),
        (Alarm::UpdateNorm, Turn::Solver, None)
    );
    assert!(error.to_string().contains("update_norm in iteration 1, solver step 3"), "{error}");
}

#[test]
fn failing_verifiers_and_a_broken_arithmetic_have_named_ends() {
    let (base, home) = (base(Checkpoint::chatml()), || tempfile::tempdir().unwrap());
    let mut config = saved();
    config.drill.nan_rewards = 0.3;
    let (log, outcome) = play(&config, &base, home().path(), None);
    outcome.unwrap();
    let unscorable: usize = log.steps().iter().map(|step| step.unscorable).sum();
    assert!(10 < unscorable && unscorable < 60, "{unscorable} of 120");
    assert!(log.steps().iter().all(|step| step.reward.is_finite() && step.update.loss.is_finite()));

    // A rate at which weights become infinite: nothing was good after the first step, and the run says so.
    let mut config = saved();
    config.drill = Drill { rate_from_step: 1, rate_factor: 1e300, ..Drill::default() };
    config.alarms.max_rollbacks = 1;
    let (log, outcome) = play(&config, &base, home().path(), None);
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("alarm not_finite in iteration 1, solver step 1"), "{error}");
    assert_eq!(alarms(&log).len(), 2, "once back, then the end: {:?}", alarms(&log));
    config.alarms.not_finite = Action::Stop;
    let error = play(&config, &base, home().path(), None).1.unwrap_err();
    assert!(error.to_string().contains("weights"), "{error}");
}
