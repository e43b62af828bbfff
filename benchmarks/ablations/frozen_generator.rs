//! The generator is only prompted, never trained: the paper loses 6.19 points (Tool-R0, arXiv:2602.21320, table 3).
//!
//! `cargo run --release -p toolr0-benchmarks --example frozen_generator -- CHECKPOINT CONFIG.json TASKS.jsonl`
#![expect(clippy::print_stdout, reason = "the line is what it is for")]

use toolr0_benchmarks::ablation::{Setup, compare};

fn main() -> anyhow::Result<()> {
    let setup = Setup::from_args()?;
    let full = setup.play(&setup.config)?;
    let mut config = setup.config.clone();
    config.selfplay.generator_steps = 0;
    println!("{}", compare("frozen generator", &full, &setup.play(&config)?));
    Ok(())
}
