//! From the name of a model to a folder with its files.
//!
//! A name is a folder, or an id on the Hugging Face hub (`org/name`, or `org/name@revision`). Files of
//! the hub lie in the cache that all Hugging Face tools share, so a model fetched by Python is found
//! here and the other way round. What is in the cache is used without asking the network; fetching
//! needs the cargo feature `hub`.

use crate::error::{Error, Result};
use crate::weights;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the cache lies, and how the hub is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubConfig {
    /// The folder of `models--org--name` folders.
    pub cache: PathBuf,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Sent with every request; gated models need one.
    pub token: Option<String>,
    /// Whether the network must be left alone.
    pub offline: bool,
}

impl HubConfig {
    /// Reads the variables that all Hugging Face tools obey: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
    /// `HF_TOKEN` (or the file `token` in `HF_HOME`, or that of `HF_TOKEN_PATH`) and `HF_HUB_OFFLINE`.
    ///
    /// # Source
    ///
    /// `huggingface_hub/constants.py`.
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`HubConfig::from_env`], with the variables looked up by `var`, which gives `None` for an empty
    /// one.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let user_cache = || match var("XDG_CACHE_HOME") {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(var("HOME").unwrap_or_else(|| ".".into())).join(".cache"),
        };
        let home = var("HF_HOME").map_or_else(|| user_cache().join("huggingface"), PathBuf::from);
        let token_file = var("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok());
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let offline = var("HF_HUB_OFFLINE").or_else(|| var("TRANSFORMERS_OFFLINE"));
        Self {
            cache: var("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            endpoint: var("HF_ENDPOINT")
                .map_or_else(|| "https://huggingface.co".into(), |url| url.trim_end_matches('/').to_owned()),
            token,
            offline: offline.is_some_and(|flag| ["1", "on", "yes", "true"].contains(&&*flag.to_lowercase())),
        }
    }
}

/// The folder of a model: `model` itself if it is one, else the snapshot of that hub id, from the cache
/// or fetched into it.
///
/// # Errors
///
/// [`Error::Hub`] if it is neither a folder nor an id, or cannot be had: offline and not in the cache,
/// built without the feature `hub`, no such model, no access.
pub fn resolve(model: &str) -> Result<PathBuf> {
    resolve_with(model, &HubConfig::from_env())
}

/// As [`resolve`], without looking at the environment.
///
/// # Errors
///
/// As [`resolve`].
pub fn resolve_with(model: &str, config: &HubConfig) -> Result<PathBuf> {
    let bad = |reason: String| Error::Hub { model: model.into(), reason };
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.into());
    }
    if path.exists() {
        return Err(bad("is a file, expected a folder with config.json and weights".into()));
    }
    let Some(id) = HubId::parse(model) else {
        return Err(bad("is no existing folder, and not of the form `org/name` of a hub id".into()));
    };
    if let Some(dir) = cached(&id, &config.cache) {
        return Ok(dir);
    }
    if config.offline {
        let cache = config.cache.display();
        return Err(bad(format!("is not in the cache {cache}, and HF_HUB_OFFLINE forbids fetching it")));
    }
    fetch(&id, config).map_err(bad)
}

/// A checked `org/name@revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HubId {
    repo: String,
    revision: String,
}

impl HubId {
    /// The charset keeps out everything that could leave the cache folder or change the address.
    fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let word = |word: &str, extra: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || extra.contains(c);
            !word.is_empty() && word.len() <= 96 && !word.contains("..") && word.chars().all(plain)
        };
        let starts = |word: &str| word.starts_with(|c: char| c.is_ascii_alphanumeric());
        let parts: Vec<&str> = repo.split('/').collect();
        let fits = parts.len() <= 2 && parts.iter().all(|part| word(part, "") && starts(part));
        // A path such as `runs/7` has the form of an id; one that is clearly a path has not.
        let revision_fits = word(revision, "/") && starts(revision) && !revision.contains("//");
        (fits && revision_fits).then(|| Self { repo: repo.into(), revision: revision.into() })
    }

    /// The folder of this model in a cache.
    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(format!("models--{}", self.repo.replace('/', "--")))
    }
}

/// The snapshot of `id` in the cache, if it has all that a model needs.
fn cached(id: &HubId, cache: &Path) -> Option<PathBuf> {
    let folder = id.folder(cache);
    let commit = std::fs::read_to_string(folder.join("refs").join(&id.revision));
    // A revision may be a commit already, which has no ref.
    let commit = commit.map_or_else(|_| id.revision.clone(), |commit| commit.trim().to_owned());
    let fits = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let dir = folder.join("snapshots").join(commit);
    (fits && is_whole(&dir)).then_some(dir)
}

/// Whether a folder holds a config, a tokenizer and every shard of the weights.
fn is_whole(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).is_file();
    has("config.json") && has("tokenizer.json") && (has(weights::FILE) || has_all_shards(dir))
}

fn has_all_shards(dir: &Path) -> bool {
    let index = std::fs::read_to_string(dir.join(weights::INDEX)).ok();
    let index: Option<Value> = index.and_then(|text| serde_json::from_str(&text).ok());
    let shards = index.as_ref().and_then(|index| index.get("weight_map")?.as_object());
    shards.is_some_and(|map| {
        map.values().all(|file| file.as_str().is_some_and(|file| dir.join(file).is_file()))
    })
}

#[cfg(not(feature = "hub"))]
fn fetch(_: &HubId, config: &HubConfig) -> Result<PathBuf, String> {
    let cache = config.cache.display();
    Err(format!(
        "is no existing folder and not in the cache {cache}; this build cannot fetch from the hub \
         (cargo feature `hub`): fetch it with `huggingface-cli download`, or give a folder"
    ))
}

/// Fetches what a model needs and returns the snapshot's folder.
#[cfg(feature = "hub")]
fn fetch(id: &HubId, config: &HubConfig) -> Result<PathBuf, String> {
    use hf_hub::{Cache, Repo, RepoType, api::sync::ApiBuilder};

    let failed = |error: hf_hub::api::sync::ApiError| {
        let mut reason = format!("could not be fetched from {}: {error}", config.endpoint);
        if config.token.is_none() {
            reason.push_str(" (a gated model needs HF_TOKEN)");
        }
        reason
    };
    let api = ApiBuilder::from_cache(Cache::new(config.cache.clone()))
        .with_endpoint(config.endpoint.clone())
        .with_token(config.token.clone())
        .with_progress(false)
        .build()
        .map_err(failed)?;
    let repo = api.repo(Repo::with_revision(id.repo.clone(), RepoType::Model, id.revision.clone()));
    let info = repo.info().map_err(failed)?;
    let files: Vec<&str> = info.siblings.iter().map(|file| file.rfilename.as_str()).collect();
    let whole = files.contains(&weights::FILE);
    let wanted = |name: &str| {
        let text = name.ends_with(".json") || name == "chat_template.jinja";
        // Where both exist, the shards are the same weights again.
        let weight = if whole { name == weights::FILE } else { name.ends_with(".safetensors") };
        !name.contains('/') && (text || weight)
    };
    for name in files.iter().filter(|name| wanted(name)) {
        repo.get(name).map_err(failed)?;
    }
    cached(id, &config.cache)
        .ok_or_else(|| "was fetched, but lacks config.json, tokenizer.json or safetensors weights".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        let id = |repo: &str, revision: &str| Some(HubId { repo: repo.into(), revision: revision.into() });
        assert_eq!(HubId::parse("Qwen/Qwen2.5-0.5B-Instruct"), id("Qwen/Qwen2.5-0.5B-Instruct", "main"));
        assert_eq!(HubId::parse("gpt2"), id("gpt2", "main"));
        assert_eq!(HubId::parse("a/b@refs/pr/1"), id("a/b", "refs/pr/1"));
        for path in [
            "",
            "/",
            "./a",
            "../a",
            "a/../b",
            "/abs/path",
            "a/b/c",
            "a b",
            "a/b@",
            "a/b@../x",
            "a//b",
            "a\\b",
        ] {
            assert_eq!(HubId::parse(path), None, "{path:?}");
        }
    }

    #[test]
    fn variables_are_read_as_hugging_face_reads_them() {
        let vars = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        let config = HubConfig::from_vars(vars(&[("HOME", "/home/x")]));
        assert_eq!(config.cache, Path::new("/home/x/.cache/huggingface/hub"));
        assert_eq!(
            (config.endpoint.as_str(), config.token, config.offline),
            ("https://huggingface.co", None, false)
        );
        let config = HubConfig::from_vars(vars(&[
            ("HF_HOME", "/hf"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "TRUE"),
            ("HF_ENDPOINT", "http://localhost:1/"),
        ]));
        assert_eq!(config.cache, Path::new("/hf/hub"));
        assert_eq!((config.token.as_deref(), config.offline), (Some("secret"), true));
        assert_eq!(config.endpoint, "http://localhost:1");
        let config = HubConfig::from_vars(vars(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")]));
        assert_eq!(config.cache, Path::new("/c"));
    }

    #[test]
    fn offline_takes_from_the_cache_or_says_so() {
        let cache = tempfile::tempdir().unwrap();
        let config = HubConfig {
            cache: cache.path().into(),
            endpoint: "http://localhost:9".into(),
            token: None,
            offline: true,
        };
        let error = resolve_with("org/name", &config).unwrap_err().to_string();
        assert!(error.contains("org/name") && error.contains("HF_HUB_OFFLINE"), "{error}");

        let folder = cache.path().join("models--org--name");
        let snapshot = folder.join("snapshots/abc123");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::write(folder.join("refs/main"), "abc123\n").unwrap();
        for name in ["config.json", "tokenizer.json"] {
            std::fs::write(snapshot.join(name), "{}").unwrap();
        }
        // One of two shards is missing: the snapshot is not usable yet.
        std::fs::write(
            snapshot.join(weights::INDEX),
            r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#,
        )
        .unwrap();
        std::fs::write(snapshot.join("1.safetensors"), "").unwrap();
        assert!(resolve_with("org/name", &config).is_err());
        std::fs::write(snapshot.join("2.safetensors"), "").unwrap();
        assert_eq!(resolve_with("org/name", &config).unwrap(), snapshot);
        assert_eq!(resolve_with("org/name@abc123", &config).unwrap(), snapshot);
        assert!(resolve_with("org/name@other", &config).is_err());
    }

    #[test]
    fn a_folder_is_itself_and_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = HubConfig::from_vars(|_| None);
        assert_eq!(resolve_with(dir.path().to_str().unwrap(), &config).unwrap(), dir.path());
        let file = dir.path().join("model.gguf");
        std::fs::write(&file, "").unwrap();
        let error = resolve_with(file.to_str().unwrap(), &config).unwrap_err().to_string();
        assert!(error.contains("is a file"), "{error}");
    }

    /// A hub on this machine that serves `files` of the one model `org/name` to whoever knows the token.
    #[cfg(feature = "hub")]
    fn serve(files: &'static [(&'static str, &'static str)]) -> String {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answer = move |request: &[String]| -> Option<String> {
            let path = request[0].split(' ').nth(1)?;
            let has = |header: &str| request.iter().any(|line| line.eq_ignore_ascii_case(header));
            if !has("authorization: Bearer secret") {
                return Some("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n".into());
            }
            if path.starts_with("/api/models/org/name") {
                let siblings: Vec<_> =
                    files.iter().map(|(name, _)| serde_json::json!({ "rfilename": name })).collect();
                let body = serde_json::json!({ "sha": "abc123", "siblings": siblings }).to_string();
                return Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            }
            let name = path.strip_prefix("/org/name/resolve/main/")?;
            let (_, body) = files.iter().find(|(file, _)| *file == name)?;
            let range = request.iter().find_map(|line| line.strip_prefix("range: bytes="))?;
            let (from, to) = range.split_once('-')?;
            let (from, to): (usize, usize) =
                (from.parse().ok()?, to.parse().unwrap_or(usize::MAX).min(body.len() - 1));
            let part = &body[from..=to];
            Some(format!(
                "HTTP/1.1 206 Partial Content\r\netag: \"{name}\"\r\nx-repo-commit: abc123\r\n\
                 content-range: bytes {from}-{to}/{}\r\ncontent-length: {}\r\n\r\n{part}",
                body.len(),
                part.len()
            ))
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let mut reply = answer(&request)
                    .unwrap_or_else(|| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n".into());
                if !reply.contains("\r\n\r\n") {
                    reply.push_str("\r\n");
                }
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        endpoint
    }

    #[test]
    #[cfg(feature = "hub")]
    fn a_model_is_fetched_once_and_only_what_it_needs() {
        let endpoint = serve(&[
            ("config.json", "{}"),
            ("tokenizer.json", "{ }"),
            ("chat_template.jinja", "hi"),
            ("model.safetensors", "weights"),
            ("model-00001-of-00001.safetensors", "the same again"),
            ("pytorch_model.bin", "pickle"),
            ("onnx/model.onnx", "graph"),
        ]);
        let cache = tempfile::tempdir().unwrap();
        let token = Some("secret".to_owned());
        let config = HubConfig { cache: cache.path().into(), endpoint, token, offline: false };
        let dir = resolve_with("org/name", &config).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(std::fs::read_to_string(dir.join("model.safetensors")).unwrap(), "weights");
        // Now it is in the cache, and the network is not asked.
        assert_eq!(resolve_with("org/name", &HubConfig { offline: true, ..config.clone() }).unwrap(), dir);

        let error = resolve_with("org/other", &config).unwrap_err().to_string();
        assert!(error.contains("org/other") && error.contains(&config.endpoint), "{error}");
        let stranger = HubConfig { token: None, cache: cache.path().join("new"), ..config };
        let error = resolve_with("org/name", &stranger).unwrap_err().to_string();
        assert!(error.contains("HF_TOKEN"), "{error}");
    }

    #[test]
    #[cfg(not(feature = "hub"))]
    fn without_the_feature_the_error_says_what_to_do() {
        let cache = tempfile::tempdir().unwrap();
        let config = HubConfig { cache: cache.path().into(), ..HubConfig::from_vars(|_| None) };
        let error = resolve_with("org/name", &config).unwrap_err().to_string();
        assert!(error.contains("org/name") && error.contains("`hub`"), "{error}");
    }
}
