//! Completions on demand: requests join a batch that is running, each with settings of its own.
//!
//! What a request becomes does not depend on when it came or on what runs beside it: its completions are those of
//! [`generate`](crate::generate::generate), bit for bit.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::decoder::CausalLm;
use crate::error::{Error, Result};
use crate::generate::{Batching, Finish, Request, Row, decode, prefill};
use crate::sampler::SamplingConfig;
use crate::tokenizer::Tokenizer;

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// The number that its request was given.
    pub request: usize,
    /// Which of the request's samples.
    pub sample: usize,
    /// The token's id.
    pub id: u32,
    /// Its log-probability, nats; see [`Completion::logprobs`](crate::Completion).
    pub logprob: f32,
    /// Why nothing follows, if nothing does.
    pub finish: Option<Finish>,
}

/// A request that no row has been made of yet.
struct Waiting {
    number: usize,
    request: Request,
    config: Arc<SamplingConfig>,
}

/// A running batch.
pub struct Engine {
    model: CausalLm,
    tokenizer: Arc<Tokenizer>,
    eos: Vec<u32>,
    batching: Batching,
    waiting: VecDeque<Waiting>,
    rows: Vec<Row>,
}

impl Engine {
    /// An idle engine. `model` is best a [`CausalLm::frozen`] copy.
    pub fn new(model: CausalLm, tokenizer: Arc<Tokenizer>, eos: Vec<u32>, batching: Batching) -> Self {
        Self { model, tokenizer, eos, batching, waiting: VecDeque::new(), rows: Vec::new() }
    }

    /// Takes a request, under a number by which its tokens are known.
    ///
    /// # Errors
    ///
    /// If a setting is out of range or the prompt is empty.
    pub fn submit(&mut self, number: usize, request: Request, config: &SamplingConfig) -> Result<()> {
        config.validate()?;
        if request.prompt.is_empty() {
            return Err(Error::Sampling { key: "prompt", reason: "holds no token".into() });
        }
        self.waiting.push_back(Waiting { number, request, config: Arc::new(config.clone()) });
        Ok(())
    }

    /// Forgets a request; nothing more is drawn for it.
    pub fn cancel(&mut self, number: usize) {
        self.waiting.retain(|waiting| waiting.number != number);
        self.rows.retain(|row| row.request != number);
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.rows.is_empty()
    }

    /// Completions that are being written.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Takes in what fits, then draws one token for every completion.
    ///
    /// # Errors
    ///
    /// If the model's arithmetic fails. Nothing is then left of any request.
    pub fn step(&mut self) -> Result<Vec<Token>> {
        let tokens = self.try_step();
        if tokens.is_err() {
            self.waiting.clear();
            self.rows.clear();
        }
        tokens
    }

    fn try_step(&mut self) -> Result<Vec<Token>> {
        self.admit()?;
        decode(&self.model, &self.tokenizer, &self.eos, &mut self.rows)?;
        let token = |row: &Row| {
            let (id, logprob) = row.done.tokens.last().zip(row.done.logprobs.last())?;
            let finish = row.is_over().then_some(row.done.finish);
            Some(Token { request: row.request, sample: row.sample, id: *id, logprob: *logprob, finish })
        };
        let tokens = self.rows.iter().filter_map(token).collect();
        self.rows.retain(|row| !row.is_over());
        Ok(tokens)
    }

    /// Waiting requests in their order, while their samples fit; one at least, if the batch is empty.
    fn admit(&mut self) -> Result<()> {
        let (mut taken, mut tokens, mut rows) = (Vec::new(), 0, self.rows.len());
        while let Some(Waiting { request, .. }) = self.waiting.front() {
            let fits = rows + request.streams.len() <= self.batching.max_rows
                && tokens + request.prompt.len() <= self.batching.max_prefill;
            if !fits && rows != 0 {
                break;
            }
            rows += request.streams.len();
            tokens += request.prompt.len();
            taken.extend(self.waiting.pop_front());
        }
        if taken.is_empty() {
            return Ok(());
        }
        let parts: Vec<_> = taken.iter().map(|w| (w.number, &w.request, &w.config)).collect();
        self.rows.extend(prefill(&self.model, &parts, None)?);
        Ok(())
    }
}
