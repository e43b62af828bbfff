//! From rollouts to new weights: what an update may and may not depend on.

use std::collections::BTreeMap;

use toolr0_model::rng::Stream;
use toolr0_model::weights::Tensors;
use toolr0_model::{Checkpoint, SamplingConfig};
use toolr0_rl::config::RlConfig;
use toolr0_rl::loss::GrpoConfig;
use toolr0_rl::optim::{AdamW, AdamWConfig};
use toolr0_rl::update::{UpdateStats, logprobs, update};
use toolr0_rl::{Agent, Error, Group, Role, Sampler};
use toolr0_tools::Prompt;

fn tiny() -> Checkpoint {
    crate::tiny(&[], 0.0, Checkpoint::chatml())
}

/// No KL. With so large an `eps` AdamW is gradient descent with momentum: its usual division by the gradient's own
/// size would blow rounding of tiny gradients up to a whole step.
fn plain() -> RlConfig {
    RlConfig {
        loss: GrpoConfig { beta: 0.0, ..GrpoConfig::default() },
        adamw: AdamWConfig { eps: 1.0, weight_decay: 0.0, ..AdamWConfig::default() },
        ..RlConfig::default()
    }
}

/// Three prompts of uneven length, `n` completions of uneven length each.
fn rollouts(sampler: &Sampler, n: usize, temperature: f64) -> Vec<Group> {
    filtered_rollouts(sampler, n, temperature, 1.0)
}

fn filtered_rollouts(sampler: &Sampler, n: usize, temperature: f64, top_p: f64) -> Vec<Group> {
    let config = SamplingConfig {
        temperature,
        top_p,
        max_new_tokens: 12,
        stop: vec!["a".into()],
        ..SamplingConfig::default()
    };
    let prompts: Vec<(Prompt, Vec<Stream>)> =
        ["Hi.", "What is the weather in Oslo?", "Book a table for two."]
            .iter()
            .enumerate()
            .map(|(i, text)| {
                (
                    Prompt::new("Answer.", *text),
                    (0..n).map(|sample| Stream::root(4).child(i).child(sample)).collect(),
                )
            })
            .collect();
    sampler.sample(&prompts, &config, &mut |_| true).unwrap()
}

/// Advantages of either sign and many sizes.
fn advantages(groups: &[Group]) -> Vec<f64> {
    let rows: usize = groups.iter().map(|g| g.rollouts.len()).sum();
    (0..rows).map(|i| ((i * 7) % 11) as f64 / 4.0 - 1.3).collect()
}

/// One update at rate 1, and what it left: statistics, weights, first moments.
struct Done {
    stats: UpdateStats,
    weights: BTreeMap<String, Vec<f32>>,
    gradient: BTreeMap<String, Vec<f32>>,
}

fn step(groups: &[Group], advantages: &[f64], rl: &RlConfig, reference: Option<&Sampler>) -> Done {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let mut optimizer = AdamW::new(rl.adamw.clone());
    let reference = reference.map(Sampler::model);
    let stats =
        update(&agent, &mut optimizer, groups, advantages, reference, rl, 1.0, Stream::root(0)).unwrap();
    let gradient = optimizer.moments().iter().map(|(name, (m, _))| (name.clone(), m.clone())).collect();
    Done { stats, weights: values(&agent.checkpoint().unwrap().tensors), gradient }
}

fn values(tensors: &Tensors) -> BTreeMap<String, Vec<f32>> {
    tensors.iter().map(|(name, x)| (name.clone(), x.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

#[track_caller]
fn assert_close(got: &BTreeMap<String, Vec<f32>>, want: &BTreeMap<String, Vec<f32>>, tolerance: f32) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (name, want) in want {
        for (i, (a, b)) in got[name].iter().zip(want).enumerate() {
            assert!((a - b).abs() <= tolerance, "{name}[{i}]: {a}, expected {b}");
        }
    }
}

/// The largest change of any weight: shows that a comparison of weights has something to compare.
fn moved(done: &Done) -> f32 {
    let before = values(&tiny().tensors);
    let pairs = done.weights.iter().flat_map(|(name, after)| after.iter().zip(&before[name]));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_shared_prompt_changes_nothing() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let apart: Vec<Group> = groups
        .iter()
        .flat_map(|g| {
            g.rollouts.iter().map(|r| Group { prompt: g.prompt.clone(), rollouts: vec![r.clone()] })
        })
        .collect();
    assert_eq!((groups.len(), apart.len()), (3, 12));
    let advantages = advantages(&groups);
    let mut with_kl = plain();
    // A reference that is not the policy, so that the KL has a slope.
    with_kl.loss = GrpoConfig { beta: 0.1, entropy_coef: 0.05, ..GrpoConfig::default() };
    let mut other = tiny();
    let head = other.tensors[toolr0_model::weights::HEAD].affine(0.5, 0.0).unwrap();
    other.tensors.insert(toolr0_model::weights::HEAD.into(), head);
    let reference = Sampler::new(&other, 8).unwrap();
    for rl in [plain(), with_kl] {
        let (shared, apart) = (
            step(&groups, &advantages, &rl, Some(&reference)),
            step(&apart, &advantages, &rl, Some(&reference)),
        );
        assert!(moved(&shared) > 1e-3, "the update moves weights by {} only", moved(&shared));
        assert_close(&apart.weights, &shared.weights, 1e-5);
        assert_close(&apart.gradient, &shared.gradient, 1e-5);
        assert!((apart.stats.loss - shared.stats.loss).abs() <= 1e-5);
        assert!((apart.stats.grad_norm - shared.stats.grad_norm).abs() <= 1e-5);
        // It saves work: a prompt is computed once, not four times.
        assert!(shared.stats.positions < apart.stats.positions);
    }
}

/// Computing each layer again gives the gradient of keeping it, to the bit; the head runs on sampled tokens alone.
#[test]
fn recomputation_changes_no_bit() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let advantages = advantages(&groups);
    for micro_batch_tokens in [1, 1 << 20] {
        let rl = |recompute| RlConfig { recompute, micro_batch_tokens, ..plain() };
        let (kept, again) =
            (step(&groups, &advantages, &rl(false), None), step(&groups, &advantages, &rl(true), None));
        assert!(moved(&kept) > 1e-3);
        assert_eq!(again.gradient, kept.gradient);
        assert_eq!(again.weights, kept.weights);
        assert_eq!(again.stats, kept.stats);
        let sampled: usize = groups.iter().flat_map(|g| &g.rollouts).map(|r| r.tokens.len()).sum();
        assert_eq!(kept.stats.head_rows, sampled);
    }
}

/// Settings of the loss under which an update must not depend on its micro-batches: among them those that look at the
/// whole step (a mean over tokens, a quantile of entropies).
fn losses() -> Vec<GrpoConfig> {
    let plain = |loss: &str| GrpoConfig {
        loss_type: serde_json::from_value(loss.into()).unwrap(),
        beta: 0.0,
        max_completion_length: (loss == "dr_grpo").then_some(12),
        ..GrpoConfig::default()
    };
    let names = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo", "gspo"];
    let mut all: Vec<GrpoConfig> = names.iter().map(|name| plain(name)).collect();
    for name in ["grpo", "dapo"] {
        let entropies = GrpoConfig { top_entropy_quantile: 0.3, entropy_coef: 0.2, ..plain(name) };
        all.push(GrpoConfig { entropy_coef: 0.0, ..entropies.clone() });
        all.push(entropies);
    }
    all
}

/// Parts of a batch run side by side where there are threads for it; sums are in order all the same.
#[test]
fn threads_change_no_bit() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let advantages = advantages(&groups);
    for micro_batch_tokens in [1, 1 << 20] {
        let rl = RlConfig { micro_batch_tokens, ..plain() };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| step(&groups, &advantages, &rl, None))
        };
        let (one, two) = (run(1), run(2));
        assert!(moved(&one) > 1e-3);
        assert_eq!((one.gradient, one.weights), (two.gradient, two.weights));
        assert_eq!(one.stats, two.stats);
    }
}

#[test]
fn a_split_into_micro_batches_changes_nothing() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let advantages = advantages(&groups);
    for loss in losses() {
        let rl = |micro_batch_tokens| RlConfig { micro_batch_tokens, loss: loss.clone(), ..plain() };
        let whole = step(&groups, &advantages, &rl(1 << 20), None);
        assert!(moved(&whole) > 1e-3, "{loss:?}");
        for tokens in [1, 150] {
            let split = step(&groups, &advantages, &rl(tokens), None);
            assert_close(&split.weights, &whole.weights, 1e-6);
            assert_close(&split.gradient, &whole.gradient, 1e-6);
            assert!((split.stats.loss - whole.stats.loss).abs() <= 1e-6, "{loss:?}");
            assert!((split.stats.grad_norm - whole.stats.grad_norm).abs() <= 1e-6, "{loss:?}");
            let (a, b) = (&split.stats.stats, &whole.stats.stats);
            assert_eq!((split.stats.positions, a.rows, a.tokens), (whole.stats.positions, b.rows, b.tokens));
            assert!((a.entropy.unwrap() - b.entropy.unwrap()).abs() <= 1e-6);
            assert!((a.entropy_kept - b.entropy_kept).abs() <= 1e-12, "{loss:?}");
            let share = loss.top_entropy_quantile;
            assert!((a.entropy_kept - share).abs() < 0.05, "{share} of all tokens, not {}", a.entropy_kept);
        }
    }
}

/// The groups of a step, and the completions of a group, have no order.
#[test]
fn the_order_of_rows_changes_nothing() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let advantages = advantages(&groups);
    let mut turned = groups.clone();
    turned.reverse();
    turned.iter_mut().for_each(|group| group.rollouts.reverse());
    let backwards: Vec<f64> = advantages.iter().rev().copied().collect();
    for loss in losses() {
        let rl = RlConfig { micro_batch_tokens: 150, loss, ..plain() };
        let (want, got) = (step(&groups, &advantages, &rl, None), step(&turned, &backwards, &rl, None));
        assert_close(&got.weights, &want.weights, 1e-6);
        assert_close(&got.gradient, &want.gradient, 1e-6);
        assert!((got.stats.loss - want.stats.loss).abs() <= 1e-6);
    }
}

/// One implementation of the arithmetic: what was sampled is what is trained, to the bit.
#[test]
fn the_trainer_computes_the_samplers_logprobs() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    for (temperature, top_p) in [(1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (0.7, 0.8)] {
        let groups = filtered_rollouts(&agent.sampler(5).unwrap(), 4, temperature, top_p);
        let sampled: Vec<f64> = groups
            .iter()
            .flat_map(|g| &g.rollouts)
            .flat_map(|r| &r.logprobs)
            .map(|x| f64::from(*x))
            .collect();
        let all: Vec<&Group> = groups.iter().collect();
        assert_eq!(logprobs(agent.model(), &all, temperature).unwrap(), sampled);

        let mut rl = plain();
        rl.loss.temperature = temperature;
        let done = step(&groups, &advantages(&groups), &rl, None);
        let mismatch = done.stats.stats.mismatch.expect("the sampler's log-probabilities are known");
        assert_eq!((mismatch.tokens, mismatch.gap_max, mismatch.gap_mean), (sampled.len(), 0.0, 0.0));
        assert_eq!((mismatch.ratio_min, mismatch.ratio_max, mismatch.kl), (1.0, 1.0, 0.0));
        assert_eq!(done.stats.stats.ratio, 1.0);

        // The other temperature is another distribution, and the statistics show it.
        rl.loss.temperature = 1.7 - temperature;
        let done = step(&groups, &advantages(&groups), &rl, None);
        assert!(done.stats.stats.mismatch.unwrap().gap_max > 1e-3);
    }
}

#[test]
fn groups_without_a_signal_leave_the_weights() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    // Weight decay would move weights if a step were taken.
    let rl = RlConfig { adamw: AdamWConfig::default(), ..plain() };
    let done = step(&groups, &[0.0; 12], &rl, None);
    assert_eq!(done.weights, values(&tiny().tensors));
    assert_eq!((done.stats.positions, done.stats.grad_norm, done.gradient.len()), (0, 0.0, 0));

    // Beside a group with a signal they cost nothing and change nothing.
    let mut advantages = vec![0.0; 12];
    advantages[4..8].copy_from_slice(&[1.0, -1.0, 0.5, -0.5]);
    let one = step(&groups, &advantages, &rl, None);
    let head: usize = groups[1].prompt.len() - 1;
    assert_eq!(one.stats.positions, head + groups[1].rollouts.iter().map(|r| r.tokens.len()).sum::<usize>());
    assert_ne!(one.weights, done.weights);

    // With a KL term there is always something to learn.
    let mut other = tiny();
    let head = other.tensors[toolr0_model::weights::HEAD].affine(0.5, 0.0).unwrap();
    other.tensors.insert(toolr0_model::weights::HEAD.into(), head);
    let reference = Sampler::new(&other, 8).unwrap();
    let rl = RlConfig { loss: GrpoConfig { beta: 0.1, ..GrpoConfig::default() }, ..plain() };
    let done = step(&groups, &[0.0; 12], &rl, Some(&reference));
    assert!(done.stats.positions > 0 && moved(&done) > 0.0);
}

#[test]
fn what_is_rewarded_becomes_likelier() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut advantages = vec![0.0; 12];
    (advantages[1], advantages[6]) = (1.0, -1.0);
    let sums = || -> Vec<f64> {
        let all: Vec<&Group> = groups.iter().collect();
        let mut values = logprobs(agent.model(), &all, 1.0).unwrap().into_iter();
        let rollouts = groups.iter().flat_map(|g| &g.rollouts);
        rollouts.map(|r| values.by_ref().take(r.tokens.len()).sum()).collect()
    };
    let before = sums();
    update(&agent, &mut optimizer, &groups, &advantages, None, &plain(), 1e-3, Stream::root(0)).unwrap();
    let after = sums();
    assert!(after[1] > before[1] + 1e-3, "rewarded: {} then {}", before[1], after[1]);
    assert!(after[6] < before[6] - 1e-3, "punished: {} then {}", before[6], after[6]);
}

#[test]
fn cut_off_completions_can_be_left_out() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 4, 1.0);
    let cut: Vec<bool> =
        groups.iter().flat_map(|g| &g.rollouts).map(|r| r.finish == toolr0_model::Finish::Length).collect();
    assert!(cut.contains(&true), "some completion ran out of tokens");
    let rl = RlConfig { mask_truncated: true, ..plain() };
    // All advantages lie on completions that carry no loss.
    let advantages: Vec<f64> = cut.iter().map(|cut| f64::from(u8::from(*cut))).collect();
    let done = step(&groups, &advantages, &rl, None);
    assert_eq!(done.weights, values(&tiny().tensors));
    assert!(moved(&step(&groups, &advantages, &plain(), None)) > 0.0);
}

#[test]
fn bad_inputs_are_errors() {
    let agent = Agent::new(Role::Solver, &tiny()).unwrap();
    let groups = rollouts(&agent.sampler(8).unwrap(), 2, 1.0);
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let mut go = |groups: &[Group], advantages: &[f64], rl: &RlConfig| {
        update(&agent, &mut optimizer, groups, advantages, None, rl, 1e-3, Stream::root(0)).unwrap_err()
    };
    let error = go(&groups, &[1.0; 5], &plain());
    assert!(matches!(error, Error::Length { name: "advantages", expected: 6, got: 5 }), "{error:?}");
    let error = go(&groups, &[f64::NAN; 6], &plain());
    assert!(matches!(error, Error::NonFinite { .. }), "{error:?}");
    let rl = RlConfig { loss: GrpoConfig::default(), ..plain() };
    assert!(matches!(go(&groups, &[1.0; 6], &rl), Error::Missing { .. }));
    let mut none = groups.clone();
    none[0].prompt.clear();
    assert!(matches!(go(&none, &[1.0; 6], &plain()), Error::Length { name: "prompt", .. }));
    assert_eq!(values(&agent.checkpoint().unwrap().tensors), values(&tiny().tensors));
}
