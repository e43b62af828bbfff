//! The solver: a question and a menu in, calls out.

use toolr0_tools::{Prompt, ToolCall, ToolSpec};

use super::{Blocks, Style, calls, calls_json, tools_json};
use crate::fault::{Block, Fault};

/// An answer in the format that [`Style::Paper`] asks for; a test parses it.
const EXAMPLE: &str = r#"<think>Two days in Oslo: one forecast.</think><tool_call_answer>[{"name":"get_forecast","arguments":{"city":"Oslo","days":2}}]</tool_call_answer>"#;

/// What is asked of the solver: one layout for probing, cross-verification, training and the exam (fault 17 of
/// the release had three).
pub fn prompt(question: &str, tools: &[ToolSpec], style: Style) -> Prompt {
    let menu = tools_json(tools, style);
    let user = format!("{question}\n\n<available_tools>{menu}</available_tools>");
    match style {
        Style::Compact => Prompt::new("Answer with tool calls.", user),
        Style::Paper => Prompt::new(
            format!(
                "You answer the user by calling tools. The tools on offer stand as JSON after the request. Reason \
                 first inside <think> and </think>. Then write, inside <tool_call_answer> and </tool_call_answer>, a \
                 JSON list of the calls that serve the request, in order: each an object with name and arguments. \
                 Use only tools on offer and arguments that they name, with values taken from the request. If no \
                 tool serves it, write an empty list. Write nothing after the list.\n\nExample\n{EXAMPLE}"
            ),
            user,
        ),
    }
}

/// A completion that [`parse`] reads back as `calls`.
pub fn write(think: &str, calls: &[ToolCall]) -> String {
    format!("<think>{think}</think><tool_call_answer>{}</tool_call_answer>", calls_json(calls))
}

/// What each block of a completion holds, or why it does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The reasoning, or why there is none to read.
    pub think: Result<(), Fault>,
    /// Whether there is an answer block with something in it.
    pub answered: bool,
    /// The calls.
    pub calls: Result<Vec<ToolCall>, Fault>,
}

/// Reads every block on its own, for rewards that pay per block.
///
/// # Errors
///
/// [`Fault::TooLong`]; every other fault belongs to a block.
pub fn read(text: &str) -> Result<Draft, Fault> {
    let blocks = Blocks::scan(text)?;
    // A solver that writes a task of its own has left its role; what it then "answers" is no answer.
    let own_task = [Block::Question, Block::AvailableTools].into_iter().find(|block| blocks.mentions(*block));
    if let Some(block) = own_task {
        let fault = Fault::MisplacedBlock { block };
        return Ok(Draft { think: Err(fault.clone()), answered: false, calls: Err(fault) });
    }
    let think = blocks.get(Block::Think).map(|_| ());
    let answer = match &think {
        Err(fault @ (Fault::RepeatedBlock { .. } | Fault::MisplacedBlock { .. })) => Err(fault.clone()),
        _ => blocks.get(Block::ToolCallAnswer),
    };
    Ok(Draft { think, answered: answer.is_ok(), calls: answer.and_then(calls::read) })
}

/// Reads a completion as calls. An empty list is an answer ("no tool serves"); `<think>` may be left out here,
/// its absence costs reward.
///
/// # Errors
///
/// The first [`Fault`].
///
/// # Examples
///
/// ```
/// use toolr0_reward::wire::solver;
/// let calls = solver::parse(r#"<tool_call_answer>[{"name":"f","arguments":{}}]</tool_call_answer>"#).unwrap();
/// assert_eq!(solver::parse(&solver::write("so", &calls)), Ok(calls));
/// ```
pub fn parse(text: &str) -> Result<Vec<ToolCall>, Fault> {
    read(text)?.calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_in_the_prompt_is_read() {
        let prompt = prompt("q", &[], Style::Paper);
        let system = &prompt.messages[0].content;
        let calls = parse(&system[system.find("Example\n").unwrap()..]).unwrap();
        assert_eq!(calls[0].name, "get_forecast");
    }

    #[test]
    fn the_compact_prompt_is_short() {
        let tools = [ToolSpec::new("f", "F.", Default::default(), &[])];
        let prompt = prompt("Do f.", &tools, Style::Compact);
        assert_eq!(prompt.messages[0].content, "Answer with tool calls.");
        let want = r#"<available_tools>[{"name":"f","description":"F.","parameters":{},"required":[]}]</available_tools>"#;
        assert_eq!(prompt.messages[1].content, format!("Do f.\n\n{want}"));
    }

    #[test]
    fn an_own_task_is_no_answer() {
        let text = "<think>a</think><question>q</question><tool_call_answer>[]</tool_call_answer>";
        assert_eq!(parse(text).unwrap_err().kind(), "misplaced_block");
    }
}
