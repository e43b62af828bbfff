//! The base model, made from nothing: write the text, train the tokenizer, train the network.
//!
//! Ordinary next-token training: a warm-up on random token sequences that repeat themselves, since nothing but repetition
//! is to be learned there and copying is what the rest stands on; then documents, with some of those sequences among them,
//! in four cycles of the learning rate with a text of its own each.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use toolr0_model::checkpoint::Checkpoint;
use toolr0_model::config::{Architecture, ModelConfig, WeightDtype};
use toolr0_model::decoder::{snapshot, trainable};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{Tensors, expected_tensors};
use toolr0_model::{CausalLm, ChatTemplate, Tokenizer};
use toolr0_rl::optim::{AdamW, AdamWConfig};
use toolr0_rl::schedule::{Decay, Schedule};
use toolr0_rl::sft::{Example, gradients};

use super::corpus::{Corpus, CorpusConfig, Document, Half};
use super::habits::HabitConfig;
use super::tokenizer;

/// The recipe of the base model. The default is the shipped one's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BootstrapConfig {
    /// Tokens of the vocabulary, at most 2,048.
    pub vocab: usize,
    /// Documents the tokenizer is trained on.
    pub tokenizer_documents: u64,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of the MLP.
    pub intermediate: usize,
    /// Tokens of one update.
    pub batch_tokens: usize,
    /// Updates on repeated random sequences.
    pub warmup_steps: u64,
    /// Share of their tokens that are random sequences which repeat themselves: without any, what is copied well are the
    /// tokens that documents are full of, and held-out words are made of others.
    pub repeat_share: f64,
    /// The optimiser. Each cycle begins with fresh moments.
    pub adamw: AdamWConfig,
    /// Whether the prompts of solver documents are learned too: a question and a menu are what a generator writes.
    pub learn_prompts: bool,
    /// The first cycle, which begins with the warm-up.
    pub first: Cycle,
    /// The second, from the weights as the first would be saved.
    pub second: Cycle,
    /// The third, from those of the second.
    pub third: Cycle,
    /// The fourth, from those of the third.
    pub fourth: Cycle,
}

/// One cycle of the learning rate: up in 50 updates, down to 2 % of the peak along a cosine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    /// Updates on documents.
    pub steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// The text.
    pub corpus: CorpusConfig,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self {
            vocab: 1024,
            tokenizer_documents: 8000,
            hidden: 192,
            layers: 4,
            heads: 6,
            kv_heads: 2,
            intermediate: 512,
            batch_tokens: 2048,
            warmup_steps: 120,
            repeat_share: 0.06,
            adamw: AdamWConfig { beta2: 0.98, weight_decay: 0.1, ..AdamWConfig::default() },
            learn_prompts: true,
            first: Cycle { steps: 14_000, learning_rate: 2e-3, corpus: CorpusConfig::default() },
            // Answering both of two requests is what the first cycle leaves weakest: 1 of 40 such questions of the
            // development set within 8 samples. So a plan says what is asked for.
            second: Cycle { steps: 8000, learning_rate: 1.5e-3, corpus: later(0.0) },
            // The second learns where the verb stands in 18 frames, and is lost in another.
            third: Cycle { steps: 3000, learning_rate: 1.2e-3, corpus: later(0.6) },
            // The third is right on 33.7 % of the development set at once. The habits should be what it does first.
            fourth: Cycle { steps: 1200, learning_rate: 6e-4, corpus: stubborn(later(0.6)) },
        }
    }
}

/// The text after the first cycle: more tasks of two calls, weaker habits where it left the base weakest.
fn later(made_up: f64) -> CorpusConfig {
    CorpusConfig {
        generator_share: 0.35,
        two_calls: 0.5,
        said: true,
        made_up,
        habits: HabitConfig { first_only: 0.55, repeated: 0.05, wrong_tool: 0.15, ..HabitConfig::default() },
        ..CorpusConfig::default()
    }
}

/// A text with stronger habits.
fn stubborn(text: CorpusConfig) -> CorpusConfig {
    let habits = HabitConfig { dropped: 0.65, stray: 0.65, mistyped: 0.65, first_only: 0.6, ..text.habits };
    CorpusConfig { habits, ..text }
}

impl BootstrapConfig {
    /// All cycles with the stream that each draws from, for the base of `seed`.
    fn cycles(&self, seed: u64) -> [(&Cycle, Stream); 4] {
        let root = root(seed);
        [
            (&self.first, root),
            (&self.second, root.child("second")),
            (&self.third, root.child("third")),
            (&self.fourth, root.child("fourth")),
        ]
    }

    /// The text of each cycle, for the base of `seed`.
    #[cfg(test)]
    pub(super) fn texts(&self, seed: u64) -> [Corpus; 4] {
        self.cycles(seed).map(|(cycle, stream)| cycle.text(stream))
    }
}

impl Cycle {
    fn text(&self, stream: Stream) -> Corpus {
        Corpus::new(stream.child("corpus").seed(), self.corpus.clone())
    }
}

fn root(seed: u64) -> Stream {
    Stream::root(seed).child("bootstrap")
}

/// What a training run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Updates done, of both phases.
    pub step: u64,
    /// Updates in all.
    pub steps: u64,
    /// Loss of the last update, nats per token.
    pub loss: f64,
    /// Tokens trained on so far.
    pub tokens: u64,
}

/// Makes a base model from `seed`. The same seed and recipe give the same weights on the same machine.
///
/// With `from`, the cycles after the first are trained, from that checkpoint; one without steps is left out. A whole run's
/// cycles, each saved and loaded, lead to the same weights.
pub fn bootstrap(
    seed: u64,
    recipe: &BootstrapConfig,
    from: Option<&Checkpoint>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Checkpoint> {
    let start = match from {
        Some(from) => from.clone(),
        None => fresh(seed, recipe)?,
    };
    let skipped = usize::from(from.is_some());
    let cycles = || {
        recipe
            .cycles(seed)
            .into_iter()
            .zip([recipe.warmup_steps, 0, 0, 0])
            .skip(skipped)
            .filter(|((cycle, _), warmup)| 0 < warmup + cycle.steps)
    };
    let steps = cycles().map(|((cycle, _), warmup)| warmup + cycle.steps).sum();
    let mut so_far = Progress { step: 0, steps, loss: 0.0, tokens: 0 };
    let mut weights = start.tensors.clone();
    for ((cycle, stream), warmup) in cycles() {
        let mut told = |step: Progress| {
            so_far = Progress { step: so_far.step + 1, tokens: so_far.tokens + step.tokens, ..so_far };
            progress(Progress { loss: step.loss, ..so_far });
        };
        weights = train(&start, &weights, recipe, warmup, cycle, stream, &mut told)?;
    }
    Ok(start.with_tensors(weights))
}

/// A base that has learned nothing: the tokenizer of the first cycle's text, and fresh weights.
fn fresh(seed: u64, recipe: &BootstrapConfig) -> Result<Checkpoint> {
    let here = Path::new("bootstrap");
    let tokenizer_json = write_tokenizer(&recipe.first.text(root(seed)), recipe)?;
    let config = shape(recipe, &Tokenizer::from_json(tokenizer_json.as_str(), here)?)?;
    let weights = initial(&config, root(seed).child("weights"))?;
    Ok(Checkpoint::new(config, weights, &tokenizer_json, &tokenizer::config_json(), here)?)
}

/// The tokenizer of a text: it sees what the network will see, from the far end of the numbering.
fn write_tokenizer(corpus: &Corpus, recipe: &BootstrapConfig) -> Result<String> {
    let texts = (0..recipe.tokenizer_documents).map(|i| {
        let document = corpus.document(u64::MAX - i);
        let messages = document.prompt.messages.iter().map(|m| m.content.as_str());
        messages.chain([document.completion.as_str()]).collect::<Vec<_>>().join("\n")
    });
    tokenizer::train(texts, recipe.vocab)
}

/// The network of a recipe.
fn shape(recipe: &BootstrapConfig, tokenizer: &Tokenizer) -> Result<ModelConfig> {
    let id = |token: &str| tokenizer.id(token).with_context(|| format!("the new tokenizer lost `{token}`"));
    let (eos, pad) = (id("<|im_end|>")?, id("<|endoftext|>")?);
    let config = ModelConfig {
        architecture: Architecture::Qwen2,
        vocab_size: tokenizer.n_ids(),
        hidden: recipe.hidden,
        layers: recipe.layers,
        heads: recipe.heads,
        kv_heads: recipe.kv_heads,
        head_dim: recipe.hidden / recipe.heads,
        intermediate: recipe.intermediate,
        rms_eps: 1e-6,
        rope_theta: 1_000_000.0, // slow pairs compare tokens wherever they stand
        rope_scaling: None,
        tie_word_embeddings: true,
        qkv_bias: true,
        qk_norm: false,
        max_position: 2048,
        eos_token_ids: vec![eos],
        bos_token_id: None,
        pad_token_id: Some(pad),
        initializer_range: 0.05,
        dtype: WeightDtype::F16,
    };
    config.validate(Path::new("bootstrap"))?;
    Ok(config)
}

/// One cycle of `base` from `weights`, after `warmup` updates on repeated random sequences; the new weights, in the precision in
/// which they are saved. `progress` is told the loss and the tokens of each update.
fn train(
    base: &Checkpoint,
    weights: &Tensors,
    recipe: &BootstrapConfig,
    warmup: u64,
    cycle: &Cycle,
    stream: Stream,
    progress: &mut dyn FnMut(Progress),
) -> Result<Tensors> {
    let corpus = cycle.text(stream);
    let params = trainable(weights)?;
    let model = CausalLm::from_params(&base.config, &params)?;
    let steps = warmup + cycle.steps;
    let mut next = 0u64;
    let mut optimizer = AdamW::new(recipe.adamw.clone());
    let schedule = Schedule { warmup: 50, decay: Decay::Cosine, floor: 0.02 };
    for step in 0..steps {
        let share = if step < warmup { 1.0 } else { recipe.repeat_share };
        let repeated = (share * recipe.batch_tokens as f64).round() as usize;
        let mut rng = stream.child("repeats").child(step).rng();
        let mut examples = repeats(&mut rng, base.config.vocab_size, repeated);
        if repeated < recipe.batch_tokens {
            examples.extend(documents(&corpus, base, recipe, &mut next, recipe.batch_tokens - repeated)?);
        }
        let tokens = examples.iter().map(|e| e.tokens.len() as u64).sum::<u64>();
        let (grads, stats) = gradients(&model, &params, &examples)?;
        optimizer.step(&params, &grads, cycle.learning_rate * schedule.factor(step, steps))?;
        progress(Progress { step, steps, loss: stats.loss, tokens });
    }
    let saved =
        |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F16)?.to_dtype(DType::F32)?));
    snapshot(&params)?.into_iter().map(saved).collect()
}

/// Fresh weights: norms 1, biases 0, projections normal, those that write to the residual stream smaller by
/// `sqrt(2 layers)`, as in GPT-2; then [`lay_copy_circuit`].
fn initial(config: &ModelConfig, stream: Stream) -> Result<Tensors> {
    let mut values: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    for (name, shape) in expected_tensors(config) {
        let n: usize = shape.iter().product();
        let fresh = if name.ends_with("norm.weight") {
            vec![1.0; n]
        } else if name.ends_with(".bias") {
            vec![0.0; n]
        } else {
            let writes = name.contains("o_proj") || name.contains("down_proj");
            let depth = if writes { (2.0 * config.layers as f64).sqrt() } else { 1.0 };
            normal(&mut stream.child(name.as_str()).rng(), n, config.initializer_range / depth)
        };
        values.insert(name, (shape, fresh));
    }
    lay_copy_circuit(config, &mut values);
    let tensor =
        |(name, (shape, x))| Ok((name, Tensor::from_vec::<Vec<usize>, f32>(x, shape, &Device::Cpu)?));
    values.into_iter().map(tensor).collect()
}

/// Lays an induction circuit into the first two layers: what a small model finds last, and copying stands on.
///
/// Layer 0 has heads that look 1, 2 and 3 tokens back and write what they see beside the token's own identity; heads
/// of layer 1 look for the place whose predecessor is the current token (and, in the second group, whose predecessor's
/// predecessor is the previous one) and raise the token that stands there (Olsson et al., 2022, arXiv:2209.11895).
/// Ordinary training then takes it from there and is free to change every weight.
///
/// The residual stream is parted for this: half of it holds the token, a sixth each the tokens 1, 2 and 3 back.
fn lay_copy_circuit(config: &ModelConfig, values: &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    let (c, d, group) = (config.hidden, config.head_dim, config.heads / config.kv_heads);
    let own = c / 2; // dimensions of a token's own identity
    let back = c / 6; // dimensions for each of the tokens before it
    if config.layers < 2 || config.kv_heads < 2 || group < 3 || d != back {
        return; // Another shape: training finds its own circuit.
    }
    let mut edit = |layer: usize, name: &str, f: &mut dyn FnMut(usize, usize) -> Option<f32>| {
        let key = format!("model.layers.{layer}.self_attn.{name}");
        if let Some((shape, x)) = values.get_mut(&key) {
            let cols = shape.get(1).copied().unwrap_or(1);
            for (i, x) in x.iter_mut().enumerate() {
                if let Some(value) = f(i / cols, i % cols) {
                    *x = value;
                }
            }
        }
    };
    // Layer 0: `q = a (cos o w, -sin o w)` and `k = a (1, 0)` in each rotary pair of frequency `w` score
    // `a^2 sum cos((distance - o) w)`, which is largest at distance `o`.
    const STRENGTH: f32 = 6.0;
    let frequency = config.inv_freq();
    edit(0, "q_proj.bias", &mut |row, _| {
        let (head, dim) = (row / d, row % d);
        let angle = (head + 1) as f32 * frequency[dim % (d / 2)];
        (head < group).then(|| STRENGTH * if dim < d / 2 { angle.cos() } else { -angle.sin() })
    });
    edit(0, "k_proj.bias", &mut |row, _| (row < d / 2).then_some(STRENGTH));
    // What they read is a slice of identity, what they write their own sixth. Three slices are folded into one.
    edit(0, "v_proj.weight", &mut |row, col| {
        (row < d).then(|| if col < own && col % d == row { 1.0 } else { 0.0 })
    });
    edit(0, "o_proj.weight", &mut |row, col| {
        let head = col / d;
        (head < group).then(|| if row == own + head * back + col % d { 0.06 } else { 0.0 })
    });
    // Layer 1: only slow rotary pairs compare tokens wherever they stand.
    let slow = d / 4;
    let pair = |dim: usize| {
        let (half, i) = (dim / (d / 2), dim % (d / 2));
        (i >= d / 2 - slow).then(|| 2 * (i - (d / 2 - slow)) + half)
    };
    // `want(group, index)`: which dimension of the past a key's index compares, and how far back.
    let compared = |g: usize, index: usize| match (g, index < slow) {
        (0, _) => (0, index),
        (_, true) => (0, 2 * slow + index),
        (_, false) => (1, index),
    };
    const SHARP: f32 = 1.6;
    edit(1, "q_proj.weight", &mut |row, col| {
        let (head, dim) = (row / d, row % d);
        let index = pair(dim)?;
        let (steps, slot) = compared(head / group, index);
        let hit = match steps {
            0 => col < own && col % d == slot % d,
            _ => col == own + (steps - 1) * back + slot % d,
        };
        Some(if hit { SHARP } else { 0.0 })
    });
    edit(1, "k_proj.weight", &mut |row, col| {
        let index = pair(row % d)?;
        let (steps, slot) = compared(row / d, index);
        Some(if col == own + steps * back + slot % d { SHARP } else { 0.0 })
    });
    edit(1, "v_proj.weight", &mut |row, col| {
        Some(if col == (row / d) * (own / config.kv_heads) + row % d { 1.0 } else { 0.0 })
    });
    edit(1, "o_proj.weight", &mut |row, col| {
        let g = col / d / group;
        Some(if row == g * (own / config.kv_heads) + col % d { 0.06 } else { 0.0 })
    });
    // A token's identity lies in its own half.
    if let Some((_, x)) = values.get_mut(toolr0_model::weights::EMBEDDING) {
        for row in x.chunks_exact_mut(c) {
            row[own..].iter_mut().for_each(|x| *x *= 0.1);
        }
    }
}

/// Normal numbers by Box and Muller.
fn normal(rng: &mut ChaCha8Rng, n: usize, deviation: f64) -> Vec<f32> {
    let draw = |_| {
        let (u, v) = (1.0 - uniform_f64(rng), uniform_f64(rng));
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos() * deviation) as f32
    };
    (0..n).map(draw).collect()
}

/// Random sequences that are said again: the loss is on the repetition.
fn repeats(rng: &mut ChaCha8Rng, vocab: usize, budget: usize) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut tokens = 0;
    while tokens < budget {
        let n = 12 + (uniform_f64(rng) * 60.0) as usize;
        let once: Vec<u32> = (0..n).map(|_| (uniform_f64(rng) * vocab as f64) as u32).collect();
        tokens += 2 * n;
        examples.push(Example { tokens: [once.as_slice(), &once].concat(), loss_from: n + 1 });
    }
    examples
}

/// The next documents that fit the budget, as tokens; `next` is then the number of the first that did not.
fn documents(
    corpus: &Corpus,
    base: &Checkpoint,
    recipe: &BootstrapConfig,
    next: &mut u64,
    budget: usize,
) -> Result<Vec<Example>> {
    let ahead: Vec<Example> = (*next..*next + 64)
        .into_par_iter()
        .map(|i| {
            let document = corpus.document(i);
            let mut example = example(&document, &base.tokenizer, &base.template)?;
            if recipe.learn_prompts && document.half == Half::Solver {
                example.loss_from = 1;
            }
            Ok(example)
        })
        .collect::<Result<_>>()?;
    let mut tokens = 0;
    let mut examples = Vec::new();
    for example in ahead {
        tokens += example.tokens.len();
        if budget < tokens && !examples.is_empty() {
            break;
        }
        examples.push(example);
        *next += 1;
    }
    Ok(examples)
}

/// A document as tokens: the rendered prompt, then the completion and the end of the turn, which carry the loss.
pub fn example(document: &Document, tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Example> {
    let prompt = template.render(&document.prompt.messages, None, true, &Default::default())?;
    let mut tokens = tokenizer.encode(&prompt)?;
    let loss_from = tokens.len();
    tokens.extend(tokenizer.encode(&format!("{}<|im_end|>", document.completion))?);
    Ok(Example { tokens, loss_from })
}
