//! Where the release is wrong, and what we do instead: one test for each fault that this crate corrects. The numbers
//! in the names are those of the list of faults in the specification of the method.

use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, SamplingConfig};
use toolr0_rl::{Agent, Role, RunConfig, Sampler};
use toolr0_tools::Prompt;

fn sampler() -> Sampler {
    let agent = Agent::new(Role::Solver, &crate::tiny(&[], 0.0, Checkpoint::chatml())).unwrap();
    agent.sampler(8).unwrap()
}

#[test]
fn fault_05_equal_tasks_do_not_share_their_samples() {
    // The release keeps every prompt's answers for good, so that the copy of a task is not tried again.
    let sampling = SamplingConfig { max_new_tokens: 8, ..SamplingConfig::default() };
    let prompt = Prompt::new("Answer.", "What time is it?");
    let prompts: Vec<_> = (0..2).map(|task| (prompt.clone(), vec![Stream::root(1).child(task)])).collect();
    let first = sampler().sample(&prompts, &sampling, &mut |_| true).unwrap();
    assert_eq!(first[0].prompt, first[1].prompt);
    assert_ne!(first[0].rollouts, first[1].rollouts);
    // What is asked again in a later step is sampled again as well.
    let later = [(prompt, vec![Stream::root(1).child("later")])];
    let later = sampler().sample(&later, &sampling, &mut |_| true).unwrap();
    assert!(first.iter().all(|group| group.rollouts != later[0].rollouts));
}

#[test]
fn fault_19_a_long_prompt_takes_no_tokens_from_its_completion() {
    // The release asks for as many new tokens as prompt and completion may have together.
    let sampling = SamplingConfig { max_new_tokens: 5, ..SamplingConfig::default() };
    let prompts = [1, 400].map(|n| (Prompt::new("Answer.", "Hi. ".repeat(n)), vec![Stream::root(1)]));
    let groups = sampler().sample(&prompts, &sampling, &mut |_| true).unwrap();
    assert!(groups[0].prompt.len() < 100 && 1600 < groups[1].prompt.len());
    let lengths: Vec<usize> = groups.iter().map(|group| group.rollouts[0].tokens.len()).collect();
    assert_eq!(lengths, [5, 5], "no end of text was drawn");
    // Each kind of completion has a budget of its own.
    let config = RunConfig::default();
    let budgets = [&config.generator.sampling, &config.probe.sampling, &config.probe.judge_sampling];
    assert_eq!(budgets.map(|sampling| sampling.max_new_tokens), [2048, 2048, 16]);
}

#[test]
fn fault_20_the_paper_is_the_default_and_the_release_can_be_configured() {
    let paper = RunConfig::default();
    paper.check().unwrap();
    assert_eq!((paper.rl.loss.beta, paper.rl.adamw.weight_decay, paper.selfplay.iterations), (0.01, 0.01, 3));
    assert!(paper.rl.loss.needs_reference());
    let mut release = paper;
    (release.rl.loss.beta, release.rl.adamw.weight_decay, release.selfplay.iterations) = (0.0, 0.0, 5);
    release.check().unwrap();
    assert!(!release.rl.loss.needs_reference(), "without the KL term there is no reference model");
}
