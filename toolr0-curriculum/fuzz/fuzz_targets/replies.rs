//! See `replies` in `targets.rs`.
#![no_main]
#![allow(dead_code, reason = "each target uses one of the bodies")]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|text: &str| targets::replies(text));
