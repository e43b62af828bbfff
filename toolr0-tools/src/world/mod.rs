//! Built-in executable tool sets: small worlds with real effects, over a state that a seed gives.
//!
//! A world is a table of tools, each a signature, a sentence and a short function, and a function that fills its first
//! state. `desk` is what those functions work with, `seeder` what fills. Nothing in a world reads a clock, a file or
//! a random number, so the same seed and calls give the same values and the same [`State::hash`] everywhere.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::sandbox::{Cost, End, Limits, Outcome, Sandbox, json_len};
use crate::schema::{Refusal, Schema};
use crate::state::{Row, State};
use crate::{ToolCall, ToolSpec};
use desk::{Args, Desk, Reply, Stop};
use seeder::Seeder;

mod desk;
mod seeder;
mod signature;

mod calendar;
mod education;
mod files;
mod finance;
mod food;
mod healthcare;
mod iot;
mod logistics;
mod math;
mod memory;
mod messages;
mod shop;
mod sql;
mod sqlite;
mod travel;
mod units;
mod vehicle;
mod weather;

/// A tool of a world.
struct Tool {
    signature: &'static str,
    about: &'static str,
    writes: bool,
    run: fn(&mut Desk<'_>, Args<'_>) -> Reply,
}

type Run = fn(&mut Desk<'_>, Args<'_>) -> Reply;

/// A tool that tells something.
const fn read(signature: &'static str, about: &'static str, run: Run) -> Tool {
    Tool { signature, about, writes: false, run }
}

/// A tool that changes something.
const fn write(signature: &'static str, about: &'static str, run: Run) -> Tool {
    Tool { signature, about, writes: true, run }
}

/// A built-in world.
struct World {
    name: &'static str,
    fill: fn(&mut Seeder<'_>),
    tools: &'static [Tool],
}

const ALL: [&World; 17] = [
    &calendar::WORLD,
    &education::WORLD,
    &files::WORLD,
    &finance::WORLD,
    &food::WORLD,
    &healthcare::WORLD,
    &iot::WORLD,
    &logistics::WORLD,
    &math::WORLD,
    &memory::WORLD,
    &messages::WORLD,
    &shop::WORLD,
    &sql::WORLD,
    &travel::WORLD,
    &units::WORLD,
    &vehicle::WORLD,
    &weather::WORLD,
];

/// The names of all worlds, in the order of the alphabet.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|world| world.name)
}

/// Some worlds, side by side.
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// use toolr0_tools::{Limits, Sandbox, ToolCall, Worlds};
/// let worlds = Worlds::new(&["math"])?;
/// let arguments = json!({"a": 12, "b": "18"}).as_object().unwrap().clone();
/// let call = ToolCall::new("greatest_common_divisor", arguments);
/// let outcome = worlds.run(&call, &mut worlds.state(0), &Limits::default());
/// assert_eq!((outcome.end.value(), outcome.coerced.len()), (Some(&json!(6)), 1));
/// # Ok::<(), toolr0_tools::Error>(())
/// ```
#[derive(Debug)]
pub struct Worlds {
    worlds: Vec<&'static World>,
    specs: Vec<ToolSpec>,
    /// Tools by name, each with its schema.
    tools: HashMap<&'static str, (Schema, &'static Tool)>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.signature)
    }
}

impl Worlds {
    /// The worlds of these names; one that is named twice is there once.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWorld`], or [`Error::NoTools`] without any name.
    pub fn new(names: &[&str]) -> Result<Self> {
        let mut worlds: Vec<&'static World> = Vec::new();
        for name in names {
            let found = ALL.iter().find(|world| world.name == *name);
            let unknown = || Error::UnknownWorld {
                name: (*name).into(),
                known: self::names().collect::<Vec<_>>().join(", "),
            };
            let world = *found.ok_or_else(unknown)?;
            if !worlds.iter().any(|other| other.name == world.name) {
                worlds.push(world);
            }
        }
        if worlds.is_empty() {
            return Err(Error::NoTools);
        }
        let all = worlds.iter().flat_map(|world| world.tools);
        let specs: Vec<ToolSpec> =
            all.clone().map(|tool| signature::spec(tool.signature, tool.about)).collect();
        let mut tools = HashMap::new();
        for (tool, spec) in all.zip(&specs) {
            let name = tool.signature.split('(').next().unwrap_or_default();
            tools.insert(name, (Schema::new(spec)?, tool));
        }
        Ok(Self { worlds, specs, tools })
    }

    /// Each world's name and its tools.
    pub fn menus(&self) -> impl Iterator<Item = (&'static str, &[ToolSpec])> {
        let mut rest = self.specs.as_slice();
        self.worlds.iter().map(move |world| {
            let (own, others) = rest.split_at(world.tools.len());
            rest = others;
            (world.name, own)
        })
    }

    /// The schema of one tool.
    pub fn schema(&self, tool: &str) -> Option<&Schema> {
        self.tools.get(tool).map(|(schema, _)| schema)
    }
}

impl Sandbox for Worlds {
    fn tools(&self) -> &[ToolSpec] {
        &self.specs
    }

    fn state(&self, seed: u64) -> State {
        let mut state = State::default();
        for world in &self.worlds {
            (world.fill)(&mut Seeder::new(&mut state, world.name, seed));
        }
        state
    }

    fn facts(&self, domain: &str, seed: u64) -> Vec<(&'static str, Row)> {
        let mut state = State::default();
        if let Some(world) = self.worlds.iter().find(|world| world.name == domain) {
            (world.fill)(&mut Seeder::new(&mut state, world.name, seed));
        }
        state.tables().flat_map(|table| state.rows(table).map(move |row| (table, row.clone()))).collect()
    }

    fn run(&self, call: &ToolCall, state: &mut State, limits: &Limits) -> Outcome {
        let Some((schema, tool)) = self.tools.get(call.name.as_str()) else {
            return Outcome::refused(Refusal::UnknownTool { tool: call.name.clone() });
        };
        let checked = match schema.check(call) {
            Ok(checked) => checked,
            Err(refusal) => return Outcome::refused(refusal),
        };
        let before = state.clone();
        let mut desk = Desk::new(state, limits);
        let reply = (tool.run)(&mut desk, Args(&checked.arguments));
        let mut cost = Cost { steps: desk.steps, output_bytes: 0 };
        let end = match reply {
            Ok(value) => {
                cost.output_bytes = json_len(&value);
                if cost.output_bytes <= limits.output_bytes { End::Value(value) } else { End::TooMuchOutput }
            }
            Err(Stop::Error(message)) => End::ToolError(message),
            Err(Stop::Steps) => End::TimedOut,
            Err(Stop::Memory) => End::OutOfMemory,
        };
        let changes = match end {
            End::Value(_) => state.since(&before),
            _ => {
                *state = before;
                Vec::new()
            }
        };
        Outcome { end, changes, coerced: checked.coerced, cost, writes: tool.writes }
    }
}

#[cfg(test)]
mod tests;
