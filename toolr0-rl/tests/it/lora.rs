//! Training adapters: what moves, what does not, and what dropout may depend on.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use toolr0_model::decoder::trainable;
use toolr0_model::lora::{LoraConfig, Target};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::Tensors;
use toolr0_model::{CausalLm, Checkpoint, SamplingConfig};
use toolr0_rl::config::RlConfig;
use toolr0_rl::loss::GrpoConfig;
use toolr0_rl::optim::{AdamW, AdamWConfig};
use toolr0_rl::sft::{Example, gradients, mean_loss};
use toolr0_rl::update::{logprobs, update};
use toolr0_rl::{Agent, Group, Role};
use toolr0_tools::Prompt;

fn tiny() -> Checkpoint {
    crate::tiny(&[], 0.0, Checkpoint::chatml())
}

fn lora(dropout: f64) -> LoraConfig {
    LoraConfig { rank: 3, alpha: 6.0, dropout, ..LoraConfig::default() }
}

fn agent(dropout: f64) -> Agent {
    Agent::with_adapters(Role::Solver, &tiny(), &lora(dropout), Stream::root(2)).unwrap()
}

fn rollouts(agent: &Agent) -> Vec<Group> {
    let config = SamplingConfig { max_new_tokens: 9, ..SamplingConfig::default() };
    let streams = |i: usize| (0..4).map(|sample| Stream::root(4).child(i).child(sample)).collect();
    let prompts =
        [(Prompt::new("Answer.", "Hi."), streams(0)), (Prompt::new("Answer.", "Oslo?"), streams(1))];
    agent.sampler(8).unwrap().sample(&prompts, &config, &mut |_| true).unwrap()
}

fn rl() -> RlConfig {
    RlConfig {
        loss: GrpoConfig { beta: 0.0, ..GrpoConfig::default() },
        adamw: AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() },
        ..RlConfig::default()
    }
}

fn values(tensors: &Tensors) -> BTreeMap<String, Vec<f32>> {
    tensors.iter().map(|(name, x)| (name.clone(), x.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

const ADVANTAGES: [f64; 8] = [1.0, -0.5, 0.3, -0.8, 0.7, 0.2, -1.1, 0.2];

fn train(agent: &Agent, groups: &[Group], stream: u64) {
    train_with(agent, groups, stream, &rl());
}

fn train_with(agent: &Agent, groups: &[Group], stream: u64, rl: &RlConfig) {
    let mut optimizer = AdamW::new(rl.adamw.clone());
    for step in 0..3 {
        let dropout = Stream::root(stream).child(step);
        update(agent, &mut optimizer, groups, &ADVANTAGES, None, rl, 1e-2, dropout).unwrap();
    }
}

/// A layer that is computed again drops what it dropped the first time.
#[test]
fn recomputation_drops_the_same() {
    let groups = rollouts(&agent(0.0));
    let trained = |recompute| {
        let agent = agent(0.3);
        train_with(&agent, &groups, 1, &RlConfig { recompute, ..rl() });
        values(&agent.adapters().unwrap().unwrap().1)
    };
    assert_eq!(trained(true), trained(false));
}

#[test]
fn adapters_move_and_the_weights_beside_them_do_not() {
    let (agent, base) = (agent(0.0), tiny());
    let groups = rollouts(&agent);
    assert_eq!(values(&agent.checkpoint().unwrap().tensors), values(&base.tensors), "fresh adapters");
    let before = values(&agent.adapters().unwrap().unwrap().1);
    train(&agent, &groups, 0);
    let after = values(&agent.adapters().unwrap().unwrap().1);
    assert!(after.iter().all(|(name, x)| *x != before[name]), "every adapter has moved");
    let merged = agent.checkpoint().unwrap();
    for (name, x) in values(&merged.tensors) {
        let moved = x != values(&base.tensors)[&name];
        assert_eq!(moved, name.contains("_proj.weight"), "{name}");
    }
    // Three views of one policy: adapters beside, merged and frozen, merged and saved.
    let all: Vec<&Group> = groups.iter().collect();
    let beside = logprobs(agent.model(), &all, 1.0).unwrap();
    let saved = Agent::new(Role::Solver, &merged).unwrap();
    for other in [
        logprobs(agent.sampler(8).unwrap().model(), &all, 1.0).unwrap(),
        logprobs(saved.model(), &all, 1.0).unwrap(),
    ] {
        let worst = beside.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 1e-5, "{worst:e}");
    }
}

/// Moving an adapter along its gradient changes the loss by the gradient's length.
#[test]
fn an_adapters_gradient_is_the_slope_of_the_loss() {
    let (base, lora) = (tiny(), lora(0.0));
    let example = |seed: u32| Example {
        tokens: (0..20 + seed).map(|i| (i * 37 + seed * 101 + i * i) % 258).collect(),
        loss_from: 1 + seed as usize,
    };
    let examples: Vec<Example> = (0..3).map(example).collect();
    let draw = |(name, shape): (String, Vec<usize>)| {
        let mut rng = Stream::root(8).child(name.as_str()).rng();
        let n: usize = shape.iter().product();
        let x: Vec<f32> = (0..n).map(|_| uniform_f64(&mut rng) as f32 - 0.5).collect();
        (name, Tensor::from_vec(x, shape, &Device::Cpu).unwrap())
    };
    let adapters: Tensors = lora.expected(&base.config).into_iter().map(draw).collect();
    let model = |adapters: &Tensors| {
        CausalLm::new(&base.config, &base.tensors).unwrap().with_adapters(&lora, adapters).unwrap()
    };
    let params = trainable(&adapters).unwrap();
    let vars = params.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let (grads, _) = gradients(&model(&vars), &params, &examples).unwrap();
    for name in adapters.keys() {
        let grad = grads.get(name).unwrap();
        let length = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(length > 1e-4, "`{name}` has no gradient to check");
        let loss = |step: f64| {
            let mut moved = adapters.clone();
            let along = Tensor::from_vec(grad.to_vec(), adapters[name].shape(), &Device::Cpu).unwrap();
            moved.insert(name.clone(), (&adapters[name] + (along * (step / length)).unwrap()).unwrap());
            f64::from(mean_loss(&model(&moved), &examples).unwrap().0.to_scalar::<f32>().unwrap())
        };
        let h = 0.02;
        let slope = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
        let gap = (slope - length).abs();
        assert!(gap <= 1e-4 + 0.01 * length, "`{name}`: slope {slope}, gradient of length {length}");
    }
}

#[test]
fn dropout_is_a_function_of_its_stream() {
    let trained = |dropout: f64, stream: u64| {
        let agent = agent(dropout);
        let groups = rollouts(&agent);
        train(&agent, &groups, stream);
        values(&agent.adapters().unwrap().unwrap().1)
    };
    assert_eq!(trained(0.5, 1), trained(0.5, 1));
    assert_ne!(trained(0.5, 1), trained(0.5, 2));
    assert_ne!(trained(0.5, 1), trained(0.0, 1));
    assert_eq!(trained(0.0, 1), trained(0.0, 2), "without dropout there is nothing to draw");
}

#[test]
fn only_the_targets_carry_adapters() {
    let lora = LoraConfig { targets: vec![Target::QProj, Target::DownProj], ..lora(0.0) };
    let agent = Agent::with_adapters(Role::Solver, &tiny(), &lora, Stream::root(2)).unwrap();
    let named = |path: &str| agent.params().keys().filter(|name| name.contains(path)).count();
    assert_eq!((named("q_proj"), named("down_proj"), agent.params().len()), (4, 4, 8));
}
