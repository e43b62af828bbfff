//! What the fuzz target does with a text. A test of the crate does the same with texts that are at hand.

use toolr0_curriculum::release::{
    calls_key, difficulty_word, judge_score, names_key, parse_answer, repetition_penalties,
};

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
