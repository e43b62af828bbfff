//! What the release reads off its judges.

use crate::frontier::Difficulty;
use crate::text::{decimal, strip};

/// The judge's score, 1..=5, by the release's rule: the first digit if it stands at the very start, else the first
/// of the characters 1 to 5 anywhere, else the first spelled number from `one` to `five` that occurs.
///
/// So `Score (1-5): 4` is a 1, and so is `10` (fault 6): the scale in a reply is taken for the score.
pub fn judge_score(reply: &str) -> Option<u8> {
    const SPELLED: [(&str, u8); 5] = [("one", 1), ("two", 2), ("three", 3), ("four", 4), ("five", 5)];
    let reply = strip(reply);
    let score = |digit: u32| (1..=5).contains(&digit).then_some(digit as u8);
    // Only at the start are digits of other scripts read.
    reply
        .chars()
        .next()
        .and_then(decimal)
        .and_then(score)
        .or_else(|| reply.chars().find_map(|c| c.to_digit(10).and_then(score)))
        .or_else(|| {
            let lower = reply.to_lowercase();
            SPELLED.iter().find(|(word, _)| lower.contains(word)).map(|&(_, score)| score)
        })
}

/// The first of the words easy, medium and hard, in any case; `None` where there is none, which the release takes
/// for medium.
pub fn difficulty_word(reply: &str) -> Option<Difficulty> {
    let words = reply.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words
        .into_iter()
        .find_map(|word| Difficulty::ALL.into_iter().find(|d| word.eq_ignore_ascii_case(&d.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_scale_is_taken_for_the_score() {
        assert_eq!(judge_score("Score (1-5): 4"), Some(1));
        assert_eq!(judge_score("10"), Some(1));
        assert_eq!(judge_score(" 7 of 10, so 4"), Some(1));
        assert_eq!(judge_score("none"), Some(1), "`none` holds `one`");
        assert_eq!(judge_score("67890"), None);
    }

    #[test]
    fn words_have_boundaries() {
        assert_eq!(difficulty_word("not_hard, harder; MEDIUM"), Some(Difficulty::Medium));
        assert_eq!(difficulty_word("difficult"), None);
    }

    proptest! {
        #[test]
        fn a_score_is_always_on_the_scale(reply in any::<String>()) {
            prop_assert!(judge_score(&reply).is_none_or(|score| (1..=5).contains(&score)));
        }
    }
}
