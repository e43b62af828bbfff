//! Where a run stands: all that it has come to, and what it does next. Whoever has this can go on, bit for bit.
//!
//! There is no random state in it. Every number is drawn from a stream that the run's seed and a position name, so a
//! position is all that has to be kept of them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use toolr0_curriculum::{Candidate, Forecast};
use toolr0_model::config::WeightDtype;
use toolr0_model::weights::{Tensors, load_exactly, save_as, save_text};
use toolr0_model::{Checkpoint, LoraConfig};
use toolr0_tools::TaskId;

use crate::alarm::Watch;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::exam::ExamReport;
use crate::ledger::digest;
use crate::memory::Memory;
use crate::optim::{AdamW, Moments};
use crate::policy::{Agent, Role, Rollout};
use crate::selfplay::ProbedTask;

/// The parts of an iteration that a run goes through in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// The generator learns, a step at a time.
    Generator,
    /// Candidates become tasks, all at once.
    Dataset,
    /// The solver learns, a step at a time.
    Solver,
    /// The solver sits the exam, all at once.
    Exam,
}

/// What a run does next: step `step`, from 0, of this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// 0 is the base, which only sits the exam.
    pub iteration: usize,
    /// The turn.
    pub turn: Turn,
    /// The step of it; 0 where a turn is one piece.
    pub step: usize,
}

impl Position {
    /// Before anything is done: the base sits the exam.
    pub const START: Self = Self { iteration: 0, turn: Turn::Exam, step: 0 };

    /// The beginning of the turn that follows.
    pub fn next_turn(self) -> Self {
        let (iteration, turn) = match self.turn {
            Turn::Generator => (self.iteration, Turn::Dataset),
            Turn::Dataset => (self.iteration, Turn::Solver),
            Turn::Solver => (self.iteration, Turn::Exam),
            Turn::Exam => (self.iteration + 1, Turn::Generator),
        };
        Self { iteration, turn, step: 0 }
    }

    /// Whether both are steps of one turn.
    pub fn same_turn(self, other: Self) -> bool {
        (self.iteration, self.turn) == (other.iteration, other.turn)
    }
}

/// `001-3-solver-00010`: names sort as positions do.
impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let turn = match self.turn {
            Turn::Generator => "1-generator",
            Turn::Dataset => "2-dataset",
            Turn::Solver => "3-solver",
            Turn::Exam => "4-exam",
        };
        write!(f, "{:03}-{turn}-{:05}", self.iteration, self.step)
    }
}

/// All that a run has come to.
#[derive(Debug)]
pub struct State {
    /// What comes next.
    pub position: Position,
    /// The generator.
    pub generator: Agent,
    /// The solver.
    pub solver: Agent,
    /// Of the turn at hand; fresh at its beginning.
    pub optimizer: AdamW,
    /// The tasks of the iteration at hand, in the order of training.
    pub tasks: Vec<Candidate>,
    /// Samples that measured these tasks and were not trained on yet; only where a run uses them.
    pub drawn: BTreeMap<TaskId, Vec<Rollout>>,
    /// Sound tasks of the generator's turn at hand, with the solver's answers; only where they become candidates.
    pub found: Vec<ProbedTask>,
    /// What success is forecast from; only where a run forecasts.
    pub forecast: Option<Forecast>,
    /// The exam of the base and after each iteration.
    pub exams: Vec<ExamReport>,
    /// Records that were told so far: the lines of `metrics.jsonl` that belong to this state.
    pub records: usize,
    /// What the alarms remember.
    pub watch: Watch,
    /// All that was said.
    pub memory: Memory,
    /// SHA-256 of the weights, generator first.
    pub digests: [String; 2],
}

/// What is kept of a [`State`] beside its tensors and tasks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    version: String,
    position: Position,
    updates: u64,
    exams: Vec<ExamReport>,
    records: usize,
    watch: Watch,
    digests: [String; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forecast: Option<Forecast>,
}

/// Of the files of a state; another number is refused.
const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const TASKS: &str = "tasks.jsonl";
const ROLLOUTS: &str = "rollouts.jsonl";
const FOUND: &str = "found.jsonl";
const MOMENTS: &str = "optimizer.safetensors";
const ADAPTER: &str = "adapter";

impl State {
    /// The state in which `config` begins, with these agents.
    ///
    /// # Errors
    ///
    /// If weights cannot be read.
    pub fn start(config: &RunConfig, generator: Agent, solver: Agent) -> Result<Self> {
        let digests = [digest(generator.params())?, digest(solver.params())?];
        Ok(Self {
            position: Position::START,
            generator,
            solver,
            optimizer: AdamW::new(config.rl.adamw.clone()),
            tasks: Vec::new(),
            drawn: BTreeMap::new(),
            found: Vec::new(),
            forecast: config.loss_prior().map(|_| Forecast::default()),
            exams: Vec::new(),
            records: 0,
            watch: Watch::default(),
            memory: Memory::default(),
            digests,
        })
    }

    /// The agent of a role.
    pub fn agent(&self, role: Role) -> &Agent {
        match role {
            Role::Generator => &self.generator,
            Role::Solver => &self.solver,
        }
    }

    /// Goes on to the next turn, which has an optimiser of its own.
    pub fn end_turn(&mut self, config: &RunConfig) {
        if self.position.turn == Turn::Dataset {
            self.found.clear();
        }
        if self.position.turn == Turn::Solver {
            self.drawn.clear();
        }
        if self.position.turn == Turn::Exam {
            self.tasks.clear();
            self.watch.end_iteration();
            self.memory.steering.end_iteration();
        }
        self.position = self.position.next_turn();
        self.optimizer = AdamW::new(config.rl.adamw.clone());
        self.watch.end_turn();
    }

    /// Iterations that were finished.
    pub fn iterations(&self) -> usize {
        self.position.iteration.saturating_sub(1)
    }

    /// Writes all of it into the folder `dir`: `generator/` and `solver/` in the Hugging Face layout, or with adapters
    /// `generator/adapter/` and `solver/adapter/` in PEFT's, and the rest beside them.
    ///
    /// # Errors
    ///
    /// If a file cannot be written; what was written before it stays.
    pub fn save(&self, dir: &Path) -> Result<()> {
        for agent in [&self.generator, &self.solver] {
            let dir = dir.join(agent.role.to_string());
            match agent.adapters()? {
                Some((lora, adapters)) => lora.save(&dir.join(ADAPTER), &adapters, "")?,
                None => agent.checkpoint()?.save(&dir, WeightDtype::F32)?,
            }
        }
        if 0 < self.optimizer.steps() {
            save_as(&dir.join(MOMENTS), &moments(&self.optimizer)?, WeightDtype::F32)?;
        }
        let saved = Saved {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            position: self.position,
            updates: self.optimizer.steps(),
            exams: self.exams.clone(),
            records: self.records,
            watch: self.watch.clone(),
            digests: self.digests.clone(),
            forecast: self.forecast.clone(),
        };
        let path = dir.join(STATE);
        save_text(&path, &json(&saved, &path)?)?;
        let path = dir.join(TASKS);
        let lines: Vec<String> = self.tasks.iter().map(|task| json(task, &path)).collect::<Result<_>>()?;
        save_text(&path, &lines.concat())?;
        if !self.drawn.is_empty() {
            let path = dir.join(ROLLOUTS);
            let lines: Vec<String> =
                self.drawn.iter().map(|drawn| json(&drawn, &path)).collect::<Result<_>>()?;
            save_text(&path, &lines.concat())?;
        }
        if !self.found.is_empty() {
            let path = dir.join(FOUND);
            let lines: Vec<String> =
                self.found.iter().map(|found| json(found, &path)).collect::<Result<_>>()?;
            save_text(&path, &lines.concat())?;
        }
        self.memory.save(dir)
    }

    /// Reads what [`State::save`] wrote, for a run of `config` from `base`.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] naming the file if it is of another format or not what the run would have written, and what
    /// reading weights returns.
    pub fn load(dir: &Path, config: &RunConfig, base: &Checkpoint) -> Result<Self> {
        let read = |name: &str| -> Result<String> {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })
        };
        let damaged = |name: &str, reason: String| Error::Damaged { path: dir.join(name), reason };
        let saved: Saved =
            serde_json::from_str(&read(STATE)?).map_err(|error| damaged(STATE, error.to_string()))?;
        if saved.format != FORMAT {
            return Err(damaged(STATE, format!("is of format {}, expected {FORMAT}", saved.format)));
        }
        let generator = agent(Role::Generator, dir, config, base)?;
        let solver = match config.selfplay.shared_weights {
            true => generator.shared(Role::Solver),
            false => agent(Role::Solver, dir, config, base)?,
        };
        let task = |line: &str| serde_json::from_str(line).map_err(|error| damaged(TASKS, error.to_string()));
        let tasks = read(TASKS)?.lines().map(task).collect::<Result<_>>()?;
        let rollouts =
            |line: &str| serde_json::from_str(line).map_err(|error| damaged(ROLLOUTS, error.to_string()));
        let drawn = match dir.join(ROLLOUTS).exists() {
            true => read(ROLLOUTS)?.lines().map(rollouts).collect::<Result<_>>()?,
            false => BTreeMap::new(),
        };
        let learner = if saved.position.turn == Turn::Generator { &generator } else { &solver };
        let found =
            |line: &str| serde_json::from_str(line).map_err(|error| damaged(FOUND, error.to_string()));
        let found = match dir.join(FOUND).exists() {
            true => read(FOUND)?.lines().map(found).collect::<Result<_>>()?,
            false => Vec::new(),
        };
        let moments = match saved.updates {
            0 => Moments::new(),
            _ => read_moments(&dir.join(MOMENTS), learner)?,
        };
        let digests = [digest(generator.params())?, digest(solver.params())?];
        if digests != saved.digests {
            return Err(damaged(STATE, "names other weights than lie beside it".into()));
        }
        Ok(Self {
            position: saved.position,
            generator,
            solver,
            optimizer: AdamW::restored(config.rl.adamw.clone(), moments, saved.updates),
            tasks,
            drawn,
            found,
            forecast: saved.forecast,
            exams: saved.exams,
            records: saved.records,
            watch: saved.watch,
            memory: Memory::load(dir)?,
            digests,
        })
    }
}

fn json(item: &impl Serialize, path: &Path) -> Result<String> {
    let text = serde_json::to_string(item);
    let text = text.map_err(|error| Error::Write { path: path.to_owned(), source: error.into() })?;
    Ok(text + "\n")
}

fn agent(role: Role, dir: &Path, config: &RunConfig, base: &Checkpoint) -> Result<Agent> {
    let dir = dir.join(role.to_string());
    let Some(lora) = &config.rl.lora else {
        let tensors = toolr0_model::weights::load(&dir, &base.config)?;
        return Agent::new(role, &base.with_tensors(tensors).to_device(&base.device())?);
    };
    let dir = dir.join(ADAPTER);
    let (saved, adapters) = LoraConfig::load(&dir, &base.config)?;
    if saved.rank != lora.rank || saved.scale() != lora.scale() {
        let reason = "holds adapters of another rank or scale than the run's configuration".into();
        return Err(Error::Damaged { path: dir, reason });
    }
    Agent::adapted(role, base, lora, &adapters)
}

/// Both moments of every tensor, flat.
fn moments(optimizer: &AdamW) -> Result<Tensors> {
    let mut out = Tensors::new();
    for (name, (m, v)) in optimizer.moments() {
        for (kind, values) in [("m", m), ("v", v)] {
            out.insert(format!("{kind}.{name}"), Tensor::new(values.as_slice(), &Device::Cpu)?);
        }
    }
    Ok(out)
}

fn read_moments(path: &Path, agent: &Agent) -> Result<Moments> {
    let sizes = || agent.params().iter().map(|(name, var)| (name, var.elem_count()));
    let expected =
        ["m", "v"].iter().flat_map(|kind| sizes().map(move |(n, size)| (format!("{kind}.{n}"), vec![size])));
    let found = load_exactly(path, expected.collect())?;
    let read = |kind: &str, name: &String| found[&format!("{kind}.{name}")].to_vec1::<f32>();
    sizes().map(|(name, _)| Ok((name.clone(), (read("m", name)?, read("v", name)?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_positions_do() {
        let mut at = Position::START;
        let mut names = vec![at.to_string()];
        for _ in 0..50 {
            for step in [1, 9, 10, 100] {
                names.push(Position { step, ..at }.to_string());
            }
            assert!(at < at.next_turn() && !at.same_turn(at.next_turn()));
            at = at.next_turn();
            names.push(at.to_string());
        }
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(at, Position { iteration: 13, turn: Turn::Dataset, step: 0 });
    }
}
