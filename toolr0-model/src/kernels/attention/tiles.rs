//! The inner loops: four queries at a time over blocks of sixteen keys.

use super::cache::HeadKv;
use super::packing::{Angles, Heads};
use super::{MAX_HEAD_DIM, TILE};
use crate::kernels::math::{self, LANES, Lane};

/// Four vectors side by side: entry `i` holds value `i` of each.
pub(super) type TileVec = Vec<[f32; TILE]>;

/// Buffers that one thread uses again and again.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) query: TileVec,
    pub(super) probs: [Vec<Lane>; TILE],
}

#[inline(always)]
pub(super) fn fma(a: f32, b: &Lane, mut c: Lane) -> Lane {
    for i in 0..LANES {
        c[i] = a.mul_add(b[i], c[i]);
    }
    c
}

/// Products of four vectors with sixteen: `out[i][lane] = x[i] . panel[lane]`, summed over `d` in order.
#[inline(always)]
pub(super) fn products(x: &[[f32; TILE]], panel: &[Lane]) -> [Lane; TILE] {
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
pub(super) fn probabilities(
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
pub(super) fn weighted_sums<'a>(
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
pub(super) struct Query {
    pub(super) token: usize,
    pub(super) head: usize,
    pub(super) seen: usize,
}

/// Queries of tokens `start..start + len` for key/value head `kv`, where the first sees `before + 1` own tokens.
pub(super) fn queries(start: usize, len: usize, before: usize, kv: usize, heads: Heads) -> Vec<Query> {
    let group = heads.group();
    let of = |i: usize| {
        (0..group).map(move |g| Query { token: start + i, head: kv * group + g, seen: before + i + 1 })
    };
    (0..len).flat_map(of).collect()
}

/// Loads a tile's vectors side by side, rotated where `angles` is given. Missing queries are zero.
pub(super) fn load(x: &[f32], tile: &[Query], heads: Heads, angles: Option<&Angles>, out: &mut TileVec) {
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
pub(super) fn seen(tile: &[Query]) -> [usize; TILE] {
    std::array::from_fn(|i| tile.get(i).unwrap_or(&tile[0]).seen)
}

/// Visible tokens and values of each link, for [`weighted_sums`].
pub(super) fn value_links<'a>(
    chain: &'a [&'a HeadKv],
    most: usize,
) -> impl Iterator<Item = (usize, &'a [Lane])> + Clone {
    let last = chain.len() - 1;
    chain.iter().enumerate().map(move |(link, kv)| (if link == last { most } else { kv.len }, &kv.values[..]))
}

/// Attention of `queries`, all of one key/value head, over `chain`: `(queries, d)`.
pub(super) fn attend(
    chain: &[&HeadKv],
    queries: &[Query],
    q: &[f32],
    angles: &Angles,
    heads: Heads,
) -> Vec<f32> {
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

/// Writes each query's vector to its place in `(t, h, d)`.
pub(super) fn scatter(queries: &[Query], part: &[f32], heads: Heads, out: &mut [f32]) {
    let d = heads.dim;
    for (query, x) in queries.iter().zip(part.chunks_exact(d)) {
        let at = (query.token * heads.heads + query.head) * d;
        out[at..at + d].copy_from_slice(x);
    }
}
