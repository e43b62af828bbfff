//! Checkpoints that nobody here made.

use toolr0_model::Checkpoint;

use crate::{last_json, run, shared, stderr, succeed, tiny};

/// Random weights in the layout of transformers, without a tokenizer: only the plumbing is shown.
#[test]
fn a_checkpoint_of_another_make_goes_through_an_iteration() {
    let Some(models) = shared("golden/models") else { return };
    let home = tempfile::tempdir().unwrap();
    let model = models.join("qwen2-tied");
    let more = [
        "--model",
        model.to_str().unwrap(),
        "--out",
        "r",
        "--set",
        "exam.items=2",
        "--set",
        "solver.prompts=1",
        "--set",
        "rl.max_rows=16",
    ];
    let output = run(home.path(), &tiny(&more));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("has no tokenizer: bytes are used"), "{}", stderr(&output));
    let saved = Checkpoint::load(&home.path().join("r/solver")).unwrap();
    assert_eq!(saved.config.vocab_size, 320);
    // What was saved brings a tokenizer, so it is an ordinary checkpoint from here on.
    let eval = succeed(
        home.path(),
        &["eval", "--model", "r/solver", "--limit", "1", "--max-new-tokens", "4", "--json"],
    );
    assert_eq!(last_json(&eval)["style"], "paper");
}
