//! One AdamW update in place (arXiv:1711.05101), as PyTorch computes it:
//!
//! ```text
//! w -= lr * decay * w
//! m  = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//! w -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
//! ```

use rayon::prelude::*;

/// Values a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The numbers of one update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Factor on the gradient, from clipping.
    pub grad_scale: f64,
    /// Number of this update, from 1.
    pub t: u64,
}

impl Update {
    /// What a weight is multiplied by, and what the moments are, once their bias is corrected: decay, step, and one over
    /// the root of the second moment's correction.
    pub(crate) fn factors(&self) -> [f32; 3] {
        let t = self.t as f64;
        let decay = 1.0 - self.lr * self.weight_decay;
        [
            decay as f32,
            (self.lr / (1.0 - self.beta1.powf(t))) as f32,
            (1.0 / (1.0 - self.beta2.powf(t)).sqrt()) as f32,
        ]
    }
}

/// The definition, in `f64`: returns `(w, m, v)` after the update.
pub fn reference(w: f64, g: f64, m: f64, v: f64, u: &Update) -> (f64, f64, f64) {
    let g = g * u.grad_scale;
    let m = u.beta1 * m + (1.0 - u.beta1) * g;
    let v = u.beta2 * v + (1.0 - u.beta2) * g * g;
    let (m_hat, v_hat) = (m / (1.0 - u.beta1.powf(u.t as f64)), v / (1.0 - u.beta2.powf(u.t as f64)));
    (w - u.lr * u.weight_decay * w - u.lr * m_hat / (v_hat.sqrt() + u.eps), m, v)
}

/// Updates `w`, `m` and `v` in place; all slices have one length.
///
/// # Panics
///
/// If the lengths differ.
pub fn cpu(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], u: &Update) {
    assert!(w.len() == g.len() && w.len() == m.len() && w.len() == v.len(), "one length for all");
    let [decay, step, root] = u.factors();
    let (b1, b2, eps, scale) = (u.beta1 as f32, u.beta2 as f32, u.eps as f32, u.grad_scale as f32);
    let (c1, c2) = ((1.0 - u.beta1) as f32, (1.0 - u.beta2) as f32);
    let chunks = w.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
    chunks.zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK)).for_each(|(((w, g), m), v)| {
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * scale;
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *w = *w * decay - step * *m / (v.sqrt() * root + eps);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_definition_over_several_steps() {
        let n = 40;
        let mut w: Vec<f32> = (0..n).map(|i| i as f32 * 0.1 - 2.0).collect();
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let mut want: Vec<(f64, f64, f64)> = w.iter().map(|w| (f64::from(*w), 0.0, 0.0)).collect();
        for t in 1..=5 {
            let g: Vec<f32> = (0..n).map(|i| ((i * 7 + t) % 11) as f32 * 0.3 - 1.0).collect();
            let u = Update {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.1,
                grad_scale: 0.5,
                t: t as u64,
            };
            cpu(&mut w, &g, &mut m, &mut v, &u);
            for (s, g) in want.iter_mut().zip(&g) {
                *s = reference(s.0, f64::from(*g), s.1, s.2, &u);
            }
        }
        for (w, want) in w.iter().zip(&want) {
            assert!((f64::from(*w) - want.0).abs() < 1e-6, "{w} {want:?}");
        }
    }
}
