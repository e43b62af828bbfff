//! The order in which the solver meets its tasks: easy to hard, as in the paper, at random, and the other way round.
//!
//! `cargo run --release -p toolr0-benchmarks --example curriculum_order -- CHECKPOINT CONFIG.json TASKS.jsonl`
#![expect(clippy::print_stdout, reason = "the lines are what it is for")]

use toolr0_benchmarks::ablation::{Setup, compare};
use toolr0_curriculum::Order;

fn main() -> anyhow::Result<()> {
    let setup = Setup::from_args()?;
    let in_order = |order| {
        let mut config = setup.config.clone();
        config.dataset.order = order;
        setup.play(&config)
    };
    let full = in_order(Order::EasyToHard)?;
    println!("{}", compare("random", &full, &in_order(Order::Random)?));
    println!("{}", compare("hard to easy", &full, &in_order(Order::HardToEasy)?));
    Ok(())
}
