//! The state that tools work on: tables of rows, cheap to clone, with a hash that is the same on every machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::sandbox::json_len;
use crate::task::hex;

/// One row: values by column; its key stands in it as `id`.
pub type Row = Map<String, Value>;

/// Rows by key.
pub(crate) type Table = BTreeMap<Arc<str>, Arc<Row>>;

/// Tables by name. A clone shares everything with its original until one of them changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    tables: BTreeMap<&'static str, Arc<Table>>,
    bytes: usize,
}

/// One row that a call added, changed or removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowChange {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub id: String,
    /// As it was; `None` if it is new.
    pub before: Option<Row>,
    /// As it is; `None` if it is gone.
    pub after: Option<Row>,
}

impl State {
    /// The rows of a table, by key.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = &Row> {
        self.tables.get(table).into_iter().flat_map(|table| table.values()).map(Arc::as_ref)
    }

    /// The names of the tables that have rows, in the order of the alphabet.
    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.tables.iter().filter(|(_, table)| !table.is_empty()).map(|(name, _)| *name)
    }

    /// Size, bytes of JSON without the tables' names.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// 16 hexadecimal digits that depend on every table, key and value, and on no order of columns.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (name, table) in self.tables.iter().filter(|(_, table)| !table.is_empty()) {
            absorb(&mut hash, &Value::from(*name));
            for (id, row) in table.iter() {
                absorb(&mut hash, &Value::from(id.as_ref()));
                absorb_object(&mut hash, row);
            }
        }
        hex(&hash.finalize()[..8])
    }

    /// What has to change in `before` to become this state. Tables that both share cost nothing.
    pub fn since(&self, before: &Self) -> Vec<RowChange> {
        let mut changes = Vec::new();
        let empty = Table::new();
        let names: std::collections::BTreeSet<_> = self.tables.keys().chain(before.tables.keys()).collect();
        for &table in names {
            let (old, new) = (before.tables.get(table), self.tables.get(table));
            if let (Some(old), Some(new)) = (old, new)
                && Arc::ptr_eq(old, new)
            {
                continue;
            }
            let (old, new) = (old.map_or(&empty, Arc::as_ref), new.map_or(&empty, Arc::as_ref));
            let ids: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for id in ids {
                let (before, after) = (old.get(id), new.get(id));
                if before != after {
                    let owned = |row: Option<&Arc<Row>>| row.map(|row| row.as_ref().clone());
                    let (before, after) = (owned(before), owned(after));
                    changes.push(RowChange { table, id: id.to_string(), before, after });
                }
            }
        }
        changes
    }

    pub(crate) fn table(&self, table: &str) -> Option<&Table> {
        self.tables.get(table).map(Arc::as_ref)
    }

    /// Puts a row in its place, over whatever stood there.
    pub(crate) fn put(&mut self, table: &'static str, id: Arc<str>, row: Row) {
        let added = json_len(&row);
        let table = Arc::make_mut(self.tables.entry(table).or_default());
        let removed = table.insert(id, Arc::new(row)).map_or(0, |row| json_len(&*row));
        self.bytes = self.bytes.saturating_add(added).saturating_sub(removed);
    }

    pub(crate) fn take(&mut self, table: &'static str, id: &str) -> Option<Arc<Row>> {
        let row = Arc::make_mut(self.tables.get_mut(table)?).remove(id)?;
        self.bytes = self.bytes.saturating_sub(json_len(&*row));
        Some(row)
    }
}

/// Lengths stand before contents, so that no two values give the same bytes.
fn absorb(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Array(items) => {
            hash.update([b'[']);
            hash.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| absorb(hash, item));
        }
        Value::Object(object) => absorb_object(hash, object),
        plain => {
            let text = plain.to_string();
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
}

fn absorb_object(hash: &mut Sha256, object: &Row) {
    hash.update([b'{']);
    hash.update((object.len() as u64).to_le_bytes());
    let mut keys: Vec<_> = object.iter().collect();
    keys.sort_unstable_by_key(|(key, _)| key.as_str());
    for (key, value) in keys {
        absorb(hash, &Value::from(key.as_str()));
        absorb(hash, value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_hash_depends_on_values_and_not_on_the_order_of_columns() {
        let state = |value| {
            let mut state = State::default();
            state.put("t", "1".into(), row(value));
            state.hash()
        };
        assert_eq!(state(json!({"a": 1, "b": [2]})), state(json!({"b": [2], "a": 1})));
        assert_ne!(state(json!({"a": 1, "b": [2]})), state(json!({"a": 1, "b": 2})));
        assert_ne!(state(json!({"a": "1"})), state(json!({"a": 1})));
    }

    #[test]
    fn changes_are_what_differs_and_a_way_back_leaves_none() {
        let mut state = State::default();
        state.put("t", "1".into(), row(json!({"n": 1})));
        let before = state.clone();
        state.put("t", "2".into(), row(json!({"n": 2})));
        state.put("t", "1".into(), row(json!({"n": 3})));
        let changes: Vec<_> =
            state.since(&before).into_iter().map(|c| (c.id, c.before.is_some(), c.after.is_some())).collect();
        assert_eq!(changes, [("1".to_owned(), true, true), ("2".to_owned(), false, true)]);
        assert_eq!((before.rows("t").count(), state.bytes()), (1, 14));
        state.take("t", "2");
        state.put("t", "1".into(), row(json!({"n": 1})));
        assert_eq!((state.since(&before), state.hash(), state.bytes()), (vec![], before.hash(), 7));
    }
}
