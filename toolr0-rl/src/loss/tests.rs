//! Properties of every loss, and hand-derived numbers for the variants that TRL lacks.

use proptest::prelude::*;

use super::*;

/// A batch that owns its numbers.
#[derive(Clone, Debug, Default)]
struct Data {
    row_lens: Vec<usize>,
    mask: Vec<bool>,
    logprobs: Vec<f64>,
    old: Vec<f64>,
    reference: Vec<f64>,
    sampler: Vec<f64>,
    entropies: Vec<f64>,
    advantages: Vec<f64>,
}

/// `(mask, lp, old - lp, reference - lp, sampler - old, entropy)`.
type Token = (bool, f64, f64, f64, f64, f64);

impl Data {
    fn new(rows: &[(f64, Vec<Token>)]) -> Self {
        let mut data = Self::default();
        for (advantage, tokens) in rows {
            data.push(*advantage, tokens);
        }
        data
    }

    fn push(&mut self, advantage: f64, tokens: &[Token]) {
        self.row_lens.push(tokens.len());
        self.advantages.push(advantage);
        for &(mask, lp, old, reference, sampler, entropy) in tokens {
            self.mask.push(mask);
            self.logprobs.push(lp);
            self.old.push(lp + old);
            self.reference.push(lp + reference);
            self.sampler.push(lp + old + sampler);
            self.entropies.push(entropy);
        }
    }

    /// The rows again, for a batch of some of them in some order.
    fn rows(&self) -> Vec<(f64, Vec<Token>)> {
        let mut start = 0;
        let row = |(&len, &advantage): (&usize, &f64)| {
            let tokens = (start..start + len).map(|t| {
                let (lp, old) = (self.logprobs[t], self.old[t]);
                let gaps = (old - lp, self.reference[t] - lp, self.sampler[t] - old);
                (self.mask[t], lp, gaps.0, gaps.1, gaps.2, self.entropies[t])
            });
            let tokens = tokens.collect();
            start += len;
            (advantage, tokens)
        };
        self.row_lens.iter().zip(&self.advantages).map(row).collect()
    }

    fn input(&self) -> LossInput<'_> {
        LossInput {
            row_lens: &self.row_lens,
            mask: &self.mask,
            logprobs: &self.logprobs,
            old: Some(&self.old),
            reference: Some(&self.reference),
            sampler: Some(&self.sampler),
            entropies: Some(&self.entropies),
            advantages: Advantages::Rows(&self.advantages),
            window: Window::default(),
        }
    }

    fn loss(&self, config: &GrpoConfig) -> LossOutput {
        grpo_loss(config, &self.input()).unwrap()
    }

    /// The counts of this batch as a whole, for losses of its parts.
    fn window(&self, config: &GrpoConfig) -> Window {
        let tokens = self.mask.iter().filter(|m| **m).count() as f64;
        let threshold = entropy_threshold(&self.entropies, &self.mask, config.top_entropy_quantile);
        let kept = self.mask.iter().zip(&self.entropies).filter(|(m, h)| **m && Some(**h) >= threshold);
        Window {
            rows: Some(self.row_lens.len() as f64),
            tokens: Some(tokens),
            local_tokens: Some(tokens),
            entropy_tokens: Some(kept.count() as f64),
            entropy_threshold: threshold,
        }
    }
}

/// 1 to 5 rows of 0 to 6 tokens, some masked; ratios fall on both sides of every clip.
fn batches() -> impl Strategy<Value = Data> {
    let token = (prop::bool::weighted(0.8), -4.0..-0.01, -0.6..0.6, -1.0..1.0, -0.5..0.5, 0.0..3.0);
    let row = (-2.0..2.0, prop::collection::vec(token, 0..6));
    prop::collection::vec(row, 1..5).prop_map(|rows| Data::new(&rows))
}

/// The same kind of batch, always the same one: 4 rows, one of them fully masked.
fn fixed() -> Data {
    let mut state = 11u64;
    // Marsaglia's xorshift64.
    let mut draw = |low: f64, high: f64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        low + (high - low) * (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut token = |mask: bool| {
        (mask, draw(-4.0, -0.01), draw(-0.6, 0.6), draw(-1.0, 1.0), draw(-0.5, 0.5), draw(0.0, 3.0))
    };
    let mut row = |masks: &[bool]| masks.iter().map(|&m| token(m)).collect::<Vec<_>>();
    let rows = [
        (1.3, row(&[true, true, false, true, true])),
        (-0.8, row(&[true, true, true])),
        (0.4, row(&[false, false])),
        (-1.9, row(&[true, false, true, true, true, true])),
    ];
    Data::new(&rows)
}

fn base(loss_type: LossType) -> GrpoConfig {
    let length = (loss_type == LossType::DrGrpo).then_some(8);
    GrpoConfig { loss_type, beta: 0.0, max_completion_length: length, ..GrpoConfig::default() }
}

fn correction(level: CorrectionLevel, out_of_bounds: OutOfBounds) -> Option<ImportanceCorrection> {
    Some(ImportanceCorrection { level, out_of_bounds, min: Some(0.8), max: Some(1.2) })
}

const LOSSES: [LossType; 9] = [
    LossType::Grpo,
    LossType::Bnpo,
    LossType::DrGrpo,
    LossType::Dapo,
    LossType::Cispo,
    LossType::Sapo,
    LossType::Luspo,
    LossType::Vespo,
    LossType::Gspo,
];

/// Every loss plain, with KL, and with everything it takes; at each level it takes.
fn configs() -> Vec<GrpoConfig> {
    let mut all = Vec::new();
    for loss in LOSSES {
        all.push(base(loss));
        all.push(GrpoConfig { beta: 0.1, use_bias_correction_kl: true, ..base(loss) });
        for level in [RatioLevel::Token, RatioLevel::Sequence, RatioLevel::SequenceToken] {
            let config = GrpoConfig {
                importance_sampling_level: Some(level),
                delta: loss.is_clipped().then_some(1.15),
                beta: 0.1,
                kl: Some(KlEstimator::K2),
                use_bias_correction_kl: true,
                entropy_coef: 0.03,
                top_entropy_quantile: 0.6,
                importance_correction: correction(CorrectionLevel::Token, OutOfBounds::Truncate),
                off_policy_mask_threshold: Some(0.05),
                ..base(loss)
            };
            all.extend(config.check().is_ok().then_some(config));
        }
    }
    assert_eq!(all.len(), 2 * LOSSES.len() + 3 * LOSSES.len() - 1, "gspo alone refuses a level");
    all
}

#[track_caller]
fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    for (idx, (got, want)) in got.iter().zip(want).enumerate() {
        let gap = (got - want).abs();
        assert!(gap <= tolerance * want.abs().max(1.0), "{what}[{idx}]: got {got}, want {want}, gap {gap:e}");
    }
}

/// Slopes by central differences. Only for losses without a detached part.
#[track_caller]
fn check_slopes(config: &GrpoConfig) {
    let (data, step) = (fixed(), 1e-6);
    let output = data.loss(config);
    let slope = |change: &dyn Fn(&mut Data, f64)| {
        let at = |by| {
            let mut moved = data.clone();
            change(&mut moved, by);
            moved.loss(config).loss
        };
        (at(step) - at(-step)) / (2.0 * step)
    };
    let tokens = 0..data.mask.len();
    let lp: Vec<f64> = tokens.clone().map(|t| slope(&|d, by| d.logprobs[t] += by)).collect();
    let h: Vec<f64> = tokens.map(|t| slope(&|d, by| d.entropies[t] += by)).collect();
    assert_close(&output.d_logprobs, &lp, 1e-8, &format!("d_logprobs of {config:?}"));
    assert_close(&output.d_entropies, &h, 1e-8, &format!("d_entropies of {config:?}"));
}

#[test]
fn slopes_agree_with_finite_differences() {
    let mut checked = 0;
    for config in configs() {
        let detached = matches!(config.loss_type, LossType::Cispo | LossType::Vespo)
            || config.level() == RatioLevel::SequenceToken;
        if !detached {
            check_slopes(&config);
            checked += 1;
        }
    }
    assert!(checked > 20);
    for kl in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
        check_slopes(&GrpoConfig { beta: 0.1, kl: Some(kl), ..base(LossType::Dapo) });
    }
    for level in [CorrectionLevel::Token, CorrectionLevel::Sequence] {
        for out_of_bounds in [OutOfBounds::Truncate, OutOfBounds::Mask] {
            let importance_correction = correction(level, out_of_bounds);
            check_slopes(&GrpoConfig { importance_correction, ..base(LossType::Grpo) });
        }
    }
}

/// One token per entry: `(ratio, advantage)` in, `(loss, slope)` out, rows of one token at lp = ln(1/2).
#[track_caller]
fn check_token(config: &GrpoConfig, ratio: f64, advantage: f64, want: (f64, f64)) {
    let lp = 0.5f64.ln();
    let data = Data::new(&[(advantage, vec![(true, lp, -ratio.ln(), 0.0, 0.0, 0.0)])]);
    let output = data.loss(config);
    let what = format!("{} at r = {ratio}, A = {advantage}", config.loss_type);
    assert_close(&[output.loss, output.d_logprobs[0]], &[want.0, want.1], 1e-12, &what);
}

#[test]
fn clipping_by_hand() {
    let config = base(LossType::Grpo);
    check_token(&config, 1.5, 1.0, (-1.2, 0.0));
    check_token(&config, 1.5, -1.0, (1.5, 1.5));
    check_token(&config, 0.5, 1.0, (-0.5, -0.5));
    check_token(&config, 0.5, -1.0, (0.8, 0.0));
    check_token(&config, 1.1, 2.0, (-2.2, -2.2));
    let higher = GrpoConfig { epsilon_high: Some(0.6), ..config.clone() };
    check_token(&higher, 1.5, 1.0, (-1.5, -1.5));
    let two_sided = GrpoConfig { delta: Some(3.0), ..config };
    check_token(&two_sided, 2.5, -1.0, (2.5, 2.5));
    check_token(&two_sided, 4.0, -1.0, (3.0, 0.0));
}

#[test]
fn cispo_clamps_by_hand() {
    let lp = 0.5f64.ln();
    let upper = base(LossType::Cispo);
    check_token(&upper, 1.5, 1.0, (-1.5 * lp, -1.5));
    check_token(&upper, 0.5, -2.0, (lp, 1.0));
    check_token(&upper, 7.0, -1.0, (5.0 * lp, 5.0)); // the bound is 5, not 1 + 5
    let both = GrpoConfig { cispo_clamp: Some(CispoClamp::Both), ..upper };
    check_token(&both, 1.5, 1.0, (-1.2 * lp, -1.2));
    check_token(&both, 0.5, -2.0, (1.6 * lp, 1.6));
    let wider = GrpoConfig { epsilon_low: Some(0.4), epsilon_high: Some(0.3), ..both };
    check_token(&wider, 1.5, 1.0, (-1.3 * lp, -1.3));
    check_token(&wider, 0.5, 1.0, (-0.6 * lp, -0.6));
}

#[test]
fn vespo_weight_by_hand() {
    let (config, lp) = (base(LossType::Vespo), 0.5f64.ln());
    let phi = 3f64.exp() * 4.0 * (-6f64).exp(); // e^3 2^2 e^(-3 * 2)
    check_token(&config, 2.0, 1.5, (-1.5 * phi * lp, -1.5 * phi));
    let phi = 2f64.exp() * 0.125 * (-1f64).exp(); // e^2 (1/2)^3 e^(-2 / 2)
    check_token(&config, 0.5, -1.0, (phi * lp, phi));
}

#[test]
fn kl_by_hand() {
    // lp = ln(1/2) and reference = ln(1/4), so x = ln 2 and exp(-x) = 1/2.
    let x = 2f64.ln();
    let data = Data::new(&[(0.0, vec![(true, 0.5f64.ln(), 0.0, -x, 0.0, 0.0)])]);
    for (kl, value, slope) in [
        (KlEstimator::K1, x, 1.0),
        (KlEstimator::K2, 0.5 * x * x, x),
        (KlEstimator::K3, x - 0.5, 0.5),
        (KlEstimator::K3Plus, x - 0.5, x),
    ] {
        let output = data.loss(&GrpoConfig { beta: 0.1, kl: Some(kl), ..base(LossType::Grpo) });
        assert_close(&[output.loss, output.d_logprobs[0]], &[0.1 * value, 0.1 * slope], 1e-12, "kl");
        assert_close(&[output.stats.kl.unwrap()], &[value], 1e-12, "logged kl");
        let corrected =
            GrpoConfig { use_bias_correction_kl: true, beta: 0.1, kl: Some(kl), ..base(LossType::Grpo) };
        let output = data.loss(&corrected);
        assert_close(&[output.d_logprobs[0]], &[0.1 * (slope + value)], 1e-12, "corrected kl");
    }
}

/// Two tokens with ratios 2 and 1, so the sequence ratio is sqrt(2); advantages 1 and -1 per token.
#[test]
fn gspo_token_by_hand() {
    let data = Data::new(&[(
        0.0,
        vec![(true, -1.0, -(2f64.ln()), 0.0, 0.0, 0.0), (true, -2.0, 0.0, 0.0, 0.0, 0.0)],
    )]);
    let input = LossInput { advantages: Advantages::Tokens(&[1.0, -1.0]), ..data.input() };
    let wide = GrpoConfig { epsilon_low: Some(1.0), epsilon_high: Some(1.0), ..base(LossType::Gspo) };
    let token = GrpoConfig { importance_sampling_level: Some(RatioLevel::SequenceToken), ..wide.clone() };
    let half = 0.5 * 2f64.sqrt();
    let output = grpo_loss(&token, &input).unwrap();
    assert_close(&[output.loss], &[0.0], 1e-12, "loss");
    assert_close(&output.d_logprobs, &[-half, half], 1e-12, "gspo-token");
    // One ratio for the row lets opposite advantages cancel.
    assert_close(&grpo_loss(&wide, &input).unwrap().d_logprobs, &[0.0, 0.0], 1e-12, "gspo");
}

#[test]
fn mismatch_by_hand() {
    let gap = 2f64.ln();
    let tokens = vec![
        (true, -1.0, 0.0, 0.0, -gap, 0.0), // rho = 2
        (true, -1.0, 0.0, 0.0, gap, 0.0),  // rho = 1/2
        (true, -1.0, 0.0, 0.0, f64::NAN, 0.0),
        (false, -1.0, 0.0, 0.0, 9.0, 0.0),
    ];
    let data = Data::new(&[(1.0, tokens)]);
    let mut config = base(LossType::Grpo);
    config.importance_correction = correction(CorrectionLevel::Token, OutOfBounds::Mask);
    let output = data.loss(&config);
    // Only the token without a sampler log-prob is within bounds.
    assert_close(&output.d_logprobs, &[0.0, 0.0, -1.0 / 3.0, 0.0], 1e-12, "slopes");
    let got = output.stats.mismatch.unwrap();
    assert_eq!(got.tokens, 2);
    let numbers =
        [got.gap_mean, got.gap_max, got.ratio_min, got.ratio_mean, got.ratio_max, got.kl, got.masked];
    assert_close(&numbers, &[gap, gap, 0.5, 1.25, 2.0, 0.25, 2.0 / 3.0], 1e-12, "mismatch");
}

#[test]
fn huge_log_ratios_stay_finite() {
    let token = |gap: f64| (true, -1.0, gap, gap, gap, 1.0);
    let data = Data::new(&[(1.0, vec![token(1e4)]), (-1.0, vec![token(-1e4)]), (-1.0, vec![token(1e4)])]);
    for config in configs() {
        let output = data.loss(&config);
        assert!(output.loss.is_finite(), "{config:?}");
        assert!(output.d_logprobs.iter().all(|d| d.is_finite()), "{config:?}");
    }
}

#[track_caller]
fn check_changes(option: &str, config: &GrpoConfig, changed: &GrpoConfig) {
    let data = fixed();
    // A second micro-batch stands behind the window: else bnpo, which is local, would be dapo.
    let window = Window { tokens: Some(30.0), ..Window::default() };
    let loss = |config| grpo_loss(config, &LossInput { window, ..data.input() }).unwrap();
    let (a, b) = (loss(config), loss(changed));
    assert!(a.loss != b.loss || a.d_logprobs != b.d_logprobs, "`{option}` changes nothing");
    assert_eq!(a, loss(config), "the same call gives the same numbers");
}

#[test]
fn every_option_changes_a_number() {
    let grpo = base(LossType::Grpo);
    let change = |option, from: &GrpoConfig, edit: &dyn Fn(&mut GrpoConfig)| {
        let mut changed = from.clone();
        edit(&mut changed);
        check_changes(option, from, &changed);
    };
    for (i, a) in LOSSES.into_iter().enumerate() {
        for b in LOSSES.into_iter().skip(i + 1) {
            check_changes("loss_type", &base(a), &base(b));
        }
    }
    for loss in LOSSES.into_iter().filter(|loss| !matches!(loss, LossType::Vespo | LossType::Gspo)) {
        let other =
            if base(loss).level() == RatioLevel::Token { RatioLevel::Sequence } else { RatioLevel::Token };
        change("level", &base(loss), &|c| c.importance_sampling_level = Some(other));
    }
    change("epsilon_low", &grpo, &|c| (c.epsilon_low, c.epsilon_high) = (Some(0.3), Some(0.2)));
    change("epsilon_high", &grpo, &|c| c.epsilon_high = Some(0.28));
    change("epsilon_low", &base(LossType::Gspo), &|c| {
        (c.epsilon_low, c.epsilon_high) = (Some(0.1), Some(4e-4))
    });
    change("delta", &grpo, &|c| c.delta = Some(1.1));
    change("cispo_clamp", &base(LossType::Cispo), &|c| c.cispo_clamp = Some(CispoClamp::Both));
    change("epsilon_high", &base(LossType::Cispo), &|c| c.epsilon_high = Some(1.1));
    change("sapo_temperature_pos", &base(LossType::Sapo), &|c| c.sapo_temperature_pos = Some(1.2));
    change("sapo_temperature_neg", &base(LossType::Sapo), &|c| c.sapo_temperature_neg = Some(1.2));
    let vespo = base(LossType::Vespo);
    change("vespo_k_pos", &vespo, &|c| c.vespo_k_pos = Some(1.0));
    change("vespo_lambda_pos", &vespo, &|c| c.vespo_lambda_pos = Some(1.0));
    change("vespo_k_neg", &vespo, &|c| c.vespo_k_neg = Some(1.0));
    change("vespo_lambda_neg", &vespo, &|c| c.vespo_lambda_neg = Some(1.0));
    change("beta", &grpo, &|c| c.beta = 0.01);
    let kl = GrpoConfig { beta: 0.1, ..grpo.clone() };
    for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3Plus] {
        change("kl", &kl, &|c| c.kl = Some(estimator));
    }
    change("use_bias_correction_kl", &kl, &|c| c.use_bias_correction_kl = true);
    let corrected = GrpoConfig { use_bias_correction_kl: true, beta: 0.1, ..vespo };
    change("level", &corrected, &|c| c.importance_sampling_level = Some(RatioLevel::Sequence));
    change("entropy_coef", &grpo, &|c| c.entropy_coef = 0.01);
    change("top_entropy_quantile", &grpo, &|c| c.top_entropy_quantile = 0.5);
    change("off_policy_mask_threshold", &grpo, &|c| c.off_policy_mask_threshold = Some(0.0));
    change("accumulation_steps", &grpo, &|c| c.accumulation_steps = 2);
    change("max_completion_length", &base(LossType::DrGrpo), &|c| c.max_completion_length = Some(9));
    let mut seen = vec![grpo];
    for level in [CorrectionLevel::Token, CorrectionLevel::Sequence] {
        for out_of_bounds in [OutOfBounds::Truncate, OutOfBounds::Mask] {
            for (min, max) in [(None, Some(1.2)), (Some(0.9), Some(1.2)), (None, None)] {
                // Without bounds there is nothing to truncate or mask.
                if (out_of_bounds, max) == (OutOfBounds::Mask, None) {
                    continue;
                }
                let importance_correction = Some(ImportanceCorrection { level, out_of_bounds, min, max });
                seen.push(GrpoConfig { importance_correction, ..base(LossType::Grpo) });
            }
        }
    }
    for (i, a) in seen.iter().enumerate() {
        seen[..i].iter().for_each(|b| check_changes("importance_correction", a, b));
    }
}

#[track_caller]
fn check_refused(json: &str, names: &str) {
    let config: GrpoConfig = serde_json::from_str(json).unwrap();
    let error = config.check().expect_err(json).to_string();
    assert!(error.contains(names), "{json}: `{error}` does not name {names}");
}

#[test]
fn an_option_without_effect_is_an_error() {
    for (json, option) in [
        (r#"{"loss_type": "sapo", "epsilon_low": 0.2}"#, "epsilon_low"),
        (r#"{"loss_type": "vespo", "epsilon_high": 0.2}"#, "epsilon_high"),
        (r#"{"loss_type": "cispo", "epsilon_low": 0.2}"#, "epsilon_low"),
        (r#"{"loss_type": "cispo", "delta": 2.0}"#, "delta"),
        (r#"{"loss_type": "vespo", "importance_sampling_level": "sequence"}"#, "importance_sampling_level"),
        (r#"{"cispo_clamp": "both"}"#, "cispo_clamp"),
        (r#"{"sapo_temperature_pos": 1.0}"#, "sapo_temperature_pos"),
        (r#"{"sapo_temperature_neg": 1.0}"#, "sapo_temperature_neg"),
        (r#"{"vespo_k_pos": 1.0}"#, "vespo_k_pos"),
        (r#"{"vespo_lambda_pos": 1.0}"#, "vespo_lambda_pos"),
        (r#"{"loss_type": "sapo", "vespo_k_neg": 1.0}"#, "vespo_k_neg"),
        (r#"{"loss_type": "sapo", "vespo_lambda_neg": 1.0}"#, "vespo_lambda_neg"),
        (r#"{"max_completion_length": 8}"#, "max_completion_length"),
        (r#"{"beta": 0.0, "kl": "k2"}"#, "kl"),
        (r#"{"beta": 0.0, "use_bias_correction_kl": true}"#, "use_bias_correction_kl"),
    ] {
        check_refused(json, option);
    }
}

#[test]
fn a_value_out_of_range_is_an_error() {
    for (json, option) in [
        (r#"{"loss_type": "dr_grpo"}"#, "max_completion_length"),
        (r#"{"loss_type": "dr_grpo", "max_completion_length": 0}"#, "max_completion_length"),
        (r#"{"loss_type": "gspo", "importance_sampling_level": "token"}"#, "importance_sampling_level"),
        (r#"{"beta": -0.1}"#, "beta"),
        (r#"{"temperature": 0.0}"#, "temperature"),
        (r#"{"epsilon_low": 1.5}"#, "epsilon_low"),
        (r#"{"epsilon_high": -0.1}"#, "epsilon_high"),
        (r#"{"delta": 1.0}"#, "delta"),
        (r#"{"top_entropy_quantile": 0.0}"#, "top_entropy_quantile"),
        (r#"{"top_entropy_quantile": 1.5}"#, "top_entropy_quantile"),
        (r#"{"off_policy_mask_threshold": -1.0}"#, "off_policy_mask_threshold"),
        (r#"{"accumulation_steps": 0}"#, "accumulation_steps"),
        (r#"{"loss_type": "sapo", "sapo_temperature_pos": 0.0}"#, "sapo_temperature_pos"),
        (r#"{"loss_type": "vespo", "vespo_k_neg": -1.0}"#, "vespo_k_neg"),
        (r#"{"loss_type": "vespo", "vespo_lambda_neg": 0.0}"#, "vespo_lambda_neg"),
        (r#"{"importance_correction": {"level": "token", "out_of_bounds": "mask", "min": 2.0}}"#, "min"),
        (r#"{"importance_correction": {"level": "token", "out_of_bounds": "mask", "max": 0.5}}"#, "max"),
        (
            r#"{"loss_type": "vespo", "importance_correction": {"level": "sequence", "out_of_bounds": "mask"}}"#,
            "importance_correction.level",
        ),
    ] {
        check_refused(json, option);
    }
    let nan = GrpoConfig { beta: f64::NAN, ..GrpoConfig::default() };
    assert!(matches!(nan.check(), Err(Error::Config { option: "beta", .. })));
}

#[test]
fn configs_round_trip_and_refuse_unknown_keys() {
    assert_eq!(serde_json::from_str::<GrpoConfig>("{}").unwrap(), GrpoConfig::default());
    for config in configs() {
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<GrpoConfig>(&json).unwrap(), config);
    }
    assert!(serde_json::from_str::<GrpoConfig>(r#"{"epsilon": 0.2}"#).is_err());
}

#[test]
fn inputs_that_disagree_or_miss_are_errors() {
    let data = fixed();
    let refused =
        |config: &GrpoConfig, input: LossInput<'_>| grpo_loss(config, &input).expect_err("bad input");
    let plain = base(LossType::Grpo);
    let error = refused(&plain, LossInput { mask: &[true], ..data.input() });
    assert!(matches!(error, Error::Length { name: "mask", .. }));
    let error = refused(&plain, LossInput { advantages: Advantages::Rows(&[1.0]), ..data.input() });
    assert!(matches!(error, Error::Length { name: "advantages", .. }));
    let error = refused(&plain, LossInput { old: Some(&[]), ..data.input() });
    assert!(matches!(error, Error::Length { name: "old", .. }));
    let error = refused(&GrpoConfig::default(), LossInput { reference: None, ..data.input() });
    assert!(matches!(error, Error::Missing { name: "reference", .. }));
    let bonus = GrpoConfig { entropy_coef: 0.1, ..plain.clone() };
    let error = refused(&bonus, LossInput { entropies: None, ..data.input() });
    assert!(matches!(error, Error::Missing { name: "entropies", .. }));
    let importance_correction = correction(CorrectionLevel::Token, OutOfBounds::Mask);
    let corrected = GrpoConfig { importance_correction, ..plain.clone() };
    let error = refused(&corrected, LossInput { sampler: None, ..data.input() });
    assert!(matches!(error, Error::Missing { name: "sampler", .. }));
    let mut broken = fixed();
    broken.logprobs[1] = f64::NAN;
    assert!(matches!(refused(&plain, broken.input()), Error::NonFinite { name: "logprobs", idx: 1, .. }));
    let mut broken = fixed();
    broken.advantages[1] = f64::INFINITY;
    assert!(matches!(refused(&plain, broken.input()), Error::NonFinite { name: "advantages", idx: 1, .. }));
}

#[test]
fn nothing_to_learn_from_is_no_error() {
    for config in configs() {
        let output = Data::default().loss(&config);
        assert_eq!((output.loss, output.stats.tokens), (0.0, 0), "{config:?}");
        let output = Data::new(&[(1.0, vec![(false, -1.0, 0.0, 0.0, 0.0, 1.0)])]).loss(&config);
        assert_eq!(
            (output.loss, &output.d_logprobs[..], &output.d_entropies[..]),
            (0.0, &[0.0][..], &[0.0][..])
        );
    }
}

proptest! {
    /// The sum over micro-batches is the whole batch, whatever the split; also for the statistics.
    #[test]
    fn a_micro_batch_split_changes_nothing(data in batches(), at in 0usize..5) {
        let rows = data.rows();
        let (left, right) = rows.split_at(at.min(rows.len()));
        let parts = [Data::new(left), Data::new(right)];
        for config in &configs() {
            let window = data.window(config);
            let whole = grpo_loss(config, &LossInput { window, ..data.input() }).unwrap();
            prop_assert_eq!(&whole, &data.loss(config), "a window of one micro-batch is that micro-batch");
            let [mut a, b] = [0, 1].map(|i| grpo_loss(config, &LossInput { window, ..parts[i].input() }).unwrap());
            assert_close(&[a.loss + b.loss], &[whole.loss], 1e-12, "loss");
            a.d_logprobs.extend(b.d_logprobs);
            assert_close(&a.d_logprobs, &whole.d_logprobs, 1e-12, "d_logprobs");
            a.d_entropies.extend(b.d_entropies);
            assert_close(&a.d_entropies, &whole.d_entropies, 1e-12, "d_entropies");
            a.stats.merge(&b.stats);
            let numbers = |s: &LossStats| {
                let (clip, miss) = (s.clip.map(|c| [c.low, c.high, c.region]), s.mismatch.clone().unwrap_or_default());
                let mut all = vec![s.policy_loss, s.entropy.unwrap(), s.kl.unwrap(), s.ratio, s.entropy_kept];
                all.extend([s.delta_share, s.cispo_clip, s.vespo_phi].map(Option::unwrap_or_default));
                all.extend(clip.unwrap_or_default());
                all.extend([miss.gap_mean, miss.gap_max, miss.ratio_min, miss.ratio_mean, miss.kl, miss.masked]);
                all.extend([s.tokens, s.rows, s.items, s.off_policy_rows].map(|n| n as f64));
                all
            };
            if data.mask.contains(&true) {
                assert_close(&numbers(&a.stats), &numbers(&whole.stats), 1e-12, "statistics");
            }
        }
    }

    /// Without counts of the window, equal micro-batches add up to the loss of one.
    #[test]
    fn accumulation_steps_divide(data in batches(), steps in 2usize..5) {
        for config in configs() {
            let (one, part) = (data.loss(&config), data.loss(&GrpoConfig { accumulation_steps: steps, ..config }));
            let times = |values: &[f64]| values.iter().map(|x| x * steps as f64).collect::<Vec<_>>();
            assert_close(&times(&[part.loss]), &[one.loss], 1e-12, "loss");
            assert_close(&times(&part.d_logprobs), &one.d_logprobs, 1e-12, "d_logprobs");
            assert_close(&times(&part.d_entropies), &one.d_entropies, 1e-12, "d_entropies");
        }
    }

    /// Padding may hold anything: it is never read.
    #[test]
    fn padding_changes_nothing(data in batches(), amount in 1usize..4) {
        const NAN: f64 = f64::NAN;
        let mut rows = data.rows();
        for (_, tokens) in &mut rows {
            tokens.resize(tokens.len() + amount, (false, NAN, NAN, f64::INFINITY, 1e9, NAN));
        }
        let padded = Data::new(&rows);
        let unpad = |values: &[f64]| -> Vec<f64> {
            let mut rest = values;
            let mut out = Vec::new();
            for &len in &data.row_lens {
                let (row, tail) = rest.split_at(len + amount);
                assert_eq!(&row[len..], &vec![0.0; amount]);
                out.extend_from_slice(&row[..len]);
                rest = tail;
            }
            out
        };
        for config in configs() {
            // Rebuilt like the padded one, so that both carry the same rounding.
            let (want, got) = (Data::new(&data.rows()).loss(&config), padded.loss(&config));
            prop_assert_eq!(want.loss, got.loss);
            prop_assert_eq!(want.d_logprobs, unpad(&got.d_logprobs));
            prop_assert_eq!(want.d_entropies, unpad(&got.d_entropies));
            prop_assert_eq!(want.stats, got.stats);
        }
    }

    #[test]
    fn row_order_changes_nothing(data in batches()) {
        let mut rows = data.rows();
        rows.reverse();
        let reversed = Data::new(&rows);
        for config in configs() {
            let (want, got) = (data.loss(&config), reversed.loss(&config));
            assert_close(&[got.loss], &[want.loss], 1e-12, "loss");
            let mut end = data.mask.len();
            for (row, &len) in reversed.row_lens.iter().rev().zip(&data.row_lens).map(|(_, len)| len).enumerate() {
                let start: usize = data.row_lens[..row].iter().sum();
                let (want, got) = (&want.d_logprobs[start..start + len], &got.d_logprobs[end - len..end]);
                assert_close(got, want, 1e-12, "d_logprobs");
                end -= len;
            }
        }
    }

    /// At ratio 1 every loss has the gradient `-A * grad log p`, times the reduction's share of the token.
    #[test]
    fn on_policy_every_slope_is_minus_the_advantage(data in batches()) {
        let tokens = data.mask.iter().filter(|m| **m).count() as f64;
        for loss in LOSSES {
            let config = base(loss);
            let output = grpo_loss(&config, &LossInput { old: None, ..data.input() }).unwrap();
            let rows = data.row_lens.len() as f64;
            let mut start = 0;
            for (&len, &advantage) in data.row_lens.iter().zip(&data.advantages) {
                let row = start..start + len;
                let n = data.mask[row.clone()].iter().filter(|m| **m).count() as f64;
                let share = match loss {
                    LossType::Grpo | LossType::Sapo | LossType::Gspo => 1.0 / (n * rows),
                    LossType::Luspo => 1.0 / rows,
                    LossType::DrGrpo => 1.0 / (rows * 8.0),
                    LossType::Bnpo | LossType::Dapo | LossType::Cispo | LossType::Vespo => 1.0 / tokens,
                };
                for t in row {
                    let want = if data.mask[t] { -advantage * share } else { 0.0 };
                    assert_close(&[output.d_logprobs[t]], &[want], 1e-12, &loss.to_string());
                }
                start += len;
            }
        }
    }

    /// What a fully masked row holds is never seen; and where the mean is over tokens, or the window counts the
    /// rows, its presence is not seen either.
    #[test]
    fn a_fully_masked_row_changes_nothing(data in batches(), advantage in -2.0..2.0) {
        let ghost = |lp: f64| vec![(false, lp, 0.3, 0.2, 0.1, 2.0); 3];
        for config in configs() {
            let mut with = data.clone();
            with.push(advantage, &ghost(-1.0));
            let mut other = data.clone();
            other.push(advantage, &ghost(-3.0));
            let (got, n) = (with.loss(&config), data.mask.len());
            prop_assert_eq!(&got, &other.loss(&config));
            prop_assert_eq!(&got.d_logprobs[n..], &[0.0; 3]);
            let window = data.window(&config);
            let [want, got] = [&data, &with].map(|d| grpo_loss(&config, &LossInput { window, ..d.input() }).unwrap());
            prop_assert_eq!(want.loss, got.loss);
            prop_assert_eq!(&want.d_logprobs[..], &got.d_logprobs[..n]);
        }
    }

    /// With one advantage per row, GSPO-token is GSPO, in value and gradient (its paper, section 4.3).
    #[test]
    fn gspo_token_is_gspo_for_row_advantages(data in batches()) {
        let gspo = GrpoConfig { epsilon_low: Some(0.1), epsilon_high: Some(0.2), ..base(LossType::Gspo) };
        let token = GrpoConfig { importance_sampling_level: Some(RatioLevel::SequenceToken), ..gspo.clone() };
        let (want, got) = (data.loss(&gspo), data.loss(&token));
        assert_close(&[got.loss], &[want.loss], 1e-12, "loss");
        assert_close(&got.d_logprobs, &want.d_logprobs, 1e-12, "d_logprobs");
    }

    /// Advantages repeated per token are advantages per row.
    #[test]
    fn token_advantages_extend_row_advantages(data in batches()) {
        let repeat = |(&len, &a): (&usize, &f64)| std::iter::repeat_n(a, len);
        let tokens: Vec<f64> = data.row_lens.iter().zip(&data.advantages).flat_map(repeat).collect();
        for config in configs() {
            let want = data.loss(&config);
            let got = grpo_loss(&config, &LossInput { advantages: Advantages::Tokens(&tokens), ..data.input() }).unwrap();
            prop_assert_eq!(want.loss, got.loss);
            prop_assert_eq!(want.d_logprobs, got.d_logprobs);
        }
    }
}
