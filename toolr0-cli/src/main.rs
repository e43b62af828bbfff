#![allow(missing_docs)]
use std::time::Instant;
mod bootstrap;
use bootstrap::{train::*, corpus::*, exam};
use toolr0_model::{*, rng::*};
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn eval(ck: &Checkpoint, tasks: &[toolr0_tools::Task], temp: f64, k: usize) -> anyhow::Result<()> {
    let model = CausalLm::new(&ck.config, &ck.tensors)?.frozen()?;
    let s = Instant::now();
    let mut reqs = vec![];
    for (i, t) in tasks.iter().enumerate() {
        let p = toolr0_reward::wire::solver::prompt(&t.question, &t.tools, toolr0_reward::Style::Compact);
        let text = ck.template.render(&p.messages, None, true, &Default::default())?;
        reqs.push(Request { prompt: ck.tokenizer.encode(&text)?, streams: (0..k).map(|j| Stream::root(5).child(i).child(j)).collect() });
    }
    let cfg = SamplingConfig { temperature: temp, max_new_tokens: 160, ..Default::default() };
    let out = generate::generate(&model, &ck.tokenizer, &ck.eos, &reqs, &cfg, Default::default(), &mut |_| true)?;
    let (mut any, mut all, mut parse, mut n, mut toks) = (0, 0, 0, 0, 0);
    let mut err = [0; 5];
    let mut hist = vec![0; k + 1];
    for (t, o) in tasks.iter().zip(&out) {
        let mut solved = 0;
        for c in o {
            let text = ck.tokenizer.decode(&c.tokens, true)?;
            toks += c.tokens.len();
            let v = toolr0_reward::judge(t, &text);
            if n < 6 && k == 1 { println!("  Q: {}\n  G: {}\n  A: {text} {}", t.question, toolr0_reward::wire::calls_json(&t.gold), v.solved); }
            n += 1;
            parse += v.fault.is_none() as usize;
            solved += v.solved as usize;
            for (i, e) in [v.errors.format, v.errors.tool_name, v.errors.argument_names, v.errors.argument_values, v.errors.n_calls].into_iter().enumerate() { err[i] += e as usize; }
        }
        hist[solved] += 1;
        all += solved;
        any += (solved > 0) as usize;
    }
    println!("T={temp} k={k}: acc {:.3} pass@k {:.3} parse {:.3} errors(format,name,argname,argval,ncalls) {:?} of {n} in {:.1}s, {:.0} tok/s hist {hist:?}", all as f64 / n as f64, any as f64 / tasks.len() as f64, parse as f64 / n as f64, err, s.elapsed().as_secs_f64(), toks as f64 / s.elapsed().as_secs_f64());
    Ok(())
}
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "speed" { return speed(); }
    let dir = std::path::PathBuf::from(&args[2]);
    if args[1] == "eval" {
        let ck = Checkpoint::load(&dir)?;
        eval(&ck, &exam::dev(7, 300), 0.0, 1)?;
        eval(&ck, &exam::dev(7, 200), 1.0, 8)?;
        return Ok(());
    }
    if args[1] == "play" {
        let ck = Checkpoint::load(&dir)?;
        let mut v = serde_json::to_value(toolr0_rl::RunConfig::default())?;
        fn merge(a: &mut serde_json::Value, b: &serde_json::Value) { match (a, b) { (serde_json::Value::Object(a), serde_json::Value::Object(b)) => for (k, v) in b { merge(a.entry(k.clone()).or_insert(serde_json::Value::Null), v) }, (a, b) => *a = b.clone() } }
        merge(&mut v, &serde_json::from_str(&std::fs::read_to_string(&args[3])?)?);
        if let Some(x) = args.get(4) { merge(&mut v, &serde_json::from_str(x)?); }
        let mut cfg: toolr0_rl::RunConfig = serde_json::from_value(v)?;
        let nano = nano_law().tables().clone();
        cfg.spec = nano;
        let tasks = exam::dev(7, cfg.exam.items);
        struct Obs(Instant, Vec<f64>, usize, std::collections::BTreeMap<String, f64>, std::collections::BTreeMap<String, f64>);
        impl toolr0_rl::Observer for Obs {
            fn begin(&mut self, phase: toolr0_rl::selfplay::Phase, it: usize, n: usize) { println!("[{:.0}s] {phase:?} {it} n={n}", self.0.elapsed().as_secs_f64()); self.1.clear(); self.2 = 0; }
            fn advance(&mut self, _: usize, _: &str) {}
            fn record(&mut self, r: &toolr0_rl::selfplay::Record) -> toolr0_rl::Result<()> {
                use toolr0_rl::selfplay::Record;
                match r {
                    Record::Step(s) => { if s.step % 5 == 0 || s.step <= 2 { println!("  {} {} r {:.3} {:?} p {:?} zv {:.2} len {:.0} trunc {:.2} gn {:.2} H {:?} kl {:?} mis {:?} sec {:.2} samp {} pos {} faults {:?}", s.role, s.step, s.reward, s.reward_terms.values().map(|x| (x * 100.0).round() / 100.0).collect::<Vec<_>>(), s.success_rate.map(|x| (x * 100.0).round()), s.zero_variance, s.completion_tokens, s.truncated, s.update.grad_norm, s.update.stats.entropy.map(|x| (x*1000.).round()/1000.), s.update.stats.kl, s.update.stats.mismatch.as_ref().map(|m| m.gap_max), s.seconds, s.sampled_tokens, s.update.positions, s.faults.iter().collect::<Vec<_>>()); } }
                    Record::Dataset(d) => println!("{}\n p {:.2} {} domains, {:.1}s", d.funnel, d.success_rate, d.domains.len(), d.seconds),
                    Record::Exam { iteration, report } => println!("[{:.0}s] EXAM {iteration}: acc {:.3} {:?} parse {:.3} {:?}", self.0.elapsed().as_secs_f64(), report.accuracy, report.interval, report.parse_rate, report.errors),
                }
                Ok(())
            }
        }
        let sp = toolr0_rl::SelfPlay::new(&cfg, &ck, &tasks)?;
        let out = sp.run(&mut Obs(Instant::now(), vec![], 0, Default::default(), Default::default()), &mut |_| Ok(()))?;
        let base = out.exams[0].accuracy; let last = out.exams.last().unwrap().accuracy;
        println!("FINAL base {base:.3} -> {last:.3}: {:+.1} points, {:+.1} % relative", 100.0 * (last - base), 100.0 * (last / base - 1.0));
        out.solver.save(std::path::Path::new("/tmp/play-solver"), config::WeightDtype::F32)?;
        out.generator.save(std::path::Path::new("/tmp/play-generator"), config::WeightDtype::F32)?;
        return Ok(());
    }
    let mut recipe = BootstrapConfig::default();
    for kv in &args[3..] {
        let (k, v) = kv.split_once('=').unwrap();
        match k { "steps" => recipe.steps = v.parse()?, "warm" => recipe.warmup_steps = v.parse()?, "lr" => recipe.learning_rate = v.parse()?, "batch" => recipe.batch_tokens = v.parse()?, "layers" => recipe.layers = v.parse()?, "hidden" => recipe.hidden = v.parse()?, "docs" => recipe.tokenizer_documents = v.parse()?, "kv" => recipe.kv_heads = v.parse()?, "vocab" => recipe.vocab = v.parse()?, _ => panic!() }
    }
    for i in 0..0u64 { let d = Corpus::new(1, CorpusConfig::default()).document(i); println!("{:?}\n{}\n", d.prompt.messages, d.completion); }
    let s = Instant::now();
    let mut acc = 0.0;
    let ck = bootstrap(0, &recipe, &mut |p| { acc += p.loss; if p.step % 25 == 0 { println!("{} / {} loss {:.4} {:.0} tok/s {}s", p.step, p.steps, acc / 25.0, p.tokens as f64 / s.elapsed().as_secs_f64(), s.elapsed().as_secs()); acc = 0.0; } })?;
    ck.save(&dir, config::WeightDtype::F16)?;
    if recipe.steps > 0 { eval(&ck, &exam::dev(7, 300), 0.0, 1)?;
    eval(&ck, &exam::dev(7, 200), 1.0, 8)?; }
    Ok(())
}
pub fn speed() -> anyhow::Result<()> {
    use std::sync::Arc; use candle_core::{Device, Tensor}; use toolr0_model::{kernels::attention::Packing, decoder::*};
    let (c, l, h, kv, m, v): (usize, usize, usize, usize, usize, usize) = (192, 6, 6, 2, 512, 2048);
    let json = format!(r#"{{"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"hidden_size":{c},"num_hidden_layers":{l},"num_attention_heads":{h},"num_key_value_heads":{kv},"intermediate_size":{m},"vocab_size":{v},"max_position_embeddings":1024,"rms_norm_eps":1e-6,"rope_theta":10000.0,"tie_word_embeddings":true,"hidden_act":"silu","eos_token_id":0}}"#);
    let config = ModelConfig::from_json(&json, std::path::Path::new("c"))?;
    let tensors: weights::Tensors = weights::expected_tensors(&config).into_iter().map(|(n, s)| { let t = Tensor::randn(0f32, 0.02, s, &Device::Cpu).unwrap(); (n, t) }).collect();
    let params = trainable(&tensors)?;
    let model = CausalLm::from_params(&config, &params)?;
    let rows = 16; let t = 384;
    let tokens: Vec<u32> = (0..rows * t).map(|i| (i * 7 % v) as u32).collect();
    let packing = Arc::new(Packing::sequences(&vec![t; rows]));
    let mut opt = toolr0_rl::optim::AdamW::new(Default::default());
    for _ in 0..4 {
        let s = Instant::now();
        let hidden = model.forward(&tokens, &packing)?;
        let t1 = s.elapsed().as_secs_f64();
        let lp = toolr0_rl::kernels::token_logprobs::token_logprobs(&hidden, model.head_weight(), &tokens, 1.0)?;
        let loss = (lp.narrow(1, 0, 1)?.mean_all()? * -1.0)?;
        let t2 = s.elapsed().as_secs_f64();
        let store = loss.backward()?;
        let t3 = s.elapsed().as_secs_f64();
        let mut g = toolr0_rl::optim::Gradients::default();
        g.add(&params, &store)?;
        opt.step(&params, &g, 1e-3)?;
        let t4 = s.elapsed().as_secs_f64();
        println!("fwd {t1:.3} head {:.3} bwd {:.3} opt {:.3}: {:.0} tok/s loss {}", t2 - t1, t3 - t2, t4 - t3, (rows * t) as f64 / t4, loss.to_scalar::<f32>()?);
    }
    let frozen = model.frozen()?;
    let reqs: Vec<Request> = (0..8usize).map(|i| Request { prompt: (0..256).map(|j| ((i * 31 + j * 7) % v) as u32).collect(), streams: (0..4usize).map(|s| Stream::root(1).child(i).child(s)).collect() }).collect();
    let tok = Tokenizer::from_json(r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#, std::path::Path::new("t"))?;
    for _ in 0..3 {
        let s = Instant::now();
        let out = generate::generate(&frozen, &tok, &[], &reqs, &SamplingConfig { max_new_tokens: 128, ..Default::default() }, Default::default(), &mut |_| true)?;
        let n: usize = out.iter().flatten().map(|c| c.tokens.len()).sum();
        println!("sample: {:.0} new tok/s", n as f64 / s.elapsed().as_secs_f64());
    }
    Ok(())
}
