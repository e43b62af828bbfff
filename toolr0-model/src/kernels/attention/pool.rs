//! Keys and values of many sequences in one tensor of a device, a row to a token: what sampling does there.
//!
//! Sequences grow by a token at a time, come and go, and share prefixes. Each knows the rows of its tokens (`Slots`);
//! the keys of a batch are gathered by them, padded to the longest sequence, so a step takes as many operations for
//! many sequences as for one (vLLM's idea, arXiv:2309.06180, with pages of one token).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor};

use super::cache::SequenceKv;
use super::composed::{Rotations, mask, over};
use super::packing::{Angles, Heads};

/// Rows of a new pool.
const FIRST: usize = 1024;

/// Rotated keys and values of all layers.
#[derive(Debug)]
pub struct Pool {
    heads: Heads,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Keys and values of each layer, `(rows, kv * d)`.
    layers: Vec<(Tensor, Tensor)>,
    /// Rows that nobody has, the lowest last.
    free: Vec<u32>,
}

/// Rows of a pool that one sequence has; dropping them gives them back.
#[derive(Debug)]
pub(super) struct Slots {
    pool: Arc<Pool>,
    pub(super) taken: Vec<u32>,
}

impl Slots {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: pool.clone(), taken: Vec::new() }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let mut inner = self.pool.inner();
        inner.free.append(&mut self.taken);
        inner.free.sort_unstable_by(|a, b| b.cmp(a));
    }
}

/// Some rows of a batch that attend together: as many queries each.
#[derive(Debug)]
struct Together {
    /// First query and number of them.
    queries: (usize, usize),
    /// The pool's rows of all keys, `(g * l,)`; padded with the first.
    keys: Tensor,
    /// `(g, 1, n, l)`.
    mask: Tensor,
}

/// One step over a batch of sequences, made once for all layers.
#[derive(Debug)]
pub struct Step {
    rotations: Rotations,
    /// Where the new tokens go: the first of consecutive rows, or each of them, `(t, kv * d)`.
    to: std::result::Result<usize, Tensor>,
    groups: Vec<Together>,
}

impl Pool {
    /// An empty pool. `dtype` is that of keys and values.
    ///
    /// # Errors
    ///
    /// If the device's memory does not hold it.
    pub fn new(layers: usize, heads: Heads, dtype: DType, device: &Device) -> Result<Self> {
        let rows = || Tensor::zeros((FIRST, heads.kv_heads * heads.dim), dtype, device);
        let layers = (0..layers).map(|_| Ok((rows()?, rows()?))).collect::<Result<_>>()?;
        let free = (0..FIRST as u32).rev().collect();
        Ok(Self { heads, inner: Mutex::new(Inner { layers, free }) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows for the next `new[r]` tokens of each sequence, and what attention over them needs.
    ///
    /// # Errors
    ///
    /// If the device's memory does not hold them, or a sequence has no rows in a pool.
    pub fn step(&self, rows: &mut [&mut SequenceKv], new: &[usize], angles: &Angles) -> Result<Step> {
        let mut inner = self.inner();
        let n = new.iter().sum();
        inner.reserve(n)?;
        let left = inner.free.len() - n;
        let mut fresh: Vec<u32> = inner.free.split_off(left);
        fresh.reverse();
        let (layer, _) = &inner.layers[0];
        let (device, width) = (layer.device().clone(), layer.dim(1)?);
        drop(inner);

        let mut at = 0;
        for (row, n) in rows.iter_mut().zip(new) {
            row.slots()?.taken.extend_from_slice(&fresh[at..at + n]);
            at += n;
        }
        let rows: Vec<&SequenceKv> = rows.iter().map(|row| &**row).collect();
        let groups = if new.iter().all(|n| *n == 1) {
            vec![Together::new(&rows, (0, 1), &device)?]
        } else {
            let mut groups = Vec::new();
            let mut at = 0;
            for (row, n) in rows.iter().zip(new).filter(|(_, n)| **n != 0) {
                groups.push(Together::new(&[*row], (at, *n), &device)?);
                at += n;
            }
            groups
        };
        let consecutive = fresh.windows(2).all(|two| two[0] + 1 == two[1]);
        let to = match (consecutive, fresh.first()) {
            (true, Some(first)) => Ok(*first as usize),
            _ => {
                let ids = Tensor::from_slice(&fresh, (fresh.len(), 1), &device)?;
                Err(ids.broadcast_as((fresh.len(), width))?.contiguous()?)
            }
        };
        Ok(Step { rotations: Rotations::new(angles, &device)?, to, groups })
    }

    /// Attention of the new tokens of a step over what is cached, which they join. No gradient.
    ///
    /// # Shapes
    ///
    /// - `q`: `(t, h * d)`, `k`, `v`: `(t, kv * d)`, not rotated; returns `(t, h * d)`.
    ///
    /// # Errors
    ///
    /// If shapes do not fit.
    pub fn attend(&self, step: &Step, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (q, k) = (step.rotations.rotate(q, self.heads.dim)?, step.rotations.rotate(k, self.heads.dim)?);
        let inner = self.inner();
        let (keys, values) = &inner.layers[layer];
        for (all, own) in [(keys, &k), (values, v)] {
            match &step.to {
                Ok(from) => all.slice_set(&own.contiguous()?, 0, *from)?,
                Err(ids) => all.scatter_set(ids, &own.contiguous()?, 0)?,
            }
        }
        let together = |group: &Together| {
            let (from, n) = group.queries;
            let (keys, values) = (keys.index_select(&group.keys, 0)?, values.index_select(&group.keys, 0)?);
            over(&q.narrow(0, from, n)?, &keys, &values, &group.mask, self.heads)
        };
        Tensor::cat(&step.groups.iter().map(together).collect::<Result<Vec<_>>>()?, 0)
    }
}

impl Inner {
    /// Makes room for `n` tokens.
    fn reserve(&mut self, n: usize) -> Result<()> {
        let (before, width) = self.layers[0].0.dims2()?;
        let mut after = before;
        while self.free.len() + (after - before) < n {
            after *= 2;
        }
        if after == before {
            return Ok(());
        }
        for (keys, values) in &mut self.layers {
            for x in [keys, values] {
                let wider = Tensor::zeros((after, width), x.dtype(), x.device())?;
                wider.slice_set(x, 0, 0)?;
                *x = wider;
            }
        }
        self.free.extend(before as u32..after as u32);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }
}

impl Together {
    /// `n` queries of each row, from the query `from`.
    fn new(rows: &[&SequenceKv], (from, n): (usize, usize), device: &Device) -> Result<Self> {
        let lines: Vec<Vec<u32>> = rows.iter().map(|row| row.line()).collect();
        let longest = lines.iter().map(Vec::len).max().unwrap_or(0);
        let (mut keys, mut seen) = (Vec::with_capacity(lines.len() * longest), Vec::new());
        for line in &lines {
            keys.extend_from_slice(line);
            keys.resize(keys.len() + longest - line.len(), line[0]);
            seen.extend((line.len() - n) as u32..line.len() as u32);
        }
        Ok(Self {
            queries: (from, lines.len() * n),
            keys: Tensor::new(keys, device)?,
            mask: mask(&seen, (lines.len(), n, longest), device)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::attention::attend_cached;

    const HEADS: Heads = Heads { heads: 4, kv_heads: 2, dim: 6 };

    /// Sequences in a pool and in main memory, fed the same.
    struct Both {
        pool: Arc<Pool>,
        rows: Vec<[SequenceKv; 2]>,
    }

    impl Both {
        fn join(&mut self, parent: Option<[Arc<SequenceKv>; 2]>) {
            let (pooled, plain) = parent.map(|[a, b]| (a, b)).unzip();
            self.rows.push([SequenceKv::pooled(&self.pool, pooled), SequenceKv::new(1, HEADS, plain)]);
        }

        #[track_caller]
        fn feed(&mut self, new: &[usize]) {
            let t = new.iter().sum();
            let noise = |width| Tensor::randn(0f32, 1.0, (t, width), &Device::Cpu).unwrap();
            let (q, k, v) = (noise(24), noise(12), noise(12));
            let positions: Vec<u32> =
                self.rows.iter().zip(new).flat_map(|(row, n)| (row[1].len() as u32..).take(*n)).collect();
            let angles = Angles::new(&positions, &[1.0, 0.7, 0.49]);
            let (mut pooled, mut plain): (Vec<_>, Vec<_>) = self.rows.iter_mut().map(|[a, b]| (a, b)).unzip();
            let step = self.pool.step(&mut pooled, new, &angles).unwrap();
            let got = self.pool.attend(&step, 0, &q, &k, &v).unwrap();
            let want = attend_cached(&q, &k, &v, &mut plain, new, 0, &angles, HEADS).unwrap();
            let off = (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off <= 1e-5, "off by {off:e} after {new:?}");
            for (row, n) in self.rows.iter_mut().zip(new) {
                row.iter_mut().for_each(|row| row.advance(*n));
            }
        }

        fn free(&self) -> usize {
            self.pool.inner().free.len()
        }
    }

    #[test]
    fn sequences_come_and_go_and_share_prefixes() {
        let pool = Arc::new(Pool::new(1, HEADS, DType::F32, &Device::Cpu).unwrap());
        let mut both = Both { pool, rows: Vec::new() };
        both.join(None);
        both.feed(&[19]);
        let prefix = both.rows.pop().unwrap().map(Arc::new);
        for _ in 0..3 {
            both.join(Some(prefix.clone()));
        }
        drop(prefix);
        both.feed(&[1, 1, 1]);
        both.join(None);
        both.feed(&[3, 0, 2, 40]);
        both.feed(&[1, 1, 1, 1]);
        // What leaves makes holes, so new tokens no longer lie side by side.
        both.rows.remove(1);
        both.rows.remove(0);
        both.join(None);
        both.feed(&[1, 1, 30]);
        both.feed(&[1, 1, 1]);
        // More than a new pool holds.
        both.feed(&[FIRST, 1, 7]);
        both.feed(&[1, 1, 1]);
        let rows = both.pool.inner().layers[0].0.dim(0).unwrap();
        assert_eq!(rows, 2 * FIRST);
        both.rows.clear();
        assert_eq!(both.free(), rows, "every row is given back");
    }
}
