//! What each fuzz target does with a text. A test of the crate does the same with texts that are at hand.

use toolr0_curriculum::release::{
    calls_key, difficulty_word, judge_score, names_key, parse_answer, repetition_penalties,
};
use toolr0_curriculum::{Guard, fingerprint, quality};
use toolr0_tools::{Task, ToolCall, ToolSpec};

/// A reply of a solver, of a judge, of a rater, as the public release reads them; and a question.
pub(crate) fn replies(text: &str) {
    if let Some(json) = parse_answer(text).and_then(|answer| answer.json) {
        calls_key(&json);
        names_key(&json);
    }
    assert!(judge_score(text).is_none_or(|score| (1..=5).contains(&score)));
    difficulty_word(text);
    let half = text.floor_char_boundary(text.len() / 2);
    let penalties = repetition_penalties(&[Some(text), None, Some(&text[..half])], &Default::default());
    assert!(penalties.len() == 3 && penalties.iter().all(|x| x.is_finite()));
}

/// A generator's question: it is like itself, whatever stands in it, and its fingerprint does not look at digits.
pub(crate) fn questions(text: &str) {
    let call = ToolCall::new("send", [("to".to_owned(), text.into())].into_iter().collect());
    let tools = vec![ToolSpec::new("send", text, Default::default(), &[])];
    let task = |question: &str| Task {
        question: question.to_owned(),
        tools: tools.clone(),
        gold: vec![call.clone()],
    };
    let (mut guard, half) = (Guard::default(), text.floor_char_boundary(text.len() / 2));
    guard.add("held out", [text], &[]);
    // A text without a word is like nothing.
    assert!(guard.find(&task(text)).is_some() || guard.find(&task(&text[..half])).is_none());
    assert!(quality(&task(text)).is_finite());
    let other: String = text.chars().map(|c| if c.is_ascii_digit() { '7' } else { c }).collect();
    assert_eq!(fingerprint(&task(text)), fingerprint(&task(&other)));
}
