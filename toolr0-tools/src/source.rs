//! Where a run's tools come from: worlds that run, or a list of tools that can only be checked.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::import::{Imported, mcp, openapi};
use crate::schema::Schema;
use crate::world::Worlds;
use crate::{Sandbox, ToolSpec};

/// Some tools of one domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Menu {
    /// What a task with these tools has for a domain.
    pub domain: String,
    /// The tools.
    pub tools: Vec<ToolSpec>,
}

/// Tools that are given, not invented.
#[derive(Debug)]
pub struct Source {
    /// The tools by domain.
    pub menus: Vec<Menu>,
    /// What could not be used: its name, and why.
    pub skipped: Vec<(String, String)>,
    /// What runs them; `None` where calls can only be checked.
    pub sandbox: Option<Box<dyn Sandbox>>,
    schemas: Vec<Schema>,
}

impl Source {
    /// The built-in worlds of these names.
    ///
    /// # Errors
    ///
    /// If there is no such world, or no name.
    pub fn worlds(names: &[&str]) -> Result<Self> {
        let worlds = Worlds::new(names)?;
        let menu =
            |(domain, tools): (&str, &[ToolSpec])| Menu { domain: domain.into(), tools: tools.to_vec() };
        let menus = worlds.menus().map(menu).collect();
        Self::executed(menus, Vec::new(), Box::new(worlds))
    }

    /// Tools that `sandbox` runs, whatever it is: the way in for other kinds of sources. Names may not stand twice.
    ///
    /// # Errors
    ///
    /// If there is no tool, or one whose parameters are no JSON Schema.
    pub fn executed(
        menus: Vec<Menu>,
        skipped: Vec<(String, String)>,
        sandbox: Box<dyn Sandbox>,
    ) -> Result<Self> {
        Self::new(menus, skipped, Some(sandbox))
    }

    /// The operations of an OpenAPI document. They are described, not run.
    ///
    /// # Errors
    ///
    /// If the document is none, or no operation of it can be used.
    pub fn openapi(document: &Value) -> Result<Self> {
        Self::listed(openapi::tools(document)?)
    }

    /// The tools that an MCP server told of. They are described, not run.
    ///
    /// # Errors
    ///
    /// If the reply is none, or no tool of it can be used.
    pub fn mcp(reply: &Value) -> Result<Self> {
        Self::listed(mcp::tools(reply)?)
    }

    /// Tools of one domain that `sandbox` runs.
    ///
    /// # Errors
    ///
    /// If it has none.
    pub fn sandboxed(title: &str, skipped: Vec<(String, String)>, sandbox: Box<dyn Sandbox>) -> Result<Self> {
        let menu = Menu { domain: domain(title), tools: sandbox.tools().to_vec() };
        Self::new(vec![menu], skipped, Some(sandbox))
    }

    fn listed(imported: Imported) -> Result<Self> {
        let Imported { title, tools, skipped } = imported;
        Self::new(vec![Menu { domain: domain(&title), tools }], skipped, None)
    }

    fn new(
        menus: Vec<Menu>,
        skipped: Vec<(String, String)>,
        sandbox: Option<Box<dyn Sandbox>>,
    ) -> Result<Self> {
        let schemas =
            menus.iter().flat_map(|menu| &menu.tools).map(Schema::new).collect::<Result<Vec<_>>>()?;
        if schemas.is_empty() {
            return Err(Error::NoTools);
        }
        Ok(Self { menus, skipped, sandbox, schemas })
    }

    /// Every tool, menu by menu.
    pub fn tools(&self) -> impl Iterator<Item = &ToolSpec> {
        self.menus.iter().flat_map(|menu| &menu.tools)
    }

    /// The schema of one tool.
    pub fn schema(&self, tool: &str) -> Option<&Schema> {
        self.schemas.iter().find(|schema| schema.spec().name == tool)
    }
}

/// A title as a domain, which is a word of a prompt.
fn domain(title: &str) -> String {
    let word = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let domain = title.trim().chars().take(32).map(word).collect::<String>();
    if domain.is_empty() { "tools".to_owned() } else { domain }
}
