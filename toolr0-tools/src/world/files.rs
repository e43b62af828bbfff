//! A tree of text files, held in memory.

use serde_json::Value;

use super::desk::{row, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "files",
    fill: |draw| {
        for folder in ["docs", "notes", "reports"] {
            for name in ["plan.txt", "draft.txt", "todo.txt", "budget.txt"] {
                let words = format!(
                    "{} {}",
                    draw.pick(&["first", "second", "final"]),
                    draw.pick(&["version", "outline", "list"])
                );
                draw.named("files", &[&format!("{folder}/{name}")], |_, _| row! {text: words.as_str()});
            }
        }
    },
    tools: &[
        read("list_files(folder: string)", "List the paths of the files in a folder.", |desk, args| {
            let folder = format!("{}/", args.text("folder").trim_matches('/'));
            let rows = desk.rows("files", |file| text(file, "id").starts_with(&folder))?;
            Ok(rows.iter().map(|file| text(file, "id")).collect::<Value>())
        }),
        read("read_file(path: string)", "Tell what a file says.", |desk, args| {
            Ok(desk.get("files", args.text("path"))?["text"].clone())
        }),
        read("search_files(word: string)", "List the paths of the files that hold a word.", |desk, args| {
            let rows = desk.rows("files", |file| text(file, "text").contains(args.text("word")))?;
            Ok(rows.iter().map(|file| text(file, "id")).collect::<Value>())
        }),
        write(
            "write_file(path: string, text: string)",
            "Write a text into a new file or over an old one.",
            |desk, args| {
                let path = args.text("path");
                let odd = path.split('/').any(|part| matches!(part, "" | "." | ".."));
                if odd {
                    return Err(format!("{path} is no path such as docs/plan.txt").into());
                }
                desk.put("files", path, args.row(["text"]))
            },
        ),
        write(
            "copy_file(source: string, target: string)",
            "Copy a file to a path that is free.",
            |desk, args| {
                let source = desk.get("files", args.text("source"))?;
                if desk.has("files", args.text("target"))? {
                    return Err("the target is there already".into());
                }
                desk.put("files", args.text("target"), source.as_ref().clone())
            },
        ),
        write(
            "rename_file(source: string, target: string)",
            "Give a file another path that is free.",
            |desk, args| {
                if desk.has("files", args.text("target"))? {
                    return Err("another file has this path".into());
                }
                let Value::Object(file) = desk.remove("files", args.text("source"))? else {
                    return Ok(Value::Null);
                };
                desk.put("files", args.text("target"), file)
            },
        ),
        write("delete_file(path: string)", "Delete a file.", |desk, args| {
            desk.remove("files", args.text("path"))
        }),
    ],
};
