//! What can be wrong with a source of tools.

/// Why a source of tools cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The parameters of a tool are no JSON Schema.
    #[error("tool `{tool}`: its parameters are no JSON Schema: {reason}, at `{at}`")]
    Schema {
        /// The tool.
        tool: String,
        /// Where, as a JSON pointer into the parameters.
        at: String,
        /// What is wrong there.
        reason: String,
    },
    /// There is no built-in world of this name.
    #[error("there is no world `{name}`, expected one of {known}")]
    UnknownWorld {
        /// As it was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A source that has no tools.
    #[error("there are no tools in it")]
    NoTools,
    /// A list of tools in another form than MCP's.
    #[error("expected the reply of MCP's `tools/list`: {reason}")]
    Mcp {
        /// What is missing or wrong.
        reason: String,
    },
    /// A document that is not OpenAPI 3.
    #[error("expected an OpenAPI 3 document: {reason}")]
    OpenApi {
        /// What is missing or wrong, and where.
        reason: String,
    },
    /// A manifest of tools that cannot be used.
    #[error("expected a manifest of tools: {reason}")]
    Manifest {
        /// What is missing or wrong.
        reason: String,
    },
    /// A file of a tool could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The strict mode refuses to run programs where a layer of their confinement is missing.
    #[error("this machine lacks {missing}, and the strict mode runs no program without")]
    Layers {
        /// What is missing.
        missing: String,
    },
    /// A tool's program, module or server that could not be started.
    #[error("failed to start {what}: {reason}")]
    Start {
        /// The program, module or server.
        what: String,
        /// What went wrong.
        reason: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
