//! A loss of the GRPO family from logits to d loss / d logits: what a device computes in one pass over a chunk.
//!
//! ```text
//! logprob, entropy = of the taken token, from its row of logits / temperature   (token_logprobs)
//! loss             = reduce(term(exp(logprob - old), advantage, ..))            (crate::loss)
//! d logits         = d loss / d logprob * d logprob / d logits + the same of the entropy
//! ```
//!
//! On the processor the three are separate: [`token_logprobs`](super::token_logprobs) forms logits chunk by chunk, and
//! the loss between its forward and its backward pass costs next to nothing. On a device, `cuda/grpo_loss.cu` reads a
//! row, knows its loss, and writes the gradient where the row was.

use crate::error::Result;
use crate::loss::{GrpoConfig, LossInput, LossOutput, grpo_loss, logits_gradient, logprob_and_entropy};

/// The definition, in `f64`: the loss of a batch and d loss / d logits, `(tokens, v)`, 0 where masked.
///
/// `logits`: `(tokens, v)`; `targets`: `(tokens,)`, each `< v`. Log-probabilities and entropies are found from the
/// logits, those of `input` are not read. They are rounded to f32, which is what a device keeps of them; rows that are
/// masked are not read.
///
/// # Errors
///
/// As [`crate::loss::grpo_loss`].
pub fn reference(
    config: &GrpoConfig,
    logits: &[f32],
    targets: &[u32],
    v: usize,
    input: &LossInput<'_>,
) -> Result<(LossOutput, Vec<f64>)> {
    let rows: Vec<Vec<f64>> =
        logits.chunks_exact(v).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    let temperature = config.temperature;
    let score = |((row, &y), &mask): ((&Vec<f64>, &u32), &bool)| match mask {
        true => logprob_and_entropy(row, y as usize, temperature),
        false => (0.0, 0.0),
    };
    let (logprobs, entropies): (Vec<f64>, Vec<f64>) =
        rows.iter().zip(targets).zip(input.mask).map(score).map(|(lp, h)| (stored(lp), stored(h))).unzip();
    let scored = LossInput { logprobs: &logprobs, entropies: Some(&entropies), ..*input };
    let output = grpo_loss(config, &scored)?;
    let mut gradient = Vec::with_capacity(logits.len());
    for (t, (row, &y)) in rows.iter().zip(targets).enumerate() {
        match input.mask[t] {
            true => gradient.extend(logits_gradient(
                row,
                y as usize,
                output.d_logprobs[t],
                output.d_entropies[t],
                temperature,
            )),
            false => gradient.resize(gradient.len() + v, 0.0),
        }
    }
    Ok((output, gradient))
}

/// What an f32 keeps.
fn stored(x: f64) -> f64 {
    f64::from(x as f32)
}
