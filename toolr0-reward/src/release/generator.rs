//! The release's rewards of a generator's completion that need no solver.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;

use super::python::{Dict, Py, collapse, float, is_space, loads, strip};
use super::{Call, Case, blocks, has_bracketed, has_phrase, normalize_call, strip_fences};

/// The six sub-rewards, each 0 or 1, and what they add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// All four blocks are there and not empty.
    pub tags_parsed: f64,
    /// The menu is a JSON list of named objects.
    pub tools_valid_json: f64,
    /// A first call can be read out of the answer.
    pub gold_valid_json: f64,
    /// Its tool is on the menu.
    pub gold_tool_exists: f64,
    /// It has what `parameters["required"]` lists, which is nothing in the layout that the prompt asks for (fault 2).
    pub gold_args_valid: f64,
    /// Its values stand in the question, whether its tool exists or not (fault 12).
    pub gold_values_grounded: f64,
    /// The mean of the first three; 0 for a placeholder question.
    pub format: f64,
    /// 0.4, 0.4 and 0.2 of the last three; 0 for a placeholder question.
    pub validity: f64,
}

/// Scores a completion.
pub fn score(completion: &str) -> Score {
    let last = |tag: &str| {
        blocks(completion, tag, Case::Exact).last().map(|text| strip(text)).filter(|t| !t.is_empty())
    };
    let (Some(_), Some(question), Some(tools), Some(answer)) =
        (last("think"), last("question"), last("available_tools"), last("tool_call_answer"))
    else {
        return Score::default();
    };
    let loads_relaxed = |text: &str| loads(strip_fences(text));
    let tools = loads_relaxed(tools).and_then(menu);
    let gold = loads_relaxed(answer).and_then(|value| normalize_call(&value, loads_relaxed));
    let tool = match (&tools, &gold) {
        // The last of two tools with one name, as in a dictionary.
        (Some(tools), Some(gold)) => {
            tools.iter().rfind(|t| t.get("name").and_then(Py::as_str) == Some(&gold.name))
        }
        _ => None,
    };
    let mut score = Score {
        tags_parsed: 1.0,
        tools_valid_json: f64::from(tools.is_some()),
        gold_valid_json: f64::from(gold.is_some()),
        gold_tool_exists: f64::from(tool.is_some()),
        gold_args_valid: f64::from(
            tool.is_some_and(|tool| gold.as_ref().is_some_and(|gold| has_required(gold, tool))),
        ),
        gold_values_grounded: f64::from(gold.as_ref().is_some_and(|gold| is_grounded(gold, question))),
        ..Score::default()
    };
    if !is_placeholder(question) {
        score.format = (score.tags_parsed + score.tools_valid_json + score.gold_valid_json) / 3.0;
        score.validity =
            0.4 * score.gold_tool_exists + 0.4 * score.gold_args_valid + 0.2 * score.gold_values_grounded;
    }
    score
}

fn menu(value: Py) -> Option<Vec<Dict>> {
    let Py::List(items) = value else { return None };
    let tool = |item: &Py| {
        let tool = item.as_dict()?;
        let named = tool.get("name").and_then(Py::as_str).is_some_and(|name| !strip(name).is_empty());
        let parameters = tool.get("parameters").is_none_or(|p| p.as_dict().is_some());
        (named && parameters).then(|| tool.clone())
    };
    if items.is_empty() { None } else { items.iter().map(tool).collect() }
}

fn has_required(gold: &Call, tool: &Dict) -> bool {
    let required = tool.get("parameters").and_then(Py::as_dict).and_then(|p| p.get("required"));
    match required {
        Some(Py::List(names)) => names.iter().all(|name| gold.arguments.get_same(name).is_some()),
        _ => true,
    }
}

fn is_grounded(gold: &Call, question: &str) -> bool {
    // Padded, so that a word boundary is a space on either side: nothing else is left between words.
    let question = format!(" {} ", normalized(question));
    gold.arguments.iter().all(|(_, value)| match value {
        Py::Bool(_) | Py::None => true,
        value => variants(value).iter().any(|variant| question.contains(&format!(" {variant} "))),
    })
}

const NUMBERS: [(u32, &str); 28] = [
    (0, "zero"),
    (1, "one"),
    (2, "two"),
    (3, "three"),
    (4, "four"),
    (5, "five"),
    (6, "six"),
    (7, "seven"),
    (8, "eight"),
    (9, "nine"),
    (10, "ten"),
    (11, "eleven"),
    (12, "twelve"),
    (13, "thirteen"),
    (14, "fourteen"),
    (15, "fifteen"),
    (16, "sixteen"),
    (17, "seventeen"),
    (18, "eighteen"),
    (19, "nineteen"),
    (20, "twenty"),
    (30, "thirty"),
    (40, "forty"),
    (50, "fifty"),
    (60, "sixty"),
    (70, "seventy"),
    (80, "eighty"),
    (90, "ninety"),
];

/// The spellings of a value that count as its mention.
fn variants(value: &Py) -> BTreeSet<String> {
    let text = value.display();
    let plain = normalized(&text);
    let mut variants = BTreeSet::new();
    if let Some(number) = float(&text).filter(|f| f.is_finite() && f.fract() == 0.0) {
        let digits = format!("{:.0}", number.abs());
        variants.insert(digits.clone());
        if number.abs() >= 1000.0 {
            variants.insert(grouped(&digits));
        }
        if let Some((_, word)) = NUMBERS.iter().find(|(n, _)| f64::from(*n) == number) {
            variants.insert((*word).to_owned());
        }
    }
    if let Some((n, _)) = NUMBERS.iter().find(|(_, word)| *word == plain) {
        variants.insert(n.to_string());
    }
    if !plain.is_empty() {
        variants.insert(plain);
    }
    variants
}

/// Digits in groups of three, with spaces.
fn grouped(digits: &str) -> String {
    let head = digits.len() % 3;
    let mut groups: Vec<&str> = (head..digits.len()).step_by(3).map(|at| &digits[at..at + 3]).collect();
    if head > 0 {
        groups.insert(0, &digits[..head]);
    }
    groups.join(" ")
}

/// NFKC, case-folded, every run of anything but `a-z`, `0-9` and white space as one space.
fn normalized(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.nfkc() {
        match c {
            // Python's `casefold` is `lower` but for these, as far as ASCII letters come out of it.
            'ß' | 'ẞ' => out.push_str("ss"),
            'ǰ' => out.push('j'),
            'ẖ' => out.push('h'),
            'ẗ' => out.push('t'),
            'ẘ' => out.push('w'),
            'ẙ' => out.push('y'),
            c => out.extend(c.to_lowercase().map(|c| {
                let kept = c.is_ascii_lowercase() || c.is_ascii_digit() || is_space(c);
                if kept { c } else { ' ' }
            })),
        }
        // The accent that case folding splits off is no letter.
        if matches!(c, 'ǰ' | 'ẖ' | 'ẗ' | 'ẘ' | 'ẙ') {
            out.push(' ');
        }
    }
    collapse(&out)
}

fn is_placeholder(question: &str) -> bool {
    const PHRASES: [&str; 6] = [
        "the generated user question here",
        "user question must be from the specified domain",
        "generate a new tool-calling task now",
        "control spec",
        "rules to satisfy",
        "private reasoning",
    ];
    let question = strip(question).to_lowercase();
    question.chars().count() < 8
        || PHRASES.iter().any(|phrase| has_phrase(&question, phrase))
        || question.contains("[the private reasoning here]")
        || question.split('\n').any(|line| has_bracketed(line, &["generated user question"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, want: &[&str]) {
        let want: BTreeSet<String> = want.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(variants(&loads(json).unwrap()), want, "{json}");
    }

    /// The vectors that were read off the running release.
    #[test]
    fn grounding_variants() {
        check("5", &["5", "five"]);
        check("25", &["25"]);
        check("1000", &["1000", "1 000"]);
        check("1500.0", &["1500", "1 500", "1500 0"]);
        check("-5", &["5"]);
        check("3.5", &["3 5"]);
        check("\"twenty\"", &["twenty", "20"]);
        check("\"2024-03-05\"", &["2024 03 05"]);
        check("\"東京\"", &[]);
        check("\"\"", &[]);
        check("[\"a\", \"B c\"]", &["a b c"]);
        check("\"Straße\"", &["strasse"]);
    }
}
