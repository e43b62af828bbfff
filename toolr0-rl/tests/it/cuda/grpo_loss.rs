//! Cases of `grpo_loss.cu`: every loss, every option, and rows that break careless kernels.

use toolr0_rl::kernels::cuda::launch::{
    Batch, Element, LossBuffers, Rows, SEQUENCE_BYTES, grpo_loss, grpo_sequences, token_logprobs,
};
use toolr0_rl::kernels::grpo_loss::reference;
use toolr0_rl::loss::{
    Advantages, CispoClamp, CorrectionLevel, GrpoConfig, ImportanceCorrection, KlEstimator, LossInput,
    LossType, OutOfBounds, RatioLevel, Window, entropy_threshold, logprob_and_entropy,
};

use super::{Runner, close, decode, encode, f32s, f64s, nasty_rows, noise, rounding, to_f64s, u32s};

pub(super) fn check(runner: &dyn Runner) -> Result<(), String> {
    let small = Case::of(&nasty_rows(7), Element::F32, 1.0);
    for (name, config) in configs() {
        check_case(runner, &name, &small, &config)?;
    }
    let plain = GrpoConfig { beta: 0.1, entropy_coef: 0.01, ..GrpoConfig::default() };
    let sequence = GrpoConfig { loss_type: LossType::Gspo, epsilon_low: Some(0.2), ..GrpoConfig::default() };
    for element in [Element::F32, Element::Bf16, Element::F16] {
        for v in [1, 7, 8, 1001] {
            let hot = GrpoConfig { temperature: 0.7, ..plain.clone() };
            check_case(runner, &format!("v = {v}"), &Case::of(&nasty_rows(v), element, 0.7), &hot)?;
            check_case(runner, &format!("v = {v}"), &Case::of(&nasty_rows(v), element, 1.0), &sequence)?;
        }
    }
    let rows = nasty_rows(151_936);
    check_case(runner, "v = 151,936", &Case::of(&rows[..4], Element::Bf16, 1.0), &plain)?;
    check_case(runner, "v = 151,936", &Case::of(&rows[5..], Element::F32, 1.0), &sequence)?;
    on_policy(runner)?;
    masked_rows_are_not_read(runner)
}

/// Every loss with its defaults, then every option at a loss that has it.
fn configs() -> Vec<(String, GrpoConfig)> {
    use LossType::*;
    let of = |loss_type| GrpoConfig {
        loss_type,
        max_completion_length: (loss_type == DrGrpo).then_some(9),
        ..GrpoConfig::default()
    };
    let mut all: Vec<(String, GrpoConfig)> = [Grpo, Bnpo, DrGrpo, Dapo, Cispo, Sapo, Luspo, Vespo, Gspo]
        .map(|loss| (format!("{loss}"), of(loss)))
        .into();
    let mut add = |name: &str, config| all.push((name.to_owned(), config));
    let plain = of(Grpo);
    add("no kl", GrpoConfig { beta: 0.0, ..plain.clone() });
    add("delta", GrpoConfig { delta: Some(1.5), ..plain.clone() });
    add("clip-higher", GrpoConfig { epsilon_high: Some(0.28), ..plain.clone() });
    add("cispo, both", GrpoConfig { cispo_clamp: Some(CispoClamp::Both), ..of(Cispo) });
    add("entropy bonus", GrpoConfig { entropy_coef: 0.3, ..plain.clone() });
    add("stale rows", GrpoConfig { off_policy_mask_threshold: Some(0.05), ..plain.clone() });
    add("accumulated", GrpoConfig { accumulation_steps: 3, ..of(Dapo) });
    for level in [RatioLevel::Sequence, RatioLevel::SequenceToken] {
        for loss in [Grpo, Sapo, Cispo] {
            let config = GrpoConfig { importance_sampling_level: Some(level), ..of(loss) };
            add(&format!("{loss} by {level:?}"), config);
        }
    }
    for kl in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3, KlEstimator::K3Plus] {
        for loss in [Grpo, Gspo] {
            let config =
                GrpoConfig { beta: 0.2, kl: Some(kl), use_bias_correction_kl: loss == Gspo, ..of(loss) };
            add(&format!("{loss}, {kl:?}"), config);
        }
    }
    for level in [CorrectionLevel::Token, CorrectionLevel::Sequence] {
        for out_of_bounds in [OutOfBounds::Truncate, OutOfBounds::Mask] {
            for loss in [Grpo, Vespo].into_iter().take(if level == CorrectionLevel::Token { 2 } else { 1 }) {
                let correction =
                    Some(ImportanceCorrection { level, out_of_bounds, min: Some(0.8), max: Some(1.1) });
                let config = GrpoConfig { importance_correction: correction, ..of(loss) };
                add(&format!("{loss}, {level:?} {out_of_bounds:?}"), config);
            }
        }
    }
    add("entropy mask", GrpoConfig { top_entropy_quantile: 0.5, entropy_coef: -0.1, ..plain });
    all
}

/// A batch: sequences of 3, 2, 0, 1, 2 and the remaining tokens, the fourth of them masked wholly.
struct Case {
    element: Element,
    v: usize,
    logits: Vec<f32>,
    targets: Vec<u32>,
    row_lens: Vec<usize>,
    mask: Vec<bool>,
    old: Vec<f32>,
    reference: Vec<f32>,
    sampler: Vec<f32>,
    advantages: Vec<f32>,
}

impl Case {
    fn of(rows: &[(Vec<f32>, u32)], element: Element, temperature: f64) -> Self {
        let (v, tokens) = (rows[0].0.len(), rows.len());
        let logits: Vec<f32> =
            rows.iter().flat_map(|(row, _)| decode(element, &encode(element, row))).collect();
        let mut row_lens = Vec::new();
        let mut left = tokens;
        for len in [3, 2, 0, 1, 2, tokens] {
            row_lens.push(len.min(left));
            left -= len.min(left);
        }
        let score = |(row, (_, y)): (&[f32], &(Vec<f32>, u32))| {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            logprob_and_entropy(&row, *y as usize, temperature).0 as f32
        };
        let logprobs: Vec<f32> = logits.chunks_exact(v).zip(rows).map(score).collect();
        // A loss has no meaning where the policy could not have taken the token.
        let mask = logprobs.iter().enumerate().map(|(i, lp)| lp.is_finite() && i != 5).collect();
        let near = |seed, size| -> Vec<f32> {
            noise(tokens, seed).iter().zip(&logprobs).map(|(x, lp)| lp + size * x).collect()
        };
        let mut sampler = near(23, 0.5);
        sampler[0] = f32::NAN;
        let sign = |(i, x): (usize, f32)| if i % 2 == 0 { x.abs() + 0.1 } else { -x.abs() - 0.1 };
        Self {
            element,
            v,
            logits,
            targets: rows.iter().map(|row| row.1).collect(),
            row_lens,
            mask,
            old: near(21, 0.6),
            reference: near(22, 0.8),
            sampler,
            advantages: noise(tokens, 24).into_iter().enumerate().map(sign).collect(),
        }
    }

    fn want(&self, config: &GrpoConfig, window: Window) -> (f64, Vec<f64>) {
        let exact = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let (old, reference_logprobs, sampler) =
            (exact(&self.old), exact(&self.reference), exact(&self.sampler));
        let input = LossInput {
            row_lens: &self.row_lens,
            mask: &self.mask,
            logprobs: &[],
            old: Some(&old),
            reference: Some(&reference_logprobs),
            sampler: Some(&sampler),
            entropies: None,
            advantages: Advantages::Tokens(&exact(&self.advantages)),
            window,
        };
        let (output, gradient) = reference(config, &self.logits, &self.targets, self.v, &input).unwrap();
        (output.loss, gradient)
    }

    /// What the whole batch says of its tokens: with an entropy mask, where it begins and how many it keeps.
    fn window(&self, config: &GrpoConfig) -> Window {
        if config.top_entropy_quantile == 1.0 {
            return Window::default();
        }
        let entropy = |(i, row): (usize, &[f32])| {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            logprob_and_entropy(&row, self.targets[i] as usize, config.temperature).1
        };
        let all: Vec<f64> = self.logits.chunks_exact(self.v).enumerate().map(entropy).collect();
        // Between two entropies, so that the last digit of neither decides.
        let threshold = entropy_threshold(&all, &self.mask, config.top_entropy_quantile).unwrap() - 1e-4;
        let kept = all.iter().zip(&self.mask).filter(|(h, m)| **m && **h >= threshold).count();
        Window { entropy_threshold: Some(threshold), entropy_tokens: Some(kept as f64), ..Window::default() }
    }

    /// The buffers that both launches take, from token `from` on.
    fn batch(&self, constants: &[f64], from: usize) -> (Batch<usize>, Vec<Vec<u8>>) {
        let names =
            Batch { old: 0, reference: Some(1), sampler: Some(2), advantages: 3, mask: 4, constants: 5 };
        let mask: Vec<u8> = self.mask[from..].iter().map(|m| u8::from(*m)).collect();
        let buffers = vec![
            f32s(&self.old[from..]),
            f32s(&self.reference[from..]),
            f32s(&self.sampler[from..]),
            f32s(&self.advantages[from..]),
            mask,
            f64s(constants),
        ];
        (names, buffers)
    }

    fn rows(&self, from: usize) -> Rows {
        Rows { rows: self.mask.len() - from, v: self.v, stride: self.v }
    }

    /// The forward pass, where the loss needs one, and the sums of each sequence.
    fn sequences(
        &self,
        runner: &dyn Runner,
        config: &GrpoConfig,
        constants: &[f64],
    ) -> Result<Vec<u8>, String> {
        let tokens = self.mask.len();
        let (batch, mut buffers) = self.batch(constants, 0);
        let scores = if config.needs_scores() {
            let launch =
                token_logprobs(self.element, [0, 1, 2], self.rows(0), config.temperature, runner.limits());
            let own = [encode(self.element, &self.logits), u32s(&self.targets), vec![0xff; tokens * 8]];
            buffers.push(runner.run(&launch, &own)?[0][2].clone());
            Some(buffers.len() - 1)
        } else {
            None
        };
        let mut offsets = vec![0u64];
        self.row_lens.iter().for_each(|len| offsets.push(offsets.last().unwrap() + *len as u64));
        let n = self.row_lens.len();
        buffers.push(offsets.iter().flat_map(|o| o.to_le_bytes()).collect());
        buffers.push(vec![0xff; n * SEQUENCE_BYTES]);
        let at = buffers.len();
        let launch = grpo_sequences(batch, scores, at - 2, at - 1, n, runner.limits());
        Ok(runner.run(&launch, &buffers)?.swap_remove(0).pop().expect("it is the last"))
    }

    /// Gradient, losses and scores of the tokens from `from` on, of every run.
    #[expect(clippy::type_complexity, reason = "what the kernel writes, one by one")]
    fn loss(
        &self,
        runner: &dyn Runner,
        config: &GrpoConfig,
        constants: &[f64],
        sequences: &[u8],
        from: usize,
    ) -> Result<Vec<(Vec<f32>, Vec<f64>, Vec<f32>)>, String> {
        let tokens = self.mask.len() - from;
        let (batch, mut buffers) = self.batch(constants, from);
        let of: Vec<u32> =
            self.row_lens.iter().enumerate().flat_map(|(i, len)| vec![i as u32; *len]).collect();
        let first = buffers.len();
        buffers.extend([
            encode(self.element, &self.logits[from * self.v..]),
            u32s(&self.targets[from..]),
            u32s(&of[from..]),
            sequences.to_vec(),
            vec![0xff; tokens * 8],
            vec![0xff; tokens * 8],
        ]);
        let names = LossBuffers {
            logits: first,
            targets: first + 1,
            sequence_of: first + 2,
            sequences: first + 3,
            scores: first + 4,
            losses: first + 5,
        };
        let launch =
            grpo_loss(self.element, names, batch, self.rows(from), config.temperature, runner.limits());
        let runs = runner.run(&launch, &buffers)?.into_iter();
        Ok(runs
            .map(|run| {
                let gradient = decode(self.element, &run[first]);
                (gradient, to_f64s(&run[first + 5]), decode(Element::F32, &run[first + 4]))
            })
            .collect())
    }

    fn constants(&self, config: &GrpoConfig, window: &Window) -> Vec<f64> {
        let tokens = self.mask.iter().filter(|m| **m).count();
        config.constants(window, self.row_lens.len(), tokens).unwrap().into()
    }
}

fn check_case(runner: &dyn Runner, name: &str, case: &Case, config: &GrpoConfig) -> Result<(), String> {
    let name = format!("{name}, {:?}", case.element);
    let window = case.window(config);
    let constants = case.constants(config, &window);
    let (want_loss, want) = case.want(config, window);
    let sequences = case.sequences(runner, config, &constants)?;
    let largest = want.iter().fold(0f64, |m, g| m.max(g.abs()));
    let whole = case.loss(runner, config, &constants, &sequences, 0)?;
    for (gradient, losses, _) in &whole {
        let size: f64 = 1.0 + losses.iter().map(|l| l.abs()).sum::<f64>();
        close(&format!("{name}: loss"), 0, losses.iter().sum(), want_loss, 1e-5 * size)?;
        for (i, (got, want)) in gradient.iter().zip(&want).enumerate() {
            // f16 has steps of 6e-8 near zero.
            let least = if case.element == Element::F16 { 4e-8 } else { 0.0 };
            let tolerance = rounding(case.element) * want.abs() + 5e-6 * largest + least;
            close(&format!("{name}: d logits"), i, f64::from(*got), *want, tolerance)?;
        }
    }
    // A chunk that begins in the middle of a sequence: the same bits.
    let from = 1;
    for (gradient, losses, _) in case.loss(runner, config, &constants, &sequences, from)? {
        let aligned = (case.v * case.element.size()).is_multiple_of(16);
        if losses.len() + from != whole[0].1.len() || aligned && gradient[..] != whole[0].0[from * case.v..] {
            return Err(format!("{name}: chunks have other bits than the whole"));
        }
    }
    Ok(())
}

/// Right after sampling the ratio is exactly 1, to the bit: what one kernel scored, the other finds again.
fn on_policy(runner: &dyn Runner) -> Result<(), String> {
    let config = GrpoConfig { beta: 0.0, loss_type: LossType::Dapo, ..GrpoConfig::default() };
    // More words than a block has threads.
    let mut case = Case::of(&nasty_rows(4001), Element::Bf16, 1.0);
    let launch = token_logprobs(case.element, [0, 1, 2], case.rows(0), 1.0, runner.limits());
    let own = [encode(case.element, &case.logits), u32s(&case.targets), vec![0; case.mask.len() * 8]];
    let scores = decode(Element::F32, &runner.run(&launch, &own)?[0][2]);
    case.old = scores.iter().step_by(2).copied().collect();
    let constants = case.constants(&config, &Window::default());
    let sequences = case.sequences(runner, &config, &constants)?;
    let tokens = case.mask.iter().filter(|m| **m).count() as f64;
    // The first run has its buffers where the forward pass had them.
    let (_, losses, again) = case.loss(runner, &config, &constants, &sequences, 0)?.swap_remove(0);
    for (i, loss) in losses.iter().enumerate().filter(|(i, _)| case.mask[*i]) {
        if scores[2 * i..2 * i + 2] != again[2 * i..2 * i + 2] {
            return Err(format!(
                "token {i}: scored {:?}, found again {:?}",
                &scores[2 * i..],
                &again[2 * i..]
            ));
        }
        close("on policy", i, *loss, -f64::from(case.advantages[i]) * (1.0 / tokens), 0.0)?;
    }
    Ok(())
}

/// A masked token may hold anything.
fn masked_rows_are_not_read(runner: &dyn Runner) -> Result<(), String> {
    let config = GrpoConfig { loss_type: LossType::Luspo, ..GrpoConfig::default() };
    let mut case = Case::of(&nasty_rows(33), Element::F32, 1.0);
    for i in [0, 5] {
        case.mask[i] = false;
        case.logits[i * 33..(i + 1) * 33].fill(f32::NAN);
        case.targets[i] = u32::MAX;
        for values in [&mut case.old, &mut case.reference, &mut case.sampler, &mut case.advantages] {
            values[i] = f32::NAN;
        }
    }
    check_case(runner, "masked rows of garbage", &case, &config)?;
    case.mask.fill(false);
    check_case(runner, "nothing but masked rows", &case, &config)
}
