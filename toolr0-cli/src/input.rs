//! Files of lines, and stdin in place of one.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, StdoutLock};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A line may have this many bytes: more than any completion, less than memory.
const MAX_LINE: u64 = 64 << 20;

/// The lines of a file, one at a time, blank ones passed over.
pub(crate) struct Lines {
    name: String,
    reader: Box<dyn BufRead>,
    number: usize,
}

impl Lines {
    /// Opens a file; `-` is stdin.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (name, reader): (String, Box<dyn BufRead>) = if path == Path::new("-") {
            ("standard input".to_owned(), Box::new(BufReader::new(std::io::stdin())))
        } else {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| format!("failed to read {name}"))?;
            (name, Box::new(BufReader::new(file)))
        };
        Ok(Self { name, reader, number: 0 })
    }

    /// The next line that is not blank, without its end.
    pub(crate) fn next(&mut self) -> Result<Option<String>> {
        loop {
            self.number += 1;
            let mut bytes = Vec::new();
            let read = self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes);
            let n = read.with_context(|| format!("failed to read {}", self.place()))?;
            if n == 0 {
                return Ok(None);
            }
            if n as u64 == MAX_LINE {
                bail!("{} is longer than {MAX_LINE} bytes", self.place());
            }
            let mut line =
                String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", self.place()))?;
            if !line.trim().is_empty() {
                line.truncate(line.trim_end().len());
                return Ok(Some(line));
            }
        }
    }

    /// Where the last line stands, for errors.
    pub(crate) fn place(&self) -> String {
        format!("{}, line {}", self.name, self.number)
    }
}

/// Standard output for many lines.
pub(crate) fn sink() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, std::io::stdout().lock())
}
