//! Requests of the OpenAI API as requests of the channel.

use serde_json::Value;
use talaria_wire::channel::MAX_STREAMS;
use talaria_wire::channel::message::{
    DateTime, MAX_LOGIT_BIAS, MAX_STOP_STRINGS, MAX_TOP_LOGPROBS, Prompt, Request, Sampling,
};

use super::error::ApiError;
use super::fields::Fields;
use super::prompt;
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
    /// One for each choice.
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
        let mut fields = Fields::parse(body)?;
        refuse(endpoint, &mut fields)?;
        let n = fields.integer("n", 1..=MAX_STREAMS as i64)?.unwrap_or(1) as usize;
        let prompts = match endpoint {
            Endpoint::Chat => vec![prompt::messages(fields.take("messages"))?],
            Endpoint::Completions => prompt::prompts(fields.take("prompt"), MAX_STREAMS)?,
        };
        if prompts.len() * n > MAX_STREAMS {
            let message = format!("n for each prompt makes more than {MAX_STREAMS} choices");
            return Err(ApiError::param("n", message));
        }
        let stream = fields.flag("stream")?;
        let include_usage = match fields.take("stream_options") {
            Some(options) if stream => options["include_usage"] == true,
            _ => false,
        };
        let common = Common::parse(endpoint, &mut fields)?;
        Ok(Self {
            endpoint,
            model: fields.text("model")?,
            stream,
            include_usage,
            receipt: common.receipt,
            requests: common.requests(prompts, n),
        })
    }
}

/// What would change the reply and is not known here.
fn refuse(endpoint: Endpoint, fields: &mut Fields) -> Result<(), ApiError> {
    let forced = |value: &Value| !matches!(value.as_str(), Some("none" | "auto"));
    let not_text = |value: &Value| value["type"] != "text";
    let tools = "tools are not possible here, so none can be forced";
    fields.refuse("tool_choice", forced, tools)?;
    fields.refuse("function_call", forced, tools)?;
    fields.refuse(
        "response_format",
        not_text,
        "the form of a reply cannot be forced here: ask for it in the prompt",
    )?;
    let only_text = "only text is possible here";
    let sound = |value: &Value| {
        value
            .as_array()
            .is_some_and(|m| m.iter().any(|m| m != "text"))
    };
    fields.refuse("modalities", sound, only_text)?;
    fields.refuse("audio", |_| true, only_text)?;
    if endpoint == Endpoint::Completions {
        fields.refuse("echo", |echo| echo != false, "echo is not possible here")?;
        let several = |best_of: &Value| best_of != 1;
        fields.refuse("best_of", several, "best_of is not possible here: use n")?;
        let some = |suffix: &Value| suffix != "";
        fields.refuse(
            "suffix",
            some,
            "text cannot be inserted here: leave suffix out",
        )?;
    }
    Ok(())
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
        temperature: fields.number("temperature", 1.0, 0.0..=f32::MAX)?,
        top_k: top_k.map_or(0, |k| k.max(0) as u32),
        top_p: fields.number("top_p", 1.0, f32::MIN_POSITIVE..=1.0)?,
        min_p: fields.number("min_p", 0.0, 0.0..=1.0)?,
        repetition_penalty: fields.number(
            "repetition_penalty",
            1.0,
            f32::MIN_POSITIVE..=f32::MAX,
        )?,
        presence_penalty: fields.number("presence_penalty", 0.0, -2.0..=2.0)?,
        frequency_penalty: fields.number("frequency_penalty", 0.0, -2.0..=2.0)?,
        logit_bias: logit_bias(fields)?,
        seed: seed(fields)?,
    })
}

/// Negative ones are seeds too, and any number of 64 bits.
fn seed(fields: &mut Fields) -> Result<Option<u64>, ApiError> {
    fields.parse_field("seed", "a whole number of 64 bits", |value| {
        value
            .as_u64()
            .or_else(|| value.as_i64().map(|seed| seed as u64))
    })
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let expected =
        format!("at most {MAX_LOGIT_BIAS} token ids, each with a number from -100 to 100");
    let bias = fields.parse_field("logit_bias", &expected, |value| {
        let Value::Object(map) = value else {
            return None;
        };
        let entry = |(id, bias): (&String, &Value)| {
            let bias = bias.as_f64().filter(|bias| bias.abs() <= 100.0)?;
            Some((id.parse().ok()?, bias as f32))
        };
        let bias: Vec<_> = map.iter().map(entry).collect::<Option<_>>()?;
        (bias.len() <= MAX_LOGIT_BIAS).then_some(bias)
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
    Ok(newer.or(older).map_or(default, |tokens| tokens as u32))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let expected = format!("a string or a list of at most {MAX_STOP_STRINGS}, none of them empty");
    let stop = fields.parse_field("stop", &expected, |value| {
        let stop: Vec<String> = match value {
            Value::String(stop) => vec![stop],
            list => serde_json::from_value(list).ok()?,
        };
        let good = stop.len() <= MAX_STOP_STRINGS && stop.iter().all(|stop| !stop.is_empty());
        good.then_some(stop)
    });
    Ok(stop?.unwrap_or_default())
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
        (false, None) => Ok(None),
        (false, Some(_)) => {
            let message = "top_logprobs needs logprobs to be true";
            Err(ApiError::param("top_logprobs", message))
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
