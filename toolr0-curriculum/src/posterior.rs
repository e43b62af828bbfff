//! How hard a task is when a few attempts are all there is: a Beta posterior of its success rate, what the frontier pays
//! under it, and when to stop asking.
//!
//! Eight attempts say little: a task that is solved one time in ten is solved at least once in eight with probability
//! 0.57, and the plain rate then pays it as if it were within reach. A posterior pays the *expected* worth, and it says
//! how well that is known, so that attempts go where they are needed.

use serde::{Deserialize, Serialize};

use crate::attempts::Attempts;
use crate::frontier::{Frontier, Shape};

/// How the success rate of a task is inferred, and when it is known well enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PosteriorConfig {
    /// Solved attempts that the prior counts as seen, 0.1 to 100. Default 0.4: most tasks are nearly always or hardly ever
    /// solved.
    pub alpha: f64,
    /// Failed attempts that it counts as seen, 0.1 to 100. Default 0.5.
    pub beta: f64,
    /// Probes of a task between two looks at its posterior. Default 4.
    pub batch: usize,
    /// The standard deviation of the worth at which it is known well enough, 0 to 1. Default 0.35; 0 always draws
    /// `probe.samples`.
    pub tolerance: f64,
    /// The true success rate below which a task is worth nothing, at most `frontier.low`. Default 0.125, the paper's `1/K`
    /// with K = 8.
    pub floor: f64,
    /// A prior of each task's own, from the log-probability of its gold answer. Default none.
    pub loss_prior: Option<LossPriorConfig>,
}

impl Default for PosteriorConfig {
    fn default() -> Self {
        Self { alpha: 0.4, beta: 0.5, batch: 4, tolerance: 0.35, floor: 0.125, loss_prior: None }
    }
}

/// How a forecast of the success rate becomes a prior.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossPriorConfig {
    /// Attempts that a forecast counts for, 0.2 to 100. Default 2.
    pub strength: f64,
    /// Probed tasks until forecasts are used. Default 48.
    pub after: usize,
    /// What is left of the weight of older tasks after each step, more than 0 to 1: the solver changes. Default 0.95.
    pub memory: f64,
}

impl Default for LossPriorConfig {
    fn default() -> Self {
        Self { strength: 2.0, after: 48, memory: 0.95 }
    }
}

impl PosteriorConfig {
    /// What is believed of a task before it was tried; with a forecast of its success rate, around that.
    pub fn prior(&self, forecast: Option<f64>) -> Posterior {
        match (forecast, self.loss_prior) {
            (Some(rate), Some(LossPriorConfig { strength, .. })) => {
                Posterior::new(rate * strength, (1.0 - rate) * strength)
            }
            _ => Posterior::new(self.alpha, self.beta),
        }
    }

    /// The worth of a task of which `posterior` is known.
    pub fn worth(&self, posterior: Posterior, frontier: &Frontier) -> Worth {
        posterior.worth(frontier, self.floor)
    }

    /// Whether no further probe is needed.
    pub fn knows(&self, worth: Worth) -> bool {
        worth.deviation <= self.tolerance
    }
}

/// `Beta(alpha, beta)` over the success rate of a task.
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::{Attempts, Frontier, Posterior};
/// let uniform = Posterior::new(1.0, 1.0);
/// let worth = uniform.given(Attempts::new(4, 8)?).worth(&Frontier::default(), 0.125);
/// assert!(0.9 < worth.mean && worth.deviation < 0.2);
/// # Ok::<(), toolr0_curriculum::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    alpha: f64,
    beta: f64,
}

/// What the frontier pays for a task of which a posterior is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth {
    /// Expected worth, 0..=1.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
}

impl Posterior {
    /// The least that either count can be: below it nearly all belief lies within rounding of 0 and 1.
    pub const LEAST: f64 = 0.1;

    /// Beliefs as counts of attempts; counts below [`Posterior::LEAST`], and what is no number, are taken as that.
    pub fn new(alpha: f64, beta: f64) -> Self {
        Self { alpha: alpha.max(Self::LEAST), beta: beta.max(Self::LEAST) }
    }

    /// What is believed after these attempts.
    pub fn given(self, attempts: Attempts) -> Self {
        let failed = attempts.tried() - attempts.solved();
        Self { alpha: self.alpha + f64::from(attempts.solved()), beta: self.beta + f64::from(failed) }
    }

    /// The expected success rate.
    pub fn mean(self) -> f64 {
        self.alpha / (self.alpha + self.beta)
    }

    /// Probability of a success rate of at most `x`: the regularised incomplete beta function.
    pub fn cdf(self, x: f64) -> f64 {
        // The fraction converges fast on this side of the mean.
        if x <= 0.0 {
            0.0
        } else if x >= 1.0 {
            1.0
        } else if x <= (self.alpha + 1.0) / (self.alpha + self.beta + 2.0) {
            tail(self.alpha, self.beta, x)
        } else {
            1.0 - tail(self.beta, self.alpha, 1.0 - x)
        }
    }

    /// The worth under `frontier`, where a task of a true success rate below `floor` is worth nothing.
    ///
    /// The band's part is a difference of two incomplete beta functions; the parts beside it are integrals of a Gaussian
    /// times the density, computed by a tanh-sinh rule, which bears the density's poles at 0 and 1. Error below 1e-9.
    pub fn worth(self, frontier: &Frontier, floor: f64) -> Worth {
        let (low, high) = (frontier.low().max(floor), frontier.high().max(floor));
        let band = self.cdf(high) - self.cdf(low);
        let (mut first, mut second) = (band, band);
        if frontier.shape() == Shape::Gaussian {
            for (from, to) in [(floor, low), (high, 1.0)] {
                let (mean, square) = self.skirt(frontier, floor, from, to);
                first += mean;
                second += square;
            }
        }
        Worth { mean: first.clamp(0.0, 1.0), deviation: (second - first * first).max(0.0).sqrt() }
    }

    /// The integrals of the worth and of its square over `from..to`.
    fn skirt(self, frontier: &Frontier, floor: f64, from: f64, to: f64) -> (f64, f64) {
        const STEP: f64 = 0.05;
        const STEPS: i32 = 110;
        if to <= from {
            return (0.0, 0.0);
        }
        let (width, scale) = (to - from, -ln_beta(self.alpha, self.beta));
        let (mut mean, mut square) = (0.0, 0.0);
        for i in -STEPS..=STEPS {
            let t = f64::from(i) * STEP;
            // The place as a share of the way from the left end, and the same from the right end, each exact.
            let u = std::f64::consts::PI * t.sinh();
            let (left, right) = (1.0 / (1.0 + (-u).exp()), 1.0 / (1.0 + u.exp()));
            let weight = STEP * std::f64::consts::PI * t.cosh() * left * right * width;
            let (p, q) = (from + width * left, (1.0 - to) + width * right);
            if weight == 0.0 || p <= 0.0 || q <= 0.0 {
                continue;
            }
            let density = ((self.alpha - 1.0) * p.ln() + (self.beta - 1.0) * q.ln() + scale).exp();
            let worth = frontier.worth(p, floor);
            mean += weight * density * worth;
            square += weight * density * worth * worth;
        }
        (mean, square)
    }
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Lanczos' approximation with g = 7 and nine terms, for x > 0; relative error about 1e-15.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut sum = 0.999_999_999_999_809_9;
    for (i, term) in (1..).zip(TERMS) {
        sum += term / (x + f64::from(i));
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// `I_x(a, b)` by the continued fraction DLMF 8.17.22, in Lentz' way, for x below about the mean.
fn tail(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |y: f64| if y.abs() < TINY { TINY } else { y };
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let (mut c, mut sum) = (1.0, d);
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for step in [even, odd] {
            d = 1.0 / guard(1.0 + step * d);
            c = guard(1.0 + step / c);
            sum *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    (a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b)).exp() * sum / a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incomplete_beta_function_is_a_binomial_tail() {
        // I_x(a, b) of whole a and b is P(at least a successes in a + b - 1 trials).
        for (a, b) in [(1, 1), (1, 9), (3, 6), (9, 1), (20, 45)] {
            let n = a + b - 1;
            for x in [0.01, 0.125, 0.25, 0.5, 0.75, 0.97] {
                let mut want = 0.0;
                for k in a..=n {
                    let choose: f64 = (0..k).map(|i| f64::from(n - i) / f64::from(k - i)).product();
                    want += choose * f64::powi(x, k) * f64::powi(1.0 - x, n - k);
                }
                let got = Posterior::new(f64::from(a), f64::from(b)).cdf(x);
                assert!((got - want).abs() < 1e-12, "I_{x}({a}, {b}) = {got}, expected {want}");
            }
        }
        // The arcsine law.
        let got = Posterior::new(0.5, 0.5).cdf(0.3);
        let want = 2.0 / std::f64::consts::PI * 0.3_f64.sqrt().asin();
        assert!((got - want).abs() < 1e-13, "{got} {want}");
    }

    /// The same integrals with nothing but the distribution function: a sum over narrow slices.
    fn by_slices(posterior: Posterior, frontier: &Frontier, floor: f64) -> (f64, f64) {
        const N: u32 = 200_000;
        let (mut mean, mut square, mut below) = (0.0, 0.0, 0.0);
        for i in 0..N {
            let at = |i: u32| f64::from(i) / f64::from(N);
            let up_to = posterior.cdf(at(i + 1));
            let worth = frontier.worth(0.5 * (at(i) + at(i + 1)), floor);
            mean += worth * (up_to - below);
            square += worth * worth * (up_to - below);
            below = up_to;
        }
        (mean, square)
    }

    #[test]
    fn the_worth_is_the_integral_over_the_band() {
        let cliff = Frontier::new(0.25, 0.75, 0.12, Shape::HardCliff).unwrap();
        let wide = Frontier::new(0.0, 0.5, 0.3, Shape::Gaussian).unwrap();
        for (frontier, floor) in [(Frontier::default(), 0.125), (cliff, 0.125), (wide, 0.0)] {
            for (alpha, beta) in [(0.4, 0.5), (1.0, 1.0), (0.4, 16.5), (6.4, 2.5), (16.4, 0.5), (40.0, 60.0)]
            {
                let posterior = Posterior::new(alpha, beta);
                let Worth { mean, deviation } = posterior.worth(&frontier, floor);
                let (first, second) = by_slices(posterior, &frontier, floor);
                assert!((mean - first).abs() < 1e-6, "{alpha} {beta} {floor}: {mean} {first}");
                let square = deviation * deviation + mean * mean;
                assert!((square - second).abs() < 1e-6, "{alpha} {beta} {floor}: {square} {second}");
            }
        }
    }

    #[test]
    fn belief_that_is_certain_is_paid_like_a_rate() {
        let frontier = Frontier::default();
        for rate in [0.05, 0.2, 0.5, 0.9] {
            let worth = Posterior::new(rate * 2e3, (1.0 - rate) * 2e3).worth(&frontier, 0.125);
            assert!((worth.mean - frontier.worth(rate, 0.125)).abs() < 0.02, "{rate}: {worth:?}");
            assert!(worth.deviation < 0.1, "{rate}: {worth:?}");
        }
    }

    #[test]
    fn a_forecast_moves_the_prior_and_is_bounded() {
        let config = PosteriorConfig::default();
        assert_eq!(config.prior(Some(0.9)), Posterior::new(0.4, 0.5), "there is no loss prior to use it");
        let config = PosteriorConfig { loss_prior: Some(LossPriorConfig::default()), ..config };
        assert_eq!(config.prior(None), Posterior::new(0.4, 0.5));
        assert_eq!(config.prior(Some(0.75)), Posterior::new(1.5, 0.5));
        assert_eq!(config.prior(Some(0.0)).mean(), 0.1 / 2.1);
        assert_eq!(Posterior::new(f64::NAN, 1.0), Posterior::new(0.1, 1.0));
    }
}
