//! How good is a completion? Named terms that sum to a total.
//!
//! [`generator_reward`] pays for format, validity and curriculum value, [`solver_reward`] for format and accuracy,
//! each term from 0 to 1. A term that could not be measured makes the reward *unscorable*: it has no total and must
//! not enter a baseline, since a crashed judge is not a bad task.

mod generator;
mod solver;

use serde::{Deserialize, Serialize};
use toolr0_tools::{Task, TaskSpec};

pub use generator::{
    Curriculum, CurriculumWeights, GeneratorConfig, ValidityWeights, generator_reward, generator_reward_given,
};
pub use solver::{FormatWeights, SolverConfig, solver_reward, solver_reward_on};

use crate::executed::Stage;
use crate::fault::Fault;
use crate::release;
use crate::score::Profile;
use crate::wire::generator::Given;

/// One named term of a reward, already weighted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Term {
    /// `format`, `validity`, `curriculum` or `accuracy`.
    pub name: &'static str,
    /// Reward units; `None`, or a number that is not finite, if it could not be measured.
    pub value: Option<f64>,
}

/// The reward of one completion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reward {
    /// The terms, in a fixed order for each role.
    pub terms: Vec<Term>,
    /// The first thing that the completion got wrong, if it did.
    pub fault: Option<Fault>,
}

impl Reward {
    /// The sum of the terms; `None` if one of them could not be measured.
    pub fn total(&self) -> Option<f64> {
        self.terms.iter().map(|term| term.value.filter(|value| value.is_finite())).sum()
    }

    /// Whether a term could not be measured, so that the completion has no total.
    pub fn unscorable(&self) -> bool {
        self.terms.iter().any(|term| !term.value.is_some_and(f64::is_finite))
    }

    fn set(&mut self, name: &str, value: f64) {
        self.terms.iter_mut().filter(|term| term.name == name).for_each(|term| term.value = Some(value));
    }

    /// One term by name; `None` if there is no such term or it could not be measured.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.terms.iter().find(|term| term.name == name)?.value.filter(|value| value.is_finite())
    }
}

/// Every weight of both roles' rewards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardConfig {
    /// Whose rules: `strict`, or `release` for the public release's format, validity and accuracy, faults included.
    pub profile: Profile,
    /// The generator's.
    pub generator: GeneratorConfig,
    /// The solver's.
    pub solver: SolverConfig,
}

impl RewardConfig {
    /// [`generator_reward`] by the chosen rules. The release's format and validity take the places of ours; what a task
    /// is worth for the curriculum, and whether it is sound enough to be probed, is measured alike.
    pub fn of_generator(&self, text: &str, spec: &TaskSpec, curriculum: &Curriculum) -> Reward {
        let mut reward = generator_reward(text, spec, curriculum, &self.generator);
        if self.profile == Profile::Release {
            let score = release::generator::score(text);
            reward.set("format", self.generator.format * score.format);
            reward.set("validity", self.generator.validity * score.validity);
        }
        reward
    }

    /// The same for a task with a given menu, of which the release knows nothing: always by our rules.
    pub fn of_generator_given(
        &self,
        text: &str,
        spec: &TaskSpec,
        given: &Given<'_>,
        curriculum: &Curriculum,
    ) -> Reward {
        generator_reward_given(text, spec, given, curriculum, &self.generator)
    }

    /// [`solver_reward`] by the chosen rules.
    pub fn of_solver(&self, task: &Task, text: &str) -> Reward {
        self.of_solver_on(task, text, None)
    }

    /// [`solver_reward_on`] by the chosen rules, of which the release's run nothing.
    pub fn of_solver_on(&self, task: &Task, text: &str, stage: Option<&Stage<'_>>) -> Reward {
        let mut reward = solver_reward_on(task, text, &self.solver, stage);
        if self.profile == Profile::Release {
            let gold = serde_json::to_value(&task.gold).unwrap_or_default();
            let score = release::solver::score(&gold, text);
            reward.set("format", self.solver.format * score.format);
            reward.set("accuracy", self.solver.accuracy * score.accuracy);
        }
        reward
    }
}
