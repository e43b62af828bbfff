//! `toolr0 eval`: how good a model is, on the exam or on benchmark questions.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::json;
use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, SamplingConfig};
use toolr0_reward::ast::{BenchItem, Expect, HammerCounts};
use toolr0_reward::matching::attribute;
use toolr0_reward::stats::wilson;
use toolr0_reward::{CallErrors, Fault, Style, Verdict, judge, wire};
use toolr0_rl::Sampler;
use toolr0_rl::exam::ErrorCounts;
use toolr0_tools::{Prompt, Task, ToolCall};

use super::bench::Scores;
use crate::args::{Eval, Global};
use crate::bench;
use crate::model;
use crate::run_dir::Log;
use crate::ui::{Screen, out};

/// Rows decoded together; bounds memory, changes no answer.
const MAX_ROWS: usize = 64;
/// Questions of a held-out set without `--limit`: half an interval of 5 points.
const HELD_OUT: usize = 300;

/// Greedy answers to every question, judged.
pub(crate) fn run(args: &Eval, global: Global) -> Result<ExitCode> {
    let clock = Instant::now();
    let mut screen = Screen::new(global);
    let splits = questions(args)?;
    if let Some(path) = args.out.as_deref().filter(|path| path.exists()) {
        bail!("{} exists already; choose another file with --out", path.display());
    }
    let checkpoint = model::load(&args.model, &screen)?;
    let style = model::style(&checkpoint, args.style);
    let examiner = Examiner {
        sampler: Sampler::new(&checkpoint, MAX_ROWS)?,
        style,
        max_new_tokens: args.max_new_tokens as usize,
        max_position: checkpoint.config.max_position,
    };
    let mut log = args.out.as_deref().map(Log::create).transpose()?;
    let mut sheets = Vec::new();
    for split in &splits {
        split.bad.iter().for_each(|bad| screen.warn(bad));
        sheets.push(examiner.examine(split, &mut screen, log.as_mut())?);
    }
    let seconds = clock.elapsed().as_secs_f64();
    match global.json {
        true => out(&format!("{}\n", to_json(args, &checkpoint, style, &sheets, seconds)))?,
        false => out(&format!("{}{seconds:.1} s\n", table(&sheets)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A question of either kind.
enum Question {
    Task(Task),
    Item(Box<BenchItem>),
}

/// The questions of one row of the table.
struct Split {
    suite: String,
    name: String,
    questions: Vec<Question>,
    bad: Vec<String>,
}

fn questions(args: &Eval) -> Result<Vec<Split>> {
    let limit = args.limit.map(|n| n as usize);
    let Some(dir) = &args.bench else {
        let n = limit.unwrap_or(HELD_OUT);
        let (name, tasks) = (args.questions.to_string(), args.questions.draw(n));
        let questions = tasks.into_iter().map(Question::Task).collect();
        return Ok(vec![Split { suite: "toolr0".into(), name, questions, bad: Vec::new() }]);
    };
    let splits = bench::read(dir)?.into_iter().map(|split| {
        let items = split.items.into_iter().take(limit.unwrap_or(usize::MAX));
        let questions = items.map(|item| Question::Item(Box::new(item))).collect();
        Split { suite: split.suite, name: split.name, questions, bad: split.bad }
    });
    Ok(splits.collect())
}

/// The result of one split.
#[derive(Clone, Debug, Default, Serialize)]
struct Sheet {
    suite: String,
    split: String,
    items: usize,
    solved: usize,
    accuracy: f64,
    interval: (f64, f64),
    parse_rate: f64,
    /// Share right by BFCL's own rule; of BFCL's questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    bfcl_accuracy: Option<f64>,
    /// Hammer's micro F1 of names and of arguments; of benchmark questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_f1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_f1: Option<f64>,
    errors: Errors,
    /// Lines of the file that are no question.
    bad_lines: usize,
}

/// Wrong answers by kind. One answer may be wrong in several ways.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Errors {
    #[serde(flatten)]
    counts: ErrorCounts,
    /// Nothing was called, and something should have been.
    no_call: usize,
    /// Something was called where no tool fits.
    should_abstain: usize,
    /// The prompt is longer than the model's positions, so nothing was asked.
    prompt_too_long: usize,
    /// The chat template refuses the conversation, so nothing was asked.
    template_refused: usize,
}

/// One line of `--out`.
#[derive(Serialize)]
struct Line<'a> {
    suite: &'a str,
    split: &'a str,
    id: String,
    solved: bool,
    completion: Option<&'a str>,
    prediction: Option<Vec<ToolCall>>,
    fault: Option<&'a Fault>,
    errors: CallErrors,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    scores: Option<Scores>,
}

/// What there is to ask with.
struct Examiner {
    sampler: Sampler,
    style: Style,
    max_new_tokens: usize,
    max_position: usize,
}

/// What became of a question before it was asked.
enum Asked {
    Yes,
    TooLong,
    Refused,
}

impl Examiner {
    fn prompt(&self, question: &Question) -> Prompt {
        match question {
            Question::Task(task) => wire::solver::prompt(&task.question, &task.tools, self.style),
            Question::Item(item) => bench::prompt(item, self.style),
        }
    }

    fn examine(&self, split: &Split, screen: &mut Screen, mut log: Option<&mut Log>) -> Result<Sheet> {
        let (suite, name) = (&split.suite, &split.name);
        screen.begin(&format!("{suite}/{name}"), split.questions.len());
        let (mut asked, mut prompts) = (Vec::new(), Vec::new());
        for question in &split.questions {
            let prompt = self.prompt(question);
            asked.push(match self.sampler.encode(&prompt) {
                Ok(ids) if ids.len() < self.max_position => {
                    prompts.push((prompt, vec![Stream::root(0)]));
                    Asked::Yes
                }
                Ok(_) => Asked::TooLong,
                Err(_) => Asked::Refused,
            });
        }
        let sampling = SamplingConfig { max_new_tokens: self.max_new_tokens, ..SamplingConfig::greedy() };
        let groups = self.sampler.sample(&prompts, &sampling, &mut |done| {
            screen.advance(done, "");
            true
        })?;
        let mut answers =
            groups.into_iter().filter_map(|mut group| group.rollouts.pop()).map(|rollout| rollout.text);
        let mut sheet = Sheet {
            suite: suite.clone(),
            split: name.clone(),
            items: split.questions.len(),
            bad_lines: split.bad.len(),
            ..Sheet::default()
        };
        let (mut parsed, mut bfcl, mut hammer) = (0, None, None);
        for (i, (question, asked)) in split.questions.iter().zip(asked).enumerate() {
            let answer = match asked {
                Asked::Yes => answers.next(),
                Asked::TooLong => {
                    sheet.errors.prompt_too_long += 1;
                    None
                }
                Asked::Refused => {
                    sheet.errors.template_refused += 1;
                    None
                }
            };
            let (verdict, scores) = verdict(question, answer.as_deref(), &mut sheet.errors);
            sheet.solved += usize::from(verdict.solved);
            parsed += usize::from(answer.is_some() && verdict.fault.is_none());
            if let Some(scores) = &scores {
                *hammer.get_or_insert_with(HammerCounts::default) += scores.hammer_counts;
                let own = scores.bfcl_match.map(usize::from);
                bfcl = own.map_or(bfcl, |own| Some(bfcl.unwrap_or(0) + own));
            }
            if let Some(log) = log.as_deref_mut() {
                log.push(&Line {
                    suite,
                    split: name,
                    id: id(question, i),
                    solved: verdict.solved,
                    completion: answer.as_deref(),
                    prediction: answer.as_deref().and_then(|text| wire::solver::parse(text).ok()),
                    fault: verdict.fault.as_ref(),
                    errors: verdict.errors,
                    scores,
                })?;
            }
        }
        let share = |n: usize| n as f64 / sheet.items.max(1) as f64;
        sheet.accuracy = share(sheet.solved);
        sheet.parse_rate = share(parsed);
        sheet.bfcl_accuracy = bfcl.map(share);
        sheet.interval = wilson(sheet.solved, sheet.items);
        sheet.name_f1 = hammer.as_ref().map(HammerCounts::name_f1);
        sheet.parameter_f1 = hammer.as_ref().map(HammerCounts::parameter_f1);
        screen.advance(sheet.items, &format!("accuracy {:.1} %", 100.0 * sheet.accuracy));
        screen.end();
        Ok(sheet)
    }
}

fn id(question: &Question, i: usize) -> String {
    match question {
        Question::Task(task) => format!("{i}-{}", task.id()),
        Question::Item(item) => item.id.clone(),
    }
}

/// Judges an answer and counts what is wrong with it. Without an answer, only the prompt was at fault.
fn verdict(question: &Question, answer: Option<&str>, errors: &mut Errors) -> (Verdict, Option<Scores>) {
    let item = match question {
        Question::Task(task) => {
            let verdict = judge(task, answer.unwrap_or(""));
            count(&verdict.errors, errors);
            return (verdict, None);
        }
        Question::Item(item) => item,
    };
    let read = answer.map(wire::solver::parse);
    let calls = read.as_ref().and_then(|read| read.as_deref().ok());
    let scores = Scores::new(calls, item);
    let mut verdict = Verdict { solved: scores.ast_match, fault: None, errors: CallErrors::default() };
    match &read {
        // An unreadable answer calls nothing, which the published rules take for an abstention.
        Some(Err(fault)) => {
            verdict.fault = Some(fault.clone());
            verdict.errors.format = true;
        }
        Some(Ok(calls)) if !verdict.solved => {
            let gold = item.answers.first().map_or(&[][..], Vec::as_slice);
            let abstain = gold.is_empty() && item.expect() != Some(Expect::AnyCall);
            errors.should_abstain += usize::from(abstain && !calls.is_empty());
            errors.no_call += usize::from(!abstain && calls.is_empty());
            if !abstain && !calls.is_empty() {
                verdict.errors = attribute(&item.tools, gold, Ok(calls));
            }
        }
        _ => {}
    }
    count(&verdict.errors, errors);
    (verdict, Some(scores))
}

fn count(found: &CallErrors, errors: &mut Errors) {
    let counts = &mut errors.counts;
    counts.format += usize::from(found.format);
    counts.tool_name += usize::from(found.tool_name);
    counts.argument_names += usize::from(found.argument_names);
    counts.argument_values += usize::from(found.argument_values);
    counts.n_calls += usize::from(found.n_calls);
}

/// Questions, solved ones, and bad lines of all splits.
fn sums(sheets: &[Sheet]) -> (usize, usize, usize) {
    sheets.iter().fold((0, 0, 0), |(n, k, bad), s| (n + s.items, k + s.solved, bad + s.bad_lines))
}

fn to_json(
    args: &Eval,
    model: &Checkpoint,
    style: Style,
    sheets: &[Sheet],
    seconds: f64,
) -> serde_json::Value {
    let (items, solved, bad_lines) = sums(sheets);
    json!({
        "model": args.model,
        "parameters": model.tensors.values().map(|t| t.elem_count()).sum::<usize>(),
        "style": style,
        "seconds": seconds,
        "items": items,
        "solved": solved,
        "accuracy": solved as f64 / items.max(1) as f64,
        "interval": wilson(solved, items),
        "bad_lines": bad_lines,
        "splits": sheets,
    })
}

fn table(sheets: &[Sheet]) -> String {
    let mut text = format!(
        "{:28} {:>6} {:>9} {:>18} {:>8} {:>8} {:>8} {:>8}\n",
        "", "items", "accuracy", "95 % interval", "parsed", "BFCL", "name F1", "arg. F1"
    );
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let mut row = |name: &str, items: usize, solved: usize, rest: [Option<f64>; 4]| {
        let (low, high) = wilson(solved, items);
        let interval = format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high);
        let accuracy = percent(Some(solved as f64 / items.max(1) as f64));
        let _ = write!(text, "{name:28} {items:>6} {accuracy:>9} {interval:>18}");
        rest.into_iter().for_each(|share| _ = write!(text, " {:>8}", percent(share)));
        text.push('\n');
    };
    for s in sheets {
        let name = format!("{}/{}", s.suite, s.split);
        row(&name, s.items, s.solved, [Some(s.parse_rate), s.bfcl_accuracy, s.name_f1, s.parameter_f1]);
    }
    let (items, solved, bad_lines) = sums(sheets);
    if 1 < sheets.len() {
        row("all", items, solved, [None; 4]);
    }
    let sum = |of: fn(&Errors) -> usize| sheets.iter().map(|sheet| of(&sheet.errors)).sum::<usize>();
    let kinds: [(&str, usize); 9] = [
        ("unreadable", sum(|e| e.counts.format)),
        ("no call", sum(|e| e.no_call)),
        ("should have abstained", sum(|e| e.should_abstain)),
        ("wrong tool", sum(|e| e.counts.tool_name)),
        ("argument names", sum(|e| e.counts.argument_names)),
        ("argument values", sum(|e| e.counts.argument_values)),
        ("number of calls", sum(|e| e.counts.n_calls)),
        ("prompt too long", sum(|e| e.prompt_too_long)),
        ("refused by the template", sum(|e| e.template_refused)),
    ];
    let kinds: Vec<String> =
        kinds.iter().filter(|(_, n)| 0 < *n).map(|(kind, n)| format!("{kind} {n}")).collect();
    let wrong = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
    let _ = writeln!(text, "wrong answers by kind: {wrong}");
    if 0 < bad_lines {
        let _ = writeln!(text, "lines that are no question: {bad_lines}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(answers: serde_json::Value, meta: serde_json::Value) -> Question {
        let value = json!({"id": "1", "benchmark": "b", "split": "s", "messages": [{"role": "user", "content": "q"}],
            "tools": [{"name": "f"}, {"name": "g"}], "answers": answers, "meta": meta});
        Question::Item(Box::new(serde_json::from_value(value).unwrap()))
    }

    #[track_caller]
    fn check(question: &Question, answer: Option<&str>, solved: bool, want: &str) {
        let mut errors = Errors::default();
        let (verdict, _) = verdict(question, answer, &mut errors);
        assert_eq!(verdict.solved, solved);
        let counts = serde_json::to_value(errors).unwrap();
        let found: Vec<_> =
            counts.as_object().unwrap().iter().filter(|(_, n)| **n == 1).map(|(k, _)| k.as_str()).collect();
        assert_eq!(found.join(" "), want);
    }

    #[test]
    fn every_wrong_answer_has_a_kind() {
        let calls = |text: &str| format!("<think>t</think><tool_call_answer>{text}</tool_call_answer>");
        let (f, g) = (calls(r#"[{"name":"f","arguments":{}}]"#), calls(r#"[{"name":"g","arguments":{}}]"#));
        let gold = item(json!([[{"name": "f", "arguments": {}}]]), json!({}));
        check(&gold, Some(&f), true, "");
        check(&gold, Some(&g), false, "tool_name");
        check(&gold, Some(&calls("[]")), false, "no_call");
        check(&gold, Some("f()"), false, "format");
        check(&gold, None, false, "");
        let none = item(json!([[]]), json!({"expect": "no_call"}));
        check(&none, Some(&calls("[]")), true, "");
        check(&none, Some(&f), false, "should_abstain");
        let any = item(json!([]), json!({"expect": "any_call"}));
        check(&any, Some(&g), true, "");
        check(&any, Some(&calls("[]")), false, "no_call");
    }

    #[test]
    fn a_table_says_what_went_wrong() {
        let mut sheet =
            Sheet { suite: "a".into(), split: "b".into(), items: 4, solved: 1, ..Sheet::default() };
        sheet.errors.counts.format = 3;
        sheet.bad_lines = 2;
        let text = table(&[sheet]);
        assert!(
            text.contains("25.0 %") && text.contains("unreadable 3\n") && text.contains("question: 2"),
            "{text}"
        );
    }
}
