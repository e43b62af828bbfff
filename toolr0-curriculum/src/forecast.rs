//! What a task's success rate will be, from how likely the solver finds its gold answer: a logistic model, fitted online on
//! the probes that were paid for anyway, and how well its forecasts held.

use serde::{Deserialize, Serialize};

use crate::attempts::Attempts;

/// Log-probability of a gold answer by part, nats: tool names, argument names, argument values.
pub type GoldLogprobs = [f64; 3];

const N: usize = 4;

/// A logistic model of success given [`GoldLogprobs`], with a Gaussian belief about its weights.
///
/// Each [`Forecast::fit`] is one step of sequential Laplace approximation: the weights most likely given the belief so far
/// and the new attempts, and the curvature there as the new belief (Bishop, *Pattern Recognition and Machine Learning*,
/// section 4.4). Its size does not grow with what it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    weights: [f64; N],
    precision: [[f64; N]; N],
    tasks: usize,
}

impl Default for Forecast {
    fn default() -> Self {
        let mut precision = [[0.0; N]; N];
        (0..N).for_each(|i| precision[i][i] = 0.1);
        Self { weights: [0.0; N], precision, tasks: 0 }
    }
}

/// 1 and the three log-probabilities, bounded: beyond 20 nats a part is as good as never written.
fn features(logprobs: GoldLogprobs) -> [f64; N] {
    let of = |x: f64| if x.is_nan() { -4.0 } else { x.clamp(-20.0, 0.0) / 5.0 };
    [1.0, of(logprobs[0]), of(logprobs[1]), of(logprobs[2])]
}

fn dot(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Forecast {
    /// Tasks that it was fitted on.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// The success rate that is expected, within 0..=1.
    pub fn rate(&self, logprobs: GoldLogprobs) -> f64 {
        logistic(dot(&self.weights, &features(logprobs)))
    }

    /// Learns from probed tasks; what was known before weighs `memory` times what it did.
    pub fn fit(&mut self, seen: &[(GoldLogprobs, Attempts)], memory: f64) {
        let seen: Vec<([f64; N], f64, f64)> = seen
            .iter()
            .filter(|(_, attempts)| 0 < attempts.tried())
            .map(|(x, attempts)| (features(*x), f64::from(attempts.solved()), f64::from(attempts.tried())))
            .collect();
        if seen.is_empty() {
            return;
        }
        // The first belief is a ridge that stays: forgetting must not leave a direction without any.
        let ridge = Self::default().precision;
        let mut before = self.precision;
        for i in 0..N {
            for j in 0..N {
                before[i][j] = memory * before[i][j] + (1.0 - memory) * ridge[i][j];
            }
        }
        let mut weights = self.weights;
        let mut curvature = before;
        for _ in 0..25 {
            let offset: [f64; N] = std::array::from_fn(|i| weights[i] - self.weights[i]);
            let mut slope: [f64; N] = std::array::from_fn(|i| -dot(&before[i], &offset));
            curvature = before;
            for (x, solved, tried) in &seen {
                let p = logistic(dot(&weights, x));
                for i in 0..N {
                    slope[i] += (solved - tried * p) * x[i];
                    for j in 0..N {
                        curvature[i][j] += tried * p * (1.0 - p) * x[i] * x[j];
                    }
                }
            }
            let mut step = solve(curvature, slope);
            // Newton's step may leap where the curve is flat.
            let length = dot(&step, &step).sqrt();
            if 2.0 < length {
                step.iter_mut().for_each(|x| *x *= 2.0 / length);
            }
            (0..N).for_each(|i| weights[i] += step[i]);
            if length < 1e-10 {
                break;
            }
        }
        if weights.iter().chain(curvature.iter().flatten()).all(|x| x.is_finite()) {
            (self.weights, self.precision) = (weights, curvature);
            self.tasks += seen.len();
        }
    }
}

/// `a x = b` for a symmetric positive definite `a`, by Cholesky's factors.
fn solve(a: [[f64; N]; N], b: [f64; N]) -> [f64; N] {
    let mut l = [[0.0; N]; N];
    for i in 0..N {
        for j in 0..=i {
            let sum: f64 = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = if i == j { sum.max(1e-12).sqrt() } else { sum / l[j][j] };
        }
    }
    let mut y = [0.0; N];
    for i in 0..N {
        y[i] = (b[i] - (0..i).map(|k| l[i][k] * y[k]).sum::<f64>()) / l[i][i];
    }
    let mut x = [0.0; N];
    for i in (0..N).rev() {
        x[i] = (y[i] - (i + 1..N).map(|k| l[k][i] * x[k]).sum::<f64>()) / l[i][i];
    }
    x
}

/// How well forecasts held, each attempt counted once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// Mean squared difference of forecast and outcome: 0.25 for a coin, 0 for a seer.
    pub brier: f64,
    /// Probability that a solved attempt had the higher forecast of two of which one was solved; absent where none, or
    /// all, were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// By tenths of the forecast: attempts, mean forecast, share solved.
    pub reliability: Vec<(u32, f64, f64)>,
}

impl Calibration {
    /// Of forecasts that were made before their attempts; `None` without any attempt.
    pub fn of(forecasts: &[(f64, Attempts)]) -> Option<Self> {
        let tried: u32 = forecasts.iter().map(|(_, attempts)| attempts.tried()).sum();
        if tried == 0 {
            return None;
        }
        let counts = |attempts: &Attempts| (f64::from(attempts.solved()), f64::from(attempts.tried()));
        let mut brier = 0.0;
        let mut bins = [(0, 0.0, 0.0); 10];
        for (rate, attempts) in forecasts {
            let (solved, tried) = counts(attempts);
            brier += solved * (1.0 - rate) * (1.0 - rate) + (tried - solved) * rate * rate;
            let bin = &mut bins[((rate * 10.0) as usize).min(9)];
            *bin = (bin.0 + attempts.tried(), bin.1 + tried * rate, bin.2 + solved);
        }
        for bin in bins.iter_mut().filter(|bin| 0 < bin.0) {
            *bin = (bin.0, bin.1 / f64::from(bin.0), bin.2 / f64::from(bin.0));
        }
        Some(Self { brier: brier / f64::from(tried), auc: auc(forecasts), reliability: bins.to_vec() })
    }
}

/// The Mann-Whitney statistic; equal forecasts count half.
fn auc(forecasts: &[(f64, Attempts)]) -> Option<f64> {
    let mut sorted: Vec<&(f64, Attempts)> = forecasts.iter().collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut right, mut solved_all) = (0.0, 0.0, 0.0);
    for ties in sorted.chunk_by(|a, b| a.0 == b.0) {
        let solved: f64 = ties.iter().map(|(_, a)| f64::from(a.solved())).sum();
        let failed: f64 = ties.iter().map(|(_, a)| f64::from(a.tried() - a.solved())).sum();
        right += solved * (below + 0.5 * failed);
        below += failed;
        solved_all += solved;
    }
    (0.0 < solved_all && 0.0 < below).then(|| right / (solved_all * below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// Tasks whose chance of success is a logistic function of their log-probabilities.
    fn world(n: usize, seed: u64) -> Vec<(GoldLogprobs, f64, Attempts)> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = move || rng.next_u32() as f64 / f64::from(u32::MAX);
        let mut task = || {
            let x = [-2.0 * uniform(), -6.0 * uniform(), -8.0 * uniform()];
            let p = logistic(3.0 + 0.4 * x[0] + 0.9 * x[1] + 0.5 * x[2]);
            let attempts = (0..8).map(|_| Some(uniform() < p)).collect();
            (x, p, attempts)
        };
        (0..n).map(|_| task()).collect()
    }

    #[test]
    fn it_learns_the_rates_of_new_tasks() {
        let mut forecast = Forecast::default();
        let seen: Vec<_> = world(400, 1).into_iter().map(|(x, _, attempts)| (x, attempts)).collect();
        seen.chunks(16).for_each(|batch| forecast.fit(batch, 1.0));
        assert_eq!(forecast.tasks(), 400);
        let new = world(300, 2);
        let error: f64 = new.iter().map(|(x, p, _)| (forecast.rate(*x) - p).abs()).sum::<f64>() / 300.0;
        assert!(error < 0.04, "mean error of the rate {error}");
        let held: Vec<_> = new.iter().map(|(x, _, attempts)| (forecast.rate(*x), *attempts)).collect();
        let flat: Vec<_> = new.iter().map(|(.., attempts)| (0.5, *attempts)).collect();
        let (held, flat) = (Calibration::of(&held).unwrap(), Calibration::of(&flat).unwrap());
        assert!(held.brier < 0.75 * flat.brier, "{} of {}", held.brier, flat.brier);
        assert!(held.auc.unwrap() > 0.8 && flat.auc == Some(0.5), "{:?}", held.auc);
        for (n, forecast, solved) in held.reliability {
            // Three standard errors of the share that chance alone allows for.
            let chance = 3.0 * (forecast * (1.0 - forecast) / f64::from(n.max(1))).sqrt();
            assert!(n < 100 || (forecast - solved).abs() < chance, "{n}: {forecast} {solved}");
        }
    }

    #[test]
    fn it_follows_a_solver_that_changes() {
        let x = [-1.0, -1.0, -1.0];
        let of = |solved| vec![(x, Attempts::new(solved, 8).unwrap()); 16];
        let mut forecast = Forecast::default();
        (0..20).for_each(|_| forecast.fit(&of(0), 0.8));
        assert!(forecast.rate(x) < 0.05, "{}", forecast.rate(x));
        (0..20).for_each(|_| forecast.fit(&of(8), 0.8));
        assert!(forecast.rate(x) > 0.9, "{}", forecast.rate(x));
    }

    #[test]
    fn what_is_no_number_moves_nothing_out_of_bounds() {
        let mut forecast = Forecast::default();
        let attempts = Attempts::new(3, 4).unwrap();
        for x in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -1e300] {
            forecast.fit(&[([x; 3], attempts), ([0.0; 3], Attempts::default())], 0.5);
            let rate = forecast.rate([x; 3]);
            assert!((0.0..=1.0).contains(&rate), "{x}: {rate}");
        }
        assert_eq!(forecast.tasks(), 4, "a task without a known attempt teaches nothing");
        let text = serde_json::to_string(&forecast).unwrap();
        assert_eq!(serde_json::from_str::<Forecast>(&text).unwrap(), forecast);
    }

    #[test]
    fn calibration_by_hand() {
        let of = |solved, tried| Attempts::new(solved, tried).unwrap();
        let got = Calibration::of(&[(0.85, of(1, 2)), (0.15, of(0, 1)), (0.5, Attempts::default())]).unwrap();
        let brier = (0.15 * 0.15 + 0.85 * 0.85 + 0.15 * 0.15) / 3.0;
        assert!((got.brier - brier).abs() < 1e-12, "{got:?}");
        assert_eq!(got.auc, Some(0.75));
        assert_eq!((got.reliability[8], got.reliability[1].0), ((2, 0.85, 0.5), 1));
        assert_eq!(Calibration::of(&[(0.5, Attempts::default())]), None);
        assert_eq!(Calibration::of(&[(0.5, of(1, 1))]).unwrap().auc, None);
    }
}
