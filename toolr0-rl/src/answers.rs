//! Who answers prompts where the text of an answer is all that is needed: probing, verification, judging, measuring.
//!
//! A policy in this process does ([`Sampler`]), or somebody outside of it. Only the policy records the ids and
//! log-probabilities that it draws; with them an answer can be trained on later.

use std::fmt;

use serde::{Deserialize, Serialize};
use toolr0_curriculum::Drops;
use toolr0_model::SamplingConfig;
use toolr0_model::rng::Stream;
use toolr0_tools::Prompt;

use crate::config::EndpointRole;
use crate::conversation::Desk;
use crate::error::{Error, Result};
use crate::policy::{Group, Rollout, Sampler};

/// Answers to some prompts.
#[derive(Debug, Default)]
pub struct Answers {
    /// One text for each stream of each prompt, in order. `None` is an answer that did not come: it is unknown, which is
    /// neither right nor wrong.
    pub texts: Vec<Vec<Option<String>>>,
    /// The same answers as they were drawn, for each prompt; empty if somebody outside drew them.
    pub rollouts: Vec<Vec<Rollout>>,
    /// Tokens that were drawn, as far as it was told.
    pub tokens: usize,
    /// Why answers did not come, counted.
    pub unknown: Drops,
    /// Why no further answer is to be had, if so. What came before is in `texts`.
    pub ended: Option<Error>,
}

impl Answers {
    /// Rollouts as answers.
    pub(crate) fn of(groups: Vec<Group>) -> Self {
        let mut answers = Self::default();
        for Group { rollouts, .. } in groups {
            answers.tokens += rollouts.iter().map(Rollout::own_tokens).sum::<usize>();
            answers.texts.push(rollouts.iter().map(|rollout| Some(rollout.text.clone())).collect());
            answers.rollouts.push(rollouts);
        }
        answers
    }
}

/// What was answered to one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// The texts; `None` where an answer did not come.
    pub texts: Vec<Option<String>>,
    /// The same as rollouts; empty if they were drawn outside.
    pub rollouts: Vec<Rollout>,
}

impl Heard {
    /// Adds further answers to the same task.
    pub(crate) fn extend(&mut self, more: Self) {
        self.texts.extend(more.texts);
        self.rollouts.extend(more.rollouts);
    }
}

/// Who answers prompts.
pub trait Answerer: fmt::Debug {
    /// One answer for each stream of each prompt. `progress` is called with the number of answers so far; where it returns
    /// `false`, what is missing is not waited for.
    ///
    /// # Errors
    ///
    /// If nothing could be asked at all. A failure on the way is [`Answers::ended`].
    fn answer(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers>;

    /// The same, where `desk` answers each turn. Who cannot read what is said answers in one turn.
    ///
    /// # Errors
    ///
    /// As [`Answerer::answer`].
    fn converse(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        desk: &Desk<'_>,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers> {
        let _ = desk;
        self.answer(prompts, sampling, progress)
    }
}

impl Answerer for Sampler {
    fn answer(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers> {
        Ok(Answers::of(self.sample(prompts, sampling, progress)?))
    }

    fn converse(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        desk: &Desk<'_>,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Answers> {
        Ok(Answers::of(Self::converse(self, prompts, sampling, desk, progress)?))
    }
}

/// Who plays the frozen solver, by what is asked of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cast<'a> {
    /// Measures how hard the generator's tasks are.
    pub(crate) prober: &'a dyn Answerer,
    /// Says whether candidates are sound.
    pub(crate) verifier: &'a dyn Answerer,
    /// Rates tasks.
    pub(crate) judge: &'a dyn Answerer,
}

impl<'a> Cast<'a> {
    /// `own` for everything, but for the roles of somebody outside.
    pub(crate) fn new(own: &'a dyn Answerer, outside: Option<(&'a dyn Answerer, &[EndpointRole])>) -> Self {
        let mut cast = Self { prober: own, verifier: own, judge: own };
        let Some((outside, roles)) = outside else { return cast };
        for role in roles {
            match role {
                EndpointRole::Solver => (cast.prober, cast.verifier) = (outside, outside),
                EndpointRole::Teacher => cast.verifier = outside,
                EndpointRole::Judge => cast.judge = outside,
            }
        }
        cast
    }
}

/// What answers cost, and which of them did not come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tab {
    /// Tokens.
    pub(crate) tokens: usize,
    /// How often the judge was asked.
    pub(crate) judge_calls: usize,
    /// Why answers are unknown, counted.
    pub(crate) unknown: Drops,
}

impl Tab {
    /// Books answers, and hands them out task by task.
    ///
    /// # Errors
    ///
    /// What ended the answering, if something did.
    pub(crate) fn book(&mut self, answers: Answers) -> Result<Vec<Heard>> {
        let Answers { texts, rollouts, tokens, unknown, ended } = answers;
        self.tokens += tokens;
        self.unknown.merge(&unknown);
        let rollouts = rollouts.into_iter().chain(std::iter::repeat_with(Vec::new));
        let heard = texts.into_iter().zip(rollouts).map(|(texts, rollouts)| Heard { texts, rollouts });
        ended.map_or_else(|| Ok(heard.collect()), Err)
    }
}
