//! Judge and teacher on trial before they are asked, and what a run does where they fail: it does without them.

use serde::{Deserialize, Serialize};
use toolr0_reward::calibration::{Bounds, Trial, Trust, trials};
use toolr0_reward::judge;
use toolr0_tools::Task;

use crate::answers::{Answerer, Cast, Heard, Tab};
use crate::config::{EndpointRole, TrustConfig};
use crate::error::Result;
use crate::ledger::Cost;
use crate::record::{Observer, Record};
use crate::selfplay::{Probed, SelfPlay};
use crate::state::State;

/// What came of the trials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustReport {
    /// The judge; `None` if the run has none.
    pub judge: Option<Examined>,
    /// The external teacher; `None` if the run has none.
    pub teacher: Option<Examined>,
}

/// What came of one's trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Examined {
    /// How good the verdicts are.
    pub trust: Trust,
    /// Whether that is good enough. Who is not trusted is not asked in this iteration.
    pub trusted: bool,
}

impl Examined {
    fn new(verdicts: &[Option<f64>], config: &TrustConfig) -> Self {
        let trust = Trust::of(verdicts);
        let TrustConfig { agreement, canary, bias } = *config;
        let trusted = trust.holds(&Bounds { agreement, canary, bias });
        Self { trust, trusted }
    }
}

impl TrustReport {
    /// What the run says of those whom it does without.
    pub fn warnings(&self) -> Vec<String> {
        let all = [("judge", &self.judge), ("teacher", &self.teacher)];
        let warn = |(who, examined): (&str, &Option<Examined>)| {
            let Examined { trust, trusted: false } = examined.as_ref()? else { return None };
            let share =
                |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
            Some(format!(
                "the {who} is not trusted and not asked in this iteration: agreement {}, canary {}, position bias {}, \
                 length bias {}, {} of {} verdicts came",
                share(trust.agreement),
                share(trust.canary),
                share(trust.position_bias),
                share(trust.length_bias),
                trust.answered,
                trust.asked,
            ))
        };
        all.into_iter().filter_map(warn).collect()
    }
}

impl SelfPlay<'_> {
    /// Whether the judge is asked.
    pub(crate) fn heeds_judge(&self, state: &State) -> bool {
        let trust = state.memory.trust.as_ref().and_then(|report| report.judge.as_ref());
        self.config.judged() && trust.is_none_or(|judge| judge.trusted)
    }

    /// The cast, in which `own` takes the place of a teacher who is not trusted.
    pub(crate) fn trusted<'a>(&self, cast: Cast<'a>, own: &'a dyn Answerer, state: &State) -> Cast<'a> {
        let trust = state.memory.trust.as_ref().and_then(|report| report.teacher.as_ref());
        match trust.is_some_and(|teacher| !teacher.trusted) {
            true => Cast { verifier: own, ..cast },
            false => cast,
        }
    }

    /// Tries judge and teacher, if the run asks for it, and tells what came of it.
    pub(crate) fn try_trust(
        &self,
        state: &mut State,
        cast: Cast<'_>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let config = self.config;
        let Some(trust) = &config.trust else { return Ok(()) };
        let iteration = state.position.iteration;
        let stream = self.root.child(iteration).child("trust");
        let trials = trials();
        let tasks: Vec<(usize, &Task)> = trials.iter().map(|trial| &trial.task).enumerate().collect();
        let (mut tab, mut report) = (Tab::default(), TrustReport::default());
        if config.judged() {
            let mut rated = vec![Probed::default(); tasks.len()];
            self.judge(&tasks, cast.judge, stream.child("judge"), &mut tab, &mut rated)?;
            let verdicts: Vec<_> = rated.iter().map(|rated| rated.curriculum.semantic).collect();
            report.judge = Some(Examined::new(&verdicts, trust));
        }
        if self.has_role(EndpointRole::Teacher) {
            let sampling = &config.probe.sampling;
            let stream = stream.child("teacher");
            let stages = vec![None; tasks.len()];
            let answers =
                self.attempt(&tasks, &stages, cast.verifier, sampling, 0..1, stream, &mut |_| true)?;
            let agrees = |(Trial { task, .. }, heard): (&Trial, &Heard)| {
                let text = heard.texts.first()?.as_ref()?;
                Some(f64::from(judge(task, text).solved))
            };
            let verdicts: Vec<_> = trials.iter().zip(&tab.book(answers)?).map(agrees).collect();
            report.teacher = Some(Examined::new(&verdicts, trust));
        }
        state.memory.trust = Some(report.clone());
        let cost = Cost { solver_tokens: tab.tokens, judge_calls: tab.judge_calls, ..Cost::default() };
        let entry = self.entry(state, state.position, stream, cost, &[]);
        self.tell(state, &Record::Trust { iteration, report }, &entry, observer)
    }
}
