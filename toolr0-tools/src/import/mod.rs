//! Tools that others describe: the reply of an MCP server, an OpenAPI document.

pub mod mcp;
pub mod openapi;

use crate::ToolSpec;

/// What could be imported, and what could not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// What the document calls itself; empty where it has no name.
    pub title: String,
    /// The tools.
    pub tools: Vec<ToolSpec>,
    /// What was left out: its name, and why.
    pub skipped: Vec<(String, String)>,
}

impl Imported {
    /// Keeps a tool whose schema can be used and whose name is free.
    fn push(&mut self, tool: ToolSpec) {
        let free = self.tools.iter().all(|other| other.name != tool.name);
        match crate::schema::Schema::new(&tool) {
            Ok(_) if free => self.tools.push(tool),
            Ok(_) => self.skipped.push((tool.name, "another tool has this name".into())),
            Err(error) => self.skipped.push((tool.name, error.to_string())),
        }
    }
}

/// A name that a call can use: other characters become `_`, and 64 are enough.
fn tool_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    let mut name: String = text.trim().chars().map(plain).take(64).collect();
    while name.contains("__") {
        name = name.replace("__", "_");
    }
    name.trim_matches('_').to_owned()
}
