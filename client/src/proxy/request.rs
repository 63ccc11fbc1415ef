//! Requests of the OpenAI API as requests of the channel.

use serde_json::Value;
use talaria_wire::channel::MAX_STREAMS;
use talaria_wire::channel::message::{
    DateTime, MAX_LOGIT_BIAS, MAX_STOP_STRINGS, MAX_TOP_LOGPROBS, Prompt, Request, Sampling,
};

use super::error::ApiError;
use super::fields::{Fields, whole, wrong};
use super::prompt;
use crate::ranges;
use crate::time::local_now;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

/// A request that can be answered, if the payload agrees.
pub struct Asked {
    /// What was called.
    pub endpoint: Endpoint,
    /// As the caller named it.
    pub model: Option<String>,
    /// Tokens are wanted as they come.
    pub stream: bool,
    /// The stream ends with a chunk that has the usage.
    pub include_usage: bool,
    /// Receipt and evidence are wanted.
    pub receipt: bool,
    /// `prompt_cache_key`: who goes on from whose replies.
    pub cache_key: Option<String>,
    /// `n`.
    pub choices_of_prompt: usize,
    /// One for each choice: those of the first prompt, then those of the next.
    pub requests: Vec<Request>,
}

/// What all choices have in common.
struct Common {
    sampling: Sampling,
    max_new_tokens: u32,
    stop: Vec<String>,
    ignore_eos: bool,
    top_logprobs: Option<u8>,
    receipt: bool,
    now: Option<DateTime>,
}

/// Tokens of a completion of which no number was given, as at OpenAI.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

impl Asked {
    /// Reads a body.
    pub fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(endpoint, body)?;
        let n = fields.integer("n", 1..=MAX_STREAMS as i64)?.unwrap_or(1) as usize;
        let prompts = match endpoint {
            Endpoint::Chat => vec![prompt::messages(&mut fields)?],
            Endpoint::Completions => prompt::prompts(&mut fields, MAX_STREAMS)?,
        };
        if prompts.len() * n > MAX_STREAMS {
            let message = format!("n for each prompt makes more than {MAX_STREAMS} choices");
            return Err(ApiError::param("n", message).code("integer_above_max_value"));
        }
        let stream = fields.flag("stream")?;
        let include_usage = include_usage(stream, &mut fields)?;
        let common = Common::parse(endpoint, &mut fields)?;
        let model = fields.text("model")?;
        let cache_key = fields.text("prompt_cache_key")?;
        fields.finish()?;
        Ok(Self {
            endpoint,
            model,
            stream,
            include_usage,
            receipt: common.receipt,
            cache_key,
            choices_of_prompt: n,
            requests: common.requests(prompts, n),
        })
    }
}

fn include_usage(stream: bool, fields: &mut Fields) -> Result<bool, ApiError> {
    match fields.object("stream_options")? {
        None => Ok(false),
        Some(mut options) if stream => {
            let wanted = options.flag("include_usage")?;
            options.finish().map(|()| wanted)
        }
        Some(_) => {
            let message = "stream_options is possible only with stream: true";
            Err(ApiError::param("stream_options", message).code("invalid_value"))
        }
    }
}

impl Common {
    fn parse(endpoint: Endpoint, fields: &mut Fields) -> Result<Self, ApiError> {
        Ok(Self {
            sampling: sampling(fields)?,
            max_new_tokens: max_new_tokens(endpoint, fields)?,
            stop: stop(fields)?,
            ignore_eos: fields.flag("ignore_eos")?,
            top_logprobs: top_logprobs(endpoint, fields)?,
            receipt: fields.flag("talaria_receipt")?,
            now: now(endpoint, fields)?,
        })
    }

    /// `n` of each prompt. With a seed, each choice has one of its own: they would be the same otherwise.
    fn requests(&self, prompts: Vec<Prompt>, n: usize) -> Vec<Request> {
        let mut requests = Vec::with_capacity(prompts.len() * n);
        for prompt in prompts {
            for (i, prompt) in std::iter::repeat_n(prompt, n).enumerate() {
                let mut request = self.request(prompt);
                let seed = self.sampling.seed;
                request.sampling.seed = seed.map(|seed| seed.wrapping_add(i as u64));
                requests.push(request);
            }
        }
        requests
    }

    fn request(&self, prompt: Prompt) -> Request {
        Request {
            sampling: self.sampling.clone(),
            max_new_tokens: self.max_new_tokens,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            top_logprobs: self.top_logprobs,
            receipt: self.receipt,
            now: self.now,
            ..Request::new(prompt)
        }
    }
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    // -1: off, as other servers have it.
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    Ok(Sampling {
        temperature: fields.number("temperature", 1.0, ranges::TEMPERATURE)?,
        top_k: top_k.map_or(0, |k| k.max(0) as u32),
        top_p: fields.number("top_p", 1.0, ranges::TOP_P)?,
        min_p: fields.number("min_p", 0.0, ranges::MIN_P)?,
        repetition_penalty: fields.number("repetition_penalty", 1.0, ranges::REPETITION_PENALTY)?,
        presence_penalty: fields.number("presence_penalty", 0.0, ranges::PENALTY)?,
        frequency_penalty: fields.number("frequency_penalty", 0.0, ranges::PENALTY)?,
        logit_bias: logit_bias(fields)?,
        seed: seed(fields)?,
    })
}

/// Negative ones are seeds too, and any number of 64 bits.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    fields.parse_field("seed", "a whole number of 64 bits", |value| {
        let seed = whole(value)?;
        let negative = i64::try_from(seed).ok().map(|seed| seed as u64);
        negative.or_else(|| u64::try_from(seed).ok())
    })
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let expected =
        format!("at most {MAX_LOGIT_BIAS} token ids, each with a number from -100 to 100");
    let bias = fields.parse_field("logit_bias", &expected, |value| {
        let entries = value
            .as_object()
            .filter(|map| map.len() <= MAX_LOGIT_BIAS)?;
        let entry = |(id, bias): (&String, &Value)| {
            let bias = bias.as_f64().filter(|bias| bias.abs() <= 100.0)?;
            Some((id.parse().ok()?, bias as f32))
        };
        entries.iter().map(entry).collect::<Option<Vec<_>>>()
    });
    Ok(bias?.unwrap_or_default())
}

fn max_new_tokens(endpoint: Endpoint, fields: &mut Fields) -> Result<u32, ApiError> {
    let range = 1..=i64::from(u32::MAX);
    let newer = fields.integer("max_completion_tokens", range.clone())?;
    let older = fields.integer("max_tokens", range)?;
    let default = match endpoint {
        // As many as the context has room for.
        Endpoint::Chat => u32::MAX,
        Endpoint::Completions => DEFAULT_COMPLETION_TOKENS,
    };
    if let (Some(newer), Some(older)) = (newer, older)
        && newer != older
    {
        let message = "max_tokens is the older name of max_completion_tokens: give one of them";
        return Err(ApiError::param("max_tokens", message).code("invalid_value"));
    }
    Ok(newer.or(older).map_or(default, |tokens| tokens as u32))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let Some(found) = fields.take("stop") else {
        return Ok(Vec::new());
    };
    let expected = format!("a string or a list of at most {MAX_STOP_STRINGS}, none of them empty");
    let wrong = |code| wrong("stop", &expected, &found).code(code);
    let stop: Vec<String> = match &found {
        Value::String(stop) => vec![stop.clone()],
        list => serde_json::from_value(list.clone()).map_err(|_| wrong("invalid_type"))?,
    };
    if stop.len() > MAX_STOP_STRINGS {
        return Err(wrong("array_above_max_length"));
    }
    // It would be found before the first token.
    match stop.iter().any(String::is_empty) {
        true => Err(wrong("empty_string")),
        false => Ok(stop),
    }
}

/// A chat says whether and then how many, a completion how many.
fn top_logprobs(endpoint: Endpoint, fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let range = 0..=i64::from(MAX_TOP_LOGPROBS);
    if endpoint == Endpoint::Completions {
        let logprobs = fields.integer("logprobs", range)?;
        return Ok(logprobs.map(|n| n as u8));
    }
    let wanted = fields.flag("logprobs")?;
    match (wanted, fields.integer("top_logprobs", range)?) {
        (true, top) => Ok(Some(top.unwrap_or(0) as u8)),
        // 0 is what many clients say that want none.
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            let message = "top_logprobs needs logprobs to be true";
            Err(ApiError::param("top_logprobs", message).code("invalid_value"))
        }
    }
}

/// The date that a chat template may print: here and now, unless the caller says another.
fn now(endpoint: Endpoint, fields: &mut Fields) -> Result<Option<DateTime>, ApiError> {
    let expected = "a date such as \"2026-07-26\" or \"2026-07-26T14:30:05\"";
    let said = fields.parse_field("talaria_date", expected, |value| {
        value.as_str()?.parse().ok()
    })?;
    Ok(match endpoint {
        Endpoint::Chat => said.or_else(local_now),
        Endpoint::Completions => None,
    })
}

#[cfg(test)]
mod tests;
