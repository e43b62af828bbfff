//! Does the generator still say new things? Distinct n-grams, overlap with all that was asked before, distinct tools.
//!
//! Questions are compared as [`fingerprint`](crate::fingerprint) does: case, white space and digits aside.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use toolr0_tools::Task;

use crate::text::fold_question;

/// Hashes of a signature. The estimate of a similarity then has a standard error of at most `1 / 16`.
const HASHES: usize = 64;
/// Hashes of a band. Two texts of similarity `s` share one of 16 bands with probability `1 - (1 - s^4)^16`: 64 % at
/// 0.5, 99 % at 0.7.
const BAND: usize = 4;
/// Words of a shingle.
const SHINGLE: usize = 3;

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
    let (mut seen, mut all) = (HashSet::new(), 0_usize);
    for tool in tasks.into_iter().flat_map(|task| &task.tools) {
        let mut key: Vec<&str> = tool.params().map(|param| param.name).collect();
        key.sort_unstable();
        key.push(&tool.name);
        all += 1;
        seen.insert(key.iter().map(|part| format!("{part:?}")).collect::<String>());
    }
    if all == 0 { 1.0 } else { seen.len() as f64 / all as f64 }
}

/// All questions of a run, by MinHash (Broder, 1997) over shingles of three words, in bands: looking one up costs the
/// same however many there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Vec<u32>>", into = "Vec<Vec<u32>>")]
pub struct Index {
    signatures: Vec<Vec<u32>>,
    bands: HashMap<(usize, Vec<u32>), Vec<usize>>,
}

impl Index {
    /// Adds a question and returns the estimated Jaccard similarity, 0 to 1, to the most similar earlier one; 0 if
    /// none shares a band.
    pub fn add(&mut self, question: &str) -> f64 {
        let signature = signature(question);
        let mut similar: Vec<usize> =
            bands(&signature).filter_map(|band| self.bands.get(&band)).flatten().copied().collect();
        similar.sort_unstable();
        similar.dedup();
        let alike = |i: usize| {
            let equal = signature.iter().zip(&self.signatures[i]).filter(|(a, b)| a == b).count();
            equal as f64 / HASHES as f64
        };
        let most = similar.into_iter().map(alike).fold(0.0, f64::max);
        self.insert(signature);
        most
    }

    /// Questions in it.
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    fn insert(&mut self, signature: Vec<u32>) {
        for band in bands(&signature) {
            self.bands.entry(band).or_default().push(self.signatures.len());
        }
        self.signatures.push(signature);
    }
}

impl From<Vec<Vec<u32>>> for Index {
    /// Signatures of another length are none of ours and are left out.
    fn from(signatures: Vec<Vec<u32>>) -> Self {
        let mut index = Self::default();
        signatures.into_iter().filter(|s| s.len() == HASHES).for_each(|s| index.insert(s));
        index
    }
}

impl From<Index> for Vec<Vec<u32>> {
    fn from(index: Index) -> Self {
        index.signatures
    }
}

fn bands(signature: &[u32]) -> impl Iterator<Item = (usize, Vec<u32>)> {
    signature.chunks(BAND).map(<[u32]>::to_vec).enumerate()
}

/// The least hash of all shingles, under each of the hash functions.
fn signature(question: &str) -> Vec<u32> {
    let folded = fold_question(question);
    let words: Vec<&str> = folded.split(' ').collect();
    let mut least = vec![u32::MAX; HASHES];
    for shingle in words.windows(SHINGLE.min(words.len())) {
        let hash = fnv(&shingle.join(" "));
        for (i, least) in (0_u64..).zip(&mut least) {
            *least = (*least).min((mix(hash ^ mix(i + 1)) >> 32) as u32);
        }
    }
    least
}

/// FNV-1a, the same on every machine and in every version.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finalizer of SplitMix64.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
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
    }

    #[test]
    fn the_index_finds_what_was_asked_before_and_survives_json() {
        let mut index = Index::default();
        assert!(index.is_empty());
        assert_eq!(
            index.add("Please book a table for 4 guests in Oslo tomorrow evening at the harbour."),
            0.0
        );
        let text = serde_json::to_string(&index).unwrap();
        let mut read: Index = serde_json::from_str(&text).unwrap();
        assert_eq!((&read, read.len()), (&index, 1));
        for index in [&mut index, &mut read] {
            let again =
                index.add("please book a table for 7 guests in Oslo tomorrow evening at the harbour.");
            assert_eq!(again, 1.0, "numbers and case aside it is the same");
            let near = index.add("Please book a table for 4 guests in Oslo tomorrow evening at the station.");
            assert!(0.6 < near && near < 1.0, "{near}");
            assert_eq!(index.add("What is the weather like on the moon this time of the year?"), 0.0);
        }
        assert_eq!(read, index);
        // Texts without words are texts too.
        assert_eq!((index.add(""), index.add(" ")), (0.0, 1.0));
    }

    /// Against the exact Jaccard index of random sets of words.
    #[test]
    fn the_estimate_is_near_the_truth() {
        for shared in [20, 30, 36] {
            let words = |from: usize| {
                (from..from + 40).map(|i| format!("w{}", (b'a' + i as u8 % 26) as char).repeat(1 + i / 26))
            };
            let a: Vec<String> = words(0).collect();
            let mut b: Vec<String> = a[..shared].to_vec();
            b.extend(words(60).take(40 - shared));
            let grams = |x: &[String]| x.windows(SHINGLE).map(|w| w.join(" ")).collect::<HashSet<_>>();
            let (x, y) = (grams(&a), grams(&b));
            let truth = x.intersection(&y).count() as f64 / x.union(&y).count() as f64;
            let of = |text: &[String]| signature(&text.join(" "));
            let equal = of(&a).iter().zip(of(&b)).filter(|(a, b)| **a == *b).count() as f64 / HASHES as f64;
            assert!((equal - truth).abs() < 0.2, "{equal} for {truth}");
        }
    }
}
