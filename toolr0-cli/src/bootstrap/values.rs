//! Argument values: what they are, and where they come from.
//!
//! Three of four names are pseudo-words of two or three syllables, of which there are millions, so that a model
//! cannot remember values and has to learn to copy them. A value is spelt in the question exactly as in the JSON.
//!
//! Values are split by a hash: one in eight belongs to the exam, one in eight to the development set, and each
//! word of a value of several words must belong to the same side. Numbers under one hundred are free.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::lexicon::{Key, Split};

/// What the values of a parameter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First and last name.
    Person,
    /// A place, one or two words.
    City,
    /// One to three capitalised words.
    Title,
    /// One word in lower case.
    Topic,
    /// `2026-03-05`
    Date,
    /// `14:30`
    Time,
    /// An integer from 2 to 60.
    Count,
    /// An integer from 100 to 9999.
    Big,
    /// A number, often with decimals.
    Number,
    /// `QX-481` and the like.
    Code,
    /// A string of four or five digits, which is no number: a room, a pin.
    Digits,
    /// An address.
    Email,
    /// A boolean, said as `with ..` or `without ..`.
    Flag,
    /// One of a closed set.
    Choice,
}

impl Kind {
    /// The kind that the lexicon's tables call `name`.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "person" => Self::Person,
            "city" => Self::City,
            "title" => Self::Title,
            "topic" => Self::Topic,
            "date" => Self::Date,
            "time" => Self::Time,
            "count" => Self::Count,
            "big" => Self::Big,
            "number" => Self::Number,
            "code" => Self::Code,
            "digits" => Self::Digits,
            "email" => Self::Email,
            "flag" => Self::Flag,
            "choice" => Self::Choice,
            _ => return None,
        })
    }

    /// The JSON type of the values.
    pub fn json_type(self) -> &'static str {
        match self {
            Self::Count | Self::Big => "integer",
            Self::Number => "number",
            Self::Flag => "boolean",
            _ => "string",
        }
    }
}

/// A value as the question spells it and as the call holds it. The text of a boolean is empty: it is said with the
/// key.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// In the question.
    pub text: String,
    /// In the call.
    pub json: Value,
}

/// The generator of document `i` of seed `seed`: each document has its own stream, so that they can be written in
/// any order and by many threads.
pub fn rng_of(seed: u64, i: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(i);
    rng
}

/// A number in `0..n`, by multiply-shift: the same on every platform and in every version of `rand`. `n` is at
/// least 1; the bias is below `n / 2^32`.
pub fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// True with probability `p`.
pub fn chance(rng: &mut ChaCha8Rng, p: f64) -> bool {
    f64::from(rng.next_u32()) < p * 4_294_967_296.0
}

/// One of `items`, which are not empty.
pub fn pick<T: Copy>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    items[below(rng, items.len())]
}

/// Fisher-Yates.
pub fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

const ONSETS: [&str; 30] = [
    "b", "br", "c", "d", "dr", "f", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p", "pl", "r", "s", "st",
    "t", "tr", "v", "w", "z", "sh", "ch", "th", "y", "q",
];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "a", "e", "o"];
const CODAS: [&str; 10] = ["", "", "", "", "n", "r", "l", "s", "m", "x"];
const FIRST_NAMES: [&str; 32] = [
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ines", "Jonas", "Karen", "Liam",
    "Maria", "Noah", "Olga", "Peter", "Rosa", "Samuel", "Tina", "Victor", "Wendy", "Yusuf", "Zoe", "Amir",
    "Bella", "Carlos", "Diana", "Erik", "Fatima", "Hugo", "Irene", "Jack",
];
const LAST_NAMES: [&str; 24] = [
    "Smith", "Lopez", "Chen", "Novak", "Patel", "Silva", "Weber", "Rossi", "Kim", "Haddad", "Jensen",
    "Brown", "Sato", "Ivanov", "Okoye", "Moreau", "Singh", "Murphy", "Costa", "Berg", "Ali", "Young",
    "Dubois", "Nguyen",
];
const CITIES: [&str; 32] = [
    "Oslo", "Paris", "Lima", "Cairo", "Tokyo", "Boston", "Madrid", "Delhi", "Berlin", "Lagos", "Quito",
    "Vienna", "Dublin", "Seoul", "Athens", "Bogota", "Denver", "Geneva", "Hanoi", "Jakarta", "Kyoto",
    "Lisbon", "Miami", "Nairobi", "Ottawa", "Prague", "Riga", "Sofia", "Tunis", "Warsaw", "Zagreb", "Milan",
];
const CITY_HEADS: [&str; 6] = ["New", "Port", "San", "Saint", "Fort", "Lake"];
const TITLE_WORDS: [&str; 48] = [
    "Silver", "Golden", "Silent", "Broken", "Hidden", "Rapid", "Quiet", "Bright", "Frozen", "Lucky",
    "Harbor", "River", "Mountain", "Garden", "Window", "Engineer", "Shadow", "Market", "Forest", "Castle",
    "Journey", "Signal", "Mirror", "Island", "Winter", "Summer", "Ocean", "Desert", "Thunder", "Lantern",
    "Falcon", "Tiger", "Marble", "Copper", "Velvet", "Crystal", "Morning", "Evening", "Future", "Legacy",
    "Horizon", "Compass", "Anchor", "Bridge", "Canyon", "Meadow", "Ember", "Orbit",
];
const TOPICS: [&str; 40] = [
    "gardening",
    "chess",
    "jazz",
    "robots",
    "whales",
    "painting",
    "hiking",
    "cheese",
    "volcanoes",
    "poetry",
    "trains",
    "bees",
    "yoga",
    "fishing",
    "pottery",
    "sailing",
    "physics",
    "coffee",
    "opera",
    "origami",
    "rockets",
    "mushrooms",
    "cycling",
    "dinosaurs",
    "knitting",
    "comets",
    "archery",
    "honey",
    "glaciers",
    "puppets",
    "rowing",
    "tea",
    "falconry",
    "surfing",
    "kites",
    "dance",
    "puzzles",
    "ceramics",
    "skating",
    "ballet",
];
/// Parts of eight: an eighth of the values is the exam's, an eighth the development set's.
const VALUE_PARTS: u64 = 8;

/// Whether `text` may be used on the side of `split`.
fn allowed(text: &str, split: Split) -> bool {
    Split::of(text, VALUE_PARTS) == split
}

/// Draws until the text is on the side of `split`. One draw in eight is, so this ends soon; no table that is drawn
/// from lies on one side alone, which the tests check.
fn on_side(rng: &mut ChaCha8Rng, split: Split, draw: impl Fn(&mut ChaCha8Rng) -> String) -> String {
    loop {
        let text = draw(rng);
        if allowed(&text, split) {
            return text;
        }
    }
}

/// A pronounceable word that is in no dictionary: five letters or more.
fn pseudo(rng: &mut ChaCha8Rng) -> String {
    let mut word = String::with_capacity(12);
    let n = 2 + usize::from(chance(rng, 0.3));
    for _ in 0..n {
        word.push_str(pick(rng, &ONSETS));
        word.push_str(pick(rng, &VOWELS));
        word.push_str(pick(rng, &CODAS));
    }
    while word.len() < 5 {
        word.push_str(pick(rng, &ONSETS));
        word.push_str(pick(rng, &VOWELS));
    }
    word
}

/// A pseudo-word of a split, in small letters.
pub fn word(rng: &mut ChaCha8Rng, split: Split) -> String {
    on_side(rng, split, pseudo)
}

fn capitalised(mut word: String) -> String {
    if let Some(first) = word.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    word
}

/// A word from `common` one time in four, else a pseudo-word with a capital.
fn proper(rng: &mut ChaCha8Rng, split: Split, common: &[&str]) -> String {
    on_side(rng, split, |rng| {
        if chance(rng, 0.25) { pick(rng, common).to_owned() } else { capitalised(pseudo(rng)) }
    })
}

fn title(rng: &mut ChaCha8Rng, split: Split) -> String {
    let n = [1, 2, 2, 3][below(rng, 4)];
    let mut text = String::new();
    for i in 0..n {
        if i > 0 {
            text.push(' ');
        }
        let common = chance(rng, 0.4);
        text.push_str(&on_side(rng, split, |rng| {
            if common { pick(rng, &TITLE_WORDS).to_owned() } else { capitalised(pseudo(rng)) }
        }));
    }
    text
}

fn letter(rng: &mut ChaCha8Rng) -> char {
    char::from(b'A' + below(rng, 26) as u8)
}

fn code(rng: &mut ChaCha8Rng) -> String {
    let (a, b, c) = (letter(rng), letter(rng), letter(rng));
    match below(rng, 4) {
        0 => format!("{a}{b}-{}", 100 + below(rng, 900)),
        1 => format!("{a}{b}{c}-{}", 10 + below(rng, 90)),
        2 => format!("{a}{}{b}", 100 + below(rng, 900)),
        _ => format!("{a}-{}", 1000 + below(rng, 9000)),
    }
}

/// A number without an exponent or trailing zeros, so that its text is its JSON.
fn number(rng: &mut ChaCha8Rng, split: Split) -> Drawn {
    let text = match below(rng, 5) {
        0 => (2 + below(rng, 97)).to_string(),
        1 => format!("{}.{}", 1 + below(rng, 9), 1 + below(rng, 9)),
        2 => on_side(rng, split, |rng| (100 + below(rng, 4900)).to_string()),
        3 => on_side(rng, split, |rng| format!("{}.{}", 10 + below(rng, 490), 1 + below(rng, 9))),
        _ => on_side(rng, split, |rng| {
            format!("{}.{}{}", 10 + below(rng, 490), below(rng, 10), 1 + below(rng, 9))
        }),
    };
    let json = match text.parse::<i64>() {
        Ok(integer) => json!(integer),
        Err(_) => json!(text.parse::<f64>().expect("digits, a point and digits are a number")),
    };
    Drawn { text, json }
}

/// A value of `key` on the side of `split`. `offered` are the values of a closed set that the schema lists.
pub fn draw(rng: &mut ChaCha8Rng, key: &Key, split: Split, offered: &[&str]) -> Drawn {
    let text =
        match key.kind {
            Kind::Person => {
                let first = proper(rng, split, &FIRST_NAMES);
                format!("{first} {}", proper(rng, split, &LAST_NAMES))
            }
            Kind::City => {
                let name = proper(rng, split, &CITIES);
                if chance(rng, 0.12) { format!("{} {name}", pick(rng, &CITY_HEADS)) } else { name }
            }
            Kind::Title => title(rng, split),
            Kind::Topic => on_side(rng, split, |rng| {
                if chance(rng, 0.4) { pick(rng, &TOPICS).to_owned() } else { pseudo(rng) }
            }),
            Kind::Date => on_side(rng, split, |rng| {
                format!("{}-{:02}-{:02}", 2024 + below(rng, 6), 1 + below(rng, 12), 1 + below(rng, 28))
            }),
            Kind::Time => {
                on_side(rng, split, |rng| format!("{:02}:{:02}", below(rng, 24), 5 * below(rng, 12)))
            }
            Kind::Count => {
                let few = chance(rng, 0.6);
                let n = 2 + below(rng, if few { 11 } else { 59 });
                return Drawn { text: n.to_string(), json: json!(n) };
            }
            Kind::Big => {
                let text = on_side(rng, split, |rng| (100 + below(rng, 9900)).to_string());
                let json = json!(text.parse::<u32>().expect("four digits fit"));
                return Drawn { text, json };
            }
            Kind::Number => return number(rng, split),
            Kind::Code => on_side(rng, split, code),
            Kind::Digits => on_side(rng, split, |rng| {
                let long = chance(rng, 0.4);
                (if long { 10_000 + below(rng, 90_000) } else { 1000 + below(rng, 9000) }).to_string()
            }),
            Kind::Email => {
                let who = on_side(rng, split, pseudo);
                let site = on_side(rng, split, pseudo);
                format!("{who}@{site}.{}", pick(rng, &["com", "org", "net"]))
            }
            Kind::Flag => return Drawn { text: String::new(), json: Value::Bool(chance(rng, 0.5)) },
            Kind::Choice => pick(rng, offered).to_owned(),
        };
    Drawn { json: Value::String(text.clone()), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::lexicon::lexicon;

    #[test]
    fn a_value_is_spelt_in_the_question_as_in_the_call() {
        let mut rng = rng_of(1, 0);
        for split in [Split::Train, Split::Dev, Split::Exam] {
            for key in &lexicon().keys {
                for _ in 0..50 {
                    let offered = &key.choices[split as usize];
                    let drawn = draw(&mut rng, key, split, offered);
                    match &drawn.json {
                        Value::Bool(_) => assert_eq!(drawn.text, ""),
                        Value::String(text) => assert_eq!(*text, drawn.text),
                        json => assert_eq!(json.to_string(), drawn.text),
                    }
                }
            }
        }
    }

    #[test]
    fn every_list_of_common_words_has_some_on_each_side() {
        let lists: [&[&str]; 5] = [&FIRST_NAMES, &LAST_NAMES, &CITIES, &TITLE_WORDS, &TOPICS];
        for list in lists {
            for split in [Split::Train, Split::Exam] {
                let n = list.iter().filter(|word| allowed(word, split)).count();
                assert!(n > 0, "no word for {split:?} in {list:?}");
            }
        }
    }

    #[test]
    fn numbers_below_n_are_even_and_never_n() {
        let mut rng = rng_of(2, 0);
        let mut seen = [0usize; 7];
        for _ in 0..7000 {
            seen[below(&mut rng, 7)] += 1;
        }
        // Standard deviation 29: five of them.
        assert!(seen.iter().all(|&n| n.abs_diff(1000) < 150), "{seen:?}");
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, i| rng_of(seed, i).next_u64();
        assert_eq!(draw(1, 5), draw(1, 5));
        assert_ne!(draw(1, 5), draw(1, 6));
        assert_ne!(draw(1, 5), draw(2, 5));
    }
}
