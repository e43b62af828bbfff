//! The hot paths on a CUDA device: sources, launches, and (with the feature `cuda`) the device itself.
//!
//! - [`source`]: the kernels' text, for the compiler that runs where they run;
//! - [`launch`]: which kernel, how many threads, which arguments; needs no device;
//! - `device`: a device found and asked, its compiled kernels, launches carried out;
//! - `ops` (feature `candle-cuda`): the kernels inside candle's graph.
//!
//! Each `.cu` file has its definition, in `f64`, beside its CPU body: [`advantage`](crate::advantage),
//! [`token_logprobs`](super::token_logprobs), [`grpo_loss`](super::grpo_loss), [`adamw`](super::adamw). The tests run
//! the same sources on the processor, thread by thread, and hold them against these.

pub mod launch;
pub mod source;

#[cfg(feature = "cuda")]
pub mod device;
#[cfg(feature = "candle-cuda")]
pub mod ops;
