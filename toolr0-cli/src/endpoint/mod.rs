//! Somebody outside who answers: any server in OpenAI's form.
//!
//! - [`flags`]: how it is named on the command line;
//! - [`client`]: one exchange, and what may come instead of an answer;
//! - here: many exchanges at a time, each with its retries and its time limit.
//!
//! Every answer is a request of its own, with a seed from its stream. What does not come is unknown, counted by reason.

mod client;
mod flags;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use toolr0_curriculum::Drops;
use toolr0_model::SamplingConfig;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_rl::config::EndpointConfig;
use toolr0_rl::{Answerer, Answers, Error};
use toolr0_tools::Prompt;

use self::client::{Client, Failure, Reply, cut, request};
pub(crate) use self::flags::EndpointFlags;

/// Where the server's key is read from.
const KEY: &str = "TOOLR0_ENDPOINT_KEY";
/// How often the asker looks up while it waits.
const LOOK_UP: Duration = Duration::from_millis(100);
/// The first pause before a request is sent again, doubled each time.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// Time for the list of models.
const HELLO: Duration = Duration::from_secs(10);

/// A server that was found to be there.
pub(crate) struct Endpoint {
    service: Arc<Service>,
    /// Answers in a row that did not come.
    failed: Cell<usize>,
}

impl fmt::Debug for Endpoint {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.url())
            .field("model", &self.model())
            .finish_non_exhaustive()
    }
}

/// Which answer of which prompt, and what came of it.
type Told = ((usize, usize), Result<Reply, Failure>);

impl Endpoint {
    /// Looks whether the server is there, and which model it has where none is named.
    pub(crate) fn connect(config: &EndpointConfig) -> Result<Self> {
        let key = match std::env::var(KEY) {
            Ok(key) if key.trim().is_empty() => bail!("{KEY} is set and empty"),
            Ok(key) => Some(key),
            Err(std::env::VarError::NotPresent) => None,
            Err(error) => bail!("{KEY}: {error}"),
        };
        config.check()?;
        let client = Client::new(&config.url, key, config.concurrency);
        let url = client.url.clone();
        let model = match (client.models(HELLO), &config.model) {
            (Ok(_), Some(model)) => model.clone(),
            // Some servers list nothing; a named model is found out at the first request.
            (Err(failure), Some(model))
                if !matches!(failure.kind.as_str(), "unreachable" | "timeout" | "http_401") =>
            {
                model.clone()
            }
            (Err(failure), _) => bail!("the endpoint {url} does not list its models: {failure}"),
            (Ok(models), None) => match models.as_slice() {
                [only] => only.clone(),
                [] => bail!("the endpoint {url} has no model"),
                several => {
                    bail!("the endpoint {url} has several models, name one of them: {}", several.join(", "))
                }
            },
        };
        let service = Arc::new(Service { client, model, config: config.clone() });
        Ok(Self { service, failed: Cell::new(0) })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.service.client.url
    }

    /// What it calls the model.
    pub(crate) fn model(&self) -> &str {
        &self.service.model
    }

    /// A warning about answers that did not come.
    pub(crate) fn missed(&self, unknown: &Drops) -> String {
        let reasons: Vec<String> = unknown.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let (n, url) = (unknown.total(), self.url());
        format!("{n} answers did not come from {url} and count for nothing: {}", reasons.join(", "))
    }

    /// The end of all asking, if this failure is one.
    fn give_up(&self, failure: &Failure) -> Option<Error> {
        let patience = self.service.config.patience;
        self.failed.set(self.failed.get() + 1);
        let n = self.failed.get();
        let reason = match n {
            _ if failure.hopeless => format!("refuses: {failure}"),
            _ if patience == 0 || n < patience => return None,
            1 => format!("gave no answer: {failure}"),
            _ => format!("gave no answer {n} times in a row, the last time: {failure}"),
        };
        Some(Error::Endpoint { url: self.url().to_owned(), reason })
    }
}

impl Answerer for Endpoint {
    fn answer(
        &self,
        prompts: &[(Prompt, Vec<Stream>)],
        sampling: &SamplingConfig,
        progress: &mut dyn FnMut(usize) -> bool,
    ) -> toolr0_rl::Result<Answers> {
        let desk = Arc::new(Desk::new(prompts, sampling));
        let (to, replies) = channel();
        for i in 0..self.service.config.concurrency.min(desk.jobs.len()) {
            let (service, desk, to) = (Arc::clone(&self.service), Arc::clone(&desk), to.clone());
            let thread = std::thread::Builder::new().name(format!("endpoint-{i}"));
            let started = thread.spawn(move || desk.work(&service, &to));
            started.map_err(|error| Error::Endpoint {
                url: self.url().to_owned(),
                reason: format!("cannot be asked: no thread ({error})"),
            })?;
        }
        drop(to);
        let texts = prompts.iter().map(|(_, streams)| vec![None; streams.len()]).collect();
        let mut answers = Answers { texts, ..Answers::default() };
        let mut done = 0;
        loop {
            match replies.recv_timeout(LOOK_UP) {
                Ok(((prompt, sample), Ok(Reply { text, tokens }))) => {
                    self.failed.set(0);
                    answers.tokens += tokens;
                    answers.texts[prompt][sample] = Some(text);
                    done += 1;
                }
                Ok((_, Err(failure))) => {
                    answers.unknown.add(&failure.kind);
                    answers.ended = self.give_up(&failure);
                    done += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // The threads end by themselves when their last request does; nobody waits for them.
            if answers.ended.is_some() || !progress(done) {
                desk.over.store(true, Ordering::Relaxed);
                break;
            }
        }
        Ok(answers)
    }
}

/// What all threads share.
struct Service {
    client: Client,
    model: String,
    config: EndpointConfig,
}

impl Service {
    /// One answer, or why it did not come within its time.
    fn answer(&self, job: &Job, desk: &Desk) -> Result<Reply, Failure> {
        // Not all servers take more than 31 bits.
        let seed = (job.stream.seed() >> 33) as u32;
        let body = request(&self.model, &desk.prompts[job.place.0], &desk.sampling, seed);
        let deadline = Instant::now() + Duration::from_secs_f64(self.config.timeout);
        let mut attempt = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::timeout());
            }
            let failure = match self.client.chat(&body, left) {
                Ok(Reply { text, tokens }) => {
                    return Ok(Reply { text: cut(text, &desk.sampling.stop), tokens });
                }
                Err(failure) => failure,
            };
            let wait = pause(attempt, job.stream).max(failure.wait.unwrap_or_default());
            let late = deadline < Instant::now() + wait;
            if !failure.again || attempt == self.config.retries || late || !desk.sleep(wait) {
                return Err(failure);
            }
            attempt += 1;
        }
    }
}

/// How long to wait before the request is sent again: twice as long each time, less up to a half, so that many that failed
/// together do not come back together. A stream of its own, which no answer depends on.
fn pause(attempt: u32, stream: Stream) -> Duration {
    let jitter = uniform_f64(&mut stream.child("pause").child(attempt).rng());
    let full = PAUSE.saturating_mul(1 << attempt.min(16)).min(MAX_PAUSE);
    full.mul_f64(1.0 - 0.5 * jitter)
}

/// An answer to be asked for.
struct Job {
    /// Number of the prompt and of its sample.
    place: (usize, usize),
    stream: Stream,
}

/// What is to be asked, and how far it is.
struct Desk {
    prompts: Vec<Prompt>,
    sampling: SamplingConfig,
    jobs: Vec<Job>,
    next: AtomicUsize,
    /// Whether nobody waits any more.
    over: AtomicBool,
}

impl Desk {
    fn new(prompts: &[(Prompt, Vec<Stream>)], sampling: &SamplingConfig) -> Self {
        let jobs = prompts.iter().enumerate().flat_map(|(i, (_, streams))| {
            let job = move |(sample, stream): (usize, &Stream)| Job { place: (i, sample), stream: *stream };
            streams.iter().enumerate().map(job)
        });
        Self {
            prompts: prompts.iter().map(|(prompt, _)| prompt.clone()).collect(),
            sampling: sampling.clone(),
            jobs: jobs.collect(),
            next: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Takes one job after the other, until there is none or nobody waits.
    fn work(&self, service: &Service, to: &Sender<Told>) {
        while !self.over.load(Ordering::Relaxed) {
            let Some(job) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            if to.send((job.place, service.answer(job, self))).is_err() {
                return;
            }
        }
    }

    /// Whether somebody still waits after this time.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.over.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK_UP));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        let all: Vec<Duration> = (0..9).map(|attempt| pause(attempt, Stream::root(1))).collect();
        for (attempt, got) in all.iter().enumerate() {
            let full = PAUSE.saturating_mul(1 << attempt).min(MAX_PAUSE);
            assert!(full.mul_f64(0.5) <= *got && *got <= full, "{attempt}: {got:?}");
        }
        assert_ne!(pause(3, Stream::root(1)), pause(3, Stream::root(2)));
        assert_eq!(pause(3, Stream::root(1)), all[3]);
        assert!(pause(u32::MAX, Stream::root(1)) <= MAX_PAUSE);
    }
}
