//! A checkpoint in the Hugging Face layout, all of it: shape, weights, tokenizer, chat template.

mod fallback;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use crate::chat::ChatTemplate;
use crate::config::{ModelConfig, WeightDtype};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
use crate::weights::{self, Tensors};

/// What a folder with `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json` holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The shape of the model.
    pub config: ModelConfig,
    /// The weights by name, f32, all on one device.
    pub tensors: Tensors,
    /// The tokenizer; it fits the model.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template.
    pub template: Arc<ChatTemplate>,
    /// Ids that end a completion.
    pub eos: Vec<u32>,
    /// The text of `tokenizer_config.json`, saved as it was read.
    tokenizer_config: String,
    /// The text of `chat_template.jinja`, if the template lies there.
    jinja: Option<String>,
}

/// The files of a checkpoint that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// `config.json`.
    pub config: &'static str,
    /// `tokenizer.json`.
    pub tokenizer: &'static str,
    /// `tokenizer_config.json`, with the chat template.
    pub tokenizer_config: &'static str,
    /// `model.safetensors`.
    pub weights: &'static [u8],
}

/// The template of checkpoints that bring a model but no words of their own: ChatML, as Qwen writes it.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + \
'<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

impl Checkpoint {
    /// Reads a folder.
    ///
    /// # Errors
    ///
    /// A typed error naming the file, and the key or tensor, for whatever is missing, truncated, or does not fit.
    pub fn load(dir: &Path) -> Result<Self> {
        let read = |name: &str| -> Result<String> {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(Error::read(&path))
        };
        let config = ModelConfig::load(dir)?;
        let tokenizer = Tokenizer::load(dir)?;
        let tokenizer_config = read("tokenizer_config.json")?;
        let jinja =
            dir.join("chat_template.jinja").exists().then(|| read("chat_template.jinja")).transpose()?;
        let template = ChatTemplate::load(dir)?;
        tokenizer.check_fits(&config)?;
        let tensors = weights::load(dir, &config)?;
        Ok(Self::assemble(config, tensors, tokenizer, template, tokenizer_config, jinja))
    }

    /// As [`Checkpoint::load`], but takes a folder with a model and without any tokenizer file too: bytes are then
    /// its tokens, between the marks of ChatML. Also says whether the tokenizer is the folder's own; where it is not,
    /// tell whoever uses the model, for a trained one knows none of these ids.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::load`]; [`Error::Tokenizer`] if the vocabulary is too small for bytes.
    pub fn load_or_byte_level(dir: &Path) -> Result<(Self, bool)> {
        let has = |name: &str| dir.join(name).exists();
        // What has one of these has lost the other, and is better refused by name.
        if has("tokenizer.json") || has("tokenizer_config.json") || !has("config.json") {
            return Ok((Self::load(dir)?, true));
        }
        let config = ModelConfig::load(dir)?;
        let (tokenizer, words) = fallback::byte_level(&config, &dir.join("tokenizer.json"))?;
        let tensors = weights::load(dir, &config)?;
        Ok((Self::new(config, tensors, &tokenizer, &words, dir)?, false))
    }

    /// Reads a checkpoint that is part of the program. `name` stands for the path in errors.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::load`].
    pub fn embedded(files: &Embedded, name: &str) -> Result<Self> {
        let path = |file: &str| PathBuf::from(format!("{name}/{file}"));
        let config = ModelConfig::from_json(files.config, &path("config.json"))?;
        let tensors = weights::from_bytes(files.weights, &path("model.safetensors"), &config)?;
        Self::new(config, tensors, files.tokenizer, files.tokenizer_config, &PathBuf::from(name))
    }

    /// Puts a checkpoint together from its parts. `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] or [`Error::Template`].
    pub fn new(
        config: ModelConfig,
        tensors: Tensors,
        tokenizer_json: &str,
        tokenizer_config: &str,
        path: &Path,
    ) -> Result<Self> {
        let tokenizer = Tokenizer::from_json(tokenizer_json, &path.join("tokenizer.json"))?;
        let template = ChatTemplate::from_config_json(tokenizer_config, &path.join("tokenizer_config.json"))?;
        tokenizer.check_fits(&config)?;
        Ok(Self::assemble(config, tensors, tokenizer, template, tokenizer_config.to_owned(), None))
    }

    fn assemble(
        config: ModelConfig,
        tensors: Tensors,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        tokenizer_config: String,
        jinja: Option<String>,
    ) -> Self {
        let eos = tokenizer.eos_ids(&config, template.special_tokens());
        let (tokenizer, template) = (Arc::new(tokenizer), Arc::new(template));
        Self { config, tensors, tokenizer, template, eos, tokenizer_config, jinja }
    }

    /// The same checkpoint with other weights.
    pub fn with_tensors(&self, tensors: Tensors) -> Self {
        Self { tensors, ..self.clone() }
    }

    /// The same checkpoint with its weights on `device`, where a model of it then computes.
    ///
    /// # Errors
    ///
    /// If the device's memory does not hold them.
    pub fn to_device(mut self, device: &Device) -> Result<Self> {
        for tensor in self.tensors.values_mut() {
            *tensor = tensor.to_device(device)?;
        }
        Ok(self)
    }

    /// Where its weights are; main memory if it has none.
    pub fn device(&self) -> Device {
        self.tensors.values().next().map_or(Device::Cpu, |tensor| tensor.device().clone())
    }

    /// The ChatML template, for a `tokenizer_config.json` of one's own.
    pub fn chatml() -> &'static str {
        CHATML
    }

    /// Writes the folder, each file under a temporary name first.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] naming the file; what was there before is untouched.
    pub fn save(&self, dir: &Path, dtype: WeightDtype) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::write(dir))?;
        let config = ModelConfig { dtype, ..self.config.clone() };
        weights::save_text(&dir.join("config.json"), &config.to_json())?;
        weights::save_text(&dir.join("generation_config.json"), &config.generation_config_json(1.0, 1.0))?;
        weights::save_text(&dir.join("tokenizer.json"), self.tokenizer.json())?;
        weights::save_text(&dir.join("tokenizer_config.json"), &self.tokenizer_config)?;
        if let Some(jinja) = &self.jinja {
            weights::save_text(&dir.join("chat_template.jinja"), jinja)?;
        }
        weights::save(dir, &self.tensors, dtype)
    }
}
