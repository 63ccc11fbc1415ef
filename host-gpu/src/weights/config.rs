//! config.json: the keys that matter, and the [`Decoder`] they describe.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use talaria_wire::manifest::{Decoder, Place, Structure};

use super::families::{self, Family};
use super::generation::Ids;
use super::quantised::scheme::{self, Scheme};
use super::{LoadError, json, rope, text_config};

/// Most layers of any decoder; bounds what an untrusted configuration can make us allocate.
const MAX_LAYERS: u32 = 4096;

const FILE: &str = "config.json";

/// Keys read first: configurations of other architectures may lack the rest.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "Hugging Face's keys by their own names")]
pub struct Head {
    pub architectures: Option<Vec<String>>,
    pub model_type: Option<String>,
    pub quantization_config: Option<Value>,
    /// Its name in older files of compressed-tensors.
    pub compression_config: Option<Value>,
}

impl Head {
    /// The first of `architectures`.
    pub fn architecture(&self) -> Option<&str> {
        self.architectures.as_deref()?.first().map(String::as_str)
    }
}

/// Keys of config.json; unknown ones are ignored, as Hugging Face does.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "Hugging Face's keys by their own names")]
pub struct Config {
    pub hidden_size: u32,
    pub intermediate_size: u32,
    pub num_hidden_layers: u32,
    pub num_attention_heads: u32,
    pub num_key_value_heads: Option<u32>,
    pub head_dim: Option<u32>,
    pub vocab_size: u32,
    pub max_position_embeddings: u32,
    pub rms_norm_eps: Option<f32>,
    pub hidden_act: Option<String>,
    pub tie_word_embeddings: Option<bool>,
    pub attention_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    /// Outer: whether the key is there; inner: null.
    #[serde(default, deserialize_with = "present")]
    pub sliding_window: Option<Option<u32>>,
    pub use_sliding_window: Option<bool>,
    pub max_window_layers: Option<u32>,
    pub layer_types: Option<Vec<String>>,
    pub rope_theta: Option<f64>,
    pub rope_scaling: Option<Value>,
    pub rope_parameters: Option<Value>,
    pub partial_rotary_factor: Option<f64>,
    pub original_max_position_embeddings: Option<u32>,
    pub use_mrope: Option<bool>,
    pub eos_token_id: Option<Ids>,
}

/// Tells an absent key (`None`, by `serde(default)`) from null (`Some(None)`).
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What config.json describes.
pub struct Described {
    /// Its keys.
    pub config: Config,
    /// Its family.
    pub family: &'static dyn Family,
    /// Which decoder computes it.
    pub structure: Structure,
    /// Dimensions, validated.
    pub decoder: Decoder,
    /// Window of each layer.
    pub windows: Vec<Option<u32>>,
    /// How quantised linear layers are stored; none: none is quantised.
    pub quantisation: Option<Scheme>,
}

impl Described {
    /// Place, k and n of every projection in canonical order.
    pub fn shapes(&self) -> Vec<(Place, u32, u32)> {
        self.structure.shapes(&self.decoder, self.windows.len())
    }
}

/// Interprets the bytes of config.json.
///
/// # Errors
/// Refuses what the payload does not compute, rather than compute something else.
pub fn describe(bytes: &[u8]) -> Result<Described, LoadError> {
    let (value, head, family) = find_decoder(json::value(FILE, bytes)?)?;
    let quantisation = quantisation(&head)?;
    let config: Config = json::from_value(FILE, value)?;
    refuse_unsupported(&config)?;
    Ok(Described {
        structure: family.structure(),
        decoder: decoder(&config, family)?,
        windows: windows(&config, family)?,
        config,
        family,
        quantisation,
    })
}

/// The configuration of the decoder: the whole, or the `text_config` of a multimodal model, of which only text is
/// served.
fn find_decoder(whole: Value) -> Result<(Value, Head, &'static dyn Family), LoadError> {
    let head: Head = json::from_value(FILE, whole.clone())?;
    let refused = match families::of(&head) {
        Ok(family) => return Ok((whole, head, family)),
        Err(refused) => refused,
    };
    let Some(text) = text_config::of(&whole) else {
        return Err(refused);
    };
    let head: Head = json::from_value(FILE, text.clone())?;
    let family = families::of(&head).map_err(|_| refused)?;
    Ok((text, head, family))
}

fn quantisation(head: &Head) -> Result<Option<Scheme>, LoadError> {
    let spellings = [&head.quantization_config, &head.compression_config];
    let config = spellings
        .into_iter()
        .flatten()
        .find(|config| !config.is_null());
    config.map_or(Ok(None), scheme::describe)
}

fn refuse_unsupported(config: &Config) -> Result<(), LoadError> {
    let act = config.hidden_act.as_deref().unwrap_or("silu");
    if !matches!(act, "silu" | "swish") {
        return Err(feature(format!("hidden_act {act}"), "silu"));
    }
    if config.use_mrope.unwrap_or(false) {
        return Err(feature("use_mrope".into(), rope::SUPPORTED));
    }
    if let Some(factor) = config.partial_rotary_factor
        && factor != 1.0
    {
        return Err(feature(format!("partial_rotary_factor {factor}"), "1"));
    }
    Ok(())
}

pub(super) fn feature(feature: String, supported: &'static str) -> LoadError {
    LoadError::Feature { feature, supported }
}

fn decoder(config: &Config, family: &dyn Family) -> Result<Decoder, LoadError> {
    if !(1..=MAX_LAYERS).contains(&config.num_hidden_layers) {
        return Err(LoadError::config(format!(
            "num_hidden_layers = {}, expected 1..={MAX_LAYERS}",
            config.num_hidden_layers
        )));
    }
    let head_dim = head_dim(config, family)?;
    let described = rope::describe(config, head_dim)?;
    let decoder = Decoder {
        model_type: family.model_type().into(),
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config
            .num_key_value_heads
            .unwrap_or(config.num_attention_heads),
        head_dim,
        vocab_size: config.vocab_size,
        max_position_embeddings: described.positions,
        rms_norm_eps: config.rms_norm_eps.unwrap_or(1e-6),
        rope: described.rope,
    };
    decoder.validate().map_err(LoadError::config)?;
    Ok(decoder)
}

fn head_dim(config: &Config, family: &dyn Family) -> Result<u32, LoadError> {
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    let head_dim = match config.head_dim.or(family.default_head_dim()) {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            return Err(LoadError::config(format!(
                "hidden_size {hidden} cannot be shared by {heads} heads and there is no head_dim"
            )));
        }
    };
    // Frequencies are made of it before the decoder is validated.
    Decoder::check_head_dim(head_dim).map_err(LoadError::config)?;
    Ok(head_dim)
}

/// Window of each layer: by `layer_types` where it is there, else by the family's rule.
fn windows(config: &Config, family: &dyn Family) -> Result<Vec<Option<u32>>, LoadError> {
    let layers = config.num_hidden_layers;
    let Some(types) = &config.layer_types else {
        return Ok((0..layers)
            .map(|layer| family.sliding_window(config, layer))
            .collect());
    };
    if types.len() != layers as usize {
        return Err(LoadError::config(format!(
            "layer_types has {} entries, num_hidden_layers is {layers}",
            types.len()
        )));
    }
    let window = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(None),
        "sliding_attention" => family
            .window_of_sliding_layers(config)
            .map(Some)
            .ok_or_else(|| {
                LoadError::config("layer_types has sliding_attention but no sliding_window is set")
            }),
        other => Err(feature(
            format!("layer type {other}"),
            "full_attention, sliding_attention",
        )),
    };
    types.iter().map(window).collect()
}
