//! What happens to rewards and groups before advantages: length penalties, cut-off rollouts, groups without
//! a signal.

use crate::error::{Error, Result};

/// DAPO's soft punishment of length, to be added to a reward: 0 up to `max_len - cache` tokens, then falling
/// linearly to -1 at `max_len`, and -1 beyond.
///
/// # Shapes and units
///
/// - `len`, `max_len`, `cache`: tokens; with `cache = 0` the punishment is a step after `max_len`.
/// - returns a number in [-1, 0].
///
/// # Source
///
/// DAPO, arXiv:2503.14476, equation 13.
///
/// # Errors
///
/// [`Error::Config`] if `cache > max_len`.
///
/// # Examples
///
/// ```
/// use toolr0_rl::shaping::overlong_punishment;
/// assert_eq!(overlong_punishment(90, 100, 20)?, -0.5);
/// # Ok::<(), toolr0_rl::Error>(())
/// ```
pub fn overlong_punishment(len: usize, max_len: usize, cache: usize) -> Result<f64> {
    let Some(free) = max_len.checked_sub(cache) else {
        let expected = format!("at most the maximal length {max_len}");
        return Err(Error::Config { option: "rl.overlong.cache", expected, got: cache.to_string() });
    };
    Ok(match len {
        len if len <= free => 0.0,
        len if len <= max_len => -((len - free) as f64) / cache as f64,
        _ => -1.0,
    })
}

/// DAPO's overlong filter: rows cut off by the token budget lose their mask, so they teach nothing. Returns how
/// many rows lost at least one loss token.
///
/// "Cut off" is a state that the sampler knows; the last token does not tell, since in a tool loop it may be the
/// tool's.
///
/// # Shapes and units
///
/// - `mask`: `(tokens,)`, rows one after the other; `row_lens`, `cut_off`: `(b,)`.
///
/// # Errors
///
/// [`Error::Length`] if slices disagree; the mask is then untouched.
pub fn mask_cut_off(mask: &mut [bool], row_lens: &[usize], cut_off: &[bool]) -> Result<usize> {
    let tokens: usize = row_lens.iter().sum();
    for (name, got, expected) in [("mask", mask.len(), tokens), ("cut_off", cut_off.len(), row_lens.len())] {
        if got != expected {
            return Err(Error::Length { name, expected, got });
        }
    }
    let (mut rest, mut lost) = (mask, 0);
    for (&len, &cut) in row_lens.iter().zip(cut_off) {
        let (row, tail) = rest.split_at_mut(len);
        if cut {
            lost += usize::from(row.contains(&true));
            row.fill(false);
        }
        rest = tail;
    }
    Ok(lost)
}

/// How many groups of a batch can teach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// All groups.
    pub groups: usize,
    /// Groups whose scorable outcomes are all equal, or that have at most one: their advantages are 0.
    pub flat: usize,
    /// Groups without any scorable outcome; they are counted in `flat` too.
    pub unscorable: usize,
}

impl GroupCounts {
    /// `flat / groups`, 0 of no groups.
    pub fn flat_share(&self) -> f64 {
        self.flat as f64 / self.groups.max(1) as f64
    }
}

/// Counts groups without variance.
///
/// # Shapes and units
///
/// - `rewards`: `(g * n,)`, the `n` rollouts of a task adjacent; NaN where unscorable.
///
/// # Errors
///
/// [`Error::GroupSize`] if the rewards are not whole groups.
pub fn zero_variance(rewards: &[f64], n: usize) -> Result<GroupCounts> {
    let keep = groups_with_signal(rewards, n)?;
    let unscorable = rewards.chunks_exact(n).filter(|group| group.iter().all(|x| x.is_nan())).count();
    Ok(GroupCounts { groups: keep.len(), flat: keep.iter().filter(|k| !**k).count(), unscorable })
}

/// Dynamic sampling's filter: which groups have outcomes that differ.
///
/// Pass the *raw* outcome of the task (solved or not, the share of checks passed), never the shaped reward: a
/// length penalty makes every group look informative, and training on those noise groups has destroyed policies
/// within 40 steps (verl-recipe, pull request 125).
///
/// # Shapes and units
///
/// - `outcomes`: `(g * n,)`, the `n` rollouts of a task adjacent; NaN where unscorable.
/// - returns `(g,)`, true to keep.
///
/// # Source
///
/// DAPO, arXiv:2503.14476, section 3.2.
///
/// # Errors
///
/// [`Error::GroupSize`] if the outcomes are not whole groups.
pub fn groups_with_signal(outcomes: &[f64], n: usize) -> Result<Vec<bool>> {
    if n == 0 || !outcomes.len().is_multiple_of(n) {
        return Err(Error::GroupSize { n, least: 1, got: outcomes.len() });
    }
    let differs = |group: &[f64]| {
        let mut scored = group.iter().filter(|x| !x.is_nan());
        let first = scored.next();
        scored.any(|x| Some(x) != first)
    };
    Ok(outcomes.chunks_exact(n).map(differs).collect())
}

/// What dynamic sampling does after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRound {
    /// The batch is full; groups beyond it may be thrown away.
    Enough,
    /// Sample more prompts: this many groups are missing.
    Sample {
        /// Groups still wanted.
        missing: usize,
    },
    /// The bound on rounds is reached. Train on what there is, and say so.
    GiveUp {
        /// Groups still wanted.
        missing: usize,
    },
}

/// Decides whether dynamic sampling goes on: `kept` of `wanted` groups after `rounds` rounds of at most
/// `max_rounds`. Without the bound, a policy that solves everything (or nothing) would sample for ever.
///
/// # Examples
///
/// ```
/// use toolr0_rl::shaping::{NextRound, next_round};
/// assert_eq!(next_round(5, 8, 1, 3), NextRound::Sample { missing: 3 });
/// assert_eq!(next_round(5, 8, 3, 3), NextRound::GiveUp { missing: 3 });
/// assert_eq!(next_round(9, 8, 3, 3), NextRound::Enough);
/// ```
pub fn next_round(kept: usize, wanted: usize, rounds: usize, max_rounds: usize) -> NextRound {
    match wanted.saturating_sub(kept) {
        0 => NextRound::Enough,
        missing if rounds < max_rounds => NextRound::Sample { missing },
        missing => NextRound::GiveUp { missing },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punishment_by_hand() {
        for (len, want) in [(0, 0.0), (80, 0.0), (81, -0.05), (90, -0.5), (100, -1.0), (101, -1.0)] {
            assert_eq!(overlong_punishment(len, 100, 20).unwrap(), want, "{len} tokens");
        }
        assert_eq!(overlong_punishment(100, 100, 0).unwrap(), 0.0);
        assert_eq!(overlong_punishment(101, 100, 0).unwrap(), -1.0);
        assert!(overlong_punishment(1, 10, 11).is_err());
    }

    #[test]
    fn cut_off_rows_lose_their_mask() {
        let mut mask = [true, true, false, true, false];
        assert_eq!(mask_cut_off(&mut mask, &[2, 2, 1], &[false, true, true]).unwrap(), 1);
        assert_eq!(mask, [true, true, false, false, false]);
        assert!(mask_cut_off(&mut mask, &[2, 2], &[false, true]).is_err());
        assert!(mask_cut_off(&mut mask, &[2, 3], &[false]).is_err());
    }

    #[test]
    fn flat_groups_are_counted() {
        const NAN: f64 = f64::NAN;
        let outcomes = [1.0, 1.0, 0.0, 1.0, NAN, 1.0, NAN, NAN];
        assert_eq!(groups_with_signal(&outcomes, 2).unwrap(), [false, true, false, false]);
        let counts = zero_variance(&outcomes, 2).unwrap();
        assert_eq!(counts, GroupCounts { groups: 4, flat: 3, unscorable: 1 });
        assert_eq!(counts.flat_share(), 0.75);
        assert_eq!(zero_variance(&outcomes, 4).unwrap().flat, 1);
        assert!(groups_with_signal(&outcomes, 3).is_err());
        assert!(groups_with_signal(&outcomes, 0).is_err());
    }

    /// Shaping hides flatness, which is why the filter takes raw outcomes.
    #[test]
    fn a_shaped_reward_is_no_outcome() {
        let raw = [1.0, 1.0];
        let shaped = [raw[0], raw[1] + overlong_punishment(90, 100, 20).unwrap()];
        assert_eq!(groups_with_signal(&raw, 2).unwrap(), [false]);
        assert_eq!(groups_with_signal(&shaped, 2).unwrap(), [true]);
    }
}
