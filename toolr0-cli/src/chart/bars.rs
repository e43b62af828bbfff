//! Horizontal bars, stacked or side by side: their labels are words and need the room of a line.

use std::fmt::Write as _;

use super::axis::Scale;
use super::{Drawing, LETTER, LINE, Table, Tone, Unit, WIDTH, clip, escape, legend};

/// Bars with one label each.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    /// What a row is.
    pub(crate) label: &'static str,
    pub(crate) unit: Unit,
    /// What the values of a row are.
    pub(crate) parts: Vec<(String, Tone)>,
    /// Whether the values of a row add up.
    pub(crate) stacked: bool,
    pub(crate) rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) label: String,
    /// One for each part.
    pub(crate) values: Vec<f64>,
    /// What is known of the last value.
    pub(crate) interval: Option<(f64, f64)>,
    /// What else is to be said of it, after the bar and in the table.
    pub(crate) note: String,
}

impl Bars {
    pub(super) fn table(&self) -> Table {
        let noted = self.rows.iter().any(|row| !row.note.is_empty());
        let head =
            std::iter::once(self.label.to_owned()).chain(self.parts.iter().map(|(name, _)| name.clone()));
        let row = |row: &Row| {
            let last = row.values.len().saturating_sub(1);
            let values = row.values.iter().enumerate().map(|(i, _)| self.show(row, i, i == last));
            let note = noted.then(|| row.note.clone());
            std::iter::once(row.label.clone()).chain(values).chain(note).collect()
        };
        let head = head.chain(noted.then(String::new)).collect();
        Table { head, rows: self.rows.iter().map(row).collect() }
    }

    /// A value, the last one of a row with its interval.
    fn show(&self, row: &Row, i: usize, last: bool) -> String {
        let value = self.unit.show(row.values[i]);
        match row.interval.filter(|_| last) {
            Some((low, high)) => format!("{value} ({} to {})", self.unit.show(low), self.unit.show(high)),
            None => value,
        }
    }

    /// The longest bar.
    fn longest(&self) -> f64 {
        let length = |row: &Row| match self.stacked {
            true => row.values.iter().sum(),
            false => row.values.iter().copied().chain(row.interval.map(|(_, high)| high)).fold(0.0, f64::max),
        };
        self.rows.iter().map(length).fold(0.0, f64::max).max(f64::MIN_POSITIVE)
    }

    pub(super) fn draw(&self) -> Drawing {
        let mut out = String::new();
        let names: Vec<(&str, String)> = self
            .parts
            .iter()
            .map(|(name, tone)| {
                let mark =
                    format!(r#"<rect class="bar {}" x="4" y="-9" width="12" height="10"/>"#, tone.class());
                (name.as_str(), mark)
            })
            .collect();
        let top = if names.len() < 2 { 4.0 } else { 6.0 + legend(&names, &mut out) };
        let letters = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0).min(30);
        let left = 10.0 + LETTER * letters as f64;
        let n_bars = if self.stacked { 1 } else { self.parts.len().max(1) };
        // Behind the bar stands its value, and perhaps a note.
        let x =
            Scale { from: (0.0, self.longest()), to: (left, WIDTH - if n_bars == 1 { 58.0 } else { 96.0 }) };
        let thick = if n_bars == 1 { 12.0 } else { 7.0 };
        let row_height = (n_bars as f64 * thick + 6.0).max(LINE);
        for (i, row) in self.rows.iter().enumerate() {
            self.row(row, top + i as f64 * row_height, row_height, thick, x, letters, &mut out);
        }
        Drawing { elements: out, height: top + self.rows.len() as f64 * row_height + 6.0 }
    }

    #[expect(clippy::too_many_arguments, reason = "where one row lies, all of it computed once for all rows")]
    fn row(&self, row: &Row, y: f64, height: f64, thick: f64, x: Scale, letters: usize, out: &mut String) {
        let mut tip = row.label.clone();
        for (i, (name, _)) in self.parts.iter().enumerate().take(row.values.len()) {
            let _ = write!(tip, "\n{name}: {}", self.show(row, i, i + 1 == row.values.len()));
        }
        if !row.note.is_empty() {
            let _ = write!(tip, "\n{}", row.note);
        }
        let middle = y + height / 2.0;
        let _ = write!(
            out,
            r#"<g class="hit"><title>{}</title><rect x="0" y="{y:.1}" width="{WIDTH}" height="{height:.1}" fill="none" pointer-events="all"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            escape(&tip),
            x.to.0 - 8.0,
            middle + 4.0,
            escape(&clip(&row.label, letters))
        );
        let n_bars = if self.stacked { 1.0 } else { row.values.len() as f64 };
        let first = middle - n_bars * thick / 2.0;
        let (mut end, mut sum) = (x.to.0, 0.0);
        for (i, ((_, tone), value)) in self.parts.iter().zip(&row.values).enumerate() {
            let (from, at) = match self.stacked {
                true => (x.at(sum), first),
                false => (x.to.0, first + i as f64 * thick),
            };
            sum += value;
            let to = x.at(if self.stacked { sum } else { *value });
            let _ = write!(
                out,
                r#"<rect class="bar {}" x="{from:.1}" y="{at:.1}" width="{:.1}" height="{:.1}"/>"#,
                tone.class(),
                (to - from).max(0.0),
                thick - 1.0
            );
            end = end.max(to);
        }
        if let Some((low, high)) = row.interval {
            let (low, high) = (x.at(low), x.at(high));
            end = end.max(high);
            let _ = write!(
                out,
                r#"<path class="whisker" d="M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8"/>"#,
                middle - 4.0,
                middle - 4.0
            );
        }
        // Side by side, before and after; stacked, the whole.
        let shown = match self.stacked {
            true => self.unit.show(sum),
            false => row.values.iter().map(|value| self.unit.show(*value)).collect::<Vec<_>>().join(" → "),
        };
        let _ = write!(
            out,
            r#"<text class="tick" x="{:.1}" y="{:.1}">{}</text></g>"#,
            end + 5.0,
            middle + 4.0,
            escape(&shown)
        );
    }
}
