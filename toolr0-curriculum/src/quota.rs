//! How many tasks each domain gives, and how many of them are easy, medium and hard.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_weights};

/// A domain as [`domain_quotas`] sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// The name.
    pub name: String,
    /// How much of the whole it should give, a finite number >= 0. Need not sum to 1.
    pub weight: f64,
    /// How many tasks it has.
    pub available: usize,
}

/// How many tasks each domain gives, in the order of `domains`: they sum to `min(n, all available)`, and none is
/// above what is available.
///
/// By falling weight each domain first gets its share of `n`, rounded half to even, capped by what it has and by
/// what is left. What remains is dealt out one by one, to the domains with the highest weight first, among equal
/// weights to those with the most tasks to spare. Domains without tasks do not count when shares are made; where
/// no domain with tasks has weight, all are equal. Ties go to the domain that stands first.
///
/// # Source
///
/// Section "curriculum selection" of the public release of Tool-R0: 2,000 tasks of 32 equal domains are 16 x 63
/// and 16 x 62.
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::{Domain, domain_quotas};
/// let domain = |name: &str, available| Domain { name: name.into(), weight: 1.0, available };
/// let quotas = domain_quotas(10, &[domain("math", 1), domain("news", 50), domain("travel", 60)]);
/// assert_eq!(quotas, [1, 4, 5]);
/// ```
pub fn domain_quotas(n: usize, domains: &[Domain]) -> Vec<usize> {
    let mut quotas = vec![0; domains.len()];
    let share = shares(domains);
    let mut by_share: Vec<usize> = (0..domains.len()).filter(|&i| domains[i].available > 0).collect();
    by_share.sort_by(|&a, &b| share[b].total_cmp(&share[a]));

    let mut left = n;
    for &i in &by_share {
        let want = (n as f64 * share[i]).round_ties_even() as usize;
        quotas[i] = want.min(domains[i].available).min(left);
        left -= quotas[i];
    }

    let spare = |quotas: &[usize], i: usize| domains[i].available - quotas[i];
    let mut open = by_share;
    open.retain(|&i| spare(&quotas, i) > 0);
    open.sort_by(|&a, &b| share[b].total_cmp(&share[a]).then(spare(&quotas, b).cmp(&spare(&quotas, a))));
    while left > 0 && !open.is_empty() {
        for &i in open.iter().take(left) {
            quotas[i] += 1;
        }
        left -= left.min(open.len());
        open.retain(|&i| spare(&quotas, i) > 0);
    }
    quotas
}

/// Each domain's share of the whole. Made relative twice, over all and then over those with tasks, as the
/// release does: once would round some halves to the other side.
fn shares(domains: &[Domain]) -> Vec<f64> {
    let all: f64 = domains.iter().map(|d| d.weight).sum();
    let here = |d: &Domain| if d.available > 0 { d.weight / all } else { 0.0 };
    let seen: f64 = domains.iter().map(here).sum();
    if seen > 0.0 {
        return domains.iter().map(|d| here(d) / seen).collect();
    }
    let n_here = domains.iter().filter(|d| d.available > 0).count();
    domains.iter().map(|d| if d.available > 0 { 1.0 / n_here as f64 } else { 0.0 }).collect()
}

/// How much of the curriculum is easy, medium and hard. The default is the paper's 20, 50 and 30 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawMix", into = "RawMix")]
pub struct Mix {
    easy: f64,
    medium: f64,
    hard: f64,
}

/// The unchecked form in a config file. All three are named, since they are only relative to one another.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Mix", deny_unknown_fields)]
struct RawMix {
    /// Share of easy tasks, relative to the other two; all three are given together.
    easy: f64,
    /// Share of medium tasks.
    medium: f64,
    /// Share of hard tasks.
    hard: f64,
}

impl TryFrom<RawMix> for Mix {
    type Error = Error;

    fn try_from(RawMix { easy, medium, hard }: RawMix) -> Result<Self> {
        Self::new(easy, medium, hard)
    }
}

impl From<Mix> for RawMix {
    fn from(Mix { easy, medium, hard }: Mix) -> Self {
        Self { easy, medium, hard }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self { easy: 0.2, medium: 0.5, hard: 0.3 }
    }
}

impl Mix {
    /// A mix of these weights, which need not sum to 1.
    ///
    /// # Errors
    ///
    /// [`Error::Weight`] or [`Error::WeightSum`] unless all are finite and >= 0 and one is > 0.
    pub fn new(easy: f64, medium: f64, hard: f64) -> Result<Self> {
        check_weights("mix", [("easy", &easy), ("medium", &medium), ("hard", &hard)])?;
        Ok(Self { easy, medium, hard })
    }

    /// The shares of easy, medium and hard, which sum to 1.
    pub fn shares(&self) -> [f64; 3] {
        let sum = self.easy + self.medium + self.hard;
        [self.easy / sum, self.medium / sum, self.hard / sum]
    }
}

/// How many of `n` tasks are easy, medium and hard: easy and medium rounded half to even, hard the rest.
///
/// For a small `n` the rounding is coarse and one-sided: the one task of `n = 1` is hard. See
/// [`crate::select::Rounding`] for the way out.
///
/// # Source
///
/// The public release of Tool-R0: 62 tasks are 12, 31 and 19.
pub fn difficulty_targets(n: usize, mix: &Mix) -> [usize; 3] {
    let [easy, medium, _] = mix.shares();
    let easy = ((n as f64 * easy).round_ties_even() as usize).min(n);
    let medium = ((n as f64 * medium).round_ties_even() as usize).min(n - easy);
    [easy, medium, n - easy - medium]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn domains(of: &[(f64, usize)]) -> Vec<Domain> {
        let domain = |(i, &(weight, available))| Domain { name: format!("d{i}"), weight, available };
        of.iter().enumerate().map(domain).collect()
    }

    #[test]
    fn two_thousand_of_thirty_two_domains() {
        let mut all = domains(&[(1.0 / 32.0, 300); 32]);
        for domain in &mut all[8..24] {
            domain.available = 310;
        }
        let quotas = domain_quotas(2000, &all);
        assert!(
            quotas[8..24].iter().all(|&q| q == 63),
            "the leftover goes where there is most to spare: {quotas:?}"
        );
        assert_eq!(quotas.iter().filter(|&&q| q == 62).count(), 16);
    }

    #[test]
    fn a_domain_without_weight_gives_only_what_the_others_cannot() {
        assert_eq!(domain_quotas(8, &domains(&[(1.0, 3), (0.0, 9), (2.0, 4)])), [3, 1, 4]);
        assert_eq!(domain_quotas(4, &domains(&[(0.0, 3), (0.0, 9)])), [2, 2], "no weight at all: equal");
        assert_eq!(domain_quotas(4, &domains(&[(1.0, 0), (0.0, 9)])), [0, 4], "the weighted one is empty");
        assert_eq!(domain_quotas(4, &[]), [0; 0]);
    }

    #[test]
    fn mixes_are_checked() {
        assert!(Mix::new(0.0, 0.0, 0.0).is_err());
        assert!(Mix::new(-1.0, 1.0, 1.0).is_err());
        let mix: Mix = serde_yaml::from_str("{easy: 1, medium: 2, hard: 1}").unwrap();
        assert_eq!(mix.shares(), [0.25, 0.5, 0.25]);
        let err = serde_yaml::from_str::<Mix>("{easy: 0, medium: 0, hard: 0}").unwrap_err().to_string();
        assert!(err.contains("the weights of `mix` sum to 0"), "{err}");
        assert!(serde_yaml::from_str::<Mix>("{easy: 1, medium: 1, harder: 1}").is_err());
    }

    proptest! {
        #[test]
        fn quotas_sum_up_and_keep_their_caps(of in prop::collection::vec((0u8..5, 0usize..30), 0..12), n in 0usize..200) {
            let of: Vec<_> = of.into_iter().map(|(w, a)| (f64::from(w), a)).collect();
            let domains = domains(&of);
            let quotas = domain_quotas(n, &domains);
            let available: usize = domains.iter().map(|d| d.available).sum();
            prop_assert_eq!(quotas.iter().sum::<usize>(), n.min(available));
            for (quota, domain) in quotas.iter().zip(&domains) {
                prop_assert!(*quota <= domain.available);
            }
            prop_assert_eq!(domain_quotas(n, &domains), quotas);
        }

        /// More weight never gives less, where supply does not bind.
        #[test]
        fn more_weight_gives_no_less(weights in prop::collection::vec(0u8..9, 1..10), n in 0usize..100) {
            let of: Vec<_> = weights.iter().map(|&w| (f64::from(w), 1000)).collect();
            let quotas = domain_quotas(n, &domains(&of));
            for (i, j) in (0..quotas.len()).flat_map(|i| (0..quotas.len()).map(move |j| (i, j))) {
                if weights[i] > weights[j] { prop_assert!(quotas[i] >= quotas[j]); }
            }
        }

        #[test]
        fn targets_sum_to_n(n in 0usize..500, easy in 0u8..5, medium in 0u8..5, hard in 0u8..5) {
            prop_assume!(easy + medium + hard > 0);
            let mix = Mix::new(easy.into(), medium.into(), hard.into()).unwrap();
            let targets = difficulty_targets(n, &mix);
            prop_assert_eq!(targets.iter().sum::<usize>(), n);
            for (target, share) in targets.iter().zip(mix.shares()) {
                prop_assert!((*target as f64 - n as f64 * share).abs() <= 1.0 + 1e-9);
            }
        }
    }
}
