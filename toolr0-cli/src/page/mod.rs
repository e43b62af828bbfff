//! The report: one HTML file that needs nothing else, for a screen of any size, by day and by night.
//!
//! Nearly all of its text comes from a model or a run: everything passes through [`escape`], and the page's own policy
//! lets no other script run and nothing be fetched.

mod samples;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use sha2::{Digest, Sha256};

use crate::chart::{Table, Unit, escape};
use crate::figures::{Section, sections, words};
use crate::report::ExamResult;
use crate::run_log::RunLog;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole file.
pub(crate) fn page(log: &RunLog) -> String {
    let sections = sections(log);
    let tasks = samples::browser(log);
    let mut body = header(log);
    body.push_str("<nav aria-label=\"Contents\">");
    for title in sections.iter().map(|s| s.title).chain((!tasks.is_empty()).then_some(samples::TITLE)) {
        let _ = write!(body, "<a href=\"#{}\">{title}</a>", anchor(title));
    }
    body.push_str("</nav>\n<main>\n");
    sections.iter().for_each(|section| body.push_str(&section_html(section)));
    body.push_str(&tasks);
    body.push_str("</main>\n");
    let _ = writeln!(
        body,
        "<footer>Written by toolr0 {} from {}. {}</footer>",
        env!("CARGO_PKG_VERSION"),
        escape(&log.root.display().to_string()),
        match log.unreadable {
            0 => String::new(),
            n => format!("{n} lines of its log could not be read."),
        }
    );
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
         script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} · toolr0</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}<script>{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&name(log))
    )
}

/// The run's name: the last part of its path.
fn name(log: &RunLog) -> String {
    let path = log.root.canonicalize().unwrap_or_else(|_| log.root.clone());
    path.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

/// What the run came to, in a few large numbers.
fn header(log: &RunLog) -> String {
    let seed = log.setting("seed").map_or(String::new(), |seed| format!(", seed {seed:.0}"));
    let reports: Vec<_> = log.exams.iter().map(|(_, report)| report.clone()).collect();
    let exam = ExamResult::new(&reports, None);
    let mut text = format!(
        "<header>\n<h1>{}</h1>\n<p>Self-play from <b>{}</b>{seed}; {}.</p>\n<dl>\n",
        escape(&name(log)),
        escape(log.model()),
        log.state()
    );
    let mut tile = |term: &str, value: String, more: String| {
        let _ =
            writeln!(text, "<div><dt>{term}</dt><dd>{}</dd><dd>{}</dd></div>", escape(&value), escape(&more));
    };
    if let Some(exam) = &exam {
        let interval = |s: &crate::report::Sitting| {
            format!("{} to {}", Unit::Share.show(s.interval.0), Unit::Share.show(s.interval.1))
        };
        tile("Base", Unit::Share.show(exam.base.accuracy), interval(&exam.base));
        if let Some(last) = exam.iterations.last() {
            tile(&format!("Iteration {}", last.iteration), Unit::Share.show(last.accuracy), interval(last));
            let relative =
                exam.relative_gain.map_or(String::new(), |gain| format!("{:+.0} % relative", 100.0 * gain));
            tile("Gain", format!("{:+.1} points", 100.0 * exam.gain), relative);
            tile("McNemar", format!("p = {:.1e}", exam.p_value), format!("{} questions", exam.items));
        }
    }
    let steps: f64 = log.steps.iter().filter_map(|step| step["seconds"].as_f64()).sum();
    let (seconds, which) = match log.result["seconds"].as_f64() {
        Some(seconds) => (seconds, "whole run"),
        None => (steps, "updates so far"),
    };
    tile("Time", duration(seconds), which.to_owned());
    if !log.alarms.is_empty() {
        let names: BTreeSet<&str> = log.alarms.iter().filter_map(|alarm| alarm["alarm"].as_str()).collect();
        let names: Vec<String> = names.into_iter().map(words).collect();
        tile("Alarms", log.alarms.len().to_string(), names.join(", "));
    }
    text.push_str("</dl>\n</header>\n");
    text
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn section_html(section: &Section) -> String {
    let mut text = format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n<div class=\"grid\">\n",
        anchor(section.title),
        section.title
    );
    for figure in &section.figures {
        let title = escape(&figure.title);
        let _ = write!(
            text,
            "<figure id=\"fig-{}\">\n<figcaption><h3>{title}</h3><p>{}</p></figcaption>\n{}\n{}</figure>\n",
            escape(&figure.name),
            escape(figure.about),
            figure.chart.svg(&figure.title),
            table(&figure.chart.table(), &title)
        );
    }
    text.push_str("</div>\n</section>\n");
    text
}

/// A table that opens on demand. `title` is safe already.
fn table(table: &Table, title: &str) -> String {
    let mut text = format!(
        "<details class=\"numbers\"><summary>Numbers</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\"><table><thead><tr>"
    );
    table.head.iter().for_each(|cell| _ = write!(text, "<th scope=\"col\">{}</th>", escape(cell)));
    text.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        text.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let (open, close) = if i == 0 { ("<th scope=\"row\">", "</th>") } else { ("<td>", "</td>") };
            let _ = write!(text, "{open}{}{close}", escape(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div></details>\n");
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    const HOSTILE: &str =
        "</title></script><script>alert(1)</script><img src=x onerror=alert(2)> \" onload='x' \u{202e}";

    /// A run whose every text is an attack.
    fn hostile(root: &Path) {
        let task = json!({"question": HOSTILE, "tools": [{"name": HOSTILE, "description": HOSTILE,
            "parameters": {"type": "object", "properties": {HOSTILE: {"type": HOSTILE}}, "required": [HOSTILE]}}],
            "gold": [{"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}]});
        let candidate = json!({"task": task, "spec": {"domain": HOSTILE, "context": "single_turn", "n_tools": 1, "n_calls": 1},
            "attempts": {"solved": 1, "tried": 2}});
        let lines = [
            json!({"record": "step", "iteration": 1, "role": "generator", "step": 1, "reward": 1.0, "success_rate": 0.5,
                "reward_terms": {HOSTILE: 0.5}, "faults": {HOSTILE: 3}, "p_hat": [1, 0, 2], "seconds": 1.0}),
            json!({"record": "dataset", "iteration": 1, "tasks": 1, "seconds": 2.0, "domains": {HOSTILE: 1},
                "funnel": [{"name": HOSTILE, "entered": 9, "drops": {HOSTILE: 8}}]}),
            json!({"record": "samples", "iteration": 1, "tasks": [{"place": 1, "candidate": candidate.clone(),
                "answers": [{"text": HOSTILE, "solved": true}, {"text": HOSTILE, "solved": false}]}]}),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(root.join("metrics.jsonl"), text).unwrap();
        std::fs::create_dir_all(root.join("iteration-1")).unwrap();
        std::fs::write(root.join("iteration-1/tasks.jsonl"), format!("{candidate}\n")).unwrap();
        let model = Value::from(HOSTILE);
        std::fs::write(root.join("config.yaml"), format!("model: {model}\n")).unwrap();
    }

    #[test]
    fn nothing_that_a_model_wrote_is_markup() {
        let home = tempfile::tempdir().unwrap();
        hostile(home.path());
        let html = page(&RunLog::open(home.path()).unwrap());
        let shown = html.matches("&lt;script&gt;alert(1)").count();
        assert!(12 <= shown, "the attacks are shown as text, {shown} times");
        assert_eq!(html.matches("<script").count(), 1, "the page's own");
        assert!(!html.contains("<img") && !html.contains('\u{202e}'));
        // Every tag is one of the page's own.
        let known = [
            "a",
            "b",
            "body",
            "circle",
            "code",
            "dd",
            "details",
            "div",
            "dl",
            "dt",
            "figcaption",
            "figure",
            "footer",
            "g",
            "h1",
            "h2",
            "h3",
            "head",
            "header",
            "html",
            "input",
            "label",
            "li",
            "link",
            "main",
            "meta",
            "nav",
            "ol",
            "option",
            "p",
            "path",
            "pre",
            "rect",
            "script",
            "section",
            "select",
            "span",
            "style",
            "summary",
            "svg",
            "table",
            "tbody",
            "td",
            "text",
            "th",
            "thead",
            "title",
            "tr",
            "ul",
        ];
        let body = html.split_once("</style>").unwrap().1.split_once("<script>").unwrap().0;
        for tag in body.split('<').skip(1) {
            let name: String =
                tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
            assert!(known.contains(&name.as_str()), "a tag <{name}");
        }
    }

    #[test]
    fn a_page_fetches_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("metrics.jsonl"), "").unwrap();
        let html = page(&RunLog::open(home.path()).unwrap());
        for reference in ["http:", "https:", "src=", "url(", "@import"] {
            assert!(!html.contains(reference), "the page refers to {reference}");
        }
        assert!(html.contains("not finished"));
    }
}
