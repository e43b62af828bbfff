//! The crate through its public interface.

#[cfg(all(feature = "process", target_os = "linux"))]
mod attack;
#[cfg(all(feature = "mcp", unix))]
mod http;
mod import;
#[cfg(all(feature = "mcp", unix))]
mod mcp;
mod source;
#[cfg(feature = "wasm")]
mod wasm;
