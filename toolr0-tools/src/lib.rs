//! What is a tool, a call, a task, and what happens when a call runs?
//!
//! This crate is the bottom of the workspace: it owns the nouns that every other crate speaks of, and knows
//! none of them. Read in this order:
//!
//! - [`spec`]: a tool as a model sees it, a name, a description and a JSON Schema of its arguments;
//! - [`call`]: one call of a tool;
//! - [`task`]: what the generator is asked for ([`TaskSpec`]) and what it hands in ([`Task`]);
//! - [`prompt`]: the messages that are shown to a model;
//! - [`schema`]: whether a call fits its tool, and what had to be read as another type;
//! - [`sandbox`]: what happens when a call runs, over a [`state`];
//! - [`world`]: built-in tools that run;
//! - [`import`]: tools that an MCP server or an OpenAPI document describes;
//! - `process`, `wasm`, `mcp`: tools that are programs, WebAssembly modules and MCP servers, each behind the feature of its
//!   name;
//! - [`source`]: the tools of a run, from any of these.
#![cfg_attr(not(feature = "process"), forbid(unsafe_code))]

pub mod call;
pub mod error;
pub mod import;
#[cfg(all(feature = "mcp", unix))]
pub mod mcp;
#[cfg(all(feature = "process", target_os = "linux"))]
pub mod process;
pub mod prompt;
pub mod sandbox;
pub mod schema;
pub mod source;
pub mod spec;
pub mod state;
pub mod task;
#[cfg(any(feature = "process", feature = "wasm", feature = "mcp"))]
mod toolbox;
#[cfg(feature = "wasm")]
pub mod wasm;
pub mod world;

pub use call::ToolCall;
pub use error::{Error, Result};
pub use prompt::{Message, Prompt};
pub use sandbox::{Cost, End, Limits, Outcome, Sandbox};
pub use source::{Menu, Source};
pub use spec::{ParamSpec, ToolSpec};
pub use state::{Row, State};
pub use task::{Context, Task, TaskId, TaskSpec};
pub use world::Worlds;
