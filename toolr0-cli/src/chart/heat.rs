//! A matrix of shades: how something is spread over time, or who does how well against whom.

use std::fmt::Write as _;

use super::axis::Scale;
use super::{Drawing, LETTER, LINE, Table, Tone, WIDTH, clip, escape};

/// Rows and columns of shades.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    /// What a row is.
    pub(crate) row_label: &'static str,
    /// What a column is.
    pub(crate) column_label: &'static str,
    pub(crate) tone: Tone,
    /// From the top down.
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// Rows of cells; `None` where nothing was measured.
    pub(crate) cells: Vec<Vec<Option<Cell>>>,
    /// The rows, first and last, that should be hit.
    pub(crate) band: Option<(usize, usize)>,
}

/// One shade.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// From 0 to 1.
    pub(crate) shade: f64,
    /// What it says.
    pub(crate) text: String,
    /// What else it says, under the pointer and in the table.
    pub(crate) note: String,
}

impl Heat {
    fn cell(&self, row: usize, column: usize) -> Option<&Cell> {
        self.cells.get(row)?.get(column)?.as_ref()
    }

    /// A row of the table is a column of the chart where there are more columns than rows: time runs down.
    pub(super) fn table(&self) -> Table {
        let show = |row: usize, column: usize| match self.cell(row, column) {
            Some(Cell { text, note, .. }) if note.is_empty() => text.clone(),
            Some(Cell { text, note, .. }) => format!("{text} {note}"),
            None => String::new(),
        };
        let head = std::iter::once(self.column_label.to_owned());
        let rows = |i: usize| (0..self.rows.len()).map(move |row| show(row, i));
        Table {
            head: head.chain(self.rows.iter().map(|row| format!("{} {row}", self.row_label))).collect(),
            rows: self
                .columns
                .iter()
                .enumerate()
                .map(|(i, column)| std::iter::once(column.clone()).chain(rows(i)).collect())
                .collect(),
        }
    }

    pub(super) fn draw(&self) -> Drawing {
        let mut out = String::new();
        let letters = self.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0).min(16);
        let left = 10.0 + LETTER * letters as f64;
        let (n, few) = (self.columns.len().max(1), self.columns.len() <= 8);
        let x = Scale { from: (0.0, n as f64), to: (left, WIDTH - 6.0) };
        let (top, height) = (LINE, if few { 30.0 } else { 15.0 });
        let caption = format!("{} by {}", self.row_label, self.column_label);
        let _ = write!(out, r#"<text class="tick" x="{left:.1}" y="11">{}</text>"#, escape(&caption));
        for (row, label) in self.rows.iter().enumerate() {
            let y = top + row as f64 * height;
            let _ = write!(
                out,
                r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                left - 6.0,
                y + height / 2.0 + 4.0,
                escape(&clip(label, letters))
            );
            for column in 0..self.columns.len() {
                self.draw_cell(row, column, x, (y, height), few, &mut out);
            }
        }
        let bottom = top + self.rows.len() as f64 * height;
        if let Some((first, last)) = self.band {
            let (y, tall) = (top + first as f64 * height, (last + 1 - first) as f64 * height);
            let width = x.to.1 - x.to.0;
            let _ = write!(
                out,
                r#"<rect class="edge" x="{left:.1}" y="{y:.1}" width="{width:.1}" height="{tall:.1}"/>"#
            );
        }
        self.draw_columns(x, bottom, &mut out);
        Drawing { elements: out, height: bottom + LINE + 6.0 }
    }

    fn draw_cell(&self, row: usize, column: usize, x: Scale, y: (f64, f64), few: bool, out: &mut String) {
        let Some(cell) = self.cell(row, column) else { return };
        let (from, to) = (x.at(column as f64), x.at(column as f64 + 1.0));
        let (top, height) = y;
        let tip = format!(
            "{} {}, {} {}\n{} {}",
            self.row_label, self.rows[row], self.column_label, self.columns[column], cell.text, cell.note
        );
        let gap = if few { 2.0 } else { 0.5 };
        let _ = write!(
            out,
            r#"<g class="hit"><title>{}</title><rect class="bar {}" x="{from:.1}" y="{top:.1}" width="{:.1}" height="{:.1}" fill-opacity="{:.2}"/>"#,
            escape(tip.trim_end()),
            self.tone.class(),
            (to - from - gap).max(0.5),
            height - gap,
            0.04 + 0.91 * cell.shade.clamp(0.0, 1.0)
        );
        if few {
            let class = if 0.55 < cell.shade { "over" } else { "under" };
            let _ = write!(
                out,
                r#"<text class="{class}" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                (from + to) / 2.0,
                top + height / 2.0 + 4.0,
                escape(&cell.text)
            );
        }
        out.push_str("</g>");
    }

    /// As many names under the columns as there is room for.
    fn draw_columns(&self, x: Scale, bottom: f64, out: &mut String) {
        let width = (x.to.1 - x.to.0) / self.columns.len().max(1) as f64;
        let letters = self.columns.iter().map(|name| name.chars().count()).max().unwrap_or(1).min(14);
        let every = ((LETTER * letters as f64 + 8.0) / width).ceil().max(1.0) as usize;
        for (column, name) in self.columns.iter().enumerate().step_by(every) {
            let (at, anchor) = match every {
                1 => (x.at(column as f64 + 0.5), "middle"),
                _ => (x.at(column as f64), "start"),
            };
            let _ = write!(
                out,
                r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
                bottom + LINE - 3.0,
                escape(&clip(name, 14))
            );
        }
    }
}
