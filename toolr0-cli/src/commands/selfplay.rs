//! `toolr0 selfplay`: the main job.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::json;
use toolr0_curriculum::guard::Hit;
use toolr0_curriculum::{Drops, Guard};
use toolr0_model::Checkpoint;
use toolr0_model::rng::Stream;
use toolr0_reward::verify::usable;
use toolr0_rl::checkpoint::{self, Store};
use toolr0_rl::exam::pass_at;
use toolr0_rl::ledger::{Entry, tensors};
use toolr0_rl::selfplay::{Iteration, Observer, Phase, Record};
use toolr0_rl::state::{Position, State};
use toolr0_rl::{RunConfig, Sampler, SelfPlay};
use toolr0_tools::Source;

use crate::args::{Global, Selfplay};
use crate::bench;
use crate::commands;
use crate::config::{self, Setup};
use crate::endpoint::Endpoint;
use crate::events::EventLog;
use crate::ledger::Book;
use crate::model::{self, EMBEDDED};
use crate::plan::{self, Plan};
use crate::report::{ExamResult, RunResult, exam_table};
use crate::run_dir::{RunDir, Terms};
use crate::source;
use crate::stop::{INTERRUPTED, Stop};
use crate::ui::{Screen, out};

/// A run to begin or to go on with.
struct Job {
    path: PathBuf,
    model: String,
    run: RunConfig,
    /// Of a run that was begun before.
    begun: Option<(RunDir, Terms)>,
}

impl Job {
    fn new(args: &Selfplay) -> Result<Self> {
        let mut job = match &args.resume {
            Some(path) => {
                let begun = RunDir::open(path)?;
                let (source, text) = config::read(&path.join("config.yaml").display().to_string())?;
                let Setup { model, run } = config::resolve(&source, &text, &[], None)?;
                let model = model.unwrap_or_else(|| EMBEDDED.to_owned());
                Self { path: path.clone(), model, run, begun: Some(begun) }
            }
            None => {
                let (source, text) = config::read(args.config.as_deref().unwrap_or(config::DEFAULT))?;
                let Setup { model, run } = config::resolve(&source, &text, &sets(args), args.seed)?;
                let model = args.model.clone().or(model).unwrap_or_else(|| EMBEDDED.to_owned());
                let path = args.out.clone().unwrap_or_else(|| RunDir::next_free(run.seed));
                RunDir::refuse_taken(&path)?;
                Self { path, model, run, begun: None }
            }
        };
        job.run.checkpoint.keep = args.keep.unwrap_or(job.run.checkpoint.keep);
        Ok(job)
    }

    /// The directory, with what the run was asked for in it.
    fn directory(&mut self, args: &Selfplay, checkpoint: &Checkpoint) -> Result<(RunDir, Terms)> {
        let base = tensors(checkpoint.tensors.iter())?;
        if let Some((dir, terms)) = self.begun.take() {
            same_base(&self.model, &base, &terms)?;
            return Ok((dir, terms));
        }
        let terms = Terms {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            base,
            questions: args.questions,
            keep_iterations: args.keep_iterations,
            pass_at: None,
        };
        let dir = RunDir::create(&self.path)?;
        dir.terms(&terms)?;
        dir.text("config.yaml", &config::to_yaml(&self.model, &self.run)?)?;
        Ok((dir, terms))
    }
}

/// Refuses another base than the one that a run began with.
pub(crate) fn same_base(model: &str, base: &str, terms: &Terms) -> Result<()> {
    match base == terms.base {
        true => Ok(()),
        false => {
            bail!("the model {model} is another than the one that the run began with: their weights differ")
        }
    }
}

/// Templates that print a date print that on which the run began, also after midnight.
pub(crate) fn fix_date(checkpoint: &mut Checkpoint, terms: &Terms) {
    let template = Arc::get_mut(&mut checkpoint.template);
    template.expect("a checkpoint that was just read is nobody else's").set_now(terms.began);
}

/// Where the run goes on: at its last checkpoint, or with `fallback` at the newest that is whole; else at its beginning.
fn find(
    game: &SelfPlay<'_>,
    store: &Store,
    job: &Job,
    base: &Checkpoint,
    fallback: bool,
    screen: &Screen,
) -> Result<State> {
    for position in checkpoint::list(store.root())?.into_iter().rev() {
        match checkpoint::load(&store.path(position), &job.run, base) {
            Ok(state) => {
                // What is behind it is damaged, and will be written again.
                store.discard_after(position)?;
                return Ok(state);
            }
            Err(error) if fallback => screen.warn(&format!("{:#}", anyhow::Error::from(error))),
            Err(error) => {
                return Err(error)
                    .context("the last checkpoint is damaged; --fallback goes on from the one before");
            }
        }
    }
    Ok(game.start()?)
}

/// pass@k of the base, if the run asks for it.
fn headroom(
    run: &RunConfig,
    base: &Checkpoint,
    questions: &[toolr0_tools::Task],
    screen: &mut Screen,
) -> Result<Option<(usize, f64)>> {
    match run.exam.pass_at {
        0 => Ok(None),
        k if questions.is_empty() => {
            screen.warn(&format!("pass@{k} needs an exam, and exam.items is 0"));
            Ok(None)
        }
        k => {
            screen.begin(&format!("base  pass@{k}"), 1);
            let sampler = Sampler::new(base, run.rl.max_rows)?;
            let stream = Stream::root(run.seed).child("headroom");
            let share = pass_at(&sampler, questions, run.style, k, run.exam.max_new_tokens, stream)?;
            screen.advance(1, &format!("{:.1} %", 100.0 * share));
            Ok(Some((k, share)))
        }
    }
}

/// Runs, goes on with a run, or says what a run would do.
pub(crate) fn run(args: &Selfplay, global: Global) -> Result<ExitCode> {
    let mut job = Job::new(args)?;
    if args.dry_run {
        dry_run(&job.model, &job.run, global)?;
        return Ok(ExitCode::SUCCESS);
    }
    // A dry run starts no server.
    let tools = job.run.tools.as_deref().map(|source| source::open(source, job.run.strict)).transpose()?;
    let mut screen = Screen::new(global);
    if args.config.is_none() && args.resume.is_none() && job.model != EMBEDDED {
        screen.warn(
            "nano.yaml is made for the embedded base; `toolr0 configs` lists the set-ups for other checkpoints",
        );
    }
    let clock = Instant::now();
    let mut checkpoint = model::load(&job.model, &screen)?;
    let stop = Stop::listen()?;
    let (dir, mut terms) = job.directory(args, &checkpoint)?;
    fix_date(&mut checkpoint, &terms);
    let (path, run, model) = (&job.path, &job.run, &job.model);
    let questions = terms.questions.draw(run.exam.items);
    let (guard, unreadable) = guard(&run.dataset.guard, &screen)?;
    let outside = run.endpoint.as_ref().map(Endpoint::connect).transpose()?;
    let game = SelfPlay::new(run, &checkpoint, &questions)?;
    let game = if run.dataset.guard.is_empty() { game } else { game.guarded(&guard) };
    let game = match &tools {
        Some(tools) => given(game, tools, run, &screen)?,
        None => game,
    };
    let game = match (&outside, &run.endpoint) {
        (Some(outside), Some(endpoint)) => game.assisted(outside, &endpoint.roles),
        _ => game,
    };
    let store = Store::open(&dir.path().join("checkpoints"), run.checkpoint.keep)?;
    let game = game.saved_in(&store);
    let state = find(&game, &store, &job, &checkpoint, args.fallback, &screen)?;
    if state.position == Position::START {
        dir.checkpoint("generator", &checkpoint)?;
        dir.checkpoint("solver", &checkpoint)?;
    }
    let book = Book::open(dir.path(), state.records)?;
    let (generator_steps, solver_steps) = (run.selfplay.generator_steps, run.selfplay.solver_steps);
    let events = EventLog::new(&dir.path().join("tensorboard"), generator_steps, solver_steps);
    let before = book.costs().seconds();
    match args.resume {
        None => screen.say(&format!("{model}, seed {}, to {}", run.seed, path.display())),
        Some(_) => screen.say(&format!("{} goes on at {}", path.display(), state.position)),
    }
    if terms.version != env!("CARGO_PKG_VERSION") {
        screen
            .warn(&format!("the run was begun by toolr0 {}: what follows may differ in bits", terms.version));
    }
    if terms.pass_at.is_none() {
        terms.pass_at = headroom(run, &checkpoint, &questions, &mut screen)?;
        dir.terms(&terms)?;
    }

    let iterations = run.selfplay.iterations;
    let dir = std::cell::RefCell::new(dir);
    let mut watcher = Watcher {
        screen,
        book,
        events,
        stop,
        dir: &dir,
        iterations,
        shown: Shown::default(),
        unknown: Drops::default(),
    };
    let mut keep = |iteration: &Iteration<'_>| {
        let dir = dir.borrow();
        let folder = format!("iteration-{}", iteration.number);
        dir.lines(&format!("{folder}/tasks.jsonl"), iteration.tasks)?;
        let (generator, solver) = (iteration.generator.checkpoint()?, iteration.solver.checkpoint()?);
        dir.checkpoint("generator", &generator)?;
        dir.checkpoint("solver", &solver)?;
        for agent in [iteration.generator, iteration.solver] {
            if let Some((lora, adapters)) = agent.adapters()? {
                dir.adapters(&format!("{}/adapter", agent.role), lora, &adapters, model)?;
            }
        }
        if terms.keep_iterations {
            dir.checkpoint(&format!("{folder}/generator"), &generator)?;
            dir.checkpoint(&format!("{folder}/solver"), &solver)?;
        }
        Ok(())
    };
    let ended = game.go_on(state, &mut watcher, &mut keep);
    let Watcher { mut screen, book, unknown, .. } = watcher;
    screen.end();
    let dir_text = path.display().to_string();
    let kept = dir.borrow().is_kept();
    let outcome = ended.with_context(|| match kept {
        true => {
            format!("the run failed; what was done before is in {dir_text}, and --resume goes on with it")
        }
        false => "the run failed before its first record; nothing was kept".to_owned(),
    })?;

    let dir = dir.into_inner();
    if outcome.stopped {
        // What was learned since the last finished iteration.
        dir.checkpoint("generator", &outcome.generator)?;
        dir.checkpoint("solver", &outcome.solver)?;
        if let Some((lora, adapters)) = &outcome.adapters {
            for (role, adapters) in ["generator", "solver"].into_iter().zip(adapters) {
                dir.adapters(&format!("{role}/adapter"), lora, adapters, model)?;
            }
        }
    }
    let result = RunResult {
        version: env!("CARGO_PKG_VERSION"),
        model: model.clone(),
        seed: run.seed,
        seconds: before + clock.elapsed().as_secs_f64(),
        out: dir_text.clone(),
        stopped: outcome.stopped,
        exam: ExamResult::new(&outcome.exams, terms.pass_at),
        questions: terms.questions,
        guarded: guard.len(),
        guard_bad_lines: unreadable,
        unknown,
        cost: book.costs(),
    };
    dir.text("result.json", &format!("{}\n", serde_json::to_string_pretty(&result)?))?;
    let report = commands::report::write(path, None);
    if let Err(error) = &report {
        screen.warn(&format!("the report could not be written: {error:#}"));
    }
    if global.json {
        out(&format!("{}\n", serde_json::to_string(&result)?))?;
    } else {
        let table = result.exam.as_ref().map_or_else(String::new, exam_table);
        out(&format!(
            "{table}{:.1} s; models, tasks, metrics and report.html are in {dir_text}\n",
            result.seconds
        ))?;
    }
    if let Some(outside) = outside.as_ref().filter(|_| !result.unknown.is_empty()) {
        screen.warn(&outside.missed(&result.unknown));
    }
    if outcome.stopped {
        screen.warn(&format!(
            "ended early, after {} of {iterations} iterations; both models as they are now are in {dir_text}; --resume goes on",
            outcome.iterations
        ));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--tools` and `--strict` set.
pub(crate) fn given_sets(args: &Selfplay) -> Vec<String> {
    let of = |tools: &String| ["menu=given".to_owned(), format!("tools={}", json!(tools))];
    let strict = args.strict.then(|| "strict=true".to_owned());
    args.tools.iter().flat_map(of).chain(strict).collect()
}

/// The flags that are keys of the configuration as well, behind those of `--set`.
fn sets(args: &Selfplay) -> Vec<String> {
    let mut sets = args.set.clone();
    sets.extend(args.endpoint.sets("endpoint."));
    if !args.endpoint_roles.is_empty() {
        sets.push(format!("endpoint.roles={}", json!(args.endpoint_roles)));
    }
    sets.extend(given_sets(args));
    if !args.guard.is_empty() {
        sets.push(format!("dataset.guard={}", json!(args.guard)));
    }
    sets
}

/// The same run with tools that are given. What no task can offer is named.
pub(crate) fn given<'a>(
    game: SelfPlay<'a>,
    tools: &'a Source,
    run: &RunConfig,
    screen: &Screen,
) -> Result<SelfPlay<'a>> {
    let game = game.with_tools(tools)?;
    for (tool, reason) in &tools.skipped {
        screen.warn(&format!("left out: {tool}: {reason}"));
    }
    for tool in tools.tools() {
        if let Err(fault) = usable(tool, &run.reward.generator.verify) {
            screen.warn(&format!("left out: {}: {fault}", tool.name));
        }
    }
    Ok(game)
}

/// The questions of all suites that were given, and how many lines are none; they are named.
pub(crate) fn guard(dirs: &[PathBuf], screen: &Screen) -> Result<(Guard, usize)> {
    let (mut guard, mut unreadable) = (Guard::default(), 0);
    for split in dirs.iter().map(|dir| bench::read(dir)).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        split.bad.iter().for_each(|bad| screen.warn(bad));
        unreadable += split.bad.len();
        for item in &split.items {
            let said = item.messages.iter().filter(|message| message.role == "user");
            guard.add(&item.id, said.map(|message| message.content.as_str()), &item.tools);
        }
    }
    Ok((guard, unreadable))
}

fn dry_run(model: &str, run: &RunConfig, global: Global) -> Result<()> {
    let shape = model::shape(model)?;
    let plan = Plan::new(run, shape.as_ref());
    if global.json {
        return out(&format!("{}\n", json!({"model": model, "config": run, "plan": plan})));
    }
    out(&format!("{}\n{}", config::to_yaml(model, run)?, plan::text(&plan)))
}

/// Shows the run and writes its log.
struct Watcher<'a> {
    screen: Screen,
    book: Book,
    events: EventLog,
    stop: Stop,
    dir: &'a std::cell::RefCell<RunDir>,
    iterations: usize,
    shown: Shown,
    /// Answers that did not come from outside.
    unknown: Drops,
}

/// Running means of a phase, the last steps counting most: a single step of a small batch says little.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    reward: Option<f64>,
    rate: Option<f64>,
}

impl Shown {
    fn add(&mut self, reward: f64, rate: Option<f64>) {
        let mix = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| 0.8 * old + 0.2 * new));
        self.reward = mix(self.reward, reward);
        if let Some(rate) = rate {
            self.rate = mix(self.rate, rate);
        }
    }

    fn note(self) -> Option<String> {
        let rate = self.rate.map_or("-".to_owned(), |rate| format!("{rate:.2}"));
        self.reward.map(|reward| format!("reward {reward:.2}  p-hat {rate}"))
    }
}

impl Observer for Watcher<'_> {
    fn begin(&mut self, phase: Phase, iteration: usize, n: usize) {
        self.shown = Shown::default();
        let name = match phase {
            Phase::Generator => "generator learns",
            Phase::Candidates => "candidates",
            Phase::Verification => "verification",
            Phase::Solver => "solver learns",
            Phase::Exam => "exam",
        };
        let title = match iteration {
            0 => format!("base  {name}"),
            _ => format!("{iteration}/{}  {name}", self.iterations),
        };
        self.screen.begin(&title, n);
    }

    fn advance(&mut self, done: usize, note: &str) {
        match self.shown.note() {
            Some(running) => self.screen.advance(done, &running),
            None => self.screen.advance(done, note),
        }
    }

    fn record(&mut self, record: &Record) -> toolr0_rl::Result<()> {
        self.book.record(record)?;
        self.events.push(record)?;
        self.dir.borrow_mut().keep();
        match record {
            Record::Step(step) => {
                self.unknown.merge(&step.unknown);
                self.shown.add(step.reward, step.success_rate);
            }
            Record::Dataset(data) => {
                self.unknown.merge(&data.unknown);
                self.screen.end();
                let funnel = data.funnel.to_string();
                funnel.lines().for_each(|line| self.screen.say(&format!("  {line}")));
                for Hit { item, question, rule, .. } in &data.contaminated {
                    self.screen.say(&format!("  {} ({item}): {question}", rule.reason()));
                }
                self.screen.say(&format!("  {} tasks, mean p-hat {:.2}", data.tasks, data.success_rate));
                if data.tasks == 0 {
                    self.screen
                        .warn("no task was left for the solver, which does not learn in this iteration");
                }
            }
            Record::Exam { .. } | Record::Samples { .. } => {}
            Record::Alarm(alarm) => self.screen.warn(&alarm.to_string()),
            Record::Trust { report, .. } => report.warnings().iter().for_each(|text| self.screen.warn(text)),
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> toolr0_rl::Result<()> {
        self.book.enter(entry)
    }

    fn sync(&mut self) -> toolr0_rl::Result<()> {
        self.book.sync()
    }

    fn stopped(&self) -> bool {
        self.stop.asked()
    }
}
