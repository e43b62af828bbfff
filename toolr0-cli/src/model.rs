//! From the name of a model to the model.

use std::path::PathBuf;

use anyhow::Result;
use toolr0_model::hub::{self, HubConfig};
use toolr0_model::{Checkpoint, Error, ModelConfig};
use toolr0_reward::Style;

use crate::args::Wording;
use crate::base;
use crate::device;
use crate::ui::Screen;

/// The name of the model that is part of the program.
pub(crate) const EMBEDDED: &str = "embedded";

/// Reads a model onto the device that the program settled on: `embedded`, a folder, or a hub id, which may be fetched.
pub(crate) fn load(name: &str, screen: &Screen) -> Result<Checkpoint> {
    if name == EMBEDDED {
        return Ok(base::checkpoint()?.to_device(&device::here())?);
    }
    let dir = hub::resolve(name)?;
    let (checkpoint, own_words) = Checkpoint::load_or_byte_level(&dir)?;
    if !own_words {
        screen.warn(&format!(
            "{} has no tokenizer: bytes are used as tokens, with ids of our own. Only for models without a training \
             of their own, such as random weights",
            dir.display()
        ));
    }
    Ok(checkpoint.to_device(&device::here())?)
}

/// The shape of a model, read without its weights and without the network. `None` for a hub id that would have to be
/// fetched first.
pub(crate) fn shape(name: &str) -> Result<Option<ModelConfig>> {
    if name == EMBEDDED {
        let path = PathBuf::from("embedded base/config.json");
        return Ok(Some(ModelConfig::from_json(base::FILES.config, &path)?));
    }
    let offline = HubConfig { offline: true, ..HubConfig::from_env() };
    match hub::resolve_with(name, &offline) {
        Ok(dir) => Ok(Some(ModelConfig::load(&dir)?)),
        // An id in the right form that is not here yet: fetching it is what a dry run must not do.
        Err(Error::Hub { reason, .. }) if reason.contains("HF_HUB_OFFLINE") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How the prompts of a checkpoint are worded: as asked, else as it was trained. The embedded base and its offspring
/// share a tokenizer, and know no other words than the compact ones.
pub(crate) fn style(checkpoint: &Checkpoint, asked: Option<Wording>) -> Style {
    let own = checkpoint.tokenizer.json() == base::FILES.tokenizer;
    wording(asked).unwrap_or(if own { Style::Compact } else { Style::Paper })
}

/// The style that was asked for.
pub(crate) fn wording(asked: Option<Wording>) -> Option<Style> {
    asked.map(|wording| match wording {
        Wording::Paper => Style::Paper,
        Wording::Compact => Style::Compact,
    })
}
