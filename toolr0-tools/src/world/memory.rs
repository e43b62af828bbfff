//! Facts under keys, as an assistant keeps them about its user.

use serde_json::Value;

use super::desk::{row, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "memory",
    fill: |draw| {
        draw.named(
            "facts",
            &["favourite colour", "home town", "pet name", "shoe size", "coffee", "birthday"],
            |draw, key| {
                let value = match key {
                    "home town" => draw.city().to_owned(),
                    "pet name" => draw.pick(&["Rex", "Luna", "Milo"]).to_owned(),
                    "shoe size" => draw.int(36..=46).to_string(),
                    "coffee" => draw.pick(&["black", "with milk"]).to_owned(),
                    "birthday" => draw.date(),
                    _ => draw.pick(&["red", "green", "blue"]).to_owned(),
                };
                row! {value: value}
            },
        );
    },
    tools: &[
        write("store_fact(key: string, value: string)", "Remember a new fact under a key.", |desk, args| {
            if desk.has("facts", args.text("key"))? {
                return Err("there is a fact under this key; change it instead".into());
            }
            desk.put("facts", args.text("key"), args.row(["value"]))
        }),
        write(
            "change_fact(key: string, value: string)",
            "Replace what is remembered under a key.",
            |desk, args| desk.change("facts", args.text("key"), args.row(["value"])),
        ),
        read("recall_fact(key: string)", "Tell what is remembered under a key.", |desk, args| {
            Ok(desk.get("facts", args.text("key"))?["value"].clone())
        }),
        write("forget_fact(key: string)", "Forget what is remembered under a key.", |desk, args| {
            desk.remove("facts", args.text("key"))
        }),
        read("search_facts(word: string)", "List the keys whose facts hold a word.", |desk, args| {
            let word = args.text("word").to_lowercase();
            let rows = desk.rows("facts", |fact| text(fact, "value").to_lowercase().contains(&word))?;
            Ok(rows.iter().map(|fact| text(fact, "id")).collect::<Value>())
        }),
    ],
};
