//! Self-play with tools that are given: `selfplay --tools`.

use serde_json::Value;

use crate::runs::lines;
use crate::{last_json, run, stderr, succeed, tiny};

/// The funnel of the only dataset.
fn funnel(records: &[Value]) -> &Value {
    &records.iter().find(|record| record["record"] == "dataset").unwrap()["funnel"]
}

fn stages(records: &[Value]) -> Vec<&str> {
    funnel(records).as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap()).collect()
}

#[test]
fn a_run_learns_the_tools_of_worlds() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let given = [
        "--tools",
        "world:travel,calendar",
        "--out",
        "r",
        "--quiet",
        "--json",
        "--set",
        "reward.solver.executed=true",
        "--set",
        "turns.most=2",
        "--set",
        "dataset.candidates=48",
    ];
    let result = last_json(&succeed(home, &tiny(&given)));
    assert_eq!(result["stopped"], false);
    let records = lines(&home.join("r/metrics.jsonl"));
    assert_eq!(stages(&records)[..3], ["parse", "structure", "execution"]);
    let config = std::fs::read_to_string(home.join("r/config.yaml")).unwrap();
    assert!(config.contains("menu: given\ntools: world:travel,calendar\n"), "{config}");
    let domains = records.iter().find(|record| record["record"] == "dataset").unwrap()["domains"].clone();
    assert!(domains.as_object().unwrap().keys().all(|name| ["travel", "calendar"].contains(&name.as_str())));
    // Whoever computes a step again needs the same tools.
    let replayed = last_json(&succeed(home, &["--quiet", "replay", "r", "--step", "1", "--json"]));
    assert_eq!(replayed["role"], "generator");
}

#[test]
fn a_run_learns_the_tools_of_a_document() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let document = r#"{"openapi": "3.0.3", "info": {"title": "Travel"}, "paths": {
        "/rooms": {"post": {"operationId": "book_room", "summary": "Book a room for a guest.", "parameters": [
            {"name": "guest", "in": "query", "required": true, "schema": {"type": "string"}},
            {"name": "nights", "in": "query", "schema": {"type": "integer", "minimum": 1}}]}},
        "/tours": {"get": {"operationId": "find_tour", "summary": "Find a tour of a city.", "parameters": [
            {"name": "city", "in": "query", "required": true, "schema": {"type": "string"}}]}},
        "/all": {"post": {"operationId": "send_all", "summary": "Send a list of letters.", "parameters": [
            {"name": "letters", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}]}}}}"#;
    std::fs::write(home.join("api.json"), document).unwrap();
    let output = run(home, &tiny(&["--tools", "openapi:api.json", "--out", "r"]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("left out: send_all: "), "{}", stderr(&output));
    assert_eq!(stages(&lines(&home.join("r/metrics.jsonl")))[2], "execution");

    for (args, message) in [
        (
            vec!["--tools", "openapi:api.json", "--set", "reward.solver.executed=true"],
            "`reward.solver.executed` is set, but a source whose tools do not run does not use it",
        ),
        (vec!["--set", "tools=world:math"], "`tools` is set, but menu `invented` does not use it"),
        (vec!["--set", "turns.most=2"], "`turns.most` is set, but"),
        (vec!["--set", "menu=given"], "menu `given` needs `tools`"),
        (vec!["--tools", "world:moon"], "there is no world `moon`"),
    ] {
        let output = run(home, &tiny(&[&args[..], &["--out", "bad"]].concat()));
        assert!(
            !output.status.success() && stderr(&output).contains(message),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(!home.join("bad/metrics.jsonl").exists());
    }
}
