//! A generator's completion: reading and verifying never panic, and what is read is read again from its own text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use toolr0_reward::tools::{Context, TaskSpec};
use toolr0_reward::wire::generator::{parse, write};
use toolr0_reward::{Fault, verify};

fuzz_target!(|text: &str| {
    let task = match parse(text) {
        Ok(task) => task,
        Err(fault) => return assert!(!Fault::kind(&fault).is_empty()),
    };
    for (n_tools, n_calls) in [(task.tools.len(), task.gold.len()), (1, 1)] {
        let spec = TaskSpec { domain: "travel".into(), context: Context::SingleTurn, n_tools, n_calls };
        if verify(&task, &spec, &Default::default()).is_ok() {
            assert_eq!(parse(&write("x", &task)).as_ref(), Ok(&task), "a sound task survives its own text");
        }
    }
});
