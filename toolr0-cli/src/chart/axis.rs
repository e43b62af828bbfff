//! Where a value lies on paper, and which values are written beside it.

/// A straight scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// The values at both ends.
    pub(super) from: (f64, f64),
    /// Where these lie.
    pub(super) to: (f64, f64),
}

impl Scale {
    pub(super) fn at(self, value: f64) -> f64 {
        let span = self.from.1 - self.from.0;
        let share = if span == 0.0 { 0.5 } else { (value - self.from.0) / span };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// The least and the largest of the finite values; `None` without any.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|x| x.is_finite()).fold(None, |range, x| match range {
        None => Some((x, x)),
        Some((low, high)) => Some((low.min(x), high.max(x))),
    })
}

/// The range with a little air, 0 included where it is near.
pub(super) fn airy((low, high): (f64, f64)) -> (f64, f64) {
    let span = high - low;
    if span == 0.0 {
        let air = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
        return (if low == 0.0 { 0.0 } else { low - air }, high + air);
    }
    let near = |x: f64| x.abs() < 0.6 * span;
    let low = if 0.0 <= low && near(low) { 0.0 } else { low - 0.05 * span };
    let high = if high <= 0.0 && near(high) { 0.0 } else { high + 0.06 * span };
    (low, high)
}

/// About `n` round values within the range.
pub(super) fn ticks((low, high): (f64, f64), n: usize) -> Vec<f64> {
    let rough = (high - low) / n.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| rough <= *step * 1.0001);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|x| *x <= high + 1e-9 * step).take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 1.0), 4), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks((0.27, 0.55), 4), [0.3, 0.4, 0.5].map(|x: f64| (x * 10.0).round() * 0.1));
        assert_eq!(ticks((3.0, 3.0), 4), [3.0]);
        assert!(ticks((0.0, f64::INFINITY), 4).len() == 1);
    }

    #[test]
    fn a_flat_series_has_a_range() {
        assert_eq!(airy((0.0, 0.0)), (0.0, 1.0));
        let (low, high) = airy((2.0, 2.0));
        assert!(low < 2.0 && 2.0 < high);
        assert_eq!(range([f64::NAN, 2.0, -1.0].into_iter()), Some((-1.0, 2.0)));
        assert_eq!(range([f64::NAN].into_iter()), None);
    }
}
