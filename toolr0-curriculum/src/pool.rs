//! Candidates on their way to a curriculum, and a count of everything that was dropped on the way.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use toolr0_tools::{Task, TaskSpec};

use crate::attempts::Attempts;
use crate::frontier::{Bands, Difficulty};

/// A task that may enter the curriculum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The task.
    pub task: Task,
    /// What the generator was asked for; names the domain.
    pub spec: TaskSpec,
    /// How the solver did on it.
    #[serde(default)]
    pub attempts: Attempts,
    /// Of its gold calls the one that the fewest of the solver's answers held, and how many did.
    #[serde(default)]
    pub weakest_call: Attempts,
    /// A difficulty that somebody else decided, such as a judge. It wins over the measured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Difficulty>,
    /// The seed of the state that its gold was run from, where its tools run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Candidate {
    /// A candidate that the solver has not seen.
    pub fn new(task: Task, spec: TaskSpec) -> Self {
        Self {
            task,
            spec,
            attempts: Attempts::default(),
            weakest_call: Attempts::default(),
            label: None,
            seed: None,
        }
    }

    /// Its bucket: the label if there is one, else by the success rate; `None` where neither is known.
    pub fn difficulty(&self, bands: &Bands) -> Option<Difficulty> {
        self.label.or_else(|| self.attempts.rate().map(|rate| bands.bucket(rate)))
    }
}

/// The least share of solver samples that must agree with the gold calls: 0.2, as in the public release.
pub const AGREEMENT: f64 = 0.2;

/// What a sample must repeat of a task's gold to agree with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agree {
    /// All gold calls and nothing else: the sample solves the task.
    #[default]
    Answer,
    /// Each gold call by itself: of two calls one sample may confirm the first and another the second. A solver that
    /// never answers both of two requests then keeps the tasks that would teach it to.
    EachCall,
}

/// Cross-verification: keeps the candidates with whose gold at least `agreement` (see [`AGREEMENT`]) of the samples agree.
///
/// Attempts compare *whole* calls (fault 8 of the public release: it compared tool names only, so that wrong gold
/// arguments passed). Dropped ones are counted under `solver disagrees` or, where no outcome is known,
/// `unmeasured`.
pub fn verify(candidates: Vec<Candidate>, agreement: f64, agree: Agree) -> (Vec<Candidate>, Drops) {
    let mut drops = Drops::default();
    let mut kept = candidates;
    let agreed = |candidate: &Candidate| match agree {
        Agree::Answer => candidate.attempts.rate(),
        Agree::EachCall => candidate.weakest_call.rate(),
    };
    kept.retain(|candidate| match agreed(candidate) {
        None => drops.add("unmeasured"),
        Some(rate) if rate < agreement => drops.add("solver disagrees"),
        Some(_) => true,
    });
    (kept, drops)
}

/// How many were dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Drops(BTreeMap<String, usize>);

impl Drops {
    /// Counts one. Returns `false`, so that it can end an arm of `retain`.
    pub fn add(&mut self, reason: &str) -> bool {
        self.add_many(reason, 1);
        false
    }

    /// Counts `n`; nothing if `n` is 0.
    pub fn add_many(&mut self, reason: &str, n: usize) {
        if n > 0 {
            *self.0.entry(reason.to_owned()).or_default() += n;
        }
    }

    /// Adds the counts of another step.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(reason, n)| self.add_many(reason, n));
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// How many for this reason.
    pub fn of(&self, reason: &str) -> usize {
        self.0.get(reason).copied().unwrap_or(0)
    }

    /// Reasons and counts, the most frequent first, then by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        let mut all: Vec<_> = self.0.iter().map(|(reason, &n)| (reason.as_str(), n)).collect();
        all.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        all.into_iter()
    }
}

/// One step of a [`Funnel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// What was done, e.g. `dedup`.
    pub name: String,
    /// How many came in.
    pub entered: usize,
    /// What was dropped, by reason.
    pub drops: Drops,
}

impl Stage {
    /// How many went on.
    pub fn kept(&self) -> usize {
        self.entered.saturating_sub(self.drops.total())
    }
}

/// The steps between raw completions and the curriculum. Prints as a table.
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::{Drops, Funnel};
/// let mut drops = Drops::default();
/// drops.add_many("no <question>", 30);
/// drops.add_many("unknown tool", 12);
/// let mut funnel = Funnel::default();
/// funnel.record("structure", 100, drops);
/// funnel.record("dedup", 58, Drops::default());
/// assert_eq!(funnel.to_string(), "\
/// step        in  kept  dropped
/// structure  100    58       42  30 no <question>, 12 unknown tool
/// dedup       58    58        0
/// ");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Funnel {
    stages: Vec<Stage>,
}

impl Funnel {
    /// Adds a step that `entered` items came into.
    pub fn record(&mut self, name: impl Into<String>, entered: usize, drops: Drops) {
        self.stages.push(Stage { name: name.into(), entered, drops });
    }

    /// The steps in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }
}

impl fmt::Display for Funnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.stages.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).max(4);
        let digits = self.stages.iter().map(|s| s.entered.to_string().len()).max().unwrap_or(0).max(2);
        writeln!(f, "{:width$}  {:>digits$}  kept  dropped", "step", "in")?;
        for stage in &self.stages {
            let (entered, kept, dropped) = (stage.entered, stage.kept(), stage.drops.total());
            write!(f, "{:width$}  {entered:>digits$}  {kept:>4}  {dropped:>7}", stage.name)?;
            for (i, (reason, n)) in stage.drops.iter().enumerate() {
                write!(f, "{}{n} {reason}", if i == 0 { "  " } else { ", " })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The candidates of one iteration and what happened to the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Those still in.
    pub candidates: Vec<Candidate>,
    /// The steps so far.
    pub funnel: Funnel,
}

impl Pool {
    /// A pool of these candidates, whose history starts with `funnel` (parsing, structural verification).
    pub fn new(candidates: Vec<Candidate>, funnel: Funnel) -> Self {
        Self { candidates, funnel }
    }

    /// Runs one step over the candidates and books its drops under `name`.
    ///
    /// A step that loses candidates without a reason has them booked as `no reason given`.
    ///
    /// ```
    /// use toolr0_curriculum::{Agree, Pool, dedup, pool::AGREEMENT, verify};
    /// let mut pool = Pool::default();
    /// pool.step("dedup", dedup);
    /// pool.step("cross-verify", |candidates| verify(candidates, AGREEMENT, Agree::Answer));
    /// assert_eq!(pool.funnel.stages().len(), 2);
    /// ```
    pub fn step(
        &mut self,
        name: impl Into<String>,
        step: impl FnOnce(Vec<Candidate>) -> (Vec<Candidate>, Drops),
    ) {
        let entered = self.candidates.len();
        let (kept, mut drops) = step(std::mem::take(&mut self.candidates));
        drops.add_many("no reason given", entered.saturating_sub(kept.len() + drops.total()));
        self.candidates = kept;
        self.funnel.record(name, entered, drops);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolr0_tools::Context;

    fn candidate(attempts: Attempts) -> Candidate {
        let spec = TaskSpec { domain: "math".into(), context: Context::SingleTurn, n_tools: 1, n_calls: 1 };
        let task = Task { question: "q".into(), tools: vec![], gold: vec![] };
        Candidate { attempts, ..Candidate::new(task, spec) }
    }

    #[test]
    fn verification_needs_agreement_and_a_measurement() {
        let of = |solved, tried| candidate(Attempts::new(solved, tried).unwrap());
        let (kept, drops) = verify(vec![of(1, 8), of(2, 10), of(0, 0), of(8, 8)], AGREEMENT, Agree::Answer);
        assert_eq!(kept, [of(2, 10), of(8, 8)]);
        assert_eq!((drops.of("solver disagrees"), drops.of("unmeasured"), drops.total()), (1, 1, 2));
    }

    #[test]
    fn calls_may_be_confirmed_one_by_one() {
        let of = |solved| Candidate {
            weakest_call: Attempts::new(solved, 8).unwrap(),
            ..candidate(Attempts::new(0, 8).unwrap())
        };
        let (kept, drops) = verify(vec![of(1), of(3)], AGREEMENT, Agree::EachCall);
        assert_eq!((kept, drops.of("solver disagrees")), (vec![of(3)], 1));
        assert_eq!(verify(vec![of(3)], AGREEMENT, Agree::Answer).0, []);
    }

    #[test]
    fn a_label_wins_over_a_measurement() {
        let mut c = candidate(Attempts::new(8, 8).unwrap());
        assert_eq!(c.difficulty(&Bands::default()), Some(Difficulty::Easy));
        c.label = Some(Difficulty::Hard);
        assert_eq!(c.difficulty(&Bands::default()), Some(Difficulty::Hard));
        assert_eq!(candidate(Attempts::default()).difficulty(&Bands::default()), None);
    }

    #[test]
    fn a_step_that_loses_tasks_silently_is_found_out() {
        let mut pool = Pool::new(vec![candidate(Attempts::default()); 3], Funnel::default());
        pool.step("leak", |mut all| {
            all.truncate(1);
            (all, Drops::default())
        });
        let stage = &pool.funnel.stages()[0];
        assert_eq!((stage.entered, stage.kept(), stage.drops.of("no reason given")), (3, 1, 2));
    }

    #[test]
    fn a_pool_survives_json() {
        let mut pool = Pool::new(vec![candidate(Attempts::new(3, 8).unwrap())], Funnel::default());
        pool.step("verify", |all| verify(all, 0.9, Agree::Answer));
        pool.candidates.push(candidate(Attempts::default()));
        let text = serde_json::to_string(&pool).unwrap();
        assert_eq!(serde_json::from_str::<Pool>(&text).unwrap(), pool);
        assert!(
            text.contains(r#""funnel":[{"name":"verify","entered":1,"drops":{"solver disagrees":1}}]"#),
            "{text}"
        );
    }

    #[test]
    fn merged_drops_add_up() {
        let mut a = Drops::default();
        a.add_many("x", 2);
        a.add_many("y", 0);
        let mut b = Drops::default();
        b.add_many("x", 1);
        b.add_many("z", 5);
        a.merge(&b);
        assert_eq!(a.iter().collect::<Vec<_>>(), [("z", 5), ("x", 3)]);
    }
}
