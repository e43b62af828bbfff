//! The GRPO family of policy losses, as numbers in and slopes out.
//!
//! A loss here sees log-probs of the taken tokens, not logits: it is cheap, and all of it is plain `f64`. It
//! returns the scalar together with its analytic slopes in every log-prob and entropy; the network side turns
//! those into gradients ([`logits_gradient`] is the definition of that step). So there is one body to test
//! against references, whatever the network runs on.
//!
//! One loss is four choices: what an importance ratio belongs to ([`RatioLevel`]), the term per token
//! ([`LossType`]), what is added to or multiplied into it (KL, importance weights, masks), and how tokens are
//! reduced to a scalar (also [`LossType`]). Masked tokens are never read, so they may hold anything.

mod config;
mod constants;
mod logits;
mod stats;
mod terms;
#[cfg(test)]
mod tests;
mod weights;

pub use config::{
    CispoClamp, CorrectionLevel, GrpoConfig, ImportanceCorrection, KlEstimator, LossType, OutOfBounds,
    RatioLevel,
};
pub use constants::Constants;
pub use logits::{logits_gradient, logprob_and_entropy};
pub use stats::{ClipStats, LossStats, Mismatch};
pub use weights::entropy_threshold;

use config::Plan;
use stats::Tally;
use terms::{Kl, MAX_LOG_RATIO, Ratio, Surrogate};

use crate::error::{Error, Result};

/// Advantages of a batch: one per row, or one per token (as REINFORCE++ gives them).
#[derive(Clone, Copy, Debug)]
pub enum Advantages<'a> {
    /// `(b,)`.
    Rows(&'a [f64]),
    /// `(tokens,)`; those of masked tokens are never read.
    Tokens(&'a [f64]),
}

impl Advantages<'_> {
    fn at(&self, row: usize, token: usize) -> f64 {
        match self {
            Self::Rows(rows) => rows[row],
            Self::Tokens(tokens) => tokens[token],
        }
    }
}

/// Counts over the whole accumulation window, so that a loss does not depend on how the window was split.
///
/// Where one is `None`, every micro-batch is taken to be like this one: its own count times
/// [`GrpoConfig::accumulation_steps`] (its own count alone for bnpo's mean).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Rows; the divisor of grpo, sapo, luspo, gspo and dr_grpo. A caller that wants fully masked rows out of
    /// the mean (verl; TRL counts them) leaves them out here.
    pub rows: Option<f64>,
    /// Loss tokens (TRL's `num_items_in_batch`); the divisor of dapo, cispo and vespo.
    pub tokens: Option<f64>,
    /// Loss tokens of the batch over which bnpo takes its mean, which is one of
    /// [`GrpoConfig::accumulation_steps`] and may itself be split for want of memory.
    pub local_tokens: Option<f64>,
    /// Tokens in the entropy bonus: loss tokens, less those that the entropy mask drops.
    pub entropy_tokens: Option<f64>,
    /// The entropy from which on a token is kept, see [`entropy_threshold`]; else found in this micro-batch.
    pub entropy_threshold: Option<f64>,
}

/// One micro-batch of `b` rows of differing length, flattened: row 0's tokens, then row 1's, and so on.
///
/// Log-probs are in nats, of `logits / temperature`, at the taken tokens.
#[derive(Clone, Copy, Debug)]
pub struct LossInput<'a> {
    /// Tokens of each row, `(b,)`; their sum is `tokens`.
    pub row_lens: &'a [usize],
    /// True where the policy sampled the token, so that it bears the loss: not padding, not tool results. `(tokens,)`.
    pub mask: &'a [bool],
    /// Under the policy being trained. `(tokens,)`.
    pub logprobs: &'a [f64],
    /// Under the trainer's policy at sampling time, `(tokens,)`. `None` on the first update after sampling: the
    /// same values, so every ratio is 1.
    pub old: Option<&'a [f64]>,
    /// Under the frozen reference, `(tokens,)`. Needed unless `beta` is 0.
    pub reference: Option<&'a [f64]>,
    /// As the sampler reported them, `(tokens,)`; NaN where it did not. Needed by the importance correction.
    pub sampler: Option<&'a [f64]>,
    /// Entropies of the distributions the tokens were taken from, `(tokens,)`, nats. Needed by the entropy bonus
    /// and the entropy mask.
    pub entropies: Option<&'a [f64]>,
    /// How much better than its baseline each row (or token) did.
    pub advantages: Advantages<'a>,
    /// Counts over the accumulation window.
    pub window: Window,
}

/// A loss and its slopes.
#[derive(Clone, Debug, PartialEq)]
pub struct LossOutput {
    /// The scalar to minimise; the losses of a window's micro-batches add up.
    pub loss: f64,
    /// `d loss / d logprobs`, `(tokens,)`; exactly 0 where masked.
    pub d_logprobs: Vec<f64>,
    /// `d loss / d entropies`, `(tokens,)`; all 0 without an entropy bonus.
    pub d_entropies: Vec<f64>,
    /// For the log.
    pub stats: LossStats,
}

/// The loss of one micro-batch, and its slopes.
///
/// Per loss token, `term = surrogate * keep * rho + beta * kl`, where `keep` is 0 for rows dropped by the
/// off-policy mask and tokens below the entropy mask, and `rho` is the importance weight; then the terms are
/// reduced as [`LossType`] says, and the entropy bonus is subtracted.
///
/// Log-ratios are cut to 20 nats before `exp` (verl does the same, TRL does not): up to there the values are TRL's.
///
/// # Source
///
/// The formulas and their reductions are those of TRL's `GRPOTrainer._compute_loss` (1.16.0), which writes the
/// golden numbers; each variant's paper is named at its [`LossType`]. The variants that TRL lacks follow verl.
///
/// # Errors
///
/// What [`GrpoConfig::check`] returns; [`Error::Length`] if slices disagree; [`Error::Missing`] if the
/// configuration needs an input that is `None`; [`Error::NonFinite`] for a NaN or infinity at a loss token.
///
/// # Examples
///
/// ```
/// use toolr0_rl::loss::{Advantages, GrpoConfig, LossInput, Window, grpo_loss};
/// let config = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
/// let input = LossInput {
///     row_lens: &[2, 1],
///     mask: &[true; 3],
///     logprobs: &[-1.0, -2.0, -0.5],
///     old: None,
///     reference: None,
///     sampler: None,
///     entropies: None,
///     advantages: Advantages::Rows(&[1.0, -1.0]),
///     window: Window::default(),
/// };
/// let output = grpo_loss(&config, &input)?;
/// // On-policy the loss of a row is -A, and its slope is shared by its tokens.
/// assert_eq!(output.loss, 0.0);
/// assert_eq!(output.d_logprobs, [-0.25, -0.25, 0.5]);
/// # Ok::<(), toolr0_rl::Error>(())
/// ```
pub fn grpo_loss(config: &GrpoConfig, input: &LossInput<'_>) -> Result<LossOutput> {
    let plan = config.plan()?;
    input.check(config)?;
    let keep = entropy_mask(config, input);
    let mut batch = Batch {
        config,
        plan,
        input,
        keep,
        tokens: input.mask.iter().filter(|&&m| m).count(),
        loss: 0.0,
        d_logprobs: vec![0.0; input.logprobs.len()],
        tally: Tally::default(),
        masked: 0,
        stats: LossStats { rows: input.row_lens.len(), ..LossStats::default() },
    };
    let mut start = 0;
    for (row, &len) in input.row_lens.iter().enumerate() {
        let loss_tokens: Vec<usize> = (start..start + len).filter(|&t| input.mask[t]).collect();
        batch.row(row, &loss_tokens);
        start += len;
    }
    Ok(batch.finish())
}

/// Whether each token stays in the policy loss and the entropy bonus: masked in, and of high entropy.
fn entropy_mask(config: &GrpoConfig, input: &LossInput<'_>) -> Vec<bool> {
    let share = config.top_entropy_quantile;
    match input.entropies {
        Some(entropies) if share < 1.0 => {
            let own = || entropy_threshold(entropies, input.mask, share).unwrap_or(f64::INFINITY);
            let threshold = input.window.entropy_threshold.unwrap_or_else(own);
            input.mask.iter().zip(entropies).map(|(&m, &h)| m && h >= threshold).collect()
        }
        _ => input.mask.to_vec(),
    }
}

/// How summed token terms become the scalar: a row's are divided by `divisor`, and by its own loss tokens where the
/// loss is a mean over rows of means over tokens.
#[derive(Clone, Copy, Debug)]
struct Reduction {
    mean_over_row: bool,
    divisor: f64,
}

impl GrpoConfig {
    /// For a micro-batch of `rows` rows with `tokens` loss tokens.
    fn reduction(&self, window: &Window, rows: usize, tokens: usize) -> Reduction {
        let steps = self.accumulation_steps as f64;
        let rows = window.rows.unwrap_or(rows as f64 * steps).max(1.0);
        let all = tokens.max(1) as f64;
        let divisor = match self.loss_type {
            LossType::Grpo | LossType::Sapo | LossType::Gspo | LossType::Luspo => rows,
            LossType::DrGrpo => {
                let length = self.max_completion_length.expect("the checked config of dr_grpo has a length");
                rows * length as f64
            }
            LossType::Bnpo => window.local_tokens.unwrap_or(all).max(1.0) * steps,
            LossType::Dapo | LossType::Cispo | LossType::Vespo => {
                window.tokens.unwrap_or(all * steps).max(1.0)
            }
        };
        let mean_over_row = matches!(self.loss_type, LossType::Grpo | LossType::Sapo | LossType::Gspo);
        Reduction { mean_over_row, divisor }
    }
}

/// A micro-batch on its way to a scalar.
struct Batch<'a> {
    config: &'a GrpoConfig,
    plan: Plan,
    input: &'a LossInput<'a>,
    keep: Vec<bool>,
    tokens: usize,
    loss: f64,
    d_logprobs: Vec<f64>,
    tally: Tally,
    /// Loss tokens whose importance weight is 0.
    masked: usize,
    stats: LossStats,
}

impl Batch<'_> {
    /// What a row's summed token terms are multiplied by; `n` is its number of loss tokens.
    fn row_scale(&self, n: usize) -> f64 {
        let Reduction { mean_over_row, divisor } =
            self.config.reduction(&self.input.window, self.input.row_lens.len(), self.tokens);
        if mean_over_row { 1.0 / (n.max(1) as f64 * divisor) } else { 1.0 / divisor }
    }

    /// Adds one row, given the flat indices of its loss tokens.
    fn row(&mut self, row: usize, tokens: &[usize]) {
        let input = self.input;
        let take = |from: &[f64]| tokens.iter().map(|&t| from[t]).collect::<Vec<_>>();
        let logprobs = take(input.logprobs);
        let old = take(input.old.unwrap_or(input.logprobs));
        let n = tokens.len();
        let logs: Vec<f64> = logprobs.iter().zip(&old).map(|(lp, old)| lp - old).collect();
        let mean_log = logs.iter().sum::<f64>() / n.max(1) as f64;

        let mut log_weight: f64 = logs.iter().map(|log| log.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)).sum();
        let mut rho = vec![1.0; n];
        if let Some(sampler) = input.sampler.map(take) {
            weights::observe(self.stats.mismatch.get_or_insert_default(), &old, &sampler);
            if let Some(correction) = &self.config.importance_correction {
                let weights = correction.weights(&old, &sampler);
                self.masked += weights.iter().filter(|&&w| w == 0.0).count();
                match self.config.loss_type {
                    LossType::Vespo => log_weight += weights::sum_of_logs(&weights),
                    _ => rho = weights,
                }
            }
        }
        let stale = self.config.off_policy_mask_threshold.is_some_and(|threshold| {
            let reported = input.sampler.map_or_else(|| old.clone(), take);
            weights::off_policy_drift(&logprobs, &reported) > threshold
        });
        if stale && tokens.iter().any(|&t| input.advantages.at(row, t) < 0.0) {
            self.stats.off_policy_rows += 1;
        }

        let scale = self.row_scale(n);
        let level = self.plan.level;
        let sequence = Ratio::from_log(mean_log);
        let per_row = level == RatioLevel::Sequence && matches!(input.advantages, Advantages::Rows(_));
        let start = self.tally.clone();
        if per_row {
            self.observe_ratio(input.advantages.at(row, 0), sequence);
        }
        let (mut d_sequence, mut phi) = (0.0, 0.0);
        for (i, &t) in tokens.iter().enumerate() {
            let a = input.advantages.at(row, t);
            let ratio = if level == RatioLevel::Token { Ratio::from_log(logs[i]) } else { sequence };
            if !per_row {
                self.observe_ratio(a, ratio);
            }
            phi += self.plan.surrogate.phi(a, log_weight);
            let dropped = !self.keep[t] || (stale && a < 0.0);
            let factor = if dropped { 0.0 } else { rho[i] };
            let policy = self.plan.surrogate.term(a, logprobs[i], ratio, log_weight);
            let mut value = factor * policy.value;
            let mut d_log_ratio = factor * policy.d_log_ratio;
            let mut d_logprob = factor * policy.d_logprob;
            if let Some(reference) = input.reference {
                let kl = self.plan.kl.unwrap_or(Kl::LOGGED).term(logprobs[i], reference[t], ratio);
                let beta = self.plan.kl.map_or(0.0, |kl| kl.beta);
                self.tally.kl += kl.value;
                value += beta * kl.value;
                d_log_ratio += beta * kl.d_log_ratio;
                d_logprob += beta * kl.d_logprob;
            }
            self.loss += scale * value;
            self.d_logprobs[t] = scale * d_logprob;
            match level {
                RatioLevel::Sequence => d_sequence += scale * d_log_ratio,
                RatioLevel::Token | RatioLevel::SequenceToken => self.d_logprobs[t] += scale * d_log_ratio,
            }
        }
        // The log sequence ratio is a mean, so each of its tokens has slope 1 / n in it.
        if level == RatioLevel::Sequence {
            tokens.iter().for_each(|&t| self.d_logprobs[t] += d_sequence / n as f64);
        }
        self.tally.tokens += n;
        self.tally.phi += match (n, input.advantages) {
            (0, Advantages::Rows(rows)) => self.plan.surrogate.phi(rows[row], log_weight),
            _ => phi / n.max(1) as f64,
        };
        self.tally.close_row(&start);
    }

    fn observe_ratio(&mut self, a: f64, ratio: Ratio) {
        let beyond = self.config.delta.is_some_and(|delta| ratio.value > delta);
        self.tally.item(ratio.value, self.plan.surrogate.clipped(a, ratio.value), beyond);
    }

    /// Subtracts the entropy bonus and closes the statistics.
    fn finish(self) -> LossOutput {
        let Self { config, input, keep, tally, mut stats, plan, .. } = self;
        let (mut loss, mut d_entropies) = (self.loss, vec![0.0; input.mask.len()]);
        stats.policy_loss = loss;
        let kept = keep.iter().filter(|&&k| k).count();
        if let Some(entropies) = input.entropies {
            let all: f64 = entropies.iter().zip(input.mask).filter(|&(_, &m)| m).map(|(h, _)| h).sum();
            stats.entropy = Some(Tally::mean(all, tally.tokens));
            if config.entropy_coef != 0.0 {
                let steps = config.accumulation_steps as f64;
                let count = input.window.entropy_tokens.unwrap_or(kept.max(1) as f64 * steps).max(1.0);
                let slope = -config.entropy_coef / count;
                for ((d, &h), _) in d_entropies.iter_mut().zip(entropies).zip(&keep).filter(|&(_, &k)| k) {
                    *d = slope;
                    loss += slope * h;
                }
            }
        }
        stats.tokens = tally.tokens;
        stats.items = tally.items;
        stats.entropy_kept = if tally.tokens == 0 { 1.0 } else { kept as f64 / tally.tokens as f64 };
        stats.ratio = Tally::mean(tally.ratio, tally.items);
        stats.kl = input.reference.map(|_| Tally::mean(tally.kl, tally.tokens));
        stats.delta_share = config.delta.map(|_| Tally::mean(tally.beyond_delta, tally.items));
        match plan.surrogate {
            Surrogate::Clip { .. } => stats.clip = Some(tally.clip()),
            Surrogate::Cispo { .. } => {
                stats.cispo_clip = Some(Tally::mean(tally.low + tally.high, tally.items))
            }
            Surrogate::Vespo { .. } => stats.vespo_phi = Some(Tally::mean(tally.phi, stats.rows)),
            Surrogate::Sapo { .. } => {}
        }
        if let Some(mismatch) = &mut stats.mismatch {
            mismatch.masked = Tally::mean(self.masked as f64, tally.tokens);
        }
        LossOutput { loss, d_logprobs: self.d_logprobs, d_entropies, stats }
    }
}

impl Kl {
    /// What is logged when the loss has no KL term but reference log-probs are at hand.
    const LOGGED: Self = Self { beta: 0.0, estimator: KlEstimator::K3, by_ratio: false };
}

impl LossInput<'_> {
    /// Lengths, presence of what the configuration needs, and finiteness at loss tokens.
    fn check(&self, config: &GrpoConfig) -> Result<()> {
        let tokens = self.row_lens.iter().sum();
        let length = |name, got: usize, expected: usize| match got == expected {
            true => Ok(()),
            false => Err(Error::Length { name, expected, got }),
        };
        length("mask", self.mask.len(), tokens)?;
        match self.advantages {
            Advantages::Rows(rows) => length("advantages", rows.len(), self.row_lens.len())?,
            Advantages::Tokens(values) => length("advantages", values.len(), tokens)?,
        }
        let given: [(&'static str, Option<&[f64]>); 5] = [
            ("logprobs", Some(self.logprobs)),
            ("old", self.old),
            ("reference", self.reference),
            ("sampler", self.sampler),
            ("entropies", self.entropies),
        ];
        for (name, values) in given {
            let Some(values) = values else { continue };
            length(name, values.len(), tokens)?;
            let unscored = |x: f64| name == "sampler" && x.is_nan();
            let bad = |(idx, x): (usize, &f64)| self.mask[idx] && !x.is_finite() && !unscored(*x);
            if let Some(idx) = values.iter().enumerate().position(bad) {
                return Err(Error::NonFinite { name, idx, value: values[idx] });
            }
        }
        self.check_advantages()?;
        let needs = |name, present: bool, user: &str| match present {
            true => Ok(()),
            false => Err(Error::Missing { name, user: user.to_owned() }),
        };
        needs("reference", self.reference.is_some() || !config.needs_reference(), "a loss with `beta` > 0")?;
        let entropies = self.entropies.is_some() || !config.needs_entropies();
        needs("entropies", entropies, "the entropy bonus or mask")?;
        let sampler = self.sampler.is_some() || config.importance_correction.is_none();
        needs("sampler", sampler, "the importance correction")
    }

    fn check_advantages(&self) -> Result<()> {
        let non_finite = |idx, value| Err(Error::NonFinite { name: "advantages", idx, value });
        match self.advantages {
            Advantages::Rows(rows) => match rows.iter().position(|a| !a.is_finite()) {
                Some(idx) => non_finite(idx, rows[idx]),
                None => Ok(()),
            },
            Advantages::Tokens(values) => {
                let bad = |(idx, a): (usize, &f64)| self.mask[idx] && !a.is_finite();
                match values.iter().enumerate().position(bad) {
                    Some(idx) => non_finite(idx, values[idx]),
                    None => Ok(()),
                }
            }
        }
    }
}
