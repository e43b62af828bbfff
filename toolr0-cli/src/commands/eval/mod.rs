//! `toolr0 eval`: how good a model is, on the exam or on benchmark questions, and whether another is better.

mod answers;
mod compare;
mod sheet;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;
use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, SamplingConfig};
use toolr0_reward::question::Mark;
use toolr0_reward::{Question, Style};
use toolr0_rl::Sampler;
use toolr0_tools::Prompt;

use self::answers::{Answers, Line, fingerprint, key};
use self::compare::{compare, comparison_table};
use self::sheet::{Sheet, Unasked, table};
use crate::args::{Eval, Global, OnBadLine};
use crate::bench;
use crate::model;
use crate::ui::{Screen, out};

/// Rows decoded together; bounds memory, changes no answer.
const MAX_ROWS: usize = 64;
/// Questions asked in one go; what was answered before is on disk.
const CHUNK: usize = 256;
/// Questions of a held-out set without `--limit`: half an interval of 5 points.
const HELD_OUT: usize = 300;

/// Answers to every question, judged.
pub(crate) fn run(args: &Eval, global: Global) -> Result<ExitCode> {
    let clock = Instant::now();
    let mut screen = Screen::new(global);
    let splits = questions(args)?;
    let mut bad = splits.iter().flat_map(|split| &split.bad);
    if let (OnBadLine::Stop, Some(first)) = (args.bad_lines, bad.clone().next()) {
        bail!("{first}");
    }
    bad.by_ref().for_each(|bad| screen.warn(bad));
    let names = if args.compare.is_empty() { vec![args.model.clone()] } else { subjects(&args.compare)? };
    let mut answers = Answers::open(args.out.as_deref(), args.resume)?;
    let mut reports = Vec::new();
    for name in names {
        let checkpoint = model::load(&name, &screen)?;
        let examiner = Examiner::new(args, &name, &checkpoint)?;
        let sheets = splits.iter().map(|split| examiner.examine(split, &mut screen, &mut answers));
        let sheets = sheets.collect::<Result<Vec<_>>>()?;
        let parameters = checkpoint.tensors.values().map(|t| t.elem_count()).sum();
        reports.push(Report { model: name, parameters, style: examiner.style, sheets });
    }
    if let Some(unused) = answers.unused() {
        screen.warn(&unused);
    }
    let seconds = clock.elapsed().as_secs_f64();
    out(&if global.json { format!("{}\n", to_json(&reports, seconds)) } else { text(&reports, seconds) })?;
    Ok(ExitCode::SUCCESS)
}

/// What one model did.
struct Report {
    model: String,
    parameters: usize,
    style: Style,
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
            "bad_lines": all.bad_lines,
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
}

fn questions(args: &Eval) -> Result<Vec<Split>> {
    let limit = args.limit.map(|n| n as usize);
    let Some(dir) = &args.bench else {
        let n = limit.unwrap_or(HELD_OUT);
        let (name, tasks) = (args.questions.to_string(), args.questions.draw(n));
        let questions = tasks.into_iter().map(Question::Task).collect();
        return Ok(vec![Split { suite: "toolr0".into(), name, questions, bad: Vec::new() }]);
    };
    let splits = bench::read(dir)?.into_iter().map(|split| {
        let items = split.items.into_iter().take(limit.unwrap_or(usize::MAX));
        let questions = items.map(|item| Question::Item(Box::new(item))).collect();
        Split { suite: split.suite, name: split.name, questions, bad: split.bad }
    });
    Ok(splits.collect())
}

/// What there is to ask with.
struct Examiner {
    model: String,
    sampler: Sampler,
    style: Style,
    sampling: SamplingConfig,
    samples: usize,
    stream: Stream,
    max_position: usize,
    /// Of the model and of all settings that an answer depends on.
    fingerprint: String,
}

impl Examiner {
    fn new(args: &Eval, name: &str, checkpoint: &Checkpoint) -> Result<Self> {
        let samples = args.samples as usize;
        let temperature = args.temperature.unwrap_or(if samples == 1 { 0.0 } else { 1.0 });
        if temperature == 0.0 && 1 < samples {
            bail!("--samples {samples} at --temperature 0 would be {samples} times the same answer");
        }
        let max_new_tokens = args.max_new_tokens as usize;
        let sampling = SamplingConfig { temperature, max_new_tokens, ..SamplingConfig::default() };
        sampling.validate()?;
        let style = model::style(checkpoint, args.style);
        Ok(Self {
            model: name.to_owned(),
            sampler: Sampler::new(checkpoint, MAX_ROWS)?,
            style,
            samples,
            stream: Stream::root(args.seed).child("eval"),
            max_position: checkpoint.config.max_position,
            fingerprint: fingerprint(checkpoint, &json!([style, sampling, args.seed]))?,
            sampling,
        })
    }

    /// Asks what is not answered yet, and marks all.
    fn examine(&self, split: &Split, screen: &mut Screen, answers: &mut Answers) -> Result<Sheet> {
        screen.begin(&format!("{}/{}", split.suite, split.name), split.questions.len() * self.samples);
        let mut unasked = Unasked::default();
        let (mut marks, mut open) = (Vec::new(), Vec::new());
        for (i, question) in split.questions.iter().enumerate() {
            let prompt = question.prompt(self.style);
            let key = key(&self.fingerprint, &question.id(), &prompt);
            if let Some(reason) = self.refused(&prompt) {
                unasked.add(reason);
                let mark = question.not_asked();
                self.log(split, question, &key, 0, None, &mark, answers)?;
                marks.push(vec![mark; self.samples]);
                continue;
            }
            let known: Vec<Option<String>> = (0..self.samples).map(|s| answers.take(&key, s)).collect();
            let missing = known.iter().enumerate().filter(|(_, text)| text.is_none()).map(|(s, _)| s);
            let missing: Vec<usize> = missing.collect();
            marks.push(known.into_iter().flatten().map(|text| question.mark(&text)).collect());
            if !missing.is_empty() {
                open.push(Open { question: i, prompt, key, samples: missing });
            }
        }
        let mut done: usize = marks.iter().map(Vec::len).sum();
        screen.advance(done, "");
        for chunk in open.chunks(CHUNK) {
            self.ask(chunk, split, &mut marks, answers, &mut |n| screen.advance(done + n, ""))?;
            done += chunk.iter().map(|open| open.samples.len()).sum::<usize>();
        }
        let sheet = Sheet::new(&split.suite, &split.name, &marks, self.samples, unasked, split.bad.len());
        screen.advance(done, &format!("accuracy {:.1} %", 100.0 * sheet.accuracy));
        screen.end();
        Ok(sheet)
    }

    /// Why a prompt cannot be asked, if it cannot.
    fn refused(&self, prompt: &Prompt) -> Option<sheet::Reason> {
        match self.sampler.encode(prompt) {
            Ok(ids) if ids.len() < self.max_position => None,
            Ok(_) => Some(sheet::Reason::TooLong),
            Err(_) => Some(sheet::Reason::Template),
        }
    }

    fn ask(
        &self,
        chunk: &[Open],
        split: &Split,
        marks: &mut [Vec<Mark>],
        answers: &mut Answers,
        progress: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let prompts: Vec<_> = chunk
            .iter()
            .map(|open| {
                // By name, so that no other question of the suite has a say in what is drawn.
                let stream = self.stream.child(split.questions[open.question].id().as_str());
                (open.prompt.clone(), open.samples.iter().map(|&sample| stream.child(sample)).collect())
            })
            .collect();
        let groups = self.sampler.sample(&prompts, &self.sampling, &mut |done| {
            progress(done);
            true
        })?;
        for (open, group) in chunk.iter().zip(groups) {
            let question = &split.questions[open.question];
            for (&sample, rollout) in open.samples.iter().zip(&group.rollouts) {
                let mark = question.mark(&rollout.text);
                self.log(split, question, &open.key, sample, Some(&rollout.text), &mark, answers)?;
                marks[open.question].push(mark);
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one line of the file, and all that it says")]
    fn log(
        &self,
        split: &Split,
        question: &Question,
        key: &str,
        sample: usize,
        completion: Option<&str>,
        mark: &Mark,
        answers: &mut Answers,
    ) -> Result<()> {
        answers.push(&Line {
            key,
            model: &self.model,
            suite: &split.suite,
            split: &split.name,
            id: question.id(),
            sample,
            solved: mark.solved,
            completion,
            prediction: mark.calls.as_deref(),
            fault: mark.fault.as_ref(),
            errors: mark.errors,
            scores: mark.scores.as_ref(),
        })
    }
}

/// A question with answers missing.
struct Open {
    question: usize,
    prompt: Prompt,
    key: String,
    /// Which of the samples.
    samples: Vec<usize>,
}
