//! A company's database, asked and changed in SQL: an embedded SQLite over tables of the state.

use super::desk::{Args, row};
use super::sqlite::{Mode, Table, run};
use super::{World, read, write};

/// With an address of their own, by which an open database knows them.
static TABLES: [Table; 3] = [
    Table { name: "departments", columns: &[("city", "TEXT"), ("budget", "INTEGER")] },
    Table {
        name: "projects",
        columns: &[("title", "TEXT"), ("department", "TEXT"), ("status", "TEXT"), ("hours", "INTEGER")],
    },
    Table {
        name: "staff",
        columns: &[("name", "TEXT"), ("department", "TEXT"), ("salary", "INTEGER"), ("hired", "TEXT")],
    },
];

const DEPARTMENTS: [&str; 4] = ["sales", "research", "support", "legal"];

/// One of the tables.
fn table(args: Args<'_>) -> Result<&'static Table, String> {
    let name = args.text("table");
    let found = TABLES.iter().find(|table| table.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("there is no table {name}"))
}

pub(super) const WORLD: World = World {
    name: "sql",
    fill: |draw| {
        draw.named("departments", &DEPARTMENTS, |draw, _| {
            row! {city: draw.city(), budget: 1000 * draw.int(50..=400)}
        });
        draw.table("staff", "S", 12, |draw| {
            row! {
                name: draw.person(),
                department: draw.pick(&DEPARTMENTS),
                salary: 500 * draw.int(60..=180),
                hired: format!("20{:02}-{:02}-01", draw.int(10..=25), draw.int(1..=12)),
            }
        });
        draw.table("projects", "J", 6, |draw| {
            let title = format!(
                "{} {}",
                draw.pick(&["new", "small", "global", "quiet"]),
                draw.pick(&["website", "archive", "survey", "price list"])
            );
            row! {
                title: title,
                department: draw.pick(&DEPARTMENTS),
                status: draw.pick(&["planned", "running", "done"]),
                hours: 10 * draw.int(1..=60),
            }
        });
    },
    tools: &[
        read("list_tables()", "List the tables of the database and their columns.", |desk, _| {
            let mut found = serde_json::Map::new();
            for Table { name, columns } in &TABLES {
                desk.step(1)?;
                found.insert(
                    (*name).to_owned(),
                    std::iter::once("id").chain(columns.iter().map(|c| c.0)).collect(),
                );
            }
            Ok(found.into())
        }),
        read("describe_table(table: string)", "Tell a table's columns and their types.", |desk, args| {
            desk.step(1)?;
            let columns = table(args)?.columns;
            Ok(std::iter::once(("id", "TEXT"))
                .chain(columns.iter().copied())
                .map(|(column, kind)| (column.to_owned(), kind.into()))
                .collect::<serde_json::Map<_, _>>()
                .into())
        }),
        read(
            "count_rows(table: string, condition?: string)",
            "Count the rows of a table, or those of a condition in SQL.",
            |desk, args| {
                let name = table(args)?.name;
                let condition = match args.text("condition") {
                    "" => "1",
                    condition => condition,
                };
                let rows = run(
                    desk,
                    &TABLES,
                    &format!("SELECT count(*) AS n FROM {name} WHERE {condition}"),
                    Mode::Read,
                )?;
                Ok(rows[0]["n"].clone())
            },
        ),
        read("run_query(sql: string)", "Return the rows that a SELECT statement finds.", |desk, args| {
            run(desk, &TABLES, args.text("sql"), Mode::Read)
        }),
        write(
            "run_update(sql: string)",
            "Run an INSERT, UPDATE or DELETE statement and count the rows it changes.",
            |desk, args| run(desk, &TABLES, args.text("sql"), Mode::Write),
        ),
    ],
};
