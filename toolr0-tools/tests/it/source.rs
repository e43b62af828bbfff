//! Sources of tools, and what they refuse.

use serde_json::json;
use toolr0_tools::{Source, ToolCall};

#[test]
fn a_source_checks_calls_and_runs_what_it_can() {
    let worlds = Source::worlds(&["travel", "math"]).unwrap();
    let domains: Vec<&str> = worlds.menus.iter().map(|menu| menu.domain.as_str()).collect();
    assert_eq!((domains, worlds.sandbox.is_some()), (vec!["travel", "math"], true));
    assert!(worlds.schema("book_flight").is_some() && worlds.schema("fly").is_none());

    let reply = json!({"tools": [
        {"name": "now", "inputSchema": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}},
        {"name": "later", "inputSchema": {"type": "object", "properties": {"n": {"type": "nmber"}}}},
        {"title": "nameless"},
    ]});
    let listed = Source::mcp(&reply).unwrap();
    assert_eq!((listed.tools().count(), listed.skipped.len(), listed.sandbox.is_none()), (1, 2, true));
    let call = ToolCall::new("now", Default::default());
    let refusal = listed.schema("now").unwrap().check(&call).unwrap_err();
    assert_eq!(refusal.to_string(), "the required argument `zone` is missing");
}

#[test]
fn a_source_without_a_usable_tool_is_refused() {
    let reply = json!({"tools": [{"title": "nameless"}]});
    assert_eq!(Source::mcp(&reply).unwrap_err().to_string(), "there are no tools in it");
}
