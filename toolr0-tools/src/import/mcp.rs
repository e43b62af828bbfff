//! The reply of an MCP server to `tools/list`.

use serde_json::Value;

use super::Imported;
use crate::ToolSpec;
use crate::error::{Error, Result};

/// Reads the tools of a reply: the whole JSON-RPC message, its `result`, or the bare list.
///
/// # Source
///
/// Model Context Protocol, revision 2025-06-18, "Tools": a tool has `name`, `description` and `inputSchema`.
///
/// # Errors
///
/// [`Error::Mcp`] where there is no list of tools, [`Error::NoTools`] where it is empty. A tool that cannot be used is
/// skipped and named in [`Imported::skipped`].
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// let reply = json!({"tools": [{"name": "now", "description": "Tell the time.", "inputSchema": {"type": "object"}}]});
/// assert_eq!(toolr0_tools::import::mcp::tools(&reply)?.tools[0].name, "now");
/// # Ok::<(), toolr0_tools::Error>(())
/// ```
pub fn tools(reply: &Value) -> Result<Imported> {
    let bad = |reason: &str| Error::Mcp { reason: reason.into() };
    if let Some(error) = reply.get("error") {
        return Err(bad(&format!("the server answered with the error {error}")));
    }
    let result = reply.get("result").unwrap_or(reply);
    let list = result.get("tools").unwrap_or(result).as_array();
    let mut imported = Imported::default();
    for (index, tool) in list.ok_or_else(|| bad("there is no list `tools`"))?.iter().enumerate() {
        let Some(name) = tool.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            imported.skipped.push((format!("tool {index}"), "it has no name".into()));
            continue;
        };
        let text = |key: &str| tool.get(key).and_then(Value::as_str).map(|text| text.trim().to_owned());
        let description = text("description").or_else(|| text("title")).unwrap_or_default();
        let Some(parameters) = tool.get("inputSchema").cloned() else {
            imported.skipped.push((name.into(), "it has no `inputSchema`".into()));
            continue;
        };
        imported.push(ToolSpec { name: name.into(), description, parameters });
    }
    if imported.tools.is_empty() && imported.skipped.is_empty() {
        return Err(Error::NoTools);
    }
    Ok(imported)
}
