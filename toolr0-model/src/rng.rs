//! Random streams with names, so that every draw of a run can be repeated alone.
//!
//! A generator that is shared by many samples ties the value of each to the order in which they were
//! drawn, and with threads that order is luck. Here every consumer derives its own generator from the
//! run's seed and a path that says who it is: `(iteration, role, step, prompt, sample)`. The same seed
//! and path give the same bits on every platform and in every version of this crate, with any number of
//! threads.
//!
//! ```
//! use toolr0_model::rng::{Stream, uniform_f64};
//! let step = Stream::root(7).child("solver").child(12);
//! let mut first = step.child(0).rng(); // sample 0 of that step
//! let mut second = step.child(1).rng();
//! assert_ne!(uniform_f64(&mut first), uniform_f64(&mut second));
//! assert_eq!(uniform_f64(&mut step.child(0).rng()), uniform_f64(&mut step.child(0).rng()));
//! ```

use rand::{Rng, SeedableRng};
pub use rand_chacha::ChaCha8Rng;

/// One step of a path: a word or a number. `"3"` and `3` are different steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A word, such as a role or a phase.
    Name(&'a str),
    /// A number, such as an iteration, a step or a sample.
    Index(u64),
}

impl<'a> From<&'a str> for Part<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<u64> for Part<'_> {
    fn from(index: u64) -> Self {
        Self::Index(index)
    }
}

impl From<u32> for Part<'_> {
    fn from(index: u32) -> Self {
        Self::Index(index.into())
    }
}

impl From<usize> for Part<'_> {
    fn from(index: usize) -> Self {
        Self::Index(index as u64)
    }
}

/// Lets bare integer literals be path steps. A negative number is its two's complement.
impl From<i32> for Part<'_> {
    fn from(index: i32) -> Self {
        Self::Index(i64::from(index) as u64)
    }
}

/// A place in the tree of random streams: cheap to copy, extend and turn into a generator.
///
/// The state is four 64-bit lanes. Each absorbs the path word by word through the finalizer of
/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), from its own start and with its own odd multiplier,
/// so the lanes act as four unrelated hashes of the path; together they are the key of a ChaCha8
/// generator. Words are tagged with their kind and length, so no two paths give the same words. This is
/// no cryptographic hash, and nothing here is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    lanes: [u64; 4],
}

/// Odd multipliers of the four lanes: 2^64 over the golden ratio and the constants of xxHash64.
const MULTIPLIERS: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x27d4_eb2f_1656_67c5];

impl Stream {
    /// The stream of a whole run.
    pub fn root(seed: u64) -> Self {
        Self { lanes: MULTIPLIERS }.absorb(0).absorb(seed)
    }

    /// The stream one step further down: of an iteration, a role, a step, a prompt, a sample.
    pub fn child<'a>(self, part: impl Into<Part<'a>>) -> Self {
        match part.into() {
            Part::Index(index) => self.absorb(1).absorb(index),
            Part::Name(name) => {
                // The tag holds the length, so that a padded last word cannot be mistaken.
                let tagged = self.absorb(2 | (name.len() as u64) << 8);
                name.as_bytes().chunks(8).fold(tagged, |stream, chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    stream.absorb(u64::from_le_bytes(word))
                })
            }
        }
    }

    /// The generator of this place. Calling twice gives the same generator from its start.
    pub fn rng(self) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (bytes, lane) in key.chunks_exact_mut(8).zip(self.lanes) {
            bytes.copy_from_slice(&mix(lane).to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// A 64-bit seed of this place, for an interface that takes a number.
    pub fn seed(self) -> u64 {
        self.rng().next_u64()
    }

    fn absorb(mut self, word: u64) -> Self {
        for (lane, multiplier) in self.lanes.iter_mut().zip(MULTIPLIERS) {
            *lane = mix((*lane ^ word).wrapping_mul(multiplier).wrapping_add(MULTIPLIERS[0]));
        }
        self
    }
}

/// The generator of `seed` and a whole path at once: [`Stream::root`] followed by a
/// [`Stream::child`] per part.
pub fn stream(seed: u64, parts: &[Part<'_>]) -> ChaCha8Rng {
    parts.iter().fold(Stream::root(seed), |stream, &part| stream.child(part)).rng()
}

/// A number in `[0, 1)`: the upper 53 bits of a draw, over 2^53, so every value is equally likely and
/// `1.0` never occurs.
pub fn uniform_f64(rng: &mut (impl Rng + ?Sized)) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// The finalizer of SplitMix64: a bijection in which every input bit moves about half of the output.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn paths_do_not_collide() {
        let mut keys = HashSet::new();
        let mut n_paths = 0;
        for seed in [0, 1, u64::MAX] {
            for name in ["", "a", "ab", "solver", "generator", "generator\0", "1"] {
                for index in 0..200u64 {
                    let stream = Stream::root(seed);
                    for place in [
                        stream.child(name).child(index),
                        stream.child(index).child(name),
                        stream.child(name).child(index).child(0),
                        stream.child(name).child(name).child(index),
                    ] {
                        keys.insert(place.seed());
                        n_paths += 1;
                    }
                }
            }
        }
        assert_eq!(keys.len(), n_paths);
    }

    #[test]
    fn siblings_are_unrelated() {
        // Neighbouring samples must not start alike: the mean of their first draws, and the mean of
        // products of neighbours, are those of independent uniforms (standard errors 0.0020, 0.0015).
        let step = Stream::root(3).child("solver");
        let draws: Vec<f64> = (0..20_000usize).map(|i| uniform_f64(&mut step.child(i).rng())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let product = draws.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / (draws.len() - 1) as f64;
        assert!((mean - 0.5).abs() < 0.008, "mean {mean}");
        assert!((product - 0.25).abs() < 0.008, "product {product}");
    }

    #[test]
    fn a_path_at_once_is_the_path_step_by_step() {
        let mut whole = stream(5, &["run".into(), 2.into(), Part::Name("solver")]);
        let mut steps = Stream::root(5).child("run").child(2u64).child("solver").rng();
        assert_eq!(whole.next_u64(), steps.next_u64());
    }

    #[test]
    fn draws_stay_below_one() {
        struct Ones;
        impl rand::TryRng for Ones {
            type Error = std::convert::Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                Ok(u32::MAX)
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                Ok(u64::MAX)
            }
            fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
                dst.fill(u8::MAX);
                Ok(())
            }
        }
        assert!(uniform_f64(&mut Ones) < 1.0);
    }
}
