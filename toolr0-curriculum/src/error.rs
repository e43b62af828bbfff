//! What a caller can get wrong. A task that is no good is not an error: it is a drop with a reason.

/// A setting that makes no sense, named by its table and key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A table of weights has no entries.
    #[error("`{table}` is empty, expected at least one weight")]
    EmptyTable {
        /// The table, e.g. `calls.single_turn`.
        table: String,
    },
    /// A weight is negative, infinite or not a number.
    #[error("`{table}` gives `{key}` the weight {weight}, expected a finite number >= 0")]
    Weight {
        /// The table.
        table: String,
        /// The entry.
        key: String,
        /// What was given.
        weight: f64,
    },
    /// All weights of a table are zero, or so large that their sum is infinite.
    #[error("the weights of `{table}` sum to {sum}, expected a finite sum > 0")]
    WeightSum {
        /// The table.
        table: String,
        /// What they sum to.
        sum: f64,
    },
    /// A domain without a name.
    #[error("`domains` has an entry with an empty name")]
    EmptyDomain,
    /// A context can be drawn, but the law does not say how many calls it takes.
    #[error("`calls` has no entry for the context `{context}`, which `contexts` can draw")]
    MissingCalls {
        /// The context.
        context: String,
    },
    /// A number of calls can be drawn, but the law does not say how large its menu is.
    #[error("`menus` has no entry for {n_calls} calls, which `calls.{context}` can draw")]
    MissingMenu {
        /// The number of calls.
        n_calls: usize,
        /// The context that draws it.
        context: String,
    },
    /// A task without a call teaches nothing that the rewards can see.
    #[error("`calls.{context}` has an entry for 0 calls, expected at least 1")]
    ZeroCalls {
        /// The context.
        context: String,
    },
    /// A menu range that holds no size.
    #[error("`menus.{n_calls}` has the range {min}..={max}, expected 1 <= min <= max")]
    Menu {
        /// The number of calls whose menu it is.
        n_calls: usize,
        /// The smallest size.
        min: usize,
        /// The largest size.
        max: usize,
    },
    /// More solved attempts than attempts.
    #[error("{solved} solved of {tried} attempts, expected solved <= tried")]
    Attempts {
        /// The solved ones.
        solved: u32,
        /// All of them.
        tried: u32,
    },
    /// A frontier that is no band inside 0..1, or has no width of fall-off.
    #[error(
        "frontier low {low}, high {high}, sigma {sigma}: expected 0 <= low <= high <= 1 and a finite sigma > 0"
    )]
    Frontier {
        /// Lower end of the band.
        low: f64,
        /// Upper end of the band.
        high: f64,
        /// Width of the fall-off.
        sigma: f64,
    },
    /// Bucket bounds that cross, or lie outside 0..1.
    #[error(
        "difficulty bands hard_below {hard_below}, easy_above {easy_above}: expected 0 <= hard_below <= easy_above <= 1"
    )]
    Bands {
        /// Below it a task is hard.
        hard_below: f64,
        /// Above it a task is easy.
        easy_above: f64,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Checks one table of weights: at least one, all finite and >= 0, a finite sum > 0.
pub(crate) fn check_weights<'a, K: ToString + 'a>(
    table: &str,
    weights: impl IntoIterator<Item = (K, &'a f64)>,
) -> Result<()> {
    let (mut sum, mut n) = (0.0, 0);
    for (key, &weight) in weights {
        if !weight.is_finite() || weight < 0.0 {
            return Err(Error::Weight { table: table.into(), key: key.to_string(), weight });
        }
        sum += weight;
        n += 1;
    }
    if n == 0 {
        return Err(Error::EmptyTable { table: table.into() });
    }
    if !(sum > 0.0 && sum.is_finite()) {
        return Err(Error::WeightSum { table: table.into(), sum });
    }
    Ok(())
}
