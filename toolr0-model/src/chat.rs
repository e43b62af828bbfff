//! Chat templates: the checkpoint's own Jinja program that turns messages into text.
//!
//! Templates are written for Python, so they are run as transformers runs them: the same whitespace
//! settings, string and list methods, `tojson`, `raise_exception`, `strftime_now`, loop controls, and
//! Python's spelling of values (`True`, `None`, `5.0`). What differs in the text differs in the tokens,
//! and a model is then asked something it was not trained on.

mod python;

use crate::error::{Error, Result};
use crate::tokenizer::SpecialTokens;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind};
use python::{python_str, strftime, tojson};
use serde::Serialize;
use serde_json::Map;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A checkpoint's chat template, or templates, with its special tokens.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: SpecialTokens,
    /// Where the template came from, for errors.
    path: PathBuf,
}

/// Name of the template used without tools, and with them where no other is meant for that.
const DEFAULT: &str = "default";
/// Name of the template that some checkpoints add for tools.
const TOOL_USE: &str = "tool_use";

impl ChatTemplate {
    /// Reads the template of a checkpoint: `chat_template.jinja` if there is one, else the key
    /// `chat_template` of `tokenizer_config.json`. The special tokens come from the latter.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Json`] for the files, [`Error::Template`] if there is no template or
    /// it does not parse.
    pub fn load(dir: &Path) -> Result<Self> {
        let (config, jinja) = (dir.join("tokenizer_config.json"), dir.join("chat_template.jinja"));
        if !jinja.exists() {
            let text = std::fs::read_to_string(&config).map_err(Error::read(&config))?;
            return Self::from_config_json(&text, &config);
        }
        let special = match config.exists() {
            true => {
                let text = std::fs::read_to_string(&config).map_err(Error::read(&config))?;
                SpecialTokens::from_config(&serde_json::from_str(&text).map_err(Error::json(&config))?)
            }
            false => SpecialTokens::default(),
        };
        let source = std::fs::read_to_string(&jinja).map_err(Error::read(&jinja))?;
        Self::new(&source, special, &jinja)
    }

    /// Takes the text of a `tokenizer_config.json`, whose `chat_template` is a string, or a list of
    /// `{"name", "template"}`. `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::load`].
    pub fn from_config_json(text: &str, path: &Path) -> Result<Self> {
        let config: Map<String, serde_json::Value> = serde_json::from_str(text).map_err(Error::json(path))?;
        let special = SpecialTokens::from_config(&config);
        let bad = |reason: &str| Error::Template { path: path.into(), reason: reason.into() };
        match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => Err(bad("there is no `chat_template`")),
            Some(serde_json::Value::String(source)) => Self::new(source, special, path),
            Some(serde_json::Value::Array(list)) => {
                let named = |item: &serde_json::Value| {
                    let text = |key| Some(item.get(key)?.as_str()?.to_owned());
                    Some((text("name")?, text("template")?))
                };
                let named: Option<Vec<_>> = list.iter().map(named).collect();
                let named =
                    named.ok_or_else(|| bad("`chat_template` lists something without name and template"))?;
                Self::from_named(named, special, path)
            }
            Some(_) => Err(bad("`chat_template` is neither a string nor a list")),
        }
    }

    /// Takes the text of one template. `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] if it does not parse.
    pub fn new(source: &str, special: SpecialTokens, path: &Path) -> Result<Self> {
        Self::from_named(vec![(DEFAULT.to_owned(), source.to_owned())], special, path)
    }

    fn from_named(named: Vec<(String, String)>, special: SpecialTokens, path: &Path) -> Result<Self> {
        let mut environment = environment();
        for (name, source) in named {
            let source = without_generation_tags(&source);
            environment.add_template_owned(name, source).map_err(|error| failure(path, &error))?;
        }
        if environment.get_template(DEFAULT).is_err() {
            let reason = "there is no template named `default`".into();
            return Err(Error::Template { path: path.into(), reason });
        }
        Ok(Self { environment, special, path: path.into() })
    }

    /// The special tokens of the checkpoint.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Fixes the time that `strftime_now` tells, in seconds since 1970 (UTC), so that a template which
    /// prints today's date renders the same on every day. Without this it is the system's clock.
    pub fn set_now(&mut self, now: u64) {
        self.environment.add_function("strftime_now", move |format: &str| strftime(format, now));
    }

    /// Renders a conversation.
    ///
    /// - `messages`: a list of `{"role", "content", ..}`, anything that serializes to it.
    /// - `tools`: a list of tool schemas, or `None`, which templates see as `none`.
    /// - `add_generation_prompt`: whether to end with the opening of the assistant's turn.
    /// - `extra`: further variables of the template (`date_string`, `enable_thinking`), which also
    ///   override the special tokens.
    ///
    /// Encode the result with [`Tokenizer::encode`](crate::tokenizer::Tokenizer::encode): it holds all
    /// special tokens already.
    ///
    /// # Errors
    ///
    /// [`Error::TemplateRaised`] if the template calls `raise_exception`, [`Error::Template`] if it fails
    /// otherwise.
    pub fn render(
        &self,
        messages: &impl Serialize,
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
        extra: &Map<String, serde_json::Value>,
    ) -> Result<String> {
        let bad =
            |error: serde_json::Error| Error::Template { path: self.path.clone(), reason: error.to_string() };
        let messages = serde_json::to_value(messages).map_err(bad)?;
        let mut context: BTreeMap<&str, Value> = BTreeMap::new();
        context.extend(self.special.iter().map(|(key, token)| (key, Value::from(token))));
        context.insert("messages", to_value(&messages));
        context.insert("tools", tools.map_or(Value::from(()), to_value));
        context.insert("documents", Value::from(()));
        context.insert("add_generation_prompt", Value::from(add_generation_prompt));
        context.extend(extra.iter().map(|(key, value)| (key.as_str(), to_value(value))));
        let wanted = if tools.is_some() { TOOL_USE } else { DEFAULT };
        let template = self.environment.get_template(wanted);
        let template = template.or_else(|_| self.environment.get_template(DEFAULT));
        let template = template.map_err(|error| failure(&self.path, &error))?;
        template.render(Value::from_pairs(context)).map_err(|error| failure(&self.path, &error))
    }
}

/// What `raise_exception` throws: carried through the template engine as the source of its error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn failure(path: &Path, error: &minijinja::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return Error::TemplateRaised { path: path.into(), message: message.clone() };
        }
        // Writing to a `String` cannot fail.
        let _ = write!(reason, ": {cause}");
        source = cause.source();
    }
    Error::Template { path: path.into(), reason }
}

/// The environment of transformers' `_compile_jinja_template`.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are Jinja's own"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _, value| {
        let mut text = String::new();
        python_str(value, &mut text)?;
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |value: Value| -> Result<String, minijinja::Error> {
        let mut text = String::new();
        python_str(&value, &mut text)?;
        Ok(text)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        let error = minijinja::Error::new(ErrorKind::InvalidOperation, message.clone());
        Err(error.with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: &str| {
        // A clock before 1970 is no reason to fail a prompt.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        strftime(format, now.as_secs())
    });
    environment
}

/// A JSON value as the template engine sees it; objects keep their order.
fn to_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(whole)) => Value::from(whole),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(to_value).collect(),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(k, v)| (k.as_str(), to_value(v))))
        }
    }
}

/// Turns `{% generation %}` into `{% if true %}`: the tag marks the assistant's tokens for a trainer
/// that wants a mask from the template, and prints nothing itself.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let inside = &rest[open + 2..];
        let word = inside.trim_start_matches(['-', '+']).trim_start();
        let (head, replacement) = match word {
            w if w.starts_with("generation") => ("generation", "if true"),
            w if w.starts_with("endgeneration") => ("endgeneration", "endif"),
            _ => ("", ""),
        };
        let after = &word[head.len()..];
        let ends = after.trim_start().trim_start_matches(['-', '+']).starts_with("%}");
        let skipped = inside.len() - word.len();
        out.push_str(&rest[..open + 2 + skipped]);
        rest = if !head.is_empty() && ends {
            out.push_str(replacement);
            after
        } else {
            word
        };
    }
    out.push_str(rest);
    out
}
