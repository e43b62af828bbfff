//! The law of specs bent toward what is being learned: a bandit whose arms are the law's branches.
//!
//! What an arm is worth is its learning progress: how far the solver's answers get now, against the iteration before. A
//! branch that the solver always masters makes no progress, and neither does one that it never will; both keep a floor,
//! so that a branch which begins to move is noticed.
//!
//! # Source
//!
//! Absolute learning progress: Oudeyer, Kaplan and Hafner (2007); as a bandit over tasks, Matiisen et al.,
//! arXiv:1707.00183, and Portelas et al., arXiv:1910.07224. That a difference within its own standard error counts for
//! nothing is ours: a frozen solver is measured anew in every step, and noise is no progress.

use std::collections::BTreeMap;

use rand::Rng;
use serde::{Deserialize, Serialize};
use toolr0_tools::TaskSpec;

use crate::spec_law::{Branch, SpecLaw, pick};

/// Tasks of a branch below which its mean says nothing.
const LEAST: usize = 4;

/// What is known of every branch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(Branch, Arm)>", into = "Vec<(Branch, Arm)>")]
pub struct Steering {
    arms: BTreeMap<Branch, Arm>,
}

/// What is known of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arm {
    /// Of this iteration.
    now: Tally,
    /// Of the last iteration that had enough of it.
    before: Tally,
    /// Progress when it was last known.
    last: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tally {
    n: usize,
    sum: f64,
    squares: f64,
}

impl Tally {
    fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    /// The squared standard error of the mean.
    fn error2(&self) -> f64 {
        let n = self.n as f64;
        (self.squares / n - self.mean().powi(2)).max(0.0) / (n - 1.0)
    }
}

impl Arm {
    fn progress(&self) -> Option<f64> {
        if self.now.n < LEAST || self.before.n < LEAST {
            return self.last;
        }
        let moved = (self.now.mean() - self.before.mean()).abs();
        Some((moved - (self.now.error2() + self.before.error2()).sqrt()).max(0.0))
    }
}

impl From<Vec<(Branch, Arm)>> for Steering {
    fn from(arms: Vec<(Branch, Arm)>) -> Self {
        Self { arms: arms.into_iter().collect() }
    }
}

impl From<Steering> for Vec<(Branch, Arm)> {
    fn from(steering: Steering) -> Self {
        steering.arms.into_iter().collect()
    }
}

/// How the law is bent at the moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SteeringReport {
    /// How far it is from the law as it was given: half the sum of all differences, 0 to 1.
    pub gap: f64,
    /// Share of the law whose progress is known.
    pub known: f64,
    /// Mean progress where it is known.
    pub progress: Option<f64>,
    /// Shares by domain.
    pub domains: BTreeMap<String, f64>,
}

impl Steering {
    /// Books how far the answers to one task got, 0 to 1. A number that is none is not booked.
    pub fn observe(&mut self, spec: &TaskSpec, score: f64) {
        if score.is_finite() {
            let TaskSpec { domain, context, n_calls, .. } = spec.clone();
            let tally = &mut self.arms.entry(Branch { domain, context, n_calls }).or_default().now;
            tally.n += 1;
            tally.sum += score;
            tally.squares += score * score;
        }
    }

    /// What was measured becomes what the next iteration is compared with. Branches that were hardly seen go on counting.
    pub fn end_iteration(&mut self) {
        for arm in self.arms.values_mut().filter(|arm| LEAST <= arm.now.n) {
            arm.last = arm.progress();
            arm.before = std::mem::take(&mut arm.now);
        }
    }

    /// Every branch of the law with its probability: `floor` of the law's own, and the rest in proportion to the law's
    /// times its progress. A branch without known progress counts as one of middling progress; where nothing moves, the
    /// law stays as it is.
    pub fn shares(&self, law: &SpecLaw, floor: f64) -> Vec<(Branch, f64)> {
        let branches = law.branches();
        let progress: Vec<Option<f64>> =
            branches.iter().map(|(branch, _)| self.arms.get(branch)?.progress()).collect();
        let known: Vec<f64> = progress.iter().flatten().copied().collect();
        let middling = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let worth: Vec<f64> = branches
            .iter()
            .zip(&progress)
            .map(|((_, share), progress)| share * progress.unwrap_or(middling))
            .collect();
        let sum: f64 = worth.iter().sum();
        let bent = branches.into_iter().zip(worth).map(|((branch, share), worth)| {
            let earned = if 0.0 < sum { worth / sum } else { share };
            (branch, floor * share + (1.0 - floor) * earned)
        });
        bent.collect()
    }

    /// `n` independent specs of the bent law.
    pub fn draw(&self, law: &SpecLaw, floor: f64, n: usize, rng: &mut impl Rng) -> Vec<TaskSpec> {
        let shares = self.shares(law, floor);
        let one = |_| {
            let branch = pick(shares.iter().map(|(branch, share)| (branch, *share)), rng);
            law.complete(branch, rng)
        };
        (0..n).map(one).collect()
    }

    /// How the law is bent.
    pub fn report(&self, law: &SpecLaw, floor: f64) -> SteeringReport {
        let mut report = SteeringReport::default();
        let (mut moved, mut weight) = (0.0, 0.0);
        for ((branch, share), (_, bent)) in law.branches().into_iter().zip(self.shares(law, floor)) {
            report.gap += (share - bent).abs() / 2.0;
            if let Some(progress) = self.arms.get(&branch).and_then(Arm::progress) {
                report.known += share;
                (moved, weight) = (moved + share * progress, weight + share);
            }
            *report.domains.entry(branch.domain).or_default() += bent;
        }
        report.progress = (0.0 < weight).then(|| moved / weight);
        report
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use toolr0_tools::Context;

    use super::*;
    use crate::SpecTables;

    fn law() -> SpecLaw {
        let text = "domains: {done: 1, learning: 1, impossible: 1, new: 1}\ncontexts: {single_turn: 1}\n\
                    calls: {single_turn: {1: 1}}\nmenus: {1: [{min: 2, max: 3, weight: 1}]}";
        SpecLaw::new(serde_yaml::from_str::<SpecTables>(text).unwrap()).unwrap()
    }

    fn spec(domain: &str) -> TaskSpec {
        TaskSpec { domain: domain.into(), context: Context::SingleTurn, n_tools: 2, n_calls: 1 }
    }

    fn share(steering: &Steering, floor: f64, domain: &str) -> f64 {
        steering.shares(&law(), floor).into_iter().find(|(branch, _)| branch.domain == domain).unwrap().1
    }

    #[test]
    fn what_moves_is_asked_for_and_nothing_falls_below_the_floor() {
        let mut steering = Steering::default();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut attempts = |p: f64| (0..8).filter(|_| rng.random::<f64>() < p).count() as f64 / 8.0;
        for learning in [0.2, 0.6] {
            assert!(steering.shares(&law(), 0.2).iter().all(|(_, share)| *share == 0.25), "nothing is known");
            for _ in 0..12 {
                steering.observe(&spec("done"), attempts(1.0));
                steering.observe(&spec("impossible"), attempts(0.0));
                steering.observe(&spec("learning"), attempts(learning));
            }
            if learning == 0.2 {
                steering.end_iteration();
            }
        }
        let of = |domain| share(&steering, 0.2, domain);
        assert_eq!((of("done"), of("impossible")), (0.2 * 0.25, 0.2 * 0.25));
        assert!(of("learning") > 0.5 && of("new") > 0.2, "{} {}", of("learning"), of("new"));
        assert!(
            (steering.shares(&law(), 0.2).iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-12
        );
        let report = steering.report(&law(), 0.2);
        assert_eq!(report.domains["done"], 0.05);
        assert!((report.known - 0.75).abs() < 1e-12 && report.gap > 0.2 && report.progress.unwrap() > 0.05);
        // What is drawn is what is reported; with a floor of 1 the law is the law.
        let drawn = steering.draw(&law(), 0.2, 20_000, &mut rng);
        let n = drawn.iter().filter(|spec| spec.domain == "learning").count() as f64 / 20_000.0;
        assert!((n - of("learning")).abs() < 0.02, "{n}");
        assert!(steering.shares(&law(), 1.0).iter().all(|(_, share)| *share == 0.25));
        // What was learned is known until it is measured again.
        steering.end_iteration();
        assert!(share(&steering, 0.2, "learning") > 0.5);
        let text = serde_json::to_string(&steering).unwrap();
        assert_eq!(serde_json::from_str::<Steering>(&text).unwrap(), steering);
    }

    #[test]
    fn the_noise_of_a_frozen_solver_is_no_progress() {
        let (mut steering, mut rng) = (Steering::default(), ChaCha8Rng::seed_from_u64(5));
        for _ in 0..2 {
            for _ in 0..200 {
                let hits = (0..8).filter(|_| rng.random::<f64>() < 0.5).count();
                steering.observe(&spec("learning"), hits as f64 / 8.0);
                steering.observe(&spec("done"), f64::NAN);
            }
            steering.end_iteration();
        }
        assert!(steering.report(&law(), 0.2).progress.unwrap() < 0.02);
        assert_eq!(steering.arms.len(), 1, "what is no number is not booked");
    }
}
