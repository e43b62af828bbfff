//! A loss as the numbers that a device's kernel takes.

use super::config::{CorrectionLevel, GrpoConfig, KlEstimator, LossType, OutOfBounds, RatioLevel};
use super::terms::Surrogate;
use super::{Reduction, Window};
use crate::error::{Error, Result};

/// The numbers of a loss on one micro-batch, in the order of the enum `Constant` in `grpo_loss.cu`.
pub type Constants = [f64; 18];

impl GrpoConfig {
    /// Whether the loss of a token depends on the log-probabilities of others, so that a forward pass over the whole
    /// row has to come first. Else one pass over the logits does both.
    pub fn needs_scores(&self) -> bool {
        self.level() != RatioLevel::Token
            || self.loss_type == LossType::Vespo
            || self.off_policy_mask_threshold.is_some()
    }

    /// The numbers for a micro-batch of `rows` rows with `tokens` loss tokens. A kernel sees tokens one by one, so what
    /// belongs to all of them is found before and given in `window`.
    ///
    /// # Errors
    ///
    /// What [`GrpoConfig::check`] returns; [`Error::Missing`] for the threshold of the entropy mask, or for the number
    /// of tokens that it keeps under an entropy bonus.
    pub fn constants(&self, window: &Window, rows: usize, tokens: usize) -> Result<Constants> {
        let plan = self.plan()?;
        let (kind, params) = match plan.surrogate {
            Surrogate::Clip { low, high, delta } => (0, [low, high, delta.unwrap_or(f64::INFINITY), 0.0]),
            Surrogate::Cispo { low, high } => (1, [low, high, 0.0, 0.0]),
            Surrogate::Sapo { pos, neg } => (2, [pos, neg, 0.0, 0.0]),
            Surrogate::Vespo { pos, neg } => (3, [pos.0, pos.1, neg.0, neg.1]),
        };
        let level = match plan.level {
            RatioLevel::Token => 0,
            RatioLevel::Sequence => 1,
            RatioLevel::SequenceToken => 2,
        };
        let (beta, estimator, by_ratio) =
            plan.kl.map_or((0.0, KlEstimator::K3, false), |kl| (kl.beta, kl.estimator, kl.by_ratio));
        let estimator = match estimator {
            KlEstimator::K1 => 0,
            KlEstimator::K2 => 1,
            KlEstimator::K3 => 2,
            KlEstimator::K3Plus => 3,
        };
        let correction = self.importance_correction.as_ref();
        let corrects = correction.map_or(0, |c| if c.level == CorrectionLevel::Token { 1 } else { 2 });
        let Reduction { mean_over_row, divisor } = self.reduction(window, rows, tokens);
        let flag = |on: bool| f64::from(u8::from(on));
        let [a, b, c, d] = params;
        Ok([
            f64::from(kind),
            a,
            b,
            c,
            d,
            f64::from(level),
            beta,
            f64::from(estimator),
            flag(by_ratio),
            f64::from(corrects),
            flag(correction.is_some_and(|c| c.out_of_bounds == OutOfBounds::Mask)),
            correction.and_then(|c| c.min).unwrap_or(0.0),
            correction.and_then(|c| c.max).unwrap_or(f64::INFINITY),
            self.off_policy_mask_threshold.unwrap_or(f64::INFINITY),
            self.entropy_from(window)?,
            self.entropy_slope(window, tokens)?,
            flag(mean_over_row),
            divisor,
        ])
    }

    fn masks_by_entropy(&self) -> bool {
        self.top_entropy_quantile < 1.0
    }

    fn entropy_from(&self, window: &Window) -> Result<f64> {
        match (self.masks_by_entropy(), window.entropy_threshold) {
            (false, _) => Ok(f64::NEG_INFINITY),
            (true, Some(threshold)) => Ok(threshold),
            (true, None) => {
                Err(Error::Missing { name: "entropy_threshold", user: "the entropy mask".to_owned() })
            }
        }
    }

    fn entropy_slope(&self, window: &Window, tokens: usize) -> Result<f64> {
        if self.entropy_coef == 0.0 {
            return Ok(0.0);
        }
        let count = match window.entropy_tokens {
            Some(count) => count,
            None if self.masks_by_entropy() => {
                let user = "the entropy bonus under an entropy mask".to_owned();
                return Err(Error::Missing { name: "entropy_tokens", user });
            }
            None => tokens.max(1) as f64 * self.accumulation_steps as f64,
        };
        Ok(-self.entropy_coef / count.max(1.0))
    }
}
