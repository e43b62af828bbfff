//! The flags, as they are typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::{Deserialize, Serialize};
use toolr0_tools::Task;

use crate::base;
use crate::endpoint::EndpointFlags;

/// Self-play for tool calling: a generator invents tasks, a solver learns from them.
#[derive(Debug, Parser)]
#[command(
    name = "toolr0",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  toolr0 selfplay                       train the embedded base model, no download
  toolr0 selfplay --seed 2 --out runs/two
  toolr0 eval --model runs/two/solver   the exam of a trained solver
  toolr0 configs                        the published set-ups"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What every command understands.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags of every command.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Global {
    /// No progress on stderr, only errors and the result
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// The last line of stdout is one JSON object with the result; no progress
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Worker threads; all processors if left out. Changes the time, never a result
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Where the network runs; `auto` takes the CPU where nothing else can be had, and says so
    #[arg(long, global = true, value_enum, default_value_t = Device::Auto)]
    pub(crate) device: Device,
}

/// Where the network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// The best there is
    Auto,
    /// The processor
    Cpu,
    /// An NVIDIA GPU
    Cuda,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a generator and a solver against each other, and measure the solver
    Selfplay(Selfplay),
    /// Run a grid of configurations with several seeds, and compare them
    Ablate(Ablate),
    /// Let every iteration's solver try the tasks of every iteration's generator
    Crossplay(Crossplay),
    /// Measure a model on the exam or on benchmark questions
    Eval(Eval),
    /// Work with benchmark files
    #[command(subcommand)]
    Bench(Bench),
    /// Look at a source of tools, and try it by hand
    #[command(subcommand)]
    Tools(Tools),
    /// Say which layers of the confinement of programs this machine has
    Doctor,
    /// Train a model on a file of conversations or tasks
    Sft(Sft),
    /// Write the tasks of a run for other programs
    Export(Export),
    /// Talk to a model, and see its calls
    Chat(Chat),
    /// Look into a run directory
    Inspect(Inspect),
    /// Write the report of a run, one HTML file, again
    Report(Report),
    /// Watch a run in the terminal
    Watch(Watch),
    /// Write the charts of a run as SVG and PNG, for papers
    Figures(Figures),
    /// Compute a step of a run again, and compare it to the bit
    Replay(Replay),
    /// Serve a model behind OpenAI's interface
    Serve(Serve),
    /// Score completions of a file by the rewards of one role
    Score(Score),
    /// Make the embedded base model again, from nothing
    Bootstrap(Bootstrap),
    /// List the embedded configurations, or print one
    Configs(Configs),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
}

impl Command {
    /// Whether a network runs in it, so that where it does matters. `bootstrap` has one that is too small for a choice, and
    /// the runs of `ablate` are programs of their own.
    pub(crate) fn computes(&self) -> bool {
        matches!(
            self,
            Self::Selfplay(_)
                | Self::Eval(_)
                | Self::Sft(_)
                | Self::Chat(_)
                | Self::Inspect(_)
                | Self::Replay(_)
                | Self::Serve(_)
                | Self::Crossplay(_)
        )
    }

    /// Whether weights are updated in it.
    pub(crate) fn trains(&self) -> bool {
        matches!(self, Self::Selfplay(_) | Self::Sft(_) | Self::Replay(_) | Self::Bootstrap(_))
    }
}

/// Flags of `selfplay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 selfplay
  toolr0 selfplay --seed 1 --set selfplay.iterations=1 --set rl.learning_rate=1e-4
  toolr0 selfplay --dry-run
  toolr0 selfplay --model Qwen/Qwen2.5-1.5B-Instruct --config qwen2.5-1.5b
  toolr0 selfplay --json | tail -n 1 | jq .exam.relative_gain
  toolr0 selfplay --endpoint http://127.0.0.1:8000      a served model as frozen solver and judge
  toolr0 selfplay --tools world:travel,calendar --set reward.solver.executed=true
  toolr0 selfplay --resume runs/0-1     go on after whatever ended the run

Ctrl-C ends the run at the next step boundary and keeps both models; a second Ctrl-C ends it at once.")]
pub(crate) struct Selfplay {
    /// A folder in the Hugging Face layout, a hub id, or `embedded`; else what the configuration says
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub(crate) model: Option<String>,
    /// A YAML file, or the name of an embedded one (see `toolr0 configs`); `nano` if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// Set one key of the configuration, as in `rl.learning_rate=1e-4`; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Tools that are given, not invented, as `toolr0 tools` takes them: `world:travel,calendar` (they run), `openapi:FILE`
    /// (calls are checked); the same as `--set menu=given --set tools=SOURCE`
    #[arg(long, value_name = "SOURCE")]
    pub(crate) tools: Option<String>,
    /// Run programs among these tools only where the machine has every layer of their confinement, which `toolr0 doctor` lists;
    /// the same as `--set strict=true`
    #[arg(long)]
    pub(crate) strict: bool,
    /// Where every random number comes from; the same as `--set seed=N`
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The run directory, which must not exist or be empty; `runs/SEED-N` if left out
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Which held-out set is the exam: choose settings on `dev`, and report `exam`
    #[arg(long, value_enum, default_value_t = HeldOut::Exam)]
    pub(crate) questions: HeldOut,
    /// Benchmark questions that the solver must not train on, as `SUITE/SPLIT.jsonl`: self-made tasks that are like one are
    /// dropped and listed in metrics.jsonl; may be given again. In place of `dataset.guard`
    #[arg(long, value_name = "DIR")]
    pub(crate) guard: Vec<PathBuf>,
    /// What the endpoint is asked for, as `endpoint.roles`: solver, teacher, judge
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    pub(crate) endpoint_roles: Vec<String>,
    /// Who answers in place of the frozen solver
    #[command(flatten)]
    pub(crate) endpoint: EndpointFlags,
    /// Keep both models of every iteration, not only the last
    #[arg(long)]
    pub(crate) keep_iterations: bool,
    /// Print the resolved configuration and a plan, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on with a run from its last checkpoint, bit for bit; all else stands in its directory
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "config", "set", "tools", "strict", "seed", "out", "questions", "guard",
        "endpoint_roles", "endpoint", "endpoint_model", "endpoint_timeout", "endpoint_concurrency", "endpoint_retries",
        "endpoint_patience", "keep_iterations", "dry_run"])]
    pub(crate) resume: Option<PathBuf>,
    /// If the last checkpoint is damaged, go on from the one before
    #[arg(long, requires = "resume")]
    pub(crate) fallback: bool,
    /// Checkpoints that stay, the newest; 0 keeps all; the same as `--set checkpoint.keep=N`
    #[arg(long, value_name = "N")]
    pub(crate) keep: Option<usize>,
}

/// Flags of `replay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 replay runs/0-1 --step 12
  toolr0 replay runs/0-1 --step 12 --json

Computes everything again from the last checkpoint before the step, or from the beginning if none was kept (see
`selfplay --keep`), and compares each record on the way with metrics.jsonl and ledger.jsonl, to the bit.")]
pub(crate) struct Replay {
    /// A run directory
    pub(crate) run: PathBuf,
    /// The update, counted from 1 over both roles in the order of metrics.jsonl
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) step: u32,
}

/// Flags of `ablate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 ablate benchmarks/ablations/table3.yaml --seeds 3
  toolr0 ablate sweep.yaml --seeds 1 --out sweeps/try

A sweep is `config: nano`, perhaps `model`, `set: {KEY: VALUE}` for all cells, `cells: {NAME: {KEY: VALUE}}` and `grid: {KEY:
[VALUE, ..]}`. Each run lies in OUT/CELL/seed-N. Called again, it goes on where it was ended; a run that fails is named and does
not stop the others. Cells are compared with the first.")]
pub(crate) struct Ablate {
    /// The sweep
    #[arg(value_name = "SWEEP.yaml")]
    pub(crate) sweep: PathBuf,
    /// Every cell is run with the seeds 1 to N
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) seeds: u32,
    /// Where the runs, the table and the figure go; `sweeps/SWEEP` if left out
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Which held-out set is the exam: choose settings on `dev`, and report `exam`
    #[arg(long, value_enum, default_value_t = HeldOut::Exam)]
    pub(crate) questions: HeldOut,
}

/// Flags of `crossplay`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  toolr0 selfplay --keep-iterations --out runs/kept
  toolr0 crossplay runs/kept

Written into the run are crossplay.json, crossplay.svg and crossplay.png. All generators are asked for the same specifications.")]
pub(crate) struct Crossplay {
    /// The run directory, of a run with --keep-iterations
    pub(crate) run: PathBuf,
    /// Completions drawn from each generator
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) candidates: u32,
    /// Sound tasks of each that are tried, at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tasks: u32,
    /// Answers of each solver to each task
    #[arg(long, value_name = "K", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) samples: u32,
    /// Where the random numbers come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Flags of `eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 eval                                         the exam of the embedded base
  toolr0 eval --model runs/0-1/solver --limit 100
  toolr0 eval --questions dev                         the set on which choices are made
  toolr0 eval --model DIR --bench bench --out answers.jsonl
  toolr0 eval --model DIR --bench bench --out answers.jsonl --resume
  toolr0 eval --samples 8                             pass@1 to pass@8
  toolr0 eval --compare embedded runs/0-1/solver --bench bench
  toolr0 eval --compare runs/0-1                      the iterations of a run
  toolr0 eval --endpoint http://127.0.0.1:8000 --bench bench --out answers.jsonl")]
pub(crate) struct Eval {
    /// A folder in the Hugging Face layout, a hub id, or `embedded`
    #[arg(long, value_name = "DIR_OR_HUB_ID", default_value = crate::model::EMBEDDED)]
    pub(crate) model: String,
    /// A served model instead
    #[command(flatten)]
    pub(crate) endpoint: EndpointFlags,
    /// Compare several models with the first of them, question by question; a run directory stands for its base and
    /// its iterations (see `selfplay --keep-iterations`)
    #[arg(long, value_name = "MODEL", num_args = 1.., conflicts_with_all = ["model", "endpoint"])]
    pub(crate) compare: Vec<String>,
    /// A folder of `SUITE/SPLIT.jsonl` questions, instead of the exam
    #[arg(long, value_name = "DIR")]
    pub(crate) bench: Option<PathBuf>,
    /// Which held-out set is asked, without `--bench`
    #[arg(long, value_enum, default_value_t = HeldOut::Exam, conflicts_with = "bench")]
    pub(crate) questions: HeldOut,
    /// Questions of each split, from its beginning; all of a benchmark and 300 of the exam if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Write every answer with its scores to this file, which must not exist
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the file of `--out`: what it answers is not asked again
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
    /// Answers to each question, for pass@k
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) samples: u32,
    /// Temperature; 0, the likeliest answer, for one answer to each question, and 1 for several, if left out
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f64>,
    /// Where the random numbers of `--samples` come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// What to do with a line of `--bench` that is no question
    #[arg(long, value_enum, default_value_t = OnBadLine::Skip)]
    pub(crate) bad_lines: OnBadLine,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_new_tokens: u32,
    /// How prompts are worded; `compact` for checkpoints of the embedded base, else `paper`, if left out
    #[arg(long, value_enum)]
    pub(crate) style: Option<Wording>,
}

/// A held-out set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HeldOut {
    /// The exam, on which nothing may be tuned
    Exam,
    /// The development set, on which choices are made
    Dev,
    /// The exam's questions over menus without the tools they need: right is to call nothing
    Abstention,
}

impl HeldOut {
    /// Its first `n` questions, the same in every run and command.
    pub(crate) fn draw(self, n: usize) -> Vec<Task> {
        match self {
            Self::Exam => base::exam_questions(n),
            Self::Dev => base::dev_questions(n),
            Self::Abstention => base::abstention_questions(n),
        }
    }
}

impl std::fmt::Display for HeldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Exam => "exam",
            Self::Dev => "dev",
            Self::Abstention => "abstention",
        })
    }
}

/// How prompts are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wording {
    /// Full instructions with an example
    Paper,
    /// A few words, for models trained on exactly these
    Compact,
}

/// Commands on benchmark files.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Score recorded predictions
    #[command(after_help = "\
Example:
  toolr0 bench score --bench ../shared/bench --predictions predictions.jsonl > scores.jsonl

A line of the predictions is {\"id\": .., \"prediction\": [calls] or null}. A line of the output is {\"id\", \"ast_match\",
\"bfcl_match\" (BFCL questions only), \"hammer_counts\"}, in the input's order.")]
    Score {
        /// A folder of `SUITE/SPLIT.jsonl` questions
        #[arg(long, value_name = "DIR")]
        bench: PathBuf,
        /// The predictions; `-` is stdin
        #[arg(long, value_name = "FILE")]
        predictions: PathBuf,
    },
    /// Convert the published files of a suite into questions for `eval --bench`
    #[command(after_help = "\
Examples:
  toolr0 bench import bfcl gorilla/berkeley-function-call-leaderboard/bfcl_eval/data --out bench
  toolr0 bench import sealtools Seal-Tools/Seal-Tools_Dataset --out bench

Written is OUT/SUITE/SPLIT.jsonl. What cannot be scored is dropped and counted by reason.")]
    Import {
        /// The suite
        #[arg(value_enum)]
        suite: Suite,
        /// Its folder, or one of its files
        path: PathBuf,
        /// Where the questions go; OUT/SUITE must not exist
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Commands on sources of tools.
#[derive(Debug, Subcommand)]
pub(crate) enum Tools {
    /// List the tools
    #[command(after_help = "\
Examples:
  toolr0 tools list world:travel,calendar
  toolr0 tools list openapi:petstore.yaml --json
  toolr0 tools list mcp:reply.json          the reply of an MCP server to tools/list
  toolr0 tools list 'mcp:uvx mcp-server-time'   a server, which is started")]
    List {
        /// `world:NAME,..`, `openapi:FILE`, `mcp:FILE`, `mcp:COMMAND`, `mcp:URL`, `wasm:MANIFEST` or `process:MANIFEST`
        source: String,
    },
    /// Run calls one after the other, and show what each returns and changes
    #[command(after_help = "\
Examples:
  toolr0 tools call world:math '{\"name\": \"divide\", \"arguments\": {\"dividend\": 6, \"divisor\": \"4\"}}'
  toolr0 tools call process:tools/ '{\"name\": \"word_count\", \"arguments\": {\"text\": \"a b\"}}' --strict

Exits with 1 if a call does not end with a value.")]
    Call {
        /// `world:NAME,..`, `mcp:COMMAND`, `mcp:URL`, `wasm:MANIFEST` or `process:MANIFEST`
        source: String,
        /// Calls as JSON
        #[arg(required = true)]
        calls: Vec<String>,
        /// The seed of the state that they start from
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
        /// Run no program where a layer of its confinement is missing; `toolr0 doctor` names them
        #[arg(long)]
        strict: bool,
        /// How long one call may take by the clock, in a program, a module or a server
        #[arg(long, value_name = "SECONDS", default_value_t = 2)]
        timeout: u64,
    },
    /// Write held-out questions about the tools, in the exam's sentences and values
    #[command(after_help = "\
Example:
  mkdir -p questions/own
  toolr0 tools questions mcp:target/release/examples/clinic > questions/own/exam.jsonl
  toolr0 eval --compare embedded runs/0-1/solver --bench questions

For tools in the words of the embedded base (docs/src/base-model.md); a tool or an argument that it has no words for is named.")]
    Questions {
        /// `world:NAME,..`, `openapi:FILE`, `mcp:FILE`, `mcp:COMMAND`, `mcp:URL`, `wasm:MANIFEST` or `process:MANIFEST`
        source: String,
        /// How many; fewer if there are no more
        #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        n: u32,
    },
    /// Check calls without running them, and show what would be read as another type
    #[command(after_help = "\
Example:
  toolr0 tools check mcp:reply.json '{\"name\": \"now\", \"arguments\": {\"zone\": \"UTC\"}}'

Exits with 1 if a call would be refused.")]
    Check {
        /// `world:NAME,..`, `openapi:FILE`, `mcp:FILE`, `mcp:COMMAND`, `mcp:URL`, `wasm:MANIFEST` or `process:MANIFEST`
        source: String,
        /// Calls as JSON
        #[arg(required = true)]
        calls: Vec<String>,
    },
}

/// A published suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Berkeley Function Calling Leaderboard, v4: `BFCL_v4_*.json` and `possible_answer/`
    Bfcl,
    /// ToolAlpaca: `eval_real.json`, `eval_simulated.json`
    Toolalpaca,
    /// Seal-Tools: `dataset_for_finetune/*.json`
    Sealtools,
    /// NexusRaven: `standardized_queries.jsonl` and `standardized_api_list.jsonl`
    Nexusraven,
    /// API-Bank: `level-1-api.json`, `level-2-api.json`
    Apibank,
    /// SNIPS: `validate_*.json` of all intents
    Snips,
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bfcl => "bfcl",
            Self::Toolalpaca => "toolalpaca",
            Self::Sealtools => "sealtools",
            Self::Nexusraven => "nexusraven",
            Self::Apibank => "apibank",
            Self::Snips => "snips",
        })
    }
}

/// Flags of `sft`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 sft --data tasks.jsonl --out tuned
  toolr0 sft --model runs/0-1/solver --data messages.jsonl --out tuned --epochs 2 --learning-rate 2e-5

A line is {\"messages\": [..], \"tools\": [..]} in OpenAI's form, of which the last message is learned, or a task as in
RUN/iteration-1/tasks.jsonl.")]
pub(crate) struct Sft {
    /// A folder in the Hugging Face layout, a hub id, or `embedded`
    #[arg(long, value_name = "DIR_OR_HUB_ID", default_value = crate::model::EMBEDDED)]
    pub(crate) model: String,
    /// What to learn, a line each; may be given again
    #[arg(long, value_name = "FILE.jsonl", required = true)]
    pub(crate) data: Vec<PathBuf>,
    /// The folder of the new checkpoint, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How often every example is seen
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) epochs: u32,
    /// Peak learning rate, after a short warm-up; it falls to a tenth
    #[arg(long, value_name = "RATE", default_value_t = 1e-5)]
    pub(crate) learning_rate: f64,
    /// Tokens of one update
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_tokens: u32,
    /// Where the order of the examples comes from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How prompts are worded; `compact` for checkpoints of the embedded base, else `paper`, if left out
    #[arg(long, value_enum)]
    pub(crate) style: Option<Wording>,
    /// What to do with a line that cannot be learned
    #[arg(long, value_enum, default_value_t = OnBadLine::Skip)]
    pub(crate) bad_lines: OnBadLine,
}

/// What to do with a line that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBadLine {
    /// Name it, count it, go on
    Skip,
    /// End with an error that names it
    Stop,
}

/// Flags of `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 export runs/0-1 --out tasks.parquet
  toolr0 export runs/0-1/iteration-3/tasks.jsonl --out messages.jsonl")]
pub(crate) struct Export {
    /// A run directory, or a file of tasks
    #[arg(value_name = "RUN_OR_FILE")]
    pub(crate) tasks: PathBuf,
    /// The new file: .jsonl for OpenAI's messages, .parquet for a table
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Flags of `chat`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 chat --tools tools.json
  echo 'Book a table for 2.' | toolr0 chat --model runs/0-1/solver --tools tools.json --json

The tools are a JSON list in OpenAI's form. A line of stdin is what the user says; an empty stdin ends it.")]
pub(crate) struct Chat {
    /// A folder in the Hugging Face layout, a hub id, or `embedded`
    #[arg(long, value_name = "DIR_OR_HUB_ID", default_value = crate::model::EMBEDDED)]
    pub(crate) model: String,
    /// What may be called
    #[arg(long, value_name = "FILE.json")]
    pub(crate) tools: Option<PathBuf>,
    /// Temperature; 0 takes the likeliest token every time
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Where the random numbers come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_new_tokens: u32,
    /// How prompts are worded; `compact` for checkpoints of the embedded base, else `paper`, if left out
    #[arg(long, value_enum)]
    pub(crate) style: Option<Wording>,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 inspect runs/0-1                 rewards by part, and the tasks of the last iteration
  toolr0 inspect runs/0-1 --task 3        answers of its solver to task 3, and the log-probs of the first")]
pub(crate) struct Inspect {
    /// The run directory
    pub(crate) run: PathBuf,
    /// Whose tasks; the last iteration's if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) iteration: Option<u32>,
    /// One task of them, counted from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) task: Option<u32>,
    /// Answers to draw
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) samples: u32,
}

/// Flags of `report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 report runs/0-1                  writes runs/0-1/report.html
  toolr0 report runs/0-1 --out page.html

The run may be unfinished, or of an older version: what it did not record is left out.")]
pub(crate) struct Report {
    /// The run directory
    pub(crate) run: PathBuf,
    /// The file, which is replaced; `report.html` in the run directory if left out
    #[arg(long, value_name = "FILE.html")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags of `watch`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 watch runs/0-1
  toolr0 watch runs/0-1 --once            one picture of it, as text

Ctrl-C ends it; the run goes on. Where stdout is no terminal, one picture is printed.")]
pub(crate) struct Watch {
    /// The run directory, of a run that goes on or is over
    pub(crate) run: PathBuf,
    /// Print one picture and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// Flags of `figures`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 figures runs/0-1 --out figures
  toolr0 figures runs/0-1 --out figures --only exam-accuracy --scale 4

Written are OUT/NAME.svg and OUT/NAME.png for each chart of the report.")]
pub(crate) struct Figures {
    /// The run directory
    pub(crate) run: PathBuf,
    /// The folder; files of the same names are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Only charts of these names; may be given again
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Pixels of a PNG to a unit of its SVG, which is 468 units wide
    #[arg(long, value_name = "N", default_value_t = crate::commands::figures::SCALE,
        value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) scale: u8,
}

/// Flags of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 serve --model runs/0-1/solver --port 8000
  TOOLR0_API_KEY=secret toolr0 serve --host 0.0.0.0

/v1/chat/completions, /v1/models, /health, and /metrics for Prometheus. Ctrl-C finishes what was begun.")]
pub(crate) struct Serve {
    /// A folder in the Hugging Face layout, a hub id, or `embedded`
    #[arg(long, value_name = "DIR_OR_HUB_ID", default_value = crate::model::EMBEDDED)]
    pub(crate) model: String,
    /// What clients call it; what `--model` says if left out
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where to listen; only this machine if left out
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
    /// The port; 0 takes any that is free
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Completions written together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) max_rows: u32,
    /// Requests in the house, waiting ones included; further ones are told to come again (429)
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_requests: u32,
    /// Size of a request, KiB
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) max_body_kib: u32,
    /// Time for a request, from its first byte to the end of its answer, s
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: u32,
    /// Where the random numbers of requests without a seed come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How prompts with tools are worded; `compact` for checkpoints of the embedded base, else `paper`, if left out
    #[arg(long, value_enum)]
    pub(crate) style: Option<Wording>,
}

/// Flags of `score`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 score --role solver --input completions.jsonl
  toolr0 score --role generator --profile release --input - < tasks.jsonl

solver: a line holds `gold`, `completion` and perhaps `tools`. generator: `completion` and perhaps `spec`.")]
pub(crate) struct Score {
    /// Whose completions they are
    #[arg(long, value_enum)]
    pub(crate) role: Side,
    /// Whose rules are used
    #[arg(long, value_enum, default_value_t = Rules::Strict)]
    pub(crate) profile: Rules,
    /// JSON lines; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
}

/// Whose completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// Calls were asked for
    Solver,
    /// A task was asked for
    Generator,
}

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rules {
    /// Ours, with the faults of the public release corrected
    Strict,
    /// The public release's, for comparison
    Release,
}

/// Flags of `bootstrap`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 bootstrap --seed 0 --out base
  toolr0 bootstrap --out small --set first.steps=50 --set second.steps=0 --set third.steps=0 --set fourth.steps=0")]
pub(crate) struct Bootstrap {
    /// Where every random number comes from
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The folder of the new checkpoint, which must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Train only the cycles after the first, from this checkpoint
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Set one key of the recipe, as in `first.steps=50`; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Flags of `configs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  toolr0 configs
  toolr0 configs qwen2.5-1.5b > mine.yaml
  toolr0 configs --reference              every key, its default, and what it means")]
pub(crate) struct Configs {
    /// Print the reference of every key
    #[arg(long, conflicts_with = "name")]
    pub(crate) reference: bool,
    /// The one to print
    pub(crate) name: Option<String>,
}

/// Flags of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  toolr0 man --out ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// The folder; pages of the same names are replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Flags of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  toolr0 completions bash > ~/.local/share/bash-completion/completions/toolr0")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
