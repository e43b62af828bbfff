//! What a step logs about its loss.

use serde::Serialize;

use super::terms::MAX_LOG_RATIO;

/// Statistics of one micro-batch, or of several after [`LossStats::merge`]. Nothing here has a gradient.
///
/// "Items" are what ratios belong to: loss tokens, or rows at the sequence level. Like TRL, the sequence
/// level counts a fully masked row as an item of ratio 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LossStats {
    /// Rows, fully masked ones included.
    pub rows: usize,
    /// Loss tokens.
    pub tokens: usize,
    /// Number of ratios: loss tokens, or rows at the sequence level.
    pub items: usize,
    /// The returned loss without the entropy bonus, on the same scale: micro-batches add up.
    pub policy_loss: f64,
    /// Mean entropy over loss tokens, nats; `None` without entropies.
    pub entropy: Option<f64>,
    /// Mean KL to the reference over loss tokens, nats, by the configured estimator (k3 when `beta` is 0) and
    /// times the ratio under the bias correction; `None` without reference log-probs.
    pub kl: Option<f64>,
    /// Mean importance ratio to the old policy over items.
    pub ratio: f64,
    /// Of the clipped losses.
    pub clip: Option<ClipStats>,
    /// Share of items whose ratio exceeds `delta`; `None` without it.
    pub delta_share: Option<f64>,
    /// Share of items whose ratio is above CISPO's clamp with a positive advantage, or below it with a negative
    /// one; `None` for other losses.
    pub cispo_clip: Option<f64>,
    /// Mean of VESPO's weight over rows; `None` for other losses.
    pub vespo_phi: Option<f64>,
    /// Rows that the off-policy mask dropped, wholly or in part.
    pub off_policy_rows: usize,
    /// Share of loss tokens kept by the entropy mask; 1 without one.
    pub entropy_kept: f64,
    /// Trainer against sampler; `None` without sampler log-probs.
    pub mismatch: Option<Mismatch>,
}

/// Shares of items at which clipping took the gradient away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClipStats {
    /// Ratio below `1 - epsilon_low` with a negative advantage.
    pub low: f64,
    /// Ratio above `1 + epsilon_high` with a positive advantage.
    pub high: f64,
    /// Either.
    pub region: f64,
    /// The smallest share per row of `low`, over rows with loss tokens.
    pub low_min: f64,
    /// The largest share per row of `high`, over rows with loss tokens.
    pub high_max: f64,
}

/// How far the sampler's log-probs are from the trainer's at the same weights, over loss tokens that the
/// sampler scored. `rho = exp(old - sampler)`, before any bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mismatch {
    /// Tokens compared.
    pub tokens: usize,
    /// Mean `|old - sampler|`, nats.
    pub gap_mean: f64,
    /// Largest `|old - sampler|`, nats.
    pub gap_max: f64,
    /// Smallest `rho`.
    pub ratio_min: f64,
    /// Mean `rho`.
    pub ratio_mean: f64,
    /// Largest `rho`.
    pub ratio_max: f64,
    /// Mean `rho - ln(rho) - 1`: the k3 estimate of `KL(sampler || trainer)`, as prime-rl logs it.
    pub kl: f64,
    /// Share of loss tokens whose importance weight is exactly 0; 0 without a correction.
    pub masked: f64,
}

/// `(a * na + b * nb) / (na + nb)`, 0 if both counts are.
fn mean(a: f64, na: usize, b: f64, nb: usize) -> f64 {
    match na + nb {
        0 => 0.0,
        n => (a * na as f64 + b * nb as f64) / n as f64,
    }
}

fn mean_option(a: Option<f64>, na: usize, b: Option<f64>, nb: usize) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(mean(a, na, b, nb)),
        (a, b) => a.or(b),
    }
}

impl LossStats {
    /// Folds in another micro-batch of the same configuration, each mean weighted by its own count.
    pub fn merge(&mut self, other: &Self) {
        let (rows, tokens, items) = (self.rows, self.tokens, self.items);
        self.entropy = mean_option(self.entropy, tokens, other.entropy, other.tokens);
        self.kl = mean_option(self.kl, tokens, other.kl, other.tokens);
        self.ratio = mean(self.ratio, items, other.ratio, other.items);
        self.delta_share = mean_option(self.delta_share, items, other.delta_share, other.items);
        self.cispo_clip = mean_option(self.cispo_clip, items, other.cispo_clip, other.items);
        self.vespo_phi = mean_option(self.vespo_phi, rows, other.vespo_phi, other.rows);
        self.entropy_kept = mean(self.entropy_kept, tokens, other.entropy_kept, other.tokens);
        self.clip = match (self.clip, other.clip) {
            (Some(a), Some(b)) if items > 0 && other.items > 0 => Some(ClipStats {
                low: mean(a.low, items, b.low, other.items),
                high: mean(a.high, items, b.high, other.items),
                region: mean(a.region, items, b.region, other.items),
                low_min: a.low_min.min(b.low_min),
                high_max: a.high_max.max(b.high_max),
            }),
            (a, b) => {
                if items > 0 {
                    a.or(b)
                } else {
                    b.or(a)
                }
            }
        };
        self.mismatch = match (self.mismatch.take(), &other.mismatch) {
            (Some(mut a), Some(b)) => {
                a.merge(b, tokens, other.tokens);
                Some(a)
            }
            (a, b) => a.or_else(|| b.clone()),
        };
        self.policy_loss += other.policy_loss;
        self.off_policy_rows += other.off_policy_rows;
        self.rows += other.rows;
        self.tokens += other.tokens;
        self.items += other.items;
    }
}

impl Mismatch {
    /// Compares the log-probs of `trainer` and `sampler` where `mask` is true.
    pub(crate) fn between(trainer: &[f64], sampler: &[f64], mask: &[bool]) -> Self {
        let mut out = Self::default();
        for ((trainer, sampler), _) in trainer.iter().zip(sampler).zip(mask).filter(|(_, m)| **m) {
            let gap = trainer - sampler;
            out.add(gap, gap.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp());
        }
        out
    }

    /// Folds in one token with a running mean.
    pub(super) fn add(&mut self, gap: f64, rho: f64) {
        let one = Self {
            tokens: 1,
            gap_mean: gap.abs(),
            gap_max: gap.abs(),
            ratio_min: rho,
            ratio_mean: rho,
            ratio_max: rho,
            kl: rho - rho.ln() - 1.0,
            masked: 0.0,
        };
        self.merge(&one, 0, 0);
    }

    /// `loss_tokens` of both sides weight `masked`, which is a share of them.
    fn merge(&mut self, other: &Self, loss_tokens: usize, other_loss_tokens: usize) {
        let (na, nb) = (self.tokens, other.tokens);
        // A side without tokens has no smallest ratio.
        (self.ratio_min, self.ratio_max) = match (na, nb) {
            (_, 0) => (self.ratio_min, self.ratio_max),
            (0, _) => (other.ratio_min, other.ratio_max),
            _ => (self.ratio_min.min(other.ratio_min), self.ratio_max.max(other.ratio_max)),
        };
        self.gap_mean = mean(self.gap_mean, na, other.gap_mean, nb);
        self.gap_max = self.gap_max.max(other.gap_max);
        self.ratio_mean = mean(self.ratio_mean, na, other.ratio_mean, nb);
        self.kl = mean(self.kl, na, other.kl, nb);
        self.masked = mean(self.masked, loss_tokens, other.masked, other_loss_tokens);
        self.tokens = na + nb;
    }
}

/// Running sums of a micro-batch, turned into [`LossStats`] at its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) kl: f64,
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) beyond_delta: f64,
    pub(super) phi: f64,
    pub(super) low_min: Option<f64>,
    pub(super) high_max: Option<f64>,
    pub(super) tokens: usize,
    pub(super) items: usize,
}

impl Tally {
    /// Adds one ratio, with whether it is clipped below or above.
    pub(super) fn item(&mut self, ratio: f64, clipped: (bool, bool), beyond_delta: bool) {
        self.items += 1;
        self.ratio += ratio;
        self.low += f64::from(u8::from(clipped.0));
        self.high += f64::from(u8::from(clipped.1));
        self.beyond_delta += f64::from(u8::from(beyond_delta));
    }

    /// Closes a row that began when the tally was `start`, for the extremes per row. A row without items has no
    /// share of its own and sets none.
    pub(super) fn close_row(&mut self, start: &Self) {
        let items = (self.items - start.items) as f64;
        if items > 0.0 {
            let (low, high) = ((self.low - start.low) / items, (self.high - start.high) / items);
            self.low_min = Some(self.low_min.map_or(low, |x| x.min(low)));
            self.high_max = Some(self.high_max.map_or(high, |x| x.max(high)));
        }
    }

    /// `sum / max(count, 1)`.
    pub(super) fn mean(sum: f64, count: usize) -> f64 {
        sum / count.max(1) as f64
    }

    pub(super) fn clip(&self) -> ClipStats {
        ClipStats {
            low: Self::mean(self.low, self.items),
            high: Self::mean(self.high, self.items),
            region: Self::mean(self.low + self.high, self.items),
            low_min: self.low_min.unwrap_or(0.0),
            high_max: self.high_max.unwrap_or(0.0),
        }
    }
}
