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
//! comes from a stream named by (iteration, role, step, prompt, sample), so a run is a function of its [`State`]: it can
//! begin at any, saved by itself or by a process that was killed, and go back to one when an alarm says so.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use toolr0_curriculum::{Attempts, Candidate, Forecast, Guard, Posterior, SpecLaw};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::Tensors;
use toolr0_model::{Checkpoint, LoraConfig, SamplingConfig};
use toolr0_reward::reward::Curriculum;
use toolr0_reward::wire::STOP;
use toolr0_reward::{Reward, Stage, Verdict, judge_on, wire};
use toolr0_tools::{Prompt, Source, Task, TaskId};

use crate::alarm::Raised;
use crate::answers::{Answerer, Answers, Cast, Heard, Tab};
use crate::assignment::{Assignment, GivenTools};
use crate::checkpoint::Store;
use crate::config::{EndpointRole, Menu, RunConfig};
use crate::conversation::{Desk, answer_turns};
use crate::error::{Error, Result};
use crate::exam::{ExamReport, sit};
use crate::insight::Insight;
use crate::learn::Place;
use crate::ledger::Cost;
use crate::memory::Memory;
use crate::policy::{Agent, Group, Role, Rollout, Sampler};
use crate::probing::{self, Measured, samples};
pub use crate::record::{Answer, DatasetReport, Observer, Phase, ProbingReport, Record, Sample, StepReport};
use crate::round::{Round, gather};
use crate::said::hear;
use crate::state::{Position, State, Turn};

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
    pub(crate) config: &'a RunConfig,
    pub(crate) law: SpecLaw,
    pub(crate) base: &'a Checkpoint,
    exam: &'a [Task],
    pub(crate) guard: Option<&'a Guard>,
    pub(crate) given: Option<GivenTools<'a>>,
    pub(crate) outside: Option<(&'a dyn Answerer, &'a [EndpointRole])>,
    pub(crate) store: Option<&'a Store>,
    pub(crate) root: Stream,
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
        Ok(Self { config, law, base, exam, guard: None, given: None, outside: None, store: None, root })
    }

    /// The same run, whose tools are given by `source` (`menu: given`).
    ///
    /// # Errors
    ///
    /// If a task could offer none of them, or an option needs tools that run and these do not.
    pub fn with_tools(self, source: &'a Source) -> Result<Self> {
        let (reward, looks) = (&self.config.reward, 1 < self.config.turns.most);
        let unused = |option, user: &str| Err(Error::UnusedOption { option, user: user.to_owned() });
        if self.config.menu == Menu::Invented {
            return unused("tools", "menu `invented`");
        }
        if reward.solver.executed && source.sandbox.is_none() {
            return unused("reward.solver.executed", "a source whose tools do not run");
        }
        let given = GivenTools::new(source, &self.config.spec, &reward.generator.verify, looks)?;
        Ok(Self { given: Some(given), ..self })
    }

    /// The same run, whose solver never trains on a task that is like an item of `guard`.
    pub fn guarded(self, guard: &'a Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// The same run, in which `outside` plays `roles` in place of the frozen solver.
    pub fn assisted(self, outside: &'a dyn Answerer, roles: &'a [EndpointRole]) -> Self {
        Self { outside: Some((outside, roles)), ..self }
    }

    /// The same run, saved in `store` at the end of every turn and every [`CheckpointConfig::every`] steps.
    ///
    /// [`CheckpointConfig::every`]: crate::config::CheckpointConfig::every
    pub fn saved_in(self, store: &'a Store) -> Self {
        Self { store: Some(store), ..self }
    }

    /// The state in which the run begins.
    ///
    /// # Errors
    ///
    /// If tensors of the base are missing or of another shape.
    pub fn start(&self) -> Result<State> {
        let agent = |role: Role| match &self.config.rl.lora {
            Some(lora) => {
                let stream = self.root.child("adapters").child(role.to_string().as_str());
                Agent::with_adapters(role, self.base, lora, stream)
            }
            None => Agent::new(role, self.base),
        };
        let generator = agent(Role::Generator)?;
        let solver = match self.config.selfplay.shared_weights {
            true => generator.shared(Role::Solver),
            false => agent(Role::Solver)?,
        };
        State::start(self.config, generator, solver)
    }

    /// Runs from the beginning to the end, or to the next step boundary after the observer asks to stop. `keep` is
    /// called with what each iteration leaves.
    ///
    /// # Errors
    ///
    /// If the arithmetic fails, an alarm ends the run, or `observer` or `keep` fails; if the configuration names a guard or an
    /// endpoint that was not given; if somebody outside fails for good.
    pub fn run(
        &self,
        observer: &mut dyn Observer,
        keep: &mut dyn FnMut(&Iteration<'_>) -> Result<()>,
    ) -> Result<Outcome> {
        self.go_on(self.start()?, observer, keep)
    }

    /// As [`SelfPlay::run`], from `state`: the rest of the run is the same to the bit, whoever was there before.
    ///
    /// # Errors
    ///
    /// As [`SelfPlay::run`].
    pub fn go_on(
        &self,
        mut state: State,
        observer: &mut dyn Observer,
        keep: &mut dyn FnMut(&Iteration<'_>) -> Result<()>,
    ) -> Result<Outcome> {
        let config = self.config;
        self.check_given()?;
        let reference = match config.rl.loss.needs_reference() {
            true => Some(Sampler::new(self.base, config.rl.max_rows)?),
            false => None,
        };
        while state.position.iteration <= config.selfplay.iterations && !observer.stopped() {
            match state.position.turn {
                Turn::Exam => self.examine(&mut state, observer, keep)?,
                Turn::Generator => self.train_generator(&mut state, reference.as_ref(), observer)?,
                Turn::Dataset => self.make_dataset(&mut state, observer)?,
                Turn::Solver => self.train_solver(&mut state, reference.as_ref(), observer)?,
            }
        }
        self.save(&state, observer)?;
        let iterations = state.iterations();
        let State { generator, solver, exams, .. } = state;
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
        if self.config.menu == Menu::Given && self.given.is_none() {
            return needs("tools", "menu `given`");
        }
        if self.config.endpoint.is_some() && self.outside.is_none() {
            return needs("SelfPlay::assisted", "a run with `endpoint`");
        }
        Ok(())
    }

    /// The solver sits the exam, which ends an iteration.
    fn examine(
        &self,
        state: &mut State,
        observer: &mut dyn Observer,
        keep: &mut dyn FnMut(&Iteration<'_>) -> Result<()>,
    ) -> Result<()> {
        let iteration = state.position.iteration;
        let mut raised = Vec::new();
        if !self.exam.is_empty() {
            let clock = Instant::now();
            observer.begin(Phase::Exam, iteration, self.exam.len());
            let sampler = state.solver.sampler(self.config.rl.max_rows)?;
            let tokens = self.config.exam.max_new_tokens;
            let mut progress = |done: usize| {
                observer.advance(done, "");
                true
            };
            let report = sit(&sampler, self.exam, self.config.style, tokens, &mut progress)?;
            observer.advance(self.exam.len(), &format!("accuracy {:.1} %", 100.0 * report.accuracy));
            state.exams.push(report.clone());
            raised = state.watch.exam(&self.config.alarms, &state.exams);
            let cost = Cost { seconds: clock.elapsed().as_secs_f64(), ..Cost::default() };
            let entry = self.entry(state, state.position, self.root, cost, &[]);
            self.tell(state, &Record::Exam { iteration, report }, &entry, observer)?;
        }
        if 0 < iteration {
            let State { tasks, generator, solver, .. } = &*state;
            keep(&Iteration { number: iteration, tasks, generator, solver })?;
        }
        self.settle(state, Ok(raised), observer)
    }

    /// Phase 1: specs in, tasks out, paid for format, validity and difficulty.
    fn train_generator(
        &self,
        state: &mut State,
        reference: Option<&Sampler>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let turn = state.position;
        observer.begin(Phase::Generator, turn.iteration, self.steps(turn.turn));
        observer.advance(turn.step, "");
        let solver = state.solver.sampler(self.config.rl.max_rows)?;
        let cast = Cast::new(&solver, self.outside);
        if turn.step == 0 {
            self.try_trust(state, cast, observer)?;
        }
        while self.goes_on(state, turn, observer) {
            let done = self.generator_step(state, &solver, reference, observer);
            self.settle(state, done, observer)?;
        }
        self.end_without_steps(state, turn, observer)
    }

    fn generator_step(
        &self,
        state: &mut State,
        solver: &Sampler,
        reference: Option<&Sampler>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Raised>> {
        let (config, Position { iteration, step, .. }) = (self.config, state.position);
        let rollout = &config.generator;
        let clock = Instant::now();
        let stream = self.root.child(iteration).child("generator").child(step);
        let sampler = state.generator.sampler(config.rl.max_rows)?;
        let (memory, judged) = (&state.memory, self.heeds_judge(state));
        let (mut said, mut found) = (Vec::new(), Vec::new());
        let pay_by = self.paid_by(judged);
        let mut round = gather(rollout.prompts, rollout.group_size, config.rl.dynamic_sampling, |round| {
            let stream = round_of(stream, round);
            let asked = self.assign(memory, rollout.prompts, stream);
            let prompts = ask(&asked, stream, rollout.group_size, |asked| asked.prompt(config.style));
            let groups = self.write_tasks(&sampler, &asked, &prompts, &rollout.sampling, &mut |_| true)?;
            let foresight = (solver, state.forecast.as_ref());
            let (mut probed, measured, tab) =
                self.probe(&groups, &asked, foresight, judged, stream.child("probe"))?;
            let pay = |((rollout, asked), worth): ((&Rollout, &Assignment<'_>), &Probed)| {
                asked.reward(&rollout.text, &worth.curriculum, &pay_by)
            };
            let mut rewards: Vec<Reward> = each_with(&groups, &asked).zip(&probed).map(pay).collect();
            let heard = hear(&groups, &asked, &probed);
            memory.charge(config.novelty, &heard, &mut rewards);
            said.extend(heard.into_iter().flatten());
            found.extend(probed.iter_mut().filter_map(|p| p.found.take()));
            let mut round = Round::new(groups, rewards, Reward::total, &prompts[0].0);
            round.rates = probed.iter().filter_map(|p| p.attempts.rate()).collect();
            round.probed = probed.iter().map(|p| p.attempts).collect();
            round.measured = measured;
            let of_group = |group: &[Probed]| group.iter().filter_map(|p| p.task.clone()).collect();
            round.tasks = probed.chunks(rollout.group_size).map(of_group).collect();
            round.sampled_tokens += tab.tokens;
            (round.probe_tokens, round.judge_calls, round.unknown) =
                (tab.tokens, tab.judge_calls, tab.unknown);
            Ok(round)
        })?;
        if let (Some(forecast), Some(settings)) = (&mut state.forecast, config.loss_prior()) {
            probing::learn(forecast, &round.measured, settings.memory);
        }
        round.told = self.remember(&mut state.memory, &said, &said);
        state.found.extend(found);
        let at = Place { steps: config.selfplay.generator_steps, stream, clock };
        self.learn(state, Role::Generator, round, reference, &at, observer)
    }

    /// What `n` prompts of the generator ask for.
    pub(crate) fn assign(&self, memory: &Memory, n: usize, stream: Stream) -> Vec<Assignment<'a>> {
        Assignment::of(self.specs(memory, n, stream), self.given.as_ref(), stream)
    }

    /// The law that tasks are drawn from: with given tools, of their domains.
    pub(crate) fn asked_law(&self) -> &SpecLaw {
        self.given.as_ref().map_or(&self.law, GivenTools::law)
    }

    /// The generator's completions. Where a menu is given and its style has one written, it is dictated behind the question.
    pub(crate) fn write_tasks(
        &self,
        generator: &Sampler,
        asked: &[Assignment<'_>],
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Group>> {
        let style = self.config.style;
        if asked.iter().all(|asked| asked.dictated(style).is_none()) {
            return generator.sample(prompts, sampling, progress);
        }
        let reply = |i: usize, said: &[String]| {
            let ends = said.last()?.trim_end().ends_with(wire::generator::QUESTION_END);
            ends.then(|| asked[i].dictated(style)).flatten()
        };
        let mut sampling = sampling.clone();
        sampling.stop.push(wire::generator::QUESTION_END.to_owned());
        generator.converse(prompts, &sampling, &Desk { turns: 2, reply: &reply, dictates: true }, progress)
    }

    /// Where the calls of a task run, if that is what decides whether an answer is right.
    pub(crate) fn stage(&self, seed: Option<u64>) -> Option<Stage<'a>> {
        let given = self.given.as_ref().filter(|_| self.config.reward.solver.executed);
        given.and_then(|given| given.stage(seed))
    }

    /// How near each completion's task is to the frontier. Only tasks without a fault are probed: nothing is paid
    /// for the others.
    fn probe(
        &self,
        groups: &[Group],
        asked: &[Assignment<'_>],
        (solver, forecast): (&Sampler, Option<&Forecast>),
        judged: bool,
        stream: Stream,
    ) -> Result<(Vec<Probed>, Vec<Measured>, Tab)> {
        let (config, cast) = (self.config, Cast::new(solver, self.outside));
        let sound = |(rollout, asked): (&Rollout, &Assignment<'_>)| {
            let candidate = asked.candidate(&rollout.text).ok()?;
            asked.verify(&candidate.task, &config.reward.generator.verify).ok()?;
            Some(candidate)
        };
        let tasks: Vec<Option<Candidate>> = each_with(groups, asked).map(sound).collect();
        let valid: Vec<(usize, &Task)> =
            tasks.iter().enumerate().filter_map(|(i, c)| Some((i, &c.as_ref()?.task))).collect();
        let stages: Vec<Option<Stage<'_>>> = tasks.iter().flatten().map(|c| self.stage(c.seed)).collect();
        let mut out = vec![Probed::default(); tasks.len()];
        let (mut tab, mut measured, attempts) = (Tab::default(), Vec::new(), stream.child("attempts"));
        let answers = if let Some(settings) = &config.probe.posterior {
            let forecasts = forecast.map(|forecast| self.forecasts(forecast, &valid, solver)).transpose()?;
            let gold = |at: usize| forecasts.as_ref().map(|all| all[at]);
            let known = config.loss_prior().zip(forecast);
            let counts = known.is_some_and(|(prior, seen)| prior.after <= seen.tasks());
            let prior = |at| settings.prior(gold(at).filter(|_| counts).map(|(_, rate)| rate));
            let priors: Vec<Posterior> = (0..valid.len()).map(prior).collect();
            let answers;
            (measured, answers) =
                self.in_batches(settings, (&valid, &stages), &priors, cast.prober, attempts, &mut tab)?;
            measured.iter_mut().enumerate().for_each(|(at, m)| m.gold = gold(at));
            for ((i, _), m) in valid.iter().zip(&measured) {
                (out[*i].attempts, out[*i].curriculum.difficulty) = (m.attempts, m.worth);
            }
            answers
        } else {
            let (sampling, which) = (&config.probe.sampling, 0..config.probe.samples);
            let answers =
                self.attempt(&valid, &stages, cast.prober, sampling, which, attempts, &mut |_| true)?;
            let answers = tab.book(answers)?;
            for (((i, task), stage), heard) in valid.iter().zip(&stages).zip(&answers) {
                let attempts = solved(&verdicts(task, &heard.texts, stage.as_ref()));
                out[*i].attempts = attempts;
                out[*i].curriculum.difficulty = config.frontier.score(attempts);
            }
            answers
        };
        for ((i, task), heard) in valid.iter().zip(&answers) {
            out[*i].task = Some(task.id());
            out[*i].insight = Insight::of(task, &heard.texts);
        }
        if judged {
            self.judge(&valid, cast.judge, stream.child("judge"), &mut tab, &mut out)?;
        }
        if config.dataset.pool_probed {
            let found = tasks.into_iter().flatten().zip(answers);
            out.iter_mut().filter(|probed| probed.task.is_some()).zip(found).for_each(|(probed, found)| {
                probed.found = Some(ProbedTask { candidate: found.0, heard: found.1 });
            });
        }
        Ok((out, measured, tab))
    }

    /// The solver as judge. A reply that cannot be read is asked for again; then the score stays unknown.
    pub(crate) fn judge(
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
            tab.judge_calls += prompts.len();
            let answers = judge.answer(&prompts, &probe.judge_sampling, &mut |_| true)?;
            let mut replies = tab.book(answers)?.into_iter().flat_map(|heard| heard.texts);
            open.retain(|(i, _)| {
                let score = replies.next().flatten().and_then(|text| wire::judge::parse(&text));
                out[*i].curriculum = out[*i].curriculum.judged(score);
                score.is_none()
            });
        }
        Ok(())
    }

    /// The solver's attempts at tasks, whose calls run on `stages` if they are what decides.
    #[expect(clippy::too_many_arguments, reason = "all that attempts depend on")]
    pub(crate) fn attempt(
        &self,
        tasks: &[(usize, &Task)],
        stages: &[Option<Stage<'_>>],
        solver: &dyn Answerer,
        sampling: &SamplingConfig,
        which: Range<usize>,
        stream: Stream,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers> {
        let prompts = self.asked(tasks, which, stream);
        if self.config.turns.most == 1 {
            return solver.answer(&prompts, sampling, progress);
        }
        let reply = |i: usize, turns: &[String]| {
            answer_turns(tasks[i].1, stages[i].as_ref()?, turns, &self.config.turns)
        };
        let desk = Desk { turns: self.config.turns.most, reply: &reply, dictates: false };
        solver.converse(&prompts, &of_turns(sampling), &desk, progress)
    }

    /// The prompts of the attempts `which` at each task.
    pub(crate) fn asked(
        &self,
        tasks: &[(usize, &Task)],
        which: Range<usize>,
        stream: Stream,
    ) -> Vec<(Prompt, Vec<Stream>)> {
        let ask =
            |(i, task): &(usize, &Task)| (self.solver_prompt(task), samples(stream.child(*i), which.clone()));
        tasks.iter().map(ask).collect()
    }

    /// What is asked of the solver, in every phase alike.
    pub(crate) fn solver_prompt(&self, task: &Task) -> Prompt {
        wire::solver::prompt_turns(&task.question, &task.tools, self.config.style, self.config.turns.most)
    }

    /// Phase 3: tasks in their order, paid for format and accuracy.
    fn train_solver(
        &self,
        state: &mut State,
        reference: Option<&Sampler>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let turn = state.position;
        observer.begin(Phase::Solver, turn.iteration, self.steps(turn.turn));
        observer.advance(turn.step, "");
        while !state.tasks.is_empty() && self.goes_on(state, turn, observer) {
            let done = self.solver_step(state, reference, observer);
            self.settle(state, done, observer)?;
        }
        self.end_without_steps(state, turn, observer)
    }

    fn solver_step(
        &self,
        state: &mut State,
        reference: Option<&Sampler>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Raised>> {
        let (config, Position { iteration, step, .. }) = (self.config, state.position);
        let (rollout, steps) = (&config.solver, config.selfplay.solver_steps);
        let clock = Instant::now();
        let stream = self.root.child(iteration).child("solver").child(step);
        let sampler = state.solver.sampler(config.rl.max_rows)?;
        let mut drawn = std::mem::take(&mut state.drawn);
        if config.dataset.reuse_within <= step * config.rl.epochs {
            drawn.clear(); // By now the solver is another.
        }
        let tasks = &state.tasks;
        let round = gather(rollout.prompts, rollout.group_size, config.rl.dynamic_sampling, |round| {
            let stream = round_of(stream, round);
            let mut any = stream.child("tasks").rng();
            let wanted = steps * rollout.prompts;
            let which = |i| match round {
                0 => place(step * rollout.prompts + i, wanted, tasks.len()),
                _ => (uniform_f64(&mut any) * tasks.len() as f64) as usize,
            };
            let chosen: Vec<&Candidate> = (0..rollout.prompts).map(which).map(|i| &tasks[i]).collect();
            let stages: Vec<Option<Stage<'_>>> = chosen.iter().map(|c| self.stage(c.seed)).collect();
            let known: Vec<Vec<Rollout>> =
                chosen.iter().map(|c| take(&mut drawn, &c.task.id(), rollout.group_size)).collect();
            let prompt = |(i, (candidate, known)): (usize, (&&Candidate, &Vec<Rollout>))| {
                let wanted = samples(stream.child(i), known.len()..rollout.group_size);
                (self.solver_prompt(&candidate.task), wanted)
            };
            let prompts: Vec<_> = chosen.iter().zip(&known).enumerate().map(prompt).collect();
            let mut groups = match config.turns.most {
                1 => sampler.sample(&prompts, &rollout.sampling, &mut |_| true)?,
                turns => {
                    let reply = |i: usize, said: &[String]| {
                        answer_turns(&chosen[i].task, stages[i].as_ref()?, said, &config.turns)
                    };
                    let desk = Desk { turns, reply: &reply, dictates: false };
                    sampler.converse(&prompts, &of_turns(&rollout.sampling), &desk, &mut |_| true)?
                }
            };
            let (fresh, reused) = (sampled(&groups), known.iter().map(Vec::len).sum());
            for (group, known) in groups.iter_mut().zip(known) {
                group.rollouts.splice(0..0, known);
            }
            let (mut rewards, mut solved) = (Vec::new(), Vec::new());
            for ((group, Candidate { task, .. }), stage) in groups.iter().zip(&chosen).zip(&stages) {
                for rollout in &group.rollouts {
                    rewards.push(config.reward.of_solver_on(task, &rollout.text, stage.as_ref()));
                    solved.push(f64::from(judge_on(task, &rollout.text, stage.as_ref()).solved));
                }
            }
            let mut round = Round::new(groups, rewards, |r| r.get("accuracy"), &prompts[0].0);
            (round.sampled_tokens, round.reused) = (fresh, reused);
            round.rates = solved;
            round.tasks = chosen.iter().map(|c| vec![c.task.id()]).collect();
            Ok(round)
        })?;
        state.drawn = drawn;
        self.learn(state, Role::Solver, round, reference, &Place { steps, stream, clock }, observer)
    }
}

/// The stream of a further round of dynamic sampling; the first has the step's own.
fn round_of(stream: Stream, round: usize) -> Stream {
    if round == 0 { stream } else { stream.child("round").child(round) }
}

/// A prompt and `n` streams for each item.
pub(crate) fn ask<T>(
    items: &[T],
    stream: Stream,
    n: usize,
    prompt: impl Fn(&T) -> Prompt,
) -> Vec<(Prompt, Vec<Stream>)> {
    items.iter().enumerate().map(|(i, item)| (prompt(item), samples(stream.child(i), 0..n))).collect()
}

/// At most `n` of the samples that measured a task; the others stay for another time.
fn take(drawn: &mut BTreeMap<TaskId, Vec<Rollout>>, id: &TaskId, n: usize) -> Vec<Rollout> {
    let Some(all) = drawn.get_mut(id) else { return Vec::new() };
    let taken = all.drain(..n.min(all.len())).collect();
    if all.is_empty() {
        drawn.remove(id);
    }
    taken
}

/// Each completion with the item that its group answers.
pub(crate) fn each_with<'b, T>(
    groups: &'b [Group],
    items: &'b [T],
) -> impl Iterator<Item = (&'b Rollout, &'b T)> {
    groups
        .iter()
        .zip(items)
        .flat_map(|(group, item)| group.rollouts.iter().map(move |rollout| (rollout, item)))
}

/// The same sampling, in which a turn ends with its calls.
fn of_turns(sampling: &SamplingConfig) -> SamplingConfig {
    let mut sampling = sampling.clone();
    let missing = STOP.iter().filter(|stop| !sampling.stop.iter().any(|own| own == *stop));
    let missing: Vec<String> = missing.map(|stop| (*stop).to_owned()).collect();
    sampling.stop.extend(missing);
    sampling
}

/// What was measured of one completion's task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probed {
    pub(crate) attempts: Attempts,
    pub(crate) curriculum: Curriculum,
    /// The task, if it has no fault.
    pub(crate) task: Option<TaskId>,
    /// The answers, explained.
    pub(crate) insight: Insight,
    /// The same task and answers, where they may be trained on.
    pub(crate) found: Option<ProbedTask>,
}

/// A sound task of the generator's own steps, with the frozen solver's answers to it. The dataset judges them, as it does those
/// that it draws itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbedTask {
    /// The task.
    pub candidate: Candidate,
    /// The answers.
    pub heard: Heard,
}

/// What became of the answers to a task. One that did not come is unknown.
pub(crate) fn verdicts(
    task: &Task,
    answers: &[Option<String>],
    stage: Option<&Stage<'_>>,
) -> Vec<Option<Verdict>> {
    answers.iter().map(|text| text.as_ref().map(|text| judge_on(task, text, stage))).collect()
}

/// How many of the answers to a task solve it.
pub(crate) fn solved(verdicts: &[Option<Verdict>]) -> Attempts {
    verdicts.iter().map(|verdict| verdict.as_ref().map(|verdict| verdict.solved)).collect()
}

/// Which task the `i`-th of `wanted` prompts takes: an even walk through the whole order where there are more tasks
/// than prompts, several walks from its beginning to its end where there are fewer.
fn place(i: usize, wanted: usize, n: usize) -> usize {
    if wanted <= n { i * n / wanted } else { i % n }
}

/// How many tasks were solved 0, 1, .. `k` times; of those with more or fewer attempts, what is nearest to their rate.
/// Those without an attempt are not counted.
pub(crate) fn histogram(attempts: impl Iterator<Item = Attempts>, k: usize) -> Vec<usize> {
    let mut counts = vec![0; k + 1];
    for rate in attempts.filter_map(Attempts::rate) {
        counts[(rate * k as f64).round() as usize] += 1;
    }
    counts
}

pub(crate) fn sampled(groups: &[Group]) -> usize {
    groups.iter().flat_map(|g| &g.rollouts).map(Rollout::own_tokens).sum()
}

pub(crate) fn mean(x: &[f64]) -> Option<f64> {
    if x.is_empty() { None } else { Some(x.iter().sum::<f64>() / x.len() as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_tasks_by_how_often_they_were_solved() {
        let of = |solved, tried| Attempts::new(solved, tried).unwrap();
        let all = [of(0, 4), of(4, 4), of(0, 0), of(4, 4), of(1, 3), of(2, 8), of(8, 8)];
        assert_eq!(histogram(all.into_iter(), 4), [1, 2, 0, 0, 3]);
    }

    #[test]
    fn training_walks_through_the_whole_order() {
        let few: Vec<usize> = (0..4).map(|i| place(i, 4, 8)).collect();
        assert_eq!(few, [0, 2, 4, 6]);
        let many: Vec<usize> = (0..5).map(|i| place(i, 5, 2)).collect();
        assert_eq!(many, [0, 1, 0, 1, 0]);
    }
}
