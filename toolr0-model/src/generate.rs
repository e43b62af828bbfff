//! Completions: many prompts, several samples of each, one batch.
//!
//! A prompt is prefilled once and its samples share its cache; what all prompts begin with is prefilled once for all. Rows that finish leave the batch and waiting samples
//! take their place (continuous batching). Every sample has its own random stream and its own bits: what it becomes
//! does not depend on who else is in the batch, on `max_rows`, or on threads.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::decoder::CausalLm;
use crate::error::{Error, Result};
use crate::kernels::attention::SequenceKv;
use crate::kernels::body::Body;
use crate::kernels::math::LANES;
use crate::kernels::with_values;
use crate::lanes::side_by_side;
use crate::rng::{ChaCha8Rng, Stream};
use crate::sampler::{SamplingConfig, Scratch, sample};
use crate::tokenizer::{Incremental, Tokenizer};

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model wrote an end-of-text id, which is the completion's last token.
    Eos,
    /// A stop string appeared.
    Stop,
    /// The budget of tokens was spent, or the model's context.
    Length,
}

/// What a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Token ids, the end-of-text id included.
    pub tokens: Vec<u32>,
    /// Log-probability of each token when it was drawn, nats, at the sampling temperature over the whole vocabulary.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// A prompt and the random streams of the samples wanted of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids of the rendered prompt, at least one.
    pub prompt: Vec<u32>,
    /// One stream per sample.
    pub streams: Vec<Stream>,
}

/// Settings of [`generate`] that change speed and memory, never results.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Rows decoded together.
    pub max_rows: usize,
    /// Prompt tokens prefilled together.
    pub max_prefill: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_rows: 128, max_prefill: 4096 }
    }
}

/// Weights up to which threads decode rows of their own. One thread to a lane of rows leaves no thread waiting between
/// the layers, but every lane reads all weights: beyond the caches, splitting each product is faster.
const LANE_VALUES: u64 = 1 << 23;
/// Rows below which a lane is not worth a thread.
const MIN_LANE: usize = 8;

/// A completion that is being written.
pub(crate) struct Row {
    pub(crate) request: usize,
    pub(crate) sample: usize,
    config: Arc<SamplingConfig>,
    /// Tokens it may have: those of its settings, and no more than the model has positions for.
    budget: usize,
    cache: SequenceKv,
    rng: ChaCha8Rng,
    text: Incremental,
    next: u32,
    /// What somebody else says next, before the model goes on.
    told: VecDeque<u32>,
    pub(crate) done: Completion,
}

impl Row {
    /// Whether nothing follows.
    pub(crate) fn is_over(&self) -> bool {
        self.done.finish != Finish::Length || self.budget <= self.done.tokens.len()
    }

    /// Goes on behind a stop string with what somebody else says; `false` if it leaves no room for a token of its own.
    fn tell(&mut self, told: Vec<u32>) -> bool {
        let room = self.budget.saturating_sub(self.done.tokens.len());
        let fits = !told.is_empty() && told.len() < room;
        if fits {
            self.told = told.into();
            self.text = Incremental::new(false);
            self.done.finish = Finish::Length;
        }
        fits
    }
}

/// What somebody else says where a completion came to a stop string: the request, the sample, its tokens so far. `None`, or
/// more tokens than leave room for another, ends the completion.
pub type Reply<'a> = dyn FnMut(usize, usize, &[u32]) -> Result<Option<Vec<u32>>> + 'a;

/// Draws completions; entry `[r][s]` belongs to stream `s` of request `r`.
///
/// `model` is best a [`CausalLm::frozen`] copy. `progress` is called with the number of samples that have finished.
/// When it returns `false`, sampling stops and unfinished samples are returned as they are.
///
/// # Errors
///
/// If a setting is out of range or a prompt is empty, or the model's arithmetic fails: logits that are NaN, a token
/// outside the vocabulary.
pub fn generate(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    eos: &[u32],
    requests: &[Request],
    config: &SamplingConfig,
    batching: Batching,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<Completion>>> {
    let mut silent = |_: usize, _: usize, _: &[u32]| Ok(None);
    converse(model, tokenizer, eos, requests, config, batching, &mut silent, progress)
}

/// The same, where `reply` may answer a stop string, and the completion goes on behind what it says: the tokens of others
/// stand among the completion's, count in its budget, and have the log-probability 0.
///
/// # Errors
///
/// As [`generate`], and what `reply` returns.
#[expect(clippy::too_many_arguments, reason = "all that a completion depends on")]
pub fn converse(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    eos: &[u32],
    requests: &[Request],
    config: &SamplingConfig,
    batching: Batching,
    reply: &mut Reply<'_>,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<Completion>>> {
    config.validate()?;
    if let Some(at) = requests.iter().position(|r| r.prompt.is_empty()) {
        return Err(Error::Sampling { key: "prompt", reason: format!("of request {at} holds no token") });
    }
    let empty = || Completion { tokens: Vec::new(), logprobs: Vec::new(), finish: Finish::Length };
    let mut out: Vec<Vec<Completion>> =
        requests.iter().map(|r| r.streams.iter().map(|_| empty()).collect()).collect();
    let mut waiting: VecDeque<usize> =
        (0..requests.len()).filter(|r| !requests[*r].streams.is_empty()).collect();
    let root = common_root(model, requests)?;
    let config = Arc::new(config.clone());
    let mut rows: Vec<Row> = Vec::new();
    let mut finished = 0;
    loop {
        let free = batching.max_rows.max(1).saturating_sub(rows.len());
        rows.extend(admit(model, requests, root.as_ref(), &mut waiting, free, batching, &config)?);
        if rows.is_empty() {
            return Ok(out);
        }
        decode(model, tokenizer, eos, &mut rows)?;
        for row in rows.iter_mut().filter(|row| row.done.finish == Finish::Stop) {
            if let Some(told) = reply(row.request, row.sample, &row.done.tokens)? {
                row.tell(told);
            }
        }
        let before = finished;
        rows.retain_mut(|row| {
            let over = row.is_over();
            if over {
                finished += 1;
                out[row.request][row.sample] = std::mem::replace(&mut row.done, empty());
            }
            !over
        });
        if finished != before && !progress(finished) {
            for row in rows {
                out[row.request][row.sample] = row.done;
            }
            return Ok(out);
        }
    }
}

/// The cache of what all prompts begin with, such as the system's message; `None` if that is little.
///
/// It holds whole blocks of keys, and a prompt's own keys then begin a block as they would without it, so the sums of
/// attention stay what they are: a completion does not depend on which prompts are in the call.
fn common_root(model: &CausalLm, requests: &[Request]) -> Result<Option<Arc<SequenceKv>>> {
    let prompts = requests.iter().filter(|r| !r.streams.is_empty()).map(|r| r.prompt.as_slice());
    let prefix = common_blocks(prompts);
    if prefix.is_empty() {
        return Ok(None);
    }
    let mut root = model.new_cache(None);
    model.forward_cached(prefix, &mut [&mut root], &[prefix.len()])?;
    Ok(Some(Arc::new(root)))
}

/// The whole blocks of tokens that all of several prompts begin with; their last tokens do not count.
fn common_blocks<'a>(mut prompts: impl Iterator<Item = &'a [u32]>) -> &'a [u32] {
    let first = prompts.next().unwrap_or_default();
    let (mut common, mut others) = (first.len().saturating_sub(1), 0);
    for prompt in prompts {
        let head = &prompt[..prompt.len().saturating_sub(1)];
        common = common.min(first.iter().zip(head).take_while(|(a, b)| a == b).count());
        others += 1;
    }
    if others == 0 { &[] } else { &first[..common - common % LANES] }
}

/// Prefills waiting prompts while their samples fit (one at least, if the batch is empty) and draws first tokens.
fn admit(
    model: &CausalLm,
    requests: &[Request],
    root: Option<&Arc<SequenceKv>>,
    waiting: &mut VecDeque<usize>,
    mut free: usize,
    batching: Batching,
    config: &Arc<SamplingConfig>,
) -> Result<Vec<Row>> {
    let empty_batch = free == batching.max_rows.max(1);
    let known = root.map_or(0, |root| root.len());
    let (mut taken, mut tokens): (Vec<usize>, usize) = (Vec::new(), 0);
    while let Some(&next) = waiting.front() {
        let Request { prompt, streams } = &requests[next];
        let fits = streams.len() <= free && tokens + prompt.len() - known <= batching.max_prefill;
        let alone = taken.is_empty() && empty_batch;
        if !(fits || alone) {
            break;
        }
        free = free.saturating_sub(streams.len());
        tokens += prompt.len() - known;
        taken.push(next);
        waiting.pop_front();
    }
    let taken: Vec<_> = taken.into_iter().map(|next| (next, &requests[next], config)).collect();
    prefill(model, &taken, root)
}

/// Prefills prompts, each with a number and settings of its own, and makes a row of each sample.
pub(crate) fn prefill(
    model: &CausalLm,
    taken: &[(usize, &Request, &Arc<SamplingConfig>)],
    root: Option<&Arc<SequenceKv>>,
) -> Result<Vec<Row>> {
    let known = root.map_or(0, |root| root.len());
    // All but the last prompt token go into the shared cache; each row then feeds the last one itself.
    let mut caches: Vec<SequenceKv> = taken.iter().map(|_| model.new_cache(root.cloned())).collect();
    let heads: Vec<&[u32]> =
        taken.iter().map(|(_, request, _)| &request.prompt[known..request.prompt.len() - 1]).collect();
    let new: Vec<usize> = heads.iter().map(|h| h.len()).collect();
    if new.iter().any(|n| *n != 0) {
        let mut rows: Vec<&mut SequenceKv> = caches.iter_mut().collect();
        model.forward_cached(&heads.concat(), &mut rows, &new)?;
    }
    let mut out = Vec::new();
    for ((number, Request { prompt, streams }, config), cache) in taken.iter().zip(caches) {
        let cache = Arc::new(cache);
        // One token even of a prompt that fills the context: a rollout without any would be no rollout.
        let room = model.config().max_position.saturating_sub(prompt.len()).max(1);
        for (sample, stream) in streams.iter().enumerate() {
            out.push(Row {
                request: *number,
                sample,
                config: Arc::clone(config),
                budget: config.max_new_tokens.min(room),
                cache: model.new_cache(Some(cache.clone())),
                rng: stream.rng(),
                text: Incremental::new(false),
                next: prompt[prompt.len() - 1],
                told: VecDeque::new(),
                done: Completion {
                    tokens: Vec::with_capacity(config.max_new_tokens.min(1024)),
                    logprobs: Vec::new(),
                    finish: Finish::Length,
                },
            });
        }
    }
    Ok(out)
}

/// One token for every row, in lanes.
pub(crate) fn decode(model: &CausalLm, tokenizer: &Tokenizer, eos: &[u32], rows: &mut [Row]) -> Result<()> {
    let small = model.body() == Body::Fused && model.config().n_params() <= LANE_VALUES;
    let lanes = if small { rayon::current_num_threads() } else { 1 };
    let lane = rows.len().div_ceil(lanes).max(MIN_LANE);
    let pieces = rows.chunks_mut(lane).collect();
    side_by_side(pieces, |rows| step(model, tokenizer, eos, rows)).into_iter().collect()
}

/// One token for every row of a lane.
fn step(model: &CausalLm, tokenizer: &Tokenizer, eos: &[u32], rows: &mut [Row]) -> Result<()> {
    let tokens: Vec<u32> = rows.iter().map(|row| row.next).collect();
    let new = vec![1; rows.len()];
    let hidden = {
        let mut caches: Vec<&mut SequenceKv> = rows.iter_mut().map(|row| &mut row.cache).collect();
        model.forward_cached(&tokens, &mut caches, &new)?
    };
    let logits = model.logits(&hidden)?;
    let v = model.config().vocab_size;
    with_values(&logits.contiguous()?, |logits| {
        rows.par_iter_mut().zip(logits.par_chunks(v)).with_min_len(4).try_for_each_init(
            Scratch::default,
            |scratch, (row, logits)| {
                if let Some(told) = row.told.pop_front() {
                    row.next = told;
                    row.done.tokens.push(told);
                    row.done.logprobs.push(0.0);
                    return Ok(());
                }
                let drawn = sample(logits, &row.config, &mut row.rng, scratch)?;
                row.next = drawn.token;
                row.done.tokens.push(drawn.token);
                row.done.logprobs.push(drawn.logprob);
                if eos.contains(&drawn.token) {
                    row.done.finish = Finish::Eos;
                } else if !row.config.stop.is_empty() {
                    row.text.push(tokenizer, drawn.token)?;
                    if row.text.find_stop(&row.config.stop).is_some() {
                        row.done.finish = Finish::Stop;
                    }
                }
                Ok(())
            },
        )
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prompts_have_in_common_is_whole_blocks() {
        let prompt = |same: u32, own: &[u32]| (0..same).chain(own.iter().copied()).collect::<Vec<u32>>();
        let (a, b, c) = (prompt(37, &[90, 91]), prompt(37, &[92]), prompt(20, &[93, 94, 95]));
        let common = |prompts: &[&[u32]]| common_blocks(prompts.iter().copied()).len();
        assert_eq!(common(&[&a, &b]), 32);
        assert_eq!(common(&[&a, &b, &c]), 16);
        // The last token of a prompt is fed by its rows, so equal prompts share all but that.
        assert_eq!((common(&[&a[..33], &a[..33]]), common(&[&a[..32], &a[..32]])), (32, 16));
        assert_eq!((common(&[&a]), common(&[&a, &[1, 2]]), common(&[])), (0, 0, 0));
    }
}
