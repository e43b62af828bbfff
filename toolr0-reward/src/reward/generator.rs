//! The generator's reward: format, validity and curriculum value.

use serde::{Deserialize, Serialize};
use toolr0_tools::TaskSpec;

use super::{Reward, Term};
use crate::executed::Trial;
use crate::fault::Fault;
use crate::verify::{Findings, VerifyConfig, inspect};
use crate::wire::generator::{self, Given};

/// The shares of the validity term.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidityWeights {
    /// Every call names a tool of the menu. Default 0.4, as in the paper.
    pub menu: f64,
    /// Every call has its required arguments, none that the tool does not know, and all of the right type. Default
    /// 0.4, as in the paper (which checks the required ones of the first call).
    pub arguments: f64,
    /// Every value stands in the question. Default 0.2, as in the paper.
    pub grounding: f64,
}

impl Default for ValidityWeights {
    fn default() -> Self {
        Self { menu: 0.4, arguments: 0.4, grounding: 0.2 }
    }
}

/// The shares of the curriculum term.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurriculumWeights {
    /// The difficulty score. Default 0.5, as in the release.
    pub difficulty: f64,
    /// The judge's score. Default 0.5, as in the release. With 0 the judge is off, and difficulty counts in full.
    pub semantic: f64,
}

impl Default for CurriculumWeights {
    fn default() -> Self {
        Self { difficulty: 0.5, semantic: 0.5 }
    }
}

/// The weights of the generator's reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Weight of the format term. Default 1, as in the release.
    pub format: f64,
    /// Weight of the validity term. Default 1, as in the release.
    pub validity: f64,
    /// Weight of the curriculum term. Default 1, as in the release.
    pub curriculum: f64,
    /// The validity term's shares.
    pub validity_weights: ValidityWeights,
    /// The curriculum term's shares.
    pub curriculum_weights: CurriculumWeights,
    /// What a valid task is.
    pub verify: VerifyConfig,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            format: 1.0,
            validity: 1.0,
            curriculum: 1.0,
            validity_weights: ValidityWeights::default(),
            curriculum_weights: CurriculumWeights::default(),
            verify: VerifyConfig::default(),
        }
    }
}

/// What was measured of a task's value for the curriculum, each from 0 to 1; `None` is unknown, not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curriculum {
    /// How near the solver's success rate is to the frontier.
    pub difficulty: Option<f64>,
    /// The judge's score, `(score - 1) / 4`.
    pub semantic: Option<f64>,
}

impl Curriculum {
    /// A measured difficulty, without a judge.
    pub fn difficulty(score: f64) -> Self {
        Self { difficulty: Some(score), semantic: None }
    }

    /// A judge's score from 1 to 5, as [`crate::wire::judge::parse`] reads it.
    pub fn judged(self, score: Option<u8>) -> Self {
        Self { semantic: score.map(|s| (f64::from(s.clamp(1, 5)) - 1.0) / 4.0), ..self }
    }

    /// The weighted mean; `None` if a part that has weight is unknown, or is no number from 0 to 1.
    fn score(&self, weights: &CurriculumWeights) -> Option<f64> {
        let mut total = 0.0;
        for (value, weight) in [(self.difficulty, weights.difficulty), (self.semantic, weights.semantic)] {
            if weight > 0.0 {
                total += weight * value.filter(|v| (0.0..=1.0).contains(v))?;
            }
        }
        let sum = weights.difficulty + weights.semantic;
        Some(if sum > 0.0 { total / sum } else { 0.0 })
    }
}

/// Scores a generator's completion for `spec`.
///
/// `format`: a third each for four well-formed blocks, a readable menu, readable calls. `validity`: the shares of
/// [`ValidityWeights`], over all calls; the arguments' and the values' shares need the menu's (fault 12), and a task
/// that is not the one asked for (menu size, number of calls, nested parameters, twin tools) has none. `curriculum`
/// is paid for a task without any fault, and only there can it be unknown: nobody needs to probe a faulty task.
///
/// A dishonest text (a placeholder, an echo of the prompt, the answer in the question, invisible or look-alike
/// letters, a tag written twice) scores 0 in every term, like the release's gate.
pub fn generator_reward(
    text: &str,
    spec: &TaskSpec,
    curriculum: &Curriculum,
    config: &GeneratorConfig,
) -> Reward {
    pay(generator::read(text), spec, None, curriculum, config)
}

/// The same for a task with a given menu. The arguments' share needs a gold that passes its [`Trial`]: one that is refused,
/// fails or has no effect is a fault of the task.
pub fn generator_reward_given(
    text: &str,
    spec: &TaskSpec,
    given: &Given<'_>,
    curriculum: &Curriculum,
    config: &GeneratorConfig,
) -> Reward {
    pay(generator::read_given(text, given), spec, Some(given.trial), curriculum, config)
}

fn pay(
    draft: Result<generator::Draft, Fault>,
    spec: &TaskSpec,
    trial: Option<Trial<'_>>,
    curriculum: &Curriculum,
    config: &GeneratorConfig,
) -> Reward {
    let scored = match draft {
        Err(fault) => Scored { fault: Some(fault), ..Scored::default() },
        Ok(draft) => score(draft, spec, trial, config),
    };
    // An unknown value is unknown only where it would have been paid.
    let curriculum = match (&scored.fault, config.curriculum > 0.0) {
        (None, true) => curriculum.score(&config.curriculum_weights),
        _ => Some(0.0),
    };
    let terms = vec![
        Term { name: "format", value: Some(config.format * scored.format) },
        Term { name: "validity", value: Some(config.validity * scored.validity) },
        Term { name: "curriculum", value: curriculum.map(|c| config.curriculum * c) },
    ];
    Reward { terms, fault: scored.fault }
}

#[derive(Default)]
struct Scored {
    format: f64,
    validity: f64,
    fault: Option<Fault>,
}

fn score(
    draft: generator::Draft,
    spec: &TaskSpec,
    trial: Option<Trial<'_>>,
    config: &GeneratorConfig,
) -> Scored {
    // One text, two readings: nothing in it can be trusted.
    let faults: Vec<Fault> = [
        draft.think.as_ref().err(),
        draft.question.as_ref().err(),
        draft.tools.as_ref().err(),
        draft.gold.as_ref().err(),
    ]
    .into_iter()
    .flatten()
    .cloned()
    .collect();
    let twofold = |f: &&Fault| matches!(f, Fault::RepeatedBlock { .. } | Fault::MisplacedBlock { .. });
    if let Some(fault) = faults.iter().find(twofold) {
        return Scored { fault: Some(fault.clone()), ..Scored::default() };
    }
    // Without all four blocks nothing is paid, as in the release.
    let absent = |f: &&Fault| matches!(f, Fault::MissingBlock { .. } | Fault::EmptyBlock { .. });
    if let Some(fault) = faults.iter().find(absent) {
        return Scored { fault: Some(fault.clone()), ..Scored::default() };
    }
    let third = |ok: bool| f64::from(ok) / 3.0;
    let format = third(true) + third(draft.tools.is_ok()) + third(draft.gold.is_ok());
    let task = match draft.task() {
        Ok(task) => task,
        Err(fault) => return Scored { format, validity: 0.0, fault: Some(fault) },
    };
    let mut findings = inspect(&task, Some(spec), &config.verify);
    if let (None, None, Some(trial)) = (&findings.menu, &findings.arguments, trial) {
        findings.arguments = trial.pass(&task).err();
    }
    if findings.dishonest.is_some() {
        return Scored { fault: findings.dishonest, ..Scored::default() };
    }
    let validity = validity(&findings, &config.validity_weights);
    Scored { format, validity, fault: findings.first() }
}

fn validity(findings: &Findings, weights: &ValidityWeights) -> f64 {
    if findings.task.is_some() || findings.menu.is_some() {
        return 0.0;
    }
    let mut sum = weights.menu;
    if findings.arguments.is_none() {
        sum += weights.arguments;
    }
    if findings.grounding.is_none() {
        sum += weights.grounding;
    }
    sum
}
