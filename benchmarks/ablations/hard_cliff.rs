//! Outside the band a task is worth nothing at once: the paper loses 3.74 points (Tool-R0, arXiv:2602.21320, table 3).
//!
//! `cargo run --release -p toolr0-benchmarks --example hard_cliff -- CHECKPOINT CONFIG.json TASKS.jsonl`
#![expect(clippy::print_stdout, reason = "the line is what it is for")]

use toolr0_benchmarks::ablation::{Setup, compare};
use toolr0_curriculum::{Frontier, Shape};

fn main() -> anyhow::Result<()> {
    let setup = Setup::from_args()?;
    let full = setup.play(&setup.config)?;
    let mut config = setup.config.clone();
    let (low, high) = (config.frontier.low(), config.frontier.high());
    config.frontier = Frontier::new(low, high, Frontier::default().sigma(), Shape::HardCliff)?;
    println!("{}", compare("hard cliff", &full, &setup.play(&config)?));
    Ok(())
}
