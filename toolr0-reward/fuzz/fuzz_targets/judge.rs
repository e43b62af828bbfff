//! A judge's reply: a score from 1 to 5 or nothing, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use toolr0_reward::wire::judge::parse;

fuzz_target!(|text: &str| {
    assert!(parse(text).is_none_or(|score| (1..=5).contains(&score)));
});
