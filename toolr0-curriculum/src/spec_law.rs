//! The distribution that task specs are drawn from. It is data, so that a user can name their own domains.
//!
//! Every generator prompt holds one [`TaskSpec`]. Without it, a generator that is paid for medium difficulty
//! soon writes one and the same task. The law is a small tree: a domain; a context; a number of calls that
//! depends on the context; a menu size that depends on the number of calls.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use toolr0_tools::{Context, TaskSpec};

use crate::error::{Error, Result, check_weights};

/// The 32 domains of the paper, in the order of the public release, each as likely as any other.
pub const PAPER_DOMAINS: [&str; 32] = [
    "finance",
    "healthcare",
    "productivity",
    "retail_ecommerce",
    "scheduling",
    "database",
    "cloud_infrastructure",
    "system",
    "programming",
    "geolocation",
    "logistics",
    "communication",
    "iot",
    "cybersecurity",
    "insurance",
    "legal",
    "news",
    "weather",
    "sports",
    "entertainment",
    "education",
    "real_estate",
    "food_ordering",
    "translation",
    "utilities",
    "government",
    "memory_management",
    "web_search",
    "social_media",
    "math",
    "vehicle_control",
    "travel",
];

/// A range of menu sizes, both ends included, all sizes in it equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MenuRange {
    /// The smallest number of tools.
    pub min: usize,
    /// The largest number of tools.
    pub max: usize,
    /// How likely this range is among the ranges of the same number of calls. Need not sum to 1.
    pub weight: f64,
}

/// What the law decides before the size of the menu.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// The domain.
    pub domain: String,
    /// The context.
    pub context: Context,
    /// The number of gold calls.
    pub n_calls: usize,
}

/// The numbers of a [`SpecLaw`], as they stand in a config file. Nothing is checked here.
///
/// What a file leaves out is the paper's. Weights need not sum to 1.
///
/// ```yaml
/// domains: {travel: 2, banking: 1}
/// contexts: {single_turn: 1}
/// calls: {single_turn: {1: 0.8, 2: 0.2}}
/// menus: {1: [{min: 2, max: 4, weight: 1}], 2: [{min: 3, max: 5, weight: 1}]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecTables {
    /// Weight by domain name.
    pub domains: BTreeMap<String, f64>,
    /// Weight by context.
    pub contexts: BTreeMap<Context, f64>,
    /// Weight by number of gold calls, for each context.
    pub calls: BTreeMap<Context, BTreeMap<usize, f64>>,
    /// Ranges of menu sizes, for each number of gold calls.
    pub menus: BTreeMap<usize, Vec<MenuRange>>,
}

impl Default for SpecTables {
    /// The paper's law: see [`SpecLaw::paper`].
    fn default() -> Self {
        let range = |min, max, weight| MenuRange { min, max, weight };
        Self {
            domains: PAPER_DOMAINS.iter().map(|&name| (name.to_owned(), 1.0)).collect(),
            contexts: BTreeMap::from([(Context::SingleTurn, 0.9), (Context::MultiTurn, 0.1)]),
            calls: BTreeMap::from([
                (Context::SingleTurn, BTreeMap::from([(1, 0.8), (2, 0.2)])),
                (Context::MultiTurn, BTreeMap::from([(1, 1.0)])),
            ]),
            menus: BTreeMap::from([
                (1, vec![range(2, 4, 0.4), range(5, 8, 0.6)]),
                (2, vec![range(3, 3, 0.3), range(4, 4, 0.4), range(5, 5, 0.3)]),
            ]),
        }
    }
}

/// A checked law: every spec it can draw has a domain, at least one call and at least one tool.
///
/// Serialises as its [`SpecTables`]; reading one checks it.
///
/// # Examples
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use toolr0_curriculum::{SpecLaw, draw_specs};
///
/// let specs = draw_specs(&SpecLaw::paper(), 3, &mut ChaCha8Rng::seed_from_u64(7));
/// assert_eq!(specs.len(), 3);
/// assert!(specs.iter().all(|s| (2..=8).contains(&s.n_tools)));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SpecTables", into = "SpecTables")]
pub struct SpecLaw {
    tables: SpecTables,
}

impl Default for SpecLaw {
    fn default() -> Self {
        Self::paper()
    }
}

impl TryFrom<SpecTables> for SpecLaw {
    type Error = Error;

    fn try_from(tables: SpecTables) -> Result<Self> {
        Self::new(tables)
    }
}

impl From<SpecLaw> for SpecTables {
    fn from(law: SpecLaw) -> Self {
        law.tables
    }
}

impl SpecLaw {
    /// The paper's law: 32 domains, uniform; single_turn 0.9, multi_turn 0.1; a multi_turn task has one call, a
    /// single_turn task one (0.8) or two (0.2); one call comes with 2..=4 tools (0.4) or 5..=8 (0.6), two calls
    /// with 3 (0.3), 4 (0.4) or 5 (0.3).
    ///
    /// # Source
    ///
    /// Tool-R0, arXiv:2602.21320, and the public release, which agree.
    pub fn paper() -> Self {
        Self { tables: SpecTables::default() }
    }

    /// Checks the tables and makes a law of them.
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the table and the key: no entries, a weight that is not a finite number >= 0, a
    /// sum that is not > 0, an unnamed domain, zero calls, an empty menu range, or a branch that can be drawn
    /// and has no table.
    pub fn new(tables: SpecTables) -> Result<Self> {
        let SpecTables { domains, contexts, calls, menus } = &tables;
        check_weights("domains", domains)?;
        if domains.keys().any(|name| name.trim().is_empty()) {
            return Err(Error::EmptyDomain);
        }
        check_weights("contexts", contexts)?;
        for (&context, by_calls) in calls {
            check_weights(&format!("calls.{context}"), by_calls)?;
            if by_calls.contains_key(&0) {
                return Err(Error::ZeroCalls { context: context.to_string() });
            }
        }
        for (&n_calls, ranges) in menus {
            let named = ranges.iter().map(|r| (format!("{}..={}", r.min, r.max), &r.weight));
            check_weights(&format!("menus.{n_calls}"), named)?;
            if let Some(&MenuRange { min, max, .. }) = ranges.iter().find(|r| r.min == 0 || r.min > r.max) {
                return Err(Error::Menu { n_calls, min, max });
            }
        }
        for (context, _) in contexts.iter().filter(|(_, weight)| **weight > 0.0) {
            let by_calls =
                calls.get(context).ok_or_else(|| Error::MissingCalls { context: context.to_string() })?;
            for (&n_calls, _) in by_calls.iter().filter(|(_, weight)| **weight > 0.0) {
                if !menus.contains_key(&n_calls) {
                    return Err(Error::MissingMenu { n_calls, context: context.to_string() });
                }
            }
        }
        Ok(Self { tables })
    }

    /// The numbers.
    pub fn tables(&self) -> &SpecTables {
        &self.tables
    }

    /// One spec. Draws, in this order: domain, context, number of calls, menu range, menu size.
    pub fn draw(&self, rng: &mut impl Rng) -> TaskSpec {
        let SpecTables { domains, contexts, calls, .. } = &self.tables;
        let domain = pick(domains.iter().map(|(k, &w)| (k, w)), rng).clone();
        let context = *pick(contexts.iter().map(|(k, &w)| (k, w)), rng);
        let n_calls = *pick(calls[&context].iter().map(|(k, &w)| (k, w)), rng);
        self.complete(&Branch { domain, context, n_calls }, rng)
    }

    /// Every branch that can be drawn, with its probability.
    pub fn branches(&self) -> Vec<(Branch, f64)> {
        let SpecTables { domains, contexts, calls, .. } = &self.tables;
        let mut all = Vec::new();
        for (domain, of_domain) in shares(domains) {
            for (context, of_context) in shares(contexts) {
                for (n_calls, of_calls) in shares(&calls[context]) {
                    let branch = Branch { domain: domain.clone(), context: *context, n_calls: *n_calls };
                    all.push((branch, of_domain * of_context * of_calls));
                }
            }
        }
        all
    }

    /// A spec of one of the law's branches: draws a menu range and a menu size.
    pub(crate) fn complete(&self, branch: &Branch, rng: &mut impl Rng) -> TaskSpec {
        let Branch { domain, context, n_calls } = branch.clone();
        let menu = pick(self.tables.menus[&n_calls].iter().map(|r| (r, r.weight)), rng);
        let n_tools = rng.random_range(menu.min..=menu.max);
        TaskSpec { domain, context, n_tools, n_calls }
    }
}

/// What of a table can be drawn, with its probability.
fn shares<K>(weights: &BTreeMap<K, f64>) -> impl Iterator<Item = (&K, f64)> {
    let sum: f64 = weights.values().sum();
    weights.iter().filter(|(_, weight)| 0.0 < **weight).map(move |(key, weight)| (key, weight / sum))
}

/// `n` independent specs. The same law and the same state of `rng` give the same specs on every machine.
pub fn draw_specs(law: &SpecLaw, n: usize, rng: &mut impl Rng) -> Vec<TaskSpec> {
    (0..n).map(|_| law.draw(rng)).collect()
}

/// One item, with probability proportional to its weight. The weights were checked: their sum is > 0.
pub(crate) fn pick<T>(items: impl Iterator<Item = (T, f64)> + Clone, rng: &mut impl Rng) -> T {
    let sum: f64 = items.clone().map(|(_, weight)| weight).sum();
    let mut left = rng.random::<f64>() * sum;
    let mut last = None;
    for (item, weight) in items.filter(|(_, weight)| *weight > 0.0) {
        if left < weight {
            return item;
        }
        left -= weight;
        // Rounding can leave a crumb after the last subtraction; it belongs to the last item that has weight.
        last = Some(item);
    }
    last.expect("the constructor refused a table whose weights do not sum to more than zero")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    fn tables(change: impl FnOnce(&mut SpecTables)) -> Result<SpecLaw> {
        let mut tables = SpecTables::default();
        change(&mut tables);
        SpecLaw::new(tables)
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut SpecTables), message: &str) {
        assert_eq!(tables(change).unwrap_err().to_string(), message);
    }

    #[test]
    fn the_paper_passes_its_own_checks() {
        assert_eq!(SpecLaw::new(SpecTables::default()).unwrap(), SpecLaw::paper());
        assert_eq!(SpecLaw::paper().tables().domains.len(), 32, "a name stands twice in the list");
    }

    #[test]
    fn every_bad_number_is_refused_by_name() {
        refused(|t| t.domains.clear(), "`domains` is empty, expected at least one weight");
        refused(
            |t| t.domains = BTreeMap::from([("travel".into(), -1.0)]),
            "`domains` gives `travel` the weight -1, expected a finite number >= 0",
        );
        refused(
            |t| t.contexts = BTreeMap::from([(Context::MultiTurn, f64::NAN)]),
            "`contexts` gives `multi_turn` the weight NaN, expected a finite number >= 0",
        );
        refused(
            |t| t.domains = BTreeMap::from([("a".into(), f64::MAX), ("b".into(), f64::MAX)]),
            "the weights of `domains` sum to inf, expected a finite sum > 0",
        );
        refused(
            |t| t.calls.values_mut().for_each(|c| c.values_mut().for_each(|w| *w = 0.0)),
            "the weights of `calls.single_turn` sum to 0, expected a finite sum > 0",
        );
        refused(
            |t| t.domains = BTreeMap::from([(" ".into(), 1.0)]),
            "`domains` has an entry with an empty name",
        );
        refused(
            |t| drop(t.calls.remove(&Context::MultiTurn)),
            "`calls` has no entry for the context `multi_turn`, which `contexts` can draw",
        );
        refused(
            |t| drop(t.menus.remove(&2)),
            "`menus` has no entry for 2 calls, which `calls.single_turn` can draw",
        );
        refused(
            |t| drop(t.calls.insert(Context::MultiTurn, BTreeMap::from([(0, 1.0)]))),
            "`calls.multi_turn` has an entry for 0 calls, expected at least 1",
        );
        refused(
            |t| t.menus.get_mut(&1).unwrap()[0].min = 9,
            "`menus.1` has the range 9..=4, expected 1 <= min <= max",
        );
        refused(
            |t| t.menus.get_mut(&2).unwrap()[0].min = 0,
            "`menus.2` has the range 0..=3, expected 1 <= min <= max",
        );
        refused(|t| t.menus.get_mut(&2).unwrap().clear(), "`menus.2` is empty, expected at least one weight");
    }

    #[test]
    fn a_branch_that_is_never_drawn_needs_no_table() {
        let law = tables(|t| {
            t.contexts.insert(Context::MultiTurn, 0.0);
            t.calls.remove(&Context::MultiTurn);
        });
        let specs = draw_specs(&law.unwrap(), 500, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(specs.iter().all(|s| s.context == Context::SingleTurn));
    }

    #[test]
    fn a_config_changes_what_it_names_and_keeps_the_paper_elsewhere() {
        let law: SpecLaw = serde_yaml::from_str("domains: {banking: 3, travel: 1}").unwrap();
        assert_eq!(law.tables().domains.keys().collect::<Vec<_>>(), ["banking", "travel"]);
        assert_eq!(law.tables().menus, SpecTables::default().menus);
        let text =
            "calls: {single_turn: {1: 1}, multi_turn: {1: 1}}\nmenus: {1: [{min: 2, max: 3, weight: 1}]}";
        let law: SpecLaw = serde_yaml::from_str(text).unwrap();
        assert_eq!(law.tables().menus[&1], [MenuRange { min: 2, max: 3, weight: 1.0 }]);

        let misspelt = serde_yaml::from_str::<SpecLaw>("domain: {banking: 3}").unwrap_err().to_string();
        assert!(misspelt.contains("unknown field `domain`"), "{misspelt}");
        let bad = serde_yaml::from_str::<SpecLaw>("domains: {banking: 0}").unwrap_err().to_string();
        assert!(bad.contains("the weights of `domains` sum to 0"), "{bad}");
    }

    #[test]
    fn a_law_survives_json_and_yaml() {
        let law = SpecLaw::paper();
        let json = serde_json::to_string(&law).unwrap();
        assert_eq!(serde_json::from_str::<SpecLaw>(&json).unwrap(), law);
        let yaml = serde_yaml::to_string(&law).unwrap();
        assert_eq!(serde_yaml::from_str::<SpecLaw>(&yaml).unwrap(), law);
    }

    proptest! {
        /// Integer weights, zeros among them: a zero is never drawn, and the law's branches are respected.
        #[test]
        fn only_what_has_weight_is_drawn(weights in prop::collection::vec(0u8..4, 1..6), seed: u64) {
            prop_assume!(weights.iter().any(|&w| w > 0));
            let law = tables(|t| {
                t.domains = weights.iter().enumerate().map(|(i, &w)| (format!("d{i}"), w.into())).collect();
            }).unwrap();
            for spec in draw_specs(&law, 40, &mut ChaCha8Rng::seed_from_u64(seed)) {
                let idx: usize = spec.domain[1..].parse().unwrap();
                prop_assert!(weights[idx] > 0);
                match (spec.context, spec.n_calls) {
                    (_, 1) => prop_assert!((2..=8).contains(&spec.n_tools)),
                    (Context::SingleTurn, 2) => prop_assert!((3..=5).contains(&spec.n_tools)),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
