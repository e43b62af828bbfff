//! A role's language model: what it samples with, and what is trained.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toolr0_model::decoder::{snapshot, trainable};
use toolr0_model::generate::{Batching, converse};
use toolr0_model::rng::Stream;
use toolr0_model::weights::Tensors;
use toolr0_model::{
    CausalLm, ChatTemplate, Checkpoint, Finish, LoraConfig, Params, Request, SamplingConfig, Tokenizer,
};
use toolr0_reward::wire::solver::joined;
use toolr0_tools::Prompt;

use crate::conversation::{Desk, Spans, turns};
use crate::error::Result;

/// Which of the two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Invents tasks.
    Generator,
    /// Solves them.
    Solver,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generator => "generator",
            Self::Solver => "solver",
        })
    }
}

/// A completion with everything that training needs: its ids are never made from its text again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Token ids, the end-of-text id included. All that were sampled carry loss: all but the quoted ones.
    pub tokens: Vec<u32>,
    /// Log-probability of each token when it was drawn, nats; 0 and never read where it is quoted.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
    /// The text, without special tokens; of a conversation, all of its calls as one completion ([`joined`]).
    pub text: String,
    /// Tokens that somebody else said, such as what calls returned. They are read and never learned.
    pub quoted: Vec<Range<usize>>,
}

impl Rollout {
    /// How many tokens the policy drew itself.
    pub fn own_tokens(&self) -> usize {
        self.tokens.len() - self.quoted.iter().map(ExactSizeIterator::len).sum::<usize>()
    }

    /// Which tokens the policy drew itself. `(tokens,)`.
    pub fn own_mask(&self) -> Vec<bool> {
        let mut own = vec![true; self.tokens.len()];
        self.quoted.iter().for_each(|span| own[span.clone()].fill(false));
        own
    }
}

/// The completions of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Token ids of the rendered prompt.
    pub prompt: Vec<u32>,
    /// Its completions.
    pub rollouts: Vec<Rollout>,
}

/// A frozen policy, laid out for sampling. What it draws depends on the prompt and the stream alone.
#[derive(Clone, Debug)]
pub struct Sampler {
    model: CausalLm,
    tokenizer: Arc<Tokenizer>,
    template: Arc<ChatTemplate>,
    eos: Vec<u32>,
    batching: Batching,
}

impl Sampler {
    /// A frozen copy of `checkpoint`; at most `max_rows` rows are decoded together.
    ///
    /// # Errors
    ///
    /// If tensors are missing or of another shape.
    pub fn new(checkpoint: &Checkpoint, max_rows: usize) -> Result<Self> {
        let model = CausalLm::new(&checkpoint.config, &checkpoint.tensors)?.frozen()?;
        Ok(Self::of(checkpoint, model, max_rows))
    }

    fn of(checkpoint: &Checkpoint, model: CausalLm, max_rows: usize) -> Self {
        Self {
            model,
            tokenizer: checkpoint.tokenizer.clone(),
            template: checkpoint.template.clone(),
            eos: checkpoint.eos.clone(),
            batching: Batching { max_rows, ..Batching::default() },
        }
    }

    /// The token ids of a prompt, rendered by the checkpoint's chat template.
    ///
    /// # Errors
    ///
    /// If the template refuses the messages.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let text = self.template.render(&prompt.messages, None, true, &Default::default())?;
        Ok(self.tokenizer.encode(&(text + &prompt.opening))?)
    }

    /// One completion per stream of each prompt. `progress` is called with the number of finished ones; where it
    /// returns `false`, sampling stops and unfinished ones are returned as they are.
    ///
    /// # Errors
    ///
    /// If the model's arithmetic fails.
    pub fn sample(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        config: &SamplingConfig,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Group>> {
        let desk = Desk { turns: 1, reply: &|_, _| None, dictates: false };
        self.converse(prompts, config, &desk, progress)
    }

    /// The same, where `desk` answers each turn of a completion: a turn ends with a stop string.
    ///
    /// # Errors
    ///
    /// As [`Sampler::sample`].
    pub fn converse(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        config: &SamplingConfig,
        desk: &Desk<'_>,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Group>> {
        let encode = |(prompt, streams): &(Prompt, Vec<Stream>)| -> Result<Request> {
            Ok(Request { prompt: self.encode(prompt)?, streams: streams.clone() })
        };
        let requests: Vec<Request> = prompts.iter().map(encode).collect::<Result<_>>()?;
        let mut spans = Spans::default();
        let (model, tokenizer) = (&self.model, &*self.tokenizer);
        let mut failed = None;
        let mut reply = |request: usize, sample: usize, tokens: &[u32]| {
            let told = spans.tell((request, sample), tokens, desk, tokenizer);
            Ok(told.unwrap_or_else(|error| {
                failed = Some(error);
                None
            }))
        };
        let done =
            converse(model, tokenizer, &self.eos, &requests, config, self.batching, &mut reply, progress)?;
        failed.map_or(Ok(()), Err)?;
        let mut groups = Vec::with_capacity(requests.len());
        for (i, (request, completions)) in requests.into_iter().zip(done).enumerate() {
            let mut rollouts = Vec::with_capacity(completions.len());
            for (sample, c) in completions.into_iter().enumerate() {
                let quoted = spans.take(i, sample, c.tokens.len());
                let text = match quoted.is_empty() || desk.dictates {
                    true => tokenizer.decode(&c.tokens, true)?,
                    false => joined(&turns(&c.tokens, &quoted, tokenizer)?),
                };
                rollouts.push(Rollout {
                    tokens: c.tokens,
                    logprobs: c.logprobs,
                    finish: c.finish,
                    text,
                    quoted,
                });
            }
            groups.push(Group { prompt: request.prompt, rollouts });
        }
        Ok(groups)
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The frozen network, for log-probabilities under a reference.
    pub fn model(&self) -> &CausalLm {
        &self.model
    }
}

/// A policy that is trained: all of its weights, or adapters beside them.
#[derive(Debug)]
pub struct Agent {
    /// Which one.
    pub role: Role,
    /// Its tensors are the frozen weights beside adapters; without any, they live in `params`.
    base: Checkpoint,
    lora: Option<LoraConfig>,
    params: Params,
    model: CausalLm,
}

impl Agent {
    /// A copy of `checkpoint` of which every weight is trained.
    ///
    /// # Errors
    ///
    /// If tensors are missing or of another shape.
    pub fn new(role: Role, checkpoint: &Checkpoint) -> Result<Self> {
        let params = trainable(&checkpoint.tensors)?;
        let model = CausalLm::from_params(&checkpoint.config, &params)?;
        let base = checkpoint.with_tensors(Default::default());
        Ok(Self { role, base, lora: None, params, model })
    }

    /// `checkpoint` with fresh adapters, which alone are trained. `stream` is where their first values come from.
    ///
    /// # Errors
    ///
    /// If a setting is out of range, or tensors are missing or of another shape.
    pub fn with_adapters(
        role: Role,
        checkpoint: &Checkpoint,
        lora: &LoraConfig,
        stream: Stream,
    ) -> Result<Self> {
        lora.validate()?;
        Self::adapted(role, checkpoint, lora, &lora.fresh(&checkpoint.config, stream)?)
    }

    /// `checkpoint` with these adapters, which alone are trained.
    ///
    /// # Errors
    ///
    /// If tensors are missing or of another shape.
    pub fn adapted(
        role: Role,
        checkpoint: &Checkpoint,
        lora: &LoraConfig,
        adapters: &Tensors,
    ) -> Result<Self> {
        let device = checkpoint.device();
        let there: candle_core::Result<Tensors> =
            adapters.iter().map(|(name, x)| Ok((name.clone(), x.to_device(&device)?))).collect();
        let params = trainable(&there?)?;
        let adapters = params.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let model = CausalLm::new(&checkpoint.config, &checkpoint.tensors)?.with_adapters(lora, &adapters)?;
        Ok(Self { role, base: checkpoint.clone(), lora: Some(lora.clone()), params, model })
    }

    /// The same weights under another role: what one of them learns, the other has learned.
    pub fn shared(&self, role: Role) -> Self {
        Self {
            role,
            base: self.base.clone(),
            lora: self.lora.clone(),
            params: self.params.clone(),
            model: self.model.clone(),
        }
    }

    /// The trainable tensors.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The network, with gradient.
    pub fn model(&self) -> &CausalLm {
        &self.model
    }

    /// A frozen copy as it is now.
    ///
    /// # Errors
    ///
    /// If weights cannot be read.
    pub fn sampler(&self, max_rows: usize) -> Result<Sampler> {
        Ok(Sampler::of(&self.base, self.model.frozen()?, max_rows))
    }

    /// The checkpoint as it is now, adapters merged.
    ///
    /// # Errors
    ///
    /// If weights cannot be read.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let own = snapshot(&self.params)?;
        Ok(self.base.with_tensors(match &self.lora {
            Some(lora) => lora.merge(&self.base.tensors, &own)?,
            None => own,
        }))
    }

    /// The adapters as they are now; `None` if all weights are trained.
    ///
    /// # Errors
    ///
    /// If weights cannot be read.
    pub fn adapters(&self) -> Result<Option<(&LoraConfig, Tensors)>> {
        self.lora.as_ref().map(|lora| Ok((lora, snapshot(&self.params)?))).transpose()
    }
}
