//! The flags of `selfplay` and `eval` for somebody outside.

use clap::Args;
use serde_json::{Value, json};

/// Each is the same as the key of the configuration, `endpoint.url` and so on.
#[derive(Debug, Args)]
pub(crate) struct EndpointFlags {
    /// A server in OpenAI's form to ask; its key, if it wants one, is read from TOOLR0_ENDPOINT_KEY
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// What the server calls the model; the only one that it lists if left out
    #[arg(long, value_name = "NAME")]
    pub(crate) endpoint_model: Option<String>,
    /// Time for an answer of the server, retries included, s; then it is unknown
    #[arg(long, value_name = "S")]
    pub(crate) endpoint_timeout: Option<f64>,
    /// Requests to the server at a time
    #[arg(long, value_name = "N")]
    pub(crate) endpoint_concurrency: Option<usize>,
    /// How often a request that failed is sent again
    #[arg(long, value_name = "N")]
    pub(crate) endpoint_retries: Option<u32>,
    /// Answers in a row that may stay unknown; 1 ends at the first, 0 goes on whatever happens
    #[arg(long, value_name = "N")]
    pub(crate) endpoint_patience: Option<usize>,
}

impl EndpointFlags {
    /// As settings of keys under `prefix`, in the form of `--set`.
    pub(crate) fn sets(&self, prefix: &str) -> Vec<String> {
        let value = |value: &Option<_>| value.as_ref().map(|value| json!(value));
        let all: [(&str, Option<Value>); 6] = [
            ("url", value(&self.endpoint)),
            ("model", value(&self.endpoint_model)),
            ("timeout", self.endpoint_timeout.map(|value| json!(value))),
            ("concurrency", self.endpoint_concurrency.map(|value| json!(value))),
            ("retries", self.endpoint_retries.map(|value| json!(value))),
            ("patience", self.endpoint_patience.map(|value| json!(value))),
        ];
        let given = all.into_iter().filter_map(|(key, value)| Some((key, value?)));
        given.map(|(key, value)| format!("{prefix}{key}={value}")).collect()
    }
}
