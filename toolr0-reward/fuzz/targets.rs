//! What each fuzz target does with a text. A test of the crate does the same with texts that are at hand, so that
//! these bodies are compiled and run without a fuzzer, too.

use std::sync::LazyLock;

use toolr0_reward::ast::BenchItem;
use toolr0_reward::grounding::Ground;
use toolr0_reward::matching::values_match;
use toolr0_reward::question::Question;
use toolr0_reward::schema::check_schemas;
use toolr0_reward::score::{Profile, Side, score_line};
use toolr0_reward::tools::{Context, Task, TaskSpec};
use toolr0_reward::verify::{VerifyConfig, inspect};
use toolr0_reward::wire::generator::{parse, write};
use toolr0_reward::wire::{self, Style};
use toolr0_reward::{Fault, judge, solver_reward, verify};

static TASK: LazyLock<Task> = LazyLock::new(|| {
    let text = r#"{"question": "Book a table for 2 in Oslo.",
        "tools": [{"name": "book_table", "description": "Book.", "parameters": {"type": "object",
            "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}, "required": ["city"]}}],
        "gold": [{"name": "book_table", "arguments": {"city": "Oslo", "people": 2}}]}"#;
    serde_json::from_str(text).expect("a task")
});

/// A benchmark's questions: with an answer, with alternatives, with none that is right, with any that is.
static ITEMS: LazyLock<[Question; 4]> = LazyLock::new(|| {
    let item = |answers: &str, rest: &str| {
        let head = r#"{"id": "1", "benchmark": "b", "split": "s", "messages": [{"role": "user", "content": "Book it."}]"#;
        let tools = serde_json::to_string(&TASK.tools).expect("tools are plain data");
        let text = format!(r#"{head}, "tools": {tools}, "answers": {answers}, {rest}}}"#);
        Question::Item(Box::new(serde_json::from_str(&text).expect("an item")))
    };
    let gold = serde_json::to_string(&TASK.gold).expect("calls are plain data");
    let spec = r#""answer_spec": [{"book_table": {"city": ["Oslo"], "people": [2, ""]}}]"#;
    [
        item(&format!("[{gold}]"), r#""meta": {}"#),
        item(&format!("[{gold}]"), spec),
        item("[[]]", r#""meta": {"expect": "no_call"}"#),
        item("[]", r#""meta": {"expect": "any_call"}"#),
    ]
});

/// A generator's completion: reading and verifying never panic, and what is read is read again from its own text.
pub(crate) fn generator(text: &str) {
    let task = match parse(text) {
        Ok(task) => task,
        Err(fault) => return assert!(!Fault::kind(&fault).is_empty()),
    };
    for (n_tools, n_calls) in [(task.tools.len(), task.gold.len()), (1, 1)] {
        let spec = TaskSpec { domain: "travel".into(), context: Context::SingleTurn, n_tools, n_calls };
        if verify(&task, &spec, &Default::default()).is_ok() {
            assert_eq!(parse(&write("x", &task)).as_ref(), Ok(&task), "a sound task survives its own text");
        }
    }
}

/// A solver's completion: reading, judging and paying never panic, and rewards stay in their range.
pub(crate) fn solver(text: &str) {
    let verdict = judge(&TASK, text);
    let reward = solver_reward(&TASK, text, &Default::default()).total();
    let reward = reward.expect("a solver's reward is always known");
    assert!((0.0..=2.0).contains(&reward), "{reward}");
    assert!(!verdict.solved || verdict.fault.is_none());
}

/// An answer to a benchmark's question, marked by the published rules, which take one that cannot be read for silence.
pub(crate) fn marks(text: &str) {
    for question in ITEMS.iter() {
        let mark = question.mark(text);
        assert!(!mark.solved || !mark.errors.any() || mark.fault.is_some());
        assert!(mark.fault.is_none() || mark.calls.is_none());
    }
}

/// The schema that a generator gave a parameter, and a value for it: the text is the one, a line end, and the other.
pub(crate) fn schemas(text: &str) {
    let (schema, value) = text.split_once('\n').unwrap_or((text, text));
    let Ok(schema) = serde_json::from_str(schema) else { return };
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    values_match(Some(&schema), &value, &value);
    let mut task = TASK.clone();
    task.tools[0].parameters["properties"]["city"] = schema;
    task.gold[0].arguments.insert("city".into(), value);
    let _ = check_schemas(&task.tools);
    let nested = VerifyConfig { flat: false, ..VerifyConfig::default() };
    let findings = inspect(&task, None, &nested);
    assert!(findings.first().is_none_or(|fault| !fault.kind().is_empty()));
}

/// A judge's reply: a score from 1 to 5 or nothing.
pub(crate) fn rater(text: &str) {
    assert!(wire::judge::parse(text).is_none_or(|score| (1..=5).contains(&score)));
}

/// The public release's own rules, with their reader of Python literals, which sees the text bare as well.
pub(crate) fn release(text: &str) {
    let bare = format!("<think>x</think><tool_call_answer>{text}</tool_call_answer>");
    let menu = format!(
        "<think>x</think><question>Book a table for 2 in Oslo now.</question><available_tools>{text}\
         </available_tools><tool_call_answer>{text}</tool_call_answer>"
    );
    for completion in [text, &bare, &menu] {
        let line = serde_json::json!({"completion": completion, "gold": TASK.gold}).to_string();
        for side in [Side::Solver, Side::Generator] {
            assert!(score_line(side, Profile::Release, &line).is_ok());
        }
    }
}

/// A line of a file: of completions to score, of benchmark questions. It may be no line at all.
pub(crate) fn lines(text: &str) {
    for profile in [Profile::Release, Profile::Strict] {
        for side in [Side::Solver, Side::Generator] {
            let _ = score_line(side, profile, text);
        }
    }
    let Ok(item) = serde_json::from_str::<BenchItem>(text) else { return };
    if check_schemas(&item.tools).is_ok() {
        wire::tools_json(&item.tools, Style::Compact);
    }
}

/// A question and a value that may stand in it: the text is both.
pub(crate) fn grounding(text: &str) {
    let (question, value) = text.split_once('\n').unwrap_or((text, text));
    let ground = Ground::new(question);
    ground.holds(&value.into());
    ground.holds(&serde_json::from_str(value).unwrap_or_default());
}
