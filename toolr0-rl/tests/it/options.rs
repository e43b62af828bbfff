//! Every key of a run's `rl` section changes a number, or is refused by its name where nothing would read it.
//!
//! The keys come from the configuration itself: a new one without an entry in [`table`] fails here. Those of the other
//! sections are in `run_options`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::{Checkpoint, LoraConfig, SamplingConfig};
use toolr0_rl::advantage::{AdvantageConfig, Estimator, Rewards, RoleBaseline, advantages};
use toolr0_rl::config::{DynamicSampling, Overlong, RlConfig};
use toolr0_rl::loss::{
    Advantages, GrpoConfig, LossInput, Window, grpo_loss, logits_gradient, logprob_and_entropy,
};
use toolr0_rl::{Agent, Role, RunConfig};
use toolr0_tools::Prompt;

use crate::selfplay::Trace;

/// Where a change of a key must show.
#[derive(Clone, Copy, Debug)]
enum Shown {
    /// In the loss of a fixed batch, or its gradient in the logits.
    Loss,
    /// In the advantages of fixed rewards.
    Advantage,
    /// In the records and weights of a run.
    Run,
    /// In what bounds memory, and nowhere else.
    Memory,
}

/// A key, what else must be set for it to have a meaning, another value, and where that shows.
type Entry = (&'static str, Value, Value, Shown);

fn table() -> Vec<Entry> {
    let none = || json!({});
    let loss = |name: &str| json!({ "loss": { "loss_type": name } });
    let corrected = || {
        let correction = json!({ "level": "token", "out_of_bounds": "truncate", "min": 0.8, "max": 1.2 });
        json!({ "loss": { "importance_correction": correction } })
    };
    let lora = || json!({ "lora": { "rank": 2, "alpha": 4.0 } });
    let constant = || json!({ "loss": { "loss_type": "dr_grpo", "max_completion_length": 8 } });
    let estimator = |name: &str| json!({ "advantage": { "estimator": name } });
    vec![
        ("learning_rate", none(), json!(1e-2), Shown::Run),
        ("schedule.warmup", none(), json!(2), Shown::Run),
        ("schedule.decay", none(), json!("constant"), Shown::Run),
        ("schedule.floor", none(), json!(0.5), Shown::Run),
        ("loss.loss_type", none(), json!("sapo"), Shown::Loss),
        ("loss.importance_sampling_level", none(), json!("sequence"), Shown::Loss),
        ("loss.epsilon_low", none(), json!(0.3), Shown::Loss),
        ("loss.epsilon_high", none(), json!(0.28), Shown::Loss),
        ("loss.delta", none(), json!(1.1), Shown::Loss),
        ("loss.cispo_clamp", loss("cispo"), json!("both"), Shown::Loss),
        ("loss.sapo_temperature_pos", loss("sapo"), json!(1.2), Shown::Loss),
        ("loss.sapo_temperature_neg", loss("sapo"), json!(1.2), Shown::Loss),
        ("loss.vespo_k_pos", loss("vespo"), json!(1.0), Shown::Loss),
        ("loss.vespo_lambda_pos", loss("vespo"), json!(1.0), Shown::Loss),
        ("loss.vespo_k_neg", loss("vespo"), json!(1.0), Shown::Loss),
        ("loss.vespo_lambda_neg", loss("vespo"), json!(1.0), Shown::Loss),
        ("loss.beta", none(), json!(0.3), Shown::Loss),
        ("loss.kl", none(), json!("k2"), Shown::Loss),
        ("loss.use_bias_correction_kl", none(), json!(true), Shown::Loss),
        ("loss.temperature", none(), json!(0.7), Shown::Loss),
        ("loss.entropy_coef", none(), json!(0.1), Shown::Loss),
        ("loss.top_entropy_quantile", none(), json!(0.5), Shown::Loss),
        ("loss.importance_correction.level", corrected(), json!("sequence"), Shown::Loss),
        ("loss.importance_correction.out_of_bounds", corrected(), json!("mask"), Shown::Loss),
        ("loss.importance_correction.min", corrected(), json!(0.9), Shown::Loss),
        ("loss.importance_correction.max", corrected(), json!(1.1), Shown::Loss),
        ("loss.off_policy_mask_threshold", none(), json!(0.0), Shown::Loss),
        ("loss.accumulation_steps", none(), json!(2), Shown::Loss),
        ("loss.max_completion_length", constant(), json!(9), Shown::Loss),
        ("advantage.estimator", none(), json!("rloo"), Shown::Advantage),
        ("advantage.scale", none(), json!("batch"), Shown::Advantage),
        ("advantage.weights", estimator("gdpo"), json!([1.0, 3.0]), Shown::Advantage),
        ("advantage.decay", estimator("rae"), json!(0.5), Shown::Advantage),
        ("adamw.beta1", none(), json!(0.5), Shown::Run),
        ("adamw.beta2", none(), json!(0.5), Shown::Run),
        ("adamw.eps", none(), json!(0.1), Shown::Run),
        ("adamw.weight_decay", none(), json!(0.3), Shown::Run),
        ("adamw.max_grad_norm", none(), json!(1e-3), Shown::Run),
        ("lora.rank", lora(), json!(3), Shown::Run),
        ("lora.alpha", lora(), json!(9.0), Shown::Run),
        ("lora.dropout", lora(), json!(0.3), Shown::Run),
        ("lora.targets", lora(), json!(["q_proj"]), Shown::Run),
        ("lora.rslora", lora(), json!(true), Shown::Run),
        ("epochs", none(), json!(2), Shown::Run),
        ("micro_batch_tokens", none(), json!(512), Shown::Memory),
        ("micro_batch_mib", none(), json!(8), Shown::Memory),
        ("recompute", none(), json!(true), Shown::Memory),
        ("max_rows", none(), json!(2), Shown::Memory),
        ("dynamic_sampling.max_rounds", json!({ "dynamic_sampling": {} }), json!(2), Shown::Run),
        ("overlong.cache", json!({ "overlong": { "cache": 3 } }), json!(6), Shown::Run),
        ("mask_truncated", none(), json!(true), Shown::Run),
        ("shuffle_advantages", none(), json!(true), Shown::Run),
    ]
}

/// Dotted keys of everything that is not a section.
pub(crate) fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(section) => {
            let dot = if path.is_empty() { "" } else { "." };
            section.iter().for_each(|(key, value)| leaves(value, &format!("{path}{dot}{key}"), out));
        }
        None => _ = out.insert(path.to_owned()),
    }
}

#[test]
fn every_key_has_an_entry() {
    let correction = json!({ "level": "token", "out_of_bounds": "mask" });
    let full = RlConfig {
        loss: GrpoConfig {
            importance_correction: serde_json::from_value(correction).unwrap(),
            ..GrpoConfig::default()
        },
        lora: Some(LoraConfig::default()),
        dynamic_sampling: Some(DynamicSampling::default()),
        overlong: Some(Overlong::default()),
        ..RlConfig::default()
    };
    let mut keys = BTreeSet::new();
    leaves(&serde_json::to_value(full).unwrap(), "", &mut keys);
    let shown: BTreeSet<String> = table().into_iter().map(|(key, ..)| key.to_owned()).collect();
    assert_eq!(shown, keys);
}

/// `base` with one key set.
fn with(base: &Value, key: &str, value: &Value) -> RlConfig {
    let mut config = base.clone();
    let slot = key.split('.').fold(&mut config, |at, part| &mut at[part]);
    *slot = value.clone();
    serde_json::from_value(config).unwrap()
}

const VOCABULARY: usize = 5;

/// Three rows of four tokens: ratios on both sides of every clip, of tokens and of rows, and advantages of both signs.
fn loss_of(config: &GrpoConfig) -> toolr0_rl::Result<Vec<f64>> {
    let mut rng = Stream::root(5).child("batch").rng();
    let mut draw = |low: f64, high: f64| low + (high - low) * uniform_f64(&mut rng);
    let n = 12;
    let logits: Vec<Vec<f64>> = (0..n).map(|_| (0..VOCABULARY).map(|_| draw(-2.0, 2.0)).collect()).collect();
    let at_one: Vec<f64> = logits.iter().map(|row| logprob_and_entropy(row, 0, 1.0).0).collect();
    let old: Vec<f64> =
        at_one.iter().enumerate().map(|(t, lp)| lp + [-0.3, 0.5, 0.0][t / 4] + draw(-0.4, 0.4)).collect();
    let reference: Vec<f64> = at_one.iter().map(|lp| lp + draw(-1.0, 1.0)).collect();
    let sampler: Vec<f64> = old.iter().map(|old| old + draw(-0.3, 0.3)).collect();
    let credit: Vec<f64> = (0..n).map(|t| if t % 2 == 0 { 1.3 } else { -0.9 } + 0.1 * t as f64).collect();
    let (logprobs, entropies): (Vec<f64>, Vec<f64>) =
        logits.iter().map(|row| logprob_and_entropy(row, 0, config.temperature)).unzip();
    let output = grpo_loss(
        config,
        &LossInput {
            row_lens: &[4; 3],
            mask: &[true; 12],
            logprobs: &logprobs,
            old: Some(&old),
            reference: Some(&reference),
            sampler: Some(&sampler),
            entropies: Some(&entropies),
            advantages: Advantages::Tokens(&credit),
            window: Window::default(),
        },
    )?;
    let slopes = output.d_logprobs.iter().zip(&output.d_entropies);
    let gradient = logits
        .iter()
        .zip(slopes)
        .flat_map(|(row, (lp, h))| logits_gradient(row, 0, *lp, *h, config.temperature));
    Ok(std::iter::once(output.loss).chain(gradient).collect())
}

/// Two groups of three, with two reward terms; the baseline of a role where the estimator has one.
fn advantages_of(config: &AdvantageConfig) -> Vec<f64> {
    let (a, b) = ([1.0, 0.0, 0.5, 0.2, 0.2, 0.9], [0.0, 1.0, 0.25, 0.5, 0.0, 0.0]);
    let total: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    if config.estimator == Estimator::Rae {
        return RoleBaseline::default().advantages("solver", &total, config).unwrap();
    }
    let rewards = Rewards { total: &total, n: 3, lengths: Some(&[1, 2, 3, 4, 5, 6]), terms: &[&a, &b] };
    advantages(&rewards, config).unwrap()
}

/// What bounds memory: tokens and bytes of a micro-batch, and how many rows are decoded together.
fn memory_of(rl: &RlConfig) -> Vec<usize> {
    let agent = Agent::new(Role::Solver, &crate::tiny(&[], 0.0, Checkpoint::chatml())).unwrap();
    let model = agent.model().config();
    let mut out = vec![rl.micro_batch_tokens(model), rl.activation_bytes(model, 1)];
    let sampling = SamplingConfig { max_new_tokens: 3, ..SamplingConfig::default() };
    let prompt = |i: usize| (Prompt::new("Answer.", "Hi."), vec![Stream::root(1).child(i)]);
    let prompts: Vec<_> = (0..6).map(prompt).collect();
    // Broken off as soon as one row is whole: how far the others have come then tells how many run beside it.
    let sampler = agent.sampler(rl.max_rows).unwrap();
    let groups = sampler.sample(&prompts, &sampling, &mut |done| done == 0).unwrap();
    out.extend(groups.iter().flat_map(|g| &g.rollouts).map(|r| r.tokens.len()));
    out
}

/// What a short run tells that learns as `rl` says.
fn trace(rl: RlConfig) -> Trace {
    crate::selfplay::trace(&RunConfig { rl, ..crate::selfplay::short() }).unwrap()
}

#[test]
fn every_key_changes_a_number() {
    for (key, base, value, shown) in table() {
        let mut whole = serde_json::to_value(crate::selfplay::rl()).unwrap();
        // Nothing but the key is left to chance: what the loss needs is on.
        whole["loss"]["beta"] = json!(0.1);
        merge(&mut whole, &base);
        let before: RlConfig = serde_json::from_value(whole.clone()).unwrap();
        let after = with(&whole, key, &value);
        assert_ne!(before, after, "`{key}` is not changed");
        let changes = match shown {
            Shown::Loss => loss_of(&before.loss).unwrap() != loss_of(&after.loss).unwrap(),
            Shown::Advantage => advantages_of(&before.advantage) != advantages_of(&after.advantage),
            Shown::Run => trace(before) != trace(after),
            Shown::Memory => memory_of(&before) != memory_of(&after),
        };
        assert!(changes, "`{key}` changes nothing in {shown:?}");
    }
}

/// Lays `change` over `base`, section by section.
fn merge(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

/// With every loss, each option of the loss changes a number or is refused by name: none is silently ignored.
#[test]
fn no_loss_ignores_an_option() {
    let losses = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo", "gspo"];
    let (mut used, mut refused) = (0, 0);
    for loss in losses {
        let mut base = json!({ "loss": { "loss_type": loss, "beta": 0.1 } });
        if loss == "dr_grpo" {
            base["loss"]["max_completion_length"] = json!(8);
        }
        let plain: RlConfig = serde_json::from_value(base.clone()).unwrap();
        let want = loss_of(&plain.loss).unwrap();
        let levels = ["token", "sequence", "sequence_token"].map(|level| json!(level));
        let more = levels.iter().map(|level| ("loss.importance_sampling_level", level.clone()));
        let entries = table().into_iter().map(|(key, _, value, _)| (key, value));
        let options = entries.filter(|(key, _)| key.starts_with("loss.")).chain(more);
        for (key, value) in options {
            if key == "loss.loss_type" || key.starts_with("loss.importance_correction.") {
                continue; // The loss is what this walks over; a correction is refused or read as a whole.
            }
            let config = with(&base, key, &value).loss;
            if config.level() == plain.loss.level()
                && key == "loss.importance_sampling_level"
                && loss != "vespo"
            {
                continue; // The loss' own level spelt out.
            }
            match loss_of(&config) {
                Ok(got) => {
                    assert!(got != want, "loss `{loss}` ignores `{key}`");
                    used += 1;
                }
                Err(error) => {
                    let name = key.trim_start_matches("loss.");
                    assert!(
                        error.to_string().contains(&format!("`{name}`")),
                        "loss `{loss}`, `{key}`: {error}"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(used > 90 && refused > 60, "{used} used, {refused} refused");
}
