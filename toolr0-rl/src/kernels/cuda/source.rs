//! The kernels' text.

/// What a file of kernels holds.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The file.
    pub own: &'static str,
    /// Its kernels.
    pub kernels: &'static [&'static str],
}

/// What stands before every file.
pub const COMMON: &str = include_str!("common.cuh");

/// All files.
pub const MODULES: [Module; 4] = [
    Module {
        name: "group_advantages",
        own: include_str!("group_advantages.cu"),
        kernels: &["group_advantages"],
    },
    Module {
        name: "token_logprobs",
        own: include_str!("token_logprobs.cu"),
        kernels: &[
            "token_logprobs_f32",
            "token_logprobs_bf16",
            "token_logprobs_f16",
            "token_logprobs_backward_f32",
            "token_logprobs_backward_bf16",
            "token_logprobs_backward_f16",
        ],
    },
    Module {
        name: "grpo_loss",
        own: include_str!("grpo_loss.cu"),
        kernels: &["grpo_sequences", "grpo_loss_f32", "grpo_loss_bf16", "grpo_loss_f16"],
    },
    Module {
        name: "adamw",
        own: include_str!("adamw.cu"),
        kernels: &["gradient_norm_f32", "gradient_norm_bf16", "adamw_f32", "adamw_bf16"],
    },
];

/// Options of the compiler, NVRTC, besides the card's architecture.
pub fn options() -> impl Iterator<Item = &'static str> {
    include_str!("options.txt").split_whitespace()
}

impl Module {
    /// The file that holds a kernel.
    pub fn of(kernel: &str) -> Option<Self> {
        MODULES.into_iter().find(|module| module.kernels.contains(&kernel))
    }

    /// What the compiler reads.
    pub fn text(&self) -> String {
        format!("{COMMON}\n{}", self.own)
    }
}
