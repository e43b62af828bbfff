//! `toolr0 eval`: how good a model is, on the exam or on benchmark questions, and whether another is better.

mod answers;
mod compare;
mod examiner;
mod sheet;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;
use toolr0_curriculum::Drops;
use toolr0_reward::{Question, Style};
use toolr0_rl::config::EndpointConfig;

use self::answers::Answers;
use self::compare::{compare, comparison_table};
use self::examiner::Examiner;
use self::sheet::{Sheet, table};
use crate::args::{Eval, Global, OnBadLine};
use crate::bench;
use crate::config;
use crate::endpoint::{Endpoint, EndpointFlags};
use crate::model;
use crate::ui::{Screen, out};

/// Questions of a held-out set without `--limit`: half an interval of 5 points.
const HELD_OUT: usize = 300;

/// Answers to every question, judged.
pub(crate) fn run(args: &Eval, global: Global) -> Result<ExitCode> {
    let clock = Instant::now();
    let mut screen = Screen::new(global);
    let splits = questions(args)?;
    let bad = || splits.iter().flat_map(|split| &split.bad);
    let mistyped = || splits.iter().flat_map(|split| &split.mistyped);
    if let (OnBadLine::Stop, Some(first)) = (args.bad_lines, bad().chain(mistyped()).next()) {
        bail!("{first}");
    }
    bad().for_each(|bad| screen.warn(bad));
    mistyped().for_each(|wrong| screen.warn(&format!("{wrong}, in every answer; asked all the same")));
    let names = if args.compare.is_empty() { vec![args.model.clone()] } else { subjects(&args.compare)? };
    let endpoint = served(&args.endpoint)?;
    let mut answers = Answers::open(args.out.as_deref(), args.resume)?;
    let mut sit = |mut examiner: Examiner, parameters| -> Result<Report> {
        let sheets = splits.iter().map(|split| examiner.examine(split, &mut screen, &mut answers));
        let sheets = sheets.collect::<Result<Vec<_>>>().with_context(|| match &args.out {
            Some(path) => format!("what was answered is in {}; --resume goes on with it", path.display()),
            None => "nothing was kept: there is no --out".to_owned(),
        })?;
        examiner.missed().iter().for_each(|missed| screen.warn(missed));
        let Examiner { model, style, unknown, .. } = examiner;
        Ok(Report { model, parameters, style, unknown, sheets })
    };
    let mut reports = Vec::new();
    match endpoint {
        Some(endpoint) => reports.push(sit(Examiner::outside(args, endpoint)?, None)?),
        None => {
            for name in names {
                let checkpoint = model::load(&name, &Screen::new(global))?;
                let parameters = checkpoint.tensors.values().map(|t| t.elem_count()).sum();
                reports.push(sit(Examiner::here(args, &name, &checkpoint)?, Some(parameters))?);
            }
        }
    }
    if let Some(unused) = answers.unused() {
        screen.warn(&unused);
    }
    let seconds = clock.elapsed().as_secs_f64();
    out(&if global.json { format!("{}\n", to_json(&reports, seconds)) } else { text(&reports, seconds) })?;
    Ok(ExitCode::SUCCESS)
}

/// The server that the flags name, if they name one.
fn served(flags: &EndpointFlags) -> Result<Option<Endpoint>> {
    let sets = flags.sets("");
    match (&flags.endpoint, sets.first()) {
        (None, None) => Ok(None),
        (None, Some(set)) => bail!("a setting of an endpoint ({set}) needs --endpoint"),
        (Some(_), _) => {
            let config: EndpointConfig = config::set_all(EndpointConfig::default(), &sets)?;
            Ok(Some(Endpoint::connect(&config)?))
        }
    }
}

/// What one model did.
struct Report {
    model: String,
    /// `None` for a served model.
    parameters: Option<usize>,
    style: Style,
    /// Answers that did not come, by reason.
    unknown: Drops,
    sheets: Vec<Sheet>,
}

impl Report {
    fn to_json(&self) -> serde_json::Value {
        let all = Sheet::sum(&self.sheets);
        json!({
            "model": self.model,
            "parameters": self.parameters,
            "style": self.style,
            "items": all.items,
            "samples": all.samples,
            "solved": all.solved,
            "accuracy": all.accuracy,
            "interval": all.interval,
            "pass_at": all.pass_at,
            "bad_lines": all.faulty.bad_lines,
            "mistyped_answers": all.faulty.mistyped_answers,
            "unanswered": all.unasked.unanswered,
            "unknown": self.unknown,
            "splits": self.sheets,
        })
    }
}

fn to_json(reports: &[Report], seconds: f64) -> serde_json::Value {
    let mut value = match reports {
        [only] => only.to_json(),
        [first, others @ ..] => json!({
            "models": reports.iter().map(Report::to_json).collect::<Vec<_>>(),
            "comparisons": others.iter().map(|other| json!({
                "from": first.model,
                "to": other.model,
                "splits": compare(&first.sheets, &other.sheets),
            })).collect::<Vec<_>>(),
        }),
        [] => json!({}),
    };
    value["seconds"] = json!(seconds);
    value
}

fn text(reports: &[Report], seconds: f64) -> String {
    let mut text = String::new();
    for report in reports {
        if 1 < reports.len() {
            text.push_str(&format!("{}\n", report.model));
        }
        text.push_str(&table(&report.sheets));
    }
    let (first, others) = reports.split_first().expect("at least one model was asked for");
    for other in others {
        text.push_str(&format!("\n{} against {}\n", other.model, first.model));
        text.push_str(&comparison_table(&compare(&first.sheets, &other.sheets)));
    }
    text + &format!("{seconds:.1} s\n")
}

/// The models that `--compare` names: a run directory stands for its base and its iterations.
fn subjects(names: &[String]) -> Result<Vec<String>> {
    let mut subjects = Vec::new();
    for name in names {
        let dir = Path::new(name);
        match dir.join("config.yaml").exists() && dir.join("solver").is_dir() {
            true => subjects.extend(iterations(dir)?),
            false => subjects.push(name.clone()),
        }
    }
    match subjects.len() {
        0 | 1 => bail!("--compare needs two models, or a run directory"),
        _ => Ok(subjects),
    }
}

/// The base of a run, then the solver of each iteration that was kept, or else the last.
fn iterations(run: &Path) -> Result<Vec<String>> {
    let config = run.join("config.yaml");
    let read = || format!("failed to read {}", config.display());
    let text = std::fs::read_to_string(&config).with_context(read)?;
    let values: serde_yaml::Value = serde_yaml::from_str(&text).with_context(read)?;
    let base = values.get("model").and_then(serde_yaml::Value::as_str).unwrap_or(model::EMBEDDED);
    let kept = (1..).map(|i| run.join(format!("iteration-{i}"))).take_while(|folder| folder.is_dir());
    let mut solvers: Vec<PathBuf> =
        kept.map(|folder| folder.join("solver")).filter(|dir| dir.is_dir()).collect();
    if solvers.is_empty() {
        solvers.push(run.join("solver"));
    }
    Ok(std::iter::once(base.to_owned()).chain(solvers.iter().map(|dir| dir.display().to_string())).collect())
}

/// The questions of one row of the table.
struct Split {
    suite: String,
    name: String,
    questions: Vec<Question>,
    bad: Vec<String>,
    mistyped: Vec<String>,
}

fn questions(args: &Eval) -> Result<Vec<Split>> {
    let limit = args.limit.map(|n| n as usize);
    let Some(dir) = &args.bench else {
        let n = limit.unwrap_or(HELD_OUT);
        let (name, tasks) = (args.questions.to_string(), args.questions.draw(n));
        let questions = tasks.into_iter().map(Question::Task).collect();
        let (bad, mistyped) = (Vec::new(), Vec::new());
        return Ok(vec![Split { suite: "toolr0".into(), name, questions, bad, mistyped }]);
    };
    let splits = bench::read(dir)?.into_iter().map(|split| {
        let items = split.items.into_iter().take(limit.unwrap_or(usize::MAX));
        let questions = items.map(|item| Question::Item(Box::new(item))).collect();
        let bench::Split { suite, name, bad, mistyped, .. } = split;
        Split { suite, name, questions, bad, mistyped }
    });
    Ok(splits.collect())
}
