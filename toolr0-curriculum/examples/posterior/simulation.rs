//! Probing by some rule, simulated on the spread of success rates of the default run.

use std::collections::HashMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use toolr0_curriculum::{Attempts, Frontier, PosteriorConfig, Worth};

/// Candidates that eight attempts solved 0 to 8 times.
const SOLVED: [f64; 9] = [356.0, 161.0, 98.0, 76.0, 72.0, 65.0, 96.0, 122.0, 97.0];
/// Below it a task is worth nothing.
const FLOOR: f64 = 0.125;

/// How tasks are probed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// So many probes, paid by the plain rate: the paper's.
    Rate(u32),
    /// In batches until the worth is known, at most so many.
    Posterior(PosteriorConfig, u32),
}

/// What a rule costs and how far off it pays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Mean probes of a task.
    pub probes: f64,
    /// The most that any task took.
    pub most: u32,
    /// Mean squared error of the worth.
    pub error: f64,
}

/// The spread of success rates in hundredths that makes [`SOLVED`] most likely, by expectation maximisation.
pub(crate) fn spread() -> Vec<f64> {
    let rates: Vec<f64> = (0..=100).map(|i| f64::from(i) / 100.0).collect();
    let choose = [1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0];
    let likely = |k: usize, p: f64| choose[k] * p.powi(k as i32) * (1.0 - p).powi(8 - k as i32);
    let (n, mut weights) = (SOLVED.iter().sum::<f64>(), vec![1.0 / 101.0; 101]);
    for _ in 0..1000 {
        let mut next = vec![0.0; 101];
        for (k, count) in SOLVED.iter().enumerate() {
            let joint: Vec<f64> = rates.iter().zip(&weights).map(|(p, w)| w * likely(k, *p)).collect();
            let sum: f64 = joint.iter().sum();
            next.iter_mut().zip(joint).for_each(|(next, x)| *next += count / n * x / sum);
        }
        weights = next;
    }
    weights
}

/// `n` tasks of this spread, probed by `rule`.
pub(crate) fn simulate(rule: Rule, spread: &[f64], n: usize, seed: u64) -> Outcome {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = move || f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
    let frontier = Frontier::default();
    let mut worths: HashMap<Attempts, Worth> = HashMap::new();
    let (mut probes, mut most, mut error) = (0, 0, 0.0);
    for _ in 0..n {
        let mut at = uniform() * spread.iter().sum::<f64>();
        let place = spread.iter().position(|weight| {
            at -= weight;
            at < 0.0
        });
        let rate = place.unwrap_or(spread.len() - 1) as f64 / (spread.len() - 1) as f64;
        let mut attempts = Attempts::default();
        let mut probe = |attempts: &mut Attempts, n: u32| {
            (0..n).for_each(|_| attempts.record(Some(uniform() < rate)));
        };
        let paid = match rule {
            Rule::Rate(k) => {
                probe(&mut attempts, k);
                frontier.score(attempts).unwrap_or(0.0)
            }
            Rule::Posterior(config, most) => loop {
                let batch = (config.batch as u32).min(most - attempts.tried());
                probe(&mut attempts, batch);
                let of = || config.worth(config.prior(None).given(attempts), &frontier);
                let worth = *worths.entry(attempts).or_insert_with(of);
                if config.knows(worth) || attempts.tried() == most {
                    break worth.mean;
                }
            },
        };
        probes += attempts.tried();
        most = most.max(attempts.tried());
        error += (paid - frontier.worth(rate, FLOOR)).powi(2);
    }
    Outcome { probes: f64::from(probes) / n as f64, most, error: error / n as f64 }
}
