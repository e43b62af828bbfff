//! TensorBoard's event files: the numbers of `metrics.jsonl` again, for those who watch their runs there.
//!
//! A file is a row of records: length, its checksum, a protobuf `Event`, its checksum. Of that format a run needs one
//! message with four fields, which is written here; `tests/it/golden/events.py` has the real package write the same.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use toolr0_rl::Error;

use crate::metrics::numbers;

/// A directory of a run with a file of this process.
#[derive(Debug)]
pub(crate) struct EventLog {
    path: PathBuf,
    file: Option<File>,
    /// Updates of each role in one iteration, which turn iteration and step into one count.
    steps: BTreeMap<&'static str, usize>,
}

impl EventLog {
    /// Events in `dir`, where TensorBoard looks for all files of a run. Nothing is made before the first record.
    pub(crate) fn new(dir: &Path, generator_steps: usize, solver_steps: usize) -> Self {
        let name = format!("events.out.tfevents.{:010}.toolr0.{}", now() as u64, std::process::id());
        let steps = BTreeMap::from([("generator", generator_steps), ("solver", solver_steps)]);
        Self { path: dir.join(name), file: None, steps }
    }

    /// Adds the numbers of a record of `metrics.jsonl`.
    pub(crate) fn push(&mut self, record: &impl serde::Serialize) -> Result<(), Error> {
        let record = serde_json::to_value(record).unwrap_or_default();
        let (step, values) = self.scalars(&record);
        if values.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if self.file.is_none() {
            bytes.extend(framed(&version(now())));
        }
        bytes.extend(framed(&event(now(), step as i64, &values)));
        let write = |this: &mut Self| {
            let file = match &mut this.file {
                Some(file) => file,
                None => {
                    std::fs::create_dir_all(this.path.parent().unwrap_or(Path::new("")))?;
                    this.file.insert(OpenOptions::new().create(true).append(true).open(&this.path)?)
                }
            };
            file.write_all(&bytes).and_then(|()| file.flush())
        };
        write(self).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// The place of a record on TensorBoard's axis, and what it says there.
    fn scalars(&self, record: &Value) -> (usize, Vec<(String, f64)>) {
        let whole = |key: &str| record[key].as_u64().unwrap_or(0) as usize;
        let (name, role) = (record["record"].as_str().unwrap_or_default(), record["role"].as_str());
        let (group, step) = match role.and_then(|role| self.steps.get_key_value(role)) {
            Some((role, steps)) => (*role, whole("iteration").saturating_sub(1) * steps + whole("step")),
            None => (name, whole("iteration")),
        };
        let values = numbers(record).into_iter();
        let axis = ["iteration", "step"];
        let tagged = values.filter(|(key, _)| !axis.contains(&key.as_str()));
        (step, tagged.map(|(key, value)| (format!("{group}/{key}"), value)).collect())
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// `Event { wall_time = 1, file_version = 3 }`, which begins a file.
fn version(wall_time: f64) -> Vec<u8> {
    let mut bytes = vec![0x09];
    bytes.extend(wall_time.to_le_bytes());
    field(3, b"brain.Event:2", &mut bytes);
    bytes
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`.
fn event(wall_time: f64, step: i64, values: &[(String, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut one = Vec::new();
        field(1, tag.as_bytes(), &mut one);
        one.push(0x15);
        one.extend((*value as f32).to_le_bytes());
        field(1, &one, &mut summary);
    }
    let mut bytes = vec![0x09];
    bytes.extend(wall_time.to_le_bytes());
    bytes.push(0x10);
    varint(step as u64, &mut bytes);
    field(5, &summary, &mut bytes);
    bytes
}

/// A field of bytes: key, length, content.
fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(content.len() as u64, out);
    out.extend(content);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A record of a file: length and content, each with its checksum.
fn framed(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(content);
    bytes.extend(masked_crc(content).to_le_bytes());
    bytes
}

/// CRC-32C, turned and shifted so that a checksum of checksums is still one (TFRecord's definition).
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Castagnoli's CRC, bit by bit: some kilobytes a run.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// Golden file: `tests/it/golden/events.json`, written by the script beside it.
    #[derive(Deserialize)]
    struct Golden {
        version: String,
        event: String,
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_are_those_of_the_real_package() {
        let golden: Golden = serde_json::from_str(include_str!("../tests/it/golden/events.json")).unwrap();
        assert_eq!(hex(&framed(&version(1.5))), golden.version);
        let values = [("generator/reward".to_owned(), 0.25), ("a".repeat(200), -3.0)];
        assert_eq!(hex(&framed(&event(1.5, 300, &values))), golden.event);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of the algorithm");
    }

    #[test]
    fn a_step_has_one_place_in_the_whole_run() {
        let home = tempfile::tempdir().unwrap();
        let mut log = EventLog::new(&home.path().join("tensorboard"), 8, 50);
        let step =
            json!({"record": "step", "iteration": 3, "role": "solver", "step": 7, "reward": 0.5, "kl": null});
        assert_eq!(log.scalars(&step), (107, vec![("solver/reward".to_owned(), 0.5)]));
        let exam = json!({"record": "exam", "iteration": 2, "report": {"accuracy": 0.25}});
        assert_eq!(log.scalars(&exam), (2, vec![("exam/report.accuracy".to_owned(), 0.25)]));
        assert!(!home.path().join("tensorboard").exists());
        log.push(&step).unwrap();
        log.push(&exam).unwrap();
        let file = home.path().join("tensorboard").read_dir().unwrap().next().unwrap().unwrap();
        assert!(file.file_name().to_string_lossy().contains("tfevents"));
    }
}
