//! Does a call fit its tool? Validation against JSON Schema, and a report of every value that had to be read as another
//! type than it was written in.

use jsonschema::{PatternOptions, Validator};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};
use crate::{ToolCall, ToolSpec};

/// One argument that was read as another type than it was written in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coercion {
    /// The parameter.
    pub argument: String,
    /// As it was written.
    pub from: Value,
    /// As it was read.
    pub to: Value,
}

/// Why a call was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "refused")]
#[non_exhaustive]
pub enum Refusal {
    /// There is no tool of this name.
    #[error("there is no tool `{tool}`")]
    UnknownTool {
        /// The name.
        tool: String,
    },
    /// A required argument is absent.
    #[error("the required argument `{argument}` is missing")]
    Missing {
        /// The parameter.
        argument: String,
    },
    /// An argument that the tool does not name.
    #[error("the tool knows no argument `{argument}`")]
    Unknown {
        /// The key.
        argument: String,
    },
    /// A value that does not fit its schema.
    #[error("`{argument}` does not fit its schema: {reason}")]
    Invalid {
        /// The parameter; empty where the arguments as a whole do not fit.
        argument: String,
        /// What is wrong.
        reason: String,
    },
}

/// The arguments of a call as its tool reads them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checked {
    /// Every argument in its own type, absent ones with their defaults, in the order of the schema.
    pub arguments: Map<String, Value>,
    /// What was read as another type.
    pub coerced: Vec<Coercion>,
}

/// The parameters of one tool, ready to check calls.
#[derive(Debug)]
pub struct Schema {
    spec: ToolSpec,
    /// Whether arguments that the schema does not name are let through.
    open: bool,
    /// The whole schema, where it says more than types and closed sets, which are checked without it.
    rest: Option<Validator>,
}

impl Schema {
    /// Reads the parameters of `spec`. Nothing is fetched: a reference that leads out of the schema is an error.
    ///
    /// # Errors
    ///
    /// [`Error::Schema`] if they are no JSON Schema of an object.
    pub fn new(spec: &ToolSpec) -> Result<Self> {
        let bad = |at: &str, reason: String| Error::Schema { tool: spec.name.clone(), at: at.into(), reason };
        if !spec.parameters.is_object() {
            return Err(bad("", "expected an object".into()));
        }
        if let Err(error) = jsonschema::draft202012::meta::validate(&spec.parameters) {
            return Err(bad(error.instance_path().as_str(), error.to_string()));
        }
        // Patterns may come from strangers, so they run on the engine that is linear in the text.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex().size_limit(1 << 20));
        let rest = match is_plain(&spec.parameters) {
            true => None,
            false => Some(options.build(&spec.parameters).map_err(|error| bad("", error.to_string()))?),
        };
        let open =
            spec.parameters.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        Ok(Self { spec: spec.clone(), open, rest })
    }

    /// The tool.
    pub fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// Reads the arguments of a call. A value is read as another type only where nothing is lost: `"5"` as 5, `1.0` as 1
    /// where an integer is wanted, `"true"` as true, 5 as `"5"`, a member of a closed set in other letter case.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`]: of an unknown argument, then of a missing one, then of a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use serde_json::json;
    /// use toolr0_tools::{ToolCall, ToolSpec, schema::Schema};
    /// let properties = json!({"city": {"type": "string"}, "guests": {"type": "integer", "default": 2}});
    /// let tool = ToolSpec::new("book", "Book a table.", properties.as_object().unwrap().clone(), &["city"]);
    /// let schema = Schema::new(&tool)?;
    /// let call: ToolCall = serde_json::from_value(json!({"name": "book", "arguments": {"guests": "4", "city": "Oslo"}}))?;
    /// let checked = schema.check(&call).unwrap();
    /// assert_eq!((checked.arguments["guests"].clone(), checked.coerced.len()), (json!(4), 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, call: &ToolCall) -> std::result::Result<Checked, Refusal> {
        let known = |name: &String| self.spec.param(name).is_some();
        if let (false, Some(unknown)) = (self.open, call.arguments.keys().find(|name| !known(name))) {
            return Err(Refusal::Unknown { argument: unknown.clone() });
        }
        if let Some(missing) = self.spec.required().find(|name| !call.arguments.contains_key(*name)) {
            return Err(Refusal::Missing { argument: missing.into() });
        }
        let (mut arguments, mut coerced) = (Map::new(), Vec::new());
        for param in self.spec.params() {
            let Some(value) = call.arguments.get(param.name) else {
                if let Some(default) = param.schema.get("default") {
                    arguments.insert(param.name.into(), default.clone());
                }
                continue;
            };
            let read = coerce(param.schema, value);
            if let Some(reason) = misfit(param.schema, &read) {
                return Err(Refusal::Invalid { argument: param.name.into(), reason });
            }
            if kind_of(&read) != kind_of(value) || read.is_string() && read != *value {
                let (from, to) = (value.clone(), read.clone());
                coerced.push(Coercion { argument: param.name.into(), from, to });
            }
            arguments.insert(param.name.into(), read);
        }
        let others = call.arguments.iter().filter(|(name, _)| !known(name));
        arguments.extend(others.map(|(name, value)| (name.clone(), value.clone())));
        let Some(rest) = &self.rest else { return Ok(Checked { arguments, coerced }) };
        let whole = Value::Object(arguments);
        if let Err(error) = rest.validate(&whole) {
            let at = error.instance_path().as_str().trim_start_matches('/');
            let argument = at.split('/').next().unwrap_or_default().to_owned();
            return Err(Refusal::Invalid { argument, reason: error.to_string() });
        }
        let Value::Object(arguments) = whole else { unreachable!("it was made an object above") };
        Ok(Checked { arguments, coerced })
    }
}

/// Whether a schema of parameters says only types and closed sets, all of which [`misfit`] checks.
fn is_plain(parameters: &Value) -> bool {
    let outer = |key: &str| matches!(key, "type" | "properties" | "required" | "description" | "title");
    let inner = |key: &str| matches!(key, "type" | "description" | "title" | "default" | "examples" | "enum");
    let plain = |schema: &Value| {
        let typed = schema
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|kind| is_kind(kind, &Value::Null).is_some());
        typed && schema.as_object().is_some_and(|schema| schema.keys().all(|key| inner(key)))
    };
    let object = parameters.get("type").is_none_or(|kind| kind == "object");
    let properties = parameters.get("properties").and_then(Value::as_object);
    object
        && parameters.as_object().is_some_and(|all| all.keys().all(|key| outer(key)))
        && properties.is_none_or(|properties| properties.values().all(plain))
}

/// Whether a value is of a plain JSON type; `None` for other types.
fn is_kind(kind: &str, value: &Value) -> Option<bool> {
    Some(match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => return None,
    })
}

/// Why a value is not of the schema's type or set, if it is not.
fn misfit(schema: &Value, value: &Value) -> Option<String> {
    let kind = schema.get("type").and_then(Value::as_str);
    if let Some(kind) = kind.filter(|kind| is_kind(kind, value) == Some(false)) {
        return Some(format!("{} is no {kind}", excerpt(value)));
    }
    let set = schema.get("enum").and_then(Value::as_array)?;
    let listed = || set.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
    (!set.contains(value)).then(|| format!("{} is none of {}", excerpt(value), listed()))
}

/// The value as the schema's type where that loses nothing, else as it is.
fn coerce(schema: &Value, value: &Value) -> Value {
    let read = match (schema.get("type").and_then(Value::as_str), value) {
        (Some("integer" | "number"), Value::String(text)) => number(text).map(|n| canonical(&n)),
        (Some("integer" | "number"), Value::Number(n)) => Some(canonical(n)),
        (Some("boolean"), Value::String(text)) => match text.trim() {
            "true" | "True" | "TRUE" => Some(true.into()),
            "false" | "False" | "FALSE" => Some(false.into()),
            _ => None,
        },
        (Some("string"), Value::Number(n)) => Some(n.to_string().into()),
        (Some("array"), Value::Array(items)) => {
            schema.get("items").map(|of| items.iter().map(|item| coerce(of, item)).collect())
        }
        (Some("object"), Value::Object(fields)) => schema.get("properties").map(|of| {
            let inner = |(key, field): (&String, &Value)| match of.get(key) {
                Some(of) => (key.clone(), coerce(of, field)),
                None => (key.clone(), field.clone()),
            };
            fields.iter().map(inner).collect()
        }),
        _ => None,
    };
    let read = read.unwrap_or_else(|| value.clone());
    let Some(text) = read.as_str() else { return read };
    let set = schema.get("enum").and_then(Value::as_array);
    let same =
        |member: &&Value| member.as_str().is_some_and(|member| member.eq_ignore_ascii_case(text.trim()));
    set.and_then(|set| set.iter().find(same)).cloned().unwrap_or(read)
}

/// A number as it is written in JSON: `05` and `+5` are identifiers, and what is long is one too.
fn number(text: &str) -> Option<Number> {
    let text = text.trim();
    let plain = text.len() <= 40 && text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    if plain { serde_json::from_str(text).ok() } else { None }
}

/// One spelling of every number: whole ones without a point.
fn canonical(n: &Number) -> Value {
    match n.as_f64() {
        Some(x) if n.is_f64() && x.fract() == 0.0 && x.abs() < 9e15 => Value::from(x as i64),
        _ => Value::Number(n.clone()),
    }
}

/// JSON's own types, with which a change of spelling such as 1.0 to 1 is none of type.
fn kind_of(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// A value for a message, cut where it is long.
fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}..", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schema(properties: Value, required: &[&str]) -> Schema {
        let properties = properties.as_object().unwrap().clone();
        Schema::new(&ToolSpec::new("f", "Does f.", properties, required)).unwrap()
    }

    fn call(arguments: Value) -> ToolCall {
        ToolCall::new("f", arguments.as_object().unwrap().clone())
    }

    /// What comes of one argument under `schema`: its value and whether that was a coercion, or why not.
    #[track_caller]
    fn check(of: Value, value: Value, want: std::result::Result<(Value, bool), &str>) {
        let got = schema(json!({"x": of}), &[]).check(&call(json!({"x": value})));
        let got = got.map(|c| (c.arguments["x"].clone(), !c.coerced.is_empty())).map_err(|r| r.to_string());
        assert_eq!(got, want.map_err(|reason| format!("`x` does not fit its schema: {reason}")));
    }

    #[test]
    fn what_loses_nothing_is_read_and_reported() {
        let (integer, text) = (json!({"type": "integer"}), json!({"type": "string"}));
        check(integer.clone(), json!("5"), Ok((json!(5), true)));
        check(integer.clone(), json!(5.0), Ok((json!(5), false)));
        check(integer.clone(), json!(5.5), Err("5.5 is no integer"));
        check(integer.clone(), json!("05"), Err("\"05\" is no integer"));
        check(integer, json!(true), Err("true is no integer"));
        check(json!({"type": "number"}), json!("2.50"), Ok((json!(2.5), true)));
        check(json!({"type": "boolean"}), json!("True"), Ok((json!(true), true)));
        check(json!({"type": "boolean"}), json!(1), Err("1 is no boolean"));
        check(text.clone(), json!(42), Ok((json!("42"), true)));
        check(text, json!(["a"]), Err("[\"a\"] is no string"));
        let set = json!({"type": "string", "enum": ["on", "off"]});
        check(set.clone(), json!("ON"), Ok((json!("on"), true)));
        check(set, json!("dim"), Err("\"dim\" is none of \"on\", \"off\""));
        check(
            json!({"type": "array", "items": {"type": "integer"}}),
            json!(["1", 2]),
            Ok((json!([1, 2]), false)),
        );
    }

    #[test]
    fn what_a_schema_says_beyond_types_is_checked_too() {
        check(
            json!({"type": "integer", "maximum": 9}),
            json!("12"),
            Err("12 is greater than the maximum of 9"),
        );
        check(json!({"type": "string", "pattern": "^[A-Z]{3}$"}), json!("OSL"), Ok((json!("OSL"), false)));
        check(json!({"type": ["string", "null"]}), json!(null), Ok((json!(null), false)));
        check(json!({"anyOf": [{"const": 1}, {"const": 2}]}), json!(2), Ok((json!(2), false)));
    }

    #[test]
    fn keys_are_checked_before_values_and_defaults_are_filled_in() {
        let of = json!({"city": {"type": "string"}, "n": {"type": "integer", "default": 2}});
        let schema = schema(of, &["city"]);
        let refused = |arguments| schema.check(&call(arguments)).unwrap_err().to_string();
        assert_eq!(refused(json!({"town": 1})), "the tool knows no argument `town`");
        assert_eq!(refused(json!({"n": "x"})), "the required argument `city` is missing");
        let checked = schema.check(&call(json!({"city": "Oslo"}))).unwrap();
        assert_eq!(Value::Object(checked.arguments), json!({"city": "Oslo", "n": 2}));
    }

    #[test]
    fn what_is_no_schema_is_named() {
        let bad = |parameters| {
            let spec = ToolSpec { parameters, ..ToolSpec::new("f", "", Map::new(), &[]) };
            Schema::new(&spec).unwrap_err().to_string()
        };
        assert!(bad(json!([])).contains("tool `f`: its parameters are no JSON Schema: expected an object"));
        assert!(bad(json!({"properties": {"n": {"type": "nmber"}}})).contains("at `/properties/n/type`"));
        assert!(
            bad(json!({"properties": {"n": {"$ref": "https://example.org/n"}}})).contains("no JSON Schema")
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[-0-9a-z.é ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
    }

    proptest! {
        /// Reading what was read changes nothing more, and what passes fits the schema as the library sees it.
        #[test]
        fn reading_is_idempotent_and_sound(value in any_json(), kind in 0usize..6) {
            let kind = ["string", "integer", "number", "boolean", "array", "null"][kind];
            let of = json!({"type": kind});
            let schema = schema(json!({"x": of.clone()}), &[]);
            if let Ok(once) = schema.check(&call(json!({"x": value}))) {
                prop_assert!(jsonschema::is_valid(&of, &once.arguments["x"]));
                let again = schema.check(&ToolCall::new("f", once.arguments.clone())).unwrap();
                prop_assert_eq!(again.arguments, once.arguments);
                prop_assert!(again.coerced.is_empty());
            }
        }
    }
}
