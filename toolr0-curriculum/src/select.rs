//! The choice of the curriculum and its order.
//!
//! Domains first, so that no domain which the generator likes crowds out the others; then a mix of difficulties;
//! then one order over all of it, easy to hard, which training must keep. The public release wrote its tasks
//! domain by domain and its trainer then shuffled them, so that no order survived (fault 10).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::error::{Result, check_weights};
use crate::frontier::{Bands, Difficulty};
use crate::pool::{Candidate, Drops};
use crate::quota::{Domain, Mix, difficulty_targets, domain_quotas};

/// The order in which training sees the tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Easy ones first; inside a bucket by falling success rate.
    #[default]
    EasyToHard,
    /// Shuffled.
    Random,
    /// Hard ones first; inside a bucket by rising success rate.
    HardToEasy,
}

/// How the mix is rounded to whole tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// What one domain got too much or too little of, for rounding or for lack of tasks, the next ones make up
    /// for: the whole keeps the mix, also where each domain gives a handful of tasks.
    #[default]
    Carried,
    /// Each domain by itself ([`difficulty_targets`]), and what a bucket lacks is filled at random from the
    /// domain's other buckets: the public release. With one task per domain, all of them would be hard.
    PerDomain,
}

/// What to select.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// How many tasks at most; the paper takes 2,000.
    pub n_tasks: usize,
    /// Weight by domain. A domain that is not named weighs 0: it gives only what the others cannot. An empty
    /// table makes all domains equal.
    pub weights: BTreeMap<String, f64>,
    /// Easy, medium and hard.
    pub mix: Mix,
    /// Where these end.
    pub bands: Bands,
    /// How the mix is rounded.
    pub rounding: Rounding,
    /// The order of the result.
    pub order: Order,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self {
            n_tasks: 2000,
            weights: BTreeMap::new(),
            mix: Mix::default(),
            bands: Bands::default(),
            rounding: Rounding::default(),
            order: Order::default(),
        }
    }
}

/// What [`select`] chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// In the order in which training must see them.
    pub tasks: Vec<Candidate>,
    /// The others: `unmeasured` (no difficulty is known), `not needed` (the quota was full).
    pub drops: Drops,
}

/// Chooses `min(n_tasks, candidates with a known difficulty)` tasks by domain quotas and difficulty mix, and puts
/// them in order.
///
/// Which tasks of a bucket are taken, and the order among equals, is drawn from `rng`: the same candidates in the
/// same order, the same config and the same state of `rng` give the same selection.
///
/// # Source
///
/// Tool-R0, arXiv:2602.21320, dataset construction, with difficulties from measured success rates (fault 9) and a
/// global order (fault 10).
///
/// # Errors
///
/// [`crate::Error`] where `config.weights` has entries and they are no weights.
pub fn select(candidates: Vec<Candidate>, config: &SelectConfig, rng: &mut impl Rng) -> Result<Selection> {
    if !config.weights.is_empty() {
        check_weights("weights", &config.weights)?;
    }
    let mut drops = Drops::default();
    let mut by_domain: BTreeMap<String, Vec<Graded>> = BTreeMap::new();
    for candidate in candidates {
        match candidate.difficulty(&config.bands) {
            Some(difficulty) => {
                by_domain
                    .entry(candidate.spec.domain.clone())
                    .or_default()
                    .push(Graded { difficulty, candidate });
            }
            None => _ = drops.add("unmeasured"),
        }
    }
    let domains: Vec<Domain> = by_domain
        .iter()
        .map(|(name, all)| {
            let weight = config.weights.get(name).copied();
            let weight = weight.unwrap_or(if config.weights.is_empty() { 1.0 } else { 0.0 });
            Domain { name: name.clone(), weight, available: all.len() }
        })
        .collect();

    let mut chosen: Vec<Graded> = Vec::new();
    let mut carried = Carried::default();
    for (mut all, quota) in by_domain.into_values().zip(domain_quotas(config.n_tasks, &domains)) {
        let n_all = all.len();
        all.shuffle(rng);
        let taken = match config.rounding {
            Rounding::Carried => carried.take(all, quota, &config.mix),
            Rounding::PerDomain => take_targets(all, quota, &config.mix),
        };
        drops.add_many("not needed", n_all - taken.len());
        chosen.extend(taken);
    }

    // Shuffled before a stable sort, so that equals are not grouped by domain.
    chosen.shuffle(rng);
    match config.order {
        Order::Random => {}
        Order::EasyToHard => chosen.sort_by(Graded::easy_to_hard),
        Order::HardToEasy => chosen.sort_by(|a, b| Graded::easy_to_hard(b, a)),
    }
    Ok(Selection { tasks: chosen.into_iter().map(|graded| graded.candidate).collect(), drops })
}

/// A candidate whose difficulty is known.
struct Graded {
    difficulty: Difficulty,
    candidate: Candidate,
}

impl Graded {
    /// By bucket, then by falling success rate; those that only have a label count as never solved.
    fn easy_to_hard(a: &Self, b: &Self) -> Ordering {
        let rate = |graded: &Self| graded.candidate.attempts.rate().unwrap_or(0.0);
        a.difficulty.cmp(&b.difficulty).then(rate(b).total_cmp(&rate(a)))
    }
}

/// Splits into easy, medium and hard, each in the given order.
fn buckets(all: Vec<Graded>) -> [Vec<Graded>; 3] {
    let mut buckets = [const { Vec::new() }; 3];
    for graded in all {
        buckets[graded.difficulty as usize].push(graded);
    }
    buckets
}

/// [`Rounding::Carried`]: what was wanted and what was taken of each bucket, over all domains so far.
#[derive(Default)]
struct Carried {
    n: usize,
    taken: [usize; 3],
}

impl Carried {
    /// Takes `quota` of `all`, one by one from the bucket that is furthest behind its share, if it has any left.
    fn take(&mut self, all: Vec<Graded>, quota: usize, mix: &Mix) -> Vec<Graded> {
        self.n += quota;
        let shares = mix.shares();
        let mut buckets = buckets(all).map(Vec::into_iter);
        let mut taken = Vec::with_capacity(quota);
        for _ in 0..quota {
            let behind = |b: usize| self.n as f64 * shares[b] - self.taken[b] as f64;
            let open = (0..3).filter(|&b| buckets[b].len() > 0);
            // Of equals the harder bucket: `max_by` returns the last.
            let Some(bucket) = open.max_by(|&a, &b| behind(a).total_cmp(&behind(b))) else { break };
            taken.extend(buckets[bucket].next());
            self.taken[bucket] += 1;
        }
        taken
    }
}

/// [`Rounding::PerDomain`]: the targets of this domain, then whatever comes first in the shuffled rest.
fn take_targets(all: Vec<Graded>, quota: usize, mix: &Mix) -> Vec<Graded> {
    let mut left = difficulty_targets(quota, mix);
    let (mut taken, mut rest) = (Vec::with_capacity(quota), Vec::new());
    for graded in all {
        let left = &mut left[graded.difficulty as usize];
        if *left > 0 {
            *left -= 1;
            taken.push(graded);
        } else {
            rest.push(graded);
        }
    }
    let missing = quota.saturating_sub(taken.len());
    taken.extend(rest.into_iter().take(missing));
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempts::Attempts;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use toolr0_tools::{Context, Task, TaskSpec};

    /// `(domain, solved)` of eight attempts; the question is the position, so that tasks can be told apart.
    fn pool(of: &[(u8, u32)]) -> Vec<Candidate> {
        let candidate = |(i, &(domain, solved)): (usize, &(u8, u32))| {
            let spec = TaskSpec {
                domain: format!("d{domain}"),
                context: Context::SingleTurn,
                n_tools: 1,
                n_calls: 1,
            };
            let task = Task { question: format!("question {i}"), tools: vec![], gold: vec![] };
            Candidate { attempts: Attempts::new(solved, 8).unwrap(), ..Candidate::new(task, spec) }
        };
        of.iter().enumerate().map(candidate).collect()
    }

    fn run(of: &[(u8, u32)], config: &SelectConfig, seed: u64) -> Selection {
        select(pool(of), config, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
    }

    fn count(tasks: &[Candidate]) -> [usize; 3] {
        Difficulty::ALL.map(|d| tasks.iter().filter(|c| c.difficulty(&Bands::default()) == Some(d)).count())
    }

    /// Twelve domains with plenty of everything.
    fn plenty() -> Vec<(u8, u32)> {
        (0..12).flat_map(|domain| (0..27).map(move |i| (domain, i % 9))).collect()
    }

    #[test]
    fn one_task_per_domain_keeps_the_mix_only_if_rounding_is_carried() {
        let config = SelectConfig { n_tasks: 10, ..Default::default() };
        assert_eq!(count(&run(&plenty(), &config, 1).tasks), [2, 5, 3]);
        let release = SelectConfig { rounding: Rounding::PerDomain, ..config };
        assert_eq!(count(&run(&plenty(), &release, 1).tasks), [0, 0, 10]);
    }

    #[test]
    fn what_one_domain_lacks_another_makes_up_for() {
        // d0 has only hard tasks, d1 has all kinds: of 20, 4 easy and 10 medium are wanted.
        let of: Vec<_> = (0..10).map(|_| (0, 2)).chain((0..60).map(|i| (1, i % 9))).collect();
        let config = SelectConfig { n_tasks: 20, ..Default::default() };
        assert_eq!(count(&run(&of, &config, 3).tasks)[2], 10, "d1 gives no more hard ones");
    }

    #[test]
    fn the_order_is_global_and_not_by_domain() {
        let config = SelectConfig { n_tasks: 60, ..Default::default() };
        let rates = |order| {
            let tasks = run(&plenty(), &SelectConfig { order, ..config.clone() }, 5).tasks;
            tasks.iter().map(|c| c.attempts.solved()).collect::<Vec<_>>()
        };
        assert!(rates(Order::EasyToHard).is_sorted_by(|a, b| a >= b));
        assert!(rates(Order::HardToEasy).is_sorted());
        let random = rates(Order::Random);
        assert!(!random.is_sorted() && !random.is_sorted_by(|a, b| a >= b));

        let domains: Vec<_> = run(&plenty(), &config, 5).tasks.into_iter().map(|c| c.spec.domain).collect();
        let changes = domains.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes > 30, "equals are grouped by domain: {domains:?}");
    }

    #[test]
    fn weights_and_labels_are_obeyed_and_the_unmeasured_dropped() {
        let weights = BTreeMap::from([("d0".to_owned(), 3.0), ("d1".to_owned(), 1.0)]);
        let config = SelectConfig { n_tasks: 8, weights, ..Default::default() };
        let mut candidates = pool(&plenty());
        candidates.iter_mut().for_each(|c| c.attempts = Attempts::default());
        for c in candidates.iter_mut().filter(|c| c.spec.domain.as_str() < "d2").step_by(2) {
            c.label = Some(Difficulty::Medium);
        }
        let labelled = candidates.iter().filter(|c| c.label.is_some()).count();
        let selection = select(candidates, &config, &mut ChaCha8Rng::seed_from_u64(9)).unwrap();
        let of = |domain: &str| selection.tasks.iter().filter(|c| c.spec.domain == domain).count();
        assert_eq!((of("d0"), of("d1"), selection.tasks.len()), (6, 2, 8));
        assert_eq!(selection.drops.of("unmeasured"), 12 * 27 - labelled);
        assert_eq!(selection.drops.of("not needed"), labelled - 8);
    }

    #[test]
    fn bad_weights_are_refused() {
        let weights = BTreeMap::from([("math".to_owned(), f64::INFINITY)]);
        let config = SelectConfig { weights, ..Default::default() };
        let err = select(vec![], &config, &mut ChaCha8Rng::seed_from_u64(0)).unwrap_err();
        assert_eq!(err.to_string(), "`weights` gives `math` the weight inf, expected a finite number >= 0");
        assert!(serde_yaml::from_str::<SelectConfig>("{n_task: 3}").is_err());
        let read: SelectConfig = serde_yaml::from_str("{n_tasks: 3, order: hard_to_easy}").unwrap();
        assert_eq!(read, SelectConfig { n_tasks: 3, order: Order::HardToEasy, ..Default::default() });
    }

    proptest! {
        #[test]
        fn every_selection_is_whole_distinct_ordered_and_repeatable(
            of in prop::collection::vec((0u8..5, 0u32..=8), 0..60),
            n_tasks in 0usize..70,
            per_domain: bool,
            seed: u64,
        ) {
            let rounding = if per_domain { Rounding::PerDomain } else { Rounding::Carried };
            let config = SelectConfig { n_tasks, rounding, ..Default::default() };
            let selection = run(&of, &config, seed);
            prop_assert_eq!(&run(&of, &config, seed), &selection);
            prop_assert_eq!(selection.tasks.len(), n_tasks.min(of.len()));
            prop_assert_eq!(selection.tasks.len() + selection.drops.total(), of.len());
            let mut questions: Vec<_> = selection.tasks.iter().map(|c| &c.task.question).collect();
            questions.sort_unstable();
            questions.dedup();
            prop_assert_eq!(questions.len(), selection.tasks.len());
            prop_assert!(selection.tasks.is_sorted_by(|a, b| a.attempts.rate() >= b.attempts.rate()));
        }

        /// Where supply does not bind, the carried mix is off by less than one task in each bucket.
        #[test]
        fn a_carried_mix_is_exact(n_tasks in 0usize..=120, seed: u64) {
            let taken = count(&run(&plenty(), &SelectConfig { n_tasks, ..Default::default() }, seed).tasks);
            for (taken, share) in taken.into_iter().zip(Mix::default().shares()) {
                prop_assert!((taken as f64 - n_tasks as f64 * share).abs() < 1.0 + 1e-9, "{:?} of {}", taken, n_tasks);
            }
        }
    }
}
