//! What is refused before a run begins: values out of their range, and options that would have no effect.

use toolr0_curriculum::{Frontier, Shape};
use toolr0_model::{LoraConfig, SamplingConfig};
use toolr0_reward::Profile;
use toolr0_reward::reward::SolverConfig;

use super::{EndpointConfig, EndpointRole, Overlong, RunConfig};
use crate::advantage::Estimator;
use crate::error::{Error, Result};
use crate::shaping::overlong_punishment;

impl RunConfig {
    /// Checks every range and that no option is set that would have no effect.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key, or what the parts' own checks return.
    pub fn check(&self) -> Result<()> {
        least("selfplay.iterations", self.selfplay.iterations, 1)?;
        least("generator.prompts", self.generator.prompts, 1)?;
        least("generator.group_size", self.generator.group_size, 2)?;
        least("solver.prompts", self.solver.prompts, 1)?;
        least("solver.group_size", self.solver.group_size, 2)?;
        least("probe.samples", self.probe.samples, 1)?;
        least("probe.judge_tries", self.probe.judge_tries, usize::from(self.judged()))?;
        least("dataset.candidates", self.dataset.candidates, 1)?;
        least("dataset.samples", self.dataset.samples, 1)?;
        least("dataset.tasks", self.dataset.tasks, 1)?;
        least("rl.epochs", self.rl.epochs, 1)?;
        least("rl.micro_batch_tokens", self.rl.micro_batch_tokens, 1)?;
        least("rl.micro_batch_mib", self.rl.micro_batch_mib.unwrap_or(1), 1)?;
        least("rl.max_rows", self.rl.max_rows, 1)?;
        least("exam.max_new_tokens", self.exam.max_new_tokens, 1)?;
        share("dataset.agreement", self.dataset.agreement)?;
        share("rl.learning_rate", self.rl.learning_rate)?;
        share("generator.learning_rate", self.generator.learning_rate.unwrap_or(0.0))?;
        share("solver.learning_rate", self.solver.learning_rate.unwrap_or(0.0))?;
        for (sampling, name) in [
            (&self.generator.sampling, "generator.sampling.temperature"),
            (&self.solver.sampling, "solver.sampling.temperature"),
        ] {
            sampling.validate()?;
            // Greedy rollouts of one prompt are all alike: no group would ever have a signal.
            if sampling.temperature == 0.0 {
                return Err(Error::Config { option: name, expected: "more than 0".into(), got: "0".into() });
            }
            // The trainer scores tokens under the distribution they were drawn from.
            if sampling.temperature != self.rl.loss.temperature {
                return Err(Error::Config {
                    option: name,
                    expected: format!("rl.loss.temperature, {}", self.rl.loss.temperature),
                    got: sampling.temperature.to_string(),
                });
            }
        }
        self.probe.sampling.validate()?;
        self.probe.judge_sampling.validate()?;
        self.dataset.sampling.validate()?;
        self.rl.loss.check()?;
        if let Some(dynamic) = &self.rl.dynamic_sampling {
            least("rl.dynamic_sampling.max_rounds", dynamic.max_rounds, 2)?;
        }
        if let Some(Overlong { cache }) = self.rl.overlong {
            for sampling in [&self.generator.sampling, &self.solver.sampling] {
                overlong_punishment(0, sampling.max_new_tokens, cache)?;
            }
        }
        self.rl.lora.as_ref().map_or(Ok(()), LoraConfig::validate)?;
        self.endpoint.as_ref().map_or(Ok(()), EndpointConfig::check)?;
        self.rl.advantage.check()?;
        self.check_switches()?;
        self.alarms.check()?;
        self.check_menu()?;
        self.check_drill()?;
        self.check_frontier()?;
        self.check_steps()?;
        self.check_reward()?;
        self.check_unused()
    }

    /// Mechanisms beyond the paper, where they are on.
    fn check_switches(&self) -> Result<()> {
        self.novelty.map_or(Ok(()), |novelty| novelty.check())?;
        self.steering.map_or(Ok(()), |steering| steering.check())?;
        self.abstention.map_or(Ok(()), |abstention| abstention.check())?;
        let Some(trust) = self.trust else { return Ok(()) };
        let roles = self.endpoint.iter().flat_map(|endpoint| &endpoint.roles);
        let teacher = roles.into_iter().any(|role| *role == EndpointRole::Teacher);
        if !self.judged() && !teacher {
            let user = "a run without a judge and without an external teacher".to_owned();
            return Err(Error::UnusedOption { option: "trust", user });
        }
        trust.check()
    }

    /// Refuses what the loss or the estimator would use elsewhere, but not in a run.
    fn check_unused(&self) -> Result<()> {
        let rl = &self.rl;
        let unused = |option, set: bool, user: &str| match set {
            true => Err(Error::UnusedOption { option, user: user.to_owned() }),
            false => Ok(()),
        };
        // Sampler and trainer are one implementation: every weight would be exactly 1.
        let one_process = "a run that samples and trains in one process";
        unused("rl.loss.importance_correction", rl.loss.importance_correction.is_some(), one_process)?;
        let whole = "a run, which normalises over the whole step,";
        unused("rl.loss.accumulation_steps", rl.loss.accumulation_steps != 1, whole)?;
        if self.frontier.shape() == Shape::HardCliff {
            let default = Frontier::default().sigma();
            unused("frontier.sigma", self.frontier.sigma() != default, "frontier.shape `hard_cliff`")?;
        }
        if self.reward.profile == Profile::Release {
            let (generator, solver) = (&self.reward.generator, &self.reward.solver);
            let release = "reward.profile `release`";
            let validity = generator.validity_weights != Default::default();
            unused("reward.generator.validity_weights", validity, release)?;
            unused("reward.solver.format_weights", solver.format_weights != Default::default(), release)?;
            unused("reward.solver.call_weights", solver.call_weights != Default::default(), release)?;
            let default = SolverConfig::default();
            unused("reward.solver.alpha", solver.alpha != default.alpha, release)?;
            unused("reward.solver.require_think", solver.require_think != default.require_think, release)?;
        }
        let roles = "a run, whose roles have rewards of different terms,";
        unused("rl.advantage.weights", rl.advantage.weights.is_some(), roles)?;
        if rl.advantage.estimator == Estimator::Rae {
            return Err(Error::Config {
                option: "rl.advantage.estimator",
                expected: "an estimator that compares the rewards of one step".into(),
                got: "`rae`".into(),
            });
        }
        Ok(())
    }

    /// The posterior of a task's difficulty, and samples that are used twice.
    fn check_frontier(&self) -> Result<()> {
        let outside = |roles: &[EndpointRole]| {
            self.endpoint.as_ref().is_some_and(|e| e.roles.iter().any(|role| roles.contains(role)))
        };
        if let Some(posterior) = &self.probe.posterior {
            let count = |x: f64| (0.1..=100.0).contains(&x);
            within("probe.posterior.alpha", posterior.alpha, count, "0.1 to 100")?;
            within("probe.posterior.beta", posterior.beta, count, "0.1 to 100")?;
            least("probe.posterior.batch", posterior.batch, 1)?;
            share("probe.posterior.tolerance", posterior.tolerance)?;
            let fits = |x: f64| (0.0..=self.frontier.low()).contains(&x);
            within("probe.posterior.floor", posterior.floor, fits, "0 to frontier.low")?;
            if let Some(prior) = &posterior.loss_prior {
                let strength = "probe.posterior.loss_prior.strength";
                within(strength, prior.strength, |x| (0.2..=100.0).contains(&x), "0.2 to 100")?;
                let fits = |x: f64| 0.0 < x && x <= 1.0;
                within("probe.posterior.loss_prior.memory", prior.memory, fits, "more than 0 to 1")?;
                if outside(&[EndpointRole::Solver]) {
                    let user = "a run whose solver answers from outside: nobody tells its log-probabilities";
                    let option = "probe.posterior.loss_prior";
                    return Err(Error::UnusedOption { option, user: user.to_owned() });
                }
            }
        }
        if 0 < self.dataset.reuse_within {
            let measured =
                SamplingConfig { temperature: self.dataset.temperature, ..self.probe.sampling.clone() };
            if measured != self.solver.sampling {
                return Err(Error::Config {
                    option: "dataset.reuse_within",
                    expected: "0 unless dataset.temperature and probe.sampling draw as solver.sampling does"
                        .into(),
                    got: self.dataset.reuse_within.to_string(),
                });
            }
            if outside(&[EndpointRole::Solver, EndpointRole::Teacher]) {
                let user = "a run whose tasks are measured from outside: such samples are nobody's rollouts";
                return Err(Error::UnusedOption { option: "dataset.reuse_within", user: user.to_owned() });
            }
        }
        if self.dataset.pool_probed {
            let unused = |user: &str| {
                Err(Error::UnusedOption { option: "dataset.pool_probed", user: user.to_owned() })
            };
            if self.selfplay.generator_steps == 0 {
                return unused("a generator that is only prompted");
            }
            if self.selfplay.shared_weights {
                return unused("shared weights, of which each step's probes are another solver's,");
            }
            if outside(&[EndpointRole::Teacher]) {
                return unused("a run with a teacher, who has not seen the generator's steps,");
            }
            if self.dataset.temperature != self.probe.sampling.temperature {
                return Err(Error::Config {
                    option: "dataset.pool_probed",
                    expected: "false unless dataset.temperature is that of probe.sampling".into(),
                    got: "true".into(),
                });
            }
        }
        Ok(())
    }

    /// Faults made on purpose, of which none may be without effect.
    fn check_drill(&self) -> Result<()> {
        let drill = &self.drill;
        share("drill.nan_rewards", drill.nan_rewards)?;
        within(
            "drill.rate_factor",
            drill.rate_factor,
            |x| x.is_finite() && 0.0 < x,
            "a finite number above 0",
        )?;
        let (option, user) = match (drill.rate_factor == 1.0, drill.rate_from_step == 0) {
            (true, false) => ("drill.rate_from_step", "a drill whose rate_factor is 1"),
            (false, true) => ("drill.rate_factor", "a drill whose rate_from_step is 0"),
            _ => return Ok(()),
        };
        Err(Error::UnusedOption { option, user: user.to_owned() })
    }

    /// The optimiser and its schedule.
    fn check_steps(&self) -> Result<()> {
        let adamw = &self.rl.adamw;
        share("rl.schedule.floor", self.rl.schedule.floor)?;
        let decays = [("rl.adamw.beta1", adamw.beta1), ("rl.adamw.beta2", adamw.beta2)];
        decays.into_iter().try_for_each(|(option, decay)| {
            // At 1 a moment would never move, and its correction would divide by 0.
            within(option, decay, |x| (0.0..1.0).contains(&x), "0 or more and less than 1")
        })?;
        weight("rl.adamw.eps", adamw.eps)?;
        weight("rl.adamw.weight_decay", adamw.weight_decay)?;
        within("rl.adamw.max_grad_norm", adamw.max_grad_norm, |x| 0.0 < x, "more than 0 (.inf for no bound)")
    }

    /// Weights that a reward can be summed with, and a question's length that some question has.
    fn check_reward(&self) -> Result<()> {
        let (generator, solver) = (&self.reward.generator, &self.reward.solver);
        let weights = [
            ("reward.generator.format", generator.format),
            ("reward.generator.validity", generator.validity),
            ("reward.generator.curriculum", generator.curriculum),
            ("reward.generator.validity_weights.menu", generator.validity_weights.menu),
            ("reward.generator.validity_weights.arguments", generator.validity_weights.arguments),
            ("reward.generator.validity_weights.grounding", generator.validity_weights.grounding),
            ("reward.generator.curriculum_weights.difficulty", generator.curriculum_weights.difficulty),
            ("reward.generator.curriculum_weights.semantic", generator.curriculum_weights.semantic),
            ("reward.solver.format", solver.format),
            ("reward.solver.accuracy", solver.accuracy),
            ("reward.solver.format_weights.answered", solver.format_weights.answered),
            ("reward.solver.format_weights.parsed", solver.format_weights.parsed),
            ("reward.solver.format_weights.calls", solver.format_weights.calls),
            ("reward.solver.call_weights.name", solver.call_weights.name),
            ("reward.solver.call_weights.keys", solver.call_weights.keys),
            ("reward.solver.call_weights.values", solver.call_weights.values),
            ("reward.solver.alpha", solver.alpha),
            ("reward.solver.needless", solver.needless),
        ];
        weights.into_iter().try_for_each(|(option, value)| weight(option, value))?;
        let verify = &generator.verify;
        least(
            "reward.generator.verify.max_question_chars",
            verify.max_question_chars,
            verify.min_question_chars,
        )?;
        share("reward.generator.verify.twin_similarity", verify.twin_similarity)
    }
}

pub(super) fn least(option: &'static str, value: usize, least: usize) -> Result<()> {
    match value < least {
        true => Err(Error::Config { option, expected: format!("at least {least}"), got: value.to_string() }),
        false => Ok(()),
    }
}

fn within(option: &'static str, value: f64, fits: impl Fn(f64) -> bool, expected: &str) -> Result<()> {
    match fits(value) {
        false => Err(Error::Config { option, expected: expected.into(), got: value.to_string() }),
        true => Ok(()),
    }
}

fn share(option: &'static str, value: f64) -> Result<()> {
    within(option, value, |x| (0.0..=1.0).contains(&x), "0 to 1")
}

/// For what may be any finite number that does not turn a sum around.
fn weight(option: &'static str, value: f64) -> Result<()> {
    within(option, value, |x| x.is_finite() && 0.0 <= x, "a number >= 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advantage::AdvantageConfig;
    use crate::config::DynamicSampling;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut RunConfig), word: &str) {
        let mut config = RunConfig::default();
        config.check().unwrap();
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }

    #[test]
    fn what_is_out_of_range_or_without_effect_is_refused_by_name() {
        refused(|c| c.selfplay.iterations = 0, "selfplay.iterations");
        refused(|c| c.solver.group_size = 1, "solver.group_size");
        refused(|c| c.dataset.agreement = 1.5, "dataset.agreement");
        refused(
            |c| c.rl.dynamic_sampling = Some(DynamicSampling { max_rounds: 1 }),
            "rl.dynamic_sampling.max_rounds",
        );
        refused(|c| c.rl.overlong = Some(Overlong { cache: 2049 }), "rl.overlong.cache");
        refused(|c| c.generator.sampling.temperature = 0.7, "generator.sampling.temperature");
        refused(
            |c| {
                let text = r#"{"level": "token", "out_of_bounds": "truncate"}"#;
                c.rl.loss.importance_correction = Some(serde_json::from_str(text).unwrap());
            },
            "rl.loss.importance_correction",
        );
        refused(|c| c.frontier = Frontier::new(0.25, 0.75, 0.2, Shape::HardCliff).unwrap(), "frontier.sigma");
        let release = |c: &mut RunConfig| c.reward.profile = Profile::Release;
        refused(|c| (release(c), c.reward.generator.validity_weights.menu = 0.5).0, "validity_weights");
        refused(|c| (release(c), c.reward.solver.alpha = 0.5).0, "reward.solver.alpha");
        refused(|c| (release(c), c.reward.solver.require_think = false).0, "reward.solver.require_think");
        refused(|c| c.rl.loss.accumulation_steps = 2, "rl.loss.accumulation_steps");
        refused(|c| c.rl.advantage.estimator = Estimator::Rae, "rl.advantage.estimator");
        let weights = AdvantageConfig {
            estimator: Estimator::Gdpo,
            weights: Some(vec![1.0]),
            ..AdvantageConfig::default()
        };
        refused(|c| c.rl.advantage = weights, "rl.advantage.weights");
        refused(|c| c.rl.micro_batch_mib = Some(0), "rl.micro_batch_mib");
    }

    #[test]
    fn an_optimiser_that_cannot_step_is_refused_by_name() {
        refused(|c| c.rl.learning_rate = f64::NAN, "`rl.learning_rate` is NaN");
        refused(|c| c.solver.learning_rate = Some(-1e-6), "solver.learning_rate");
        refused(|c| c.rl.adamw.beta2 = 1.0, "`rl.adamw.beta2` is 1");
        refused(|c| c.rl.adamw.eps = -1.0, "rl.adamw.eps");
        refused(|c| c.rl.adamw.max_grad_norm = 0.0, "rl.adamw.max_grad_norm");
        refused(|c| c.rl.schedule.floor = 2.0, "rl.schedule.floor");
        let mut config = RunConfig::default();
        config.rl.adamw.max_grad_norm = f64::INFINITY;
        config.check().unwrap();
    }

    #[test]
    fn a_reward_that_cannot_be_summed_is_refused_by_name() {
        refused(|c| c.reward.solver.alpha = -0.25, "`reward.solver.alpha` is -0.25");
        refused(|c| c.reward.generator.format = f64::NAN, "`reward.generator.format` is NaN");
        refused(|c| c.reward.solver.call_weights.keys = f64::INFINITY, "reward.solver.call_weights.keys");
        refused(|c| c.reward.generator.verify.twin_similarity = 1.5, "twin_similarity");
        refused(
            |c| c.reward.generator.verify.max_question_chars = 7,
            "max_question_chars` is 7, expected at least 8",
        );
        refused(|c| c.probe.judge_tries = 0, "probe.judge_tries");
        // Without a judge nobody needs to be asked.
        let mut config = RunConfig::default();
        config.probe.judge_tries = 0;
        config.reward.generator.curriculum_weights.semantic = 0.0;
        config.check().unwrap();
    }
}
