//! Where the release is wrong, and what we do instead: one test for each fault that this crate corrects. The numbers
//! in the names are those of the list of faults in the specification of the method; the other numbers are in the tests
//! of `toolr0-curriculum`, `toolr0-rl` and `toolr0-cli`.

use serde_json::{Value, json};
use toolr0_reward::grounding::Ground;
use toolr0_reward::matching::{CallWeights, match_calls, values_match};
use toolr0_reward::release;
use toolr0_reward::reward::{Curriculum, GeneratorConfig, SolverConfig, generator_reward, solver_reward};
use toolr0_reward::tools::{Task, TaskSpec, ToolCall};
use toolr0_reward::verify::{VerifyConfig, verify};
use toolr0_reward::wire::{generator, judge as rater, solver};
use toolr0_reward::{Style, judge};

use crate::{call, spec, task};

/// Validity under both profiles.
fn validity(task: &Task, spec: &TaskSpec) -> (f64, f64) {
    let text = generator::write("so", task);
    let ours = generator_reward(&text, spec, &Curriculum::default(), &GeneratorConfig::default());
    (release::generator::score(&text).validity, ours.get("validity").unwrap())
}

/// Accuracy of a text under our own profile.
fn accuracy_of(task: &Task, text: &str) -> f64 {
    solver_reward(task, text, &SolverConfig::default()).get("accuracy").unwrap()
}

/// Accuracy under both profiles.
fn accuracy(task: &Task, calls: &[ToolCall]) -> (f64, f64) {
    let text = solver::write("so", calls);
    (release::solver::score(&json!(task.gold), &text).accuracy, accuracy_of(task, &text))
}

fn two_calls() -> (Task, TaskSpec) {
    let mut task = task();
    task.question = "Book a table for two in New York, and find the menu in Boston.".into();
    task.gold.push(call("find_menu", json!({"city": "Boston"})));
    (task, TaskSpec { n_calls: 2, ..spec() })
}

#[test]
fn fault_01_every_argument_is_grounded_not_the_last_alone() {
    let mut task = task();
    task.gold[0].arguments.insert("city".into(), json!("Boston"));
    let verdict = verify(&task, &spec(), &VerifyConfig::default());
    assert_eq!(verdict.unwrap_err().kind(), "ungrounded");
}

#[test]
fn fault_02_required_stands_beside_the_parameters_too() {
    let mut task = task();
    task.gold[0].arguments.remove("n");
    assert_eq!(validity(&task, &spec()), (1.0, 0.4 + 0.2));
}

#[test]
fn fault_03_every_call_counts() {
    let (mut task, spec) = two_calls();
    task.gold[1].arguments.insert("city".into(), json!("Paris"));
    assert_eq!(validity(&task, &spec), (1.0, 0.8));
    let (task, _) = two_calls();
    assert!(!judge(&task, &solver::write("", &task.gold[..1])).solved);
    assert!(judge(&task, &solver::write("", &task.gold)).solved);
}

#[test]
fn fault_04_a_verdict_belongs_to_the_text_and_not_to_its_place() {
    // The release remembers what it parsed by the address of the text, which the next text may get.
    let task = task();
    let (right, wrong) = (solver::write("so", &task.gold), "I do not know which tool to call.");
    let mut text = right.clone();
    let place = text.as_ptr();
    let verdict = |text: &str| (judge(&task, text).solved, accuracy_of(&task, text));
    assert_eq!(verdict(&text), (true, 1.0));
    text.clear();
    text.push_str(wrong);
    assert_eq!(text.as_ptr(), place);
    assert_eq!(verdict(&text), (false, 0.0));
}

#[test]
fn fault_06_a_score_is_the_whole_reply() {
    assert_eq!(rater::parse("Score (1-5): 4"), Some(4));
    assert_eq!(rater::parse("10"), None);
}

#[test]
fn fault_07_probing_and_reward_compare_alike() {
    let task = task();
    let text = solver::write("so", &[call("book_table", json!({"city": "New  York", "n": "2"}))]);
    assert!(judge(&task, &text).solved);
    assert_eq!(solver_reward(&task, &text, &SolverConfig::default()).total(), Some(2.0));
}

#[test]
fn fault_08_agreement_is_on_whole_calls() {
    let task = task();
    let verdict =
        judge(&task, &solver::write("so", &[call("book_table", json!({"city": "Boston", "n": 2}))]));
    assert!(!verdict.solved && verdict.errors.argument_values && !verdict.errors.tool_name);
}

#[test]
fn fault_11_the_specification_is_obeyed() {
    let off = TaskSpec { n_tools: 4, ..spec() };
    assert_eq!(validity(&task(), &off), (1.0, 0.0));
    let off = TaskSpec { n_calls: 2, ..spec() };
    assert_eq!(validity(&task(), &off), (1.0, 0.0));
}

#[test]
fn fault_12_nothing_is_paid_for_values_of_an_unknown_tool() {
    let mut task = task();
    task.gold[0].name = "fly".into();
    assert_eq!(validity(&task, &spec()), (0.2, 0.0));
}

#[test]
fn fault_13_signs_points_and_scripts_count() {
    let ours = |q: &str, v: Value| Ground::new(q).holds(&v);
    let theirs = |q: &str, v: &Value| {
        let tools = r#"[{"name":"f","parameters":{}}]"#;
        let call = json!([{"name": "f", "arguments": {"x": v}}]);
        let text = format!(
            "<think>.</think><question>{q}</question><available_tools>{tools}</available_tools><tool_call_answer>{call}</tool_call_answer>"
        );
        release::generator::score(&text).gold_values_grounded == 1.0
    };
    for (question, value, want) in [
        ("Set it to 5 degrees", json!(-5), false),
        ("Take 3 5 metre planks", json!(3.5), false),
        ("東京の天気を教えてください", json!("東京"), true),
        ("Погода в Москве", json!("Москве"), true),
    ] {
        assert_eq!(ours(question, value.clone()), want, "{value} in {question}");
        assert_eq!(theirs(question, &value), !want, "{value} in {question}");
    }
}

#[test]
fn fault_14_dots_inside_a_value_are_text() {
    let mut task = task();
    task.gold[0].arguments.insert("city".into(), json!("wait... ok"));
    assert_eq!(accuracy(&task, &task.gold), (0.0, 1.0));
    // A bare placeholder is none.
    assert!(!Ground::new("Book it ... now").holds(&json!("...")));
}

#[test]
fn fault_15_a_sure_key_alone_earns_little() {
    let task = task();
    let (theirs, ours) = accuracy(&task, &[call("book_table", json!({"city": "New York"}))]);
    assert!((theirs - 0.9).abs() < 1e-9 && (ours - 0.65).abs() < 1e-9, "{theirs} {ours}");
}

#[test]
fn fault_16_numbers_first_and_booleans_never() {
    let number = json!({"type": "number"});
    assert!(values_match(Some(&number), &json!("1"), &json!("1.0")));
    assert!(!values_match(Some(&number), &json!(true), &json!(1)));
    let one = |v: Value| json!([{"name": "f", "arguments": {"x": v}}]);
    let theirs = |a: Value, b: Value| {
        let text = format!("<think>.</think><tool_call_answer>{}</tool_call_answer>", one(b));
        release::solver::score(&one(a), &text).accuracy
    };
    assert_eq!((theirs(json!("1"), json!("1.0")), theirs(json!(true), json!(1))), (0.5, 1.0));
}

#[test]
fn fault_17_one_layout_for_every_phase() {
    let task = task();
    let print = |q: &str| solver::prompt(q, &task.tools, Style::Paper).fingerprint();
    assert_eq!(print(&task.question), print(&task.question));
    // What a generator wrote in another layout reaches the solver in the same one.
    let text = generator::write("so", &task);
    let again = generator::parse(&text).unwrap();
    assert_eq!(
        solver::prompt(&again.question, &again.tools, Style::Paper).fingerprint(),
        print(&task.question)
    );
}

#[test]
fn fault_22_one_parser_reads_a_text_one_way() {
    let task = task();
    let text = generator::write("so", &task);
    let second =
        text.replace("<question>", "<question>Cancel my table in New York for two.</question><question>");
    // The release's reward takes the last question, its verification the first.
    assert!(release::generator::score(&second).validity > 0.0);
    assert!(release::verify::verify(&second).is_ok());
    assert_eq!(generator::parse(&second).unwrap_err().kind(), "repeated_block");
}

#[test]
fn a_wrong_name_is_worth_nothing() {
    let task = task();
    let wrong = [ToolCall { name: "cancel_table".into(), ..task.gold[0].clone() }];
    assert_eq!(accuracy(&task, &wrong), (0.8, 0.0));
}

#[test]
fn the_best_assignment_is_found_where_the_greedy_one_fails() {
    // The first gold call takes the prediction that the second one needs, and leaves it one of another name.
    let mut task = task();
    task.gold =
        vec![call("book_table", json!({"city": "Oslo", "n": 2})), call("find_menu", json!({"city": "Oslo"}))];
    let pred = [call("find_menu", json!({"city": "Oslo"})), call("book_table", json!({"n": 3}))];
    let (theirs, ours) = accuracy(&task, &pred);
    let best = match_calls(&task.tools, &task.gold, &pred, &CallWeights::default());
    assert_eq!(best.pairs.iter().map(|p| (p.gold, p.pred)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    assert!(theirs < 0.5 && ours > 0.65, "{theirs} {ours}");
}
