//! SNIPS (2017-06 custom intent engines): `<Intent>/validate_<Intent>.json`, `{"<Intent>": [{"data": [{"text",
//! "entity"?}]}]}`. An intent is a tool and a slot an optional text argument; their names are all that the suite says of
//! them, so their words are the descriptions. All intents are offered with every question.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use toolr0_tools::{ToolCall, ToolSpec};

use super::{Import, files, item, text, user};
use crate::args::Suite;

const SPLIT: &str = "validate";

pub(super) fn read(path: &Path, import: &mut Import) -> Result<()> {
    let mut said: Vec<(String, Value)> = Vec::new();
    for file in files(path, |name| name.starts_with("validate_") && name.ends_with(".json"))? {
        let intents: Map<String, Value> = serde_json::from_str(&text(&file)?)
            .with_context(|| format!("{}: expected an object of intents", file.display()))?;
        said.extend(intents);
    }
    let mut slots: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (intent, utterances) in &said {
        let entities = slots.entry(intent).or_default();
        let pieces = utterances.as_array().into_iter().flatten().flat_map(pieces);
        entities.extend(pieces.filter_map(|piece| piece["entity"].as_str()));
    }
    let tools: Vec<ToolSpec> = slots.iter().map(|(intent, slots)| tool(intent, slots)).collect();
    for (intent, utterances) in &said {
        for (i, utterance) in utterances.as_array().into_iter().flatten().enumerate() {
            let (mut question, mut arguments, mut twice) = (String::new(), Map::new(), false);
            for piece in pieces(utterance) {
                let text = piece["text"].as_str().unwrap_or_default();
                question.push_str(text);
                if let Some(slot) = piece["entity"].as_str() {
                    twice |= arguments.insert(slot.to_owned(), json!(text.trim())).is_some();
                }
            }
            if twice {
                import.drop(SPLIT, "a slot is filled twice");
                continue;
            }
            let gold = vec![ToolCall::new(intent.as_str(), arguments)];
            let id = format!("{intent}-{i}");
            import.keep(item(Suite::Snips, SPLIT, id, user(question.trim()), tools.clone(), gold));
        }
    }
    Ok(())
}

fn pieces(utterance: &Value) -> impl Iterator<Item = &Value> {
    utterance["data"].as_array().into_iter().flatten()
}

fn tool(intent: &str, slots: &BTreeSet<&str>) -> ToolSpec {
    let property = |slot: &&str| ((*slot).to_owned(), json!({"type": "string", "description": words(slot)}));
    ToolSpec::new(intent, format!("{}.", words(intent)), slots.iter().map(property).collect(), &[])
}

/// `AddToPlaylist` is "Add to playlist", `party_size_number` "Party size number".
fn words(name: &str) -> String {
    let mut words = String::new();
    for (i, c) in name.chars().enumerate() {
        match c {
            '_' => words.push(' '),
            c if i == 0 => words.extend(c.to_uppercase()),
            c if c.is_uppercase() => {
                words.push(' ');
                words.extend(c.to_lowercase());
            }
            c => words.push(c),
        }
    }
    words
}
