//! Llama 2 and 3: no window; biases by `attention_bias` and `mlp_bias`.

use super::{Biases, Config, Family};

/// `LlamaForCausalLM`.
pub(super) struct Llama;

impl Family for Llama {
    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn architecture(&self) -> &'static str {
        "LlamaForCausalLM"
    }

    fn biases(&self, config: &Config) -> Biases {
        let attention = config.attention_bias.unwrap_or(false);
        Biases {
            qkv: attention,
            o: attention,
            mlp: config.mlp_bias.unwrap_or(false),
        }
    }
}
