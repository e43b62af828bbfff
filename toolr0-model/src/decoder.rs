//! The decoder: Qwen2, Qwen3 and Llama in one, their differences fields of [`ModelConfig`].
//!
//! Sequences of a batch lie one after another without padding ([`Packing`]); a prompt that several completions
//! answer lies there once. [`CausalLm::forward`] trains, [`CausalLm::forward_cached`] samples, and both go through
//! `CausalLm::layers`, so there is one description of the network.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::kernels::attention::composed::Plan;
use crate::kernels::attention::pool::Pool;
use crate::kernels::attention::{Angles, Heads, Packing, SequenceKv, attend_cached, attention};
use crate::kernels::body::Body;
use crate::linear::{Adapter, Linear};
use crate::lora::{LoraConfig, Target};
use crate::rng::Stream;
use crate::weights::{EMBEDDING, HEAD, Tensors, expected_tensors};

/// A causal language model.
///
/// Cloning is cheap and shares the weights.
#[derive(Clone, Debug)]
pub struct CausalLm {
    config: Arc<ModelConfig>,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    inv_freq: Arc<Vec<f32>>,
    body: Body,
    /// Where the keys and values of its sequences lie, unless they lie in main memory.
    pool: Option<Arc<Pool>>,
}

#[derive(Clone, Debug)]
struct Layer {
    input_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// The trainable tensors of a model by name, in the order of their names.
pub type Params = std::collections::BTreeMap<String, Var>;

/// Turns every tensor into a variable that an optimiser can update in place.
///
/// # Errors
///
/// If a tensor cannot be copied.
pub fn trainable(tensors: &Tensors) -> Result<Params> {
    tensors.iter().map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(tensor)?))).collect()
}

/// The current values of variables, copied, so that later updates do not reach them.
///
/// # Errors
///
/// If a tensor cannot be copied.
pub fn snapshot(params: &Params) -> Result<Tensors> {
    params.iter().map(|(name, var)| Ok((name.clone(), var.as_tensor().copy()?.detach()))).collect()
}

/// Attention over a batch that is trained on, in the form that the model's body reads; one for all layers.
#[derive(Debug)]
enum Attend {
    Fused(Arc<Packing>, Arc<Angles>, Heads),
    Composed(Plan),
}

impl Attend {
    fn over(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Fused(packing, angles, heads) => attention(q, k, v, packing, angles, *heads),
            Self::Composed(plan) => plan.attend(q, k, v),
        }
    }
}

/// What [`CausalLm::forward_recomputing`] keeps for the way back: the input of each layer.
#[derive(Debug)]
pub struct Tape {
    model: CausalLm,
    attend: Attend,
    dropout: Option<Stream>,
    embedded: Tensor,
    /// What enters each layer, without gradient.
    inputs: Vec<Tensor>,
    /// What leaves the last one.
    last: Var,
}

impl Tape {
    fn layer(&self, i: usize, x: &Tensor) -> Result<Tensor> {
        self.model.layer(i, x, self.dropout, |q, k, v| self.attend.over(&q, &k, &v))
    }

    /// Goes back through the layers. `head` holds the gradients of what came after the hidden states; `take` is handed
    /// the gradients of each layer, last layer first, and of the embedding.
    ///
    /// The gradients are those of the forward pass that keeps everything, to the bit: each is the same sum of the same
    /// products. Memory holds the activations of one layer at a time.
    ///
    /// # Errors
    ///
    /// If `head` has no gradient of the hidden states, or `take` fails.
    pub fn backward<E: From<Error>>(
        self,
        head: &GradStore,
        take: &mut dyn FnMut(&mut GradStore) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let missing = || Error::Candle(candle_core::Error::Msg("the hidden states have no gradient".into()));
        let mut grad = head.get(&self.last).ok_or_else(missing)?.clone();
        let back =
            |out: &Tensor, grad: &Tensor| -> Result<GradStore> { Ok((out * grad)?.sum_all()?.backward()?) };
        for i in (0..self.inputs.len()).rev() {
            let x = Var::from_tensor(&self.inputs[i]).map_err(Error::from)?;
            let mut store = back(&self.layer(i, x.as_tensor())?, &grad)?;
            take(&mut store)?;
            grad = store.remove(&x).ok_or_else(missing)?;
        }
        take(&mut back(&self.embedded, &grad)?)
    }
}

impl CausalLm {
    /// A model over `tensors`, named as in transformers. Gradients flow where they are variables.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`] or [`Error::Shape`] naming the tensor.
    pub fn new(config: &ModelConfig, tensors: &Tensors) -> Result<Self> {
        let shapes = expected_tensors(config);
        let shape: std::collections::HashMap<_, _> =
            shapes.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
        let get = |name: &str| -> Result<Tensor> {
            let path = std::path::PathBuf::from("the weights in memory");
            let Some(tensor) = tensors.get(name) else {
                return Err(Error::MissingTensor { path, name: name.to_owned() });
            };
            match shape.get(name) {
                Some(shape) if tensor.dims() != shape.as_slice() => Err(Error::Shape {
                    path,
                    name: name.to_owned(),
                    expected: shape.to_vec(),
                    got: tensor.dims().to_vec(),
                }),
                _ => Ok(tensor.clone()),
            }
        };
        let mut layers = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            let name = |part: &str| format!("model.layers.{i}.{part}.weight");
            let plain = |part: &str| -> Result<Linear> { Ok(Linear::new(get(&name(part))?, None)) };
            let biased = |part: &str| -> Result<Linear> {
                let bias = match config.qkv_bias {
                    true => Some(get(&format!("model.layers.{i}.{part}.bias"))?),
                    false => None,
                };
                Ok(Linear::new(get(&name(part))?, bias))
            };
            let head_norm = |part: &str| -> Result<Option<Tensor>> {
                config.qk_norm.then(|| get(&name(part))).transpose()
            };
            layers.push(Layer {
                input_norm: get(&name("input_layernorm"))?,
                query: biased("self_attn.q_proj")?,
                key: biased("self_attn.k_proj")?,
                value: biased("self_attn.v_proj")?,
                output: plain("self_attn.o_proj")?,
                query_norm: head_norm("self_attn.q_norm")?,
                key_norm: head_norm("self_attn.k_norm")?,
                mlp_norm: get(&name("post_attention_layernorm"))?,
                gate: plain("mlp.gate_proj")?,
                up: plain("mlp.up_proj")?,
                down: plain("mlp.down_proj")?,
            });
        }
        let embedding = get(EMBEDDING)?;
        let body = Body::of(embedding.device(), config.dtype);
        let head = if config.tie_word_embeddings { embedding.clone() } else { get(HEAD)? };
        let model = Self {
            embedding,
            layers,
            norm: get("model.norm.weight")?,
            head: Linear::new(head, None),
            inv_freq: Arc::new(config.inv_freq()),
            config: Arc::new(config.clone()),
            body,
            pool: None,
        };
        model.with_body(body)
    }

    /// A model whose weights are the given variables.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::new`].
    pub fn from_params(config: &ModelConfig, params: &Params) -> Result<Self> {
        let tensors = params.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        Self::new(config, &tensors)
    }

    /// The same network with adapters, which are the only tensors that need to be variables then.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`] or [`Error::Shape`] naming the adapter.
    pub fn with_adapters(mut self, lora: &LoraConfig, adapters: &Tensors) -> Result<Self> {
        let path = || std::path::PathBuf::from("the adapters in memory");
        for (name, expected) in lora.expected(&self.config) {
            let Some(tensor) = adapters.get(&name) else {
                return Err(Error::MissingTensor { path: path(), name });
            };
            if tensor.dims() != expected.as_slice() {
                return Err(Error::Shape { path: path(), name, expected, got: tensor.dims().to_vec() });
            }
        }
        for (i, layer) in self.layers.iter_mut().enumerate() {
            for target in &lora.targets {
                let of = |part: &str| {
                    adapters[&format!("model.layers.{i}.{}.{part}.weight", target.path())].clone()
                };
                let adapter =
                    Adapter { a: of("lora_A"), b: of("lora_B"), scale: lora.scale(), dropout: lora.dropout };
                let linear = match target {
                    Target::QProj => &mut layer.query,
                    Target::KProj => &mut layer.key,
                    Target::VProj => &mut layer.value,
                    Target::OProj => &mut layer.output,
                    Target::GateProj => &mut layer.gate,
                    Target::UpProj => &mut layer.up,
                    Target::DownProj => &mut layer.down,
                };
                *linear = linear.clone().with_adapter(adapter);
            }
        }
        Ok(self)
    }

    /// The same network in another body than that of its device; for tests, which have no device.
    ///
    /// # Errors
    ///
    /// If the device's memory does not hold a first cache.
    pub fn with_body(mut self, body: Body) -> Result<Self> {
        self.body = body;
        self.pool = match body {
            Body::Fused => None,
            Body::Composed(dtype) => {
                let pool = Pool::new(self.layers.len(), self.heads(), dtype, self.device())?;
                Some(Arc::new(pool))
            }
        };
        Ok(self)
    }

    /// A copy without gradient, laid out for sampling; adapters are merged. Later updates of the weights do not reach it.
    ///
    /// # Errors
    ///
    /// If weights are not f32.
    pub fn frozen(&self) -> Result<Self> {
        let body = self.body;
        let layer = |l: &Layer| -> candle_core::Result<Layer> {
            let copy = |x: &Tensor| Ok::<_, candle_core::Error>(x.copy()?.detach());
            Ok(Layer {
                input_norm: copy(&l.input_norm)?,
                query: l.query.frozen(body)?,
                key: l.key.frozen(body)?,
                value: l.value.frozen(body)?,
                output: l.output.frozen(body)?,
                query_norm: l.query_norm.as_ref().map(copy).transpose()?,
                key_norm: l.key_norm.as_ref().map(copy).transpose()?,
                mlp_norm: copy(&l.mlp_norm)?,
                gate: l.gate.frozen(body)?,
                up: l.up.frozen(body)?,
                down: l.down.frozen(body)?,
            })
        };
        let model = Self {
            config: self.config.clone(),
            embedding: self.embedding.copy()?.detach(),
            layers: self.layers.iter().map(layer).collect::<candle_core::Result<_>>()?,
            norm: self.norm.copy()?.detach(),
            head: self.head.frozen(body)?,
            inv_freq: self.inv_freq.clone(),
            body,
            pool: None,
        };
        model.with_body(body)
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Sizes of the attention heads.
    pub fn heads(&self) -> Heads {
        let config = &self.config;
        Heads { heads: config.heads, kv_heads: config.kv_heads, dim: config.head_dim }
    }

    /// The output head's weight, `(v, c)`; the embedding itself where they are tied.
    pub fn head_weight(&self) -> &Tensor {
        self.head.weight()
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        self.embedding.device()
    }

    /// Which body of each operation computes.
    pub fn body(&self) -> Body {
        self.body
    }

    /// An empty cache for one sequence, or for what continues `parent`.
    pub fn new_cache(&self, parent: Option<Arc<SequenceKv>>) -> SequenceKv {
        match &self.pool {
            None => SequenceKv::new(self.layers.len(), self.heads(), parent),
            Some(pool) => SequenceKv::pooled(pool, parent),
        }
    }

    fn attend(&self, packing: &Arc<Packing>) -> Result<Attend> {
        let angles = Angles::new(packing.positions(), &self.inv_freq);
        Ok(match self.body {
            Body::Fused => Attend::Fused(packing.clone(), Arc::new(angles), self.heads()),
            Body::Composed(_) => Attend::Composed(Plan::new(packing, &angles, self.heads(), self.device())?),
        })
    }

    /// Hidden states after the last norm, with gradient.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `(t,)`, laid out as `packing` says; returns `(t, c)`.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary or shapes do not fit.
    pub fn forward(&self, tokens: &[u32], packing: &Arc<Packing>) -> Result<Tensor> {
        self.forward_dropping(tokens, packing, None)
    }

    /// As [`CausalLm::forward`], with the adapters' dropout drawn from `dropout`, if there is one.
    ///
    /// # Errors
    ///
    /// As [`CausalLm::forward`].
    pub fn forward_dropping(
        &self,
        tokens: &[u32],
        packing: &Arc<Packing>,
        dropout: Option<Stream>,
    ) -> Result<Tensor> {
        let attend = self.attend(packing)?;
        self.layers(tokens, dropout, |_, q, k, v| attend.over(&q, &k, &v))
    }

    /// Hidden states of new tokens over cached ones, which they join. Without gradient.
    ///
    /// # Shapes
    ///
    /// - `tokens`: the `new[r]` tokens of each row adjacent, rows in order; returns `(t, c)`.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary or shapes do not fit.
    pub fn forward_cached(
        &self,
        tokens: &[u32],
        rows: &mut [&mut SequenceKv],
        new: &[usize],
    ) -> Result<Tensor> {
        let positions: Vec<u32> =
            rows.iter().zip(new).flat_map(|(row, new)| (row.len() as u32..).take(*new)).collect();
        let angles = Angles::new(&positions, &self.inv_freq);
        let heads = self.heads();
        let hidden = match &self.pool {
            None => self.layers(tokens, None, |layer, q, k, v| {
                attend_cached(
                    &q.contiguous()?,
                    &k.contiguous()?,
                    &v.contiguous()?,
                    rows,
                    new,
                    layer,
                    &angles,
                    heads,
                )
            })?,
            Some(pool) => {
                let step = pool.step(rows, new, &angles)?;
                self.layers(tokens, None, |layer, q, k, v| pool.attend(&step, layer, &q, &k, &v))?
            }
        };
        rows.iter_mut().zip(new).for_each(|(row, new)| row.advance(*new));
        Ok(hidden)
    }

    /// The network between tokens and head; `attend(layer, q, k, v)` is what training and sampling differ in.
    fn layers(
        &self,
        tokens: &[u32],
        dropout: Option<Stream>,
        mut attend: impl FnMut(usize, Tensor, Tensor, Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let mut x = self.embed(tokens)?;
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, dropout, |q, k, v| attend(i, q, k, v))?;
        }
        Ok(self.body.rms_norm(&x, &self.norm, self.config.rms_eps)?)
    }

    /// `(t,)` token ids to `(t, c)`.
    fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let vocab = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|t| vocab <= **t as usize) {
            return Err(Error::Candle(candle_core::Error::Msg(format!(
                "token {token} is outside the vocabulary of {vocab}"
            ))));
        }
        let ids = Tensor::new(tokens, self.embedding.device())?;
        Ok(self.embedding.index_select(&ids, 0)?.to_dtype(self.body.dtype())?)
    }

    /// Layer `i`, `(t, c)` to `(t, c)`.
    fn layer(
        &self,
        i: usize,
        x: &Tensor,
        dropout: Option<Stream>,
        attend: impl FnOnce(Tensor, Tensor, Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let (layer, body, eps) = (&self.layers[i], self.body, self.config.rms_eps);
        let normed = body.rms_norm(x, &layer.input_norm, eps)?;
        let per_head = |x: Tensor, norm: &Option<Tensor>| match norm {
            Some(norm) => {
                let (t, width) = x.dims2()?;
                body.rms_norm(&x.reshape(((), self.config.head_dim))?, norm, eps)?.reshape((t, width))
            }
            None => Ok(x),
        };
        // Every adapter drops by a stream of its own.
        let drop = |part: usize| dropout.map(|stream| stream.child(i).child(part));
        let q = per_head(layer.query.forward(body, &normed, drop(0))?, &layer.query_norm)?; // (t, h * d)
        let k = per_head(layer.key.forward(body, &normed, drop(1))?, &layer.key_norm)?; // (t, kv * d)
        let v = layer.value.forward(body, &normed, drop(2))?;
        let x = layer.output.forward_onto(body, &attend(q, k, v)?, x, drop(3))?;
        let normed = body.rms_norm(&x, &layer.mlp_norm, eps)?;
        let wide = match (layer.gate.plain(), layer.up.plain()) {
            (Some(gate), Some(up)) => body.gated(&normed, gate, up)?,
            _ => {
                let gate = layer.gate.forward(body, &normed, drop(4))?;
                body.swiglu(&gate, &layer.up.forward(body, &normed, drop(5))?)?
            }
        };
        Ok(layer.down.forward_onto(body, &wide, &x, drop(6))?)
    }

    /// As [`CausalLm::forward_dropping`], keeping only what enters each layer: the rest is computed again by
    /// [`Tape::backward`], one layer at a time (Chen et al., 2016, arXiv:1604.06174).
    ///
    /// # Errors
    ///
    /// As [`CausalLm::forward`].
    pub fn forward_recomputing(
        &self,
        tokens: &[u32],
        packing: &Arc<Packing>,
        dropout: Option<Stream>,
    ) -> Result<(Tensor, Tape)> {
        let embedded = self.embed(tokens)?;
        let mut inputs = vec![embedded.detach()];
        let mut tape = Tape {
            model: self.clone(),
            attend: self.attend(packing)?,
            dropout,
            embedded,
            inputs: Vec::new(),
            last: Var::from_tensor(&inputs[0])?,
        };
        for i in 0..self.layers.len() {
            let x = tape.layer(i, &inputs[i])?.detach();
            inputs.push(x);
        }
        if let Some(last) = inputs.pop() {
            tape.last = Var::from_tensor(&last)?;
        }
        tape.inputs = inputs;
        Ok((self.body.rms_norm(tape.last.as_tensor(), &self.norm, self.config.rms_eps)?, tape))
    }

    /// Logits of hidden states. For sampling and tests: training never forms them for a whole batch.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `(t, c)`; returns `(t, v)`, f32.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(self.body, hidden, None)?.to_dtype(DType::F32)?)
    }
}
