//! What the generator is asked for, and what it said: specs before a batch, and a memory of it afterwards.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use toolr0_curriculum::coverage::Cell;
use toolr0_curriculum::{Candidate, draw_specs};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_reward::reward::RewardConfig;
use toolr0_tools::{TaskId, TaskSpec};

use crate::assignment::Assignment;
use crate::config::{AbstentionConfig, EndpointRole};
use crate::insight::{ErrorReport, Insight};
use crate::memory::{Memory, Said};
use crate::policy::{Group, Rollout};
use crate::round::Told;
use crate::selfplay::{Probed, SelfPlay, each_with};

impl SelfPlay<'_> {
    /// `n` specs: of the law, or of the law as it is bent, some of them for a task that no tool serves.
    pub(crate) fn specs(&self, memory: &Memory, n: usize, stream: Stream) -> Vec<TaskSpec> {
        let mut rng = stream.child("specs").rng();
        let mut specs = match self.config.steering {
            None => draw_specs(self.asked_law(), n, &mut rng),
            Some(steering) => memory.steering.draw(self.asked_law(), steering.floor, n, &mut rng),
        };
        if let Some(AbstentionConfig { share, .. }) = self.config.abstention {
            let mut rng = stream.child("abstention").rng();
            specs.iter_mut().filter(|_| uniform_f64(&mut rng) < share).for_each(|spec| spec.n_calls = 0);
        }
        specs
    }

    /// The mix of tasks that is asked for.
    fn target(&self) -> BTreeMap<Cell, f64> {
        let mix = self.asked_law().mix();
        let Some(AbstentionConfig { share, .. }) = self.config.abstention else { return mix };
        let mut target = BTreeMap::new();
        for ((domain, n_calls, n_tools), weight) in mix {
            for (n_calls, weight) in [(n_calls, (1.0 - share) * weight), (0, share * weight)] {
                *target.entry((domain.clone(), n_calls, n_tools)).or_insert(0.0) += weight;
            }
        }
        target
    }

    /// Keeps what was said, and how far the solver got with what it was asked of it.
    pub(crate) fn remember(&self, memory: &mut Memory, said: &[Said], asked: &[Said]) -> Told {
        let alike = self.config.novelty.unwrap_or_default().alike;
        let novelty = Some(memory.take_in(said, alike, &self.target()));
        for Said { spec, insight, .. } in asked {
            if let Some(reached) = insight.reached() {
                memory.steering.observe(spec, reached);
            }
        }
        let bent =
            self.config.steering.map(|steering| memory.steering.report(self.asked_law(), steering.floor));
        Told { novelty, errors: ErrorReport::of(asked), steering: bent }
    }

    /// Takes the tools that are called off the menus of some candidates: what is left serves the question no longer.
    /// Menus of which nothing would be left stay as they are. Returns which tasks came of it.
    pub(crate) fn withdraw(&self, candidates: &mut [Candidate], stream: Stream) -> BTreeSet<TaskId> {
        let share = self.config.abstention.map_or(0.0, |abstention| abstention.withdrawn);
        let (mut rng, mut withdrawn) = (stream.rng(), BTreeSet::new());
        for Candidate { task, spec, .. } in candidates {
            let chosen = uniform_f64(&mut rng) < share;
            let called: HashSet<String> = task.gold.iter().map(|call| call.name.clone()).collect();
            if chosen && task.tools.iter().any(|tool| !called.contains(&tool.name)) {
                task.tools.retain(|tool| !called.contains(&tool.name));
                task.gold.clear();
                (spec.n_tools, spec.n_calls) = (task.tools.len(), 0);
                withdrawn.insert(task.id());
            }
        }
        withdrawn
    }

    /// The rewards of the generator: without the judge's part where it is not asked.
    pub(crate) fn paid_by(&self, judged: bool) -> RewardConfig {
        let mut reward = self.config.reward.clone();
        if !judged {
            reward.generator.curriculum_weights.semantic = 0.0;
        }
        reward
    }

    /// Whether somebody outside plays a role.
    pub(crate) fn has_role(&self, role: EndpointRole) -> bool {
        self.config.endpoint.as_ref().is_some_and(|endpoint| endpoint.roles.contains(&role))
    }
}

/// What a batch of completions says; `None` where nothing can be read.
pub(crate) fn hear(groups: &[Group], asked: &[Assignment<'_>], probed: &[Probed]) -> Vec<Option<Said>> {
    let one = |((rollout, asked), probed): ((&Rollout, &Assignment<'_>), &Probed)| {
        let task = asked.parse(&rollout.text).ok()?;
        let (spec, insight) = (asked.spec.clone(), probed.insight.clone());
        Some(Said { spec, task, sound: probed.task.is_some(), insight })
    };
    each_with(groups, asked).zip(probed).map(one).collect()
}

/// The candidates that could be read, of which nothing else is known yet.
pub(crate) fn overheard(candidates: &[Candidate]) -> Vec<Said> {
    let one = |Candidate { task, spec, .. }: &Candidate| Said {
        spec: spec.clone(),
        task: task.clone(),
        sound: false,
        insight: Insight::default(),
    };
    candidates.iter().map(one).collect()
}

/// Notes which of them turned out to be sound.
pub(crate) fn mark_sound(said: &mut [Said], sound: &[Candidate]) {
    let sound: HashSet<TaskId> = sound.iter().map(|candidate| candidate.task.id()).collect();
    said.iter_mut().for_each(|said| said.sound = sound.contains(&said.task.id()));
}

/// A candidate with the solver's answers.
pub(crate) fn answered(candidate: &Candidate, answers: &[Option<String>]) -> Said {
    let Candidate { task, spec, .. } = candidate;
    Said { spec: spec.clone(), task: task.clone(), sound: true, insight: Insight::of(task, answers) }
}
