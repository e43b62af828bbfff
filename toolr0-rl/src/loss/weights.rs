//! What multiplies a token's policy loss besides its advantage: importance weights for a sampler that is
//! not quite the trainer, the off-policy row mask, and the mask of tokens of high entropy.

use super::config::{CorrectionLevel, ImportanceCorrection, OutOfBounds};
use super::stats::Mismatch;
use super::terms::MAX_LOG_RATIO;

/// VESPO bounds the log of each token's weight from below by `ln 1e-8`, so that a masked token counts.
const MIN_TOKEN_WEIGHT: f64 = 1e-8;

/// `old - sampler` of one token. A sampler that could not score a token reports NaN: no evidence, ratio 1.
fn log_rho(old: f64, sampler: f64) -> f64 {
    let gap = old - sampler;
    if gap.is_nan() { 0.0 } else { gap.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO) }
}

impl ImportanceCorrection {
    fn bound(&self, rho: f64) -> f64 {
        let (min, max) = (self.min.unwrap_or(0.0), self.max.unwrap_or(f64::INFINITY));
        match self.out_of_bounds {
            OutOfBounds::Truncate => rho.clamp(min, max),
            OutOfBounds::Mask if rho < min || rho > max => 0.0,
            OutOfBounds::Mask => rho,
        }
    }

    /// The weights of one row's loss tokens, from `old` and `sampler` log-probs of those tokens only.
    pub(super) fn weights(&self, old: &[f64], sampler: &[f64]) -> Vec<f64> {
        let logs = old.iter().zip(sampler).map(|(&o, &s)| log_rho(o, s));
        match self.level {
            CorrectionLevel::Token => logs.map(|log| self.bound(log.exp())).collect(),
            CorrectionLevel::Sequence => {
                let rho = logs.sum::<f64>().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp();
                vec![self.bound(rho); old.len()]
            }
        }
    }
}

/// Sum of the logs of a row's token weights, as VESPO adds it to its log sequence weight.
pub(super) fn sum_of_logs(weights: &[f64]) -> f64 {
    weights.iter().map(|w| w.max(MIN_TOKEN_WEIGHT).ln().min(MAX_LOG_RATIO)).sum()
}

/// Mean of `sampler - lp` over a row's loss tokens; a token without a sampler log-prob counts as 0.
pub(super) fn off_policy_drift(logprobs: &[f64], sampler: &[f64]) -> f64 {
    let gaps = sampler.iter().zip(logprobs).map(|(&s, &lp)| if s.is_nan() { 0.0 } else { s - lp });
    gaps.sum::<f64>() / logprobs.len().max(1) as f64
}

/// Adds one row's gaps between trainer and sampler to the statistics.
pub(super) fn observe(mismatch: &mut Mismatch, old: &[f64], sampler: &[f64]) {
    for (&o, &s) in old.iter().zip(sampler).filter(|(_, s)| !s.is_nan()) {
        mismatch.add(o - s, log_rho(o, s).exp());
    }
}

/// The entropy from which on a token belongs to the top `share`: the `1 - share` quantile of the entropies
/// where `mask` is true, linearly interpolated as `torch.quantile` does. `None` if no token is masked in.
///
/// A quantile is a property of the whole batch. Where a batch is split into micro-batches, find the
/// threshold once and pass it as [`Window::entropy_threshold`](super::Window::entropy_threshold).
///
/// # Shapes and units
///
/// - `entropies`, `mask`: `(tokens,)`, nats; tokens beyond the shorter slice are ignored.
/// - `share`: in (0, 1]; 1 keeps every token.
///
/// # Source
///
/// *Beyond the 80/20 Rule*, arXiv:2506.01939; the interpolation and `>=` follow TRL.
pub fn entropy_threshold(entropies: &[f64], mask: &[bool], share: f64) -> Option<f64> {
    let mut kept: Vec<f64> = entropies.iter().zip(mask).filter(|&(_, &m)| m).map(|(&h, _)| h).collect();
    kept.sort_unstable_by(f64::total_cmp);
    let last = kept.len().checked_sub(1)?;
    let rank = ((1.0 - share) * last as f64).clamp(0.0, last as f64);
    let below = rank.floor() as usize;
    let (a, b) = (kept[below], kept[(below + 1).min(last)]);
    let weight = rank - rank.floor();
    Some(if weight < 0.5 { a + weight * (b - a) } else { b - (b - a) * (1.0 - weight) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE_BOUND: ImportanceCorrection = ImportanceCorrection {
        level: CorrectionLevel::Token,
        out_of_bounds: OutOfBounds::Truncate,
        min: None,
        max: None,
    };

    #[track_caller]
    fn check(correction: &ImportanceCorrection, want: &[f64]) {
        // rho = 1/2, 2, 4 and unknown.
        let old = [0.5f64.ln(), 2f64.ln(), 4f64.ln(), -1.0];
        let got = correction.weights(&old, &[0.0, 0.0, 0.0, f64::NAN]);
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{correction:?}: got {got}, want {want}");
        }
    }

    #[test]
    fn weights_by_hand() {
        use CorrectionLevel::Sequence;
        use OutOfBounds::Mask;
        check(&NONE_BOUND, &[0.5, 2.0, 4.0, 1.0]);
        check(&ImportanceCorrection { max: Some(3.0), ..NONE_BOUND }, &[0.5, 2.0, 3.0, 1.0]);
        check(&ImportanceCorrection { min: Some(0.9), ..NONE_BOUND }, &[0.9, 2.0, 4.0, 1.0]);
        let masked = ImportanceCorrection { out_of_bounds: Mask, ..NONE_BOUND };
        check(&ImportanceCorrection { max: Some(3.0), ..masked.clone() }, &[0.5, 2.0, 0.0, 1.0]);
        check(&ImportanceCorrection { min: Some(0.9), ..masked.clone() }, &[0.0, 2.0, 4.0, 1.0]);
        check(&ImportanceCorrection { level: Sequence, ..NONE_BOUND }, &[4.0; 4]);
        check(&ImportanceCorrection { level: Sequence, max: Some(3.0), ..NONE_BOUND }, &[3.0; 4]);
        check(&ImportanceCorrection { level: Sequence, max: Some(3.0), ..masked }, &[0.0; 4]);
    }

    #[test]
    fn drift_by_hand() {
        // 0.5, -0.2 and an unscored token, which is no evidence but still a token.
        let got = off_policy_drift(&[-1.0, -1.0, -1.0], &[-0.5, -1.2, f64::NAN]);
        assert!((got - 0.1).abs() < 1e-12, "{got}");
        assert_eq!(off_policy_drift(&[], &[]), 0.0);
    }

    #[test]
    fn threshold_by_hand() {
        let (h, all) = ([3.0, 1.0, 2.0, 5.0, 4.0], [true; 5]);
        assert_eq!(entropy_threshold(&h, &all, 1.0), Some(1.0));
        assert_eq!(entropy_threshold(&h, &all, 0.5), Some(3.0));
        assert_eq!(entropy_threshold(&h, &all, 0.4), Some(3.4)); // rank 2.4
        assert_eq!(entropy_threshold(&h, &[false, true, false, true, false], 0.5), Some(3.0));
        assert_eq!(entropy_threshold(&h, &[false; 5], 0.5), None);
    }
}
