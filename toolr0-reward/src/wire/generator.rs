//! The generator: a [`TaskSpec`] in, four tagged blocks out.

use toolr0_tools::{Prompt, Task, TaskSpec, ToolCall, ToolSpec};

use super::{Blocks, Style, calls, calls_json, tools, tools_json};
use crate::executed::Trial;
use crate::fault::{Block, Fault};

/// A task in the format that [`Style::Paper`] asks for; a test parses it.
const EXAMPLE: &str = r#"<think>The user should need one lookup. A second tool is close but not right.</think>
<question>What will the weather be like in Lisbon for the next 3 days?</question>
<available_tools>[{"name":"get_forecast","description":"Forecast the weather of a city for some days ahead.","parameters":{"city":{"type":"string","description":"Name of the city."},"days":{"type":"integer","description":"How many days ahead."}},"required":["city","days"]},{"name":"get_air_quality","description":"Measure how clean the air of a city is now.","parameters":{"city":{"type":"string","description":"Name of the city."}},"required":["city"]}]</available_tools>
<tool_call_answer>[{"name":"get_forecast","arguments":{"city":"Lisbon","days":3}}]</tool_call_answer>"#;

/// What is asked of the generator.
pub fn prompt(spec: &TaskSpec, style: Style) -> Prompt {
    let TaskSpec { domain, context, n_tools, n_calls } = spec;
    let control = format!("domain: {domain}\ncontext: {context}\ntools: {n_tools}\ncalls: {n_calls}");
    match style {
        Style::Compact => Prompt::new("Invent a task.", control),
        Style::Paper => {
            let s = |n: usize| if n == 1 { "" } else { "s" };
            let serves = match n_calls {
                0 => "None of them serves the request, though at least one comes near: the right subject with another \
                      purpose, or a purpose that lacks what the request needs."
                    .to_owned(),
                _ => "One tool, or one per call, serves the request; the others are near it but would not do.".to_owned(),
            };
            let calls = match n_calls {
                0 => "No tool call answers the request: the list of calls is empty.".to_owned(),
                n => format!(
                    "The request is served by exactly {n} tool call{}, in the order in which the user asks.",
                    s(*n)
                ),
            };
            let system = format!(
                "You write practice tasks for an assistant that answers by calling tools. First reason in private, \
                 then write one task.\n\n\
                 Task specification\n{control}\n\n\
                 Rules\n\
                 1. Offer exactly {n_tools} tool{}, each with its own name, purpose and arguments. {serves}\n\
                 2. {calls}\n\
                 3. Stay within the domain.\n\
                 4. With the context multi_turn, the question is a short conversation, one line a turn, each \
                 beginning with `User:` or `Agent:`, and the last turn is the user's. With single_turn it is one \
                 message of a user.\n\
                 5. Arguments are flat: strings, integers, numbers or booleans, never lists or objects.\n\
                 6. Every value of an argument stands in the question as the user would say it. Give every required \
                 argument, and none that the tool does not name.\n\
                 7. The question sounds like a person with a need. It names no tool, no JSON and none of these \
                 rules.\n\n\
                 Write these four blocks and nothing else. A tool is an object with name, description, parameters \
                 (each with type and description) and required; a call is an object with name and arguments.\n\n\
                 Example, for the specification domain: weather, context: single_turn, tools: 2, calls: 1\n{EXAMPLE}",
                s(*n_tools),
            );
            Prompt::new(system, "Write one new task that follows the specification.")
        }
    }
}

/// A menu that is given, and where its calls run.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The menu.
    pub tools: &'a [ToolSpec],
    /// Which of them [`Style::Compact`] asks calls of, by their places.
    pub targets: &'a [usize],
    /// What a question can speak of, a line each.
    pub facts: &'a str,
    /// How the gold is tried.
    pub trial: Trial<'a>,
}

/// What is asked of the generator where the menu is given: a question and the calls that answer it.
///
/// [`Style::Paper`] shows menu and facts. [`Style::Compact`] is for a model that knows the prompt without a menu alone:
/// it gets the same one, and the beginning of its own answer, a plan that lists the menu; behind its question the menu is
/// [`dictated`].
pub fn prompt_given(spec: &TaskSpec, given: &Given<'_>, style: Style) -> Prompt {
    let TaskSpec { domain, context, n_tools, n_calls } = spec;
    if style == Style::Compact {
        return prompt(spec, style).opened(opening(given));
    }
    let s = if *n_calls == 1 { "" } else { "s" };
    let facts = match given.facts {
        "" => String::new(),
        facts => format!("\n\nFacts that a question can speak of, among others\n{facts}"),
    };
    let system = format!(
        "You write practice tasks for an assistant that answers by calling tools. First reason in private, then write \
         one task for the tools on offer.\n\n\
         Task specification\ndomain: {domain}\ncontext: {context}\ntools: {n_tools}\ncalls: {n_calls}\n\n\
         Rules\n\
         1. The request is served by exactly {n_calls} tool call{s}, in the order in which the user asks.\n\
         2. The calls will be run: they have to work, and to change or tell something.\n\
         3. With the context multi_turn, the question is a short conversation, one line a turn, each beginning with \
         `User:` or `Agent:`, and the last turn is the user's. With single_turn it is one message of a user.\n\
         4. Every value of an argument stands in the question as the user would say it. Give every required argument, \
         and none that the tool does not name.\n\
         5. The question sounds like a person with a need. It names no tool, no JSON and none of these rules.\n\n\
         Write these three blocks and nothing else; a call is an object with name and arguments.\n\n\
         <think>Two calls away, one value each.</think>\n<question>..</question>\n\
         <tool_call_answer>[{{\"name\":\"..\",\"arguments\":{{}}}}]</tool_call_answer>"
    );
    let menu = tools_json(given.tools, style);
    let user = format!(
        "Write one new task that follows the specification.\n\n<available_tools>{menu}</available_tools>{facts}"
    );
    Prompt::new(system, user)
}

/// Where a question ends.
pub const QUESTION_END: &str = "</question>";

/// The given menu as a completion of [`Style::Compact`] holds it behind its question: the model reads it there, and goes on with
/// the calls. `None` for [`Style::Paper`], whose prompt shows the menu.
pub fn dictated(tools: &[ToolSpec], style: Style) -> Option<String> {
    let menu = tools_json(tools, style);
    (style == Style::Compact).then(|| format!("<available_tools>{menu}</available_tools>"))
}

/// The beginning of a plan: `<think>1 flight book flight name seats?; 2 booking cancel booking = flight book flight name`, noun
/// first, optional arguments marked, arguments in the order of the alphabet; behind the sign the calls, with what they need.
fn opening(given: &Given<'_>) -> String {
    let Given { tools, targets, .. } = *given;
    let head = |tool: &ToolSpec| {
        let (verb, noun) = tool.name.split_once('_').unwrap_or((&tool.name, ""));
        let words = [noun, verb].into_iter().filter(|word| !word.is_empty());
        words.map(|word| word.replace('_', " ")).collect::<Vec<_>>().join(" ")
    };
    let call = |tool: &ToolSpec| {
        let mut needs: Vec<&str> = tool.required().collect();
        needs.sort_unstable();
        std::iter::once(head(tool)).chain(needs.into_iter().map(str::to_owned)).collect::<Vec<_>>().join(" ")
    };
    let line = |(index, tool): (usize, &ToolSpec)| {
        let mut words: Vec<String> =
            tool.params().map(|p| format!("{}{}", p.name, if p.required { "" } else { "?" })).collect();
        words.sort_unstable();
        words.insert(0, head(tool));
        format!("{} {}", index + 1, words.join(" "))
    };
    let menu: Vec<String> = tools.iter().enumerate().map(line).collect();
    let calls: Vec<String> = targets.iter().filter_map(|at| tools.get(*at)).map(call).collect();
    let gap = if calls.is_empty() { "" } else { " " };
    format!("<think>{} ={gap}{}", menu.join("; "), calls.join("; "))
}

/// A completion that [`parse`] reads back as `task`, with tools in the flat layout.
///
/// # Examples
///
/// ```
/// use toolr0_reward::{tools::{Task, ToolCall, ToolSpec}, wire::generator};
/// let task = Task {
///     question: "What time is it?".into(),
///     tools: vec![ToolSpec::new("get_time", "Tell the time.", Default::default(), &[])],
///     gold: vec![ToolCall::new("get_time", Default::default())],
/// };
/// assert_eq!(generator::parse(&generator::write("easy", &task)), Ok(task));
/// ```
pub fn write(think: &str, task: &Task) -> String {
    format!(
        "<think>{think}</think><question>{}</question><available_tools>{}</available_tools>\
         <tool_call_answer>{}</tool_call_answer>",
        task.question,
        tools_json(&task.tools, Style::Compact),
        calls_json(&task.gold),
    )
}

/// What each block of a completion holds, or why it does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The reasoning.
    pub think: Result<String, Fault>,
    /// The question.
    pub question: Result<String, Fault>,
    /// The menu.
    pub tools: Result<Vec<ToolSpec>, Fault>,
    /// The calls.
    pub gold: Result<Vec<ToolCall>, Fault>,
}

impl Draft {
    /// The task, if question, menu and calls could be read. The reasoning is not part of a task.
    ///
    /// # Errors
    ///
    /// The first block's [`Fault`], in the order in which the blocks are written.
    pub fn task(self) -> Result<Task, Fault> {
        // A repeated or misplaced `<think>` is a fault of the text, an absent one only costs reward.
        if let Err(fault @ (Fault::RepeatedBlock { .. } | Fault::MisplacedBlock { .. })) = self.think {
            return Err(fault);
        }
        Ok(Task { question: self.question?, tools: self.tools?, gold: self.gold? })
    }
}

/// Reads every block on its own, for rewards that pay per block.
///
/// # Errors
///
/// [`Fault::TooLong`]; every other fault belongs to a block.
pub fn read(text: &str) -> Result<Draft, Fault> {
    let blocks = Blocks::scan(text)?;
    Ok(Draft {
        think: blocks.get(Block::Think).map(str::to_owned),
        question: blocks.get(Block::Question).map(str::to_owned),
        tools: blocks.get(Block::AvailableTools).and_then(tools::read),
        gold: blocks.get(Block::ToolCallAnswer).and_then(calls::read),
    })
}

/// Reads the blocks of a task whose menu is given. A menu that the completion writes all the same is passed over.
///
/// # Errors
///
/// As [`read`].
pub fn read_given(text: &str, given: &Given<'_>) -> Result<Draft, Fault> {
    let blocks = Blocks::scan(text)?;
    Ok(Draft {
        think: blocks.get(Block::Think).map(str::to_owned),
        question: blocks.get(Block::Question).map(str::to_owned),
        tools: Ok(given.tools.to_vec()),
        gold: blocks.get(Block::ToolCallAnswer).and_then(calls::read),
    })
}

/// Reads a completion as a task. Each block stands once, in order; `<think>` may be left out.
///
/// # Errors
///
/// The first [`Fault`].
pub fn parse(text: &str) -> Result<Task, Fault> {
    read(text)?.task()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolr0_tools::Context;

    fn spec() -> TaskSpec {
        TaskSpec { domain: "travel".into(), context: Context::SingleTurn, n_tools: 3, n_calls: 1 }
    }

    #[test]
    fn the_example_in_the_prompt_is_read() {
        let prompt = prompt(&spec(), Style::Paper);
        let system = &prompt.messages[0].content;
        let task = parse(&system[system.find("<think>").unwrap()..]).unwrap();
        assert_eq!((task.tools.len(), task.gold.len()), (2, 1));
        let spec = TaskSpec { domain: "weather".into(), n_tools: 2, ..spec() };
        let verify = |task: &Task| crate::verify::verify(task, &spec, &Default::default());
        // It is a sound task, but not a new one.
        assert_eq!(verify(&task), Err(Fault::Placeholder));
        assert_eq!(verify(&parse(&write("a", &task).replace("Lisbon", "Porto")).unwrap()), Ok(()));
        for part in ["domain: travel", "tools: 3", "exactly 3 tools", "exactly 1 tool call,"] {
            assert!(system.contains(part), "{part}");
        }
    }

    #[test]
    fn a_given_menu_is_shown_and_kept() {
        let source = toolr0_tools::Source::worlds(&["math"]).unwrap();
        let tools = [
            ToolSpec::new("cancel_booking", "Cancel it.", Default::default(), &[]),
            serde_json::from_str(
                r#"{"name":"book_night_train","description":"Book it.","parameters":{"type":"object","required":["name"],
                "properties":{"seats":{"type":"integer"},"name":{"type":"string"}}}}"#,
            )
            .unwrap(),
        ];
        let given = Given {
            tools: &tools,
            targets: &[1],
            facts: "train 12 has 3 seats",
            trial: Trial::Read(&source),
        };
        let compact = prompt_given(&spec(), &given, Style::Compact);
        assert_eq!(compact.messages, prompt(&spec(), Style::Compact).messages);
        assert_eq!(
            compact.opening,
            "<think>1 booking cancel; 2 night train book name seats? = night train book name"
        );
        let paper = prompt_given(&spec(), &given, Style::Paper);
        let behind = dictated(&tools, Style::Compact).unwrap();
        assert!(behind.starts_with("<available_tools>[{\"name\":\"cancel_booking\""), "{behind}");
        assert_eq!(dictated(&tools, Style::Paper), None);
        let menu = tools_json(&tools, Style::Paper);
        for part in [menu.as_str(), "train 12 has 3 seats"] {
            assert!(paper.messages[1].content.contains(part), "{part}");
        }
        // A menu of the completion's own is passed over, whatever it holds.
        for own in ["", "<available_tools>nonsense</available_tools>"] {
            let answer = r#"<tool_call_answer>[{"name":"cancel_booking","arguments":{}}]</tool_call_answer>"#;
            let text = format!("{} so</think><question>Cancel it.</question>{own}{answer}", compact.opening);
            let task = read_given(&text, &given).unwrap().task().unwrap();
            assert_eq!((task.tools.as_slice(), task.gold.len()), (tools.as_slice(), 1));
        }
    }

    #[test]
    fn a_task_that_no_tool_serves_is_asked_for_and_read() {
        let none = TaskSpec { n_calls: 0, ..spec() };
        let system = prompt(&none, Style::Paper).messages.swap_remove(0).content;
        assert!(system.contains("calls: 0") && system.contains("the list of calls is empty"), "{system}");
        assert!(!system.contains("served by exactly") && !system.contains("would not do"), "{system}");
        let text = write(
            "no tool tells the time",
            &Task {
                question: "Which train leaves Oslo first tomorrow?".into(),
                tools: ["book_train", "cancel_train", "rent_car"]
                    .map(|name| ToolSpec::new(name, format!("Serves to {name}."), Default::default(), &[]))
                    .into(),
                gold: Vec::new(),
            },
        );
        let task = parse(&text).unwrap();
        assert_eq!((crate::verify::verify(&task, &none, &Default::default()), task.gold.len()), (Ok(()), 0));
    }

    #[test]
    fn the_compact_prompt_is_short() {
        let prompt = prompt(&spec(), Style::Compact);
        assert_eq!(prompt.messages[0].content, "Invent a task.");
        assert_eq!(prompt.messages[1].content, "domain: travel\ncontext: single_turn\ntools: 3\ncalls: 1");
    }
}
