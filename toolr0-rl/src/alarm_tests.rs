//! Every alarm beyond its threshold and short of it, once, and again only after it was good.

use serde_json::json;
use toolr0_curriculum::Attempts;
use toolr0_tools::{Context, Task, TaskSpec, ToolSpec};

use super::*;
use crate::loss::LossStats;
use crate::update::UpdateStats;

/// A step of the solver that is as good as any.
fn step(reward: f64, norm: f64, entropy: f64, zero_variance: f64) -> StepReport {
    let stats = LossStats { entropy: Some(entropy), ..LossStats::default() };
    let update = UpdateStats { grad_norm: norm, update_norm: norm, stats, ..UpdateStats::default() };
    StepReport { reward, zero_variance, update, ..StepReport::default() }
}

/// A dataset: the words of its questions, its domains and tools, and how many of eight samples were right.
fn dataset(
    questions: &[String],
    domain: impl Fn(usize) -> String,
    tool: impl Fn(usize) -> String,
    solved: u32,
) -> Vec<Candidate> {
    let candidate = |(i, question): (usize, &String)| {
        let properties = json!({"x": {"type": "string"}}).as_object().unwrap().clone();
        let tools = vec![ToolSpec::new(tool(i), "A tool.", properties, &[])];
        let task = Task { question: question.clone(), tools, gold: Vec::new() };
        let spec = TaskSpec { domain: domain(i), context: Context::SingleTurn, n_tools: 1, n_calls: 1 };
        Candidate { attempts: Attempts::new(solved, 8).unwrap(), ..Candidate::new(task, spec) }
    };
    questions.iter().enumerate().map(candidate).collect()
}

/// Questions that share no word: digits would not tell them apart.
fn fresh(from: usize) -> Vec<String> {
    let letters = |i: usize| [i / 26, i % 26].map(|n| char::from(b'a' + n as u8)).iter().collect::<String>();
    let question =
        |i| ["ask", "for", "some", "thing", "new"].map(|word| format!("{word}{}", letters(i))).join(" ");
    (from..from + 8).map(question).collect()
}

fn domain(i: usize) -> String {
    format!("domain {}", i % 2)
}

fn tool(i: usize) -> String {
    format!("tool_{i}")
}

fn exam(accuracy: f64) -> ExamReport {
    let (items, solved) = (100, (100.0 * accuracy) as usize);
    let correct = (0..items).map(|i| i < solved).collect();
    ExamReport {
        items,
        solved,
        accuracy,
        interval: (0.0, 1.0),
        parse_rate: 1.0,
        errors: Default::default(),
        correct,
    }
}

fn names(raised: &[Raised]) -> Vec<Alarm> {
    raised.iter().map(|raised| raised.alarm).collect()
}

/// Eight good steps, then `bad` until an alarm is raised; returns which, and after how many.
#[track_caller]
fn check_step(bad: &StepReport, want: &[Alarm], after: usize) {
    let (mut watch, config) = (Watch::default(), AlarmConfig::default());
    let good = step(0.5, 1.0, 0.1, 0.5);
    for _ in 0..8 {
        assert_eq!(watch.step(&config, Turn::Solver, &good), []);
    }
    for i in 1..after {
        assert_eq!(watch.step(&config, Turn::Solver, bad), [], "bad step {i}");
    }
    let raised = watch.step(&config, Turn::Solver, bad);
    assert_eq!(names(&raised), want);
    for Raised { alarm, value, rule } in raised {
        let beyond = if alarm == Alarm::Entropy { value < rule.threshold } else { rule.threshold < value };
        assert!(beyond && rule.action != Action::Off, "{alarm}: {value} and {rule:?}");
    }
    assert_eq!(watch.step(&config, Turn::Solver, bad), [], "an alarm is raised once");
    for _ in 0..PATIENCE {
        assert_eq!(watch.step(&config, Turn::Solver, &good), []);
    }
    let again: Vec<Alarm> = (0..after).flat_map(|_| names(&watch.step(&config, Turn::Solver, bad))).collect();
    assert_eq!(again, want, "and again after it was good");
    let off = Rule::new(0.0, Action::Off);
    let off = AlarmConfig { update_norm: off, grad_norm: off, entropy: off, zero_variance: off, ..config };
    let mut watch = Watch::default();
    for step in (0..8).map(|_| &good).chain((0..8).map(|_| bad)) {
        assert_eq!(watch.step(&off, Turn::Solver, step), [], "what is off is not looked at");
    }
}

#[test]
fn exploding_norms_collapsed_entropy_and_groups_without_a_signal_are_raised() {
    check_step(&step(0.5, 30.0, 0.1, 0.5), &[Alarm::UpdateNorm, Alarm::GradNorm], 1);
    check_step(&step(0.5, 15.0, 0.1, 0.5), &[Alarm::UpdateNorm], 1);
    // Over five steps: the mean of 0.1 and four times 0.0001 is still good.
    check_step(&step(0.5, 1.0, 0.0001, 0.5), &[Alarm::Entropy], 5);
    check_step(&step(0.5, 1.0, 0.1, 1.0), &[Alarm::ZeroVariance], 5);
}

#[test]
fn datasets_that_repeat_themselves_or_jump_are_raised() {
    let config = AlarmConfig::default();
    let look = |watch: &mut Watch, tasks: &[Candidate]| names(&watch.dataset(&config, tasks, 2));
    let good = |from: usize, solved: u32| dataset(&fresh(from), domain, tool, solved);
    let mut watch = Watch::default();
    assert_eq!(look(&mut watch, &good(0, 3)), []);
    assert_eq!(look(&mut watch, &good(100, 5)), [], "5/8 after 3/8 is no jump");

    let drifted = good(200, 8);
    assert_eq!(look(&mut watch.clone(), &drifted), []);
    assert_eq!(look(&mut watch.clone(), &good(200, 0)), [Alarm::Drift]);
    // The same questions as two datasets ago: the whole history is looked at.
    assert_eq!(look(&mut watch.clone(), &good(0, 5)), [Alarm::Overlap]);
    let same = vec!["please book a room for me in the city".to_owned(); 8];
    assert_eq!(look(&mut watch.clone(), &dataset(&same, domain, tool, 5)), [Alarm::Distinct, Alarm::Overlap]);
    let one_tool = dataset(&fresh(300), domain, |_| "tool".to_owned(), 5);
    assert_eq!(look(&mut watch.clone(), &one_tool), [Alarm::Schemas]);
    let one_domain = dataset(&fresh(300), |_| "domain 0".to_owned(), tool, 5);
    assert_eq!(names(&watch.clone().dataset(&config, &one_domain, 2)), [], "a half is the threshold");
    let mut wide = config.clone();
    wide.domains.threshold = 0.6;
    assert_eq!(names(&watch.clone().dataset(&wide, &one_domain, 2)), [Alarm::Domains]);
    assert_eq!(look(&mut watch, &[]), [], "of nothing there is nothing to say");
}

#[test]
fn reward_that_rises_while_the_exam_falls_is_raised() {
    let config = AlarmConfig::default();
    let after = |rewards: [f64; 2], accuracies: [f64; 3]| {
        let (mut watch, mut exams, mut raised) = (Watch::default(), vec![exam(accuracies[0])], Vec::new());
        for (reward, accuracy) in rewards.into_iter().zip(&accuracies[1..]) {
            for _ in 0..3 {
                watch.step(&config, Turn::Solver, &step(reward, 1.0, 0.1, 0.5));
            }
            exams.push(exam(*accuracy));
            raised.extend(names(&watch.exam(&config, &exams)));
            watch.end_turn();
            watch.end_iteration();
        }
        raised
    };
    assert_eq!(after([0.4, 0.7], [0.3, 0.5, 0.4]), [Alarm::Hacking]);
    assert_eq!(after([0.4, 0.7], [0.3, 0.5, 0.47]), [], "chance");
    assert_eq!(after([0.7, 0.4], [0.3, 0.5, 0.4]), [], "both fall: no hacking");
    assert_eq!(after([0.4, 0.7], [0.5, 0.3, 0.4]), [], "nothing to compare the first reward with");
}
