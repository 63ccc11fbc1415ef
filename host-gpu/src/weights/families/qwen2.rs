//! Qwen2 and Qwen2.5: biases of q, k and v; windows from `max_window_layers` on, off by default.

use super::{Biases, Config, Family};

/// `Qwen2ForCausalLM`.
pub(super) struct Qwen2;

impl Family for Qwen2 {
    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn architecture(&self) -> &'static str {
        "Qwen2ForCausalLM"
    }

    fn biases(&self, _config: &Config) -> Biases {
        Biases {
            qkv: true,
            ..Biases::default()
        }
    }

    fn sliding_window(&self, config: &Config, layer: u32) -> Option<u32> {
        window_of_upper_layers(config, layer)
    }

    fn window_of_sliding_layers(&self, config: &Config) -> Option<u32> {
        window(config)
    }
}

/// Defaults of Hugging Face's configuration classes of Qwen2 and Qwen3.
const DEFAULT_WINDOW: u32 = 4096;
const DEFAULT_MAX_WINDOW_LAYERS: u32 = 28;

/// The window of layers that have one, if `use_sliding_window`.
pub(super) fn window(config: &Config) -> Option<u32> {
    if !config.use_sliding_window.unwrap_or(false) {
        return None;
    }
    config.sliding_window.unwrap_or(Some(DEFAULT_WINDOW))
}

/// Layers below `max_window_layers` attend to everything.
pub(super) fn window_of_upper_layers(config: &Config, layer: u32) -> Option<u32> {
    let first = config
        .max_window_layers
        .unwrap_or(DEFAULT_MAX_WINDOW_LAYERS);
    window(config).filter(|_| layer >= first)
}
