//! Draws task specs from the paper's law and from one's own, and scores a few difficulties.
//!
//! `cargo run -p toolr0-curriculum --example draw_specs`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use toolr0_curriculum::{Attempts, Bands, Frontier, SpecLaw, SpecTables, draw_specs};

fn main() -> anyhow::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    println!("five specs of the paper's law");
    for spec in draw_specs(&SpecLaw::paper(), 5, &mut rng) {
        println!(
            "  {:20} {:12} {} tools, {} calls",
            spec.domain,
            spec.context.to_string(),
            spec.n_tools,
            spec.n_calls
        );
    }

    let domains = BTreeMap::from([("banking".to_owned(), 3.0), ("travel".to_owned(), 1.0)]);
    let own = SpecLaw::new(SpecTables { domains, ..SpecTables::default() })?;
    let specs = draw_specs(&own, 1000, &mut rng);
    let banking = specs.iter().filter(|spec| spec.domain == "banking").count();
    println!("of 1,000 specs with banking at weight 3 and travel at 1, {banking} are banking");

    println!("what a task is worth, by how many of 8 attempts solve it");
    for solved in 0..=8 {
        let attempts = Attempts::new(solved, 8)?;
        let (score, rate) = (Frontier::default().score(attempts), attempts.rate());
        let bucket = rate.map(|rate| Bands::default().bucket(rate).to_string()).unwrap_or_default();
        println!("  {solved}/8  {:.4}  {bucket}", score.unwrap_or(0.0));
    }
    Ok(())
}
