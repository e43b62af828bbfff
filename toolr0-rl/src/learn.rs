//! What both roles do with their rewards: advantages, updates, a record, and an entry in the ledger.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::seq::SliceRandom;
use toolr0_curriculum::Drops;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_reward::Reward;

use crate::advantage::{Rewards, advantages};
use crate::alarm::Raised;
use crate::config::RlConfig;
use crate::error::{Error, Result};
use crate::ledger::{self, Cost, Entry};
use crate::policy::{Role, Rollout, Sampler};
use crate::record::{Observer, ProbingReport, Record, StepReport};
use crate::round::Round;
use crate::selfplay::{SelfPlay, histogram, mean, sampled};
use crate::shaping::zero_variance;
use crate::state::State;
use crate::update::{UpdateStats, update};

/// A step's share of its turn, its stream, and when it began.
pub(crate) struct Place {
    pub(crate) steps: usize,
    pub(crate) stream: Stream,
    pub(crate) clock: Instant,
}

impl SelfPlay<'_> {
    /// Advantages, as many updates as the configuration says, and a record.
    pub(crate) fn learn(
        &self,
        state: &mut State,
        role: Role,
        mut round: Round,
        reference: Option<&Sampler>,
        at: &Place,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Raised>> {
        let (config, rl, position) = (self.config, &self.config.rl, state.position);
        let rollout = if role == Role::Generator { &config.generator } else { &config.solver };
        round.shape(rl.overlong, rollout.sampling.max_new_tokens)?;
        spoil(&mut round.rewards, config.drill.nan_rewards, at.stream);
        // Not scored is not zero: NaN leaves the baseline and gets no advantage.
        let totals: Vec<f64> = round.rewards.iter().map(|r| r.total().unwrap_or(f64::NAN)).collect();
        let flat = zero_variance(&totals, rollout.group_size)?.flat_share();
        let mut advantages = credit(&round, &totals, rollout.group_size, rl)?;
        if rl.shuffle_advantages {
            advantages.shuffle(&mut at.stream.child("shuffle").rng());
        }
        let before = state.digests.clone();
        let rate = rollout.learning_rate.unwrap_or(rl.learning_rate);
        let rate =
            rate * rl.schedule.factor(position.step as u64, at.steps as u64) * self.factor(state, role);
        let State { generator, solver, optimizer, .. } = state;
        let agent = if role == Role::Generator { &*generator } else { &*solver };
        let (mut done, mut positions) = (UpdateStats::default(), 0);
        for epoch in 0..rl.epochs {
            let first = done.stats.mismatch.take();
            let dropout = at.stream.child("dropout").child(epoch);
            let reference = reference.map(Sampler::model);
            done = update(agent, optimizer, &round.groups, &advantages, reference, rl, rate, dropout)?;
            done.stats.mismatch = first.or(done.stats.mismatch); // of the weights that sampled
            positions += done.positions;
        }
        finite(agent.params())?;
        let after = ledger::digest(agent.params())?;
        state.digests[usize::from(role == Role::Solver)].clone_from(&after);

        let own_tokens = round.sampled_tokens - round.probe_tokens;
        let seconds = at.clock.elapsed().as_secs_f64();
        let mut cost =
            Cost { trained_positions: positions, judge_calls: round.judge_calls, seconds, ..Cost::default() };
        (cost.generator_tokens, cost.solver_tokens) = match role {
            Role::Generator => (own_tokens, round.probe_tokens),
            Role::Solver => (0, own_tokens),
        };
        let [generator, solver] = before;
        let entry = Entry {
            position,
            stream: stream_name(at.stream),
            generator,
            solver,
            after: Some(after),
            tasks: round.tasks.concat(),
            data: Some(ledger::rollouts(&round.groups, &advantages)),
            loss: Some(ledger::bits(done.loss)),
            cost,
        };
        let p_hat = match role {
            Role::Generator => histogram(round.probed.iter().copied(), config.probe.samples),
            Role::Solver => Vec::new(),
        };
        let probing = ProbingReport::of(&round.measured, config.probe.samples);
        let report = StepReport { p_hat, probing, ..report(state, role, &round, flat, done, seconds) };
        let raised = state.watch.step(&config.alarms, position.turn, &report);
        let rate = report.success_rate.map_or("-".to_owned(), |r| format!("{r:.2}"));
        let note = format!("reward {:.2}  p-hat {rate}", report.reward);
        self.tell(state, &Record::Step(Box::new(report)), &entry, observer)?;
        observer.advance(position.step + 1, &note);
        Ok(raised)
    }

    /// What the learning rate is multiplied by: after a rollback, and in a drill.
    fn factor(&self, state: &State, role: Role) -> f64 {
        let drill = &self.config.drill;
        let spiked = role == Role::Solver
            && 0 < drill.rate_from_step
            && drill.rate_from_step <= state.position.step + 1;
        state.watch.rate * if spiked { drill.rate_factor } else { 1.0 }
    }

    /// One record and its entry.
    pub(crate) fn tell(
        &self,
        state: &mut State,
        record: &Record,
        entry: &Entry,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        observer.record(record)?;
        observer.enter(entry)?;
        state.records += 1;
        Ok(())
    }
}

/// The stream of an entry.
pub(crate) fn stream_name(stream: Stream) -> String {
    format!("{:016x}", stream.seed())
}

/// The drill of failing verifiers.
fn spoil(rewards: &mut [Reward], share: f64, stream: Stream) {
    if share == 0.0 {
        return;
    }
    let mut rng = stream.child("drill").rng();
    for reward in rewards {
        let fails = uniform_f64(&mut rng) < share;
        if let (true, Some(term)) = (fails, reward.terms.first_mut()) {
            term.value = Some(f64::NAN);
        }
    }
}

/// Refuses weights that an update has broken.
fn finite(params: &toolr0_model::Params) -> Result<()> {
    for var in params.values() {
        let broken =
            |values: &[f32]| values.iter().position(|x| !x.is_finite()).map(|idx| (idx, values[idx]));
        if let Some((idx, value)) =
            toolr0_model::kernels::with_values(&var.as_tensor().contiguous()?, broken)?
        {
            return Err(Error::NonFinite { name: "weights", idx, value: value.into() });
        }
    }
    Ok(())
}

/// What is told of a step.
fn report(
    state: &State,
    role: Role,
    round: &Round,
    flat: f64,
    done: UpdateStats,
    seconds: f64,
) -> StepReport {
    let Round { groups, rewards, .. } = round;
    let scored: Vec<&Reward> = rewards.iter().filter(|r| !r.unscorable()).collect();
    let mut terms = BTreeMap::new();
    for reward in &scored {
        for term in &reward.terms {
            *terms.entry(term.name.to_owned()).or_insert(0.0) +=
                term.value.unwrap_or(0.0) / scored.len() as f64;
        }
    }
    let mut faults = Drops::default();
    for fault in rewards.iter().filter_map(|r| r.fault.as_ref()) {
        faults.add(fault.kind());
    }
    let n = rewards.len().max(1) as f64;
    let rollouts = groups.iter().flat_map(|g| &g.rollouts);
    let cut = rollouts.filter(|r| r.finish == toolr0_model::Finish::Length).count();
    StepReport {
        iteration: state.position.iteration,
        role: role.to_string(),
        step: state.position.step + 1,
        reward: mean(&scored.iter().filter_map(|r| r.total()).collect::<Vec<_>>()).unwrap_or(0.0),
        reward_terms: terms,
        unscorable: rewards.len() - scored.len(),
        unknown: round.unknown.clone(),
        success_rate: mean(&round.rates),
        p_hat: Vec::new(),
        probing: None,
        reused: round.reused,
        zero_variance: flat,
        resampled: round.resampled,
        faults,
        completion_tokens: sampled(groups) as f64 / n,
        truncated: cut as f64 / n,
        sampled_tokens: round.sampled_tokens,
        prompt_fingerprint: round.fingerprint.clone(),
        seconds,
        tokens_per_second: (round.sampled_tokens + done.positions) as f64 / seconds,
        novelty: round.told.novelty.clone(),
        errors: round.told.errors.clone(),
        steering: round.told.steering.clone(),
        update: done,
    }
}

/// The advantages of a round, from all that an estimator may ask for: totals, terms, and tokens that carry loss.
fn credit(round: &Round, totals: &[f64], n: usize, rl: &RlConfig) -> Result<Vec<f64>> {
    let rollouts = round.groups.iter().flat_map(|g| &g.rollouts);
    let silent = |r: &Rollout| rl.mask_truncated && r.finish == toolr0_model::Finish::Length;
    let lengths: Vec<usize> = rollouts.map(|r| if silent(r) { 0 } else { r.own_tokens() }).collect();
    let n_terms = round.rewards.first().map_or(0, |reward| reward.terms.len());
    let term = |i: usize| -> Vec<f64> {
        round.rewards.iter().map(|r| r.terms[i].value.unwrap_or(f64::NAN)).collect()
    };
    let terms: Vec<Vec<f64>> = (0..n_terms).map(term).collect();
    let terms: Vec<&[f64]> = terms.iter().map(Vec::as_slice).collect();
    let rewards = Rewards { total: totals, n, lengths: Some(&lengths), terms: &terms };
    advantages(&rewards, &rl.advantage)
}
