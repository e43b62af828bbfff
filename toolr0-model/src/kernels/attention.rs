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

mod cache;
pub mod composed;
mod packing;
pub mod pool;
mod tiles;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::math::{self, LANES, Lane};
use super::{values, with_values};
use cache::{HeadKv, push_panel, push_row, push_tokens};
pub use cache::{SequenceKv, attend_cached};
pub use packing::{Angles, Heads, Packing, Segment};
use tiles::{
    Query, Scratch, TileVec, attend, fma, load, probabilities, products, queries, scatter, seen,
    weighted_sums,
};

/// Queries handled together: one accumulator each.
const TILE: usize = 4;
/// The widest head that fits the buffer in which a query is turned; the widest in use is 256.
pub const MAX_HEAD_DIM: usize = 512;

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
    let (cos, sin) = angles.tables();
    let (cos, sin) = (table(cos)?, table(sin)?);
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
