//! Mistral: every layer attends within `sliding_window` unless that is null.

use super::{Biases, Config, Family};

/// `MistralForCausalLM`.
pub(super) struct Mistral;

/// Default of Hugging Face's configuration class; `"sliding_window": null` turns windows off.
const DEFAULT_WINDOW: u32 = 4096;

impl Family for Mistral {
    fn model_type(&self) -> &'static str {
        "mistral"
    }

    fn architecture(&self) -> &'static str {
        "MistralForCausalLM"
    }

    fn biases(&self, config: &Config) -> Biases {
        let attention = config.attention_bias.unwrap_or(false);
        Biases {
            qkv: attention,
            o: attention,
            mlp: false,
        }
    }

    fn sliding_window(&self, config: &Config, _layer: u32) -> Option<u32> {
        self.window_of_sliding_layers(config)
    }

    fn window_of_sliding_layers(&self, config: &Config) -> Option<u32> {
        config.sliding_window.unwrap_or(Some(DEFAULT_WINDOW))
    }
}
