//! What the release reads off the K samples of one task.
//!
//! A sample is the first call of an answer, or `None` where there was none. Two samples are the same when their
//! canonical JSON is: keys sorted, types strict, so that `5` and `"5"` differ.

use std::collections::HashMap;

use serde_json::{Value, json};
use toolr0_tools::ToolCall;

use crate::text::{COMPACT, dumps};

/// How many of the samples are the most frequent call, as a share of all samples; 0 without any call.
pub fn consistency(samples: &[Option<ToolCall>]) -> f64 {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for call in samples.iter().flatten() {
        *counts.entry(canonical(call)).or_default() += 1;
    }
    counts.values().max().map_or(0.0, |&mode| mode as f64 / samples.len() as f64)
}

/// The share of samples that equal `gold`; 0 without samples.
pub fn success_rate(samples: &[Option<ToolCall>], gold: &ToolCall) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let gold = canonical(gold);
    let solved = samples.iter().flatten().filter(|call| canonical(call) == gold).count();
    solved as f64 / samples.len() as f64
}

fn canonical(call: &ToolCall) -> String {
    dumps(&json!({"name": call.name, "arguments": Value::Object(call.arguments.clone())}), COMPACT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: Value) -> Option<ToolCall> {
        Some(ToolCall::new("f", arguments.as_object().unwrap().clone()))
    }

    #[test]
    fn types_are_strict_and_key_order_is_not() {
        let samples = [
            call(json!({"x": 5, "y": 1})),
            call(json!({"y": 1, "x": 5})),
            call(json!({"x": "5", "y": 1})),
            None,
        ];
        assert_eq!(consistency(&samples), 0.5);
        assert_eq!(success_rate(&samples, samples[0].as_ref().unwrap()), 0.5);
        assert_eq!(success_rate(&samples, &call(json!({"x": 5.0, "y": 1})).unwrap()), 0.0);
    }

    #[test]
    fn nothing_is_never_consistent() {
        assert_eq!((consistency(&[]), consistency(&[None, None])), (0.0, 0.0));
        assert_eq!(success_rate(&[], &call(json!({})).unwrap()), 0.0);
    }
}
