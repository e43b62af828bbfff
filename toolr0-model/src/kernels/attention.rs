//! Causal attention with rotary positions over packed sequences that may share prefixes.
//!
//! ```text
//! q', k' = rotate(q, pos), rotate(k, pos)           RoFormer, arXiv:2104.09864, halves rotated as in transformers
//! p      = softmax(q' k'^T / sqrt(d))               over the token itself, what stands before it, and its ancestors
//! out    = p v
//! ```
//!
//! Rows of a batch are not padded: sequences lie one after another ([`Packing`]). A segment may have a parent whose
//! tokens it sees in full, so a prompt that several completions answer is computed once, with gradient. No `(t, t)`
//! matrix is kept: the backward pass recomputes the probabilities of four queries at a time.
//!
//! Sampling ([`attend_cached`]) and training ([`attention`]) run the same inner loops over the same layout, so the
//! sampler's log-probabilities are the trainer's to the bit.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::math::{self, LANES, Lane};
use super::{values, with_values};

/// Queries handled together: one accumulator each.
const TILE: usize = 4;
/// The widest head that fits the buffer in which a query is turned; the widest in use is 256.
pub const MAX_HEAD_DIM: usize = 512;

/// A run of consecutive tokens in a packed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index of the first token in the batch.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
    /// The segment that this one continues, if any. Earlier in the list.
    pub parent: Option<usize>,
}

/// How sequences lie in a batch: which token sees which, and at what position.
#[derive(Clone, Debug)]
pub struct Packing {
    segments: Vec<Segment>,
    /// Segments of one root, root first.
    trees: Vec<Vec<usize>>,
    positions: Vec<u32>,
}

impl Packing {
    /// Sequences one after another, none seeing another. `lens`: tokens of each.
    pub fn sequences(lens: &[usize]) -> Self {
        Self::trees(lens.iter().map(|len| (*len, &[] as &[usize])))
    }

    /// Groups one after another: a prompt, then the completions that continue it. Tokens lie in this order.
    pub fn trees<'a>(groups: impl IntoIterator<Item = (usize, &'a [usize])>) -> Self {
        let (mut segments, mut trees, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for (prompt, completions) in groups {
            let root = segments.len();
            segments.push(Segment { start: positions.len(), len: prompt, parent: None });
            positions.extend(0..prompt as u32);
            for len in completions {
                segments.push(Segment { start: positions.len(), len: *len, parent: Some(root) });
                positions.extend((prompt as u32..).take(*len));
            }
            trees.push((root..segments.len()).collect());
        }
        Self { segments, trees, positions }
    }

    /// The segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Position of each token in its sequence, `(t,)`.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Number of tokens in the batch.
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }
}

/// Cosine and sine of each token's rotation, `(t, d / 2)`; computed once and used by every layer.
#[derive(Clone, Debug)]
pub struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Angles {
    /// `inv_freq`: `(d / 2,)`, radians per position.
    pub fn new(positions: &[u32], inv_freq: &[f32]) -> Self {
        let angle = positions.iter().flat_map(|p| inv_freq.iter().map(move |f| *p as f32 * f));
        let (cos, sin) = angle.map(|a| (a.cos(), a.sin())).unzip();
        Self { cos, sin, half: inv_freq.len() }
    }

    /// Cosines and sines, `(t, d / 2)` each, for bodies of the rotation that live elsewhere.
    pub fn tables(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// Rotates one head of one token; `sign` -1 turns back.
    #[inline(always)]
    fn rotate(&self, token: usize, sign: f32, x: &mut [f32]) {
        let at = token * self.half..(token + 1) * self.half;
        let (low, high) = x.split_at_mut(self.half);
        for ((a, b), (cos, sin)) in
            low.iter_mut().zip(high).zip(self.cos[at.clone()].iter().zip(&self.sin[at]))
        {
            let (x, y, sin) = (*a, *b, sign * sin);
            *a = x * cos - y * sin;
            *b = y * cos + x * sin;
        }
    }
}

/// Sizes of the heads: `heads` queries share `kv_heads` keys and values, `heads / kv_heads` each (GQA).
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads `h`.
    pub heads: usize,
    /// Key/value heads `kv`.
    pub kv_heads: usize,
    /// Head dimension `d`, even.
    pub dim: usize,
}

impl Heads {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn lanes(&self) -> usize {
        self.dim.div_ceil(LANES)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn check(&self) -> Result<()> {
        if MAX_HEAD_DIM < self.dim {
            candle_core::bail!("heads of {} values, expected at most {MAX_HEAD_DIM}", self.dim);
        }
        Ok(())
    }
}

/// Rotated keys and values of one head, laid out for the inner loops and grown a token at a time.
#[derive(Clone, Debug, Default)]
struct HeadKv {
    len: usize,
    /// Per block of 16 tokens, `d` lanes: lane `i` is token `i` of the block.
    keys: Vec<Lane>,
    /// Per token, `d` values padded to full lanes.
    values: Vec<Lane>,
}

impl HeadKv {
    fn push(&mut self, key: &[f32], value: &[f32]) {
        push_panel(&mut self.keys, self.len, key);
        push_row(&mut self.values, value);
        self.len += 1;
    }
}

/// Writes `x` as column `token % 16` of the last panel, opening a new one where it begins.
fn push_panel(panels: &mut Vec<Lane>, token: usize, x: &[f32]) {
    let lane = token % LANES;
    if lane == 0 {
        panels.resize(panels.len() + x.len(), [0.0; LANES]);
    }
    let from = panels.len() - x.len();
    for (panel, x) in panels[from..].iter_mut().zip(x) {
        panel[lane] = *x;
    }
}

fn push_row(rows: &mut Vec<Lane>, x: &[f32]) {
    for chunk in x.chunks(LANES) {
        let mut lane = [0.0; LANES];
        lane[..chunk.len()].copy_from_slice(chunk);
        rows.push(lane);
    }
}

/// Keys and values of one sequence, or of the prefix that several share, over all layers.
#[derive(Clone, Debug)]
pub struct SequenceKv {
    parent: Option<Arc<SequenceKv>>,
    /// Layer by layer, head by head.
    heads: Vec<Vec<HeadKv>>,
    len: usize,
}

impl SequenceKv {
    /// An empty cache of `layers` layers; it continues `parent` if there is one.
    pub fn new(layers: usize, heads: Heads, parent: Option<Arc<SequenceKv>>) -> Self {
        Self { parent, heads: vec![vec![HeadKv::default(); heads.kv_heads]; layers], len: 0 }
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

    /// This sequence's ancestors for one head, root first.
    fn chain(&self, layer: usize, head: usize) -> Vec<&HeadKv> {
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

/// Four vectors side by side: entry `i` holds value `i` of each.
type TileVec = Vec<[f32; TILE]>;

/// Buffers that one thread uses again and again.
#[derive(Default)]
struct Scratch {
    query: TileVec,
    probs: [Vec<Lane>; TILE],
}

#[inline(always)]
fn fma(a: f32, b: &Lane, mut c: Lane) -> Lane {
    for i in 0..LANES {
        c[i] = a.mul_add(b[i], c[i]);
    }
    c
}

/// Products of four vectors with sixteen: `out[i][lane] = x[i] . panel[lane]`, summed over `d` in order.
#[inline(always)]
fn products(x: &[[f32; TILE]], panel: &[Lane]) -> [Lane; TILE] {
    let mut acc = [[0.0; LANES]; TILE];
    for (x, k) in x.iter().zip(panel) {
        acc[0] = fma(x[0], k, acc[0]);
        acc[1] = fma(x[1], k, acc[1]);
        acc[2] = fma(x[2], k, acc[2]);
        acc[3] = fma(x[3], k, acc[3]);
    }
    acc
}

/// Unnormalised probabilities of four queries over `chain` (seen in full) and the first `seen[i]` tokens of the
/// last link. Leaves them in `scratch.probs`, one lane per block, and returns their sums.
fn probabilities(
    chain: &[&HeadKv],
    seen: [usize; TILE],
    d: usize,
    scale: f32,
    query: &[[f32; TILE]],
    probs: &mut [Vec<Lane>; TILE],
) -> [f32; TILE] {
    probs.iter_mut().for_each(Vec::clear);
    for (link, kv) in chain.iter().enumerate() {
        let last = link + 1 == chain.len();
        let visible = |i: usize| if last { seen[i] } else { kv.len };
        let most = (0..TILE).map(visible).max().unwrap_or(0);
        for (block, panel) in kv.keys.chunks_exact(d).take(most.div_ceil(LANES)).enumerate() {
            let mut scores = products(query, panel);
            for (i, scores) in scores.iter_mut().enumerate() {
                let left = visible(i).saturating_sub(block * LANES);
                if left < LANES {
                    scores[left..].fill(f32::NEG_INFINITY);
                }
                probs[i].push(*scores);
            }
        }
    }
    std::array::from_fn(|i| {
        let row = probs[i].as_flattened_mut();
        let max = math::max(row);
        let mut sum = [0.0; LANES];
        for lane in row.as_chunks_mut::<LANES>().0 {
            for (x, s) in lane.iter_mut().zip(&mut sum) {
                *x = math::exp((*x - max) * scale);
                *s += *x;
            }
        }
        math::sum_lanes(&sum)
    })
}

/// `out[i] = sum_j weights[i][j] * rows[j]` for four sets of weights, `j` in order; `rows` per link of the chain.
fn weighted_sums<'a>(
    links: impl Iterator<Item = (usize, &'a [Lane])> + Clone,
    lanes: usize,
    weights: &[Vec<Lane>; TILE],
    out: &mut [Vec<Lane>; TILE],
) {
    out.iter_mut().for_each(|o| o.resize(lanes, [0.0; LANES]));
    for c in 0..lanes {
        let mut acc = [[0.0; LANES]; TILE];
        let mut block = 0;
        for (most, rows) in links.clone() {
            let w: [&[f32]; TILE] = std::array::from_fn(|i| &weights[i][block..].as_flattened()[..most]);
            let rows = rows.chunks_exact(lanes).map(|row| &row[c]);
            for ((((w0, w1), w2), w3), row) in w[0].iter().zip(w[1]).zip(w[2]).zip(w[3]).zip(rows) {
                acc[0] = fma(*w0, row, acc[0]);
                acc[1] = fma(*w1, row, acc[1]);
                acc[2] = fma(*w2, row, acc[2]);
                acc[3] = fma(*w3, row, acc[3]);
            }
            block += most.div_ceil(LANES);
        }
        for (out, acc) in out.iter_mut().zip(acc) {
            out[c] = acc;
        }
    }
}

/// One query of a tile: which token it belongs to, which query head, and how many own tokens it sees.
#[derive(Clone, Copy)]
struct Query {
    token: usize,
    head: usize,
    seen: usize,
}

/// Queries of tokens `start..start + len` for key/value head `kv`, where the first sees `before + 1` own tokens.
fn queries(start: usize, len: usize, before: usize, kv: usize, heads: Heads) -> Vec<Query> {
    let group = heads.group();
    let of = |i: usize| {
        (0..group).map(move |g| Query { token: start + i, head: kv * group + g, seen: before + i + 1 })
    };
    (0..len).flat_map(of).collect()
}

/// Loads a tile's vectors side by side, rotated where `angles` is given. Missing queries are zero.
fn load(x: &[f32], tile: &[Query], heads: Heads, angles: Option<&Angles>, out: &mut TileVec) {
    let (d, width) = (heads.dim, heads.heads * heads.dim);
    out.clear();
    out.resize(d, [0.0; TILE]);
    let mut one = [0.0; MAX_HEAD_DIM];
    for (i, query) in tile.iter().enumerate() {
        let from = query.token * width + query.head * d;
        let one = &mut one[..d];
        one.copy_from_slice(&x[from..from + d]);
        if let Some(angles) = angles {
            angles.rotate(query.token, 1.0, one);
        }
        out.iter_mut().zip(one).for_each(|(o, x)| o[i] = *x);
    }
}

/// Tokens each query of the tile sees in the last link; missing queries see as much as the first.
fn seen(tile: &[Query]) -> [usize; TILE] {
    std::array::from_fn(|i| tile.get(i).unwrap_or(&tile[0]).seen)
}

/// Visible tokens and values of each link, for [`weighted_sums`].
fn value_links<'a>(
    chain: &'a [&'a HeadKv],
    most: usize,
) -> impl Iterator<Item = (usize, &'a [Lane])> + Clone {
    let last = chain.len() - 1;
    chain.iter().enumerate().map(move |(link, kv)| (if link == last { most } else { kv.len }, &kv.values[..]))
}

/// Attention of `queries`, all of one key/value head, over `chain`: `(queries, d)`.
fn attend(chain: &[&HeadKv], queries: &[Query], q: &[f32], angles: &Angles, heads: Heads) -> Vec<f32> {
    let (d, lanes) = (heads.dim, heads.lanes());
    let mut out = Vec::with_capacity(queries.len() * d);
    let (mut scratch, mut sums): (Scratch, [Vec<Lane>; TILE]) = Default::default();
    for tile in queries.chunks(TILE) {
        load(q, tile, heads, Some(angles), &mut scratch.query);
        let seen = seen(tile);
        let total = probabilities(chain, seen, d, heads.scale(), &scratch.query, &mut scratch.probs);
        let most = seen.into_iter().max().unwrap_or(0);
        weighted_sums(value_links(chain, most), lanes, &scratch.probs, &mut sums);
        for (i, _) in tile.iter().enumerate() {
            let scale = 1.0 / total[i];
            out.extend(sums[i].as_flattened()[..d].iter().map(|x| x * scale));
        }
    }
    out
}

/// Rotated keys and values of `len` tokens from `start`, one head.
#[expect(clippy::too_many_arguments, reason = "a run of tokens of one head, and where it goes")]
fn push_tokens(
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
/// If the tensors are not contiguous f32 in main memory, or heads are wider than [`MAX_HEAD_DIM`].
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
        let SequenceKv { parent, heads: own, len } = &mut **row;
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

/// Writes each query's vector to its place in `(t, h, d)`.
fn scatter(queries: &[Query], part: &[f32], heads: Heads, out: &mut [f32]) {
    let d = heads.dim;
    for (query, x) in queries.iter().zip(part.chunks_exact(d)) {
        let at = (query.token * heads.heads + query.head) * d;
        out[at..at + d].copy_from_slice(x);
    }
}

/// Attention over a packed batch, with gradient.
///
/// # Shapes
///
/// - `q`: `(t, h * d)`; `k`, `v`: `(t, kv * d)`, not rotated; `t` as in `packing` and `angles`;
/// - returns `(t, h * d)`.
///
/// # Errors
///
/// If shapes do not fit, or heads are wider than [`MAX_HEAD_DIM`].
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    packing: &Arc<Packing>,
    angles: &Arc<Angles>,
    heads: Heads,
) -> Result<Tensor> {
    heads.check()?;
    let op = Attention { packing: packing.clone(), angles: angles.clone(), heads };
    if !q.device().is_cpu() {
        return reference(q, k, v, packing, angles, heads);
    }
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// The same from candle's own operations: one dense `(h, t, t)` score matrix with everything unseen at `-inf`.
///
/// # Errors
///
/// If shapes do not fit.
pub fn reference(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    packing: &Packing,
    angles: &Angles,
    heads: Heads,
) -> Result<Tensor> {
    let (t, d) = (q.dim(0)?, heads.dim);
    let table = |x: &[f32]| Tensor::from_slice(x, (1, t, d / 2), q.device());
    let (cos, sin) = (table(&angles.cos)?, table(&angles.sin)?);
    let split = |x: &Tensor, n: usize| x.reshape((t, n, d))?.transpose(0, 1)?.contiguous();
    let rotate = |x: Tensor| {
        let (a, b) = (x.narrow(2, 0, d / 2)?.contiguous()?, x.narrow(2, d / 2, d / 2)?.contiguous()?);
        let low = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let high = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[low, high], 2)
    };
    let repeat = |x: Tensor| {
        let x = x.unsqueeze(1)?.expand((heads.kv_heads, heads.group(), t, d))?;
        x.contiguous()?.reshape((heads.heads, t, d))
    };
    let q = rotate(split(q, heads.heads)?)?;
    let k = repeat(rotate(split(k, heads.kv_heads)?)?)?;
    let v = repeat(split(v, heads.kv_heads)?)?;
    let mut mask = vec![f32::NEG_INFINITY; t * t];
    for segment in packing.segments() {
        let mut at = Some(*segment);
        while let Some(s) = at {
            for i in 0..segment.len {
                let sees = if s.start == segment.start { i + 1 } else { s.len };
                let from = (segment.start + i) * t + s.start;
                mask[from..from + sees].fill(0.0);
            }
            at = s.parent.map(|p| packing.segments()[p]);
        }
    }
    let mask = Tensor::from_vec(mask, (1, t, t), q.device())?;
    let scores = (q.matmul(&k.t()?.contiguous()?)? * f64::from(heads.scale()))?.broadcast_add(&mask)?;
    let max = scores.max_keepdim(2)?.detach();
    let exp = scores.broadcast_sub(&max)?.exp()?;
    let probs = exp.broadcast_div(&exp.sum_keepdim(2)?)?;
    probs.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((t, heads.heads * d))
}

struct Attention {
    packing: Arc<Packing>,
    angles: Arc<Angles>,
    heads: Heads,
}

/// What the backward pass of one tree and one key/value head has gathered, rotated back: `(tokens, d)` each.
struct Gradients {
    queries: Vec<Query>,
    dq: Vec<f32>,
    /// First token of the tree, which is one run of tokens.
    start: usize,
    dk: Vec<f32>,
    dv: Vec<f32>,
    head: usize,
}

impl Attention {
    /// Trees times key/value heads: the pieces of work that never meet.
    fn units(&self) -> Vec<(usize, usize)> {
        let trees = 0..self.packing.trees.len();
        trees.flat_map(|tree| (0..self.heads.kv_heads).map(move |head| (tree, head))).collect()
    }

    /// Keys and values of each segment of a tree.
    fn caches(&self, tree: usize, head: usize, k: &[f32], v: &[f32]) -> Vec<HeadKv> {
        let of = |s: &usize| {
            let segment = self.packing.segments[*s];
            let mut kv = HeadKv::default();
            push_tokens(&mut kv, k, v, segment.start, segment.len, head, self.heads, &self.angles);
            kv
        };
        self.packing.trees[tree].iter().map(of).collect()
    }

    /// Indices into the tree's segments from the root to segment `i`.
    fn lineage(&self, tree: usize, i: usize) -> Vec<usize> {
        let members = &self.packing.trees[tree];
        let mut line = vec![i];
        while let Some(parent) = self.packing.segments[members[line[line.len() - 1]]].parent {
            line.push(parent - members[0]);
        }
        line.reverse();
        line
    }

    fn forward_unit(
        &self,
        (tree, head): (usize, usize),
        q: &[f32],
        k: &[f32],
        v: &[f32],
    ) -> (Vec<Query>, Vec<f32>) {
        let caches = self.caches(tree, head, k, v);
        let (mut all, mut out) = (Vec::new(), Vec::new());
        for (i, s) in self.packing.trees[tree].iter().enumerate() {
            let segment = self.packing.segments[*s];
            let chain: Vec<&HeadKv> = self.lineage(tree, i).into_iter().map(|l| &caches[l]).collect();
            let queries = queries(segment.start, segment.len, 0, head, self.heads);
            out.extend(attend(&chain, &queries, q, &self.angles, self.heads));
            all.extend(queries);
        }
        (all, out)
    }

    fn backward_unit(
        &self,
        (tree, head): (usize, usize),
        q: &[f32],
        k: &[f32],
        v: &[f32],
        dy: &[f32],
    ) -> Gradients {
        let (heads, d, lanes) = (self.heads, self.heads.dim, self.heads.lanes());
        let caches = self.caches(tree, head, k, v);
        // The same values again, the other way about: keys as rows for dq, values as panels for dp.
        let turned: Vec<(Vec<Lane>, Vec<Lane>)> = caches.iter().map(|kv| turn(kv, d, lanes)).collect();
        let zero = |kv: &HeadKv| vec![[0.0; LANES]; kv.len * lanes];
        let mut dk: Vec<Vec<Lane>> = caches.iter().map(zero).collect();
        let mut dv = dk.clone();
        let (mut all, mut dq) = (Vec::new(), Vec::new());
        let mut scratch = Scratch::default();
        let (mut up, mut ds, mut sums): (TileVec, [Vec<Lane>; TILE], [Vec<Lane>; TILE]) = Default::default();
        for (i, s) in self.packing.trees[tree].iter().enumerate() {
            let segment = self.packing.segments[*s];
            let line = self.lineage(tree, i);
            let chain: Vec<&HeadKv> = line.iter().map(|l| &caches[*l]).collect();
            let queries = queries(segment.start, segment.len, 0, head, heads);
            for tile in queries.chunks(TILE) {
                load(q, tile, heads, Some(&self.angles), &mut scratch.query);
                load(dy, tile, heads, None, &mut up);
                let seen = seen(tile);
                let most = seen.into_iter().max().unwrap_or(0);
                let total = probabilities(&chain, seen, d, heads.scale(), &scratch.query, &mut scratch.probs);
                for (probs, total) in scratch.probs.iter_mut().zip(total) {
                    let scale = 1.0 / total;
                    probs.as_flattened_mut().iter_mut().for_each(|p| *p *= scale);
                }
                let visible = |link: usize| if link + 1 == chain.len() { most } else { chain[link].len };
                score_gradients(
                    line.iter().enumerate().map(|(link, l)| (visible(link), &turned[*l].1[..])),
                    d,
                    heads.scale(),
                    &up,
                    &scratch.probs,
                    &mut ds,
                );
                let keys = line.iter().enumerate().map(|(link, l)| (visible(link), &turned[*l].0[..]));
                weighted_sums(keys, lanes, &ds, &mut sums);
                for (query, sum) in tile.iter().zip(&mut sums) {
                    let sum = &mut sum.as_flattened_mut()[..d];
                    self.angles.rotate(query.token, -1.0, sum);
                    dq.extend_from_slice(sum);
                }
                let (q_rows, up_rows) = (rows(&scratch.query, lanes), rows(&up, lanes));
                let mut block = 0;
                for (link, l) in line.iter().enumerate() {
                    let most = visible(link);
                    outer(&ds, block, most, &q_rows, lanes, &mut dk[*l]);
                    outer(&scratch.probs, block, most, &up_rows, lanes, &mut dv[*l]);
                    block += most.div_ceil(LANES);
                }
            }
            all.extend(queries);
        }
        let start = self.packing.segments[self.packing.trees[tree][0]].start;
        let flat = |parts: &[Vec<Lane>]| -> Vec<f32> {
            let rows = parts.iter().flat_map(|part| part.chunks_exact(lanes));
            rows.flat_map(|row| row.as_flattened()[..d].iter().copied()).collect()
        };
        let (mut dk, dv) = (flat(&dk), flat(&dv));
        for (i, dk) in dk.chunks_exact_mut(d).enumerate() {
            self.angles.rotate(start + i, -1.0, dk);
        }
        Gradients { queries: all, dq, start, dk, dv, head }
    }
}

/// Keys as rows and values as panels.
fn turn(kv: &HeadKv, d: usize, lanes: usize) -> (Vec<Lane>, Vec<Lane>) {
    let (mut keys, mut values) = (Vec::with_capacity(kv.len * lanes), Vec::new());
    let mut key = vec![0.0; d];
    for token in 0..kv.len {
        let panel = &kv.keys[token / LANES * d..][..d];
        key.iter_mut().zip(panel).for_each(|(x, lane)| *x = lane[token % LANES]);
        push_row(&mut keys, &key);
        push_panel(&mut values, token, &kv.values[token * lanes..(token + 1) * lanes].as_flattened()[..d]);
    }
    (keys, values)
}

/// The four vectors of a tile, each as full lanes.
fn rows(tile: &[[f32; TILE]], lanes: usize) -> [Vec<Lane>; TILE] {
    std::array::from_fn(|i| {
        let mut row = vec![[0.0; LANES]; lanes];
        row.as_flattened_mut().iter_mut().zip(tile).for_each(|(x, t)| *x = t[i]);
        row
    })
}

/// `ds = scale * p * (dp - sum_j p_j dp_j)` with `dp_j = dy . v_j`.
fn score_gradients<'a>(
    links: impl Iterator<Item = (usize, &'a [Lane])>,
    d: usize,
    scale: f32,
    up: &[[f32; TILE]],
    probs: &[Vec<Lane>; TILE],
    ds: &mut [Vec<Lane>; TILE],
) {
    ds.iter_mut().for_each(Vec::clear);
    for (most, panels) in links {
        for panel in panels.chunks_exact(d).take(most.div_ceil(LANES)) {
            let dp = products(up, panel);
            ds.iter_mut().zip(dp).for_each(|(ds, dp)| ds.push(dp));
        }
    }
    for (ds, probs) in ds.iter_mut().zip(probs) {
        let delta = math::dot(ds.as_flattened(), probs.as_flattened());
        for (x, p) in ds.as_flattened_mut().iter_mut().zip(probs.as_flattened()) {
            *x = scale * p * (*x - delta);
        }
    }
}

/// `out[j] += sum_i weights[i][j] * x[i]` over the first `most` tokens of one link.
fn outer(
    weights: &[Vec<Lane>; TILE],
    block: usize,
    most: usize,
    x: &[Vec<Lane>; TILE],
    lanes: usize,
    out: &mut [Lane],
) {
    let w: [&[f32]; TILE] = std::array::from_fn(|i| &weights[i][block..].as_flattened()[..most]);
    for c in 0..lanes {
        let rows = out.chunks_exact_mut(lanes).map(|row| &mut row[c]);
        for ((((w0, w1), w2), w3), row) in w[0].iter().zip(w[1]).zip(w[2]).zip(w[3]).zip(rows) {
            *row = fma(*w0, &x[0][c], fma(*w1, &x[1][c], fma(*w2, &x[2][c], fma(*w3, &x[3][c], *row))));
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, heads) = (self.packing.tokens(), self.heads);
        let (wide, narrow) = (heads.heads * heads.dim, heads.kv_heads * heads.dim);
        if (lq.dims(), lk.dims(), lv.dims()) != (&[t, wide], &[t, narrow], &[t, narrow]) {
            candle_core::bail!(
                "attention over {t} tokens got {:?}, {:?}, {:?}",
                lq.shape(),
                lk.shape(),
                lv.shape()
            );
        }
        let (q, k, v) = (values(q, lq)?, values(k, lk)?, values(v, lv)?);
        let parts: Vec<_> =
            self.units().into_par_iter().map(|unit| self.forward_unit(unit, q, k, v)).collect();
        let mut out = vec![0.0; t * wide];
        for (queries, part) in &parts {
            scatter(queries, part, heads, &mut out);
        }
        Ok((CpuStorage::F32(out), (t, wide).into()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (t, heads, d) = (self.packing.tokens(), self.heads, self.heads.dim);
        let (wide, narrow) = (heads.heads * d, heads.kv_heads * d);
        let dy = dy.contiguous()?;
        let parts: Vec<Gradients> = with_values(q, |q| {
            with_values(k, |k| {
                with_values(v, |v| {
                    with_values(&dy, |dy| {
                        self.units()
                            .into_par_iter()
                            .map(|unit| self.backward_unit(unit, q, k, v, dy))
                            .collect()
                    })
                })
            })
        })????;
        let (mut dq, mut dk, mut dv) = (vec![0.0; t * wide], vec![0.0; t * narrow], vec![0.0; t * narrow]);
        for part in &parts {
            scatter(&part.queries, &part.dq, heads, &mut dq);
            for (i, (pk, pv)) in part.dk.chunks_exact(d).zip(part.dv.chunks_exact(d)).enumerate() {
                let at = (part.start + i) * narrow + part.head * d;
                dk[at..at + d].copy_from_slice(pk);
                dv[at..at + d].copy_from_slice(pv);
            }
        }
        let tensor = |x, width| Tensor::from_vec(x, (t, width), &Device::Cpu).map(Some);
        Ok((tensor(dq, wide)?, tensor(dk, narrow)?, tensor(dv, narrow)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check_gradients;

    fn check(packing: Packing, heads: Heads) {
        let inv_freq: Vec<f32> = (0..heads.dim / 2).map(|i| 0.7f32.powi(i as i32)).collect();
        let angles = Arc::new(Angles::new(packing.positions(), &inv_freq));
        let packing = Arc::new(packing);
        let (t, wide, narrow) = (packing.tokens(), heads.heads * heads.dim, heads.kv_heads * heads.dim);
        check_gradients(
            &[&[t, wide], &[t, narrow], &[t, narrow]],
            |x| attention(&x[0], &x[1], &x[2], &packing, &angles, heads),
            |x| reference(&x[0], &x[1], &x[2], &packing, &angles, heads),
        );
    }

    #[test]
    fn forward_and_gradients_match_the_dense_form() {
        check(Packing::sequences(&[1]), Heads { heads: 1, kv_heads: 1, dim: 2 });
        check(Packing::sequences(&[5, 40, 17]), Heads { heads: 6, kv_heads: 2, dim: 8 });
        check(Packing::sequences(&[33]), Heads { heads: 3, kv_heads: 3, dim: 20 });
    }

    #[test]
    fn completions_share_their_prompt_with_gradient() {
        let groups: [(usize, &[usize]); 3] = [(20, &[3, 18, 1]), (7, &[]), (16, &[16, 2])];
        check(Packing::trees(groups), Heads { heads: 4, kv_heads: 2, dim: 16 });
    }

    #[test]
    fn a_token_at_a_time_over_a_cache_gives_the_same_bits() {
        let heads = Heads { heads: 4, kv_heads: 2, dim: 16 };
        let (prompt, own) = (19, 21);
        let packing = Arc::new(Packing::trees([(prompt, &[own][..])]));
        let inv_freq: Vec<f32> = (0..8).map(|i| 0.7f32.powi(i)).collect();
        let angles = Arc::new(Angles::new(packing.positions(), &inv_freq));
        let t = prompt + own;
        let noise = |width| Tensor::randn(0f32, 1.0, (t, width), &Device::Cpu).unwrap();
        let (q, k, v) = (noise(64), noise(32), noise(32));
        let all = attention(&q, &k, &v, &packing, &angles, heads).unwrap().to_vec2::<f32>().unwrap();
        let step = |cache: &mut SequenceKv, from: usize, n: usize| {
            let cut = |x: &Tensor| x.narrow(0, from, n).unwrap().contiguous().unwrap();
            let angles = Angles::new(&packing.positions()[from..from + n], &inv_freq);
            let out =
                attend_cached(&cut(&q), &cut(&k), &cut(&v), &mut [&mut *cache], &[n], 0, &angles, heads);
            cache.advance(n);
            out.unwrap().to_vec2::<f32>().unwrap()
        };
        let mut prefix = SequenceKv::new(1, heads, None);
        let mut got = step(&mut prefix, 0, prompt);
        let mut row = SequenceKv::new(1, heads, Some(Arc::new(prefix)));
        for i in prompt..t {
            got.extend(step(&mut row, i, 1));
        }
        assert_eq!(row.len(), t);
        assert_eq!(got, all);
    }
}
