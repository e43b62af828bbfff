//! One task per fingerprint, the best of them.
//!
//! A generator that found a question which pays will write it again with other numbers. Two tasks are therefore
//! the same when their questions are the same up to case, white space and digits, and their menus and gold
//! calls have the same names and argument keys.

use std::collections::HashMap;
use std::hash::Hash;

use sha2::{Digest, Sha256};
use toolr0_tools::Task;

use crate::pool::{Candidate, Drops};
use crate::text::fold_question;

/// The fingerprint of what a task asks, 16 hexadecimal digits; equal for two tasks that teach the same.
///
/// Hashes the folded question (lower case, every digit `0`, white space collapsed), the menu (names and argument
/// keys, order-free) and the gold calls (names and argument keys, in order).
///
/// # Source
///
/// The signature of question, tools and calls of Tool-R0, arXiv:2602.21320. The public release joins the parts
/// with `|`, `,` and `(`, so that names which hold these collide ([`crate::release::fingerprints`]); here each
/// part is prefixed with its length.
pub fn fingerprint(task: &Task) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    part(&fold_question(&task.question));
    let mut tools: Vec<_> = task
        .tools
        .iter()
        .map(|tool| (tool.name.as_str(), sorted(tool.params().map(|param| param.name))))
        .collect();
    tools.sort_unstable();
    let calls =
        task.gold.iter().map(|call| (call.name.as_str(), sorted(call.arguments.keys().map(String::as_str))));
    for (list, items) in [("tools", tools), ("calls", calls.collect())] {
        part(list);
        for (name, keys) in items {
            part(name);
            part(&keys.len().to_string());
            keys.iter().for_each(|key| part(key));
        }
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sorted<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    keys
}

/// How much a task asks for, 0..=3: `min(1, chars / 220) + min(1, calls / 3) + min(1, tools / 4)`, less 1 (but
/// not below 0) where the question holds the word `dummy`, `placeholder` or `lorem ipsum`.
///
/// # Source
///
/// The public release of Tool-R0. It decides only which of several duplicates stays.
pub fn quality(task: &Task) -> f64 {
    let share = |n: usize, enough: f64| (n as f64 / enough).min(1.0);
    let mut score = share(task.question.chars().count(), 220.0);
    score += share(task.gold.len(), 3.0);
    score += share(task.tools.len(), 4.0);
    let question = task.question.to_lowercase();
    if ["dummy", "placeholder", "lorem ipsum"].iter().any(|word| has_word(&question, word)) {
        score -= 1.0;
    }
    score.max(0.0)
}

/// Whether `word` stands in `text` between word boundaries (letters, digits and `_` are word characters).
fn has_word(text: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Keeps the best task of every [`fingerprint`], by [`quality`]; of equals the one that came first.
///
/// The order of first appearance stays. Dropped ones are counted under `duplicate`.
pub fn dedup(candidates: Vec<Candidate>) -> (Vec<Candidate>, Drops) {
    let entered = candidates.len();
    let kept = dedup_by(candidates, 1, |c| fingerprint(&c.task), |c| quality(&c.task));
    let mut drops = Drops::default();
    drops.add_many("duplicate", entered - kept.len());
    (kept, drops)
}

/// Keeps at most `keep` items per `key`, those of highest `score` first, the groups in order of first appearance.
///
/// A score that is not a number counts as the lowest.
pub fn dedup_by<T, K: Eq + Hash>(
    items: Vec<T>,
    keep: usize,
    key: impl Fn(&T) -> K,
    score: impl Fn(&T) -> f64,
) -> Vec<T> {
    let mut group_of: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<Vec<(f64, T)>> = Vec::new();
    for item in items {
        let next = groups.len();
        let group = *group_of.entry(key(&item)).or_insert(next);
        if group == next {
            groups.push(Vec::new());
        }
        let score = score(&item);
        groups[group].push((if score.is_nan() { f64::NEG_INFINITY } else { score }, item));
    }
    let best = groups.into_iter().flat_map(|mut group| {
        // A stable sort, so that of equals the first stays.
        group.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        group.into_iter().take(keep)
    });
    best.map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};
    use toolr0_tools::{ToolCall, ToolSpec};

    fn task(question: &str, tools: &[(&str, &[&str])], calls: &[(&str, &[&str])]) -> Task {
        let object = |keys: &[&str]| -> Map<_, _> { keys.iter().map(|&k| (k.into(), json!({}))).collect() };
        Task {
            question: question.into(),
            tools: tools.iter().map(|(name, keys)| ToolSpec::new(*name, "", object(keys), &[])).collect(),
            gold: calls.iter().map(|(name, keys)| ToolCall::new(*name, object(keys))).collect(),
        }
    }

    #[track_caller]
    fn check(a: &Task, b: &Task, same: bool) {
        assert_eq!(fingerprint(a) == fingerprint(b), same, "{a:?} and {b:?}");
    }

    #[test]
    fn numbers_case_white_space_and_menu_order_do_not_make_a_new_task() {
        let a = task("Book 2 seats in Oslo", &[("f", &["x", "y"]), ("g", &[])], &[("f", &["x", "y"])]);
        check(
            &a,
            &task("book 9  seats in oslo ", &[("g", &[]), ("f", &["y", "x"])], &[("f", &["y", "x"])]),
            true,
        );
    }

    #[test]
    fn words_menus_keys_and_call_order_do() {
        let a = task("Book a seat", &[("f", &["x"]), ("g", &[])], &[("f", &["x"]), ("g", &[])]);
        check(&a, &task("Book a room", &[("f", &["x"]), ("g", &[])], &[("f", &["x"]), ("g", &[])]), false);
        check(&a, &task("Book a seat", &[("f", &["x"])], &[("f", &["x"]), ("g", &[])]), false);
        check(&a, &task("Book a seat", &[("f", &["y"]), ("g", &[])], &[("f", &["x"]), ("g", &[])]), false);
        check(&a, &task("Book a seat", &[("f", &["x"]), ("g", &[])], &[("g", &[]), ("f", &["x"])]), false);
    }

    #[test]
    fn names_that_hold_the_releases_separators_do_not_collide() {
        let (a, b) = (task("q", &[("f", &["x,y"])], &[]), task("q", &[("f", &["x", "y"])], &[]));
        check(&a, &b, false);
        assert_eq!(
            crate::release::fingerprints(&a),
            crate::release::fingerprints(&b),
            "the release confuses them"
        );
    }

    #[test]
    fn quality_counts_characters_calls_and_tools() {
        let long = "é".repeat(500);
        let nine: [(&str, &[&str]); 9] = [("f", &[]); 9];
        let rich = task(&long, &nine, &nine);
        assert_eq!(quality(&rich), 3.0);
        let poor = task("a dummy", &[("f", &[])], &[]);
        assert_eq!(quality(&poor), 0.0);
        let near = task("a dummyx", &[("f", &[])], &[]);
        assert!((quality(&near) - (8.0 / 220.0 + 0.25)).abs() < 1e-12);
    }

    #[test]
    fn the_best_of_a_group_stays_and_of_equals_the_first() {
        let items = vec![("a", 1.0, 0), ("b", f64::NAN, 1), ("a", 2.0, 2), ("a", 2.0, 3), ("b", -1.0, 4)];
        let kept = dedup_by(items.clone(), 1, |i| i.0, |i| i.1);
        assert_eq!(kept.iter().map(|i| i.2).collect::<Vec<_>>(), [2, 4]);
        let kept = dedup_by(items, 2, |i| i.0, |i| i.1);
        assert_eq!(kept.iter().map(|i| i.2).collect::<Vec<_>>(), [2, 3, 4, 1]);
    }

    proptest! {
        #[test]
        fn no_two_of_the_kept_share_a_key_and_every_key_is_kept(items in prop::collection::vec((0u8..6, -3i8..3), 0..40)) {
            let kept = dedup_by(items.clone(), 1, |i| i.0, |i| f64::from(i.1));
            for (key, score) in &kept {
                prop_assert_eq!(kept.iter().filter(|i| i.0 == *key).count(), 1);
                prop_assert!(items.iter().filter(|i| i.0 == *key).all(|i| i.1 <= *score));
            }
            prop_assert!(items.iter().all(|i| kept.iter().any(|k| k.0 == i.0)));
        }
    }
}
