//! Keeps the questions of benchmarks out of what is trained on.
//!
//! A model that was pretrained on a public benchmark can write its questions down from memory, and a generator is then
//! paid for them like for any others. Three looks at a task, each of which is enough: its question is a held-out one up to
//! case, punctuation and digits; it shares eight words in a row with one; it calls a held-out tool, the same name with the
//! same parameters. The first two see a copy whose tools were renamed, the last one a copy whose question was.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use toolr0_tools::{Task, TaskId, ToolSpec};

use crate::pool::{Candidate, Drops};
use crate::text::decimal;

/// Words in a row that two questions do not share by chance.
pub const GRAM: usize = 8;

/// Which look found a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The same question.
    Question,
    /// [`GRAM`] words in a row.
    Words,
    /// The same tool is called.
    Tool,
}

impl Rule {
    /// What a funnel calls it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Question => "held-out question",
            Self::Words => "8 words of a held-out question",
            Self::Tool => "held-out tool",
        }
    }
}

/// A task that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The task.
    pub task: TaskId,
    /// Its question.
    pub question: String,
    /// The held-out item that it is like.
    pub item: String,
    /// How it was found.
    pub rule: Rule,
}

/// Held-out questions, indexed.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    items: Vec<String>,
    questions: HashMap<String, usize>,
    grams: HashMap<String, usize>,
    tools: HashMap<(String, BTreeSet<String>), usize>,
}

impl Guard {
    /// Adds a held-out item: its name, what its users say, and its menu.
    pub fn add<'a>(&mut self, id: &str, texts: impl IntoIterator<Item = &'a str>, tools: &[ToolSpec]) {
        let item = self.items.len();
        self.items.push(id.to_owned());
        for text in texts {
            let words = words(text);
            if words.is_empty() {
                continue;
            }
            self.questions.entry(words.join(" ")).or_insert(item);
            for gram in words.windows(GRAM) {
                self.grams.entry(gram.join(" ")).or_insert(item);
            }
        }
        for key in tools.iter().filter_map(signature) {
            self.tools.entry(key).or_insert(item);
        }
    }

    /// Held-out items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to guard.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How a task is like a held-out item, if it is: the name of the item, and the first rule that says so.
    pub fn find(&self, task: &Task) -> Option<(&str, Rule)> {
        let words = words(&task.question);
        let question = self.questions.get(&words.join(" ")).map(|item| (*item, Rule::Question));
        let gram = || {
            words.windows(GRAM).find_map(|gram| self.grams.get(&gram.join(" "))).map(|i| (*i, Rule::Words))
        };
        let tool = || {
            let called = task.gold.iter().filter_map(|call| task.tool(&call.name));
            called.filter_map(signature).find_map(|key| self.tools.get(&key)).map(|item| (*item, Rule::Tool))
        };
        let (item, rule) = question.or_else(gram).or_else(tool)?;
        Some((&self.items[item], rule))
    }

    /// Drops the candidates that are like held-out items, and lists them.
    pub fn filter(&self, candidates: Vec<Candidate>) -> (Vec<Candidate>, Drops, Vec<Hit>) {
        let (mut kept, mut drops, mut hits) = (candidates, Drops::default(), Vec::new());
        kept.retain(|Candidate { task, .. }| match self.find(task) {
            None => true,
            Some((item, rule)) => {
                let (item, question) = (item.to_owned(), task.question.clone());
                hits.push(Hit { task: task.id(), question, item, rule });
                drops.add(rule.reason())
            }
        });
        (kept, drops, hits)
    }
}

/// Lower-case words of letters and digits, every number a zero. `book_table` and `bookTable` are two words each.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut before) = (Vec::new(), String::new(), ' ');
    for c in text.chars() {
        let hump = before.is_lowercase() && c.is_uppercase();
        if (hump || !c.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        match decimal(c) {
            Some(_) if word.ends_with('0') => {}
            Some(_) => word.push('0'),
            None if c.is_alphanumeric() => word.extend(c.to_lowercase()),
            None => {}
        }
        before = c;
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// A tool by its name and its parameters, whatever their order and spelling. A tool without parameters is like any other
/// of its name, which says too little.
fn signature(tool: &ToolSpec) -> Option<(String, BTreeSet<String>)> {
    let parameters: BTreeSet<String> = tool.params().map(|param| words(param.name).concat()).collect();
    (!parameters.is_empty()).then(|| (words(&tool.name).concat(), parameters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const QUESTION: &str = "Could you please book a table for 4 people at Luigi's in Oslo on Friday?";

    fn tool(name: &str, parameters: &[&str]) -> ToolSpec {
        let properties = parameters.iter().map(|p| ((*p).to_owned(), json!({"type": "string"}))).collect();
        ToolSpec::new(name, "", properties, &[])
    }

    fn task(question: &str, name: &str, parameters: &[&str]) -> Task {
        let call = toolr0_tools::ToolCall::new(name, Default::default());
        let tools = vec![tool(name, parameters), tool("unrelated", &["x"])];
        Task { question: question.into(), tools, gold: vec![call] }
    }

    fn guard() -> Guard {
        let mut guard = Guard::default();
        guard.add("suite-1", [QUESTION], &[tool("book_table", &["city", "party_size"]), tool("now", &[])]);
        guard
    }

    #[track_caller]
    fn check(task: &Task, want: Option<Rule>) {
        assert_eq!(guard().find(task), want.map(|rule| ("suite-1", rule)), "{}", task.question);
    }

    #[test]
    fn exact_and_renamed_copies_are_found() {
        check(&task(QUESTION, "book_table", &["city", "party_size"]), Some(Rule::Question));
        let renamed = "could you please  book a table for 12 people at Luigi’s in Oslo, on Friday";
        check(&task(renamed, "reserve", &["place"]), Some(Rule::Question));
        let embedded = "Hello! I am hungry; could you please book a table for 2 people somewhere nice?";
        check(&task(embedded, "reserve", &["place"]), Some(Rule::Words));
        check(&task("Four of us want to eat.", "bookTable", &["partySize", "city"]), Some(Rule::Tool));
    }

    #[test]
    fn what_is_merely_alike_is_kept() {
        check(&task("Please book a table for 4 people now.", "reserve", &["city", "party_size"]), None);
        check(&task("Four of us want to eat.", "book_table", &["city"]), None);
        check(&task("What time is it?", "now", &[]), None);
        // On the menu, but not called.
        let mut other = task("What time is it?", "unrelated", &["x"]);
        other.tools.push(tool("book_table", &["city", "party_size"]));
        check(&other, None);
        assert!(Guard::default().find(&task(QUESTION, "f", &[])).is_none());
    }

    #[test]
    fn drops_are_counted_and_listed() {
        let spec = toolr0_tools::TaskSpec {
            domain: "d".into(),
            context: Default::default(),
            n_tools: 2,
            n_calls: 1,
        };
        let candidates: Vec<Candidate> = [
            task(QUESTION, "f", &[]),
            task("What time is it?", "now", &[]),
            task("Eat.", "book_table", &["city", "party_size"]),
        ]
        .into_iter()
        .map(|task| Candidate::new(task, spec.clone()))
        .collect();
        let (kept, drops, hits) = guard().filter(candidates);
        assert_eq!((kept.len(), drops.of("held-out question"), drops.of("held-out tool")), (1, 1, 1));
        assert_eq!(hits.iter().map(|hit| hit.rule).collect::<Vec<_>>(), [Rule::Question, Rule::Tool]);
        assert_eq!((hits[0].item.as_str(), hits[0].question.as_str()), ("suite-1", QUESTION));
    }

    proptest! {
        /// Whatever stands around eight words of a held-out question, they are found.
        #[test]
        fn eight_words_are_found_wherever_they_stand(before in "[a-z ]{0,30}", after in "[a-z ]{0,30}", from in 0usize..7) {
            let eight: Vec<String> = words(QUESTION)[from..from + GRAM].to_vec();
            let question = format!("{before} {} {after}", eight.join(" "));
            prop_assert!(guard().find(&task(&question, "f", &[])).is_some());
        }

        #[test]
        fn words_never_panic_and_hold_no_upper_case_letter(text in ".{0,60}") {
            prop_assert!(words(&text).iter().all(|word| !word.is_empty() && *word == word.to_lowercase()));
        }
    }
}
