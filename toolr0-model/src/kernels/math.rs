//! Lane-wise arithmetic in plain Rust that the compiler turns into vector code.
//!
//! Everything here fixes the *order* of its floating-point operations: a sum over 1,000 values is sixteen
//! partial sums added up in one way, whatever the machine's vector width and however the work is cut among
//! threads. That is what makes a completion and a gradient the same bits in any batch (`docs/numerics.md`).

/// Values handled side by side.
pub const LANES: usize = 16;

/// `LANES` values side by side.
pub type Lane = [f32; LANES];

/// `e^x` to about one unit in the last place: range reduction by `ln 2` and the Cephes polynomial.
///
/// Below -87.3 (and for `-inf`) the result is exactly 0, above 88.3 it is infinite; NaN gives NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let n = (x.clamp(-87.5, 88.8) * std::f32::consts::LOG2_E + 12_582_912.0) - 12_582_912.0;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    p = p.mul_add(r * r, r) + 1.0;
    // Two steps of scaling: 2^n itself would leave the range at both ends.
    let half = (n * 0.5).floor();
    // The exponent's bits out of the sum's last places, 2^23 + 127 + n: a cast to an integer is not vectorised.
    let scale = |n: f32| f32::from_bits((n + 8_388_735.0).to_bits() << 23);
    let y = p * scale(half) * scale(n - half);
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.7 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// Adds the lanes up, halves first.
#[inline(always)]
pub fn sum_lanes(lanes: &Lane) -> f32 {
    let mut s: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    for width in [4, 2, 1] {
        for i in 0..width {
            s[i] += s[i + width];
        }
    }
    s[0]
}

/// Splits a slice into full lanes and a rest padded with `pad`, and calls `f` on each.
#[inline(always)]
fn for_lanes(x: &[f32], pad: f32, mut f: impl FnMut(&Lane)) {
    let (full, rest) = x.as_chunks::<LANES>();
    full.iter().for_each(&mut f);
    if !rest.is_empty() {
        let mut last = [pad; LANES];
        last[..rest.len()].copy_from_slice(rest);
        f(&last);
    }
}

/// Largest value; `-inf` for an empty slice. NaN is passed over.
pub fn max(x: &[f32]) -> f32 {
    let mut m = [f32::NEG_INFINITY; LANES];
    for_lanes(x, f32::NEG_INFINITY, |l| {
        for i in 0..LANES {
            m[i] = if l[i] > m[i] { l[i] } else { m[i] };
        }
    });
    m.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `sum_i exp(scale * (x[i] - shift))`, in lanes.
pub fn sum_exp(x: &[f32], shift: f32, scale: f32) -> f32 {
    let mut s = [0.0; LANES];
    for_lanes(x, f32::NEG_INFINITY, |l| {
        for i in 0..LANES {
            s[i] += exp((l[i] - shift) * scale);
        }
    });
    sum_lanes(&s)
}

/// `ln sum_i exp(scale * x[i])`, for `scale > 0`: the normaliser of a row of logits at temperature `1 / scale`.
///
/// `-inf` for a row of `-inf`; NaN where the row holds NaN or `+inf`.
pub fn logsumexp(x: &[f32], scale: f32) -> f32 {
    let m = max(x);
    if m == f32::NEG_INFINITY {
        return if x.iter().any(|v| v.is_nan()) { f32::NAN } else { m };
    }
    m * scale + sum_exp(x, m, scale).ln()
}

/// `sum_i a[i] * b[i]`, in lanes.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let (a, ra) = a.as_chunks::<LANES>();
    let (b, rb) = b.as_chunks::<LANES>();
    let mut s = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            s[i] = a[i].mul_add(b[i], s[i]);
        }
    }
    for (i, (a, b)) in ra.iter().zip(rb).enumerate() {
        s[i] = a.mul_add(*b, s[i]);
    }
    sum_lanes(&s)
}

/// `y += a * x`.
#[inline(always)]
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = a.mul_add(*x, *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_is_close_to_the_library(x in -87.0f32..88.0) {
            let want = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) - want).abs() <= 2.5e-7 * want, "{x}: {} {want}", exp(x));
        }

        #[test]
        fn logsumexp_matches_f64(x in prop::collection::vec(-50f32..50.0, 1..70), scale in 0.1f32..3.0) {
            let want = x.iter().map(|v| (f64::from(*v) * f64::from(scale)).exp()).sum::<f64>().ln();
            prop_assert!((f64::from(logsumexp(&x, scale)) - want).abs() <= 1e-5 * want.abs().max(1.0));
        }

        #[test]
        fn dot_matches_f64(x in prop::collection::vec(-2f32..2.0, 0..70)) {
            let want: f64 = x.iter().map(|v| f64::from(*v) * f64::from(v * 0.5)).sum();
            let y: Vec<f32> = x.iter().map(|v| v * 0.5).collect();
            prop_assert!((f64::from(dot(&x, &y)) - want).abs() < 1e-4);
        }
    }

    #[test]
    fn corners_of_exp() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn corners_of_logsumexp() {
        assert_eq!(logsumexp(&[f32::NEG_INFINITY; 20], 1.0), f32::NEG_INFINITY);
        assert_eq!(logsumexp(&[3.0], 1.0), 3.0);
        assert_eq!(logsumexp(&[1e4, -1e4, f32::NEG_INFINITY], 1.0), 1e4);
        assert!(logsumexp(&[f32::NAN, 1.0], 1.0).is_nan());
    }
}
