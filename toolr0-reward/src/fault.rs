//! What a model wrote badly: data that is scored, counted and logged, never an error of ours.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the four tagged blocks of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// `<think>`: private reasoning; both roles.
    Think,
    /// `<question>`: what the user says; generator only.
    Question,
    /// `<available_tools>`: the menu; generator only.
    AvailableTools,
    /// `<tool_call_answer>`: the calls; both roles.
    ToolCallAnswer,
}

impl Block {
    /// The tag's name, without brackets.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Think => "think",
            Self::Question => "question",
            Self::AvailableTools => "available_tools",
            Self::ToolCallAnswer => "tool_call_answer",
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}

/// Why a block's text is no JSON that we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum JsonFault {
    /// Not JSON: cut short, unquoted, followed by other text, `NaN`, a number beyond every float.
    #[error("not JSON")]
    Syntax,
    /// Nested deeper than [`crate::wire::MAX_DEPTH`].
    #[error("nested too deeply")]
    TooDeep,
    /// An object gives one key twice, so two readers may see two values.
    #[error("a key is given twice")]
    RepeatedKey,
    /// A whole number beyond 64 bits, which would lose digits silently.
    #[error("a whole number beyond 64 bits")]
    HugeNumber,
}

/// What a model wrote badly. Data, not an error: it is scored, counted (by [`Fault::kind`]) and logged.
///
/// `index` counts tools or calls from 0 in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "fault")]
#[non_exhaustive]
pub enum Fault {
    /// Longer than [`crate::wire::MAX_BYTES`].
    #[error("the completion is {bytes} bytes long, the limit is {limit}")]
    TooLong {
        /// Length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A block is absent, or one of its two tags is.
    #[error("no <{block}> block")]
    MissingBlock {
        /// Which.
        block: Block,
    },
    /// A block's tag is written more than once, so that two readers could read two texts.
    #[error("<{block}> is written more than once")]
    RepeatedBlock {
        /// Which.
        block: Block,
    },
    /// A block is out of order or inside another one.
    #[error("<{block}> is out of order")]
    MisplacedBlock {
        /// Which.
        block: Block,
    },
    /// A block is empty.
    #[error("<{block}> is empty")]
    EmptyBlock {
        /// Which.
        block: Block,
    },
    /// A block's JSON does not parse.
    #[error("<{block}>: {reason}")]
    Json {
        /// Which block.
        block: Block,
        /// Why.
        reason: JsonFault,
    },
    /// The menu is not a non-empty JSON list.
    #[error("the tools are not a list, or none")]
    NoTools,
    /// More tools than [`crate::wire::MAX_TOOLS`].
    #[error("{tools} tools")]
    TooManyTools {
        /// How many.
        tools: usize,
    },
    /// An item of the menu is not an object with a name that a call could use.
    #[error("tool {index} has no usable name")]
    ToolName {
        /// Which tool.
        index: usize,
    },
    /// Two tools share a name.
    #[error("two tools are called `{tool}`")]
    RepeatedTool {
        /// The name.
        tool: String,
    },
    /// A tool does not say what it does.
    #[error("tool {index} has no description")]
    ToolDescription {
        /// Which tool.
        index: usize,
    },
    /// A tool's parameters are no schema that can be read.
    #[error("tool {index} has an unreadable schema")]
    ToolSchema {
        /// Which tool.
        index: usize,
    },
    /// The answer is not a JSON list.
    #[error("the calls are not a list")]
    NoCalls,
    /// More calls than [`crate::wire::MAX_CALLS`].
    #[error("{calls} calls")]
    TooManyCalls {
        /// How many.
        calls: usize,
    },
    /// An item of the answer is not `{"name": .., "arguments": {..}}`.
    #[error("call {index} is not a name with an object of arguments")]
    MalformedCall {
        /// Which call.
        index: usize,
    },
    /// A call names a tool that the menu does not hold.
    #[error("call {index} names `{tool}`, which the task does not offer")]
    UnknownTool {
        /// Which call.
        index: usize,
        /// The name.
        tool: String,
    },
    /// A call lacks an argument that its tool requires.
    #[error("call {index} lacks the required argument `{argument}`")]
    MissingArgument {
        /// Which call.
        index: usize,
        /// The parameter.
        argument: String,
    },
    /// A call has an argument that its tool's schema does not name.
    #[error("call {index} has the argument `{argument}`, which its tool does not know")]
    UnknownArgument {
        /// Which call.
        index: usize,
        /// The key.
        argument: String,
    },
    /// An argument's value does not fit its schema.
    #[error("call {index}: the value of `{argument}` does not fit its schema")]
    ArgumentType {
        /// Which call.
        index: usize,
        /// The parameter.
        argument: String,
    },
    /// A parameter is nested, though flat primitive arguments were asked for.
    #[error("tool {index}: the parameter `{argument}` is not a plain value")]
    NestedArgument {
        /// Which tool.
        index: usize,
        /// The parameter.
        argument: String,
    },
    /// An argument's value is not in the question.
    #[error("call {index}: the value of `{argument}` is not in the question")]
    Ungrounded {
        /// Which call.
        index: usize,
        /// The parameter.
        argument: String,
    },
    /// The menu has another size than the specification asks for.
    #[error("{got} tools, {want} asked for")]
    MenuSize {
        /// Asked for.
        want: usize,
        /// Written.
        got: usize,
    },
    /// There are more or fewer calls than the specification asks for.
    #[error("{got} calls, {want} asked for")]
    CallCount {
        /// Asked for.
        want: usize,
        /// Written.
        got: usize,
    },
    /// The same call is given twice.
    #[error("call {index} repeats an earlier one")]
    RepeatedCall {
        /// The later of the two.
        index: usize,
    },
    /// The question is shorter or longer than a question is.
    #[error("the question has {chars} characters")]
    QuestionLength {
        /// Unicode scalar values, after trimming.
        chars: usize,
    },
    /// The question is a placeholder or an echo of the prompt.
    #[error("the question is a placeholder")]
    Placeholder,
    /// The question spells out the answer: a tool's identifier, a tag or the JSON of a call.
    #[error("the question gives the answer away")]
    AnswerInQuestion,
    /// A multi-turn question without turns.
    #[error("a conversation was asked for, but the question has no turns")]
    NoTurns,
    /// A text holds an invisible or a control character.
    #[error("the {block} block holds an invisible character")]
    HiddenCharacter {
        /// Which block.
        block: Block,
    },
    /// A word mixes letters of scripts that look alike.
    #[error("the {block} block mixes look-alike letters in one word")]
    LookAlike {
        /// Which block.
        block: Block,
    },
    /// A distractor could serve as well as the tool that is called.
    #[error("`{other}` could serve as well as `{tool}`")]
    TwinTool {
        /// The tool that a call names.
        tool: String,
        /// The distractor.
        other: String,
    },
    /// The question gives nothing to call a tool with.
    #[error("no tool is needed")]
    NoToolNeeded,
    /// A gold call does not fit its tool, so that it was not run.
    #[error("call {index} was refused: {reason}")]
    GoldRefused {
        /// Which call.
        index: usize,
        /// Why.
        reason: String,
    },
    /// A gold call ran, and its tool said that it cannot be done.
    #[error("call {index} failed: {reason}")]
    GoldFailed {
        /// Which call.
        index: usize,
        /// What the tool said.
        reason: String,
    },
    /// A gold call ran out of time, memory or output.
    #[error("call {index} ran into a limit: {limit}")]
    GoldLimit {
        /// Which call.
        index: usize,
        /// Which limit.
        limit: String,
    },
    /// A gold call changes nothing, though its tool is there for that, or tells nothing.
    #[error("call {index} has no effect")]
    GoldIdle {
        /// Which call.
        index: usize,
    },
    /// The answer calls every tool of the menu on the chance that one is right.
    #[error("every tool is called")]
    EveryToolCalled,
}

impl Fault {
    /// A short label that never changes with the details, for counting drops by reason.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::MissingBlock { block: Block::Think } => "no_think",
            Self::MissingBlock { block: Block::Question } => "no_question",
            Self::MissingBlock { block: Block::AvailableTools } => "no_tools_block",
            Self::MissingBlock { block: Block::ToolCallAnswer } => "no_answer",
            Self::RepeatedBlock { .. } => "repeated_block",
            Self::MisplacedBlock { .. } => "misplaced_block",
            Self::EmptyBlock { .. } => "empty_block",
            Self::Json { block: Block::AvailableTools, .. } => "tools_json",
            Self::Json { .. } => "calls_json",
            Self::NoTools => "no_tools",
            Self::TooManyTools { .. } => "too_many_tools",
            Self::ToolName { .. } => "tool_name",
            Self::RepeatedTool { .. } => "repeated_tool",
            Self::ToolDescription { .. } => "tool_description",
            Self::ToolSchema { .. } => "tool_schema",
            Self::NoCalls => "no_calls",
            Self::TooManyCalls { .. } => "too_many_calls",
            Self::MalformedCall { .. } => "malformed_call",
            Self::UnknownTool { .. } => "unknown_tool",
            Self::MissingArgument { .. } => "missing_argument",
            Self::UnknownArgument { .. } => "unknown_argument",
            Self::ArgumentType { .. } => "argument_type",
            Self::NestedArgument { .. } => "nested_argument",
            Self::Ungrounded { .. } => "ungrounded",
            Self::MenuSize { .. } => "menu_size",
            Self::CallCount { .. } => "call_count",
            Self::RepeatedCall { .. } => "repeated_call",
            Self::QuestionLength { .. } => "question_length",
            Self::Placeholder => "placeholder",
            Self::AnswerInQuestion => "answer_in_question",
            Self::NoTurns => "no_turns",
            Self::HiddenCharacter { .. } => "hidden_character",
            Self::LookAlike { .. } => "look_alike",
            Self::TwinTool { .. } => "twin_tool",
            Self::NoToolNeeded => "no_tool_needed",
            Self::GoldRefused { .. } => "gold_refused",
            Self::GoldFailed { .. } => "gold_failed",
            Self::GoldLimit { .. } => "gold_limit",
            Self::GoldIdle { .. } => "gold_idle",
            Self::EveryToolCalled => "every_tool_called",
        }
    }
}
