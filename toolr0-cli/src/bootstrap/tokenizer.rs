//! The base model's tokenizer: byte-level BPE in which a word has the same pieces wherever it stands.
//!
//! A plain byte-level BPE glues the space to the word after it, so that a value in a sentence and the same value
//! behind a quote in JSON are different pieces, and copying has to be learned word by word. Here letters, digits (one
//! by one), spaces and signs never share a token.

use anyhow::{Result, anyhow};
use serde_json::json;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};
use toolr0_model::Checkpoint;

/// Letters, single digits, white space, or anything else: runs that no token crosses.
const PIECES: &str = r"[A-Za-z]+|[0-9]|\s+|[^A-Za-z0-9\s]+";
/// Ends a text; the padding id as well.
const END_OF_TEXT: &str = "<|endoftext|>";
/// Opens and closes a message, as in ChatML.
const SPECIAL: [&str; 3] = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"];
/// The blocks of both formats, one token each.
const TAGS: [&str; 8] = [
    "<think>",
    "</think>",
    "<question>",
    "</question>",
    "<available_tools>",
    "</available_tools>",
    "<tool_call_answer>",
    "</tool_call_answer>",
];

/// Trains a tokenizer of `n_tokens` on `texts` and returns the text of its `tokenizer.json`.
pub fn train(texts: impl Iterator<Item = String> + Send, n_tokens: usize) -> Result<String> {
    let failed = |e: tokenizers::Error| anyhow!("failed to train the tokenizer: {e}");
    let mut tokenizer = Tokenizer::new(BPE::default());
    let pattern = SplitPattern::Regex(PIECES.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    let bytes = ByteLevel::new(false, false, false);
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes),
    ])));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.add_special_tokens(SPECIAL.map(|t| AddedToken::from(t, true))).map_err(failed)?;
    tokenizer.add_tokens(TAGS.map(|t| AddedToken::from(t, false))).map_err(failed)?;
    let special = SPECIAL.map(|t| AddedToken::from(t, true));
    let tags = TAGS.map(|t| AddedToken::from(t, false));
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(n_tokens)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.into_iter().chain(tags).collect())
        .build();
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    tokenizer.to_string(true).map_err(failed)
}

/// The text of the base's `tokenizer_config.json`.
pub fn config_json() -> String {
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": END_OF_TEXT,
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": false,
        "chat_template": Checkpoint::chatml(),
    });
    format!("{config:#}\n")
}
