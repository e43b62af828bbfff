//! All that a run ever said, by MinHash (Broder, 1997) in bands: looking one thing up costs the same however many there are.
//!
//! A question is compared by shingles of three words, as [`fingerprint`](crate::fingerprint) folds it (case, white space and
//! digits aside); a menu by its tools' names and by their parameters with types.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use toolr0_tools::ToolSpec;

use crate::text::fold_question;

/// Hashes of a signature. The estimate of a similarity then has a standard error of at most `1 / 16`.
const HASHES: usize = 64;
/// Hashes of a band. Two texts of similarity `s` share one of 16 bands with probability `1 - (1 - s^4)^16`: 64 % at
/// 0.5, 99 % at 0.7.
const BAND: usize = 4;
/// Bands of a signature.
const BANDS: usize = HASHES / BAND;
/// Words of a shingle.
const SHINGLE: usize = 3;
/// Signatures of a band that are compared, the newest first: what bounds a look-up where a generator writes one phrase in
/// a million variants. Equal signatures are kept once, so these are all different.
const MOST: usize = 64;
/// No signature.
const NONE: u32 = u32::MAX;

/// The least hash of all features of something, under each of 64 hash functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u32; HASHES]);

impl Signature {
    /// Of a question.
    pub fn of_question(question: &str) -> Self {
        let folded = fold_question(question);
        let words: Vec<&str> = folded.split(' ').collect();
        Self::of(words.windows(SHINGLE.min(words.len())).map(|shingle| fnv(&shingle.join(" "))))
    }

    /// Of a menu, whatever its order: the names of its tools, and their parameters with types.
    pub fn of_tools(tools: &[ToolSpec]) -> Self {
        let features = tools.iter().flat_map(|tool| {
            let name = std::iter::once(format!("{:?}", tool.name));
            name.chain(tool.params().map(|param| {
                format!("{:?} {:?} {:?}", tool.name, param.name, param.kind().unwrap_or_default())
            }))
        });
        Self::of(features.map(|feature| fnv(&feature)))
    }

    fn of(features: impl Iterator<Item = u64>) -> Self {
        let mut least = [u32::MAX; HASHES];
        for hash in features {
            for (i, least) in (0_u64..).zip(&mut least) {
                *least = (*least).min((mix(hash ^ mix(i + 1)) >> 32) as u32);
            }
        }
        Self(least)
    }

    /// The estimated Jaccard similarity of the features, 0 to 1.
    pub fn similarity(&self, other: &Self) -> f64 {
        alike(&self.0, &other.0)
    }
}

fn alike(a: &[u32], b: &[u32]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / HASHES as f64
}

/// Signatures of all that was said, each different one once.
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::diversity::{Index, Signature};
/// let mut index = Index::default();
/// index.insert(&Signature::of_question("Book a table for 4 guests in Oslo, please."));
/// assert_eq!(index.look_up(&Signature::of_question("book a table for 7 guests in Oslo, please.")), 1.0);
/// assert_eq!(index.look_up(&Signature::of_question("What is the weather like on the moon?")), 0.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Vec<u32>>", into = "Vec<Vec<u32>>")]
pub struct Index {
    /// `(n, 64)`.
    signatures: Vec<u32>,
    /// The newest signature of each band, by a hash of the band's number and values.
    newest: HashMap<u64, u32>,
    /// `(n, 16)`: the next older signature of the same band.
    older: Vec<u32>,
    /// Hashes of whole signatures.
    whole: HashSet<u64>,
}

impl Index {
    /// Adds a question and returns what [`Index::look_up`] said of it before.
    pub fn add(&mut self, question: &str) -> f64 {
        let signature = Signature::of_question(question);
        let most = self.look_up(&signature);
        self.insert(&signature);
        most
    }

    /// The estimated Jaccard similarity, 0 to 1, to the most similar signature; 0 if none shares a band. Bounded: at most
    /// 64 signatures of each of the 16 bands are compared.
    pub fn look_up(&self, signature: &Signature) -> f64 {
        if self.whole.contains(&hash(&signature.0)) {
            return 1.0;
        }
        let mut most = 0.0;
        for (band, key) in keys(&signature.0).enumerate() {
            let mut at = self.newest.get(&key).copied().unwrap_or(NONE);
            for _ in 0..MOST {
                let Some(other) = self.signatures.get(at as usize * HASHES..).and_then(|s| s.get(..HASHES))
                else {
                    break;
                };
                most = f64::max(most, alike(&signature.0, other));
                at = self.older[at as usize * BANDS + band];
            }
        }
        most
    }

    /// Adds a signature; returns whether it was new.
    pub fn insert(&mut self, signature: &Signature) -> bool {
        // 4 billion signatures are beyond any memory; then nothing new is kept.
        let Ok(id) = u32::try_from(self.len()) else { return false };
        if id == NONE || !self.whole.insert(hash(&signature.0)) {
            return false;
        }
        for key in keys(&signature.0) {
            self.older.push(self.newest.insert(key, id).unwrap_or(NONE));
        }
        self.signatures.extend_from_slice(&signature.0);
        true
    }

    /// Signatures in it, all different.
    pub fn len(&self) -> usize {
        self.signatures.len() / HASHES
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// The signatures, oldest first, as little-endian numbers: 256 bytes each.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.signatures.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads what [`Index::to_bytes`] wrote; `None` if it is no whole number of signatures.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || !words.len().is_multiple_of(HASHES) {
            return None;
        }
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let mut index = Self::default();
        words.as_chunks::<HASHES>().0.iter().for_each(|signature| _ = index.insert(&Signature(*signature)));
        Some(index)
    }
}

impl From<Vec<Vec<u32>>> for Index {
    /// Signatures of another length are none of ours and are left out.
    fn from(signatures: Vec<Vec<u32>>) -> Self {
        let mut index = Self::default();
        let ours = signatures.into_iter().filter_map(|s| s.try_into().ok());
        ours.for_each(|signature| _ = index.insert(&Signature(signature)));
        index
    }
}

impl From<Index> for Vec<Vec<u32>> {
    fn from(index: Index) -> Self {
        index.signatures.chunks(HASHES).map(<[u32]>::to_vec).collect()
    }
}

/// A key of each band.
fn keys(signature: &[u32; HASHES]) -> impl Iterator<Item = u64> {
    (1_u64..).zip(signature.as_chunks::<BAND>().0).map(|(band, values)| mix(hash(values) ^ mix(band)))
}

fn hash(words: &[u32]) -> u64 {
    words.iter().fold(0, |hash, word| mix(hash ^ u64::from(*word)))
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
    use proptest::prelude::*;

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
            let of = |text: &[String]| Signature::of_question(&text.join(" "));
            let equal = of(&a).similarity(&of(&b));
            assert!((equal - truth).abs() < 0.2, "{equal} for {truth}");
        }
    }

    #[test]
    fn a_menu_is_known_in_any_order_and_by_the_types_of_its_parameters() {
        let tool = |name: &str, key: &str, kind: &str| {
            let properties = serde_json::json!({ key: { "type": kind } });
            ToolSpec::new(name, "About it.", properties.as_object().unwrap().clone(), &[])
        };
        let (a, b) = (tool("book", "city", "string"), tool("find", "day", "integer"));
        let both = Signature::of_tools(&[a.clone(), b.clone()]);
        assert_eq!(both, Signature::of_tools(&[b, a.clone()]));
        let other = Signature::of_tools(&[a, tool("find", "day", "string")]);
        // Three features of five are shared.
        assert!((both.similarity(&other) - 0.6).abs() < 0.2, "{}", both.similarity(&other));
        assert_eq!(Signature::of_tools(&[]), Signature::of_tools(&[]));
    }

    #[test]
    fn a_flood_of_variants_bounds_the_look_up_and_equal_ones_are_kept_once() {
        let mut index = Index::default();
        // One word differs: all of them share the bands whose least hashes come from the other words.
        let word =
            |i: u32| -> String { (0..4).map(|k| char::from(b'a' + (i >> (4 * k) & 15) as u8)).collect() };
        let text = |i: u32| {
            format!(
                "please book a table in the old harbour of {} for all of us tonight around eight",
                word(i)
            )
        };
        for i in 0..5000 {
            assert!(index.insert(&Signature::of_question(&text(i))) || i > 0);
        }
        let before = index.len();
        assert!(!index.insert(&Signature::of_question(&text(7))), "it is known");
        assert_eq!(index.len(), before);
        assert_eq!(index.look_up(&Signature::of_question(&text(0))), 1.0, "the oldest is found");
        let near = index.look_up(&Signature::of_question(&text(60_000)));
        assert!((0.3..1.0).contains(&near), "{near}");
    }

    proptest! {
        /// Whatever is kept is found, also after it was written and read; half a signature is refused.
        #[test]
        fn what_is_kept_is_found(questions in prop::collection::vec("[a-c]{1,2}( [a-c]{1,2}){0,6}", 0..40)) {
            let mut index = Index::default();
            for question in &questions {
                index.insert(&Signature::of_question(question));
            }
            let bytes = index.to_bytes();
            let read = Index::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&read, &index);
            for question in &questions {
                prop_assert_eq!(read.look_up(&Signature::of_question(question)), 1.0);
            }
            if let Some((_, half)) = bytes.split_last() {
                prop_assert_eq!(Index::from_bytes(half), None);
            }
        }
    }
}
