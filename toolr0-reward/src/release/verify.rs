//! The release's structural verification of a candidate task, its fingerprints and its quality.

use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::python::{Dict, Py, collapse, digit, loads, strip};
use super::{Case, blocks, has_bracketed, has_phrase};

/// A candidate that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The menu, every tool with a schema `{type, properties, required}`.
    pub tools: Value,
    /// The calls as they were written.
    pub calls: Value,
    /// What near-duplicates share.
    pub fingerprints: Fingerprints,
    /// From 0 to 3: length of the question, number of calls and of tools.
    pub quality: f64,
}

/// SHA-1 of the question's shape, the menu's and the calls' signatures, and of all three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// The question in lower case, every digit as 0, white space collapsed.
    pub question: String,
    /// `tool(argument,..)` sorted by name.
    pub tools: String,
    /// `call(argument,..)` in order.
    pub calls: String,
    /// All three.
    pub combined: String,
}

/// Verifies a completion.
///
/// # Errors
///
/// The release's name of the first reason for rejection.
pub fn verify(raw: &str) -> Result<Accepted, &'static str> {
    if raw.chars().any(is_cjk) {
        return Err("contains_cjk");
    }
    let lower = raw.to_lowercase();
    let echoes = ["[the private reasoning here]", "[the generated user question here]"];
    if is_placeholder(raw) && echoes.iter().any(|echo| lower.contains(echo)) {
        return Err("placeholder_or_prompt_echo");
    }
    let first =
        |tag: &str| blocks(raw, tag, Case::Ignored).first().map(|text| strip(text)).ok_or("missing_tags");
    let question = first("question")?;
    let (tools, calls) = (first("available_tools")?, first("tool_call_answer")?);
    if is_placeholder(question) {
        return Err("placeholder_question");
    }
    let tools = loads(tools).filter(|v| !matches!(v, Py::None)).ok_or("tools_json_parse_fail")?;
    let tools = menu(&tools)?;
    let calls = loads(calls).filter(|v| !matches!(v, Py::None)).ok_or("calls_json_parse_fail")?;
    let calls = self::calls(&calls, &tools)?;
    triviality(question, &calls)?;
    Ok(Accepted {
        fingerprints: fingerprints(question, &tools, &calls),
        quality: quality(question, tools.len(), calls.len()),
        tools: tools.into_iter().map(|tool| Py::Dict(tool).to_json()).collect(),
        calls: calls.into_iter().map(|call| Py::Dict(call).to_json()).collect(),
    })
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2ceaf}')
}

fn is_placeholder(text: &str) -> bool {
    const PHRASES: [&str; 7] = [
        "the generated user question here",
        "user question must be from the specified domain",
        "generate one new tool-calling task now",
        "generate a new tool-calling task now",
        "control spec",
        "rules to satisfy",
        "then, without revealing your reasoning",
    ];
    let text = text.to_lowercase();
    strip(&text).chars().count() < 8
        || PHRASES.iter().any(|phrase| has_phrase(&text, phrase))
        || text.contains("[the private reasoning here]")
        || has_bracketed(&text, &["generated user question"])
        || has_bracketed(&text, &["user question", "here"])
}

/// Checks the menu and brings every tool's parameters into one layout.
fn menu(value: &Py) -> Result<Vec<Dict>, &'static str> {
    let Py::List(items) = value else { return Err("tools_not_list_or_empty") };
    if items.is_empty() {
        return Err("tools_not_list_or_empty");
    }
    let mut names = std::collections::HashSet::new();
    let mut tools = Vec::with_capacity(items.len());
    for item in items {
        let tool = item.as_dict().ok_or("tool_not_object")?;
        match tool.get("required") {
            None | Some(Py::None) => (),
            Some(Py::List(names)) if names.iter().all(|n| n.as_str().is_some()) => (),
            Some(_) => return Err("tool_required_not_list_of_strings"),
        }
        let name =
            tool.get("name").and_then(Py::as_str).filter(|name| !is_bad_name(name)).ok_or("bad_tool_name")?;
        if !names.insert(name) {
            return Err("duplicate_tool_name");
        }
        let description = tool.get("description").and_then(Py::as_str);
        if description.is_none_or(|text| strip(text).chars().count() < 5) {
            return Err("tool_missing_or_short_description");
        }
        let parameters = tool
            .get("parameters")
            .and_then(Py::as_dict)
            .filter(|p| p.len() > 0)
            .ok_or("tool_missing_parameters")?;
        tools.push(parameters_of(tool, parameters)?);
    }
    Ok(tools)
}

fn is_bad_name(name: &str) -> bool {
    name.is_empty()
        || (name.chars().count() <= 2 && name.chars().all(char::is_alphabetic))
        || ["tool", "function", "api", "call"].contains(&name.to_lowercase().as_str())
}

fn parameters_of(tool: &Dict, parameters: &Dict) -> Result<Dict, &'static str> {
    let put = |dict: &mut Dict, key: &str, value: Py| {
        let _ = dict.insert(Py::Str(key.to_owned()), value);
    };
    let mut tool = tool.clone();
    let is_object = parameters.get("type").and_then(Py::as_str) == Some("object");
    if parameters.get("properties").is_some() || is_object {
        let properties =
            parameters.get("properties").and_then(Py::as_dict).ok_or("tool_parameters_missing_properties")?;
        if properties.len() == 0 {
            return Err("tool_parameters_empty_properties");
        }
        for (_, schema) in properties.iter() {
            let schema = schema.as_dict().ok_or("tool_parameters_bad_property_spec")?;
            if !schema.get("type").is_some_and(is_primitive) {
                return Err("tool_parameters_nonprimitive_type");
            }
        }
        let mut parameters = parameters.clone();
        if parameters.get("required").is_none() {
            put(&mut parameters, "required", Py::List(Vec::new()));
        }
        put(&mut tool, "parameters", Py::Dict(parameters));
        return Ok(tool);
    }
    let mut properties = Dict::default();
    for (name, schema) in parameters.iter() {
        let mut plain = Dict::default();
        match schema {
            Py::Str(_) if is_primitive(schema) => put(&mut plain, "type", schema.clone()),
            Py::Str(_) => return Err("tool_parameters_nonprimitive_type"),
            Py::Dict(schema) => {
                let kind = schema.get("type").ok_or("tool_parameters_missing_arg_type")?;
                if !is_primitive(kind) {
                    return Err("tool_parameters_nonprimitive_type");
                }
                for (key, value) in schema.iter() {
                    if let Some(key @ ("type" | "description" | "enum")) = key.as_str() {
                        put(&mut plain, key, value.clone());
                    }
                }
            }
            _ => return Err("tool_parameters_bad_arg_spec"),
        }
        let _ = properties.insert(name.clone(), Py::Dict(plain));
    }
    let required = match tool.get("required") {
        Some(list @ Py::List(_)) => list.clone(),
        _ => Py::List(Vec::new()),
    };
    let mut parameters = Dict::default();
    put(&mut parameters, "type", Py::Str("object".into()));
    put(&mut parameters, "properties", Py::Dict(properties));
    put(&mut parameters, "required", required);
    put(&mut tool, "parameters", Py::Dict(parameters));
    Ok(tool)
}

fn is_primitive(kind: &Py) -> bool {
    let Some(kind) = kind.as_str() else { return false };
    let kind = strip(kind).to_lowercase();
    ["string", "str", "integer", "int", "number", "float", "double", "boolean", "bool", "date", "datetime"]
        .contains(&kind.as_str())
}

fn calls(value: &Py, tools: &[Dict]) -> Result<Vec<Dict>, &'static str> {
    let Py::List(items) = value else { return Err("calls_not_list_or_empty") };
    if items.is_empty() {
        return Err("calls_not_list_or_empty");
    }
    let mut calls = Vec::with_capacity(items.len());
    for item in items {
        let call = item.as_dict().ok_or("call_not_object")?;
        let name = call.get("name").and_then(Py::as_str);
        let named = |tool: &&Dict| name.is_some() && tool.get("name").and_then(Py::as_str) == name;
        let tool = tools.iter().find(named).ok_or("call_tool_name_unknown")?;
        let arguments = call.get("arguments").and_then(Py::as_dict).ok_or("call_args_not_object")?;
        if arguments.iter().any(|(_, v)| matches!(v, Py::List(_) | Py::Dict(_))) {
            return Err("call_nested_arguments");
        }
        let inner = || tool.get("parameters").and_then(Py::as_dict).and_then(|p| p.get("required"));
        let required = match tool.get("required").or_else(inner) {
            None | Some(Py::None) => &[],
            Some(Py::List(names)) => names.as_slice(),
            Some(_) => return Err("required_field_malformed"),
        };
        for name in required {
            let name = name.as_str().ok_or("required_field_malformed")?;
            arguments.get(name).ok_or("call_missing_required_arg")?;
        }
        calls.push(call.clone());
    }
    Ok(calls)
}

fn triviality(question: &str, calls: &[Dict]) -> Result<(), &'static str> {
    let question = question.to_lowercase();
    let question = strip(&question);
    if question.chars().count() < 25 {
        return Err("question_too_short");
    }
    let banned = ["capital of", "define ", "explain ", "summarize ", "write a poem", "tell me a joke"];
    if banned.iter().any(|phrase| question.contains(phrase)) {
        return Err("likely_no_tool_needed");
    }
    let trivial = ["what is", "who is", "when is", "where is"].iter().any(|phrase| question.contains(phrase));
    match calls {
        [call] if trivial && keys(call.get("arguments")).len() <= 1 => Err("too_trivial_single_call"),
        _ => Ok(()),
    }
}

/// The sorted keys of a dictionary.
fn keys(value: Option<&Py>) -> Vec<String> {
    let mut keys: Vec<String> =
        value.and_then(Py::as_dict).into_iter().flat_map(Dict::iter).map(|(k, _)| k.display()).collect();
    keys.sort_unstable();
    keys
}

fn fingerprints(question: &str, tools: &[Dict], calls: &[Dict]) -> Fingerprints {
    let question: String =
        question.to_lowercase().chars().map(|c| if digit(c).is_some() { '0' } else { c }).collect();
    let question = collapse(&question);
    let name = |dict: &Dict| dict.get("name").map(Py::display).unwrap_or_default();
    let mut menu: Vec<(String, String)> = tools
        .iter()
        .map(|tool| {
            let properties = tool.get("parameters").and_then(Py::as_dict).and_then(|p| p.get("properties"));
            (name(tool), format!("{}({})", name(tool), keys(properties).join(",")))
        })
        .collect();
    menu.sort();
    let menu = menu.into_iter().map(|(_, signature)| signature).collect::<Vec<_>>().join("|");
    let calls: Vec<String> = calls
        .iter()
        .map(|call| format!("{}({})", name(call), keys(call.get("arguments")).join(",")))
        .collect();
    let calls = calls.join("->");
    Fingerprints {
        combined: sha1(&format!("{question}||{menu}||{calls}")),
        question: sha1(&question),
        tools: sha1(&menu),
        calls: sha1(&calls),
    }
}

fn sha1(text: &str) -> String {
    Sha1::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn quality(question: &str, n_tools: usize, n_calls: usize) -> f64 {
    let part = |n: usize, full: f64| (n as f64 / full).min(1.0);
    let lower = question.to_lowercase();
    let dummy = ["dummy", "placeholder", "lorem ipsum"].iter().any(|phrase| has_phrase(&lower, phrase));
    let score = part(question.chars().count(), 220.0) + part(n_calls, 3.0) + part(n_tools, 4.0);
    (score - f64::from(dummy)).max(0.0)
}

impl Fingerprints {
    /// As the release writes them: `q_fp`, `tool_fp`, `call_fp`, `combo_fp`.
    pub fn to_json(&self) -> Value {
        json!({"q_fp": self.question, "tool_fp": self.tools, "call_fp": self.calls, "combo_fp": self.combined})
    }
}
