//! Logits of a text, as JSON: what another implementation can be held against.
//!
//! `cargo run --release -p toolr0-model --example logits -- CHECKPOINT [ADAPTER] < text`
#![expect(clippy::print_stdout, reason = "an example speaks")]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use toolr0_model::kernels::attention::Packing;
use toolr0_model::{CausalLm, Checkpoint, LoraConfig};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else { anyhow::bail!("name a folder with a checkpoint") };
    let checkpoint = Checkpoint::load(Path::new(&dir))?;
    let mut model = CausalLm::new(&checkpoint.config, &checkpoint.tensors)?;
    if let Some(dir) = args.next() {
        let (lora, adapters) = LoraConfig::load(Path::new(&dir), &checkpoint.config)?;
        model = model.with_adapters(&lora, &adapters)?;
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let tokens = checkpoint.tokenizer.encode(&text)?;
    let hidden = model.forward(&tokens, &Arc::new(Packing::sequences(&[tokens.len()])))?;
    let logits = model.logits(&hidden)?.to_vec2::<f32>()?;
    println!("{}", serde_json::json!({ "tokens": tokens, "logits": logits }));
    Ok(())
}
