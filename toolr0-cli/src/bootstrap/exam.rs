//! The held-out sets: the exam, and the development set on which choices are made.
//!
//! Both hold out three things at once: whole tool families, so that the verb and the noun of a tool were never seen
//! together; argument values; and sentence patterns. Both follow the same law of specifications as self-play.

use std::collections::HashSet;

use toolr0_tools::Task;
use toolr0_tools::source::Menu;

use super::corpus::{draw_task, nano_law};
use super::lexicon::Split;
use super::values::{below, rng_of, shuffle};
use super::writer::write_about;

/// `n` exam tasks of `seed`, no two with the same question. Nothing may be tuned on them.
pub fn exam(seed: u64, n: usize) -> Vec<Task> {
    held_out(seed, n, Split::Exam)
}

/// `n` tasks of the development set, which shares no family, value or sentence pattern with exam or training text.
pub fn dev(seed: u64, n: usize) -> Vec<Task> {
    held_out(seed, n, Split::Dev)
}

/// `n` exam questions of `seed` over what is left of their menus without the tools that they need: the near misses, with
/// which nothing can be done. The gold is to call nothing.
pub fn abstention(seed: u64, n: usize) -> Vec<Task> {
    held_out_tasks(seed, Split::Exam).filter_map(without_its_tools).take(n).collect()
}

/// `n` tasks of `seed` about given tools, each over at most four of a menu, in the exam's sentence patterns and values, which
/// no training text has.
///
/// # Errors
///
/// What there are no words for: a tool or an argument.
pub fn about(seed: u64, n: usize, menus: &[Menu]) -> Result<Vec<Task>, String> {
    let (law, mut seen) = (nano_law(), HashSet::new());
    let menus: Vec<&Menu> = menus.iter().filter(|menu| !menu.tools.is_empty()).collect();
    if menus.is_empty() {
        return Err("a source without tools".to_owned());
    }
    let one = |i| {
        let mut rng = rng_of(seed, i);
        let spec = law.draw(&mut rng);
        let mut tools = menus[below(&mut rng, menus.len())].tools.clone();
        shuffle(&mut rng, &mut tools);
        tools.truncate(4);
        tools.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        write_about(&mut rng, &tools, spec.n_calls, spec.context, Split::Exam)
    };
    // Few tools with few values may not have so many questions.
    let tries = 100 * n as u64;
    let fresh =
        |task: &Result<Task, String>| task.as_ref().map_or(true, |task| seen.insert(task.question.clone()));
    (0..tries).map(one).filter(fresh).take(n).collect()
}

fn without_its_tools(mut task: Task) -> Option<Task> {
    task.tools.retain(|tool| task.gold.iter().all(|call| call.name != tool.name));
    task.gold.clear();
    (!task.tools.is_empty()).then_some(task)
}

fn held_out(seed: u64, n: usize, split: Split) -> Vec<Task> {
    held_out_tasks(seed, split).take(n).collect()
}

/// Held-out tasks without end, no two with the same question.
fn held_out_tasks(seed: u64, split: Split) -> impl Iterator<Item = Task> {
    let (law, mut seen) = (nano_law(), HashSet::new());
    let tasks = (0..).map(move |i| draw_task(&mut rng_of(seed, i), &law, split).1);
    tasks.filter(move |task| seen.insert(task.question.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::bootstrap::lexicon::lexicon;
    use crate::bootstrap::train::BootstrapConfig;
    use crate::bootstrap::writer::patterns;

    /// The words of a text: runs of letters, digits and the signs that values hold inside. Two words are neighbours
    /// if a single space parts them, which the second field says of a word and the one before it.
    fn words(text: &str) -> Vec<(&str, bool)> {
        let inside = |c: char| c.is_alphanumeric() || "@._-:".contains(c);
        let mut words = Vec::new();
        let (mut start, mut last_end) = (None, 0);
        for (i, c) in text.char_indices().chain([(text.len(), ' ')]) {
            match (inside(c), start) {
                (true, None) => start = Some(i),
                (false, Some(from)) => {
                    let word =
                        text[from..i].trim_end_matches(['.', ':', '-']).trim_start_matches(['.', ':', '-']);
                    if !word.is_empty() {
                        let at = word.as_ptr() as usize - text.as_ptr() as usize;
                        words.push((word, text.get(last_end..at) == Some(" ")));
                        last_end = at + word.len();
                    }
                    start = None;
                }
                _ => {}
            }
        }
        words
    }

    /// Values that are more than one token to any tokenizer that splits digits: all strings, and numbers of three
    /// digits or more. Smaller numbers and booleans cannot be held out.
    fn long_values(tasks: &[Task]) -> HashSet<String> {
        let values = tasks.iter().flat_map(|t| &t.gold).flat_map(|call| call.arguments.values());
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(n) => {
                Some(n.to_string()).filter(|n| n.bytes().filter(u8::is_ascii_digit).count() > 2)
            }
            _ => None,
        };
        values.filter_map(text).collect()
    }

    /// The claim that the exam is held out, by search: no exam tool name, question, sentence pattern or value stands
    /// anywhere in the training text, prompts and wrong answers included.
    #[test]
    fn nothing_of_the_exam_or_the_development_set_is_in_the_training_text() {
        let held: Vec<Task> = exam(1, 400).into_iter().chain(dev(1, 400)).collect();
        let values = long_values(&held);
        let questions: HashSet<&str> = held.iter().map(|t| t.question.as_str()).collect();
        let names: HashSet<&str> =
            lexicon().families.iter().filter(|f| f.split != Split::Train).map(|f| f.name.as_str()).collect();
        let patterns: Vec<_> = [patterns(Split::Dev), patterns(Split::Exam)].concat();
        assert!(values.len() > 1000 && names.len() > 200);
        let texts = BootstrapConfig::default().texts(0); // of the shipped base
        for document in texts.iter().flat_map(|text| (0..8000).map(|i| text.document(i))) {
            assert!(!questions.contains(document.task.question.as_str()));
            let prompts = document.prompt.messages.iter().map(|m| &m.content);
            for text in prompts.chain([&document.completion]) {
                for pattern in &patterns {
                    assert!(!text.contains(pattern), "`{pattern}` is in {text}");
                }
                let words = words(text);
                for (from, &(first, _)) in words.iter().enumerate() {
                    assert!(!names.contains(first), "`{first}` is in {text}");
                    assert!(!values.contains(first), "`{first}` is in {text}");
                    let mut phrase = first.to_owned();
                    for &(next, _) in words[from + 1..].iter().take(3).take_while(|(_, near)| *near) {
                        phrase.push(' ');
                        phrase.push_str(next);
                        assert!(!values.contains(&phrase), "`{phrase}` is in {text}");
                    }
                }
            }
        }
        // A question that opens or goes on with a held-out pattern is in no text that lacks all patterns.
        assert!(questions.iter().all(|q| patterns.iter().any(|p| q.contains(p))));
    }

    /// The search above would find what it looks for.
    #[test]
    fn the_search_finds_values_of_every_shape() {
        let text =
            r#"Go to New Oslo at 14:30, code QX-481. [{"date":"2026-03-05","n":148.75,"e":"a@b.com"}]"#;
        let found: Vec<_> = words(text).into_iter().map(|(word, _)| word).collect();
        for value in ["Oslo", "14:30", "QX-481", "2026-03-05", "148.75", "a@b.com"] {
            assert!(found.contains(&value), "{value} in {found:?}");
        }
        assert_eq!(words("a b, c"), [("a", false), ("b", true), ("c", false)]);
    }

    #[test]
    fn sets_are_functions_of_their_seed_without_repeats() {
        assert_eq!(exam(3, 50), exam(3, 50));
        assert_ne!(exam(3, 50), exam(4, 50));
        let questions: HashSet<_> = dev(3, 200).into_iter().map(|t| t.question).collect();
        assert_eq!(questions.len(), 200);
    }

    #[test]
    fn questions_are_about_the_tools_that_are_given() {
        let tool = |name: &str, params: &[&str]| {
            let properties = params.iter().map(|p| ((*p).to_owned(), serde_json::json!({"type": "string"})));
            toolr0_tools::ToolSpec::new(name, "Do it.", properties.collect(), params)
        };
        let menus = |tools| [Menu { domain: "healthcare".into(), tools }];
        let one = menus(vec![tool("find_checkup", &["patient"])]);
        let tasks = about(3, 40, &one).unwrap();
        assert_eq!(tasks, about(3, 40, &one).unwrap());
        assert!(tasks.len() == 40 && tasks.iter().all(|t| t.tools == one[0].tools && t.gold.len() == 1));
        let refused = |menus: &[Menu], words: &str| {
            let error = about(3, 1, menus).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused(&[], "without tools");
        refused(&menus(Vec::new()), "without tools");
        refused(&menus(vec![tool("find_checkup", &[])]), "find_checkup, which takes no arguments");
        refused(&menus(vec![tool("find_checkup", &["aura"])]), "the argument aura of find_checkup");
        refused(&menus(vec![tool("read_minds", &["patient"])]), "the tool read_minds");
    }

    #[test]
    fn to_abstain_is_right_where_the_tools_are_gone() {
        let (whole, bare) = (exam(5, 200), abstention(5, 150));
        let mut whole = whole.iter();
        for task in &bare {
            let origin = whole.find(|whole| whole.question == task.question).expect("in the exam's order");
            assert!(task.gold.is_empty() && !task.tools.is_empty());
            let called = |name: &str| origin.gold.iter().any(|call| call.name == name);
            assert!(task.tools.iter().all(|tool| !called(&tool.name) && origin.tools.contains(tool)));
            let left = origin.tools.iter().filter(|tool| !called(&tool.name)).count();
            assert_eq!(task.tools.len(), left);
        }
        assert!(toolr0_reward::judge(&bare[0], &toolr0_reward::wire::solver::write("none fits", &[])).solved);
    }

    #[test]
    fn the_exam_follows_the_law() {
        let tasks = exam(9, 1000);
        let share = |of: &dyn Fn(&Task) -> bool| tasks.iter().filter(|t| of(t)).count() as f64 / 1000.0;
        // Standard deviation 0.012.
        assert!((share(&|t| t.gold.len() == 2) - 0.18).abs() < 0.05);
        assert!((share(&|t| t.question.contains("\nAgent: ")) - 0.10).abs() < 0.05);
        assert!(tasks.iter().all(|t| (2..=4).contains(&t.tools.len())));
    }
}
