//! The release's penalty on near-equal questions of one batch. It defines it and does not train with it.

use std::collections::HashSet;

use crate::text::{is_space, strip};

/// How a batch is searched for near-equal questions. The default is the release's: weight 0.2, distance 0.3,
/// character trigrams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repetition {
    /// The penalty of a batch that is one single cluster.
    pub weight: f64,
    /// Questions nearer than this are the same.
    pub distance: f64,
    /// Length of the character n-grams.
    pub n: usize,
}

impl Default for Repetition {
    fn default() -> Self {
        Self { weight: 0.2, distance: 0.3, n: 3 }
    }
}

/// The penalty of each question: `-weight * (size of its cluster) / (size of the batch)`.
///
/// Clusters are the connected components of "Jaccard distance of the character n-grams below `distance`". `None`
/// is a completion without a question: it has no penalty but counts in the batch. With fewer than two questions
/// nobody is penalised. A blank question counts as none. Takes time quadratic in the batch.
pub fn repetition_penalties(questions: &[Option<&str>], settings: &Repetition) -> Vec<f64> {
    let asked: Vec<(usize, HashSet<String>)> = questions
        .iter()
        .enumerate()
        .filter_map(|(i, question)| Some((i, question.filter(|text| !strip(text).is_empty())?)))
        .map(|(i, text)| (i, ngrams(text, settings.n)))
        .collect();
    let mut penalties = vec![0.0; questions.len()];
    if asked.len() < 2 {
        return penalties;
    }
    let clusters =
        cluster(asked.len(), |i, j| jaccard_distance(&asked[i].1, &asked[j].1) < settings.distance);
    let mut sizes = vec![0usize; asked.len()];
    clusters.iter().for_each(|&root| sizes[root] += 1);
    for ((i, _), root) in asked.iter().zip(clusters) {
        penalties[*i] = -(settings.weight * (sizes[root] as f64 / questions.len() as f64));
    }
    penalties
}

/// Lower case; our own tag names and all but plain ASCII text removed.
fn normalize(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain = strip(&lower).replace("available_tools", "").replace("tool_call_answer", "");
    // White space is collapsed but not stripped here: what a removed tag leaves at the ends stays one space.
    let mut out = String::with_capacity(plain.len());
    let mut after_space = false;
    for c in plain.chars() {
        if is_space(c) {
            if !after_space {
                out.push(' ');
            }
        } else if c.is_ascii_lowercase() || c.is_ascii_digit() || ".,?!-:;'\"".contains(c) {
            out.push(c);
        }
        after_space = is_space(c);
    }
    out
}

/// The n-grams of ` question `. The release normalises twice: the second time collapses the spaces that a removed
/// character leaves side by side, and cuts the ends.
fn ngrams(question: &str, n: usize) -> HashSet<String> {
    let text: Vec<char> = format!(" {} ", normalize(&normalize(question))).chars().collect();
    if text.len() < n || n == 0 {
        return HashSet::from([text.into_iter().collect()]);
    }
    text.windows(n).map(|gram| gram.iter().collect()).collect()
}

fn jaccard_distance(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    let shared = a.intersection(b).count();
    let all = a.len() + b.len() - shared;
    if all == 0 { 0.0 } else { 1.0 - shared as f64 / all as f64 }
}

/// Union-find: the representative of each of `n` items under "any chain of near pairs".
fn cluster(n: usize, near: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..n).collect();
    fn root(parent: &mut [usize], mut i: usize) -> usize {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    }
    for i in 0..n {
        for j in i + 1..n {
            if near(i, j) {
                let (a, b) = (root(&mut parent, i), root(&mut parent, j));
                parent[b] = a;
            }
        }
    }
    (0..n).map(|i| root(&mut parent, i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn penalties(questions: &[Option<&str>]) -> Vec<f64> {
        repetition_penalties(questions, &Repetition::default())
    }

    #[test]
    fn one_question_or_none_is_never_repeated() {
        assert_eq!(penalties(&[]), [0.0; 0]);
        assert_eq!(penalties(&[Some("Book a seat"), None, Some(" ")]), [0.0; 3]);
    }

    #[test]
    fn clusters_are_chains() {
        // Each question is near the next, the first is far from the last.
        let chain =
            ["abcdefghijklmnop", "abcdefghijklmnopqr", "abcdefghijklmnopqrstu", "abcdefghijklmnopqrstuvwxy"];
        let grams = chain.map(|text| ngrams(text, 3));
        assert!(jaccard_distance(&grams[0], &grams[3]) >= 0.3);
        assert_eq!(penalties(&chain.map(Some)), [-0.2; 4]);
        assert_eq!(penalties(&[Some(chain[0]), Some(chain[3])]), [-0.1; 2]);
    }

    #[test]
    fn what_the_release_throws_out_does_not_count() {
        assert_eq!(normalize("  Tool_Call_Answer  É Book—a\tSEAT! "), "  booka seat!");
        assert_eq!(ngrams("# a # b #", 3), ngrams("a b", 3));
    }

    proptest! {
        #[test]
        fn penalties_are_bounded_and_blind_to_order(questions in prop::collection::vec(prop::option::of("[ab ]{0,6}"), 0..8)) {
            let refs: Vec<_> = questions.iter().map(Option::as_deref).collect();
            let forward = penalties(&refs);
            prop_assert!(forward.iter().all(|p| (-0.2..=0.0).contains(p)));
            let mut back = penalties(&refs.iter().rev().copied().collect::<Vec<_>>());
            back.reverse();
            prop_assert_eq!(forward, back);
        }
    }
}
