//! Memory of the fused loss at a large vocabulary: `cargo run --release -p toolr0-benchmarks --example head_memory`.
//!
//! 8 x 512 loss tokens, width 896, vocabulary 151,936, forward and backward. Prints one JSON object: the peak above what
//! weights, hidden states and their gradients take, MB, and what the logits alone would take.
#![expect(clippy::print_stdout, reason = "an example speaks")]

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use toolr0_benchmarks::peak_mib;
use toolr0_rl::kernels::token_logprobs::token_logprobs;

const TOKENS: usize = 8 * 512;
const WIDTH: usize = 896;
const VOCAB: usize = 151_936;

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 2003) as f32 / 100_000.0 - 0.01).collect()
}

fn main() -> Result<()> {
    let hidden = Var::from_tensor(&Tensor::from_vec(values(TOKENS * WIDTH), (TOKENS, WIDTH), &Device::Cpu)?)?;
    let weight = Var::from_tensor(&Tensor::from_vec(values(VOCAB * WIDTH), (VOCAB, WIDTH), &Device::Cpu)?)?;
    let targets: Vec<u32> = (0..TOKENS).map(|i| ((i * 31) % VOCAB) as u32).collect();
    let clock = std::time::Instant::now();
    let grads = token_logprobs(&hidden, &weight, &targets, 1.0)?.narrow(1, 0, 1)?.sum_all()?.backward()?;
    let seconds = clock.elapsed().as_secs_f64();
    grads.get(&weight).context("the head got no gradient")?;
    let mb = |n: usize| (n * size_of::<f32>()) as f64 / f64::from(1 << 20);
    let known = 2.0 * mb(VOCAB * WIDTH) + 2.0 * mb(TOKENS * WIDTH);
    let peak = peak_mib().context("/proc/self/status does not tell the peak")?;
    println!(
        "{}",
        serde_json::json!({"peak_mb": peak, "weights_and_gradients_mb": known, "more_mb": peak - known,
                           "logits_mb": mb(TOKENS * VOCAB), "seconds": seconds})
    );
    Ok(())
}
