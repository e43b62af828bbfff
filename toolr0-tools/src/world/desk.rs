//! What a tool of a world works with: its arguments, and a counted view of the state.

use std::sync::Arc;

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::sandbox::Limits;
use crate::state::{Row, State};
use crate::task::hex;

/// Why a tool stopped before it had a value.
#[derive(Debug)]
pub(super) enum Stop {
    /// The tool says no.
    Error(String),
    /// It looked at too many rows.
    Steps,
    /// It made the state too large.
    Memory,
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Error(message)
    }
}

impl From<&str> for Stop {
    fn from(message: &str) -> Self {
        Self::Error(message.to_owned())
    }
}

/// What a tool returns.
pub(super) type Reply<T = Value> = Result<T, Stop>;

/// Arguments that have passed the tool's schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Args<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Args<'a> {
    /// A text; empty if it was left out.
    pub(super) fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number, if it was given.
    pub(super) fn number(self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// A number that the schema requires.
    pub(super) fn num(self, name: &str) -> f64 {
        self.number(name).unwrap_or_default()
    }

    /// A whole number of at least `least`.
    pub(super) fn count(self, name: &str, least: i64) -> Reply<i64> {
        let n = self.0.get(name).and_then(Value::as_i64).unwrap_or_default();
        if (least..=1_000_000).contains(&n) {
            Ok(n)
        } else {
            Err(format!("{name} must be {least} or more").into())
        }
    }

    /// A number of at least 0 that money or measures can be.
    pub(super) fn amount(self, name: &str) -> Reply<f64> {
        let x = self.num(name);
        if x > 0.0 && x < 1e9 { Ok(x) } else { Err(format!("{name} must be more than 0").into()) }
    }

    /// A date as `2026-03-05`.
    pub(super) fn date(self, name: &str) -> Reply<&'a str> {
        let text = self.text(name);
        let part = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<u32>().ok());
        let shape =
            text.len() == 10 && text.bytes().enumerate().all(|(i, b)| (b == b'-') == (i == 4 || i == 7));
        let days = |month| [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].get(month as usize).copied();
        match (part(5..7), part(8..10)) {
            (Some(month @ 1..), Some(day @ 1..)) if shape && days(month - 1).is_some_and(|n| day <= n) => {
                Ok(text)
            }
            _ => Err(format!("{name} must be a date such as 2026-03-05").into()),
        }
    }

    /// A time of day as `14:30`, in minutes.
    pub(super) fn minutes(self, name: &str) -> Reply<i64> {
        let read =
            |text: &str| text.parse::<i64>().ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
        let parts = self.text(name).split_once(':').and_then(|(h, m)| Some((read(h)?, read(m)?)));
        match parts {
            Some((h @ 0..24, m @ 0..60)) => Ok(60 * h + m),
            _ => Err(format!("{name} must be a time such as 14:30").into()),
        }
    }

    /// Those of the named arguments that were given, as columns of a new row.
    pub(super) fn row<const N: usize>(self, names: [&str; N]) -> Row {
        names.iter().filter_map(|name| Some(((*name).to_owned(), self.0.get(*name)?.clone()))).collect()
    }
}

/// A row from columns and values.
macro_rules! row {
    ($($column:ident: $value:expr),* $(,)?) => {{
        let mut row = crate::state::Row::new();
        $(row.insert(stringify!($column).to_owned(), serde_json::Value::from($value));)*
        row
    }};
}
pub(super) use row;

/// A number as JSON writes it best: at most six decimals, whole ones without a point.
pub(super) fn number(x: f64) -> Reply {
    let x = (x * 1e6).round() / 1e6;
    if !x.is_finite() {
        return Err("the result is too large".into());
    }
    if x.fract() == 0.0 && x.abs() < 9e15 {
        return Ok(Value::from(x as i64));
    }
    Ok(Number::from_f64(x).map_or(Value::Null, Value::Number))
}

/// Whether two texts are the same but for the case of letters.
pub(super) fn same(a: &str, b: &str) -> bool {
    a == b || a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

/// A text column.
pub(super) fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// A number column.
pub(super) fn num(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or_default()
}

/// The state as a tool sees it. Every row that is looked at counts as a step.
pub(super) struct Desk<'a> {
    state: &'a mut State,
    limits: &'a Limits,
    pub(super) steps: u64,
}

impl<'a> Desk<'a> {
    pub(super) fn new(state: &'a mut State, limits: &'a Limits) -> Self {
        Self { state, limits, steps: 0 }
    }

    /// How many more steps the call has.
    pub(super) fn steps_left(&self) -> u64 {
        self.limits.steps.saturating_sub(self.steps)
    }

    /// How large its value may be, bytes of JSON.
    pub(super) fn output_bytes(&self) -> usize {
        self.limits.output_bytes
    }

    pub(super) fn step(&mut self, rows: usize) -> Reply<()> {
        self.steps = self.steps.saturating_add(rows as u64);
        if self.steps <= self.limits.steps { Ok(()) } else { Err(Stop::Steps) }
    }

    /// The rows that `keep` wants, by key.
    pub(super) fn rows(&mut self, table: &str, keep: impl Fn(&Row) -> bool) -> Reply<Vec<Arc<Row>>> {
        self.step(self.state.table(table).map_or(0, |table| table.len()))?;
        let rows = self.state.table(table).into_iter().flat_map(|table| table.values());
        Ok(rows.filter(|row| keep(row)).cloned().collect())
    }

    /// The rows that `keep` wants, as a tool returns them.
    pub(super) fn find(&mut self, table: &str, keep: impl Fn(&Row) -> bool) -> Reply {
        Ok(self.rows(table, keep)?.into_iter().map(|row| Value::Object(row.as_ref().clone())).collect())
    }

    /// The rows whose columns are as the arguments of the same names say; arguments that were left out bind nothing.
    pub(super) fn matching<const N: usize>(
        &mut self,
        table: &str,
        args: Args<'_>,
        names: [&str; N],
    ) -> Reply {
        self.find(table, |row| names.iter().all(|name| fits(row, name, args.0.get(*name))))
    }

    /// One row, which must be there. The case of its key's letters does not matter.
    pub(super) fn get(&mut self, table: &'static str, id: &str) -> Reply<Arc<Row>> {
        self.step(1)?;
        if let Some(row) = self.state.table(table).and_then(|table| table.get(id)) {
            return Ok(row.clone());
        }
        let found = self.rows(table, |row| same(text(row, "id"), id))?.into_iter().next();
        found.ok_or_else(|| format!("there is no {id} among the {}", table.replace('_', " ")).into())
    }

    /// Whether there is a row of this key.
    pub(super) fn has(&mut self, table: &'static str, id: &str) -> Reply<bool> {
        Ok(!self.rows(table, |row| same(text(row, "id"), id))?.is_empty())
    }

    /// Puts a row under a key of its own choice, over whatever stood there.
    pub(super) fn put(&mut self, table: &'static str, id: &str, mut row: Row) -> Reply {
        self.step(1)?;
        row.shift_remove("id");
        row.shift_insert(0, "id".into(), id.into());
        let value = Value::Object(row.clone());
        self.state.put(table, id.into(), row);
        if self.state.bytes() <= self.limits.state_bytes { Ok(value) } else { Err(Stop::Memory) }
    }

    /// Adds a row. Its key depends on its content alone, so that things that are added in another order are the same
    /// things in the end; a second one like it gets the next free key.
    pub(super) fn add(&mut self, table: &'static str, prefix: &str, row: Row) -> Reply {
        let content = serde_json::to_string(&row).unwrap_or_default();
        for copy in 0u32.. {
            let digest = Sha256::digest(format!("{table}/{content}/{copy}"));
            let id = format!("{prefix}{}", hex(&digest[..3]).to_uppercase());
            self.step(1)?;
            if self.state.table(table).is_none_or(|table| !table.contains_key(id.as_str())) {
                return self.put(table, &id, row);
            }
        }
        unreachable!("the steps are bounded")
    }

    /// Changes columns of a row, which must be there.
    pub(super) fn change(&mut self, table: &'static str, id: &str, columns: Row) -> Reply {
        let mut row = self.get(table, id)?.as_ref().clone();
        let id = text(&row, "id").to_owned();
        row.extend(columns);
        self.put(table, &id, row)
    }

    /// Removes a row, which must be there.
    pub(super) fn remove(&mut self, table: &'static str, id: &str) -> Reply {
        let row = self.get(table, id)?;
        self.state.take(table, text(&row, "id"));
        Ok(Value::Object(row.as_ref().clone()))
    }

    /// Takes `n` of what a column counts; there must be so many. Negative numbers give back.
    pub(super) fn take(&mut self, table: &'static str, id: &str, column: &str, n: f64) -> Reply<Arc<Row>> {
        let row = self.get(table, id)?;
        let left = num(&row, column) - n;
        if left < 0.0 {
            let had = number(num(&row, column))?;
            return Err(format!("{id} has only {had} {}", column.replace('_', " ")).into());
        }
        let mut columns = Row::new();
        columns.insert(column.into(), number(left)?);
        self.change(table, id, columns)?;
        Ok(row)
    }

    /// Moves a row from one status to the next, once: a second time is an error.
    pub(super) fn advance(&mut self, table: &'static str, id: &str, from: &str, to: &str) -> Reply<Arc<Row>> {
        let row = self.get(table, id)?;
        let status = text(&row, "status");
        if status != from {
            return Err(format!("{id} is {status}, not {from}").into());
        }
        self.change(table, id, row! {status: to})?;
        Ok(row)
    }
}

/// Whether a column is as an argument says: texts whatever their case.
fn fits(row: &Row, name: &str, wanted: Option<&Value>) -> bool {
    match (wanted, row.get(name)) {
        (None, _) => true,
        (Some(Value::String(a)), Some(Value::String(b))) => same(a, b),
        (Some(a), Some(b)) => a == b,
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_and_times_are_real_ones() {
        let of = |text: &str| Map::from_iter([("x".to_owned(), json!(text))]);
        for (text, good) in [
            ("2026-03-05", true),
            ("2026-02-30", false),
            ("2026-13-01", false),
            ("2026-3-5", false),
            ("05-03-2026", false),
            ("2026-00-10", false),
            ("é026-03-05", false),
            ("", false),
        ] {
            assert_eq!(Args(&of(text)).date("x").is_ok(), good, "{text}");
        }
        let minutes = |text: &str| Args(&of(text)).minutes("x").ok();
        assert_eq!(
            ["09:30", "23:59", "24:00", "9:30", "0930", "+9:30"].map(minutes),
            [Some(570), Some(1439), None, None, None, None]
        );
    }

    #[test]
    fn what_is_added_in_another_order_is_the_same_in_the_end() {
        let limits = Limits::default();
        let added = |order: [&str; 3]| {
            let mut state = State::default();
            for name in order {
                Desk::new(&mut state, &limits).add("t", "T", row! {name: name}).unwrap();
            }
            state
        };
        assert_eq!(added(["a", "b", "a"]).hash(), added(["a", "a", "b"]).hash());
        assert_eq!(added(["a", "b", "a"]).rows("t").count(), 3);
    }

    #[test]
    fn steps_and_memory_are_bounded() {
        let mut state = State::default();
        let limits = Limits { steps: 5, state_bytes: 60, ..Limits::default() };
        let mut desk = Desk::new(&mut state, &limits);
        desk.put("t", "a", row! {n: 1}).unwrap();
        assert!(matches!(desk.put("t", "b", row! {n: "x".repeat(60)}), Err(Stop::Memory)));
        let mut desk = Desk::new(&mut state, &limits);
        let ends: Vec<_> = (0..3).map(|_| desk.find("t", |_| true).is_ok()).collect();
        assert_eq!(ends, [true, true, false]);
    }
}
