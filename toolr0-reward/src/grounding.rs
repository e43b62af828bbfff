//! Does a value stand in the question?
//!
//! Unlike the release, signs, decimal points and letters of every script count (fault 13): `-5` is not `5`, `3.5` is
//! not "3 5", and `東京` can be found.

use serde_json::Value;

use crate::text::{folded, is_unspaced, is_word};

/// A question, read once: its folded text and the numbers in it, as digits or as English words.
#[derive(Clone, Debug)]
pub struct Ground {
    text: String,
    numbers: Vec<f64>,
}

impl Ground {
    /// Reads a question. Linear in its length.
    pub fn new(question: &str) -> Self {
        let text = folded(question);
        let mut numbers = digits(&text);
        words(&text, &mut numbers);
        Self { text, numbers }
    }

    /// Whether `value` stands in the question.
    ///
    /// - booleans and `null` need no words of their own;
    /// - numbers: as digits (`1500`, `1,500`, `1500.0`) or as English words, by value and with their sign;
    /// - strings: as whole words, whatever the case; one that spells a number, also as that number. An empty string
    ///   or bare dots and dashes (a placeholder) never do;
    /// - lists and objects: everything in them.
    pub fn holds(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => true,
            Value::Number(n) => n.as_f64().is_some_and(|n| self.has_number(n)),
            Value::String(text) => self.has_text(text),
            Value::Array(items) => items.iter().all(|item| self.holds(item)),
            Value::Object(object) => object.values().all(|item| self.holds(item)),
        }
    }

    fn has_number(&self, n: f64) -> bool {
        self.numbers.iter().any(|m| (m - n).abs() <= 1e-9 * n.abs())
    }

    fn has_text(&self, raw: &str) -> bool {
        let value = folded(raw);
        if value.chars().all(|c| matches!(c, '.' | '…' | '?' | '<' | '>' | '-' | ' ')) {
            return false;
        }
        // A short decimal is a number; a long one, or one with leading zeros, is an identifier.
        let digits = value.trim_start_matches('-');
        let number = digits.len() <= 15 && digits.starts_with(|c: char| c.is_ascii_digit());
        if let (true, Ok(n)) = (number, serde_json::from_str::<f64>(&value)) {
            return self.has_number(n);
        }
        let mut spelt = Vec::new();
        if words(&value, &mut spelt) && spelt.iter().all(|n| self.has_number(*n)) {
            return true;
        }
        self.text.match_indices(&value).any(|(at, found)| {
            let (before, after) = (&self.text[..at], &self.text[at + found.len()..]);
            let (head, tail) = (before.chars().next_back(), after.chars().next());
            let (first, last) = (found.chars().next(), found.chars().next_back());
            let joined = |a: Option<char>, b: Option<char>| {
                matches!((a, b), (Some(a), Some(b)) if is_word(a) && is_word(b) && !is_unspaced(a) && !is_unspaced(b))
            };
            // `5` inside `3.5`, and `0.07` inside `0.07.1`.
            let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
            let point_before = digit(first) && before.strip_suffix('.').is_some_and(|b| digit(b.chars().next_back()));
            let point_after = digit(last) && after.strip_prefix('.').is_some_and(|a| digit(a.chars().next()));
            !joined(head, first) && !joined(last, tail) && !point_before && !point_after
        })
    }
}

/// The numbers written as digits. `192.168.1.1`, `b52`, `2024-03-05` and `14:30` are none; `5th`
/// and `5pm` are five.
fn digits(text: &str) -> Vec<f64> {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let run = |mut at: usize| {
        while is_digit(at) {
            at += 1;
        }
        at
    };
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !is_digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        at = run(at);
        // A date and a time of day are no three or two numbers.
        let iso_date = at == start + 4
            && bytes.get(at) == Some(&b'-')
            && run(at + 1) == at + 3
            && bytes.get(at + 3) == Some(&b'-')
            && run(at + 4) == at + 6;
        let clock = at <= start + 2 && bytes.get(at) == Some(&b':') && run(at + 1) == at + 3;
        if iso_date || clock {
            at += if iso_date { 6 } else { 3 };
            continue;
        }
        let mut literal = text[start..at].to_owned();
        // Groups of three after commas, if the first group has at most three digits.
        if literal.len() <= 3 {
            while bytes.get(at) == Some(&b',') && run(at + 1) == at + 4 {
                literal.push_str(&text[at + 1..at + 4]);
                at += 4;
            }
        }
        let mut points = 0;
        while bytes.get(at) == Some(&b'.') && is_digit(at + 1) {
            let end = run(at + 1);
            literal.push_str(&text[at..end]);
            (at, points) = (end, points + 1);
        }
        let before = text[..start].chars().next_back();
        if points > 1 || before.is_some_and(|c| is_word(c) && !is_unspaced(c)) {
            continue;
        }
        let Ok(mut number) = literal.parse::<f64>() else { continue };
        if let Some(sign @ ('-' | '−')) = before {
            // A hyphen after a word or a digit joins (`a-5`, `3-5`); else it is a minus.
            let outer = text[..start - sign.len_utf8()].chars().next_back();
            if outer.is_none_or(|c| !is_word(c)) {
                number = -number;
            }
        }
        numbers.push(number);
    }
    numbers
}

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Adds the numbers written as English words below a billion, each as long as it can be read: "twenty-five" is 25,
/// and neither 20 nor 5. Returns whether the text consists of number words alone.
fn words(text: &str, numbers: &mut Vec<f64>) -> bool {
    let mut alone = !text.is_empty();
    let (mut total, mut part, mut open, mut negative) = (0.0, 0.0, false, false);
    // What the word before allows next: the largest unit that may be added.
    let mut room = 0.0;
    let mut close = |total: &mut f64, part: &mut f64, open: &mut bool, negative: &mut bool| {
        if *open {
            let n: f64 = *total + *part;
            numbers.push(if *negative { -n } else { n });
        }
        (*total, *part, *open, *negative) = (0.0, 0.0, false, false);
    };
    for word in text.split(|c: char| !is_word(c)).filter(|w| !w.is_empty()) {
        let unit = UNITS.iter().position(|u| *u == word);
        let ten = TENS.iter().position(|t| *t == word);
        let small = unit.map(|u| u as f64).or(ten.map(|t| (t as f64 + 2.0) * 10.0));
        if let Some(n) = small {
            if !open || n == 0.0 || n >= room {
                let minus = !open && negative;
                close(&mut total, &mut part, &mut open, &mut negative);
                negative = minus;
            }
            part += n;
            open = true;
            room = if ten.is_some() { 10.0 } else { 0.0 };
        } else if word == "hundred" && (!open || (part > 0.0 && part < 10.0)) {
            part = if open { part * 100.0 } else { 100.0 };
            (open, room) = (true, 100.0);
        } else if let (Some(scale), true) = (scale(word), total == 0.0 || scale(word) == Some(1e3)) {
            part = if open && part > 0.0 { part } else { 1.0 };
            total += part * scale;
            (part, open, room) = (0.0, true, 100.0);
        } else if word == "and" && open && room == 100.0 {
            // "one hundred and five"
        } else {
            close(&mut total, &mut part, &mut open, &mut negative);
            negative = matches!(word, "minus" | "negative");
            if word == "dozen" {
                part = 12.0;
                open = true;
                close(&mut total, &mut part, &mut open, &mut negative);
            } else {
                alone &= negative;
            }
        }
    }
    let found = open;
    close(&mut total, &mut part, &mut open, &mut negative);
    alone && found
}

fn scale(word: &str) -> Option<f64> {
    match word {
        "thousand" => Some(1e3),
        "million" => Some(1e6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(question: &str, value: Value, want: bool) {
        assert_eq!(Ground::new(question).holds(&value), want, "{value} in {question:?}");
    }

    #[test]
    fn numbers_keep_sign_and_decimals() {
        check("set it to -5 degrees", json!(-5), true);
        check("set it to -5 degrees", json!(5), false);
        check("set it to minus five degrees", json!(-5), true);
        check("from 3-5 people", json!(5), true);
        check("pay 3.5 percent", json!(3.5), true);
        check("pay 3 5 percent", json!(3.5), false);
        check("pay 3.5 percent", json!(5), false);
        check("pay 1,500 now", json!(1500), true);
        check("pay 1,500.50 now", json!(1500.5), true);
        check("rooms 1, 500 and 2", json!(1500), false);
        check("ping 192.168.1.1", json!(192), false);
        check("ping 192.168.1.1", json!("192.168.1.1"), true);
        check("on 2024-03-05", json!("2024-03-05"), true);
        check("on 2024-03-05", json!(3), false);
        check("at 14:30", json!(30), false);
        check("at 14:30", json!("14:30"), true);
        check("at 5pm on the 3rd", json!(5), true);
        check("room b52", json!(52), false);
        check("pay 5.00 euros.", json!(5), true);
    }

    #[test]
    fn number_words_are_read_whole() {
        check("a table for two", json!(2), true);
        check("a table for two", json!("2"), true);
        check("a table for 2", json!("two"), true);
        check("twenty-five guests", json!(25), true);
        check("twenty-five guests", json!(20), false);
        check("twenty-five guests", json!(5), false);
        check("one hundred and five boxes", json!(105), true);
        check("a hundred boxes", json!(100), true);
        check("two thousand three hundred miles", json!(2300), true);
        check("one million dollars", json!(1_000_000), true);
        check("one, two or three", json!(3), true);
        check("one, two or three", json!(1), true);
        check("a dozen eggs", json!(12), true);
        check("someone is here", json!(1), false);
        check("pay 20 or 30", json!("twenty"), true);
    }

    #[test]
    fn strings_are_whole_words_of_any_script() {
        check("fly to New  York.", json!("new york"), true);
        check("fly to Newark", json!("new"), false);
        check("東京へ行きたい", json!("東京"), true);
        check("поездка в Москву", json!("Москву"), true);
        check("поездка в Москву", json!("Моск"), false);
        check("a round trip", json!("round_trip"), true);
        check("use C++ here", json!("C++"), true);
        check("code 007 please", json!("007"), true);
        check("code 7 please", json!("007"), false);
        check("it was 0.007", json!("007"), false);
        check("anything ... goes", json!("..."), false);
        check("anything", json!(""), false);
        check("anything", json!(true), true);
        check("anything", json!(null), true);
        check("red and blue", json!(["red", "blue"]), true);
        check("red and blue", json!({"a": ["red", "green"]}), false);
    }
}
