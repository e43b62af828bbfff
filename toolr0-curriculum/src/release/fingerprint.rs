//! The release's duplicate keys.

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use toolr0_tools::Task;

use crate::text::fold_question;

/// Four SHA-1 sums, in hexadecimal. The release drops duplicates by `combo_fp`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Of the question: lower case, every digit `0`, white space collapsed.
    pub q_fp: String,
    /// Of the menu: `name(key,key)` of each tool, sorted, joined by `|`.
    pub tool_fp: String,
    /// Of the gold calls: `name(key,key)` of each, in order, joined by `->`.
    pub call_fp: String,
    /// Of all three, joined by `||`.
    pub combo_fp: String,
}

/// The release's keys of a task whose tools are in the normal form.
pub fn fingerprints(task: &Task) -> Fingerprints {
    let question = fold_question(&task.question);
    let mut tools: Vec<_> = task.tools.iter().collect();
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    let tools = tools.iter().map(|tool| signature(&tool.name, tool.params().map(|param| param.name)));
    let tools = tools.collect::<Vec<_>>().join("|");
    let calls = task.gold.iter().map(|call| signature(&call.name, call.arguments.keys().map(String::as_str)));
    let calls = calls.collect::<Vec<_>>().join("->");
    Fingerprints {
        combo_fp: sha1(&format!("{question}||{tools}||{calls}")),
        q_fp: sha1(&question),
        tool_fp: sha1(&tools),
        call_fp: sha1(&calls),
    }
}

fn signature<'a>(name: &str, keys: impl Iterator<Item = &'a str>) -> String {
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    format!("{name}({})", keys.join(","))
}

fn sha1(text: &str) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_task_has_the_sums_of_its_separators() {
        let prints = fingerprints(&Task { question: " ".into(), tools: vec![], gold: vec![] });
        assert_eq!(prints.q_fp, "da39a3ee5e6b4b0d3255bfef95601890afd80709", "SHA-1 of nothing");
        assert_eq!(prints.combo_fp, sha1("||||"));
    }
}
