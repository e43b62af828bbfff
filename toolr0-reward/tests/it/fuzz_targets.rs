//! The bodies of the fuzz targets on texts that are at hand: goldens, and goldens that are cut off or doubled.

#[path = "../../fuzz/targets.rs"]
mod targets;

use serde_json::Value;

const TARGETS: [fn(&str); 8] = [
    targets::generator,
    targets::solver,
    targets::rater,
    targets::release,
    targets::lines,
    targets::grounding,
    targets::marks,
    targets::schemas,
];

/// Schemas that say much, that say nothing, and that are none, each with a value.
const SCHEMAS: [&str; 8] = [
    "{\"type\": \"string\", \"pattern\": \"^(a+)+$\"}\n\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"",
    "{\"type\": \"string\", \"pattern\": \"(?=x)[\"}\n\"x\"",
    "{\"type\": \"number\", \"multipleOf\": 0}\n1e308",
    "{\"type\": [\"integer\", \"null\"], \"enum\": [1, null]}\nnull",
    "{\"anyOf\": [{\"format\": \"date\"}, {\"format\": \"nonsense\"}]}\n\"2026-02-30\"",
    "{\"$ref\": \"#\"}\n{}",
    "{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"maxItems\": -1}\n[\"1\"]",
    "true\n3",
];

/// Every golden line and its completion, whole, cut somewhere, and twice over.
fn seeds() -> Vec<String> {
    let goldens = [include_str!("golden/solver.jsonl"), include_str!("golden/generator.jsonl")];
    let mut out = vec![String::new(), "5".into(), "Score (1-5): 4".into(), "-3.5\n-3.5".into()];
    out.extend(SCHEMAS.map(str::to_owned));
    for (i, line) in goldens.iter().flat_map(|golden| golden.lines()).enumerate() {
        let golden: Value = serde_json::from_str(line).unwrap();
        let text = golden["completion"].as_str().unwrap();
        let cut = &text[..text.floor_char_boundary(text.len() * (i % 7) / 7)];
        out.extend([line.to_owned(), text.to_owned(), cut.to_owned(), format!("{cut}{text}")]);
    }
    out
}

#[test]
fn every_target_survives_the_seeds() {
    let seeds = seeds();
    assert!(seeds.len() > 500);
    for text in &seeds {
        TARGETS.iter().for_each(|target| target(text));
    }
}

/// A target is listed here, in the manifest of the fuzzer, and has a file: none can be forgotten.
#[test]
fn every_target_is_known_to_the_fuzzer() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let files: Vec<_> = fuzz.join("fuzz_targets").read_dir().unwrap().map(|f| f.unwrap().path()).collect();
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let bodies = include_str!("../../fuzz/targets.rs").matches("pub(crate) fn ").count();
    assert_eq!((files.len(), bodies), (TARGETS.len(), TARGETS.len()));
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
