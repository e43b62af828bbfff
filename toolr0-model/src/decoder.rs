//! The decoder: Qwen2, Qwen3 and Llama in one, their differences fields of [`ModelConfig`].
//!
//! Sequences of a batch lie one after another without padding ([`Packing`]); a prompt that several completions
//! answer lies there once. [`CausalLm::forward`] trains, [`CausalLm::forward_cached`] samples, and both go through
//! `CausalLm::layers`, so there is one description of the network.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::kernels::attention::{Angles, Heads, Packing, SequenceKv, attend_cached, attention};
use crate::kernels::rms_norm::rms_norm;
use crate::kernels::swiglu::{gated, swiglu};
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

/// What [`CausalLm::forward_recomputing`] keeps for the way back: the input of each layer.
#[derive(Debug)]
pub struct Tape {
    model: CausalLm,
    packing: Arc<Packing>,
    angles: Arc<Angles>,
    dropout: Option<Stream>,
    embedded: Tensor,
    /// What enters each layer, without gradient.
    inputs: Vec<Tensor>,
    /// What leaves the last one.
    last: Var,
}

impl Tape {
    fn layer(&self, i: usize, x: &Tensor) -> Result<Tensor> {
        let heads = self.model.heads();
        self.model
            .layer(i, x, self.dropout, |q, k, v| attention(&q, &k, &v, &self.packing, &self.angles, heads))
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
        let head = if config.tie_word_embeddings { embedding.clone() } else { get(HEAD)? };
        Ok(Self {
            embedding,
            layers,
            norm: get("model.norm.weight")?,
            head: Linear::new(head, None),
            inv_freq: Arc::new(config.inv_freq()),
            config: Arc::new(config.clone()),
        })
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

    /// A copy without gradient, laid out for sampling; adapters are merged. Later updates of the weights do not reach it.
    ///
    /// # Errors
    ///
    /// If weights are not f32.
    pub fn frozen(&self) -> Result<Self> {
        let layer = |l: &Layer| -> candle_core::Result<Layer> {
            let copy = |x: &Tensor| Ok::<_, candle_core::Error>(x.copy()?.detach());
            Ok(Layer {
                input_norm: copy(&l.input_norm)?,
                query: l.query.frozen()?,
                key: l.key.frozen()?,
                value: l.value.frozen()?,
                output: l.output.frozen()?,
                query_norm: l.query_norm.as_ref().map(copy).transpose()?,
                key_norm: l.key_norm.as_ref().map(copy).transpose()?,
                mlp_norm: copy(&l.mlp_norm)?,
                gate: l.gate.frozen()?,
                up: l.up.frozen()?,
                down: l.down.frozen()?,
            })
        };
        Ok(Self {
            config: self.config.clone(),
            embedding: self.embedding.copy()?.detach(),
            layers: self.layers.iter().map(layer).collect::<candle_core::Result<_>>()?,
            norm: self.norm.copy()?.detach(),
            head: self.head.frozen()?,
            inv_freq: self.inv_freq.clone(),
        })
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

    /// An empty cache for one sequence, or for what continues `parent`.
    pub fn new_cache(&self, parent: Option<Arc<SequenceKv>>) -> SequenceKv {
        SequenceKv::new(self.layers.len(), self.heads(), parent)
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
        let angles = Arc::new(Angles::new(packing.positions(), &self.inv_freq));
        let heads = self.heads();
        self.layers(tokens, dropout, |_, q, k, v| attention(&q, &k, &v, packing, &angles, heads))
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
        let hidden = self.layers(tokens, None, |layer, q, k, v| {
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
        })?;
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
        Ok(rms_norm(&x, &self.norm, self.config.rms_eps)?)
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
        Ok(self.embedding.index_select(&ids, 0)?)
    }

    /// Layer `i`, `(t, c)` to `(t, c)`.
    fn layer(
        &self,
        i: usize,
        x: &Tensor,
        dropout: Option<Stream>,
        attend: impl FnOnce(Tensor, Tensor, Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor> {
        let (layer, eps) = (&self.layers[i], self.config.rms_eps);
        let normed = rms_norm(x, &layer.input_norm, eps)?;
        let per_head = |x: Tensor, norm: &Option<Tensor>| match norm {
            Some(norm) => {
                let (t, width) = x.dims2()?;
                rms_norm(&x.reshape(((), self.config.head_dim))?, norm, eps)?.reshape((t, width))
            }
            None => Ok(x),
        };
        // Every adapter drops by a stream of its own.
        let drop = |part: usize| dropout.map(|stream| stream.child(i).child(part));
        let q = per_head(layer.query.forward(&normed, drop(0))?, &layer.query_norm)?; // (t, h * d)
        let k = per_head(layer.key.forward(&normed, drop(1))?, &layer.key_norm)?; // (t, kv * d)
        let v = layer.value.forward(&normed, drop(2))?;
        let x = layer.output.forward_onto(&attend(q, k, v)?, x, drop(3))?;
        let normed = rms_norm(&x, &layer.mlp_norm, eps)?;
        let wide = match (layer.gate.plain(), layer.up.plain()) {
            (Some(gate), Some(up)) => gated(&normed, gate, up)?,
            _ => swiglu(&layer.gate.forward(&normed, drop(4))?, &layer.up.forward(&normed, drop(5))?)?,
        };
        Ok(layer.down.forward_onto(&wide, &x, drop(6))?)
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
        let angles = Arc::new(Angles::new(packing.positions(), &self.inv_freq));
        let mut inputs = vec![embedded.detach()];
        let mut tape = Tape {
            model: self.clone(),
            packing: packing.clone(),
            angles,
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
        Ok((rms_norm(tape.last.as_tensor(), &self.norm, self.config.rms_eps)?, tape))
    }

    /// Logits of hidden states. For sampling and tests: training never forms them for a whole batch.
    ///
    /// # Shapes
    ///
    /// - `hidden`: `(t, c)`; returns `(t, v)`.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(hidden, None)?)
    }
}
