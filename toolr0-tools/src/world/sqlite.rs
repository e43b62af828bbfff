//! An embedded SQLite over tables of a state: filled before a statement, read back after one that writes.
//!
//! A statement may read the tables and, where it should, change their rows; nothing else is authorised: no other file, no
//! pragma, no table of its own, and no function that depends on the clock, on chance or on earlier statements. Instructions of
//! SQLite's machine count as steps.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, params_from_iter};
use serde_json::Value;

use super::desk::{Desk, Reply, Stop, number};
use crate::state::Row;

/// A table: its name and its columns besides `id`, each with its SQLite type.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, &'static str)],
}

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
}

/// Instructions of SQLite's machine that count as one step of [`crate::Limits::steps`].
const OPS: i32 = 20;
/// The longest text anywhere, and the longest statement: functions take time that no step counts.
const TEXT: i32 = 4 << 10;

/// All that a statement may call: each gives the same for the same arguments.
const FUNCTIONS: [&str; 43] = [
    "abs",
    "avg",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "dense_rank",
    "first_value",
    "format",
    "glob",
    "group_concat",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "lower",
    "ltrim",
    "max",
    "min",
    "ntile",
    "nullif",
    "printf",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "total",
    "trim",
    "typeof",
    "unicode",
    "upper",
];

/// What the hooks of a connection share with it.
#[derive(Default)]
struct Watch {
    /// 0: the next statement is ours; 1: it may read; 2: it may write.
    rights: AtomicU8,
    /// Steps that are left to it.
    left: AtomicU64,
}

struct Database {
    connection: Connection,
    watch: Arc<Watch>,
}

thread_local! {
    /// One for each thread; its tables are filled anew for each statement.
    static DATABASE: RefCell<Option<(&'static [Table], Database)>> = const { RefCell::new(None) };
}

/// Runs one statement over the tables of the state: its rows if it reads, the number of rows that it changed if it writes.
pub(super) fn run(desk: &mut Desk<'_>, tables: &'static [Table], sql: &str, mode: Mode) -> Reply {
    DATABASE.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(of, _)| !std::ptr::eq(*of, tables)) {
            *slot = Some((tables, Database::new(tables).map_err(says)?));
        }
        let Some((_, database)) = slot else { return Err("there is no database".into()) };
        let reply = database.run(desk, tables, sql, mode);
        database.watch.rights.store(0, Ordering::Relaxed);
        if matches!(reply, Err(Stop::Steps | Stop::Memory)) {
            // Rather a new one than one that was cut off.
            *slot = None;
        }
        reply
    })
}

/// An error of SQLite as the tool says it.
fn says(error: rusqlite::Error) -> Stop {
    match &error {
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::OperationInterrupted => {
            Stop::Steps
        }
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::OutOfMemory => Stop::Memory,
        rusqlite::Error::SqlInputError { msg, .. } => Stop::Error(msg.clone()),
        _ => Stop::Error(error.to_string()),
    }
}

impl Database {
    fn new(tables: &[Table]) -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA max_page_count = 4096;",
        )?;
        for Table { name, columns } in tables {
            let columns: String = columns.iter().map(|(column, kind)| format!(", {column} {kind}")).collect();
            // Strict, so that a column holds what it says; without rowids, so that the order of rows is that of keys.
            let create = format!("CREATE TABLE {name} (id TEXT PRIMARY KEY{columns}) STRICT, WITHOUT ROWID");
            connection.execute_batch(&create)?;
        }
        for (limit, most) in [
            (Limit::SQLITE_LIMIT_LENGTH, TEXT),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, TEXT),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 20),
            (Limit::SQLITE_LIMIT_COLUMN, 100),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
        ] {
            connection.set_limit(limit, most)?;
        }
        let watch = Arc::new(Watch::default());
        let seen = watch.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            may(&context, seen.rights.load(Ordering::Relaxed))
        }))?;
        let seen = watch.clone();
        let step = move || {
            let left = seen.left.load(Ordering::Relaxed);
            seen.left.store(left.saturating_sub(1), Ordering::Relaxed);
            left == 0
        };
        connection.progress_handler(OPS, Some(step))?;
        Ok(Self { connection, watch })
    }

    fn run(&mut self, desk: &mut Desk<'_>, tables: &[Table], sql: &str, mode: Mode) -> Reply {
        self.watch.rights.store(0, Ordering::Relaxed);
        self.watch.left.store(u64::MAX, Ordering::Relaxed);
        self.fill(desk, tables)?;
        let budget = desk.steps_left();
        self.watch.left.store(budget, Ordering::Relaxed);
        self.watch.rights.store(if mode == Mode::Read { 1 } else { 2 }, Ordering::Relaxed);
        let done = self.ask(sql, mode, desk.output_bytes());
        let used = budget - self.watch.left.load(Ordering::Relaxed);
        self.watch.rights.store(0, Ordering::Relaxed);
        self.watch.left.store(u64::MAX, Ordering::Relaxed);
        desk.step(used as usize)?;
        let value = done?;
        if mode == Mode::Write {
            self.read_back(desk, tables)?;
        }
        Ok(value)
    }

    fn fill(&self, desk: &mut Desk<'_>, tables: &[Table]) -> Reply<()> {
        self.connection.execute_batch("BEGIN").map_err(says)?;
        let done = tables.iter().try_for_each(|table| self.fill_one(desk, table));
        self.connection.execute_batch("COMMIT").map_err(says)?;
        done
    }

    fn fill_one(&self, desk: &mut Desk<'_>, table: &Table) -> Reply<()> {
        let Table { name, columns } = *table;
        let mut delete = self.connection.prepare_cached(&format!("DELETE FROM {name}")).map_err(says)?;
        delete.execute([]).map_err(says)?;
        let marks = vec!["?"; columns.len() + 1].join(", ");
        let insert = format!("INSERT INTO {name} VALUES ({marks})");
        let mut insert = self.connection.prepare_cached(&insert).map_err(says)?;
        for row in desk.rows(name, |_| true)? {
            let cells = names(columns).map(|column| cell(row.get(column)));
            insert.execute(params_from_iter(cells)).map_err(says)?;
        }
        Ok(())
    }

    fn ask(&self, sql: &str, mode: Mode, most: usize) -> Reply {
        let mut statement = self.connection.prepare(sql).map_err(says)?;
        if mode == Mode::Write {
            if statement.readonly() {
                return Err("this statement changes nothing".into());
            }
            return Ok(Value::from(statement.execute([]).map_err(says)?));
        }
        if statement.column_count() == 0 {
            return Err("this statement returns nothing".into());
        }
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut rows = statement.query([]).map_err(says)?;
        // What is longer than the limit is not returned anyway.
        while let Some(row) = rows.next().map_err(says)?.filter(|_| bytes <= most) {
            let mut out = Row::new();
            for (i, name) in names.iter().enumerate() {
                let value = match row.get_ref(i).map_err(says)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(n) => Value::from(n),
                    ValueRef::Real(x) => number(x)?,
                    ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
                    ValueRef::Blob(_) => return Err(format!("{name} is no text and no number").into()),
                };
                out.insert(name.clone(), value);
            }
            bytes += crate::sandbox::json_len(&out);
            found.push(Value::Object(out));
        }
        Ok(found.into())
    }

    /// Brings the state to what the tables hold now.
    fn read_back(&self, desk: &mut Desk<'_>, tables: &[Table]) -> Reply<()> {
        for &Table { name, columns } in tables {
            let mut all = self.connection.prepare_cached(&format!("SELECT * FROM {name}")).map_err(says)?;
            let mut rows = all.query([]).map_err(says)?;
            let mut old = desk.rows(name, |_| true)?.into_iter().peekable();
            let id = |row: &Row| row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            // Both sides stand in the order of their keys.
            while let Some(row) = rows.next().map_err(says)? {
                let mut new = Row::new();
                for (i, column) in names(columns).enumerate() {
                    let value = match row.get_ref(i).map_err(says)? {
                        ValueRef::Integer(n) => Value::from(n),
                        ValueRef::Real(x) => number(x)?,
                        ValueRef::Text(text) => match std::str::from_utf8(text) {
                            Ok(text) => Value::from(text),
                            Err(error) => return Err(error.to_string().into()),
                        },
                        ValueRef::Null | ValueRef::Blob(_) => continue,
                    };
                    new.insert(column.to_owned(), value);
                }
                let key = id(&new);
                while let Some(gone) = old.next_if(|row| id(row) < key) {
                    desk.remove(name, &id(&gone))?;
                }
                if old.next_if(|row| id(row) == key).is_none_or(|old| *old != new) {
                    desk.put(name, &key, new)?;
                }
            }
            for gone in old {
                desk.remove(name, &id(&gone))?;
            }
        }
        Ok(())
    }
}

/// The names of all columns, the key's first.
fn names(columns: &'static [(&'static str, &'static str)]) -> impl Iterator<Item = &'static str> {
    std::iter::once("id").chain(columns.iter().map(|(column, _)| *column))
}

fn cell(value: Option<&Value>) -> rusqlite::types::Value {
    use rusqlite::types::Value as Cell;
    match value {
        Some(Value::String(text)) => Cell::Text(text.clone()),
        Some(Value::Number(n)) => {
            n.as_i64().map_or_else(|| n.as_f64().map_or(Cell::Null, Cell::Real), Cell::Integer)
        }
        _ => Cell::Null,
    }
}

fn may(context: &AuthContext<'_>, rights: u8) -> Authorization {
    let allowed = rights == 0
        || match context.action {
            AuthAction::Select | AuthAction::Recursive => true,
            AuthAction::Read { table_name, .. } => !table_name.starts_with("sqlite_"),
            AuthAction::Function { function_name } => {
                FUNCTIONS.iter().any(|known| known.eq_ignore_ascii_case(function_name))
            }
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. } => rights == 2 && !table_name.starts_with("sqlite_"),
            _ => false,
        };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}
