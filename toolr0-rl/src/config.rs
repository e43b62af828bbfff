//! Everything a self-play run can be told. The defaults are the paper's (Tool-R0, arXiv:2602.21320, table 4).
//!
//! A run reads one of these, checks it once ([`RunConfig::check`]) and saves it, resolved, beside its results.

mod check;
mod endpoint;
mod given;
mod switches;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toolr0_curriculum::{
    Agree, Bands, Frontier, LossPriorConfig, Mix, Order, PosteriorConfig, Rounding, SelectConfig, SpecTables,
};
use toolr0_model::{LoraConfig, ModelConfig, SamplingConfig};
use toolr0_reward::{RewardConfig, Style};

pub use self::endpoint::{EndpointConfig, EndpointRole};
pub use self::given::{Menu, TurnsConfig};
pub use self::switches::{AbstentionConfig, NoveltyConfig, SteeringConfig, TrustConfig};
use crate::advantage::AdvantageConfig;
use crate::alarm::AlarmConfig;
use crate::loss::GrpoConfig;
use crate::optim::AdamWConfig;
use crate::schedule::Schedule;

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Where every random number comes from. Default 0.
    pub seed: u64,
    /// How prompts are worded: `paper`, or `compact` for models of a few million parameters.
    pub style: Style,
    /// How often and how long the two roles take turns.
    pub selfplay: SelfPlayConfig,
    /// Who writes the tools of a task. Default the generator, as in the paper.
    pub menu: Menu,
    /// The source of given tools, such as `world:travel,calendar`. Whoever starts the run opens it. Default none.
    pub tools: Option<String>,
    /// Whether programs (`process:..`) run only where the machine has every layer of their confinement. Default false: without
    /// those that are missing.
    pub strict: bool,
    /// How often a solver may call, and what it reads in between.
    pub turns: TurnsConfig,
    /// The law of task specs: domains, contexts, calls, menus. What is left out is the paper's.
    pub spec: SpecTables,
    /// The generator's rollouts.
    pub generator: RolloutConfig,
    /// The solver's rollouts.
    pub solver: RolloutConfig,
    /// How the solver is probed for the difficulty of a task.
    pub probe: ProbeConfig,
    /// The band of success rates that is worth most.
    pub frontier: Frontier,
    /// The weights of both rewards.
    pub reward: RewardConfig,
    /// How tasks become a curriculum.
    pub dataset: DatasetConfig,
    /// How credit becomes an update.
    pub rl: RlConfig,
    /// The held-out measurement.
    pub exam: ExamConfig,
    /// Somebody outside who answers in place of the frozen solver. Default none.
    pub endpoint: Option<EndpointConfig>,
    /// A generator that repeats itself is paid less. Default off.
    pub novelty: Option<NoveltyConfig>,
    /// Specs are drawn toward what the solver is learning. Default off.
    pub steering: Option<SteeringConfig>,
    /// Tasks that no tool serves. Default off.
    pub abstention: Option<AbstentionConfig>,
    /// Judge and teacher are tried before they are asked. Default off.
    pub trust: Option<TrustConfig>,
    /// How often a run is saved.
    pub checkpoint: CheckpointConfig,
    /// What a run watches itself by.
    pub alarms: AlarmConfig,
    /// Faults made on purpose.
    pub drill: Drill,
}

/// The turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelfPlayConfig {
    /// Rounds of generator, dataset, solver. Default 3.
    pub iterations: usize,
    /// Updates of the generator per iteration; 0 leaves it only prompted. Default 50.
    pub generator_steps: usize,
    /// Updates of the solver per iteration. Default 50.
    pub solver_steps: usize,
    /// Whether both roles train one set of weights: the paper's ablation, 17.42 points worse than two. Default false.
    pub shared_weights: bool,
}

impl Default for SelfPlayConfig {
    fn default() -> Self {
        Self { iterations: 3, generator_steps: 50, solver_steps: 50, shared_weights: false }
    }
}

/// How many completions a step draws, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutConfig {
    /// Prompts per step. Default 8 (32 completions; the paper's generator takes 6, hence 24).
    pub prompts: usize,
    /// Completions per prompt. Default 4.
    pub group_size: usize,
    /// Peak learning rate of this role; without it, that of `rl`.
    pub learning_rate: Option<f64>,
    /// How they are drawn. Default temperature 1, at most 2,048 tokens.
    pub sampling: SamplingConfig,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self { prompts: 8, group_size: 4, learning_rate: None, sampling: sampling(1.0, 2048) }
    }
}

fn sampling(temperature: f64, max_new_tokens: usize) -> SamplingConfig {
    SamplingConfig { temperature, max_new_tokens, ..SamplingConfig::default() }
}

/// How the frozen solver is probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Samples per task, `K`; with `posterior` the most that are drawn. Default 8.
    pub samples: usize,
    /// Pay the expected worth under a posterior, and draw only as many samples as it takes to know it. Default off: the
    /// plain rate of `samples`.
    pub posterior: Option<PosteriorConfig>,
    /// How they are drawn. Default temperature 0.7, at most 2,048 tokens.
    pub sampling: SamplingConfig,
    /// How the judge answers. Default temperature 0.1, at most 16 tokens.
    pub judge_sampling: SamplingConfig,
    /// How often the judge is asked again after an unreadable reply. Default 3 tries; then its score is unknown.
    pub judge_tries: usize,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            samples: 8,
            posterior: None,
            sampling: sampling(0.7, 2048),
            judge_sampling: sampling(0.1, 16),
            judge_tries: 3,
        }
    }
}

/// How candidates become the solver's tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatasetConfig {
    /// Completions drawn from the generator. Default 10,000.
    pub candidates: usize,
    /// How they are drawn. Default temperature 0.7, at most 4,096 tokens.
    pub sampling: SamplingConfig,
    /// Solver samples per candidate for cross-verification and difficulty. Default 10.
    pub samples: usize,
    /// Temperature of those samples. Default 0.7: the release's 0.001 made ten copies of one answer (fault 8).
    pub temperature: f64,
    /// The least share of samples that must agree with the gold calls. Default 0.2.
    pub agreement: f64,
    /// What a sample must repeat to agree: the whole answer (the default), or each call by itself.
    pub agree: Agree,
    /// Updates of the solver's turn up to which the samples that measured a task are also its rollouts, before new ones are
    /// drawn; their importance weights are the ratios of the loss. Default 0: never.
    pub reuse_within: usize,
    /// Whether the sound tasks of the generator's own steps are candidates too, with the probes that measured them; as many
    /// completions fewer are drawn as those steps drew. Default false.
    pub pool_probed: bool,
    /// Tasks kept. Default 2,000.
    pub tasks: usize,
    /// Shares of easy, medium and hard tasks. Default 20, 50, 30 %.
    pub mix: Mix,
    /// Success rates at which easy and hard begin.
    pub bands: Bands,
    /// How shares become whole tasks.
    pub rounding: Rounding,
    /// The order in which training sees them. Default easy to hard.
    pub order: Order,
    /// Folders of benchmark questions, `SUITE/SPLIT.jsonl`: tasks that are like one of them are dropped. Default none.
    pub guard: Vec<PathBuf>,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self {
            candidates: 10_000,
            sampling: sampling(0.7, 4096),
            samples: 10,
            temperature: 0.7,
            agreement: toolr0_curriculum::pool::AGREEMENT,
            agree: Agree::default(),
            reuse_within: 0,
            pool_probed: false,
            tasks: 2000,
            mix: Mix::default(),
            bands: Bands::default(),
            rounding: Rounding::default(),
            order: Order::default(),
            guard: Vec::new(),
        }
    }
}

impl DatasetConfig {
    /// Which of the verified candidates are kept, and in which order: all domains alike.
    pub fn selection(&self) -> SelectConfig {
        SelectConfig {
            n_tasks: self.tasks,
            weights: Default::default(),
            mix: self.mix,
            bands: self.bands,
            rounding: self.rounding,
            order: self.order,
        }
    }
}

/// How credit becomes an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RlConfig {
    /// Peak learning rate. Default 1e-6.
    pub learning_rate: f64,
    /// How it moves over the steps of one phase. Default a line down to 0, without warm-up.
    pub schedule: Schedule,
    /// The loss.
    pub loss: GrpoConfig,
    /// What a reward is compared with.
    pub advantage: AdvantageConfig,
    /// The optimiser.
    pub adamw: AdamWConfig,
    /// Adapters to train instead of all weights. Default none: full tuning, as in the paper.
    pub lora: Option<LoraConfig>,
    /// Updates on the same rollouts. Default 1. From the second on ratios differ from 1, and clipping begins to matter:
    /// the old log-probabilities are the ones that the sampler recorded. On a CPU they are the trainer's own to the bit
    /// (one implementation), so nothing is computed again for them.
    pub epochs: usize,
    /// Tokens of one micro-batch: bounds the memory of a step, changes results by rounding alone (and by other draws,
    /// where adapters have dropout). Default 16,384.
    pub micro_batch_tokens: usize,
    /// The same bound in MiB of activations, which is then what decides. Default off.
    pub micro_batch_mib: Option<usize>,
    /// Whether the backward pass computes each layer again instead of keeping its activations: about a third more time
    /// and a fraction of the memory, gradients the same to the bit. Default false.
    pub recompute: bool,
    /// Rows decoded together: bounds memory, changes nothing else. Default 128.
    pub max_rows: usize,
    /// Draw prompts again whose completions all come out alike. Default off.
    pub dynamic_sampling: Option<DynamicSampling>,
    /// Punish completions that come near their role's `max_new_tokens`. Default off.
    pub overlong: Option<Overlong>,
    /// Whether completions that ran out of tokens carry no loss. Default false.
    pub mask_truncated: bool,
    /// The control: advantages are dealt out at random among the completions of a step. Default false.
    pub shuffle_advantages: bool,
}

impl Default for RlConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-6,
            schedule: Schedule::default(),
            loss: GrpoConfig::default(),
            advantage: AdvantageConfig::default(),
            adamw: AdamWConfig::default(),
            lora: None,
            epochs: 1,
            micro_batch_tokens: 16_384,
            micro_batch_mib: None,
            recompute: false,
            max_rows: 128,
            dynamic_sampling: None,
            overlong: None,
            mask_truncated: false,
            shuffle_advantages: false,
        }
    }
}

/// Dynamic sampling (DAPO, arXiv:2503.14476, section 3.2), which looks at the raw outcome: the solver's accuracy, the
/// generator's reward before the punishment of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicSampling {
    /// Rounds of a step, the first included, until it makes do with fewer groups. Default 4.
    pub max_rounds: usize,
}

impl Default for DynamicSampling {
    fn default() -> Self {
        Self { max_rounds: 4 }
    }
}

/// DAPO's soft punishment of length (arXiv:2503.14476, equation 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overlong {
    /// Tokens before `max_new_tokens` over which the punishment grows from 0 to -1. Default 128.
    pub cache: usize,
}

impl Default for Overlong {
    fn default() -> Self {
        Self { cache: 128 }
    }
}

/// The held-out measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExamConfig {
    /// Questions. Default 400; 0 skips the exam.
    pub items: usize,
    /// Longest answer, in tokens. Default 512.
    pub max_new_tokens: usize,
    /// Samples at temperature 1 per question for pass@k of the base; 0 skips it. Default 0.
    pub pass_at: usize,
}

impl Default for ExamConfig {
    fn default() -> Self {
        Self { items: 400, max_new_tokens: 512, pass_at: 0 }
    }
}

/// How often a run is saved, so that it can go on after whatever ended it. Changes no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints of one turn; there is one at the end of each turn anyway, and with 0 nowhere else.
    /// Default 10.
    pub every: usize,
    /// Checkpoints that stay, the newest; 0 keeps all, which makes every step quick to replay. Default 2.
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 10, keep: 2 }
    }
}

/// Faults made on purpose, to see that a run notices and survives them. All off by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drill {
    /// The step of the solver's turn, from 1, from which on its learning rate is multiplied by `rate_factor`.
    pub rate_from_step: usize,
    /// The factor. Default 1.
    pub rate_factor: f64,
    /// Share of completions whose reward becomes NaN, as if a verifier had failed. Default 0.
    pub nan_rewards: f64,
}

impl Default for Drill {
    fn default() -> Self {
        Self { rate_from_step: 0, rate_factor: 1.0, nan_rewards: 0.0 }
    }
}

impl RlConfig {
    /// Tokens of one micro-batch of a model of this shape.
    pub fn micro_batch_tokens(&self, model: &ModelConfig) -> usize {
        match self.micro_batch_mib {
            Some(mib) => ((mib << 20) / self.activation_bytes(model, 1).max(1)).max(1),
            None => self.micro_batch_tokens,
        }
    }

    /// What a micro-batch of `tokens` keeps for its backward pass, bytes, estimated.
    pub fn activation_bytes(&self, model: &ModelConfig, tokens: usize) -> usize {
        let (q, kv) = (model.heads * model.head_dim, model.kv_heads * model.head_dim);
        // Of one token in one layer: two norms, q, k and v before and after rotation, attention, its projection, two
        // sums, and the gate, up and product of the MLP.
        let layer = 6 * model.hidden + 3 * q + 4 * kv + 4 * model.intermediate;
        let values = match self.recompute {
            true => model.layers * model.hidden + layer,
            false => model.layers * layer,
        };
        tokens.saturating_mul(values * size_of::<f32>())
    }
}

impl RunConfig {
    /// How forecasts of success become priors, if they do.
    pub fn loss_prior(&self) -> Option<LossPriorConfig> {
        self.probe.posterior.and_then(|posterior| posterior.loss_prior)
    }

    /// Completions that a dataset draws itself: without those that the generator's steps drew, where these are pooled.
    pub fn fresh_candidates(&self) -> usize {
        let probed = self.selfplay.generator_steps * self.generator.prompts * self.generator.group_size;
        self.dataset.candidates.saturating_sub(if self.dataset.pool_probed { probed } else { 0 })
    }

    /// Whether the judge has a say in the generator's reward.
    pub fn judged(&self) -> bool {
        0.0 < self.reward.generator.curriculum && 0.0 < self.reward.generator.curriculum_weights.semantic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_bounds_a_micro_batch() {
        let text = r#"{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 300, "hidden_size": 64,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}"#;
        let model = ModelConfig::from_json(text, std::path::Path::new("config.json")).unwrap();
        let tokens = |micro_batch_mib, recompute| {
            RlConfig { micro_batch_mib, recompute, ..RlConfig::default() }.micro_batch_tokens(&model)
        };
        assert_eq!((tokens(None, false), tokens(None, true)), (16_384, 16_384));
        // Per token and layer 6 * 64 + 3 * 64 + 4 * 32 + 4 * 128 = 1,216 values; recomputed, one layer and four inputs.
        assert_eq!(tokens(Some(8), false), (8 << 20) / (4 * 1216 * 4));
        assert_eq!(tokens(Some(8), true), (8 << 20) / ((4 * 64 + 1216) * 4));
    }
}
