//! `toolr0 export`: tasks for other programs.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use toolr0_model::weights::save_text;

use crate::args::{Export as Args, Global};
use crate::lessons;
use crate::openai::Export;
use crate::ui::out;

/// The columns. What is nested is JSON in a string: menus have no common schema that a table could have.
const SCHEMA: &str = "message tasks {
    REQUIRED BYTE_ARRAY id (UTF8);
    REQUIRED BYTE_ARRAY question (UTF8);
    REQUIRED BYTE_ARRAY messages (UTF8);
    REQUIRED BYTE_ARRAY tools (UTF8);
    REQUIRED BYTE_ARRAY gold (UTF8);
}";

/// Writes the tasks of a run or a file.
pub(crate) fn run(args: &Args, global: Global) -> Result<()> {
    if args.out.exists() {
        bail!("{} exists already; choose another file with --out", args.out.display());
    }
    let tasks = lessons::tasks(&args.tasks)?;
    let exports: Vec<Export> = tasks.iter().map(Export::new).collect();
    match args.out.extension().and_then(|end| end.to_str()) {
        Some("jsonl") => {
            let lines = exports.iter().map(|export| Ok(serde_json::to_string(export)? + "\n"));
            save_text(&args.out, &lines.collect::<Result<String>>()?)?;
        }
        Some("parquet") => {
            let column = |of: &dyn Fn(usize) -> String| (0..tasks.len()).map(of).collect::<Vec<_>>();
            let gold: Vec<String> =
                tasks.iter().map(|task| serde_json::to_string(&task.gold)).collect::<Result<_, _>>()?;
            let columns = [
                column(&|i| exports[i].id.clone()),
                column(&|i| tasks[i].question.clone()),
                column(&|i| exports[i].messages.to_string()),
                column(&|i| exports[i].tools.to_string()),
                gold,
            ];
            save_bytes(&args.out, &parquet(columns)?)?;
        }
        _ => bail!("{}: expected a name that ends with .jsonl or .parquet", args.out.display()),
    }
    match global.json {
        true => out(&format!("{}\n", serde_json::json!({"out": args.out, "tasks": tasks.len()}))),
        false => out(&format!("{} tasks in {}\n", tasks.len(), args.out.display())),
    }
}

/// One file of one group of rows.
fn parquet(columns: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    let mut rows = writer.next_row_group()?;
    for column in columns {
        let values: Vec<ByteArray> = column.into_iter().map(|text| text.into_bytes().into()).collect();
        let mut writer = rows.next_column()?.context("the schema has as many columns as are written")?;
        writer.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        writer.close()?;
    }
    rows.close()?;
    Ok(writer.into_inner()?)
}

/// Under another name first: a full disk leaves no half file.
fn save_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("parquet.part");
    let save = || std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    save()
        .inspect_err(|_| _ = std::fs::remove_file(&part))
        .with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    #[test]
    fn a_table_reads_back() {
        let columns = ["id", "question", "messages", "tools", "gold"];
        let text = |name: &str, i: usize| format!("{name} {i} \u{e9}");
        let bytes = parquet(columns.map(|name| (0..3).map(|i| text(name, i)).collect())).unwrap();
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 3);
        for (i, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let row = row.unwrap();
            let got: Vec<String> =
                row.get_column_iter().map(|(name, value)| format!("{name}={value}")).collect();
            let want: Vec<String> =
                columns.iter().map(|name| format!("{name}=\"{}\"", text(name, i))).collect();
            assert_eq!(got, want);
        }
    }
}
