//! How sequences lie in a batch, where each token stands, and how heads are laid out.

use candle_core::Result;

use super::MAX_HEAD_DIM;
use crate::kernels::math::LANES;

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
    pub(super) segments: Vec<Segment>,
    /// Segments of one root, root first.
    pub(super) trees: Vec<Vec<usize>>,
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
    pub(super) half: usize,
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
    pub(super) fn rotate(&self, token: usize, sign: f32, x: &mut [f32]) {
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
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    pub(super) fn lanes(&self) -> usize {
        self.dim.div_ceil(LANES)
    }

    pub(super) fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    pub(super) fn check(&self) -> Result<()> {
        if MAX_HEAD_DIM < self.dim {
            candle_core::bail!("heads of {} values, expected at most {MAX_HEAD_DIM}", self.dim);
        }
        Ok(())
    }
}
