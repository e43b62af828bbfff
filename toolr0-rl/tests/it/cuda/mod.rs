//! The CUDA kernels against their definitions.
//!
//! Each kernel has cases, written once: shapes and values that are small and nasty. They run on the processor, where a
//! C++ compiler is found (`host`), and on a device, where one is found (`device`, feature `cuda`). Planted mistakes show
//! that the cases can fail (`mutants`).

mod adamw;
#[cfg(feature = "cuda")]
mod device;
mod group_advantages;
mod grpo_loss;
mod host;
mod mutants;
mod token_logprobs;

use half::{bf16, f16};
use host::Host;
use toolr0_rl::kernels::cuda::launch::{Element, Launch, Limits};
use toolr0_rl::kernels::cuda::source::{COMMON, MODULES, Module};

/// The contents of a launch's buffers.
type Buffers = Vec<Vec<u8>>;

/// Where launches are carried out.
trait Runner {
    /// What shapes depend on.
    fn limits(&self) -> Limits;

    /// All buffers after the launch, from several runs under conditions that must not matter. Buffers have no bytes to
    /// spare on either side.
    fn run(&self, launch: &Launch<usize>, buffers: &[Vec<u8>]) -> Result<Vec<Buffers>, String>;
}

/// One file's cases.
type Check = fn(&dyn Runner) -> Result<(), String>;

/// Every file of kernels with its cases.
const CASES: [(&str, Check); 4] = [
    ("group_advantages", group_advantages::check),
    ("token_logprobs", token_logprobs::check),
    ("grpo_loss", grpo_loss::check),
    ("adamw", adamw::check),
];

/// The files that the cases of one launch from: its own, and the forward pass before the loss.
fn modules(name: &str) -> Vec<Module> {
    let wanted = |m: &Module| m.name == name || (name == "grpo_loss" && m.name == "token_logprobs");
    MODULES.into_iter().filter(wanted).collect()
}

/// Their source, as one.
fn text(modules: &[Module]) -> String {
    modules.iter().fold(COMMON.to_owned(), |text, m| text + "\n" + m.own)
}

fn check_on_host(name: &str) {
    let Some(compiler) = host::compiler() else {
        eprintln!("skipped: no C++ compiler");
        return;
    };
    let modules = modules(name);
    let check = CASES.iter().find(|case| case.0 == name).expect("it has cases").1;
    if let Err(reason) = check(&Host::build(&compiler, name, &modules, &text(&modules))) {
        panic!("{reason}");
    }
}

#[test]
fn group_advantages_match_on_the_processor() {
    check_on_host("group_advantages");
}

#[test]
fn token_logprobs_match_on_the_processor() {
    check_on_host("token_logprobs");
}

#[test]
fn grpo_loss_matches_on_the_processor() {
    check_on_host("grpo_loss");
}

#[test]
fn adamw_matches_on_the_processor() {
    check_on_host("adamw");
}

#[test]
fn every_module_has_cases_and_names_its_kernels() {
    assert_eq!(MODULES.map(|m| m.name), CASES.map(|case| case.0));
    for module in MODULES {
        for kernel in module.kernels {
            // Written out, or in the file's macro.
            assert!(
                module.own.contains(&format!("{kernel}(")) || module.own.contains(&format!("({kernel},"))
            );
        }
    }
}

// ---- values -----------------------------------------------------------------------------------------------------

/// Values between -1 and 1 that look like noise; the same for the same seed.
fn noise(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729 + i * i % 977) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// Rows of logits that break careless kernels, each with a target.
fn nasty_rows(v: usize) -> Vec<(Vec<f32>, u32)> {
    let last = v as u32 - 1;
    let with = |base: f32, at: &[(usize, f32)]| {
        let mut row = vec![base; v];
        at.iter().for_each(|&(i, x)| row[i % v] = x);
        row
    };
    let bumpy: Vec<f32> =
        noise(v, 3).iter().enumerate().map(|(i, x)| if i % 37 == 5 { 12.0 * x } else { 3.0 * x }).collect();
    let banned: Vec<f32> =
        bumpy.iter().enumerate().map(|(i, x)| if i % 3 == 1 { f32::NEG_INFINITY } else { *x }).collect();
    let rising: Vec<f32> = (0..v).map(|i| i as f32 * 20.0 / v as f32).collect();
    vec![
        (bumpy.clone(), last / 2),
        (bumpy, last),
        (vec![7.0; v], last),
        (banned.clone(), 0),
        (banned, u32::from(v > 1)), // the taken token is banned
        (with(-1e4, &[(v / 2, 1e4)]), 0),
        (with(-1e4, &[(v / 2, 1e4)]), v as u32 / 2),
        (with(f32::NEG_INFINITY, &[(v - 1, 2.0)]), last),
        (rising, last), // every value is a new maximum
    ]
}

/// `values` as they are stored.
fn encode(element: Element, values: &[f32]) -> Vec<u8> {
    match element {
        Element::F32 => f32s(values),
        Element::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        Element::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
    }
}

/// The values that are stored.
fn decode(element: Element, bytes: &[u8]) -> Vec<f32> {
    match element {
        Element::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Element::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Element::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
    }
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn to_f64s(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

/// Whether a number is the right one. What is not finite must be hit exactly: `inf <= inf` would let anything pass.
fn close(what: &str, at: usize, got: f64, want: f64, tolerance: f64) -> Result<(), String> {
    let fine = match want {
        w if w.is_nan() => got.is_nan(),
        w if w.is_infinite() => got == w,
        w => (got - w).abs() <= tolerance,
    };
    if fine {
        Ok(())
    } else {
        Err(format!("{what}[{at}]: got {got:e}, want {want:e}, tolerance {tolerance:e}"))
    }
}

/// What a stored gradient may be off by, relative to itself: half of its last place, and a little.
fn rounding(element: Element) -> f64 {
    match element {
        Element::F32 => 3e-6,
        Element::Bf16 => 1.0 / 255.0,
        Element::F16 => 1.0 / 2047.0,
    }
}
