//! What a posterior with a budget buys over a fixed number of probes.

use toolr0_curriculum::PosteriorConfig;

#[path = "../../examples/posterior/simulation.rs"]
mod simulation;

use simulation::{Rule, simulate, spread};

#[test]
fn the_spread_explains_what_was_counted() {
    let spread = spread();
    assert!((spread.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    let mean: f64 = spread.iter().enumerate().map(|(i, weight)| weight * i as f64 / 100.0).sum();
    // (0 * 356 + 1 * 161 + .. + 8 * 97) / (8 * 1143)
    assert!((mean - 0.3723).abs() < 0.002, "{mean}");
}

#[test]
fn a_posterior_with_a_budget_pays_better_for_fewer_probes() {
    let spread = spread();
    let fixed = simulate(Rule::Rate(8), &spread, 40_000, 1);
    let default = simulate(Rule::Posterior(PosteriorConfig::default(), 16), &spread, 40_000, 2);
    assert!(default.probes <= fixed.probes && default.most <= 16, "{default:?}");
    assert!(default.error < 0.7 * fixed.error, "{default:?}, with eight probes each {fixed:?}");
    // As good as eight probes each for at most 60 % of them.
    let frugal = PosteriorConfig { batch: 1, ..PosteriorConfig::default() };
    let frugal = simulate(Rule::Posterior(frugal, 24), &spread, 40_000, 3);
    assert!(frugal.error <= fixed.error && frugal.probes <= 0.6 * 8.0 && frugal.most <= 24, "{frugal:?}");
}

/// The numbers for which a plain rate of eight is known to fail.
#[test]
fn eight_probes_overpay_tasks_that_are_out_of_reach() {
    for (place, want) in [(5, 0.22), (10, 0.41)] {
        let mut only = vec![0.0; 101];
        only[place] = 1.0;
        let paid = simulate(Rule::Rate(8), &only, 60_000, 4);
        // Nothing is due, so the error is the mean square of what was paid.
        let budget = simulate(Rule::Posterior(PosteriorConfig::default(), 16), &only, 60_000, 5);
        assert!(budget.error < 0.7 * paid.error, "{place}: {budget:?} {paid:?}");
        let p = place as f64 / 100.0;
        let mean: f64 = (1..=8_u32)
            .map(|k| {
                let choose: f64 = (0..k).map(|i| f64::from(8 - i) / f64::from(k - i)).product();
                let rate = f64::from(k) / 8.0;
                let worth = toolr0_curriculum::Frontier::default().score_rate(rate, 8);
                choose * p.powi(k as i32) * (1.0 - p).powi(8 - k as i32) * worth
            })
            .sum();
        assert!((mean - want).abs() < 0.005, "{mean}");
    }
}
