//! Attention from candle's own operations, a sequence at a time: for devices, with gradient.
//!
//! As [`reference`](super::reference()), but no `(t, t)` matrix of the batch: a segment's queries meet the keys of its
//! own line alone, and queries that share a key/value head are rows of one product, so no key is copied for each.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, DType, Device, Result, Tensor};

use super::packing::{Angles, Heads, Packing};

/// What is added to the score of a key that a query must not see: its probability is then exactly 0.
const UNSEEN: f64 = -1e9;

/// Rotations of `t` tokens on a device.
#[derive(Debug)]
pub(super) struct Rotations {
    /// `(t, 1, d / 2)`, f32.
    cos: Tensor,
    sin: Tensor,
}

impl Rotations {
    pub(super) fn new(angles: &Angles, device: &Device) -> Result<Self> {
        let (cos, sin) = angles.tables();
        let half = angles.half;
        let table = |x: &[f32]| Tensor::from_slice(x, (x.len() / half, 1, half), device);
        Ok(Self { cos: table(cos)?, sin: table(sin)? })
    }

    /// `x`: `(t, n * d)`, `n` heads; returns its shape and type.
    pub(super) fn rotate(&self, x: &Tensor, d: usize) -> Result<Tensor> {
        let (t, width) = x.dims2()?;
        let split = x.to_dtype(DType::F32)?.reshape((t, width / d, d))?;
        let (a, b) = (split.narrow(2, 0, d / 2)?, split.narrow(2, d / 2, d / 2)?);
        let low = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let high = (b.broadcast_mul(&self.cos)? + a.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[low, high], 2)?.reshape((t, width))?.to_dtype(x.dtype())
    }
}

/// What hides the keys behind each query: `(g, 1, n, l)`, f32. `seen`: keys before the query's own, `(g * n,)`.
pub(super) fn mask(seen: &[u32], (g, n, l): (usize, usize, usize), device: &Device) -> Result<Tensor> {
    let last = Tensor::from_slice(seen, (g, 1, n, 1), device)?;
    let keys = Tensor::arange(0, l as u32, device)?.reshape((1, 1, 1, l))?;
    keys.broadcast_gt(&last)?.to_dtype(DType::F32)? * UNSEEN
}

/// Attention of `g` sequences with `n` queries and `l` keys each, all rotated.
///
/// `q`: `(g * n, h * d)`; `k`, `v`: `(g * l, kv * d)`; `mask`: `(g, 1, n, l)`; returns `(g * n, h * d)`.
pub(super) fn over(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, heads: Heads) -> Result<Tensor> {
    let (g, _, n, l) = mask.dims4()?;
    let Heads { heads: h, kv_heads: kv, dim: d } = heads;
    let group = heads.group();
    let q = q.reshape((g, n, kv, group, d))?.permute((0, 2, 3, 1, 4))?.contiguous()?;
    let q = q.reshape((g * kv, group * n, d))?;
    let split = |x: &Tensor| x.reshape((g, l, kv, d))?.transpose(1, 2)?.contiguous()?.reshape((g * kv, l, d));
    let (k, v) = (split(k)?, split(v)?);
    let scores = (q.matmul(&k.t()?)?.to_dtype(DType::F32)? * f64::from(heads.scale()))?;
    let scores = scores.reshape((g, h, n, l))?.broadcast_add(mask)?;
    let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let probs = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?.to_dtype(v.dtype())?;
    let out = probs.reshape((g * kv, group * n, l))?.matmul(&v)?;
    let out = out.reshape((g, kv, group, n, d))?.permute((0, 3, 1, 2, 4))?.contiguous()?;
    out.reshape((g * n, h * d))
}

/// What attention over a batch needs on its device, made once for all layers.
#[derive(Debug)]
pub struct Plan {
    heads: Heads,
    rotations: Rotations,
    /// First token and number of tokens of each segment of a sequence's line, root first; one entry to a segment that
    /// has tokens, in the order of the tokens.
    lines: Vec<Vec<(usize, usize)>>,
    /// By queries and keys.
    masks: BTreeMap<(usize, usize), Tensor>,
}

impl Plan {
    /// `angles` are those of the tokens of `packing`.
    ///
    /// # Errors
    ///
    /// If the device's memory does not hold it.
    pub fn new(packing: &Packing, angles: &Angles, heads: Heads, device: &Device) -> Result<Self> {
        let segments = packing.segments();
        let line = |own: usize| {
            let up = std::iter::successors(Some(own), |at| segments[*at].parent);
            let mut line: Vec<_> =
                up.map(|at| (segments[at].start, segments[at].len)).filter(|(_, len)| *len != 0).collect();
            line.reverse();
            line
        };
        let lines: Vec<Vec<(usize, usize)>> =
            (0..segments.len()).filter(|i| segments[*i].len != 0).map(line).collect();
        let shapes: BTreeSet<_> = lines.iter().map(|line| shape(line)).collect();
        let of = |(n, l): (usize, usize)| {
            let seen: Vec<u32> = ((l - n) as u32..l as u32).collect();
            Ok(((n, l), mask(&seen, (1, n, l), device)?))
        };
        let masks = shapes.into_iter().map(of).collect::<Result<_>>()?;
        Ok(Self { heads, rotations: Rotations::new(angles, device)?, lines, masks })
    }

    /// As [`super::attention`].
    ///
    /// # Errors
    ///
    /// If shapes do not fit.
    pub fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let d = self.heads.dim;
        let (q, k) = (self.rotations.rotate(q, d)?, self.rotations.rotate(k, d)?);
        let one = |line: &Vec<(usize, usize)>| {
            let (from, n) = line[line.len() - 1];
            let keys = |x: &Tensor| {
                let parts = line.iter().map(|(from, len)| x.narrow(0, *from, *len));
                Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
            };
            over(&q.narrow(0, from, n)?, &keys(&k)?, &keys(v)?, &self.masks[&shape(line)], self.heads)
        };
        Tensor::cat(&self.lines.iter().map(one).collect::<Result<Vec<_>>>()?, 0)
    }
}

/// Queries and keys of a line.
fn shape(line: &[(usize, usize)]) -> (usize, usize) {
    (line.last().map_or(0, |(_, len)| *len), line.iter().map(|(_, len)| len).sum())
}
