//! What is off by default, in runs that have it on.

use serde_json::json;
use toolr0_curriculum::Candidate;
use toolr0_model::Checkpoint;
use toolr0_rl::config::{AbstentionConfig, NoveltyConfig, SteeringConfig, TrustConfig};
use toolr0_rl::selfplay::{DatasetReport, Record};
use toolr0_rl::{RunConfig, SelfPlay};

use crate::selfplay::{Log, base, config, tasks};

fn run(config: &RunConfig) -> (Log, Vec<Candidate>) {
    let (base, exam, mut log, mut kept) = (base(Checkpoint::chatml()), tasks(), Log::default(), Vec::new());
    let game = SelfPlay::new(config, &base, &exam).unwrap();
    game.run(&mut log, &mut |iteration| {
        kept.extend_from_slice(iteration.tasks);
        Ok(())
    })
    .unwrap();
    (log, kept)
}

fn dataset(log: &Log) -> &DatasetReport {
    let found =
        log.records.iter().find_map(|r| if let Record::Dataset(data) = r { Some(data) } else { None });
    found.expect("every run of these tests has one")
}

#[test]
fn every_run_tells_what_repeats_and_why_answers_fail() {
    let (log, _) = run(&config());
    let steps = log.steps();
    let (first, second) = (steps[0].novelty.as_ref().unwrap(), steps[1].novelty.as_ref().unwrap());
    assert_eq!((first.known, first.asked_before), (0, 0.0), "nothing was said before");
    assert!(0 < second.known && 0.0 < second.asked_before, "the model knows three tasks: {second:?}");
    assert!(0.0 < first.self_overlap && first.distinct_2 < 1.0, "{first:?}");
    assert!(
        first.coverage.gap < 1e-9 && first.coverage.covered == 1.0,
        "all is as it was asked for: {first:?}"
    );
    let errors = steps[0].errors.as_ref().unwrap();
    assert!(0 < errors.failed && errors.failed <= errors.answers && !errors.causes.is_empty(), "{errors:?}");
    assert_eq!(errors.domains.keys().collect::<Vec<_>>(), ["food_ordering"]);
    let data = dataset(&log);
    assert!(data.errors.as_ref().unwrap().answers > 0 && data.abstentions == 0);
    assert!(data.novelty.as_ref().unwrap().known <= second.known + second.tasks);
    assert!(steps.iter().all(|step| step.novelty.is_some() == (step.role == "generator")));
    assert!(steps.iter().all(|step| step.steering.is_none() && !step.reward_terms.contains_key("novelty")));
}

#[test]
fn repetition_costs() {
    let mut config = config();
    config.novelty = Some(NoveltyConfig { penalty: 0.5, alike: 0.7 });
    let (log, _) = run(&config);
    for step in log.steps().into_iter().filter(|step| step.role == "generator") {
        let term = step.reward_terms["novelty"];
        assert!((-0.5..0.0).contains(&term), "twelve completions of three tasks repeat each other: {term}");
    }
}

#[test]
fn a_solver_is_asked_to_call_nothing() {
    let mut config = config();
    config.abstention = Some(AbstentionConfig { share: 0.0, withdrawn: 1.0 });
    config.reward.solver.needless = 0.5;
    let (log, kept) = run(&config);
    assert_eq!(dataset(&log).abstentions, kept.len());
    assert!(
        !kept.is_empty() && kept.iter().all(|c| c.task.gold.is_empty() && c.task.tools.len() == 1),
        "{kept:?}"
    );
    assert!(kept.iter().all(|c| c.spec.n_calls == 0 && c.weakest_call == c.attempts), "{kept:?}");
    let causes = &dataset(&log).errors.as_ref().unwrap().causes;
    assert!(causes["should_abstain"] > 0.0, "{causes:?}");
    let solver = log.steps().into_iter().rfind(|step| step.role == "solver").unwrap();
    assert!(
        solver.reward_terms["accuracy"] < 0.0,
        "every call is needless, and costs: {:?}",
        solver.reward_terms
    );
}

#[test]
fn a_judge_who_writes_no_numbers_is_not_asked() {
    let mut config = config();
    config.reward.generator.curriculum_weights.semantic = 0.5;
    let (log, _) = run(&config);
    let unscorable = |log: &Log| log.steps().iter().map(|step| step.unscorable).sum::<usize>();
    assert!(0 < unscorable(&log), "what the judge says is unknown");
    config.trust = Some(TrustConfig::default());
    let (log, _) = run(&config);
    let trust = log
        .records
        .iter()
        .find_map(|r| if let Record::Trust { report, .. } = r { Some(report) } else { None });
    let judge = trust.unwrap().judge.as_ref().unwrap();
    // It writes one byte at random, which is a number now and then.
    assert!(judge.trust.asked == 56 && judge.trust.answered < 28 && !judge.trusted, "{judge:?}");
    assert_eq!(judge.trust.agreement, None, "of so few verdicts nothing is known");
    assert!(trust.unwrap().warnings()[0].contains("judge is not trusted"), "{:?}", trust.unwrap().warnings());
    assert_eq!(unscorable(&log), 0, "without the judge, difficulty alone decides");
    let asked: Vec<usize> =
        log.entries.iter().map(|entry| entry.cost.judge_calls).filter(|n| 0 < *n).collect();
    assert!(asked.len() == 1 && (57..=2 * 56).contains(&asked[0]), "tried twice, and never asked: {asked:?}");
}

#[test]
fn specs_are_bent_once_something_is_known() {
    let mut config = config();
    config.selfplay.iterations = 2;
    config.spec.domains = serde_json::from_value(json!({ "food_ordering": 1.0, "travel": 1.0 })).unwrap();
    config.steering = Some(SteeringConfig { floor: 0.2 });
    let (base, mut log) = (base(Checkpoint::chatml()), Log::default());
    SelfPlay::new(&config, &base, &[]).unwrap().run(&mut log, &mut |_| Ok(())).unwrap();
    let steps: Vec<_> = log.steps().into_iter().filter_map(|step| step.steering.as_ref()).collect();
    assert_eq!(steps.len(), 4);
    assert!(steps[..2].iter().all(|steering| steering.known == 0.0 && steering.gap == 0.0), "{steps:?}");
    assert!(steps[3].known > 0.0 && steps[3].domains.values().all(|share| *share >= 0.2 * 0.5), "{steps:?}");
}

#[test]
fn what_counts_as_a_repetition_is_a_matter_of_the_threshold() {
    let mean = |alike| {
        let mut config = config();
        config.novelty = Some(NoveltyConfig { penalty: 0.5, alike });
        let (log, _) = run(&config);
        let terms = log.steps().into_iter().filter_map(|step| step.reward_terms.get("novelty").copied());
        terms.take(1).sum::<f64>()
    };
    // All three menus have one of their two tools in common.
    let (strict, lax) = (mean(0.7), mean(0.05));
    assert!(lax < strict && strict < 0.0, "{lax} {strict}");
}
