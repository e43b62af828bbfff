//! The losses against TRL's own `GRPOTrainer._compute_loss` (1.16.0, float64): loss, log-probs, entropies,
//! gradient in the logits, and every metric it logs.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use serde::Deserialize;
use toolr0_rl::kernels::token_logprobs::token_logprobs;
use toolr0_rl::loss::{
    Advantages, CorrectionLevel, GrpoConfig, ImportanceCorrection, LossInput, LossOutput, LossStats,
    LossType, OutOfBounds, RatioLevel, Window, grpo_loss, logits_gradient, logprob_and_entropy,
};

/// Gap allowed, relative to the largest number of the same kind in the case.
const TOLERANCE: f64 = 1e-9;

/// The same for the f32 kernel.
const KERNEL_TOLERANCE: f64 = 1e-4;

/// One call of `_compute_loss`; shapes `b` rows, `t` tokens, `v` vocabulary.
#[derive(Deserialize)]
struct Case {
    config: Config,
    logits: Vec<Vec<Vec<f64>>>,
    completion_ids: Vec<Vec<usize>>,
    mask: Vec<Vec<f64>>,
    old_logps: Vec<Vec<f64>>,
    ref_logps: Vec<Vec<f64>>,
    advantages: Vec<f64>,
    importance_sampling_ratio: Option<Vec<Vec<f64>>>,
    num_items_in_batch: f64,
    loss: f64,
    logps: Vec<Vec<f64>>,
    entropies: Vec<Vec<f64>>,
    grad_logits: Vec<Vec<Vec<f64>>>,
    metrics: BTreeMap<String, f64>,
}

/// TRL's options; it takes all of them with any loss and ignores what the loss does not use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    loss_type: LossType,
    importance_sampling_level: RatioLevel,
    max_completion_length: usize,
    epsilon_low: f64,
    epsilon_high: f64,
    beta: f64,
    temperature: f64,
    delta: Option<f64>,
    entropy_coef: Option<f64>,
    top_entropy_quantile: Option<f64>,
    #[serde(default)]
    use_bias_correction_kl: bool,
    #[serde(default)]
    is_ratio: bool,
    off_policy_mask_threshold: Option<f64>,
    #[serde(default = "one")]
    ga: usize,
}

fn one() -> usize {
    1
}

impl Config {
    /// The same loss in our terms, without the options that it ignores: those would be refused.
    fn ours(&self) -> GrpoConfig {
        let loss = self.loss_type;
        let clipped = loss.is_clipped();
        let level = loss != LossType::Vespo || self.use_bias_correction_kl;
        GrpoConfig {
            loss_type: loss,
            importance_sampling_level: level.then_some(self.importance_sampling_level),
            epsilon_low: clipped.then_some(self.epsilon_low),
            epsilon_high: (clipped || loss == LossType::Cispo).then_some(self.epsilon_high),
            delta: self.delta,
            beta: self.beta,
            use_bias_correction_kl: self.use_bias_correction_kl,
            temperature: self.temperature,
            entropy_coef: self.entropy_coef.unwrap_or(0.0),
            top_entropy_quantile: self.top_entropy_quantile.unwrap_or(1.0),
            // The goldens' weights come bounded already.
            importance_correction: self.is_ratio.then_some(ImportanceCorrection {
                level: CorrectionLevel::Token,
                out_of_bounds: OutOfBounds::Truncate,
                min: None,
                max: None,
            }),
            off_policy_mask_threshold: self.off_policy_mask_threshold,
            accumulation_steps: self.ga,
            max_completion_length: (loss == LossType::DrGrpo).then_some(self.max_completion_length),
            ..GrpoConfig::default()
        }
    }
}

#[track_caller]
fn assert_close(name: &str, got: &[f64], want: &[f64]) {
    assert_near(name, got, want, TOLERANCE);
}

#[track_caller]
fn assert_near(name: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: number of values");
    let scale = want.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    for (idx, (got, want)) in got.iter().zip(want).enumerate() {
        let gap = (got - want).abs();
        assert!(gap <= tolerance * scale, "{name}[{idx}]: got {got}, want {want}, gap {gap:e}");
    }
}

/// The sampler's log-probs that give the golden importance weights.
fn sampler(case: &Case, mask: &[bool]) -> Option<Vec<f64>> {
    let ratio = case.importance_sampling_ratio.as_ref()?;
    let t = ratio[0].len();
    let mut logs: Vec<f64> = ratio.concat().iter().map(|rho| rho.ln()).collect();
    // TRL's vespo sums log-weights over padding too. In its trainer those are 0, masked before; the golden
    // script draws them at random. Moving them to the row's first loss token gives the same sum.
    if case.config.loss_type == LossType::Vespo {
        for row in 0..ratio.len() {
            let padding: f64 = (row * t..(row + 1) * t).filter(|&i| !mask[i]).map(|i| logs[i]).sum();
            let first = (row * t..(row + 1) * t).find(|&i| mask[i]);
            logs[first.expect("no golden case of vespo with weights has an empty row")] += padding;
        }
    }
    Some(case.old_logps.concat().iter().zip(logs).map(|(old, log)| old - log).collect())
}

/// Our loss of a case, from log-probabilities and entropies of its tokens.
fn loss(case: &Case, logprobs: &[f64], entropies: &[f64]) -> LossOutput {
    let mask: Vec<bool> = case.mask.concat().iter().map(|&m| m == 1.0).collect();
    let (old, reference) = (case.old_logps.concat(), case.ref_logps.concat());
    let sampler = sampler(case, &mask);
    let input = LossInput {
        row_lens: &vec![case.mask[0].len(); case.mask.len()],
        mask: &mask,
        logprobs,
        old: Some(&old),
        reference: Some(&reference),
        sampler: sampler.as_deref(),
        entropies: Some(entropies),
        advantages: Advantages::Rows(&case.advantages),
        // TRL counts the tokens of one generation; the golden script generates once per micro-batch.
        window: Window {
            tokens: Some(case.num_items_in_batch.max(1.0) * case.config.ga as f64),
            ..Window::default()
        },
    };
    grpo_loss(&case.config.ours(), &input).unwrap()
}

#[track_caller]
fn check(case: &Case) {
    let config = case.config.ours();
    let logits = case.logits.concat();
    let ids = case.completion_ids.concat();
    let (logprobs, entropies): (Vec<f64>, Vec<f64>) =
        logits.iter().zip(&ids).map(|(row, &id)| logprob_and_entropy(row, id, config.temperature)).unzip();
    assert_close("logps", &logprobs, &case.logps.concat());
    assert_close("entropies", &entropies, &case.entropies.concat());

    let output = loss(case, &logprobs, &entropies);
    assert_close("loss", &[output.loss], &[case.loss]);
    let gradient: Vec<f64> = (0..ids.len())
        .flat_map(|i| {
            let (d_lp, d_h) = (output.d_logprobs[i], output.d_entropies[i]);
            logits_gradient(&logits[i], ids[i], d_lp, d_h, config.temperature)
        })
        .collect();
    assert_close("grad_logits", &gradient, &case.grad_logits.concat().concat());
    for (name, want) in &case.metrics {
        assert_close(name, &[metric(name, &output.stats, &config)], &[*want]);
    }
}

/// TRL's name for each of our statistics.
fn metric(name: &str, stats: &LossStats, config: &GrpoConfig) -> f64 {
    let clip = || stats.clip.expect("a clipped loss has clip statistics");
    match name {
        "entropy" => stats.entropy.unwrap(),
        "kl" => stats.kl.unwrap(),
        "policy_loss" => stats.policy_loss,
        "entropy_coef" => config.entropy_coef,
        "clip_ratio/low_mean" => clip().low,
        "clip_ratio/high_mean" => clip().high,
        "clip_ratio/region_mean" => clip().region,
        "clip_ratio/low_min" => clip().low_min,
        "clip_ratio/high_max" => clip().high_max,
        "cispo_clip_ratio" => stats.cispo_clip.unwrap(),
        "vespo/phi_seq_mean" => stats.vespo_phi.unwrap(),
        _ => panic!("the goldens have a metric that nobody compares: {name}"),
    }
}

/// The f32 kernel that a run trains with: the same case with the logits as hidden states behind a head that leaves
/// them alone, its slopes from the loss above.
#[track_caller]
fn check_kernel(case: &Case) {
    let config = case.config.ours();
    let logits: Vec<f32> = case.logits.concat().concat().iter().map(|x| *x as f32).collect();
    let ids: Vec<u32> = case.completion_ids.concat().iter().map(|id| *id as u32).collect();
    let v = logits.len() / ids.len();
    let hidden = Var::from_vec(logits, (ids.len(), v), &Device::Cpu).unwrap();
    let head = Tensor::eye(v, DType::F32, &Device::Cpu).unwrap();
    let scored = token_logprobs(&hidden, &head, &ids, config.temperature).unwrap();
    let column = |i: usize| -> Vec<f64> {
        let values = scored.narrow(1, i, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f64::from).collect()
    };
    let (logprobs, entropies) = (column(0), column(1));
    assert_near("logps", &logprobs, &case.logps.concat(), KERNEL_TOLERANCE);
    assert_near("entropies", &entropies, &case.entropies.concat(), KERNEL_TOLERANCE);
    let output = loss(case, &logprobs, &entropies);
    assert_near("loss", &[output.loss], &[case.loss], KERNEL_TOLERANCE);
    let slopes: Vec<f32> =
        output.d_logprobs.iter().zip(&output.d_entropies).flat_map(|(a, b)| [*a as f32, *b as f32]).collect();
    let slopes = Tensor::from_vec(slopes, (ids.len(), 2), &Device::Cpu).unwrap();
    let grads = (scored * slopes).unwrap().sum_all().unwrap().backward().unwrap();
    let got = grads.get(&hidden).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let got: Vec<f64> = got.into_iter().map(f64::from).collect();
    assert_near("grad_logits", &got, &case.grad_logits.concat().concat(), KERNEL_TOLERANCE);
}

fn check_all(jsonl: &str) -> usize {
    for (idx, line) in jsonl.lines().enumerate() {
        let case: Case = serde_json::from_str(line).unwrap();
        let checked = std::panic::catch_unwind(|| {
            check(&case);
            check_kernel(&case);
        });
        assert!(checked.is_ok(), "case {idx}: {:?}", case.config.ours());
    }
    jsonl.lines().count()
}

/// Every loss at both levels, and every option, taken from the full set unchanged.
#[test]
fn losses_match_trl_on_the_sample() {
    assert_eq!(check_all(include_str!("golden/grpo_loss.jsonl")), 23);
}

#[test]
fn losses_match_trl_on_the_full_set() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/grpo_loss.jsonl");
    match std::fs::read_to_string(&path) {
        Ok(jsonl) => assert_eq!(check_all(&jsonl), 138),
        Err(_) => eprintln!("skipped: the full set of golden losses is not at {}", path.display()),
    }
}
