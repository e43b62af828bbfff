//! From rewards to advantages: how much better a rollout did than its baseline.
//!
//! A reward of NaN marks a rollout that could not be scored (a crashed judge, a timeout). It is not a low
//! reward: it leaves every baseline, and its own advantage is exactly `0.0`.
//!
//! Rewards are centred on their group's first reward before anything is summed. So a group of equal rewards
//! gives exactly `0.0`, whatever its rewards are, and a constant bonus to a group changes no bit that the
//! bonus itself does not round away.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Added to a standard deviation before dividing by it; TRL's value (verl takes 1e-6, the papers are silent).
const SCALE_EPS: f64 = 1e-4;

/// Added to a variance before whitening; verl's value.
const WHITEN_EPS: f64 = 1e-8;

/// Which baseline a rollout is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// `(R - mean_group) / (std + 1e-4)`, the deviation chosen by [`Scale`] (DeepSeekMath, arXiv:2402.03300,
    /// section 4.1.2; [`Scale::None`] is Dr. GRPO, arXiv:2503.20783; [`Scale::Batch`] is Lite PPO, arXiv:2508.08221).
    #[default]
    Grpo,
    /// `R - mean of the others in the group` (RLOO, arXiv:2402.14740).
    Rloo,
    /// `R` whitened over the batch, no group baseline (REINFORCE++, arXiv:2501.03262). Its per-token form is
    /// [`token_returns`].
    ReinforcePlusPlus,
    /// `R - mean_group`, whitened over the batch (the same paper; verl and OpenRLHF).
    ReinforcePlusPlusBaseline,
    /// `R - sum(len R) / sum(len)` over the group: the length-weighted, variance-optimal baseline
    /// (OPO, arXiv:2505.23585).
    Opo,
    /// `(R - mean_group) / mean_group`; 0 unless the mean is positive (MaxRL, arXiv:2602.02710). For rewards
    /// that are not negative.
    MaxRl,
    /// Each reward term is normalised in its group, the terms are summed with [`AdvantageConfig::weights`], and
    /// the sums are normalised over the batch (GDPO; TRL's `normalize_then_sum`). See [`Rewards::terms`].
    Gdpo,
    /// `R` minus a running mean per role (SPIRAL, arXiv:2506.24119). It has a memory: use [`RoleBaseline`].
    Rae,
    /// `R - mean_group`, a lone member 0: attempts at one proposed problem, or proposals from one seed
    /// (prime-rl's `hierarchical_grpo`). Groups of uneven size go through [`peer_advantages`].
    Hierarchical,
}

impl fmt::Display for Estimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpo => "grpo",
            Self::Rloo => "rloo",
            Self::ReinforcePlusPlus => "reinforce_plus_plus",
            Self::ReinforcePlusPlusBaseline => "reinforce_plus_plus_baseline",
            Self::Opo => "opo",
            Self::MaxRl => "max_rl",
            Self::Gdpo => "gdpo",
            Self::Rae => "rae",
            Self::Hierarchical => "hierarchical",
        })
    }
}

/// The deviation that GRPO divides by. Deviations are of the sample (`n - 1`), as TRL's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Of the group.
    #[default]
    Group,
    /// Of all rewards in the batch.
    Batch,
    /// None: advantages stay in reward units.
    None,
}

/// Which advantages to compute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdvantageConfig {
    /// Default `grpo`, as in the paper.
    pub estimator: Estimator,
    /// Of estimator grpo alone; default [`Scale::Group`], as in the paper.
    pub scale: Option<Scale>,
    /// Weights of the reward terms, of estimator gdpo alone; default all 1.
    pub weights: Option<Vec<f64>>,
    /// Memory of estimator rae alone, in [0, 1); default .95 (SPIRAL).
    pub decay: Option<f64>,
}

impl AdvantageConfig {
    /// Checks ranges, and that no option is set that the estimator would ignore.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] or [`Error::UnusedOption`].
    pub fn check(&self) -> Result<()> {
        let estimator = self.estimator;
        for (option, set, user) in [
            ("scale", self.scale.is_some(), Estimator::Grpo),
            ("weights", self.weights.is_some(), Estimator::Gdpo),
            ("decay", self.decay.is_some(), Estimator::Rae),
        ] {
            if set && estimator != user {
                return Err(Error::UnusedOption { option, user: format!("estimator `{estimator}`") });
            }
        }
        if let Some(decay) = self.decay
            && !(0.0..1.0).contains(&decay)
        {
            let (expected, got) = ("a number in [0, 1)".to_owned(), decay.to_string());
            return Err(Error::Config { option: "decay", expected, got });
        }
        if let Some(weight) = self.weights.iter().flatten().find(|w| !w.is_finite()) {
            let (expected, got) = ("finite numbers".to_owned(), weight.to_string());
            return Err(Error::Config { option: "weights", expected, got });
        }
        Ok(())
    }
}

/// The rewards of a batch of `g` groups of `n` rollouts, those of a group adjacent.
#[derive(Clone, Copy, Debug)]
pub struct Rewards<'a> {
    /// Total reward of each rollout, `(g * n,)`; NaN where it could not be scored. Gdpo does not look at it.
    pub total: &'a [f64],
    /// Rollouts per group.
    pub n: usize,
    /// Loss tokens of each rollout, `(g * n,)`. Opo needs them; with them, the reinforce_plus_plus estimators
    /// whiten over tokens, as verl does, and without them over rollouts.
    pub lengths: Option<&'a [usize]>,
    /// The reward terms one by one, each `(g * n,)`, NaN where that term has no value. Gdpo needs them.
    pub terms: &'a [&'a [f64]],
}

/// Scores each rollout against its group, from total rewards alone. See [`advantages`] for the rest.
///
/// # Shapes and units
///
/// - `rewards`: `(g * n,)`, the `n` rollouts of a task adjacent; NaN where unscorable.
/// - returns `(g * n,)`, same order: standard deviations, or reward units where the estimator does not divide.
///
/// # Errors
///
/// As [`advantages`].
///
/// # Examples
///
/// ```
/// use toolr0_rl::advantage::{AdvantageConfig, Scale, group_advantages};
/// let config = AdvantageConfig { scale: Some(Scale::None), ..AdvantageConfig::default() };
/// let a = group_advantages(&[1.0, 0.0, 0.0, 1.0], 4, &config)?;
/// assert_eq!(a, [0.5, -0.5, -0.5, 0.5]);
/// // A rollout that could not be scored neither moves nor shifts the others' baseline.
/// let a = group_advantages(&[1.0, 0.0, f64::NAN, 0.5], 4, &config)?;
/// assert_eq!(a, [0.5, -0.5, 0.0, 0.0]);
/// # Ok::<(), toolr0_rl::Error>(())
/// ```
pub fn group_advantages(rewards: &[f64], n: usize, config: &AdvantageConfig) -> Result<Vec<f64>> {
    advantages(&Rewards { total: rewards, n, lengths: None, terms: &[] }, config)
}

/// Scores each rollout against its baseline.
///
/// A group whose rewards are all equal says nothing: its advantages are exactly `0.0` under every estimator
/// with a group baseline. The caller decides whether to drop such groups (see
/// [`zero_variance`](crate::shaping::zero_variance)). A group with a single scorable member counts as one.
///
/// # Errors
///
/// What [`AdvantageConfig::check`] returns; [`Error::GroupSize`] if the rewards are not whole groups, or groups
/// are too small for a baseline; [`Error::NonFinite`] for an infinite reward; [`Error::Length`] and
/// [`Error::Missing`] for the inputs that the estimator needs; [`Error::Config`] for rae, which has a memory.
pub fn advantages(rewards: &Rewards<'_>, config: &AdvantageConfig) -> Result<Vec<f64>> {
    config.check()?;
    let least = match config.estimator {
        Estimator::ReinforcePlusPlus | Estimator::Hierarchical => 1,
        _ => 2,
    };
    let (total, n) = (rewards.total, rewards.n);
    if n < least || !total.len().is_multiple_of(n) {
        return Err(Error::GroupSize { n, least, got: total.len() });
    }
    no_infinity("rewards", total)?;
    if let Some(lengths) = rewards.lengths
        && lengths.len() != total.len()
    {
        return Err(Error::Length { name: "lengths", expected: total.len(), got: lengths.len() });
    }
    let centred = || total.chunks_exact(n).flat_map(centre).collect::<Vec<f64>>();
    Ok(match config.estimator {
        Estimator::Grpo => match config.scale.unwrap_or_default() {
            Scale::None => settle(centred()),
            Scale::Group => settle(total.chunks_exact(n).flat_map(standardise).collect()),
            Scale::Batch => {
                let scale = deviation(total) + SCALE_EPS;
                settle(centred().into_iter().map(|c| c / scale).collect())
            }
        },
        Estimator::Hierarchical => settle(centred()),
        Estimator::Rloo => settle(total.chunks_exact(n).flat_map(leave_one_out).collect()),
        Estimator::MaxRl => settle(total.chunks_exact(n).flat_map(by_mean).collect()),
        Estimator::Opo => {
            let lengths = rewards
                .lengths
                .ok_or_else(|| Error::Missing { name: "lengths", user: "estimator `opo`".to_owned() })?;
            let groups = total.chunks_exact(n).zip(lengths.chunks_exact(n));
            settle(groups.flat_map(|(rewards, lengths)| by_length(rewards, lengths)).collect())
        }
        Estimator::ReinforcePlusPlus => settle(whiten(total, rewards.lengths)),
        Estimator::ReinforcePlusPlusBaseline => {
            let mut white = whiten(&centred(), rewards.lengths);
            // Uneven lengths move the batch mean off zero, which must not teach a flat group anything.
            for (white, group) in white.chunks_exact_mut(n).zip(total.chunks_exact(n)) {
                if is_flat(group) {
                    white.fill(0.0);
                }
            }
            settle(white)
        }
        Estimator::Gdpo => gdpo(rewards, config)?,
        Estimator::Rae => {
            let expected = "an estimator without a memory (rae is `RoleBaseline`)".to_owned();
            return Err(Error::Config { option: "estimator", expected, got: "`rae`".to_owned() });
        }
    })
}

/// `R - mean` over all rollouts with the same key, for groups of uneven size; a lone member gets 0.
///
/// For proposer and solver: key the solver's attempts by the proposed problem, the proposals by their seed.
///
/// # Errors
///
/// [`Error::Length`] if there is not one key per reward; [`Error::NonFinite`] for an infinite reward.
///
/// # Examples
///
/// ```
/// use toolr0_rl::advantage::peer_advantages;
/// assert_eq!(peer_advantages(&[1.0, 0.0, 7.0], &["a", "a", "b"])?, [0.5, -0.5, 0.0]);
/// # Ok::<(), toolr0_rl::Error>(())
/// ```
pub fn peer_advantages<K: Ord>(rewards: &[f64], peers: &[K]) -> Result<Vec<f64>> {
    if peers.len() != rewards.len() {
        return Err(Error::Length { name: "peers", expected: rewards.len(), got: peers.len() });
    }
    no_infinity("rewards", rewards)?;
    let mut groups: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
    for (idx, key) in peers.iter().enumerate() {
        groups.entry(key).or_default().push(idx);
    }
    let mut out = vec![0.0; rewards.len()];
    for members in groups.values() {
        let group: Vec<f64> = members.iter().map(|&idx| rewards[idx]).collect();
        for (&idx, centred) in members.iter().zip(centre(&group)) {
            out[idx] = centred;
        }
    }
    Ok(settle(out))
}

/// A running mean of the rewards of each role, the baseline of estimator rae. Part of a checkpoint.
///
/// In a zero-sum game the mean of a group is about 0 whatever the policy does; the baseline of a role is
/// what that role usually earns. It starts at 0.
///
/// # Source
///
/// SPIRAL, arXiv:2506.24119. As in prime-rl's `rae.py`, a reward is compared *before* it enters the mean, and
/// rewards enter one by one in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoleBaseline {
    means: BTreeMap<String, f64>,
}

impl RoleBaseline {
    /// Advantages of rewards that `role` earned, in the order in which they were earned. Unscorable ones (NaN)
    /// get 0 and leave the mean alone.
    ///
    /// # Errors
    ///
    /// What [`AdvantageConfig::check`] returns; [`Error::NonFinite`] for an infinite reward.
    pub fn advantages(&mut self, role: &str, rewards: &[f64], config: &AdvantageConfig) -> Result<Vec<f64>> {
        config.check()?;
        no_infinity("rewards", rewards)?;
        let decay = config.decay.unwrap_or(0.95);
        let mean = self.means.entry(role.to_owned()).or_default();
        let score = |&reward: &f64| {
            if reward.is_nan() {
                return 0.0;
            }
            let advantage = reward - *mean;
            *mean = decay * *mean + (1.0 - decay) * reward;
            advantage
        };
        Ok(rewards.iter().map(score).collect())
    }

    /// What a role is expected to earn; 0 before its first reward.
    pub fn mean(&self, role: &str) -> f64 {
        self.means.get(role).copied().unwrap_or(0.0)
    }
}

/// REINFORCE++'s advantages per token: returns `G_t = r_t + gamma G_{t+1}`, whitened over all loss tokens.
///
/// `r_t` is `token_rewards` (usually `-beta (old_t - reference_t)`), plus the row's reward at its last loss token.
///
/// # Shapes and units
///
/// - `rewards`: `(b,)`; NaN where unscorable: such a row leaves the whitening and its tokens get 0.
/// - `row_lens`: `(b,)`, summing to `tokens`; `mask`, `token_rewards`: `(tokens,)`, rows one after the other.
/// - returns `(tokens,)`, standard deviations; 0 where masked.
///
/// # Source
///
/// arXiv:2501.03262; verl's `compute_reinforce_plus_plus_outcome_advantage`, whose return is cut to 0 at every
/// masked token. Here masked tokens are stepped over instead, so that the reward of a multi-turn row reaches the
/// turns before a tool's result.
///
/// # Errors
///
/// [`Error::Length`] if slices disagree; [`Error::NonFinite`] for an infinite reward or a token reward that is
/// not finite at a loss token; [`Error::Config`] unless `gamma` is in [0, 1].
pub fn token_returns(
    rewards: &[f64],
    row_lens: &[usize],
    mask: &[bool],
    token_rewards: &[f64],
    gamma: f64,
) -> Result<Vec<f64>> {
    if !(0.0..=1.0).contains(&gamma) {
        let (expected, got) = ("a number in [0, 1]".to_owned(), gamma.to_string());
        return Err(Error::Config { option: "gamma", expected, got });
    }
    let tokens = row_lens.iter().sum();
    for (name, got, expected) in [
        ("rewards", rewards.len(), row_lens.len()),
        ("mask", mask.len(), tokens),
        ("token_rewards", token_rewards.len(), tokens),
    ] {
        if got != expected {
            return Err(Error::Length { name, expected, got });
        }
    }
    no_infinity("rewards", rewards)?;
    if let Some(idx) = (0..tokens).find(|&t| mask[t] && !token_rewards[t].is_finite()) {
        return Err(Error::NonFinite { name: "token_rewards", idx, value: token_rewards[idx] });
    }
    // NaN marks what takes no part: masked tokens and unscorable rows.
    let mut returns = vec![f64::NAN; tokens];
    let mut start = 0;
    for (&reward, &len) in rewards.iter().zip(row_lens) {
        let loss_tokens = (start..start + len).rev().filter(|&t| mask[t]);
        // The reward stands behind the last loss token, undiscounted.
        let mut ahead = None;
        for t in loss_tokens.filter(|_| !reward.is_nan()) {
            returns[t] = token_rewards[t] + ahead.map_or(reward, |ahead: f64| gamma * ahead);
            ahead = Some(returns[t]);
        }
        start += len;
    }
    Ok(settle(whiten(&returns, None)))
}

fn no_infinity(name: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().position(|x| x.is_infinite()) {
        Some(idx) => Err(Error::NonFinite { name, idx, value: values[idx] }),
        None => Ok(()),
    }
}

/// What took no part gets exactly 0.
fn settle(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|x| if x.is_nan() { 0.0 } else { x }).collect()
}

/// Values minus the first that is a number, and that first one; sums of such differences lose nothing.
fn shift(values: &[f64]) -> (Vec<f64>, f64) {
    let first = values.iter().copied().find(|x| !x.is_nan()).unwrap_or(0.0);
    (values.iter().map(|x| x - first).collect(), first)
}

fn scored(values: &[f64]) -> impl Iterator<Item = f64> + Clone {
    values.iter().copied().filter(|x| !x.is_nan())
}

/// Mean without NaN; 0 of nothing.
fn mean(values: &[f64]) -> f64 {
    scored(values).sum::<f64>() / scored(values).count().max(1) as f64
}

/// `R - mean`, NaN kept.
fn centre(group: &[f64]) -> Vec<f64> {
    let (shifted, _) = shift(group);
    let mean = mean(&shifted);
    shifted.into_iter().map(|x| x - mean).collect()
}

/// Sample standard deviation without NaN; 0 of fewer than two numbers.
fn deviation(values: &[f64]) -> f64 {
    let centred = centre(values);
    let spare = scored(&centred).count().saturating_sub(1);
    if spare == 0 { 0.0 } else { (scored(&centred).map(|c| c * c).sum::<f64>() / spare as f64).sqrt() }
}

fn standardise(group: &[f64]) -> Vec<f64> {
    let scale = deviation(group) + SCALE_EPS;
    centre(group).into_iter().map(|c| c / scale).collect()
}

fn leave_one_out(group: &[f64]) -> Vec<f64> {
    let count = scored(group).count() as f64;
    // A lone member has nobody to be compared with; its centred reward is 0 already.
    let factor = if count > 1.0 { count / (count - 1.0) } else { 0.0 };
    centre(group).into_iter().map(|c| c * factor).collect()
}

fn by_mean(group: &[f64]) -> Vec<f64> {
    let (shifted, first) = shift(group);
    let mean = first + mean(&shifted);
    centre(group).into_iter().map(|c| if mean > 0.0 { c / mean } else { c * 0.0 }).collect()
}

fn by_length(group: &[f64], lengths: &[usize]) -> Vec<f64> {
    let (shifted, _) = shift(group);
    let weighted = shifted.iter().zip(lengths).filter(|(x, _)| !x.is_nan());
    let (sum, weight) =
        weighted.fold((0.0, 0.0), |(sum, weight), (x, &len)| (sum + x * len as f64, weight + len as f64));
    // Rollouts without a token weigh nothing and learn nothing.
    shifted.iter().map(|x| if weight > 0.0 { x - sum / weight } else { 0.0 }).collect()
}

/// `(x - mean) / sqrt(var + 1e-8)`, the variance of the sample, each value counted `weights` times.
fn whiten(values: &[f64], weights: Option<&[usize]>) -> Vec<f64> {
    let weight = |idx: usize| weights.map_or(1.0, |w| w[idx] as f64);
    let (shifted, _) = shift(values);
    let sum_of = |f: &dyn Fn(f64) -> f64| -> f64 {
        shifted.iter().enumerate().filter(|(_, x)| !x.is_nan()).map(|(idx, &x)| weight(idx) * f(x)).sum()
    };
    let count = sum_of(&|_| 1.0);
    let mean = sum_of(&|x| x) / count.max(1.0);
    let variance = sum_of(&|x| (x - mean) * (x - mean)) / (count - 1.0).max(1.0);
    shifted.iter().map(|x| (x - mean) / (variance + WHITEN_EPS).sqrt()).collect()
}

fn is_flat(group: &[f64]) -> bool {
    let (shifted, _) = shift(group);
    scored(&shifted).all(|x| x == 0.0)
}

fn gdpo(rewards: &Rewards<'_>, config: &AdvantageConfig) -> Result<Vec<f64>> {
    let (terms, n, rollouts) = (rewards.terms, rewards.n, rewards.total.len());
    if terms.is_empty() {
        return Err(Error::Missing { name: "terms", user: "estimator `gdpo`".to_owned() });
    }
    let ones = vec![1.0; terms.len()];
    let weights = config.weights.as_ref().unwrap_or(&ones);
    if weights.len() != terms.len() {
        return Err(Error::Length { name: "weights", expected: terms.len(), got: weights.len() });
    }
    let mut sums = vec![f64::NAN; rollouts];
    for (term, weight) in terms.iter().zip(weights) {
        if term.len() != rollouts {
            return Err(Error::Length { name: "terms", expected: rollouts, got: term.len() });
        }
        no_infinity("terms", term)?;
        let z = term.chunks_exact(n).flat_map(standardise);
        // A term without a value adds nothing; a rollout without any term stays unscorable.
        for (sum, z) in sums.iter_mut().zip(z).filter(|(_, z)| !z.is_nan()) {
            *sum = weight * z + if sum.is_nan() { 0.0 } else { *sum };
        }
    }
    let scale = deviation(&sums) + SCALE_EPS;
    let mut out: Vec<f64> = centre(&sums).into_iter().map(|c| c / scale).collect();
    // The batch mean is 0 but for rounding, which must not teach a group that is flat in every term anything.
    for (group, out) in out.chunks_exact_mut(n).enumerate() {
        if terms.iter().all(|term| is_flat(&term[group * n..(group + 1) * n])) {
            out.fill(0.0);
        }
    }
    Ok(settle(out))
}
