//! Both roles train one set of weights: the paper loses 17.42 points (Tool-R0, arXiv:2602.21320, table 3).
//!
//! `cargo run --release -p toolr0-benchmarks --example shared_weights -- CHECKPOINT CONFIG.json TASKS.jsonl`
#![expect(clippy::print_stdout, reason = "the line is what it is for")]

use toolr0_benchmarks::ablation::{Setup, compare};

fn main() -> anyhow::Result<()> {
    let setup = Setup::from_args()?;
    let full = setup.play(&setup.config)?;
    let mut config = setup.config.clone();
    config.selfplay.shared_weights = true;
    println!("{}", compare("shared weights", &full, &setup.play(&config)?));
    Ok(())
}
