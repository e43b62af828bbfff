//! A million questions, and how long it takes to find out whether one more is new: `cargo run --release -p toolr0-curriculum
//! --example novelty_index`, or with another number behind `--`.
#![allow(clippy::print_stdout, reason = "an example shows what it measured")]

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use toolr0_curriculum::diversity::{Index, Signature};

/// A question of a few dozen templates with words of a few thousand: some are alike, most are not.
fn question(rng: &mut impl Rng) -> String {
    const OPENINGS: [&str; 8] = [
        "please book a table in",
        "could you find me a flight to",
        "what is the weather like in",
        "send the report of",
        "how far is it from here to",
        "cancel everything that is planned in",
        "order two boxes of",
        "show me all files about",
    ];
    let word = |rng: &mut dyn FnMut() -> u32| -> String {
        (0..5).map(|_| char::from(b'a' + (rng() % 26) as u8)).collect()
    };
    let mut text = OPENINGS[rng.random_range(0..OPENINGS.len())].to_owned();
    for _ in 0..rng.random_range(2..12) {
        // The first letters decide how common a word is.
        let mut draw = || if rng.random::<bool>() { rng.random_range(0..3) } else { rng.random_range(0..26) };
        text = format!("{text} {}", word(&mut draw));
    }
    text
}

fn main() {
    let n: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let (mut rng, mut index) = (ChaCha8Rng::seed_from_u64(1), Index::default());
    let clock = Instant::now();
    while index.len() < n {
        index.insert(&Signature::of_question(&question(&mut rng)));
    }
    println!("{} different questions in {:.1} s", index.len(), clock.elapsed().as_secs_f64());
    let mut times: Vec<Duration> = Vec::new();
    let mut known = 0;
    for _ in 0..10_000 {
        let text = question(&mut rng);
        let clock = Instant::now();
        let most = index.look_up(&Signature::of_question(&text));
        times.push(clock.elapsed());
        known += usize::from(0.7 <= most);
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "look-up with its signature: median {:.0}, 99 % {:.0}, longest {:.0} microseconds; {known} of {} were like another",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
    let clock = Instant::now();
    let bytes = index.to_bytes();
    let read = Index::from_bytes(&bytes);
    println!(
        "{:.0} MB, read back {} in {:.1} s",
        bytes.len() as f64 / 1e6,
        if read.as_ref() == Some(&index) { "the same" } else { "DIFFERENT" },
        clock.elapsed().as_secs_f64()
    );
}
