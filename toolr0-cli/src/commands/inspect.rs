//! `toolr0 inspect`: what lies in a run directory, and what its solver does with one of its tasks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use toolr0_curriculum::Candidate;
use toolr0_model::rng::Stream;
use toolr0_reward::{Style, solver_reward, wire};
use toolr0_rl::{RunConfig, Sampler};

use crate::args::{Global, Inspect};
use crate::config;
use crate::input::Lines;
use crate::model;
use crate::ui::{Screen, out};

/// Shows a run, its tasks, or one task.
pub(crate) fn run(args: &Inspect, global: Global) -> Result<()> {
    let run = Run::open(&args.run)?;
    let value = match args.task {
        None => {
            json!({"run": args.run, "phases": run.phases()?, "tasks": run.tasks(args.iteration)?.iter().map(summary).collect::<Vec<_>>()})
        }
        Some(number) => run.task(args, number as usize, global)?,
    };
    match global.json {
        true => out(&format!("{value}\n")),
        false if args.task.is_some() => out(&task_text(&value)),
        false => out(&run_text(&value)),
    }
}

/// A run directory.
struct Run {
    root: PathBuf,
    config: RunConfig,
}

impl Run {
    fn open(root: &Path) -> Result<Self> {
        let path = root.join("config.yaml");
        if !path.exists() {
            bail!("{} holds no run: there is no config.yaml in it", root.display());
        }
        let (source, text) = config::read(&path.display().to_string())?;
        Ok(Self { root: root.to_owned(), config: config::resolve(&source, &text, &[], None)?.run })
    }

    /// First and last step of each phase: rewards by term.
    fn phases(&self) -> Result<Vec<Value>> {
        let mut phases: BTreeMap<(u64, String), Vec<Value>> = BTreeMap::new();
        let mut lines = Lines::open(&self.root.join("metrics.jsonl"))?;
        while let Some(line) = lines.next()? {
            let record: Value = serde_json::from_str(&line).with_context(|| lines.place())?;
            if record["record"] == "step" {
                let role = record["role"].as_str().unwrap_or_default().to_owned();
                phases.entry((record["iteration"].as_u64().unwrap_or(0), role)).or_default().push(record);
            }
        }
        let show = |step: &Value| json!({"step": step["step"], "reward": step["reward"], "reward_terms": step["reward_terms"], "success_rate": step["success_rate"], "faults": step["faults"]});
        let phase = |((iteration, role), steps): (&(u64, String), &Vec<Value>)| json!({"iteration": iteration, "role": role, "steps": steps.len(), "first": steps.first().map(show), "last": steps.last().map(show)});
        Ok(phases.iter().map(phase).collect())
    }

    /// The tasks of one iteration, or of the last that has any.
    fn tasks(&self, iteration: Option<u32>) -> Result<Vec<Candidate>> {
        let file = |i: usize| self.root.join(format!("iteration-{i}/tasks.jsonl"));
        let number = match iteration {
            Some(i) => i as usize,
            None => match (1..).take_while(|i| file(*i).exists()).last() {
                Some(last) => last,
                None => return Ok(Vec::new()),
            },
        };
        let mut lines = Lines::open(&file(number))?;
        let mut tasks = Vec::new();
        while let Some(line) = lines.next()? {
            tasks.push(serde_json::from_str(&line).with_context(|| lines.place())?);
        }
        Ok(tasks)
    }

    /// Answers of the run's solver to one task, with rewards by term, and the log-probabilities of the first.
    fn task(&self, args: &Inspect, number: usize, global: Global) -> Result<Value> {
        let tasks = self.tasks(args.iteration)?;
        let Some(candidate) = number.checked_sub(1).and_then(|i| tasks.get(i)) else {
            bail!("there is no task {number}: the iteration has {} of them", tasks.len());
        };
        let checkpoint = model::load(&self.root.join("solver").display().to_string(), &Screen::new(global))?;
        let style: Style = self.config.style;
        let sampler = Sampler::new(&checkpoint, self.config.rl.max_rows)?;
        let prompt = wire::solver::prompt(&candidate.task.question, &candidate.task.tools, style);
        let stream = Stream::root(self.config.seed).child("inspect").child(number);
        let streams = (0..args.samples as usize).map(|sample| stream.child(sample)).collect();
        let groups = sampler.sample(&[(prompt, streams)], &self.config.solver.sampling, &mut |_| true)?;
        let rollouts = groups.into_iter().flat_map(|group| group.rollouts);
        let mut answers = Vec::new();
        for (i, rollout) in rollouts.enumerate() {
            let reward = solver_reward(&candidate.task, &rollout.text, &self.config.reward.solver);
            let terms: BTreeMap<&str, Option<f64>> =
                reward.terms.iter().map(|term| (term.name, term.value)).collect();
            let mut answer = json!({"text": rollout.text, "reward": reward.total(), "reward_terms": terms,
                "fault": reward.fault.as_ref().map(|fault| fault.kind()), "tokens": rollout.tokens.len()});
            if i == 0 {
                let token = |(id, logprob): (&u32, &f32)| json!({"token": checkpoint.tokenizer.token(*id), "id": id, "logprob": logprob});
                answer["logprobs"] = rollout.tokens.iter().zip(&rollout.logprobs).map(token).collect();
            }
            answers.push(answer);
        }
        Ok(json!({"task": candidate, "answers": answers}))
    }
}

fn summary(candidate: &Candidate) -> Value {
    json!({"id": candidate.task.id(), "domain": candidate.spec.domain, "solved": candidate.attempts.solved(),
        "tried": candidate.attempts.tried(), "tools": candidate.task.tools.len(), "calls": candidate.task.gold.len(),
        "question": candidate.task.question})
}

fn terms(step: &Value) -> String {
    let terms = step["reward_terms"].as_object().into_iter().flatten();
    let terms: Vec<String> =
        terms.map(|(name, value)| format!("{name} {:.2}", value.as_f64().unwrap_or(f64::NAN))).collect();
    format!("{:.2} = {}", step["reward"].as_f64().unwrap_or(f64::NAN), terms.join(" + "))
}

fn run_text(value: &Value) -> String {
    let mut text = String::from("mean rewards, first and last step of each phase\n");
    for phase in value["phases"].as_array().into_iter().flatten() {
        let (role, iteration) = (phase["role"].as_str().unwrap_or_default(), &phase["iteration"]);
        for step in [&phase["first"], &phase["last"]] {
            let _ = writeln!(text, "{iteration} {role:9} step {:>4}  {}", step["step"], terms(step));
        }
    }
    let tasks = value["tasks"].as_array().map_or(&[][..], Vec::as_slice);
    let _ = writeln!(text, "\n{} tasks, in the order of training", tasks.len());
    for (i, task) in tasks.iter().enumerate() {
        let question: String =
            task["question"].as_str().unwrap_or_default().replace('\n', " ").chars().take(90).collect();
        let (solved, tried, domain) =
            (&task["solved"], &task["tried"], task["domain"].as_str().unwrap_or_default());
        let _ = writeln!(text, "{:>5}  {solved}/{tried}  {domain:20} {question}", i + 1);
    }
    text
}

fn task_text(value: &Value) -> String {
    let task = &value["task"]["task"];
    let mut text = format!("{}\n", task["question"].as_str().unwrap_or_default());
    for (name, part) in [("tools", &task["tools"]), ("gold", &task["gold"])] {
        let _ = writeln!(text, "{name}: {part}");
    }
    for (i, answer) in value["answers"].as_array().into_iter().flatten().enumerate() {
        let fault = answer["fault"].as_str().map_or(String::new(), |fault| format!("  ({fault})"));
        let _ = writeln!(
            text,
            "\nanswer {}: reward {}{fault}\n{}",
            i + 1,
            terms(answer),
            answer["text"].as_str().unwrap_or_default()
        );
        for token in answer["logprobs"].as_array().into_iter().flatten() {
            let logprob = token["logprob"].as_f64().unwrap_or(f64::NAN);
            let _ = writeln!(text, "  {logprob:>9.4}  {}", token["token"]);
        }
    }
    text
}
