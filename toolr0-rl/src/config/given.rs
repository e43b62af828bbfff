//! Tools that are given, not invented, and conversations with them.

use serde::{Deserialize, Serialize};

use super::RunConfig;
use crate::error::{Error, Result};

/// Who writes the tools of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Menu {
    /// The generator invents them.
    #[default]
    Invented,
    /// They are given, by [`RunConfig::tools`], and the generator writes question and gold.
    Given,
}

/// How often a solver may call, and what it reads in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnsConfig {
    /// Turns of one answer, at most; from 2 on the solver reads what its calls returned and may call again, as long as its
    /// `max_new_tokens` last, in which results count. Needs `reward.solver.executed`. Default 1.
    pub most: usize,
    /// Characters of one turn's results, at most. Default 400.
    pub result_chars: usize,
}

impl Default for TurnsConfig {
    fn default() -> Self {
        Self { most: 1, result_chars: 400 }
    }
}

impl RunConfig {
    /// Options that need given tools, and what given tools cannot be had with.
    pub(super) fn check_menu(&self) -> Result<()> {
        let unused = |option, user: &str| Err(Error::UnusedOption { option, user: user.to_owned() });
        super::check::least("turns.most", self.turns.most, 1)?;
        super::check::least("turns.result_chars", self.turns.result_chars, 1)?;
        let executed = self.reward.solver.executed;
        if self.menu == Menu::Invented {
            if self.tools.is_some() {
                return unused("tools", "menu `invented`");
            }
            if executed {
                return unused("reward.solver.executed", "menu `invented`");
            }
        } else if self.abstention.is_some() {
            return unused("abstention", "menu `given`, whose golds have to run,");
        } else if self.reward.profile == toolr0_reward::Profile::Release {
            return unused("reward.profile", "menu `given`, of which the release has no rules,");
        }
        if self.strict && !self.tools.as_ref().is_some_and(|tools| tools.starts_with("process:")) {
            return unused("strict", "tools that are no programs (`process:..`)");
        }
        if 1 < self.turns.most && !executed {
            return unused("turns.most", "a run without `reward.solver.executed`");
        }
        if 1 < self.turns.most && self.endpoint.is_some() {
            return unused("turns.most", "a run with `endpoint`, which answers in one turn,");
        }
        if 1 < self.turns.most && 0 < self.dataset.reuse_within {
            return unused("dataset.reuse_within", "a run with several turns, whose samples hold results,");
        }
        if self.turns.most == 1 && self.turns.result_chars != TurnsConfig::default().result_chars {
            return unused("turns.result_chars", "turns.most 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EndpointConfig;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut RunConfig), words: &[&str]) {
        let mut config = RunConfig { menu: Menu::Given, ..RunConfig::default() };
        config.reward.solver.executed = true;
        config.turns.most = 3;
        config.check().unwrap();
        change(&mut config);
        let error = config.check().unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn what_has_no_tools_to_run_is_refused_by_name() {
        refused(|c| c.menu = Menu::Invented, &["reward.solver.executed", "menu `invented`"]);
        refused(
            |c| {
                c.menu = Menu::Invented;
                c.tools = Some("world:math".into());
            },
            &["`tools`"],
        );
        refused(|c| c.strict = true, &["strict", "process:"]);
        refused(|c| c.reward.solver.executed = false, &["turns.most", "reward.solver.executed"]);
        refused(
            |c| c.endpoint = Some(EndpointConfig { url: "http://127.0.0.1:9".into(), ..Default::default() }),
            &["turns.most", "endpoint"],
        );
        refused(|c| c.abstention = Some(Default::default()), &["abstention", "menu `given`"]);
        refused(|c| c.reward.profile = toolr0_reward::Profile::Release, &["reward.profile"]);
        refused(|c| c.dataset.reuse_within = 2, &["dataset.reuse_within", "turns"]);
        refused(|c| c.turns.most = 0, &["turns.most"]);
        refused(|c| c.turns.result_chars = 0, &["turns.result_chars"]);
        refused(
            |c| {
                c.turns.most = 1;
                c.turns.result_chars = 9;
            },
            &["turns.result_chars"],
        );
    }
}
