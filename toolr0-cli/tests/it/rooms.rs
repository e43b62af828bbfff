//! The rooms of the workspace: who may know whom.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A new arrow is a decision: change this table and `docs/architecture.md` together.
const MAY_KNOW: [(&str, &[&str]); 7] = [
    ("toolr0-tools", &[]),
    ("toolr0-model", &[]),
    ("toolr0-reward", &["toolr0-tools"]),
    ("toolr0-curriculum", &["toolr0-tools"]),
    ("toolr0-rl", &["toolr0-tools", "toolr0-model", "toolr0-reward", "toolr0-curriculum"]),
    ("toolr0-cli", &["toolr0-tools", "toolr0-model", "toolr0-reward", "toolr0-curriculum", "toolr0-rl"]),
    (
        "toolr0-benchmarks",
        &["toolr0-tools", "toolr0-model", "toolr0-reward", "toolr0-curriculum", "toolr0-rl", "toolr0-cli"],
    ),
];

#[test]
fn crates_know_only_whom_they_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Set by cargo for every test it runs.
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(args).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let rooms: BTreeMap<String, Vec<String>> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (text(package), package["dependencies"].as_array().unwrap().iter().map(text).collect())
        })
        .collect();
    let mut table: Vec<_> = MAY_KNOW.iter().map(|(name, _)| (*name).to_owned()).collect();
    table.sort();
    assert_eq!(
        rooms.keys().cloned().collect::<Vec<_>>(),
        table,
        "the table and the workspace have other rooms"
    );
    for (room, may_know) in MAY_KNOW {
        for known in rooms[room].iter().filter(|name| name.starts_with("toolr0-")) {
            assert!(
                may_know.contains(&known.as_str()),
                "{room} depends on {known}, which the table does not allow"
            );
        }
    }
}

/// `anyhow` hides what went wrong from whoever has to handle it: libraries name their errors.
#[test]
fn libraries_name_their_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (room, _) in MAY_KNOW.iter().filter(|(room, _)| !["toolr0-cli", "toolr0-benchmarks"].contains(room)) {
        let manifest = std::fs::read_to_string(root.join(room).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        assert!(!dependencies.contains("anyhow"), "{room} depends on anyhow");
    }
}
