//! Sampling: the same words whatever the batch, and the log-probabilities that the trainer computes.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use toolr0_model::config::{Architecture, Llama3Scaling, WeightDtype};
use toolr0_model::generate::{Batching, converse};
use toolr0_model::kernels::attention::Packing;
use toolr0_model::kernels::math;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{Tensors, expected_tensors};
use toolr0_model::{CausalLm, Completion, Engine, Finish, ModelConfig, Request, SamplingConfig, generate};

/// Two layers over the 262 ids of the small tokenizer, with everything that the family has of its own.
pub(crate) fn tiny(architecture: Architecture) -> ModelConfig {
    let scaling =
        Llama3Scaling { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position: 32 };
    ModelConfig {
        architecture,
        vocab_size: 262,
        hidden: 24,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        intermediate: 40,
        rms_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: (architecture == Architecture::Llama).then_some(scaling),
        tie_word_embeddings: architecture != Architecture::Llama,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
        max_position: 256,
        eos_token_ids: vec![261],
        bos_token_id: None,
        pad_token_id: None,
        initializer_range: 0.02,
        dtype: WeightDtype::F32,
    }
}

/// Seeded weights, large enough that every part of the network moves the logits; norms near 1.
pub(crate) fn random(config: &ModelConfig) -> Tensors {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let mut rng = Stream::root(5).child(name.as_str()).rng();
        let (centre, size) = if name.contains("norm") { (1.0, 0.3) } else { (0.0, 0.7) };
        let n: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..n).map(|_| (centre + size * (2.0 * uniform_f64(&mut rng) - 1.0)) as f32).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    expected_tensors(config).into_iter().map(tensor).collect()
}

fn model(architecture: Architecture) -> CausalLm {
    let config = tiny(architecture);
    CausalLm::new(&config, &random(&config)).unwrap()
}

pub(crate) const FAMILIES: [Architecture; 3] =
    [Architecture::Qwen2, Architecture::Qwen3, Architecture::Llama];

/// `n` ids, none of them special.
pub(crate) fn text(seed: u64, n: usize) -> Vec<u32> {
    let mut rng = Stream::root(seed).child("text").rng();
    (0..n).map(|_| (uniform_f64(&mut rng) * 256.0) as u32).collect()
}

fn streams(request: usize, n: usize) -> Vec<Stream> {
    (0..n).map(|sample| Stream::root(2).child(request).child(sample)).collect()
}

/// Prompts from one token to more than two blocks of the attention kernel, with one to six samples each.
pub(crate) fn requests() -> Vec<Request> {
    let shapes = [(1, 3), (17, 1), (2, 6), (40, 4), (16, 2)];
    let one = |(i, (len, n)): (usize, &(usize, usize))| Request {
        prompt: text(i as u64, *len),
        streams: streams(i, *n),
    };
    shapes.iter().enumerate().map(one).collect()
}

pub(crate) fn sampling(max_new_tokens: usize) -> SamplingConfig {
    SamplingConfig { max_new_tokens, ..SamplingConfig::default() }
}

pub(crate) fn run(
    model: &CausalLm,
    requests: &[Request],
    config: &SamplingConfig,
    batching: Batching,
) -> Vec<Vec<Completion>> {
    generate(model, &crate::tokenizer::small(), &[261], requests, config, batching, &mut |_| true).unwrap()
}

/// Tokens and the bits of their log-probabilities.
fn bits(done: &[Completion]) -> Vec<(Vec<u32>, Vec<u32>, Finish)> {
    let one = |c: &Completion| (c.tokens.clone(), c.logprobs.iter().map(|x| x.to_bits()).collect(), c.finish);
    done.iter().map(one).collect()
}

#[track_caller]
fn assert_same(got: &[Vec<Completion>], want: &[Vec<Completion>], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(bits(got), bits(want), "{what}, request {i}");
    }
}

fn logprobs_of(logits: &Tensor, targets: &[u32], temperature: f64) -> Vec<f32> {
    let (rows, scale) = (logits.to_vec2::<f32>().unwrap(), (1.0 / temperature) as f32);
    rows.iter().zip(targets).map(|(row, y)| row[*y as usize] * scale - math::logsumexp(row, scale)).collect()
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}: [{i}] is {a}, expected {b}");
    }
}

#[test]
fn cached_and_uncached_logprobs_agree() {
    for architecture in FAMILIES {
        let model = model(architecture);
        let tokens = text(9, 60);
        let (inputs, targets) = (&tokens[..59], &tokens[1..]);
        let hidden = model.forward(inputs, &Arc::new(Packing::sequences(&[59]))).unwrap();
        let want = logprobs_of(&model.logits(&hidden).unwrap(), targets, 1.0);
        let frozen = model.frozen().unwrap();
        for steps in [vec![59], vec![1; 59], vec![16, 1, 1, 20, 3, 17, 1]] {
            let mut cache = frozen.new_cache(None);
            let mut got = Vec::new();
            for n in &steps {
                let at = cache.len();
                let hidden = frozen.forward_cached(&inputs[at..at + n], &mut [&mut cache], &[*n]).unwrap();
                got.extend(logprobs_of(&frozen.logits(&hidden).unwrap(), &targets[at..at + n], 1.0));
            }
            let what = format!("{architecture:?} in steps of {steps:?}");
            assert_close(&got, &want, 1e-5, &what);
            // More than asked for: one order of every sum, so the same bits.
            assert_eq!(got, want, "{what}");
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    for architecture in FAMILIES {
        let model = model(architecture).frozen().unwrap();
        let (requests, config) = (requests(), sampling(24));
        let want = run(&model, &requests, &config, Batching::default());
        assert_eq!(want.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 6, 4, 2]);
        let samples: std::collections::HashSet<_> = want.iter().flatten().map(|c| &c.tokens).collect();
        assert_eq!(samples.len(), 16, "streams differ, so do their samples");

        for (max_rows, max_prefill) in [(1, 4096), (3, 4096), (5, 20), (128, 1)] {
            let got = run(&model, &requests, &config, Batching { max_rows, max_prefill });
            assert_same(&got, &want, &format!("{max_rows} rows, {max_prefill} prompt tokens at a time"));
        }

        let reversed: Vec<Request> = requests.iter().rev().cloned().collect();
        let mut got = run(&model, &reversed, &config, Batching::default());
        got.reverse();
        assert_same(&got, &want, "the other order");

        // A group shares its prompt: the same as every sample by itself, with a prompt of its own.
        for (i, request) in requests.iter().enumerate() {
            for (sample, stream) in request.streams.iter().enumerate() {
                let alone = Request { prompt: request.prompt.clone(), streams: vec![*stream] };
                let got = run(&model, &[alone], &config, Batching::default());
                assert_eq!(
                    bits(&got[0]),
                    bits(&want[i][sample..=sample]),
                    "request {i}, sample {sample} alone"
                );
            }
        }

        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = pool.install(|| run(&model, &requests, &config, Batching::default()));
            assert_same(&got, &want, &format!("{threads} threads"));
        }
    }
}

/// What all prompts begin with is prefilled once for all: the same bits as without it.
#[test]
fn a_sample_does_not_depend_on_what_other_prompts_begin_with() {
    for architecture in FAMILIES {
        let model = model(architecture).frozen().unwrap();
        let same = text(40, 37);
        let one = |i: usize| Request {
            prompt: [same.clone(), text(i as u64, 1 + 9 * i)].concat(),
            streams: streams(i, 2),
        };
        let requests: Vec<Request> = (0..3).map(one).collect();
        let together = run(&model, &requests, &sampling(20), Batching::default());
        for (i, request) in requests.iter().enumerate() {
            let alone = run(&model, std::slice::from_ref(request), &sampling(20), Batching::default());
            assert_same(&alone, &together[i..=i], &format!("{architecture:?}, prompt {i} alone"));
        }
    }
}

/// The number that a rollout keeps is the one that training starts from, also when filters were active.
#[test]
fn the_samplers_logprob_is_the_trainers() {
    for architecture in FAMILIES {
        let model = model(architecture);
        for (temperature, top_p) in [(1.0, 1.0), (0.7, 0.9)] {
            let config = SamplingConfig { temperature, top_p, ..sampling(20) };
            let requests = requests();
            let done = run(&model.frozen().unwrap(), &requests, &config, Batching::default());
            let (mut tokens, mut targets, mut rows, mut lens) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (request, completions) in requests.iter().zip(&done) {
                let (last, head) = request.prompt.split_last().unwrap();
                tokens.extend_from_slice(head);
                for completion in completions {
                    rows.extend(tokens.len() as u32..(tokens.len() + completion.tokens.len()) as u32);
                    tokens.push(*last);
                    tokens.extend_from_slice(&completion.tokens[..completion.tokens.len() - 1]);
                    targets.extend_from_slice(&completion.tokens);
                }
                lens.push((head.len(), completions.iter().map(|c| c.tokens.len()).collect::<Vec<_>>()));
            }
            let packing = Packing::trees(lens.iter().map(|(prompt, own)| (*prompt, own.as_slice())));
            let hidden = model.forward(&tokens, &Arc::new(packing)).unwrap();
            let hidden = hidden.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0).unwrap();
            let got = logprobs_of(&model.logits(&hidden).unwrap(), &targets, temperature);
            let want: Vec<f32> = done.iter().flatten().flat_map(|c| c.logprobs.clone()).collect();
            let what = format!("{architecture:?} at temperature {temperature}, top-p {top_p}");
            assert_close(&got, &want, 1e-6, &what);
            assert_eq!(got, want, "{what}: one implementation, the same bits");
        }
    }
}

#[test]
fn a_completion_ends_at_its_budget() {
    let model = model(Architecture::Qwen2).frozen().unwrap();
    let done = run(&model, &requests(), &sampling(5), Batching::default());
    for completion in done.iter().flatten() {
        assert_eq!(completion.tokens.len(), completion.logprobs.len());
        match completion.finish {
            Finish::Length => assert_eq!(completion.tokens.len(), 5),
            finish => assert_eq!((finish, completion.tokens.last()), (Finish::Eos, Some(&261))),
        }
    }
    assert!(done.iter().flatten().any(|c| c.finish == Finish::Length));
}

#[test]
fn a_completion_ends_where_the_models_context_does() {
    // 256 positions.
    let model = model(Architecture::Qwen2).frozen().unwrap();
    let requests: Vec<Request> =
        [250, 255, 256, 300].map(|n| Request { prompt: text(n, n as usize), streams: streams(0, 2) }).into();
    for (room, samples) in
        [6, 1, 1, 1].into_iter().zip(run(&model, &requests, &sampling(20), Batching::default()))
    {
        for sample in samples {
            assert!(sample.tokens.len() == room || sample.finish == Finish::Eos, "{room}: {sample:?}");
            assert!(sample.tokens.len() <= room, "{room}: {sample:?}");
        }
    }
}

#[test]
fn what_others_say_counts_in_the_models_context() {
    let (model, tokenizer) = (model(Architecture::Qwen2).frozen().unwrap(), crate::tokenizer::small());
    let stop = (33..127_u8).map(|letter| char::from(letter).to_string()).collect();
    let config = SamplingConfig { stop, ..sampling(64) };
    let mut said = 0;
    let mut reply = |_: usize, _: usize, _: &[u32]| {
        said += 1;
        Ok(Some(vec![5; 4]))
    };
    // 16 of 256 positions are left.
    let requests = [Request { prompt: text(9, 240), streams: streams(0, 32) }];
    let done = converse(
        &model,
        &tokenizer,
        &[261],
        &requests,
        &config,
        Batching::default(),
        &mut reply,
        &mut |_| true,
    );
    let longest = done.unwrap()[0].iter().map(|c| c.tokens.len()).max().unwrap();
    assert!(0 < said && 4 < longest && longest <= 16, "{said} replies, {longest} tokens");
}

#[test]
fn a_completion_ends_with_its_end_of_text_id() {
    let model = model(Architecture::Qwen2).frozen().unwrap();
    let (requests, config) = (requests(), sampling(24));
    let tokenizer = crate::tokenizer::small();
    let sample = |eos: &[u32]| {
        generate(&model, &tokenizer, eos, &requests, &config, Batching::default(), &mut |_| true).unwrap()
    };
    let long = sample(&[]);
    let eos = [long[0][0].tokens[7], long[3][2].tokens[11]];
    let mut cut = 0;
    for (long, got) in long.iter().flatten().zip(sample(&eos).iter().flatten()) {
        let end = long.tokens.iter().position(|t| eos.contains(t)).map_or(24, |at| at + 1);
        let finish = if end == 24 && !eos.contains(&long.tokens[23]) { Finish::Length } else { Finish::Eos };
        cut += usize::from(finish == Finish::Eos);
        assert_eq!((&got.tokens[..], got.finish), (&long.tokens[..end], finish));
        assert_eq!(got.logprobs, long.logprobs[..end]);
    }
    assert!(cut >= 2, "only {cut} completions met the id");
}

#[test]
fn a_completion_ends_where_a_stop_string_is_complete() {
    let model = model(Architecture::Qwen2).frozen().unwrap();
    let tokenizer = crate::tokenizer::small();
    let requests = [Request { prompt: text(3, 9), streams: streams(0, 48) }];
    let long = run(&model, &requests, &sampling(24), Batching::default());
    // Two neighbouring tokens that are plain letters or signs: a stop string that no token holds by itself.
    let plain = |id: u32| (33..127).contains(&id);
    let spell = |ids: &[u32]| tokenizer.decode(ids, false).unwrap();
    let stop = long[0].iter().find_map(|c| {
        let pair = c.tokens.windows(2).skip(4).find(|pair| {
            pair.iter().all(|id| {
                tokenizer.token(*id).is_some_and(|t| t.len() == 1 && t.bytes().all(|b| plain(b.into())))
            })
        });
        pair.map(spell)
    });
    let stop = stop.expect("some completion holds two plain letters in a row");
    let config = SamplingConfig { stop: vec!["never written".into(), stop.clone()], ..sampling(24) };
    let mut stopped = 0;
    for (got, long) in run(&model, &requests, &config, Batching::default())[0].iter().zip(&long[0]) {
        let n = got.tokens.len();
        assert_eq!(got.tokens, long.tokens[..n], "a stop string cuts, it changes nothing");
        assert_eq!(got.logprobs, long.logprobs[..n]);
        if got.finish == Finish::Stop {
            stopped += 1;
            assert!(spell(&got.tokens).ends_with(&stop), "{:?}", spell(&got.tokens));
            assert!(!spell(&got.tokens[..n - 1]).contains(&stop), "{:?}", spell(&got.tokens));
        } else {
            assert_eq!(got.finish, long.finish);
            assert!(!spell(&got.tokens).contains(&stop), "{:?}", spell(&got.tokens));
        }
    }
    assert!(stopped >= 1);
}

#[test]
fn sampling_can_be_broken_off() {
    let model = model(Architecture::Qwen3).frozen().unwrap();
    let (requests, config, batching) =
        (requests(), sampling(12), Batching { max_rows: 4, ..Batching::default() });
    let whole = run(&model, &requests, &config, batching);
    let tokenizer = crate::tokenizer::small();
    let mut seen = Vec::new();
    let mut progress = |done: usize| {
        seen.push(done);
        done < 5
    };
    let part = generate(&model, &tokenizer, &[261], &requests, &config, batching, &mut progress).unwrap();
    assert!(seen.is_sorted() && seen.last().is_some_and(|n| *n >= 5), "{seen:?}");
    let cut: Vec<(&Completion, &Completion)> = part.iter().flatten().zip(whole.iter().flatten()).collect();
    assert_eq!(cut.len(), 16);
    assert!(cut.iter().all(|(part, whole)| whole.tokens.starts_with(&part.tokens)));
    let complete = cut.iter().filter(|(part, whole)| part == whole).count();
    assert!((5..16).contains(&complete), "{complete} of 16 are whole");
}

#[test]
fn bad_requests_are_errors() {
    let model = model(Architecture::Qwen2).frozen().unwrap();
    let tokenizer = crate::tokenizer::small();
    let sample = |prompt: Vec<u32>, config: &SamplingConfig| {
        let request = Request { prompt, streams: streams(0, 1) };
        generate(&model, &tokenizer, &[], &[request], config, Batching::default(), &mut |_| true)
    };
    let error = anyhow::Error::from(sample(vec![3, 262, 4], &sampling(2)).unwrap_err());
    assert!(format!("{error:#}").contains("token 262"), "{error:#}");
    let error = sample(vec![], &sampling(2)).unwrap_err().to_string();
    assert!(error.contains("prompt"), "{error}");
    let error = sample(vec![3], &SamplingConfig { top_p: 0.0, ..sampling(2) }).unwrap_err().to_string();
    assert!(error.contains("top_p"), "{error}");
}

#[test]
fn an_engine_that_requests_join_and_leave_writes_what_generate_writes() {
    let model = model(Architecture::Qwen3);
    let requests = requests();
    // Settings of their own: budgets, temperatures and stop strings differ.
    let config = |i: usize| {
        let stop = if i == 3 { vec!["e".to_owned(), "a".to_owned()] } else { Vec::new() };
        SamplingConfig {
            temperature: 0.5 + i as f64 / 4.0,
            max_new_tokens: 5 + 3 * i,
            stop,
            ..SamplingConfig::default()
        }
    };
    let alone = |i: usize| run(&model, &requests[i..=i], &config(i), Batching::default()).remove(0);
    let want: Vec<Vec<Completion>> = (0..requests.len()).map(alone).collect();

    let batching = Batching { max_rows: 7, max_prefill: 50 };
    let mut engine = Engine::new(model.clone(), Arc::new(crate::tokenizer::small()), vec![261], batching);
    let empty = |r: &Request| {
        r.streams
            .iter()
            .map(|_| Completion { tokens: vec![], logprobs: vec![], finish: Finish::Length })
            .collect()
    };
    let mut got: Vec<Vec<Completion>> = requests.iter().map(empty).collect();
    engine.submit(99, requests[2].clone(), &config(4)).unwrap();
    for step in 0.. {
        // One joins every other step; the stranger leaves in between.
        if step % 2 == 0 && step / 2 < requests.len() {
            engine.submit(step / 2, requests[step / 2].clone(), &config(step / 2)).unwrap();
        }
        if step == 3 {
            engine.cancel(99);
        }
        if engine.is_idle() {
            break;
        }
        for token in engine.step().unwrap() {
            if token.request == 99 {
                assert!(step < 3, "nothing more is drawn for a request that was cancelled");
                continue;
            }
            let done = &mut got[token.request][token.sample];
            assert!(done.tokens.len() < config(token.request).max_new_tokens);
            done.tokens.push(token.id);
            done.logprobs.push(token.logprob);
            done.finish = token.finish.unwrap_or(done.finish);
        }
        assert!(engine.n_rows() <= 7);
    }
    assert_same(&got, &want, "engine");
    assert!(engine.submit(1, Request { prompt: vec![], streams: vec![] }, &sampling(1)).is_err());
}
