//! Can whoever judges tasks be trusted? Tasks whose verdicts are known, and what is made of the verdicts on them.
//!
//! Each of a few sound tasks comes as it is, with two of its values swapped (the canary: every word is right, and the call is
//! wrong), with a distractor's name, with a value that nobody said, with the right tool first and last on the menu, and
//! with a longer question. A judge who cannot tell the first from the next three is of no use; one whose verdict moves
//! with the last three is swayed by what does not matter.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolr0_tools::Task;

/// What was done to a sound task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Nothing.
    None,
    /// Two values of the gold call changed places.
    Swapped,
    /// The gold call names a distractor.
    WrongTool,
    /// A value of the gold call stands nowhere.
    Invented,
    /// The right tool is the first of the menu.
    ToolFirst,
    /// The right tool is the last of the menu.
    ToolLast,
    /// The question is longer, and asks for the same.
    Longer,
}

impl Change {
    /// Every change, in the order of [`trials`].
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Swapped,
        Self::WrongTool,
        Self::Invented,
        Self::ToolFirst,
        Self::ToolLast,
        Self::Longer,
    ];

    /// Whether the task is sound after it.
    pub fn sound(self) -> bool {
        !matches!(self, Self::Swapped | Self::WrongTool | Self::Invented)
    }
}

/// A task with a known verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The task.
    pub task: Task,
    /// What was done to it.
    pub change: Change,
}

#[derive(Deserialize)]
struct Line {
    task: Task,
    /// Arguments of the gold call whose values make sense in each other's place.
    swap: [String; 2],
}

/// What nobody says in any of the questions.
const NOWHERE: &str = "Reykjavik";
/// What is said around a question that becomes longer.
const BEFORE: &str = "Good morning! I hope that you are well and that I do not ask at a bad time.";
const AFTER: &str =
    "There is no hurry at all, take the time that you need. Many thanks in advance, and have a fine day!";

/// All trials: for each task one of each [`Change`], in the order of [`Change::ALL`].
pub fn trials() -> Vec<Trial> {
    let lines = include_str!("calibration.jsonl").lines();
    let read = |line| serde_json::from_str::<Line>(line).expect("the file is part of the program and tested");
    lines
        .map(read)
        .flat_map(|line| Change::ALL.map(|change| Trial { task: changed(&line, change), change }))
        .collect()
}

fn changed(Line { task, swap: [a, b] }: &Line, change: Change) -> Task {
    let mut task = task.clone();
    let right = task.tools.iter().position(|tool| tool.name == task.gold[0].name).unwrap_or(0);
    let arguments = &mut task.gold[0].arguments;
    match change {
        Change::None => {}
        Change::Swapped => {
            let (x, y) = (arguments[a.as_str()].clone(), arguments[b.as_str()].clone());
            (arguments[a.as_str()], arguments[b.as_str()]) = (y, x);
        }
        Change::WrongTool => {
            let other = task.tools.iter().find(|tool| tool.name != task.gold[0].name);
            task.gold[0].name = other.map_or_else(String::new, |tool| tool.name.clone());
        }
        Change::Invented => arguments[a.as_str()] = Value::from(NOWHERE),
        Change::ToolFirst => task.tools.swap(0, right),
        Change::ToolLast => {
            let last = task.tools.len() - 1;
            task.tools.swap(right, last);
        }
        Change::Longer => task.question = format!("{BEFORE} {} {AFTER}", task.question),
    }
    task
}

/// How good somebody's verdicts are. `None` where too little is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Trials.
    pub asked: usize,
    /// Trials on which there was a verdict. One that failed is unknown, and neither right nor wrong.
    pub answered: usize,
    /// Share of right verdicts, the mean of that over sound and that over unsound tasks.
    pub agreement: Option<f64>,
    /// Share of tasks whose swapped form was rated below the right one.
    pub canary: Option<f64>,
    /// Mean verdict with the right tool first, minus that with it last.
    pub position_bias: Option<f64>,
    /// Mean verdict on the longer question, minus that on the shorter one.
    pub length_bias: Option<f64>,
}

/// What trust needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The least agreement.
    pub agreement: f64,
    /// The least share of canaries noticed.
    pub canary: f64,
    /// The largest bias, either way.
    pub bias: f64,
}

/// Share of trials without a verdict from which on nothing is known.
const SILENT: f64 = 0.5;

impl Trust {
    /// From verdicts on [`trials`], in their order: 0 is surely unsound, 1 surely sound. A sound task should get 3/4 or
    /// more, an unsound one 1/4 or less; what lies between is never right.
    ///
    /// # Examples
    ///
    /// ```
    /// use toolr0_reward::calibration::{Trust, trials};
    /// let knowing: Vec<_> = trials().iter().map(|t| Some(f64::from(t.change.sound()))).collect();
    /// assert_eq!(Trust::of(&knowing).agreement, Some(1.0));
    /// let yes = vec![Some(1.0); knowing.len()];
    /// assert_eq!((Trust::of(&yes).agreement, Trust::of(&yes).canary), (Some(0.5), Some(0.0)));
    /// ```
    pub fn of(verdicts: &[Option<f64>]) -> Self {
        let asked = verdicts.len();
        let answered = verdicts.iter().flatten().count();
        if answered == 0 || (answered as f64) < SILENT * asked as f64 {
            return Self { asked, answered, ..Self::default() };
        }
        let at = |task: &[Option<f64>], change: Change| {
            let place = Change::ALL.iter().position(|other| *other == change)?;
            task.get(place).copied().flatten()
        };
        let tasks = || verdicts.chunks(Change::ALL.len());
        let right = |sound: bool| {
            let changes = Change::ALL.into_iter().filter(move |change| change.sound() == sound);
            mean(
                changes
                    .flat_map(|change| tasks().filter_map(move |task| at(task, change)))
                    .map(|verdict| f64::from(if sound { 0.75 <= verdict } else { verdict <= 0.25 })),
            )
        };
        let between = |a, b| mean(tasks().filter_map(move |task| Some(at(task, a)? - at(task, b)?)));
        let noticed = tasks().filter_map(|task| Some(at(task, Change::Swapped)? < at(task, Change::None)?));
        Self {
            asked,
            answered,
            agreement: right(true).zip(right(false)).map(|(a, b)| (a + b) / 2.0),
            canary: mean(noticed.map(f64::from)),
            position_bias: between(Change::ToolFirst, Change::ToolLast),
            length_bias: between(Change::Longer, Change::None),
        }
    }

    /// Whether all of it is known and within `bounds`.
    pub fn holds(&self, bounds: &Bounds) -> bool {
        let least = |value: Option<f64>, least: f64| value.is_some_and(|value| least <= value);
        let small = |value: Option<f64>| value.is_some_and(|value| value.abs() <= bounds.bias);
        least(self.agreement, bounds.agreement)
            && least(self.canary, bounds.canary)
            && small(self.position_bias)
            && small(self.length_bias)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0_usize, 0.0), |(n, sum), value| (n + 1, sum + value));
    (0 < n).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::inspect;
    use crate::{judge, wire};

    const BOUNDS: Bounds = Bounds { agreement: 0.75, canary: 0.75, bias: 0.25 };

    #[test]
    fn the_trials_are_what_they_say() {
        let all = trials();
        assert_eq!(all.len(), 8 * Change::ALL.len());
        for task in all.chunks(Change::ALL.len()) {
            let right = &task[0].task;
            for Trial { task, change } in task {
                let fault = inspect(task, None, &Default::default()).first();
                // A swap leaves no trace in the structure: only who reads the question can tell.
                let clean = change.sound() || *change == Change::Swapped;
                assert_eq!(fault.is_none(), clean, "{change:?} {fault:?} {task:?}");
                let text = wire::solver::write("so", &task.gold);
                assert_eq!(judge(right, &text).solved, change.sound(), "{change:?} {task:?}");
            }
            assert!(task[6].task.question.len() > 2 * right.question.len());
            let name = |trial: &Trial, at: usize| trial.task.tools[at].name == right.gold[0].name;
            assert!(name(&task[4], 0) && name(&task[5], right.tools.len() - 1));
        }
    }

    /// Verdicts by a rule.
    fn trust(rule: impl Fn(usize, &Trial) -> Option<f64>) -> Trust {
        Trust::of(&trials().iter().enumerate().map(|(i, trial)| rule(i, trial)).collect::<Vec<_>>())
    }

    #[test]
    fn who_knows_is_trusted_and_who_is_swayed_is_not() {
        let sound = |trial: &Trial| f64::from(trial.change.sound());
        assert!(trust(|_, t| Some(sound(t))).holds(&BOUNDS));
        assert!(
            trust(|i, t| (i % 3 != 0).then(|| sound(t))).holds(&BOUNDS),
            "a third unknown counts for nothing"
        );
        let silent = trust(|i, t| (i % 3 == 0).then(|| sound(t)));
        assert!((silent.agreement, silent.holds(&BOUNDS)) == (None, false), "{silent:?}");
        assert!(!trust(|_, _| None).holds(&BOUNDS));
        for constant in [0.0, 0.5, 1.0] {
            let agreement = trust(|_, _| Some(constant)).agreement.unwrap();
            assert_eq!(agreement, if constant == 0.5 { 0.0 } else { 0.5 }, "a middle score is never right");
        }
        let first = trust(|_, t| Some(if t.change == Change::ToolLast { 0.0 } else { sound(t) }));
        assert_eq!(
            (first.position_bias, first.length_bias, first.holds(&BOUNDS)),
            (Some(1.0), Some(0.0), false)
        );
        let short = trust(|_, t| Some(if t.change == Change::Longer { 0.0 } else { sound(t) }));
        assert_eq!((short.length_bias, short.holds(&BOUNDS)), (Some(-1.0), false));
        let blind = trust(|_, t| Some(if t.change == Change::Swapped { 1.0 } else { sound(t) }));
        assert_eq!((blind.canary, blind.holds(&BOUNDS)), (Some(0.0), false));
        assert!(blind.agreement.unwrap() > BOUNDS.agreement, "agreement alone would not have told");
    }
}
