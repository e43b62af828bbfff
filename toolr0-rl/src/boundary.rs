//! Between two steps: the position moves on, alarms are heard, a checkpoint is written, or the run goes back to one.

use toolr0_curriculum::Candidate;
use toolr0_model::rng::Stream;

use crate::alarm::{Action, Alarm, AlarmReport, Raised, Rule, well_before};
use crate::checkpoint::{self, Store};
use crate::error::{Error, Result};
use crate::learn::stream_name;
use crate::ledger::{Cost, Entry};
use crate::record::{Observer, Record};
use crate::selfplay::SelfPlay;
use crate::state::{Position, State, Turn};

impl SelfPlay<'_> {
    /// Whether the turn at hand has a step left that may begin.
    pub(crate) fn goes_on(&self, state: &State, turn: Position, observer: &dyn Observer) -> bool {
        state.position.same_turn(turn) && state.position.step < self.steps(turn.turn) && !observer.stopped()
    }

    /// Steps of a turn.
    pub(crate) fn steps(&self, turn: Turn) -> usize {
        match turn {
            Turn::Generator => self.config.selfplay.generator_steps,
            Turn::Solver => self.config.selfplay.solver_steps,
            Turn::Dataset | Turn::Exam => 1,
        }
    }

    /// Ends a step, or a turn of one piece: position, alarms, checkpoint. `done`: what the alarms found.
    pub(crate) fn settle(
        &self,
        state: &mut State,
        done: Result<Vec<Raised>>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let at = state.position;
        let rules = &self.config.alarms;
        let raised = match done {
            Err(error) if rules.not_finite == Action::Rollback && is_not_finite(&error) => {
                let rule = Rule { threshold: 0.0, action: rules.not_finite };
                vec![Raised { alarm: Alarm::NotFinite, value: f64::NAN, rule }]
            }
            done => done?,
        };
        for raised in raised {
            if self.raise(state, at, raised, observer)? {
                return Ok(());
            }
        }
        state.position.step += 1;
        if self.steps(at.turn) <= state.position.step {
            state.end_turn(self.config);
        }
        let every = self.config.checkpoint.every;
        let due = state.position.step == 0 || (0 < every && state.position.step.is_multiple_of(every));
        if due { self.save(state, observer) } else { Ok(()) }
    }

    /// A checkpoint of `state`, unless there is one.
    pub(crate) fn save(&self, state: &State, observer: &mut dyn Observer) -> Result<()> {
        match self.store {
            Some(store) if !store.holds(state.position) => {
                observer.sync()?;
                store.save(state)
            }
            _ => Ok(()),
        }
    }

    /// Tells of an alarm and does what its rule says. Returns whether the run went back.
    fn raise(
        &self,
        state: &mut State,
        at: Position,
        Raised { alarm, value, rule }: Raised,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let rules = &self.config.alarms;
        let earlier = match (rule.action, self.store) {
            (Action::Rollback, Some(store)) if state.watch.rollbacks < rules.max_rollbacks => {
                self.last_good(store, at)?
            }
            _ => None,
        };
        let rollbacks = state.watch.rollbacks + 1;
        let rate = match &earlier {
            Some(_) => rules.smaller.powi(i32::try_from(rollbacks).unwrap_or(i32::MAX)),
            None => state.watch.rate,
        };
        let step = if matches!(at.turn, Turn::Generator | Turn::Solver) { at.step + 1 } else { 0 };
        let report = AlarmReport {
            iteration: at.iteration,
            turn: at.turn,
            step,
            alarm,
            value,
            threshold: rule.threshold,
            action: rule.action,
            back_to: earlier.as_ref().map(|state| state.position.to_string()),
            rate,
        };
        let entry = self.entry(state, at, self.root.child("alarm"), Cost::default(), &[]);
        self.tell(state, &Record::Alarm(report.clone()), &entry, observer)?;
        match (rule.action, earlier, self.store) {
            (Action::Off | Action::Warn, ..) => Ok(false),
            (Action::Rollback, Some(mut earlier), Some(store)) => {
                store.discard_after(earlier.position)?;
                earlier.records = state.records;
                (earlier.watch.rollbacks, earlier.watch.rate) = (rollbacks, rate);
                *state = earlier;
                Ok(true)
            }
            _ => Err(Error::Alarm(Box::new(report))),
        }
    }

    /// The newest checkpoint at which all was well before an alarm at `at`, else the oldest there is.
    fn last_good(&self, store: &Store, at: Position) -> Result<Option<State>> {
        let all: Vec<Position> = checkpoint::list(store.root())?.into_iter().filter(|p| *p <= at).collect();
        let well = all.iter().rev().find(|position| **position <= well_before(at)).or(all.first());
        well.map(|position| checkpoint::load(&store.path(*position), self.config, self.base)).transpose()
    }

    /// An entry of something in which nobody learned.
    pub(crate) fn entry(
        &self,
        state: &State,
        position: Position,
        stream: Stream,
        cost: Cost,
        tasks: &[Candidate],
    ) -> Entry {
        let [generator, solver] = state.digests.clone();
        let tasks = tasks.iter().map(|candidate| candidate.task.id()).collect();
        let stream = stream_name(stream);
        Entry { position, stream, generator, solver, after: None, tasks, data: None, loss: None, cost }
    }

    /// Goes on from a turn that has no step to do.
    pub(crate) fn end_without_steps(
        &self,
        state: &mut State,
        turn: Position,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let none = self.steps(turn.turn) == 0 || (turn.turn == Turn::Solver && state.tasks.is_empty());
        if state.position.same_turn(turn) && none {
            state.end_turn(self.config);
            self.save(state, observer)?;
        }
        Ok(())
    }
}

/// Whether the arithmetic broke down: a loss or gradient that is no number, or logits that are none.
fn is_not_finite(error: &Error) -> bool {
    let broken = |error: &toolr0_model::Error| matches!(error, toolr0_model::Error::Sampling { .. });
    matches!(error, Error::NonFinite { .. }) || matches!(error, Error::Model(error) if broken(error))
}
