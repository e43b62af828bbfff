//! `toolr0 sft`: next-token training on a file, before or after self-play.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;
use serde_json::json;
use toolr0_model::Checkpoint;
use toolr0_model::rng::Stream;
use toolr0_rl::optim::{AdamW, AdamWConfig};
use toolr0_rl::policy::{Agent, Role};
use toolr0_rl::schedule::Schedule;
use toolr0_rl::sft::{Example, gradients};

use crate::args::{Global, Sft};
use crate::lessons::{self, Lesson};
use crate::model;
use crate::run_dir::{Log, RunDir};
use crate::ui::{Screen, out};

/// Trains, and saves the model.
pub(crate) fn run(args: &Sft, global: Global) -> Result<()> {
    let clock = Instant::now();
    let mut screen = Screen::new(global);
    RunDir::refuse_taken(&args.out)?;
    let checkpoint = model::load(&args.model, &screen)?;
    let style = model::style(&checkpoint, args.style);
    let (lessons, mut drops) = lessons::read(&args.data, style, args.bad_lines, &|bad| screen.warn(bad))?;
    let mut examples = Vec::new();
    for lesson in &lessons {
        match example(lesson, &checkpoint)? {
            Some(example) => examples.push(example),
            None => _ = drops.add("longer than the model's positions"),
        }
    }
    if examples.is_empty() {
        bail!("every example is longer than the model's positions");
    }
    let stream = Stream::root(args.seed).child("sft");
    let batches = batches(&examples, args.epochs as usize, args.batch_tokens as usize, stream);

    let mut dir = RunDir::create(&args.out)?;
    dir.checkpoint("", &checkpoint)?;
    let mut log = Log::create(&dir.path().join("metrics.jsonl"))?;
    let agent = Agent::new(Role::Solver, &checkpoint)?;
    let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
    let schedule =
        Schedule { warmup: (batches.len() as u64 / 20).min(50), floor: 0.1, ..Schedule::default() };
    screen.begin("sft", batches.len());
    let (mut first, mut last, mut tokens) = (None, 0.0, 0);
    for (step, batch) in batches.iter().enumerate() {
        let batch: Vec<Example> = batch.iter().map(|&i| examples[i].clone()).collect();
        let (grads, stats) = gradients(agent.model(), agent.params(), &batch)?;
        let rate = args.learning_rate * schedule.factor(step as u64, batches.len() as u64);
        optimizer.step(agent.params(), &grads, rate)?;
        log.push(
            &json!({"step": step + 1, "loss": stats.loss, "tokens": stats.tokens, "learning_rate": rate}),
        )?;
        dir.keep();
        first = first.or(Some(stats.loss));
        (last, tokens) = (stats.loss, tokens + stats.tokens);
        screen.advance(step + 1, &format!("loss {:.3}", stats.loss));
    }
    screen.end();
    dir.checkpoint("", &agent.checkpoint()?)?;
    let seconds = clock.elapsed().as_secs_f64();
    let result = json!({"model": args.model, "out": args.out, "examples": examples.len(), "bad_lines": drops,
        "steps": batches.len(), "tokens": tokens, "first_loss": first, "last_loss": last, "seconds": seconds});
    dir.text("result.json", &format!("{}\n", serde_json::to_string_pretty(&result)?))?;
    if global.json {
        return out(&format!("{result}\n"));
    }
    let bad: Vec<String> = drops.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    let bad = if bad.is_empty() { "none".to_owned() } else { bad.join(", ") };
    out(&format!(
        "{} examples, bad lines: {bad}\nloss {:.3} to {last:.3} in {} steps, {seconds:.1} s; the model is in {}\n",
        examples.len(),
        first.unwrap_or(last),
        batches.len(),
        args.out.display()
    ))
}

/// The rendered prompt, then what is learned: the answer and the end of the turn. `None` if that is too long.
fn example(lesson: &Lesson, checkpoint: &Checkpoint) -> Result<Option<Example>> {
    let text = checkpoint.template.render(&lesson.prompt.messages, None, true, &Default::default())?;
    let mut tokens = checkpoint.tokenizer.encode(&text)?;
    let loss_from = tokens.len();
    tokens.extend(checkpoint.tokenizer.encode(&lesson.completion)?);
    tokens.push(*checkpoint.eos.first().context("the checkpoint names no token that ends a text")?);
    Ok((tokens.len() <= checkpoint.config.max_position).then_some(Example { tokens, loss_from }))
}

/// Indices by update: each epoch in an order of its own, packed up to `budget` tokens.
fn batches(examples: &[Example], epochs: usize, budget: usize, stream: Stream) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    for epoch in 0..epochs {
        let mut order: Vec<usize> = (0..examples.len()).collect();
        order.shuffle(&mut stream.child(epoch).rng());
        let (mut batch, mut size) = (Vec::new(), 0);
        for i in order {
            let len = examples[i].tokens.len();
            if !batch.is_empty() && budget < size + len {
                batches.push(std::mem::take(&mut batch));
                size = 0;
            }
            batch.push(i);
            size += len;
        }
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_sees_every_example_once() {
        let examples: Vec<Example> = (1..9).map(|n| Example { tokens: vec![0; n], loss_from: 1 }).collect();
        let got = batches(&examples, 2, 10, Stream::root(1));
        let size = |batch: &Vec<usize>| batch.iter().map(|&i| examples[i].tokens.len()).sum::<usize>();
        assert!(got.iter().all(|batch| !batch.is_empty() && (size(batch) <= 10 || batch.len() == 1)));
        let mut seen: Vec<usize> = got.into_iter().flatten().collect();
        assert_ne!(seen[..8], seen[8..], "epochs differ in order");
        seen.sort();
        assert_eq!(seen, (0..8).flat_map(|i| [i, i]).collect::<Vec<_>>());
    }
}
