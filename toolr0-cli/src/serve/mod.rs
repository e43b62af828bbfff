//! An HTTP server in OpenAI's form: chat completions with tools, behind a running batch.
//!
//! - [`api`]: what is asked and answered, as JSON;
//! - [`worker`]: the one thread that owns the model;
//! - [`handlers`]: the routes, with their limits;
//! - [`metrics`]: counts for Prometheus.

mod api;
mod handlers;
mod metrics;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use toolr0_model::generate::Batching;
use toolr0_model::rng::Stream;
use toolr0_model::{CausalLm, Checkpoint, Engine};
use toolr0_reward::Style;

use handlers::Server;
use metrics::Metrics;

/// What the server may take.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Rows decoded together.
    pub(crate) max_rows: usize,
    /// Requests in the house, waiting ones included; one more is told to come again.
    pub(crate) max_requests: usize,
    /// Bytes of a request.
    pub(crate) max_body: usize,
    /// From the first byte of a request to the last of its answer.
    pub(crate) timeout: Duration,
}

/// What is served, and where.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// What clients call the model.
    pub(crate) name: String,
    /// How prompts with tools are worded.
    pub(crate) style: Style,
    /// Where to listen.
    pub(crate) address: SocketAddr,
    /// What is taken.
    pub(crate) limits: Limits,
    /// What clients must know.
    pub(crate) key: Option<String>,
    /// Where the random numbers of requests without a seed come from.
    pub(crate) seed: u64,
}

/// Serves until it is told to end, and then finishes what it has begun. `ready` is called with the address.
pub(crate) fn serve(
    checkpoint: &Checkpoint,
    setup: Setup,
    ready: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<()> {
    let Setup { name, style, address, limits, key, seed } = setup;
    let model = CausalLm::new(&checkpoint.config, &checkpoint.tensors)?.frozen()?;
    let batching = Batching { max_rows: limits.max_rows, ..Batching::default() };
    let engine = Engine::new(model, checkpoint.tokenizer.clone(), checkpoint.eos.clone(), batching);
    let metrics = Arc::new(Metrics::default());
    let (worker, thread) = worker::start(engine, Arc::clone(&metrics))?;
    let server = Arc::new(Server {
        name,
        style,
        tokenizer: checkpoint.tokenizer.clone(),
        template: checkpoint.template.clone(),
        eos: checkpoint.eos.clone(),
        max_position: checkpoint.config.max_position,
        limits,
        key,
        stream: Stream::root(seed).child("serve"),
        worker,
        metrics,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start the server")?.block_on(async {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("failed to listen on {address}"))?;
        ready(listener.local_addr()?)?;
        let ended = axum::serve(listener, handlers::routes(server)).with_graceful_shutdown(asked_to_end());
        ended.await.context("the server failed")
    })?;
    // The routes are gone and with them the last sender, so the worker has ended or is about to.
    thread.join().map_err(|_| anyhow::anyhow!("the thread of the model panicked"))
}

/// Ctrl-C, or what service managers send.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
            return;
        }
    }
    // Without a handler the process ends at the signal, which is an end as well.
    let _ = tokio::signal::ctrl_c().await;
}
