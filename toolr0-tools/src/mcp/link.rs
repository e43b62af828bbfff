//! One connection to one server: its process and the count of what it writes, or its address.

use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rmcp::service::{Peer, RoleClient, RunningService, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde_json::Value;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;

/// How long a server may take to go by itself once its stdin is closed.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What a message may have around its value, escapes not counted.
const ENVELOPE: usize = 64 << 10;

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// It is started.
    Command(Vec<String>),
    /// It runs somewhere, and is asked over HTTP.
    Url(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(words) => f.write_str(&words.join(" ")),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    service: RunningService<RoleClient, ()>,
    /// `None` over HTTP.
    process: Option<Process>,
}

/// A server that is a child of this program.
#[derive(Debug)]
struct Process {
    child: Child,
    budget: Arc<Budget>,
}

/// How many more bytes are read.
#[derive(Debug)]
struct Budget {
    left: AtomicUsize,
    flooded: AtomicBool,
    flood: Notify,
}

/// A server's stdout, which ends where the budget does.
struct Counted {
    pipe: ChildStdout,
    budget: Arc<Budget>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.budget.flooded.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(cx, into);
        let n = into.filled().len() - before;
        let taken =
            self.budget.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(n));
        if taken.is_err() {
            // The end of the stream closes the connection, which wakes whoever waits for an answer.
            into.set_filled(before);
            self.budget.flooded.store(true, Ordering::Release);
            self.budget.flood.notify_one();
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl Link {
    /// Starts or finds a server and shakes hands. Until then, and until [`Link::allow`], a child may write `bytes`; over
    /// HTTP no message may ever be longer than that.
    pub(super) async fn open(address: &Address, bytes: usize) -> Result<Self, String> {
        match address {
            Address::Command(command) => Self::start(command, bytes).await,
            Address::Url(url) => Self::connect(url, bytes).await,
        }
    }

    async fn start(command: &[String], bytes: usize) -> Result<Self, String> {
        let (program, args) = command.split_first().ok_or("the command is empty")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A group of its own, so that what it starts can be killed with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (Some(pipe), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
            return Err("it has no pipes".into());
        };
        let budget = Arc::new(Budget {
            left: AtomicUsize::new(bytes),
            flooded: AtomicBool::new(false),
            flood: Notify::new(),
        });
        let mut guard = Guard(Some(child));
        match ().serve((Counted { pipe, budget: budget.clone() }, stdin)).await {
            Ok(service) => match guard.0.take() {
                Some(child) => Ok(Self { service, process: Some(Process { child, budget }) }),
                None => Err("it is gone".into()),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    async fn connect(url: &str, bytes: usize) -> Result<Self, String> {
        // Fails where the program has chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = StreamableHttpClientTransportConfig::with_uri(url)
            .max_json_response_size(bytes)
            .max_sse_event_size(bytes);
        let service = ().serve(StreamableHttpClientTransport::from_config(config)).await;
        Ok(Self { service: service.map_err(|error| error.to_string())?, process: None })
    }

    /// The tools, as the server describes them.
    pub(super) async fn list(&mut self) -> Result<Vec<Value>, String> {
        let tools = self.service.list_all_tools().await.map_err(|error| error.to_string())?;
        tools.iter().map(|tool| serde_json::to_value(tool).map_err(|error| error.to_string())).collect()
    }

    pub(super) fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// Returns once the process has ended and what it wrote before has had time to arrive. Its pipe alone does not tell: a
    /// process that it started may hold it open.
    pub(super) async fn death(&self) {
        match &self.process {
            Some(process) => process.death().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn title(&self) -> String {
        let info = self.service.peer_info();
        info.and_then(|info| info.server_info.as_ref().map(|server| server.name.clone())).unwrap_or_default()
    }

    /// Counts anew: a value of `bytes`, written twice as servers do (as text and as structure), and what is around it.
    pub(super) fn allow(&mut self, bytes: usize) {
        if let Some(process) = &self.process {
            let left = bytes.saturating_mul(4).saturating_add(ENVELOPE);
            process.budget.left.store(left, Ordering::Release);
        }
    }

    /// Returns once the server has written more than it may.
    pub(super) async fn flood(&self) {
        match &self.process {
            Some(process) => process.budget.flood.notified().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn flooded(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.budget.flooded.load(Ordering::Acquire))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.flooded()
            || self.service.is_closed()
            || self.service.peer().is_transport_closed()
            || self.process.as_ref().is_some_and(|process| has_ended(&process.child))
    }

    /// Ends the connection, and the server and all it started, now.
    pub(super) async fn kill(mut self) {
        if let Some(process) = &mut self.process {
            kill_group(&process.child);
            let _ = tokio::time::timeout(Duration::from_millis(100), process.child.wait()).await;
        }
    }

    /// Ends the connection, and the server if it does not end by itself.
    pub(super) async fn close(mut self) {
        let _ = self.service.close_with_timeout(GOODBYE).await;
        if let Some(process) = &self.process {
            let _ = tokio::time::timeout(GOODBYE, process.death()).await;
        }
        self.kill().await;
    }
}

impl Process {
    async fn death(&self) {
        while !has_ended(&self.child) {
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A server that has not shaken hands yet, killed with its group if nobody waits for it any more.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            kill_group(child);
        }
    }
}

/// The number of a child, which is its group's; its own for as long as nobody has waited for it.
fn number(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()))
}

fn kill_group(child: &Child) {
    let _ = number(child).map(|pid| kill_process_group(pid, Signal::KILL));
}

/// Whether a child has ended. It is not waited for, so that its group can still be killed by its number.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    number(child).is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), options), Ok(None)))
}
