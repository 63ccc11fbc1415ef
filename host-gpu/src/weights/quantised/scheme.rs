//! `quantization_config`: how linear layers are stored. What it may say and is not computed here is refused.

use std::collections::BTreeMap;

use ::safetensors::Dtype;
use serde::Deserialize;
use serde_json::Value;

pub use super::awq::Awq;
pub use super::gptq::{Bits, Gptq};
pub use super::grid::Sharing;
pub use super::packed::Packed;
pub use super::scaled::Scaled;
use crate::weights::config::feature;
use crate::weights::safetensors::Part;
use crate::weights::{LoadError, json};

/// All that loads, for messages.
const METHODS: &str = "fp8, fbgemm_fp8, gptq, awq and compressed-tensors";
const FORMATS: &str = "formats float-quantized, int-quantized, naive-quantized and pack-quantized";

/// Default of Hugging Face's configuration classes of GPTQ and AWQ.
const DEFAULT_GROUP_SIZE: i64 = 128;

/// How quantised linear layers are stored. Which ones are, their tensors tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `qweight`, `qzeros`, `scales`, maybe `g_idx`.
    Gptq(Gptq),
    /// `qweight`, `qzeros`, `scales`.
    Awq(Awq),
    /// `weight` with a byte an element, and scales.
    Scaled(Scaled),
    /// `weight_packed`, `weight_scale`, `weight_shape`.
    Packed(Packed),
}

impl Scheme {
    /// The layer that a tensor makes a quantised one, by its name without the last component.
    pub(super) fn module(&self, tensor: &str, part: &Part) -> Option<String> {
        let (mark, dtype) = match self {
            Scheme::Gptq(_) | Scheme::Awq(_) => (".qweight", None),
            Scheme::Packed(_) => (".weight_packed", None),
            Scheme::Scaled(config) => (".weight", Some(config.dtype)),
        };
        let module = tensor.strip_suffix(mark)?;
        dtype
            .is_none_or(|dtype| dtype == part.dtype())
            .then(|| module.into())
    }
}

/// What `quantization_config` says; none: nothing is quantised.
///
/// # Errors
/// It names a method, a format or a setting that is not computed here.
pub fn describe(config: &Value) -> Result<Option<Scheme>, LoadError> {
    let method = config.get("quant_method").and_then(Value::as_str);
    match method {
        Some("fp8" | "fbgemm_fp8") => fp8(keys(config)?).map(Some),
        Some("gptq") => gptq(keys(config)?).map(Some),
        Some("awq") => awq(keys(config)?).map(Some),
        Some("compressed-tensors") => compressed_tensors(keys(config)?),
        other => Err(LoadError::Quantised {
            method: other
                .unwrap_or("quantization_config without quant_method")
                .into(),
            supported: METHODS,
        }),
    }
}

fn keys<T: serde::de::DeserializeOwned>(config: &Value) -> Result<T, LoadError> {
    json::from_value("config.json: quantization_config", config.clone())
}

fn refused(key: &str, found: impl std::fmt::Display, supported: &'static str) -> LoadError {
    feature(format!("{key} {found} of quantization_config"), supported)
}

/// Whether a key says anything.
fn is_set(value: &Option<Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}

#[derive(Deserialize)]
struct Fp8 {
    fmt: Option<String>,
    weight_block_size: Option<[usize; 2]>,
}

fn fp8(keys: Fp8) -> Result<Scheme, LoadError> {
    if let Some(fmt) = keys
        .fmt
        .filter(|fmt| !matches!(fmt.as_str(), "e4m3" | "float8_e4m3fn"))
    {
        return Err(refused("fmt", fmt, "e4m3"));
    }
    let sharing = match keys.weight_block_size {
        None => None,
        Some([outputs, inputs]) if outputs > 0 && inputs > 0 => Some(Sharing { outputs, inputs }),
        Some(size) => {
            let found = format!("{size:?}");
            return Err(refused("weight_block_size", found, "two lengths above 0"));
        }
    };
    Ok(Scheme::Scaled(Scaled {
        dtype: Dtype::F8_E4M3,
        sharing,
    }))
}

#[derive(Deserialize)]
struct GptqKeys {
    bits: u32,
    group_size: Option<i64>,
    /// Name of `format` in older files.
    checkpoint_format: Option<String>,
    format: Option<String>,
    is_marlin_format: Option<bool>,
    /// Other settings for some layers.
    dynamic: Option<Value>,
    pack_dtype: Option<String>,
}

fn gptq(keys: GptqKeys) -> Result<Scheme, LoadError> {
    let format = match keys.is_marlin_format {
        Some(true) => Some("marlin".into()),
        _ => keys.checkpoint_format.or(keys.format),
    };
    let zero_offset = match format.as_deref().unwrap_or("gptq") {
        "gptq" => 1,
        "gptq_v2" => 0,
        other => return Err(refused("checkpoint_format", other, "gptq and gptq_v2")),
    };
    if is_set(&keys.dynamic) {
        return Err(refused(
            "dynamic",
            "(settings by layer)",
            "one setting for all layers",
        ));
    }
    if let Some(dtype) = keys.pack_dtype.filter(|dtype| dtype != "int32") {
        return Err(refused("pack_dtype", dtype, "int32"));
    }
    Ok(Scheme::Gptq(Gptq {
        bits: bits(keys.bits)?,
        group_size: group_size(keys.group_size.unwrap_or(DEFAULT_GROUP_SIZE))?,
        zero_offset,
    }))
}

#[derive(Deserialize)]
struct AwqKeys {
    #[serde(alias = "w_bit")]
    bits: u32,
    #[serde(alias = "q_group_size")]
    group_size: Option<i64>,
    version: Option<String>,
    format: Option<String>,
    zero_point: Option<bool>,
}

fn awq(keys: AwqKeys) -> Result<Scheme, LoadError> {
    if keys.bits != 4 {
        return Err(refused("bits", keys.bits, "4"));
    }
    let version = keys.version.or(keys.format);
    if let Some(version) = version.filter(|v| !v.eq_ignore_ascii_case("gemm")) {
        return Err(refused("version", version, "gemm"));
    }
    if keys.zero_point == Some(false) {
        return Err(refused("zero_point", false, "true"));
    }
    Ok(Scheme::Awq(Awq {
        group_size: group_size(keys.group_size.unwrap_or(DEFAULT_GROUP_SIZE))?,
    }))
}

fn bits(count: u32) -> Result<Bits, LoadError> {
    match count {
        4 => Ok(Bits::Four),
        8 => Ok(Bits::Eight),
        other => Err(refused("bits", other, "4 and 8")),
    }
}

/// -1 is one group for all inputs.
fn group_size(size: i64) -> Result<Option<usize>, LoadError> {
    match size {
        -1 => Ok(None),
        1.. => Ok(Some(size as usize)),
        other => Err(refused("group_size", other, "-1 and lengths above 0")),
    }
}

#[derive(Deserialize)]
struct CompressedTensors {
    format: Option<String>,
    #[serde(default)]
    config_groups: BTreeMap<String, ConfigGroup>,
    sparsity_config: Option<Value>,
    transform_config: Option<Value>,
}

#[derive(Deserialize)]
struct ConfigGroup {
    weights: Option<Weights>,
    format: Option<String>,
}

#[derive(Deserialize)]
struct Weights {
    num_bits: Option<u32>,
    r#type: Option<String>,
    symmetric: Option<bool>,
    strategy: Option<String>,
    group_size: Option<i64>,
    block_structure: Option<BlockStructure>,
}

/// Both forms are written.
#[derive(Deserialize)]
#[serde(untagged)]
enum BlockStructure {
    Lengths([usize; 2]),
    Text(String),
}

fn compressed_tensors(keys: CompressedTensors) -> Result<Option<Scheme>, LoadError> {
    let sparsity = keys
        .sparsity_config
        .as_ref()
        .and_then(|config| config.get("format"));
    if let Some(format) = sparsity
        .and_then(Value::as_str)
        .filter(|format| *format != "dense")
    {
        return Err(refused("sparsity_config", format, "dense"));
    }
    let transforms = keys
        .transform_config
        .as_ref()
        .and_then(|config| config.get("config_groups"));
    if is_set(&transforms.cloned()) {
        return Err(refused("transform_config", "(rotations)", "none"));
    }
    let mut scheme = None;
    for group in keys.config_groups.into_values() {
        let Some(weights) = group.weights else {
            continue;
        };
        let format = group.format.as_deref().or(keys.format.as_deref());
        let of_group = stored(format.unwrap_or("(none)"), weights)?;
        if scheme
            .replace(of_group.clone())
            .is_some_and(|before| before != of_group)
        {
            let found = "that store weights differently";
            return Err(refused("config_groups", found, "one way for all weights"));
        }
    }
    Ok(scheme)
}

/// How weights of a group of layers are stored.
fn stored(format: &str, weights: Weights) -> Result<Scheme, LoadError> {
    let kind = (
        weights.r#type.as_deref().unwrap_or("int"),
        weights.num_bits.unwrap_or(8),
    );
    let sharing = sharing(&weights)?;
    match (format, kind) {
        ("float-quantized" | "naive-quantized", ("float", 8)) => Ok(Scheme::Scaled(Scaled {
            dtype: Dtype::F8_E4M3,
            sharing,
        })),
        // A byte holds what takes fewer bits, too.
        ("int-quantized" | "naive-quantized", ("int", 1..=8)) => Ok(Scheme::Scaled(Scaled {
            dtype: Dtype::I8,
            sharing,
        })),
        ("pack-quantized", ("int", count)) => {
            if let Some(Sharing { outputs: 2.., .. }) = sharing {
                return Err(refused("strategy", "block", "channel and group"));
            }
            Ok(Scheme::Packed(Packed {
                bits: bits(count)?,
                group_size: sharing.map(|sharing| sharing.inputs),
                symmetric: weights.symmetric.unwrap_or(true),
            }))
        }
        (_, (kind, count)) => Err(refused(
            "format",
            format!("{format} ({kind} of {count} bits)"),
            FORMATS,
        )),
    }
}

/// By strategy; one scale for all and one an output are told by their shape.
fn sharing(weights: &Weights) -> Result<Option<Sharing>, LoadError> {
    let size = match weights.group_size {
        None => None,
        Some(size) => group_size(size)?,
    };
    let by_keys = match (&weights.block_structure, size) {
        (Some(_), _) => "block",
        (None, Some(_)) => "group",
        (None, None) => "tensor",
    };
    match (weights.strategy.as_deref().unwrap_or(by_keys), size) {
        ("tensor" | "channel", _) => Ok(None),
        ("group", Some(inputs)) => Ok(Some(Sharing { outputs: 1, inputs })),
        ("block", _) => block(&weights.block_structure).map(Some),
        (other, _) => Err(refused(
            "strategy",
            other,
            "tensor, channel, group and block, with their sizes",
        )),
    }
}

fn block(structure: &Option<BlockStructure>) -> Result<Sharing, LoadError> {
    let lengths = match structure {
        Some(BlockStructure::Lengths(lengths)) => Some(*lengths),
        Some(BlockStructure::Text(text)) => text
            .split_once('x')
            .and_then(|(outputs, inputs)| Some([outputs.parse().ok()?, inputs.parse().ok()?])),
        None => None,
    };
    match lengths {
        Some([outputs, inputs]) if outputs > 0 && inputs > 0 => Ok(Sharing { outputs, inputs }),
        _ => Err(refused(
            "block_structure",
            "(not two lengths)",
            "two lengths above 0",
        )),
    }
}
