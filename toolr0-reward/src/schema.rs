//! Are a tool's parameters a JSON Schema? Asked of files that people give us.
//!
//! What a model writes is another matter: there a schema that is none is a [`Fault`](crate::Fault).

use toolr0_tools::ToolSpec;

/// The parameters of a tool are no JSON Schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tool `{tool}`: its parameters are no JSON Schema: {reason}, at `{at}`")]
pub struct SchemaError {
    /// The tool's name.
    pub tool: String,
    /// Where, as a JSON pointer into the tool, e.g. `/parameters/properties/city/type`.
    pub at: String,
    /// What is wrong there.
    pub reason: String,
}

/// Checks the parameters of every tool against the meta-schema of JSON Schema 2020-12. Nothing is fetched.
///
/// # Errors
///
/// [`SchemaError`] for the first tool whose parameters are no schema.
///
/// # Examples
///
/// ```
/// use toolr0_reward::schema::check_schemas;
/// let tools = serde_json::from_str::<Vec<_>>(r#"[{"name": "f", "parameters": {"properties": {"n": {"type": "nmber"}}}}]"#)?;
/// let error = check_schemas(&tools).unwrap_err();
/// assert_eq!((error.tool.as_str(), error.at.as_str()), ("f", "/parameters/properties/n/type"));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn check_schemas(tools: &[ToolSpec]) -> Result<(), SchemaError> {
    for tool in tools {
        let bad = |at: &str, reason: String| SchemaError {
            tool: tool.name.clone(),
            at: format!("/parameters{at}"),
            reason,
        };
        if !tool.parameters.is_object() {
            return Err(bad("", "expected an object".to_owned()));
        }
        if let Err(error) = jsonschema::draft202012::meta::validate(&tool.parameters) {
            return Err(bad(error.instance_path().as_str(), error.to_string()));
        }
    }
    Ok(())
}
