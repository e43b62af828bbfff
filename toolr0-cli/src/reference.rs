//! The reference of every key of the configuration, made from the types themselves: names and defaults from their
//! values, sentences from their docs. The test writes `docs/src/configuration.md` anew where it is not current, and fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_yaml::Value;
use toolr0_rl::RunConfig;

use crate::config::{TABLES, known};

/// Where the configuration's types are written.
const SOURCES: [&str; 16] = [
    include_str!("../../toolr0-rl/src/alarm.rs"),
    include_str!("../../toolr0-rl/src/config.rs"),
    concat!(
        include_str!("../../toolr0-rl/src/config/endpoint.rs"),
        include_str!("../../toolr0-rl/src/config/given.rs"),
        include_str!("../../toolr0-rl/src/config/switches.rs")
    ),
    include_str!("../../toolr0-rl/src/schedule.rs"),
    include_str!("../../toolr0-rl/src/loss/config.rs"),
    include_str!("../../toolr0-rl/src/loss/terms.rs"),
    include_str!("../../toolr0-rl/src/advantage.rs"),
    include_str!("../../toolr0-rl/src/optim.rs"),
    include_str!("../../toolr0-model/src/sampler.rs"),
    include_str!("../../toolr0-model/src/lora.rs"),
    include_str!("../../toolr0-curriculum/src/spec_law.rs"),
    concat!(
        include_str!("../../toolr0-curriculum/src/frontier.rs"),
        include_str!("../../toolr0-curriculum/src/posterior.rs")
    ),
    include_str!("../../toolr0-curriculum/src/quota.rs"),
    concat!(
        include_str!("../../toolr0-curriculum/src/select.rs"),
        include_str!("../../toolr0-curriculum/src/pool.rs")
    ),
    concat!(
        include_str!("../../toolr0-reward/src/reward/mod.rs"),
        include_str!("../../toolr0-reward/src/reward/generator.rs"),
        include_str!("../../toolr0-reward/src/reward/solver.rs")
    ),
    concat!(
        include_str!("../../toolr0-reward/src/verify.rs"),
        include_str!("../../toolr0-reward/src/matching.rs"),
        include_str!("../../toolr0-reward/src/score.rs"),
        include_str!("../../toolr0-reward/src/wire/mod.rs")
    ),
];

/// The types of the sources, as far as the reference needs them.
#[derive(Default)]
struct Types {
    /// By struct and field: type and docs.
    fields: BTreeMap<(String, String), (String, String)>,
    /// By enum: what its variants are called in a file.
    variants: BTreeMap<String, Vec<String>>,
}

impl Types {
    /// Reads the layout that rustfmt gives: one field or variant a line, docs above it.
    fn read(sources: &[&str]) -> Self {
        let mut types = Self::default();
        let (mut item, mut is_enum, mut docs) = (None::<String>, false, String::new());
        for line in sources.iter().flat_map(|source| source.lines()) {
            let bare = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            if let Some((kind, name)) = ["struct ", "enum "]
                .iter()
                .find_map(|kind| Some((*kind, bare.strip_prefix(kind)?.strip_suffix(" {")?)))
            {
                (item, is_enum) = (Some(name.trim_start_matches("Raw").to_owned()), kind == "enum ");
                docs.clear();
                continue;
            }
            if line == "}" {
                item = None;
            }
            let (Some(item), Some(body)) = (&item, line.strip_prefix("    ")) else { continue };
            if let Some(doc) = body.strip_prefix("///") {
                let gap = if docs.is_empty() { "" } else { " " };
                let _ = write!(docs, "{gap}{}", doc.trim());
                continue;
            }
            if body.starts_with(['#', ' ', '/', '}']) {
                continue;
            }
            let body = body.trim_start_matches("pub ").trim_end_matches(',');
            if is_enum {
                let name: String = body.chars().take_while(char::is_ascii_alphanumeric).collect();
                types.variants.entry(item.clone()).or_default().push(snake(&name));
            } else if let Some((name, kind)) = body.split_once(": ") {
                let entry = (kind.to_owned(), std::mem::take(&mut docs));
                let slot = types.fields.entry((item.clone(), name.to_owned())).or_default();
                // Of a checked struct and its unchecked form, the one with docs.
                if slot.1.is_empty() {
                    *slot = entry;
                }
            }
            docs.clear();
        }
        types
    }
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && 0 < i {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The type inside `Option<..>`, without its path.
fn inner(kind: &str) -> &str {
    let kind = kind.strip_prefix("Option<").and_then(|kind| kind.strip_suffix('>')).unwrap_or(kind);
    kind.rsplit("::").next().unwrap_or(kind)
}

/// What a section that is off has for its keys.
static NULL: Value = Value::Null;

/// The page.
struct Page<'a> {
    types: &'a Types,
    text: String,
    /// Keys without a sentence.
    bare: Vec<String>,
}

impl Page<'_> {
    /// The keys of one section, then the sections in it.
    fn section(&mut self, kind: &str, path: &str, known: &Value, default: &Value) {
        let Some(keys) = known.as_mapping() else { return };
        let mut inside = Vec::new();
        let mut rows = String::new();
        for (key, value) in keys {
            let key = key.as_str().unwrap_or_default();
            let here = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            let field = self.types.fields.get(&(kind.to_owned(), key.to_owned()));
            let (field_kind, docs) = field.map_or(("", ""), |(kind, docs)| (inner(kind), docs.as_str()));
            if docs.is_empty() {
                self.bare.push(here.clone());
            }
            let default = default.get(key).unwrap_or(&NULL);
            if value.is_mapping() && !TABLES.contains(&here.as_str()) {
                inside.push((field_kind.to_owned(), here, docs.to_owned(), value, default));
                continue;
            }
            let mut docs = docs.replace('|', "\\|").replace("[`", "`").replace("`]", "`");
            if let Some(variants) = self.types.variants.get(field_kind) {
                let all: Vec<String> = variants.iter().map(|name| format!("`{name}`")).collect();
                let _ = write!(docs, " One of {}.", all.join(", "));
            }
            let _ = writeln!(rows, "| `{here}` | {} | {docs} |", shown(default));
        }
        if !rows.is_empty() {
            let _ = write!(self.text, "| key | default | meaning |\n| --- | --- | --- |\n{rows}");
        }
        for (kind, here, docs, known, default) in inside {
            let off = if default.is_null() { " Off unless a key of it is set." } else { "" };
            let docs = docs.replace("[`", "`").replace("`]", "`");
            let _ = write!(self.text, "\n## `{here}`\n\n{docs}{off}\n\n");
            let default = if default.is_null() { known } else { default };
            self.section(&kind, &here, known, default);
        }
    }
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::Mapping(map) => format!("{} entries", map.len()),
        Value::Sequence(list) if list.is_empty() => "none".to_owned(),
        other => format!("`{}`", serde_yaml::to_string(other).unwrap_or_default().trim()),
    }
}

const HEAD: &str = "\
# Every key of the configuration

Made from the types by a test, which keeps it current; `toolr0 configs --reference` prints it. The defaults are the paper's
(Tool-R0, arXiv:2602.21320, table 4); `toolr0 configs` lists the set-ups that change some of them, and `toolr0 selfplay
--dry-run` prints all keys as a run would have them. Any key can be set with `--set KEY=VALUE`. A key that does not exist is
an error, and so is one that the rest of the configuration would ignore. Beside these, a file may name its `model`.

";

#[test]
fn the_reference_is_current() {
    let types = Types::read(&SOURCES);
    let default = serde_yaml::to_value(RunConfig::default()).unwrap();
    let mut page = Page { types: &types, text: HEAD.to_owned(), bare: Vec::new() };
    page.section("RunConfig", "", &known().unwrap(), &default);
    assert!(page.bare.is_empty(), "keys without a sentence: {:?}", page.bare);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/configuration.md");
    if std::fs::read_to_string(&path).unwrap_or_default() != page.text {
        std::fs::write(&path, &page.text).unwrap();
        panic!(
            "{} was not current and has been written anew: look at the change and commit it",
            path.display()
        );
    }
}

#[test]
fn types_are_read_as_rustfmt_writes_them() {
    let source = "/// A.\npub struct A {\n    /// One\n    /// line.\n    pub one: Option<B>,\n}\npub enum B {\n    /// X.\n    #[default]\n    FirstOne,\n    Second,\n}\n";
    let types = Types::read(&[source]);
    let (kind, docs) = &types.fields[&("A".to_owned(), "one".to_owned())];
    assert_eq!((inner(kind), docs.as_str()), ("B", "One line."));
    assert_eq!(types.variants["B"], ["first_one", "second"]);
}
