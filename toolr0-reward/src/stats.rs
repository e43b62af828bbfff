//! How sure a measured accuracy is, and whether one model is better than another on the same questions.

use serde::Serialize;

/// The 97.5 % point of the standard normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// The 95 % Wilson score interval of a share, `successes` of `n`.
///
/// It stays inside 0..=1 and is sound for small `n` and for shares near 0 and 1, where the usual
/// `p +- 1.96 sqrt(p (1 - p) / n)` is not. Without any trial it is `(0, 1)`: nothing is known. More successes than
/// trials count as all of them.
///
/// # Source
///
/// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
///
/// # Examples
///
/// ```
/// use toolr0_reward::stats::wilson;
/// let (low, high) = wilson(8, 10);
/// assert!((low - 0.4902).abs() < 1e-4 && (high - 0.9433).abs() < 1e-4);
/// ```
pub fn wilson(successes: usize, n: usize) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (k, n_f) = (successes.min(n) as f64, n as f64);
    let z2 = Z95 * Z95;
    let centre = (k + z2 / 2.0) / (n_f + z2);
    let half = Z95 / (n_f + z2) * (k * (n_f - k) / n_f + z2 / 4.0).sqrt();
    // At the ends the bound is exact; rounding must not leave it a hair inside.
    let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if successes >= n { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// The chance that at least one of `k` answers is right, estimated without bias from `n` answers of which `c` are.
///
/// `k` is taken to be at most `n`, and `c` too; 0 without answers.
///
/// # Source
///
/// M. Chen et al., "Evaluating large language models trained on code", arXiv:2107.03374, equation 1:
/// `1 - C(n - c, k) / C(n, k)`.
///
/// # Examples
///
/// ```
/// use toolr0_reward::stats::pass_at_k;
/// assert_eq!(pass_at_k(4, 1, 1), 0.25);
/// assert!((pass_at_k(4, 1, 2) - 0.5).abs() < 1e-12);
/// assert_eq!(pass_at_k(4, 3, 2), 1.0);
/// ```
pub fn pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    let (k, c) = (k.min(n), c.min(n));
    if k == 0 || c == 0 {
        return 0.0;
    }
    // C(n - c, k) / C(n, k) = product of (n - c - i) / (n - i); a factor is 0 where fewer than k are wrong.
    1.0 - (0..k).map(|i| (n - c).saturating_sub(i) as f64 / (n - i) as f64).product::<f64>()
}

/// The 95 % interval of a mean over questions of several answers each, by drawing whole questions again. `None` without
/// questions.
pub fn bootstrap_mean(shares: &[f64], n_resamples: usize, seed: u64) -> Option<(f64, f64)> {
    let pairs: Vec<(f64, f64)> = shares.iter().map(|&share| (0.0, share)).collect();
    paired_bootstrap(&pairs, n_resamples, seed).map(|found| (found.low, found.high))
}

/// A difference of means and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Mean of the second scores less mean of the first.
    pub mean: f64,
    /// 2.5 % point of the resampled differences.
    pub low: f64,
    /// 97.5 % point of the resampled differences.
    pub high: f64,
}

/// Paired bootstrap of `mean(after - before)`: both models answered the same questions, so whole questions are
/// drawn again, with replacement, `n_resamples` times.
///
/// The percentile interval. The same pairs and the same `seed` give the same interval on every machine. `None`
/// without pairs or without resamples.
///
/// # Source
///
/// B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
pub fn paired_bootstrap(before_after: &[(f64, f64)], n_resamples: usize, seed: u64) -> Option<Difference> {
    let n = before_after.len();
    if n == 0 || n_resamples == 0 {
        return None;
    }
    let differences: Vec<f64> = before_after.iter().map(|(before, after)| after - before).collect();
    let mut state = seed;
    let mut means: Vec<f64> = (0..n_resamples)
        .map(|_| (0..n).map(|_| differences[below(&mut state, n)]).sum::<f64>() / n as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((share * n_resamples as f64) as usize).min(n_resamples - 1)];
    Some(Difference { mean: differences.iter().sum::<f64>() / n as f64, low: at(0.025), high: at(0.975) })
}

/// A number below `n`, from SplitMix64 and a multiplication: the bias is below `n / 2^64`. Own code, so that this
/// crate needs no generator of random numbers for one function.
fn below(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((u128::from(z) * n as u128) >> 64) as usize
}

/// The exact two-sided p-value of McNemar's test: how likely so uneven a split of the questions that only one of
/// two models got right is, if both were equally good.
///
/// `only_before` and `only_after` count these questions; those that both or neither got right say nothing. 1 where
/// there are none.
///
/// # Source
///
/// Q. McNemar, 1947, with the binomial distribution in place of its approximation:
/// `min(1, 2 * sum_{i <= min} C(n, i) / 2^n)`.
///
/// # Examples
///
/// ```
/// use toolr0_reward::stats::mcnemar_exact;
/// assert!((mcnemar_exact(1, 9) - 0.021484375).abs() < 1e-12);
/// assert_eq!(mcnemar_exact(5, 5), 1.0);
/// ```
pub fn mcnemar_exact(only_before: usize, only_after: usize) -> f64 {
    let n = only_before + only_after;
    // In logarithms, since 2^-n is zero in floating point from n = 1,075 on.
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = ln_term.exp();
    for i in 1..=only_before.min(only_after) {
        ln_term += ((n - i + 1) as f64 / i as f64).ln();
        sum += ln_term.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-6 * want.abs().max(1e-12), "got {got}, expected {want}");
    }

    #[test]
    fn wilson_at_known_points() {
        // The formula in 40 decimal digits, Python's `decimal`.
        for (k, n, low, high) in WILSON {
            let (got_low, got_high) = wilson(k, n);
            assert!(
                (got_low - low).abs() < 1e-9 && (got_high - high).abs() < 1e-9,
                "{k}/{n}: {got_low} {got_high}"
            );
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert_eq!(wilson(9, 3), wilson(3, 3));
    }

    #[test]
    fn mcnemar_at_known_points() {
        // 2 * sum of math.comb(n, i) / 2**n in exact integers.
        for (b, c, want) in MCNEMAR {
            close(mcnemar_exact(b, c), want);
            assert_eq!(mcnemar_exact(b, c), mcnemar_exact(c, b));
        }
        assert_eq!(mcnemar_exact(0, 0), 1.0);
    }

    #[test]
    fn pass_at_k_counts_every_choice_of_k_answers() {
        for (n, c) in [(5, 0), (5, 1), (5, 2), (5, 5), (1, 1), (0, 0)] {
            for k in 1..=n {
                let choices: Vec<u32> = (0u32..1 << n).filter(|set| set.count_ones() as usize == k).collect();
                let hit = choices.iter().filter(|set| **set & ((1 << c) - 1) != 0).count();
                let want = hit as f64 / choices.len() as f64;
                assert!((pass_at_k(n, c, k) - want).abs() < 1e-12, "{c} of {n}, {k}");
            }
        }
        assert_eq!(pass_at_k(0, 0, 3), 0.0);
        assert_eq!(pass_at_k(2, 9, 9), 1.0);
        assert_eq!(bootstrap_mean(&[0.5, 0.5], 100, 1), Some((0.5, 0.5)));
    }

    #[test]
    fn a_bootstrap_of_equal_differences_has_no_width() {
        let pairs = [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0)];
        assert_eq!(paired_bootstrap(&pairs, 100, 1), Some(Difference { mean: 0.5, low: 0.5, high: 0.5 }));
        assert_eq!(paired_bootstrap(&[], 100, 1), None);
        assert_eq!(paired_bootstrap(&pairs, 0, 1), None);
    }

    #[test]
    fn a_bootstrap_agrees_with_the_normal_approximation() {
        // 400 questions, 60 won and 20 lost: mean 0.1, standard error sqrt((0.2 - 0.01) / 400) = 0.02179.
        let pair = |i: usize| {
            if i < 60 {
                (0.0, 1.0)
            } else if i < 80 {
                (1.0, 0.0)
            } else {
                (1.0, 1.0)
            }
        };
        let pairs: Vec<_> = (0..400).map(pair).collect();
        let got = paired_bootstrap(&pairs, 4000, 7).unwrap();
        assert!((got.mean - 0.1).abs() < 1e-12);
        assert!((got.low - 0.0573).abs() < 0.006 && (got.high - 0.1427).abs() < 0.006, "{got:?}");
        assert_eq!(paired_bootstrap(&pairs, 4000, 7), Some(got));
        assert_ne!(paired_bootstrap(&pairs, 4000, 8), Some(got));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_narrows(k in 0usize..200, more in 0usize..200) {
            let n = k + more;
            prop_assume!(n > 0);
            let ((low, high), p) = (wilson(k, n), k as f64 / n as f64);
            prop_assert!(0.0 <= low && low <= p && p <= high && high <= 1.0);
            let (low4, high4) = wilson(4 * k, 4 * n);
            prop_assert!(high4 - low4 < high - low);
        }

        #[test]
        fn a_more_uneven_split_is_less_likely(b in 0usize..40, n in 1usize..80) {
            prop_assume!(b < n / 2);
            prop_assert!(mcnemar_exact(b, n - b) <= mcnemar_exact(b + 1, n - b - 1));
        }

        #[test]
        fn numbers_stay_below(n in 1usize..1000, mut state: u64) {
            prop_assert!(below(&mut state, n) < n);
        }
    }

    const WILSON: [(usize, usize, f64, f64); 4] = [
        (0, 10, 0.000000000000, 0.277532799863),
        (8, 10, 0.490162471537, 0.943317848546),
        (57, 114, 0.409724679232, 0.590275320768),
        (700, 700, 0.994542153247, 1.000000000000),
    ];
    const MCNEMAR: [(usize, usize, f64); 4] = [
        (1, 9, 0.021484375),
        (5, 5, 1.0),
        (20, 60, 8.580559867049611e-06),
        (900, 1100, 8.457089535503927e-06),
    ];
}
