//! From rollouts and their advantages to an update of the weights.
//!
//! A group's prompt is computed once, with gradient, and its completions attend to it. The head runs on the tokens
//! that carry loss and on no others. The loss itself is a function of log-probabilities ([`crate::loss`]): its slopes
//! become the upstream gradient of one backward pass.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::Serialize;
use toolr0_model::decoder::Tape;
use toolr0_model::kernels::attention::Packing;
use toolr0_model::rng::Stream;
use toolr0_model::{CausalLm, Finish};

use crate::config::RlConfig;
use crate::error::{Error, Result};
use crate::kernels::token_logprobs::token_logprobs;
use crate::loss::{
    Advantages, GrpoConfig, LossInput, LossOutput, LossStats, Mismatch, Window, entropy_threshold, grpo_loss,
};
use crate::optim::{AdamW, Gradients, in_parts};
use crate::policy::{Agent, Group, Rollout};
use crate::shaping::mask_cut_off;

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpdateStats {
    /// The loss that was minimised.
    pub loss: f64,
    /// Global gradient norm before clipping; 0 where nothing carried a gradient.
    pub grad_norm: f64,
    /// Norm of the update of the weights, without weight decay; 0 where nothing carried a gradient.
    pub update_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// The loss in parts.
    pub stats: LossStats,
    /// Positions that the network computed.
    pub positions: usize,
    /// Positions that the output head computed: as many as completions have tokens, and no more.
    pub head_rows: usize,
}

/// Positions of a group in a packed batch: the prompt without its last token, which every completion feeds itself.
fn positions(group: &Group) -> usize {
    group.prompt.len().saturating_sub(1) + group.rollouts.iter().map(|r| r.tokens.len()).sum::<usize>()
}

/// Hidden states of the loss tokens of some groups, and those tokens.
struct Forward {
    hidden: Tensor,
    targets: Vec<u32>,
    /// With recomputation, the way back through the layers.
    tape: Option<Tape>,
}

/// Runs the network over groups that share their prompts.
///
/// A completion's row is the prompt's last token and all of its own but the last, so every one of its positions
/// predicts a token that carries loss.
fn forward(model: &CausalLm, groups: &[&Group], dropout: Option<Stream>, recompute: bool) -> Result<Forward> {
    let (mut tokens, mut targets, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let mut lens: Vec<(usize, Vec<usize>)> = Vec::new();
    for group in groups {
        let Some((last, head)) = group.prompt.split_last() else {
            return Err(Error::Length { name: "prompt", expected: 1, got: 0 });
        };
        tokens.extend_from_slice(head);
        let completions: Vec<_> =
            group.rollouts.iter().map(|r| &r.tokens).filter(|t| !t.is_empty()).collect();
        for completion in &completions {
            rows.extend(tokens.len() as u32..(tokens.len() + completion.len()) as u32);
            tokens.push(*last);
            tokens.extend_from_slice(&completion[..completion.len() - 1]);
            targets.extend_from_slice(completion);
        }
        lens.push((head.len(), completions.iter().map(|t| t.len()).collect()));
    }
    let packing = Arc::new(Packing::trees(lens.iter().map(|(prompt, own)| (*prompt, own.as_slice()))));
    let (hidden, tape) = if recompute {
        let (hidden, tape) = model.forward_recomputing(&tokens, &packing, dropout)?;
        (hidden, Some(tape))
    } else {
        (model.forward_dropping(&tokens, &packing, dropout)?, None)
    };
    let rows = Tensor::new(rows.as_slice(), hidden.device())?;
    Ok(Forward { hidden: hidden.index_select(&rows, 0)?, targets, tape })
}

/// Log-probabilities of every completion token under `model`, in order, nats; without gradient.
///
/// # Errors
///
/// If a token is outside the vocabulary.
pub fn logprobs(model: &CausalLm, groups: &[&Group], temperature: f64) -> Result<Vec<f64>> {
    let Forward { hidden, targets, .. } = forward(model, groups, None, false)?;
    let out = token_logprobs(&hidden.detach(), &model.head_weight().detach(), &targets, temperature)?;
    Ok(out.narrow(1, 0, 1)?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

/// One update of `agent` on `groups`.
///
/// Micro-batches hold whole groups, as many as fit [`RlConfig::micro_batch_tokens`], at least one. Groups in which no row has an
/// advantage are passed over where nothing else (KL, entropy bonus) would move the weights.
///
/// # Shapes
///
/// - `advantages`: one per completion, groups in order;
/// - `dropout`: where the dropout of adapters draws from.
///
/// # Errors
///
/// If inputs do not fit, a tensor gets no gradient, or a number is not finite; the weights are then as before.
#[expect(clippy::too_many_arguments, reason = "all that an update depends on")]
pub fn update(
    agent: &Agent,
    optimizer: &mut AdamW,
    groups: &[Group],
    advantages: &[f64],
    reference: Option<&CausalLm>,
    rl: &RlConfig,
    learning_rate: f64,
    dropout: Stream,
) -> Result<UpdateStats> {
    let config = &rl.loss;
    let rows: usize = groups.iter().map(|g| g.rollouts.len()).sum();
    if advantages.len() != rows {
        return Err(Error::Length { name: "advantages", expected: rows, got: advantages.len() });
    }
    let idle = config.beta == 0.0 && !config.needs_entropies();
    let mut at = 0;
    let mut work: Vec<(&Group, &[f64])> = Vec::new();
    for group in groups {
        let own = &advantages[at..at + group.rollouts.len()];
        at += group.rollouts.len();
        if !idle || own.iter().any(|a| *a != 0.0) {
            work.push((group, own));
        }
    }
    let mut out = UpdateStats { learning_rate, ..UpdateStats::default() };
    if work.is_empty() {
        return Ok(out);
    }
    let most = rl.micro_batch_tokens(agent.model().config());
    let mut batches: Vec<Batch<'_>> = Vec::new();
    let mut from = 0;
    while from < work.len() {
        let (mut to, mut size) = (from, 0);
        while to < work.len() && (to == from || size + positions(work[to].0) <= most) {
            size += positions(work[to].0);
            to += 1;
        }
        out.positions += size;
        batches.push(Batch { work: &work[from..to], dropout: dropout.child(from) });
        from = to;
    }
    let window = window(agent, groups, &batches, rl)?;
    let (grads, parts) =
        in_parts(agent.params(), &batches, |batch| micro_batch(agent, *batch, reference, rl, window))?;
    for (part, head_rows) in parts {
        out.loss += part.loss;
        out.stats.merge(&part.stats);
        out.head_rows += head_rows;
    }
    out.grad_norm = optimizer.step(agent.params(), &grads, learning_rate)?;
    out.update_norm = optimizer.update_norm(learning_rate);
    Ok(out)
}

/// Groups that are computed together, and the advantages of their completions.
#[derive(Clone, Copy)]
struct Batch<'a> {
    work: &'a [(&'a Group, &'a [f64])],
    dropout: Stream,
}

impl<'a> Batch<'a> {
    fn groups(&self) -> Vec<&'a Group> {
        self.work.iter().map(|(group, _)| *group).collect()
    }

    /// Completions that have tokens, each with its advantage.
    fn rollouts(&self) -> impl Iterator<Item = (&'a Rollout, f64)> {
        let all = self.work.iter().flat_map(|(group, own)| group.rollouts.iter().zip(own.iter().copied()));
        all.filter(|(rollout, _)| !rollout.tokens.is_empty())
    }

    fn row_lens(&self) -> Vec<usize> {
        self.rollouts().map(|(rollout, _)| rollout.tokens.len()).collect()
    }

    /// Which tokens carry loss. `(tokens,)`.
    fn mask(&self, rl: &RlConfig) -> Result<Vec<bool>> {
        let row_lens = self.row_lens();
        let mut mask: Vec<bool> = self.rollouts().flat_map(|(rollout, _)| rollout.own_mask()).collect();
        if rl.mask_truncated {
            let cut_off: Vec<bool> = self.rollouts().map(|(r, _)| r.finish == Finish::Length).collect();
            mask_cut_off(&mut mask, &row_lens, &cut_off)?;
        }
        Ok(mask)
    }

    /// Hidden states of every token under the policy that is trained.
    fn forward(&self, agent: &Agent, rl: &RlConfig) -> Result<Forward> {
        forward(agent.model(), &self.groups(), Some(self.dropout), rl.recompute)
    }
}

/// One column of what [`token_logprobs`] returns.
fn column(scored: &Tensor, i: usize) -> Result<Vec<f64>> {
    let values = scored.narrow(1, i, 1)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f64::from).collect())
}

/// What the whole step says of each of its micro-batches, so that nothing depends on how it was split.
///
/// A quantile of entropies is known only when all of them are: where the loss has one, every micro-batch is computed
/// twice.
fn window(agent: &Agent, groups: &[Group], batches: &[Batch<'_>], rl: &RlConfig) -> Result<Window> {
    let rollouts = || groups.iter().flat_map(|g| &g.rollouts);
    let bears_loss = |r: &&Rollout| !(rl.mask_truncated && r.finish == Finish::Length);
    let tokens = rollouts().filter(bears_loss).map(Rollout::own_tokens).sum::<usize>() as f64;
    let window = Window {
        rows: Some(rollouts().count() as f64),
        tokens: Some(tokens),
        local_tokens: Some(tokens),
        entropy_tokens: Some(tokens),
        entropy_threshold: None,
    };
    let share = rl.loss.top_entropy_quantile;
    if share == 1.0 {
        return Ok(window);
    }
    let entropies = |batch: &Batch<'_>| {
        let Forward { hidden, targets, .. } = batch.forward(agent, rl)?;
        let scored = token_logprobs(&hidden, agent.model().head_weight(), &targets, rl.loss.temperature)?;
        let all = column(&scored, 1)?.into_iter().zip(batch.mask(rl)?);
        let kept: Vec<f64> = all.filter(|(_, mask)| *mask).map(|(entropy, _)| entropy).collect();
        Ok((Gradients::default(), kept))
    };
    let all = in_parts(agent.params(), batches, entropies)?.1.concat();
    let threshold = entropy_threshold(&all, &vec![true; all.len()], share);
    let kept = all.iter().filter(|h| threshold.is_some_and(|least| **h >= least)).count();
    Ok(Window { entropy_tokens: Some(kept as f64), entropy_threshold: threshold, ..window })
}

/// What came of the head and the loss.
struct Scored {
    /// Log-probabilities, `(tokens,)`, nats.
    lp: Vec<f64>,
    output: LossOutput,
    /// The way back from the loss, as far as the hidden states carry it.
    head: GradStore,
}

/// The loss of hidden states, and its gradient. `input` but for what the head says.
///
/// In main memory the loss lies between the forward and the backward pass of the head. A device has one kernel for all
/// three, and the loss is computed once more for its parts.
fn score_and_return(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    config: &GrpoConfig,
    input: &LossInput<'_>,
) -> Result<Scored> {
    #[cfg(feature = "candle-cuda")]
    if hidden.device().is_cuda() {
        let done = crate::kernels::cuda::ops::grpo_loss(hidden, weight, targets, config, input)?;
        let (lp, entropies) = (column(&done.scores, 0)?, column(&done.scores, 1)?);
        let output = grpo_loss(config, &LossInput { logprobs: &lp, entropies: Some(&entropies), ..*input })?;
        let mut head = (hidden * done.d_hidden)?.sum_all()?.backward()?;
        if let Some(own) = done.d_weight {
            // A head that is also the embedding has a gradient from there.
            let sum = head.get(weight).map_or(Ok(own.clone()), |embedding| embedding + &own)?;
            head.insert(weight, sum);
        }
        return Ok(Scored { lp, output, head });
    }
    let scored = token_logprobs(hidden, weight, targets, config.temperature)?;
    let (lp, entropies) = (column(&scored, 0)?, column(&scored, 1)?);
    let output = grpo_loss(config, &LossInput { logprobs: &lp, entropies: Some(&entropies), ..*input })?;
    let slopes: Vec<f32> =
        output.d_logprobs.iter().zip(&output.d_entropies).flat_map(|(a, b)| [*a as f32, *b as f32]).collect();
    let slopes = Tensor::from_vec(slopes, (lp.len(), 2), scored.device())?;
    let head = (scored * slopes)?.sum_all()?.backward()?;
    Ok(Scored { lp, output, head })
}

fn micro_batch(
    agent: &Agent,
    batch: Batch<'_>,
    reference: Option<&CausalLm>,
    rl: &RlConfig,
    window: Window,
) -> Result<(Gradients, (LossOutput, usize))> {
    let config = &rl.loss;
    let Forward { hidden, targets, tape } = batch.forward(agent, rl)?;
    let reference = match reference {
        Some(model) if config.needs_reference() => {
            Some(logprobs(model, &batch.groups(), config.temperature)?)
        }
        _ => None,
    };
    let rows: Vec<f64> = batch.rollouts().map(|(_, a)| a).collect();
    let sampled: Vec<f64> =
        batch.rollouts().flat_map(|(r, _)| r.logprobs.iter().map(|x| f64::from(*x))).collect();
    let mask = batch.mask(rl)?;
    let row_lens = batch.row_lens();
    let input = LossInput {
        row_lens: &row_lens,
        mask: &mask,
        logprobs: &[],
        old: Some(&sampled),
        reference: reference.as_deref(),
        sampler: Some(&sampled),
        entropies: None,
        advantages: Advantages::Rows(&rows),
        window,
    };
    let Scored { lp, mut output, mut head } =
        score_and_return(&hidden, agent.model().head_weight(), &targets, config, &input)?;
    // The loss was told that the sampler is the old policy, so it saw no gap between the two. Whether that is true of
    // the weights as they are now is measured here.
    let masked = output.stats.mismatch.map_or(0.0, |m| m.masked);
    output.stats.mismatch = Some(Mismatch { masked, ..Mismatch::between(&lp, &sampled, &mask) });
    let (mut grads, params) = (Gradients::default(), agent.params());
    grads.take(params, &mut head)?;
    if let Some(tape) = tape {
        tape.backward(&head, &mut |store| grads.take(params, store))?;
    }
    grads.check(params)?;
    Ok((grads, (output, mask.len())))
}
