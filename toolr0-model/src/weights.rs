//! Weights between disk and memory: safetensors in transformers' names, checked one by one.
//!
//! A checkpoint is loaded tensor by tensor through an ordinary file handle, so the memory in use is the
//! `f32` result and one tensor more. Nothing is guessed: every tensor that the config calls for must be
//! there with its shape, nothing else may be, and every value must be finite.

use crate::config::{ModelConfig, WeightDtype};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Name of the embedding, `(v, c)`.
pub const EMBEDDING: &str = "model.embed_tokens.weight";
/// Name of the output head, `(v, c)`; absent where it is tied to the embedding.
pub const HEAD: &str = "lm_head.weight";
/// Name of an unsharded weight file.
pub const FILE: &str = "model.safetensors";
/// Name of the index of a sharded checkpoint.
pub const INDEX: &str = "model.safetensors.index.json";

/// Longest header accepted, in bytes: the limit of the format's own reader.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors of a model, by transformers' names: `f32`, on the CPU.
pub type Tensors = BTreeMap<String, Tensor>;

/// Every tensor that a checkpoint of `config` holds, with its shape, in the order of the network.
///
/// Linear weights are `(out, in)`, as in PyTorch.
pub fn expected_tensors(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (c, d) = (config.hidden, config.head_dim);
    let (q, kv, m) = (config.heads * d, config.kv_heads * d, config.intermediate);
    let mut tensors = vec![(EMBEDDING.to_owned(), vec![config.vocab_size, c])];
    for layer in 0..config.layers {
        let mut push = |name: &str, shape: &[usize]| {
            tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        push("input_layernorm.weight", &[c]);
        for (name, rows) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
            push(&format!("self_attn.{name}.weight"), &[rows, c]);
            if config.qkv_bias {
                push(&format!("self_attn.{name}.bias"), &[rows]);
            }
        }
        if config.qk_norm {
            push("self_attn.q_norm.weight", &[d]);
            push("self_attn.k_norm.weight", &[d]);
        }
        push("self_attn.o_proj.weight", &[c, q]);
        push("post_attention_layernorm.weight", &[c]);
        push("mlp.gate_proj.weight", &[m, c]);
        push("mlp.up_proj.weight", &[m, c]);
        push("mlp.down_proj.weight", &[c, m]);
    }
    tensors.push(("model.norm.weight".to_owned(), vec![c]));
    if !config.tie_word_embeddings {
        tensors.push((HEAD.to_owned(), vec![config.vocab_size, c]));
    }
    tensors
}

/// Loads the weights in `dir`: `model.safetensors`, or the shards that `model.safetensors.index.json`
/// lists. `f16` and `bf16` become `f32`, exactly.
///
/// A head that the config ties may be present if it equals the embedding bit for bit; it is left out of
/// the result.
///
/// # Errors
///
/// [`Error::Read`] and [`Error::Safetensors`] for a missing or truncated file; [`Error::MissingTensor`],
/// [`Error::UnexpectedTensor`], [`Error::Shape`], [`Error::Dtype`], [`Error::NotFinite`] and
/// [`Error::TiedHead`] for its contents; [`Error::Json`] and [`Error::Config`] for the index.
pub fn load(dir: &Path, config: &ModelConfig) -> Result<Tensors> {
    let mut loader = Loader::new(config);
    let (single, index) = (dir.join(FILE), dir.join(INDEX));
    if single.exists() || !index.exists() {
        loader.file(&single, |_| true)?;
        return loader.finish(&single);
    }
    let shards = read_index(&index)?;
    for (shard, names) in &shards {
        let held = loader.file(&dir.join(shard), |name| names.iter().any(|n| n == name))?;
        if let Some(name) = names.iter().find(|name| !held.contains(name)) {
            return Err(Error::MissingTensor { path: dir.join(shard), name: name.clone() });
        }
    }
    loader.finish(&index)
}

/// Loads weights from the bytes of one safetensors file, such as an embedded checkpoint. `label` stands
/// for the path in errors.
///
/// # Errors
///
/// As [`load`].
pub fn from_bytes(bytes: &[u8], label: &Path, config: &ModelConfig) -> Result<Tensors> {
    let mut loader = Loader::new(config);
    loader.read(Cursor::new(bytes), bytes.len() as u64, label, |_| true)?;
    loader.finish(label)
}

/// Loads one file that must hold exactly the tensors of `expected`, by name and shape.
///
/// # Errors
///
/// As [`load`].
pub fn load_exactly(path: &Path, expected: BTreeMap<String, Vec<usize>>) -> Result<Tensors> {
    let mut loader = Loader { expected, tied: false, head: None, found: Tensors::new() };
    loader.file(path, |_| true)?;
    loader.finish(path)
}

/// Writes `tensors` as `dir/model.safetensors`, converted to `dtype`, under a temporary name that is
/// renamed when all of it is on disk. Creates `dir`.
///
/// The file's bytes depend on the names and values alone.
///
/// # Errors
///
/// [`Error::Write`] if the disk refuses, [`Error::Candle`] if a tensor cannot be read back from its
/// device. No file is left behind then, and an older one is untouched.
pub fn save(dir: &Path, tensors: &Tensors, dtype: WeightDtype) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(Error::write(dir))?;
    save_as(&dir.join(FILE), tensors, dtype)
}

/// Writes `tensors` as the safetensors file `path`, as [`save`] does.
///
/// # Errors
///
/// As [`save`].
pub fn save_as(path: &Path, tensors: &Tensors, dtype: WeightDtype) -> Result<()> {
    let (stored, size) = match dtype {
        WeightDtype::F32 => (Dtype::F32, 4),
        WeightDtype::F16 => (Dtype::F16, 2),
        WeightDtype::Bf16 => (Dtype::BF16, 2),
    };
    let mut end = 0;
    let mut infos = Vec::new();
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.elem_count() * size;
        let shape = tensor.dims().to_vec();
        infos.push((name.clone(), TensorInfo { dtype: stored, shape, data_offsets: (start, end) }));
    }
    let safetensors = |source| Error::Safetensors { path: path.into(), source };
    let about = [("format".to_owned(), "pt".to_owned())].into();
    let metadata = Metadata::new(Some(about), infos).map_err(safetensors)?;
    let mut header = serde_json::to_vec(&metadata).map_err(Error::json(path))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(Error::write(path))?;
        out.write_all(&header).map_err(Error::write(path))?;
        for tensor in tensors.values() {
            write_values(out, &to_f32(tensor)?, dtype).map_err(Error::write(path))?;
        }
        Ok(())
    })
}

/// Writes a text file of a checkpoint, such as `config.json`, atomically.
///
/// # Errors
///
/// [`Error::Write`]; no file is left behind then, and an older one is untouched.
pub fn save_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |out| out.write_all(text.as_bytes()).map_err(Error::write(path)))
}

/// Runs `fill` on a temporary file beside `path`, syncs it and renames it to `path`.
fn write_atomically(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut out =
            BufWriter::with_capacity(1 << 20, File::create(&temporary).map_err(Error::write(path))?);
        fill(&mut out)?;
        let file = out.into_inner().map_err(|error| Error::write(path)(error.into_error()))?;
        file.sync_all().map_err(Error::write(path))?;
        std::fs::rename(&temporary, path).map_err(Error::write(path))
    };
    write().inspect_err(|_| {
        // The first error is the one to report, and there may be no file to remove.
        let _ = std::fs::remove_file(&temporary);
    })
}

fn to_f32(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn write_values(out: &mut impl Write, values: &[f32], dtype: WeightDtype) -> io::Result<()> {
    for chunk in values.chunks(1 << 14) {
        let bytes: Vec<u8> = match dtype {
            WeightDtype::F32 => chunk.iter().flat_map(|x| x.to_le_bytes()).collect(),
            WeightDtype::F16 => chunk.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            WeightDtype::Bf16 => chunk.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        };
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// The shards of an index in name order, each with the tensors it must hold.
fn read_index(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let text = std::fs::read_to_string(path).map_err(Error::read(path))?;
    let index: Value = serde_json::from_str(&text).map_err(Error::json(path))?;
    let bad = |key: String, reason: &str| Error::Config { path: path.into(), key, reason: reason.into() };
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(bad("weight_map".into(), "is missing or not an object"));
    };
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, file) in map {
        // A plain file name: an index from elsewhere must not point outside its folder.
        match file.as_str() {
            Some(file) if Path::new(file).file_name().is_some_and(|plain| plain == file) => {
                shards.entry(file.to_owned()).or_default().push(name.clone());
            }
            _ => {
                return Err(bad(
                    format!("weight_map.{name}"),
                    "is not the name of a file in the same folder",
                ));
            }
        }
    }
    Ok(shards)
}

/// Collects the tensors of one or more files.
struct Loader {
    expected: BTreeMap<String, Vec<usize>>,
    tied: bool,
    /// A head that repeats the embedding, and its file, kept until the two can be compared.
    head: Option<(PathBuf, Tensor)>,
    found: Tensors,
}

impl Loader {
    fn new(config: &ModelConfig) -> Self {
        let mut expected: BTreeMap<_, _> = expected_tensors(config).into_iter().collect();
        if config.tie_word_embeddings {
            expected.insert(HEAD.to_owned(), vec![config.vocab_size, config.hidden]);
        }
        Self { expected, tied: config.tie_word_embeddings, head: None, found: Tensors::new() }
    }

    /// Reads a whole file and returns the names in it. A name that is not `listed` is unexpected.
    fn file(&mut self, path: &Path, listed: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let file = File::open(path).map_err(Error::read(path))?;
        let len = file.metadata().map_err(Error::read(path))?.len();
        self.read(file, len, path, listed)
    }

    fn read(
        &mut self,
        mut source: impl Read + Seek,
        len: u64,
        path: &Path,
        listed: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>> {
        let (start, metadata) = read_header(&mut source, len, path)?;
        let names = metadata.offset_keys();
        for name in &names {
            // Old Llama files carry the rotary frequencies, which follow from the config.
            if name.ends_with(".rotary_emb.inv_freq") {
                continue;
            }
            let expected = self.expected.get(name).filter(|_| listed(name));
            let (Some(expected), Some(info)) = (expected, metadata.info(name)) else {
                return Err(Error::UnexpectedTensor { path: path.into(), name: name.clone() });
            };
            if info.shape != *expected {
                let (expected, got) = (expected.clone(), info.shape.clone());
                return Err(Error::Shape { path: path.into(), name: name.clone(), expected, got });
            }
            let tensor = read_tensor(&mut source, start, info, path, name)?;
            match self.tied && name == HEAD {
                true => self.head = Some((path.into(), tensor)),
                false => drop(self.found.insert(name.clone(), tensor)),
            }
        }
        Ok(names)
    }

    /// Checks that nothing is missing. `path` is the file that should have named it.
    fn finish(mut self, path: &Path) -> Result<Tensors> {
        if self.tied {
            self.expected.remove(HEAD);
        }
        if let Some(name) = self.expected.into_keys().find(|name| !self.found.contains_key(name)) {
            return Err(Error::MissingTensor { path: path.into(), name });
        }
        if let (Some((path, head)), Some(embedding)) = (self.head, self.found.get(EMBEDDING)) {
            let (head, embedding) = (to_f32(&head)?, to_f32(embedding)?);
            if head.iter().zip(&embedding).any(|(a, b)| a.to_bits() != b.to_bits()) {
                return Err(Error::TiedHead { path, name: HEAD.to_owned() });
            }
        }
        Ok(self.found)
    }
}

/// Where the data starts, and what lies where in it; checked against the length of the file.
fn read_header(source: &mut (impl Read + Seek), len: u64, path: &Path) -> Result<(u64, Metadata)> {
    let broken = |source| Error::Safetensors { path: path.into(), source };
    let mut size = [0; 8];
    if len < 8 {
        return Err(broken(SafeTensorError::HeaderTooSmall));
    }
    source.read_exact(&mut size).map_err(Error::read(path))?;
    let size = u64::from_le_bytes(size);
    if MAX_HEADER < size {
        return Err(broken(SafeTensorError::HeaderTooLarge));
    }
    if len - 8 < size {
        return Err(broken(SafeTensorError::InvalidHeaderLength));
    }
    let mut header = vec![0; size as usize];
    source.read_exact(&mut header).map_err(Error::read(path))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| broken(SafeTensorError::InvalidHeaderDeserialization(error)))?;
    match metadata.data_len() as u64 == len - 8 - size {
        true => Ok((8 + size, metadata)),
        false => Err(broken(SafeTensorError::MetadataIncompleteBuffer)),
    }
}

fn read_tensor(
    source: &mut (impl Read + Seek),
    start: u64,
    info: &TensorInfo,
    path: &Path,
    name: &str,
) -> Result<Tensor> {
    let convert: fn(&[u8]) -> Vec<f32> = match info.dtype {
        Dtype::F32 => |b| b.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(),
        Dtype::F16 => |b| b.as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).to_f32()).collect(),
        Dtype::BF16 => |b| b.as_chunks().0.iter().map(|&x| bf16::from_le_bytes(x).to_f32()).collect(),
        other => {
            return Err(Error::Dtype { path: path.into(), name: name.into(), got: format!("{other:?}") });
        }
    };
    let (from, to) = info.data_offsets;
    let mut bytes = vec![0; to - from];
    source.seek(SeekFrom::Start(start + from as u64)).map_err(Error::read(path))?;
    source.read_exact(&mut bytes).map_err(Error::read(path))?;
    let values = convert(&bytes);
    if let Some(index) = values.iter().position(|x| !x.is_finite()) {
        return Err(Error::NotFinite { path: path.into(), name: name.into(), index });
    }
    Ok(Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu)?)
}
