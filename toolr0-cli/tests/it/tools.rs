//! Sources of tools: `tools list|call|check`.

use std::path::Path;

use crate::{last_json, run, stderr, stdout, succeed};

fn write(home: &Path, name: &str, text: &str) {
    std::fs::write(home.join(name), text).unwrap();
}

#[test]
fn a_world_is_listed_called_and_checked() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let listed = succeed(home, &["tools", "list", "world:travel,math"]);
    assert!(
        listed.contains(
            "travel (6 tools)\n  search_flights(origin: string, destination?: string, date?: string)"
        )
    );
    assert!(listed.contains("round_number(x: number, digits: integer = 0)"));
    let listed = last_json(&succeed(home, &["tools", "list", "world:calendar", "--json"]));
    assert_eq!(listed["tools"].as_array().unwrap().len(), 6);

    // The second cancellation starts from the state that the first one left.
    let cancel = r#"{"name":"cancel_booking","arguments":{"booking":"B108"}}"#;
    let twice = run(home, &["tools", "call", "world:travel", cancel, cancel]);
    assert!(!twice.status.success());
    let lines: Vec<&str> = stdout(&twice).lines().collect();
    assert_eq!(lines[0], r#"{"value":"cancelled"}"#);
    assert!(lines[1].starts_with("  changed bookings B108, flights F289; state "), "{}", lines[1]);
    assert_eq!(lines[2], r#"{"tool_error":"B108 is cancelled, not booked"}"#);

    let divide = r#"{"name":"divide","arguments":{"dividend":9,"divisor":"2"}}"#;
    let json = last_json(&succeed(home, &["tools", "call", "world:math", divide, "--json"]));
    assert_eq!(
        (&json["outcome"]["end"]["value"], &json["outcome"]["coerced"][0]["from"]),
        (&4.5.into(), &"2".into())
    );
    assert_eq!(
        succeed(home, &["tools", "check", "world:math", divide]),
        "fits: {\"dividend\":9,\"divisor\":2}\n  divisor: read \"2\" as 2\n"
    );
    let bad = run(home, &["tools", "check", "world:math", r#"{"name":"divide","arguments":{"by":2}}"#]);
    assert_eq!((bad.status.code(), stdout(&bad)), (Some(1), "refused: the tool knows no argument `by`\n"));
}

#[test]
fn documents_are_read_and_bad_sources_are_named() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write(
        home,
        "api.yaml",
        "openapi: 3.0.3\ninfo: {title: Pet Shop}\npaths:\n  /pets/{id}:\n    get:\n      operationId: findPet\n      \
         summary: Find a pet.\n      parameters: [{name: id, in: path, schema: {type: integer}}]\n",
    );
    let listed = succeed(home, &["tools", "list", "openapi:api.yaml"]);
    assert_eq!(listed, "pet_shop (1 tool)\n  findPet(id: integer)\n      Find a pet.\n");
    let call = r#"{"name":"findPet","arguments":{"id":"7"}}"#;
    assert!(succeed(home, &["tools", "check", "openapi:api.yaml", call]).contains("id: read \"7\" as 7"));

    write(home, "cut.json", r#"{"tools": ["#);
    for (args, message) in [
        (
            vec!["list", "world:moon"],
            "error: world:moon: there is no world `moon`, expected one of calendar,",
        ),
        (vec!["list", "moon"], "error: moon: expected world:NAME,.., openapi:FILE, mcp:FILE"),
        (vec!["list", "mcp:none.json"], "error: failed to read none.json"),
        (vec!["list", "mcp:cut.json"], "error: cut.json is not valid JSON"),
        (vec!["list", "mcp:api.yaml"], "error: mcp:api.yaml: expected the reply of MCP's `tools/list`"),
        (
            vec!["call", "openapi:api.yaml", call],
            "error: the tools of openapi:api.yaml are described, not run",
        ),
        (vec!["check", "world:math", "{}"], "error: {}: expected a call such as"),
    ] {
        let output = run(home, &[&["tools"][..], &args].concat());
        assert!(
            !output.status.success() && stderr(&output).starts_with(message),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}
