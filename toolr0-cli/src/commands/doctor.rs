//! `toolr0 doctor`: which layers of the confinement of programs this machine has.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Global;

/// Names every layer, and fails if one is missing.
#[cfg(target_os = "linux")]
pub(crate) fn run(global: Global) -> Result<ExitCode> {
    let layers = toolr0_tools::process::layers();
    let whole = layers.iter().all(|layer| layer.there);
    let text = if global.json {
        format!("{}\n", serde_json::json!({"layers": layers, "strict": whole}))
    } else {
        let line = |layer: &toolr0_tools::process::Layer| {
            let there = if layer.there { "yes" } else { "no " };
            format!("{:<11} {there}  {}; against {}\n", layer.name, layer.detail, layer.against)
        };
        let verdict = match whole {
            true => "programs run with all layers, and in the strict mode\n",
            false => "programs run with the layers that are there, and not in the strict mode\n",
        };
        layers.iter().map(line).collect::<String>() + verdict
    };
    crate::ui::out(&text)?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Elsewhere there is nothing to look for.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_global: Global) -> Result<ExitCode> {
    anyhow::bail!("programs are confined by Linux, and run on Linux only")
}
