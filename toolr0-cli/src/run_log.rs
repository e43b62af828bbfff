//! A run directory read back, whether the run is finished, still going on, or was written by another version: what is
//! missing is missing, and nothing that was written is an error.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;
use toolr0_curriculum::{Bands, Candidate};
use toolr0_rl::exam::{ErrorCounts, ExamReport};

/// Everything that a run has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLog {
    pub(crate) root: PathBuf,
    /// `config.yaml`.
    config: serde_yaml::Value,
    /// Updates, in their order.
    pub(crate) steps: Vec<Value>,
    /// Datasets, one an iteration.
    pub(crate) datasets: Vec<Value>,
    /// Sittings of the exam with the iteration that they follow.
    pub(crate) exams: Vec<(usize, ExamReport)>,
    /// Samples of tasks with the solver's answers, one record an iteration.
    pub(crate) samples: Vec<Value>,
    /// Alarms that were raised.
    pub(crate) alarms: Vec<Value>,
    /// `result.json`; null until the run ends.
    pub(crate) result: Value,
    /// Lines that are no records, such as one that is being written.
    pub(crate) unreadable: usize,
}

/// A role's name, as in the log.
pub(crate) const ROLES: [&str; 2] = ["generator", "solver"];

impl RunLog {
    /// Reads what is there.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let text = |name: &str| {
            std::fs::read(root.join(name)).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
        };
        let (config, metrics) = (text("config.yaml"), text("metrics.jsonl"));
        if config.is_none() && metrics.is_none() {
            bail!("{} holds no run: there is no config.yaml or metrics.jsonl in it", root.display());
        }
        let parsed = config.and_then(|text| serde_yaml::from_str(&text).ok());
        let mut log = Self { root: root.to_owned(), config: parsed.unwrap_or_default(), ..Self::default() };
        log.result =
            text("result.json").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        metrics
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim().is_empty())
            .for_each(|line| log.add(line));
        Ok(log)
    }

    fn add(&mut self, line: &str) {
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            self.unreadable += 1;
            return;
        };
        match record["record"].as_str() {
            Some("step") => self.steps.push(record),
            Some("dataset") => self.datasets.push(record),
            Some("samples") => self.samples.push(record),
            Some("alarm") => self.alarms.push(record),
            Some("exam") => match exam(&record["report"]) {
                Some(report) => self.exams.push((whole(&record, "/iteration"), report)),
                None => self.unreadable += 1,
            },
            _ => {} // Of another version; whoever wrote it knows what it says.
        }
    }

    /// A number of the configuration.
    pub(crate) fn setting(&self, key: &str) -> Option<f64> {
        key.split('.').try_fold(&self.config, |value, key| value.get(key))?.as_f64()
    }

    /// The model that the run began with.
    pub(crate) fn model(&self) -> &str {
        self.config.get("model").and_then(|model| model.as_str()).unwrap_or("unknown")
    }

    /// Where easy and hard begin.
    pub(crate) fn bands(&self) -> Bands {
        let bands = self.config.get("dataset").and_then(|dataset| dataset.get("bands"));
        bands.and_then(|bands| serde_yaml::from_value(bands.clone()).ok()).unwrap_or_default()
    }

    /// The band of success rates that is worth most.
    pub(crate) fn frontier(&self) -> (f64, f64) {
        (self.setting("frontier.low").unwrap_or(0.25), self.setting("frontier.high").unwrap_or(0.75))
    }

    /// Iterations that have left anything.
    pub(crate) fn iterations(&self) -> usize {
        let records = self.steps.iter().chain(&self.datasets).map(|record| whole(record, "/iteration"));
        records.chain(self.exams.iter().map(|(iteration, _)| *iteration)).max().unwrap_or(0)
    }

    /// The tasks of an iteration, in the order of training; none where there is no such file.
    pub(crate) fn tasks(&self, iteration: usize) -> Vec<Candidate> {
        let path = self.root.join(format!("iteration-{iteration}/tasks.jsonl"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The updates of one role, in their order.
    pub(crate) fn steps_of<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Value> {
        self.steps.iter().filter(move |step| step["role"] == role)
    }

    /// How far the run is: `finished`, `stopped`, or `unfinished`.
    pub(crate) fn state(&self) -> &'static str {
        match self.result["stopped"].as_bool() {
            Some(false) => "finished",
            Some(true) => "stopped early",
            None => "not finished",
        }
    }
}

/// A sitting; kinds of errors that its version did not tell apart count 0.
fn exam(report: &Value) -> Option<ExamReport> {
    let mut report = report.clone();
    let mut errors = serde_json::to_value(ErrorCounts::default()).ok()?;
    errors.as_object_mut()?.extend(report["errors"].as_object()?.clone());
    report["errors"] = errors;
    serde_json::from_value(report).ok()
}

/// A number of a record; `None` where it has none.
pub(crate) fn number(record: &Value, pointer: &str) -> Option<f64> {
    record.pointer(pointer)?.as_f64()
}

/// A whole number of a record; 0 where it has none.
pub(crate) fn whole(record: &Value, pointer: &str) -> usize {
    record.pointer(pointer).and_then(Value::as_u64).unwrap_or(0) as usize
}

/// A list of whole numbers of a record.
pub(crate) fn counts(record: &Value, pointer: &str) -> Vec<f64> {
    record
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_log_is_read_as_far_as_it_goes() {
        let home = tempfile::tempdir().unwrap();
        assert!(RunLog::open(home.path()).is_err());
        let lines = "{\"record\":\"step\",\"role\":\"solver\",\"iteration\":2,\"reward\":null}\n{\"record\":\"new\"}\n\
                     {\"record\":\"exam\",\"report\":{}}\n{\"record\":\"st";
        std::fs::write(home.path().join("metrics.jsonl"), lines).unwrap();
        let log = RunLog::open(home.path()).unwrap();
        assert_eq!((log.steps.len(), log.exams.len(), log.unreadable, log.iterations()), (1, 0, 2, 2));
        assert_eq!((number(&log.steps[0], "/reward"), whole(&log.steps[0], "/iteration")), (None, 2));
        assert_eq!((log.state(), log.model(), log.frontier()), ("not finished", "unknown", (0.25, 0.75)));
        assert!(log.tasks(1).is_empty());
    }
}
