//! The picture that `toolr0 watch` draws: the state of a run on one screen of a terminal.

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};
use serde_json::Value;

use crate::chart::Unit;
use crate::figures::place;
use crate::run_log::{ROLES, RunLog, number, whole};

/// One accent to each role, as in the report.
fn color(role: &str) -> Color {
    if role == "generator" { Color::LightRed } else { Color::LightBlue }
}

const SOFT: Style = Style::new().fg(Color::DarkGray);

/// Draws the run.
fn draw(frame: &mut Frame<'_>, log: &RunLog) {
    let rows = [Constraint::Length(3), Constraint::Fill(3), Constraint::Fill(2), Constraint::Length(1)];
    let [top, middle, bottom, keys] = Layout::vertical(rows).areas(frame.area());
    let halves = || Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]);
    progress(frame, top, log);
    let [left, right] = halves().areas(middle);
    plot(frame, left, log, " reward ", "/reward", None);
    plot(frame, right, log, " p-hat ", "/success_rate", Some(log.frontier()));
    let [left, right] = halves().areas(bottom);
    frame.render_widget(boxed(" exam ", exam(log)), left);
    frame.render_widget(boxed(" now ", now(log)), right);
    frame.render_widget(Line::styled(" Ctrl-C ends this picture; the run goes on", SOFT), keys);
}

/// The picture as lines of text, with the terminal's codes for colours or without any.
pub(crate) fn picture(log: &RunLog, width: u16, height: u16, colored: bool) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, log));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let mut last = Color::Reset;
        let mut line = String::new();
        for cell in (0..width).filter_map(|x| buffer.cell((x, y))) {
            if colored && cell.fg != last {
                line.push_str(code(cell.fg));
                last = cell.fg;
            }
            line.push_str(cell.symbol());
        }
        text.push_str(line.trim_end());
        text.push_str(if colored { "\u{1b}[0m\u{1b}[K\n" } else { "\n" });
    }
    text
}

/// What a terminal takes for a colour of this picture.
fn code(color: Color) -> &'static str {
    match color {
        Color::LightRed => "\u{1b}[91m",
        Color::LightBlue | Color::Blue => "\u{1b}[94m",
        Color::DarkGray => "\u{1b}[90m",
        _ => "\u{1b}[0m",
    }
}

fn boxed(title: &'static str, lines: Vec<String>) -> Paragraph<'static> {
    let lines: Vec<Line<'static>> = lines.into_iter().map(|line| Line::from(printable(&line))).collect();
    Paragraph::new(lines).block(Block::bordered().title(title).border_style(SOFT))
}

/// Text of a run without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// How much of the run is done, by updates.
fn progress(frame: &mut Frame<'_>, area: Rect, log: &RunLog) {
    let setting = |key: &str| log.setting(key).unwrap_or(0.0);
    let of_one = setting("selfplay.generator_steps") + setting("selfplay.solver_steps");
    let planned = setting("selfplay.iterations") * of_one;
    let share = if 0.0 < planned { (log.steps.len() as f64 / planned).clamp(0.0, 1.0) } else { 0.0 };
    let at = log.steps.last().map_or("no update yet".to_owned(), |step| {
        let role = step["role"].as_str().unwrap_or_default();
        format!("iteration {}, {role} step {}", whole(step, "/iteration"), whole(step, "/step"))
    });
    let title = printable(&format!(" {} · from {} · {} ", log.root.display(), log.model(), log.state()));
    let gauge = Gauge::default()
        .block(Block::bordered().title(title).border_style(SOFT))
        .gauge_style(Style::new().fg(Color::Blue))
        .ratio(share)
        .label(printable(&format!("{at}   {:.0} %", 100.0 * share)));
    frame.render_widget(gauge, area);
}

/// The points of a line.
type Points = Vec<(f64, f64)>;

/// One value of both roles over the run.
fn plot(
    frame: &mut Frame<'_>,
    area: Rect,
    log: &RunLog,
    title: &'static str,
    pointer: &str,
    band: Option<(f64, f64)>,
) {
    let iterations = log.setting("selfplay.iterations").unwrap_or(0.0).max(log.iterations() as f64).max(1.0);
    let mut lines: Vec<(&str, usize, Points)> = Vec::new();
    for role in ROLES {
        for step in log.steps_of(role) {
            let Some(value) = number(step, pointer) else { continue };
            let (turn, point) = (whole(step, "/iteration"), (place(log, step), value));
            match lines.last_mut().filter(|(name, last, _)| *name == role && *last == turn) {
                Some((_, _, points)) => points.push(point),
                None => lines.push((role, turn, vec![point])),
            }
        }
    }
    let high = lines.iter().flat_map(|(_, _, points)| points).map(|p| p.1).fold(0.0, f64::max);
    let high = if band.is_some() { 1.0 } else { (1.1 * high).max(0.1) };
    let band: Vec<[(f64, f64); 2]> =
        band.into_iter().flat_map(|(a, b)| [a, b]).map(|y| [(0.0, y), (iterations, y)]).collect();
    let dataset = |points, style| {
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(points)
    };
    let mut sets: Vec<Dataset<'_>> = band.iter().map(|points| dataset(points, SOFT)).collect();
    for (i, (role, _, points)) in lines.iter().enumerate() {
        let set = dataset(points, Style::new().fg(color(role)));
        let first = lines[..i].iter().all(|(other, _, _)| other != role);
        sets.push(if first { set.name(*role) } else { set });
    }
    let labels: Vec<String> = (0..=iterations as usize).map(|i| i.to_string()).collect();
    let chart = Chart::new(sets)
        .block(Block::bordered().title(title).border_style(SOFT))
        .x_axis(Axis::default().bounds([0.0, iterations]).labels(labels).style(SOFT))
        .y_axis(Axis::default().bounds([0.0, high]).labels(["0".into(), format!("{high:.1}")]).style(SOFT));
    frame.render_widget(chart, area);
}

fn exam(log: &RunLog) -> Vec<String> {
    let row = |(iteration, report): &(usize, toolr0_rl::exam::ExamReport)| {
        let name = if *iteration == 0 { "base".to_owned() } else { format!("iteration {iteration}") };
        let bar = "█".repeat((20.0 * report.accuracy).round() as usize);
        let (low, high) = report.interval;
        let interval = format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high);
        format!("{name:12} {:>7}  ({interval})  {bar}", Unit::Share.show(report.accuracy))
    };
    match log.exams.as_slice() {
        [] => vec!["no exam yet".to_owned()],
        exams => exams.iter().map(row).collect(),
    }
}

/// The last update, and the last dataset.
fn now(log: &RunLog) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(step) = log.steps.last() {
        let value = |name: &str, pointer: &str| {
            let value = number(step, pointer).map_or("-".to_owned(), |x| Unit::Number.show(x));
            format!("{name} {value}")
        };
        let terms = step["reward_terms"].as_object().into_iter().flatten();
        let terms: Vec<String> = terms
            .map(|(name, x)| format!("{name} {}", x.as_f64().map_or("-".into(), |x| Unit::Number.show(x))))
            .collect();
        lines.push(format!("{}: {}", value("reward", "/reward"), terms.join(" + ")));
        let stats = [
            value("entropy", "/update/stats/entropy"),
            value("KL", "/update/stats/kl"),
            value("clip", "/update/stats/clip/region"),
            value("grad norm", "/update/grad_norm"),
        ];
        lines.push(stats.join("  "));
        let speed = [value("tokens/s", "/tokens_per_second"), value("s/step", "/seconds")];
        lines.push(format!("{}  {}", value("flat groups", "/zero_variance"), speed.join("  ")));
        let mut faults: Vec<(&String, u64)> = step["faults"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, n)| (k, n.as_u64().unwrap_or(0)))
            .collect();
        faults.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let faults: Vec<String> = faults.iter().take(4).map(|(name, n)| format!("{n} {name}")).collect();
        lines.push(format!("faults: {}", if faults.is_empty() { "none".into() } else { faults.join(", ") }));
    }
    if let Some(data) = log.datasets.last() {
        let kept = |stage: &Value| {
            let dropped: u64 =
                stage["drops"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
            stage["entered"].as_u64().unwrap_or(0).saturating_sub(dropped)
        };
        let stages = data["funnel"].as_array().map_or(&[][..], Vec::as_slice);
        let entered = stages.first().map_or(0, |stage| stage["entered"].as_u64().unwrap_or(0));
        let steps: Vec<String> = std::iter::once(entered.to_string())
            .chain(stages.iter().map(|s| format!("{} {}", kept(s), s["name"].as_str().unwrap_or_default())))
            .collect();
        lines.push(format!("tasks of iteration {}:", whole(data, "/iteration")));
        lines.push(format!("  {}", steps.join(" > ")));
    }
    if lines.is_empty() {
        lines.push("nothing yet".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_fits_on_any_screen() {
        let home = tempfile::tempdir().unwrap();
        let lines = [
            r#"{"record":"exam","iteration":0,"report":{"items":4,"solved":1,"accuracy":0.25,"interval":[0.1,0.6],"parse_rate":1.0,"errors":{"format":0,"tool_name":0,"argument_names":0,"argument_values":0,"n_calls":0},"correct":[true,false,false,false]}}"#,
            r#"{"record":"step","iteration":1,"role":"generator","step":1,"reward":1.5,"reward_terms":{"format":1.0,"bad\u001b[2J":0.5},"success_rate":0.4,"faults":{"no_call":2}}"#,
            r#"{"record":"dataset","iteration":1,"funnel":[{"name":"parse","entered":9,"drops":{"x":2}}]}"#,
        ];
        std::fs::write(home.path().join("metrics.jsonl"), lines.join("\n")).unwrap();
        let log = RunLog::open(home.path()).unwrap();
        let text = picture(&log, 110, 40, false);
        for part in [
            "not finished",
            "25.0 %",
            "iteration 1, generator step 1",
            "2 no_call",
            "9 > 7 parse",
            "reward 1.5",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
        // The colours are the only codes, whatever the run's texts hold.
        let colored = picture(&log, 110, 40, true);
        let codes: Vec<&str> = colored.split('\u{1b}').skip(1).collect();
        let known = ["[0m", "[K", "[90m", "[91m", "[94m"];
        assert!(codes.iter().all(|code| known.iter().any(|known| code.starts_with(known))));
        for (width, height) in [(1, 1), (20, 5), (40, 10), (300, 90)] {
            picture(&log, width, height, false);
        }
        let nothing = RunLog::default();
        assert!(picture(&nothing, 110, 40, false).contains("no exam yet"));
    }
}
