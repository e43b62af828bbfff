//! Samples from a checkpoint in the Hugging Face layout:
//! `cargo run -p toolr0-model --example sample -- FOLDER "Why is the sky blue?"`.
#![expect(clippy::print_stdout, reason = "an example speaks")]

use std::path::PathBuf;

use anyhow::Context as _;
use toolr0_model::generate::Batching;
use toolr0_model::rng::Stream;
use toolr0_model::{CausalLm, Checkpoint, Request, SamplingConfig, generate};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().context("expected the folder of a checkpoint as first argument")?);
    let question = args.next().unwrap_or_else(|| "Hello!".into());

    let checkpoint = Checkpoint::load(&folder)?;
    let model = CausalLm::new(&checkpoint.config, &checkpoint.tensors)?.frozen()?;
    println!("{} weights, {} layers", checkpoint.config.n_params(), checkpoint.config.layers);

    // The checkpoint's own template makes one text of a conversation; it holds all special tokens.
    let messages = [std::collections::BTreeMap::from([("role", "user"), ("content", question.as_str())])];
    let text = checkpoint.template.render(&messages, None, true, &Default::default())?;
    let prompt = checkpoint.tokenizer.encode(&text)?;
    println!("a prompt of {} tokens\n", prompt.len());

    // Every sample has a stream of its own, so it is the same in any batch and with any number of threads.
    let streams = (0..3).map(|sample| Stream::root(0).child("example").child(sample)).collect();
    let config =
        SamplingConfig { temperature: 0.8, top_p: 0.95, max_new_tokens: 64, ..SamplingConfig::default() };
    let done = generate(
        &model,
        &checkpoint.tokenizer,
        &checkpoint.eos,
        &[Request { prompt, streams }],
        &config,
        Batching::default(),
        &mut |_| true,
    )?;
    for completion in done.iter().flatten() {
        let nats: f32 = completion.logprobs.iter().sum();
        println!("[{:?}, {} tokens, {nats:.1} nats]", completion.finish, completion.tokens.len());
        println!("{}\n", checkpoint.tokenizer.decode(&completion.tokens, true)?.trim());
    }
    Ok(())
}
