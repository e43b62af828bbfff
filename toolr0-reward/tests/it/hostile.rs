//! Whatever a model writes, a parser answers: with a value or a fault, never a panic, in linear time.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use toolr0_reward::reward::{Curriculum, GeneratorConfig, SolverConfig, generator_reward, solver_reward};
use toolr0_reward::score::{Profile, Side, score_line};
use toolr0_reward::tools::{Task, ToolCall, ToolSpec};
use toolr0_reward::wire::{Style, generator, judge as rater, solver, tools_json};
use toolr0_reward::{judge, release};

use crate::{spec, task};

/// Every reader of a completion.
fn read_all(text: &str) {
    let task = task();
    let curriculum = Curriculum::difficulty(1.0).judged(Some(5));
    let reward = generator_reward(text, &spec(), &curriculum, &GeneratorConfig::default());
    assert!((0.0..=3.0).contains(&reward.total().unwrap()));
    let reward = solver_reward(&task, text, &SolverConfig::default());
    assert!((0.0..=2.0).contains(&reward.total().unwrap()));
    assert_eq!(judge(&task, text).fault.is_some(), solver::parse(text).is_err());
    rater::parse(text);
    let score = release::solver::score(&json!(task.gold), text);
    assert!((0.0..=1.0).contains(&score.format) && (0.0..=1.0).contains(&score.accuracy));
    release::generator::score(text);
    let _ = release::verify::verify(text);
    for side in [Side::Solver, Side::Generator] {
        for profile in [Profile::Strict, Profile::Release] {
            let line = json!({"gold": task.gold, "completion": text, "tools": task.tools}).to_string();
            assert!(score_line(side, profile, &line).is_ok());
        }
    }
}

/// Texts near the format: its tags, JSON, Python and their parts in any order.
fn fragments() -> impl Strategy<Value = String> {
    let parts = [
        "<think>",
        "</think>",
        "<question>",
        "</question>",
        "<available_tools>",
        "</available_tools>",
        "<tool_call_answer>",
        "</tool_call_answer>",
        "[",
        "]",
        "{",
        "}",
        "\"name\"",
        "\"arguments\"",
        "\"parameters\"",
        "\"required\"",
        "\"book_table\"",
        "\"New York\"",
        ":",
        ",",
        "2",
        "-1e400",
        "1.5",
        "NaN",
        "true",
        "None",
        "'x'",
        "\"\\ud800\"",
        "\\",
        "```json",
        "```",
        "...",
        "\u{200b}",
        "東京",
        "é",
        "\n",
        " ",
        "b'",
        "\"type\"",
        "\"object\"",
        "\"properties\"",
        "\"string\"",
        "#",
        "(",
        ")",
        "0x",
        "_",
        "minus five hundred",
        "\0",
    ];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

/// Text that needs no escape to stand in a block: no `<`, no white space at the ends, no invisible characters.
fn plain() -> impl Strategy<Value = String> {
    "[A-Za-zäß東0-9][A-Za-zäß東0-9 .,?'\"\\\\{}]{0,30}[A-Za-zäß東0-9]"
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000i32..1_000_000).prop_map(|n| Value::from(f64::from(n) / 64.0)),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("</tool_call_answer>")),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn tool() -> impl Strategy<Value = ToolSpec> {
    let schema = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "integer", "enum": [1, 2]})),
        Just(json!({"type": "array", "items": {"type": "number"}})),
        Just(json!({"type": "boolean", "description": "Yes or no: <b>"})),
    ];
    let name = prop_oneof![
        "[a-z_]{1,8}",
        Just("type".to_owned()),
        Just("required".to_owned()),
        Just("properties".to_owned())
    ];
    ("[a-z][a-z_]{0,10}", plain(), prop::collection::btree_map(name, (schema, any::<bool>()), 0..4)).prop_map(
        |(name, description, params)| {
            let required: Vec<&str> =
                params.iter().filter(|(_, (_, r))| *r).map(|(k, _)| k.as_str()).collect();
            let properties: Map<_, _> =
                params.iter().map(|(k, (schema, _))| (k.clone(), schema.clone())).collect();
            ToolSpec::new(name, description, properties, &required)
        },
    )
}

fn some_task() -> impl Strategy<Value = Task> {
    let call = ("[a-z_]{1,10}", prop::collection::btree_map("\\PC{0,8}", value(), 0..4))
        .prop_map(|(name, arguments)| ToolCall::new(name, arguments.into_iter().collect()));
    (plain(), prop::collection::vec(tool(), 1..5), prop::collection::vec(call, 0..4))
        .prop_map(|(question, tools, gold)| Task { question, tools, gold })
}

proptest! {
    #[test]
    fn never_panics_on_any_string(text in "\\PC*") {
        read_all(&text);
    }

    #[test]
    fn never_panics_near_the_format(text in fragments()) {
        read_all(&text);
    }

    /// A sound completion with one byte taken out or one character put in.
    #[test]
    fn never_panics_on_a_damaged_completion(at in any::<prop::sample::Index>(), c in any::<char>(), cut in any::<bool>()) {
        for text in [generator::write("so", &task()), solver::write("so", &task().gold)] {
            let mut text: Vec<char> = text.chars().collect();
            let at = at.index(text.len());
            if cut { text.truncate(at) } else { text[at] = c }
            read_all(&text.into_iter().collect::<String>());
        }
    }

    #[test]
    fn what_is_written_is_read_back(task in some_task(), think in plain()) {
        prop_assert_eq!(generator::parse(&generator::write(&think, &task)), Ok(task.clone()));
        let text = solver::write(&think, &task.gold);
        prop_assert_eq!(solver::parse(&text), Ok(task.gold.clone()));
        prop_assert!(judge(&task, &text).solved);
        let menu: Vec<ToolSpec> = serde_json::from_str(&tools_json(&task.tools, Style::Paper)).unwrap();
        prop_assert_eq!(menu, task.tools);
    }

    #[test]
    fn the_answer_may_stop_before_its_closing_tag(task in some_task()) {
        let text = solver::write("so", &task.gold);
        let cut = text.strip_suffix(toolr0_reward::wire::STOP[0]).unwrap();
        prop_assert_eq!(solver::parse(cut), Ok(task.gold));
    }
}

#[test]
fn a_mebibyte_of_anything_is_a_fault() {
    let n = 1 << 20;
    let tag = |tag: &str| tag.repeat(n / tag.len());
    let inside = |text: String| format!("<think>.</think><tool_call_answer>{text}</tool_call_answer>");
    for text in [
        "[".repeat(n),
        inside("[".repeat(n)),
        inside("[".repeat(60_000)),
        inside("{\"a\":".repeat(12_000)),
        inside(format!("[{}", "{\"name\":\"f\",\"arguments\":{}},".repeat(2000))),
        tag("<think>"),
        tag("<tool_call_answer>"),
        tag("</tool_call_answer>"),
        tag("<tool_call_answer></tool_call_answer>"),
        tag("<question>")[..65_000].to_owned(),
        tag("<tool_call_answer>")[..65_000].to_owned(),
        "<".repeat(n),
        "\"".repeat(n),
        inside("9".repeat(60_000)),
    ] {
        assert!(solver::parse(&text).is_err(), "{:.40}", text);
        assert!(generator::parse(&text).is_err(), "{:.40}", text);
        read_all(&text);
    }
}

/// A schema is a model's text too: patterns and bounds in it must not blow up.
#[test]
fn hostile_schemas_are_faults_or_bounded() {
    use toolr0_reward::verify::{VerifyConfig, verify};
    for schema in [
        json!({"type": "string", "pattern": "(a+)+$"}),
        json!({"type": "string", "pattern": "(?=a)b"}),
        json!({"type": "string", "pattern": "a{4294967295}"}),
        json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"}),
        json!({"type": "string", "format": "regex", "minLength": -1}),
        json!({"type": "string", "$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"type": ["string", 3]}),
        json!({"type": "string", "enum": 3}),
    ] {
        let mut task = task();
        task.tools[0].parameters["properties"]["city"] = schema.clone();
        task.question = format!("Book a table for 2 in {}!", "a".repeat(1500));
        task.gold[0].arguments.insert("city".into(), json!("a".repeat(1500)));
        let _ = verify(&task, &spec(), &VerifyConfig::default());
        let again = generator::parse(&generator::write("so", &task));
        assert!(again.is_err() || again.is_ok_and(|t| t.tools.len() == 3), "{schema}");
    }
}
