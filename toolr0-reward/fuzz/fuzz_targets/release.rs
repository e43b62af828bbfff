//! The public release's own rules, with their reader of Python literals: never a panic, whatever the profile.
#![no_main]

use libfuzzer_sys::fuzz_target;
use toolr0_reward::score::{Profile, Side, score_line};

fuzz_target!(|text: &str| {
    let line = serde_json::json!({
        "completion": text,
        "gold": [{"name": "f", "arguments": {"a": 1}}],
    });
    for profile in [Profile::Release, Profile::Strict] {
        for side in [Side::Solver, Side::Generator] {
            let _ = score_line(side, profile, &line.to_string());
        }
    }
    let _ = score_line(Side::Solver, Profile::Release, text);
});
