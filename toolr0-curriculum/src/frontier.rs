//! The edge of what the solver can do: a task is worth most there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::attempts::Attempts;
use crate::error::{Error, Result};

/// How the reward falls outside the band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Like a Gaussian of width sigma, from each end of the band.
    #[default]
    Gaussian,
    /// To 0 at once: the paper's ablation, 3.74 points worse than the Gaussian.
    HardCliff,
}

/// The band of success rates that is worth most, and how the worth falls outside it.
///
/// # Source
///
/// Tool-R0, arXiv:2602.21320, the difficulty part of the curriculum reward:
///
/// ```text
/// score(p) = 0                                if p < 1/K, before anything else
///          = 1                                if low <= p <= high
///          = exp(-(p - low)^2 / (2 sigma^2))  if p < low
///          = exp(-(p - high)^2 / (2 sigma^2)) if p > high
/// ```
///
/// with low 0.25, high 0.75, sigma 0.12 (the default).
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::{Attempts, Frontier};
/// let frontier = Frontier::default();
/// assert_eq!(frontier.score(Attempts::new(4, 8)?), Some(1.0));
/// assert_eq!(frontier.score(Attempts::new(0, 8)?), Some(0.0));
/// assert_eq!(frontier.score(Attempts::default()), None); // unknown is not zero
/// # Ok::<(), toolr0_curriculum::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawFrontier", into = "RawFrontier")]
pub struct Frontier {
    low: f64,
    high: f64,
    sigma: f64,
    shape: Shape,
}

/// The unchecked form in a config file; what it leaves out is the paper's.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Frontier", deny_unknown_fields, default)]
struct RawFrontier {
    /// The least success rate that is paid in full.
    low: f64,
    /// The largest one.
    high: f64,
    /// Width of the fall outside the band. Not used by `hard_cliff`.
    sigma: f64,
    /// How the reward falls outside the band.
    shape: Shape,
}

impl Default for RawFrontier {
    fn default() -> Self {
        Frontier::default().into()
    }
}

impl TryFrom<RawFrontier> for Frontier {
    type Error = Error;

    fn try_from(RawFrontier { low, high, sigma, shape }: RawFrontier) -> Result<Self> {
        Self::new(low, high, sigma, shape)
    }
}

impl From<Frontier> for RawFrontier {
    fn from(Frontier { low, high, sigma, shape }: Frontier) -> Self {
        Self { low, high, sigma, shape }
    }
}

impl Default for Frontier {
    fn default() -> Self {
        Self { low: 0.25, high: 0.75, sigma: 0.12, shape: Shape::Gaussian }
    }
}

impl Frontier {
    /// A band `low..=high` of success rates with a fall-off of width `sigma`.
    ///
    /// # Errors
    ///
    /// [`Error::Frontier`] unless `0 <= low <= high <= 1` and `sigma` is finite and > 0.
    pub fn new(low: f64, high: f64, sigma: f64, shape: Shape) -> Result<Self> {
        let in_order = 0.0 <= low && low <= high && high <= 1.0;
        if in_order && sigma > 0.0 && sigma.is_finite() {
            Ok(Self { low, high, sigma, shape })
        } else {
            Err(Error::Frontier { low, high, sigma })
        }
    }

    /// Lower end of the band.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// Upper end of the band.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Width of the fall-off.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// How the reward falls.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The difficulty reward in 0..=1 of a task with these attempts; `None` where no outcome is known.
    ///
    /// `K` is the number of *known* outcomes, so a crashed attempt does not turn one success of seven into less
    /// than one of eight.
    pub fn score(&self, attempts: Attempts) -> Option<f64> {
        attempts.rate().map(|rate| self.score_rate(rate, attempts.tried()))
    }

    /// The difficulty reward in 0..=1 of a success `rate` in 0..=1 that was measured on `k` attempts.
    pub fn score_rate(&self, rate: f64, k: u32) -> f64 {
        self.worth(rate, 1.0 / f64::from(k))
    }

    /// The worth in 0..=1 of a task whose success rate is `rate`; below `floor` it is 0.
    pub fn worth(&self, rate: f64, floor: f64) -> f64 {
        if rate < floor {
            return 0.0;
        }
        let outside = if rate < self.low {
            rate - self.low
        } else if rate > self.high {
            rate - self.high
        } else {
            return 1.0;
        };
        match self.shape {
            Shape::Gaussian => (-(outside * outside) / (2.0 * self.sigma * self.sigma)).exp(),
            Shape::HardCliff => 0.0,
        }
    }
}

/// How hard a task is for the solver of this iteration. Ordered from easy to hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difficulty {
    /// Solved nearly always.
    Easy,
    /// Solved about as often as not.
    Medium,
    /// Solved now and then.
    Hard,
}

impl Difficulty {
    /// All three, easy to hard.
    pub const ALL: [Self; 3] = [Self::Easy, Self::Medium, Self::Hard];
}

impl fmt::Display for Difficulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Easy => "easy",
            Self::Medium => "medium",
            Self::Hard => "hard",
        })
    }
}

/// Where the buckets end: easy above `easy_above`, hard below `hard_below`, medium between, ends included.
///
/// The paper buckets by pass@K and does not say where. Our default is 0.75 and 0.5. The lower bound is not the
/// frontier's 0.25, because cross-verification keeps only tasks with a rate of at least 0.2: with eight
/// attempts nothing would then be hard. With 0.5, eight attempts give hard 2 and 3, medium 4 to 6, easy 7 and 8.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawBands", into = "RawBands")]
pub struct Bands {
    hard_below: f64,
    easy_above: f64,
}

/// The unchecked form in a config file.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Bands", deny_unknown_fields, default)]
struct RawBands {
    /// Tasks solved more rarely are hard.
    hard_below: f64,
    /// Tasks solved more often are easy.
    easy_above: f64,
}

impl Default for RawBands {
    fn default() -> Self {
        Bands::default().into()
    }
}

impl TryFrom<RawBands> for Bands {
    type Error = Error;

    fn try_from(RawBands { hard_below, easy_above }: RawBands) -> Result<Self> {
        Self::new(hard_below, easy_above)
    }
}

impl From<Bands> for RawBands {
    fn from(Bands { hard_below, easy_above }: Bands) -> Self {
        Self { hard_below, easy_above }
    }
}

impl Default for Bands {
    fn default() -> Self {
        Self { hard_below: 0.5, easy_above: 0.75 }
    }
}

impl Bands {
    /// Buckets with these bounds.
    ///
    /// # Errors
    ///
    /// [`Error::Bands`] unless `0 <= hard_below <= easy_above <= 1`.
    pub fn new(hard_below: f64, easy_above: f64) -> Result<Self> {
        if 0.0 <= hard_below && hard_below <= easy_above && easy_above <= 1.0 {
            Ok(Self { hard_below, easy_above })
        } else {
            Err(Error::Bands { hard_below, easy_above })
        }
    }

    /// The bucket of a measured success `rate` (fault 9 of the public release: it asked a model for one word).
    pub fn bucket(&self, rate: f64) -> Difficulty {
        if rate > self.easy_above {
            Difficulty::Easy
        } else if rate < self.hard_below {
            Difficulty::Hard
        } else {
            Difficulty::Medium
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn eight_attempts_reach_the_values_of_the_paper() {
        let frontier = Frontier::default();
        let want = [0.0, 0.5813, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5813, 0.1142];
        for (solved, want) in (0..).zip(want) {
            let got = frontier.score(Attempts::new(solved, 8).unwrap()).unwrap();
            assert!((got - want).abs() < 5e-5, "{solved}/8: {got}, expected {want}");
        }
    }

    #[test]
    fn a_hard_cliff_has_no_skirts() {
        let frontier = Frontier::new(0.25, 0.75, 0.12, Shape::HardCliff).unwrap();
        let got: Vec<_> = (0..=8).map(|s| frontier.score(Attempts::new(s, 8).unwrap()).unwrap()).collect();
        assert_eq!(got, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn never_solved_is_worth_nothing_even_inside_the_band() {
        let frontier = Frontier::new(0.0, 1.0, 0.12, Shape::Gaussian).unwrap();
        assert_eq!(frontier.score(Attempts::new(0, 8).unwrap()), Some(0.0));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (low, high, sigma) in
            [(-0.1, 0.5, 0.1), (0.6, 0.5, 0.1), (0.1, 1.1, 0.1), (0.1, 0.5, 0.0), (f64::NAN, 0.5, 0.1)]
        {
            assert!(Frontier::new(low, high, sigma, Shape::Gaussian).is_err(), "{low} {high} {sigma}");
        }
        assert!(Bands::new(0.8, 0.2).is_err());
        let yaml = serde_yaml::from_str::<Frontier>("{low: 0.9}").unwrap_err().to_string();
        assert!(yaml.contains("frontier low 0.9, high 0.75"), "{yaml}");
        let frontier: Frontier = serde_yaml::from_str("{shape: hard_cliff}").unwrap();
        assert_eq!((frontier.shape(), frontier.sigma()), (Shape::HardCliff, 0.12));
        assert!(serde_yaml::from_str::<Bands>("{hard_under: 0.9}").is_err());
    }

    #[test]
    fn buckets_of_eight_attempts() {
        let bands = Bands::default();
        let names: Vec<_> = (0..=8).map(|s| bands.bucket(f64::from(s) / 8.0).to_string()).collect();
        assert_eq!(names[..4], ["hard"; 4]);
        assert_eq!(names[4..7], ["medium"; 3]);
        assert_eq!(names[7..], ["easy"; 2]);
    }

    proptest! {
        #[test]
        fn a_score_is_a_share_and_grows_towards_the_band(solved in 0u32..20, more in 0u32..20, low in 0.0..1.0f64, width in 0.0..1.0f64, sigma in 0.01..1.0f64) {
            let frontier = Frontier::new(low, (low + width).min(1.0), sigma, Shape::Gaussian).unwrap();
            let k = solved + more + 1;
            let (p, q) = (f64::from(solved) / f64::from(k), f64::from(solved + 1) / f64::from(k));
            let (at_p, at_q) = (frontier.score_rate(p, k), frontier.score_rate(q, k));
            prop_assert!((0.0..=1.0).contains(&at_p));
            if q <= frontier.low() { prop_assert!(at_q >= at_p); }
            if p > frontier.high() { prop_assert!(at_q <= at_p); }
        }

        #[test]
        fn a_harder_rate_is_never_in_an_easier_bucket(a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            let bands = Bands::default();
            if a > b { prop_assert!(bands.bucket(a) <= bands.bucket(b)); }
        }
    }
}
