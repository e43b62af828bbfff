//! What the updates of both roles say: rewards, optimisation, cost.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::chart::{Bars, Chart, Lines, Point, Row, Series, Tone, Unit};
use crate::run_log::{ROLES, RunLog, number, whole};

use super::{Figure, called, iteration_ticks, place, whole_run, words};

fn tone(role: &str) -> Tone {
    if role == "generator" { Tone::Generator } else { Tone::Solver }
}

/// One value of each step of one role; the line breaks between iterations, where the other role has its turn.
pub(super) fn series(
    log: &RunLog,
    role: &str,
    name: String,
    dash: usize,
    value: impl Fn(&Value) -> Option<f64>,
) -> Series {
    let mut points = Vec::new();
    let mut last = None;
    for step in log.steps_of(role) {
        let iteration = whole(step, "/iteration");
        let (x, label) = (place(log, step), called(step));
        if last.is_some_and(|last| last != iteration) {
            points.push(Point { x, label: label.clone(), y: None, interval: None });
        }
        points.push(Point { x, label, y: value(step), interval: None });
        last = Some(iteration);
    }
    // A break must not hide the value that follows it at the same place.
    points.iter_mut().filter(|p| p.y.is_none()).for_each(|p| p.x = f64::NAN);
    Series { name, tone: tone(role), dash, dots: false, points }
}

fn lines(log: &RunLog, unit: Unit, series: Vec<Series>) -> Chart {
    let measured = |s: &Series| s.points.iter().any(|p| p.y.is_some());
    let series = series.into_iter().filter(measured).collect();
    Chart::Lines(Lines {
        x_label: "step",
        unit,
        x_ticks: iteration_ticks(log),
        x_range: whole_run(log),
        band: None,
        series,
    })
}

/// The same value of both roles.
fn both(log: &RunLog, unit: Unit, pointer: &str) -> Chart {
    let of = |role: &&str| series(log, role, (*role).to_owned(), 0, |step| number(step, pointer));
    lines(log, unit, ROLES.iter().map(of).collect())
}

pub(super) fn rewards(log: &RunLog) -> Vec<Figure> {
    let total = "Mean of each step. In every iteration the generator learns first, then the solver; each has half of it.";
    let mut figures =
        vec![Figure::new("rewards", "Rewards of both roles", total, both(log, Unit::Number, "/reward"))];
    for role in ROLES {
        let names: BTreeSet<String> = log
            .steps_of(role)
            .filter_map(|step| step["reward_terms"].as_object())
            .flat_map(|terms| terms.keys().cloned())
            .collect();
        let part = |(i, name): (usize, &String)| {
            series(log, role, name.clone(), i, move |step| step["reward_terms"][name.as_str()].as_f64())
        };
        let chart = lines(log, Unit::Number, names.iter().enumerate().map(part).collect());
        let about = "The terms that add up to the reward, each already weighted.";
        figures.push(Figure::new(
            format!("rewards-{role}"),
            format!("Parts of the {role}'s reward"),
            about,
            chart,
        ));
    }
    figures
}

pub(super) fn optimisation(log: &RunLog) -> Vec<Figure> {
    [
        (
            "entropy",
            "Entropy",
            "Of a token, nats; a fall to 0 is a collapse.",
            Unit::Number,
            "/update/stats/entropy",
        ),
        ("kl", "KL to the base", "Of a token, nats.", Unit::Number, "/update/stats/kl"),
        (
            "clip",
            "Clipped tokens",
            "Share whose gradient the clip took away.",
            Unit::Share,
            "/update/stats/clip/region",
        ),
        ("grad-norm", "Gradient norm", "Before clipping.", Unit::Number, "/update/grad_norm"),
        (
            "zero-variance",
            "Groups that teach nothing",
            "Share whose rewards are all equal.",
            Unit::Share,
            "/zero_variance",
        ),
        (
            "length",
            "Length of a completion",
            "Tokens, mean of each step.",
            Unit::Number,
            "/completion_tokens",
        ),
    ]
    .into_iter()
    .map(|(name, title, about, unit, pointer)| Figure::new(name, title, about, both(log, unit, pointer)))
    .collect()
}

pub(super) fn cost(log: &RunLog) -> Vec<Figure> {
    let sum = |role: &str, iteration: usize, pointer: &str| -> f64 {
        let of = log.steps_of(role).filter(|step| whole(step, "/iteration") == iteration);
        of.filter_map(|step| number(step, pointer)).sum()
    };
    let iterations = 1..=log.iterations();
    let dataset = |iteration: usize| {
        let of = log.datasets.iter().filter(|data| whole(data, "/iteration") == iteration);
        of.filter_map(|data| number(data, "/seconds")).sum::<f64>()
    };
    let kept = |iteration: usize| {
        let of = log.datasets.iter().filter(|data| whole(data, "/iteration") == iteration);
        of.map(|data| whole(data, "/tasks")).sum::<usize>()
    };
    let seconds = |i: usize| {
        let [generator, solver] = ROLES.map(|role| sum(role, i, "/seconds"));
        let values = vec![generator, dataset(i), solver];
        let before = generator + values[1];
        let note = match kept(i) {
            0 => String::new(),
            n => {
                format!("{:.2} s for each of {n} kept tasks, training of the solver aside", before / n as f64)
            }
        };
        Row { label: format!("iteration {i}"), values, note, ..Row::default() }
    };
    let tokens = |i: usize| Row {
        label: format!("iteration {i}"),
        values: ROLES.map(|role| sum(role, i, "/sampled_tokens")).to_vec(),
        ..Row::default()
    };
    let bars = |unit, parts: &[(&str, Tone)], rows: Vec<Row>| {
        let parts = parts.iter().map(|(name, tone)| ((*name).to_owned(), *tone)).collect();
        Chart::Bars(Bars { label: "iteration", unit, parts, stacked: true, rows })
    };
    let time = bars(
        Unit::Seconds,
        &[
            ("generator learns", Tone::Generator),
            ("tasks are made", Tone::Muted),
            ("solver learns", Tone::Solver),
        ],
        if log.steps.is_empty() { Vec::new() } else { iterations.clone().map(seconds).collect() },
    );
    let sampled = bars(
        Unit::Count,
        &[("generator, with probes", Tone::Generator), ("solver", Tone::Solver)],
        if log.steps.is_empty() { Vec::new() } else { iterations.map(tokens).collect() },
    );
    vec![
        Figure::new("seconds", "Time", "Wall time of each phase, the exam aside.", time),
        Figure::new("tokens", "Tokens sampled in training", "What the updates were learned from.", sampled),
    ]
}

/// What completions of a role got wrong in its first and its last iteration.
pub(super) fn faults(log: &RunLog, role: &str) -> Figure {
    const ROWS: usize = 12;
    let turns: BTreeSet<usize> = log.steps_of(role).map(|step| whole(step, "/iteration")).collect();
    let ends: BTreeSet<usize> = turns.first().into_iter().chain(turns.last()).copied().collect();
    let ends: Vec<usize> = ends.into_iter().collect();
    let mut shares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (at, iteration) in ends.iter().enumerate() {
        let steps = || log.steps_of(role).filter(|step| whole(step, "/iteration") == *iteration);
        let completions: f64 = steps().filter_map(|step| number(step, "/update/stats/rows")).sum();
        for (name, n) in steps().filter_map(|step| step["faults"].as_object()).flatten() {
            let share = n.as_f64().unwrap_or(0.0) / completions.max(1.0);
            shares.entry(words(name)).or_insert_with(|| vec![0.0; ends.len()])[at] += share;
        }
    }
    let mut rows: Vec<Row> =
        shares.into_iter().map(|(label, values)| Row { label, values, ..Row::default() }).collect();
    rows.sort_by(|a, b| b.values[0].total_cmp(&a.values[0]));
    rows.truncate(ROWS);
    let tones = [Tone::Muted, tone(role)];
    let parts = ends.iter().zip(tones).map(|(i, tone)| (format!("iteration {i}"), tone)).collect();
    let chart = Chart::Bars(Bars { label: "fault", unit: Unit::Share, parts, stacked: false, rows });
    let about = "The first thing that a completion got wrong, as a share of all completions of the iteration's updates.";
    Figure::new(
        format!("faults-{role}"),
        format!("Faults of the {role}, first and last iteration"),
        about,
        chart,
    )
}
