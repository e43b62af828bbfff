//! Training documents, numbered: document `i` of seed `s` is a function of `(s, i)` alone, so that they can be
//! written in any order, by any number of threads, and never have to be stored.
//!
//! Half of them are in the generator's format, half in the solver's. One in twelve of the generator's is wrong in ways
//! that verification detects; of the solver's, those are wrong that the habits of [`super::habits`] make wrong.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toolr0_curriculum::{MenuRange, SpecLaw, SpecTables};
use toolr0_reward::Style;
use toolr0_reward::wire::{generator, solver};
use toolr0_tools::{Context, Prompt, Task, TaskSpec};

use super::habits::{self, Flaw, HabitConfig};
use super::lexicon::{Split, lexicon};
use super::values::{self, below, chance, pick, rng_of};
use super::writer::{self, Voice};

/// Which of the two formats a document is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// A specification in, a task out.
    Generator,
    /// A task in, calls out.
    Solver,
}

/// One training document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What the model is asked.
    pub prompt: Prompt,
    /// What it learns to write.
    pub completion: String,
    /// The task without flaws.
    pub task: Task,
    /// What the task was drawn from.
    pub spec: TaskSpec,
    /// The format.
    pub half: Half,
    /// What is wrong with the completion; empty if nothing is.
    pub flaws: Vec<Flaw>,
}

/// What the training text is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusConfig {
    /// Share of documents in the generator's format. Default 0.5.
    pub generator_share: f64,
    /// Share of generator documents that cannot be read. Default 0.02.
    pub malformed: f64,
    /// Share of generator documents with another detectable flaw, the six kinds equally likely. Default 0.06.
    pub flawed: f64,
    /// Share of tasks with one speaker that have two calls; self-play and exam have 0.2. Default 0.32, since they are the
    /// harder ones to write.
    pub two_calls: f64,
    /// Whether the solver's plan says the words that ask for each call. Default false.
    pub said: bool,
    /// Share of questions whose words before a request are made up. Default 0.
    pub made_up: f64,
    /// The solver's wrong habits.
    pub habits: HabitConfig,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self {
            generator_share: 0.5,
            malformed: 0.02,
            flawed: 0.06,
            two_calls: 0.32,
            said: false,
            made_up: 0.0,
            habits: HabitConfig::default(),
        }
    }
}

/// The paper's tables with other menu sizes: `one_call` for tasks of one call, `two_calls` for tasks of two.
fn tables(one_call: Vec<MenuRange>, two_calls: Vec<MenuRange>) -> SpecTables {
    SpecTables { menus: BTreeMap::from([(1, one_call), (2, two_calls)]), ..SpecTables::default() }
}

fn law(tables: SpecTables) -> SpecLaw {
    SpecLaw::new(tables).expect("the paper's tables with other sizes and weights are a law")
}

const fn menu(min: usize, max: usize, weight: f64) -> MenuRange {
    MenuRange { min, max, weight }
}

/// The law of the embedded base's self-play and exam: the paper's, with menus of 2 to 4 tools for one call and 3 or
/// 4 for two, since a small model on a CPU pays for every token of a menu.
pub fn nano_law() -> SpecLaw {
    law(tables(vec![menu(2, 4, 1.0)], vec![menu(3, 4, 1.0)]))
}

/// The law of the training text: [`nano_law`] with a few menus of five or six tools, so that these are not alien, and
/// with two calls in `two_calls` of the tasks with one speaker.
pub fn training_law(two_calls: f64) -> SpecLaw {
    let mut tables =
        tables(vec![menu(2, 4, 0.98), menu(5, 6, 0.02)], vec![menu(3, 4, 0.98), menu(5, 5, 0.02)]);
    tables.calls.insert(Context::SingleTurn, BTreeMap::from([(1, 1.0 - two_calls), (2, two_calls)]));
    law(tables)
}

/// The training text of one seed.
#[derive(Clone, Debug)]
pub struct Corpus {
    seed: u64,
    config: CorpusConfig,
    law: SpecLaw,
}

impl Corpus {
    /// The text of `seed`.
    pub fn new(seed: u64, config: CorpusConfig) -> Self {
        let law = training_law(config.two_calls);
        Self { seed, config, law }
    }

    /// Document `i`.
    pub fn document(&self, i: u64) -> Document {
        let mut rng = rng_of(self.seed, i);
        let rng = &mut rng;
        let half = if chance(rng, self.config.generator_share) { Half::Generator } else { Half::Solver };
        let voice = Voice { split: Split::Train, made_up: self.config.made_up };
        let (spec, task) = draw_task(rng, &self.law, voice);
        match half {
            Half::Solver => {
                let (calls, flaws) = habits::answer(rng, &task, &self.config.habits);
                let prompt = solver::prompt(&task.question, &task.tools, Style::Compact);
                let completion = solver::write(&habits::think(&task, &calls, self.config.said), &calls);
                Document { prompt, completion, task, spec, half, flaws }
            }
            Half::Generator => {
                let prompt = generator::prompt(&spec, Style::Compact);
                let (completion, flaws) = self.generator_completion(rng, &task);
                Document { prompt, completion, task, spec, half, flaws }
            }
        }
    }

    fn generator_completion(&self, rng: &mut ChaCha8Rng, task: &Task) -> (String, Vec<Flaw>) {
        let CorpusConfig { malformed, flawed, .. } = self.config;
        let coin = f64::from(below(rng, 1 << 20) as u32) / f64::from(1u32 << 20);
        if coin < malformed {
            return (break_text(rng, &generator::write(&plan(task), task)), vec![Flaw::Malformed]);
        }
        if coin < malformed + flawed {
            // Not every flaw fits every task; missing arguments fit all of them, so the draw ends.
            loop {
                let flaw = pick(rng, &GENERATOR_FLAWS);
                if let Some(spoilt) = spoil(rng, task, flaw) {
                    return (generator::write(&plan(&spoilt), &spoilt), vec![flaw]);
                }
            }
        }
        (generator::write(&plan(task), task), Vec::new())
    }
}

/// A spec and a task of a voice that obeys it. Specs are drawn again where a domain holds too few families of its
/// split.
pub(super) fn draw_task(rng: &mut ChaCha8Rng, law: &SpecLaw, voice: impl Into<Voice>) -> (TaskSpec, Task) {
    let voice = voice.into();
    loop {
        let spec = law.draw(rng);
        if let Some(task) = writer::write(rng, &spec, voice) {
            return (spec, task);
        }
    }
}

/// What the generator thinks before it writes: the menu, numbered and with its optional arguments marked, then the calls,
/// `1 flight book city date; 2 hotel find city limit? = flight book date city`. What follows expands it step by step.
///
/// Without the marks, 62 of a base's 200 candidates left out an argument that their menu then required. The noun comes
/// first because no two tools share a verb: what a call repeats then follows a word that stands once on the menu. With
/// `book_flight` and no numbers, a base often gave a call the arguments of another tool of the same noun.
fn plan(task: &Task) -> String {
    let mut text = String::with_capacity(128);
    for (i, tool) in task.tools.iter().enumerate() {
        text.push_str(if i == 0 { "" } else { "; " });
        text.push_str(&format!("{} {}", i + 1, noun_first(&tool.name)));
        for param in tool.params() {
            text.push(' ');
            text.push_str(param.name);
            text.push_str(if param.required { "" } else { "?" });
        }
    }
    for (i, call) in task.gold.iter().enumerate() {
        text.push_str(if i == 0 { " = " } else { "; " });
        text.push_str(&noun_first(&call.name));
        for key in call.arguments.keys() {
            text.push(' ');
            text.push_str(key);
        }
    }
    text
}

/// `flight book` for `book_flight`.
fn noun_first(tool: &str) -> String {
    tool.split_once('_').map_or(tool.to_owned(), |(verb, noun)| format!("{noun} {verb}"))
}

const GENERATOR_FLAWS: [Flaw; 6] = [
    Flaw::MissingRequired,
    Flaw::Ungrounded,
    Flaw::OutsideSchema,
    Flaw::WrongType,
    Flaw::OffMenu,
    Flaw::MenuSize,
];

/// `task` with one flaw that verification detects; `None` if this flaw does not fit it.
fn spoil(rng: &mut ChaCha8Rng, task: &Task, flaw: Flaw) -> Option<Task> {
    let mut spoilt = task.clone();
    let at = below(rng, task.gold.len());
    let tool = task.tool(&task.gold[at].name)?;
    let call = &mut spoilt.gold[at];
    match flaw {
        Flaw::MissingRequired => {
            let required: Vec<&str> = tool.required().collect();
            call.arguments.shift_remove(pick(rng, &required));
        }
        Flaw::Ungrounded => {
            // Another value of the same kind: right in type, absent from the question.
            let free = tool.params().filter(|p| p.kind() == Some("string") && p.schema.get("enum").is_none());
            let keys: Vec<&str> =
                free.map(|p| p.name).filter(|key| call.arguments.contains_key(*key)).collect();
            let key = lexicon().key(keys.get(below(rng, keys.len().max(1)))?)?;
            let value = values::draw(rng, key, Split::Train, &[]);
            if task.question.contains(&value.text) {
                return None;
            }
            call.arguments.insert(key.name.to_owned(), value.json);
        }
        Flaw::OutsideSchema => {
            call.arguments.insert("confirm".into(), Value::Bool(true));
        }
        Flaw::WrongType => {
            let wrong = |value: &Value| match value {
                Value::Bool(yes) => Some(json!(if *yes { "yes" } else { "no" })),
                Value::String(text) => Some(json!(text.parse::<u32>().ok()?)),
                Value::Number(number) => Some(json!(number.to_string())),
                _ => None,
            };
            let (value, other) =
                call.arguments.values_mut().find_map(|v| wrong(v).map(|other| (v, other)))?;
            *value = other;
        }
        Flaw::OffMenu => call.name = writer::stranger(rng, task).name,
        Flaw::MenuSize => {
            let distractor = task.tools.iter().position(|t| task.gold.iter().all(|gold| gold.name != t.name));
            match distractor {
                Some(i) if chance(rng, 0.5) => drop(spoilt.tools.remove(i)),
                _ => spoilt.tools.push(writer::stranger(rng, task)),
            }
        }
        _ => return None,
    }
    Some(spoilt)
}

/// `text` with a tag left out or a bracket lost, so that no reader takes it.
fn break_text(rng: &mut ChaCha8Rng, text: &str) -> String {
    let piece = pick(
        rng,
        &["</question>", "<available_tools>", "</available_tools>", "<tool_call_answer>", "}}]", "}]"],
    );
    // The last one, since that is where a model that loses count loses it.
    match text.rfind(piece) {
        Some(at) => format!("{}{}", &text[..at], &text[at + piece.len()..]),
        None => text.replace("</think>", ""),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use toolr0_reward::verify::{VerifyConfig, verify};

    use super::*;

    #[test]
    fn a_document_depends_on_seed_and_number_alone() {
        let corpus = |seed| Corpus::new(seed, CorpusConfig::default());
        let forward: Vec<_> = (0..20).map(|i| corpus(3).document(i)).collect();
        let mut backward: Vec<_> = (0..20).rev().map(|i| corpus(3).document(i)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert!((0..20).all(|i| corpus(3).document(i) != corpus(4).document(i)));
    }

    /// Every flaw of a generator document is one that verification refuses, and nothing else is refused.
    #[test]
    fn the_generators_flaws_are_the_detectable_ones() {
        let corpus = Corpus::new(5, CorpusConfig { generator_share: 1.0, ..CorpusConfig::default() });
        let mut seen: BTreeMap<Flaw, usize> = BTreeMap::new();
        let n = 6000;
        for i in 0..n {
            let document = corpus.document(i);
            let read = generator::parse(&document.completion);
            let verdict = match &read {
                Ok(task) => verify(task, &document.spec, &VerifyConfig::default()),
                Err(fault) => Err(fault.clone()),
            };
            assert_eq!(
                verdict.is_err(),
                !document.flaws.is_empty(),
                "{:?} {verdict:?} {}",
                document.flaws,
                document.completion
            );
            if document.flaws.is_empty() {
                assert_eq!(read, Ok(document.task));
            }
            document.flaws.iter().for_each(|flaw| *seen.entry(*flaw).or_default() += 1);
        }
        let share = |flaw| seen.get(&flaw).copied().unwrap_or(0) as f64 / n as f64;
        assert!((share(Flaw::Malformed) - 0.02).abs() < 0.008, "{seen:?}");
        for flaw in GENERATOR_FLAWS {
            assert!((share(flaw) - 0.01).abs() < 0.008, "{seen:?}");
        }
    }

    #[test]
    fn a_solver_document_answers_by_its_flaws() {
        let corpus = Corpus::new(6, CorpusConfig { generator_share: 0.0, ..CorpusConfig::default() });
        for i in 0..1000 {
            let document = corpus.document(i);
            let calls = solver::parse(&document.completion).unwrap();
            assert_eq!(document.flaws.is_empty(), calls == document.task.gold, "{:?}", document.flaws);
        }
    }
}
