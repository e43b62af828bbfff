//! `C = A B`, with each element of `C` summed in one fixed order.
//!
//! A library product picks its blocking, and thereby the order of its sums, from the shape of the whole batch:
//! a row then has other bits alone than among others, and a sampler's log-probability differs from its
//! trainer's. Here element `(i, j)` is `sum over k-blocks of (fused multiply-adds over k, in order)`, with
//! [`BLOCK_K`] a constant, so it depends on row `i` of `A` and column `j` of `B` and on nothing else: not on the
//! other rows, not on threads. It also keeps its speed at few rows, where decoding lives.
//!
//! The shape is the usual one (Goto and van de Geijn, 2008): `B` in panels of [`NR`] columns, `A` in panels of
//! [`MR`] rows, and a micro kernel whose accumulators stay in registers, in safe Rust that the compiler vectorises.

use rayon::prelude::*;

/// Rows of the micro kernel's tile: as many as the vector registers hold.
pub const MR: usize = if cfg!(target_feature = "avx512f") { 8 } else { 4 };
/// Columns of the micro kernel's tile: two vectors.
pub const NR: usize = 2 * WIDTH;
/// Terms summed in registers before they are added to `C`. A constant, whatever the shape: see the module's page.
pub const BLOCK_K: usize = 512;

/// Terms summed at a time over all rows: half a block of a panel stays in the nearest cache, a whole one does not. The
/// sums go on where they stopped, so this changes no bit.
const NEAR_K: usize = 256;

#[cfg(target_feature = "avx512f")]
const WIDTH: usize = 16;
#[cfg(not(target_feature = "avx512f"))]
const WIDTH: usize = 8;

/// Elements of a line of the cache.
const LINE: usize = 16;

/// Below this many multiply-adds a product runs on the caller's thread: waking others costs more.
const SERIAL: usize = 1 << 17;

/// A matrix seen through strides: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    ///
    /// If `data` is not `rows * cols` long.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a ({rows}, {cols}) matrix");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// A right-hand side laid out for the micro kernel: per block of `k`, panels of [`NR`] columns, zero-padded.
///
/// Weights that stay the same over many products (sampling) are packed once.
#[derive(Clone, Debug)]
pub struct Packed {
    k: usize,
    n: usize,
    data: Vec<f32>,
}

impl Packed {
    /// Packs `b`, `(k, n)`.
    pub fn new(b: Mat<'_>) -> Self {
        let (k, n) = (b.rows, b.cols);
        let panels = n.div_ceil(NR);
        let mut data = vec![0.0; k * panels * NR];
        for (block, data) in data.chunks_mut(BLOCK_K * panels * NR).enumerate() {
            let k0 = block * BLOCK_K;
            let depth = BLOCK_K.min(k - k0);
            let pack = |(panel, out): (usize, &mut [f32])| pack_columns(b, k0, panel * NR, out);
            if data.len() < SERIAL {
                data.chunks_mut(depth * NR).enumerate().for_each(pack);
            } else {
                data.par_chunks_mut(depth * NR).enumerate().for_each(pack);
            }
        }
        Self { k, n, data }
    }

    /// Rows of the matrix that was packed.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix that was packed.
    pub fn n(&self) -> usize {
        self.n
    }
}

/// Copies `out.len() / NR` rows of `b` from row `k0`, columns from `j0`, into one panel.
fn pack_columns(b: Mat<'_>, k0: usize, j0: usize, out: &mut [f32]) {
    let width = NR.min(b.cols - j0);
    if b.col_stride == 1 {
        for (p, out) in out.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
            let from = (k0 + p) * b.row_stride + j0;
            copy(&b.data[from..from + width], out);
        }
    } else if b.row_stride == 1 && width == NR {
        // All columns at a time: the panel is written once, from beginning to end.
        let depth = out.len() / NR;
        let columns: [&[f32]; NR] = std::array::from_fn(|j| &b.data[(j0 + j) * b.col_stride + k0..][..depth]);
        for (p, out) in out.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
            *out = std::array::from_fn(|j| columns[j][p]);
        }
    } else {
        let depth = out.len() / NR;
        for j in 0..width {
            let from = (j0 + j) * b.col_stride + k0 * b.row_stride;
            if b.row_stride == 1 {
                for (out, x) in out.as_chunks_mut::<NR>().0.iter_mut().zip(&b.data[from..from + depth]) {
                    out[j] = *x;
                }
            } else {
                (0..depth).for_each(|p| out[p * NR + j] = b.at(k0 + p, j0 + j));
            }
        }
    }
}

/// Copies `from` to the beginning of `to`. A full one is copied as an array, without a call.
#[inline(always)]
fn copy<const N: usize>(from: &[f32], to: &mut [f32; N]) {
    match <&[f32; N]>::try_from(from) {
        Ok(from) => *to = *from,
        Err(_) => to[..from.len()].copy_from_slice(from),
    }
}

/// Copies rows `i0..i0 + height` of `a`, columns `k0..k0 + depth`, into panels of [`MR`] rows, zero-padded.
fn pack_rows(a: Mat<'_>, i0: usize, height: usize, k0: usize, depth: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(height.div_ceil(MR) * MR * depth, 0.0);
    let lines = if a.row_stride == 1 { height / LINE } else { 0 };
    let (whole, out) = out.split_at_mut(lines * LINE * depth);
    for (line, out) in whole.chunks_exact_mut(LINE * depth).enumerate() {
        pack_lines(&a.data[(i0 + line * LINE) + k0 * a.col_stride..], a.col_stride, depth, out);
    }
    let (i0, height) = (i0 + lines * LINE, height - lines * LINE);
    for (panel, out) in out.chunks_exact_mut(MR * depth).enumerate() {
        let i0 = i0 + panel * MR;
        let rows = MR.min(height - panel * MR);
        let out = out.as_chunks_mut::<MR>().0;
        if a.col_stride == 1 {
            let row = |i: usize| &a.data[(i0 + i) * a.row_stride + k0..][..depth];
            if rows == MR {
                let rows: [&[f32]; MR] = std::array::from_fn(row);
                for (p, out) in out.iter_mut().enumerate() {
                    *out = std::array::from_fn(|i| rows[i][p]);
                }
            } else {
                for i in 0..rows {
                    out.iter_mut().zip(row(i)).for_each(|(out, x)| out[i] = *x);
                }
            }
        } else {
            for (p, out) in out.iter_mut().enumerate() {
                let from = i0 * a.row_stride + (k0 + p) * a.col_stride;
                if a.row_stride == 1 {
                    copy(&a.data[from..from + rows], out);
                } else {
                    (0..rows).for_each(|i| out[i] = a.at(i0 + i, k0 + p));
                }
            }
        }
    }
}

/// Copies [`LINE`] rows of a matrix whose columns lie `stride` apart into the panels that they fill. `data` begins at the
/// first element; a line of the cache is read once, not once per panel.
fn pack_lines(data: &[f32], stride: usize, depth: usize, out: &mut [f32]) {
    let mut panels = out.chunks_exact_mut(MR * depth);
    let mut panels: [&mut [[f32; MR]]; LINE / MR] =
        std::array::from_fn(|_| panels.next().map_or(&mut [][..], |panel| panel.as_chunks_mut::<MR>().0));
    for p in 0..depth {
        let line = data[p * stride..][..LINE].as_chunks::<MR>().0;
        panels.iter_mut().zip(line).for_each(|(panel, rows)| panel[p] = *rows);
    }
}

type Vector = [f32; WIDTH];

#[inline(always)]
fn fma(a: f32, b: &Vector, mut c: Vector) -> Vector {
    for j in 0..WIDTH {
        c[j] = a.mul_add(b[j], c[j]);
    }
    c
}

/// A tile of the result: [`MR`] rows of [`NR`] columns.
type Tile = [[Vector; 2]; MR];

/// One tile: `acc + sum_p a[p, i] * b[p, j]` over the panels' depth, in order.
// Not inlined: the compiler keeps the accumulators in registers only in a function of their own.
#[inline(never)]
fn tile(a: &[f32], b: &[f32], out: &mut Tile) {
    let mut acc = *out;
    let (a, b) = (a.as_chunks::<MR>().0, b.as_chunks::<WIDTH>().0.as_chunks::<2>().0);
    for (a, [b0, b1]) in a.iter().zip(b) {
        // Written out: the compiler keeps the accumulators in registers only when no index is a variable.
        macro_rules! rows {
            ($($i:literal)*) => { $(
                acc[$i][0] = fma(a[$i], b0, acc[$i][0]);
                acc[$i][1] = fma(a[$i], b1, acc[$i][1]);
            )* };
        }
        rows!(0 1 2 3);
        #[cfg(target_feature = "avx512f")]
        rows!(4 5 6 7);
    }
    *out = acc;
}

/// `out = a b`, or `out += a b` where `add` is set. `a`: `(m, k)`; `out`: `(m, n)`, row-major.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul_packed(a: Mat<'_>, b: &Packed, out: &mut [f32], add: bool) {
    let (m, n, k) = (a.rows, b.n, b.k);
    assert_eq!((a.cols, out.len()), (k, m * n), "({m}, {}) times ({k}, {n})", a.cols);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 && !add {
        out.fill(0.0);
    }
    let threads = rayon::current_num_threads();
    // Rows a thread takes at a time: few enough to share the work evenly, enough to use a panel of `b` often.
    let rows = (m.div_ceil(threads * 4)).next_multiple_of(MR).clamp(2 * MR, 128);
    let work = |(chunk, out): (usize, &mut [f32])| {
        multiply_rows(a, b, chunk * rows, out, add);
    };
    if m * n * k < SERIAL || threads == 1 {
        out.chunks_mut(rows * n).enumerate().for_each(work);
    } else {
        out.par_chunks_mut(rows * n).enumerate().for_each(work);
    }
}

fn multiply_rows(a: Mat<'_>, b: &Packed, i0: usize, out: &mut [f32], add: bool) {
    let (n, height) = (b.n, out.len() / b.n);
    let panels = n.div_ceil(NR);
    let mut left = Vec::new();
    let mut tiles: Vec<Tile> = vec![[[[0.0; WIDTH]; 2]; MR]; height.div_ceil(MR)];
    for (block, right) in b.data.chunks(BLOCK_K * panels * NR).enumerate() {
        let depth = right.len() / (panels * NR);
        pack_rows(a, i0, height, block * BLOCK_K, depth, &mut left);
        let add = add || block > 0;
        for (panel, right) in right.chunks_exact(depth * NR).enumerate() {
            tiles.fill([[[0.0; WIDTH]; 2]; MR]);
            for (piece, right) in right.chunks(NEAR_K * NR).enumerate() {
                let from = piece * NEAR_K * MR;
                for (tile_at, left) in tiles.iter_mut().zip(left.chunks_exact(depth * MR)) {
                    tile(&left[from..from + right.len() / NR * MR], right, tile_at);
                }
            }
            let (j0, width) = (panel * NR, NR.min(n - panel * NR));
            for (row, sums) in out.chunks_exact_mut(n).zip(tiles.as_flattened()) {
                let (row, sums) = (&mut row[j0..j0 + width], sums.as_flattened());
                match (<&mut [f32; NR]>::try_from(&mut *row), <&[f32; NR]>::try_from(sums)) {
                    // As whole arrays: each row is a miss of the cache, and only few instructions let many of them wait at once.
                    (Ok(row), Ok(sums)) if add => *row = std::array::from_fn(|j| row[j] + sums[j]),
                    (Ok(row), Ok(sums)) => *row = *sums,
                    _ if add => row.iter_mut().zip(sums).for_each(|(x, y)| *x += y),
                    _ => row.copy_from_slice(&sums[..width]),
                }
            }
        }
    }
}

/// `out = a b`, or `out += a b` where `add` is set, for a right-hand side that is used once.
///
/// # Panics
///
/// If the shapes do not fit.
pub fn matmul(a: Mat<'_>, b: Mat<'_>, out: &mut [f32], add: bool) {
    matmul_packed(a, &Packed::new(b), out, add);
}

/// The definition, in `f64`. `a`: `(m, k)`, `b`: `(k, n)`; returns `(m, n)`.
pub fn reference(a: Mat<'_>, b: Mat<'_>) -> Vec<f64> {
    let mut out = Vec::with_capacity(a.rows * b.cols);
    for i in 0..a.rows {
        for j in 0..b.cols {
            out.push((0..a.cols).map(|p| f64::from(a.at(i, p)) * f64::from(b.at(p, j))).sum());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[track_caller]
    fn check(m: usize, k: usize, n: usize, ta: bool, tb: bool) {
        let (da, db) = (noise(m * k, 1), noise(k * n, 2));
        let a = if ta { Mat::new(&da, k, m).t() } else { Mat::new(&da, m, k) };
        let b = if tb { Mat::new(&db, n, k).t() } else { Mat::new(&db, k, n) };
        let want = reference(a, b);
        let mut got = vec![7.0; m * n];
        matmul(a, b, &mut got, false);
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!(
                (f64::from(*g) - w).abs() <= 1e-5 * (k as f64).sqrt() + 1e-6,
                "({m},{k},{n}) [{i}]: {g} {w}"
            );
        }
        let before = got.clone();
        matmul(a, b, &mut got, true);
        for (g, b) in got.iter().zip(&before) {
            assert!((g - 2.0 * b).abs() <= 1e-4 * b.abs().max(1.0));
        }
    }

    #[test]
    fn corners() {
        for (m, k, n) in [
            (1, 1, 1),
            (1, 1, 2),
            (70, 1, 40),
            (8, 3, 32),
            (9, 512, 33),
            (3, 513, 5),
            (1, 1025, 70),
            (70, 5, 1),
            (2, 0, 3),
        ] {
            for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
                check(m, k, n, ta, tb);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn agrees_with_the_definition(m in 1usize..70, k in 1usize..90, n in 1usize..90, ta: bool, tb: bool) {
            check(m, k, n, ta, tb);
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        let (m, k, n) = (37, 600, 100);
        let (a, b) = (noise(m * k, 3), noise(k * n, 4));
        let b = Packed::new(Mat::new(&b, n, k).t());
        let mut all = vec![0.0; m * n];
        matmul_packed(Mat::new(&a, m, k), &b, &mut all, false);
        for i in [0, 8, 36] {
            let mut one = vec![0.0; n];
            matmul_packed(Mat::new(&a[i * k..(i + 1) * k], 1, k), &b, &mut one, false);
            assert_eq!(one, all[i * n..(i + 1) * n]);
        }
    }

    /// The order of sums that the module's page states, one term at a time.
    #[test]
    fn sums_are_in_the_stated_order() {
        for (m, k, n) in [(3, 7, 5), (9, 300, 33), (5, 1300, 40)] {
            let (a, b) = (noise(m * k, 7), noise(k * n, 8));
            let mut got = vec![0.0; m * n];
            matmul(Mat::new(&a, m, k), Mat::new(&b, k, n), &mut got, false);
            for (at, got) in got.iter().enumerate() {
                let term = |sum: f32, p: usize| a[at / n * k + p].mul_add(b[p * n + at % n], sum);
                let block = |from: usize| (from..k.min(from + BLOCK_K)).fold(0.0, term);
                let blocks = (0..k).step_by(BLOCK_K).map(block);
                assert_eq!(Some(*got), blocks.reduce(|sum, block| sum + block), "({m}, {k}, {n}) [{at}]");
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, k, n) = (200, 64, 96);
        let (a, b) = (noise(m * k, 5), noise(k * n, 6));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut out = vec![0.0; m * n];
            pool.install(|| matmul(Mat::new(&a, m, k), Mat::new(&b, k, n), &mut out, false));
            out
        };
        assert_eq!(run(1), run(3));
    }
}
