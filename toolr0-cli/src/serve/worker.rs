//! The one thread that owns the model: it takes requests into the running batch and sends each token to who asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::mpsc::UnboundedSender;
use toolr0_model::engine::Token;
use toolr0_model::{Engine, Request, SamplingConfig};

use super::metrics::Metrics;

/// A request on its way to the model. Who asked listens at the other end of `to`, which holds no more tokens than the
/// request may have; when nobody listens any more, the request is forgotten.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) sampling: SamplingConfig,
    pub(super) to: UnboundedSender<Result<Token, String>>,
}

/// Starts the thread. It ends when the last sender is gone.
pub(super) fn start(engine: Engine, metrics: Arc<Metrics>) -> Result<(Sender<Job>, JoinHandle<()>)> {
    let (sender, jobs) = channel();
    let thread = std::thread::Builder::new().name("model".into());
    let thread =
        thread.spawn(move || run(engine, &jobs, &metrics)).context("failed to start the model's thread")?;
    Ok((sender, thread))
}

fn run(mut engine: Engine, jobs: &Receiver<Job>, metrics: &Metrics) {
    let mut listeners: HashMap<usize, UnboundedSender<Result<Token, String>>> = HashMap::new();
    let mut next = 0;
    let mut take = |job: Job, engine: &mut Engine, listeners: &mut HashMap<_, _>| {
        next += 1;
        match engine.submit(next, job.request, &job.sampling) {
            Ok(()) => _ = listeners.insert(next, job.to),
            Err(error) => _ = job.to.send(Err(error.to_string())),
        }
    };
    loop {
        if engine.is_idle() {
            listeners.clear();
            metrics.rows.store(0, Ordering::Relaxed);
            match jobs.recv() {
                Ok(job) => take(job, &mut engine, &mut listeners),
                Err(_) => return,
            }
        }
        while let Ok(job) = jobs.try_recv() {
            take(job, &mut engine, &mut listeners);
        }
        match engine.step() {
            Ok(tokens) => {
                metrics.rows.store(engine.n_rows(), Ordering::Relaxed);
                metrics.completion_tokens.fetch_add(tokens.len(), Ordering::Relaxed);
                for token in tokens {
                    let number = token.request;
                    let heard = listeners.get(&number).is_some_and(|to| to.send(Ok(token)).is_ok());
                    if !heard && listeners.remove(&number).is_some() {
                        metrics.abandoned.fetch_add(1, Ordering::Relaxed);
                        engine.cancel(number);
                    }
                }
            }
            Err(error) => {
                for (_, to) in listeners.drain() {
                    let _ = to.send(Err(error.to_string()));
                }
            }
        }
    }
}
