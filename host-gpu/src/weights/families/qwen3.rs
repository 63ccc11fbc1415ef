//! Qwen3 (dense): queries and keys normed per head, biases only by `attention_bias`; windows as Qwen2.

use super::{Biases, Config, Family, qwen2};

/// `Qwen3ForCausalLM`.
pub(super) struct Qwen3;

impl Family for Qwen3 {
    fn model_type(&self) -> &'static str {
        "qwen3"
    }

    fn architecture(&self) -> &'static str {
        "Qwen3ForCausalLM"
    }

    fn biases(&self, config: &Config) -> Biases {
        let attention = config.attention_bias.unwrap_or(false);
        Biases {
            qkv: attention,
            o: attention,
            mlp: false,
        }
    }

    fn qk_norm(&self) -> bool {
        true
    }

    fn default_head_dim(&self) -> Option<u32> {
        Some(128)
    }

    fn sliding_window(&self, config: &Config, layer: u32) -> Option<u32> {
        qwen2::window_of_upper_layers(config, layer)
    }

    fn window_of_sliding_layers(&self, config: &Config) -> Option<u32> {
        qwen2::window(config)
    }
}
