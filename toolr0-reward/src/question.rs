//! A held-out question of either kind, one of our own tasks or one of a benchmark, and what an answer to it is worth.
//!
//! The exam of self-play and `toolr0 eval` ask and mark through this module, so that their numbers mean the same.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use toolr0_tools::{Message, Prompt, Task, ToolCall, ToolSpec};

use crate::ast::{BenchItem, Expect, HammerCounts, Scores};
use crate::fault::Fault;
use crate::matching::{CallErrors, attribute};
use crate::stats::wilson;
use crate::verdict::judge_calls;
use crate::wire::{self, Style};

/// A question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// One of our own: right are exactly the gold calls ([`judge`](crate::judge)).
    Task(Task),
    /// One of a benchmark: right is what the published rules take ([`crate::ast`]).
    Item(Box<BenchItem>),
}

/// What one answer is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Whether it is right.
    pub solved: bool,
    /// Why it could not be read, if it could not.
    pub fault: Option<Fault>,
    /// Its calls; `None` where they could not be read.
    pub calls: Option<Vec<ToolCall>>,
    /// What is wrong with it; nothing, if it is right.
    pub errors: CallErrors,
    /// What the published rules say; of benchmark questions only.
    pub scores: Option<Scores>,
}

impl Question {
    /// Its name: the benchmark's own, or the content hash of a task.
    pub fn id(&self) -> String {
        match self {
            Self::Task(task) => task.id().0,
            Self::Item(item) => item.id.clone(),
        }
    }

    /// What a model is asked.
    pub fn prompt(&self, style: Style) -> Prompt {
        match self {
            Self::Task(task) => wire::solver::prompt(&task.question, &task.tools, style),
            Self::Item(item) => conversation_prompt(&item.messages, &item.tools, style),
        }
    }

    /// Marks one answer.
    pub fn mark(&self, text: &str) -> Mark {
        match self {
            Self::Task(task) => {
                let read = wire::solver::parse(text);
                let verdict = judge_calls(task, read.as_deref());
                Mark {
                    solved: verdict.solved,
                    fault: verdict.fault,
                    calls: read.ok(),
                    errors: verdict.errors,
                    scores: None,
                }
            }
            Self::Item(item) => mark_item(item, text),
        }
    }

    /// The mark of a question that could not be asked, because its prompt does not fit the model: not solved, even where
    /// silence would have been right.
    pub fn not_asked(&self) -> Mark {
        let scores = match self {
            Self::Task(_) => None,
            Self::Item(item) => {
                let scores = Scores::new(None, item);
                Some(Scores { ast_match: false, bfcl_match: scores.bfcl_match.map(|_| false), ..scores })
            }
        };
        Mark { solved: false, fault: None, calls: None, errors: CallErrors::default(), scores }
    }
}

fn mark_item(item: &BenchItem, text: &str) -> Mark {
    let read = wire::solver::parse(text);
    // An unreadable answer calls nothing, which the published rules take for an abstention.
    let scores = Scores::new(read.as_deref().ok(), item);
    let gold = item.answers.first().map_or(&[][..], Vec::as_slice);
    let errors = match &read {
        Err(fault) => attribute(&item.tools, gold, Err(fault)),
        Ok(_) if scores.ast_match => CallErrors::default(),
        // Any call would do, and none was made.
        Ok(_) if item.expect() == Some(Expect::AnyCall) => {
            CallErrors { no_call: true, n_calls: true, ..CallErrors::default() }
        }
        Ok(calls) => attribute(&item.tools, gold, Ok(calls)),
    };
    let fault = read.as_ref().err().cloned();
    Mark { solved: scores.ast_match, fault, calls: read.ok(), errors, scores: Some(scores) }
}

/// What a model is asked: the conversation of the question between the solver's own system prompt and the place to
/// answer, with the menu behind the last message of the user, laid out as in training.
///
/// A system message of the question joins the solver's, since most chat templates take one. For a question of one
/// message this is exactly the prompt that the solver is trained on.
pub fn conversation_prompt(conversation: &[Message], tools: &[ToolSpec], style: Style) -> Prompt {
    let last_user = conversation.iter().rposition(|message| message.role == "user");
    let question = last_user.map_or("", |i| conversation[i].content.as_str());
    let Prompt { messages: own, .. } = wire::solver::prompt(question, tools, style);
    let (mut system, mut user) = (String::new(), String::new());
    for Message { role, content } in own {
        let part = if role == "system" { &mut system } else { &mut user };
        part.push_str(&content);
    }
    let mut messages = Vec::with_capacity(conversation.len() + 1);
    for (i, message) in conversation.iter().enumerate() {
        if message.role == "system" {
            system = format!("{system}\n\n{}", message.content);
        } else if Some(i) == last_user {
            messages.push(Message::new("user", user.as_str()));
        } else {
            messages.push(message.clone());
        }
    }
    if last_user.is_none() {
        messages.push(Message::new("user", user.trim_start()));
    }
    messages.insert(0, Message::new("system", system));
    messages.into()
}

/// How many answers went wrong, by kind. One answer may be wrong in several ways; see [`CallErrors`] for the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// The answer could not be read.
    pub format: usize,
    /// A wrong tool was called.
    pub tool_name: usize,
    /// An argument is missing or superfluous.
    pub argument_names: usize,
    /// A value is wrong.
    pub argument_values: usize,
    /// There are too few or too many calls.
    pub n_calls: usize,
    /// Nothing was called, and something should have been.
    pub no_call: usize,
    /// Something was called where no tool fits.
    pub should_abstain: usize,
    /// An argument is missing.
    pub missing_argument: usize,
    /// There is an argument too many.
    pub extra_argument: usize,
    /// A wrong value is of another type than the gold one.
    pub mistyped_value: usize,
    /// A wrong value is of the right type.
    pub wrong_value: usize,
}

impl ErrorCounts {
    /// Counts one answer.
    pub fn add(&mut self, errors: &CallErrors) {
        let n = usize::from;
        *self += Self {
            format: n(errors.format),
            tool_name: n(errors.tool_name),
            argument_names: n(errors.argument_names),
            argument_values: n(errors.argument_values),
            n_calls: n(errors.n_calls),
            no_call: n(errors.no_call),
            should_abstain: n(errors.should_abstain),
            missing_argument: n(errors.missing_argument),
            extra_argument: n(errors.extra_argument),
            mistyped_value: n(errors.mistyped_value),
            wrong_value: n(errors.wrong_value),
        };
    }
}

impl AddAssign for ErrorCounts {
    fn add_assign(&mut self, other: Self) {
        self.format += other.format;
        self.tool_name += other.tool_name;
        self.argument_names += other.argument_names;
        self.argument_values += other.argument_values;
        self.n_calls += other.n_calls;
        self.no_call += other.no_call;
        self.should_abstain += other.should_abstain;
        self.missing_argument += other.missing_argument;
        self.extra_argument += other.extra_argument;
        self.mistyped_value += other.mistyped_value;
        self.wrong_value += other.wrong_value;
    }
}

/// Marks, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers.
    pub answers: usize,
    /// Right ones.
    pub solved: usize,
    /// Those that could be read.
    pub parsed: usize,
    /// What went wrong.
    pub errors: ErrorCounts,
    /// Answers that are right by BFCL's own rule; `None` without a question of BFCL.
    pub bfcl: Option<usize>,
    /// Hammer's counts; `None` without a benchmark question.
    pub hammer: Option<HammerCounts>,
}

impl Tally {
    /// Adds one mark.
    pub fn add(&mut self, mark: &Mark) {
        self.answers += 1;
        self.solved += usize::from(mark.solved);
        self.parsed += usize::from(mark.calls.is_some());
        self.errors.add(&mark.errors);
        let Some(scores) = &mark.scores else { return };
        *self.hammer.get_or_insert_default() += scores.hammer_counts;
        if let Some(right) = scores.bfcl_match {
            *self.bfcl.get_or_insert_default() += usize::from(right);
        }
    }

    /// Right answers of all; 0 without any.
    pub fn accuracy(&self) -> f64 {
        self.share(self.solved)
    }

    /// 95 % Wilson interval of the accuracy: sound where no two answers are to the same question.
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.solved, self.answers)
    }

    /// `n` of all answers; 0 without any.
    pub fn share(&self, n: usize) -> f64 {
        n as f64 / self.answers.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(messages: &[(&str, &str)]) -> BenchItem {
        let messages: Vec<_> = messages.iter().map(|(role, content)| Message::new(*role, *content)).collect();
        let tools = serde_json::json!([{"name": "f", "description": "F."}]);
        serde_json::from_value(
            serde_json::json!({"id": "1", "benchmark": "b", "split": "s", "messages": messages,
            "tools": tools, "answers": [[]]}),
        )
        .unwrap()
    }

    #[test]
    fn one_message_makes_the_solvers_own_prompt() {
        let item = item(&[("user", "Do f.")]);
        for style in [Style::Paper, Style::Compact] {
            assert_eq!(
                conversation_prompt(&item.messages, &item.tools, style),
                wire::solver::prompt("Do f.", &item.tools, style)
            );
        }
    }

    #[test]
    fn a_conversation_keeps_its_order_and_the_menu_stands_behind_the_last_user_message() {
        let turns = [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("tool", "d")];
        let messages =
            conversation_prompt(&item(&turns).messages, &item(&turns).tools, Style::Compact).messages;
        let roles: Vec<_> = messages.iter().map(|m| m.role.as_str()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "tool"]);
        assert!(messages[0].content.ends_with("Be kind."));
        assert!(!messages[1].content.contains("<available_tools>"));
        assert!(messages[3].content.starts_with("c\n\n<available_tools>["));
        let none =
            conversation_prompt(&[Message::new("assistant", "b")], &item(&[]).tools, Style::Compact).messages;
        assert!(none[2].content.starts_with("<available_tools>"));
    }

    fn question(answers: serde_json::Value, expect: &str) -> Question {
        let value = serde_json::json!({"id": "1", "benchmark": "b", "split": "s",
            "messages": [{"role": "user", "content": "q"}], "tools": [{"name": "f"}, {"name": "g"}],
            "answers": answers, "meta": {"expect": expect}});
        Question::Item(Box::new(serde_json::from_value(value).unwrap()))
    }

    #[track_caller]
    fn check(question: &Question, answer: &str, solved: bool, want: &str) {
        let mark = question.mark(answer);
        assert_eq!(mark.solved, solved);
        let mut tally = Tally::default();
        tally.add(&mark);
        let counts = serde_json::to_value(tally.errors).unwrap();
        let kinds =
            counts.as_object().unwrap().iter().filter(|(_, n)| **n == 1).map(|(kind, _)| kind.as_str());
        assert_eq!(kinds.collect::<Vec<_>>().join(" "), want);
        assert_eq!(
            (tally.answers, tally.solved, tally.parsed),
            (1, solved.into(), mark.calls.is_some().into())
        );
    }

    #[test]
    fn every_wrong_answer_has_a_kind() {
        let calls = |text: &str| format!("<think>t</think><tool_call_answer>{text}</tool_call_answer>");
        let (f, g) = (calls(r#"[{"name":"f","arguments":{}}]"#), calls(r#"[{"name":"g","arguments":{}}]"#));
        let gold = serde_json::json!([{"name": "f", "arguments": {}}]);
        let task = Question::Task(Task {
            question: "q".into(),
            tools: vec![toolr0_tools::ToolSpec::new("f", "", Default::default(), &[])],
            gold: serde_json::from_value(gold.clone()).unwrap(),
        });
        for question in [question(serde_json::json!([gold]), ""), task] {
            check(&question, &f, true, "");
            check(&question, &g, false, "tool_name");
            check(&question, &calls("[]"), false, "n_calls no_call");
            check(&question, "f()", false, "format");
            assert!(!question.not_asked().solved);
        }
        let none = question(serde_json::json!([[]]), "no_call");
        check(&none, &calls("[]"), true, "");
        check(&none, &f, false, "n_calls should_abstain");
        check(&none, "hello", true, "format");
        let unasked = none.not_asked();
        assert_eq!((unasked.solved, unasked.scores.unwrap().bfcl_match), (false, Some(false)));
        let any = question(serde_json::json!([]), "any_call");
        check(&any, &g, true, "");
        check(&any, &calls("[]"), false, "n_calls no_call");
    }
}
