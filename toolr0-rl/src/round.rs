//! The completions of one step with their rewards, and dynamic sampling: draw again what cannot teach.

use toolr0_curriculum::{Attempts, Drops, SteeringReport};
use toolr0_reward::Reward;
use toolr0_reward::reward::Term;
use toolr0_tools::{Prompt, TaskId};

use crate::config::{DynamicSampling, Overlong};
use crate::error::Result;
use crate::insight::ErrorReport;
use crate::memory::NoveltyReport;
use crate::policy::{Group, Rollout};
use crate::probing::Measured;
use crate::shaping::{NextRound, groups_with_signal, next_round, overlong_punishment};

/// What a step or a dataset tells of the tasks that were invented.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Whether they are new.
    pub(crate) novelty: Option<NoveltyReport>,
    /// What the solver gets wrong.
    pub(crate) errors: Option<ErrorReport>,
    /// How the law of specs is bent.
    pub(crate) steering: Option<SteeringReport>,
}

/// Groups of completions, paid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// The groups, all of one size.
    pub(crate) groups: Vec<Group>,
    /// One for each completion, groups in order.
    pub(crate) rewards: Vec<Reward>,
    /// The raw outcome of each completion, before any shaping; NaN where it could not be measured.
    pub(crate) outcomes: Vec<f64>,
    /// Success rates of the solver that were seen, also in groups that were thrown away.
    pub(crate) rates: Vec<f64>,
    /// The solver's attempts at each completion's task, also in groups that were thrown away.
    pub(crate) probed: Vec<Attempts>,
    /// What probing in batches has measured, also in groups that were thrown away.
    pub(crate) measured: Vec<Measured>,
    /// Completions that were drawn before this step, to measure their task.
    pub(crate) reused: usize,
    /// Tokens sampled, probes and thrown away groups included.
    pub(crate) sampled_tokens: usize,
    /// Answers that did not come from outside, by reason.
    pub(crate) unknown: Drops,
    /// Tokens among these that the frozen solver wrote, as it was probed and as it judged.
    pub(crate) probe_tokens: usize,
    /// How often it was asked to judge.
    pub(crate) judge_calls: usize,
    /// The tasks of each group: the one that was asked, or those that were invented.
    pub(crate) tasks: Vec<Vec<TaskId>>,
    /// What is told of the tasks that were invented.
    pub(crate) told: Told,
    /// Groups that were thrown away.
    pub(crate) resampled: usize,
    /// Fingerprint of the first prompt.
    pub(crate) fingerprint: String,
}

impl Round {
    /// Groups with their rewards, not yet shaped. `outcome` is what dynamic sampling looks at.
    pub(crate) fn new(
        groups: Vec<Group>,
        rewards: Vec<Reward>,
        outcome: impl Fn(&Reward) -> Option<f64>,
        first: &Prompt,
    ) -> Self {
        let outcomes = rewards.iter().map(|reward| outcome(reward).unwrap_or(f64::NAN)).collect();
        let sampled_tokens = groups.iter().flat_map(|g| &g.rollouts).map(Rollout::own_tokens).sum();
        let fingerprint = first.fingerprint();
        Self { groups, rewards, outcomes, sampled_tokens, fingerprint, ..Self::default() }
    }

    /// Adds the punishment of length to every reward.
    ///
    /// # Errors
    ///
    /// If the cache is larger than `max_len`.
    pub(crate) fn shape(&mut self, overlong: Option<Overlong>, max_len: usize) -> Result<()> {
        let Some(Overlong { cache }) = overlong else { return Ok(()) };
        let lens = self.groups.iter().flat_map(|g| &g.rollouts).map(|r| r.tokens.len());
        for (reward, len) in self.rewards.iter_mut().zip(lens) {
            let value = Some(overlong_punishment(len, max_len, cache)?);
            reward.terms.push(Term { name: "overlong", value });
        }
        Ok(())
    }

    /// Takes over the groups of `other` that `wanted` names, and all that it counted.
    fn take(&mut self, other: Self, n: usize, wanted: &[bool]) {
        if self.fingerprint.is_empty() {
            self.fingerprint = other.fingerprint;
        }
        self.rates.extend(other.rates);
        self.probed.extend(other.probed);
        self.measured.extend(other.measured);
        self.reused += other.reused;
        self.sampled_tokens += other.sampled_tokens;
        self.unknown.merge(&other.unknown);
        self.probe_tokens += other.probe_tokens;
        self.judge_calls += other.judge_calls;
        let (mut rewards, mut outcomes) = (other.rewards.into_iter(), other.outcomes.into_iter());
        let mut tasks = other.tasks.into_iter();
        for (group, wanted) in other.groups.into_iter().zip(wanted) {
            let of_group = tasks.next().unwrap_or_default();
            let own = (rewards.by_ref().take(n), outcomes.by_ref().take(n));
            if *wanted {
                self.groups.push(group);
                self.tasks.push(of_group);
                self.rewards.extend(own.0);
                self.outcomes.extend(own.1);
            } else {
                own.0.for_each(drop);
                own.1.for_each(drop);
                self.resampled += 1;
            }
        }
    }
}

/// The groups of one step: `draw(0)`, or with dynamic sampling the groups of `draw(0)`, `draw(1)`, .. whose raw outcomes
/// differ, until there are `wanted` of them or its rounds are spent. If there is none at all, the first round's: the
/// step is then reported, and changes nothing.
///
/// # Shapes
///
/// - `n`: completions in a group.
///
/// # Errors
///
/// What `draw` returns.
pub(crate) fn gather(
    wanted: usize,
    n: usize,
    dynamic: Option<DynamicSampling>,
    mut draw: impl FnMut(usize) -> Result<Round>,
) -> Result<Round> {
    let first = draw(0)?;
    let Some(DynamicSampling { max_rounds }) = dynamic else { return Ok(first) };
    let (mut kept, mut next, mut spare) = (Round::default(), first, None);
    for rounds in 1.. {
        let mut keep = groups_with_signal(&next.outcomes, n)?;
        if rounds == 1 && !keep.contains(&true) {
            spare = Some(next.clone());
        }
        // What goes beyond the batch is thrown away too.
        let mut free = wanted.saturating_sub(kept.groups.len());
        for keep in &mut keep {
            *keep = *keep && 0 < free;
            free -= usize::from(*keep);
        }
        kept.take(next, n, &keep);
        match next_round(kept.groups.len(), wanted, rounds, max_rounds) {
            NextRound::Sample { .. } => next = draw(rounds)?,
            NextRound::Enough | NextRound::GiveUp { .. } => break,
        }
    }
    if let (true, Some(Round { groups, rewards, outcomes, tasks, .. })) = (kept.groups.is_empty(), spare) {
        let resampled = kept.resampled - groups.len();
        return Ok(Round { groups, rewards, outcomes, tasks, resampled, ..kept });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of two completions with these outcomes; each has as many tokens as `len` says.
    fn round(outcomes: &[f64], len: usize) -> Round {
        let rollout = || crate::policy::Rollout {
            tokens: vec![0; len],
            logprobs: vec![0.0; len],
            finish: toolr0_model::Finish::Eos,
            text: String::new(),
            quoted: Vec::new(),
        };
        let group = |_| Group { prompt: vec![1], rollouts: vec![rollout(), rollout()] };
        let reward =
            |x: &f64| Reward { terms: vec![Term { name: "accuracy", value: Some(*x) }], fault: None };
        let groups = (0..outcomes.len() / 2).map(group).collect();
        let rewards = outcomes.iter().map(reward).collect();
        Round::new(groups, rewards, |reward| reward.get("accuracy"), &Prompt::new("a", "b"))
    }

    fn totals(round: &Round) -> Vec<f64> {
        round.rewards.iter().filter_map(Reward::total).collect()
    }

    const FLAT: [f64; 4] = [1.0, 1.0, 0.0, 0.0];
    const MIXED: [f64; 4] = [1.0, 1.0, 0.0, 0.25];

    #[test]
    fn without_dynamic_sampling_one_round_is_all() {
        let got = gather(2, 2, None, |i| Ok(round(&[FLAT, MIXED][i], 1))).unwrap();
        assert_eq!((totals(&got), got.resampled), (FLAT.to_vec(), 0));
    }

    #[test]
    fn flat_groups_are_drawn_again_up_to_the_bound() {
        let dynamic = |max_rounds| Some(DynamicSampling { max_rounds });
        let mut drawn = 0;
        let mut gather = |wanted, max_rounds, rounds: &[[f64; 4]]| {
            drawn = 0;
            let got = gather(wanted, 2, dynamic(max_rounds), |i| {
                assert_eq!(i, drawn);
                drawn += 1;
                Ok(round(&rounds[i], 3))
            });
            (got.unwrap(), drawn)
        };
        let (got, drawn) = gather(2, 5, &[FLAT, MIXED, FLAT, MIXED, MIXED]);
        assert_eq!((totals(&got), got.resampled, drawn), (vec![0.0, 0.25, 0.0, 0.25], 6, 4));
        assert_eq!(got.sampled_tokens, 4 * 4 * 3, "what was thrown away was sampled too");
        // The bound leaves a smaller batch, and nothing to learn leaves the first round as it was.
        let (got, drawn) = gather(2, 2, &[FLAT, MIXED]);
        assert_eq!((totals(&got), got.resampled, drawn), (vec![0.0, 0.25], 3, 2));
        let (got, drawn) = gather(2, 3, &[FLAT, FLAT, FLAT]);
        assert_eq!((totals(&got), got.resampled, drawn), (FLAT.to_vec(), 4, 3));
        // A batch is never larger than asked for.
        let both = [1.0, 0.0, 0.0, 1.0];
        let (got, drawn) = gather(1, 3, &[both]);
        assert_eq!((totals(&got), got.resampled, drawn), (vec![1.0, 0.0], 1, 1));
    }

    #[test]
    fn length_is_punished_in_the_reward_and_not_in_the_outcome() {
        let mut long = round(&FLAT, 9);
        long.shape(Some(Overlong { cache: 2 }), 10).unwrap();
        assert_eq!(totals(&long), [0.5, 0.5, -0.5, -0.5]);
        assert_eq!(long.outcomes, FLAT);
        long.shape(None, 10).unwrap();
        assert_eq!(long.rewards[0].terms.len(), 2);
    }
}
