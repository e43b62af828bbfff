//! Tools of an MCP server: one that runs as a child of this program and is spoken to over its stdin and stdout, or one that
//! runs somewhere and is asked over HTTP ("streamable HTTP").
//!
//! A server is trusted more than a [process](crate::process): it may read files and use the network, since most exist to do
//! just that, and it gets this program's environment. It is not trusted to answer. A call ends at its deadline, whatever the
//! server does; what it writes is counted, and a flood ends the connection; one that dies, floods, or twice in a row
//! does not answer is killed with its whole process group, and started again by a later call, after a pause that doubles
//! with each failure. One call runs at a time, and its time starts when its turn comes.
//!
//! # Source
//!
//! Model Context Protocol, revision 2025-06-18; the official Rust SDK (`rmcp`) speaks it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::model::{CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ServerResult};
use rmcp::service::{PeerRequestOptions, ServiceError};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::import::{Imported, mcp};
use crate::sandbox::{End, Limits, Outcome, Sandbox};
use crate::state::State;
use crate::toolbox::Toolbox;
use crate::{ToolCall, ToolSpec};
use link::{Address, Link};

mod link;

/// How long a server may take to start and to list its tools.
const START: Duration = Duration::from_secs(20);
/// What a server may write until its tools are listed, bytes.
const LISTING: usize = 8 << 20;
/// The first pause before a server is started again; each failure doubles it.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);
/// How many calls in a row may go without an answer before the server counts as hung.
const PATIENCE: u32 = 2;

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    address: Address,
    toolbox: Toolbox,
    title: String,
    skipped: Vec<(String, String)>,
    runtime: Runtime,
    line: Mutex<Line>,
}

/// The connection, and how it went so far.
#[derive(Debug)]
struct Line {
    link: Option<Link>,
    /// Failures since the last answer.
    failures: u32,
    /// Calls since the last answer that had none.
    unanswered: u32,
    /// Not to be started again before.
    rest_until: Instant,
}

impl Line {
    /// Remembers that the server has to be started again, and when.
    fn failed(&mut self) {
        let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.rest_until = Instant::now() + pause;
        self.failures = self.failures.saturating_add(1);
        self.unanswered = 0;
    }
}

impl Server {
    /// Starts a server and asks for its tools.
    ///
    /// # Errors
    ///
    /// If it cannot be started, does not answer within 20 seconds, or has no tool that can be used.
    pub fn start(command: &[String]) -> Result<Self> {
        Self::open(Address::Command(command.to_vec()))
    }

    /// Shakes hands with a server at `http://..` or `https://..`, and asks for its tools.
    ///
    /// # Errors
    ///
    /// If it cannot be reached, does not answer within 20 seconds, or has no tool that can be used.
    pub fn connect(url: &str) -> Result<Self> {
        Self::open(Address::Url(url.to_owned()))
    }

    fn open(address: Address) -> Result<Self> {
        let failed = |reason: String| Error::Start { what: address.to_string(), reason };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // Two, so that one keeps the time while the other reads a flood.
            .worker_threads(2)
            .thread_name("mcp")
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let listing = async {
            let mut link = Link::open(&address, LISTING).await?;
            match link.list().await {
                Ok(tools) => Ok((link, tools)),
                Err(reason) => {
                    link.kill().await;
                    Err(reason)
                }
            }
        };
        let listed = runtime.block_on(async { tokio::time::timeout(START, listing).await });
        let (link, tools) = match listed {
            Ok(Ok(listed)) => listed,
            Ok(Err(reason)) => return Err(failed(reason)),
            Err(_) => return Err(failed(format!("no answer within {} s", START.as_secs()))),
        };
        let title = link.title();
        let line = Line { link: Some(link), failures: 0, unanswered: 0, rest_until: Instant::now() };
        let Imported { tools, skipped, .. } = mcp::tools(&json!({ "tools": tools }))?;
        let toolbox = Toolbox::new(tools)?;
        let line = Mutex::new(line);
        Ok(Self { address, toolbox, title, skipped, runtime, line })
    }

    /// What the server calls itself.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Tools that could not be used, each with the reason.
    pub fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    /// One call, over by `deadline` or a little later.
    async fn call(&self, line: &mut Line, call: ToolCall, limits: &Limits, deadline: Instant) -> End {
        let late = tokio::time::Instant::from_std(deadline);
        if line.link.as_ref().is_none_or(Link::is_closed) {
            if let Some(old) = line.link.take() {
                old.kill().await;
                line.failed();
            }
            if line.rest_until > deadline {
                return End::Broken(format!("the server died {} times and rests", line.failures));
            }
            tokio::time::sleep_until(line.rest_until.into()).await;
            match tokio::time::timeout_at(late, Link::open(&self.address, LISTING)).await {
                Ok(Ok(link)) => line.link = Some(link),
                Ok(Err(reason)) => {
                    line.failed();
                    return End::Broken(reason);
                }
                Err(_) => {
                    line.failed();
                    return End::TimedOut;
                }
            }
        }
        let Some(link) = &mut line.link else { return End::Broken("there is no server".into()) };
        link.allow(limits.output_bytes);
        let mut params = CallToolRequestParams::new(call.name);
        params.arguments = Some(call.arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let asked = async {
            // Dropping the request at the deadline would not tell the server; this option does.
            let left = deadline.saturating_duration_since(Instant::now());
            let options = PeerRequestOptions::with_timeout(left);
            link.peer().send_request_with_option(request, options).await?.await_response().await
        };
        // A server that does not read cannot be told anything either, and must not keep us.
        let answer = async {
            tokio::select! {
                biased;
                () = link.flood() => Err(ServiceError::TransportClosed),
                answer = asked => answer,
                () = link.death() => Err(ServiceError::TransportClosed),
            }
        };
        let answer = tokio::time::timeout_at(late + Duration::from_millis(50), answer).await;
        let flooded = link.flooded();
        let end = match answer {
            _ if flooded => End::TooMuchOutput,
            Ok(Ok(ServerResult::CallToolResult(result))) => read_result(result),
            Ok(Ok(_)) => End::Broken("expected the result of a call".into()),
            Ok(Err(ServiceError::McpError(error))) => End::ToolError(error.message.into_owned()),
            Ok(Err(ServiceError::Timeout { .. })) | Err(_) => End::TimedOut,
            Ok(Err(error)) => End::Broken(error.to_string()),
        };
        match end {
            End::TimedOut => line.unanswered += 1,
            End::Value(_) | End::ToolError(_) => (line.failures, line.unanswered) = (0, 0),
            _ => {}
        }
        if flooded || line.unanswered >= PATIENCE || line.link.as_ref().is_some_and(Link::is_closed) {
            if let Some(link) = line.link.take() {
                link.kill().await;
            }
            line.failed();
        }
        end
    }
}

/// What a tool returned: its structured content, else its texts. One text that is a JSON object or list is read as such.
fn read_result(result: CallToolResult) -> End {
    let texts = result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.clone());
    let mut texts: Vec<String> = texts.collect();
    if result.is_error == Some(true) {
        return End::ToolError(texts.join("\n"));
    }
    if let Some(value) = result.structured_content {
        return End::Value(value);
    }
    End::Value(match (texts.len(), result.content.len()) {
        (1, 1) => match serde_json::from_str(&texts[0]) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            _ => texts.swap_remove(0).into(),
        },
        _ => serde_json::to_value(&result.content).unwrap_or_default(),
    })
}

impl Sandbox for Server {
    fn tools(&self) -> &[ToolSpec] {
        self.toolbox.specs()
    }

    fn run(&self, call: &ToolCall, _state: &mut State, limits: &Limits) -> Outcome {
        self.toolbox.run(call, limits, |call| {
            let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            let deadline = Instant::now() + Duration::from_millis(limits.millis);
            (self.runtime.block_on(self.call(&mut line, call, limits, deadline)), 0)
        })
    }
}

impl Drop for Server {
    /// Closes the server's stdin, waits a moment for it to go by itself, and kills what is left.
    fn drop(&mut self) {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = line.link.take() {
            self.runtime.block_on(link.close());
        }
    }
}
