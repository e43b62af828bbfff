//! Who taught what to whom, and what it cost: one entry beside each record of a run.
//!
//! An entry names the weights before and after by their SHA-256, the tasks that were trained on, the stream that every
//! random number of the step came from, and the tokens, seconds and judge calls that were spent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toolr0_curriculum::Candidate;
use toolr0_model::Params;
use toolr0_model::kernels::with_values;
use toolr0_tools::TaskId;

use crate::error::Result;
use crate::policy::Group;
use crate::state::{Position, Turn};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was done.
    #[serde(flatten)]
    pub position: Position,
    /// Seed of the stream that all random numbers of it came from, 16 hexadecimal digits.
    pub stream: String,
    /// SHA-256 of the generator's weights (with adapters: of these) before.
    pub generator: String,
    /// SHA-256 of the solver's weights before.
    pub solver: String,
    /// SHA-256 of the learning role's weights after; `None` where nobody learned.
    pub after: Option<String>,
    /// The tasks: those a solver trained on, those that a generator's step invented and had no fault, those a dataset kept.
    pub tasks: Vec<TaskId>,
    /// SHA-256 of all that a step's loss saw (prompts, tokens, log-probabilities, advantages), or of the lines of a
    /// dataset's `tasks.jsonl`; `None` for what has neither.
    pub data: Option<String>,
    /// The loss, as the 16 hexadecimal digits of its bits; `None` where nobody learned.
    pub loss: Option<String>,
    /// What it cost.
    pub cost: Cost,
}

/// What a step or a whole turn cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Tokens that the generator wrote.
    pub generator_tokens: usize,
    /// Tokens that the solver wrote: answers, probes, replies as a judge.
    pub solver_tokens: usize,
    /// Positions that were computed with a gradient.
    pub trained_positions: usize,
    /// How often the judge was asked.
    pub judge_calls: usize,
    /// Wall time, s. Not reproducible.
    pub seconds: f64,
}

impl Cost {
    /// Adds another cost.
    pub fn add(&mut self, other: Self) {
        self.generator_tokens += other.generator_tokens;
        self.solver_tokens += other.solver_tokens;
        self.trained_positions += other.trained_positions;
        self.judge_calls += other.judge_calls;
        self.seconds += other.seconds;
    }
}

/// The cost of each turn over all iterations, and the tasks that the datasets kept.
pub fn costs<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> (BTreeMap<Turn, Cost>, usize) {
    let (mut costs, mut kept) = (BTreeMap::<Turn, Cost>::new(), 0);
    for entry in entries {
        costs.entry(entry.position.turn).or_default().add(entry.cost);
        kept += if entry.position.turn == Turn::Dataset { entry.tasks.len() } else { 0 };
    }
    (costs, kept)
}

/// SHA-256 of trainable tensors: names, shapes and bits.
///
/// # Errors
///
/// If a tensor cannot be read.
pub fn digest(params: &Params) -> Result<String> {
    tensors(params.iter().map(|(name, var)| (name, var.as_tensor())))
}

/// SHA-256 of tensors: names, shapes and bits.
///
/// # Errors
///
/// If a tensor cannot be read.
pub fn tensors<'a>(all: impl Iterator<Item = (&'a String, &'a candle_core::Tensor)>) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, tensor) in all {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((tensor.rank() as u64).to_le_bytes());
        tensor.dims().iter().for_each(|n| hash.update((*n as u64).to_le_bytes()));
        with_values(&tensor.contiguous()?, |values| floats(&mut hash, values))?;
    }
    Ok(hex(&hash.finalize()))
}

/// SHA-256 of what a loss sees of these groups.
pub(crate) fn rollouts(groups: &[Group], advantages: &[f64]) -> String {
    let mut hash = Sha256::new();
    let ids = |hash: &mut Sha256, ids: &[u32]| {
        hash.update((ids.len() as u64).to_le_bytes());
        ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
    };
    for group in groups {
        ids(&mut hash, &group.prompt);
        for rollout in &group.rollouts {
            ids(&mut hash, &rollout.tokens);
            floats(&mut hash, &rollout.logprobs);
            for span in &rollout.quoted {
                ids(&mut hash, &[span.start as u32, span.end as u32]);
            }
        }
    }
    advantages.iter().for_each(|a| hash.update(a.to_bits().to_le_bytes()));
    hex(&hash.finalize())
}

/// SHA-256 of tasks as they stand in a file, one a line.
///
/// # Errors
///
/// If a task cannot be written as JSON.
pub fn lines(tasks: &[Candidate]) -> serde_json::Result<String> {
    let mut hash = Sha256::new();
    for task in tasks {
        hash.update(serde_json::to_string(task)? + "\n");
    }
    Ok(hex(&hash.finalize()))
}

/// The bits of `values`, in pieces: a hash takes many small updates slowly.
fn floats(hash: &mut Sha256, values: &[f32]) {
    for piece in values.chunks(1 << 12) {
        let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
        hash.update(bytes);
    }
}

/// The bits of a number, 16 hexadecimal digits.
pub fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_sees_names_shapes_and_every_bit() {
        let of = |name: &str, values: &[f32], shape: (usize, usize)| {
            let tensor = candle_core::Tensor::from_slice(values, shape, &candle_core::Device::Cpu).unwrap();
            digest(&[(name.to_owned(), candle_core::Var::from_tensor(&tensor).unwrap())].into()).unwrap()
        };
        let want = of("w", &[1.0, 0.0], (1, 2));
        assert_eq!((want.len(), &want), (64, &of("w", &[1.0, 0.0], (1, 2))));
        for other in
            [of("v", &[1.0, 0.0], (1, 2)), of("w", &[1.0, 0.0], (2, 1)), of("w", &[1.0, -0.0], (1, 2))]
        {
            assert_ne!(other, want);
        }
    }

    #[test]
    fn costs_add_up_by_turn() {
        let entry = |turn, n: usize| Entry {
            position: Position { iteration: 1, turn, step: 0 },
            stream: String::new(),
            generator: String::new(),
            solver: String::new(),
            after: None,
            tasks: vec![TaskId("a".into()); n],
            data: None,
            loss: None,
            cost: Cost { solver_tokens: n, judge_calls: 1, seconds: 0.5, ..Cost::default() },
        };
        let entries = [entry(Turn::Generator, 3), entry(Turn::Generator, 1), entry(Turn::Dataset, 5)];
        let (costs, kept) = costs(&entries);
        let of = |turn| (costs[&turn].solver_tokens, costs[&turn].judge_calls, costs[&turn].seconds);
        assert_eq!((of(Turn::Generator), of(Turn::Dataset), kept), ((4, 2, 1.0), (5, 1, 0.5), 5));
        let text = serde_json::to_string(&entries[0]).unwrap();
        assert!(text.starts_with(r#"{"iteration":1,"turn":"generator","step":0,"#), "{text}");
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entries[0]);
    }
}
