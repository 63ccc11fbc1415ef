//! Rotary embedding of config.json, in both spellings: `rope_theta` with `rope_scaling`, and the
//! `rope_parameters` of transformers 5, which holds both.

mod formulas;

use serde::Deserialize;
use serde_json::Value;
use talaria_wire::manifest::{Rope, RopeFrequencies};

use self::formulas::{Llama3, Plain, Yarn, longrope_attention_factor};
use super::LoadError;
use super::config::{Config, feature};

/// Types that the payload computes.
pub(super) const SUPPORTED: &str = "rope types default, linear, dynamic, yarn, longrope, llama3";

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
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u32>,
    partial_rotary_factor: Option<f64>,
    mrope_section: Option<Value>,
}

/// The embedding, and how many positions it serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub rope: Rope,
    /// At least `max_position_embeddings`: `yarn` and `dynamic` are there to go beyond it, and transformers has no
    /// limit.
    pub positions: u32,
}

/// Where both spellings are there, they must agree.
pub(super) fn describe(config: &Config, head_dim: u32) -> Result<Described, LoadError> {
    let spellings = [
        keys("rope_parameters", &config.rope_parameters)?,
        keys("rope_scaling", &config.rope_scaling)?,
    ];
    let thetas = spellings.iter().flatten().filter_map(|k| k.rope_theta);
    let theta = agreed("rope_theta", config.rope_theta.into_iter().chain(thetas))?;
    let plain = Plain {
        theta: theta.unwrap_or(DEFAULT_THETA),
        head_dim: head_dim as usize,
    };
    if !(plain.theta.is_finite() && plain.theta > 1.0) {
        return Err(LoadError::config(format!(
            "rope_theta = {}, expected more than 1",
            plain.theta
        )));
    }
    let of_keys = |keys: &Option<Keys>| {
        let described = keys.as_ref().map(|k| k.describe(config, plain));
        described.transpose()
    };
    match (of_keys(&spellings[0])?, of_keys(&spellings[1])?) {
        (Some(one), Some(other)) if one != other => Err(LoadError::config(
            "rope scaling is given twice and differs: rope_parameters and rope_scaling",
        )),
        (Some(described), _) | (None, Some(described)) => Ok(described),
        (None, None) => Ok(Described {
            rope: fixed(plain.unscaled()),
            positions: config.max_position_embeddings,
        }),
    }
}

fn fixed(frequencies: Vec<f32>) -> Rope {
    Rope {
        frequencies: RopeFrequencies::Fixed(frequencies),
        attention_factor: 1.0,
    }
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
    fn describe(&self, config: &Config, plain: Plain) -> Result<Described, LoadError> {
        if self.mrope_section.is_some() {
            return Err(feature("mrope_section".into(), SUPPORTED));
        }
        if let Some(factor) = self.partial_rotary_factor
            && factor != 1.0
        {
            return Err(feature(format!("partial_rotary_factor {factor}"), "1"));
        }
        let positions = config.max_position_embeddings;
        let plainly = |rope| Described { rope, positions };
        let kind = self.rope_type.as_ref().or(self.legacy_type.as_ref());
        match kind.map_or("default", String::as_str) {
            "default" => Ok(plainly(fixed(plain.unscaled()))),
            "linear" => Ok(plainly(fixed(plain.linear(self.divisor(self.factor)?)))),
            "llama3" => Ok(plainly(fixed(self.llama3(config)?.frequencies(plain)))),
            "yarn" => self.yarn(config, plain),
            "longrope" => Ok(plainly(self.longrope(config, plain)?)),
            "dynamic" => self.dynamic(config, plain),
            other => Err(feature(format!("rope type {other}"), SUPPORTED)),
        }
    }

    fn llama3(&self, config: &Config) -> Result<Llama3, LoadError> {
        let [factor, low_freq_factor, high_freq_factor] = [
            self.divisor(self.factor)?,
            positive("low_freq_factor", self.low_freq_factor)?,
            positive("high_freq_factor", self.high_freq_factor)?,
        ];
        if high_freq_factor <= low_freq_factor {
            return Err(LoadError::config(
                "the rope scaling's high_freq_factor must exceed its low_freq_factor",
            ));
        }
        Ok(Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: self.original(config),
        })
    }

    fn yarn(&self, config: &Config, plain: Plain) -> Result<Described, LoadError> {
        let yarn = Yarn {
            factor: self.divisor(self.factor.or(self.stretch(config)))?,
            beta_fast: self.beta_fast.filter(|b| *b != 0.0).unwrap_or(32.0),
            beta_slow: self.beta_slow.filter(|b| *b != 0.0).unwrap_or(1.0),
            truncate: self.truncate.unwrap_or(true),
            original_max_position_embeddings: self.original(config),
        };
        positive("beta_fast", Some(yarn.beta_fast))?;
        positive("beta_slow", Some(yarn.beta_slow))?;
        let attention_factor = (self.attention_factor)
            .unwrap_or_else(|| yarn.attention_factor(self.mscale, self.mscale_all_dim));
        let rope = Rope {
            frequencies: RopeFrequencies::Fixed(yarn.frequencies(plain)),
            attention_factor: attention_factor as f32,
        };
        Ok(Described {
            rope,
            positions: stretched(config, yarn.original_max_position_embeddings, yarn.factor),
        })
    }

    fn longrope(&self, config: &Config, plain: Plain) -> Result<Rope, LoadError> {
        let frequencies = |name: &str, factors: &Option<Vec<f64>>| {
            let factors = required(name, factors.as_ref())?;
            let half = plain.head_dim / 2;
            if factors.len() != half {
                return Err(LoadError::config(format!(
                    "the rope scaling's {name} has {} numbers, half of head_dim is {half}",
                    factors.len()
                )));
            }
            Ok(plain.divided(factors))
        };
        let original = self.original(config);
        let factor = self.divisor(self.factor.or(self.stretch(config)))?;
        let attention_factor =
            (self.attention_factor).unwrap_or_else(|| longrope_attention_factor(factor, original));
        let short = frequencies("short_factor", &self.short_factor)?;
        let long = frequencies("long_factor", &self.long_factor)?;
        let frequencies = match short == long {
            // As from a GGUF file with factors for every length.
            true => RopeFrequencies::Fixed(long),
            false => RopeFrequencies::ByLength {
                short,
                long,
                original_max_position_embeddings: original,
            },
        };
        Ok(Rope {
            frequencies,
            attention_factor: attention_factor as f32,
        })
    }

    /// `max_position_embeddings` is the original context here, whatever else is said.
    fn dynamic(&self, config: &Config, plain: Plain) -> Result<Described, LoadError> {
        let original = config.max_position_embeddings;
        let factor = self.divisor(self.factor)?;
        let rope = Rope {
            frequencies: RopeFrequencies::Dynamic {
                theta: plain.theta as f32,
                factor,
                original_max_position_embeddings: original,
            },
            attention_factor: 1.0,
        };
        Ok(Described {
            rope,
            positions: stretched(config, original, factor),
        })
    }

    /// Of `factor`: by the context lengths, where it is left out.
    fn stretch(&self, config: &Config) -> Option<f64> {
        let (now, original) = (config.max_position_embeddings, self.original(config));
        Some(f64::from(now) / f64::from(original))
    }

    /// Context length of the original training. A key beside the rope's own wins (Phi-3 writes it there).
    fn original(&self, config: &Config) -> u32 {
        (config.original_max_position_embeddings)
            .or(self.original_max_position_embeddings)
            .unwrap_or(config.max_position_embeddings)
    }

    fn divisor(&self, factor: Option<f64>) -> Result<f64, LoadError> {
        positive("factor", factor)
    }
}

/// `factor` times the original context, if that is more than `max_position_embeddings`.
fn stretched(config: &Config, original: u32, factor: f64) -> u32 {
    // Saturates; the decoder's dimensions are validated.
    ((f64::from(original) * factor) as u32).max(config.max_position_embeddings)
}

fn positive(name: &str, value: Option<f64>) -> Result<f64, LoadError> {
    let value = required(name, value)?;
    if !(value.is_finite() && value > 0.0) {
        return Err(LoadError::config(format!(
            "the rope scaling's {name} is {value}, expected a positive number"
        )));
    }
    Ok(value)
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, LoadError> {
    value.ok_or_else(|| LoadError::config(format!("the rope scaling has no {name}")))
}
