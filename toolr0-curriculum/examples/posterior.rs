//! What probes buy: the error of a task's worth against the probes that were spent on it, simulated.
//!
//! ```sh
//! cargo run -p toolr0-curriculum --example posterior              # a table
//! cargo run -p toolr0-curriculum --example posterior -- FILE.svg  # and a figure
//! ```
//!
//! True success rates are spread as those of the default run are: the 1,143 candidates of three iterations (seed 1), by how
//! many of eight attempts solved them, from which the spread that explains these counts best is recovered.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::HashMap;
use std::fmt::Write as _;

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

fn main() -> anyhow::Result<()> {
    const TASKS: usize = 100_000;
    let spread = spread();
    let posterior = |batch, tolerance, most| {
        Rule::Posterior(PosteriorConfig { batch, tolerance, ..PosteriorConfig::default() }, most)
    };
    let lines: [(&str, Vec<Rule>); 3] = [
        ("rate of K probes", [2, 3, 4, 6, 8, 12, 16, 24].map(Rule::Rate).into()),
        ("posterior of K probes", [2, 3, 4, 6, 8, 12, 16, 24].map(|k| posterior(1, 0.0, k)).into()),
        (
            "posterior, batches of 4, at most 16",
            [0.45, 0.4, 0.375, 0.35, 0.3, 0.25, 0.2, 0.1].map(|tolerance| posterior(4, tolerance, 16)).into(),
        ),
    ];
    let mut drawn = Vec::new();
    for (name, rules) in lines {
        println!("{name}");
        let mut points = Vec::new();
        for rule in rules {
            let Outcome { probes, most, error } = simulate(rule, &spread, TASKS, 1);
            println!("  probes {probes:6.2} (most {most:2})   mean squared error of the worth {error:.4}");
            points.push((probes, error));
        }
        drawn.push((name, points));
    }
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, figure(&drawn))?;
    }
    Ok(())
}

/// Error over probes, one line for each way of spending them.
fn figure(lines: &[(&str, Vec<(f64, f64)>)]) -> String {
    let x = |probes: f64| 60.0 + probes / 24.0 * 560.0;
    let y = |error: f64| 270.0 - error / 0.25 * 220.0;
    let mut svg = String::from(concat!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320" viewBox="0 0 640 320" "##,
        r##"font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>"##,
        r##"<text x="60" y="24" font-size="14">Error of a task's worth over the probes that it took</text>"##,
    ));
    for probes in [0, 4, 8, 12, 16, 20, 24] {
        let at = x(f64::from(probes));
        let _ = write!(svg, r#"<text x="{at:.0}" y="290" text-anchor="middle">{probes}</text>"#);
    }
    for error in [0.0, 0.05, 0.1, 0.15, 0.2, 0.25] {
        let at = y(error);
        let _ = write!(
            svg,
            r##"<path d="M60 {at:.0}H620" stroke="#ddd"/><text x="52" y="{:.0}" text-anchor="end">{error}</text>"##,
            at + 4.0
        );
    }
    svg.push_str(r#"<text x="340" y="310" text-anchor="middle">mean probes of a task</text>"#);
    for ((i, (name, points)), colour) in (0..).zip(lines).zip(["#9a9a9a", "#c07c1c", "#2a66b8"]) {
        let path: Vec<String> = points.iter().map(|(p, e)| format!("{:.1} {:.1}", x(*p), y(*e))).collect();
        let _ =
            write!(svg, r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join("L"));
        for (p, e) in points {
            let _ = write!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, x(*p), y(*e));
        }
        let at = 60 + 18 * i;
        let _ = write!(svg, r#"<text x="610" y="{at}" text-anchor="end" fill="{colour}">{name}</text>"#);
    }
    svg + "</svg>\n"
}
