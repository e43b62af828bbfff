//! Asks one model the questions of a split, and marks its answers.

use anyhow::{Result, bail};
use serde_json::json;
use toolr0_curriculum::Drops;
use toolr0_model::rng::Stream;
use toolr0_model::{Checkpoint, SamplingConfig};
use toolr0_reward::question::Mark;
use toolr0_reward::{Question, Style};
use toolr0_rl::{Answerer, Sampler};
use toolr0_tools::Prompt;

use super::Split;
use super::answers::{Answers, Line, fingerprint, key, outside_fingerprint};
use super::sheet::{Faulty, Reason, Sheet, Unasked};
use crate::args::Eval;
use crate::endpoint::Endpoint;
use crate::model;
use crate::ui::Screen;

/// Rows decoded together; bounds memory, changes no answer.
const MAX_ROWS: usize = 64;
/// Questions asked in one go; what was answered before is on disk.
const CHUNK: usize = 256;
/// The same for a server, whose answers take longer.
const CHUNK_OUTSIDE: usize = 32;

/// Who is asked.
enum Examinee {
    /// A model in this process, and its positions.
    Here(Box<Sampler>, usize),
    /// A served one.
    Outside(Endpoint),
}

/// What there is to ask with.
pub(super) struct Examiner {
    /// What the model is called.
    pub(super) model: String,
    examinee: Examinee,
    /// How prompts are worded.
    pub(super) style: Style,
    sampling: SamplingConfig,
    samples: usize,
    stream: Stream,
    /// Of the model and of all settings that an answer depends on.
    fingerprint: String,
    /// Answers that did not come, by reason.
    pub(super) unknown: Drops,
}

impl Examiner {
    /// For a checkpoint.
    pub(super) fn here(args: &Eval, name: &str, checkpoint: &Checkpoint) -> Result<Self> {
        let (samples, sampling) = sampling(args)?;
        let style = model::style(checkpoint, args.style);
        let sampler = Box::new(Sampler::new(checkpoint, MAX_ROWS)?);
        Ok(Self {
            model: name.to_owned(),
            examinee: Examinee::Here(sampler, checkpoint.config.max_position),
            fingerprint: fingerprint(checkpoint, &json!([style, sampling, args.seed]))?,
            style,
            sampling,
            samples,
            stream: Stream::root(args.seed).child("eval"),
            unknown: Drops::default(),
        })
    }

    /// For a server.
    pub(super) fn outside(args: &Eval, endpoint: Endpoint) -> Result<Self> {
        let (samples, sampling) = sampling(args)?;
        let style = model::wording(args.style).unwrap_or_default();
        Ok(Self {
            model: endpoint.model().to_owned(),
            fingerprint: outside_fingerprint(&endpoint, &json!([style, sampling, args.seed])),
            examinee: Examinee::Outside(endpoint),
            style,
            sampling,
            samples,
            stream: Stream::root(args.seed).child("eval"),
            unknown: Drops::default(),
        })
    }

    /// A warning about answers that did not come, if there are such.
    pub(super) fn missed(&self) -> Option<String> {
        match &self.examinee {
            Examinee::Outside(endpoint) if !self.unknown.is_empty() => Some(endpoint.missed(&self.unknown)),
            _ => None,
        }
    }

    /// Asks what is not answered yet, and marks all.
    pub(super) fn examine(
        &mut self,
        split: &Split,
        screen: &mut Screen,
        answers: &mut Answers,
    ) -> Result<Sheet> {
        screen.begin(&format!("{}/{}", split.suite, split.name), split.questions.len() * self.samples);
        let mut unasked = Unasked::default();
        let (mut marks, mut open) = (Vec::new(), Vec::new());
        for (i, question) in split.questions.iter().enumerate() {
            let prompt = question.prompt(self.style);
            let key = key(&self.fingerprint, &question.id(), &prompt);
            if let Some(reason) = self.refused(&prompt) {
                unasked.add(reason);
                let mark = question.not_asked();
                self.log(split, question, &key, 0, None, &mark, answers)?;
                marks.push(vec![mark; self.samples]);
                continue;
            }
            let known: Vec<Option<String>> = (0..self.samples).map(|s| answers.take(&key, s)).collect();
            let missing = known.iter().enumerate().filter(|(_, text)| text.is_none()).map(|(s, _)| s);
            let missing: Vec<usize> = missing.collect();
            marks.push(known.into_iter().flatten().map(|text| question.mark(&text)).collect());
            if !missing.is_empty() {
                open.push(Open { question: i, prompt, key, samples: missing });
            }
        }
        let mut done: usize = marks.iter().map(Vec::len).sum();
        screen.advance(done, "");
        let chunk = match self.examinee {
            Examinee::Here(..) => CHUNK,
            Examinee::Outside(_) => CHUNK_OUTSIDE,
        };
        for chunk in open.chunks(chunk) {
            self.ask(chunk, split, &mut marks, answers, &mut |n| screen.advance(done + n, ""))?;
            done += chunk.iter().map(|open| open.samples.len()).sum::<usize>();
        }
        let faulty = Faulty { bad_lines: split.bad.len(), mistyped_answers: split.mistyped.len() };
        let sheet = Sheet::new(&split.suite, &split.name, &marks, self.samples, unasked, faulty);
        screen.advance(done, &format!("accuracy {:.1} %", 100.0 * sheet.accuracy));
        screen.end();
        Ok(sheet)
    }

    /// Why a prompt cannot be asked, if it cannot. What a server refuses is known when it does.
    fn refused(&self, prompt: &Prompt) -> Option<Reason> {
        let Examinee::Here(sampler, max_position) = &self.examinee else { return None };
        match sampler.encode(prompt) {
            Ok(ids) if ids.len() < *max_position => None,
            Ok(_) => Some(Reason::TooLong),
            Err(_) => Some(Reason::Template),
        }
    }

    fn ask(
        &mut self,
        chunk: &[Open],
        split: &Split,
        marks: &mut [Vec<Mark>],
        answers: &mut Answers,
        progress: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let prompts: Vec<_> = chunk
            .iter()
            .map(|open| {
                // By name, so that no other question of the suite has a say in what is drawn.
                let stream = self.stream.child(split.questions[open.question].id().as_str());
                (open.prompt.clone(), open.samples.iter().map(|&sample| stream.child(sample)).collect())
            })
            .collect();
        let answerer: &dyn Answerer = match &self.examinee {
            Examinee::Here(sampler, _) => sampler.as_ref(),
            Examinee::Outside(endpoint) => endpoint,
        };
        let given = answerer.answer(&prompts, &self.sampling, &mut |done| {
            progress(done);
            true
        })?;
        self.unknown.merge(&given.unknown);
        for (open, texts) in chunk.iter().zip(given.texts) {
            let question = &split.questions[open.question];
            for (&sample, text) in open.samples.iter().zip(texts) {
                let Some(text) = text else { continue };
                let mark = question.mark(&text);
                self.log(split, question, &open.key, sample, Some(&text), &mark, answers)?;
                marks[open.question].push(mark);
            }
        }
        // What came before the end is on disk.
        given.ended.map_or(Ok(()), |error| Err(error.into()))
    }

    #[expect(clippy::too_many_arguments, reason = "one line of the file, and all that it says")]
    fn log(
        &self,
        split: &Split,
        question: &Question,
        key: &str,
        sample: usize,
        completion: Option<&str>,
        mark: &Mark,
        answers: &mut Answers,
    ) -> Result<()> {
        answers.push(&Line {
            key,
            model: &self.model,
            suite: &split.suite,
            split: &split.name,
            id: question.id(),
            sample,
            solved: mark.solved,
            completion,
            prediction: mark.calls.as_deref(),
            fault: mark.fault.as_ref(),
            errors: mark.errors,
            scores: mark.scores.as_ref(),
        })
    }
}

/// A question with answers missing.
struct Open {
    question: usize,
    prompt: Prompt,
    key: String,
    /// Which of the samples.
    samples: Vec<usize>,
}

/// Answers to each question, and how they are drawn.
fn sampling(args: &Eval) -> Result<(usize, SamplingConfig)> {
    let samples = args.samples as usize;
    let temperature = args.temperature.unwrap_or(if samples == 1 { 0.0 } else { 1.0 });
    if temperature == 0.0 && 1 < samples {
        bail!("--samples {samples} at --temperature 0 would be {samples} times the same answer");
    }
    let max_new_tokens = args.max_new_tokens as usize;
    let sampling = SamplingConfig { temperature, max_new_tokens, ..SamplingConfig::default() };
    sampling.validate()?;
    Ok((samples, sampling))
}
