//! What is counted, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Answers by HTTP status.
    answers: Mutex<BTreeMap<u16, usize>>,
    /// Chat requests in the house.
    pub(super) in_house: AtomicUsize,
    /// Completions that are being written.
    pub(super) rows: AtomicUsize,
    /// Tokens of prompts.
    pub(super) prompt_tokens: AtomicUsize,
    /// Tokens that were drawn.
    pub(super) completion_tokens: AtomicUsize,
    /// Answers that nobody waited for to the end.
    pub(super) abandoned: AtomicUsize,
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn answered(&self, status: u16) {
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *answers.entry(status).or_default() += 1;
    }

    /// The text of `/metrics`.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("# TYPE toolr0_answers_total counter\n");
        let answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (status, n) in answers.iter() {
            let _ = writeln!(text, "toolr0_answers_total{{status=\"{status}\"}} {n}");
        }
        let rows: [(&str, &str, &AtomicUsize); 5] = [
            ("toolr0_requests", "gauge", &self.in_house),
            ("toolr0_rows", "gauge", &self.rows),
            ("toolr0_prompt_tokens_total", "counter", &self.prompt_tokens),
            ("toolr0_completion_tokens_total", "counter", &self.completion_tokens),
            ("toolr0_abandoned_total", "counter", &self.abandoned),
        ];
        for (name, kind, value) in rows {
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {}", value.load(Ordering::Relaxed));
        }
        text
    }
}
