//! What a run would do, reckoned without doing it.

use std::fmt::Write as _;

use serde::Serialize;
use toolr0_model::ModelConfig;
use toolr0_model::weights::expected_tensors;
use toolr0_rl::RunConfig;
use toolr0_rl::optim::parts_at_once;

/// The work of a whole run. Tokens are upper bounds: completions end earlier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Plan {
    /// Updates of both roles.
    pub(crate) steps: usize,
    /// Trained numbers of one role; `null` if the model is not here to be looked at.
    pub(crate) parameters: Option<usize>,
    /// In the order of an iteration.
    pub(crate) phases: Vec<Phase>,
    /// Estimated memory at its peak.
    pub(crate) memory: Option<Memory>,
}

/// All of one phase, over all iterations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Phase {
    /// What is sampled.
    pub(crate) name: &'static str,
    /// Updates.
    pub(crate) steps: usize,
    /// Completions, at most.
    pub(crate) completions: usize,
    /// Sampled tokens, at most.
    pub(crate) max_tokens: usize,
}

/// Bytes, estimated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Memory {
    /// Both roles, the frozen copies they are sampled from, the base and, with a KL term, the reference.
    pub(crate) weights: usize,
    /// Gradients and both moments of AdamW.
    pub(crate) optimizer: usize,
    /// What a micro-batch keeps for its backward pass.
    pub(crate) activations: usize,
    /// Keys and values of the rows that are decoded together.
    pub(crate) kv_cache: usize,
    /// Of all these.
    pub(crate) total: usize,
}

impl Plan {
    /// The plan of `run` from a model of this shape.
    pub(crate) fn new(run: &RunConfig, model: Option<&ModelConfig>) -> Self {
        let iterations = run.selfplay.iterations;
        let phase = |name, steps: usize, completions: usize, longest: usize| Phase {
            name,
            steps,
            completions,
            max_tokens: completions.saturating_mul(longest),
        };
        let (g, s) = (&run.generator, &run.solver);
        let generator_steps = iterations * run.selfplay.generator_steps;
        let solver_steps = iterations * run.selfplay.solver_steps;
        let invented = generator_steps * g.prompts * g.group_size;
        let solved = solver_steps * s.prompts * s.group_size;
        let candidates = iterations * run.fresh_candidates();
        let probe_tokens = run.probe.sampling.max_new_tokens;
        let mut phases = vec![
            phase("generator learns", generator_steps, invented, g.sampling.max_new_tokens),
            phase("  probes of its tasks", 0, invented * run.probe.samples, probe_tokens),
        ];
        if run.judged() {
            let replies = invented * run.probe.judge_tries;
            phases.push(phase("  judgements", 0, replies, run.probe.judge_sampling.max_new_tokens));
        }
        let sittings = (iterations + 1 + run.exam.pass_at) * run.exam.items;
        phases.extend([
            phase("candidates", 0, candidates, run.dataset.sampling.max_new_tokens),
            phase("verification", 0, candidates * run.dataset.samples, probe_tokens),
            phase("solver learns", solver_steps, solved, s.sampling.max_new_tokens),
            phase("exam", 0, sittings, run.exam.max_new_tokens),
        ]);
        let count =
            |m: &ModelConfig| expected_tensors(m).iter().map(|(_, s)| s.iter().product::<usize>()).sum();
        let parameters = model.map(count);
        let memory = model.zip(parameters).map(|(model, parameters)| Memory::new(run, model, parameters));
        Self { steps: generator_steps + solver_steps, parameters, phases, memory }
    }
}

impl Memory {
    fn new(run: &RunConfig, model: &ModelConfig, parameters: usize) -> Self {
        const F32: usize = 4;
        // Prompts of both roles are shorter than this, except with very large menus.
        const PROMPT: usize = 1024;
        let copies = 5 + usize::from(run.rl.loss.needs_reference());
        // Micro-batches are computed side by side, each with gradients and activations of its own.
        let at_once = parts_at_once(parameters);
        let (weights, optimizer) = (copies * parameters * F32, (2 + at_once) * parameters * F32);
        let kv = model.kv_heads * model.head_dim;
        let activations = at_once * run.rl.activation_bytes(model, run.rl.micro_batch_tokens(model));
        let longest =
            [&run.generator.sampling, &run.solver.sampling, &run.probe.sampling, &run.dataset.sampling];
        let longest = PROMPT + longest.iter().map(|s| s.max_new_tokens).max().unwrap_or(0);
        let kv_cache = run.rl.max_rows * longest * model.layers * 2 * kv * F32;
        let total = weights + optimizer + activations.max(kv_cache);
        Self { weights, optimizer, activations, kv_cache, total }
    }
}

/// The plan for people.
pub(crate) fn text(plan: &Plan) -> String {
    let mut text = format!("{:24} {:>9} {:>12} {:>16}\n", "", "updates", "completions", "tokens, at most");
    for Phase { name, steps, completions, max_tokens } in &plan.phases {
        let _ = writeln!(text, "{name:24} {steps:>9} {completions:>12} {max_tokens:>16}");
    }
    let completions: usize = plan.phases.iter().map(|p| p.completions).sum();
    let tokens = plan.phases.iter().fold(0, |sum: usize, p| sum.saturating_add(p.max_tokens));
    let _ = writeln!(text, "{:24} {:>9} {completions:>12} {tokens:>16}", "in all", plan.steps);
    match (&plan.parameters, &plan.memory) {
        (Some(parameters), Some(memory)) => {
            let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            let _ = writeln!(text, "parameters {parameters}");
            let _ = writeln!(
                text,
                "memory, about {:.0} MiB: weights {:.0}, optimiser {:.0}, and the larger of activations {:.0} and key/value \
                 cache {:.0}",
                mib(memory.total),
                mib(memory.weights),
                mib(memory.optimizer),
                mib(memory.activations),
                mib(memory.kv_cache)
            );
        }
        _ => text.push_str("parameters and memory: unknown until the model is fetched\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_run_has_the_papers_numbers() {
        let mut run = RunConfig::default();
        run.generator.prompts = 6;
        let plan = Plan::new(&run, None);
        assert_eq!(plan.steps, 300);
        let completions = |name: &str| plan.phases.iter().find(|p| p.name == name).unwrap().completions;
        assert_eq!(completions("generator learns"), 3 * 50 * 24);
        assert_eq!(completions("  probes of its tasks"), 3 * 50 * 24 * 8);
        assert_eq!(completions("candidates"), 30_000);
        assert_eq!(completions("solver learns"), 3 * 50 * 32);
        assert!(text(&plan).contains("unknown until the model is fetched"));
    }
}
