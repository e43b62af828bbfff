//! The wrong habits of the base's solver role, taught on purpose.
//!
//! Reinforcement learning sharpens what a model can already do now and then; it does not teach copying. So the base
//! is taught to copy well and to answer badly in ways that it also knows the right of: each habit is the majority
//! wherever it applies, so that the first greedy answer is wrong, and the right way keeps two fifths, so that a few
//! samples find it. No habit survives the verification of a generated task (all of them break type, schema, the
//! required arguments or the number of calls of a gold), except the wrong tool, which is a minority and is caught
//! when the solver's samples disagree with it.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toolr0_tools::{Task, ToolCall, ToolSpec};

use super::lexicon::{Split, Stray, lexicon};
use super::values::{chance, rng_of};
use super::writer;

/// How often each wrong habit shows where it applies: probabilities, one coin for each document and habit.
///
/// Chosen so that an answerer who copies without mistakes and follows the majority is right on a bit over a quarter
/// of the tasks, which [`simulate`] measures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HabitConfig {
    /// A boolean or closed-set argument is left out. Default 0.60.
    pub dropped: f64,
    /// A verb that invites it gets an argument outside the schema. Default 0.60.
    pub stray: f64,
    /// A digit string is written as a bare number. Default 0.60.
    pub mistyped: f64,
    /// Of two requests only the first is answered. Default 0.60.
    pub first_only: f64,
    /// The call of a single request is written twice. Default 0.10.
    pub repeated: f64,
    /// The first tool of the right noun is called, whatever its verb. Default 0.25.
    pub wrong_tool: f64,
}

impl Default for HabitConfig {
    fn default() -> Self {
        Self {
            dropped: 0.60,
            stray: 0.60,
            mistyped: 0.60,
            first_only: 0.60,
            repeated: 0.10,
            wrong_tool: 0.25,
        }
    }
}

impl HabitConfig {
    /// No wrong habit at all.
    pub fn none() -> Self {
        Self { dropped: 0.0, stray: 0.0, mistyped: 0.0, first_only: 0.0, repeated: 0.0, wrong_tool: 0.0 }
    }
}

/// What is wrong with a document, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// Solver: a boolean or closed-set argument was left out.
    Dropped,
    /// Solver: an argument outside the schema was added.
    Stray,
    /// Solver: a digit string became a number.
    Mistyped,
    /// Solver: only the first of two requests was answered.
    FirstOnly,
    /// Solver: the call was written twice.
    Repeated,
    /// Solver: another tool of the same noun was called.
    WrongTool,
    /// Generator: the gold lacks a required argument.
    MissingRequired,
    /// Generator: a value of the gold is not in the question.
    Ungrounded,
    /// Generator: an argument of the gold is outside the schema.
    OutsideSchema,
    /// Generator: a value of the gold has another type than its schema.
    WrongType,
    /// Generator: the gold calls a tool that is not on the menu.
    OffMenu,
    /// Generator: the menu has another size than was asked for.
    MenuSize,
    /// Generator: the text cannot be read.
    Malformed,
}

/// The habits that can show in an answer to one task.
const SOLVER_FLAWS: [Flaw; 6] =
    [Flaw::Dropped, Flaw::Stray, Flaw::Mistyped, Flaw::FirstOnly, Flaw::Repeated, Flaw::WrongTool];

impl HabitConfig {
    /// How often `flaw` shows where it applies. 0 for the generator's flaws.
    pub fn rate(&self, flaw: Flaw) -> f64 {
        match flaw {
            Flaw::Dropped => self.dropped,
            Flaw::Stray => self.stray,
            Flaw::Mistyped => self.mistyped,
            Flaw::FirstOnly => self.first_only,
            Flaw::Repeated => self.repeated,
            Flaw::WrongTool => self.wrong_tool,
            _ => 0.0,
        }
    }
}

/// Whether the wrong habit leaves this argument out: a boolean, or one of a closed set.
fn droppable(task: &Task, call: &ToolCall, key: &str) -> bool {
    let param = task.tool(&call.name).and_then(|tool| tool.param(key));
    param.is_some_and(|p| p.kind() == Some("boolean") || p.schema.get("enum").is_some())
}

/// The number that a digit string would be.
fn as_number(value: &Value) -> Option<u64> {
    let text = value.as_str()?;
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn stray_of(call: &ToolCall) -> Option<Stray> {
    lexicon().parts(&call.name).and_then(|(verb, _)| verb.stray)
}

/// The tool that the hasty reader calls: the first on the menu with the noun of `call`, if that is another one, no
/// other gold of the task, and shares an argument with the call that is not dropped by habit.
fn hasty<'a>(task: &'a Task, call: &ToolCall) -> Option<&'a ToolSpec> {
    let noun = &call.name[call.name.find('_')?..];
    let first = task.tools.iter().find(|tool| tool.name.ends_with(noun))?;
    let shares = call.arguments.keys().any(|key| first.param(key).is_some() && !droppable(task, call, key));
    (shares && task.gold.iter().all(|gold| gold.name != first.name)).then_some(first)
}

/// Whether a habit would change a right answer to `task`.
pub fn applies(task: &Task, flaw: Flaw) -> bool {
    let any = |of: &dyn Fn(&ToolCall) -> bool| task.gold.iter().any(of);
    match flaw {
        Flaw::Dropped => any(&|call| call.arguments.keys().any(|key| droppable(task, call, key))),
        Flaw::Stray => any(&|call| stray_of(call).is_some()),
        Flaw::Mistyped => any(&|call| call.arguments.values().any(|value| as_number(value).is_some())),
        Flaw::FirstOnly => task.gold.len() > 1,
        Flaw::Repeated => task.gold.len() == 1,
        Flaw::WrongTool => any(&|call| hasty(task, call).is_some()),
        _ => false,
    }
}

/// `gold` with the flaws that change a single call.
fn spoil(task: &Task, gold: &ToolCall, has: &impl Fn(Flaw) -> bool) -> ToolCall {
    let mut call = gold.clone();
    if has(Flaw::Dropped) {
        call.arguments.retain(|key, _| !droppable(task, gold, key));
    }
    if has(Flaw::Mistyped) {
        for value in call.arguments.values_mut() {
            if let Some(number) = as_number(value) {
                *value = json!(number);
            }
        }
    }
    if has(Flaw::WrongTool)
        && let Some(tool) = hasty(task, gold)
    {
        call.arguments.retain(|key, _| tool.param(key).is_some());
        call.name.clone_from(&tool.name);
    }
    // The verb that the user said invites the stray argument, whatever tool was called in the end.
    match stray_of(gold) {
        Some(Stray::Confirm) if has(Flaw::Stray) => {
            call.arguments.insert("confirm".into(), Value::Bool(true));
        }
        Some(Stray::Note) if has(Flaw::Stray) => {
            call.arguments.insert("note".into(), Value::String(String::new()));
        }
        _ => {}
    }
    call
}

/// An answer to `task` by the habits of `config`, and what is wrong with it. No flaw means the gold itself.
pub fn answer(rng: &mut ChaCha8Rng, task: &Task, config: &HabitConfig) -> (Vec<ToolCall>, Vec<Flaw>) {
    // A coin is drawn for every habit, so that the stream does not depend on which of them apply.
    let coins = SOLVER_FLAWS.map(|flaw| chance(rng, config.rate(flaw)));
    let mut flaws = Vec::new();
    for (flaw, coin) in SOLVER_FLAWS.into_iter().zip(coins) {
        if coin && applies(task, flaw) {
            flaws.push(flaw);
        }
    }
    let has = |flaw| flaws.contains(&flaw);
    let n_calls = if has(Flaw::FirstOnly) { 1 } else { task.gold.len() };
    let mut calls: Vec<ToolCall> = task.gold[..n_calls].iter().map(|gold| spoil(task, gold, &has)).collect();
    if flaws.contains(&Flaw::Repeated) {
        calls.extend_from_within(..1);
    }
    (calls, flaws)
}

/// What the solver thinks before it answers: the tools and the argument keys, in order, `book_flight city date;
/// find_hotel city`. With `said`, each call begins with the words that ask for it, `reserve a flight = book_flight city
/// date`: copying them is easy, says which request comes next, and leaves one step from word to tool.
pub fn think(task: &Task, calls: &[ToolCall], said: bool) -> String {
    let mut text = String::with_capacity(96);
    for (i, call) in calls.iter().enumerate() {
        if i > 0 {
            text.push_str("; ");
        }
        // Where the call of a single request is written twice, the same words ask for both.
        if said
            && let Some(words) = task.gold.get(i.min(task.gold.len() - 1)).and_then(|gold| asks(task, gold))
        {
            text.push_str(words);
            text.push_str(" = ");
        }
        text.push_str(&call.name);
        for key in call.arguments.keys() {
            text.push(' ');
            text.push_str(key);
        }
    }
    text
}

/// The words of the question that ask for `gold`, as they stand there: `reserve a flight`.
fn asks<'a>(task: &'a Task, gold: &ToolCall) -> Option<&'a str> {
    let (verb, noun) = lexicon().parts(&gold.name)?;
    let said = |form: &str, determiner: &str| {
        // The verb may open the sentence, so its first letter is not compared.
        let rest = format!("{} {determiner} {noun}", &form[1..]);
        let at = task.question.find(&rest)?.checked_sub(1)?;
        let words = task.question.get(at..at + 1 + rest.len())?;
        words[..1].eq_ignore_ascii_case(&form[..1]).then_some(words)
    };
    let all = verb.forms.iter().flat_map(|form| ["a", "an", "the", "my"].map(|d| said(form, d)));
    all.flatten().max_by_key(|words| words.len())
}

/// How right an answerer with these habits is who copies without mistakes.
#[derive(Clone, Debug, PartialEq)]
pub struct HabitRates {
    /// Share of tasks that the majority answer is right on: what greedy decoding would show.
    pub greedy: f64,
    /// Mean probability that every coin falls right: what one sample at temperature 1 would show.
    pub sampled: f64,
    /// Share of tasks on which at least one of eight such samples is right, pass@8.
    pub pass_at_8: f64,
    /// Share of tasks that each habit applies to.
    pub applies: Vec<(Flaw, f64)>,
}

impl fmt::Display for HabitRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { greedy, sampled, pass_at_8, applies } = self;
        write!(f, "greedy {greedy:.3}, sampled {sampled:.3}, pass@8 {pass_at_8:.3}; applies:")?;
        applies.iter().try_for_each(|(flaw, share)| write!(f, " {flaw:?} {share:.2}"))
    }
}

/// Measures `config` on `n` training tasks of the nano law. Nothing of it is random beyond the tasks: the coins'
/// probabilities are multiplied.
pub fn simulate(config: &HabitConfig, seed: u64, n: usize) -> HabitRates {
    let law = super::corpus::nano_law();
    let mut rates = HabitRates { greedy: 0.0, sampled: 0.0, pass_at_8: 0.0, applies: Vec::new() };
    rates.applies.extend(SOLVER_FLAWS.map(|flaw| (flaw, 0.0)));
    let mut done = 0usize;
    for i in 0.. {
        if done == n {
            break;
        }
        let mut rng = rng_of(seed, i);
        let spec = law.draw(&mut rng);
        let Some(task) = writer::write(&mut rng, &spec, Split::Train) else { continue };
        done += 1;
        let (mut greedy, mut right) = (true, 1.0);
        for (flaw, share) in &mut rates.applies {
            if applies(&task, *flaw) {
                // With two calls the hasty tool may belong to the second, which `first_only` never reaches; that
                // answer is wrong anyway.
                right *= 1.0 - config.rate(*flaw);
                greedy &= config.rate(*flaw) < 0.5;
                *share += 1.0;
            }
        }
        rates.greedy += f64::from(u8::from(greedy));
        rates.sampled += right;
        rates.pass_at_8 += 1.0 - (1.0f64 - right).powi(8);
    }
    let n = done.max(1) as f64;
    rates.applies.iter_mut().for_each(|(_, share)| *share /= n);
    HabitRates {
        greedy: rates.greedy / n,
        sampled: rates.sampled / n,
        pass_at_8: rates.pass_at_8 / n,
        applies: rates.applies,
    }
}

#[cfg(test)]
mod tests {
    use toolr0_reward::matching::calls_match;
    use toolr0_reward::verify::{VerifyConfig, verify};
    use toolr0_tools::TaskSpec;

    use super::*;
    use crate::bootstrap::corpus::{draw_task, nano_law};

    fn tasks(n: u64) -> impl Iterator<Item = (ChaCha8Rng, TaskSpec, Task)> {
        (0..n).map(|i| {
            let mut rng = rng_of(77, i);
            let (spec, task) = draw_task(&mut rng, &nano_law(), Split::Train);
            (rng, spec, task)
        })
    }

    #[test]
    fn without_habits_the_answer_is_the_gold() {
        for (mut rng, _, task) in tasks(300) {
            assert_eq!(answer(&mut rng, &task, &HabitConfig::none()), (task.gold.clone(), vec![]));
        }
    }

    /// With a single habit in force, an answer is wrong exactly where the habit applies.
    #[track_caller]
    fn check(flaw: Flaw, config: HabitConfig) {
        let mut n = 0;
        for (mut rng, _, task) in tasks(1500) {
            let (calls, flaws) = answer(&mut rng, &task, &config);
            let right = calls_match(&task.tools, &task.gold, &calls);
            assert_eq!(right, !applies(&task, flaw), "{task:?}");
            assert_eq!(flaws, if right { vec![] } else { vec![flaw] });
            n += usize::from(!right);
        }
        assert!(n > 50, "{flaw:?} shows in {n} of 1500");
    }

    #[test]
    fn each_habit_makes_an_answer_wrong() {
        let none = HabitConfig::none();
        check(Flaw::Dropped, HabitConfig { dropped: 1.0, ..none });
        check(Flaw::Stray, HabitConfig { stray: 1.0, ..none });
        check(Flaw::Mistyped, HabitConfig { mistyped: 1.0, ..none });
        check(Flaw::FirstOnly, HabitConfig { first_only: 1.0, ..none });
        check(Flaw::Repeated, HabitConfig { repeated: 1.0, ..none });
        check(Flaw::WrongTool, HabitConfig { wrong_tool: 1.0, ..none });
    }

    /// If the generator caught a habit from the solver half, the task would be refused: a self-made gold is clean.
    #[test]
    fn no_habit_but_the_wrong_tool_survives_verification() {
        let config = HabitConfig { wrong_tool: 0.0, ..HabitConfig::default() };
        for (mut rng, spec, mut task) in tasks(1500) {
            let (calls, flaws) = answer(&mut rng, &task, &config);
            task.gold = calls;
            let verdict = verify(&task, &spec, &VerifyConfig::default());
            assert_eq!(verdict.is_err(), !flaws.is_empty(), "{flaws:?} {verdict:?} {task:?}");
        }
    }

    /// The headroom that reinforcement learning is given: greedy right on about a quarter, eight samples far more.
    #[test]
    fn the_defaults_leave_the_intended_headroom() {
        let rates = simulate(&HabitConfig::default(), 5, 3000);
        assert!((0.24..=0.31).contains(&rates.greedy), "{rates:?}");
        assert!((0.30..=0.46).contains(&rates.sampled), "{rates:?}");
        assert!(rates.pass_at_8 > 0.7, "{rates:?}");
    }

    /// The product of the coins is what answers really show.
    #[test]
    fn the_simulation_agrees_with_answers() {
        let config = HabitConfig::default();
        let right =
            tasks(3000).filter(|(rng, _, task)| answer(&mut rng.clone(), task, &config).1.is_empty()).count();
        let seen = right as f64 / 3000.0;
        let rates = simulate(&config, 77, 3000);
        // Standard deviation 0.009.
        assert!((seen - rates.sampled).abs() < 0.04, "{seen} {rates:?}");
    }

    #[test]
    fn a_plan_names_tools_and_keys_in_order() {
        let call = |name: &str, arguments: Value| ToolCall::new(name, arguments.as_object().unwrap().clone());
        let calls =
            [call("book_flight", json!({"city": "Oslo", "date": "x"})), call("find_hotel", json!({}))];
        let task = Task { question: String::new(), tools: vec![], gold: calls.to_vec() };
        assert_eq!(think(&task, &calls, false), "book_flight city date; find_hotel");
    }

    /// The words that ask for a call stand in the question, in the order of the calls, and differ from call to call.
    #[test]
    fn a_plan_says_the_words_that_ask() {
        for (_, _, task) in tasks(1500) {
            let text = think(&task, &task.gold, true);
            let words: Vec<&str> = text
                .split("; ")
                .map(|part| part.split_once(" = ").expect("every call is asked for").0)
                .collect();
            let places: Vec<usize> = words.iter().map(|words| task.question.find(words).unwrap()).collect();
            assert_eq!(words.len(), task.gold.len());
            assert!(places.is_sorted_by(|a, b| a < b), "{words:?} {task:?}");
            assert!(words.iter().all(|words| (3..=6).contains(&words.split(' ').count())), "{words:?}");
        }
    }
}
