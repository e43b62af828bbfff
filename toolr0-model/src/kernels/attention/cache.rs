//! Keys and values that were seen before, and attention of new tokens over them: what sampling does.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::packing::{Angles, Heads};
use super::pool::{Pool, Slots};
use super::tiles::{attend, queries, scatter};
use crate::kernels::math::{LANES, Lane};
use crate::kernels::with_values;

/// Rotated keys and values of one head, laid out for the inner loops and grown a token at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadKv {
    pub(super) len: usize,
    /// Per block of 16 tokens, `d` lanes: lane `i` is token `i` of the block.
    pub(super) keys: Vec<Lane>,
    /// Per token, `d` values padded to full lanes.
    pub(super) values: Vec<Lane>,
}

impl HeadKv {
    pub(super) fn push(&mut self, key: &[f32], value: &[f32]) {
        push_panel(&mut self.keys, self.len, key);
        push_row(&mut self.values, value);
        self.len += 1;
    }
}

/// Writes `x` as column `token % 16` of the last panel, opening a new one where it begins.
pub(super) fn push_panel(panels: &mut Vec<Lane>, token: usize, x: &[f32]) {
    let lane = token % LANES;
    if lane == 0 {
        panels.resize(panels.len() + x.len(), [0.0; LANES]);
    }
    let from = panels.len() - x.len();
    for (panel, x) in panels[from..].iter_mut().zip(x) {
        panel[lane] = *x;
    }
}

pub(super) fn push_row(rows: &mut Vec<Lane>, x: &[f32]) {
    for chunk in x.chunks(LANES) {
        let mut lane = [0.0; LANES];
        lane[..chunk.len()].copy_from_slice(chunk);
        rows.push(lane);
    }
}

/// Keys and values of one sequence, or of the prefix that several share, over all layers.
#[derive(Debug)]
pub struct SequenceKv {
    parent: Option<Arc<SequenceKv>>,
    /// Layer by layer, head by head; nothing where they lie in a pool.
    heads: Vec<Vec<HeadKv>>,
    /// Where they lie in a pool, if they do.
    slots: Option<Slots>,
    len: usize,
}

impl SequenceKv {
    /// An empty cache of `layers` layers; it continues `parent` if there is one.
    pub fn new(layers: usize, heads: Heads, parent: Option<Arc<SequenceKv>>) -> Self {
        Self { parent, heads: vec![vec![HeadKv::default(); heads.kv_heads]; layers], slots: None, len: 0 }
    }

    /// An empty cache whose keys and values lie in `pool`, as those of `parent` do.
    pub fn pooled(pool: &Arc<Pool>, parent: Option<Arc<SequenceKv>>) -> Self {
        Self { parent, heads: Vec::new(), slots: Some(Slots::new(pool)), len: 0 }
    }

    /// Tokens cached, those of the prefix included.
    pub fn len(&self) -> usize {
        self.len + self.parent.as_ref().map_or(0, |p| p.len())
    }

    /// Whether nothing is cached yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts `n` tokens that all layers have now seen.
    pub(crate) fn advance(&mut self, n: usize) {
        self.len += n;
    }

    /// Its own rows of the pool.
    pub(super) fn slots(&mut self) -> Result<&mut Slots> {
        match &mut self.slots {
            Some(slots) => Ok(slots),
            None => candle_core::bail!("the keys of this sequence are not in a pool"),
        }
    }

    /// The pool's rows of all its tokens, the prefix first.
    pub(super) fn line(&self) -> Vec<u32> {
        let mut line = self.parent.as_ref().map_or(Vec::new(), |parent| parent.line());
        line.extend(self.slots.iter().flat_map(|slots| &slots.taken));
        line
    }

    /// This sequence's ancestors for one head, root first.
    pub(super) fn chain(&self, layer: usize, head: usize) -> Vec<&HeadKv> {
        let mut chain = Vec::new();
        let mut at = self.parent.as_deref();
        while let Some(cache) = at {
            chain.push(&cache.heads[layer][head]);
            at = cache.parent.as_deref();
        }
        chain.reverse();
        chain
    }
}

/// Rotated keys and values of `len` tokens from `start`, one head.
#[expect(clippy::too_many_arguments, reason = "a run of tokens of one head, and where it goes")]
pub(super) fn push_tokens(
    kv: &mut HeadKv,
    k: &[f32],
    v: &[f32],
    start: usize,
    len: usize,
    head: usize,
    heads: Heads,
    angles: &Angles,
) {
    let (d, width) = (heads.dim, heads.kv_heads * heads.dim);
    let mut key = vec![0.0; d];
    for token in start..start + len {
        let at = token * width + head * d;
        key.copy_from_slice(&k[at..at + d]);
        angles.rotate(token, 1.0, &mut key);
        kv.push(&key, &v[at..at + d]);
    }
}

/// Attention of new tokens over what is cached, which they join. No gradient.
///
/// # Shapes
///
/// - `q`: `(t, h * d)`, `k`, `v`: `(t, kv * d)`; the `new[r]` tokens of row `r` adjacent, rows in order;
/// - `angles`: of the `t` tokens; returns `(t, h * d)`.
///
/// # Errors
///
/// If the tensors are not contiguous f32 in main memory, or heads are wider than [`super::MAX_HEAD_DIM`].
#[expect(
    clippy::too_many_arguments,
    reason = "one layer's step over a batch of caches, and all that it depends on"
)]
pub fn attend_cached(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rows: &mut [&mut SequenceKv],
    new: &[usize],
    layer: usize,
    angles: &Angles,
    heads: Heads,
) -> Result<Tensor> {
    heads.check()?;
    let t = q.dim(0)?;
    let mut start = 0;
    let mut work = Vec::with_capacity(rows.len() * heads.kv_heads);
    for (row, new) in rows.iter_mut().zip(new) {
        let SequenceKv { parent, heads: own, len, .. } = &mut **row;
        let parent: Option<&SequenceKv> = parent.as_deref();
        for (head, kv) in own[layer].iter_mut().enumerate() {
            work.push((parent, kv, head, start, *new, *len));
        }
        start += new;
    }
    let parts = with_values(q, |q| {
        with_values(k, |k| {
            with_values(v, |v| {
                let one = |(parent, kv, head, start, new, len): (
                    Option<&SequenceKv>,
                    &mut HeadKv,
                    usize,
                    usize,
                    usize,
                    usize,
                )| {
                    push_tokens(kv, k, v, start, new, head, heads, angles);
                    let mut chain = Vec::new();
                    if let Some(parent) = parent {
                        chain = parent.chain(layer, head);
                        chain.push(&parent.heads[layer][head]);
                    }
                    chain.push(&*kv);
                    let queries = queries(start, new, len, head, heads);
                    let out = attend(&chain, &queries, q, angles, heads);
                    (queries, out)
                };
                work.into_par_iter().map(one).collect::<Vec<_>>()
            })
        })
    })???;
    let mut out = vec![0.0; t * heads.heads * heads.dim];
    for (queries, part) in &parts {
        scatter(queries, part, heads, &mut out);
    }
    Tensor::from_vec(out, (t, heads.heads * heads.dim), &Device::Cpu)
}
