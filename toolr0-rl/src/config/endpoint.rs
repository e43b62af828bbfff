//! Somebody outside who answers in place of the frozen solver.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A server in OpenAI's form that stands in for the frozen solver. What is trained is always sampled in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointConfig {
    /// Where it is, as in `http://127.0.0.1:8000`; `/v1` is added where there is no path.
    pub url: String,
    /// What it calls the model. Default: the only one that it lists.
    pub model: Option<String>,
    /// What it is asked for. Default `solver` and `judge`.
    pub roles: Vec<EndpointRole>,
    /// Requests at a time. Default 16.
    pub concurrency: usize,
    /// Time for an answer, retries included, s; then it is unknown. Default 120.
    pub timeout: f64,
    /// How often a request that failed is sent again, at growing intervals. Default 4.
    pub retries: u32,
    /// Answers in a row that may stay unknown before the run ends with an error. Default 64; 1 ends it at the first, 0
    /// never.
    pub patience: usize,
}

/// What somebody outside is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointRole {
    /// The frozen solver: how hard a task is, and whether a candidate is sound.
    Solver,
    /// An external teacher: whether a candidate is sound, and no more. How hard tasks are while the generator learns is
    /// measured with the solver in this process.
    Teacher,
    /// The judge of tasks.
    Judge,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: None,
            roles: vec![EndpointRole::Solver, EndpointRole::Judge],
            concurrency: 16,
            timeout: 120.0,
            retries: 4,
            patience: 64,
        }
    }
}

impl EndpointConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn check(&self) -> Result<()> {
        let check = |option, fits: bool, expected: &str, got: String| match fits {
            true => Ok(()),
            false => Err(Error::Config { option, expected: expected.into(), got }),
        };
        let web = ["http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme));
        check("endpoint.url", web, "http:// or https:// and a host", format!("`{}`", self.url))?;
        check("endpoint.roles", !self.roles.is_empty(), "solver, teacher or judge", "empty".into())?;
        let at_once = (1..=1024).contains(&self.concurrency);
        check("endpoint.concurrency", at_once, "1 to 1024", self.concurrency.to_string())?;
        let fits = (1e-3..=86_400.0).contains(&self.timeout);
        check("endpoint.timeout", fits, "0.001 to 86400 s", self.timeout.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_refused_by_name() {
        let refused = |change: fn(&mut EndpointConfig), key: &str| {
            let mut endpoint =
                EndpointConfig { url: "http://127.0.0.1:1".into(), ..EndpointConfig::default() };
            endpoint.check().unwrap();
            change(&mut endpoint);
            let error = endpoint.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        refused(|e| e.url = "127.0.0.1:1".into(), "endpoint.url");
        refused(|e| e.roles.clear(), "endpoint.roles");
        refused(|e| e.concurrency = 0, "endpoint.concurrency");
        refused(|e| e.timeout = 0.0, "endpoint.timeout");
    }
}
