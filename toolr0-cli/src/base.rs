//! The base model that is part of the program.

use toolr0_model::Checkpoint;
use toolr0_model::checkpoint::Embedded;
use toolr0_tools::Task;
use toolr0_tools::source::Menu;

use crate::bootstrap::exam;

/// The files of the base model; `docs/base-model.md` tells how they were made.
pub(crate) const FILES: Embedded = Embedded {
    config: include_str!("../assets/base/config.json"),
    tokenizer: include_str!("../assets/base/tokenizer.json"),
    tokenizer_config: include_str!("../assets/base/tokenizer_config.json"),
    weights: include_bytes!("../assets/base/model.safetensors"),
};

/// The seed of the exam. It is part of the measure, so it is no option: two runs sit the same exam.
const EXAM_SEED: u64 = 2_026;
/// The seed of the development set.
const DEV_SEED: u64 = 7;

/// The base model.
///
/// # Errors
///
/// If the embedded files do not fit each other, which a test excludes.
pub(crate) fn checkpoint() -> toolr0_model::Result<Checkpoint> {
    Checkpoint::embedded(&FILES, "embedded base")
}

/// The first `n` questions of the exam, the same in every run and command.
pub(crate) fn exam_questions(n: usize) -> Vec<Task> {
    exam::exam(EXAM_SEED, n)
}

/// The first `n` questions of the exam over menus that no longer serve them.
pub(crate) fn abstention_questions(n: usize) -> Vec<Task> {
    exam::abstention(EXAM_SEED, n)
}

/// `n` questions about given tools, in the exam's words.
///
/// # Errors
///
/// What there are no words for.
pub(crate) fn questions_about(menus: &[Menu], n: usize) -> Result<Vec<Task>, String> {
    exam::about(EXAM_SEED, n, menus)
}

/// The first `n` questions of the development set.
pub(crate) fn dev_questions(n: usize) -> Vec<Task> {
    exam::dev(DEV_SEED, n)
}
