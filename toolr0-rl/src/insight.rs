//! What the solver gets wrong, by domain and by kind of argument.

use std::collections::BTreeMap;

use serde::Serialize;
use toolr0_reward::explain::reached;
use toolr0_reward::{Mistake, explain};
use toolr0_tools::Task;

use crate::memory::Said;

/// The answers to one task, explained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Insight {
    /// What is wrong with each answer that came.
    mistakes: Vec<Vec<Mistake>>,
}

impl Insight {
    /// Of the answers to `task`. One that did not come is unknown, and nothing is said of it.
    pub fn of(task: &Task, answers: &[Option<String>]) -> Self {
        Self { mistakes: answers.iter().flatten().map(|text| explain(task, text)).collect() }
    }

    /// How far the answers get on average, 0 to 1; `None` if there is none.
    pub fn reached(&self) -> Option<f64> {
        crate::selfplay::mean(&self.mistakes.iter().map(|mistakes| reached(mistakes)).collect::<Vec<_>>())
    }
}

/// Causes of failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ErrorReport {
    /// Answers that came.
    pub answers: usize,
    /// Those of them that solve nothing.
    pub failed: usize,
    /// How far an answer gets on average, 0 to 1.
    pub reached: Option<f64>,
    /// Share of the failed answers by cause; one answer may have several.
    pub causes: BTreeMap<&'static str, f64>,
    /// The same among the failed answers of each domain.
    pub domains: BTreeMap<String, BTreeMap<&'static str, f64>>,
    /// Of the mistakes in arguments of each JSON type, the share of each cause.
    pub kinds: BTreeMap<String, BTreeMap<&'static str, f64>>,
    /// Which tools took calls of which others, the most frequent first.
    pub taken: Vec<Taken>,
}

/// A distractor that was called.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Taken {
    /// The right tool.
    pub tool: String,
    /// The one that was called.
    pub by: String,
    /// How often.
    pub n: usize,
}

/// Distractors that are told.
const TAKEN: usize = 8;
/// Letters of a name that are told.
const LETTERS: usize = 64;

/// Counts by cause, and of what.
#[derive(Default)]
struct Counts {
    causes: BTreeMap<&'static str, usize>,
    of: usize,
}

impl Counts {
    fn shares(self) -> BTreeMap<&'static str, f64> {
        let share = |n: usize| n as f64 / self.of.max(1) as f64;
        self.causes.into_iter().map(|(cause, n)| (cause, share(n))).collect()
    }
}

impl ErrorReport {
    /// Of all answers to what was said; `None` if there is none.
    pub fn of(said: &[Said]) -> Option<Self> {
        let (mut all, mut domains) = (Counts::default(), BTreeMap::<&str, Counts>::new());
        let (mut kinds, mut taken) =
            (BTreeMap::<&str, Counts>::new(), BTreeMap::<(&str, &str), usize>::new());
        let (mut far, mut answers) = (0.0, 0);
        for Said { spec, insight, .. } in said {
            for mistakes in &insight.mistakes {
                answers += 1;
                far += reached(mistakes);
                if mistakes.is_empty() {
                    continue;
                }
                let mut causes: Vec<&'static str> = mistakes.iter().map(|m| m.cause.name()).collect();
                causes.sort_unstable();
                causes.dedup();
                for counts in [&mut all, domains.entry(&spec.domain).or_default()] {
                    counts.of += 1;
                    causes.iter().for_each(|cause| *counts.causes.entry(cause).or_default() += 1);
                }
                for mistake in mistakes {
                    if mistake.argument.is_some() {
                        let counts = kinds.entry(mistake.kind.as_deref().unwrap_or("any")).or_default();
                        counts.of += 1;
                        *counts.causes.entry(mistake.cause.name()).or_default() += 1;
                    }
                    if let (Some(tool), Some(by)) = (&mistake.tool, &mistake.taken_by) {
                        *taken.entry((tool.as_str(), by.as_str())).or_default() += 1;
                    }
                }
            }
        }
        let mut taken: Vec<_> = taken.into_iter().collect();
        taken.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let cut = |name: &str| name.chars().take(LETTERS).collect();
        let named = |((tool, by), n): ((&str, &str), usize)| Taken { tool: cut(tool), by: cut(by), n };
        let shares = |counts: BTreeMap<&str, Counts>| {
            counts.into_iter().map(|(name, counts)| (cut(name), counts.shares())).collect()
        };
        (0 < answers).then(|| Self {
            answers,
            failed: all.of,
            reached: Some(far / answers as f64),
            causes: all.shares(),
            domains: shares(domains),
            kinds: shares(kinds),
            taken: taken.into_iter().take(TAKEN).map(named).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use toolr0_reward::wire::solver;
    use toolr0_tools::{Context, TaskSpec, ToolCall};

    use super::*;

    #[test]
    fn mistakes_are_shared_out_by_domain_and_kind() {
        let task: Task = serde_json::from_value(json!({
            "question": "Book 4 seats to Oslo for Maria.",
            "tools": [
                { "name": "book", "description": "Book.", "parameters": { "type": "object", "required": ["city"],
                  "properties": { "city": { "type": "string" }, "seats": { "type": "integer" } } } },
                { "name": "hold", "description": "Hold.", "parameters": { "type": "object", "properties": {}, "required": [] } },
            ],
            "gold": [{ "name": "book", "arguments": { "city": "Oslo", "seats": 4 } }],
        }))
        .unwrap();
        let spoiled = |key: &str, value| {
            let mut call = task.gold[0].clone();
            call.arguments[key] = value;
            Some(solver::write("so", &[call]))
        };
        let hold = Some(solver::write("so", &[ToolCall::new("hold", Default::default())]));
        let right = Some(solver::write("so", &task.gold));
        let said = |domain: &str, answers: &[Option<String>]| {
            let spec =
                TaskSpec { domain: domain.into(), context: Context::SingleTurn, n_tools: 2, n_calls: 1 };
            Said { spec, sound: true, insight: Insight::of(&task, answers), task: task.clone() }
        };
        let travel = said("travel", &[right, hold.clone(), hold, None]);
        assert_eq!(travel.insight.reached(), Some((1.0 + 0.25 + 0.25) / 3.0), "what did not come is unknown");
        let food = said("food", &[spoiled("city", json!("Maria")), spoiled("seats", json!("4 or 5"))]);
        let report = ErrorReport::of(&[travel, food]).unwrap();
        assert_eq!((report.answers, report.failed), (5, 4));
        let of = |shares: &[(&'static str, f64)]| BTreeMap::from_iter(shares.iter().copied());
        assert_eq!(report.causes, of(&[("wrong_tool", 0.5), ("wrong_span", 0.25), ("mistyped", 0.25)]));
        assert_eq!(report.domains["travel"], of(&[("wrong_tool", 1.0)]));
        assert_eq!(report.domains["food"], of(&[("wrong_span", 0.5), ("mistyped", 0.5)]));
        assert_eq!(report.kinds["string"], of(&[("wrong_span", 1.0)]));
        assert_eq!(report.kinds["integer"], of(&[("mistyped", 1.0)]));
        assert_eq!(report.taken, [Taken { tool: "book".into(), by: "hold".into(), n: 2 }]);
        assert_eq!(ErrorReport::of(&[]), None);
    }
}
