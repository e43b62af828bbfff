//! A tool as a WebAssembly module. Build it in this folder with
//!
//! ```sh
//! rustup target add wasm32-unknown-unknown
//! cargo build --release --target wasm32-unknown-unknown
//! ```
//!
//! and call it with `toolr0 tools call wasm:manifest.json '{"name": "word_count", "arguments": {"text": "a b"}}'`.

use serde_json::{Value, json};

/// Room for a call of `length` bytes. An instance lives for one call, so nothing is ever given back.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(length: usize) -> *mut u8 {
    Box::leak(vec![0; length].into_boxed_slice()).as_mut_ptr()
}

/// Answers the call that stands at `at`: pointer in the upper, length in the lower 32 bits.
///
/// # Safety
///
/// `at` is what [`alloc`] gave for `length`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn call(at: *const u8, length: usize) -> u64 {
    // SAFETY: as promised by the caller.
    let text = unsafe { std::slice::from_raw_parts(at, length) };
    let answer = answer(text).unwrap_or_else(|error| json!({ "error": error }));
    let answer: &'static [u8] = Box::leak(answer.to_string().into_bytes().into_boxed_slice());
    ((answer.as_ptr() as u64) << 32) | answer.len() as u64
}

fn answer(text: &[u8]) -> Result<Value, String> {
    let call: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let text = call["arguments"]["text"].as_str().unwrap_or_default();
    match call["name"].as_str() {
        Some("word_count") => Ok(json!({"value": text.split_whitespace().count()})),
        Some("reverse") => Ok(json!({"value": text.chars().rev().collect::<String>()})),
        _ => Err("there is no such tool".to_owned()),
    }
}
