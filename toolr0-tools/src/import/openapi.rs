//! OpenAPI 3.0 and 3.1: every operation becomes one tool.
//!
//! Parameters of the path, the query, headers and cookies stand beside the fields of a JSON body, since a model writes one
//! flat object of arguments. References inside the document are resolved; one that leads elsewhere, or in a circle,
//! becomes a value without a schema.

use serde_json::{Map, Value, json};

use super::{Imported, tool_name};
use crate::ToolSpec;
use crate::error::{Error, Result};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// References may lead through references, but not for ever.
const MAX_DEPTH: usize = 16;

/// A schema that has grown to more values than this is no tool for a prompt.
const MAX_VALUES: usize = 10_000;

/// Reads the operations of a document.
///
/// The tool's name is the `operationId`, else the method and the path; its description the `summary`, else the
/// `description`.
///
/// # Source
///
/// OpenAPI Specification 3.0.3 and 3.1.0, "Path Item Object", "Operation Object", "Parameter Object".
///
/// # Errors
///
/// [`Error::OpenApi`] if the document has no `openapi: 3.x` or no paths, [`Error::NoTools`] if they have no operation. An
/// operation that cannot be used is skipped and named in [`Imported::skipped`].
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// let document = json!({"openapi": "3.1.0", "info": {"title": "Pets"}, "paths": {"/pets/{id}": {"get": {
///     "summary": "Find a pet.", "parameters": [{"name": "id", "in": "path", "schema": {"type": "integer"}}]
/// }}}});
/// let tools = toolr0_tools::import::openapi::tools(&document)?.tools;
/// assert_eq!((tools[0].name.as_str(), tools[0].required().next()), ("get_pets_id", Some("id")));
/// # Ok::<(), toolr0_tools::Error>(())
/// ```
pub fn tools(document: &Value) -> Result<Imported> {
    let bad = |reason: String| Error::OpenApi { reason };
    match document.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.") => {}
        Some(version) => return Err(bad(format!("`openapi` is {version}"))),
        None => return Err(bad("there is no key `openapi`".into())),
    }
    let paths = document.get("paths").and_then(Value::as_object);
    let paths = paths.ok_or_else(|| bad("`paths` is no object".into()))?;
    let title = document.pointer("/info/title").and_then(Value::as_str).unwrap_or_default();
    let mut imported = Imported { title: title.into(), ..Imported::default() };
    for (path, item) in paths {
        let item = follow(document, item).unwrap_or(item);
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            match tool(document, path, method, item, operation) {
                Ok(tool) => imported.push(tool),
                Err(reason) => imported.skipped.push((format!("{method} {path}"), reason)),
            }
        }
    }
    if imported.tools.is_empty() && imported.skipped.is_empty() {
        return Err(Error::NoTools);
    }
    Ok(imported)
}

fn tool(document: &Value, path: &str, method: &str, item: &Value, operation: &Value) -> Parsed<ToolSpec> {
    let text =
        |key: &str| operation.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let name = match text("operationId") {
        Some(id) => tool_name(id),
        None => tool_name(&format!("{method}_{}", path.replace('/', "_"))),
    };
    let mut arguments = Arguments::default();
    // What an operation says of a parameter counts more than what its path says.
    for holder in [operation, item] {
        for parameter in holder.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            arguments.parameter(document, follow(document, parameter).unwrap_or(parameter))?;
        }
    }
    if let Some(body) = operation.get("requestBody") {
        arguments.body(document, follow(document, body).unwrap_or(body))?;
    }
    let Arguments { properties, required, .. } = arguments;
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    let description = text("summary").or(text("description")).unwrap_or_default();
    Ok(ToolSpec { name, description: description.into(), parameters })
}

/// A result whose failure is why an operation is skipped.
type Parsed<T> = std::result::Result<T, String>;

/// The arguments of one operation, gathered.
#[derive(Default)]
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<String>,
    values: usize,
}

impl Arguments {
    fn parameter(&mut self, document: &Value, parameter: &Value) -> Parsed<()> {
        let name = parameter.get("name").and_then(Value::as_str).ok_or("a parameter has no name")?;
        if self.properties.contains_key(name) {
            return Ok(());
        }
        // A parameter has a schema, or a content type that has one.
        let content = || parameter.get("content")?.as_object()?.values().next()?.get("schema");
        let schema = parameter.get("schema").or_else(content).cloned().unwrap_or_else(|| json!({}));
        let mut schema = self.resolve(document, &schema)?;
        if let (Some(about), Some(schema)) = (parameter.get("description"), schema.as_object_mut()) {
            schema.entry("description").or_insert_with(|| about.clone());
        }
        // A part of the path is always required, whatever the document says.
        let required = parameter.get("required") == Some(&Value::Bool(true))
            || parameter.get("in") == Some(&"path".into());
        self.add(name, schema, required);
        Ok(())
    }

    fn body(&mut self, document: &Value, body: &Value) -> Parsed<()> {
        let content = body.get("content").and_then(Value::as_object).ok_or("its body has no content")?;
        let is_json = |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim().ends_with("json"));
        let form = "application/x-www-form-urlencoded";
        let media = content.iter().find(|(kind, _)| is_json(kind)).or_else(|| content.get_key_value(form));
        let (_, media) = media.ok_or("its body is no JSON")?;
        let required = body.get("required") == Some(&Value::Bool(true));
        let schema = self.resolve(document, media.get("schema").unwrap_or(&Value::Null))?;
        let Some(Value::Object(properties)) = schema.get("properties") else {
            self.add("body", schema, required);
            return Ok(());
        };
        let wanted = schema.get("required").and_then(Value::as_array);
        for (name, schema) in properties {
            let wanted = wanted.is_some_and(|names| names.iter().any(|other| other == name));
            // A field that is called like a parameter keeps a name of its own.
            let free = if self.properties.contains_key(name) { format!("body_{name}") } else { name.clone() };
            self.add(&free, schema.clone(), required && wanted);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, schema: Value, required: bool) {
        self.properties.insert(name.into(), schema);
        if required {
            self.required.push(name.into());
        }
    }

    fn resolve(&mut self, document: &Value, schema: &Value) -> Parsed<Value> {
        resolve(document, schema, 0, &mut self.values)
    }
}

/// What a reference inside the document leads to; `None` for anything else.
fn follow<'a>(document: &'a Value, value: &Value) -> Option<&'a Value> {
    let mut target = value.get("$ref")?.as_str()?.strip_prefix('#').and_then(|at| document.pointer(at))?;
    for _ in 0..MAX_DEPTH {
        match target.get("$ref").and_then(Value::as_str) {
            Some(next) => target = document.pointer(next.strip_prefix('#')?)?,
            None => return Some(target),
        }
    }
    None
}

/// A schema in JSON Schema 2020-12: references inlined, what only OpenAPI knows left out or said in its words.
fn resolve(document: &Value, schema: &Value, depth: usize, values: &mut usize) -> Parsed<Value> {
    *values += 1;
    if *values > MAX_VALUES {
        return Err(format!("its schema has more than {MAX_VALUES} values"));
    }
    match schema {
        Value::Object(_) if schema.get("$ref").is_some() => match follow(document, schema) {
            Some(target) if depth < MAX_DEPTH => resolve(document, target, depth + 1, values),
            _ => Ok(json!({})),
        },
        Value::Object(object) => {
            let mut plain = Map::new();
            for (key, inner) in object {
                let inner = match (key.as_str(), inner) {
                    ("nullable" | "example" | "xml" | "discriminator" | "externalDocs", _) => continue,
                    // The keys in here are names of fields, whatever they are called.
                    ("properties", Value::Object(fields)) => {
                        let field = |(name, of): (&String, &Value)| {
                            Ok((name.clone(), resolve(document, of, depth + 1, values)?))
                        };
                        Value::Object(fields.iter().map(field).collect::<Parsed<_>>()?)
                    }
                    _ => resolve(document, inner, depth + 1, values)?,
                };
                plain.insert(key.clone(), inner);
            }
            modernise(&mut plain, object.get("nullable") == Some(&Value::Bool(true)));
            Ok(Value::Object(plain))
        }
        Value::Array(items) => items.iter().map(|item| resolve(document, item, depth + 1, values)).collect(),
        plain => Ok(plain.clone()),
    }
}

/// OpenAPI 3.0 says some things in its own way: `nullable`, and limits that are exclusive by a flag.
fn modernise(schema: &mut Map<String, Value>, nullable: bool) {
    if let (true, Some(Value::String(kind))) = (nullable, schema.get("type")) {
        schema.insert("type".into(), json!([kind, "null"]));
        if let Some(Value::Array(members)) = schema.get_mut("enum") {
            members.push(Value::Null);
        }
    }
    for (limit, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        if let Some(Value::Bool(flag)) = schema.get(exclusive) {
            let flag = *flag;
            schema.shift_remove(exclusive);
            if let (true, Some(bound)) = (flag, schema.shift_remove(limit)) {
                schema.insert(exclusive.into(), bound);
            }
        }
    }
}
