//! The two roles take turns.
//!
//! ```text
//! for each iteration:
//!   1. the solver is frozen; the generator learns to invent tasks at the edge of what the solver can do
//!   2. the generator is frozen; its tasks are verified, deduplicated, measured, and laid in an order
//!   3. the solver learns on them, easy to hard
//! ```
//!
//! One walk for both roles: prompt, rollout, parsed task, verdict, reward, advantage, loss, step. Every random number
//! comes from a stream named by (iteration, role, step, prompt, sample).

use std::collections::{BTreeMap, HashMap};

use rand::seq::SliceRandom;
use toolr0_curriculum::{
    Attempts, Candidate, Drops, Funnel, Guard, Pool, SpecLaw, dedup, draw_specs, select, verify,
};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::Tensors;
use toolr0_model::{Checkpoint, LoraConfig, SamplingConfig};
use toolr0_reward::reward::Curriculum;
use toolr0_reward::{Reward, Verdict, judge, wire};
use toolr0_tools::{Prompt, Task, TaskId, TaskSpec};

use crate::advantage::{Rewards, advantages};
use crate::answers::{Answerer, Answers, Cast, Tab};
use crate::config::{EndpointRole, RlConfig, RolloutConfig, RunConfig};
use crate::error::{Error, Result};
use crate::exam::{ExamReport, sit};
use crate::optim::AdamW;
use crate::policy::{Agent, Group, Role, Rollout, Sampler};
pub use crate::record::{Answer, DatasetReport, Observer, Phase, Record, Sample, StepReport};
use crate::round::{Round, gather};
use crate::shaping::zero_variance;
use crate::update::{UpdateStats, update};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The generator as it is now.
    pub generator: Checkpoint,
    /// The solver as it is now.
    pub solver: Checkpoint,
    /// The adapters of both, generator first, where adapters were trained.
    pub adapters: Option<(LoraConfig, [Tensors; 2])>,
    /// The exam of the base and after each iteration.
    pub exams: Vec<ExamReport>,
    /// Iterations that were finished.
    pub iterations: usize,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

/// What one iteration leaves.
#[derive(Debug)]
pub struct Iteration<'a> {
    /// From 1.
    pub number: usize,
    /// The tasks that the solver trained on, in that order.
    pub tasks: &'a [Candidate],
    /// The generator.
    pub generator: &'a Agent,
    /// The solver.
    pub solver: &'a Agent,
}

/// A run: configuration, base model, held-out questions.
#[derive(Debug)]
pub struct SelfPlay<'a> {
    config: &'a RunConfig,
    law: SpecLaw,
    base: &'a Checkpoint,
    exam: &'a [Task],
    guard: Option<&'a Guard>,
    outside: Option<(&'a dyn Answerer, &'a [EndpointRole])>,
    root: Stream,
}

impl<'a> SelfPlay<'a> {
    /// A run of `config` from `base`, measured on `exam`.
    ///
    /// # Errors
    ///
    /// If the configuration does not pass its checks.
    pub fn new(config: &'a RunConfig, base: &'a Checkpoint, exam: &'a [Task]) -> Result<Self> {
        config.check()?;
        let law = SpecLaw::new(config.spec.clone())?;
        let root = Stream::root(config.seed).child("selfplay");
        Ok(Self { config, law, base, exam, guard: None, outside: None, root })
    }

    /// The same run, whose solver never trains on a task that is like an item of `guard`.
    pub fn guarded(self, guard: &'a Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// The same run, in which `outside` plays `roles` in place of the frozen solver.
    pub fn assisted(self, outside: &'a dyn Answerer, roles: &'a [EndpointRole]) -> Self {
        Self { outside: Some((outside, roles)), ..self }
    }

    /// Runs to the end, or to the next step boundary after the observer asks to stop. `keep` is called with what
    /// each iteration leaves.
    ///
    /// # Errors
    ///
    /// If the arithmetic fails, or `observer` or `keep` does; if the configuration names a guard or an endpoint that was not
    /// given; if somebody outside fails for good.
    pub fn run(
        &self,
        observer: &mut dyn Observer,
        keep: &mut dyn FnMut(&Iteration<'_>) -> Result<()>,
    ) -> Result<Outcome> {
        let config = self.config;
        self.check_given()?;
        let agent = |role: Role| match &config.rl.lora {
            Some(lora) => {
                let stream = self.root.child("adapters").child(role.to_string().as_str());
                Agent::with_adapters(role, self.base, lora, stream)
            }
            None => Agent::new(role, self.base),
        };
        let generator = agent(Role::Generator)?;
        let solver = match config.selfplay.shared_weights {
            true => generator.shared(Role::Solver),
            false => agent(Role::Solver)?,
        };
        let reference = match config.rl.loss.needs_reference() {
            true => Some(Sampler::new(self.base, config.rl.max_rows)?),
            false => None,
        };
        let mut exams = Vec::new();
        self.examine(&solver, 0, observer, &mut exams)?;
        let mut iterations = 0;
        for iteration in 1..=config.selfplay.iterations {
            if observer.stopped() {
                break;
            }
            let frozen_solver = solver.sampler(config.rl.max_rows)?;
            let cast = Cast::new(&frozen_solver, self.outside);
            self.train_generator(iteration, &generator, cast, reference.as_ref(), observer)?;
            if observer.stopped() {
                break;
            }
            let frozen_generator = generator.sampler(config.rl.max_rows)?;
            let tasks = self.dataset(iteration, &frozen_generator, cast, observer)?;
            if observer.stopped() {
                break;
            }
            self.train_solver(iteration, &solver, &tasks, reference.as_ref(), observer)?;
            if observer.stopped() {
                break;
            }
            self.examine(&solver, iteration, observer, &mut exams)?;
            keep(&Iteration { number: iteration, tasks: &tasks, generator: &generator, solver: &solver })?;
            iterations = iteration;
        }
        let adapters = match (generator.adapters()?, solver.adapters()?) {
            (Some((lora, generator)), Some((_, solver))) => Some((lora.clone(), [generator, solver])),
            _ => None,
        };
        Ok(Outcome {
            generator: generator.checkpoint()?,
            adapters,
            solver: solver.checkpoint()?,
            exams,
            iterations,
            stopped: iterations < config.selfplay.iterations,
        })
    }

    /// What the configuration names, the caller must have read or connected.
    fn check_given(&self) -> Result<()> {
        let needs = |name, user: &str| Err(Error::Missing { name, user: user.to_owned() });
        if !self.config.dataset.guard.is_empty() && self.guard.is_none() {
            return needs("SelfPlay::guarded", "a run with `dataset.guard`");
        }
        if self.config.endpoint.is_some() && self.outside.is_none() {
            return needs("SelfPlay::assisted", "a run with `endpoint`");
        }
        Ok(())
    }

    fn examine(
        &self,
        solver: &Agent,
        iteration: usize,
        observer: &mut dyn Observer,
        exams: &mut Vec<ExamReport>,
    ) -> Result<()> {
        if self.exam.is_empty() {
            return Ok(());
        }
        observer.begin(Phase::Exam, iteration, self.exam.len());
        let sampler = solver.sampler(self.config.rl.max_rows)?;
        let tokens = self.config.exam.max_new_tokens;
        let mut progress = |done: usize| {
            observer.advance(done, "");
            true
        };
        let report = sit(&sampler, self.exam, self.config.style, tokens, &mut progress)?;
        observer.advance(self.exam.len(), &format!("accuracy {:.1} %", 100.0 * report.accuracy));
        observer.record(&Record::Exam { iteration, report: report.clone() })?;
        exams.push(report);
        Ok(())
    }

    /// Phase 1: specs in, tasks out, paid for format, validity and difficulty.
    fn train_generator(
        &self,
        iteration: usize,
        agent: &Agent,
        cast: Cast<'_>,
        reference: Option<&Sampler>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let (config, steps) = (self.config, self.config.selfplay.generator_steps);
        let rollout = &config.generator;
        let mut optimizer = AdamW::new(config.rl.adamw.clone());
        observer.begin(Phase::Generator, iteration, steps);
        for step in 0..steps {
            if observer.stopped() {
                return Ok(());
            }
            let clock = std::time::Instant::now();
            let stream = self.root.child(iteration).child("generator").child(step);
            let sampler = agent.sampler(config.rl.max_rows)?;
            let round = gather(rollout.prompts, rollout.group_size, config.rl.dynamic_sampling, |round| {
                let stream = round_of(stream, round);
                let specs = draw_specs(&self.law, rollout.prompts, &mut stream.child("specs").rng());
                let prompts = ask(&specs, stream, rollout.group_size, |spec| {
                    wire::generator::prompt(spec, config.style)
                });
                let groups = sampler.sample(&prompts, &rollout.sampling, &mut |_| true)?;
                let (probed, tab) = self.probe(&groups, &specs, cast, stream.child("probe"))?;
                let texts =
                    groups.iter().zip(&specs).flat_map(|(g, spec)| g.rollouts.iter().map(move |r| (r, spec)));
                let pay = |((rollout, spec), worth): ((&Rollout, &TaskSpec), &Probed)| {
                    config.reward.of_generator(&rollout.text, spec, &worth.curriculum)
                };
                let rewards = texts.zip(&probed).map(pay).collect();
                let mut round = Round::new(groups, rewards, Reward::total, &prompts[0].0);
                round.rates = probed.iter().filter_map(|p| p.attempts.rate()).collect();
                round.probed = probed.iter().map(|p| p.attempts).collect();
                round.sampled_tokens += tab.tokens;
                round.unknown = tab.unknown;
                Ok(round)
            })?;
            let at = Place { iteration, step, steps, stream };
            self.learn(agent, &mut optimizer, round, reference, rollout, &at, clock, observer)?;
        }
        Ok(())
    }

    /// How near each completion's task is to the frontier. Only tasks without a fault are probed: nothing is paid
    /// for the others.
    fn probe(
        &self,
        groups: &[Group],
        specs: &[TaskSpec],
        cast: Cast<'_>,
        stream: Stream,
    ) -> Result<(Vec<Probed>, Tab)> {
        let config = self.config;
        let texts =
            groups.iter().zip(specs).flat_map(|(g, spec)| g.rollouts.iter().map(move |r| (&r.text, spec)));
        let tasks: Vec<Option<Task>> = texts
            .map(|(text, spec)| {
                let task = wire::generator::parse(text).ok()?;
                toolr0_reward::verify(&task, spec, &config.reward.generator.verify).ok()?;
                Some(task)
            })
            .collect();
        let valid: Vec<(usize, &Task)> =
            tasks.iter().enumerate().filter_map(|(i, t)| Some((i, t.as_ref()?))).collect();
        let mut out = vec![Probed::default(); tasks.len()];
        let attempts = self.attempt(
            &valid,
            cast.prober,
            &config.probe.sampling,
            config.probe.samples,
            stream.child("attempts"),
            &mut |_| true,
        )?;
        let mut tab = Tab::default();
        for ((i, task), answers) in valid.iter().zip(&tab.book(attempts)?) {
            let attempts = solved(&verdicts(task, answers));
            out[*i].attempts = attempts;
            out[*i].curriculum.difficulty = config.frontier.score(attempts);
        }
        if config.judged() {
            self.judge(&valid, cast.judge, stream.child("judge"), &mut tab, &mut out)?;
        }
        Ok((out, tab))
    }

    /// The solver as judge. A reply that cannot be read is asked for again; then the score stays unknown.
    fn judge(
        &self,
        tasks: &[(usize, &Task)],
        judge: &dyn Answerer,
        stream: Stream,
        tab: &mut Tab,
        out: &mut [Probed],
    ) -> Result<()> {
        let (probe, style) = (&self.config.probe, self.config.style);
        let mut open: Vec<(usize, &Task)> = tasks.to_vec();
        for attempt in 0..probe.judge_tries {
            let ask = |(i, task): &(usize, &Task)| {
                (wire::judge::prompt(task, style), vec![stream.child(attempt).child(*i)])
            };
            let prompts: Vec<_> = open.iter().map(ask).collect();
            let answers = judge.answer(&prompts, &probe.judge_sampling, &mut |_| true)?;
            let mut replies = tab.book(answers)?.into_iter().flatten();
            open.retain(|(i, _)| {
                let score = replies.next().flatten().and_then(|text| wire::judge::parse(&text));
                out[*i].curriculum = out[*i].curriculum.judged(score);
                score.is_none()
            });
        }
        Ok(())
    }

    /// The solver's attempts at tasks.
    fn attempt(
        &self,
        tasks: &[(usize, &Task)],
        solver: &dyn Answerer,
        sampling: &SamplingConfig,
        n: usize,
        stream: Stream,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers> {
        let ask = |(i, task): &(usize, &Task)| {
            (
                wire::solver::prompt(&task.question, &task.tools, self.config.style),
                samples(stream.child(*i), n),
            )
        };
        let prompts: Vec<_> = tasks.iter().map(ask).collect();
        solver.answer(&prompts, sampling, progress)
    }

    /// Phase 2: candidates become tasks, and every drop is counted.
    fn dataset(
        &self,
        iteration: usize,
        generator: &Sampler,
        cast: Cast<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Candidate>> {
        let (config, data) = (self.config, &self.config.dataset);
        let clock = std::time::Instant::now();
        let stream = self.root.child(iteration).child("dataset");
        let specs = draw_specs(&self.law, data.candidates, &mut stream.child("specs").rng());
        let prompts = ask(&specs, stream, 1, |spec| wire::generator::prompt(spec, config.style));
        observer.begin(Phase::Candidates, iteration, data.candidates);
        let groups = {
            let mut progress = |done: usize| {
                observer.advance(done, "");
                !observer.stopped()
            };
            generator.sample(&prompts, &data.sampling, &mut progress)?
        };
        if observer.stopped() {
            return Ok(Vec::new()); // Cut-off completions are not bad ones: nothing is counted of them.
        }
        let (mut unreadable, mut candidates) = (Drops::default(), Vec::new());
        for (group, spec) in groups.iter().zip(specs) {
            for rollout in &group.rollouts {
                match wire::generator::parse(&rollout.text) {
                    Ok(task) => candidates.push(Candidate::new(task, spec.clone())),
                    Err(fault) => _ = unreadable.add(fault.kind()),
                }
            }
        }
        let mut funnel = Funnel::default();
        funnel.record("parse", data.candidates, unreadable);
        let mut pool = Pool::new(candidates, funnel);
        pool.step("structure", |mut all| {
            let mut drops = Drops::default();
            all.retain(|c| match toolr0_reward::verify(&c.task, &c.spec, &config.reward.generator.verify) {
                Ok(()) => true,
                Err(fault) => drops.add(fault.kind()),
            });
            (all, drops)
        });
        pool.step("dedup", dedup);
        let mut contaminated = Vec::new();
        if let Some(guard) = self.guard {
            pool.step("guard", |all| {
                let (kept, drops, hits) = guard.filter(all);
                contaminated = hits;
                (kept, drops)
            });
        }
        observer.begin(Phase::Verification, iteration, pool.candidates.len() * data.samples);
        let sampling = SamplingConfig { temperature: data.temperature, ..config.probe.sampling.clone() };
        let tasks: Vec<(usize, &Task)> = pool.candidates.iter().map(|c| &c.task).enumerate().collect();
        let attempted = {
            let mut progress = |done: usize| {
                observer.advance(done, "");
                !observer.stopped()
            };
            let stream = stream.child("attempts");
            self.attempt(&tasks, cast.verifier, &sampling, data.samples, stream, &mut progress)?
        };
        if observer.stopped() {
            return Ok(Vec::new());
        }
        let mut tab = Tab::default();
        let answers = tab.book(attempted)?;
        for (candidate, answers) in pool.candidates.iter_mut().zip(&answers) {
            let verdicts = verdicts(&candidate.task, answers);
            candidate.attempts = solved(&verdicts);
            candidate.weakest_call = weakest_call(&verdicts);
        }
        let p_hat = histogram(pool.candidates.iter().map(|c| c.attempts), data.samples);
        let answers: HashMap<TaskId, Vec<Option<String>>> =
            pool.candidates.iter().map(|c| c.task.id()).zip(answers).collect();
        pool.step("cross-verification", |all| verify(all, data.agreement, data.agree));
        let selection = data.selection();
        let mut failed = Ok(());
        pool.step("selection", |all| match select(all, &selection, &mut stream.child("selection").rng()) {
            Ok(chosen) => (chosen.tasks, chosen.drops),
            Err(error) => {
                failed = Err(error);
                Default::default()
            }
        });
        failed?;
        let tasks = pool.candidates;
        let rates: Vec<f64> = tasks.iter().filter_map(|c| c.attempts.rate()).collect();
        let mut domains = BTreeMap::new();
        tasks.iter().for_each(|c| *domains.entry(c.spec.domain.clone()).or_default() += 1);
        observer.record(&Record::Dataset(DatasetReport {
            iteration,
            funnel: pool.funnel,
            contaminated,
            unknown: tab.unknown,
            tasks: tasks.len(),
            success_rate: mean(&rates).unwrap_or(0.0),
            p_hat,
            domains,
            seconds: clock.elapsed().as_secs_f64(),
        }))?;
        observer.record(&Record::Samples { iteration, tasks: showcase(&tasks, &answers) })?;
        Ok(tasks)
    }

    /// Phase 3: tasks in their order, paid for format and accuracy.
    fn train_solver(
        &self,
        iteration: usize,
        agent: &Agent,
        tasks: &[Candidate],
        reference: Option<&Sampler>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let (config, steps) = (self.config, self.config.selfplay.solver_steps);
        let rollout = &config.solver;
        let mut optimizer = AdamW::new(config.rl.adamw.clone());
        observer.begin(Phase::Solver, iteration, steps);
        if tasks.is_empty() {
            return Ok(());
        }
        for step in 0..steps {
            if observer.stopped() {
                return Ok(());
            }
            let clock = std::time::Instant::now();
            let stream = self.root.child(iteration).child("solver").child(step);
            let sampler = agent.sampler(config.rl.max_rows)?;
            let round = gather(rollout.prompts, rollout.group_size, config.rl.dynamic_sampling, |round| {
                let stream = round_of(stream, round);
                let mut any = stream.child("tasks").rng();
                let wanted = steps * rollout.prompts;
                let which = |i| match round {
                    0 => place(step * rollout.prompts + i, wanted, tasks.len()),
                    _ => (uniform_f64(&mut any) * tasks.len() as f64) as usize,
                };
                let chosen: Vec<&Task> = (0..rollout.prompts).map(which).map(|i| &tasks[i].task).collect();
                let prompts = ask(&chosen, stream, rollout.group_size, |task| {
                    wire::solver::prompt(&task.question, &task.tools, config.style)
                });
                let groups = sampler.sample(&prompts, &rollout.sampling, &mut |_| true)?;
                let (mut rewards, mut solved) = (Vec::new(), Vec::new());
                for (group, task) in groups.iter().zip(&chosen) {
                    for rollout in &group.rollouts {
                        rewards.push(config.reward.of_solver(task, &rollout.text));
                        solved.push(f64::from(judge(task, &rollout.text).solved));
                    }
                }
                let mut round = Round::new(groups, rewards, |r| r.get("accuracy"), &prompts[0].0);
                round.rates = solved;
                Ok(round)
            })?;
            let at = Place { iteration, step, steps, stream };
            self.learn(agent, &mut optimizer, round, reference, rollout, &at, clock, observer)?;
        }
        Ok(())
    }

    /// What both roles do with their rewards: advantages, as many updates as the configuration says, and a record.
    #[expect(clippy::too_many_arguments, reason = "one step of one role, and all that it depends on")]
    fn learn(
        &self,
        agent: &Agent,
        optimizer: &mut AdamW,
        mut round: Round,
        reference: Option<&Sampler>,
        rollout: &RolloutConfig,
        at: &Place,
        clock: std::time::Instant,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let rl = &self.config.rl;
        round.shape(rl.overlong, rollout.sampling.max_new_tokens)?;
        let Round { groups, rewards, .. } = &round;
        // Not scored is not zero: NaN leaves the baseline and gets no advantage.
        let totals: Vec<f64> = rewards.iter().map(|r| r.total().unwrap_or(f64::NAN)).collect();
        let counts = zero_variance(&totals, rollout.group_size)?;
        let mut advantages = credit(&round, &totals, rollout.group_size, rl)?;
        if rl.shuffle_advantages {
            advantages.shuffle(&mut at.stream.child("shuffle").rng());
        }
        let rate = rollout.learning_rate.unwrap_or(rl.learning_rate);
        let rate = rate * rl.schedule.factor(at.step as u64, at.steps as u64);
        let mut done = UpdateStats::default();
        for epoch in 0..rl.epochs {
            let first = done.stats.mismatch.take();
            let dropout = at.stream.child("dropout").child(epoch);
            let reference = reference.map(Sampler::model);
            done = update(agent, optimizer, groups, &advantages, reference, rl, rate, dropout)?;
            done.stats.mismatch = first.or(done.stats.mismatch); // of the weights that sampled
        }
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
        let rollouts = || groups.iter().flat_map(|g| &g.rollouts);
        let n = rewards.len().max(1) as f64;
        let cut = rollouts().filter(|r| r.finish == toolr0_model::Finish::Length).count();
        let seconds = clock.elapsed().as_secs_f64();
        let report = StepReport {
            iteration: at.iteration,
            role: agent.role.to_string(),
            step: at.step + 1,
            reward: mean(&scored.iter().filter_map(|r| r.total()).collect::<Vec<_>>()).unwrap_or(0.0),
            reward_terms: terms,
            unscorable: rewards.len() - scored.len(),
            unknown: round.unknown.clone(),
            success_rate: mean(&round.rates),
            p_hat: match agent.role {
                Role::Generator => histogram(round.probed.iter().copied(), self.config.probe.samples),
                Role::Solver => Vec::new(),
            },
            zero_variance: counts.flat_share(),
            resampled: round.resampled,
            faults,
            completion_tokens: sampled(groups) as f64 / n,
            truncated: cut as f64 / n,
            sampled_tokens: round.sampled_tokens,
            prompt_fingerprint: round.fingerprint.clone(),
            seconds,
            tokens_per_second: (round.sampled_tokens + done.positions) as f64 / seconds,
            update: done,
        };
        let rate = report.success_rate.map_or("-".to_owned(), |r| format!("{r:.2}"));
        let note = format!("reward {:.2}  p-hat {rate}", report.reward);
        observer.record(&Record::Step(Box::new(report)))?;
        observer.advance(at.step + 1, &note);
        Ok(())
    }
}

/// The advantages of a round, from all that an estimator may ask for: totals, terms, and tokens that carry loss.
fn credit(round: &Round, totals: &[f64], n: usize, rl: &RlConfig) -> Result<Vec<f64>> {
    let rollouts = round.groups.iter().flat_map(|g| &g.rollouts);
    let silent = |r: &Rollout| rl.mask_truncated && r.finish == toolr0_model::Finish::Length;
    let lengths: Vec<usize> = rollouts.map(|r| if silent(r) { 0 } else { r.tokens.len() }).collect();
    let n_terms = round.rewards.first().map_or(0, |reward| reward.terms.len());
    let term = |i: usize| -> Vec<f64> {
        round.rewards.iter().map(|r| r.terms[i].value.unwrap_or(f64::NAN)).collect()
    };
    let terms: Vec<Vec<f64>> = (0..n_terms).map(term).collect();
    let terms: Vec<&[f64]> = terms.iter().map(Vec::as_slice).collect();
    let rewards = Rewards { total: totals, n, lengths: Some(&lengths), terms: &terms };
    advantages(&rewards, &rl.advantage)
}

/// Where in a run a step stands, and its stream.
struct Place {
    iteration: usize,
    step: usize,
    steps: usize,
    stream: Stream,
}

/// The stream of a further round of dynamic sampling; the first has the step's own.
fn round_of(stream: Stream, round: usize) -> Stream {
    if round == 0 { stream } else { stream.child("round").child(round) }
}

/// A prompt and `n` streams for each item.
fn ask<T>(
    items: &[T],
    stream: Stream,
    n: usize,
    prompt: impl Fn(&T) -> Prompt,
) -> Vec<(Prompt, Vec<Stream>)> {
    items.iter().enumerate().map(|(i, item)| (prompt(item), samples(stream.child(i), n))).collect()
}

/// What was measured of one completion's task.
#[derive(Clone, Debug, Default)]
struct Probed {
    attempts: Attempts,
    curriculum: Curriculum,
}

/// What became of the answers to a task. One that did not come is unknown.
fn verdicts(task: &Task, answers: &[Option<String>]) -> Vec<Option<Verdict>> {
    answers.iter().map(|text| text.as_ref().map(|text| judge(task, text))).collect()
}

/// How many of the answers to a task solve it.
fn solved(verdicts: &[Option<Verdict>]) -> Attempts {
    verdicts.iter().map(|verdict| verdict.as_ref().map(|verdict| verdict.solved)).collect()
}

/// How many of the answers hold the gold call that the fewest of them hold.
fn weakest_call(verdicts: &[Option<Verdict>]) -> Attempts {
    let n_calls = verdicts.iter().flatten().next().map_or(0, |verdict| verdict.held.len());
    let of = |call: usize| {
        verdicts
            .iter()
            .map(|verdict| verdict.as_ref().map(|verdict| verdict.held[call]))
            .collect::<Attempts>()
    };
    (0..n_calls).map(of).min_by_key(|attempts| attempts.solved()).unwrap_or_default()
}

/// Which task the `i`-th of `wanted` prompts takes: an even walk through the whole order where there are more tasks
/// than prompts, several walks from its beginning to its end where there are fewer.
fn place(i: usize, wanted: usize, n: usize) -> usize {
    if wanted <= n { i * n / wanted } else { i % n }
}

/// How many tasks were solved 0, 1, .. `k` times; those without an attempt are not counted.
fn histogram(attempts: impl Iterator<Item = Attempts>, k: usize) -> Vec<usize> {
    let mut counts = vec![0; k + 1];
    for attempts in attempts.filter(|attempts| 0 < attempts.tried()) {
        counts[(attempts.solved() as usize).min(k)] += 1;
    }
    counts
}

/// A few tasks from all over the order of training, with a few answers to each: small enough for the log.
fn showcase(tasks: &[Candidate], answers: &HashMap<TaskId, Vec<Option<String>>>) -> Vec<Sample> {
    const TASKS: usize = 16;
    const ANSWERS: usize = 8;
    let n = TASKS.min(tasks.len());
    let sample = |i: usize| {
        let at = i * tasks.len() / n;
        let candidate = tasks[at].clone();
        let texts = answers.get(&candidate.task.id()).into_iter().flatten().flatten().take(ANSWERS);
        let answer = |text: &String| Answer {
            solved: judge(&candidate.task, text).solved,
            text: text.chars().take(Answer::MAX_CHARS).collect(),
        };
        let answers = texts.map(answer).collect();
        Sample { place: at + 1, candidate, answers }
    };
    (0..n).map(sample).collect()
}

fn samples(stream: Stream, n: usize) -> Vec<Stream> {
    (0..n).map(|sample| stream.child("sample").child(sample)).collect()
}

fn sampled(groups: &[Group]) -> usize {
    groups.iter().flat_map(|g| &g.rollouts).map(|r| r.tokens.len()).sum()
}

fn mean(x: &[f64]) -> Option<f64> {
    if x.is_empty() { None } else { Some(x.iter().sum::<f64>() / x.len() as f64) }
}

#[cfg(test)]
mod tests {
    use toolr0_tools::{ToolCall, ToolSpec};

    use super::*;

    #[test]
    fn the_weakest_call_is_the_one_that_fewest_answers_hold() {
        let [a, b] = ["get_time", "get_date"].map(|name| ToolCall::new(name, Default::default()));
        let tools =
            [&a, &b].map(|call| ToolSpec::new(&call.name, "Tell it.", Default::default(), &[])).to_vec();
        let task = Task { question: "Which day, what time?".into(), tools, gold: vec![a.clone(), b.clone()] };
        let answer = |calls: &[&ToolCall]| {
            Some(wire::solver::write("both", &calls.iter().map(|c| (*c).clone()).collect::<Vec<_>>()))
        };
        let answers = [answer(&[&a]), answer(&[&a]), answer(&[&b]), Some("nothing".to_owned())];
        let of = |solved| Attempts::new(solved, 4).unwrap();
        let half = verdicts(&task, &answers);
        assert_eq!((solved(&half), weakest_call(&half)), (of(0), of(1)));
        let right = [answer(&[&b, &a]), answer(&[&a, &a]), answer(&[&a, &b]), answer(&[&b])];
        let right = verdicts(&task, &right);
        assert_eq!((solved(&right), weakest_call(&right)), (of(2), of(3)));
        let late = verdicts(&task, &[None, answer(&[&a, &b]), None, None]);
        let one = Attempts::new(1, 1).unwrap();
        assert_eq!((solved(&late), weakest_call(&late)), (one, one), "unknown is not wrong");
        assert_eq!(solved(&verdicts(&task, &[None, None])).rate(), None);
    }

    #[test]
    fn a_histogram_counts_tasks_by_how_often_they_were_solved() {
        let of = |solved, tried| Attempts::new(solved, tried).unwrap();
        let all = [of(0, 4), of(4, 4), of(0, 0), of(4, 4), of(1, 3)];
        assert_eq!(histogram(all.into_iter(), 4), [1, 1, 0, 0, 2]);
    }

    #[test]
    fn training_walks_through_the_whole_order() {
        let few: Vec<usize> = (0..4).map(|i| place(i, 4, 8)).collect();
        assert_eq!(few, [0, 2, 4, 6]);
        let many: Vec<usize> = (0..5).map(|i| place(i, 5, 2)).collect();
        assert_eq!(many, [0, 1, 0, 1, 0]);
    }
}
