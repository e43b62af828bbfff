//! The tagged blocks of a completion, found in one pass over the text.

use crate::fault::{Block, Fault};

/// A completion longer than this is a [`Fault`], whatever it holds: 64 KiB, some 16,000 tokens.
pub const MAX_BYTES: usize = 64 * 1024;

const ALL: [Block; 4] = [Block::Think, Block::Question, Block::AvailableTools, Block::ToolCallAnswer];

/// Where the tags of one block stand: byte offsets of the tag's `<` and of what follows its `>`.
#[derive(Clone, Copy, Debug, Default)]
struct Tags {
    open: Option<(usize, usize)>,
    close: Option<(usize, usize)>,
    repeated: bool,
}

/// The tags of a completion. Every block may be written once, and blocks neither nest nor cross.
///
/// That is stricter than "take the last one": a text that two readers could read differently (an answer inside
/// the reasoning and another after it, a prompt's example echoed back) is a fault in every stage alike.
#[derive(Debug)]
pub(crate) struct Blocks<'a> {
    text: &'a str,
    tags: [Tags; 4],
}

impl<'a> Blocks<'a> {
    /// Finds the tags. Linear in the text; [`Fault::TooLong`] beyond [`MAX_BYTES`].
    pub(crate) fn scan(text: &'a str) -> Result<Self, Fault> {
        if text.len() > MAX_BYTES {
            return Err(Fault::TooLong { bytes: text.len(), limit: MAX_BYTES });
        }
        let mut tags = [Tags::default(); 4];
        for (start, _) in text.match_indices('<') {
            let rest = &text[start + 1..];
            let (closing, rest) = match rest.strip_prefix('/') {
                Some(rest) => (true, rest),
                None => (false, rest),
            };
            let found = ALL
                .iter()
                .position(|b| rest.strip_prefix(b.tag()).is_some_and(|after| after.starts_with('>')));
            let Some(k) = found else { continue };
            let end = start + 2 + usize::from(closing) + ALL[k].tag().len();
            let slot = if closing { &mut tags[k].close } else { &mut tags[k].open };
            if slot.replace((start, end)).is_some() {
                tags[k].repeated = true;
            }
        }
        // A chat template may have opened the reasoning already (Qwen3 does), so that only its end is written.
        let think = &mut tags[0];
        if think.open.is_none() && think.close.is_some() {
            think.open = Some((0, 0));
        }
        // A sampler that stops at the closing tag may cut it off; the JSON inside still has to be whole.
        let answer = &mut tags[3];
        if answer.open.is_some() && answer.close.is_none() {
            answer.close = Some((text.len(), text.len()));
        }
        Ok(Self { text, tags })
    }

    /// The trimmed content of one block.
    pub(crate) fn get(&self, block: Block) -> Result<&'a str, Fault> {
        let tags = &self.tags[block as usize];
        if tags.repeated {
            return Err(Fault::RepeatedBlock { block });
        }
        let (Some((outer, from)), Some((to, after))) = (tags.open, tags.close) else {
            return Err(Fault::MissingBlock { block });
        };
        // No other tag inside, and none before that belongs after: the blocks come in the order of `ALL`.
        let others = self.tags.iter().enumerate().filter(|(k, _)| *k != block as usize);
        for (k, other) in others {
            for (start, end) in [other.open, other.close].into_iter().flatten() {
                let ordered = if k < block as usize { end <= outer } else { after <= start };
                if !ordered {
                    return Err(Fault::MisplacedBlock { block });
                }
            }
        }
        let content = self.text.get(from..to).ok_or(Fault::MisplacedBlock { block })?.trim();
        if content.is_empty() { Err(Fault::EmptyBlock { block }) } else { Ok(content) }
    }

    /// Whether either tag of `block` is written anywhere.
    pub(crate) fn mentions(&self, block: Block) -> bool {
        let tags = &self.tags[block as usize];
        tags.open.is_some() || tags.close.is_some()
    }
}

/// Whether `text` holds one of the format's tags.
pub(crate) fn holds_tag(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        ALL.iter().any(|b| rest.strip_prefix(b.tag()).is_some_and(|after| after.starts_with('>')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, block: Block, want: Result<&str, &str>) {
        let got = Blocks::scan(text).and_then(|b| b.get(block)).map_err(|fault| fault.kind());
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn each_block_stands_once_and_in_order() {
        let answer = Block::ToolCallAnswer;
        check("<think>a</think><tool_call_answer> [] </tool_call_answer>", answer, Ok("[]"));
        check("a</think> so <tool_call_answer>[]", answer, Ok("[]"));
        check("a</think> so <tool_call_answer>[]", Block::Think, Ok("a"));
        check("<tool_call_answer>[]</tool_call_answer><think>a</think>", answer, Err("misplaced_block"));
        check("<think><tool_call_answer>[]</tool_call_answer></think>", answer, Err("misplaced_block"));
        check("<tool_call_answer>1<tool_call_answer>[]</tool_call_answer>", answer, Err("repeated_block"));
        check("<tool_call_answer> </tool_call_answer>", answer, Err("empty_block"));
        check("</tool_call_answer>[]<tool_call_answer>", answer, Err("misplaced_block"));
        check("<TOOL_CALL_ANSWER>[]</TOOL_CALL_ANSWER>", answer, Err("no_answer"));
        check("<think>a", Block::Think, Err("no_think"));
    }

    #[test]
    fn a_tag_in_a_value_is_seen() {
        assert!(holds_tag("x </question> y") && holds_tag("<think>"));
        assert!(!holds_tag("a < b, <questions>, <thin"));
    }
}
