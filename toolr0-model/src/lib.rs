//! What does the network compute, and how is text drawn from it?
//!
//! One decoder covers Qwen2, Qwen3, Llama 3.x and SmolLM2: what differs is configuration. This crate has never
//! heard of tools, rewards or training: it gives hidden states with gradient, and text.
//!
//! Read in this order:
//!
//! - [`config`], [`weights`], [`tokenizer`], [`chat`], [`hub`]: a checkpoint in the Hugging Face layout, in and out;
//! - [`decoder`]: the network, over packed sequences that may share prefixes;
//! - [`lora`]: adapters beside frozen weights;
//! - [`kernels`]: its arithmetic, each piece beside its definition;
//! - [`sampler`], [`generate`](mod@generate): from logits to tokens, from prompts to completions;
//! - [`engine`]: the same while requests come and go;
//! - [`lanes`]: batches in pieces, side by side;
//! - [`rng`]: random streams with names, so that every draw of a run can be repeated alone.
#![forbid(unsafe_code)]

pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod engine;
pub mod error;
pub mod generate;
pub mod hub;
pub mod kernels;
pub mod lanes;
pub mod linear;
pub mod lora;
pub mod rng;
pub mod sampler;
pub mod tokenizer;
pub mod weights;

pub use chat::ChatTemplate;
pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use decoder::{CausalLm, Params};
pub use engine::Engine;
pub use error::{Error, Result};
pub use generate::{Completion, Finish, Request, generate};
pub use lora::LoraConfig;
pub use sampler::SamplingConfig;
pub use tokenizer::Tokenizer;
