//! The mathematics of one token: its surrogate loss, its KL, and their slopes.

use super::config::KlEstimator;

/// Log-ratios are cut to this many nats on both sides before `exp`, as in verl: a ratio of `e^20` says that
/// something is broken, and must not turn the whole update into infinity. Past it the slope is zero.
pub(super) const MAX_LOG_RATIO: f64 = 20.0;

/// VESPO's lower bound of the log sequence weight, `ln 1e-8`, as in the original.
const MIN_LOG_WEIGHT: f64 = -18.420680743952367;

/// A per-token loss and its slopes in the log-ratio `u` (of whatever level) and in the log-prob itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Term {
    pub(super) value: f64,
    pub(super) d_log_ratio: f64,
    pub(super) d_logprob: f64,
}

/// `exp` of a log-ratio cut to [`MAX_LOG_RATIO`], and its slope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    pub(super) value: f64,
    slope: f64,
}

impl Ratio {
    pub(super) fn from_log(log: f64) -> Self {
        let value = log.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp();
        Self { value, slope: if log.abs() <= MAX_LOG_RATIO { value } else { 0.0 } }
    }
}

/// The policy term of one token, with its numbers filled in.
#[derive(Clone, Debug)]
pub(super) enum Surrogate {
    /// `-min(min(r, delta) A, clamp(r, low, high) A)`.
    Clip { low: f64, high: f64, delta: Option<f64> },
    /// `-sg[clamp(r, low, high)] A lp`.
    Cispo { low: f64, high: f64 },
    /// `-(4 / tau) sigmoid(tau (r - 1)) A`.
    Sapo { pos: f64, neg: f64 },
    /// `-phi(w) A lp`; `(k, lambda)` by the sign of `A`.
    Vespo { pos: (f64, f64), neg: (f64, f64) },
}

impl Surrogate {
    /// The loss of a token with advantage `a`, log-prob `lp` and ratio `r`; `log_weight` is the row's summed
    /// log-ratio, which VESPO alone uses.
    pub(super) fn term(&self, a: f64, lp: f64, r: Ratio, log_weight: f64) -> Term {
        match *self {
            Self::Clip { low, high, delta } => clip(a, r, low, high, delta),
            Self::Cispo { low, high } => detached(r.value.clamp(low, high), a, lp),
            Self::Sapo { pos, neg } => {
                let tau = if a > 0.0 { pos } else { neg };
                let gate = 1.0 / (1.0 + (-tau * (r.value - 1.0)).exp());
                let value = -4.0 / tau * gate * a;
                Term { value, d_log_ratio: -4.0 * gate * (1.0 - gate) * a * r.slope, d_logprob: 0.0 }
            }
            Self::Vespo { .. } => detached(self.phi(a, log_weight), a, lp),
        }
    }

    /// VESPO's `phi(w) = e^lambda w^k e^(-lambda w)`, which is 1 at `w = 1`; 1 for every other surrogate.
    pub(super) fn phi(&self, a: f64, log_weight: f64) -> f64 {
        let Self::Vespo { pos, neg } = *self else { return 1.0 };
        let (k, lambda) = if a >= 0.0 { pos } else { neg };
        let log_weight = log_weight.clamp(MIN_LOG_WEIGHT, MAX_LOG_RATIO);
        (lambda + k * log_weight - lambda * log_weight.exp()).exp()
    }

    /// Whether the ratio is cut below or above, in the sense of the logged clip shares: the token has lost
    /// (or, for CISPO, capped) its pull.
    pub(super) fn clipped(&self, a: f64, r: f64) -> (bool, bool) {
        let (low, high, r) = match *self {
            // TRL counts after the delta cut; a delta below `high` therefore hides the clips above.
            Self::Clip { low, high, delta } => (low, high, r.min(delta.unwrap_or(f64::INFINITY))),
            Self::Cispo { low, high } => (low, high, r),
            Self::Sapo { .. } | Self::Vespo { .. } => return (false, false),
        };
        (r < low && a < 0.0, r > high && a > 0.0)
    }
}

/// `-weight * a * lp` with the weight detached.
fn detached(weight: f64, a: f64, lp: f64) -> Term {
    Term { value: -weight * a * lp, d_log_ratio: 0.0, d_logprob: -weight * a }
}

fn clip(a: f64, r: Ratio, low: f64, high: f64, delta: Option<f64>) -> Term {
    let bound = delta.unwrap_or(f64::INFINITY);
    // A cut passes the slope up to and including its bound, as torch.clamp does.
    let (free, d_free) = if r.value <= bound { (r.value, r.slope) } else { (bound, 0.0) };
    let inside = low <= r.value && r.value <= high;
    let (cut, d_cut) = (r.value.clamp(low, high), if inside { r.slope } else { 0.0 });
    // On a tie both are the same cut of the ratio, so either slope will do.
    let (value, slope) = if free * a <= cut * a { (free * a, d_free) } else { (cut * a, d_cut) };
    Term { value: -value, d_log_ratio: -slope * a, d_logprob: 0.0 }
}

/// The KL term of the loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kl {
    pub(super) beta: f64,
    pub(super) estimator: KlEstimator,
    pub(super) by_ratio: bool,
}

impl Kl {
    /// The KL of one token, not yet multiplied by `beta`.
    pub(super) fn term(&self, lp: f64, reference: f64, r: Ratio) -> Term {
        let (value, slope) = kl(self.estimator, lp - reference);
        match self.by_ratio {
            false => Term { value, d_log_ratio: 0.0, d_logprob: slope },
            true => Term { value: value * r.value, d_log_ratio: value * r.slope, d_logprob: slope * r.value },
        }
    }
}

/// Value and slope of a KL estimator at `x = lp - lp_ref`.
pub(super) fn kl(estimator: KlEstimator, x: f64) -> (f64, f64) {
    let k3 = |x: f64| {
        let bounded = x.max(-MAX_LOG_RATIO);
        // `exp_m1` keeps k3, which is about x^2 / 2 near zero, accurate to the last digits.
        let excess = (-bounded).exp_m1();
        (excess + bounded, if x < -MAX_LOG_RATIO { 0.0 } else { -excess })
    };
    match estimator {
        KlEstimator::K1 => (x, 1.0),
        KlEstimator::K2 => (0.5 * x * x, x),
        KlEstimator::K3 => k3(x),
        KlEstimator::K3Plus => (k3(x).0, x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Past the cut the value stands still and the slope is gone, also where the loss itself has no bound.
    #[test]
    fn absurd_log_ratios_have_no_slope() {
        let loss = Surrogate::Clip { low: 0.8, high: 1.2, delta: None };
        let at = |log| loss.term(-1.0, -1.0, Ratio::from_log(log), 0.0);
        assert_eq!((at(19.0).value, at(19.0).d_log_ratio), (19f64.exp(), 19f64.exp()));
        assert_eq!((at(21.0).value, at(21.0).d_log_ratio), (20f64.exp(), 0.0));
        let (value, slope) = kl(KlEstimator::K3, -19.0);
        assert!((value - (19f64.exp() - 20.0)).abs() < 1e-6 && (slope - (1.0 - 19f64.exp())).abs() < 1e-6);
        let cut = (20f64.exp_m1() - 20.0, 0.0);
        assert_eq!(kl(KlEstimator::K3, -21.0), cut);
        assert_eq!(kl(KlEstimator::K3, -1e6), cut);
        // On the other side k3 grows like x, and keeps its slope.
        assert_eq!(kl(KlEstimator::K3, 1e3), (999.0, 1.0));
    }

    #[test]
    fn k3_is_accurate_near_zero() {
        for x in [1e-6, -1e-6, 1e-9] {
            let (value, slope) = kl(KlEstimator::K3, x);
            assert!((slope - x).abs() < x * x, "slope at {x}: {slope}");
            assert!(value >= 0.0 && (value - 0.5 * x * x).abs() < 1e-15, "value at {x}: {value}");
        }
    }
}
