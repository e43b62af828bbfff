//! The crate through its public API: one module per subject.

mod body;
mod chat;
mod config;
mod generate;
mod golden_models;
mod lora;
mod sampler;
mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

/// A file or folder of the full golden set, which lies beside the repository or nowhere.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: ../shared/{name} is not here");
    None
}
