//! The decoder against transformers: logits, log-probabilities, loss and greedy text of five small random
//! checkpoints, from the config in either spelling, computed by either body.
//!
//! The sample in `golden/models` always runs; what it holds and who made it stands in `golden/models/README.md`.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use toolr0_model::generate::Batching;
use toolr0_model::kernels::attention::Packing;
use toolr0_model::kernels::body::Body;
use toolr0_model::kernels::math;
use toolr0_model::rng::Stream;
use toolr0_model::{CausalLm, Finish, ModelConfig, Request, SamplingConfig, generate, weights};

/// Largest gap allowed, absolute.
const TOLERANCE: f32 = 1e-4;

/// What transformers says of one checkpoint.
struct Golden {
    /// Token ids of each row, without padding.
    rows: Vec<Vec<u32>>,
    /// `(tokens of the row, v)` per row, padding left out.
    logits: Vec<Tensor>,
    /// Of each token but the first, per row.
    logprobs: Vec<Vec<f32>>,
    /// Mean negative log-likelihood of the tokens above; the sample that was cut out of a batch has none.
    loss: Option<f32>,
    /// A prompt and the likeliest continuation.
    greedy: (Vec<u32>, Vec<u32>),
}

impl Golden {
    fn load(path: &Path) -> Self {
        let all = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let ids = |name: &str| all[name].to_dtype(DType::U32).unwrap();
        let mask = ids("attention_mask").to_vec2::<u32>().unwrap();
        let lens: Vec<usize> = mask.iter().map(|row| row.iter().sum::<u32>() as usize).collect();
        let cut = |(row, len): (Vec<u32>, &usize)| row[..*len].to_vec();
        let rows: Vec<Vec<u32>> =
            ids("input_ids").to_vec2().unwrap().into_iter().zip(&lens).map(cut).collect();
        let logits =
            lens.iter().enumerate().map(|(i, len)| all["logits"].get(i).unwrap().narrow(0, 0, *len).unwrap());
        let logprobs = all["token_logprobs"].to_vec2::<f32>().unwrap();
        let logprobs = logprobs.into_iter().zip(&lens).map(|(row, len)| row[..len - 1].to_vec()).collect();
        let prompt = ids("greedy_prompt_len").to_vec1::<u32>().unwrap()[0] as usize;
        let mut greedy = ids("greedy_ids").flatten_all().unwrap().to_vec1::<u32>().unwrap();
        let continuation = greedy.split_off(prompt);
        Self {
            logits: logits.collect(),
            logprobs,
            loss: all.get("loss").map(|x| x.to_vec1::<f32>().unwrap()[0]),
            greedy: (greedy, continuation),
            rows,
        }
    }
}

/// Largest gap between two sets of numbers; NaN anywhere is an infinite one.
fn gap(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let one = |(a, b): (&f32, &f32)| if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() };
    got.iter().zip(want).map(one).fold(0.0, f32::max)
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn check(name: &str, config: &ModelConfig, dir: &Path) {
    for body in [Body::Fused, Body::Composed(DType::F32)] {
        check_body(&format!("{name}, {body:?}"), config, dir, body);
    }
}

#[track_caller]
fn check_body(name: &str, config: &ModelConfig, dir: &Path, body: Body) {
    let golden = Golden::load(&dir.join("golden.safetensors"));
    let model = CausalLm::new(config, &weights::load(dir, config).unwrap()).unwrap().with_body(body).unwrap();
    let v = config.vocab_size;

    let lens: Vec<usize> = golden.rows.iter().map(Vec::len).collect();
    let hidden = model.forward(&golden.rows.concat(), &Arc::new(Packing::sequences(&lens))).unwrap();
    let got = flat(&model.logits(&hidden).unwrap());
    let want: Vec<f32> = golden.logits.iter().flat_map(flat).collect();
    let logits_gap = gap(&got, &want);
    assert!(logits_gap <= TOLERANCE, "{name}: logits differ by {logits_gap:e}");

    // The way that samples: frozen weights, a cache, rows of uneven length in steps of uneven length.
    let frozen = model.frozen().unwrap();
    let mut caches: Vec<_> = lens.iter().map(|_| frozen.new_cache(None)).collect();
    let mut cached: Vec<Vec<f32>> = vec![Vec::new(); lens.len()];
    while let Some(new) = {
        let left: Vec<usize> =
            caches.iter().zip(&lens).map(|(cache, len)| (len - cache.len()).min(7)).collect();
        left.iter().any(|n| *n != 0).then_some(left)
    } {
        let tokens: Vec<u32> = (0..lens.len())
            .flat_map(|i| golden.rows[i][caches[i].len()..caches[i].len() + new[i]].to_vec())
            .collect();
        let mut rows: Vec<_> = caches.iter_mut().collect();
        let hidden = frozen.forward_cached(&tokens, &mut rows, &new).unwrap();
        let mut rest = &flat(&frozen.logits(&hidden).unwrap())[..];
        for (row, new) in cached.iter_mut().zip(&new) {
            let (own, others) = rest.split_at(new * v);
            row.extend_from_slice(own);
            rest = others;
        }
    }
    let cached_gap = gap(&cached.concat(), &want);
    assert!(cached_gap <= TOLERANCE, "{name}: cached logits differ by {cached_gap:e}");

    let mut logprobs = Vec::new();
    let mut at = 0;
    for row in &golden.rows {
        for next in &row[1..] {
            let logits = &got[at * v..(at + 1) * v];
            logprobs.push(logits[*next as usize] - math::logsumexp(logits, 1.0));
            at += 1;
        }
        at += 1; // the last token predicts nothing that is known
    }
    let logprobs_gap = gap(&logprobs, &golden.logprobs.concat());
    assert!(logprobs_gap <= TOLERANCE, "{name}: log-probabilities differ by {logprobs_gap:e}");
    let loss = -logprobs.iter().map(|x| f64::from(*x)).sum::<f64>() / logprobs.len() as f64;
    let loss_gap = golden.loss.map(|want| (loss - f64::from(want)).abs());
    assert!(
        loss_gap.is_none_or(|gap| gap <= f64::from(TOLERANCE)),
        "{name}: loss {loss}, expected {:?}",
        golden.loss
    );

    let (prompt, want) = &golden.greedy;
    let config = SamplingConfig { max_new_tokens: want.len(), ..SamplingConfig::greedy() };
    let request = Request { prompt: prompt.clone(), streams: vec![Stream::root(0)] };
    let tokenizer = crate::tokenizer::small();
    let batching = Batching::default();
    // The script let the model write on past the end-of-text id.
    let done = generate(&frozen, &tokenizer, &[], &[request], &config, batching, &mut |_| true).unwrap();
    assert_eq!((&done[0][0].tokens, done[0][0].finish), (want, Finish::Length), "{name}: greedy ids");
    eprintln!(
        "{name}: logits within {logits_gap:.1e}, cached {cached_gap:.1e}, log-probs {logprobs_gap:.1e}, loss {:.1e}",
        loss_gap.unwrap_or(0.0)
    );
}

/// Checks a folder once per spelling of its config.
#[track_caller]
fn check_folder(dir: &Path) {
    let name = dir.file_name().unwrap().to_string_lossy();
    let load = |file: &str| {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        ModelConfig::from_json(&text, Path::new(file)).unwrap()
    };
    let config = load("config.json");
    assert_eq!(load("config.v4.json"), config, "{name}: both spellings say the same");
    check(&name, &config, dir);
    check(&format!("{name} (v4)"), &load("config.v4.json"), dir);
}

#[test]
fn the_sample_matches() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/models");
    for name in ["qwen2-tied", "qwen3-mini", "llama3-mini"] {
        check_folder(&models.join(name));
    }
}

#[test]
fn five_checkpoints_match_transformers() {
    let Some(models) = crate::shared("golden/models") else { return };
    for name in ["qwen2-tied", "qwen2-untied", "qwen3", "llama3-scaled-rope", "llama-plain"] {
        check_folder(&models.join(name));
    }
}
