//! From YAML and `--set` to a checked configuration.
//!
//! Order: defaults, then the file, then `--set` from left to right. A key that does not exist is named with its whole
//! path and the nearest one that does; a value of the wrong type with its key and the type expected.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};
use toolr0_curriculum::{PosteriorConfig, SpecLaw};
use toolr0_rl::config::DatasetConfig;
use toolr0_rl::loss::{CorrectionLevel, ImportanceCorrection, OutOfBounds};
use toolr0_rl::{Error, RunConfig};

/// The configurations that are part of the program: name, text.
pub(crate) const CONFIGS: [(&str, &str); 5] = [
    ("nano", include_str!("../configs/nano.yaml")),
    ("qwen2.5-0.5b", include_str!("../configs/qwen2.5-0.5b.yaml")),
    ("qwen2.5-1.5b", include_str!("../configs/qwen2.5-1.5b.yaml")),
    ("qwen2.5-3b", include_str!("../configs/qwen2.5-3b.yaml")),
    ("llama-3.2-3b", include_str!("../configs/llama-3.2-3b.yaml")),
];

/// The configuration of a run without `--config`.
pub(crate) const DEFAULT: &str = "nano";

/// How the name of an embedded configuration begins in errors.
const EMBEDDED: &str = "embedded ";

/// Tables whose keys are data: whatever stands there is no misspelling. A table given replaces the default's.
pub(crate) const TABLES: [&str; 4] = ["spec.domains", "spec.contexts", "spec.calls", "spec.menus"];

/// What a configuration file says: a run, and the model it starts from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setup {
    /// A name that [`crate::model::load`] takes; the embedded base if the file names none.
    pub(crate) model: Option<String>,
    /// The run.
    pub(crate) run: RunConfig,
}

/// The text of `--config`, and what it is called in errors: a file, or the name of an embedded configuration.
pub(crate) fn read(name: &str) -> Result<(String, String)> {
    let path = Path::new(name);
    if !path.exists() {
        if let Some((name, text)) = CONFIGS.iter().find(|(known, _)| *known == name) {
            return Ok((format!("{EMBEDDED}{name}.yaml"), (*text).to_owned()));
        }
        let known = CONFIGS.map(|(name, _)| name).join(", ");
        bail!("there is no file {name}, and no embedded configuration of that name (there are {known})");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {name}"))?;
    Ok((name.to_owned(), text))
}

/// A checked configuration. `source` is what `text` is called in errors.
pub(crate) fn resolve(source: &str, text: &str, sets: &[String], seed: Option<u64>) -> Result<Setup> {
    let mut file: Value =
        serde_yaml::from_str(text).with_context(|| format!("{source} is not valid YAML"))?;
    let model = take_model(source, &mut file)?;
    let known = known()?;
    let mut run: RunConfig = typed(source, &known, file)?;
    if !sets.is_empty() {
        run = with_sets(run, &known, sets)?;
    }
    if let Some(seed) = seed {
        run.seed = seed;
    }
    if source.starts_with(EMBEDDED) {
        give_up_savings(&mut run, sets);
    }
    check(&run)
        .with_context(|| if sets.is_empty() { source.to_owned() } else { format!("{source} with --set") })?;
    Ok(Setup { model, run })
}

/// An embedded configuration uses samples twice to save tokens. Where a `--set` rules that out, it does without: nobody asked for
/// it, and what the run does instead is the paper's. Somebody's own file, or a `--set` of these keys, is taken at its word.
fn give_up_savings(run: &mut RunConfig, sets: &[String]) {
    type GiveUp = fn(&mut DatasetConfig);
    let savings: [(&str, GiveUp); 2] = [
        ("dataset.reuse_within", |dataset| dataset.reuse_within = 0),
        ("dataset.pool_probed", |dataset| dataset.pool_probed = false),
    ];
    let asked = |key: &str| sets.iter().any(|set| set.starts_with(key) || set.starts_with("dataset="));
    for _ in 0..savings.len() {
        let Err(Error::UnusedOption { option, .. } | Error::Config { option, .. }) = run.check() else {
            return;
        };
        for (_, give_up) in savings.iter().filter(|(key, _)| *key == option && !asked(key)) {
            give_up(&mut run.dataset);
        }
    }
}

/// `default` with the keys of `sets` changed: for configurations that have no file.
pub(crate) fn set_all<T: Serialize + DeserializeOwned>(default: T, sets: &[String]) -> Result<T> {
    let known = serde_yaml::to_value(&default)?;
    with_sets(default, &known, sets)
}

/// The saved form of a resolved configuration: a file that `--config` reads back.
pub(crate) fn to_yaml(model: &str, run: &RunConfig) -> Result<String> {
    let mut all = Mapping::new();
    all.insert("model".into(), model.into());
    let Value::Mapping(run) = serde_yaml::to_value(run)? else {
        bail!("a run configuration is not a mapping")
    };
    all.extend(run);
    let text = serde_yaml::to_string(&all)?;
    Ok(format!(
        "# Resolved by toolr0 {}; `toolr0 selfplay --config` reads it.\n{text}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Every check of the libraries, with the whole key in front where a part does not know what it is a part of.
fn check(run: &RunConfig) -> Result<()> {
    for (key, sampling) in [
        ("generator.sampling", &run.generator.sampling),
        ("solver.sampling", &run.solver.sampling),
        ("probe.sampling", &run.probe.sampling),
        ("probe.judge_sampling", &run.probe.judge_sampling),
        ("dataset.sampling", &run.dataset.sampling),
    ] {
        sampling.validate().with_context(|| format!("`{key}`"))?;
    }
    SpecLaw::new(run.spec.clone()).context("`spec`")?;
    Ok(run.check()?)
}

fn take_model(source: &str, file: &mut Value) -> Result<Option<String>> {
    let mapping = match file {
        // An empty file says nothing, which is allowed.
        Value::Null => {
            *file = Value::Mapping(Mapping::new());
            return Ok(None);
        }
        Value::Mapping(mapping) => mapping,
        other => bail!("{source} holds {}, expected keys with values", kind(other)),
    };
    match mapping.remove("model") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(model)) => Ok(Some(model)),
        Some(other) => bail!("{source}: `model` is {}, expected a folder or a hub id", kind(&other)),
    }
}

/// Every key there is: the defaults, with the sections that are off by default switched on.
pub(crate) fn known() -> Result<Value> {
    let mut run = RunConfig::default();
    let bounds = (Some(0.0), Some(1.0));
    run.rl.loss.importance_correction = Some(ImportanceCorrection {
        level: CorrectionLevel::Token,
        out_of_bounds: OutOfBounds::Truncate,
        min: bounds.0,
        max: bounds.1,
    });
    run.rl.lora = Some(Default::default());
    run.rl.dynamic_sampling = Some(Default::default());
    run.rl.overlong = Some(Default::default());
    let loss_prior = Some(Default::default());
    run.probe.posterior = Some(PosteriorConfig { loss_prior, ..PosteriorConfig::default() });
    run.endpoint = Some(Default::default());
    run.novelty = Some(Default::default());
    run.steering = Some(Default::default());
    run.abstention = Some(Default::default());
    run.trust = Some(Default::default());
    Ok(serde_yaml::to_value(&run)?)
}

fn with_sets<T: Serialize + DeserializeOwned>(base: T, known: &Value, sets: &[String]) -> Result<T> {
    let mut value = serde_yaml::to_value(&base)?;
    for set in sets {
        let Some((key, text)) = set.split_once('=') else {
            bail!("--set {set}: expected KEY=VALUE, as in rl.learning_rate=1e-4");
        };
        let new: Value =
            serde_yaml::from_str(text).with_context(|| format!("--set {set}: the value is not YAML"))?;
        let keys: Vec<Value> = key.split('.').map(yaml_key).collect();
        // The key alone, before it is put among the others: its path is what an error should name.
        let alone = keys.iter().rev().fold(new.clone(), |inner, key| {
            let mut outer = Mapping::new();
            outer.insert(key.clone(), inner);
            Value::Mapping(outer)
        });
        no_unknown_key(known, &alone, known, "").with_context(|| format!("--set {set}"))?;
        put(&mut value, &keys, new).with_context(|| format!("--set {set}"))?;
    }
    typed("--set", known, value)
}

/// A piece of a dotted key: `1` is the whole number that the tables of calls and menus have for a key.
fn yaml_key(piece: &str) -> Value {
    piece.parse::<u64>().map_or_else(|_| piece.into(), Value::from)
}

/// Sets one key, making sections that are off.
fn put(into: &mut Value, keys: &[Value], new: Value) -> Result<()> {
    let Some((first, rest)) = keys.split_first() else {
        *into = new;
        return Ok(());
    };
    if into.is_null() {
        *into = Value::Mapping(Mapping::new());
    }
    match into {
        Value::Mapping(mapping) => put(mapping.entry(first.clone()).or_insert(Value::Null), rest, new),
        other => bail!("`{}` would be a key of {}", name(first), kind(other)),
    }
}

/// Turns a value into its type, naming keys in errors.
fn typed<T: DeserializeOwned>(source: &str, known: &Value, value: Value) -> Result<T> {
    no_unknown_key(known, &value, known, "").with_context(|| source.to_owned())?;
    // By way of text, because only then does the error name the key.
    let text = serde_yaml::to_string(&value)?;
    serde_yaml::from_str(&text).map_err(|error| anyhow::anyhow!("{source}: {}", plain(&error.to_string())))
}

/// A message of serde_yaml without the place in a text that the user never saw, and in words that are not Rust's.
fn plain(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    let mut text = message[..end].to_owned();
    for (rust, words) in [
        ("expected f64", "expected a number"),
        ("expected usize", "expected a whole number of at least 0"),
        ("expected u64", "expected a whole number of at least 0"),
        ("expected u32", "expected a whole number of at least 0"),
        ("expected struct", "expected a section with keys,"),
        ("expected a map", "expected a section with keys"),
        ("expected a sequence", "expected a list"),
        ("invalid type: ", "is "),
        ("invalid value: ", "is "),
        ("unit value", "empty"),
    ] {
        text = text.replace(rust, words);
    }
    match text.split_once(": ") {
        Some((key, rest)) if !key.contains(' ') && rest.starts_with("is ") => format!("`{key}` {rest}"),
        Some((key, rest)) if !key.contains(' ') => format!("`{key}`: {rest}"),
        _ => text,
    }
}

/// Refuses the first key of `given` that `known` has not, with the nearest one that exists.
fn no_unknown_key(known: &Value, given: &Value, all: &Value, path: &str) -> Result<()> {
    let (Value::Mapping(known), Value::Mapping(given)) = (known, given) else {
        if let (Value::Mapping(_), false) = (known, given.is_null()) {
            bail!("`{path}` is {}, expected a section with keys", kind(given));
        }
        if let (Value::Mapping(given), false) = (given, known.is_mapping() || known.is_null()) {
            let key = given.keys().next().map_or_else(String::new, name);
            bail!("`{path}` takes one value and has no key `{key}`");
        }
        return Ok(());
    };
    if TABLES.contains(&path) {
        return Ok(());
    }
    for (key, value) in given {
        let here = if path.is_empty() { name(key) } else { format!("{path}.{}", name(key)) };
        match known.get(key) {
            Some(inner) => no_unknown_key(inner, value, all, &here)?,
            None => match nearest(&here, known, all, path) {
                Some(near) => bail!("unknown key `{here}`; did you mean `{near}`?"),
                None => bail!("unknown key `{here}`; expected one of {}", keys(known)),
            },
        }
    }
    Ok(())
}

/// The key that was probably meant: the most similar one of the same section, else of the same last name, else the
/// most similar one anywhere.
fn nearest(here: &str, siblings: &Mapping, all: &Value, path: &str) -> Option<String> {
    /// Less alike than this, two keys have nothing to do with each other.
    const ALIKE: f64 = 0.75;
    let last = here.rsplit('.').next().unwrap_or(here);
    let best = |candidates: &mut dyn Iterator<Item = (f64, String)>| {
        candidates.filter(|(score, _)| ALIKE <= *score).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
    };
    let alike = |key: &str| {
        strsim::normalized_damerau_levenshtein(last, key).max(strsim::jaro_winkler(last, key) - 0.1)
    };
    let full = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let sibling = best(&mut siblings.keys().map(name).map(|key| (alike(&key), full(&key))));
    sibling.or_else(|| {
        let mut paths = Vec::new();
        walk(all, "", &mut paths);
        let score = |path: &String| match path.rsplit('.').next() {
            Some(own) if own == last => 2.0 - path.matches('.').count() as f64 / 100.0,
            _ => strsim::normalized_damerau_levenshtein(here, path),
        };
        best(&mut paths.into_iter().map(|path| (score(&path), path)))
    })
}

/// Every dotted key, sections included, tables not entered.
fn walk(value: &Value, path: &str, out: &mut Vec<String>) {
    if !path.is_empty() {
        out.push(path.to_owned());
    }
    if TABLES.contains(&path) {
        return;
    }
    for (key, inner) in value.as_mapping().into_iter().flatten() {
        let key = name(key);
        walk(inner, &if path.is_empty() { key } else { format!("{path}.{key}") }, out);
    }
}

fn keys(mapping: &Mapping) -> String {
    mapping.keys().map(|key| format!("`{}`", name(key))).collect::<Vec<_>>().join(", ")
}

fn name(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        other => {
            serde_yaml::to_string(other).map_or_else(|_| "?".to_owned(), |text| text.trim_end().to_owned())
        }
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section with keys".to_owned(),
        Value::String(text) => format!("the text \"{text}\""),
        other => name(other),
    }
}
