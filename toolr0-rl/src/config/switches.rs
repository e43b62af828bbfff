//! Mechanisms beyond the paper: each is off unless a key of it is set.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A generator that repeats itself is paid less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoveltyConfig {
    /// What a task that says nothing new costs at most, reward units. Default 0.5.
    pub penalty: f64,
    /// From which similarity on, 0 to 1, a question or a menu is like another. Default 0.7.
    pub alike: f64,
}

impl Default for NoveltyConfig {
    fn default() -> Self {
        Self { penalty: 0.5, alike: 0.7 }
    }
}

/// The law of specs is bent toward what the solver is learning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SteeringConfig {
    /// Share of the specs that the law draws as it is, which no branch falls below. Default 0.3; 1 would bend nothing.
    pub floor: f64,
}

impl Default for SteeringConfig {
    fn default() -> Self {
        Self { floor: 0.3 }
    }
}

/// Tasks that no tool of the menu serves, whose gold is to call nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AbstentionConfig {
    /// Share of specs that ask for such a task. Default 0.1.
    pub share: f64,
    /// Share of the sound candidates of a dataset whose tools are taken off the menu, which leaves the near misses: such a
    /// task needs no generator that can write one. Default 0.
    pub withdrawn: f64,
}

impl Default for AbstentionConfig {
    fn default() -> Self {
        Self { share: 0.1, withdrawn: 0.0 }
    }
}

/// Judge and teacher are tried on tasks whose verdicts are known, and not asked where they fail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// The least share of known verdicts that must be given, right and wrong tasks weighing the same. Default 0.75.
    pub agreement: f64,
    /// The least share of swapped values that must be noticed. Default 0.75.
    pub canary: f64,
    /// How far, 0 to 1, verdicts may move with the order of the menu or the length of the question. Default 0.25.
    pub bias: f64,
}

impl Default for TrustConfig {
    fn default() -> Self {
        Self { agreement: 0.75, canary: 0.75, bias: 0.25 }
    }
}

fn check(option: &'static str, value: f64, fits: bool, expected: &str) -> Result<()> {
    match fits {
        true => Ok(()),
        false => Err(Error::Config { option, expected: expected.into(), got: value.to_string() }),
    }
}

fn share(option: &'static str, value: f64) -> Result<()> {
    check(option, value, (0.0..=1.0).contains(&value), "0 to 1")
}

impl NoveltyConfig {
    pub(super) fn check(&self) -> Result<()> {
        let positive = self.penalty.is_finite() && 0.0 < self.penalty;
        check("novelty.penalty", self.penalty, positive, "a number above 0")?;
        let fits = 0.0 < self.alike && self.alike <= 1.0;
        check("novelty.alike", self.alike, fits, "more than 0, up to 1")
    }
}

impl SteeringConfig {
    pub(super) fn check(&self) -> Result<()> {
        let fits = 0.0 < self.floor && self.floor < 1.0;
        check("steering.floor", self.floor, fits, "more than 0 and less than 1")
    }
}

impl AbstentionConfig {
    pub(super) fn check(&self) -> Result<()> {
        share("abstention.share", self.share)?;
        share("abstention.withdrawn", self.withdrawn)?;
        let some = 0.0 < self.share || 0.0 < self.withdrawn;
        check("abstention.share", self.share, some, "more than 0, or abstention.withdrawn above 0")
    }
}

impl TrustConfig {
    pub(super) fn check(&self) -> Result<()> {
        share("trust.agreement", self.agreement)?;
        share("trust.canary", self.canary)?;
        share("trust.bias", self.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunConfig;

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let refused = |change: fn(&mut RunConfig), key: &str| {
            let mut config = RunConfig::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        refused(
            |c| c.novelty = Some(NoveltyConfig { penalty: 0.0, ..Default::default() }),
            "novelty.penalty",
        );
        refused(|c| c.novelty = Some(NoveltyConfig { alike: 1.5, ..Default::default() }), "novelty.alike");
        refused(|c| c.steering = Some(SteeringConfig { floor: 0.0 }), "steering.floor");
        refused(|c| c.abstention = Some(AbstentionConfig { share: 1.1, withdrawn: 0.0 }), "abstention.share");
        refused(
            |c| c.abstention = Some(AbstentionConfig { share: 0.0, withdrawn: 0.0 }),
            "abstention.withdrawn",
        );
        refused(|c| c.trust = Some(TrustConfig { canary: f64::NAN, ..Default::default() }), "trust.canary");
        refused(|c| c.reward.solver.needless = -1.0, "reward.solver.needless");
    }
}
