//! From a row of logits to a token.
//!
//! The logits are divided by the temperature, then filtered by top-k, top-p and min-p in this order,
//! as transformers does; the token is drawn from what is left. [`distribution`] is the definition, and
//! [`sample`] the fast way to the same.
//!
//! What is recorded with a token is its log-probability under the distribution that is *trained*: the
//! softmax of `logits / temperature` over the whole vocabulary, before any filter. The trainer computes
//! that same number, so the first policy ratio of a rollout is 1, whatever filters were active.

use crate::error::{Error, Result};
use crate::kernels::math;
use crate::rng::uniform_f64;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// How tokens are drawn, and when to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divides the logits. 0 takes the likeliest token, the first of equals. Default 1: the model as it
    /// is.
    pub temperature: f64,
    /// Keeps the `k` largest logits, and all that equal the smallest of them. Default: all.
    pub top_k: Option<usize>,
    /// Keeps the likeliest tokens until they hold this share of what top-k left. Default 1: all.
    pub top_p: f64,
    /// Drops tokens less likely than this share of the likeliest. Default 0: none.
    pub min_p: f64,
    /// Longest completion, in tokens. Default 256.
    pub max_new_tokens: usize,
    /// Strings that end a completion. Default: none, only end-of-text ids do.
    pub stop: Vec<String>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: 1.0, min_p: 0.0, max_new_tokens: 256, stop: Vec::new() }
    }
}

impl SamplingConfig {
    /// The likeliest token every time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Sampling`] naming the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        let check = |fits: bool, key: &'static str, got: &dyn std::fmt::Display, expected: &str| match fits {
            true => Ok(()),
            false => Err(Error::Sampling { key, reason: format!("is {got}, expected {expected}") }),
        };
        let t = self.temperature;
        // Below this, the scaled logits of an ordinary model overflow: 0 is the way to say greedy.
        let fits = t == 0.0 || (1e-3..=1e3).contains(&t);
        check(fits, "temperature", &t, "0, or 0.001 to 1000")?;
        check(self.top_k != Some(0), "top_k", &0, "at least 1, or none")?;
        check(0.0 < self.top_p && self.top_p <= 1.0, "top_p", &self.top_p, "more than 0 and at most 1")?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", &self.min_p, "0 to 1")?;
        check(0 < self.max_new_tokens, "max_new_tokens", &0, "at least 1")?;
        check(self.stop.iter().all(|stop| !stop.is_empty()), "stop", &"an empty string", "non-empty strings")
    }

    /// The temperature under which log-probabilities are recorded: greedy decoding has no distribution
    /// of its own, so its tokens are scored at 1.
    pub fn scored_temperature(&self) -> f64 {
        if self.temperature == 0.0 { 1.0 } else { self.temperature }
    }

    fn filters(&self, v: usize) -> bool {
        self.top_k.is_some_and(|k| k < v) || self.top_p < 1.0 || 0.0 < self.min_p
    }
}

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// Its id.
    pub token: u32,
    /// Its log-probability under `softmax(logits / temperature)` over the whole vocabulary, nats.
    pub logprob: f32,
}

/// Buffers that [`sample`] uses again from call to call.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Unnormalised probabilities, `(v,)`.
    weights: Vec<f32>,
    /// Logits in order, for the k-th largest.
    ordered: Vec<f32>,
    /// Tokens that the filters let through, with their unnormalised probabilities.
    kept: Vec<(u32, f64)>,
}

/// The distribution that [`sample`] draws from: the definition, in `f64`, with every sort it takes.
///
/// Equal logits at the edge of top-p are kept from the highest id down, as transformers' stable
/// ascending sort does; the likeliest token is always kept.
///
/// # Shapes
///
/// - `logits`: `(v,)`, raw; `-inf` bans a token.
/// - returns `(v,)`, summing to 1.
///
/// # Source
///
/// `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper` and `MinPLogitsWarper` of
/// transformers (`generation/logits_process.py`), in the order of `GenerationMixin`.
pub fn distribution(logits: &[f32], config: &SamplingConfig) -> Vec<f64> {
    if config.temperature == 0.0 {
        let best = first_max(logits);
        return (0..logits.len()).map(|token| f64::from(u8::from(token == best))).collect();
    }
    let mut scaled: Vec<f64> = logits.iter().map(|&x| f64::from(x) / config.temperature).collect();
    if let Some(k) = config.top_k.filter(|&k| k < scaled.len()) {
        let mut ordered = scaled.clone();
        ordered.sort_by(|a, b| b.total_cmp(a));
        scaled.iter_mut().filter(|x| **x < ordered[k - 1]).for_each(|x| *x = f64::NEG_INFINITY);
    }
    if config.top_p < 1.0 {
        let probs = softmax(&scaled);
        let mut order: Vec<usize> = (0..scaled.len()).collect();
        order.sort_by(|&a, &b| scaled[a].total_cmp(&scaled[b])); // stable: equals in order of id
        order.pop(); // the likeliest stays
        let mut below = 0.0;
        for token in order {
            below += probs[token];
            if below <= 1.0 - config.top_p {
                scaled[token] = f64::NEG_INFINITY;
            }
        }
    }
    if 0.0 < config.min_p {
        let probs = softmax(&scaled);
        let most = probs.iter().copied().fold(0.0, f64::max);
        for (x, p) in scaled.iter_mut().zip(probs) {
            if p < config.min_p * most {
                *x = f64::NEG_INFINITY;
            }
        }
    }
    softmax(&scaled)
}

/// Draws a token from [`distribution`] and scores it under the whole vocabulary.
///
/// Takes one number from `rng`, or none if greedy, so that streams stay in step whatever the filters.
/// Without filters nothing is sorted: a row costs one exponential per token and a walk to the token
/// drawn.
///
/// # Shapes and units
///
/// - `logits`: `(v,)`, raw; `-inf` bans a token.
///
/// # Errors
///
/// [`Error::Sampling`] if a logit is NaN or `+inf`, or all are `-inf`: such a model is broken, and a
/// token drawn from it would hide that.
pub fn sample(
    logits: &[f32],
    config: &SamplingConfig,
    rng: &mut (impl Rng + ?Sized),
    scratch: &mut Scratch,
) -> Result<Sampled> {
    let scale = (1.0 / config.scored_temperature()) as f32;
    let normalizer = math::logsumexp(logits, scale);
    if !normalizer.is_finite() {
        let reason = format!("a row of {} logits has the normaliser {normalizer}", logits.len());
        return Err(Error::Sampling { key: "logits", reason });
    }
    let token = if config.temperature == 0.0 {
        first_max(logits)
    } else {
        let uniform = uniform_f64(rng);
        match config.filters(logits.len()) {
            false => draw(logits, scale, uniform, scratch),
            true => draw_filtered(logits, config, uniform, scratch),
        }
    };
    Ok(Sampled { token: token as u32, logprob: logits[token] * scale - normalizer })
}

/// Index of the largest value, the first of equals; 0 for an empty row.
fn first_max(logits: &[f32]) -> usize {
    let max = math::max(logits);
    logits.iter().position(|&x| x == max).unwrap_or(0)
}

fn softmax(scaled: &[f64]) -> Vec<f64> {
    let max = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scaled.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Tokens per block of the walk in [`draw`].
const BLOCK: usize = 4 * math::LANES;

/// Draws from the whole vocabulary by inversion: walks blocks, then the tokens of one block.
fn draw(logits: &[f32], scale: f32, uniform: f64, scratch: &mut Scratch) -> usize {
    let max = math::max(logits);
    let weights = &mut scratch.weights;
    weights.clear();
    weights.extend(logits.iter().map(|&x| math::exp((x - max) * scale)));
    // A block's sum is the same number both times it is computed, so the walk cannot fall off the end
    // of the last block that has weight, except by the rounding of `uniform * total`.
    let total: f64 = weights.chunks(BLOCK).map(block_sum).sum();
    let mut left = uniform * total;
    let mut block = 0;
    for (index, chunk) in weights.chunks(BLOCK).enumerate() {
        let sum = block_sum(chunk);
        if 0.0 < sum {
            block = index;
            if left < sum {
                break;
            }
            left -= sum;
        }
    }
    let start = block * BLOCK;
    let mut token = start;
    for (index, &weight) in weights[start..].iter().take(BLOCK).enumerate() {
        if 0.0 < weight {
            token = start + index;
            if left < f64::from(weight) {
                break;
            }
            left -= f64::from(weight);
        }
    }
    token
}

fn block_sum(block: &[f32]) -> f64 {
    let (full, rest) = block.as_chunks::<{ math::LANES }>();
    let mut sums = [0.0; math::LANES];
    for lane in full {
        for (sum, x) in sums.iter_mut().zip(lane) {
            *sum += x;
        }
    }
    f64::from(math::sum_lanes(&sums)) + rest.iter().map(|&x| f64::from(x)).sum::<f64>()
}

/// Draws from what the filters leave. Works in `f64`, so that the edges fall as in [`distribution`].
fn draw_filtered(logits: &[f32], config: &SamplingConfig, uniform: f64, scratch: &mut Scratch) -> usize {
    let mut floor = f32::NEG_INFINITY;
    if let Some(k) = config.top_k.filter(|&k| k < logits.len()) {
        scratch.ordered.clear();
        scratch.ordered.extend_from_slice(logits);
        floor = *scratch.ordered.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
    }
    let max = f64::from(math::max(logits)) / config.temperature;
    let weigh = |x: f32| (f64::from(x) / config.temperature - max).exp();
    let kept = &mut scratch.kept;
    kept.clear();
    let candidates = logits.iter().enumerate().filter(|(_, x)| floor <= **x);
    kept.extend(candidates.map(|(token, &x)| (token as u32, weigh(x))).filter(|(_, weight)| 0.0 < *weight));
    if config.top_p < 1.0 {
        keep_nucleus(kept, logits, config.top_p);
    }
    // The likeliest token has weight 1 and passes every filter.
    if 0.0 < config.min_p {
        kept.retain(|(_, weight)| config.min_p <= *weight);
    }
    let mut left = uniform * kept.iter().map(|(_, weight)| weight).sum::<f64>();
    for &(token, weight) in kept.iter() {
        if left < weight {
            return token as usize;
        }
        left -= weight;
    }
    // Only rounding leads here: `uniform` is below 1.
    kept.last().map_or_else(|| first_max(logits), |&(token, _)| token as usize)
}

/// Keeps the likeliest tokens that hold the share `top_p`, without sorting the unlikely ones: a token
/// below `(1 - top_p) / n` of the total lies outside, since all such tokens together are below
/// `1 - top_p`.
fn keep_nucleus(kept: &mut Vec<(u32, f64)>, logits: &[f32], top_p: f64) {
    let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
    let budget = (1.0 - top_p) * total;
    let certain = budget / kept.len() as f64;
    let mut below = 0.0;
    kept.retain(|(_, weight)| {
        let keep = certain <= *weight;
        below += if keep { 0.0 } else { *weight };
        keep
    });
    let by_logit = |a: &(u32, f64), b: &(u32, f64)| {
        logits[a.0 as usize].total_cmp(&logits[b.0 as usize]).then(a.0.cmp(&b.0))
    };
    kept.sort_unstable_by(by_logit);
    let n_dropped = kept.iter().take_while(|(_, weight)| {
        below += weight;
        below <= budget
    });
    let n_dropped = n_dropped.count().min(kept.len().saturating_sub(1));
    kept.drain(..n_dropped);
}
