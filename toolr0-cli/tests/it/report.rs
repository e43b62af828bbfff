//! What a run is looked at with: the report, figures, the dashboard, the games of its iterations, sweeps.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{last_json, names, run, stderr, succeed, tiny};

/// A tiny run with all that can be shown, `home/r`.
fn play(home: &Path) -> PathBuf {
    let sets = ["--set", "generator.prompts=4", "--set", "generator.sampling.max_new_tokens=448"];
    let args = ["--quiet", "--seed", "3", "--out", "r", "--keep-iterations"];
    succeed(home, &tiny(&[args.as_slice(), &sets].concat()));
    home.join("r")
}

#[test]
fn a_run_can_be_looked_at_in_every_way() {
    let home = tempfile::tempdir().unwrap();
    let dir = play(home.path());
    let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
    for part in [
        "Exam accuracy by iteration",
        "The frontier over time",
        "Funnel of iteration 1",
        "Gradient norm",
        "attempts",
    ] {
        assert!(html.contains(part), "no {part}");
    }
    let wrong = "<b class=\"wrong\">wrong</b>";
    assert!(html.contains(wrong) || html.contains("<b class=\"right\">"), "the solver's attempts are there");
    let (charts, tables) = (html.matches("<svg class=\"chart\"").count(), html.matches("<table>").count());
    assert!(12 <= charts && charts == tables, "{charts} charts, {tables} tables");
    open_in_a_browser(&dir.join("report.html"));

    // The report can be written again, elsewhere, and of a run that is cut off in the middle of a line.
    assert_eq!(succeed(home.path(), &["report", "r", "--out", "again.html"]), "again.html\n");
    assert_eq!(std::fs::read_to_string(home.path().join("again.html")).unwrap(), html);
    let metrics = std::fs::read(dir.join("metrics.jsonl")).unwrap();
    let half = home.path().join("half");
    std::fs::create_dir(&half).unwrap();
    std::fs::write(half.join("metrics.jsonl"), &metrics[..metrics.len() / 2]).unwrap();
    succeed(home.path(), &["report", "half"]);
    assert!(std::fs::read_to_string(half.join("report.html")).unwrap().contains("not finished"));
    let none = run(home.path(), &["report", "."]);
    assert!(!none.status.success() && stderr(&none).contains("holds no run"), "{}", stderr(&none));

    // Figures: SVG with its own colours, and PNG.
    let files = succeed(
        home.path(),
        &["figures", "r", "--out", "fig", "--only", "exam-accuracy", "--only", "rewards"],
    );
    assert_eq!(files.lines().count(), 4);
    let pictures = ["exam-accuracy.png", "exam-accuracy.svg", "rewards.png", "rewards.svg"];
    assert_eq!(names(&home.path().join("fig")), pictures);
    let size = |args: &[&str]| {
        let only = ["figures", "r", "--out", "png", "--only", "exam-accuracy"];
        succeed(home.path(), &[&only[..], args].concat());
        let file = std::fs::read(home.path().join("png/exam-accuracy.png")).unwrap();
        assert!(file.starts_with(b"\x89PNG\r\n"));
        u32::from_be_bytes(file[16..20].try_into().unwrap())
    };
    assert_eq!((size(&[]), size(&["--scale", "3"])), (2 * 468, 3 * 468));
    let picture = std::fs::read_to_string(home.path().join("fig/rewards.svg")).unwrap();
    assert!(
        picture.starts_with("<svg xmlns=")
            && picture.contains("<style>")
            && picture.contains("class=\"line sol\"")
    );
    let unknown = run(home.path(), &["figures", "r", "--out", "fig", "--only", "nothing"]);
    assert!(
        !unknown.status.success() && stderr(&unknown).contains("it has exam-accuracy"),
        "{}",
        stderr(&unknown)
    );

    let picture = succeed(home.path(), &["watch", "r", "--once"]);
    for part in ["finished", "100 %", "reward", "p-hat", "iteration 1"] {
        assert!(picture.contains(part), "no {part} in {picture}");
    }
    assert_eq!(names(&dir.join("tensorboard")).len(), 1);

    // Generators against solvers.
    let few = ["crossplay", "r", "--candidates", "16", "--tasks", "4", "--samples", "2", "--json"];
    let played = last_json(&succeed(home.path(), &few));
    let rows = played["generators"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["generator"].as_str().unwrap()).collect::<Vec<_>>(),
        ["base", "iteration 1"]
    );
    for row in rows {
        assert_eq!(row["solvers"].as_array().unwrap().len(), 2);
        for rate in row["solvers"].as_array().unwrap() {
            let known = row["tasks"].as_u64().unwrap() > 0;
            assert_eq!(rate["rate"].is_f64() && rate["interval"].is_array(), known, "{row}");
        }
    }
    let again = last_json(&succeed(home.path(), &few));
    assert_eq!(again, played, "a seed decides everything");
    for file in ["crossplay.json", "crossplay.svg", "crossplay.png"] {
        assert!(dir.join(file).exists(), "no {file}");
    }
    std::fs::remove_dir_all(dir.join("iteration-1/solver")).unwrap();
    let gone = run(home.path(), &["crossplay", "r"]);
    assert!(!gone.status.success() && stderr(&gone).contains("--keep-iterations"), "{}", stderr(&gone));
}

/// Headless Chromium, if there is one: the page runs without a word on the console, and fits a phone.
fn open_in_a_browser(page: &Path) {
    let known = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let works = |name: &&&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    let Some(browser) = known.iter().find(works) else {
        eprintln!("skipped: there is no Chromium to open the report in");
        return;
    };
    let html = std::fs::read_to_string(page).unwrap();
    let inner = html.replace('&', "&amp;").replace('"', "&quot;");
    let measure = "onload = () => { const d = document.querySelector('iframe').contentDocument; const e = d.documentElement; \
                   document.title = 'fits ' + (e.scrollWidth <= e.clientWidth) + ' charts ' + d.querySelectorAll('svg.chart').length + \
                   ' tip ' + !!d.getElementById('tip') + ' end'; };";
    let phone = page.with_file_name("phone.html");
    std::fs::write(
        &phone,
        format!("<!doctype html><script>{measure}</script><iframe width=390 height=844 style=\"border:0\" srcdoc=\"{inner}\"></iframe>"),
    )
    .unwrap();
    let profile = page.with_file_name("profile");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--virtual-time-budget=4000",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", phone.display()))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let said: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(said.is_empty(), "the console says {said:#?}");
    let charts = html.matches("<svg class=\"chart\"").count();
    let want = format!("<title>fits true charts {charts} tip true end</title>");
    let title = dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or("none");
    assert!(dom.contains(&want), "expected {want}, got `{title}`\n{log}");
    std::fs::remove_file(phone).unwrap();
    let _ = std::fs::remove_dir_all(profile);
}

#[test]
fn a_sweep_goes_on_where_it_was_ended_and_past_what_fails() {
    let home = tempfile::tempdir().unwrap();
    let sets: String = crate::TINY.iter().map(|set| format!("  {}\n", set.replacen('=', ": ", 1))).collect();
    let sweep = format!(
        "set:\n{sets}cells:\n  full: {{}}\n  broken: {{probe.samples: 3}}\n  frozen: {{selfplay.generator_steps: 0}}\n"
    );
    std::fs::write(home.path().join("sweep.yaml"), sweep).unwrap();
    let args =
        ["ablate", "sweep.yaml", "--seeds", "1", "--out", "s", "--questions", "dev", "--quiet", "--json"];
    // A file where a run would have its folder: this run cannot begin.
    std::fs::create_dir_all(home.path().join("s/broken")).unwrap();
    std::fs::write(home.path().join("s/broken/seed-1"), "").unwrap();
    let failed = run(home.path(), &args);
    assert!(!failed.status.success() && stderr(&failed).contains("broken (seed 1)"), "{}", stderr(&failed));
    let cells = last_json(std::str::from_utf8(&failed.stdout).unwrap());
    let accuracy = |value: &Value, cell: usize| value["cells"][cell]["accuracy"].as_f64();
    assert!(
        accuracy(&cells, 0).is_some() && accuracy(&cells, 1).is_none() && accuracy(&cells, 2).is_some(),
        "{cells}"
    );

    let done = |cell: &str| {
        std::fs::metadata(home.path().join("s").join(cell).join("seed-1/result.json"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = [done("full"), done("frozen")];
    std::fs::remove_file(home.path().join("s/broken/seed-1")).unwrap();
    let whole = last_json(&succeed(home.path(), &args));
    assert_eq!([done("full"), done("frozen")], before, "what was finished is not run again");
    assert!(whole["failed"].as_array().unwrap().is_empty());
    for cell in 1..3 {
        assert!(
            whole["cells"][cell]["difference"]["mean"].is_f64() && whole["cells"][cell]["p_value"].is_f64()
        );
    }
    let files = ["ablation.png", "ablation.svg", "broken", "frozen", "full", "results.json", "table.md"];
    assert_eq!(names(&home.path().join("s")), files);
    std::fs::write(home.path().join("sweep.yaml"), "cells: {full: {}}\n").unwrap();
    let other = run(home.path(), &args);
    assert!(!other.status.success() && stderr(&other).contains("of another sweep"), "{}", stderr(&other));
}
