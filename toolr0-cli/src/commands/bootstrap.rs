//! `toolr0 bootstrap`: the base model again, from nothing.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use toolr0_model::Checkpoint;
use toolr0_model::config::WeightDtype;

use crate::args::{Bootstrap, Device, Global};
use crate::bootstrap::train::{BootstrapConfig, bootstrap};
use crate::config::set_all;
use crate::run_dir::RunDir;
use crate::ui::{Screen, out};

/// Makes a base model and saves it in the type of the embedded one.
pub(crate) fn run(args: &Bootstrap, global: Global) -> Result<()> {
    ensure!(global.device != Device::Cuda, "bootstrap computes on the CPU alone: leave out `--device cuda`");
    let recipe = set_all(BootstrapConfig::default(), &args.set)?;
    check(&recipe)?;
    let later = [&recipe.second, &recipe.third, &recipe.fourth];
    let idle = later.iter().all(|cycle| cycle.steps == 0);
    ensure!(
        args.from.is_none() || !idle,
        "all cycles after the first have 0 steps, and `--from` trains only these"
    );
    let from = args.from.as_deref().map(Checkpoint::load).transpose()?;
    // Made now, so that a folder which cannot be written costs no hour of training.
    let mut dir = RunDir::create(&args.out)?;
    let mut screen = Screen::new(global);
    let clock = std::time::Instant::now();
    screen.begin("text and tokenizer", 1);
    let mut shown: Option<f64> = None;
    let checkpoint = bootstrap(args.seed, &recipe, from.as_ref(), &mut |progress| {
        if progress.step == 1 {
            screen.advance(1, "");
            screen.begin("base model", progress.steps as usize);
        }
        let loss = shown.map_or(progress.loss, |shown| 0.95 * shown + 0.05 * progress.loss);
        shown = Some(loss);
        let rate = progress.tokens as f64 / clock.elapsed().as_secs_f64().max(1e-9);
        screen.advance(progress.step as usize, &format!("loss {loss:.3}  {rate:.0} tokens/s"));
    })?;
    screen.end();
    checkpoint.save(dir.path(), WeightDtype::F16)?;
    dir.keep();
    let parameters: usize = checkpoint.tensors.values().map(|tensor| tensor.elem_count()).sum();
    let (seconds, path) = (clock.elapsed().as_secs_f64(), args.out.display().to_string());
    match global.json {
        true => {
            let result = json!({"seed": args.seed, "seconds": seconds, "parameters": parameters, "loss": shown,
                                "out": path, "recipe": recipe});
            out(&format!("{result}\n"))
        }
        false => out(&format!("{parameters} parameters in {seconds:.0} s, in {path}\n")),
    }
}

/// Refuses what would fail in the middle, or not at all and be no model.
fn check(recipe: &BootstrapConfig) -> Result<()> {
    let sizes = [
        ("vocab", recipe.vocab, 300, 2048),
        ("hidden", recipe.hidden, 8, 4096),
        ("layers", recipe.layers, 1, 64),
        ("heads", recipe.heads, 1, 64),
        ("kv_heads", recipe.kv_heads, 1, 64),
        ("intermediate", recipe.intermediate, 8, 16_384),
        ("batch_tokens", recipe.batch_tokens, 256, 1 << 20),
    ];
    for (key, value, least, most) in sizes {
        ensure!((least..=most).contains(&value), "`{key}` is {value}, expected {least} to {most}");
    }
    let (hidden, heads, kv) = (recipe.hidden, recipe.heads, recipe.kv_heads);
    ensure!(
        hidden.is_multiple_of(2 * heads),
        "`hidden` is {hidden}, expected a multiple of twice `heads`, {heads}"
    );
    ensure!(heads.is_multiple_of(kv), "`heads` is {heads}, expected a multiple of `kv_heads`, {kv}");
    let documents = recipe.tokenizer_documents;
    ensure!(
        (1..=10_000_000).contains(&documents),
        "`tokenizer_documents` is {documents}, expected 1 to 10000000"
    );
    let cycles = [&recipe.first, &recipe.second, &recipe.third, &recipe.fourth];
    let steps = cycles.iter().try_fold(recipe.warmup_steps, |n, cycle| n.checked_add(cycle.steps));
    let steps = steps.context("the steps are more than can be counted")?;
    ensure!(0 < steps, "`first.steps` is 0, expected at least 1");
    let share = recipe.repeat_share;
    ensure!((0.0..=1.0).contains(&share), "`repeat_share` is {share}, expected 0 to 1");
    for (name, cycle) in ["first", "second", "third", "fourth"].into_iter().zip(cycles) {
        for (key, share) in [
            ("learning_rate", cycle.learning_rate),
            ("corpus.generator_share", cycle.corpus.generator_share),
            ("corpus.malformed", cycle.corpus.malformed),
            ("corpus.flawed", cycle.corpus.flawed),
            ("corpus.two_calls", cycle.corpus.two_calls),
            ("corpus.made_up", cycle.corpus.made_up),
        ] {
            ensure!((0.0..=1.0).contains(&share), "`{name}.{key}` is {share}, expected 0 to 1");
        }
    }
    Ok(())
}
