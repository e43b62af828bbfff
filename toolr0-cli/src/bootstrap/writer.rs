//! From a task specification to a task: a menu, right calls, and a question that holds every value.
//!
//! A question is a frame, a verb, a noun and one clause for each argument, not always in the tool's order:
//! `Please | reserve | a flight | with the gate 4821 | leaving Oslo | .` Frames are split like values: those of
//! the exam open no sentence of the training text. Questions are short on purpose, 10 to 25 words, so that a small
//! model sees many of them.

use std::borrow::Cow;

use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use toolr0_tools::{Context, Task, TaskSpec, ToolCall, ToolSpec};

use super::lexicon::{Family, Lexicon, Split, lexicon};
use super::values::{Drawn, Kind, below, chance, draw, pick, shuffle, word};

/// How a sentence begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Before the verb. Empty: the verb opens the sentence.
    pub head: &'static str,
    /// After the last clause.
    pub tail: &'static str,
    /// Whether one clause stands before the head.
    pub fronted: bool,
}

const fn frame(head: &'static str, tail: &'static str) -> Frame {
    Frame { head, tail, fronted: false }
}

const fn fronted(head: &'static str, tail: &'static str) -> Frame {
    Frame { head, tail, fronted: true }
}

/// The frames of training text.
const TRAIN_FRAMES: [Frame; 18] = [
    frame("Please ", "."),
    frame("", "."),
    frame("Can you ", "?"),
    frame("I want to ", "."),
    frame("I need to ", "."),
    frame("", ", please."),
    frame("Would you ", "?"),
    frame("Help me ", "."),
    frame("My plan is to ", "."),
    frame("It is time to ", "."),
    frame("We have to ", "."),
    frame("Let us ", "."),
    frame("You should ", "."),
    frame("Just ", "."),
    fronted("please ", "."),
    fronted("I would like to ", "."),
    fronted("", "."),
    fronted("we want to ", "."),
];
const DEV_FRAMES: [Frame; 5] = [
    frame("Kindly ", "."),
    frame("I must ", "."),
    frame("Is it possible to ", "?"),
    frame("Hello, try to ", "."),
    fronted("could you ", "?"),
];
const EXAM_FRAMES: [Frame; 6] = [
    frame("Go ahead and ", "."),
    frame("Make sure to ", "."),
    frame("I am hoping to ", "."),
    frame("Are you able to ", "?"),
    frame("It would be great to ", "."),
    fronted("my team wants to ", "."),
];
/// Between two requests, by split: train, development set, exam.
const JOINS: [&[&str]; 3] = [
    &[", and then ", ", then ", " and also ", "; after that ", " and "],
    &[", and next ", "; second, "],
    &[", and afterwards ", ", and once done "],
];
/// What the agent of a transcript says, by split.
const ASKS: [&[&str]; 3] = [
    &["Sure, what else?", "Any details?", "Which one?", "Of course, tell me more."],
    &["What are the details?", "Okay, anything more?"],
    &["Gladly, what exactly?", "What should I know?"],
];
/// How the user of a transcript goes on, by split.
const REPLIES: [&[&str]; 3] = [
    &["It is ", "Make it ", "One ", "I mean "],
    &["It has to be ", "Preferably "],
    &["Ideally ", "I am thinking of one "],
];

/// How sentences are made.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    /// Whose families, values and sentence patterns are used.
    pub split: Split,
    /// The chance that what stands before a request is made up, `Plon get vrasho to `, instead of one of the split's
    /// few patterns: who reads only these knows the place of the verb by heart and does not look for it.
    pub made_up: f64,
}

impl From<Split> for Voice {
    fn from(split: Split) -> Self {
        Self { split, made_up: 0.0 }
    }
}

/// Words that may stand before a request and are no part of it. None of them is in a pattern of the exam or the development
/// set in the same company.
const FILLERS: [&str; 24] = [
    "to", "and", "you", "I", "we", "it", "is", "for", "me", "please", "if", "so", "be", "get", "set", "try",
    "look", "see", "put", "now", "then", "with", "a", "the",
];

/// One to four made-up words.
fn made_up(rng: &mut ChaCha8Rng, split: Split) -> String {
    let n = 1 + below(rng, 4);
    let word = |rng: &mut ChaCha8Rng| match below(rng, 10) {
        0..5 => word(rng, split),
        5..9 => pick(rng, &FILLERS).to_owned(),
        // A verb that asks for nothing.
        _ => {
            let verb = below(rng, lexicon().verbs.len());
            pick(rng, &lexicon().verbs[verb].forms).to_owned()
        }
    };
    (0..n).map(|_| word(rng)).collect::<Vec<_>>().join(" ")
}

/// What stands before the verb, and what after the last clause.
fn draw_frame(rng: &mut ChaCha8Rng, voice: Voice) -> (Cow<'static, str>, &'static str, bool) {
    let Frame { head, tail, fronted } = pick(rng, frames(voice.split));
    if voice.made_up == 0.0 || !chance(rng, voice.made_up) {
        return (head.into(), tail, fronted);
    }
    let words = made_up(rng, voice.split);
    let mut head = String::with_capacity(words.len() + 5);
    if fronted {
        head.push_str(&words);
    } else {
        push_capitalised(&mut head, &words);
    }
    head.push_str(pick(rng, &[" ", " ", ", ", " to "]));
    (head.into(), tail, fronted)
}

/// What stands between two requests.
fn draw_join(rng: &mut ChaCha8Rng, voice: Voice) -> Cow<'static, str> {
    if voice.made_up == 0.0 || !chance(rng, voice.made_up) {
        return pick(rng, JOINS[voice.split as usize]).into();
    }
    let (before, after) =
        pick(rng, &[(", ", " "), ("; ", " "), (" and ", " "), (", and ", " "), ("; ", ", ")]);
    format!("{before}{}{after}", made_up(rng, voice.split)).into()
}

/// The frames of a split.
pub fn frames(split: Split) -> &'static [Frame] {
    match split {
        Split::Train => &TRAIN_FRAMES,
        Split::Dev => &DEV_FRAMES,
        Split::Exam => &EXAM_FRAMES,
    }
}

/// Every fixed piece of a sentence that only `split` uses, as it stands in the text: what a search of the training
/// text must not find.
pub fn patterns(split: Split) -> Vec<&'static str> {
    let i = split as usize;
    let heads = frames(split).iter().map(|f| f.head).filter(|head| !head.is_empty());
    heads.chain([JOINS, ASKS, REPLIES].iter().flat_map(|lists| lists[i].iter().copied())).collect()
}

/// A parameter of a tool that is being made.
#[derive(Clone, Debug)]
struct Slot {
    key: usize,
    required: bool,
    /// The values of a closed set that the schema lists.
    offered: Vec<&'static str>,
}

/// A tool that is being made.
#[derive(Clone, Debug)]
struct Plan {
    family: usize,
    slots: Vec<Slot>,
}

/// The chance that a tool has a boolean or a closed-set parameter, and a digit string: with the verbs that invite a
/// stray argument, these say how many tasks each wrong habit can touch.
const FLAG_CHANCE: f64 = 0.42;
const DIGITS_CHANCE: f64 = 0.22;

/// The chance that a question does not mention arguments in the order in which the tool lists them.
const OUT_OF_ORDER: f64 = 0.15;

/// How many parameters a tool has, ten equally likely cases. Questions with two requests stay short.
const SIZES_ONE: [usize; 10] = [2, 2, 2, 2, 3, 3, 3, 3, 4, 4];
const SIZES_TWO: [usize; 10] = [2, 2, 2, 2, 2, 2, 2, 3, 3, 3];
const SIZES_DISTRACTOR: [usize; 10] = [2, 2, 2, 2, 2, 2, 3, 3, 3, 4];

/// Draws the parameters of a tool. What is boolean, closed or a digit string is always required, so that leaving it
/// out of a task's gold is a fault that verification sees.
///
/// Parameters, closed sets and menus stand in the order of the alphabet, so that a generator has an order to go by when
/// it samples a list that may name nothing twice.
fn plan(rng: &mut ChaCha8Rng, lex: &Lexicon, family: usize, split: Split, sizes: &[usize; 10]) -> Plan {
    let Family { domain, verb, .. } = lex.families[family];
    let (domain, verb, noun) = (&lex.domains[domain], &lex.verbs[verb], lex.noun(&lex.families[family]));
    let n = pick(rng, sizes);
    let mut slots: Vec<Slot> = Vec::with_capacity(n);
    if chance(rng, FLAG_CHANCE) {
        let boolean = chance(rng, 0.55);
        let key = pick(rng, if boolean { &domain.flags } else { &domain.choices });
        let mut offered = lex.keys[key].choices[split as usize].clone();
        shuffle(rng, &mut offered);
        offered.truncate(2 + usize::from(chance(rng, 0.4)));
        offered.sort_unstable();
        slots.push(Slot { key, required: true, offered });
    }
    if chance(rng, DIGITS_CHANCE) && slots.len() + 1 < n {
        slots.push(Slot { key: pick(rng, &domain.digits), required: true, offered: Vec::new() });
    }
    let mut first = true;
    while slots.len() < n {
        let pool = match below(rng, 10) {
            0..4 => &noun.keys,
            4..6 if !verb.keys.is_empty() => &verb.keys,
            _ => &domain.plain,
        };
        let key = pick(rng, pool);
        if slots.iter().all(|slot| slot.key != key) {
            // The first plain parameter is what the tool is about.
            let required = std::mem::take(&mut first) || chance(rng, 0.7);
            slots.push(Slot { key, required, offered: Vec::new() });
        }
    }
    slots.sort_unstable_by_key(|slot| lex.keys[slot.key].name);
    Plan { family, slots }
}

/// Whether two tools take the same arguments, so that one could serve for the other.
fn same_keys(a: &Plan, b: &Plan) -> bool {
    a.slots.len() == b.slots.len() && a.slots.iter().all(|x| b.slots.iter().any(|y| y.key == x.key))
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an " } else { "a " }
}

fn push_capitalised(text: &mut String, words: &str) {
    let mut chars = words.chars();
    text.extend(chars.next().map(|c| c.to_ascii_uppercase()));
    text.push_str(chars.as_str());
}

/// The tool as the model sees it. The description says the verb in one of the user's forms, so that a menu teaches
/// which forms belong together.
fn tool(rng: &mut ChaCha8Rng, lex: &Lexicon, plan: &Plan) -> ToolSpec {
    let family = &lex.families[plan.family];
    let noun = lex.noun(family).word;
    let form = pick(rng, &lex.verbs[family.verb].forms);
    let mut description = String::with_capacity(40);
    if chance(rng, 0.15) {
        description.push_str("Used to ");
        description.push_str(form);
    } else {
        push_capitalised(&mut description, form);
    }
    description.push(' ');
    description.push_str(if chance(rng, 0.7) { article(noun) } else { "the " });
    description.push_str(noun);
    description.push('.');
    let mut properties = Map::with_capacity(plan.slots.len());
    for slot in &plan.slots {
        let key = &lex.keys[slot.key];
        let schema = match key.kind {
            Kind::Choice => json!({"type": "string", "enum": slot.offered}),
            kind => json!({"type": kind.json_type()}),
        };
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<_> = plan.slots.iter().filter(|s| s.required).map(|s| lex.keys[s.key].name).collect();
    ToolSpec::new(family.name.as_str(), description, properties, &required)
}

/// A tool that is there already. `Err` names what the lexicon has no words for.
fn plan_of(lex: &Lexicon, tool: &ToolSpec) -> Result<Plan, String> {
    let family = lex.families.iter().position(|family| family.name == tool.name);
    let family = family.ok_or_else(|| format!("the tool {}", tool.name))?;
    let slot = |param: toolr0_tools::spec::ParamSpec<'_>| {
        let fits = |key: &super::lexicon::Key| {
            let kind = param.schema.get("type").and_then(Value::as_str);
            key.name == param.name && key.kind != Kind::Choice && kind == Some(key.kind.json_type())
        };
        let key = lex.keys.iter().position(fits);
        let key = key.ok_or_else(|| format!("the argument {} of {}", param.name, tool.name))?;
        Ok(Slot { key, required: param.required, offered: Vec::new() })
    };
    let slots: Vec<Slot> = tool.params().map(slot).collect::<Result<_, String>>()?;
    match slots.is_empty() {
        true => Err(format!("the tool {}, which takes no arguments", tool.name)),
        false => Ok(Plan { family, slots }),
    }
}

/// A task about given tools, `n_calls` of them at most.
///
/// # Errors
///
/// What there are no words for: a tool or an argument.
pub fn write_about(
    rng: &mut ChaCha8Rng,
    tools: &[ToolSpec],
    n_calls: usize,
    context: Context,
    voice: impl Into<Voice>,
) -> Result<Task, String> {
    let (lex, voice) = (lexicon(), voice.into());
    let mut plans: Vec<Plan> = tools.iter().map(|tool| plan_of(lex, tool)).collect::<Result<_, _>>()?;
    shuffle(rng, &mut plans);
    plans.truncate(n_calls);
    let requests: Vec<Request> = plans.iter().map(|plan| request(rng, lex, plan, voice.split)).collect();
    let question = question(rng, &requests, context, voice);
    Ok(Task { question, tools: tools.to_vec(), gold: requests.into_iter().map(|r| r.call).collect() })
}

/// How the question says that `key` is `drawn`.
fn clause(rng: &mut ChaCha8Rng, lex: &Lexicon, key: usize, drawn: &Drawn) -> String {
    let key = &lex.keys[key];
    let mut text = String::with_capacity(40);
    if let Value::Bool(yes) = drawn.json {
        let (with, without) =
            pick(rng, &[("with ", "without "), ("including ", "excluding "), ("and add ", "but skip ")]);
        text.push_str(if yes { with } else { without });
        text.push_str(&key.spoken);
        return text;
    }
    if !key.clauses.is_empty() && chance(rng, 0.5) {
        let (before, after) = pick(rng, &key.clauses).split_once("{}").unwrap_or_default();
        text.push_str(before);
        text.push_str(&drawn.text);
        text.push_str(after);
        return text;
    }
    let (before, after) = pick(rng, &[("with ", " "), ("where the ", " is "), ("using ", " ")]);
    for part in [before, &key.spoken, after, &drawn.text] {
        text.push_str(part);
    }
    text
}

/// One request of the question: the words for verb and noun, the clauses in speaking order, and the right call.
struct Request {
    verb: &'static str,
    noun: String,
    clauses: Vec<String>,
    call: ToolCall,
}

fn request(rng: &mut ChaCha8Rng, lex: &Lexicon, plan: &Plan, split: Split) -> Request {
    let family = &lex.families[plan.family];
    // An optional argument is mentioned half of the time; two clauses at least, so that a sentence has a body.
    let mut mentioned: Vec<bool> = plan.slots.iter().map(|s| s.required || chance(rng, 0.5)).collect();
    let mut short = 2usize.saturating_sub(mentioned.iter().filter(|m| **m).count());
    for said in mentioned.iter_mut().filter(|m| !**m) {
        if short > 0 {
            (*said, short) = (true, short - 1);
        }
    }
    // Arguments stand in the call as they are said, so that an answer is written in one walk along the question.
    let mut spoken: Vec<&Slot> =
        plan.slots.iter().zip(mentioned).filter_map(|(slot, said)| said.then_some(slot)).collect();
    if chance(rng, OUT_OF_ORDER) {
        shuffle(rng, &mut spoken);
    }
    let mut arguments = Map::with_capacity(spoken.len());
    let mut clauses = Vec::with_capacity(spoken.len());
    for slot in spoken {
        let key = &lex.keys[slot.key];
        let drawn = draw(rng, key, split, &slot.offered);
        clauses.push(clause(rng, lex, slot.key, &drawn));
        arguments.insert(key.name.to_owned(), drawn.json);
    }
    let word = lex.noun(family).word;
    let determiner = match below(rng, 10) {
        0..5 => article(word),
        5..8 => "the ",
        _ => "my ",
    };
    Request {
        verb: pick(rng, &lex.verbs[family.verb].forms),
        noun: format!("{determiner}{word}"),
        clauses,
        call: ToolCall::new(family.name.as_str(), arguments),
    }
}

/// `reserve a flight leaving Oslo with gate 4821`
fn push_request(text: &mut String, request: &Request, clauses: &[String], capital: bool, comma: bool) {
    if capital {
        push_capitalised(text, request.verb);
    } else {
        text.push_str(request.verb);
    }
    text.push(' ');
    text.push_str(&request.noun);
    push_clauses(text, clauses, " ", comma);
}

fn push_clauses(text: &mut String, clauses: &[String], lead: &str, comma: bool) {
    for (i, clause) in clauses.iter().enumerate() {
        text.push_str(if i == 0 {
            lead
        } else if comma {
            ", "
        } else {
            " "
        });
        text.push_str(clause);
    }
}

fn question(rng: &mut ChaCha8Rng, requests: &[Request], context: Context, voice: Voice) -> String {
    let split = voice.split;
    let (head, tail, fronted) = draw_frame(rng, voice);
    let first = &requests[0];
    let comma = chance(rng, 0.2);
    let mut text = String::with_capacity(200);
    let mut clauses = &first.clauses[..];
    let mut rest: &[String] = &[];
    if context == Context::MultiTurn {
        text.push_str("User: ");
        // A fronted frame needs a clause of its own before the one that the agent asks for.
        let n = if clauses.len() > 2 || fronted { 1 + below(rng, clauses.len() - 1) } else { below(rng, 2) };
        (clauses, rest) = clauses.split_at(n.min(clauses.len() - 1));
    }
    let mut capital = head.is_empty();
    if let (true, Some((front, others))) = (fronted, clauses.split_first()) {
        push_capitalised(&mut text, front);
        text.push_str(", ");
        clauses = others;
        capital = false;
    }
    text.push_str(&head);
    push_request(&mut text, first, clauses, capital, comma);
    for request in &requests[1..] {
        text.push_str(&draw_join(rng, voice));
        push_request(&mut text, request, &request.clauses, false, comma);
    }
    text.push_str(tail);
    if context == Context::MultiTurn {
        text.push_str("\nAgent: ");
        text.push_str(pick(rng, ASKS[split as usize]));
        text.push_str("\nUser: ");
        text.push_str(pick(rng, REPLIES[split as usize]));
        push_clauses(&mut text, rest, "", comma);
        text.push('.');
    }
    text
}

/// A family near `gold`: the same noun (0.6), else any (0.4). `None` if the one drawn may not stand on a menu of
/// `split`.
fn near(rng: &mut ChaCha8Rng, lex: &Lexicon, gold: usize, split: Split) -> Option<usize> {
    let Family { domain, noun, .. } = lex.families[gold];
    let drawn = match below(rng, 10) {
        0..6 => {
            let range = lex.of_domain[domain].clone();
            let n_nouns = lex.domains[domain].nouns.len();
            range.start + below(rng, lex.domains[domain].verbs.len()) * n_nouns + noun
        }
        _ => below(rng, lex.families.len()),
    };
    let of = lex.families[drawn].split;
    (of == Split::Train || of == split).then_some(drawn)
}

/// A family of `split` in a domain; `None` if the one drawn is of another split, or the domain is unknown.
fn gold(rng: &mut ChaCha8Rng, lex: &Lexicon, domain: usize, split: Split) -> Option<usize> {
    (0..200).find_map(|_| {
        let range = &lex.of_domain[domain];
        let drawn = range.start + below(rng, range.len());
        (lex.families[drawn].split == split).then_some(drawn)
    })
}

/// Tries for a tool that fits a menu before the menu is given up.
const TRIES: usize = 60;

/// Writes a task that obeys `spec` in a voice: with families, values and sentence patterns of its split.
///
/// No two tools on the menu take the same set of arguments, and no verb stands twice or is a synonym of another, so no
/// distractor serves as well as the gold tool. All arguments that the question mentions are in the gold. (That names
/// differ in the verb, whose order is the menu's, lets a small generator keep from naming a tool twice.)
///
/// `None` if the lexicon does not know the domain, or holds too few families of the split in it for this spec.
pub fn write(rng: &mut ChaCha8Rng, spec: &TaskSpec, voice: impl Into<Voice>) -> Option<Task> {
    let voice = voice.into();
    let split = voice.split;
    let lex = lexicon();
    let domain = lex.domains.iter().position(|d| d.name == spec.domain)?;
    let sizes = if spec.n_calls > 1 { &SIZES_TWO } else { &SIZES_ONE };
    let mut plans: Vec<Plan> = Vec::with_capacity(spec.n_tools);
    let mut tries = 0;
    while plans.len() < spec.n_tools.max(spec.n_calls) {
        tries += 1;
        if tries > TRIES * spec.n_tools {
            return None;
        }
        let next = if plans.len() < spec.n_calls {
            let family = gold(rng, lex, domain, split)?;
            plan(rng, lex, family, split, sizes)
        } else {
            let of = plans[below(rng, spec.n_calls)].family;
            let Some(family) = near(rng, lex, of, split) else { continue };
            plan(rng, lex, family, split, &SIZES_DISTRACTOR)
        };
        let verb = |plan: &Plan| lex.families[plan.family].verb;
        if plans.iter().all(|p| verb(p) != verb(&next) && !same_keys(p, &next)) {
            plans.push(next);
        }
    }
    let requests: Vec<Request> = plans[..spec.n_calls].iter().map(|p| request(rng, lex, p, split)).collect();
    let question = question(rng, &requests, spec.context, voice);
    let mut tools: Vec<ToolSpec> = plans.iter().map(|p| tool(rng, lex, p)).collect();
    tools.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Some(Task { question, tools, gold: requests.into_iter().map(|r| r.call).collect() })
}

/// A tool of a family that training text may hold and `task`'s menu does not, for flaws that need one.
pub fn stranger(rng: &mut ChaCha8Rng, task: &Task) -> ToolSpec {
    let lex = lexicon();
    loop {
        let family = below(rng, lex.families.len());
        if lex.families[family].split == Split::Train && task.tool(&lex.families[family].name).is_none() {
            let plan = plan(rng, lex, family, Split::Train, &SIZES_DISTRACTOR);
            return tool(rng, lex, &plan);
        }
    }
}

#[cfg(test)]
mod tests {
    use toolr0_reward::verify::{VerifyConfig, verify};

    use super::*;
    use crate::bootstrap::corpus::{CorpusConfig, draw_task, training_law};
    use crate::bootstrap::values::rng_of;

    /// A written task is an honest one: the same verification that self-made tasks must pass takes it.
    #[track_caller]
    fn check(voice: impl Into<Voice>, n: u64) {
        let voice = voice.into();
        for i in 0..n {
            let (spec, task) =
                draw_task(&mut rng_of(11, i), &training_law(CorpusConfig::default().two_calls), voice);
            assert_eq!(verify(&task, &spec, &VerifyConfig::default()), Ok(()), "{task:?}");
            for call in &task.gold {
                let split_of =
                    |name: &str| lexicon().families.iter().find(|f| f.name == name).map(|f| f.split);
                assert_eq!(split_of(&call.name), Some(voice.split));
                assert!(call.arguments.len() >= 2);
            }
        }
    }

    #[test]
    fn every_task_passes_verification() {
        check(Split::Train, 2000);
        check(Voice { split: Split::Train, made_up: 1.0 }, 1000);
        check(Split::Dev, 300);
        check(Split::Exam, 300);
    }

    #[test]
    fn a_question_is_short() {
        let mut words: Vec<usize> = (0..500)
            .map(|i| {
                draw_task(&mut rng_of(12, i), &training_law(CorpusConfig::default().two_calls), Split::Train)
                    .1
            })
            .map(|task| task.question.split_whitespace().count())
            .collect();
        words.sort_unstable();
        assert!((10..=25).contains(&words[250]) && words[499] <= 60, "{} {}", words[250], words[499]);
    }

    #[test]
    fn an_unknown_domain_has_no_task() {
        let spec =
            TaskSpec { domain: "alchemy".into(), context: Context::SingleTurn, n_tools: 2, n_calls: 1 };
        assert_eq!(write(&mut rng_of(1, 1), &spec, Split::Train), None);
    }

    #[test]
    fn no_pattern_belongs_to_two_splits() {
        let all = [Split::Train, Split::Dev, Split::Exam].map(patterns);
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert!(a.iter().all(|p| !b.contains(p)), "{a:?} {b:?}");
            }
        }
    }
}
