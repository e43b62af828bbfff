//! Tools that others describe.

use serde_json::{Value, json};
use toolr0_tools::import::{Imported, mcp, openapi};

/// A small document with most of what a real one has: references, parameters of a path, a body, words of 3.0.
fn library() -> Value {
    json!({
        "openapi": "3.0.3",
        "info": {"title": "City Library", "version": "1"},
        "paths": {
            "/books/{isbn}": {
                "parameters": [{"$ref": "#/components/parameters/Isbn"}],
                "get": {"operationId": "getBook", "summary": "Find a book."},
                "put": {
                    "operationId": "updateBook", "description": "Change a book.",
                    "parameters": [{"name": "notify", "in": "query", "schema": {"type": "boolean", "default": false}}],
                    "requestBody": {"required": true, "content": {"application/json": {
                        "schema": {"$ref": "#/components/schemas/Book"}
                    }}},
                },
            },
            "/books": {
                "get": {"summary": "List books.", "parameters": [
                    {"name": "limit", "in": "query", "description": "How many.",
                     "schema": {"type": "integer", "minimum": 0, "exclusiveMinimum": true}},
                    {"name": "X-Trace", "in": "header", "required": true, "schema": {"type": "string"}},
                ]},
                "post": {"operationId": "import books", "requestBody": {"content": {"text/csv": {}}}},
            },
            "/tags": {"post": {"operationId": "add_tags", "requestBody": {"content": {"application/json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}}
            }}}}},
        },
        "components": {
            "parameters": {"Isbn": {"name": "isbn", "in": "path", "schema": {"type": "string", "example": "978"}}},
            "schemas": {
                "Book": {"type": "object", "required": ["title"], "properties": {
                    "title": {"type": "string"},
                    "isbn": {"type": "string", "nullable": true},
                    "shelf": {"$ref": "#/components/schemas/Shelf"},
                }},
                "Shelf": {"type": "string", "enum": ["A", "B"], "nullable": true},
                "Tag": {"type": "object", "properties": {"example": {"type": "string"}, "parent": {"$ref": "#/components/schemas/Tag"}}},
            },
        },
    })
}

#[track_caller]
fn parameters(imported: &Imported, name: &str) -> Value {
    let tool = imported.tools.iter().find(|tool| tool.name == name);
    tool.unwrap_or_else(|| panic!("{:?}", imported.skipped)).parameters.clone()
}

#[test]
fn every_operation_is_one_tool() {
    let got = openapi::tools(&library()).unwrap();
    let names: Vec<&str> = got.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(
        (got.title.as_str(), names),
        ("City Library", vec!["getBook", "updateBook", "get_books", "add_tags"])
    );
    assert_eq!(got.skipped, [("post /books".to_owned(), "its body is no JSON".to_owned())]);
    let isbn = json!({"type": "object", "properties": {"isbn": {"type": "string"}}, "required": ["isbn"]});
    assert_eq!(parameters(&got, "getBook"), isbn);
    assert_eq!(got.tools[1].description, "Change a book.");
    let want = json!({"type": "object", "required": ["isbn", "title"], "properties": {
        "notify": {"type": "boolean", "default": false},
        "isbn": {"type": "string"},
        "title": {"type": "string"},
        "body_isbn": {"type": ["string", "null"]},
        "shelf": {"type": ["string", "null"], "enum": ["A", "B", null]},
    }});
    assert_eq!(parameters(&got, "updateBook"), want);
    let want = json!({"type": "object", "required": ["X-Trace"], "properties": {
        "limit": {"type": "integer", "exclusiveMinimum": 0, "description": "How many."},
        "X-Trace": {"type": "string"},
    }});
    assert_eq!(parameters(&got, "get_books"), want);
    // A schema that holds itself ends somewhere.
    let tag = &parameters(&got, "add_tags")["properties"]["body"]["items"]["properties"];
    assert_eq!((&tag["example"]["type"], &tag["parent"]["type"]), (&json!("string"), &json!("object")));
}

#[test]
fn what_is_no_document_says_why() {
    let refused = |document: Value| openapi::tools(&document).unwrap_err().to_string();
    assert_eq!(
        refused(json!({"swagger": "2.0"})),
        "expected an OpenAPI 3 document: there is no key `openapi`"
    );
    assert_eq!(refused(json!({"openapi": "2.0"})), "expected an OpenAPI 3 document: `openapi` is 2.0");
    assert_eq!(refused(json!({"openapi": "3.1.0"})), "expected an OpenAPI 3 document: `paths` is no object");
    assert_eq!(refused(json!({"openapi": "3.1.0", "paths": {}})), "there are no tools in it");
    let refused = |reply: Value| mcp::tools(&reply).unwrap_err().to_string();
    assert_eq!(
        refused(json!({"tools": 3})),
        "expected the reply of MCP's `tools/list`: there is no list `tools`"
    );
    assert_eq!(refused(json!({"result": {"tools": []}})), "there are no tools in it");
    assert!(refused(json!({"error": {"code": -32601}})).contains("the server answered with the error"));
}

/// A document whose references double at every level must not grow without end.
#[test]
fn a_document_cannot_grow_in_memory() {
    let mut schemas = serde_json::Map::new();
    for level in 0..16 {
        let inner = json!({"$ref": format!("#/components/schemas/S{}", level + 1)});
        schemas.insert(
            format!("S{level}"),
            json!({"type": "object", "properties": {"a": inner, "b": inner, "c": inner}}),
        );
    }
    let body = json!({"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}});
    let document = json!({"openapi": "3.0.0", "components": {"schemas": schemas},
        "paths": {"/x": {"post": {"requestBody": body}}}});
    let got = openapi::tools(&document).unwrap();
    assert_eq!(got.skipped[0].1, "its schema has more than 10000 values");
}

/// Golden files: `golden/mcp-*.json`, written by the script beside them from servers that nobody here wrote.
#[test]
fn the_tools_of_published_servers_are_read() {
    let read = |text: &str| mcp::tools(&serde_json::from_str(text).unwrap()).unwrap();
    let time = read(include_str!("golden/mcp-time.json"));
    assert_eq!(
        time.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(),
        ["get_current_time", "convert_time"]
    );
    assert_eq!(time.tools[1].required().collect::<Vec<_>>(), ["source_timezone", "time", "target_timezone"]);
    let git = read(include_str!("golden/mcp-git.json"));
    assert!(git.skipped.is_empty(), "{:?}", git.skipped);
    assert!(git.tools.len() >= 10 && git.tools.iter().all(|tool| !tool.description.is_empty()));
}
