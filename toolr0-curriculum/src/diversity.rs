//! Does the generator still say new things? Distinct n-grams, overlap with all that was asked before, distinct tools.
//!
//! Questions are compared as [`fingerprint`](crate::fingerprint) does: case, white space and digits aside.

use std::collections::{BTreeMap, HashSet};

use toolr0_tools::{Task, ToolSpec};

pub use crate::minhash::{Index, Signature};
use crate::text::fold_question;

/// Share of the n-grams of all `texts` that are not a repetition; 1 where there are none.
///
/// # Source
///
/// distinct-n, Li et al., arXiv:1510.03055.
pub fn distinct_n<'a>(texts: impl IntoIterator<Item = &'a str>, n: usize) -> f64 {
    let (mut seen, mut all) = (HashSet::new(), 0_usize);
    for text in texts {
        let folded = fold_question(text);
        let words: Vec<&str> = folded.split(' ').collect();
        for gram in words.windows(n.max(1)) {
            all += 1;
            seen.insert(gram.join(" "));
        }
    }
    if all == 0 { 1.0 } else { seen.len() as f64 / all as f64 }
}

/// Share of the tools of all `tasks` that no other has: names and argument names; 1 where there are none.
pub fn distinct_tools<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> f64 {
    let schemas = schemas(tasks);
    let all: usize = schemas.values().sum();
    if all == 0 { 1.0 } else { schemas.len() as f64 / all as f64 }
}

/// How evenly the tools of all `tasks` are spread over schemas (names and argument names): their entropy over that of as
/// many different ones. 1 is no tool twice, 0 one tool alone; 1 where there are fewer than two.
pub fn schema_entropy<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> f64 {
    let schemas = schemas(tasks);
    let all = schemas.values().sum::<usize>() as f64;
    if all < 2.0 {
        return 1.0;
    }
    let share = |n: &usize| *n as f64 / all;
    let entropy: f64 = schemas.values().map(|n| -share(n) * share(n).ln()).sum();
    (entropy / all.ln()).clamp(0.0, 1.0)
}

/// Tools by schema. Ordered, so that sums over it are the same in every process.
fn schemas<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for tool in tasks.into_iter().flat_map(|task| &task.tools) {
        *counts.entry(schema(tool)).or_default() += 1;
    }
    counts
}

fn schema(tool: &ToolSpec) -> String {
    let mut key: Vec<&str> = tool.params().map(|param| param.name).collect();
    key.sort_unstable();
    key.push(&tool.name);
    key.iter().map(|part| format!("{part:?}")).collect()
}

/// Mean similarity, 0 to 1, of a question to the most similar one before it; 0 for the first, and where there is none.
pub fn self_overlap<'a>(questions: impl IntoIterator<Item = &'a Signature>) -> f64 {
    let (mut index, mut sum, mut n) = (Index::default(), 0.0, 0_usize);
    for question in questions {
        sum += index.look_up(question);
        index.insert(question);
        n += 1;
    }
    sum / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolr0_tools::ToolSpec;

    #[test]
    fn distinct_n_counts_repetitions() {
        assert_eq!(distinct_n(["a b c", "A  b 1", "x"], 2), 3.0 / 4.0);
        assert_eq!(distinct_n(["at 9", "at 7"], 1), 0.5, "numbers are no news");
        assert_eq!((distinct_n([], 2), distinct_n(["one"], 2)), (1.0, 1.0));
    }

    #[test]
    fn tools_of_the_same_names_are_the_same() {
        let tool = |name: &str, about: &str| ToolSpec::new(name, about, Default::default(), &[]);
        let task = |tools: Vec<ToolSpec>| Task { question: String::new(), tools, gold: Vec::new() };
        let tasks = [task(vec![tool("a", "One."), tool("b", "Two.")]), task(vec![tool("a", "Three.")])];
        assert_eq!(distinct_tools(&tasks), 2.0 / 3.0);
        // Shares of 2/3 and 1/3.
        let want = -(2.0 / 3.0 * f64::ln(2.0 / 3.0) + 1.0 / 3.0 * f64::ln(1.0 / 3.0)) / f64::ln(3.0);
        assert!((schema_entropy(&tasks) - want).abs() < 1e-12);
        assert_eq!((schema_entropy(&tasks[1..]), schema_entropy(&tasks[..1])), (1.0, 1.0));
        let one = tasks[1].clone();
        assert_eq!(schema_entropy([&one, &one, &one]), 0.0);
    }

    #[test]
    fn a_batch_overlaps_with_itself() {
        let of =
            |texts: &[&str]| -> Vec<Signature> { texts.iter().map(|t| Signature::of_question(t)).collect() };
        let (a, b) = ("book a table in oslo now", "what is the weather like on the moon");
        assert_eq!(self_overlap(&of(&[a, b])), 0.0);
        assert_eq!(self_overlap(&of(&[a, b, a, a])), 0.5);
        assert_eq!(self_overlap(&of(&[])), 0.0);
    }
}
