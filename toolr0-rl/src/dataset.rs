//! Phase 2 of an iteration: candidates become the tasks that the solver trains on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use toolr0_curriculum::{Attempts, Candidate, Drops, Funnel, Pool, dedup, select, verify};
use toolr0_model::SamplingConfig;
use toolr0_reward::{Stage, Verdict, judge_on};
use toolr0_tools::{Task, TaskId};

use crate::answers::{Cast, Heard, Tab};
use crate::config::DatasetConfig;
use crate::error::{Error, Result};
use crate::ledger::{Cost, Entry, lines};
use crate::memory::Said;
use crate::policy::{Rollout, Sampler};
use crate::record::{Answer, DatasetReport, Observer, Phase, Record, Sample};
use crate::said::{answered, mark_sound, overheard};
use crate::selfplay::{SelfPlay, ask, each_with, histogram, mean, sampled, solved, verdicts};
use crate::state::State;

/// What the candidates of one iteration have become.
struct Dataset {
    tasks: Vec<Candidate>,
    drawn: BTreeMap<TaskId, Vec<Rollout>>,
    samples: Vec<Sample>,
    report: DatasetReport,
    cost: Cost,
    /// All that the generator said.
    said: Vec<Said>,
    /// What the solver was asked of it.
    asked: Vec<Said>,
}

impl SelfPlay<'_> {
    /// Phase 2 as a turn of the run.
    pub(crate) fn make_dataset(&self, state: &mut State, observer: &mut dyn Observer) -> Result<()> {
        let (iteration, rows) = (state.position.iteration, self.config.rl.max_rows);
        let clock = Instant::now();
        let (generator, solver) = (state.generator.sampler(rows)?, state.solver.sampler(rows)?);
        let cast = self.trusted(Cast::new(&solver, self.outside), &solver, state);
        let Some(Dataset { tasks, drawn, samples, mut report, mut cost, said, asked }) =
            self.dataset(state, &generator, cast, observer)?
        else {
            return Ok(());
        };
        let told = self.remember(&mut state.memory, &said, &asked);
        (report.novelty, report.errors) = (told.novelty, told.errors);
        let domains = self.asked_law().tables().domains.values().filter(|weight| 0.0 < **weight).count();
        let raised = state.watch.dataset(&self.config.alarms, &tasks, domains);
        report.seconds = clock.elapsed().as_secs_f64();
        cost.seconds = report.seconds;
        let stream = self.root.child(iteration).child("dataset");
        let data = Some(lines(&tasks).map_err(|error| Error::Json { what: "tasks", source: error })?);
        let entry = Entry { data, ..self.entry(state, state.position, stream, cost, &tasks) };
        (state.tasks, state.drawn) = (tasks, drawn);
        self.tell(state, &Record::Dataset(Box::new(report)), &entry, observer)?;
        let entry = self.entry(state, state.position, stream, Cost::default(), &[]);
        self.tell(state, &Record::Samples { iteration, tasks: samples }, &entry, observer)?;
        self.settle(state, Ok(raised), observer)
    }

    /// Phase 2: candidates become tasks, and every drop is counted; `None` if the run was asked to stop meanwhile.
    fn dataset(
        &self,
        state: &State,
        generator: &Sampler,
        cast: Cast<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Dataset>> {
        let (config, data, iteration) = (self.config, &self.config.dataset, state.position.iteration);
        let stream = self.root.child(iteration).child("dataset");
        let fresh = config.fresh_candidates();
        let asked = self.assign(&state.memory, fresh, stream);
        let prompts = ask(&asked, stream, 1, |asked| asked.prompt(config.style));
        observer.begin(Phase::Candidates, iteration, fresh);
        let groups = {
            let mut progress = |done: usize| {
                observer.advance(done, "");
                !observer.stopped()
            };
            self.write_tasks(generator, &asked, &prompts, &data.sampling, &mut progress)?
        };
        if observer.stopped() {
            return Ok(None); // Cut-off completions are not bad ones: nothing is counted of them.
        }
        let written = sampled(&groups);
        let (mut unreadable, mut candidates) = (Drops::default(), Vec::new());
        for (rollout, asked) in each_with(&groups, &asked) {
            match asked.candidate(&rollout.text) {
                Ok(candidate) => candidates.push(candidate),
                Err(fault) => _ = unreadable.add(fault.kind()),
            }
        }
        let mut funnel = Funnel::default();
        funnel.record("parse", fresh, unreadable);
        let mut said = overheard(&candidates);
        let mut pool = Pool::new(candidates, funnel);
        pool.step("structure", |mut all| {
            let mut drops = Drops::default();
            all.retain(|c| match toolr0_reward::verify(&c.task, &c.spec, &config.reward.generator.verify) {
                Ok(()) => true,
                Err(fault) => drops.add(fault.kind()),
            });
            (all, drops)
        });
        if let Some(given) = &self.given {
            pool.step("execution", |mut all| {
                let mut drops = Drops::default();
                all.retain(|c| match given.trial(c.seed).pass(&c.task) {
                    Ok(()) => true,
                    Err(fault) => drops.add(fault.kind()),
                });
                (all, drops)
            });
        }
        mark_sound(&mut said, &pool.candidates);
        let mut known: HashMap<TaskId, Heard> = HashMap::new();
        if data.pool_probed {
            // They come first: of two that are alike, the one whose probes are paid for stays.
            let found = state.found.iter().map(|found| found.candidate.clone());
            pool.candidates.splice(0..0, found);
            pool.funnel.record("probed before", pool.candidates.len(), Drops::default());
            let heard = state.found.iter().map(|found| (found.candidate.task.id(), found.heard.clone()));
            heard.for_each(|(id, heard)| _ = known.entry(id).or_insert(heard));
        }
        pool.step("dedup", dedup);
        let withdrawn = self.withdraw(&mut pool.candidates, stream.child("withdrawn"));
        let mut contaminated = Vec::new();
        if let Some(guard) = self.guard {
            pool.step("guard", |all| {
                let (kept, drops, hits) = guard.filter(all);
                contaminated = hits;
                (kept, drops)
            });
        }
        let mut heard: Vec<Option<Heard>> =
            pool.candidates.iter().map(|c| known.remove(&c.task.id())).collect();
        let open: Vec<usize> = (0..heard.len()).filter(|at| heard[*at].is_none()).collect();
        observer.begin(Phase::Verification, iteration, open.len() * data.samples);
        let sampling = SamplingConfig { temperature: data.temperature, ..config.probe.sampling.clone() };
        let tasks: Vec<(usize, &Task)> = open.iter().map(|at| (*at, &pool.candidates[*at].task)).collect();
        let stages: Vec<Option<Stage<'_>>> =
            open.iter().map(|at| self.stage(pool.candidates[*at].seed)).collect();
        let attempted = {
            let mut progress = |done: usize| {
                observer.advance(done, "");
                !observer.stopped()
            };
            let (which, stream) = (0..data.samples, stream.child("attempts"));
            self.attempt(&tasks, &stages, cast.verifier, &sampling, which, stream, &mut progress)?
        };
        if observer.stopped() {
            return Ok(None);
        }
        let (mut tab, mut asked) = (Tab::default(), Vec::with_capacity(open.len()));
        for (&at, answers) in open.iter().zip(tab.book(attempted)?) {
            asked.push(answered(&pool.candidates[at], &answers.texts));
            heard[at] = Some(answers);
        }
        let (mut answers, mut drawn) = (HashMap::new(), BTreeMap::new());
        for (candidate, heard) in pool.candidates.iter_mut().zip(heard) {
            let (Heard { texts, rollouts }, id) = (heard.unwrap_or_default(), candidate.task.id());
            let verdicts = verdicts(&candidate.task, &texts, self.stage(candidate.seed).as_ref());
            candidate.attempts = solved(&verdicts);
            candidate.weakest_call = weakest_call(&verdicts);
            if 0 < data.reuse_within {
                drawn.insert(id.clone(), rollouts);
            }
            answers.insert(id, texts);
        }
        let most = data.samples.max(if data.pool_probed { config.probe.samples } else { 0 });
        let p_hat = histogram(pool.candidates.iter().map(|c| c.attempts), most);
        pool.step("cross-verification", |all| confirmed(all, &withdrawn, data));
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
        let kept: BTreeSet<TaskId> = tasks.iter().map(|c| c.task.id()).collect();
        drawn.retain(|id, _| kept.contains(id));
        let rates: Vec<f64> = tasks.iter().filter_map(|c| c.attempts.rate()).collect();
        let mut domains = BTreeMap::new();
        tasks.iter().for_each(|c| *domains.entry(c.spec.domain.clone()).or_default() += 1);
        let report = DatasetReport {
            iteration,
            funnel: pool.funnel,
            contaminated,
            unknown: tab.unknown,
            tasks: tasks.len(),
            success_rate: mean(&rates).unwrap_or(0.0),
            p_hat,
            domains,
            abstentions: tasks.iter().filter(|c| c.task.gold.is_empty()).count(),
            novelty: None, // told by whoever holds the memory
            errors: None,
            seconds: 0.0, // told by whoever holds the clock
        };
        let samples = showcase(&tasks, &answers, &|seed| self.stage(seed));
        let cost = Cost { generator_tokens: written, solver_tokens: tab.tokens, ..Cost::default() };
        Ok(Some(Dataset { tasks, drawn, samples, report, cost, said, asked }))
    }
}

/// Cross-verification. The gold of a task whose tools were withdrawn is right by how it was made and needs no agreement: one
/// answer that finds it shows that it can be learned.
fn confirmed(
    all: Vec<Candidate>,
    withdrawn: &BTreeSet<TaskId>,
    data: &DatasetConfig,
) -> (Vec<Candidate>, Drops) {
    let sure = |c: &Candidate| 0 < c.attempts.solved() && withdrawn.contains(&c.task.id());
    let (sure, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(sure);
    let (mut kept, drops) = verify(rest, data.agreement, data.agree);
    kept.extend(sure);
    (kept, drops)
}

/// How many of the answers hold the gold call that the fewest of them hold.
fn weakest_call(verdicts: &[Option<Verdict>]) -> Attempts {
    let n_calls = verdicts.iter().flatten().next().map_or(0, |verdict| verdict.held.len());
    if n_calls == 0 {
        return solved(verdicts); // Where nothing is to be called, the whole answer is what there is to hold.
    }
    let of = |call: usize| {
        verdicts
            .iter()
            .map(|verdict| verdict.as_ref().map(|verdict| verdict.held[call]))
            .collect::<Attempts>()
    };
    (0..n_calls).map(of).min_by_key(|attempts| attempts.solved()).unwrap_or_default()
}

/// A few tasks from all over the order of training, with a few answers to each: small enough for the log.
fn showcase<'s>(
    tasks: &[Candidate],
    answers: &HashMap<TaskId, Vec<Option<String>>>,
    stage: &dyn Fn(Option<u64>) -> Option<Stage<'s>>,
) -> Vec<Sample> {
    const TASKS: usize = 16;
    const ANSWERS: usize = 8;
    let n = TASKS.min(tasks.len());
    let sample = |i: usize| {
        let at = i * tasks.len() / n;
        let candidate = tasks[at].clone();
        let texts = answers.get(&candidate.task.id()).into_iter().flatten().flatten().take(ANSWERS);
        let stage = stage(candidate.seed);
        let answer = |text: &String| Answer {
            solved: judge_on(&candidate.task, text, stage.as_ref()).solved,
            text: text.chars().take(Answer::MAX_CHARS).collect(),
        };
        let answers = texts.map(answer).collect();
        Sample { place: at + 1, candidate, answers }
    };
    (0..n).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use toolr0_reward::wire;
    use toolr0_tools::{Context, TaskSpec, ToolCall, ToolSpec};

    use super::*;

    #[test]
    fn a_withdrawn_tool_needs_one_answer_and_no_agreement() {
        let spec = TaskSpec { domain: "math".into(), context: Context::SingleTurn, n_tools: 1, n_calls: 0 };
        let candidate = |question: &str, solved| {
            let task = Task { question: question.into(), tools: Vec::new(), gold: Vec::new() };
            let attempts = Attempts::new(solved, 8).unwrap();
            Candidate { attempts, weakest_call: attempts, ..Candidate::new(task, spec.clone()) }
        };
        let all = vec![candidate("found", 1), candidate("never found", 0), candidate("written", 1)];
        let withdrawn = all[..2].iter().map(|c| c.task.id()).collect();
        let data = DatasetConfig { agreement: 0.25, ..DatasetConfig::default() };
        let (kept, drops) = confirmed(all.clone(), &withdrawn, &data);
        assert_eq!((kept, drops.of("solver disagrees")), (all[..1].to_vec(), 2));
    }

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
        let half = verdicts(&task, &answers, None);
        assert_eq!((solved(&half), weakest_call(&half)), (of(0), of(1)));
        let right = [answer(&[&b, &a]), answer(&[&a, &a]), answer(&[&a, &b]), answer(&[&b])];
        let right = verdicts(&task, &right, None);
        assert_eq!((solved(&right), weakest_call(&right)), (of(2), of(3)));
        let late = verdicts(&task, &[None, answer(&[&a, &b]), None, None], None);
        let one = Attempts::new(1, 1).unwrap();
        assert_eq!((solved(&late), weakest_call(&late)), (one, one), "unknown is not wrong");
        assert_eq!(solved(&verdicts(&task, &[None, None], None)).rate(), None);
    }
}
