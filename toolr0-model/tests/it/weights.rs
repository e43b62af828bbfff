//! Checkpoints on disk: what loads, what is refused, and that saving loses nothing.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::Path;
use toolr0_model::config::{ModelConfig, WeightDtype};
use toolr0_model::error::Error;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{self, Tensors};

/// A two-layer model of the family of a golden config, small enough to write in a test.
fn tiny(text: &str) -> ModelConfig {
    let config = ModelConfig::from_json(text, Path::new("config.json")).unwrap();
    ModelConfig {
        layers: 2,
        hidden: 8,
        intermediate: 12,
        head_dim: 4,
        heads: 2,
        kv_heads: 1,
        vocab_size: 11,
        ..config
    }
}

fn tied() -> ModelConfig {
    tiny(include_str!("golden/config/qwen2-tied.json"))
}

/// Values that `f16` and `bf16` both hold exactly: eighths from -4 to 4.
fn random(config: &ModelConfig) -> Tensors {
    let mut rng = Stream::root(1).child("weights").rng();
    let expected = weights::expected_tensors(config);
    let mut tensor = |shape: Vec<usize>| {
        let n: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..n).map(|_| (uniform_f64(&mut rng) * 64.0) as u8 as f32 / 8.0 - 4.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    expected.into_iter().map(|(name, shape)| (name, tensor(shape))).collect()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_same(got: &Tensors, want: &Tensors) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (name, want) in want {
        assert_eq!((got[name].dims(), got[name].dtype()), (want.dims(), DType::F32), "{name}");
        assert_eq!(values(&got[name]), values(want), "{name}");
    }
}

#[test]
fn what_is_saved_loads_in_every_type() {
    for text in [
        include_str!("golden/config/qwen2-tied.json"),
        include_str!("golden/config/qwen2-untied.json"),
        include_str!("golden/config/qwen3.json"),
        include_str!("golden/config/llama-plain.json"),
    ] {
        let config = tiny(text);
        let tensors = random(&config);
        for dtype in [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path().join("new");
            weights::save(&dir, &tensors, dtype).unwrap();
            assert_same(&weights::load(&dir, &config).unwrap(), &tensors);
            let bytes = std::fs::read(dir.join(weights::FILE)).unwrap();
            assert_same(&weights::from_bytes(&bytes, Path::new("embedded"), &config).unwrap(), &tensors);
            // Nothing but the file itself is left, and it says what transformers looks for.
            assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
            let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
            assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
            weights::save(&dir, &tensors, dtype).unwrap();
            assert_eq!(std::fs::read(dir.join(weights::FILE)).unwrap(), bytes);
        }
    }
}

/// A weight file: name to type, shape and bytes.
type File = BTreeMap<String, (safetensors::Dtype, Vec<usize>, Vec<u8>)>;

fn file(config: &ModelConfig) -> File {
    let entry = |tensor: &Tensor| {
        let bytes = values(tensor).iter().flat_map(|x| x.to_le_bytes()).collect();
        (safetensors::Dtype::F32, tensor.dims().to_vec(), bytes)
    };
    random(config).iter().map(|(name, tensor)| (name.clone(), entry(tensor))).collect()
}

fn bytes(file: &File) -> Vec<u8> {
    let views = file.iter().map(|(name, (dtype, shape, data))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn load(config: &ModelConfig, change: impl FnOnce(&mut File)) -> Result<Tensors, Error> {
    let mut file = file(config);
    change(&mut file);
    weights::from_bytes(&bytes(&file), Path::new("m.safetensors"), config)
}

const NORM: &str = "model.norm.weight";

#[test]
fn a_wrong_tensor_is_named() {
    let config = tied();
    let error = load(&config, |f| drop(f.remove(NORM))).unwrap_err();
    assert!(
        matches!(&error, Error::MissingTensor { path, name } if name == NORM && path == Path::new("m.safetensors"))
    );

    let error = load(&config, |f| drop(f.insert("model.layers.2.x".into(), f[NORM].clone()))).unwrap_err();
    assert!(
        matches!(&error, Error::UnexpectedTensor { name, .. } if name == "model.layers.2.x"),
        "{error:?}"
    );

    let error = load(&config, |f| f.get_mut(NORM).unwrap().1 = vec![2, 4]).unwrap_err();
    assert!(
        matches!(&error, Error::Shape { name, expected, got, .. } if name == NORM && *expected == [8] && *got == [2, 4])
    );

    // The config asks for a larger vocabulary than the embedding has.
    let larger = ModelConfig { vocab_size: 12, ..config.clone() };
    let small = bytes(&file(&config));
    let error = weights::from_bytes(&small, Path::new("m"), &larger).unwrap_err();
    assert!(matches!(&error, Error::Shape { name, .. } if name == weights::EMBEDDING));

    let int = (safetensors::Dtype::I32, vec![8], vec![0; 32]);
    let error = load(&config, |f| drop(f.insert(NORM.into(), int))).unwrap_err();
    assert!(matches!(&error, Error::Dtype { name, got, .. } if name == NORM && got == "I32"), "{error:?}");

    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = load(&config, |f| f.get_mut(NORM).unwrap().2[20..24].copy_from_slice(&bad.to_le_bytes()));
        assert!(matches!(error, Err(Error::NotFinite { name, index: 5, .. }) if name == NORM));
    }
    let half = (safetensors::Dtype::BF16, vec![8], [0, 0x7f, 0xc0, 0x7f].repeat(4));
    let error = load(&config, |f| drop(f.insert(NORM.into(), half))).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { index: 1, .. }), "{error:?}");
}

#[test]
fn a_tied_head_may_repeat_the_embedding_only() {
    let config = tied();
    let tensors =
        load(&config, |f| drop(f.insert(weights::HEAD.into(), f[weights::EMBEDDING].clone()))).unwrap();
    assert_same(&tensors, &random(&config));
    let error = load(&config, |f| {
        f.insert(weights::HEAD.into(), f[weights::EMBEDDING].clone());
        f.get_mut(weights::HEAD).unwrap().2[0] ^= 1;
    });
    assert!(matches!(error, Err(Error::TiedHead { name, .. }) if name == weights::HEAD));
    let old = (safetensors::Dtype::F32, vec![2], vec![0; 8]);
    let name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    assert_same(&load(&config, |f| drop(f.insert(name.into(), old))).unwrap(), &random(&config));
}

/// Writes `file` as two shards with an index; `change` may spoil the index.
fn shard(dir: &Path, file: &File, change: impl FnOnce(&mut serde_json::Value)) {
    let mut index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": {} });
    let mut shards = [File::new(), File::new()];
    for (i, (name, entry)) in file.iter().enumerate() {
        shards[i % 2].insert(name.clone(), entry.clone());
        index["weight_map"][name] = format!("part-{}.safetensors", i % 2).into();
    }
    for (i, shard) in shards.iter().enumerate() {
        std::fs::write(dir.join(format!("part-{i}.safetensors")), bytes(shard)).unwrap();
    }
    change(&mut index);
    std::fs::write(dir.join(weights::INDEX), index.to_string()).unwrap();
}

#[test]
fn shards_load_and_their_index_must_hold() {
    let config = tied();
    let load = |change: fn(&mut serde_json::Value)| {
        let dir = tempfile::tempdir().unwrap();
        shard(dir.path(), &file(&config), change);
        weights::load(dir.path(), &config)
    };
    assert_same(&load(|_| ()).unwrap(), &random(&config));
    let shift = |index: &mut serde_json::Value| index["weight_map"][NORM] = "part-0.safetensors".into();
    let other = |index: &mut serde_json::Value| index["weight_map"][NORM] = "part-1.safetensors".into();
    // One of the two is where it lies; the other claims a tensor for a shard that has it not.
    assert_eq!([load(shift), load(other)].iter().filter(|r| r.is_ok()).count(), 1);
    let error = [load(shift), load(other)].into_iter().find_map(Result::err).unwrap();
    assert!(
        matches!(&error, Error::MissingTensor { name, .. } | Error::UnexpectedTensor { name, .. } if name == NORM)
    );
    let error =
        load(|index| drop(index["weight_map"].as_object_mut().unwrap().shift_remove(NORM))).unwrap_err();
    assert!(matches!(&error, Error::UnexpectedTensor { name, .. } if name == NORM), "{error:?}");
    let error = load(|index| index["weight_map"][NORM] = "../part-0.safetensors".into()).unwrap_err();
    assert!(
        matches!(&error, Error::Config { key, .. } if key == "weight_map.model.norm.weight"),
        "{error:?}"
    );
    let error = load(|index| index["weight_map"][NORM] = "gone.safetensors".into()).unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if path.ends_with("gone.safetensors")), "{error:?}");
    let error = load(|index| *index = serde_json::json!([])).unwrap_err();
    assert!(matches!(&error, Error::Config { key, .. } if key == "weight_map"), "{error:?}");
}

#[test]
fn missing_and_broken_files_are_named() {
    let config = tied();
    let dir = tempfile::tempdir().unwrap();
    let error = weights::load(dir.path(), &config).unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if path.ends_with(weights::FILE)), "{error:?}");
    let whole = bytes(&file(&config));
    // Every way to cut the file short, and a few bytes too many.
    for len in (0..whole.len()).step_by(97).chain([7, 8, 9, whole.len() - 1]) {
        std::fs::write(dir.path().join(weights::FILE), &whole[..len]).unwrap();
        let error = weights::load(dir.path(), &config).unwrap_err();
        assert!(
            matches!(&error, Error::Safetensors { path, .. } if path.ends_with(weights::FILE)),
            "{len}: {error:?}"
        );
    }
    let longer = [&whole[..], &[0; 4]].concat();
    assert!(matches!(weights::from_bytes(&longer, Path::new("m"), &config), Err(Error::Safetensors { .. })));
    let huge = [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat();
    assert!(matches!(weights::from_bytes(&huge, Path::new("m"), &config), Err(Error::Safetensors { .. })));
}

#[test]
fn a_failed_save_leaves_the_old_file() {
    let config = tied();
    let dir = tempfile::tempdir().unwrap();
    weights::save(dir.path(), &random(&config), WeightDtype::F32).unwrap();
    let before = std::fs::read(dir.path().join(weights::FILE)).unwrap();
    // A folder in the way of the name makes the rename fail after everything was written.
    let blocked = dir.path().join("blocked.safetensors");
    std::fs::create_dir_all(blocked.join("x")).unwrap();
    let error = weights::save_as(&blocked, &random(&config), WeightDtype::F32).unwrap_err();
    assert!(matches!(&error, Error::Write { path, .. } if *path == blocked), "{error:?}");
    let file = dir.path().join(weights::FILE);
    let error = weights::save(&file, &random(&config), WeightDtype::F32).unwrap_err();
    assert!(matches!(&error, Error::Write { .. }), "{error:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2); // no temporary file
}

#[test]
fn every_golden_checkpoint_loads_and_is_written_back_alike() {
    let Some(models) = crate::shared("golden/models") else { return };
    for name in ["qwen2-tied", "qwen2-untied", "qwen3", "llama3-scaled-rope", "llama-plain"] {
        let config = ModelConfig::load(&models.join(name)).unwrap();
        let tensors = weights::load(&models.join(name), &config).unwrap();
        assert_eq!(tensors.values().map(|t| t.elem_count() as u64).sum::<u64>(), config.n_params());
        let dir = tempfile::tempdir().unwrap();
        weights::save(dir.path(), &tensors, WeightDtype::F32).unwrap();
        assert_same(&weights::load(dir.path(), &config).unwrap(), &tensors);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes from anywhere give an error, not a panic.
    #[test]
    fn any_bytes_are_an_error(header in "[\\x20-\\x7e]{0,60}", rest in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &rest].concat();
        prop_assert!(weights::from_bytes(&bytes, Path::new("m"), &tied()).is_err());
        prop_assert!(weights::from_bytes(&rest, Path::new("m"), &tied()).is_err());
    }
}
