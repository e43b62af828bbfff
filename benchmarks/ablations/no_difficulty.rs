//! The generator is not paid for difficulty: the paper loses 4.30 points (Tool-R0, arXiv:2602.21320, table 3).
//!
//! `cargo run --release -p toolr0-benchmarks --example no_difficulty -- CHECKPOINT CONFIG.json TASKS.jsonl`
#![expect(clippy::print_stdout, reason = "the line is what it is for")]

use toolr0_benchmarks::ablation::{Setup, compare};

fn main() -> anyhow::Result<()> {
    let setup = Setup::from_args()?;
    let full = setup.play(&setup.config)?;
    let mut config = setup.config.clone();
    config.reward.generator.curriculum_weights.difficulty = 0.0;
    println!("{}", compare("no difficulty", &full, &setup.play(&config)?));
    Ok(())
}
