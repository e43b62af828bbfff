//! `toolr0 crossplay`: tasks of every iteration's generator, tried by every iteration's solver.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::json;
use toolr0_curriculum::{SpecLaw, draw_specs};
use toolr0_model::SamplingConfig;
use toolr0_model::rng::Stream;
use toolr0_model::weights::save_text;
use toolr0_reward::stats::bootstrap_mean;
use toolr0_reward::{judge, verify, wire};
use toolr0_rl::config::Menu;
use toolr0_rl::{RunConfig, Sampler};
use toolr0_tools::{Task, TaskSpec};

use crate::args::{Crossplay, Global};
use crate::chart::{Cell, Chart, Heat, Tone};
use crate::commands;
use crate::config;
use crate::figures::Figure;
use crate::model;
use crate::ui::{Screen, out};

/// How often the tasks are drawn again for an interval.
const RESAMPLES: usize = 2000;

/// One generator's tasks against all solvers.
#[derive(Debug, Serialize)]
struct Played {
    /// `base` or the iteration.
    generator: String,
    /// Completions drawn from it, and how many of them were sound tasks.
    candidates: usize,
    sound: usize,
    /// Of them, those that were tried.
    tasks: usize,
    solvers: Vec<Rate>,
}

/// One solver's success on them.
#[derive(Debug, Serialize)]
struct Rate {
    solver: String,
    /// Mean share of right answers; `null` without tasks.
    rate: Option<f64>,
    /// Its 95 % interval, tasks drawn again.
    interval: Option<(f64, f64)>,
}

/// Measures the matrix and writes it into the run.
pub(crate) fn run(args: &Crossplay, global: Global) -> Result<()> {
    let (source, text) = config::read(&args.run.join("config.yaml").display().to_string())?;
    let setup = config::resolve(&source, &text, &[], None)?;
    if setup.run.menu == Menu::Given {
        bail!(
            "{} was played with given tools; crossplay asks for tasks with tools of their own",
            args.run.display()
        );
    }
    let iterations = kept(&args.run)?;
    let mut screen = Screen::new(global);
    let base = setup.model.unwrap_or_else(|| model::EMBEDDED.to_owned());
    let load = |role: &str, iteration: usize, screen: &Screen| -> Result<Sampler> {
        let name = match iteration {
            0 => base.clone(),
            i => args.run.join(format!("iteration-{i}/{role}")).display().to_string(),
        };
        let checkpoint =
            model::load(&name, screen).with_context(|| format!("the {role} of {}", called(iteration)))?;
        Ok(Sampler::new(&checkpoint, setup.run.rl.max_rows)?)
    };
    let root = Stream::root(args.seed).child("crossplay");
    let mut rows = Vec::new();
    let mut all_tasks = Vec::new();
    for i in 0..=iterations {
        screen.begin(&format!("tasks of {}", called(i)), args.candidates as usize);
        let generator = load("generator", i, &screen)?;
        let tasks =
            invent(&setup.run, &generator, args.candidates as usize, root.child("tasks"), &mut screen)?;
        let sound = tasks.len();
        let tasks: Vec<Task> = tasks.into_iter().take(args.tasks as usize).collect();
        rows.push(Played {
            generator: called(i),
            candidates: args.candidates as usize,
            sound,
            tasks: tasks.len(),
            solvers: Vec::new(),
        });
        all_tasks.push(tasks);
    }
    for j in 0..=iterations {
        let solver = load("solver", j, &screen)?;
        screen.begin(&format!("solver of {}", called(j)), rows.len());
        for (i, (row, tasks)) in rows.iter_mut().zip(&all_tasks).enumerate() {
            let stream = root.child("attempts").child(i);
            let shares = attempt(&setup.run, &solver, tasks, args.samples as usize, stream)?;
            let rate = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
            let interval = bootstrap_mean(&shares, RESAMPLES, args.seed);
            row.solvers.push(Rate { solver: called(j), rate, interval });
            screen.advance(i + 1, "");
        }
    }
    screen.end();
    let value = json!({"run": args.run, "seed": args.seed, "samples": args.samples, "generators": rows});
    save_text(&args.run.join("crossplay.json"), &format!("{}\n", serde_json::to_string_pretty(&value)?))?;
    commands::figures::write(&figure(&rows), &args.run, f32::from(commands::figures::SCALE))?;
    match global.json {
        true => out(&format!("{value}\n")),
        false => out(&format!(
            "{}crossplay.json, crossplay.svg and crossplay.png are in {}\n",
            table(&rows),
            args.run.display()
        )),
    }
}

fn called(iteration: usize) -> String {
    if iteration == 0 { "base".to_owned() } else { format!("iteration {iteration}") }
}

/// How many iterations were kept with both models.
fn kept(run: &Path) -> Result<usize> {
    let whole = |i: usize| {
        ["generator", "solver"]
            .iter()
            .all(|role| run.join(format!("iteration-{i}/{role}/config.json")).exists())
    };
    match (1..).take_while(|i| whole(*i)).last() {
        Some(n) => Ok(n),
        None => bail!(
            "{} keeps no models of its iterations: run `toolr0 selfplay` with --keep-iterations",
            run.display()
        ),
    }
}

/// Sound tasks of a generator, in the order of their specs. Every generator is asked for the same specs.
fn invent(
    run: &RunConfig,
    generator: &Sampler,
    n: usize,
    stream: Stream,
    screen: &mut Screen,
) -> Result<Vec<Task>> {
    let law = SpecLaw::new(run.spec.clone())?;
    let specs: Vec<TaskSpec> = draw_specs(&law, n, &mut stream.child("specs").rng());
    let ask = |(i, spec): (usize, &TaskSpec)| {
        (wire::generator::prompt(spec, run.style), vec![stream.child("sample").child(i)])
    };
    let prompts: Vec<_> = specs.iter().enumerate().map(ask).collect();
    let mut progress = |done: usize| {
        screen.advance(done, "");
        true
    };
    let groups = generator.sample(&prompts, &run.dataset.sampling, &mut progress)?;
    let read = |(group, spec): (&toolr0_rl::Group, &TaskSpec)| {
        let task = wire::generator::parse(&group.rollouts.first()?.text).ok()?;
        verify(&task, spec, &run.reward.generator.verify).ok()?;
        Some(task)
    };
    Ok(groups.iter().zip(&specs).filter_map(read).collect())
}

/// Of each task the share of the solver's samples that are right.
fn attempt(run: &RunConfig, solver: &Sampler, tasks: &[Task], k: usize, stream: Stream) -> Result<Vec<f64>> {
    let sampling = SamplingConfig { temperature: run.dataset.temperature, ..run.probe.sampling.clone() };
    let ask = |(i, task): (usize, &Task)| {
        let streams = (0..k).map(|sample| stream.child(i).child(sample)).collect();
        (wire::solver::prompt(&task.question, &task.tools, run.style), streams)
    };
    let prompts: Vec<_> = tasks.iter().enumerate().map(ask).collect();
    let groups = solver.sample(&prompts, &sampling, &mut |_| true)?;
    let share = |(task, group): (&Task, toolr0_rl::Group)| {
        let right = group.rollouts.iter().filter(|rollout| judge(task, &rollout.text).solved).count();
        right as f64 / k as f64
    };
    Ok(tasks.iter().zip(groups).map(share).collect())
}

/// A row a generator, a column a solver.
fn table(rows: &[Played]) -> String {
    let mut text = format!("{:14} {:>16}", "tasks of", "sound, tried");
    for rate in rows.first().map_or(&[][..], |row| &row.solvers) {
        let _ = write!(text, " {:>24}", format!("solver of {}", rate.solver));
    }
    text.push('\n');
    for row in rows {
        let _ = write!(
            text,
            "{:14} {:>16}",
            row.generator,
            format!("{} of {}, {}", row.sound, row.candidates, row.tasks)
        );
        for Rate { rate, interval, .. } in &row.solvers {
            let cell = match (rate, interval) {
                (Some(rate), Some((low, high))) => {
                    format!("{:.1} % ({:.1} to {:.1})", 100.0 * rate, 100.0 * low, 100.0 * high)
                }
                _ => "-".to_owned(),
            };
            let _ = write!(text, " {cell:>24}");
        }
        text.push('\n');
    }
    text
}

fn figure(rows: &[Played]) -> Figure {
    let cell = |rate: &Rate| {
        let (low, high) = rate.interval?;
        Some(Cell {
            shade: rate.rate?,
            text: format!("{:.0} %", 100.0 * rate.rate?),
            note: format!("({:.1} to {:.1} %)", 100.0 * low, 100.0 * high),
        })
    };
    let solvers = rows.first().map_or(&[][..], |row| &row.solvers);
    let chart = Chart::Heat(Heat {
        row_label: "tasks of",
        column_label: "solver of",
        tone: Tone::Solver,
        rows: rows.iter().map(|row| row.generator.clone()).collect(),
        columns: solvers.iter().map(|rate| rate.solver.clone()).collect(),
        cells: rows.iter().map(|row| row.solvers.iter().map(cell).collect()).collect(),
        band: None,
    });
    let about = "Mean share of right answers of each solver on the tasks of each generator.";
    Figure::new("crossplay", "Every generator against every solver", about, chart)
}
