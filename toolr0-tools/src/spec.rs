//! A tool as a model sees it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A tool: a name, a description, and the JSON Schema of its arguments (always of type `object`).
///
/// This is the `function` object of OpenAI's tool format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name a call uses, e.g. `book_table`.
    pub name: String,
    /// One sentence on what the tool does.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of the arguments: `{"type": "object", "properties": {..}, "required": [..]}`.
    #[serde(default = "empty_parameters")]
    pub parameters: Value,
}

/// One parameter of a [`ToolSpec`], borrowed from its schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamSpec<'a> {
    /// The argument's key.
    pub name: &'a str,
    /// The property's whole schema.
    pub schema: &'a Value,
    /// Whether the tool's schema requires it.
    pub required: bool,
}

fn empty_parameters() -> Value {
    json!({"type": "object", "properties": {}, "required": []})
}

impl ToolSpec {
    /// A tool from its parts: `properties` maps each parameter to its schema.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        properties: Map<String, Value>,
        required: &[&str],
    ) -> Self {
        let parameters = json!({"type": "object", "properties": properties, "required": required});
        Self { name: name.into(), description: description.into(), parameters }
    }

    /// The properties of the schema; `None` where the schema has none or is not an object.
    pub fn properties(&self) -> Option<&Map<String, Value>> {
        self.parameters.get("properties").and_then(Value::as_object)
    }

    /// The names that the schema requires, in its order.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        let required = self.parameters.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The parameters in the schema's order.
    pub fn params(&self) -> impl Iterator<Item = ParamSpec<'_>> {
        self.properties().into_iter().flatten().map(|(name, schema)| ParamSpec {
            name,
            schema,
            required: self.required().any(|r| r == name),
        })
    }

    /// One parameter by name.
    pub fn param(&self, name: &str) -> Option<ParamSpec<'_>> {
        let (name, schema) = self.properties()?.get_key_value(name)?;
        Some(ParamSpec { name, schema, required: self.required().any(|r| r == name) })
    }
}

impl<'a> ParamSpec<'a> {
    /// The declared JSON type (`string`, `integer`, `number`, `boolean`, `array`, `object`), if there is one.
    pub fn kind(&self) -> Option<&'a str> {
        self.schema.get("type").and_then(Value::as_str)
    }

    /// Whether the schema says that the value is a number: the only place where `"5"` and `5` mean the same.
    pub fn is_numeric(&self) -> bool {
        matches!(self.kind(), Some("integer" | "number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> ToolSpec {
        let props = json!({"city": {"type": "string"}, "guests": {"type": "integer"}});
        ToolSpec::new("book_table", "Book a table.", props.as_object().unwrap().clone(), &["city"])
    }

    #[test]
    fn params_keep_their_order_and_know_if_they_are_required() {
        let tool = book();
        let seen: Vec<_> = tool.params().map(|p| (p.name, p.kind(), p.required)).collect();
        assert_eq!(seen, [("city", Some("string"), true), ("guests", Some("integer"), false)]);
        assert!(tool.param("guests").unwrap().is_numeric());
        assert!(tool.param("nope").is_none());
    }

    #[test]
    fn a_schema_that_is_no_object_has_no_params() {
        let tool = ToolSpec { parameters: json!([1, 2]), ..book() };
        assert_eq!((tool.params().count(), tool.required().count()), (0, 0));
    }

    #[test]
    fn the_wire_form_is_openais_function_object() {
        let text = serde_json::to_string(&book()).unwrap();
        assert_eq!(serde_json::from_str::<ToolSpec>(&text).unwrap(), book());
        assert!(text.starts_with(
            r#"{"name":"book_table","description":"Book a table.","parameters":{"type":"object","#
        ));
    }
}
