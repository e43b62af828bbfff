//! What a run remembers of all that was said in it: every question and menu, which kinds of tasks there were, and how far
//! the solver got with them.
//!
//! Nothing in it changes a run unless the configuration says so ([`NoveltyConfig`], [`SteeringConfig`]); it is measured in
//! every run, and saved with its checkpoints.
//!
//! [`SteeringConfig`]: crate::config::SteeringConfig

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toolr0_curriculum::coverage::Cell;
use toolr0_curriculum::diversity::{Index, Signature, distinct_n, schema_entropy, self_overlap};
use toolr0_curriculum::{Coverage, CoverageReport, Steering};
use toolr0_model::weights::save_text;
use toolr0_reward::Reward;
use toolr0_reward::grounding::Ground;
use toolr0_reward::reward::Term;
use toolr0_tools::{Task, TaskSpec};

use crate::config::NoveltyConfig;
use crate::error::{Error, Result};
use crate::insight::Insight;
use crate::trust::TrustReport;

/// A task as the generator wrote it, and what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// What was asked for.
    pub spec: TaskSpec,
    /// What came.
    pub task: Task,
    /// Whether it has no fault.
    pub sound: bool,
    /// The solver's answers to it, explained; none where it was not asked.
    pub insight: Insight,
}

/// All that was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    questions: Index,
    menus: Index,
    coverage: Coverage,
    /// How far the solver gets, by branch of the law.
    pub steering: Steering,
    /// Whether judge and teacher can be trusted, as it was measured last.
    pub trust: Option<TrustReport>,
}

/// What is kept of it in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    coverage: Coverage,
    steering: Steering,
    trust: Option<TrustReport>,
}

const REST: &str = "memory.json";
const QUESTIONS: &str = "questions.minhash";
const MENUS: &str = "menus.minhash";

/// Does the generator still say new things?
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NoveltyReport {
    /// Tasks that could be read; all shares but `grounded` and those of `coverage` are of these.
    pub tasks: usize,
    /// Different questions of the run before these.
    pub known: usize,
    /// Share of words of their questions that are no repetition.
    pub distinct_1: f64,
    /// Share of bigrams.
    pub distinct_2: f64,
    /// Mean similarity of a question to the most similar one before it among these.
    pub self_overlap: f64,
    /// Share of questions that are like an earlier one of the run.
    pub asked_before: f64,
    /// Share of menus that are like an earlier one of the run.
    pub offered_before: f64,
    /// How evenly their tools are spread over schemas, 0 to 1.
    pub schema_entropy: f64,
    /// Share of the gold calls' values that stand in the question; `None` where there is none.
    pub grounded: Option<f64>,
    /// Mean repetition of the sound ones (the first 1,024), 0 to 1, which `novelty.penalty` is paid for.
    pub repetition: Option<f64>,
    /// All sound tasks of the run against the law, these included.
    pub coverage: CoverageReport,
}

/// Tasks of one batch that are compared with each other for a report.
const MOST_PAIRED: usize = 1024;

/// What a task is known by.
struct Sketch {
    question: Signature,
    menu: Signature,
}

impl Sketch {
    fn of(task: &Task) -> Self {
        Self { question: Signature::of_question(&task.question), menu: Signature::of_tools(&task.tools) }
    }
}

/// From the similarities of question and menu: 1 for a question that was asked, 1/2 for a new one over an old menu, else 0.
fn repeats(question: f64, menu: f64, alike: f64) -> f64 {
    if alike <= question {
        1.0
    } else if alike <= menu {
        0.5
    } else {
        0.0
    }
}

impl Memory {
    /// How much each of these repeats, 0 to 1: half for what was said before them, half for what the others among them
    /// say. The second half grows with every further repetition, 0, 1/2, 2/3, .., and counts for the first of them as for
    /// the last: completions of one batch do not know of each other.
    pub fn repetition(&self, said: &[&Task], alike: f64) -> Vec<f64> {
        let sketches: Vec<Sketch> = said.iter().map(|task| Sketch::of(task)).collect();
        let one = |(i, sketch): (usize, &Sketch)| {
            let before =
                repeats(self.questions.look_up(&sketch.question), self.menus.look_up(&sketch.menu), alike);
            let others = sketches.iter().enumerate().filter(|(j, _)| *j != i);
            let again: f64 = others
                .map(|(_, other)| {
                    let question = sketch.question.similarity(&other.question);
                    repeats(question, sketch.menu.similarity(&other.menu), alike)
                })
                .sum();
            (before + again / (1.0 + again)) / 2.0
        };
        sketches.iter().enumerate().map(one).collect()
    }

    /// Adds the term `novelty` to the rewards of a batch: minus the penalty times the repetition of a sound task, 0 for
    /// what has a fault and is not paid anyway.
    ///
    /// # Shapes
    ///
    /// - `said`, `rewards`: one for each completion.
    pub(crate) fn charge(
        &self,
        novelty: Option<NoveltyConfig>,
        said: &[Option<Said>],
        rewards: &mut [Reward],
    ) {
        let Some(NoveltyConfig { penalty, alike }) = novelty else { return };
        let sound = said.iter().map(|said| said.as_ref().filter(|said| said.sound));
        let tasks: Vec<&Task> = sound.clone().flatten().map(|said| &said.task).collect();
        let mut repetition = self.repetition(&tasks, alike).into_iter();
        for (reward, sound) in rewards.iter_mut().zip(sound) {
            let repeated = if sound.is_some() { repetition.next().unwrap_or(0.0) } else { 0.0 };
            reward.terms.push(Term { name: "novelty", value: Some(0.0 - penalty * repeated) });
        }
    }

    /// Takes in what was said, and reports on it against what was known before and against the law's mix.
    pub(crate) fn take_in(
        &mut self,
        said: &[Said],
        alike: f64,
        target: &BTreeMap<Cell, f64>,
    ) -> NoveltyReport {
        let sound: Vec<&Said> = said.iter().filter(|said| said.sound).collect();
        let batch: Vec<&Task> = sound.iter().map(|said| &said.task).take(MOST_PAIRED).collect();
        let repetition = self.repetition(&batch, alike);
        let sketches: Vec<Sketch> = said.iter().map(|said| Sketch::of(&said.task)).collect();
        let share = |n: usize| n as f64 / said.len().max(1) as f64;
        let asked = sketches.iter().filter(|s| alike <= self.questions.look_up(&s.question)).count();
        let offered = sketches.iter().filter(|s| alike <= self.menus.look_up(&s.menu)).count();
        let questions = || said.iter().map(|said| said.task.question.as_str());
        let mut report = NoveltyReport {
            tasks: said.len(),
            known: self.questions.len(),
            distinct_1: distinct_n(questions(), 1),
            distinct_2: distinct_n(questions(), 2),
            self_overlap: self_overlap(sketches.iter().map(|sketch| &sketch.question)),
            asked_before: share(asked),
            offered_before: share(offered),
            schema_entropy: schema_entropy(said.iter().map(|said| &said.task)),
            grounded: grounded(said.iter().map(|said| &said.task)),
            repetition: crate::selfplay::mean(&repetition),
            coverage: CoverageReport::default(),
        };
        for sketch in &sketches {
            self.questions.insert(&sketch.question);
            self.menus.insert(&sketch.menu);
        }
        for said in sound {
            self.coverage.add(&said.spec.domain, &said.task);
        }
        report.coverage = self.coverage.report(target);
        report
    }

    /// Writes it into the folder `dir`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let Self { coverage, steering, trust, .. } = self.clone();
        let path = dir.join(REST);
        let text = serde_json::to_string(&Saved { coverage, steering, trust });
        save_text(&path, &text.map_err(|error| Error::Write { path: path.clone(), source: error.into() })?)?;
        for (name, index) in [(QUESTIONS, &self.questions), (MENUS, &self.menus)] {
            let path = dir.join(name);
            let written = File::create(&path).and_then(|mut file| {
                file.write_all(&index.to_bytes())?;
                file.sync_all()
            });
            written.map_err(|source| Error::Write { path, source })?;
        }
        Ok(())
    }

    /// Reads what [`Memory::save`] wrote; an empty one if a version without memories wrote the checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], or [`Error::Damaged`] naming the file.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(REST);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(|source| Error::Read { path: path.clone(), source })?,
        };
        let Saved { coverage, steering, trust } = serde_json::from_str(&text)
            .map_err(|error| Error::Damaged { path, reason: error.to_string() })?;
        let index = |name: &str| {
            let path = dir.join(name);
            let bytes = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
            let reason = "is no whole number of signatures".to_owned();
            Index::from_bytes(&bytes).ok_or(Error::Damaged { path, reason })
        };
        Ok(Self { questions: index(QUESTIONS)?, menus: index(MENUS)?, coverage, steering, trust })
    }
}

/// Share of the values in gold calls that stand in their question.
fn grounded<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<f64> {
    let (mut held, mut all) = (0_usize, 0_usize);
    for task in tasks {
        let ground = Ground::new(&task.question);
        for value in task.gold.iter().flat_map(|call| call.arguments.values()) {
            all += 1;
            held += usize::from(ground.holds(value));
        }
    }
    (0 < all).then(|| held as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use toolr0_curriculum::SpecLaw;
    use toolr0_tools::Context;

    use super::*;

    fn task(question: &str, tool: &str) -> Task {
        serde_json::from_value(json!({
            "question": question,
            "tools": [{ "name": tool, "description": "Do it.", "parameters": { "type": "object",
                "properties": { "city": { "type": "string" } }, "required": ["city"] } }],
            "gold": [{ "name": tool, "arguments": { "city": "Oslo" } }],
        }))
        .unwrap()
    }

    fn said(task: Task, sound: bool) -> Said {
        let spec = TaskSpec { domain: "travel".into(), context: Context::SingleTurn, n_tools: 1, n_calls: 1 };
        Said { spec, task, sound, insight: Insight::default() }
    }

    const A: &str = "please book a table in Oslo for all of us";
    const B: &str = "what is the weather going to be like tomorrow";

    #[test]
    fn repetition_rises_within_a_batch_and_with_what_was_said_before() {
        let mut memory = Memory::default();
        let (a, b, c) = (task(A, "book"), task(B, "look"), task(B, "book"));
        assert_eq!(memory.repetition(&[&a, &b], 0.7), [0.0, 0.0]);
        let rising: Vec<f64> = (1..5).map(|n| memory.repetition(&vec![&a; n], 0.7)[0]).collect();
        assert_eq!(rising, [0.0, 1.0 / 4.0, 1.0 / 3.0, 3.0 / 8.0]);
        assert_eq!(
            memory.repetition(&[&a, &c], 0.7),
            [1.0 / 6.0; 2],
            "half a repetition: the menu is the same"
        );
        memory.take_in(&[said(a.clone(), true)], 0.7, &SpecLaw::paper().mix());
        assert_eq!(memory.repetition(&[&a, &b, &c], 0.7)[..2], [0.5 + 1.0 / 6.0, 0.25]);
        let mut rewards = vec![Reward { terms: Vec::new(), fault: None }; 3];
        let batch = [None, Some(said(a.clone(), true)), Some(said(a.clone(), false))];
        memory.charge(None, &batch, &mut rewards);
        assert!(rewards.iter().all(|reward| reward.terms.is_empty()));
        memory.charge(Some(NoveltyConfig { penalty: 2.0, alike: 0.7 }), &batch, &mut rewards);
        let totals: Vec<_> = rewards.iter().map(Reward::total).collect();
        assert_eq!(totals, [Some(0.0), Some(-1.0), Some(0.0)]);
    }

    #[test]
    fn a_report_tells_what_is_new_and_memories_survive_the_disk() {
        let mut memory = Memory::default();
        let target = SpecLaw::paper().mix();
        let empty = memory.take_in(&[], 0.7, &target);
        assert_eq!((empty.tasks, empty.distinct_2, empty.grounded, empty.repetition), (0, 1.0, None, None));
        let batch = [said(task(A, "book"), true), said(task(B, "look"), false)];
        let first = memory.take_in(&batch, 0.7, &target);
        assert_eq!((first.known, first.asked_before, first.self_overlap), (0, 0.0, 0.0));
        assert_eq!((first.grounded, first.schema_entropy), (Some(0.5), 1.0));
        let again = memory.take_in(&batch, 0.7, &target);
        assert_eq!((again.known, again.asked_before, again.offered_before), (2, 1.0, 1.0));
        assert_eq!(again.repetition, Some(0.5), "one sound task, known before");
        assert_eq!(memory.coverage.tasks(), 2, "unsound ones are said, and cover nothing");
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Memory::load(home.path()).unwrap(), Memory::default());
        memory.save(home.path()).unwrap();
        assert_eq!(Memory::load(home.path()).unwrap(), memory);
        std::fs::write(home.path().join(MENUS), [1, 2, 3]).unwrap();
        let error = Memory::load(home.path()).unwrap_err().to_string();
        assert!(error.contains(MENUS), "{error}");
    }
}
