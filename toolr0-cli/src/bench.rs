//! Benchmark questions on disk: `SUITE/SPLIT.jsonl`, one [`BenchItem`] a line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use toolr0_reward::ast::BenchItem;
use toolr0_reward::schema::check_schemas;
use toolr0_tools::ToolCall;

use crate::input::Lines;

/// The questions of one file.
#[derive(Debug)]
pub(crate) struct Split {
    /// The folder's name.
    pub(crate) suite: String,
    /// The file's name, without ending.
    pub(crate) name: String,
    /// In their order.
    pub(crate) items: Vec<BenchItem>,
    /// Lines that are no question: where, and why.
    pub(crate) bad: Vec<String>,
    /// Questions whose answer is of other types than its tool says: where, and which. They are kept, because the published
    /// scores count them.
    pub(crate) mistyped: Vec<String>,
}

/// Reads every `SUITE/SPLIT.jsonl` under `dir`, in the order of their names.
///
/// # Errors
///
/// If the folder cannot be read or holds no such file. A bad line is counted, not an error.
pub(crate) fn read(dir: &Path) -> Result<Vec<Split>> {
    let mut splits = Vec::new();
    for suite in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&suite)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        {
            splits.push(read_split(&suite, &file)?);
        }
    }
    if splits.is_empty() {
        bail!("{} holds no SUITE/SPLIT.jsonl", dir.display());
    }
    Ok(splits)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read =
        || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect() };
    let mut paths = read().with_context(|| format!("failed to read {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

fn read_split(suite: &Path, file: &Path) -> Result<Split> {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (suite, name) = (name(suite), name(file));
    let mut split = Split { suite, name, items: Vec::new(), bad: Vec::new(), mistyped: Vec::new() };
    let mut lines = Lines::open(file)?;
    while let Some(line) = lines.next()? {
        match serde_json::from_str::<BenchItem>(&line) {
            Ok(item) => match (item.fault(), check_schemas(&item.tools)) {
                (Some(reason), _) => split.bad.push(format!("{}: {reason}", lines.place())),
                (None, Err(error)) => split.bad.push(format!("{}: {error}", lines.place())),
                (None, Ok(())) => {
                    split.mistyped.extend(mistyped(&item).map(|what| format!("{}: {what}", lines.place())));
                    split.items.push(item);
                }
            },
            Err(error) => split.bad.push(format!("{}: {error}", lines.place())),
        }
    }
    Ok(split)
}

/// An argument that is of another type than its tool says, if every answer has one. A text that stands for an earlier result
/// (Seal-Tools' `API_call_0`) is of any type.
fn mistyped(item: &BenchItem) -> Option<String> {
    let of_call = |call: &ToolCall| {
        let tool = item.tools.iter().find(|tool| tool.name == call.name)?;
        let wrong = |(key, value): (&String, &Value)| {
            let kind = tool.param(key)?.kind()?;
            let stands_for_another = value.as_str().is_some_and(|text| text.starts_with("API_call_"));
            (!stands_for_another && !is_of(kind, value))
                .then(|| format!("`{key}` is {value}, expected {kind}"))
        };
        call.arguments.iter().find_map(wrong)
    };
    let wrong = item.answers.iter().map(|answer| answer.iter().find_map(of_call));
    wrong.collect::<Option<Vec<_>>>()?.into_iter().next()
}

/// Whether a value is of a type of JSON Schema. What is no such type takes all.
fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|x| x.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_of_another_type_is_found_where_no_other_answer_is_right() {
        let of = |values: &[Value]| {
            let answers: Vec<Value> =
                values.iter().map(|n| json!([{"name": "f", "arguments": {"n": n}}])).collect();
            let item = json!({"id": "1", "benchmark": "b", "split": "s", "messages": [{"role": "user", "content": "q"}],
                "tools": [{"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}],
                "answers": answers});
            mistyped(&serde_json::from_value(item).unwrap())
        };
        assert_eq!(of(&[json!("3")]).as_deref(), Some("`n` is \"3\", expected integer"));
        assert!(of(&[json!(null)]).is_some() && of(&[json!(3.5), json!("3")]).is_some());
        for right in [&[json!(3)][..], &[json!(3.0)], &[json!("3"), json!(3)], &[json!("API_call_0")], &[]] {
            assert_eq!(of(right), None, "{right:?}");
        }
    }
}
