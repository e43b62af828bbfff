//! Next-token training on texts: what the base model is made with, and what follows self-play in mid-training.

use std::sync::Arc;

use candle_core::Tensor;
use toolr0_model::kernels::attention::Packing;
use toolr0_model::{CausalLm, Params};

use crate::error::Result;
use crate::kernels::token_logprobs::token_logprobs;
use crate::optim::{Gradients, in_parts};

/// A text as tokens, of which those from `loss_from` on are learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Index of the first token that carries loss; at least 1, since nothing predicts token 0.
    pub loss_from: usize,
}

/// What one pass over some examples gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SftStats {
    /// Mean negative log-likelihood of the learned tokens, nats.
    pub loss: f64,
    /// Tokens that carried loss.
    pub tokens: usize,
}

/// Tokens of a part of a batch: small enough that its activations stay near the processor.
const PART_TOKENS: usize = 512;

/// Mean loss of `examples` and its gradient. Sequences are packed, not padded, the head runs on learned tokens alone,
/// and parts of about five hundred tokens are computed side by side.
///
/// # Errors
///
/// If a token is outside the vocabulary or a trainable tensor gets no gradient.
pub fn gradients(model: &CausalLm, params: &Params, examples: &[Example]) -> Result<(Gradients, SftStats)> {
    let learned = |e: &Example| e.tokens.len().saturating_sub(e.loss_from.max(1));
    let tokens: usize = examples.iter().map(learned).sum();
    let mut parts: Vec<&[Example]> = Vec::new();
    let (mut from, mut size) = (0, 0);
    for (i, example) in examples.iter().enumerate() {
        if from < i && PART_TOKENS < size + example.tokens.len() {
            parts.push(&examples[from..i]);
            (from, size) = (i, 0);
        }
        size += example.tokens.len();
    }
    parts.push(&examples[from..]);
    let (grads, losses) = in_parts(params, &parts, |part| {
        let (mean, n) = mean_loss(model, part)?;
        let share = n as f64 / tokens.max(1) as f64;
        let mut grads = Gradients::default();
        grads.add(params, (&mean * share)?.backward()?)?;
        Ok((grads, f64::from(mean.to_scalar::<f32>()?) * share))
    })?;
    Ok((grads, SftStats { loss: losses.into_iter().sum(), tokens }))
}

/// Mean negative log-likelihood of the learned tokens, with gradient, and their number.
///
/// # Errors
///
/// If a token is outside the vocabulary.
pub fn mean_loss(model: &CausalLm, examples: &[Example]) -> Result<(Tensor, usize)> {
    let (mut inputs, mut targets, mut rows, mut lens) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for example in examples {
        let n = example.tokens.len().saturating_sub(1);
        for i in example.loss_from.max(1) - 1..n {
            rows.push((inputs.len() + i) as u32);
            targets.push(example.tokens[i + 1]);
        }
        inputs.extend_from_slice(&example.tokens[..n]);
        lens.push(n);
    }
    let hidden = model.forward(&inputs, &Arc::new(Packing::sequences(&lens)))?;
    let rows = Tensor::new(rows.as_slice(), hidden.device())?;
    let hidden = hidden.index_select(&rows, 0)?;
    let logprobs = token_logprobs(&hidden, model.head_weight(), &targets, 1.0)?;
    let mean = logprobs.narrow(1, 0, 1)?.mean_all()?;
    Ok((mean.neg()?, targets.len()))
}
