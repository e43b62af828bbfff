//! The rewards' numbers: the release's test vectors, and what the strict rewards make of the same texts.

use serde_json::{Value, json};
use toolr0_reward::release;
use toolr0_reward::reward::{
    Curriculum, CurriculumWeights, GeneratorConfig, RewardConfig, SolverConfig, generator_reward,
    solver_reward,
};
use toolr0_reward::score::Side;
use toolr0_reward::tools::{TaskSpec, ToolSpec};
use toolr0_reward::wire::{generator, solver};
use toolr0_reward::{Profile, Style, judge, score_line};

use crate::{call, spec, task};

const QUESTION: &str = "Book a table for two in New York.";

/// The menu of the vectors; `inside` puts `required` into `parameters`, else it stands beside them.
fn menu(inside: bool) -> Value {
    let properties = json!({"city": {"type": "string"}, "n": {"type": "integer"}});
    if inside {
        json!([{"name": "book", "description": "Book a table.",
            "parameters": {"type": "object", "properties": properties, "required": ["city", "n"]}}])
    } else {
        json!([{"name": "book", "description": "Book a table.", "parameters": properties, "required": ["city", "n"]}])
    }
}

fn completion(question: &str, menu: &str, calls: &Value) -> String {
    format!(
        "<think>.</think><question>{question}</question><available_tools>{menu}</available_tools>\
         <tool_call_answer>{calls}</tool_call_answer>"
    )
}

/// The profile chooses the rules of both roles.
#[test]
fn the_profile_chooses_the_rules() {
    use toolr0_reward::Profile;
    let configs =
        [Profile::Strict, Profile::Release].map(|profile| RewardConfig { profile, ..Default::default() });
    let task = task();
    // The right arguments for a tool that is not the right one: 0.8 in the release, nothing in the strict rules.
    let mut wrong = task.gold.clone();
    wrong[0].name = "other".into();
    let text = solver::write("so", &wrong);
    let accuracy = configs.each_ref().map(|config| config.of_solver(&task, &text).get("accuracy").unwrap());
    assert_eq!(accuracy[0], 0.0);
    assert!((accuracy[1] - release::solver::score(&json!(task.gold), &text).accuracy).abs() < 1e-12);
    assert!((accuracy[1] - 0.8).abs() < 1e-12, "{accuracy:?}");
    // A required argument that is missing: fault 2 of the release pays for it.
    let missing = json!([{"name": "book", "arguments": {"city": "New York"}}]);
    let text = completion(QUESTION, &menu(false).to_string(), &missing);
    let spec = TaskSpec { n_tools: 1, n_calls: 1, ..spec() };
    let of = |config: &RewardConfig| config.of_generator(&text, &spec, &Curriculum::default());
    let validity = configs.each_ref().map(|config| of(config).get("validity").unwrap());
    assert!((validity[0] - 0.6).abs() < 1e-9 && (validity[1] - 1.0).abs() < 1e-9, "{validity:?}");
    assert_eq!(configs.each_ref().map(|config| of(config).get("curriculum")), [Some(0.0); 2]);
}

#[track_caller]
fn generator(text: &str, release: (f64, f64), strict: (f64, f64)) {
    let got = release::generator::score(text);
    assert!(
        (got.format - release.0).abs() < 1e-3 && (got.validity - release.1).abs() < 1e-9,
        "release: {got:?}"
    );
    let n_calls = generator::parse(text).map_or(1, |task| task.gold.len());
    let spec = TaskSpec { n_tools: 1, n_calls, ..spec() };
    let got = generator_reward(text, &spec, &Curriculum::default(), &GeneratorConfig::default());
    let (format, validity) = (got.get("format").unwrap(), got.get("validity").unwrap());
    assert!((format - strict.0).abs() < 1e-3 && (validity - strict.1).abs() < 1e-9, "strict: {got:?}");
}

/// The eight vectors that were read off the running release, and ours beside them.
#[test]
fn generator_vectors() {
    let one = |arguments: Value| json!([{"name": "book", "arguments": arguments}]);
    let (beside, inside) = (menu(false).to_string(), menu(true).to_string());
    generator(
        &completion(QUESTION, &beside, &one(json!({"city": "New York", "n": 2}))),
        (1.0, 1.0),
        (1.0, 1.0),
    );
    let missing = one(json!({"city": "New York"}));
    generator(&completion(QUESTION, &beside, &missing), (1.0, 1.0), (1.0, 0.6));
    generator(&completion(QUESTION, &inside, &missing), (1.0, 0.6), (1.0, 0.6));
    let boston = one(json!({"city": "Boston", "n": 2}));
    generator(&completion(QUESTION, &beside, &boston), (1.0, 0.8), (1.0, 0.8));
    let two = json!([{"name": "book", "arguments": {"city": "New York", "n": 2}},
        {"name": "fly", "arguments": {"to": "Mars"}}]);
    generator(&completion(QUESTION, &beside, &two), (1.0, 1.0), (1.0, 0.0));
    let unknown = json!([{"name": "fly", "arguments": {"city": "New York"}}]);
    generator(&completion(QUESTION, &beside, &unknown), (1.0, 0.2), (1.0, 0.0));
    let good = one(json!({"city": "New York", "n": 2}));
    generator(&completion(QUESTION, "[{", &good), (0.667, 0.2), (0.667, 0.0));
    generator(&completion("two", &beside, &good), (0.0, 0.0), (0.0, 0.0));
}

fn gold(arguments: Value) -> Value {
    json!([{"name": "f", "arguments": arguments}])
}

#[track_caller]
fn accuracy(gold: &Value, answer: &Value, want: f64) {
    let text = format!("<think>.</think><tool_call_answer>{answer}</tool_call_answer>");
    let got = release::solver::score(gold, &text).accuracy;
    assert!((got - want).abs() < 1e-3, "{answer}: got {got}, want {want}");
}

#[test]
fn solver_vectors_of_the_release() {
    let three = gold(json!({"a": 1, "b": 2, "c": 3}));
    accuracy(&three, &gold(json!({"a": 1, "b": 2})), 0.94);
    accuracy(&three, &json!([{"name": "g", "arguments": {"a": 1, "b": 2, "c": 3}}]), 0.8);
    accuracy(&gold(json!({"a": 1})), &gold(json!({})), 0.2);
    accuracy(&gold(json!({})), &json!([{"name": "g", "arguments": {}}]), 0.8);
    let once = gold(json!({"a": 1}))[0].clone();
    accuracy(&json!([once]), &json!([once, once, once]), 0.667);
    for (a, b, same) in [
        (json!(1), json!("1"), true),
        (json!(1.0), json!("1"), true),
        (json!(5), json!(5.0), true),
        (json!(true), json!(1), true),
        (json!("1"), json!("1.0"), false),
        (json!("05"), json!(5), false),
        (json!("+5"), json!(5), false),
        (json!("NYC"), json!("nyc"), false),
        (json!("true"), json!(true), false),
        (json!(null), json!("null"), false),
        // Up to 15 digits a string is a number, beyond it is an identifier.
        (json!("123456789012345"), json!(123_456_789_012_345.0), true),
        (json!("1234567890123456"), json!(1_234_567_890_123_456.0), false),
    ] {
        accuracy(&gold(json!({ "x": a })), &gold(json!({ "x": b })), if same { 1.0 } else { 0.5 });
    }
}

#[test]
fn format_vectors_of_the_release() {
    for (answer, want) in [
        ("[]", 0.6),
        ("null", 0.3),
        ("5", 0.6),
        ("hello there", 0.3),
        (r#"{"name": "f", "x": 1}"#, 1.0),
        ("[{'name': 'f', 'arguments': {'x': None}}]", 1.0),
        (r#"[{"name": "f", "arguments": {"x": "wait... ok"}}]"#, 0.3),
        ("", 0.0),
    ] {
        let text = format!("<tool_call_answer>{answer}</tool_call_answer>");
        let got = release::solver::score(&json!([]), &text);
        assert!((got.format - want).abs() < 1e-9, "{answer}: {got:?}");
        assert_eq!(got.accuracy, 0.0, "no <think>");
    }
}

#[test]
fn the_strict_solver_reward_is_graded() {
    let task = task();
    let total = |calls: &[toolr0_reward::tools::ToolCall]| {
        solver_reward(&task, &solver::write("so", calls), &SolverConfig::default()).total().unwrap()
    };
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    near(total(&task.gold), 2.0);
    near(total(&[call("book_table", json!({"city": "New York", "n": "2"}))]), 2.0);
    near(total(&[call("book_table", json!({"city": "Boston", "n": 2}))]), 1.75);
    near(total(&[call("book_table", json!({"city": "New York"}))]), 1.0 + 0.2 + 0.2 + 0.25);
    near(
        total(&[call("book_table", json!({"city": "New York", "n": 2, "x": 1}))]),
        1.0 + 0.2 + 0.3 * 0.8 + 0.5 * 2.0 / 3.0,
    );
    near(total(&[call("find_menu", json!({"city": "New York"}))]), 1.0);
    near(total(&[]), 0.6);
    let extra = call("find_menu", json!({"city": "New York"}));
    near(total(&[task.gold[0].clone(), extra]), 1.0 + 1.0 / 1.25);
}

#[test]
fn no_call_is_the_right_answer_where_no_tool_serves() {
    let task = toolr0_reward::tools::Task { gold: Vec::new(), ..task() };
    let text = solver::write("none fits", &[]);
    assert_eq!(solver_reward(&task, &text, &SolverConfig::default()).total(), Some(2.0));
    assert!(judge(&task, &text).solved);
    let text = solver::write("a guess", &[call("find_menu", json!({"city": "New York"}))]);
    assert_eq!(solver_reward(&task, &text, &SolverConfig::default()).total(), Some(1.0));
}

#[test]
fn what_is_unknown_is_not_zero() {
    let text = generator::write("so", &task());
    let config = GeneratorConfig::default();
    let reward = |c: Curriculum, config: &GeneratorConfig| generator_reward(&text, &spec(), &c, config);
    let known = Curriculum::difficulty(1.0).judged(Some(3));
    assert_eq!(reward(known, &config).total(), Some(2.75));
    // The judge crashed, or wrote what is no score.
    let crashed = reward(Curriculum::difficulty(1.0).judged(None), &config);
    assert!(crashed.unscorable() && crashed.total().is_none() && crashed.get("format") == Some(1.0));
    assert!(reward(Curriculum::default(), &config).unscorable());
    assert!(reward(Curriculum::difficulty(f64::NAN).judged(Some(5)), &config).unscorable());
    // With the judge off, difficulty counts alone and in full.
    let alone = CurriculumWeights { difficulty: 1.0, semantic: 0.0 };
    let off = GeneratorConfig { curriculum_weights: alone, ..config.clone() };
    assert_eq!(reward(Curriculum::difficulty(0.5), &off).total(), Some(2.5));
    // A faulty task is never probed, and its reward is known all the same.
    let bad = text.replace("\"n\":2", "\"n\":3");
    let reward = generator_reward(&bad, &spec(), &Curriculum::default(), &config);
    assert_eq!(reward.fault.as_ref().map(|f| f.kind()), Some("ungrounded"));
    assert!((reward.total().unwrap() - 1.8).abs() < 1e-9);
}

#[test]
fn a_misspelt_weight_is_an_error() {
    assert!(serde_json::from_value::<RewardConfig>(json!({"solver": {"alpha": 0.5}})).is_ok());
    assert!(serde_json::from_value::<RewardConfig>(json!({"solver": {"alhpa": 0.5}})).is_err());
    assert!(
        serde_json::from_value::<RewardConfig>(json!({"generator": {"verify": {"flatt": true}}})).is_err()
    );
}

#[test]
fn both_roles_see_one_menu() {
    let task = task();
    for style in [Style::Compact, Style::Paper] {
        let prompt = solver::prompt(&task.question, &task.tools, style);
        let menu = toolr0_reward::wire::tools_json(&task.tools, style);
        assert!(prompt.messages[1].content.contains(&menu));
        assert!(!menu.contains(": "), "no spaces in JSON");
        assert!(toolr0_reward::wire::judge::prompt(&task, style).messages[1].content.contains(&menu));
    }
}

/// Corners of the release's rules that no golden line reaches.
#[test]
fn corners_of_the_release() {
    // An empty name gives way to `tool_name`.
    accuracy(&gold(json!({"a": 1})), &json!([{"name": "", "tool_name": "f", "arguments": {"a": 1}}]), 1.0);
    // Of two tools with one name the last one counts.
    let named = |required: Value| json!({"name": "book", "parameters": {"required": required}});
    let two = |a: Value, b: Value| {
        let menu = json!([named(a), named(b)]).to_string();
        let calls = json!([{"name": "book", "arguments": {"n": 2}}]);
        release::generator::score(&completion(QUESTION, &menu, &calls)).gold_args_valid
    };
    assert_eq!((two(json!([]), json!(["city"])), two(json!(["city"]), json!([]))), (0.0, 1.0));
    // 25 characters are enough for a question, 24 are not.
    let verdict = |question: &str| {
        let calls = json!([{"name": "book", "arguments": {"city": "New York", "n": 2}}]);
        release::verify::verify(&completion(question, &menu(false).to_string(), &calls)).map(|_| ())
    };
    assert_eq!(verdict("Book 2 seats in New York."), Ok(()));
    assert_eq!(verdict("Book 2 seats in New York"), Err("question_too_short"));
}

/// A line of completions may come without a menu: then every name may be a tool's.
#[test]
fn without_a_menu_no_tool_is_unknown() {
    let task = task();
    let score = |tools: &[ToolSpec]| {
        let line = json!({"gold": task.gold, "completion": solver::write("so", &task.gold), "tools": tools});
        score_line(Side::Solver, Profile::Strict, &line.to_string()).unwrap()
    };
    for (tools, fault) in
        [(&[][..], json!(null)), (&task.tools, json!(null)), (&task.tools[1..], json!("unknown_tool"))]
    {
        let score = score(tools);
        assert_eq!((&score["accuracy"], &score["fault"]), (&json!(1.0), &fault));
    }
}
