//! What one prompt of the generator asks for: a specification, and with given tools a menu and a state that calls run from.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::Value;
use toolr0_curriculum::{Candidate, SpecLaw, SpecTables};
use toolr0_model::rng::Stream;
use toolr0_reward::reward::{Curriculum, RewardConfig};
use toolr0_reward::verify::{VerifyConfig, usable};
use toolr0_reward::wire::generator::{self, Given};
use toolr0_reward::{Fault, Reward, Stage, Style, Trial, verify};
use toolr0_tools::{Prompt, Sandbox, Source, Task, TaskSpec, ToolSpec};

use crate::error::{Error, Result};

/// Rows of the state that a prompt shows.
const FACTS: usize = 12;

/// Tools that are given, and the law of tasks about them.
#[derive(Debug)]
pub(crate) struct GivenTools<'a> {
    source: &'a Source,
    /// Whether an answer may look before it acts.
    looks: bool,
    law: SpecLaw,
    /// The tools of each domain that can stand on a menu.
    menus: Vec<(&'a str, Vec<&'a ToolSpec>)>,
}

impl<'a> GivenTools<'a> {
    /// The tools of `source` that a task may offer. Domains are its menus', with the weights of `spec` where it names
    /// them and all alike where it does not.
    pub(crate) fn new(
        source: &'a Source,
        spec: &SpecTables,
        config: &VerifyConfig,
        looks: bool,
    ) -> Result<Self> {
        let mut menus = Vec::new();
        for menu in &source.menus {
            let tools: Vec<&ToolSpec> =
                menu.tools.iter().filter(|tool| usable(tool, config).is_ok()).collect();
            if !tools.is_empty() {
                menus.push((menu.domain.as_str(), tools));
            }
        }
        if menus.is_empty() {
            let user =
                "menu `given`, which offers only tools with a description and plain arguments".to_owned();
            return Err(Error::Missing { name: "tools", user });
        }
        let weight = |(domain, _): &(&str, _)| {
            let weight = spec.domains.get(*domain).copied().unwrap_or(1.0);
            ((*domain).to_owned(), weight)
        };
        let domains = menus.iter().map(weight).collect();
        let law = SpecLaw::new(SpecTables { domains, ..spec.clone() })?;
        Ok(Self { source, looks, law, menus })
    }

    /// The domains and so on that tasks are drawn from.
    pub(crate) fn law(&self) -> &SpecLaw {
        &self.law
    }

    /// Where the gold of a task with this seed runs; `None` where nothing runs.
    pub(crate) fn stage(&self, seed: Option<u64>) -> Option<Stage<'a>> {
        Some(Stage { sandbox: self.source.sandbox.as_deref()?, seed: seed?, looks: self.looks })
    }

    /// How the gold of a task with this seed is tried.
    pub(crate) fn trial(&self, seed: Option<u64>) -> Trial<'a> {
        self.stage(seed).map_or(Trial::Read(self.source), Trial::Run)
    }

    /// A menu of the size asked for, or of all tools there are, in the order of their names.
    fn scene(&self, spec: &mut TaskSpec, stream: Stream) -> Scene<'a> {
        let mut rng = stream.rng();
        let of_domain = self.menus.iter().find(|(domain, _)| *domain == spec.domain);
        let mut tools: Vec<&ToolSpec> = of_domain.map(|(_, tools)| tools.clone()).unwrap_or_default();
        tools.shuffle(&mut rng);
        tools.truncate(spec.n_tools);
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let menu: Vec<ToolSpec> = tools.into_iter().cloned().collect();
        spec.n_tools = menu.len();
        let sandbox: Option<&'a dyn Sandbox> = self.source.sandbox.as_deref();
        let seed: u64 = rng.random();
        let mut targets: Vec<usize> = (0..menu.len()).collect();
        targets.shuffle(&mut stream.child("targets").rng());
        targets.truncate(spec.n_calls);
        let mut rows = sandbox.map(|sandbox| sandbox.facts(&spec.domain, seed)).unwrap_or_default();
        rows.shuffle(&mut rng);
        rows.truncate(FACTS);
        let line = |(table, row): (&str, _)| format!("{table}: {}", Value::Object(row));
        let mut facts: Vec<String> = rows.into_iter().map(line).collect();
        facts.sort_unstable();
        let seed = sandbox.map(|_| seed);
        Scene { tools: menu, targets, facts: facts.join("\n"), seed, trial: self.trial(seed) }
    }
}

/// A menu, and how its calls are tried.
#[derive(Debug)]
struct Scene<'a> {
    tools: Vec<ToolSpec>,
    targets: Vec<usize>,
    facts: String,
    seed: Option<u64>,
    trial: Trial<'a>,
}

impl Scene<'_> {
    fn given(&self) -> Given<'_> {
        Given { tools: &self.tools, targets: &self.targets, facts: &self.facts, trial: self.trial }
    }
}

/// What one prompt of the generator asks for.
#[derive(Debug)]
pub(crate) struct Assignment<'a> {
    /// The specification.
    pub(crate) spec: TaskSpec,
    scene: Option<Scene<'a>>,
}

impl<'a> Assignment<'a> {
    /// One for each spec; its tools are the generator's to invent, or those of `given`.
    pub(crate) fn of(specs: Vec<TaskSpec>, given: Option<&GivenTools<'a>>, stream: Stream) -> Vec<Self> {
        let scenes = stream.child("scenes");
        let assign = |(i, mut spec): (usize, TaskSpec)| {
            let scene = given.map(|given| given.scene(&mut spec, scenes.child(i)));
            Self { spec, scene }
        };
        specs.into_iter().enumerate().map(assign).collect()
    }

    /// What the generator is asked.
    pub(crate) fn prompt(&self, style: Style) -> Prompt {
        match &self.scene {
            None => generator::prompt(&self.spec, style),
            Some(scene) => generator::prompt_given(&self.spec, &scene.given(), style),
        }
    }

    /// What is dictated behind the question, if something is.
    pub(crate) fn dictated(&self, style: Style) -> Option<String> {
        generator::dictated(&self.scene.as_ref()?.tools, style)
    }

    /// The task in a completion, which goes on from the opening of its prompt.
    pub(crate) fn parse(&self, text: &str) -> std::result::Result<Task, Fault> {
        match &self.scene {
            None => generator::parse(text),
            Some(scene) => generator::read_given(text, &scene.given())?.task(),
        }
    }

    /// The task in a completion as a candidate for training.
    pub(crate) fn candidate(&self, text: &str) -> std::result::Result<Candidate, Fault> {
        let candidate = Candidate::new(self.parse(text)?, self.spec.clone());
        Ok(Candidate { seed: self.scene.as_ref().and_then(|scene| scene.seed), ..candidate })
    }

    /// Whether a task is sound, and its gold works.
    pub(crate) fn verify(&self, task: &Task, config: &VerifyConfig) -> std::result::Result<(), Fault> {
        verify(task, &self.spec, config)?;
        self.scene.as_ref().map_or(Ok(()), |scene| scene.trial.pass(task))
    }

    /// What a completion is paid.
    pub(crate) fn reward(&self, text: &str, worth: &Curriculum, config: &RewardConfig) -> Reward {
        match &self.scene {
            None => config.of_generator(text, &self.spec, worth),
            Some(scene) => config.of_generator_given(text, &self.spec, &scene.given(), worth),
        }
    }
}
