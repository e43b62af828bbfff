//! Every block of code in the book and the README is tried: commands as far as their flags and files, configurations and
//! sweeps whole. The README's Rust is compiled by the doc tests of `benchmarks`; that of a page stands in some source file.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::args::{Cli, Command};
use crate::commands::selfplay::given_sets;
use crate::config::{read, resolve};
use crate::sweep;

/// A fenced block.
struct Block {
    /// File and line.
    place: String,
    language: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages of the book, the README and how to contribute.
fn pages() -> Vec<PathBuf> {
    let book = root().join("docs/src").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        book.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    pages.extend(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    pages.sort();
    pages
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for page in pages() {
        let mut open: Option<Block> = None;
        for (i, line) in std::fs::read_to_string(&page).unwrap().lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => {
                    let place = format!("{}:{}", page.file_name().unwrap().to_string_lossy(), i + 1);
                    open = Some(Block { place, language: language.to_owned(), text: String::new() });
                }
                (None, Some(block)) => block.text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{} ends inside a block", page.display());
    }
    blocks
}

/// The commands of a line: its parts between pipes and the like, comments and continuations apart.
fn commands(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let mut all = Vec::new();
    for line in joined.lines() {
        let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
        for letter in line.chars() {
            match (letter, quote) {
                (c, Some(q)) if c == q => quote = None,
                (c, Some(_)) => word.push(c),
                ('\'' | '"', None) => quote = Some(letter),
                ('#', None) if word.is_empty() => break,
                (c, None) if c.is_whitespace() => words.push(std::mem::take(&mut word)),
                ('|' | ';' | '&' | '>' | '<', None) => {
                    words.push(std::mem::take(&mut word));
                    words.push("\0".to_owned());
                    // What a line is written to or read from is no command.
                    if matches!(letter, '>' | '<') {
                        words.push("file".to_owned());
                    }
                }
                (c, None) => word.push(c),
            }
        }
        words.push(word);
        assert!(quote.is_none(), "an open quote in {line}");
        words.retain(|word| !word.is_empty());
        all.extend(
            words.split(|word| word == "\0").filter(|words| !words.is_empty()).map(<[String]>::to_vec),
        );
    }
    all
}

/// The flags of `toolr0`, its configuration and the settings on top of it.
#[track_caller]
fn check_toolr0(place: &str, words: &[String]) {
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{place}: {words:?}: {error}"));
    if let Command::Selfplay(args) = &cli.command {
        let name = args.config.as_deref().unwrap_or("nano");
        // A file of the reader's own is not here.
        let name = if name.contains('/') { root().join(name).display().to_string() } else { name.to_owned() };
        let name = if args
            .config
            .as_deref()
            .is_some_and(|own| own.starts_with("mine") || own.starts_with("runs/"))
        {
            "nano".to_owned()
        } else {
            name
        };
        let (source, text) = read(&name).unwrap_or_else(|error| panic!("{place}: {error:#}"));
        let sets = [&args.set[..], &given_sets(args)].concat();
        resolve(&source, &text, &sets, args.seed).unwrap_or_else(|error| panic!("{place}: {error:#}"));
    }
    if let Command::Ablate(args) = &cli.command
        && args.sweep.starts_with("benchmarks")
    {
        sweep::read(&root().join(&args.sweep)).unwrap_or_else(|error| panic!("{place}: {error:#}"));
    }
}

/// `cargo run`: the arguments behind `--`, or the example that is named.
#[track_caller]
fn check_cargo(place: &str, words: &[String]) {
    let after = |flag: &str| words.iter().position(|w| w == flag).and_then(|i| words.get(i + 1));
    match (after("--example"), after("-p"), words.iter().position(|word| word == "--")) {
        (Some(example), Some(package), _) => {
            let folder = package.replace("toolr0-benchmarks", "benchmarks");
            let places = ["examples", "ablations"].map(|dir| root().join(&folder).join(dir));
            let found = places.iter().any(|dir| dir.join(format!("{example}.rs")).exists());
            assert!(found, "{place}: there is no example {example} in {folder}");
        }
        (None, None, Some(at)) if words.get(1).is_some_and(|word| word == "run") => {
            let own: Vec<String> =
                std::iter::once("toolr0".to_owned()).chain(words[at + 1..].iter().cloned()).collect();
            check_toolr0(place, &own);
        }
        _ => {
            let known = [
                "run", "test", "build", "bench", "doc", "fmt", "clippy", "deny", "install", "fuzz",
                "+nightly",
            ];
            assert!(words.get(1).is_some_and(|word| known.contains(&word.as_str())), "{place}: {words:?}");
        }
    }
}

/// Whether these lines stand in some file of some room, one after the other, indented as it may be.
fn is_in_the_sources(text: &str) -> bool {
    let flat = |text: &str| text.lines().map(|line| format!("{}\n", line.trim())).collect::<String>();
    let (wanted, mut folders) = (flat(text), Vec::new());
    for room in root().read_dir().unwrap().map(|entry| entry.unwrap().path().join("src")) {
        folders.extend(room.is_dir().then_some(room));
    }
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                && flat(&std::fs::read_to_string(&path).unwrap()).contains(&wanted)
            {
                return true;
            }
        }
    }
    false
}

#[test]
fn every_block_of_the_book_is_sound() {
    let (mut tried, mut commands_tried) = (0, 0);
    for Block { place, language, text } in blocks() {
        tried += 1;
        match language.as_str() {
            "sh" => {
                for words in commands(&text) {
                    // Settings of the environment stand in front.
                    let at = words.iter().position(|word| !word.split('/').next().unwrap().contains('='));
                    let words = &words[at.unwrap_or(words.len())..];
                    match words.first().map(String::as_str) {
                        Some("toolr0") => check_toolr0(&place, words),
                        Some("cargo") => check_cargo(&place, words),
                        Some(
                            "cd" | "curl" | "tensorboard" | "jq" | "tail" | "echo" | "cat" | "python" | "pip"
                            | "file" | "man" | "mkdir" | ".ci/run" | "mdbook",
                        )
                        | None => {}
                        Some(script) if script.contains('/') => {
                            assert!(root().join(script).exists(), "{place}: there is no {script}");
                        }
                        Some(other) => panic!("{place}: {other} is not a command that the book explains"),
                    }
                    commands_tried += 1;
                }
            }
            "yaml" => {
                let value: serde_yaml::Value =
                    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
                if value.get("cells").is_some() || value.get("grid").is_some() {
                    let home = tempfile::tempdir().unwrap();
                    std::fs::write(home.path().join("sweep.yaml"), &text).unwrap();
                    sweep::read(&home.path().join("sweep.yaml"))
                        .unwrap_or_else(|error| panic!("{place}: {error:#}"));
                } else {
                    resolve(&place, &text, &[], None).unwrap_or_else(|error| panic!("{error:#}"));
                }
            }
            "json" => {
                for line in text.lines().filter(|line| !line.is_empty()) {
                    serde_json::from_str::<serde_json::Value>(line)
                        .or_else(|_| serde_json::from_str(&text))
                        .unwrap_or_else(|error| panic!("{place}: {error}"));
                }
            }
            // The README's Rust is compiled by a doc test; on a page it is a piece of what is compiled anyway.
            "rust" if place.starts_with("README.md") => {}
            "rust" => assert!(is_in_the_sources(&text), "{place}: this is in no source file"),
            "text" => {}
            other => panic!("{place}: a block in `{other}`, which nothing tries"),
        }
    }
    assert!(8 < tried && 30 < commands_tried, "{tried} blocks, {commands_tried} commands");
}

#[test]
fn commands_are_split_as_a_shell_does() {
    let split = commands("A=1 toolr0 x 'a b' # note\ntoolr0 y \\\n  --z > out.txt\necho '|' | jq .\n");
    let want: [&[&str]; 5] = [
        &["A=1", "toolr0", "x", "a b"],
        &["toolr0", "y", "--z"],
        &["file", "out.txt"],
        &["echo", "|"],
        &["jq", "."],
    ];
    assert_eq!(split, want.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()));
}

/// Every page of the book is in its summary, and nothing else is.
#[test]
fn the_summary_lists_every_page() {
    let summary = std::fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();
    let mut listed: Vec<String> =
        summary.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect();
    let mut pages: Vec<String> = root()
        .join("docs/src")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    listed.sort();
    pages.sort();
    assert_eq!(listed, pages);
}
