//! A solver that reads what its calls return, and calls again: what ends a conversation, and whose tokens are whose.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use toolr0_model::Tokenizer;
use toolr0_reward::executed::{Stage, outcomes};
use toolr0_reward::wire::solver;
use toolr0_tools::Task;

use crate::config::TurnsConfig;
use crate::error::Result;

/// The other side of conversations: what is said to whoever wrote some turns.
pub struct Desk<'a> {
    /// Turns of one conversation, at most.
    pub turns: usize,
    /// By the number of the prompt and the turns so far: what is said to the last of them; `None` ends the conversation.
    pub reply: &'a dyn Fn(usize, &[String]) -> Option<String>,
    /// Whether what is said belongs to one text ([`Rollout::text`](crate::Rollout::text) is then all of it), and is no
    /// conversation.
    pub dictates: bool,
}

impl fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("turns", &self.turns).finish_non_exhaustive()
    }
}

/// What the tools of a task say to the last of some turns: its results, bounded and quoted. `None` where it calls nothing, or
/// cannot be read.
pub fn answer_turns(
    task: &Task,
    stage: &Stage<'_>,
    turns: &[String],
    config: &TurnsConfig,
) -> Option<String> {
    let calls: Vec<_> =
        turns.iter().map(|turn| solver::parse(turn)).collect::<std::result::Result<_, _>>().ok()?;
    calls.last().filter(|calls| !calls.is_empty())?;
    Some(solver::results(&outcomes(task, &calls, stage), config.result_chars))
}

/// Whose tokens are whose, for the samples of some prompts.
#[derive(Debug, Default)]
pub(crate) struct Spans(HashMap<(usize, usize), Vec<Range<usize>>>);

impl Spans {
    /// What is said to a sample that came to a stop string after `tokens`; nothing, if its turns are spent. If there is no
    /// room for it the sampler ends there, and [`Spans::take`] rolls it back: nobody has said it.
    pub(crate) fn tell(
        &mut self,
        (request, sample): (usize, usize),
        tokens: &[u32],
        desk: &Desk<'_>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Vec<u32>>> {
        let quoted = self.0.entry((request, sample)).or_default();
        if desk.turns <= quoted.len() + 1 {
            return Ok(None);
        }
        let turns = turns(tokens, quoted, tokenizer)?;
        let Some(text) = (desk.reply)(request, &turns) else { return Ok(None) };
        let told = tokenizer.encode(&text)?;
        quoted.push(tokens.len()..tokens.len() + told.len());
        Ok(Some(told))
    }

    /// The tokens of a sample that are not its own.
    pub(crate) fn take(&mut self, request: usize, sample: usize, len: usize) -> Vec<Range<usize>> {
        let spans = self.0.remove(&(request, sample)).unwrap_or_default();
        // The last one may have been left unsaid: it did not fit, or sampling was stopped.
        let said = spans.into_iter().map(|span| span.start.min(len)..span.end.min(len));
        said.filter(|span| !span.is_empty()).collect()
    }
}

/// The text of each turn: what stands between the quoted tokens.
pub(crate) fn turns(tokens: &[u32], quoted: &[Range<usize>], tokenizer: &Tokenizer) -> Result<Vec<String>> {
    let starts = std::iter::once(0).chain(quoted.iter().map(|span| span.end));
    let ends = quoted.iter().map(|span| span.start).chain(std::iter::once(tokens.len()));
    starts.zip(ends).map(|(start, end)| Ok(tokenizer.decode(&tokens[start..end], true)?)).collect()
}
