//! Rotary embedding of config.json, in both spellings: `rope_theta` with `rope_scaling`, and the
//! `rope_parameters` of transformers 5, which holds both.

use serde::Deserialize;
use serde_json::Value;
use talaria_wire::manifest::{Rope, RopeScaling};

use super::LoadError;
use super::config::{Config, feature};

/// Types that the payload computes.
pub(super) const SUPPORTED: &str = "rope types default, linear, llama3";

/// Base where config.json has none.
const DEFAULT_THETA: f64 = 10_000.0;

/// Keys of `rope_scaling` or `rope_parameters`.
#[derive(Deserialize)]
struct Keys {
    rope_type: Option<String>,
    /// Older name of `rope_type`.
    #[serde(rename = "type")]
    legacy_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u32>,
    partial_rotary_factor: Option<f64>,
    mrope_section: Option<Value>,
}

/// Base and scaling. Where both spellings are there, they must agree.
pub(super) fn describe(config: &Config) -> Result<Rope, LoadError> {
    let spellings = [
        keys("rope_parameters", &config.rope_parameters)?,
        keys("rope_scaling", &config.rope_scaling)?,
    ];
    let thetas = spellings.iter().flatten().filter_map(|k| k.rope_theta);
    let theta = agreed("rope_theta", config.rope_theta.into_iter().chain(thetas))?;
    let scalings = spellings.iter().flatten().map(Keys::scaling);
    let scaling = agreed("rope scaling", scalings.collect::<Result<Vec<_>, _>>()?)?;
    Ok(Rope {
        theta: theta.unwrap_or(DEFAULT_THETA),
        scaling: scaling.unwrap_or(RopeScaling::None),
    })
}

fn keys(name: &str, value: &Option<Value>) -> Result<Option<Keys>, LoadError> {
    let Some(value) = value.as_ref().filter(|v| !v.is_null()) else {
        return Ok(None);
    };
    if let Some(kind) = ["full_attention", "sliding_attention"]
        .into_iter()
        .find(|kind| value.get(kind).is_some())
    {
        return Err(feature(
            format!("{name} by layer type ({kind})"),
            "one rotary embedding for all layers",
        ));
    }
    Keys::deserialize(value)
        .map(Some)
        .map_err(|e| LoadError::config(format!("{name}: {e}")))
}

/// The one value of all that are given.
fn agreed<T: PartialEq + std::fmt::Debug>(
    what: &str,
    given: impl IntoIterator<Item = T>,
) -> Result<Option<T>, LoadError> {
    let mut given = given.into_iter();
    let first = given.next();
    match given.find(|other| Some(other) != first.as_ref()) {
        None => Ok(first),
        Some(other) => Err(LoadError::config(format!(
            "{what} is given twice and differs: {:?} and {other:?}",
            first.expect("there was another after it")
        ))),
    }
}

impl Keys {
    fn scaling(&self) -> Result<RopeScaling, LoadError> {
        if self.mrope_section.is_some() {
            return Err(feature("mrope_section".into(), SUPPORTED));
        }
        if let Some(factor) = self.partial_rotary_factor
            && factor != 1.0
        {
            return Err(feature(format!("partial_rotary_factor {factor}"), "1"));
        }
        let kind = self.rope_type.as_ref().or(self.legacy_type.as_ref());
        match kind.map_or("default", String::as_str) {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: required("factor", self.factor)?,
            }),
            "llama3" => self.llama3(),
            other => Err(feature(format!("rope type {other}"), SUPPORTED)),
        }
    }

    fn llama3(&self) -> Result<RopeScaling, LoadError> {
        Ok(RopeScaling::Llama3 {
            factor: required("factor", self.factor)?,
            low_freq_factor: required("low_freq_factor", self.low_freq_factor)?,
            high_freq_factor: required("high_freq_factor", self.high_freq_factor)?,
            original_max_position_embeddings: required(
                "original_max_position_embeddings",
                self.original_max_position_embeddings,
            )?,
        })
    }
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, LoadError> {
    value.ok_or_else(|| LoadError::config(format!("the rope scaling has no {name}")))
}
