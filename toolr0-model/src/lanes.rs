//! Work that shares nothing, one thread to each piece.
//!
//! A small model's products are too short for several threads: most of the time these would wait for one another
//! between operations. Whole pieces of a batch side by side, each with one thread from beginning to end, leave nobody
//! waiting. What is computed does not depend on it.

use std::sync::{LazyLock, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// One pool of a single thread per thread of the global pool: what runs in one does not reach for the others.
static LANES: LazyLock<Vec<ThreadPool>> = LazyLock::new(|| {
    let build = |i| ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("lane-{i}")).build();
    // Where the system has no threads left, fewer lanes do the same work.
    (0..rayon::current_num_threads()).map_while(|i| build(i).ok()).collect()
});

/// `run` of every item, in the items' order.
///
/// With fewer items than threads, or a single thread, the operations inside `run` share the threads instead.
///
/// # Examples
///
/// ```
/// let squares = toolr0_model::lanes::side_by_side(vec![1, 2, 3], |x| x * x);
/// assert_eq!(squares, [1, 4, 9]);
/// ```
pub fn side_by_side<T: Send, R: Send>(items: Vec<T>, run: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
    let threads = rayon::current_num_threads();
    if items.len() < 2 || threads < 2 {
        return items.into_iter().map(run).collect();
    }
    if items.len() < threads || LANES.len() < threads {
        return items.into_par_iter().map(run).collect();
    }
    let n = items.len();
    let waiting = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(n));
    let work = || {
        loop {
            // A piece that panics takes the whole scope with it, so a poisoned lock is never looked into.
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((i, item)) = next else { return };
            let result = run(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    };
    std::thread::scope(|scope| {
        for lane in &LANES[..threads] {
            scope.spawn(|| lane.install(work));
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_items_order() {
        for n in [0, 1, 2, 3, 64] {
            let want: Vec<usize> = (0..n).map(|i| i * i).collect();
            assert_eq!(side_by_side((0..n).collect(), |i: usize| i * i), want);
        }
    }

    /// A lane has one thread, so what a piece does in parallel stays on it, and pieces may hold parallel work.
    #[test]
    fn pieces_may_work_in_parallel_themselves() {
        let n = 4 * rayon::current_num_threads();
        let sums: Vec<usize> =
            side_by_side((0..n).collect(), |i: usize| (0..1000).into_par_iter().map(|x| x * i).sum());
        assert_eq!(sums, (0..n).map(|i| 499_500 * i).collect::<Vec<usize>>());
    }

    #[test]
    fn a_panic_in_a_piece_is_not_lost() {
        let n = 4 * rayon::current_num_threads();
        let caught = std::panic::catch_unwind(|| side_by_side((0..n).collect(), |i: usize| assert_ne!(i, 1)));
        assert!(caught.is_err());
    }
}
