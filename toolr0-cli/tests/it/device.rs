//! Where the network runs.

use crate::{names, run, stderr};

const EVAL: [&str; 5] = ["eval", "--limit", "1", "--max-new-tokens", "4"];

#[test]
fn auto_takes_the_cpu_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    for (device, told) in [(None, true), (Some("auto"), true), (Some("cpu"), false)] {
        let mut args = EVAL.to_vec();
        args.extend(device.iter().flat_map(|device| ["--device", device]));
        let output = run(home.path(), &args);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output).contains("on the CPU: "), told, "{device:?}: {}", stderr(&output));
    }
    // What computes nothing has nothing to say.
    let output = run(home.path(), &["configs"]);
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn cuda_says_what_is_missing_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let output = run(home.path(), &["selfplay", "--device", "cuda", "--out", "r"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["--device cuda: ", "docs/src/gpu.md"] {
        assert!(stderr(&output).contains(part), "no `{part}` in {}", stderr(&output));
    }
    assert!(names(home.path()).is_empty());
}
